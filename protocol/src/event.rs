//! Control frames that the broker sends, and those that go both ways.

pub use crate::code::{GapCause, GoodbyeCode, Outcome, OutcomeClass, SkipCause};

use crate::body::{Body, FrameWriter, cut_text};
use crate::command::{BY_SEQUENCE, Numbered, name_by};
use crate::error::FrameError;
use crate::header::kind;
use crate::id::{Epoch, LogId, Offset, Sequence};
use crate::limits::{
    ANSWER_SIZE_MAX, Limits, PUBLISHED_ENTRIES_MAX, PUBLISHED_ENTRY_SIZE, TEXT_SIZE_MAX,
};
use crate::topic;

/// What brokers can do beyond what all of them can, as bits of [`Welcome::features`]. A broker answers what it cannot do with
/// [`Outcome::NotSupported`].
pub mod feature {
    /// Several topics in one `Subscribe`.
    pub const SEVERAL_TOPICS: u32 = 1;
    /// Filters in `Subscribe`.
    pub const FILTERS: u32 = 2;
    /// Starts by time.
    pub const START_BY_TIME: u32 = 4;
    /// Starts with the last messages.
    pub const START_BY_COUNT: u32 = 8;
    /// Resume tokens.
    pub const TOKENS: u32 = 16;
    /// Named cursors and `Ack`.
    pub const CURSORS: u32 = 32;
    /// `Renew`.
    pub const RENEW: u32 = 64;
}

/// Accepts a [`crate::command::Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The version that this connection speaks.
    pub version: u16,
    /// After this many milliseconds of silence the broker pings, and after as many more it closes the session.
    pub heartbeat_ms: u32,
    /// What the broker accepts.
    pub limits: Limits,
    /// Records that may wait for their outcome at once.
    pub inflight_records_max: u32,
    /// Bytes of records that may wait for their outcome at once.
    pub inflight_bytes_max: u32,
    /// Subscriptions that the session may have.
    pub subscriptions_max: u32,
    /// What the broker can do beyond what all brokers can: bits of [`feature`]. Others may be set.
    pub features: u32,
    /// When the credentials end, in milliseconds since the Unix epoch; 0 is never.
    pub expires_ms: u64,
    /// Random number of this run of the broker.
    pub instance: u64,
    /// What the broker calls itself.
    pub name: &'a str,
}

impl<'a> Welcome<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let heartbeat_ms = body.u32("heartbeat")?;
        let limits = Limits {
            record_size_max: body.u32("record size")?,
            raw_size_max: body.u32("raw size")?,
        };
        let inflight_records_max = body.u32("inflight records")?;
        let inflight_bytes_max = body.u32("inflight bytes")?;
        let features = body.u32("features")?;
        let instance = body.u64("instance")?;
        let expires_ms = body.u64("expires")?;
        let subscriptions_max = body.u32("subscriptions")?;
        let name_size = usize::from(body.u16("name size")?);
        body.zeros(2)?;
        if !limits.are_valid() {
            return Err(body.malformed("limits above what the protocol allows"));
        }
        if name_size > TEXT_SIZE_MAX {
            return Err(body.malformed("name is too long"));
        }
        let name = body.text(name_size, "name")?;
        body.end()?;
        Ok(Self {
            version: aux,
            heartbeat_ms,
            limits,
            inflight_records_max,
            inflight_bytes_max,
            subscriptions_max,
            features,
            expires_ms,
            instance,
            name,
        })
    }

    /// Appends the frame; a name over 1,024 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = cut_text(self.name, TEXT_SIZE_MAX);
        FrameWriter::new(out, kind::WELCOME, 0, self.version, 0)
            .u32(self.heartbeat_ms)
            .u32(self.limits.record_size_max)
            .u32(self.limits.raw_size_max)
            .u32(self.inflight_records_max)
            .u32(self.inflight_bytes_max)
            .u32(self.features)
            .u64(self.instance)
            .u64(self.expires_ms)
            .u32(self.subscriptions_max)
            .u16(name.len() as u16)
            .u16(0)
            .bytes(name.as_bytes())
            .finish();
    }
}

/// `Subscribed` flag: the epoch that the client named is over; delivery begins with the oldest message kept.
const EPOCH_CHANGED: u8 = 1;
/// `Subscribed` flag: the offset asked for is no longer kept; delivery begins with the oldest message that is.
const DROPPED: u8 = 2;
/// `Subscribed` flag: the numbers are sequences of a log, of those that a filter has topics in.
const OF_LOG: u8 = 4;
/// `Subscribed` flag: the same filter has another log.
const MORE_LOGS: u8 = 8;

/// Answers a [`crate::command::Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The request's id.
    pub id: u32,
    /// Which of the request's topics it is about, from 0; [`Subscribed::ALL`] for all of them.
    pub entry: u16,
    /// Whether the subscription stands; without [`Outcome::Ok`] no records follow.
    pub outcome: Outcome,
    /// When to ask again, in milliseconds, if the outcome says that it may be done later; 0 leaves it to the client.
    pub retry_after_ms: u32,
    /// Offset with which delivery begins.
    pub next: Offset,
    /// Oldest offset kept.
    pub earliest: Offset,
    /// First offset that is not visible yet.
    pub head: Offset,
    /// The topic's epoch, or the log's.
    pub epoch: Epoch,
    /// The log whose sequences the numbers are, where a filter was subscribed to.
    pub log: Option<LogId>,
    /// The same filter has another log, and another answer follows.
    pub more_logs: bool,
    /// The client named another epoch.
    pub epoch_changed: bool,
    /// The offset asked for is no longer kept.
    pub dropped: bool,
}

impl Subscribed {
    /// The entry that stands for all topics of a request.
    pub const ALL: u16 = u16::MAX;

    pub(crate) fn decode(
        id: u32,
        flags: u8,
        aux: u16,
        mut body: Body<'_>,
    ) -> Result<Self, FrameError> {
        if flags & !(EPOCH_CHANGED | DROPPED | OF_LOG | MORE_LOGS) != 0 {
            return Err(body.malformed("flags"));
        }
        let next = Offset::new(body.u64("next")?);
        let earliest = Offset::new(body.u64("earliest")?);
        let head = Offset::new(body.u64("head")?);
        let epoch = Epoch::new(body.u64("epoch")?);
        let entry = body.u16("entry")?;
        let log = body.u16("log")?;
        let of_log = flags & OF_LOG != 0;
        if !of_log && (log != 0 || flags & MORE_LOGS != 0) {
            return Err(body.malformed("a log goes with sequences only"));
        }
        let retry_after_ms = body.u32("retry after")?;
        body.end()?;
        Ok(Self {
            id,
            entry,
            outcome: Outcome::from_code(aux),
            retry_after_ms,
            next,
            earliest,
            head,
            epoch,
            log: of_log.then_some(LogId::new(log)),
            more_logs: flags & MORE_LOGS != 0,
            epoch_changed: flags & EPOCH_CHANGED != 0,
            dropped: flags & DROPPED != 0,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.epoch_changed) * EPOCH_CHANGED
            + u8::from(self.dropped) * DROPPED
            + u8::from(self.log.is_some()) * OF_LOG
            + u8::from(self.more_logs) * MORE_LOGS;
        FrameWriter::new(out, kind::SUBSCRIBED, flags, self.outcome as u16, self.id)
            .u64(self.next.get())
            .u64(self.earliest.get())
            .u64(self.head.get())
            .u64(self.epoch.get())
            .u16(self.entry)
            .u16(self.log.map_or(0, LogId::get))
            .u32(self.retry_after_ms)
            .finish();
    }
}

/// Answers a [`crate::command::Unsubscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The request's id.
    pub id: u32,
    /// [`Outcome::Ok`] or [`Outcome::NotSubscribed`].
    pub outcome: Outcome,
}

impl Unsubscribed {
    pub(crate) fn decode(id: u32, aux: u16, body: Body<'_>) -> Result<Self, FrameError> {
        body.end()?;
        let outcome = Outcome::from_code(aux);
        Ok(Self { id, outcome })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::UNSUBSCRIBED, 0, self.outcome as u16, self.id).finish();
    }
}

/// The outcome of one published record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedEntry {
    /// The publisher's correlation id.
    pub correlation: u64,
    /// Offset of the record's first message.
    pub offset: Offset,
    /// The topic's epoch.
    pub epoch: Epoch,
    /// Whether the record is in the log, as durable as the log is.
    pub outcome: Outcome,
    /// When to publish it again, in milliseconds, if the outcome says that it may be done later; 0 leaves it to the client.
    pub retry_after_ms: u32,
}

/// Outcomes of published records, many in a frame. Those of class 0 of one topic come in the order of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published<'a> {
    entries: &'a [u8],
}

impl<'a> Published<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let count = usize::from(aux);
        if count == 0 || count > PUBLISHED_ENTRIES_MAX {
            return Err(body.malformed("count"));
        }
        let entries = body.bytes(count * PUBLISHED_ENTRY_SIZE, "entries")?;
        for entry in entries.chunks_exact(PUBLISHED_ENTRY_SIZE) {
            let mut entry = Body::new(kind::PUBLISHED, entry);
            entry.bytes(26, "entry")?;
            entry.zeros(2)?;
        }
        body.end()?;
        Ok(Self { entries })
    }

    /// The outcomes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = PublishedEntry> + 'a {
        self.entries.chunks_exact(PUBLISHED_ENTRY_SIZE).map(|raw| {
            let number = |at| crate::bytes::read_u64(raw, at);
            PublishedEntry {
                correlation: number(0),
                offset: Offset::new(number(8)),
                epoch: Epoch::new(number(16)),
                outcome: Outcome::from_code(crate::bytes::read_u16(raw, 24)),
                retry_after_ms: crate::bytes::read_u32(raw, 28),
            }
        })
    }

    /// Appends as many frames as `entries` need.
    pub fn encode(entries: &[PublishedEntry], out: &mut Vec<u8>) {
        for chunk in entries.chunks(PUBLISHED_ENTRIES_MAX) {
            let mut frame = FrameWriter::new(out, kind::PUBLISHED, 0, chunk.len() as u16, 0);
            for entry in chunk {
                frame = frame
                    .u64(entry.correlation)
                    .u64(entry.offset.get())
                    .u64(entry.epoch.get())
                    .u16(entry.outcome as u16)
                    .u16(0)
                    .u32(entry.retry_after_ms);
            }
            frame.finish();
        }
    }
}

/// [`Ping`](kind::PING) asks for a sign of life, [`Pong`](kind::PONG) gives it with the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Chosen by the side that asks.
    pub token: u64,
}

impl Heartbeat {
    pub(crate) fn decode(mut body: Body<'_>) -> Result<Self, FrameError> {
        let token = body.u64("token")?;
        body.end()?;
        Ok(Self { token })
    }

    /// Appends a ping.
    pub fn encode_ping(self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::PING, 0, 0, 0)
            .u64(self.token)
            .finish();
    }

    /// Appends a pong.
    pub fn encode_pong(self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::PONG, 0, 0, 0)
            .u64(self.token)
            .finish();
    }
}

/// The last frame of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye<'a> {
    /// Why.
    pub code: GoodbyeCode,
    /// When to come back, in milliseconds; 0 leaves it to the client.
    pub retry_after_ms: u32,
    /// A sentence for people.
    pub reason: &'a str,
}

impl<'a> Goodbye<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let retry_after_ms = body.u32("retry after")?;
        let size = usize::from(body.u16("reason size")?);
        body.zeros(2)?;
        if size > TEXT_SIZE_MAX {
            return Err(body.malformed("reason is too long"));
        }
        let reason = body.text(size, "reason")?;
        body.end()?;
        Ok(Self {
            code: GoodbyeCode::from_code(aux),
            retry_after_ms,
            reason,
        })
    }

    /// Appends the frame; a reason over 1,024 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let reason = cut_text(self.reason, TEXT_SIZE_MAX);
        FrameWriter::new(out, kind::GOODBYE, 0, self.code as u16, 0)
            .u32(self.retry_after_ms)
            .u16(reason.len() as u16)
            .u16(0)
            .bytes(reason.as_bytes())
            .finish();
    }
}

/// `Answer` flag: there is more to ask for.
const MORE: u8 = 1;

/// A JSON object that answers a [`crate::command::Query`]; see [`crate::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The query's id.
    pub id: u32,
    /// Whether the question was answered; without [`Outcome::Ok`] the text is empty.
    pub outcome: Outcome,
    /// When to ask again, in milliseconds, if the outcome says that it may be done later; 0 leaves it to the client.
    pub retry_after_ms: u32,
    /// Whether there is more to ask for, after the last name of this answer.
    pub more: bool,
    /// The JSON text.
    pub json: &'a str,
}

impl<'a> Answer<'a> {
    pub(crate) fn decode(
        id: u32,
        flags: u8,
        aux: u16,
        mut body: Body<'a>,
    ) -> Result<Self, FrameError> {
        if flags & !MORE != 0 {
            return Err(body.malformed("flags"));
        }
        let size = body.u32("size")? as usize;
        let retry_after_ms = body.u32("retry after")?;
        let json = body.text(size, "text")?;
        body.end()?;
        Ok(Self {
            id,
            outcome: Outcome::from_code(aux),
            retry_after_ms,
            more: flags & MORE != 0,
            json,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If `json` is longer than [`ANSWER_SIZE_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.json.len() <= ANSWER_SIZE_MAX,
            "an answer has at most {ANSWER_SIZE_MAX} bytes"
        );
        let flags = u8::from(self.more) * MORE;
        FrameWriter::new(out, kind::ANSWER, flags, self.outcome as u16, self.id)
            .u32(self.json.len() as u32)
            .u32(self.retry_after_ms)
            .bytes(self.json.as_bytes())
            .finish();
    }
}

/// Messages of a subscription that will not come. Delivery goes on behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole<'a> {
    /// The topic, or the filter.
    pub name: &'a str,
    /// The first number that is missing.
    pub from: Numbered,
    /// The first number that will come, of the same kind.
    pub to: u64,
    /// The epoch that it belongs to.
    pub epoch: Epoch,
}

impl<'a> Hole<'a> {
    fn decode(flags: u8, mut body: Body<'a>) -> Result<Self, FrameError> {
        let from = body.u64("from")?;
        let to = body.u64("to")?;
        if to <= from {
            return Err(body.malformed("what is missing ends where it begins, or before"));
        }
        let epoch = Epoch::new(body.u64("epoch")?);
        let log = body.u16("log")?;
        let size = usize::from(body.u8("name size")?);
        let name = body.bytes(size, "name")?;
        let hole = Self {
            name: name_by(&body, flags, log, name)?,
            from: Numbered::from_parts(flags, from, log),
            to,
            epoch,
        };
        body.end()?;
        Ok(hole)
    }

    fn encode(&self, kind: u8, cause: u16, out: &mut Vec<u8>) {
        let (flags, from, log) = self.from.parts();
        let size = u8::try_from(self.name.len()).expect("a topic has at most 255 bytes");
        FrameWriter::new(out, kind, flags, cause, 0)
            .u64(from)
            .u64(self.to)
            .u64(self.epoch.get())
            .u16(log)
            .u8(size)
            .bytes(self.name.as_bytes())
            .finish();
    }
}

/// Messages that cannot be delivered any more, and should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// Why.
    pub cause: GapCause,
    /// Which.
    pub hole: Hole<'a>,
}

impl<'a> Gap<'a> {
    pub(crate) fn decode(flags: u8, aux: u16, body: Body<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            cause: GapCause::from_code(aux),
            hole: Hole::decode(flags, body)?,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the name is longer than 255 bytes, which none is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.hole.encode(kind::GAP, self.cause as u16, out);
    }
}

/// Messages that are not to be delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip<'a> {
    /// Why.
    pub cause: SkipCause,
    /// Which.
    pub hole: Hole<'a>,
}

impl<'a> Skip<'a> {
    pub(crate) fn decode(flags: u8, aux: u16, body: Body<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            cause: SkipCause::from_code(aux),
            hole: Hole::decode(flags, body)?,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the name is longer than 255 bytes, which none is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.hole.encode(kind::SKIP, self.cause as u16, out);
    }
}

/// Answers a [`crate::command::Renew`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The request's id.
    pub id: u32,
    /// Whether the new credentials hold; without [`Outcome::Ok`] the old ones do.
    pub outcome: Outcome,
    /// When they end, in milliseconds since the Unix epoch; 0 is never.
    pub expires_ms: u64,
    /// When to ask again, in milliseconds, if the outcome says that it may be done later; 0 leaves it to the client.
    pub retry_after_ms: u32,
}

impl Renewed {
    pub(crate) fn decode(id: u32, aux: u16, mut body: Body<'_>) -> Result<Self, FrameError> {
        let expires_ms = body.u64("expires")?;
        let retry_after_ms = body.u32("retry after")?;
        body.zeros(4)?;
        body.end()?;
        Ok(Self {
            id,
            outcome: Outcome::from_code(aux),
            expires_ms,
            retry_after_ms,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::RENEWED, 0, self.outcome as u16, self.id)
            .u64(self.expires_ms)
            .u32(self.retry_after_ms)
            .u32(0)
            .finish();
    }
}

/// Answers a [`crate::command::Ack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The request's id.
    pub id: u32,
    /// Whether the cursor has moved.
    pub outcome: Outcome,
}

impl Acked {
    pub(crate) fn decode(id: u32, aux: u16, body: Body<'_>) -> Result<Self, FrameError> {
        body.end()?;
        let outcome = Outcome::from_code(aux);
        Ok(Self { id, outcome })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::ACKED, 0, self.outcome as u16, self.id).finish();
    }
}

/// A subscription is over, although the client has not ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// The topic, or the filter.
    pub name: &'a str,
    /// Whether it is a filter.
    pub is_filter: bool,
    /// Why; never of the class of what is done.
    pub outcome: Outcome,
    /// When to subscribe again, in milliseconds, if the outcome says that it may be done later; 0 leaves it to the client.
    pub retry_after_ms: u32,
}

impl<'a> Ended<'a> {
    pub(crate) fn decode(flags: u8, aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let retry_after_ms = body.u32("retry after")?;
        let size = usize::from(body.u8("name size")?);
        let name = body.bytes(size, "name")?;
        let outcome = Outcome::from_code(aux);
        if outcome.is_done() {
            return Err(body.malformed("outcome"));
        }
        let ended = Self {
            name: name_by(&body, flags, 0, name)?,
            is_filter: flags != 0,
            outcome,
            retry_after_ms,
        };
        body.end()?;
        Ok(ended)
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the name is longer than 255 bytes, which none is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.is_filter) * BY_SEQUENCE;
        FrameWriter::new(out, kind::ENDED, flags, self.outcome as u16, 0)
            .u32(self.retry_after_ms)
            .u8(u8::try_from(self.name.len()).expect("a topic has at most 255 bytes"))
            .bytes(self.name.as_bytes())
            .finish();
    }
}

/// How far a filter's subscription has come in a log, also where no record of it was for the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The log.
    pub log: LogId,
    /// Everything before this record was delivered, or was not for the filter.
    pub sequence: Sequence,
    /// The log's epoch.
    pub epoch: Epoch,
}

impl<'a> Reached<'a> {
    pub(crate) fn decode(mut body: Body<'a>) -> Result<Self, FrameError> {
        let sequence = Sequence::new(body.u64("sequence")?);
        let epoch = Epoch::new(body.u64("epoch")?);
        let log = LogId::new(body.u16("log")?);
        let size = usize::from(body.u8("filter size")?);
        let filter = body.bytes(size, "filter")?;
        let filter = topic::parse_filter(filter).map_err(FrameError::Topic)?;
        body.end()?;
        Ok(Self {
            filter,
            log,
            sequence,
            epoch,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the filter is longer than 255 bytes, which none is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::REACHED, 0, 0, 0)
            .u64(self.sequence.get())
            .u64(self.epoch.get())
            .u16(self.log.get())
            .u8(u8::try_from(self.filter.len()).expect("a filter has at most 255 bytes"))
            .bytes(self.filter.as_bytes())
            .finish();
    }
}

/// What a [`Notice`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notable {
    /// The credentials end at this time, in milliseconds since the Unix epoch.
    Expires(u64),
    /// Something that is not known here, and may be passed over.
    Other {
        /// What.
        code: u16,
        /// Its number.
        value: u64,
    },
}

/// Something that is good to know. A client that does not know what it says passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What it is about.
    pub about: Notable,
    /// A sentence for people.
    pub text: &'a str,
}

impl<'a> Notice<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let value = body.u64("value")?;
        let size = usize::from(body.u16("text size")?);
        if size > TEXT_SIZE_MAX {
            return Err(body.malformed("the text is too long"));
        }
        let text = body.text(size, "text")?;
        body.end()?;
        let about = match aux {
            1 => Notable::Expires(value),
            code => Notable::Other { code, value },
        };
        Ok(Self { about, text })
    }

    /// Appends the frame; a text over 1,024 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let text = cut_text(self.text, TEXT_SIZE_MAX);
        let (code, value) = match self.about {
            Notable::Expires(ms) => (1, ms),
            Notable::Other { code, value } => (code, value),
        };
        FrameWriter::new(out, kind::NOTICE, 0, code, 0)
            .u64(value)
            .u16(text.len() as u16)
            .bytes(text.as_bytes())
            .finish();
    }
}
