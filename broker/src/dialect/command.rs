//! Commands, which sessions send, and replies, which they get, as values. None of them knows how it looks in bytes.

use std::borrow::Cow;
use std::fmt;

use oyez_protocol::command::{Place, Question, Start};
use oyez_protocol::event::{GapCause, GoodbyeCode, Outcome, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};

use crate::dialect::status::Status;

/// The dialect of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Too few bytes have come to tell.
    Unknown,
    /// Frames of `oyez_protocol`.
    Native,
    /// HTTP/1.1 or HTTP/1.0.
    Http,
    /// Frames of `oyez_protocol` in messages of WebSocket.
    WebSocket,
    /// JSON in messages of WebSocket.
    Json,
    /// TLS, which this broker does not speak.
    Tls,
    /// MQTT, which this broker does not speak.
    Mqtt,
    /// The header of a PROXY protocol, where none is allowed.
    Proxy,
}

/// How far a decoder has come with input that is not a whole command, so that it does not begin anew with each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DecodeProgress {
    /// Bytes that were searched for the end of a head.
    pub(crate) searched: u32,
    /// Where the next chunk of a body begins, and what those before it hold; both 0 before the first.
    pub(crate) chunks: u32,
    pub(crate) payload: u32,
    /// The peer was told that the rest is wanted (`100 Continue`).
    pub(crate) continued: bool,
}

/// The result of decoding the front of a session's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// The input does not hold a whole command yet.
    Need {
        /// Bytes of the whole command, as far as is known.
        total: usize,
    },
    /// A whole command.
    Command {
        command: Command<'a>,
        /// Bytes of the input that the command takes.
        size: usize,
    },
}

/// A command of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Asks to open the session.
    Hello(Hello<'a>),
    /// Publishes a record.
    Publish(Record<'a>),
    /// Asks for a topic's records.
    Subscribe(Subscribe<'a>),
    /// Ends a subscription.
    Unsubscribe { request: u32, topic: &'a str },
    /// Asks a question about the broker.
    Query {
        request: u32,
        question: Question<'a>,
    },
    /// Asks for something that this broker cannot do.
    Unsupported { request: u32, what: Unsupported },
    /// Asks about one topic.
    Topic { request: u32, topic: &'a str },
    /// Asks whether the broker is well, for programs that watch over it.
    Health { ready: bool },
    /// Asks for the broker's counters, for programs that gather them.
    Metrics,
    /// Asks for a text that is always the same.
    Say(&'static str),
    /// A request that is refused as it stands.
    Refuse(Refusal<'a>),
    /// Asks for a sign of life.
    Ping { token: u64 },
    /// Asks nothing, and is a sign of life.
    Nothing,
    /// Ends the session.
    Goodbye,
    /// A frame that a client may not send; the sentence says so.
    OutOfPlace(&'static str),
}

/// Requests that the protocol has, and this broker cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    /// A subscription to several topics at once, to a filter, or from another place than the latest, the earliest or an offset.
    Subscribe,
    /// The end of a subscription to a filter.
    Unsubscribe,
    /// A question that this broker does not know.
    Query,
    /// Other credentials.
    Renew,
    /// The place up to which a client is done, to be kept by the broker.
    Ack,
}

/// Opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello<'a> {
    /// The version that both sides speak.
    pub(crate) version: Result<u16, NoCommonVersion>,
    /// Longest silence that the client wishes for, in milliseconds; 0 leaves it to the broker.
    pub(crate) heartbeat_ms: u32,
    /// Name of the client's program.
    pub(crate) name: &'a str,
    pub(crate) credentials: &'a [u8],
}

/// The client speaks none of the broker's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCommonVersion {
    /// The version that the broker speaks.
    pub(crate) ours: u16,
    /// Versions that the client speaks, first and last.
    pub(crate) theirs: (u16, u16),
}

impl fmt::Display for NoCommonVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, (min, max)) = (self.ours, self.theirs);
        let older = if max < ours { "client" } else { "broker" };
        write!(
            formatter,
            "this broker speaks version {ours} of the protocol, the client {min} to {max}: update the {older}"
        )
    }
}

/// A wish for a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) request: u32,
    pub(crate) topic: &'a str,
    pub(crate) start: Start,
    /// The epoch that the offset to start with belongs to; `None` takes the offset as it is.
    pub(crate) epoch: Option<Epoch>,
}

/// A reply to a session, or something that it gets unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// The session is open.
    Welcome(Welcome<'a>),
    /// The outcomes of published records.
    Published(&'a [PublishedEntry]),
    /// Where a subscription begins, or why it does not.
    Subscribed {
        topic: &'a str,
        subscribed: Subscribed,
    },
    /// The broker cannot do what was asked.
    Unsupported { request: u32, what: Unsupported },
    /// A subscription has ended.
    Unsubscribed {
        request: u32,
        topic: &'a str,
        outcome: Outcome,
    },
    /// A JSON object that answers a question.
    Answer {
        request: u32,
        /// There is more to ask for, behind the last name of this answer.
        more: bool,
        json: &'a str,
    },
    /// Whether the broker is well, and why not.
    Health { is_well: bool, json: &'a str },
    /// The broker's counters.
    Metrics(&'a str),
    /// A text that was asked for.
    Said(&'static str),
    /// The request is taken, and does not wait for its outcome.
    Taken,
    /// The request is not served.
    Refused(Refusal<'a>),
    /// Messages of a subscription that will not come.
    Gap {
        topic: &'a str,
        cause: GapCause,
        /// First offset missing, and first that will come, in this epoch.
        from: Offset,
        to: Offset,
        epoch: Epoch,
    },
    /// Where a stream of several topics can be resumed.
    ResumeAt(&'a [Place<'a>]),
    /// Asks for a sign of life.
    Ping { token: u64 },
    /// A sign of life, with the token of the question.
    Pong { token: u64 },
    /// The session ends; nothing comes after this.
    Goodbye(&'a Goodbye),
}

/// What the broker grants a session, and its own name and instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome<'a> {
    /// The version that the session speaks.
    pub(crate) version: u16,
    pub(crate) heartbeat_ms: u32,
    pub(crate) limits: Limits,
    /// Published records that may wait for their outcome at once, and their bytes.
    pub(crate) inflight_records_max: u32,
    pub(crate) inflight_bytes_max: u32,
    /// Subscriptions that the session may have.
    pub(crate) subscriptions_max: u32,
    /// Random number of this run of the broker.
    pub(crate) instance: u64,
    /// Name of the broker's program.
    pub(crate) name: &'a str,
}

/// The outcome of a wish to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) request: u32,
    /// Without [`Outcome::Ok`] there is no subscription.
    pub(crate) outcome: Outcome,
    /// The offset that was asked for, or else the one that delivery begins with.
    pub(crate) asked: Offset,
    /// The offset that delivery begins with.
    pub(crate) next: Offset,
    /// The oldest offset kept, and the first that is not visible yet.
    pub(crate) earliest: Offset,
    pub(crate) head: Offset,
    pub(crate) epoch: Epoch,
    /// The epoch that was asked for is over.
    pub(crate) epoch_changed: bool,
    /// The offset that was asked for is not kept any more.
    pub(crate) dropped: bool,
}

impl Dialect {
    /// Whether the dialect is spoken in messages of WebSocket.
    pub(crate) const fn is_in_messages(self) -> bool {
        matches!(self, Self::WebSocket | Self::Json)
    }
}

impl Subscribed {
    /// A refusal that does not look where the subscription would begin.
    pub(crate) fn refused(request: u32, outcome: Outcome) -> Self {
        Self {
            request,
            outcome,
            asked: Offset::default(),
            next: Offset::default(),
            earliest: Offset::default(),
            head: Offset::default(),
            epoch: Epoch::default(),
            epoch_changed: false,
            dropped: false,
        }
    }
}

/// The last reply that a session gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: GoodbyeCode,
    /// When to come back, in milliseconds; 0 leaves it to the client.
    pub(crate) retry_after_ms: u32,
    /// A sentence for people.
    pub(crate) reason: Cow<'static, str>,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) request: u32,
    pub(crate) status: Status,
    /// A sentence for people.
    pub(crate) message: &'a str,
    /// When to try again, in milliseconds; 0 leaves it to the client.
    pub(crate) retry_after_ms: u32,
}
