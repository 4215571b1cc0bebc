//! What a store does over and over until it works, and what is told of it.

use std::fmt;
use std::io;

use oyez_protocol::LogId;

/// What a store does over and over until it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The next segment.
    Prepare,
    /// The footer of a full segment.
    Footer,
    /// The table of topics without records, before segments are removed.
    Carried,
    /// Removing segments that retention has dropped.
    Unlink,
    /// The log's state. Where it would say that the log was closed it is not tried again: the next start recovers the log.
    State,
    /// Handing operations to the kernel.
    Submit,
}

impl Task {
    /// What is done, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "preparing the next segment",
            Self::Footer => "writing the footer of a full segment",
            Self::Carried => "writing the table of topics without records",
            Self::Unlink => "removing dropped segments",
            Self::State => "writing the log's state",
            Self::Submit => "handing operations to the kernel",
        }
    }

    /// What has failed when the log's directory is gone.
    pub(crate) const fn in_no_directory(self) -> &'static str {
        match self {
            Self::Prepare => "the log's directory is gone: preparing the next segment",
            Self::Footer => "the log's directory is gone: writing the footer of a full segment",
            Self::Carried => "the log's directory is gone: writing a table of topics",
            Self::Unlink => "the log's directory is gone: removing dropped segments",
            Self::State | Self::Submit => "the log's directory is gone: writing the state file",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something has begun to fail, or fails for another reason than before.
#[derive(Debug)]
pub struct Failing {
    /// The log; none for what concerns all of a store.
    pub log: Option<LogId>,
    /// What fails.
    pub task: Task,
    /// The reason.
    pub error: io::Error,
}

/// What had failed works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The log; none for what concerns all of a store.
    pub log: Option<LogId>,
    /// What works.
    pub task: Task,
    /// How often it had failed in a row.
    pub failures: u64,
}

/// Whether an error says that the directory of a log is gone, rather than that something in it does not work.
pub(crate) fn has_vanished(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
    )
}
