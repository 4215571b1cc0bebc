//! The interface between the logs and the kernel: operations that a log starts, and their completions.
//!
//! A disk belongs to one shard and is opened in its thread, after the thread has its private descriptor table.
//! Operations during a turn are queued, submitted once per turn and reaped as completions. The blocking calls are for
//! opening only. Threads that a disk starts share the shard's descriptor table, since the shard starts them.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::sys::arena::Block;
pub use crate::sys::map::Map;

/// A file that a disk holds open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub u32);

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. Bytes that are not UTF-8 are replaced, and `is_file` is false then.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it is a regular file of exactly this name. It is false for directories, symbolic links and names that are
    /// not UTF-8: these must not be opened, renamed or removed.
    pub is_file: bool,
}

/// An open segment.
#[derive(Debug)]
pub struct Opened {
    /// For writes and syncs.
    pub file: FileId,
    /// For reads.
    pub map: Arc<Map>,
}

/// Committed bytes of a block, kept alive until they are written.
#[derive(Clone, Debug)]
pub struct BlockRange {
    block: Arc<Block>,
    range: Range<usize>,
}

impl BlockRange {
    pub(crate) fn new(block: Arc<Block>, range: Range<usize>) -> Self {
        assert!(range.end <= block.committed());
        Self { block, range }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.block.bytes(self.range.clone())
    }
}

/// Makes the content of a file; runs where the disk does its slow work.
pub type Content = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// A finished operation.
#[derive(Debug)]
pub struct Completion {
    /// The token that the caller gave it.
    pub token: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// A write: bytes written, which may be fewer than asked. If the write was to sync its range, they are durable, and
    /// an error may be the sync's.
    Written(io::Result<usize>),
    /// A sync. `ECANCELED` if it was to follow a write that failed or fell short. Also `ECANCELED` if it may have run
    /// before its write although the write is whole; then it may complete before the write does.
    Synced(io::Result<()>),
    /// A populate.
    Populated(io::Result<()>),
    /// A new segment.
    Prepared(io::Result<Opened>),
    /// A replaced file: its new content.
    Put(io::Result<Vec<u8>>),
    /// A file that was overwritten, durably.
    Overwritten(io::Result<()>),
    /// Removed files.
    Unlinked(io::Result<()>),
}

/// What a write makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSync {
    /// Nothing.
    None,
    /// The bytes that it writes, and no others: writing and syncing are one operation with one completion. Earlier bytes
    /// that are not durable stay so.
    Range,
    /// The whole file: a sync starts after the write has completed in full, and completes under the same token.
    File,
}

/// The kernel as a log uses it.
pub trait Disk {
    /// `uring`, `thread` or `memory`.
    fn name(&self) -> &'static str;

    /// Writes `bytes` at `at`, and then syncs as `sync` says.
    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, sync: WriteSync);
    /// Makes everything durable that was written to a file before.
    fn sync(&mut self, token: u64, file: FileId);
    /// Reads a range of a map into memory.
    fn populate(&mut self, token: u64, map: Arc<Map>, range: Range<usize>);
    /// Makes a new segment of zeroes, durable before it has its name.
    fn prepare(&mut self, token: u64, path: PathBuf, size: u64);
    /// Replaces a file as a whole, durably.
    fn put(&mut self, token: u64, path: PathBuf, content: Content);
    /// Overwrites a file of the same length, in place and durably. This needs no free space if the file system writes in
    /// place. After a crash meanwhile each sector is the old one or the new one. If the file is missing or has another
    /// length, this does what [`Disk::put`] does.
    fn overwrite(&mut self, token: u64, path: PathBuf, content: Vec<u8>);
    /// Removes files, durably.
    fn unlink(&mut self, token: u64, paths: Vec<PathBuf>);
    /// Closes a file that no operation in flight uses.
    fn close(&mut self, file: FileId);

    /// Hands everything queued to the kernel, in one call.
    ///
    /// # Errors
    /// When the kernel refuses the call as such; nothing was queued then.
    fn submit(&mut self) -> io::Result<()>;
    /// Whether the kernel has not taken all of the last submission, for lack of memory or of room for completions. The
    /// caller is to submit again soon; it need not wait for an operation in flight to end.
    fn is_behind(&self) -> bool;
    /// Takes the completions of finished operations.
    fn reap(&mut self, out: &mut Vec<Completion>);
    /// Submits, and blocks until an operation has finished, or until it is time to submit again.
    ///
    /// # Errors
    /// As [`Disk::submit`], or when nothing is in flight.
    fn wait(&mut self) -> io::Result<()>;
    /// An eventfd that is written to whenever an operation has finished. Watch it edge-triggered: then it need not be
    /// read.
    fn wake_fd(&self) -> Option<RawFd>;
    /// Submissions that carried operations.
    fn submissions(&self) -> u64;

    /// Creates a directory (mode 0700) unless it is there. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    fn make_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// The entries of a directory. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Reads from byte `at` of a file until `out` is full or the file ends; a result below the length of `out` means that
    /// the file ended. Blocks.
    ///
    /// # Errors
    /// The kernel's. One unreadable sector fails the whole call.
    fn read(&mut self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Gives a file another name in the same directory, durably. Blocks.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` when the new name is taken. It never replaces a file.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Exchanges the names of two files of one directory, in one step and durably. Blocks.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` where the file system cannot.
    fn exchange(&mut self, a: &Path, b: &Path) -> io::Result<()>;
    /// Opens and maps an existing segment. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    fn open(&mut self, path: &Path) -> io::Result<Opened>;
    /// Maps an existing file. Blocks.
    ///
    /// # Errors
    /// The kernel's; an empty file cannot be mapped.
    fn map(&mut self, path: &Path) -> io::Result<Arc<Map>>;
    /// Bytes free below a directory.
    ///
    /// # Errors
    /// The kernel's.
    fn free_bytes(&mut self, dir: &Path) -> io::Result<u64>;
    /// An id of this run of the machine, which changes at each boot.
    ///
    /// # Errors
    /// When the kernel does not give it.
    fn boot_id(&mut self) -> io::Result<u128>;
}

/// A file's bytes, or the first `bytes_max` of them. Blocks.
pub(crate) fn read_file(disk: &mut dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; FIRST_READ.min(bytes_max)];
    let mut len = 0;
    loop {
        len += disk.read(path, len as u64, &mut out[len..])?;
        if len < out.len() || len == bytes_max {
            out.truncate(len);
            out.shrink_to_fit();
            return Ok(out);
        }
        out.resize((len * 4).min(bytes_max), 0);
    }
}

/// Bytes of the first read of a file; most files are smaller.
const FIRST_READ: usize = 16 << 10;
