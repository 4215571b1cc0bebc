//! The calls of a disk in memory that a test sees, and the faults that it injects.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::disk::WriteSync;

/// A call of the disk, or a step of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A write was handed over.
    Write {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Bytes.
        len: usize,
        /// What it is to sync.
        sync: WriteSync,
    },
    /// A write has completed with so many bytes.
    Written {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// A sync has started: it covers the writes completed before.
    SyncStarted {
        /// The file.
        path: PathBuf,
        /// The bytes that it covers; `None` is all.
        range: Option<Range<u64>>,
    },
    /// A sync has completed.
    Synced {
        /// The file.
        path: PathBuf,
        /// The bytes that it covers; `None` is all.
        range: Option<Range<u64>>,
    },
    /// A segment was prepared.
    Prepared {
        /// The file.
        path: PathBuf,
    },
    /// A file was replaced.
    Put {
        /// The file.
        path: PathBuf,
    },
    /// A file was overwritten in place.
    Overwritten {
        /// The file.
        path: PathBuf,
    },
    /// A file got another name.
    Renamed {
        /// The name it had.
        from: PathBuf,
        /// The name it has.
        to: PathBuf,
    },
    /// Two files changed names.
    Exchanged {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// A file was removed.
    Unlinked {
        /// The file.
        path: PathBuf,
    },
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// A write.
    Write,
    /// A sync.
    Sync,
    /// A new segment.
    Prepare,
    /// A replaced file.
    Put,
    /// A file that is overwritten.
    Overwrite,
    /// A new name for a file, or two files that change names.
    Rename,
    /// Removed files.
    Unlink,
    /// A populate.
    Populate,
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Prepare => "prepare",
            Self::Put => "put",
            Self::Overwrite => "overwrite",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::Populate => "populate",
        })
    }
}

/// A fault of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with this error number.
    Error(i32),
    /// A write stops after so many bytes.
    Short(usize),
    /// For the next write that is followed by a sync of its file: the sync runs and ends before the write. The disk
    /// notices, and the sync ends with `ECANCELED`.
    Severed,
    /// The same, but the disk does not notice, and reports success.
    Overtaken,
}
