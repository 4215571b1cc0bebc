//! A file of zeros that records are written over, each synced on its own: what durability costs at least.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// Bytes of the file; after its end writing begins at its start again.
const FILE_BYTES: usize = 64 << 20;
/// What is written at once: the kernel keeps it in one piece, and a sync is the dearer the larger the piece it is in.
const CHUNK_BYTES: usize = 8 << 10;

/// The file, and where the next record goes.
#[derive(Debug)]
pub(super) struct SyncFile {
    file: File,
    next: Mutex<u64>,
}

impl SyncFile {
    /// Writes the zeros: an overwrite changes no metadata, so that its sync is as cheap as a sync can be.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; CHUNK_BYTES];
        for chunk in 0..FILE_BYTES / CHUNK_BYTES {
            file.write_all_at(&zeros, (chunk * CHUNK_BYTES) as u64)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            next: Mutex::new(0),
        })
    }

    /// Writes `bytes` and waits until they are durable; one after the other.
    pub(super) fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        let mut next = self.next.lock().expect("no thread panics with the lock");
        if *next + bytes.len() as u64 > FILE_BYTES as u64 {
            *next = 0;
        }
        self.file.write_all_at(bytes, *next)?;
        *next += bytes.len() as u64;
        self.file.sync_data()
    }
}
