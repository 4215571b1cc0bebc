//! Control frames that a client sends.

use crate::body::{Body, FrameWriter, cut_text};
use crate::error::FrameError;
use crate::header::kind;
use crate::id::{Epoch, Offset};
use crate::limits::{CREDENTIALS_SIZE_MAX, TEXT_SIZE_MAX};
use crate::topic;

/// First bytes of a [`Hello`]'s body.
pub const MAGIC: [u8; 4] = *b"OYEZ";
/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;

/// Opens a session. The first frame of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest version that the client speaks.
    pub version_min: u16,
    /// Highest version that the client speaks.
    pub version_max: u16,
    /// Longest silence that the client wants, in milliseconds; 0 leaves it to the broker.
    pub heartbeat_ms: u32,
    /// What the client calls itself; for the broker's log.
    pub name: &'a str,
    /// What the client proves itself with; opaque to the protocol.
    pub credentials: &'a [u8],
}

impl<'a> Hello<'a> {
    pub(crate) fn decode(mut body: Body<'a>) -> Result<Self, FrameError> {
        if body.bytes(4, "magic")? != MAGIC {
            return Err(FrameError::Magic);
        }
        let version_min = body.u16("version")?;
        let version_max = body.u16("version")?;
        let heartbeat_ms = body.u32("heartbeat")?;
        let name_size = usize::from(body.u16("name size")?);
        let credentials_size = usize::from(body.u16("credentials size")?);
        if name_size > TEXT_SIZE_MAX || credentials_size > CREDENTIALS_SIZE_MAX {
            return Err(body.malformed("name or credentials are too long"));
        }
        let hello = Self {
            version_min,
            version_max,
            heartbeat_ms,
            name: body.text(name_size, "name")?,
            credentials: body.bytes(credentials_size, "credentials")?,
        };
        body.end()?;
        Ok(hello)
    }

    /// Appends the frame. A name over 1,024 bytes is cut.
    ///
    /// # Panics
    /// If the credentials are longer than [`CREDENTIALS_SIZE_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = cut_text(self.name, TEXT_SIZE_MAX);
        assert!(
            self.credentials.len() <= CREDENTIALS_SIZE_MAX,
            "credentials are at most {CREDENTIALS_SIZE_MAX} bytes"
        );
        FrameWriter::new(out, kind::HELLO, 0, 0, 0)
            .bytes(&MAGIC)
            .u16(self.version_min)
            .u16(self.version_max)
            .u32(self.heartbeat_ms)
            .u16(name.len() as u16)
            .u16(self.credentials.len() as u16)
            .bytes(name.as_bytes())
            .bytes(self.credentials)
            .finish();
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next message that becomes visible.
    Latest,
    /// With the oldest message kept.
    Earliest,
    /// With the record that holds this offset.
    Offset(Offset),
}

impl Start {
    const fn code(self) -> (u16, u64) {
        match self {
            Self::Latest => (0, 0),
            Self::Earliest => (1, 0),
            Self::Offset(offset) => (2, offset.get()),
        }
    }
}

/// Asks for a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Comes back in `Subscribed`.
    pub id: u32,
    /// The topic.
    pub topic: &'a str,
    /// Where to begin.
    pub start: Start,
    /// The epoch that a [`Start::Offset`] belongs to; `None` takes the number as it is. When the epoch has changed,
    /// delivery begins with the oldest message kept, and `Subscribed` says so.
    pub epoch: Option<Epoch>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(id: u32, aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let offset = body.u64("offset")?;
        let epoch = body.u64("epoch")?;
        let start = match aux {
            0 => Start::Latest,
            1 => Start::Earliest,
            2 => Start::Offset(Offset::new(offset)),
            _ => return Err(body.malformed("start is none of latest, earliest, offset")),
        };
        if aux != 2 && offset != 0 {
            return Err(body.malformed("an offset goes with start `offset` only"));
        }
        let topic = take_topic(&mut body)?;
        body.end()?;
        let epoch = (epoch != 0).then_some(Epoch::new(epoch));
        Ok(Self {
            id,
            topic,
            start,
            epoch,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the topic is longer than 255 bytes; [`topic::parse`] tells before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, offset) = self.start.code();
        let frame = FrameWriter::new(out, kind::SUBSCRIBE, 0, code, self.id)
            .u64(offset)
            .u64(self.epoch.map_or(0, Epoch::get));
        write_topic(frame, self.topic).finish();
    }
}

/// Asks that no more records of a topic be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Comes back in `Unsubscribed`.
    pub id: u32,
    /// The topic.
    pub topic: &'a str,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(id: u32, mut body: Body<'a>) -> Result<Self, FrameError> {
        let topic = take_topic(&mut body)?;
        body.end()?;
        Ok(Self { id, topic })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the topic is longer than 255 bytes; [`topic::parse`] tells before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_topic(
            FrameWriter::new(out, kind::UNSUBSCRIBE, 0, 0, self.id),
            self.topic,
        )
        .finish();
    }
}

/// What a [`Query`] asks about. Answers are JSON objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// Counters and gauges of the whole broker.
    Stats,
    /// Topics in the order of their names.
    Topics {
        /// Only those that come after this name; empty for all.
        after: &'a str,
    },
    /// How far subscriptions are behind, and which of them furthest.
    Lag,
}

/// Asks the broker about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Comes back in each `Answer`.
    pub id: u32,
    /// What is asked.
    pub question: Question<'a>,
}

impl<'a> Query<'a> {
    pub(crate) fn decode(id: u32, aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        let size = usize::from(body.u8("size")?);
        let after = body.text(size, "name")?;
        let question = match aux {
            1 if after.is_empty() => Question::Stats,
            2 => Question::Topics { after },
            3 if after.is_empty() => Question::Lag,
            _ => return Err(body.malformed("the question is not known")),
        };
        body.end()?;
        Ok(Self { id, question })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the name to begin after is longer than 255 bytes, which no topic is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, after) = match self.question {
            Question::Stats => (1, ""),
            Question::Topics { after } => (2, after),
            Question::Lag => (3, ""),
        };
        write_topic(FrameWriter::new(out, kind::QUERY, 0, code, self.id), after).finish();
    }
}

pub(crate) fn take_topic<'a>(body: &mut Body<'a>) -> Result<&'a str, FrameError> {
    let size = usize::from(body.u8("topic size")?);
    topic::parse(body.bytes(size, "topic")?).map_err(FrameError::Topic)
}

/// # Panics
/// If `topic` is longer than 255 bytes; names come from [`topic::parse`].
pub(crate) fn write_topic<'a>(frame: FrameWriter<'a>, topic: &str) -> FrameWriter<'a> {
    let size = u8::try_from(topic.len()).expect("a topic has at most 255 bytes");
    frame.u8(size).bytes(topic.as_bytes())
}
