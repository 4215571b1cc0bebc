//! Bad input gets a Goodbye that names what and why, closes the one session that sent it, and changes nothing for
//! anybody else. It is final where a checksum proves that the client meant it.

use oyez_protocol::command::VERSION;
use oyez_protocol::header::kind;
use testkit::process::run;
use testkit::random::Random;
use testkit::record::{control, hello, record, seal_record, stored, subscribe_to, with_topic};
use testkit::wire::Farewell;
use testkit::{Broker, Event, GoodbyeCode, Outcome, Session, Start};

const TOPIC: &str = "bystanders/see";

/// A client that subscribes to a topic and goes on receiving whatever others do.
struct Bystander {
    publisher: Session,
    subscriber: Session,
    seen: u64,
}

impl Bystander {
    fn new(broker: &Broker) -> Self {
        let mut subscriber = broker.connect();
        assert_eq!(
            subscriber.subscribe(TOPIC, Start::Earliest).outcome,
            Outcome::Ok
        );
        Self {
            publisher: broker.connect(),
            subscriber,
            seen: 0,
        }
    }

    /// The next message goes through as if nothing had happened.
    fn goes_on(&mut self) {
        let payload = format!("message {}", self.seen);
        let entry = self.publisher.publish(TOPIC, payload.as_bytes());
        assert_eq!(entry.outcome, Outcome::Ok);
        let messages = self.subscriber.messages(TOPIC, 1);
        assert_eq!(messages, [(self.seen, payload.into_bytes())]);
        self.seen += 1;
    }
}

/// The bytes to send, and the expected answer.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    code: GoodbyeCode,
    /// Words of the reason.
    reason: &'static [&'static str],
}

fn case(
    what: &'static str,
    bytes: impl Into<Vec<u8>>,
    code: GoodbyeCode,
    reason: &'static [&'static str],
) -> Case {
    Case {
        what,
        bytes: bytes.into(),
        code,
        reason,
    }
}

/// Bends a good record and makes its checksum right again.
fn bent(bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = stored("a/topic", &["a payload of some length"], 7);
    bend(&mut bytes);
    seal_record(&mut bytes);
    bytes
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x10;
    bytes
}

fn head(size: u32, kind: u8) -> Vec<u8> {
    let mut head = size.to_le_bytes().to_vec();
    head.extend_from_slice(&[kind, 0, 0, 0]);
    head
}

/// Runs each case on a session of its own, with a bystander beside.
fn refuse_each(open: fn(&Broker) -> Session, cases: Vec<Case>) {
    let broker = Broker::start();
    let mut bystander = Bystander::new(&broker);
    bystander.goes_on();
    for case in cases {
        let mut session = open(&broker);
        // The broker may close before it has taken everything.
        let _ = session.try_send(&case.bytes);
        check(&case, &session.farewell());
        bystander.goes_on();
    }
}

fn check(case: &Case, farewell: &Farewell) {
    let what = case.what;
    assert_eq!(farewell.code, case.code, "{what}: {farewell:?}");
    for word in case.reason {
        assert!(
            farewell.reason.contains(word),
            "{what}: {word:?} is not in {:?}",
            farewell.reason
        );
    }
    assert_eq!(
        farewell.code.may_reconnect(),
        case.code == GoodbyeCode::Damaged,
        "{what}: whatever may have been damaged is worth another try, and nothing else"
    );
}

#[test]
fn a_client_that_does_not_begin_with_a_hello_is_refused_with_the_reason() {
    use GoodbyeCode::{Damaged, NotOyez, Unexpected, Version};
    let magic = [&b"NOPE"[..], &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let cases = vec![
        case(
            "a question",
            "is anybody there, and what do they speak?\r\n",
            Damaged,
            &["does not begin with an Oyez hello"],
        ),
        case("zeros", [0; 64], Damaged, &["Oyez hello"]),
        case(
            "another magic",
            control(kind::HELLO, 0, 0, &magic),
            NotOyez,
            &["Oyez hello"],
        ),
        case(
            "a version of the future",
            hello(3, 9),
            Version,
            &["speaks version 2", "3 to 9", "update the broker"],
        ),
        case(
            "the first version",
            hello(1, 1),
            Version,
            &["speaks version 2", "1 to 1", "update the client"],
        ),
        case(
            "a record before the hello",
            record("a/topic", &["x"], 1),
            Unexpected,
            &["first frame", "hello"],
        ),
        case(
            "a subscription before the hello",
            subscribe_to(b"a/topic"),
            Unexpected,
            &["first frame", "hello"],
        ),
    ];
    refuse_each(|broker| Session::open(broker.address()), cases);
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_head_alone() {
    use GoodbyeCode::Damaged;
    let cases = vec![
        case(
            "a record over the broker's limit",
            head(262_152, kind::RECORD),
            Damaged,
            &["262152 bytes", "at most 262144"],
        ),
        case(
            "a record of 4 GiB",
            head(u32::MAX - 7, kind::RECORD),
            Damaged,
            &["4294967288 bytes", "at most 262144"],
        ),
        case(
            "a control frame",
            head(65_544, kind::SUBSCRIBE),
            Damaged,
            &["kind 4", "65544 bytes", "at most 65536"],
        ),
        case(
            "a frame to be skipped",
            head(1 << 30, 0x90),
            Damaged,
            &["kind 144"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_wrong_checksum_is_named() {
    use GoodbyeCode::Damaged;
    let good = record("a/topic", &["a payload"], 7);
    let end = good.len() - 8;
    let cases = vec![
        case(
            "in a payload",
            flipped(good.clone(), end),
            Damaged,
            &["record's checksum"],
        ),
        case(
            "in a topic",
            flipped(good.clone(), 50),
            Damaged,
            &["record's checksum"],
        ),
        case(
            "in the checksum",
            flipped(good, 9),
            Damaged,
            &["record's checksum"],
        ),
        case(
            "in a subscription",
            flipped(subscribe_to(b"a/topic"), 20),
            Damaged,
            &["kind 4", "checksum"],
        ),
        case(
            "in a frame to be skipped",
            flipped(control(0x90, 0, 0, b"whatever"), 20),
            Damaged,
            &["kind 144", "checksum"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_length_that_lies_inside_a_record_is_refused() {
    use GoodbyeCode::BadFrame;
    let cases = vec![
        case(
            "a topic longer than the record",
            bent(|r| r[16] = 255),
            BadFrame,
            &["bytes"],
        ),
        case(
            "extras longer than the record",
            bent(|r| r[17] = 200),
            BadFrame,
            &["bytes"],
        ),
        case(
            "a padding of eight",
            bent(|r| r[18] = 8),
            BadFrame,
            &["padding"],
        ),
        case(
            "a padding that is none",
            bent(|r| r[18] = 7),
            BadFrame,
            &["block"],
        ),
        case("no messages", bent(|r| r[6] = 0), BadFrame, &["0 messages"]),
        case(
            "more messages than bytes",
            bent(|r| r[6..8].fill(0xff)),
            BadFrame,
            &["65535 messages"],
        ),
        case(
            "a longer block",
            bent(|r| r[12] += 1),
            BadFrame,
            &["cannot hold"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_size_that_no_frame_has_is_refused() {
    use GoodbyeCode::{BadFrame, Damaged};
    let mut topic_beyond_frame = vec![0; 25];
    topic_beyond_frame[2] = 200;
    let cases = vec![
        case(
            "a size that is no multiple",
            head(57, kind::RECORD),
            Damaged,
            &["57 bytes"],
        ),
        case(
            "a size below the head",
            head(0, kind::RECORD),
            Damaged,
            &["0 bytes"],
        ),
        case(
            "a record without a block",
            head(48, kind::RECORD),
            Damaged,
            &["48 bytes"],
        ),
        case(
            "a topic longer than its frame",
            control(kind::SUBSCRIBE, 1, 1, &topic_beyond_frame),
            BadFrame,
            &["kind 4", "name"],
        ),
        case(
            "bytes behind the last field",
            control(kind::PING, 0, 0, &[1; 24]),
            BadFrame,
            &["kind 9"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_name_that_is_no_topic_is_refused_wherever_it_stands() {
    use GoodbyeCode::BadTopic;
    let names: [(&'static str, &'static [u8], &'static [&'static str]); 5] = [
        ("empty", b"", &["topic is empty"]),
        ("not UTF-8", b"caf\xe9", &["not UTF-8"]),
        ("with NUL", b"a\0b", &["NUL"]),
        ("with +", b"a/+", &["wildcards"]),
        ("with #", b"#", &["wildcards"]),
    ];
    let cases = names.into_iter().flat_map(|(what, name, reason)| {
        [
            case(what, with_topic(name), BadTopic, reason),
            case(what, subscribe_to(name), BadTopic, reason),
        ]
    });
    refuse_each(Broker::connect, cases.collect());
}

/// A record with an extra that a reader which does not know it must refuse.
fn with_unknown_extra() -> Vec<u8> {
    let mut bytes = with_topic(b"t");
    // Topic, one unit of extras (type 5, no value), block of two bytes.
    let block = bytes[49..51].to_vec();
    bytes.truncate(49);
    bytes.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&block);
    bytes.resize(64, 0);
    bytes[0] = 64;
    bytes[17] = 1;
    bytes[18] = 5;
    seal_record(&mut bytes);
    bytes
}

#[test]
fn what_the_version_does_not_know_is_refused() {
    use GoodbyeCode::{BadFrame, Damaged};
    let cases = vec![
        case(
            "a kind",
            control(77, 0, 0, &[]),
            Damaged,
            &["kind 77", "not known"],
        ),
        case(
            "kind 0",
            control(0, 0, 0, &[]),
            Damaged,
            &["kind 0", "not known"],
        ),
        case("a codec", bent(|r| r[5] = 2), BadFrame, &["0x02", "codec"]),
        case("a flag", bent(|r| r[5] = 0x80), BadFrame, &["0x80"]),
        case(
            "a reserved byte",
            bent(|r| r[19] = 1),
            BadFrame,
            &["reserved"],
        ),
        case(
            "an extra",
            with_unknown_extra(),
            BadFrame,
            &["0x05", "not known"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_frame_that_may_not_come_here_is_refused() {
    use GoodbyeCode::Unexpected;
    let cases = vec![
        case(
            "a second hello",
            hello(VERSION, VERSION),
            Unexpected,
            &["second hello"],
        ),
        case(
            "a frame of brokers",
            control(kind::UNSUBSCRIBED, 0, 1, &[]),
            Unexpected,
            &["only a broker sends"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_block_that_would_inflate_past_the_cap_is_refused_without_inflating_it() {
    let bomb = |raw_size: u32| {
        bent(|bytes| {
            bytes[5] = 1;
            bytes[12..16].copy_from_slice(&raw_size.to_le_bytes());
        })
    };
    let cases = vec![
        case(
            "above the broker's cap",
            bomb((1 << 20) + 1),
            GoodbyeCode::TooLarge,
            &["inflate to 1048577", "at most 1048576"],
        ),
        case(
            "4 GiB",
            bomb(u32::MAX),
            GoodbyeCode::TooLarge,
            &["inflate to 4294967295"],
        ),
        case(
            "more than LZ4 can",
            bomb(1 << 20),
            GoodbyeCode::BadFrame,
            &["cannot hold 1048576"],
        ),
    ];
    refuse_each(Broker::connect, cases);
}

#[test]
fn a_kind_with_its_high_bit_set_is_skipped() {
    let broker = Broker::start();
    let mut session = broker.connect();
    session.subscribe("a/topic", Start::Latest);
    for unknown in [0x80, 0x90, 0xff] {
        session.send(&control(unknown, 9, 9, b"whatever it means"));
        session.ping();
    }
    session.publish("a/topic", b"x");
    assert_eq!(session.delivery().payloads, [b"x"]);
}

#[test]
fn what_was_asked_before_a_bad_frame_is_answered_before_the_goodbye_and_nothing_after_it() {
    let broker = Broker::start();
    let mut session = broker.connect();
    let ping = |token: u64| control(kind::PING, 0, 0, &token.to_le_bytes());
    let unsubscribe = control(kind::UNSUBSCRIBE, 0, 5, b"\x07a/topic");
    session.send(&[ping(1), unsubscribe, hello(VERSION, VERSION), ping(2)].concat());
    assert_eq!(session.event(), Event::Pong(1));
    match session.event() {
        Event::Unsubscribed(ended) => {
            assert_eq!((ended.id, ended.outcome), (5, Outcome::NotSubscribed));
        }
        event => panic!("{event:?}"),
    }
    match session.event() {
        Event::Goodbye(farewell) => assert_eq!(farewell.code, GoodbyeCode::Unexpected),
        event => panic!("{event:?}"),
    }
    assert_eq!(session.event(), Event::Closed);
}

#[test]
fn a_session_that_was_refused_has_published_nothing_after_the_bad_frame() {
    let broker = Broker::start();
    let mut session = broker.connect();
    let mut bytes = record("a/topic", &["before"], 1);
    bytes.extend_from_slice(&flipped(record("a/topic", &["broken"], 2), 50));
    bytes.extend_from_slice(&record("a/topic", &["after"], 3));
    session.send(&bytes);
    assert_eq!(session.farewell().code, GoodbyeCode::Damaged);
    let mut reader = broker.connect();
    reader.subscribe("a/topic", Start::Earliest);
    assert_eq!(reader.messages("a/topic", 1), [(0, b"before".to_vec())]);
    reader.publish("a/topic", b"last");
    assert_eq!(reader.messages("a/topic", 1), [(1, b"last".to_vec())]);
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_a_frame() {
    let broker = Broker::start();
    let mut session = Session::open(broker.address());
    for byte in hello(VERSION, VERSION) {
        session.send(&[byte]);
    }
    assert!(matches!(session.event(), Event::Welcome(_)));
    for byte in record("a/topic", &["in small pieces"], 42) {
        session.send(&[byte]);
    }
    assert_eq!(session.outcome_of(42).outcome, Outcome::Ok);
}

#[test]
fn no_garbage_ends_the_broker_or_reaches_a_bystander() {
    let broker = Broker::start();
    let mut bystander = Bystander::new(&broker);
    let mut random = Random::from_environment("garbage");
    for round in 0..300 {
        let mut session = match round % 3 {
            0 => Session::open(broker.address()),
            _ => broker.connect(),
        };
        let mut bytes = match random.below(3) {
            0 => random.bytes(200),
            1 => record("a/topic", &["some payload"], 1),
            _ => subscribe_to(b"a/topic"),
        };
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
        let _ = session.try_send(&bytes);
        drop(session);
        if round % 30 == 0 {
            bystander.goes_on();
        }
    }
    bystander.goes_on();
}

#[test]
fn the_command_line_refuses_a_name_that_is_no_topic_before_it_sends_anything() {
    let broker = Broker::start();
    let too_long = "a".repeat(256);
    let names = [
        ("", "empty"),
        (too_long.as_str(), "256 bytes; at most 255"),
        ("a/+", "wildcards"),
    ];
    for (name, reason) in names {
        for arguments in [
            ["pub", name, "x"].as_slice(),
            &["sub", name, "--count", "1"],
        ] {
            let output = run(broker.oyez().args(arguments));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(reason), "{arguments:?}: {said}");
            assert!(!output.status.success());
            assert!(output.stdout.is_empty());
        }
    }
    assert_eq!(broker.counter("records_in"), 0);
}
