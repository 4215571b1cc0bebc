//! From bytes to frames: a total function. Every input is a frame, a wish for more bytes, or an error; none panics.

use crate::body::Body;
use crate::bytes::read_u32;
use crate::checksum::frame_is_intact;
use crate::command::{Hello, Query, Subscribe, Unsubscribe};
use crate::error::{FrameError, RecordError};
use crate::event::{Answer, Gap, Goodbye, Heartbeat, Published, Subscribed, Unsubscribed, Welcome};
use crate::header::{FrameHead, kind};
use crate::limits::{
    CONTROL_HEADER_SIZE, CONTROL_SIZE_MAX, FRAME_HEAD_SIZE, Limits, RECORD_SIZE_MIN,
};
use crate::record::{Record, body_is_intact};

/// One frame, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A publish or a delivery; the publisher's checksum matches. A receiver of deliveries also checks
    /// [`Record::check_header`].
    Record(Record<'a>),
    /// First frame of a connection.
    Hello(Hello<'a>),
    /// The answer to it.
    Welcome(Welcome<'a>),
    /// Deliver a topic.
    Subscribe(Subscribe<'a>),
    /// Where delivery begins.
    Subscribed(Subscribed),
    /// Stop delivering a topic.
    Unsubscribe(Unsubscribe<'a>),
    /// Stopped.
    Unsubscribed(Unsubscribed),
    /// Outcomes of published records.
    Published(Published<'a>),
    /// Answer me.
    Ping(Heartbeat),
    /// The answer.
    Pong(Heartbeat),
    /// The last frame.
    Goodbye(Goodbye<'a>),
    /// A question about the broker.
    Query(Query<'a>),
    /// Its answer.
    Answer(Answer<'a>),
    /// Messages that will not come.
    Gap(Gap<'a>),
    /// An intact frame whose kind is not known here and may be passed over.
    Skipped {
        /// Its kind.
        kind: u8,
    },
}

/// What the front of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Not a whole frame yet.
    Need {
        /// Bytes that the frame has in all, as far as is known: at least this many must be there.
        total: usize,
    },
    /// A frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes of the input that it takes.
        size: usize,
    },
}

/// Decodes the frame at the front of `input`, without allocating.
///
/// # Errors
/// When no continuation of `input` is acceptable. The connection ends there.
pub fn decode<'a>(input: &'a [u8], limits: &Limits) -> Result<Decoded<'a>, FrameError> {
    let head = match FrameHead::parse(input) {
        None => {
            return Ok(Decoded::Need {
                total: FRAME_HEAD_SIZE,
            });
        }
        Some(head) => head?,
    };
    check_size(&head, limits)?;
    let size = head.size as usize;
    let Some(bytes) = input.get(..size) else {
        return Ok(Decoded::Need { total: size });
    };
    let frame = match head.kind {
        kind::RECORD => Frame::Record(take_record(bytes, limits)?),
        // Also what is passed over must be intact: one flipped bit would turn any frame into such a kind, and a
        // record would be lost without a word.
        kind if !frame_is_intact(bytes) => return Err(FrameError::Checksum { kind }),
        kind if kind::is_skippable(kind) => Frame::Skipped { kind },
        _ => decode_control(&head, bytes)?,
    };
    Ok(Decoded::Frame { frame, size })
}

/// A record whose checksum is wrong breaks no other rule: nobody knows what its publisher wrote.
fn take_record<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Record<'a>, RecordError> {
    Record::verify(bytes, limits).map_err(|error| {
        if body_is_intact(bytes) {
            error
        } else {
            RecordError::BodyChecksum
        }
    })
}

/// Refuses a hopeless frame from its head alone, before anybody waits for its bytes or makes room for them.
fn check_size(head: &FrameHead, limits: &Limits) -> Result<(), FrameError> {
    let (min, max) = match head.kind {
        kind::RECORD => (RECORD_SIZE_MIN, limits.record_size_max),
        kind::HELLO..=kind::GAP => (CONTROL_HEADER_SIZE as u32, CONTROL_SIZE_MAX),
        kind if kind::is_skippable(kind) => (CONTROL_HEADER_SIZE as u32, limits.frame_size_max()),
        kind => return Err(FrameError::UnknownKind { kind }),
    };
    if head.size < min {
        return Err(FrameError::Size { size: head.size });
    }
    if head.size > max {
        return Err(FrameError::TooLarge {
            kind: head.kind,
            size: head.size,
            max,
        });
    }
    Ok(())
}

/// Decodes an intact frame of a control kind.
fn decode_control<'a>(head: &FrameHead, bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let body = Body::new(head.kind, &bytes[CONTROL_HEADER_SIZE..]);
    let (flags, aux, id) = (head.flags, head.aux, read_u32(bytes, 12));
    check_reserved(head, id, &body)?;
    Ok(match head.kind {
        kind::HELLO => Frame::Hello(Hello::decode(body)?),
        kind::WELCOME => Frame::Welcome(Welcome::decode(aux, body)?),
        kind::SUBSCRIBE => Frame::Subscribe(Subscribe::decode(id, aux, body)?),
        kind::SUBSCRIBED => Frame::Subscribed(Subscribed::decode(id, flags, aux, body)?),
        kind::UNSUBSCRIBE => Frame::Unsubscribe(Unsubscribe::decode(id, body)?),
        kind::UNSUBSCRIBED => Frame::Unsubscribed(Unsubscribed::decode(id, aux, body)?),
        kind::PUBLISHED => Frame::Published(Published::decode(aux, body)?),
        kind::PING => Frame::Ping(Heartbeat::decode(body)?),
        kind::PONG => Frame::Pong(Heartbeat::decode(body)?),
        kind::GOODBYE => Frame::Goodbye(Goodbye::decode(aux, body)?),
        kind::QUERY => Frame::Query(Query::decode(id, aux, body)?),
        kind::ANSWER => Frame::Answer(Answer::decode(id, flags, body)?),
        kind::GAP => Frame::Gap(Gap::decode(aux, body)?),
        kind => return Err(FrameError::UnknownKind { kind }),
    })
}

/// Flags, aux and request id must be zero in the kinds that give them no meaning.
fn check_reserved(head: &FrameHead, id: u32, body: &Body<'_>) -> Result<(), FrameError> {
    use kind::{
        ANSWER, GAP, GOODBYE, PUBLISHED, QUERY, SUBSCRIBE, SUBSCRIBED, UNSUBSCRIBE, UNSUBSCRIBED,
        WELCOME,
    };
    let has_flags = matches!(head.kind, SUBSCRIBED | ANSWER);
    let has_aux = matches!(
        head.kind,
        WELCOME | SUBSCRIBE | SUBSCRIBED | UNSUBSCRIBED | PUBLISHED | GOODBYE | QUERY | GAP
    );
    let has_id = matches!(
        head.kind,
        SUBSCRIBE | SUBSCRIBED | UNSUBSCRIBE | UNSUBSCRIBED | QUERY | ANSWER
    );
    if !has_flags && head.flags != 0 {
        return Err(body.malformed("flags"));
    }
    if !has_aux && head.aux != 0 {
        return Err(body.malformed("aux"));
    }
    if !has_id && id != 0 {
        return Err(body.malformed("request id"));
    }
    Ok(())
}
