//! The kernel side: memory, maps, files, the ring. The only place with `unsafe`; only safe types leave it.
//!
//! The crate-wide facts that the blocks here rely on:
//! - A [`arena::Block`] has one [`arena::BlockWriter`]. Bytes below its committed length never change while the block
//!   lives; nobody reads above it.
//! - A segment file is only ever written at positions that no reader has been told of, and is never overwritten,
//!   truncated or punched. So the bytes of a map below the log's visible place never change. Where somebody else cuts the
//!   file, or its medium fails, they turn to zeroes, and [`map::Map::is_unreadable`] says so to whoever asks after reading.

pub(crate) mod arena;
mod committed;
pub(crate) mod file;
pub(crate) mod guard;
pub(crate) mod housekeeper;
mod links;
pub(crate) mod map;
pub(crate) mod ring;
pub(crate) mod thread_disk;

use std::io;

/// Whether the answer is that there is no such call here, or no such kind of it: kernels say `ENOSYS`, sandboxes `EPERM`
/// too, file systems and old kernels `EOPNOTSUPP`. To be asked only of calls that there is another way around; where
/// `EPERM` is about the file, that way answers it again.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP)
    )
}
