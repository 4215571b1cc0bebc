//! Control frames that a client sends.

use crate::body::{Body, FrameWriter, cut_text};
use crate::error::FrameError;
use crate::header::kind;
use crate::id::{Epoch, LogId, Offset, Sequence};
use crate::limits::{
    CREDENTIALS_SIZE_MAX, CURSOR_SIZE_MAX, SUBSCRIBE_TOPICS_MAX, TEXT_SIZE_MAX, TOKEN_SIZE_MAX,
};
use crate::topic;

/// First bytes of a [`Hello`]'s body.
pub const MAGIC: [u8; 4] = *b"OYEZ";
/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 2;

/// Opens a session. The first frame of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest version that the client speaks.
    pub version_min: u16,
    /// Highest version that the client speaks.
    pub version_max: u16,
    /// What the client can do beyond what all clients can, as bits. None is defined; a broker passes over those that it does not know.
    pub features: u16,
    /// Longest silence that the client wants, in milliseconds; 0 leaves it to the broker.
    pub heartbeat_ms: u32,
    /// What the client calls itself; for the broker's log.
    pub name: &'a str,
    /// What the client proves itself with; opaque to the protocol.
    pub credentials: &'a [u8],
}

impl<'a> Hello<'a> {
    pub(crate) fn decode(aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
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
            features: aux,
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
        FrameWriter::new(out, kind::HELLO, 0, self.features, 0)
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

/// Where a subscription begins, by what every broker can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next message that becomes visible.
    Latest,
    /// With the oldest message kept.
    Earliest,
    /// With the record that holds this offset.
    Offset(Offset),
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin<'a> {
    /// At one of the usual places.
    At(Start),
    /// With the first message that became visible at this time, in milliseconds since the Unix epoch, or later.
    Time(u64),
    /// With so many messages before the next one.
    Last(u64),
    /// Where a resume token says; see [`crate::token`].
    Token(&'a [u8]),
    /// Where the cursor of this name stands.
    Cursor(&'a str),
    /// In a way that is not known here.
    Other {
        /// Which.
        code: u8,
        /// Its number.
        value: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

impl<'a> Begin<'a> {
    /// Its code, its number and its bytes.
    const fn parts(&self) -> (u8, u64, &'a [u8]) {
        match *self {
            Self::At(Start::Latest) => (0, 0, &[]),
            Self::At(Start::Earliest) => (1, 0, &[]),
            Self::At(Start::Offset(offset)) => (2, offset.get(), &[]),
            Self::Time(ms) => (3, ms, &[]),
            Self::Last(count) => (4, count, &[]),
            Self::Token(token) => (5, 0, token),
            Self::Cursor(name) => (6, 0, name.as_bytes()),
            Self::Other { code, value, bytes } => (code, value, bytes),
        }
    }

    fn from_parts(
        body: &Body<'_>,
        (code, value): (u8, u64),
        bytes: &'a [u8],
    ) -> Result<Self, FrameError> {
        let (has_value, has_bytes) = (matches!(code, 2..=4), matches!(code, 5 | 6));
        if code <= 6 && (value != 0 && !has_value || bytes.is_empty() == has_bytes) {
            return Err(body.malformed("a start that goes with another number or other bytes"));
        }
        Ok(match code {
            0 => Self::At(Start::Latest),
            1 => Self::At(Start::Earliest),
            2 => Self::At(Start::Offset(Offset::new(value))),
            3 => Self::Time(value),
            4 => Self::Last(value),
            5 if bytes.len() <= TOKEN_SIZE_MAX => Self::Token(bytes),
            6 if bytes.len() <= CURSOR_SIZE_MAX => {
                let name = core::str::from_utf8(bytes);
                Self::Cursor(name.map_err(|_| body.malformed("the name of a cursor"))?)
            }
            5 | 6 => return Err(body.malformed("a token or the name of a cursor is too long")),
            code => Self::Other { code, value, bytes },
        })
    }
}

/// One topic that is asked for, or the topics that a filter chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The topic, or the filter.
    pub name: &'a str,
    /// Whether it is a filter.
    pub is_filter: bool,
    /// Where to begin.
    pub begin: Begin<'a>,
    /// The epoch that a [`Start::Offset`] belongs to; `None` takes the number as it is. When the epoch has changed,
    /// delivery begins with the oldest message kept, and `Subscribed` says so.
    pub epoch: Option<Epoch>,
}

/// `Subscribe` flag of a topic: the name is a filter.
const IS_FILTER: u8 = 1;

impl<'a> Subscription<'a> {
    /// To a topic, from one of the usual places.
    #[must_use]
    pub const fn new(topic: &'a str, start: Start, epoch: Option<Epoch>) -> Self {
        Self {
            name: topic,
            is_filter: false,
            begin: Begin::At(start),
            epoch,
        }
    }

    fn decode(body: &mut Body<'a>) -> Result<Self, FrameError> {
        let code = body.u8("start")?;
        let flags = body.u8("flags of a topic")?;
        let name_size = usize::from(body.u8("name size")?);
        body.zeros(1)?;
        let extra_size = usize::from(body.u16("extra size")?);
        body.zeros(2)?;
        let value = body.u64("value")?;
        let epoch = body.u64("epoch")?;
        let name = body.bytes(name_size, "name")?;
        let extra = body.bytes(extra_size, "extra")?;
        if flags & !IS_FILTER != 0 {
            return Err(body.malformed("flags of a topic"));
        }
        let is_filter = flags & IS_FILTER != 0;
        Ok(Self {
            name: match is_filter {
                true => topic::parse_filter(name).map_err(FrameError::Topic)?,
                false => topic::parse(name).map_err(FrameError::Topic)?,
            },
            is_filter,
            begin: Begin::from_parts(body, (code, value), extra)?,
            epoch: (epoch != 0).then_some(Epoch::new(epoch)),
        })
    }

    fn encode<'o>(&self, frame: FrameWriter<'o>) -> FrameWriter<'o> {
        let (code, value, extra) = self.begin.parts();
        let size = u8::try_from(self.name.len()).expect("a topic has at most 255 bytes");
        frame
            .u8(code)
            .u8(u8::from(self.is_filter) * IS_FILTER)
            .u8(size)
            .u8(0)
            .u16(u16::try_from(extra.len()).expect("a token has at most 16,384 bytes"))
            .u16(0)
            .u64(value)
            .u64(self.epoch.map_or(0, Epoch::get))
            .bytes(self.name.as_bytes())
            .bytes(extra)
    }
}

/// Asks for the records of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Comes back in each `Subscribed`.
    pub id: u32,
    count: u16,
    /// The topics, as they travel.
    topics: &'a [u8],
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(id: u32, aux: u16, mut body: Body<'a>) -> Result<Self, FrameError> {
        if aux == 0 || usize::from(aux) > SUBSCRIBE_TOPICS_MAX {
            return Err(body.malformed("count"));
        }
        let before = body.rest();
        for _ in 0..aux {
            Subscription::decode(&mut body)?;
        }
        let size = before.len() - body.rest().len();
        body.end()?;
        Ok(Self {
            id,
            count: aux,
            topics: &before[..size],
        })
    }

    /// What is asked for: at least one topic.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = Subscription<'a>> {
        let mut body = Body::new(kind::SUBSCRIBE, self.topics);
        (0..self.count).map(move |_| {
            Subscription::decode(&mut body).expect("checked when the frame was decoded")
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If `topics` are none, more than [`SUBSCRIBE_TOPICS_MAX`], or too large for a frame; or if a name is longer than 255
    /// bytes, which [`topic::parse`] refuses.
    pub fn encode(id: u32, topics: &[Subscription<'_>], out: &mut Vec<u8>) {
        let count = topics.len();
        assert!(
            (1..=SUBSCRIBE_TOPICS_MAX).contains(&count),
            "{count} topics"
        );
        let frame = FrameWriter::new(out, kind::SUBSCRIBE, 0, count as u16, id);
        let add = |frame, topic: &Subscription<'_>| topic.encode(frame);
        topics.iter().fold(frame, add).finish();
    }
}

/// Asks that no more records of a topic be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Comes back in `Unsubscribed`.
    pub id: u32,
    /// The topic, or the filter.
    pub name: &'a str,
    /// Whether it is a filter.
    pub is_filter: bool,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(id: u32, flags: u8, mut body: Body<'a>) -> Result<Self, FrameError> {
        if flags & !IS_FILTER != 0 {
            return Err(body.malformed("flags"));
        }
        let is_filter = flags & IS_FILTER != 0;
        let name = match is_filter {
            true => take_filter(&mut body)?,
            false => take_topic(&mut body)?,
        };
        body.end()?;
        Ok(Self {
            id,
            name,
            is_filter,
        })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the name is longer than 255 bytes, which [`topic::parse`] refuses.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.is_filter) * IS_FILTER;
        let frame = FrameWriter::new(out, kind::UNSUBSCRIBE, flags, 0, self.id);
        write_topic(frame, self.name).finish();
    }
}

/// Gives the session other credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renew<'a> {
    /// Comes back in `Renewed`.
    pub id: u32,
    /// What the client proves itself with from now on.
    pub credentials: &'a [u8],
}

impl<'a> Renew<'a> {
    pub(crate) fn decode(id: u32, mut body: Body<'a>) -> Result<Self, FrameError> {
        let size = usize::from(body.u16("credentials size")?);
        body.zeros(2)?;
        if size > CREDENTIALS_SIZE_MAX {
            return Err(body.malformed("credentials are too long"));
        }
        let credentials = body.bytes(size, "credentials")?;
        body.end()?;
        Ok(Self { id, credentials })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If the credentials are longer than [`CREDENTIALS_SIZE_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let size = self.credentials.len();
        assert!(size <= CREDENTIALS_SIZE_MAX, "{size} bytes of credentials");
        FrameWriter::new(out, kind::RENEW, 0, 0, self.id)
            .u16(size as u16)
            .u16(0)
            .bytes(self.credentials)
            .finish();
    }
}

/// Says that the client is done with the messages of a cursor, up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Comes back in `Acked`.
    pub id: u32,
    /// The cursor's name.
    pub cursor: &'a str,
    /// What is done with.
    pub place: Place<'a>,
}

impl<'a> Ack<'a> {
    pub(crate) fn decode(id: u32, flags: u8, mut body: Body<'a>) -> Result<Self, FrameError> {
        let number = body.u64("number")?;
        let epoch = Epoch::new(body.u64("epoch")?);
        let log = body.u16("log")?;
        let size = usize::from(body.u8("cursor size")?);
        let name_size = usize::from(body.u8("name size")?);
        if size == 0 || size > CURSOR_SIZE_MAX {
            return Err(body.malformed("cursor size"));
        }
        let cursor = body.text(size, "cursor")?;
        let name = body.bytes(name_size, "name")?;
        let place = Place::from_parts(&body, flags, (number, log), epoch, name)?;
        body.end()?;
        Ok(Self { id, cursor, place })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If a name is longer than it may be: 64 bytes of a cursor, 255 of a topic or a filter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.cursor.len() <= CURSOR_SIZE_MAX, "`{}`", self.cursor);
        let (flags, number, log) = self.place.parts();
        let name = self.place.name;
        FrameWriter::new(out, kind::ACK, flags, 0, self.id)
            .u64(number)
            .u64(self.place.epoch.get())
            .u16(log)
            .u8(self.cursor.len() as u8)
            .u8(u8::try_from(name.len()).expect("a topic has at most 255 bytes"))
            .bytes(self.cursor.as_bytes())
            .bytes(name.as_bytes())
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
    /// Something that is not known here.
    Other {
        /// The question.
        code: u16,
        /// Its text.
        text: &'a str,
    },
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
            1 | 3 if !after.is_empty() => {
                return Err(body.malformed("a text goes with other questions only"));
            }
            1 => Question::Stats,
            2 => Question::Topics { after },
            3 => Question::Lag,
            code => Question::Other { code, text: after },
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
            Question::Other { code, text } => (code, text),
        };
        write_topic(FrameWriter::new(out, kind::QUERY, 0, code, self.id), after).finish();
    }
}

/// A place in what a subscription gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The topic, or the filter; empty in a token whose request names the topic.
    pub name: &'a str,
    /// The epoch that the number belongs to.
    pub epoch: Epoch,
    /// What comes next.
    pub next: Numbered,
}

/// A number of a topic's messages, or of a log's records where a filter has chosen the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// Of the topic.
    Offset(Offset),
    /// Of a log.
    Sequence {
        /// The log.
        log: LogId,
        /// The record.
        sequence: Sequence,
    },
}

/// Flag of `Ack`, `Gap`, `Skip` and `Ended`: the numbers are sequences of a log, and the name is a filter.
pub(crate) const BY_SEQUENCE: u8 = 1;

impl Numbered {
    pub(crate) fn from_parts(flags: u8, number: u64, log: u16) -> Self {
        match flags & BY_SEQUENCE {
            0 => Self::Offset(Offset::new(number)),
            _ => Self::Sequence {
                log: LogId::new(log),
                sequence: Sequence::new(number),
            },
        }
    }

    /// Flags, number and log.
    pub(crate) const fn parts(self) -> (u8, u64, u16) {
        match self {
            Self::Offset(offset) => (0, offset.get(), 0),
            Self::Sequence { log, sequence } => (BY_SEQUENCE, sequence.get(), log.get()),
        }
    }
}

impl<'a> Place<'a> {
    fn from_parts(
        body: &Body<'_>,
        flags: u8,
        (number, log): (u64, u16),
        epoch: Epoch,
        name: &'a [u8],
    ) -> Result<Self, FrameError> {
        Ok(Self {
            name: name_by(body, flags, log, name)?,
            epoch,
            next: Numbered::from_parts(flags, number, log),
        })
    }

    const fn parts(&self) -> (u8, u64, u16) {
        self.next.parts()
    }
}

/// The name that goes with numbers of a kind.
pub(crate) fn name_by<'a>(
    body: &Body<'_>,
    flags: u8,
    log: u16,
    name: &'a [u8],
) -> Result<&'a str, FrameError> {
    match flags {
        0 if log != 0 => Err(body.malformed("a log goes with sequences only")),
        0 => topic::parse(name).map_err(FrameError::Topic),
        BY_SEQUENCE => topic::parse_filter(name).map_err(FrameError::Topic),
        _ => Err(body.malformed("flags")),
    }
}

pub(crate) fn take_topic<'a>(body: &mut Body<'a>) -> Result<&'a str, FrameError> {
    let size = usize::from(body.u8("topic size")?);
    topic::parse(body.bytes(size, "topic")?).map_err(FrameError::Topic)
}

fn take_filter<'a>(body: &mut Body<'a>) -> Result<&'a str, FrameError> {
    let size = usize::from(body.u8("filter size")?);
    topic::parse_filter(body.bytes(size, "filter")?).map_err(FrameError::Topic)
}

/// # Panics
/// If `topic` is longer than 255 bytes, which [`topic::parse`] refuses.
pub(crate) fn write_topic<'a>(frame: FrameWriter<'a>, topic: &str) -> FrameWriter<'a> {
    let size = u8::try_from(topic.len()).expect("a topic has at most 255 bytes");
    frame.u8(size).bytes(topic.as_bytes())
}
