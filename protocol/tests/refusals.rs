//! Each rule of the wire is broken once, with checksums that are true, and the refusal names it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use oyez_protocol::command::{
    Ack, Begin, Hello, Numbered, Place, Query, Question, Renew, Start, Subscribe, Subscription,
};
use oyez_protocol::error::{FrameError, RecordError, TopicError};
use oyez_protocol::event::{
    Answer, Ended, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Hole, Notable, Notice, Outcome,
    Published, PublishedEntry, Skip, SkipCause, Subscribed, Unsubscribed, Welcome,
};
use oyez_protocol::header::kind;
use oyez_protocol::limits::{CONTROL_SIZE_MAX, CURSOR_SIZE_MAX, Limits};
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{Codec, Record, RecordBuilder};
use oyez_protocol::{Decoded, Epoch, Frame, Offset, decode};
use support::reseal;

/// What a byte is overwritten with, and where.
type Patch = (usize, u8);

fn patched(mut bytes: Vec<u8>, patches: &[Patch]) -> Vec<u8> {
    for (at, value) in patches {
        bytes[*at] = *value;
    }
    reseal(&mut bytes);
    bytes
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    support::encode(frame, &mut bytes);
    bytes
}

/// 64 bytes: topic in [48, 52), block of 6 in [52, 58), padding of 6.
fn record() -> Vec<u8> {
    let mut builder = RecordBuilder::new("demo", Limits::DEFAULT).unwrap();
    builder.push(&MessageRef::new(b"hello")).unwrap();
    let mut bytes = Vec::new();
    builder.finish_stored(0, &mut bytes);
    assert_eq!(bytes.len(), 64);
    bytes
}

#[track_caller]
fn refuses_record(patches: &[Patch], error: RecordError) {
    let bytes = patched(record(), patches);
    assert_eq!(Record::verify(&bytes, &Limits::DEFAULT), Err(error));
}

#[test]
fn a_record_whose_size_is_not_its_own() {
    refuses_record(&[(0, 72)], RecordError::Size { size: 72 });
    refuses_record(&[(0, 56)], RecordError::Size { size: 56 });
    let record = record();
    let short = Record::verify(&record[..40], &Limits::DEFAULT);
    assert_eq!(short, Err(RecordError::Size { size: 40 }));
    // Extras that reach beyond the end.
    refuses_record(&[(17, 2)], RecordError::Size { size: 64 });
}

#[test]
fn a_record_that_is_none_or_has_an_unknown_flag() {
    refuses_record(&[(4, 2)], RecordError::Kind { kind: 2 });
    refuses_record(&[(5, 2)], RecordError::Flags { flags: 2 });
    refuses_record(&[(5, 0x10)], RecordError::Flags { flags: 0x10 });
}

#[test]
fn a_record_without_messages_or_with_more_of_them_than_bytes() {
    let raw_size = 6;
    refuses_record(&[(6, 0)], RecordError::Count { count: 0, raw_size });
    refuses_record(&[(6, 7)], RecordError::Count { count: 7, raw_size });
}

#[test]
fn a_record_whose_block_cannot_hold_its_raw_size() {
    let refused = |raw_size| RecordError::Block { block: 6, raw_size };
    refuses_record(&[(12, 7)], refused(7));
    refuses_record(&[(12, 5)], refused(5));
    // LZ4 that did not shrink anything.
    refuses_record(&[(5, 1)], refused(6));
    refuses_record(&[(5, 1), (12, 5)], refused(5));
}

#[test]
fn a_record_with_reserved_bytes_that_are_not_zero() {
    refuses_record(&[(19, 1)], RecordError::Reserved);
    refuses_record(&[(63, 1)], RecordError::Reserved);
    refuses_record(&[(58, 1)], RecordError::Reserved);
    // Eight bytes of padding: the frame could be shorter.
    let block_of_four = [(12, 4), (18, 8), (56, 0), (57, 0)];
    refuses_record(&block_of_four, RecordError::Reserved);
}

#[test]
fn a_record_whose_topic_breaks_a_rule() {
    let refused = RecordError::Topic;
    refuses_record(&[(16, 0), (12, 10)], refused(TopicError::Empty));
    refuses_record(&[(49, 0xff)], refused(TopicError::NotUtf8));
    refuses_record(&[(49, 0)], refused(TopicError::Nul));
    refuses_record(&[(51, b'#')], refused(TopicError::Wildcard));
}

#[test]
fn a_record_is_trusted_without_its_checksums_but_not_without_its_structure() {
    let mut bytes = record();
    bytes[53] ^= 1;
    assert_eq!(
        Record::verify(&bytes, &Limits::DEFAULT),
        Err(RecordError::BodyChecksum)
    );
    assert_eq!(Record::trusted(&bytes).unwrap().codec(), Codec::Stored);
    bytes[5] = 7;
    assert_eq!(Record::trusted(&bytes), None);
}

#[track_caller]
fn refuses(frame: &Frame<'_>, patches: &[Patch], error: FrameError) {
    let bytes = encoded(frame);
    assert!(matches!(
        decode(&bytes, &Limits::DEFAULT),
        Ok(Decoded::Frame { .. })
    ));
    let bytes = patched(bytes, patches);
    assert_eq!(decode(&bytes, &Limits::DEFAULT), Err(error));
}

const fn malformed(kind: u8, what: &'static str) -> FrameError {
    FrameError::Malformed { kind, what }
}

const HELLO: Frame<'_> = Frame::Hello(Hello {
    version_min: 1,
    version_max: 1,
    features: 0,
    heartbeat_ms: 0,
    name: "demo",
    credentials: b"",
});
const PING: Frame<'_> = Frame::Ping(Heartbeat { token: 1 });

#[test]
fn a_size_that_no_frame_has() {
    for size in [0, 7, 12, 41] {
        refuses(
            &HELLO,
            &[(0, size)],
            FrameError::Size {
                size: u32::from(size),
            },
        );
    }
    // Too small for the fixed part of its kind, and seen before more of it is there.
    for (kind, size) in [(kind::PING, 8), (kind::RECORD, 48), (0xfe, 8)] {
        let refused = Err(FrameError::Size {
            size: u32::from(size),
        });
        assert_eq!(
            decode(&[size, 0, 0, 0, kind, 0, 0, 0], &Limits::DEFAULT),
            refused
        );
    }
}

#[test]
fn a_size_over_the_limit_is_refused_from_the_head_alone() {
    let limits = Limits {
        record_size_max: 128 << 10,
        ..Limits::DEFAULT
    };
    let largest = [
        (kind::RECORD, limits.record_size_max),
        (kind::PING, CONTROL_SIZE_MAX),
        (0x90, limits.record_size_max),
    ];
    for (kind, max) in largest {
        let decode = |size: u32| {
            let head = [size.to_le_bytes(), [kind, 0, 1, 0]].concat();
            decode(&head, &limits).map(|decoded| matches!(decoded, Decoded::Need { .. }))
        };
        assert_eq!(decode(max), Ok(true));
        let size = max + 8;
        assert_eq!(decode(size), Err(FrameError::TooLarge { kind, size, max }));
    }
}

#[test]
fn a_kind_that_must_be_understood_and_is_not() {
    for kind in [0, 23, 127] {
        refuses(&PING, &[(4, kind)], FrameError::UnknownKind { kind });
    }
}

#[test]
fn fields_that_have_no_meaning_in_their_kind() {
    refuses(&PING, &[(5, 1)], malformed(kind::PING, "flags"));
    refuses(&PING, &[(7, 1)], malformed(kind::PING, "aux"));
    refuses(&PING, &[(12, 1)], malformed(kind::PING, "request id"));
}

#[test]
fn bytes_behind_the_last_field() {
    let reserved = malformed(kind::HELLO, "reserved bytes are not zero");
    refuses(&HELLO, &[(39, 1)], reserved);
    let mut bytes = encoded(&PING);
    bytes.extend_from_slice(&[0; 8]);
    bytes[0] = 32;
    reseal(&mut bytes);
    let left = malformed(kind::PING, "bytes are left after the last field");
    assert_eq!(decode(&bytes, &Limits::DEFAULT), Err(left));
}

#[test]
fn fields_that_reach_behind_the_end() {
    refuses(&HELLO, &[(28, 9)], malformed(kind::HELLO, "name"));
    refuses(&HELLO, &[(30, 9)], malformed(kind::HELLO, "credentials"));
}

#[test]
fn a_hello_that_is_none() {
    refuses(&HELLO, &[(16, b'o')], FrameError::Magic);
    let too_long = malformed(kind::HELLO, "name or credentials are too long");
    refuses(&HELLO, &[(29, 5)], too_long);
    refuses(&HELLO, &[(31, 17)], too_long);
    refuses(&HELLO, &[(32, 0xff)], malformed(kind::HELLO, "name"));
}

#[test]
fn a_welcome_with_limits_that_no_broker_may_have() {
    let welcome = Frame::Welcome(Welcome {
        version: 1,
        heartbeat_ms: 1,
        limits: Limits::HARD,
        inflight_records_max: 1,
        inflight_bytes_max: 1,
        subscriptions_max: 1,
        features: 0,
        expires_ms: 0,
        instance: 1,
        name: "n",
    });
    let limits = malformed(kind::WELCOME, "limits above what the protocol allows");
    refuses(&welcome, &[(20, 8)], limits);
    refuses(&welcome, &[(22, 0), (20, 100)], limits);
    refuses(&welcome, &[(22, 0), (20, 48)], limits);
    refuses(&welcome, &[(24, 1)], limits);
    refuses(
        &welcome,
        &[(61, 5)],
        malformed(kind::WELCOME, "name is too long"),
    );
}

#[test]
fn a_subscription_that_begins_nowhere() {
    let subscribe = |begin| {
        let mut bytes = Vec::new();
        let topic = Subscription {
            begin,
            ..Subscription::new("demo", Start::Earliest, None)
        };
        Subscribe::encode(1, &[topic], &mut bytes);
        bytes
    };
    let earliest = subscribe(Begin::At(Start::Earliest));
    let earliest = support::whole(&earliest, &Limits::DEFAULT);
    let kind = kind::SUBSCRIBE;
    let mismatch = malformed(kind, "a start that goes with another number or other bytes");
    refuses(&earliest, &[(24, 1)], mismatch);
    refuses(&earliest, &[(16, 5)], mismatch);
    refuses(&earliest, &[(16, 6)], mismatch);
    refuses(&earliest, &[(17, 2)], malformed(kind, "flags of a topic"));
    let reserved = malformed(kind, "reserved bytes are not zero");
    refuses(&earliest, &[(19, 1)], reserved);
    refuses(&earliest, &[(22, 1)], reserved);
    refuses(&earliest, &[(6, 0)], malformed(kind, "count"));
    refuses(&earliest, &[(6, 33)], malformed(kind, "count"));
    refuses(&earliest, &[(6, 2)], malformed(kind, "extra size"));
    let topic = FrameError::Topic;
    refuses(&earliest, &[(42, b'+')], topic(TopicError::Wildcard));
    refuses(
        &earliest,
        &[(17, 1), (42, b'+')],
        topic(TopicError::Wildcard),
    );
    refuses(&earliest, &[(18, 0)], topic(TopicError::Empty));
    let cursor = subscribe(Begin::Cursor("phone"));
    let cursor = support::whole(&cursor, &Limits::DEFAULT);
    refuses(
        &cursor,
        &[(44, 0xff)],
        malformed(kind, "the name of a cursor"),
    );
    refuses(&cursor, &[(16, 1)], mismatch);
    let long = [b'x'; CURSOR_SIZE_MAX + 1];
    let mut bytes = subscribe(Begin::Token(&long));
    bytes[16] = 6;
    reseal(&mut bytes);
    let too_long = malformed(kind, "a token or the name of a cursor is too long");
    assert_eq!(decode(&bytes, &Limits::DEFAULT), Err(too_long));
}

#[test]
fn an_outcome_that_is_not_known_counts_as_its_class() {
    let outcome = Outcome::Ok;
    let frame = Frame::Unsubscribed(Unsubscribed { id: 1, outcome });
    for (class, expected) in [
        (0, Outcome::Ok),
        (1, Outcome::Refused),
        (2, Outcome::NotNow),
        (3, Outcome::NotAllowed),
        (4, Outcome::NotSupported),
        (5, Outcome::Refused),
    ] {
        let bytes = patched(encoded(&frame), &[(6, 0xee), (7, class)]);
        let outcome = expected;
        let frame = Frame::Unsubscribed(Unsubscribed { id: 1, outcome });
        assert_eq!(support::whole(&bytes, &Limits::DEFAULT), frame);
    }
    let subscribed = Frame::Subscribed(Subscribed {
        id: 1,
        entry: 0,
        outcome,
        retry_after_ms: 0,
        next: Offset::new(0),
        earliest: Offset::new(0),
        head: Offset::new(0),
        epoch: Epoch::new(1),
        log: None,
        more_logs: false,
        epoch_changed: false,
        dropped: false,
    });
    refuses(
        &subscribed,
        &[(5, 16)],
        malformed(kind::SUBSCRIBED, "flags"),
    );
    let log = malformed(kind::SUBSCRIBED, "a log goes with sequences only");
    refuses(&subscribed, &[(50, 1)], log);
    refuses(&subscribed, &[(5, 8)], log);
}

#[test]
fn published_entries_that_are_none() {
    let entry = PublishedEntry {
        correlation: 1,
        offset: Offset::new(1),
        epoch: Epoch::new(1),
        outcome: Outcome::Ok,
        retry_after_ms: 0,
    };
    let mut bytes = Vec::new();
    Published::encode(&[entry], &mut bytes);
    let frame = support::whole(&bytes, &Limits::DEFAULT);
    let malformed = |what| malformed(kind::PUBLISHED, what);
    refuses(&frame, &[(6, 0)], malformed("count"));
    refuses(&frame, &[(6, 2)], malformed("entries"));
    refuses(&frame, &[(7, 8)], malformed("count"));
    refuses(&frame, &[(42, 1)], malformed("reserved bytes are not zero"));
}

#[test]
fn a_goodbye_answer_query_or_gap_that_is_none() {
    let goodbye = Frame::Goodbye(Goodbye {
        code: GoodbyeCode::Done,
        retry_after_ms: 0,
        reason: "r",
    });
    refuses(
        &goodbye,
        &[(21, 5)],
        malformed(kind::GOODBYE, "reason is too long"),
    );
    refuses(
        &goodbye,
        &[(22, 1)],
        malformed(kind::GOODBYE, "reserved bytes are not zero"),
    );
    let question = Question::Topics { after: "x" };
    let query = Frame::Query(Query { id: 1, question });
    let text = malformed(kind::QUERY, "a text goes with other questions only");
    refuses(&query, &[(6, 1)], text);
    refuses(&query, &[(6, 3)], text);
    let answer = Frame::Answer(Answer {
        id: 1,
        outcome: Outcome::Ok,
        retry_after_ms: 0,
        more: false,
        json: "{}",
    });
    refuses(&answer, &[(5, 2)], malformed(kind::ANSWER, "flags"));
    for kind in [kind::GAP, kind::SKIP] {
        let hole = Hole {
            name: "demo",
            from: Numbered::Offset(Offset::new(1)),
            to: 2,
            epoch: Epoch::new(1),
        };
        let (gap, skip) = (GapCause::Retention, SkipCause::Deleted);
        let frame = match kind {
            kind::GAP => Frame::Gap(Gap { cause: gap, hole }),
            _ => Frame::Skip(Skip { cause: skip, hole }),
        };
        refuses(&frame, &[(5, 2)], malformed(kind, "flags"));
        let log = malformed(kind, "a log goes with sequences only");
        refuses(&frame, &[(40, 1)], log);
        let ends = malformed(kind, "what is missing ends where it begins, or before");
        refuses(&frame, &[(24, 1)], ends);
        let wildcard = FrameError::Topic(TopicError::Wildcard);
        refuses(&frame, &[(43, b'+')], wildcard);
        refuses(&frame, &[(5, 1), (43, b'+')], wildcard);
    }
}

#[test]
fn what_is_for_access_and_cursors_that_is_none() {
    let renew = Frame::Renew(Renew {
        id: 1,
        credentials: b"secret",
    });
    let malformed_renew = |what| malformed(kind::RENEW, what);
    refuses(
        &renew,
        &[(17, 17)],
        malformed_renew("credentials are too long"),
    );
    refuses(&renew, &[(16, 200)], malformed_renew("credentials"));
    refuses(
        &renew,
        &[(18, 1)],
        malformed_renew("reserved bytes are not zero"),
    );
    let ack = Frame::Ack(Ack {
        id: 1,
        cursor: "phone",
        place: Place {
            name: "demo",
            epoch: Epoch::new(1),
            next: Numbered::Offset(Offset::new(1)),
        },
    });
    refuses(&ack, &[(34, 0)], malformed(kind::ACK, "cursor size"));
    refuses(&ack, &[(34, 65)], malformed(kind::ACK, "cursor size"));
    refuses(&ack, &[(36, 0xff)], malformed(kind::ACK, "cursor"));
    refuses(&ack, &[(5, 2)], malformed(kind::ACK, "flags"));
    refuses(&ack, &[(41, b'#')], FrameError::Topic(TopicError::Wildcard));
    let ended = Frame::Ended(Ended {
        name: "demo",
        is_filter: false,
        outcome: Outcome::Expired,
        retry_after_ms: 0,
    });
    refuses(&ended, &[(7, 0)], malformed(kind::ENDED, "outcome"));
    refuses(&ended, &[(5, 2)], malformed(kind::ENDED, "flags"));
    let notice = Frame::Notice(Notice {
        about: Notable::Expires(1),
        text: "t",
    });
    refuses(
        &notice,
        &[(25, 5)],
        malformed(kind::NOTICE, "the text is too long"),
    );
    refuses(&notice, &[(24, 200)], malformed(kind::NOTICE, "text"));
    // Something to know that nobody knows yet is passed over.
    let bytes = patched(encoded(&notice), &[(6, 9)]);
    let about = Notable::Other { code: 9, value: 1 };
    let frame = support::whole(&bytes, &Limits::DEFAULT);
    assert_eq!(frame, Frame::Notice(Notice { about, text: "t" }));
}

#[test]
fn a_code_of_a_later_version_keeps_its_half() {
    for (code, known) in [
        (0xff, GoodbyeCode::Draining),
        (0x1ff, GoodbyeCode::BadFrame),
    ] {
        assert_eq!(GoodbyeCode::from_code(code), known);
        assert_eq!(known.may_reconnect(), code < 0x100);
    }
}

#[test]
fn texts_that_are_too_long_are_cut_between_characters() {
    // Byte 1024 lies within a character.
    let name = format!("x{}", "ü".repeat(600));
    let mut bytes = Vec::new();
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        heartbeat_ms: 0,
        name: &name,
        credentials: b"",
    };
    hello.encode(&mut bytes);
    let Frame::Hello(read) = support::whole(&bytes, &Limits::DEFAULT) else {
        panic!("another kind");
    };
    assert!(name.starts_with(read.name));
    assert_eq!(read.name.len(), 1023);
}

#[test]
fn published_entries_spread_over_as_many_frames_as_they_need() {
    let entry = |correlation| PublishedEntry {
        correlation,
        offset: Offset::new(1),
        epoch: Epoch::new(1),
        outcome: Outcome::Ok,
        retry_after_ms: 0,
    };
    let mut bytes = Vec::new();
    Published::encode(&(0..5000).map(entry).collect::<Vec<_>>(), &mut bytes);
    let (mut rest, mut read) = (&bytes[..], Vec::new());
    while let Ok(Decoded::Frame { frame, size }) = decode(rest, &Limits::DEFAULT) {
        let Frame::Published(published) = frame else {
            panic!("another kind");
        };
        read.extend(published.entries().map(|entry| entry.correlation));
        rest = &rest[size..];
    }
    assert!(rest.is_empty() && read.into_iter().eq(0..5000));
}

#[test]
fn only_a_right_checksum_makes_a_refusal_final() {
    let code = |bytes: &[u8]| match decode(bytes, &Limits::DEFAULT) {
        Err(error) => GoodbyeCode::from(error),
        other => panic!("{other:?} is accepted"),
    };
    let whole = record();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The broker's fields are not covered; a size that grew asks for more.
        let accepted = decode(&bytes, &Limits::DEFAULT).is_ok();
        assert!(
            accepted || code(&bytes) == GoodbyeCode::Damaged,
            "bit {bit}: {:?}",
            code(&bytes)
        );
    }
    for frame in [HELLO, PING] {
        let whole = encoded(&frame);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let waits = matches!(decode(&bytes, &Limits::DEFAULT), Ok(Decoded::Need { .. }));
            assert!(
                waits || code(&bytes) == GoodbyeCode::Damaged,
                "bit {bit} of {frame:?}: {:?}",
                code(&bytes)
            );
        }
    }
    for final_one in [
        FrameError::Magic,
        malformed(4, "start"),
        FrameError::Topic(TopicError::Empty),
        FrameError::Record(RecordError::Reserved),
    ] {
        assert!(!GoodbyeCode::from(final_one).may_reconnect(), "{final_one}");
    }
}
