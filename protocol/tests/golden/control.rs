//! Control frames and resume tokens.

use crate::{bytes_of, check, hex_of, support};
use oyez_protocol::command::{
    Ack, Begin, Hello, Numbered, Place, Query, Question, Renew, Start, Subscribe, Subscription,
    Unsubscribe,
};
use oyez_protocol::event::{
    Acked, Answer, Ended, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Hole, Notable, Notice,
    Outcome, Published, PublishedEntry, Reached, Renewed, Skip, SkipCause, Subscribed,
    Unsubscribed, Welcome, feature,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Frame, LogId, Offset, Sequence};

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
            features: 0,
            heartbeat_ms: 30_000,
            name: "oyez/0.1",
            credentials: b"secret",
        }),
    );
    check(
        "\
         28 00 00 00 02 00 05 00   91 ca 86 35 00 00 00 00
         4f 59 45 5a 02 00 02 00   00 00 00 00 04 00 00 00
         64 65 6d 6f 00 00 00 00
        ",
        Frame::Hello(Hello {
            version_min: 2,
            version_max: 2,
            features: 5,
            heartbeat_ms: 0,
            name: "demo",
            credentials: b"",
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
            log: None,
            more_logs: false,
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
            log: None,
            more_logs: false,
            epoch_changed: false,
            dropped: false,
        }),
    );
}

#[test]
fn subscribed_to_a_filter() {
    check(
        "\
         38 00 00 00 05 0c 00 00   94 00 17 85 07 00 00 00
         2a 00 00 00 00 00 00 00   28 00 00 00 00 00 00 00
         32 00 00 00 00 00 00 00   09 00 00 00 00 00 00 00
         00 00 03 00 00 00 00 00
        ",
        Frame::Subscribed(Subscribed {
            id: 7,
            entry: 0,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            next: Offset::new(42),
            earliest: Offset::new(40),
            head: Offset::new(50),
            epoch: Epoch::new(9),
            log: Some(LogId::new(3)),
            more_logs: true,
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
            retry_after_ms: 0,
            more: true,
            json: r#"{"topics":[]}"#,
        }),
    );
    check(
        "\
         18 00 00 00 0d 00 05 02   00 19 34 ee 03 00 00 00
         00 00 00 00 f4 01 00 00
        ",
        Frame::Answer(Answer {
            id: 3,
            outcome: Outcome::TooFast,
            retry_after_ms: 500,
            more: false,
            json: "",
        }),
    );
}

#[test]
fn gap() {
    check(
        "\
         30 00 00 00 0e 00 02 00   f7 18 95 dd 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         09 00 00 00 00 00 00 00   00 00 04 64 65 6d 6f 00
        ",
        Frame::Gap(Gap {
            cause: GapCause::Damage,
            hole: Hole {
                name: "demo",
                from: Numbered::Offset(Offset::new(10)),
                to: 12,
                epoch: Epoch::new(9),
            },
        }),
    );
    check(
        "\
         38 00 00 00 0e 01 01 00   9d c0 f7 0f 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         09 00 00 00 00 00 00 00   03 00 06 64 65 6d 6f 2f
         23 00 00 00 00 00 00 00
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
                epoch: Epoch::new(9),
            },
        }),
    );
}

#[test]
fn skip() {
    check(
        "\
         30 00 00 00 0f 00 02 00   dc 0d 55 00 00 00 00 00
         0a 00 00 00 00 00 00 00   0c 00 00 00 00 00 00 00
         09 00 00 00 00 00 00 00   00 00 04 64 65 6d 6f 00
        ",
        Frame::Skip(Skip {
            cause: SkipCause::Superseded,
            hole: Hole {
                name: "demo",
                from: Numbered::Offset(Offset::new(10)),
                to: 12,
                epoch: Epoch::new(9),
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
fn ended() {
    check(
        "\
         20 00 00 00 15 00 02 03   3f c2 e9 18 00 00 00 00
         00 00 00 00 04 64 65 6d   6f 00 00 00 00 00 00 00
        ",
        Frame::Ended(Ended {
            name: "demo",
            is_filter: false,
            outcome: Outcome::Expired,
            retry_after_ms: 0,
        }),
    );
    check(
        "\
         20 00 00 00 15 01 00 02   4e 02 12 49 00 00 00 00
         dc 05 00 00 06 64 65 6d   6f 2f 2b 00 00 00 00 00
        ",
        Frame::Ended(Ended {
            name: "demo/+",
            is_filter: true,
            outcome: Outcome::NotNow,
            retry_after_ms: 1_500,
        }),
    );
}

#[test]
fn reached() {
    check(
        "\
         30 00 00 00 16 00 00 00   10 67 31 23 00 00 00 00
         2b 00 00 00 00 00 00 00   09 00 00 00 00 00 00 00
         03 00 06 64 65 6d 6f 2f   2b 00 00 00 00 00 00 00
        ",
        Frame::Reached(Reached {
            filter: "demo/+",
            log: LogId::new(3),
            sequence: Sequence::new(43),
            epoch: Epoch::new(9),
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
