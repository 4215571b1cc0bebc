//! The errors, one type per operation, each with its cause. They are written by hand, as in the protocol crate: a macro
//! crate for them would be most of what users of this library compile.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::error::{FrameError, TopicError};
use oyez_protocol::event::{Goodbye, GoodbyeCode, Outcome};

use crate::address::AddressError;

/// Why a connection ended, or could not begin.
#[derive(Clone, Debug)]
pub enum ConnectionError {
    /// No connection could be made.
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A server answers at the address that is not an Oyez broker.
    NotABroker {
        /// Where it was tried.
        address: String,
        /// What the server did instead of sending a welcome.
        seen: Stranger,
    },
    /// Reading or writing failed.
    Io(Arc<io::Error>),
    /// The other side closed the connection without a goodbye.
    Closed,
    /// The broker sent nothing, and did not answer a ping.
    Silent {
        /// Time without a byte from the broker.
        silence: Duration,
    },
    /// The rest of a frame did not come: its size was damaged on its way, or the broker is gone.
    Unfinished,
    /// The broker ended the connection and said why.
    Goodbye {
        /// Why.
        code: GoodbyeCode,
        /// When to come back; zero leaves it to the client.
        retry_after: Duration,
        /// The reason in the broker's words.
        reason: String,
    },
    /// The broker cannot do what the session needs at the moment.
    NotNow {
        /// Why it cannot.
        outcome: Outcome,
        /// When to come back; zero leaves it to the client.
        retry_after: Duration,
    },
    /// The bytes that came are not a frame, or a damaged one. Nothing of it was delivered.
    Frame(FrameError),
    /// A whole frame came that has no place in this session.
    Unexpected {
        /// What the broker sent, as a noun phrase.
        what: &'static str,
    },
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, source } => write!(
                f,
                "cannot reach the broker at {address}: {source}; is it running there?"
            ),
            Self::NotABroker { address, seen } => write!(
                f,
                "{address} answers, but it is not an Oyez broker: {seen}; is this the right port?"
            ),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Closed => f.write_str("the broker closed the connection without saying why"),
            Self::Silent { silence } => write!(
                f,
                "the broker was silent for {} ms and did not answer a ping",
                silence.as_millis()
            ),
            Self::Unfinished => {
                f.write_str("the rest of a frame from the broker did not come in time")
            }
            Self::Goodbye { code, reason, .. } => write!(
                f,
                "the broker said goodbye: {reason} ({code:?}, code {})",
                *code as u16
            ),
            Self::NotNow { outcome, .. } => write!(f, "not now: {}", outcome.explain()),
            Self::Frame(error) => write!(f, "a frame from the broker is refused: {error}"),
            Self::Unexpected { what } => write!(f, "the broker sent {what}"),
        }
    }
}

/// How a server behaves that answers where a broker was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stranger {
    /// It speaks HTTP.
    Http,
    /// It speaks TLS, which a broker leaves to a proxy.
    Tls,
    /// It answers as Redis does.
    Redis,
    /// It speaks something else.
    Other,
    /// It closed the connection without a word.
    Closed,
    /// It sent nothing for this long; a broker that hangs does the same.
    Silent(Duration),
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("it speaks HTTP"),
            Self::Tls => f.write_str("it speaks TLS"),
            Self::Redis => f.write_str("it answers as Redis does"),
            Self::Other => f.write_str("what it says is no frame of Oyez"),
            Self::Closed => f.write_str("it closed the connection without a word"),
            Self::Silent(time) => {
                let time = seconds(time);
                write!(f, "it said nothing for {time}, unless it is one that hangs")
            }
        }
    }
}

impl Error for ConnectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Io(error) => Some(error),
            Self::Frame(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FrameError> for ConnectionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl ConnectionError {
    /// Turns the broker's goodbye into the reason of an end.
    pub(crate) fn goodbye(goodbye: &Goodbye<'_>) -> Self {
        Self::Goodbye {
            code: goodbye.code,
            retry_after: Duration::from_millis(u64::from(goodbye.retry_after_ms)),
            reason: goodbye.reason.to_owned(),
        }
    }

    /// Returns the goodbye to send before the connection is given up, if the broker's bytes are the reason.
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

    /// Whether the broker could not read what this client sent, or waited for a part of it in vain.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Goodbye {
                code: GoodbyeCode::Damaged,
                ..
            }
        )
    }

    /// Whether the broker stops and has given this client a delay after which to come back; each client gets another
    /// one.
    pub(crate) const fn is_told_when(&self) -> bool {
        matches!(
            self,
            Self::Goodbye {
                code: GoodbyeCode::Draining,
                retry_after,
                ..
            } if !retry_after.is_zero()
        )
    }

    /// How long the broker asked this client to stay away.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::Goodbye { retry_after, .. } | Self::NotNow { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

/// Why there is no session with the broker.
#[derive(Clone, Debug)]
pub enum ConnectError {
    /// The address is invalid.
    Address(AddressError),
    /// The credentials are longer than a hello may carry.
    Credentials {
        /// Their size in bytes.
        size: usize,
        /// The largest size in bytes.
        max: usize,
    },
    /// The first connection failed.
    Connection(ConnectionError),
    /// The broker refused this client, and connecting again would end the same way.
    Refused(ConnectionError),
    /// The connection was lost, and reconnecting failed for as long as the reconnect policy allows.
    GaveUp {
        /// Attempts made.
        attempts: u32,
        /// Time since the connection was lost.
        elapsed: Duration,
        /// How the last attempt ended.
        last: ConnectionError,
    },
    /// The broker could not read what was sent, several times in a row, and accepted nothing in between: the bytes are
    /// wrong, not damaged on their way.
    Damaged {
        /// Number of refusals.
        times: u32,
        /// The last of them.
        last: ConnectionError,
    },
    /// This client was drained or closed before.
    Closed,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Credentials { size, max } => write!(
                f,
                "the credentials have {size} bytes; at most {max} are allowed"
            ),
            Self::Connection(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "refused: {error}"),
            Self::GaveUp {
                attempts,
                elapsed,
                last,
            } => write!(
                f,
                "the connection was lost and did not come back in {attempts} attempts over {} s; the last one: {last}",
                elapsed.as_secs()
            ),
            Self::Damaged { times, last } => write!(
                f,
                "what was sent was refused {times} times in a row: {last}"
            ),
            Self::Closed => f.write_str("this client is closed; connect again"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address(error) => error.source(),
            Self::Connection(error) => error.source(),
            Self::Refused(error) => Some(error),
            Self::GaveUp { last, .. } => Some(last),
            Self::Damaged { last, .. } => Some(last),
            _ => None,
        }
    }
}

impl From<AddressError> for ConnectError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl ConnectError {
    /// Whether the broker was reached and refused.
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

/// Why a message was not published, or why its outcome is unknown.
#[derive(Clone, Debug)]
pub enum PublishError {
    /// The topic's name is invalid. Nothing was sent.
    Topic(TopicError),
    /// No record can hold the message, and nothing was sent; or the broker came back with smaller limits than those for
    /// which the message's record was made.
    TooLarge {
        /// Size in bytes of the message with its key and headers, or of the record.
        size: usize,
        /// Largest size in bytes that the broker accepts.
        max: usize,
    },
    /// The broker refused the record; none of its messages is in the topic.
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The broker's outcome.
        outcome: Outcome,
    },
    /// Nothing was sent: for [`ConnectOptions::answer_timeout`](crate::ConnectOptions::answer_timeout) as much was on
    /// its way as the broker allows, or there was no connection. The message is not in its topic.
    NotSent {
        /// How long the call waited.
        waited: Duration,
    },
    /// No acknowledgement came in time, and the outcome is unknown: the messages may or may not be in their topics.
    Unacknowledged {
        /// How long the call waited.
        waited: Duration,
    },
    /// The session ended before the acknowledgement came: the messages may or may not be in their topics.
    Disconnected(ConnectError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::TooLarge { size, max } => write!(
                f,
                "{size} bytes are too large for one record; the broker accepts at most {max}"
            ),
            Self::Refused { topic, outcome } => write!(
                f,
                "publishing to `{topic}` was refused: {}",
                outcome.explain()
            ),
            Self::NotSent { waited } => write!(
                f,
                "not sent: the broker took nothing for {}; the message is not stored",
                seconds(waited)
            ),
            Self::Unacknowledged { waited } => write!(
                f,
                "outcome unknown: no acknowledgement came within {}; the messages may or may not be stored",
                seconds(waited)
            ),
            Self::Disconnected(error) => error.fmt(f),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Topic(error) => error.source(),
            Self::Disconnected(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TopicError> for PublishError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<ConnectError> for PublishError {
    fn from(error: ConnectError) -> Self {
        Self::Disconnected(error)
    }
}

/// Why a subscription cannot go on. It is over after this error.
#[derive(Clone, Debug)]
pub enum SubscribeError {
    /// The topic's name is invalid.
    Topic(TopicError),
    /// The broker refused the subscription.
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The broker's outcome.
        outcome: Outcome,
    },
    /// The broker did not confirm the subscription in time.
    TimedOut {
        /// How long the call waited.
        waited: Duration,
    },
    /// The session ended and could not be resumed.
    Disconnected(ConnectError),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Refused { topic, outcome } => write!(
                f,
                "subscribing to `{topic}` was refused: {}",
                outcome.explain()
            ),
            Self::TimedOut { waited } => write!(
                f,
                "the subscription was not confirmed within {}",
                seconds(waited)
            ),
            Self::Disconnected(error) => error.fmt(f),
        }
    }
}

impl Error for SubscribeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Topic(error) => error.source(),
            Self::Disconnected(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<ConnectError> for SubscribeError {
    fn from(error: ConnectError) -> Self {
        Self::Disconnected(error)
    }
}

/// Why a question was not answered.
#[derive(Clone, Debug)]
pub enum QueryError {
    /// No answer came in time.
    TimedOut {
        /// How long the call waited.
        waited: Duration,
    },
    /// The session ended.
    Disconnected(ConnectError),
    /// The broker refused to answer.
    Refused {
        /// The broker's outcome.
        outcome: Outcome,
    },
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { waited } => {
                write!(f, "the broker did not answer within {}", seconds(waited))
            }
            Self::Disconnected(error) => error.fmt(f),
            Self::Refused { outcome } => {
                write!(f, "the broker refused to answer: {}", outcome.explain())
            }
        }
    }
}

impl Error for QueryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disconnected(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ConnectError> for QueryError {
    fn from(error: ConnectError) -> Self {
        Self::Disconnected(error)
    }
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
