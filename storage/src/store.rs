//! One per shard: the disk, and the logs assigned to the shard.
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};

use crate::reader::{ColdRange, LogReader};
use crate::*;

/// The shard's logs.
pub struct Store;

#[allow(
    unused_variables,
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc
)]
impl Store {
    pub fn open(
        dir: &DataDir,
        logs: &[LogId],
        disk: Box<dyn Disk>,
        pool: Arc<ArenaPool>,
        options: &LogOptions,
        now_ms: u64,
    ) -> Result<(Self, Vec<RecoveryReport>), OpenError> {
        todo!()
    }
    pub fn append(
        &mut self,
        log: LogId,
        record: &Record<'_>,
        now_ms: u64,
    ) -> Result<Appended, AppendError> {
        todo!()
    }
    pub fn pump(&mut self, now_ms: u64, progress: &mut Progress) -> Result<(), Poisoned> {
        todo!()
    }
    pub fn submit(&mut self) -> io::Result<()> {
        todo!()
    }
    pub fn next_deadline_ms(&self) -> Option<u64> {
        todo!()
    }
    pub fn wake_fd(&self) -> Option<RawFd> {
        todo!()
    }
    /// Reads the eventfd empty.
    pub fn drain_wake(&mut self) {
        todo!()
    }
    pub fn reader(&self, log: LogId) -> LogReader {
        todo!()
    }
    pub fn visible(&self, log: LogId) -> Position {
        todo!()
    }
    pub fn locate(&self, log: LogId, topic: &str, start: StartAt, walked: Position) -> Located {
        todo!()
    }
    pub fn places(&self, log: LogId, topic: &str, from: Offset, max: usize, out: &mut Vec<Place>) {
        todo!()
    }
    pub fn topics(&mut self, after: Option<&str>, max: usize) -> Vec<TopicInfo> {
        todo!()
    }
    pub fn populate(&mut self, cold: ColdRange, token: u64) {
        todo!()
    }
    pub fn begin_drain(&mut self) {
        todo!()
    }
    pub fn is_drained(&self) -> bool {
        todo!()
    }
    pub fn stats(&self) -> StoreStats {
        todo!()
    }
}
/// The seam to the kernel.
pub trait Disk {}
/// A data directory. `Send + Sync + Clone`, holds no descriptor.
#[derive(Clone)]
pub struct DataDir;
/// The flock; not `Send`: keep it in the thread that opened the directory.
pub struct DirLock;
#[allow(
    unused_variables,
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc
)]
impl DataDir {
    pub fn open(
        path: impl AsRef<std::path::Path>,
        options: &DirOptions,
    ) -> Result<(Self, DirLock), DirError> {
        todo!()
    }
    pub fn path(&self) -> &std::path::Path {
        todo!()
    }
    pub fn log_of(&self, topic: &str, durability: Durability) -> LogId {
        todo!()
    }
    pub fn logs(&self) -> impl Iterator<Item = LogSpec> + use<> {
        std::iter::empty()
    }
}
/// How large the arena is.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// Blocks of 2 MiB at most, for all logs of the process.
    pub blocks_max: usize,
    /// Blocks touched ahead of need.
    pub blocks_ready: usize,
}
/// Process-wide blocks.
pub struct ArenaPool;
#[allow(
    unused_variables,
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc
)]
impl ArenaPool {
    pub fn new(options: &ArenaOptions) -> io::Result<Arc<Self>> {
        todo!()
    }
    pub fn resident_bytes(&self) -> u64 {
        todo!()
    }
}
/// Which disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskChoice {
    /// The ring, or the thread where it is forbidden.
    Auto,
    /// The ring.
    Uring,
    /// The thread.
    Thread,
}
/// Whether the ring can be used.
///
/// # Errors
/// Why not.
pub fn probe_uring() -> Result<(), String> {
    todo!()
}
/// A disk that was opened, and why it is not the ring if `Auto` fell back.
pub struct OpenDisk {
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// Why `Auto` fell back to the thread.
    pub fallback: Option<String>,
}
/// Opens the disk; call it in the shard's thread, after `unshare`.
///
/// # Errors
/// When the chosen disk cannot be had.
pub fn open_disk(choice: DiskChoice) -> io::Result<OpenDisk> {
    todo!()
}
