//! The bytes of every frame, fixed. A change here is a change of the protocol's version.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use oyez_protocol::command::{
    Ack, Begin, Hello, Numbered, Place, Query, Question, Renew, Start, Subscribe, Subscription,
    Unsubscribe,
};
use oyez_protocol::event::{
    Acked, Answer, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Hole, Notable, Notice, Outcome,
    Published, PublishedEntry, Renewed, Skip, SkipCause, Subscribed, Unsubscribed, Welcome,
    feature,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{Headers, MessageRef, Messages, write_headers};
use oyez_protocol::record::{Codec, Extra, Record, RecordBuilder, Stamp, stamp};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Frame, LogId, Offset, Sequence};

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    let rows = bytes.chunks(8).map(|row| {
        let digits: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(" ")
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// `frame` is `hex`, both ways.
#[track_caller]
fn check(hex: &str, frame: Frame<'_>) {
    let mut encoded = Vec::new();
    support::encode(&frame, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)), "encoded");
    assert_eq!(
        support::whole(&bytes_of(hex), &Limits::DEFAULT),
        frame,
        "decoded"
    );
}

#[test]
fn hello() {
    check(
        "\
         30 00 00 00 02 00 00 00   c3 19 81 ab 00 00 00 00
         4f 59 45 5a 01 00 02 00   30 75 00 00 08 00 06 00
         6f 79 65 7a 2f 30 2e 31   73 65 63 72 65 74 00 00
        ",
        Frame::Hello(Hello {
            version_min: 1,
            version_max: 2,
            heartbeat_ms: 30_000,
            name: "oyez/0.1",
            credentials: b"secret",
        }),
    );
}

#[test]
fn welcome() {
    check(
        "\
         50 00 00 00 03 00 02 00   18 35 46 0c 00 00 00 00
         30 75 00 00 00 00 04 00   00 00 10 00 00 01 00 00
         00 00 00 01 41 00 00 00   ef cd ab 89 67 45 23 01
         00 68 e5 cf 8b 01 00 00   00 04 00 00 0b 00 00 00
         6f 79 65 7a 2d 73 65 72   76 65 72 00 00 00 00 00
        ",
        Frame::Welcome(Welcome {
            version: 2,
            heartbeat_ms: 30_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 256,
            inflight_bytes_max: 16 << 20,
            subscriptions_max: 1024,
            features: feature::SEVERAL_TOPICS | feature::RENEW,
            expires_ms: 1_700_000_000_000,
            instance: 0x0123_4567_89ab_cdef,
            name: "oyez-server",
        }),
    );
}

/// A request for topics, both ways.
#[track_caller]
fn check_subscribe(hex: &str, id: u32, topics: &[Subscription<'_>]) {
    let mut encoded = Vec::new();
    Subscribe::encode(id, topics, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)), "encoded");
    let bytes = bytes_of(hex);
    let Frame::Subscribe(subscribe) = support::whole(&bytes, &Limits::DEFAULT) else {
        panic!("another kind");
    };
    assert_eq!(subscribe.id, id);
    assert_eq!(subscribe.topics().collect::<Vec<_>>(), topics, "decoded");
}

#[test]
fn subscribe() {
    let start = Start::Offset(Offset::new(42));
    let epoch = Some(Epoch::new(0x1122_3344_5566_7788));
    check_subscribe(
        "\
         30 00 00 00 04 00 01 00   5d 18 78 15 07 00 00 00
         02 00 04 00 00 00 00 00   2a 00 00 00 00 00 00 00
         88 77 66 55 44 33 22 11   64 65 6d 6f 00 00 00 00
        ",
        7,
        &[Subscription::new("demo", start, epoch)],
    );
    check_subscribe(
        "\
         30 00 00 00 04 00 01 00   d4 fd 29 d5 01 00 00 00
         00 00 04 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   61 2f c3 bc 00 00 00 00
        ",
        1,
        &[Subscription::new("a/ü", Start::Latest, None)],
    );
}

#[test]
fn subscribe_to_several_topics_in_all_ways() {
    let wish = |name, begin| Subscription {
        name,
        is_filter: false,
        begin,
        epoch: None,
    };
    check_subscribe(
        "\
         b8 00 00 00 04 00 06 00   4a fc 1c 7d 09 00 00 00
         01 01 06 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   6e 65 77 73 2f 23 03 00
         01 00 00 00 00 00 00 68   e5 cf 8b 01 00 00 00 00
         00 00 00 00 00 00 61 04   00 01 00 00 00 00 00 0a
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 62
         05 00 01 00 03 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   63 01 02 03 06 00 01 00
         05 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 64 70 68 6f   6e 65 09 00 01 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 65 00 00 00 00 00
        ",
        9,
        &[
            Subscription {
                is_filter: true,
                ..wish("news/#", Begin::At(Start::Earliest))
            },
            wish("a", Begin::Time(1_700_000_000_000)),
            wish("b", Begin::Last(10)),
            wish("c", Begin::Token(&[1, 2, 3])),
            wish("d", Begin::Cursor("phone")),
            wish(
                "e",
                Begin::Other {
                    code: 9,
                    value: 0,
                    bytes: &[],
                },
            ),
        ],
    );
}

#[test]
fn subscribed() {
    check(
        "\
         38 00 00 00 05 03 00 00   0e 03 db 63 07 00 00 00
         2a 00 00 00 00 00 00 00   28 00 00 00 00 00 00 00
         32 00 00 00 00 00 00 00   09 00 00 00 00 00 00 00
         01 00 00 00 00 00 00 00
        ",
        Frame::Subscribed(Subscribed {
            id: 7,
            entry: 1,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            next: Offset::new(42),
            earliest: Offset::new(40),
            head: Offset::new(50),
            epoch: Epoch::new(9),
            epoch_changed: true,
            dropped: true,
        }),
    );
    check(
        "\
         38 00 00 00 05 00 04 02   fc a6 74 a8 07 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         ff ff 00 00 dc 05 00 00
        ",
        Frame::Subscribed(Subscribed {
            id: 7,
            entry: Subscribed::ALL,
            outcome: Outcome::TooManyTopics,
            retry_after_ms: 1_500,
            next: Offset::new(0),
            earliest: Offset::new(0),
            head: Offset::new(0),
            epoch: Epoch::new(0),
            epoch_changed: false,
            dropped: false,
        }),
    );
}

#[test]
fn unsubscribe() {
    check(
        "\
         18 00 00 00 06 00 00 00   34 2c 86 67 08 00 00 00
         04 64 65 6d 6f 00 00 00
        ",
        Frame::Unsubscribe(Unsubscribe {
            id: 8,
            name: "demo",
            is_filter: false,
        }),
    );
    check(
        "\
         18 00 00 00 06 01 00 00   e0 02 ed e9 08 00 00 00
         06 64 65 6d 6f 2f 2b 00
        ",
        Frame::Unsubscribe(Unsubscribe {
            id: 8,
            name: "demo/+",
            is_filter: true,
        }),
    );
}

#[test]
fn unsubscribed() {
    check(
        "\
         10 00 00 00 07 00 03 01   da af f9 32 08 00 00 00
        ",
        Frame::Unsubscribed(Unsubscribed {
            id: 8,
            outcome: Outcome::NotSubscribed,
        }),
    );
}

#[test]
fn published() {
    let entries = [
        PublishedEntry {
            correlation: 5,
            offset: Offset::new(100),
            epoch: Epoch::new(9),
            outcome: Outcome::Ok,
            retry_after_ms: 0,
        },
        PublishedEntry {
            correlation: 6,
            offset: Offset::new(0),
            epoch: Epoch::new(0),
            outcome: Outcome::DiskFull,
            retry_after_ms: 2_000,
        },
    ];
    let hex = "\
         50 00 00 00 08 00 02 00   55 e2 27 32 00 00 00 00
         05 00 00 00 00 00 00 00   64 00 00 00 00 00 00 00
         09 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         06 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   01 02 00 00 d0 07 00 00
        ";
    let mut encoded = Vec::new();
    Published::encode(&entries, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)), "encoded");
    let bytes = bytes_of(hex);
    let Frame::Published(published) = support::whole(&bytes, &Limits::DEFAULT) else {
        panic!("another kind");
    };
    assert!(published.entries().eq(entries), "decoded");
}

#[test]
fn ping_and_pong() {
    let token = 0xa1b2_c3d4;
    check(
        "\
         18 00 00 00 09 00 00 00   65 cb 05 71 00 00 00 00
         d4 c3 b2 a1 00 00 00 00
        ",
        Frame::Ping(Heartbeat { token }),
    );
    check(
        "\
         18 00 00 00 0a 00 00 00   96 ab fd 62 00 00 00 00
         d4 c3 b2 a1 00 00 00 00
        ",
        Frame::Pong(Heartbeat { token }),
    );
}

#[test]
fn goodbye() {
    check(
        "\
         28 00 00 00 0b 00 01 00   91 d5 34 37 00 00 00 00
         dc 05 00 00 0d 00 00 00   73 68 75 74 74 69 6e 67
         20 64 6f 77 6e 00 00 00
        ",
        Frame::Goodbye(Goodbye {
            code: GoodbyeCode::Draining,
            retry_after_ms: 1500,
            reason: "shutting down",
        }),
    );
}

#[test]
fn query() {
    let frame = |question| Frame::Query(Query { id: 3, question });
    check(
        "\
         18 00 00 00 0c 00 01 00   3e d7 49 31 03 00 00 00
         00 00 00 00 00 00 00 00
        ",
        frame(Question::Stats),
    );
    check(
        "\
         18 00 00 00 0c 00 02 00   b3 6f 69 7a 03 00 00 00
         04 64 65 6d 6f 00 00 00
        ",
        frame(Question::Topics { after: "demo" }),
    );
    check(
        "\
         18 00 00 00 0c 00 03 00   b2 7d 47 99 03 00 00 00
         00 00 00 00 00 00 00 00
        ",
        frame(Question::Lag),
    );
}

#[test]
fn a_question_that_is_not_known() {
    check(
        "\
         18 00 00 00 0c 00 09 00   ab d7 82 2d 03 00 00 00
         04 64 65 6d 6f 00 00 00
        ",
        Frame::Query(Query {
            id: 3,
            question: Question::Other {
                code: 9,
                text: "demo",
            },
        }),
    );
}

#[test]
fn answer() {
    check(
        "\
         28 00 00 00 0d 01 00 00   26 ac d6 e5 03 00 00 00
         0d 00 00 00 00 00 00 00   7b 22 74 6f 70 69 63 73
         22 3a 5b 5d 7d 00 00 00
        ",
        Frame::Answer(Answer {
            id: 3,
            outcome: Outcome::Ok,
            more: true,
            json: r#"{"topics":[]}"#,
        }),
    );
    check(
        "\
         18 00 00 00 0d 00 00 04   12 6e 0a 54 03 00 00 00
         00 00 00 00 00 00 00 00
        ",
        Frame::Answer(Answer {
            id: 3,
            outcome: Outcome::NotSupported,
            more: false,
            json: "",
        }),
    );
}

#[test]
fn gap() {
    check(
        "\
         28 00 00 00 0e 00 02 00   8e 4f 3d 52 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         00 00 04 64 65 6d 6f 00
        ",
        Frame::Gap(Gap {
            cause: GapCause::Damage,
            hole: Hole {
                name: "demo",
                from: Numbered::Offset(Offset::new(10)),
                to: 12,
            },
        }),
    );
    check(
        "\
         30 00 00 00 0e 01 01 00   cf b9 7c d9 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         03 00 06 64 65 6d 6f 2f   23 00 00 00 00 00 00 00
        ",
        Frame::Gap(Gap {
            cause: GapCause::Retention,
            hole: Hole {
                name: "demo/#",
                from: Numbered::Sequence {
                    log: LogId::new(3),
                    sequence: Sequence::new(10),
                },
                to: 12,
            },
        }),
    );
}

#[test]
fn skip() {
    check(
        "\
         28 00 00 00 0f 00 02 00   45 9f 9b 6f 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         00 00 04 64 65 6d 6f 00
        ",
        Frame::Skip(Skip {
            cause: SkipCause::Superseded,
            hole: Hole {
                name: "demo",
                from: Numbered::Offset(Offset::new(10)),
                to: 12,
            },
        }),
    );
}

#[test]
fn renew_and_renewed() {
    check(
        "\
         20 00 00 00 10 00 00 00   f9 99 10 78 05 00 00 00
         06 00 00 00 73 65 63 72   65 74 00 00 00 00 00 00
        ",
        Frame::Renew(Renew {
            id: 5,
            credentials: b"secret",
        }),
    );
    check(
        "\
         20 00 00 00 11 00 00 00   bb 84 00 b1 05 00 00 00
         00 68 e5 cf 8b 01 00 00   00 00 00 00 00 00 00 00
        ",
        Frame::Renewed(Renewed {
            id: 5,
            outcome: Outcome::Ok,
            expires_ms: 1_700_000_000_000,
            retry_after_ms: 0,
        }),
    );
}

#[test]
fn ack_and_acked() {
    check(
        "\
         30 00 00 00 12 00 00 00   74 e5 4a 63 06 00 00 00
         2b 00 00 00 00 00 00 00   09 00 00 00 00 00 00 00
         00 00 05 04 70 68 6f 6e   65 64 65 6d 6f 00 00 00
        ",
        Frame::Ack(Ack {
            id: 6,
            cursor: "phone",
            place: Place {
                name: "demo",
                epoch: Epoch::new(9),
                next: Numbered::Offset(Offset::new(43)),
            },
        }),
    );
    check(
        "\
         30 00 00 00 12 01 00 00   a8 dd 75 4a 06 00 00 00
         2b 00 00 00 00 00 00 00   09 00 00 00 00 00 00 00
         03 00 05 06 70 68 6f 6e   65 64 65 6d 6f 2f 2b 00
        ",
        Frame::Ack(Ack {
            id: 6,
            cursor: "phone",
            place: Place {
                name: "demo/+",
                epoch: Epoch::new(9),
                next: Numbered::Sequence {
                    log: LogId::new(3),
                    sequence: Sequence::new(43),
                },
            },
        }),
    );
    check(
        "\
         10 00 00 00 13 00 00 04   51 4f 7b 49 06 00 00 00
        ",
        Frame::Acked(Acked {
            id: 6,
            outcome: Outcome::NotSupported,
        }),
    );
}

#[test]
fn notice() {
    check(
        "\
         28 00 00 00 14 00 01 00   6d 93 f7 b9 00 00 00 00
         00 68 e5 cf 8b 01 00 00   09 00 72 65 6e 65 77 20
         6e 6f 77 00 00 00 00 00
        ",
        Frame::Notice(Notice {
            about: Notable::Expires(1_700_000_000_000),
            text: "renew now",
        }),
    );
}

#[test]
fn resume_token() {
    let place = Place {
        name: "demo",
        epoch: Epoch::new(7),
        next: Numbered::Offset(Offset::new(1000)),
    };
    let hex = "\
         01 00 01 00 07 00 00 00   00 00 00 00 e8 03 00 00
         00 00 00 00 04 64 65 6d   6f 68 a0 6b 22
        ";
    let mut encoded = Vec::new();
    Token::encode(&[place], &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)), "encoded");
    let bytes = bytes_of(hex);
    let token = Token::decode(&bytes).expect("a token");
    assert!(token.places().eq([place]), "decoded");
}

#[test]
fn a_kind_that_is_not_known_and_may_be_skipped() {
    let hex = "\
         18 00 00 00 fe 00 00 00   e9 10 06 78 00 00 00 00
         6c 61 74 65 72 00 00 00
        ";
    let bytes = bytes_of(hex);
    assert_eq!(
        hex_of(&support::unknown_frame(0xfe, b"later")),
        hex_of(&bytes)
    );
    assert_eq!(
        support::whole(&bytes, &Limits::DEFAULT),
        Frame::Skipped { kind: 0xfe }
    );
}

const STAMP: Stamp = Stamp {
    offset: Offset::new(1000),
    sequence: Sequence::new(77),
    log: LogId::new(3),
    timestamp_ms: 1_700_000_000_000,
    incarnation: 2,
};

fn builder() -> RecordBuilder {
    RecordBuilder::new("demo", Limits::DEFAULT).unwrap()
}

const STORED: &str = "\
         40 00 00 00 01 00 01 00   82 81 5a 31 06 00 00 00
         04 00 06 00 00 00 00 00   09 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 14 68 65 6c   6c 6f 00 00 00 00 00 00
        ";

#[test]
fn stored_record() {
    let (mut builder, mut encoded) = (builder(), Vec::new());
    builder.push(&MessageRef::new(b"hello")).unwrap();
    builder.finish_stored(9, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(STORED)));
    let bytes = bytes_of(STORED);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert_eq!(
        (record.topic(), record.count(), record.codec()),
        ("demo", 1, Codec::Stored)
    );
    assert_eq!(
        (record.raw_size(), record.block(), record.correlation()),
        (6, &b"\x14hello"[..], 9)
    );
    assert_eq!(record.extras().count(), 0);
}

#[test]
fn stamped_record() {
    let hex = "\
         40 00 00 00 01 00 01 00   82 81 5a 31 06 00 00 00
         04 00 06 00 54 8b 03 e4   e8 03 00 00 00 00 00 00
         4d 00 00 00 00 00 03 00   00 68 e5 cf 8b 01 02 00
         64 65 6d 6f 14 68 65 6c   6c 6f 00 00 00 00 00 00
        ";
    let mut stamped = bytes_of(STORED);
    stamp(&mut stamped, &STAMP);
    assert_eq!(hex_of(&stamped), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify_stamped(&bytes, &Limits::DEFAULT).unwrap();
    let read = Stamp {
        offset: record.offset(),
        sequence: record.sequence(),
        log: record.log(),
        timestamp_ms: record.timestamp_ms(),
        incarnation: record.incarnation(),
    };
    assert_eq!(read, STAMP);
}

#[test]
fn record_with_extras_and_every_part_of_a_message() {
    let hex = "\
         70 00 00 00 01 00 02 00   bf 84 1e c1 20 00 00 00
         04 03 04 00 00 00 00 00   ff ff ff ff ff ff ff ff
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 81 03 61 62   63 00 00 00 ff 07 31 32
         33 34 35 36 37 00 00 00   00 00 00 00 17 06 75 73
         65 72 2d 31 02 04 74 79   70 65 04 6e 6f 74 65 05
         65 6d 70 74 79 00 68 65   6c 6c 6f 00 00 00 00 00
        ";
    let (mut builder, mut encoded, mut headers) = (builder(), Vec::new(), Vec::new());
    write_headers(&[(b"type", b"note"), (b"empty", b"")], &mut headers);
    let message = MessageRef {
        key: Some(b"user-1"),
        headers: Headers::parse(&headers).unwrap(),
        payload: b"hello",
    };
    let extras = [
        Extra {
            kind: 0x81,
            value: b"abc",
        },
        Extra {
            kind: 0xff,
            value: b"1234567",
        },
    ];
    for extra in extras {
        builder.push_extra(extra).unwrap();
    }
    builder.push(&message).unwrap();
    builder.push(&MessageRef::new(b"")).unwrap();
    builder.finish_stored(u64::MAX, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert!(record.extras().eq(extras));
    let messages: Vec<_> = Messages::new(record.block(), record.count())
        .map(Result::unwrap)
        .collect();
    assert_eq!(messages, [message, MessageRef::new(b"")]);
}

/// Two messages of 40 times `a`: `a0 01` is their length of 40 shifted by two.
#[test]
fn lz4_record() {
    let hex = "\
         48 00 00 00 01 01 02 00   a3 cd 83 4d 54 00 00 00
         04 00 03 00 00 00 00 00   01 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 3f a0 01 61   01 00 14 0f 2a 00 12 50
         61 61 61 61 61 00 00 00
        ";
    let block = bytes_of(
        "\
         3f a0 01 61 01 00 14 0f   2a 00 12 50 61 61 61 61
         61
        ",
    );
    let (mut builder, mut encoded) = (builder(), Vec::new());
    for _ in 0..2 {
        builder.push(&MessageRef::new(&[b'a'; 40])).unwrap();
    }
    builder.finish(1, Codec::Lz4, &block, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert_eq!(
        (record.codec(), record.raw_size(), record.count()),
        (Codec::Lz4, 84, 2)
    );
    let mut scratch = Scratch::new();
    let raw = scratch.open(&record).unwrap();
    let payloads: Vec<_> = Messages::new(raw, 2)
        .map(|message| message.unwrap().payload)
        .collect();
    assert_eq!(payloads, [&[b'a'; 40], &[b'a'; 40]]);
}
