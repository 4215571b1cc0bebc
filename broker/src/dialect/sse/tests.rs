use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{RecordBuilder, Stamp, stamp};

use super::*;
use crate::dialect::command;

const EPOCH: Epoch = Epoch::new(0xab);
const PLAIN: Events = Events {
    chunked: false,
    base64: false,
};
const CHUNKED: Events = Events {
    chunked: true,
    base64: false,
};
const BASE64: Events = Events {
    chunked: false,
    base64: true,
};

/// The bytes of a record of topic `a b/c`, whose first message has offset 7.
fn record(payloads: &[&[u8]]) -> Vec<u8> {
    let mut builder = RecordBuilder::new("a b/c", Limits::HARD).expect("a topic");
    for payload in payloads {
        builder.push(&MessageRef::new(payload)).expect("it fits");
    }
    let mut bytes = Vec::new();
    lz4::Scratch::new().finish(&mut builder, 1, &mut bytes);
    let stamped = Stamp {
        offset: Offset::new(7),
        sequence: Default::default(),
        log: Default::default(),
        timestamp_ms: 0,
        incarnation: 0,
    };
    stamp(&mut bytes, &stamped);
    bytes
}

fn render(payloads: &[&[u8]], events: Events) -> String {
    let (bytes, mut out) = (record(payloads), Vec::new());
    let record = Record::verify(&bytes, &Limits::HARD).expect("a record");
    let rendered = Renderer::default().render(&record, EPOCH, events, &mut out);
    rendered.expect("its block is whole");
    String::from_utf8(out).expect("text")
}

/// The line of the token of `next`.
fn id(next: u64) -> String {
    let mut out = Vec::new();
    write_id(EPOCH, Offset::new(next), &mut out);
    String::from_utf8(out).expect("text")
}

/// What `write` adds.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn each_message_is_an_event_with_a_token_of_what_comes_next() {
    let told = render(&[b"one", b"two"], PLAIN);
    assert_eq!(
        told,
        format!("{}data: one\n\n{}data: two\n\n", id(8), id(9))
    );
    let token = URL_SAFE_NO_PAD.decode(id(8).trim().trim_start_matches("id: "));
    let token = token.expect("base64");
    let places: Vec<Place<'_>> = Token::decode(&token).expect("a token").places().collect();
    let place = Place {
        name: "",
        epoch: EPOCH,
        next: Numbered::Offset(Offset::new(8)),
    };
    assert_eq!(places, [place]);
}

/// As browsers read it: a line of data for each line, joined by line feeds.
#[test]
fn text_is_split_where_lines_end() {
    for (text, lines) in [
        ("", &[""][..]),
        ("a\nb", &["a", "b"]),
        ("a\r\nb", &["a", "b"]),
        ("a\rb", &["a", "b"]),
        ("a\n", &["a", ""]),
        ("\n\r\n\r", &["", "", "", ""]),
        ("\r\r\n", &["", "", ""]),
        (": no comment\nid: no id", &[": no comment", "id: no id"]),
        (" two blanks", &[" two blanks"]),
        ("caf\u{e9} \u{2028} \0", &["caf\u{e9} \u{2028} \0"]),
    ] {
        let data: String = lines.iter().map(|line| format!("data: {line}\n")).collect();
        let told = render(&[text.as_bytes()], PLAIN);
        assert_eq!(told, format!("{}{data}\n", id(8)), "{text:?}");
    }
}

#[test]
fn what_is_no_text_is_base64_and_says_so_unless_all_is() {
    let payload: &[u8] = &[0xff, 0xfe, b'\n'];
    let told = render(&[payload, b"text"], PLAIN);
    let expected = format!(
        "{}event: $binary\ndata: //4K\n\n{}data: text\n\n",
        id(8),
        id(9)
    );
    assert_eq!(told, expected);
    let told = render(&[payload, b"text", b""], BASE64);
    let data = ["//4K", "dGV4dA==", ""];
    let events = (8..).zip(data);
    let expected: String = events
        .map(|(next, data)| format!("{}data: {data}\n\n", id(next)))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn a_record_is_one_chunk_where_there_are_chunks() {
    let long = "x".repeat(70_000);
    for payloads in [&[&b"one"[..], b"two"][..], &[long.as_bytes()]] {
        let plain = render(payloads, PLAIN);
        let chunk = format!("{:08x}\r\n{plain}\r\n", plain.len());
        assert_eq!(render(payloads, CHUNKED), chunk);
    }
}

#[test]
fn a_record_that_is_too_large_is_told_by_where_it_can_be_read() {
    let half = vec![b'x'; RAW_SIZE_MAX as usize / 2];
    let told = render(&[&half, &half], PLAIN);
    let data = "{\"url\":\"/a%20b/c/raw?from=offset:7&limit=2\",\"from\":7,\"to\":9}";
    assert_eq!(
        told,
        format!("{}event: $reference\ndata: {data}\n\n", id(9))
    );
    assert!(render(&[&half[4..], &half[4..]], PLAIN).len() > RAW_SIZE_MAX as usize);
}

#[test]
fn a_block_that_is_none_is_no_rendition() {
    let mut bytes = record(&[&[b'x'; 1_000]]);
    let block = bytes.len() - 16;
    bytes[block..].fill(0xff);
    let record = Record::trusted(&bytes);
    let rendered =
        record.map(|record| Renderer::default().render(&record, EPOCH, PLAIN, &mut Vec::new()));
    assert!(rendered.is_none_or(|rendered| rendered.is_err()));
}

fn subscribed() -> Subscribed {
    Subscribed {
        request: 0,
        outcome: oyez_protocol::event::Outcome::Ok,
        asked: Offset::new(3),
        next: Offset::new(5),
        earliest: Offset::new(5),
        head: Offset::new(9),
        epoch: EPOCH,
        epoch_changed: false,
        dropped: false,
    }
}

#[test]
fn a_stream_begins_with_the_place_where_it_begins() {
    let told = |subscribed: &Subscribed| written(|out| begin(PLAIN, subscribed, out));
    let head = format!("retry: 2000\n{}", id(5));
    assert_eq!(told(&subscribed()), format!("{head}\n"));
    let dropped = Subscribed {
        dropped: true,
        ..subscribed()
    };
    let data = "{\"cause\":\"retention\",\"from\":3,\"to\":5}";
    assert_eq!(
        told(&dropped),
        format!("{head}event: $gap\ndata: {data}\n\n")
    );
    let changed = Subscribed {
        epoch_changed: true,
        ..subscribed()
    };
    let data = "{\"epoch\":\"00000000000000ab\",\"from\":5}";
    assert_eq!(
        told(&changed),
        format!("{head}event: $epoch\ndata: {data}\n\n")
    );
    let plain = told(&subscribed());
    let chunk = format!("{:08x}\r\n{plain}\r\n", plain.len());
    assert_eq!(written(|out| begin(CHUNKED, &subscribed(), out)), chunk);
}

#[test]
fn a_gap_is_an_event_and_a_sign_of_life_a_comment() {
    let gap = Reply::Gap {
        topic: "a",
        cause: GapCause::Damage,
        from: Offset::new(1),
        to: Offset::new(4),
        epoch: EPOCH,
    };
    let data = "{\"cause\":\"damage\",\"from\":1,\"to\":4}";
    let event = format!("{}event: $gap\ndata: {data}\n\n", id(4));
    assert_eq!(written(|out| tell(PLAIN, &gap, out)), event);
    let ping = Reply::Ping { token: 1 };
    assert_eq!(written(|out| tell(PLAIN, &ping, out)), ":\n\n");
    assert_eq!(
        written(|out| tell(CHUNKED, &ping, out)),
        "00000003\r\n:\n\n\r\n"
    );
    let pong = Reply::Pong { token: 1 };
    assert_eq!(written(|out| tell(CHUNKED, &pong, out)), "");
    assert!(tells(&gap) && tells(&ping) && !tells(&pong));
}

#[test]
fn a_stream_ends_with_the_time_to_come_back() {
    let goodbye = command::Goodbye {
        code: GoodbyeCode::Draining,
        retry_after_ms: 1_234,
        reason: "so".into(),
    };
    let end = |events| written(|out| conclude(events, &goodbye, out));
    assert_eq!(end(PLAIN), "retry: 1234\n\n");
    assert_eq!(end(CHUNKED), "0000000d\r\nretry: 1234\n\n\r\n0\r\n\r\n");
    let silent = command::Goodbye {
        retry_after_ms: 0,
        ..goodbye.clone()
    };
    assert_eq!(written(|out| conclude(CHUNKED, &silent, out)), "0\r\n\r\n");
}
