//! From bytes to frames: a total function. Every input is a frame, a wish for more bytes, or an error; none panics.

use crate::body::Body;
use crate::bytes::read_u32;
use crate::checksum::frame_is_intact;
use crate::command::{Ack, Hello, Query, Renew, Subscribe, Unsubscribe};
use crate::error::{FrameError, RecordError};
use crate::event::{
    Acked, Answer, Ended, Gap, Goodbye, Heartbeat, Notice, Published, Reached, Renewed, Skip,
    Subscribed, Unsubscribed, Welcome,
};
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
    /// Deliver topics.
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
    /// Messages that are not to be delivered any more.
    Skip(Skip<'a>),
    /// Other credentials.
    Renew(Renew<'a>),
    /// What became of them.
    Renewed(Renewed),
    /// Messages of a cursor are done with.
    Ack(Ack<'a>),
    /// What became of that.
    Acked(Acked),
    /// Something that is good to know.
    Notice(Notice<'a>),
    /// A subscription is over.
    Ended(Ended<'a>),
    /// How far a filter's subscription has come.
    Reached(Reached<'a>),
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

/// A record whose checksum is wrong breaks no other rule: what its publisher wrote is not known.
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
        kind::HELLO..=kind::REACHED => (CONTROL_HEADER_SIZE as u32, CONTROL_SIZE_MAX),
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
        kind::HELLO => Frame::Hello(Hello::decode(aux, body)?),
        kind::WELCOME => Frame::Welcome(Welcome::decode(aux, body)?),
        kind::SUBSCRIBE => Frame::Subscribe(Subscribe::decode(id, aux, body)?),
        kind::SUBSCRIBED => Frame::Subscribed(Subscribed::decode(id, flags, aux, body)?),
        kind::UNSUBSCRIBE => Frame::Unsubscribe(Unsubscribe::decode(id, flags, body)?),
        kind::UNSUBSCRIBED => Frame::Unsubscribed(Unsubscribed::decode(id, aux, body)?),
        kind::PUBLISHED => Frame::Published(Published::decode(aux, body)?),
        kind::PING => Frame::Ping(Heartbeat::decode(body)?),
        kind::PONG => Frame::Pong(Heartbeat::decode(body)?),
        kind::GOODBYE => Frame::Goodbye(Goodbye::decode(aux, body)?),
        kind::QUERY => Frame::Query(Query::decode(id, aux, body)?),
        kind::ANSWER => Frame::Answer(Answer::decode(id, flags, aux, body)?),
        kind::GAP => Frame::Gap(Gap::decode(flags, aux, body)?),
        kind::SKIP => Frame::Skip(Skip::decode(flags, aux, body)?),
        kind::RENEW => Frame::Renew(Renew::decode(id, body)?),
        kind::RENEWED => Frame::Renewed(Renewed::decode(id, aux, body)?),
        kind::ACK => Frame::Ack(Ack::decode(id, flags, body)?),
        kind::ACKED => Frame::Acked(Acked::decode(id, aux, body)?),
        kind::NOTICE => Frame::Notice(Notice::decode(aux, body)?),
        kind::ENDED => Frame::Ended(Ended::decode(flags, aux, body)?),
        kind::REACHED => Frame::Reached(Reached::decode(body)?),
        kind => return Err(FrameError::UnknownKind { kind }),
    })
}

/// Flags, aux and request id must be zero in the kinds that give them no meaning.
fn check_reserved(head: &FrameHead, id: u32, body: &Body<'_>) -> Result<(), FrameError> {
    use kind::{
        ACK, ACKED, ANSWER, ENDED, GAP, GOODBYE, HELLO, NOTICE, PUBLISHED, QUERY, RENEW, RENEWED,
        SKIP, SUBSCRIBE, SUBSCRIBED, UNSUBSCRIBE, UNSUBSCRIBED, WELCOME,
    };
    let has_flags = matches!(
        head.kind,
        SUBSCRIBED | UNSUBSCRIBE | ANSWER | GAP | SKIP | ACK | ENDED
    );
    let is_answer = matches!(
        head.kind,
        SUBSCRIBED | UNSUBSCRIBED | ANSWER | RENEWED | ACKED
    );
    let has_code = matches!(
        head.kind,
        HELLO | WELCOME | SUBSCRIBE | PUBLISHED | GOODBYE | QUERY | GAP | SKIP | NOTICE | ENDED
    );
    let asks = matches!(head.kind, SUBSCRIBE | UNSUBSCRIBE | QUERY | RENEW | ACK);
    let (has_aux, has_id) = (is_answer || has_code, is_answer || asks);
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
