//! The tasks that a store tries again until they work, and what it reports of them.

use std::fmt;
use std::io;

use oyez_protocol::LogId;

/// A task that a store tries again until it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Making the next segment.
    Prepare,
    /// Writing the footer of a full segment.
    Footer,
    /// Writing the table of carried topics, before segments are removed.
    Carried,
    /// Removing segments that retention has dropped.
    Unlink,
    /// Writing the log's state. The write that would mark the log as closed is not tried again: the next start recovers
    /// the log.
    State,
    /// Handing operations to the kernel.
    Submit,
}

impl Task {
    /// The task in words, for messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "preparing the next segment",
            Self::Footer => "writing the footer of a full segment",
            Self::Carried => "writing the table of carried topics",
            Self::Unlink => "removing dropped segments",
            Self::State => "writing the log's state",
            Self::Submit => "handing operations to the kernel",
        }
    }

    /// The task in words when the log's directory is gone.
    pub(crate) const fn in_no_directory(self) -> &'static str {
        match self {
            Self::Prepare => "the log's directory is gone: preparing the next segment",
            Self::Footer => "the log's directory is gone: writing the footer of a full segment",
            Self::Carried => "the log's directory is gone: writing the table of carried topics",
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

/// A task that has begun to fail, or fails for another reason than before.
#[derive(Debug)]
pub struct Failing {
    /// The log; `None` for a task of the whole store.
    pub log: Option<LogId>,
    /// The task.
    pub task: Task,
    /// The reason.
    pub error: io::Error,
}

/// A task that had failed and works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The log; `None` for a task of the whole store.
    pub log: Option<LogId>,
    /// The task.
    pub task: Task,
    /// How often it had failed in a row.
    pub failures: u64,
}

/// Whether an error means that the directory of a log is gone, rather than that a file in it cannot be written.
pub(crate) fn has_vanished(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
    )
}
