//! The seam between the logs and the kernel: what a log asks of a disk, and what comes back.
//!
//! A disk belongs to one shard and is opened in its thread, after the thread has its private descriptor table.
//! Everything that runs while the shard turns is queued, submitted once per turn and reaped as completions; the
//! blocking calls are for opening only. Threads that a disk starts share the shard's table, since it starts them.

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

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. One that is not UTF-8 is shown as near as can be, and is nobody's file.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it is a regular file of exactly this name. Directories, symbolic links and names that are not UTF-8 are
    /// not: nothing is to be opened, renamed or removed by them.
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

/// Makes the content of a file; runs wherever the disk does its slow work.
pub type Content = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// An operation that finished.
#[derive(Debug)]
pub struct Completion {
    /// What the caller named it.
    pub token: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// A write: bytes written, which may be fewer than asked. They are durable if the write was to sync its range, and
    /// an error may then be the sync's.
    Written(io::Result<usize>),
    /// A sync. `ECANCELED` when it was to follow a write that failed or fell short, and when it did not follow its write
    /// although that is whole: it may then come before the write does.
    Synced(io::Result<()>),
    /// A populate.
    Populated(io::Result<()>),
    /// A new segment.
    Prepared(io::Result<Opened>),
    /// A replaced file: its content, given back.
    Put(io::Result<Vec<u8>>),
    /// A file that was written over, durably.
    Overwritten(io::Result<()>),
    /// Removed files.
    Unlinked(io::Result<()>),
}

/// What a write makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSync {
    /// Nothing.
    None,
    /// The bytes that it writes, and no others: writing and syncing are one operation with one completion. Where
    /// anything before them is not durable yet, this does not change it.
    Range,
    /// The whole file: a sync starts after the write has completed in full, and completes under the same token.
    File,
}

/// What a log asks of the kernel.
pub trait Disk {
    /// `uring`, `thread` or `memory`.
    fn name(&self) -> &'static str;

    /// Writes `bytes` at `at`, and makes durable what `sync` says.
    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, sync: WriteSync);
    /// Makes durable what was written to a file before.
    fn sync(&mut self, token: u64, file: FileId);
    /// Reads a range of a map into memory.
    fn populate(&mut self, token: u64, map: Arc<Map>, range: Range<usize>);
    /// Makes a new segment of zeroes, durable before it has its name.
    fn prepare(&mut self, token: u64, path: PathBuf, size: u64);
    /// Replaces a file as a whole, durably.
    fn put(&mut self, token: u64, path: PathBuf, content: Content);
    /// Writes over a file of the same length, in place and durably: needs no free space where the file system writes in
    /// place. When the end comes meanwhile, each sector is the old one or the new one. Where the file is missing or of
    /// another length, this does what [`Disk::put`] does.
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
    /// Whether the kernel has not taken all of the last submission, for want of memory or of room for completions: it
    /// is to be tried again soon, and nothing in flight needs to end before.
    fn is_behind(&self) -> bool;
    /// Takes what has finished.
    fn reap(&mut self, out: &mut Vec<Completion>);
    /// Submits, and blocks until something has finished, or until it is time to submit again.
    ///
    /// # Errors
    /// As [`Disk::submit`], or when nothing is in flight.
    fn wait(&mut self) -> io::Result<()>;
    /// An eventfd that is written to whenever something has finished. It is to be watched edge-triggered: nobody needs to
    /// read it then.
    fn wake_fd(&self) -> Option<RawFd>;
    /// Submissions that carried operations.
    fn submissions(&self) -> u64;

    /// Creates a directory (mode 0700) unless it is there. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    fn make_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// What a directory holds. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Reads from a place in a file until `out` is full or the file ends; fewer bytes than asked say that it ended.
    /// Blocks.
    ///
    /// # Errors
    /// The kernel's: one sector that cannot be read fails the whole call.
    fn read(&mut self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Gives a file another name in the same directory, durably. Blocks.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` when the new name is taken: nothing is ever replaced.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Lets two files of one directory change names, in one step and durably. Blocks.
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
    /// Names this run of the machine: the same until it goes down.
    ///
    /// # Errors
    /// When the kernel does not say.
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

/// Bytes of the first read of a file, which is enough for most.
const FIRST_READ: usize = 16 << 10;
