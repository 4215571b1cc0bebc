//! The kernel side: memory, maps, files, the ring. The only place with `unsafe`; only safe types leave it.
//!
//! The crate-wide facts that the blocks here rely on:
//! - A [`arena::Block`] has one [`arena::BlockWriter`]. Bytes below its committed length never change while the block
//!   lives; nobody reads above it.
//! - A segment file is written only at positions that readers do not read yet, or with the same bytes again; it is never
//!   truncated or punched. So the bytes of a map below the log's visible position never change. If another program cuts the
//!   file, or its medium fails, they turn to zeroes, and [`map::Map::is_unreadable`] reports that after the read.

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

/// Whether an error means that a system call, or this use of it, is not available here: kernels answer `ENOSYS`, sandboxes
/// also `EPERM`, file systems and old kernels `EOPNOTSUPP`. Use it only for calls that have a fallback; if `EPERM` is about
/// the file, the fallback fails with it as well.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP)
    )
}
