//! What the tests and the fuzz targets share: frames back to bytes, checksums by the letter of the spec.
#![allow(dead_code, reason = "each test uses its part")]

use oyez_protocol::checksum::{crc32c, seal_frame};
use oyez_protocol::command::Subscribe;
use oyez_protocol::event::{Acked, Answer, Outcome, Published, Renewed, Subscribed, Unsubscribed};
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::{PUBLISHED_ENTRY_SIZE, RECORD_HEADER_SIZE};
use oyez_protocol::{Decoded, Frame, decode, limits::Limits};

/// Appends the bytes of `frame`; of a skipped frame nothing is known.
pub(crate) fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    match frame {
        Frame::Record(record) => out.extend_from_slice(record.bytes()),
        Frame::Hello(hello) => hello.encode(out),
        Frame::Welcome(welcome) => welcome.encode(out),
        Frame::Subscribe(subscribe) => {
            Subscribe::encode(subscribe.id, &subscribe.topics().collect::<Vec<_>>(), out);
        }
        Frame::Subscribed(subscribed) => subscribed.encode(out),
        Frame::Unsubscribe(unsubscribe) => unsubscribe.encode(out),
        Frame::Unsubscribed(unsubscribed) => unsubscribed.encode(out),
        Frame::Published(published) => {
            Published::encode(&published.entries().collect::<Vec<_>>(), out);
        }
        Frame::Ping(heartbeat) => heartbeat.encode_ping(out),
        Frame::Pong(heartbeat) => heartbeat.encode_pong(out),
        Frame::Goodbye(goodbye) => goodbye.encode(out),
        Frame::Query(query) => query.encode(out),
        Frame::Answer(answer) => answer.encode(out),
        Frame::Gap(gap) => gap.encode(out),
        Frame::Skip(skip) => skip.encode(out),
        Frame::Renew(renew) => renew.encode(out),
        Frame::Renewed(renewed) => renewed.encode(out),
        Frame::Ack(ack) => ack.encode(out),
        Frame::Acked(acked) => acked.encode(out),
        Frame::Notice(notice) => notice.encode(out),
        Frame::Ended(ended) => ended.encode(out),
        Frame::Reached(reached) => reached.encode(out),
        Frame::Skipped { .. } => {}
    }
}

/// Fails unless `bytes` are what `frame` becomes: what is accepted has one encoding, but that a code of a later version
/// counts as the plainest of its class.
#[track_caller]
pub(crate) fn assert_one_encoding(frame: &Frame<'_>, bytes: &[u8]) {
    let mut again = Vec::new();
    encode(frame, &mut again);
    let class_of = |outcome: Outcome| outcome.is_done() == (bytes[7] == 0);
    let has_code = match *frame {
        Frame::Skipped { .. } => return,
        Frame::Goodbye(goodbye) => {
            assert_eq!(goodbye.code.may_reconnect(), bytes[7] == 0);
            true
        }
        Frame::Subscribed(Subscribed { outcome, .. })
        | Frame::Unsubscribed(Unsubscribed { outcome, .. })
        | Frame::Answer(Answer { outcome, .. })
        | Frame::Renewed(Renewed { outcome, .. })
        | Frame::Acked(Acked { outcome, .. }) => {
            assert!(class_of(outcome), "{outcome:?}");
            true
        }
        Frame::Gap(_) | Frame::Skip(_) | Frame::Ended(_) => true,
        _ => false,
    };
    if has_code {
        again[6..12].copy_from_slice(&bytes[6..12]);
    }
    if let Frame::Published(published) = frame {
        again[8..12].copy_from_slice(&bytes[8..12]);
        for (number, entry) in published.entries().enumerate() {
            let at = 16 + number * PUBLISHED_ENTRY_SIZE + 24;
            assert_eq!(entry.outcome.is_done(), bytes[at + 1] == 0);
            again[at..at + 2].copy_from_slice(&bytes[at..at + 2]);
        }
    }
    assert_eq!(again, bytes);
}

/// A frame of a kind that nobody knows.
pub(crate) fn unknown_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = (16 + body.len()).next_multiple_of(8);
    let head = FrameHead {
        size: size as u32,
        kind,
        flags: 0,
        aux: 0,
    };
    let mut frame = head.to_bytes().to_vec();
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(body);
    frame.resize(size, 0);
    seal_frame(&mut frame);
    frame
}

/// Makes the checksums of one whole frame true, whatever else is wrong with it.
pub(crate) fn reseal(frame: &mut [u8]) {
    if frame.len() < 16 {
        return;
    }
    if frame[4] != kind::RECORD {
        return seal_frame(frame);
    }
    if frame.len() < RECORD_HEADER_SIZE {
        return;
    }
    let crc = crc32c(&[&frame[..8], &frame[12..20], &frame[48..]].concat());
    frame[8..12].copy_from_slice(&crc.to_le_bytes());
    frame[20..24].fill(0);
    let crc = crc32c(&frame[..48]);
    frame[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// The frame that `bytes` are, no more and no less.
pub(crate) fn whole<'a>(bytes: &'a [u8], limits: &Limits) -> Frame<'a> {
    match decode(bytes, limits) {
        Ok(Decoded::Frame { frame, size }) if size == bytes.len() => frame,
        other => panic!("not one whole frame: {other:?}"),
    }
}
