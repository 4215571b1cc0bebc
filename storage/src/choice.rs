//! The choice of a shard's disk: io_uring, or the thread that stands in for it.

use std::io;

use crate::disk::Disk;
use crate::sys::ring::{self, UringDisk};
use crate::sys::thread_disk::ThreadDisk;

/// Which disk to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskChoice {
    /// io_uring, or the thread where it is forbidden.
    Auto,
    /// io_uring or an error.
    Uring,
    /// The thread.
    Thread,
}

/// A disk, and the reason if it is not the one that `Auto` prefers.
pub struct OpenDisk {
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// The reason why `Auto` could not use io_uring.
    pub fallback: Option<String>,
}

/// Whether io_uring can be used here.
///
/// # Errors
/// The reason why it cannot.
pub fn probe_uring() -> Result<(), String> {
    ring::probe()
}

/// Opens a disk for the calling shard.
///
/// # Errors
/// When the chosen disk cannot be opened.
pub fn open_disk(choice: DiskChoice) -> io::Result<OpenDisk> {
    let fallback = match choice {
        DiskChoice::Thread => None,
        DiskChoice::Uring => return UringDisk::open().map(OpenDisk::preferred),
        DiskChoice::Auto => match probe_uring() {
            Ok(()) => return UringDisk::open().map(OpenDisk::preferred),
            Err(why) => Some(why),
        },
    };
    let disk = Box::new(ThreadDisk::open()?);
    Ok(OpenDisk { disk, fallback })
}

impl OpenDisk {
    fn preferred(disk: UringDisk) -> Self {
        Self {
            disk: Box::new(disk),
            fallback: None,
        }
    }
}
