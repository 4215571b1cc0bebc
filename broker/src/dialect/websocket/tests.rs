use oyez_protocol::event::{GapCause, Outcome, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};

use super::*;
use crate::dialect::command::{Command, Refusal, Subscribe, Subscribed};
use crate::dialect::http;
use crate::dialect::rules::Rules;
use crate::dialect::status;

mod autobahn;
mod echo;

const MASK: [u8; 4] = [1, 2, 3, 4];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle());
    let masked: Vec<u8> = masked.map(|(byte, mask)| byte ^ mask).collect();
    [&[first, 0x80 | payload.len() as u8][..], &MASK, &masked].concat()
}

/// What the messages hold, what is answered at once, and what else was found.
fn heard(dialect: Dialect, said: &[u8]) -> (Vec<u8>, Vec<u8>, Heard) {
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    let mut state = Unframing::default();
    let heard = hear(&mut state, said, (dialect, 100), (&mut out, &mut answers));
    (out, answers, heard)
}

#[test]
fn each_text_message_is_a_line() {
    let said = [frame(0x01, b"{\r\n"), frame(0x80, b"}\n"), frame(0x81, b"")].concat();
    assert_eq!(heard(Dialect::Json, &said).0, b"{\r\r}\r\n\n");
    let said = [frame(0x02, b"\r\n"), frame(0x80, b"\n")].concat();
    assert_eq!(heard(Dialect::WebSocket, &said).0, b"\r\n\n");
}

#[test]
fn pings_are_answered_and_a_close_is_the_end() {
    let said = [
        frame(0x89, b"one"),
        frame(0x8a, b"unasked"),
        frame(0x89, b""),
        frame(0x88, b"\x03\xe9"),
        frame(0x89, b"too late"),
    ]
    .concat();
    let (out, answers, heard) = heard(Dialect::WebSocket, &said);
    assert!(out.is_empty());
    assert_eq!(answers, b"\x8a\x03one\x8a\0");
    assert_eq!((heard.closes, heard.fault), (Some(1001), None));
}

#[test]
fn nothing_is_taken_of_an_invalid_text() {
    for parts in [
        vec![frame(0x81, b"{}\n\xff")],
        vec![frame(0x01, b"{}"), frame(0x80, b"\n\xff")],
    ] {
        let said = [vec![frame(0x81, b"[]")], parts].concat().concat();
        let (out, _, heard) = heard(Dialect::Json, &said);
        let lines = out.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter(|line| line.ends_with(b"\n"));
        assert_eq!(whole.collect::<Vec<_>>(), [b"[]\n"]);
        assert_eq!(heard.closes, Some(1007));
    }
}

#[test]
fn a_text_that_is_too_long_is_a_fault() {
    let (.., heard) = heard(Dialect::Json, &frame(0x81, &[b' '; 101]));
    assert_eq!(heard.closes, Some(1009));
    assert!(heard.fault.is_some());
}

// Commands in JSON.

fn rules() -> Rules {
    Rules {
        hosts: Vec::new(),
        origins: Vec::new(),
        limits: Limits::DEFAULT,
    }
}

/// A line's command, in words.
fn asked(line: &str) -> String {
    let mut scratch = http::Scratch::default();
    let (command, encoded) = decode(line.as_bytes(), &rules(), &mut scratch);
    match command {
        Command::Subscribe(Subscribe {
            request,
            topic,
            start,
            epoch,
        }) => format!(
            "{request}: subscribe {topic} {start:?} {:?}",
            epoch.map(Epoch::get)
        ),
        Command::Unsubscribe { request, topic } => format!("{request}: unsubscribe {topic}"),
        Command::Ping { token } => format!("{token}: ping"),
        Command::Publish(record) => {
            let record = Record::verify(record.bytes(), &Limits::DEFAULT).expect("a record");
            assert!(encoded.is_some());
            // From a publisher, the offset is the correlation id.
            let number = record.offset().get() >> 16;
            format!("{number}: publish {} {}", record.topic(), record.raw_size())
        }
        Command::Refuse(Refusal {
            request, message, ..
        }) => format!("{request}: {message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_are_read() {
    for (line, command) in [
        (
            r#"{"command":"subscribe","topic":"a/b"}"#,
            "0: subscribe a/b Latest None",
        ),
        (
            r#"{"command":"subscribe","topic":"a","from":"offset:7","epoch":"00000000000000ff","id":4}"#,
            "4: subscribe a Offset(Offset(7)) Some(255)",
        ),
        (
            r#"{"id":1,"from":"earliest","topic":"\u00e9","command":"subscribe"}"#,
            "1: subscribe é Earliest None",
        ),
        (
            r#"{"command":"unsubscribe","topic":"a","id":4294967295}"#,
            "4294967295: unsubscribe a",
        ),
        (r#"{"command":"ping"}"#, "0: ping"),
        (r#"{"command":"ping","id":9}"#, "9: ping"),
        (
            r#"{"command":"publish","topic":"a","payload":"hello","id":3}"#,
            "3: publish a 6",
        ),
        (
            r#"{"command":"publish","topic":"a","payload_base64":"aGVsbG8=","key":"k","headers":{"h":"v"}}"#,
            "0: publish a 13",
        ),
    ] {
        assert_eq!(asked(line), command);
    }
}

/// Whether lines are refused with sentences that begin so.
fn assert_refused(lines: &[(&str, &str)]) {
    for (line, why) in lines {
        let told = asked(line);
        assert!(told.starts_with(why), "{line}: {told}");
    }
}

#[test]
fn a_message_that_is_not_a_command_is_answered_with_why() {
    assert_refused(&[
        ("", "0: the message is not a command: "),
        ("nonsense", "0: the message is not a command: "),
        ("[]", "0: the message is not a command: "),
        (
            r#"["ping",7,null,null,null,null,null,null,{}]"#,
            "0: the message is not a command: ",
        ),
        ("{", "0: the message is not a command in JSON: "),
        (
            r#"{"command":"ping","id":-1}"#,
            "0: the message is not a command in JSON: ",
        ),
        (
            r#"{"command":"ping","id":4,"what":1}"#,
            "4: the message is not a command in JSON: ",
        ),
        (
            r#"{"command":"dance","topic":"a","id":2}"#,
            "2: `command` is subscribe, ",
        ),
        (
            r#"{"command":"ping","id":0}"#,
            "0: `id` is a number, at least 1",
        ),
    ]);
}

#[test]
fn each_command_has_members_of_its_own() {
    assert_refused(&[
        (
            r#"{"command":"ping","id":4,"topic":"a"}"#,
            "4: `ping` has no members",
        ),
        (
            r#"{"command":"publish","id":4,"topic":"a","payload":"","from":"latest"}"#,
            "4: `publish` has ",
        ),
        (
            r#"{"command":"unsubscribe","id":4,"topic":"a","key":"k"}"#,
            "4: `unsubscribe` has ",
        ),
        (
            r#"{"command":"subscribe","id":4,"topic":"a","payload":""}"#,
            "4: `subscribe` has ",
        ),
        (r#"{"command":"subscribe","id":2}"#, "2: `subscribe` has "),
    ]);
}

#[test]
fn a_command_that_cannot_be_done_is_answered_with_why() {
    assert_refused(&[
        (
            r#"{"command":"subscribe","topic":"a+b","id":2}"#,
            "2: `topic` is not valid: ",
        ),
        (
            r#"{"command":"subscribe","topic":"a","from":"now","id":2}"#,
            "2: `from` is earliest, ",
        ),
        (
            r#"{"command":"subscribe","topic":"a","epoch":"+1","id":2}"#,
            "2: `epoch` is one that the broker has sent",
        ),
        (
            r#"{"command":"publish","topic":"a","id":2}"#,
            "2: it has to have payload",
        ),
        (
            r#"{"command":"publish","topic":"$a","payload":"","id":2}"#,
            "2: topics that begin",
        ),
        (
            r#"{"command":"publish","topic":"a/ws","payload":"","id":2}"#,
            "2: paths that end in ",
        ),
    ]);
}

// Replies in JSON.

/// What a reply is in JSON, message by message.
fn told(reply: &Reply<'_>) -> Vec<String> {
    let mut out = Vec::new();
    encode(Dialect::Json, reply, &mut out);
    let (mut messages, mut rest) = (Vec::new(), &out[..]);
    while let [0x81, size, after @ ..] = rest {
        let (size, after) = match size {
            126 => (
                usize::from(u16::from_be_bytes([after[0], after[1]])),
                &after[2..],
            ),
            size => (usize::from(*size), after),
        };
        messages.push(String::from_utf8(after[..size].to_vec()).expect("text"));
        rest = &after[size..];
    }
    assert!(rest.is_empty(), "{rest:?}");
    messages
}

fn subscribed() -> Subscribed {
    Subscribed {
        asked: Offset::new(3),
        next: Offset::new(7),
        earliest: Offset::new(7),
        head: Offset::new(9),
        epoch: Epoch::new(255),
        ..Subscribed::refused(4, Outcome::Ok)
    }
}

#[test]
fn a_subscription_is_answered_with_its_beginning_and_what_it_misses() {
    let begun = r#"{"event":"$subscribed","id":4,"topic":"a","next":7,"earliest":7,"head":9,"epoch":"00000000000000ff"}"#;
    let topic = "a";
    let reply = |subscribed| Reply::Subscribed { topic, subscribed };
    assert_eq!(told(&reply(subscribed())), [begun]);
    let dropped = Subscribed {
        dropped: true,
        ..subscribed()
    };
    let gap = r#"{"event":"$gap","topic":"a","cause":"retention","from":3,"to":7}"#;
    assert_eq!(told(&reply(dropped)), [begun, gap]);
    let changed = Subscribed {
        epoch_changed: true,
        ..subscribed()
    };
    let epoch = r#"{"event":"$epoch","topic":"a","epoch":"00000000000000ff","from":7}"#;
    assert_eq!(told(&reply(changed)), [begun, epoch]);
    let refused = Subscribed::refused(0, Outcome::TooManySubscriptions);
    let messages = told(&reply(refused));
    assert!(
        messages[0].starts_with(r#"{"event":"$error","error":"bad_request","message":"#),
        "{messages:?}"
    );
}

#[test]
fn outcomes_pongs_gaps_and_errors_are_told() {
    let entry = |id: u64, outcome| PublishedEntry {
        correlation: id << 16,
        offset: Offset::new(5),
        epoch: Epoch::new(1),
        outcome,
        retry_after_ms: 0,
    };
    let entries = [
        entry(2, Outcome::Ok),
        entry(0, Outcome::Ok),
        entry(3, Outcome::DiskFull),
    ];
    let messages = told(&Reply::Published(&entries));
    let published = r#"{"event":"$published","id":2,"offset":5,"epoch":"0000000000000001"}"#;
    assert_eq!(messages.len(), 2, "nobody waits for the second");
    assert_eq!(messages[0], published);
    assert!(messages[1].starts_with(r#"{"event":"$error","id":3,"error":"disk_full""#));
    assert_eq!(told(&Reply::Pong { token: 0 }), [r#"{"event":"$pong"}"#]);
    let (request, topic) = (5, "a");
    let unsubscribed = |outcome| {
        told(&Reply::Unsubscribed {
            request,
            topic,
            outcome,
        })
    };
    assert_eq!(
        unsubscribed(Outcome::Ok),
        [r#"{"event":"$unsubscribed","id":5,"topic":"a"}"#]
    );
    assert!(unsubscribed(Outcome::NotSubscribed)[0].contains("$error"));
    let gap = Reply::Gap {
        topic,
        cause: GapCause::Damage,
        from: Offset::new(1),
        to: Offset::new(2),
        epoch: Epoch::new(1),
    };
    assert_eq!(
        told(&gap),
        [r#"{"event":"$gap","topic":"a","cause":"damage","from":1,"to":2}"#]
    );
    let refusal = Refusal {
        request: 8,
        status: status::BAD_REQUEST,
        message: "no",
        retry_after_ms: 0,
    };
    assert_eq!(
        told(&Reply::Refused(refusal)),
        [r#"{"event":"$error","id":8,"error":"bad_request","message":"no"}"#]
    );
}

#[test]
fn a_ping_is_one_of_websocket() {
    for dialect in [Dialect::Json, Dialect::WebSocket] {
        let mut out = Vec::new();
        encode(dialect, &Reply::Ping { token: 7 }, &mut out);
        assert_eq!(out, [0x89, 0]);
    }
}

#[test]
fn the_end_of_a_session_is_an_event_and_a_close() {
    let goodbye = Goodbye {
        code: GoodbyeCode::Draining,
        retry_after_ms: 500,
        reason: "the broker stops".into(),
    };
    let mut out = Vec::new();
    conclude(Dialect::Json, (&goodbye, None), &mut out);
    let told = r#"{"event":"$goodbye","reason":"the broker stops","retry_after_ms":500}"#;
    let close = b"\x88\x12\x03\xf4the broker stops";
    assert_eq!(
        out,
        [&[0x81, told.len() as u8][..], told.as_bytes(), close].concat()
    );
    out.clear();
    conclude(Dialect::WebSocket, (&goodbye, None), &mut out);
    let mut frame = Vec::new();
    native::encode(&Reply::Goodbye(&goodbye), &mut frame);
    assert_eq!(
        out,
        [&[0x82, frame.len() as u8][..], &frame, close].concat()
    );
    // A client that has closed the session itself gets its own code and no more.
    out.clear();
    let done = Goodbye {
        code: GoodbyeCode::Done,
        ..goodbye
    };
    conclude(Dialect::Json, (&done, Some(3_001)), &mut out);
    assert_eq!(out, b"\x88\x02\x0b\xb9");
}
