//! What can go wrong, one type per operation, each with its cause.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::error::{FrameError, TopicError};
use oyez_protocol::event::{Goodbye, GoodbyeCode, Outcome};
use thiserror::Error;

use crate::address::AddressError;

/// Why a connection ended, or could not begin.
#[derive(Clone, Debug, Error)]
pub enum ConnectionError {
    /// No connection could be made.
    #[error("cannot reach the broker at {address}: {source}; is it running there?")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(#[source] Arc<io::Error>),
    /// The other side closed the connection without a goodbye.
    #[error("the broker closed the connection without saying why")]
    Closed,
    /// Nothing was heard, and a ping was not answered.
    #[error("the broker was silent for {} ms and did not answer a ping", .silence.as_millis())]
    Silent {
        /// How long nothing came.
        silence: Duration,
    },
    /// A frame began and its rest did not come: its size was damaged on its way, or the broker is gone.
    #[error("the rest of a frame from the broker did not come in time")]
    Unfinished,
    /// The broker ended the connection and said why.
    #[error("the broker said goodbye: {reason} ({code:?}, code {})", *.code as u16)]
    Goodbye {
        /// Why.
        code: GoodbyeCode,
        /// When to come back; zero leaves it to the client.
        retry_after: Duration,
        /// The broker's words.
        reason: String,
    },
    /// The broker cannot do what the session needs at the moment.
    #[error("not now: {}", .outcome.explain())]
    NotNow {
        /// Its outcome.
        outcome: Outcome,
        /// When to come back; zero leaves it to the client.
        retry_after: Duration,
    },
    /// What came is not a frame, or a damaged one. It was not delivered.
    #[error("a frame from the broker is refused: {0}")]
    Frame(#[from] FrameError),
    /// A whole frame that has no place here.
    #[error("the broker sent {what}")]
    Unexpected {
        /// What came instead.
        what: &'static str,
    },
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl ConnectionError {
    /// The broker's goodbye as the reason of an end.
    pub(crate) fn goodbye(goodbye: &Goodbye<'_>) -> Self {
        Self::Goodbye {
            code: goodbye.code,
            retry_after: Duration::from_millis(u64::from(goodbye.retry_after_ms)),
            reason: goodbye.reason.to_owned(),
        }
    }

    /// What the broker is told before the connection is given up: only what it sent can be its fault.
    pub(crate) fn complaint(&self) -> Option<(GoodbyeCode, String)> {
        match self {
            Self::Frame(refused) => Some(((*refused).into(), refused.to_string())),
            _ => None,
        }
    }

    /// Whether connecting again can help.
    #[must_use]
    pub const fn may_reconnect(&self) -> bool {
        match self {
            Self::Goodbye { code, .. } => code.may_reconnect(),
            _ => true,
        }
    }

    /// Whether the broker could not read what was sent, or waited for a part of it in vain.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Goodbye {
                code: GoodbyeCode::Damaged,
                ..
            }
        )
    }

    /// How long the broker asked to stay away.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::Goodbye { retry_after, .. } | Self::NotNow { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

/// Why there is no session with the broker.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// The address is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// More credentials than a hello may carry.
    #[error("the credentials have {size} bytes; at most {max} are allowed")]
    Credentials {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The first connection failed.
    #[error(transparent)]
    Connection(ConnectionError),
    /// The broker does not want this client back: connecting again would end the same way.
    #[error("refused: {0}")]
    Refused(#[source] ConnectionError),
    /// The connection was lost, and coming back failed for as long as the reconnect policy allows.
    #[error(
        "the connection was lost and did not come back in {attempts} attempts over {} s; the last one: {last}", .elapsed.as_secs()
    )]
    GaveUp {
        /// Attempts made.
        attempts: u32,
        /// Time since the connection was lost.
        elapsed: Duration,
        /// How the last attempt ended.
        #[source]
        last: ConnectionError,
    },
    /// The broker could not read what was sent, again and again, and took nothing in between: it is not the way that does
    /// the damage.
    #[error("what was sent was refused {times} times in a row: {last}")]
    Damaged {
        /// Refusals.
        times: u32,
        /// The last of them.
        #[source]
        last: ConnectionError,
    },
    /// This client was drained or closed before.
    #[error("this client is closed; connect again")]
    Closed,
}

impl ConnectError {
    /// Whether the broker itself refused, as opposed to not being reached.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Damaged { .. }
                | Self::Connection(ConnectionError::Goodbye { .. })
                | Self::GaveUp {
                    last: ConnectionError::Goodbye { .. },
                    ..
                }
        )
    }
}

impl From<ConnectionError> for ConnectError {
    fn from(error: ConnectionError) -> Self {
        if error.may_reconnect() {
            Self::Connection(error)
        } else {
            Self::Refused(error)
        }
    }
}

/// Why a message was not published, or is not known to be.
#[derive(Clone, Debug, Error)]
pub enum PublishError {
    /// The name is not a topic. Nothing was sent.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// No record can hold the message, and nothing was sent; or the broker came back with narrower limits than those
    /// that the record of the message was made for.
    #[error("{size} bytes are too large for one record; the broker accepts at most {max}")]
    TooLarge {
        /// Bytes of the message with its key and headers, or of the record.
        size: usize,
        /// Bytes that the broker takes.
        max: usize,
    },
    /// The broker refused the record; none of its messages is in the topic.
    #[error("publishing to `{topic}` was refused: {}", .outcome.explain())]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The broker's outcome.
        outcome: Outcome,
    },
    /// The session ended before the acknowledgement came: the messages may or may not be in their topics.
    #[error(transparent)]
    Disconnected(#[from] ConnectError),
}

/// Why a subscription cannot go on. It is over after this.
#[derive(Clone, Debug, Error)]
pub enum SubscribeError {
    /// The name is not a topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The broker refused the subscription.
    #[error("subscribing to `{topic}` was refused: {}", .outcome.explain())]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The broker's outcome.
        outcome: Outcome,
    },
    /// The session ended and could not be resumed.
    #[error(transparent)]
    Disconnected(#[from] ConnectError),
}

/// Why a question was not answered.
#[derive(Clone, Debug, Error)]
pub enum QueryError {
    /// The session ended.
    #[error(transparent)]
    Disconnected(#[from] ConnectError),
    /// The broker refused to answer.
    #[error("the broker does not answer that: {}", .outcome.explain())]
    Refused {
        /// The broker's outcome.
        outcome: Outcome,
    },
}
