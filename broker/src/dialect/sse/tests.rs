use oyez_protocol::limits::Limits;
use oyez_protocol::lz4;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{RecordBuilder, Stamp, stamp};

use super::*;
use crate::dialect::form::{Form, Kind};
use crate::dialect::render::Renderer;

const EPOCH: Epoch = Epoch::new(0xab);
const CHUNKED: Style = Style::CHUNKED;
const BASE64: Style = Style::BASE64;

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

/// Messages of the record from number `part.0` to before `part.1`.
fn render_part(payloads: &[&[u8]], style: Style, part: (u16, u16)) -> String {
    let (bytes, mut out) = (record(payloads), Vec::new());
    let record = Record::verify(&bytes, &Limits::HARD).expect("a record");
    let form = Form {
        kind: Kind::Events,
        style,
    };
    let (first, end) = part;
    let part = Part { first, end };
    let rendered = Renderer::default().render((&record, EPOCH), form, part, &mut out);
    rendered.expect("its block is whole");
    String::from_utf8(out).expect("text")
}

fn render(payloads: &[&[u8]], style: Style) -> String {
    render_part(payloads, style, (0, payloads.len() as u16))
}

/// The line of the token of `next`.
fn id(next: u64) -> String {
    let mut out = Vec::new();
    write_id(EPOCH, Offset::new(next), &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn each_message_is_an_event_with_a_token_of_what_comes_next() {
    let told = render(&[b"one", b"two"], Style::default());
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
        let told = render(&[text.as_bytes()], Style::default());
        assert_eq!(told, format!("{}{data}\n", id(8)), "{text:?}");
    }
}

#[test]
fn a_payload_that_is_not_text_is_base64_and_says_so_unless_all_are() {
    let payload: &[u8] = &[0xff, 0xfe, b'\n'];
    let told = render(&[payload, b"text"], Style::default());
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
        let plain = render(payloads, Style::default());
        let chunk = format!("{:08x}\r\n{plain}\r\n", plain.len());
        assert_eq!(render(payloads, CHUNKED), chunk);
    }
}

#[test]
fn a_record_that_is_too_large_becomes_a_reference() {
    let half = vec![b'x'; RAW_SIZE_MAX as usize / 2];
    let told = render(&[&half, &half], Style::default());
    let data = "{\"url\":\"/a%20b/c/raw?from=offset:7&limit=2\",\"from\":7,\"to\":9}";
    assert_eq!(
        told,
        format!("{}event: $reference\ndata: {data}\n\n", id(9))
    );
    assert!(render(&[&half[4..], &half[4..]], Style::default()).len() > RAW_SIZE_MAX as usize);
    let told = render(&[&half, &half], Style::SEVERAL);
    let data = format!("{{\"topic\":\"a b/c\",{}", &data[1..]);
    assert_eq!(told, format!("event: $reference\ndata: {data}\n\n"));
}

#[test]
fn among_several_topics_each_message_is_an_object_that_says_of_which_it_is() {
    let row = |offset, payload: &str| {
        format!(
            "data: {{\"topic\":\"a b/c\",\"offset\":{offset},\"timestamp_ms\":0,{payload}}}\n\n"
        )
    };
    let payloads: [&[u8]; 2] = [b"one\ntwo", &[0xff]];
    assert_eq!(
        render(&payloads, Style::SEVERAL),
        row(7, "\"payload\":\"one\\ntwo\"") + &row(8, "\"payload_base64\":\"/w==\"")
    );
    assert_eq!(
        render(&[b"a"], Style::SEVERAL.with(BASE64, true)),
        row(7, "\"payload_base64\":\"YQ==\"")
    );
}

#[test]
fn a_part_of_a_record_is_the_events_of_its_messages() {
    let payloads: [&[u8]; 3] = [b"one", b"two", b"three"];
    let event = |next, text: &str| format!("{}data: {text}\n\n", id(next));
    let told = render_part(&payloads, Style::default(), (1, 3));
    assert_eq!(told, event(9, "two") + &event(10, "three"));
    assert_eq!(
        render_part(&payloads, Style::default(), (1, 2)),
        event(9, "two")
    );
    let half = vec![b'x'; RAW_SIZE_MAX as usize / 2];
    let told = render_part(&[&half, &half, b"small"], Style::default(), (1, 3));
    assert!(told.contains("/raw?from=offset:8&limit=2"), "{told}");
}

#[test]
fn a_malformed_block_has_no_rendition() {
    let mut bytes = record(&[&[b'x'; 1_000]]);
    let block = bytes.len() - 16;
    bytes[block..].fill(0xff);
    let form = Form {
        kind: Kind::Events,
        style: Style::default(),
    };
    let part = Part { first: 0, end: 1 };
    let rendered = Record::trusted(&bytes)
        .map(|record| Renderer::default().render((&record, EPOCH), form, part, &mut Vec::new()));
    assert!(rendered.is_none_or(|rendered| rendered.is_err()));
}

#[test]
fn the_path_of_a_topic_leads_to_this_broker_and_to_no_other_topic() {
    for (topic, path) in [
        ("a/b", "a/b"),
        ("a b/\u{e9}?#%", "a%20b/%C3%A9%3F%23%25"),
        ("/evil.example/x", "%2Fevil.example/x"),
        ("a//b", "a%2F%2Fb"),
        ("a/../b", "a%2F..%2Fb"),
        ("a/.", "a%2F."),
        ("./a", ".%2Fa"),
        ("a/...", "a/..."),
    ] {
        let mut out = String::new();
        escape(topic, &mut out);
        assert_eq!(out, path, "{topic}");
    }
}
