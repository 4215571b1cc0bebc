//! The Oyez log on disk.

mod dir;
mod disk;
mod error;
mod flush;
mod footer;
mod format;
mod index;
mod log;
mod lookup;
mod memory_disk;
mod open;
mod options;
mod place;
mod reader;
mod recovery;
mod retention;
mod scan;
mod seal;
mod segment;
mod shared;
mod sip;
mod state;
mod store;
mod survey;
#[expect(
    unsafe_code,
    reason = "memory maps, the arena and io_uring have no safe interface"
)]
mod sys;
mod table;

pub use dir::{DataDir, DirLock, LOGS_PER_DURABILITY_MAX};
pub use disk::{
    Block, BlockRange, Completion, Content, Disk, DiskChoice, Entry, FileId, Map, OpenDisk, Opened,
    Outcome, open_disk, probe_uring,
};
pub use error::*;
pub use format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, FORMAT_VERSION, PAD_HEADER_SIZE, SYNC_MARK_SIZE};
pub use memory_disk::{Call, Fault, MemoryDisk, Step};
pub use options::*;
pub use place::*;
pub use reader::{ColdRange, FileRange, LogReader, Read, SegmentFiles};
pub use store::Store;
pub use sys::arena::{ArenaOptions, ArenaPool};
