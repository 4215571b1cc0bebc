//! Read-only maps of segments, and the anonymous ones of the memory disk.
//!
//! A map of a file is raw memory (`MmapRaw`), as the kernel writes to it. Slices are made only of ranges that are not written
//! any more (see the module `sys`). Pages may turn out to be missing while they are read: reads find zeroes then (see
//! `guard`), and [`Map::is_unreadable`] has to be called after every read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::FromRawFd;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::guard::{Guarded, UnreadableBlocks, page_bytes};
use super::is_refused;

/// A mapped file, or memory that stands in for one.
#[derive(Debug)]
pub struct Map {
    /// The guard of a file's map. It is dropped before the other fields: the handler must not find memory that is gone.
    _guarded: Option<Guarded>,
    raw: MmapRaw,
    unreadable: Arc<UnreadableBlocks>,
    /// The file behind memory that stands in for a file: [`Map::store`] may write it, and `sendfile` reads from it.
    memory: Option<File>,
}

impl Map {
    /// Maps the first `len` bytes of a file.
    pub(crate) fn file(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        let unreadable = Arc::new(UnreadableBlocks::new(len));
        let start = raw.as_ptr() as usize;
        let pages = start..start + len.next_multiple_of(page_bytes());
        // SAFETY: the pages that were just mapped, read-only. The field that this goes to is dropped before the others.
        let guarded = unsafe { Guarded::new(&pages, &unreadable)? };
        Ok(Self {
            _guarded: Some(guarded),
            raw,
            unreadable,
            memory: None,
        })
    }

    /// Zeroed memory that [`Map::store`] can write.
    pub(crate) fn anonymous(len: u64) -> io::Result<Self> {
        let memory = memory_file()?;
        memory.set_len(len)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Self {
            _guarded: None,
            raw: MmapOptions::new().len(len).map_raw(&memory)?,
            unreadable: Arc::new(UnreadableBlocks::new(len)),
            memory: Some(memory),
        })
    }

    /// The file behind memory that stands in for one.
    pub(crate) const fn memory(&self) -> Option<&File> {
        self.memory.as_ref()
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.len() == 0
    }

    /// Mapped bytes. They are valid only if [`Map::is_unreadable`] returns false after they were read.
    ///
    /// # Panics
    /// If the range is not mapped.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.raw.len());
        // SAFETY: inside the mapping, which lives as long as `self`. The bytes do not change: callers ask for ranges
        // below the visible position, or open the file while nobody writes it (see the module `sys`). Of a file that
        // somebody else cuts they may turn to zeroes, once; the guard says so.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(range.start), range.len()) }
    }

    pub(crate) fn all(&self) -> &[u8] {
        self.bytes(0..self.raw.len())
    }

    /// Whether bytes of the range, or of a block that it touches, were missing when they were read. Call it after
    /// reading.
    pub(crate) fn is_unreadable(&self, range: Range<usize>) -> bool {
        self.unreadable.is_unreadable(&range)
    }

    /// Marks the blocks of a range as unreadable.
    pub(crate) fn mark_unreadable(&self, range: &Range<usize>) {
        self.unreadable.note_range(range);
    }

    /// Writes into anonymous memory, as the kernel writes into a file.
    ///
    /// # Panics
    /// If the map is a file's, or the range is not mapped.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        assert!(self.memory.is_some() && at + bytes.len() <= self.raw.len());
        // SAFETY: inside the mapping and writable; nobody reads the range yet (see the module `sys`), and `bytes` is
        // no part of it.
        unsafe {
            self.raw
                .as_mut_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Address and length of a range widened to whole pages, for `madvise`.
    pub(crate) fn pages(&self, range: &Range<usize>) -> (*mut libc::c_void, usize) {
        assert!(range.start <= range.end && range.end <= self.raw.len());
        let from = range.start & !(page_bytes() - 1);
        // SAFETY: inside the mapping.
        let start = unsafe { self.raw.as_mut_ptr().add(from) };
        (start.cast(), range.end - from)
    }

    /// Reads a range into the page cache and into the page table, and waits for it.
    pub(crate) fn populate(&self, range: &Range<usize>) -> io::Result<()> {
        let (start, len) = self.pages(range);
        // SAFETY: the range is mapped; the advice only reads.
        match unsafe { libc::madvise(start, len, libc::MADV_POPULATE_READ) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // `EINVAL` is the answer of a kernel that does not know the advice.
                error if error.raw_os_error() == Some(libc::EINVAL) || is_refused(&error) => {
                    self.touch(range);
                    Ok(())
                }
                error => Err(error),
            },
        }
    }

    /// Reads a byte of each page. If a page is missing, [`Map::is_unreadable`] returns true afterwards.
    fn touch(&self, range: &Range<usize>) {
        let (start, len) = self.pages(range);
        for at in (0..len).step_by(page_bytes()) {
            // SAFETY: inside the mapping; a page that is missing is replaced by the guard. The byte is not used, so it does
            // not matter who writes it.
            unsafe { start.cast::<u8>().add(at).read_volatile() };
        }
    }
}

/// An empty file in memory, without a name in any directory.
fn memory_file() -> io::Result<File> {
    // SAFETY: the name ends with a zero; the call touches no other memory.
    let fd = unsafe { libc::memfd_create(c"oyez".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}
