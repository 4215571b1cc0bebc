//! From bytes to frames: a total function. Every input is a frame, a wish for more bytes, or an error; none panics.

use crate::body::Body;
use crate::bytes::read_u32;
use crate::checksum::frame_is_intact;
use crate::command::{Hello, Query, Subscribe, Unsubscribe};
use crate::error::FrameError;
use crate::event::{Answer, Gap, Goodbye, Heartbeat, Published, Subscribed, Unsubscribed, Welcome};
use crate::header::{FrameHead, kind};
use crate::limits::{CONTROL_HEADER_SIZE, CONTROL_SIZE_MAX, FRAME_HEAD_SIZE, Limits};
use crate::record::Record;

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
    /// A frame whose kind is not known here and may be passed over.
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
        kind::RECORD => Frame::Record(Record::verify(bytes, limits)?),
        other if kind::is_skippable(other) => Frame::Skipped { kind: other },
        _ => decode_control(&head, bytes)?,
    };
    Ok(Decoded::Frame { frame, size })
}

/// Refuses a hopeless frame from its head alone, before anybody waits for its bytes or makes room for them.
fn check_size(head: &FrameHead, limits: &Limits) -> Result<(), FrameError> {
    let max = match head.kind {
        kind::RECORD => limits.record_size_max,
        other if kind::is_skippable(other) => limits.frame_size_max(),
        kind::HELLO..=kind::GAP => CONTROL_SIZE_MAX,
        other => return Err(FrameError::UnknownKind { kind: other }),
    };
    if head.size > max {
        return Err(FrameError::TooLarge {
            kind: head.kind,
            size: head.size,
            max,
        });
    }
    Ok(())
}

fn decode_control<'a>(head: &FrameHead, bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let Some(rest) = bytes.get(CONTROL_HEADER_SIZE..) else {
        return Err(FrameError::Size { size: head.size });
    };
    if !frame_is_intact(bytes) {
        return Err(FrameError::Checksum { kind: head.kind });
    }
    let (body, id) = (Body::new(head.kind, rest), read_u32(bytes, 12));
    let has_flags = matches!(head.kind, kind::SUBSCRIBED | kind::ANSWER);
    if !has_flags && head.flags != 0 {
        return Err(body.malformed("flags"));
    }
    Ok(match head.kind {
        kind::HELLO => Frame::Hello(Hello::decode(body)?),
        kind::WELCOME => Frame::Welcome(Welcome::decode(head.aux, body)?),
        kind::SUBSCRIBE => Frame::Subscribe(Subscribe::decode(id, head.aux, body)?),
        kind::SUBSCRIBED => Frame::Subscribed(Subscribed::decode(id, head.flags, head.aux, body)?),
        kind::UNSUBSCRIBE => Frame::Unsubscribe(Unsubscribe::decode(id, body)?),
        kind::UNSUBSCRIBED => Frame::Unsubscribed(Unsubscribed::decode(id, head.aux, body)?),
        kind::PUBLISHED => Frame::Published(Published::decode(head.aux, body)?),
        kind::PING => Frame::Ping(Heartbeat::decode(body)?),
        kind::PONG => Frame::Pong(Heartbeat::decode(body)?),
        kind::GOODBYE => Frame::Goodbye(Goodbye::decode(head.aux, body)?),
        kind::QUERY => Frame::Query(Query::decode(id, head.aux, body)?),
        kind::ANSWER => Frame::Answer(Answer::decode(id, head.flags, body)?),
        kind::GAP => Frame::Gap(Gap::decode(head.aux, body)?),
        other => return Err(FrameError::UnknownKind { kind: other }),
    })
}
