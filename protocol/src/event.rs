//! Control frames that the broker sends, and those that go both ways.

pub use crate::code::{GapCause, GoodbyeCode, Outcome};

use crate::body::{Body, FrameWriter, cut_text};
use crate::command::{take_topic, write_topic};
use crate::error::FrameError;
use crate::header::kind;
use crate::id::{Epoch, Offset};
use crate::limits::{
    ANSWER_SIZE_MAX, Limits, PUBLISHED_ENTRIES_MAX, PUBLISHED_ENTRY_SIZE, TEXT_SIZE_MAX,
};

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
        let name_size = body.u32("name size")? as usize;
        let instance = body.u64("instance")?;
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
            .u32(name.len() as u32)
            .u64(self.instance)
            .bytes(name.as_bytes())
            .finish();
    }
}

/// `Subscribed` flag: the epoch that the client named is over; delivery begins with the oldest message kept.
const EPOCH_CHANGED: u8 = 1;
/// `Subscribed` flag: the offset asked for is no longer kept; delivery begins with the oldest message that is.
const DROPPED: u8 = 2;

/// Answers a [`crate::command::Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The request's id.
    pub id: u32,
    /// Whether the subscription stands; without [`Outcome::Ok`] no records follow.
    pub outcome: Outcome,
    /// Offset with which delivery begins.
    pub next: Offset,
    /// Oldest offset kept.
    pub earliest: Offset,
    /// First offset that is not visible yet.
    pub head: Offset,
    /// The topic's epoch.
    pub epoch: Epoch,
    /// The client named another epoch.
    pub epoch_changed: bool,
    /// The offset asked for is no longer kept.
    pub dropped: bool,
}

impl Subscribed {
    pub(crate) fn decode(
        id: u32,
        flags: u8,
        aux: u16,
        mut body: Body<'_>,
    ) -> Result<Self, FrameError> {
        if flags & !(EPOCH_CHANGED | DROPPED) != 0 {
            return Err(body.malformed("flags"));
        }
        let outcome = take_outcome(aux, &body)?;
        let event = Self {
            id,
            outcome,
            next: Offset::new(body.u64("next")?),
            earliest: Offset::new(body.u64("earliest")?),
            head: Offset::new(body.u64("head")?),
            epoch: Epoch::new(body.u64("epoch")?),
            epoch_changed: flags & EPOCH_CHANGED != 0,
            dropped: flags & DROPPED != 0,
        };
        body.end()?;
        Ok(event)
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.epoch_changed) * EPOCH_CHANGED + u8::from(self.dropped) * DROPPED;
        FrameWriter::new(out, kind::SUBSCRIBED, flags, self.outcome as u16, self.id)
            .u64(self.next.get())
            .u64(self.earliest.get())
            .u64(self.head.get())
            .u64(self.epoch.get())
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
        let outcome = take_outcome(aux, &body)?;
        body.end()?;
        Ok(Self { id, outcome })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FrameWriter::new(out, kind::UNSUBSCRIBED, 0, self.outcome as u16, self.id).finish();
    }
}

/// What became of one published record.
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
}

/// Outcomes of published records; many per frame, in the order in which their logs finished.
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
            entry.bytes(24, "entry")?;
            let code = entry.u16("outcome")?;
            take_outcome(code, &entry)?;
            entry.zeros(6)?;
        }
        body.end()?;
        Ok(Self { entries })
    }

    /// The outcomes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = PublishedEntry> + 'a {
        self.entries.chunks_exact(PUBLISHED_ENTRY_SIZE).map(|raw| {
            let (number, code) = (
                |at| crate::bytes::read_u64(raw, at),
                crate::bytes::read_u16(raw, 24),
            );
            PublishedEntry {
                correlation: number(0),
                offset: Offset::new(number(8)),
                epoch: Epoch::new(number(16)),
                outcome: Outcome::from_code(code).expect("checked when the frame was decoded"),
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
                    .bytes(&[0; 6]);
            }
            frame.finish();
        }
    }
}

/// [`Ping`](kind::PING) asks for a sign of life, [`Pong`](kind::PONG) gives it with the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Chosen by who asks.
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

/// `Answer` flag: more pieces follow, or more can be asked for.
const MORE: u8 = 1;

/// A JSON object that answers a [`crate::command::Query`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The query's id.
    pub id: u32,
    /// Whether there is more to ask for, after the last name of this answer.
    pub more: bool,
    /// The JSON text.
    pub json: &'a str,
}

impl<'a> Answer<'a> {
    pub(crate) fn decode(id: u32, flags: u8, mut body: Body<'a>) -> Result<Self, FrameError> {
        if flags & !MORE != 0 {
            return Err(body.malformed("flags"));
        }
        let size = body.u32("size")? as usize;
        body.zeros(4)?;
        let json = body.text(size, "text")?;
        body.end()?;
        Ok(Self {
            id,
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
        FrameWriter::new(out, kind::ANSWER, u8::from(self.more) * MORE, 0, self.id)
            .u32(self.json.len() as u32)
            .u32(0)
            .bytes(self.json.as_bytes())
            .finish();
    }
}

/// Messages of a subscription that will not come; delivery goes on after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Why.
    pub cause: GapCause,
    /// First offset missing.
    pub from: Offset,
    /// First offset that will come.
    pub to: Offset,
}

impl<'a> Gap<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let cause = GapCause::from_code(aux).ok_or_else(|| body.malformed("cause"))?;
        let from = Offset::new(body.u64("from")?);
        let to = Offset::new(body.u64("to")?);
        let topic = take_topic(&mut body)?;
        body.end()?;
        Ok(Self {
            topic,
            cause,
            from,
            to,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the topic is longer than 255 bytes, which none is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let frame = FrameWriter::new(out, kind::GAP, 0, self.cause as u16, 0)
            .u64(self.from.get())
            .u64(self.to.get());
        write_topic(frame, self.topic).finish();
    }
}

fn take_outcome(code: u16, body: &Body<'_>) -> Result<Outcome, FrameError> {
    Outcome::from_code(code).ok_or_else(|| body.malformed("outcome"))
}
