//! Why a command ends early: the message, and the exit code.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use oyez_client::{ConnectError, ConnectionError, PublishError, QueryError, SubscribeError};

use crate::say::say;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Exit code 2.
    Usage(String),
    /// Exit code 3.
    Disconnected(ConnectError),
    /// Exit code 4.
    Refused(String),
    /// Exit code 5.
    Timeout(Duration),
    /// Something took longer than it may. Exit code 5.
    Overdue(String),
    /// A signal ended the command. The exit code is 128 plus the signal's number, as in shells.
    Interrupted {
        /// Number of the signal.
        signal: i32,
        /// What was done, and what was not.
        text: String,
    },
    /// The reader of standard output has closed it and wants no more. Exit code 0, without a message.
    ReaderGone,
}

impl Failure {
    /// Prints what happened, in the name of `program`, and returns the exit code.
    #[must_use]
    pub fn report(&self, program: &str) -> ExitCode {
        let (code, text) = match self {
            Self::Failed(text) => (1, text.clone()),
            Self::Usage(text) => (2, format!("{text}\nTry `{program} --help`.")),
            Self::Disconnected(error) if is_unreachable(error) => (
                3,
                format!(
                    "{error}\nStart one with `oyez-server`, or name another with --server HOST:PORT."
                ),
            ),
            Self::Disconnected(error) => (3, error.to_string()),
            Self::Refused(text) => (4, text.clone()),
            Self::Timeout(time) => {
                let seconds = time.as_secs_f64();
                (5, format!("no message came for {seconds} s (--timeout)"))
            }
            Self::Overdue(text) => (5, text.clone()),
            Self::Interrupted { signal, text } => {
                (u8::try_from(128 + signal).unwrap_or(1), text.clone())
            }
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        say(&format!("{program}: {text}"));
        ExitCode::from(code)
    }

    /// Makes a failure of reading or writing from `what` and the error.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    /// Makes a failure of writing to standard output; a closed pipe is [`Self::ReaderGone`].
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::io("cannot write to standard output", error)
        }
    }
}

/// Whether no broker was reached, as opposed to a broker that refused or failed.
const fn is_unreachable(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Connection(ConnectionError::Unreachable { .. })
            | ConnectError::GaveUp {
                last: ConnectionError::Unreachable { .. },
                ..
            }
    )
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Address(_) | ConnectError::Credentials { .. } => {
                Self::Usage(error.to_string())
            }
            error if error.is_refusal() => Self::Refused(error.to_string()),
            error => Self::Disconnected(error),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Topic(error) => Self::Usage(error.to_string()),
            PublishError::TooLarge { .. } => Self::Failed(error.to_string()),
            PublishError::Refused { .. } => Self::Refused(error.to_string()),
            PublishError::NotSent { .. } | PublishError::Unacknowledged { .. } => {
                Self::Overdue(error.to_string())
            }
            PublishError::Disconnected(error) => error.into(),
        }
    }
}

impl From<SubscribeError> for Failure {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Topic(error) => Self::Usage(error.to_string()),
            SubscribeError::Refused { .. } => Self::Refused(error.to_string()),
            SubscribeError::TimedOut { .. } => Self::Overdue(error.to_string()),
            SubscribeError::Disconnected(error) => error.into(),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Disconnected(error) => error.into(),
            QueryError::Refused { .. } => Self::Refused(error.to_string()),
            QueryError::TimedOut { .. } => Self::Overdue(error.to_string()),
        }
    }
}
