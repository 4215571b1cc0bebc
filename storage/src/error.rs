//! Errors, one enum per operation, shaped by what happens next.

use std::io;
use std::path::PathBuf;

use oyez_protocol::LogId;
use thiserror::Error;

/// Why a data directory cannot be used. The broker does not start.
#[derive(Debug, Error)]
pub enum DirError {
    /// The path is not a directory.
    #[error("{path} is not a directory; name a directory for the data, or none to create one")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory that it is to be made in does not exist.
    #[error(
        "{path} cannot be made, because the directory that it would lie in does not exist; make that first, or name another"
    )]
    NoParent {
        /// The path.
        path: PathBuf,
    },
    /// Another process holds it.
    #[error(
        "{path} is in use by process {pid}; two brokers cannot share a data directory: stop the other one, or name another directory"
    )]
    Locked {
        /// The path.
        path: PathBuf,
        /// The process id that the holder has written; `unknown` if it has written none.
        pid: String,
    },
    /// Written by another version of the format.
    #[error(
        "{path} has format version {found}, this broker reads 1 to {expected}; use the version that wrote it, or another directory"
    )]
    Version {
        /// The path.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version of this code.
        expected: u32,
    },
    /// No copy of the meta file is whole.
    #[error(
        "{path} and its second copy are damaged or not Oyez meta files; restore one of them from a copy of the data directory"
    )]
    Damaged {
        /// The meta file.
        path: PathBuf,
    },
    /// The directory holds other files and no meta file.
    #[error("{path} holds files but no Oyez meta file; name an empty directory")]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// The number of logs is not usable.
    #[error("{logs} logs per durability are not possible; use 1 to {max}")]
    Logs {
        /// The number asked for.
        logs: u16,
        /// The most that there can be.
        max: u16,
    },
    /// Writing is refused.
    #[error(
        "{path} cannot be written: {source}; check its owner, its mode (0700) and that the file system is not mounted read-only"
    )]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No space.
    #[error("{path}: no space left for the data directory; free some or name another one")]
    Full {
        /// The file or directory.
        path: PathBuf,
    },
    /// Another failure.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl DirError {
    pub(crate) fn from_io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// Why a store cannot be opened. The broker does not start.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Options that contradict each other.
    #[error("storage options: {0}")]
    Options(String),
    /// No such log in the data directory.
    #[error("the data directory has no log {0}")]
    NoSuchLog(LogId),
    /// No space for the first segment.
    #[error(
        "{path}: {free} bytes free, {needed} needed to start the log; free some space or configure smaller segments"
    )]
    NoSpace {
        /// The log's directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The arena cannot hold the tails of the logs.
    #[error("the arena has too few free blocks to open {path}; configure more")]
    Arena {
        /// The log's directory.
        path: PathBuf,
    },
    /// The log belongs to another data directory or another log.
    #[error(
        "{path} belongs to another data directory or log; restore the original, or move it away"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The log was written by another version of the format.
    #[error(
        "{path} has format version {found}, this broker reads 1 to {expected}; use the version that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version of this code.
        expected: u32,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Why a record was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The arena is full, or the next segment is not ready: stop reading from this publisher until
    /// [`StoreEvents::accepting_again`](crate::StoreEvents::accepting_again) names the log.
    #[error("the log is busy; try again")]
    Busy,
    /// The next segment was needed for three seconds and could not be made, for another reason than space, or making it
    /// takes too long. A failed attempt is repeated about once a second.
    #[error("the log's next segment cannot be made; publishing resumes when it can")]
    NoSegment,
    /// No space for the next segment. The attempt is repeated about once a second.
    #[error("the disk is full; publishing resumes when space is freed")]
    DiskFull,
    /// A write or sync failed; the broker stops.
    #[error("the log failed and takes no more records")]
    Poisoned,
    /// The record is larger than the limits of this store allow.
    #[error("the record is larger than this store accepts")]
    TooLarge,
    /// The record's topic is new, and the log holds as many topics as it may.
    #[error("the log has as many topics as it may; publish to one of them, or raise the limit")]
    TooManyTopics,
    /// The record's topic is a new one, and it was to be one that the log knows.
    #[error("the log has no such topic")]
    UnknownTopic,
    /// A drain has begun.
    #[error("the store is closing")]
    Closing,
    /// The log belongs to another store.
    #[error("the log belongs to another shard")]
    NotHere,
}

/// A log that failed for good. The broker logs this and stops.
#[derive(Debug, Error)]
#[error(
    "log {log}: {what} failed: {source}; records not yet acknowledged are lost, the log takes no more"
)]
pub struct Poisoned {
    /// The log.
    pub log: LogId,
    /// `write`, `sync`, ...
    pub what: &'static str,
    /// The cause.
    pub source: io::Error,
}

/// Why a range of a log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Retention removed it.
    #[error("retention removed the range")]
    Dropped,
    /// Its bytes are damaged and are not served.
    #[error("the range is damaged")]
    Damaged,
    /// It is not visible yet, or crosses a block's border.
    #[error("the range is not readable")]
    Unreadable,
}

/// Why a cold range did not become readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PopulateError {
    /// Reading failed; it may work later.
    #[error("reading the segment failed: {0}")]
    Io(io::ErrorKind),
}
