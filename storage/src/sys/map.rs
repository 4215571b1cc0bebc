//! Read-only maps of segments and footers, and the anonymous ones of the memory disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A mapped file, or memory that stands in for one.
#[derive(Debug)]
pub struct Map {
    start: NonNull<u8>,
    len: usize,
    /// Anonymous memory that [`Map::store`] may write.
    writable: bool,
}

// SAFETY: shared memory that is read through `bytes` and written only by the kernel or through `store`, in both cases
// at places no reader was told of (see the module `sys`).
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes of a file.
    pub(crate) fn file(file: &File, len: u64) -> io::Result<Self> {
        Self::new(len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Zeroed memory that [`Map::store`] can write.
    pub(crate) fn anonymous(len: u64) -> io::Result<Self> {
        let mut map = Self::new(
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
        )?;
        map.writable = true;
        Ok(map)
    }

    fn new(len: u64, protection: i32, flags: i32, fd: i32) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len.max(1), protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            len,
            writable: false,
        })
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Mapped bytes.
    ///
    /// # Panics
    /// If the range is not mapped.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the mapping, which lives as long as `self`. The bytes do not change: callers ask for ranges
        // below the visible place, or open the file while nobody writes it (see the module `sys`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    pub(crate) fn all(&self) -> &[u8] {
        self.bytes(0..self.len)
    }

    /// Writes into anonymous memory, as the kernel writes into a file.
    ///
    /// # Panics
    /// If the map is a file's, or the range is not mapped.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        assert!(self.writable && at + bytes.len() <= self.len);
        // SAFETY: inside the mapping and writable; nobody reads the range yet (see the module `sys`), and `bytes` is
        // no part of it.
        unsafe {
            self.start
                .as_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Address and length of a range widened to whole pages, for `madvise`.
    pub(crate) fn pages(&self, range: &Range<usize>) -> (*mut libc::c_void, usize) {
        assert!(range.start <= range.end && range.end <= self.len);
        let from = range.start & !(PAGE - 1);
        // SAFETY: inside the mapping.
        let start = unsafe { self.start.as_ptr().add(from) };
        (start.cast(), range.end - from)
    }

    /// Reads a range into the page cache and into the page table; waits for it.
    pub(crate) fn populate(&self, range: &Range<usize>) -> io::Result<()> {
        let (start, len) = self.pages(range);
        // SAFETY: the range is mapped; the advice only reads.
        match unsafe { libc::madvise(start, len, libc::MADV_POPULATE_READ) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The smallest page of the machines this runs on.
const PAGE: usize = 4096;

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; every slice borrows from `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len.max(1)) };
    }
}
