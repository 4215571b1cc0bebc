//! What sessions ask and what they are told, as values. None of them knows how it looks in bytes.

use std::borrow::Cow;
use std::fmt;

use oyez_protocol::command::{Place, Question, Start};
use oyez_protocol::event::{GapCause, GoodbyeCode, Outcome, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};

use crate::dialect::status::Status;

/// What a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Too little has come to tell.
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
    /// The header of a PROXY protocol, where there may be none.
    Proxy,
}

/// How far a decoder has come with input that is no whole command, so that it does not begin anew with each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DecodeProgress {
    /// Bytes in which the end of a head was looked for.
    pub(crate) searched: u32,
    /// Where the next chunk of a body begins, and what those before it hold; both 0 before the first.
    pub(crate) chunks: u32,
    pub(crate) payload: u32,
    /// The peer was told that the rest is wanted.
    pub(crate) continued: bool,
}

/// What the front of a session's input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// Not a whole command yet.
    Need {
        /// Bytes that it has in all, as far as is known.
        total: usize,
    },
    /// A command.
    Command {
        command: Command<'a>,
        /// Bytes of the input that it takes.
        size: usize,
    },
}

/// What a session asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// To be let in.
    Hello(Hello<'a>),
    /// To publish.
    Publish(Record<'a>),
    /// To be sent a topic's records.
    Subscribe(Subscribe<'a>),
    /// To be sent no more of them.
    Unsubscribe { request: u32, topic: &'a str },
    /// About the broker.
    Query {
        request: u32,
        question: Question<'a>,
    },
    /// What this broker cannot do.
    Unsupported { request: u32, what: Unsupported },
    /// About one topic.
    Topic { request: u32, topic: &'a str },
    /// Whether the broker is well, for programs that watch over it.
    Health { ready: bool },
    /// For its counters, for programs that gather them.
    Metrics,
    /// To be told a text that is always the same.
    Say(&'static str),
    /// What is refused as it stands.
    Refuse(Refusal<'a>),
    /// For a sign of life.
    Ping { token: u64 },
    /// Nothing: it lives.
    Nothing,
    /// For no more: the session is over.
    Goodbye,
    /// What cannot be asked, with the sentence that says so.
    OutOfPlace(&'static str),
}

/// What the protocol has a place for, and this broker cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    /// To subscribe to several topics at once, to a filter, or from another place than the latest, the earliest or an offset.
    Subscribe,
    /// To unsubscribe from a filter.
    Unsubscribe,
    /// A question.
    Query,
    /// Other credentials.
    Renew,
    /// To keep what a client is done with.
    Ack,
}

/// Opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello<'a> {
    /// The version that both sides speak.
    pub(crate) version: Result<u16, NoCommonVersion>,
    /// Longest silence that the client wants, in milliseconds; 0 leaves it to the broker.
    pub(crate) heartbeat_ms: u32,
    /// What the client calls itself.
    pub(crate) name: &'a str,
    pub(crate) credentials: &'a [u8],
}

/// The client speaks none of the broker's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCommonVersion {
    /// What the broker speaks.
    pub(crate) ours: u16,
    /// What the client speaks: from, to.
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

/// Asks for a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) request: u32,
    pub(crate) topic: &'a str,
    pub(crate) start: Start,
    /// The epoch that an offset to start with belongs to; `None` takes the number as it is.
    pub(crate) epoch: Option<Epoch>,
}

/// What a session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// The session is open.
    Welcome(Welcome<'a>),
    /// What became of published records.
    Published(&'a [PublishedEntry]),
    /// Where a subscription begins, or why there is none.
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
        /// There is more to ask for, after the last name of this answer.
        more: bool,
        json: &'a str,
    },
    /// Whether the broker is well, and why not.
    Health { is_well: bool, json: &'a str },
    /// Its counters.
    Metrics(&'a str),
    /// A text that was asked for.
    Said(&'static str),
    /// What was asked is taken, and nobody waits for what becomes of it.
    Taken,
    /// What was asked is not served.
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
    /// Gives one, with the token of the question.
    Pong { token: u64 },
    /// Nothing comes after this.
    Goodbye(&'a Goodbye),
}

/// What the broker grants a session, and says of itself.
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
    /// What the broker calls itself.
    pub(crate) name: &'a str,
}

/// What became of a wish to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) request: u32,
    /// Without [`Outcome::Ok`] there is no subscription.
    pub(crate) outcome: Outcome,
    /// The offset that was asked for, or else that delivery begins with.
    pub(crate) asked: Offset,
    /// The offset that delivery begins with.
    pub(crate) next: Offset,
    /// The oldest offset kept, and the first that is not visible yet.
    pub(crate) earliest: Offset,
    pub(crate) head: Offset,
    pub(crate) epoch: Epoch,
    /// The epoch that was asked for is over.
    pub(crate) epoch_changed: bool,
    /// The offset that was asked for is kept no more.
    pub(crate) dropped: bool,
}

impl Dialect {
    /// Whether it is spoken in messages of WebSocket.
    pub(crate) const fn is_in_messages(self) -> bool {
        matches!(self, Self::WebSocket | Self::Json)
    }
}

impl Subscribed {
    /// There is no subscription, and nobody has looked where it would begin.
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

/// The last thing that a session is told.
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
    /// When to try again, in milliseconds; 0 says nothing.
    pub(crate) retry_after_ms: u32,
}
