use oyez_protocol::command::Place;

use super::super::tests::{request, rules};
use super::super::{Commands, Front, Scratch, decode};
use super::*;
use crate::dialect::command::{Command, DecodeProgress};
use crate::dialect::exchange::Wants;

/// A request for a stream, in a line of words.
fn read_stream(first: &str, fields: &str) -> String {
    let input = request(first, fields, "");
    let mut scratch = Scratch::default();
    let front = decode(
        &input,
        &mut DecodeProgress::default(),
        (&rules(), false),
        None,
        &mut scratch,
    );
    match front {
        Front::Request {
            commands: Commands::One(Command::Subscribe(asked)),
            exchange,
            ..
        } => {
            let Wants::Stream(stream) = exchange.wants else {
                panic!("{exchange:?}");
            };
            let epoch = asked.epoch.map_or(0, Epoch::get);
            let style = stream.form.style;
            let encoding = if style.is_base64() { "base64" } else { "text" };
            let start = format!("{:?}", asked.start).to_lowercase();
            let mut line = format!("{} {start} {epoch} {encoding}", asked.topic);
            if stream.form.kind != Kind::Events {
                let ends = if stream.ends { "ends" } else { "goes on" };
                line += &format!(" {:?} {ends} {:?}", stream.form.kind, stream.limit);
            }
            assert_eq!(style.is_bounded(), stream.ends || stream.limit.is_some());
            assert_eq!(style.is_alone(), stream.limit == Some(1));
            line
        }
        Front::Request {
            commands: Commands::One(Command::Refuse(refusal)),
            ..
        } => refusal.status.code.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_begins_where_it_is_asked_to() {
    // Behind the eighth message of epoch 10, as a stream's id gives it.
    let id = "AQABAAoAAAAAAAAACAAAAAAAAAAAqBQviQ";
    let mut token = Vec::new();
    let place = oyez_protocol::command::Place {
        name: "",
        epoch: Epoch::new(10),
        next: oyez_protocol::command::Numbered::Offset(Offset::new(8)),
    };
    oyez_protocol::token::Token::encode(&[place], &mut token);
    let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token);
    assert_eq!(token, id);
    for (first, fields, line) in [
        ("GET /a/b/sse", "", "a/b latest 0 text"),
        ("GET /a%20b/sse", "", "a b latest 0 text"),
        ("GET /json/sse", "", "json latest 0 text"),
        ("GET /a/sse/sse", "", "a/sse latest 0 text"),
        ("GET /a/sse?from=latest", "", "a latest 0 text"),
        (
            "GET /a/sse?from=earliest&encoding=base64",
            "",
            "a earliest 0 base64",
        ),
        (
            "GET /a/sse?from=offset:12&encoding=text",
            "",
            "a offset(offset(12)) 0 text",
        ),
        (
            "GET /a/sse?from=earliest",
            "Last-Event-ID:\n",
            "a earliest 0 text",
        ),
    ] {
        assert_eq!(read_stream(first, fields), line, "{first}");
    }
    let resumed = "a offset(offset(8)) 10 text";
    let field = format!("Last-Event-ID: {id}\n");
    let parameter = format!("GET /a/sse?last_event_id={id}");
    assert_eq!(read_stream("GET /a/sse?from=earliest", &field), resumed);
    assert_eq!(read_stream(&parameter, ""), resumed);
    // A browser that comes back has the address of its first request, and the field is newer.
    assert_eq!(read_stream("GET /a/sse?last_event_id=old", &field), resumed);
}

#[test]
fn a_malformed_request_for_a_stream_is_refused() {
    for first in [
        "GET /sse",
        "GET //sse",
        "GET /metrics/sse",
        "GET /a+/sse",
        "GET /a/sse?from=now",
        "GET /a/sse?from=offset:",
        "GET /a/sse?from=offset:-1",
        "GET /a/sse?encoding=hex",
        "GET /a/sse?last_event_id=nonsense",
        "GET /a/sse?limit=3",
        "GET /a/sse?from=%",
    ] {
        let code = read_stream(first, "");
        assert!(
            ["400", "404", "latest"].contains(&&*code),
            "{first} is {code}"
        );
    }
    assert_eq!(
        read_stream("GET /a/sse", "Origin: http://evil.example\n"),
        "403"
    );
    assert_eq!(
        read_stream("GET /a/sse", "Sec-Fetch-Site: cross-site\n"),
        "403"
    );
}

#[test]
fn kept_messages_are_read_to_their_end_unless_they_are_followed() {
    for (first, line) in [
        ("GET /a/b/json", "a/b earliest 0 text Lines ends None"),
        ("GET /a/raw", "a earliest 0 text Raw ends None"),
        (
            "GET /a/json?follow=true",
            "a latest 0 text Lines goes on None",
        ),
        (
            "GET /a/json?follow=true&from=earliest&limit=5",
            "a earliest 0 text Lines goes on Some(5)",
        ),
        (
            "GET /a/json?from=offset:3&limit=1&encoding=base64",
            "a offset(offset(3)) 0 base64 Lines ends Some(1)",
        ),
        (
            "GET /a/raw?from=offset:3&limit=1",
            "a offset(offset(3)) 0 text Raw ends Some(1)",
        ),
    ] {
        assert_eq!(read_stream(first, ""), line, "{first}");
    }
    for first in [
        "GET /json",
        "GET /a/json?limit=0",
        "GET /a/json?limit=-1",
        "GET /a/json?limit=a",
        "GET /a/json?follow=yes",
        "GET /a/raw?encoding=base64",
        "GET /a/sse?follow=true",
    ] {
        let code = read_stream(first, "");
        assert!(["400", "404"].contains(&&*code), "{first} is {code}");
    }
    assert_eq!(
        read_stream("GET /a/raw", "Origin: http://evil.example\n"),
        "403"
    );
}

/// A request for several topics, in a line of words, or why it is refused.
fn read_several(target: &str, fields: &str) -> String {
    let input = request(&format!("GET /api/v1/sse{target}"), fields, "");
    let mut scratch = Scratch::default();
    let means = (&rules(), false);
    let front = decode(
        &input,
        &mut DecodeProgress::default(),
        means,
        None,
        &mut scratch,
    );
    let Front::Request {
        commands, exchange, ..
    } = front
    else {
        panic!("{front:?}");
    };
    if let Command::Refuse(refusal) = commands.get(0) {
        return format!("{}: {}", refusal.status.code, refusal.message);
    }
    let Wants::Streams(streams) = exchange.wants else {
        panic!("{exchange:?}");
    };
    assert!(streams.form.style.is_of_several() && streams.form.style.is_chunked());
    assert_eq!(streams.topics.len(), commands.len());
    let told = (0..commands.len()).map(|index| {
        let Command::Subscribe(asked) = commands.get(index) else {
            panic!("{:?}", commands.get(index));
        };
        assert_eq!(asked.request as usize, index);
        assert_eq!(*asked.topic, *streams.topics[index]);
        let epoch = asked.epoch.map_or(0, Epoch::get);
        let start = format!("{:?}", asked.start).to_lowercase();
        format!("{} {start} {epoch}", asked.topic)
    });
    let told: Vec<String> = told.collect();
    let is_base64 = streams.form.style.is_base64();
    told.join(", ") + if is_base64 { " base64" } else { "" }
}

/// The id of a stream that stands at these places: of which topic, and at which offset of epoch 10.
fn id(places: &[(&str, u64)]) -> String {
    let places = places.iter().map(|(name, next)| Place {
        name,
        epoch: Epoch::new(10),
        next: Numbered::Offset(Offset::new(*next)),
    });
    let mut token = Vec::new();
    Token::encode(&places.collect::<Vec<_>>(), &mut token);
    URL_SAFE_NO_PAD.encode(token)
}

#[test]
fn several_topics_are_one_stream() {
    for (target, line) in [
        ("?topic=a", "a latest 0"),
        ("?topic=a&topic=b/c", "a latest 0, b/c latest 0"),
        (
            "?topic=caf%C3%A9&from=earliest&encoding=base64&topic=a%26b",
            "caf\u{e9} earliest 0, a&b earliest 0 base64",
        ),
        // These topics are not paths: the names of the broker's own paths are allowed.
        (
            "?topic=metrics&topic=a/sse",
            "metrics latest 0, a/sse latest 0",
        ),
    ] {
        assert_eq!(read_several(target, ""), line, "{target}");
    }
}

#[test]
fn several_topics_are_resumed_each_where_it_was_and_others_begin_as_asked() {
    let field = |places: &[(&str, u64)]| format!("Last-Event-ID: {}\n", id(places));
    let both = field(&[("b", 8), ("a", 3)]);
    assert_eq!(
        read_several("?topic=a&topic=b&from=earliest", &both),
        "a offset(offset(3)) 10, b offset(offset(8)) 10"
    );
    assert_eq!(
        read_several("?topic=a&topic=new&from=earliest", &both),
        "a offset(offset(3)) 10, new earliest 0"
    );
    let parameter = format!("?topic=b&topic=c&last_event_id={}", id(&[("b", 8)]));
    assert_eq!(
        read_several(&parameter, ""),
        "b offset(offset(8)) 10, c latest 0"
    );
    // The id of a stream of one topic names none of these.
    assert_eq!(
        read_several("?topic=a", &field(&[("", 5)])),
        "a offset(offset(5)) 10"
    );
    let none = "400: the last event's id names none of these topics; leave it out to begin anew";
    for (target, field) in [
        ("?topic=a&topic=b", field(&[("", 5)])),
        ("?topic=c&topic=d", both),
        ("?topic=a", "Last-Event-ID: nonsense\n".to_owned()),
    ] {
        assert_eq!(read_several(target, &field), none, "{target} {field}");
    }
}

#[test]
fn a_malformed_request_for_several_topics_is_refused() {
    for (target, why) in [
        ("", "name the topics"),
        ("?topic=", "a `topic` is not valid"),
        ("?topic=a+b%2b", "a `topic` is not valid"),
        ("?topic=a&topic=b&topic=a", "a `topic` is named twice"),
        (
            "?topic=a&from=offset:3",
            "`from` is earliest or latest for several",
        ),
        ("?topic=a&from=now", "`from` is earliest, latest or"),
        ("?topic=a&follow=true", "a stream of several topics takes"),
        ("?topic=%", "a % in the path"),
    ] {
        let line = read_several(target, "");
        assert!(line.starts_with(&format!("400: {why}")), "{target}: {line}");
    }
    let line = read_several("?topic=a", "Origin: http://evil.example\n");
    assert!(line.starts_with("403: "), "{line}");
}

#[test]
fn the_id_of_several_topics_passes_proxies() {
    let topics = |count: usize| {
        let names = (0..count).map(|number| format!("topic={number:0>30}"));
        format!("?{}", names.collect::<Vec<String>>().join("&"))
    };
    let all = read_several(&topics(87), "");
    assert_eq!(all.matches("latest").count(), 87);
    let line = read_several(&topics(88), "");
    assert!(line.starts_with("400: these are too many topics"), "{line}");
    let names: Vec<String> = (0..87).map(|number| format!("{number:0>30}")).collect();
    let places: Vec<(&str, u64)> = names.iter().map(|name| (&**name, 1)).collect();
    assert!(id(&places).len() < 8_192 - 100);
}
