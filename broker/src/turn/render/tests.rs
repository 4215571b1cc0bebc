//! Streams of server-sent events, from what is published to what their clients get.

use oyez_protocol::command::Start;

use super::*;
use crate::config::Config;
use crate::dialect::form::{Kind, Style};
use crate::dialect::sse::PLACE;
use crate::net::memory::End;
use crate::rig::{Client, Rig, settings, settle};

mod several;
mod work;

/// Asks for a stream, and takes the head of the answer.
fn stream(rig: &mut Rig, path: &str) -> Client {
    let client = rig.connect();
    ask(&client, path);
    rig.settle();
    let begun = client.peer.read();
    let text = String::from_utf8_lossy(&begun);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    client
}

fn ask(client: &Client, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.peer.write(request.as_bytes());
}

/// The content of chunks, which have to be whole.
fn payload(mut chunks: &[u8]) -> String {
    let mut text = String::new();
    while !chunks.is_empty() {
        let (line, rest) = chunks.split_at_checked(10).expect("the line of a chunk");
        let line = std::str::from_utf8(&line[..8]).expect("digits");
        let size = usize::from_str_radix(line, 16).expect("a size");
        let (chunk, rest) = rest.split_at_checked(size + 2).expect("a whole chunk");
        assert_eq!(&chunk[size..], b"\r\n");
        text += std::str::from_utf8(&chunk[..size]).expect("text");
        chunks = rest;
    }
    text
}

/// The data of the events that have come, and the names of those that have one.
fn hear(client: &Client) -> Vec<String> {
    events(&payload(&client.peer.read()))
}

fn events(text: &str) -> Vec<String> {
    let mut heard = Vec::new();
    for block in text.split_terminator("\n\n") {
        let fields = |name: &str| -> Vec<String> {
            let values = block.lines().filter_map(|line| line.strip_prefix(name));
            values.map(str::to_owned).collect()
        };
        let (names, data) = (fields("event: "), fields("data: "));
        let is_place = names == [PLACE];
        if !data.is_empty() && !is_place {
            heard.push([names, data].concat().join(" "));
        }
    }
    heard
}

/// The token of the last event that has come.
fn last_id(text: &str) -> String {
    let mut ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.next_back().expect("each event has one").to_owned()
}

/// Publishes a message, and waits until it is acknowledged.
fn publish(rig: &mut Rig, publisher: &Client, topic: &str, body: &str) {
    let size = body.len();
    let request = format!(
        "POST /{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n{body}"
    );
    publisher.peer.write(request.as_bytes());
    rig.settle();
    let answer = publisher.peer.read();
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("message {number}")).collect()
}

fn publish_numbered(rig: &mut Rig, publisher: &Client, numbers: std::ops::Range<usize>) {
    for message in numbered(numbers) {
        publish(rig, publisher, "t", &message);
    }
}

/// A shard that keeps next to nothing of what it renders.
fn forgetful() -> Config {
    Config {
        rendition_cache_bytes: 1,
        ..settings()
    }
}

#[test]
fn all_subscribers_of_a_form_are_sent_a_record_that_was_rendered_once() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let natives = rig.subscribers("t", 2);
    let chunked: Vec<Client> = (0..20).map(|_| stream(&mut rig, "/t/sse")).collect();
    let coded = stream(&mut rig, "/t/sse?encoding=base64");
    publish_numbered(&mut rig, &publisher, 0..3);
    for client in &chunked {
        assert_eq!(hear(client), numbered(0..3));
    }
    assert_eq!(
        hear(&coded),
        ["bWVzc2FnZSAw", "bWVzc2FnZSAx", "bWVzc2FnZSAy"]
    );
    for native in &natives {
        assert_eq!(native.hear(), ["t 0", "t 1", "t 2"]);
    }
    let metrics = rig.metrics();
    let rendered = (metrics.renditions.get(), metrics.codec_decodes.get());
    assert_eq!(rendered, (6, 6), "once for each form");
    assert_eq!(metrics.deliveries.get(), 3 * 23);
}

#[test]
fn native_subscribers_are_sent_records_as_they_are_beside_other_forms() {
    let mut rig = Rig::new();
    let native = rig.subscriber("t");
    rig.publish("t", 100, 3);
    assert_eq!(native.hear().len(), 3);
    let metrics = rig.metrics();
    let called = (metrics.renditions.get(), metrics.codec_decodes.get());
    assert_eq!((called, metrics.codec_encodes.get()), ((0, 0), 0));
}

/// Wherever the socket stops taking bytes, what arrives is what one that takes all gets.
#[test]
fn a_rendition_that_was_cut_anywhere_goes_on_there() {
    for config in [settings(), forgetful()] {
        let mut rig = Rig::with(config);
        let publisher = rig.connect();
        let (whole, cut) = (stream(&mut rig, "/t/sse"), stream(&mut rig, "/t/sse"));
        let mut expected = Vec::new();
        for room in 0..200 {
            let body = format!("message {room}\nof two lines");
            cut.peer.set_room(room);
            publish(&mut rig, &publisher, "t", &body);
            let bytes = whole.peer.read();
            let mut got = cut.peer.read();
            cut.peer.set_room(1 << 20);
            rig.settle();
            got.extend(cut.peer.read());
            assert_eq!(got, bytes, "room for {room} bytes");
            expected.extend(bytes);
        }
        assert_eq!(events(&payload(&expected)).len(), 200);
    }
}

#[test]
fn a_stream_that_takes_a_byte_at_a_time_gets_everything() {
    let mut rig = Rig::with(forgetful());
    let publisher = rig.connect();
    let (whole, slow) = (stream(&mut rig, "/t/sse"), stream(&mut rig, "/t/sse"));
    slow.peer.dribble(1);
    publish_numbered(&mut rig, &publisher, 0..2);
    let expected = whole.peer.read();
    let mut got = Vec::new();
    while got.len() < expected.len() {
        rig.turn();
        got.extend(slow.peer.read());
    }
    assert_eq!(got, expected);
}

#[test]
fn a_stream_far_behind_is_served_from_the_log() {
    let mut rig = Rig::with(forgetful());
    let publisher = rig.connect();
    let slow = stream(&mut rig, "/t/sse");
    slow.peer.stall();
    let count = 2 * crate::parts::feed::WINDOW_RECORDS_MAX;
    for number in 0..count {
        rig.append("t", number % 100 + 1);
    }
    publish(&mut rig, &publisher, "t", "the last one");
    let room = rig.parts().rendering.bytes();
    assert_eq!(room, 0, "what nobody takes is not rendered, or not kept");
    slow.peer.resume();
    let mut heard = Vec::new();
    for _ in 0..1_000 {
        rig.turn();
        heard.extend(slow.peer.read());
        if heard.ends_with(b"data: the last one\n\n\r\n") {
            break;
        }
    }
    let heard = events(&payload(&heard));
    assert_eq!(heard.len(), count + 1);
    for (number, data) in heard[..count].iter().enumerate() {
        assert_eq!(data.len(), number % 100 + 1);
    }
}

#[test]
fn a_stream_goes_on_behind_the_last_event_that_its_client_has() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let first = rig.connect();
    ask(&first, "/t/sse");
    rig.settle();
    // Before the first message, the place where the stream began.
    let begun = String::from_utf8(first.peer.read()).expect("text");
    first.peer.close();
    publish_numbered(&mut rig, &publisher, 0..2);
    let path = format!("/t/sse?last_event_id={}", last_id(&begun));
    let second = rig.connect();
    ask(&second, &path);
    rig.settle();
    let text = String::from_utf8(second.peer.read()).expect("text");
    let body = text.split_once("\r\n\r\n").expect("a head").1;
    let text = payload(body.as_bytes());
    assert_eq!(events(&text), numbered(0..2));
    publish_numbered(&mut rig, &publisher, 2..3);
    let third = rig.connect();
    let request = format!(
        "GET /t/sse?from=earliest HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n",
        last_id(&text)
    );
    third.peer.write(request.as_bytes());
    rig.settle();
    let text = String::from_utf8(third.peer.read()).expect("text");
    let body = text.split_once("\r\n\r\n").expect("a head").1;
    assert_eq!(events(&payload(body.as_bytes())), numbered(2..3));
}

#[test]
fn a_stream_of_another_shards_topic_is_served_as_well() {
    let [mut first, mut second] = Rig::shards(settings());
    let (near, far) = (first.connect(), second.connect());
    for client in [&near, &far] {
        ask(client, "/t/sse");
    }
    settle(&mut [&mut first, &mut second]);
    for client in [&near, &far] {
        assert!(client.peer.read().starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    let publisher = first.connect();
    publisher
        .peer
        .write(b"POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    settle(&mut [&mut first, &mut second]);
    for client in [&near, &far] {
        assert_eq!(hear(client), ["hello"]);
    }
}

#[test]
fn a_stream_that_cannot_begin_is_refused_and_the_connection_goes_on() {
    let mut rig = Rig::new();
    let client = rig.connect();
    ask(&client, "/$own/sse");
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 403 "));
    ask(&client, "/t/sse?from=offset:9");
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 409 "));
    assert!(rig.session(&client).form().is_native());
    ask(&client, "/");
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn nothing_more_is_asked_over_the_connection_of_a_stream() {
    let mut rig = Rig::new();
    let (client, publisher) = (stream(&mut rig, "/t/sse"), rig.connect());
    ask(&client, "/");
    rig.settle();
    assert!(client.peer.read().is_empty());
    publish_numbered(&mut rig, &publisher, 0..1);
    assert_eq!(hear(&client), numbered(0..1));
    client.peer.shutdown();
    rig.settle();
    assert_eq!(client.peer.how_it_ended(), End::Closed);
}

#[test]
fn a_stream_gets_a_comment_before_a_proxy_loses_patience_and_is_never_idle() {
    // HAProxy cuts what is silent for 50 s as Debian sets it up, and others for 30 s.
    const PATIENCE_MS: u64 = 30_000;
    let mut rig = Rig::new();
    let client = stream(&mut rig, "/t/sse");
    let mut silent_ms = 0;
    for _ in 0..1_000 {
        rig.pass(1_000);
        rig.settle();
        silent_ms += 1_000;
        let heard = client.peer.read();
        if !heard.is_empty() {
            assert_eq!(payload(&heard), ":\n\n");
            silent_ms = 0;
        }
        assert!(silent_ms < PATIENCE_MS, "a proxy cuts it");
    }
    assert_eq!(client.peer.how_it_ended(), End::Open);
}

#[test]
fn a_stream_that_takes_nothing_for_two_heartbeats_is_over() {
    let mut rig = Rig::new();
    let heartbeat_s = u64::from(rig.parts().context.shared.config.heartbeat_ms) / 1_000;
    let (client, publisher) = (stream(&mut rig, "/t/sse"), rig.connect());
    client.peer.stall();
    publish(&mut rig, &publisher, "t", &"x".repeat(1_000));
    for _ in 0..2 * heartbeat_s - 10 {
        rig.pass(1_000);
        rig.settle();
    }
    assert_eq!(client.peer.how_it_ended(), End::Open);
    for _ in 0..120 {
        rig.pass(1_000);
        rig.settle();
    }
    assert_eq!(client.peer.how_it_ended(), End::Aborted);
}

#[test]
fn input_on_a_stream_is_no_sign_of_life() {
    let mut rig = Rig::new();
    let client = stream(&mut rig, "/t/sse");
    client.peer.stall();
    for _ in 0..3 {
        rig.append("t", 200_000);
    }
    rig.settle();
    let mut waited_ms = 0;
    while client.peer.how_it_ended() == End::Open && waited_ms < 3_600_000 {
        client.peer.write(b"x");
        rig.pass(10_000);
        rig.settle();
        waited_ms += 10_000;
    }
    assert!(waited_ms < 700_000, "after {waited_ms} ms");
}

#[test]
fn an_answer_that_comes_when_a_session_is_to_end_leaves_with_its_goodbye() {
    let [mut first, mut second] = Rig::shards(settings());
    let far = first.topic_of(1, "far");
    for request in [
        format!("GET /{far}/sse HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("POST /{far} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        let client = first.connect();
        client.peer.write(request.as_bytes());
        first.settle();
        assert!(
            client.peer.read().is_empty(),
            "the other shard was not asked yet"
        );
        second.settle();
        let parts = first.parts();
        crate::turn::drain::dismiss_all(&parts.context, &mut parts.sessions, 1);
        settle(&mut [&mut first, &mut second]);
        let text = String::from_utf8(client.peer.read()).expect("text");
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.ends_with("}\n"), "nothing follows: {text}");
    }
}

#[test]
fn a_place_where_another_record_stands_is_no_rendition() {
    let mut rig = Rig::new();
    let _client = stream(&mut rig, "/t/sse");
    for topic in ["t", "u"] {
        rig.append(topic, 100);
    }
    rig.follow();
    let parts = rig.parts();
    let log = parts.context.shared.log_of("t");
    let mut places = Vec::new();
    parts.logs.places(log, "t", Offset::new(0), 10, &mut places);
    let form = Form {
        kind: Kind::Events,
        style: Style::CHUNKED,
    };
    let mut get = |topic, first| {
        let wanted = Wanted {
            key: Key {
                log,
                position: places[0].position,
                form,
                part: Part { first: 0, end: 1 },
            },
            size: places[0].size,
            is_it: &|record| (record.topic(), record.offset()) == (topic, Offset::new(first)),
        };
        let means = (&mut parts.logs, parts.context.metrics());
        // The kept rendition has been verified.
        let mut rendering = Rendering::new(0);
        matches!(rendering.get(means, &wanted), Ok(bytes) if !bytes.is_empty())
    };
    assert!(get("t", 0));
    assert!(!get("u", 0));
    assert!(!get("t", 1));
}

#[test]
fn subscriptions_of_both_kinds_begin_alike() {
    let mut rig = Rig::new();
    rig.publish("t", 10, 3);
    let native = rig.join();
    native.subscribe("t", Start::Offset(Offset::new(1)));
    rig.settle();
    assert_eq!(native.hear(), ["subscribed Ok at 1", "t 1", "t 2"]);
    let client = rig.connect();
    ask(&client, "/t/sse?from=offset:1");
    rig.settle();
    let text = String::from_utf8(client.peer.read()).expect("text");
    let body = text.split_once("\r\n\r\n").expect("a head").1;
    assert_eq!(events(&payload(body.as_bytes())).len(), 2);
}

/// A record of several messages, published by a native client.
fn publish_batch(rig: &mut Rig, topic: &str, payloads: &[String]) {
    let mut builder =
        oyez_protocol::record::RecordBuilder::new(topic, Limits::HARD).expect("a topic");
    for payload in payloads {
        let message = oyez_protocol::message::MessageRef::new(payload.as_bytes());
        builder.push(&message).expect("it fits");
    }
    let mut bytes = Vec::new();
    builder.finish_stored(1, &mut bytes);
    let publisher = rig.join();
    publisher.peer.write(&bytes);
    rig.settle();
    assert_eq!(publisher.hear().len(), 1);
}

/// The answer to a request that ends: its head and what its chunks hold.
fn read_all(rig: &mut Rig, path: &str) -> (String, String) {
    let client = rig.connect();
    client.peer.set_room(8 << 20);
    ask(&client, path);
    rig.settle();
    let bytes = client.peer.read();
    let text = String::from_utf8(bytes).expect("text");
    assert_eq!(client.peer.how_it_ended(), End::Shut, "{text}");
    client.peer.close();
    rig.settle();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let body = match head.contains("Transfer-Encoding: chunked") {
        true => {
            let body = body.strip_suffix("0\r\n\r\n").expect("the last chunk");
            payload(body.as_bytes())
        }
        false => body.to_owned(),
    };
    (head.to_owned(), body)
}

#[test]
fn a_stream_that_begins_within_a_record_begins_with_the_message_that_was_asked_for() {
    let mut rig = Rig::new();
    publish_batch(&mut rig, "t", &numbered(0..5));
    for from in 0..5 {
        let client = rig.connect();
        ask(&client, &format!("/t/sse?from=offset:{from}"));
        rig.settle();
        let text = String::from_utf8(client.peer.read()).expect("text");
        let body = text.split_once("\r\n\r\n").expect("a head").1;
        assert_eq!(events(&payload(body.as_bytes())), numbered(from..5));
    }
}

#[test]
fn a_send_that_was_cut_within_a_part_of_a_record_goes_on_there() {
    let mut rig = Rig::with(forgetful());
    publish_batch(&mut rig, "t", &numbered(0..5));
    let whole = read_all(&mut rig, "/t/json?from=offset:2&limit=2").1;
    for room in 0..whole.len() + 700 {
        let client = rig.connect();
        client.peer.set_room(room);
        ask(&client, "/t/json?from=offset:2&limit=2");
        rig.settle();
        let mut bytes = client.peer.read();
        client.peer.set_room(1 << 20);
        rig.settle();
        bytes.extend(client.peer.read());
        let text = String::from_utf8(bytes).expect("text");
        let body = text.split_once("\r\n\r\n").expect("a head").1;
        let body = body.strip_suffix("0\r\n\r\n").expect("the last chunk");
        assert_eq!(payload(body.as_bytes()), whole, "room for {room} bytes");
        client.peer.close();
        rig.settle();
    }
}

#[test]
fn messages_are_read_as_json_to_the_newest_that_there_is() {
    let mut rig = Rig::new();
    publish_batch(&mut rig, "t", &numbered(0..3));
    publish_batch(&mut rig, "t", &numbered(3..5));
    let read = |rig: &mut Rig, query: &str| -> Vec<(u64, String)> {
        let (head, body) = read_all(rig, &format!("/t/json{query}"));
        assert!(
            head.contains("Content-Type: application/x-ndjson\r\n"),
            "{head}"
        );
        let rows = body.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = row["payload"].as_str().expect("a payload").to_owned();
            (row["offset"].as_u64().expect("an offset"), text)
        });
        rows.collect()
    };
    let rows = |numbers: std::ops::Range<usize>| -> Vec<(u64, String)> {
        numbers
            .map(|number| (number as u64, format!("message {number}")))
            .collect()
    };
    assert_eq!(read(&mut rig, ""), rows(0..5));
    assert_eq!(read(&mut rig, "?from=offset:1&limit=3"), rows(1..4));
    assert_eq!(read(&mut rig, "?limit=1"), rows(0..1));
    assert_eq!(read(&mut rig, "?from=offset:4"), rows(4..5));
    assert_eq!(read(&mut rig, "?from=latest"), rows(0..0));
    assert_eq!(read(&mut rig, "?limit=100"), rows(0..5));
}

#[test]
fn payloads_are_read_as_they_are() {
    let mut rig = Rig::new();
    publish_batch(&mut rig, "t", &numbered(0..3));
    let (head, body) = read_all(&mut rig, "/t/raw");
    assert!(
        head.contains("Content-Type: application/octet-stream\r\n"),
        "{head}"
    );
    assert_eq!(body, "message 0\nmessage 1\nmessage 2\n");
    assert_eq!(
        read_all(&mut rig, "/t/raw?from=offset:1&limit=1").1,
        "message 1"
    );
    assert_eq!(read_all(&mut rig, "/u/raw").1, "");
}

#[test]
fn messages_that_come_later_are_followed_as_far_as_is_asked() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let (two, all) = (rig.connect(), rig.connect());
    ask(&two, "/t/json?follow=true&limit=2");
    ask(&all, "/t/json?follow=true");
    rig.settle();
    for client in [&two, &all] {
        assert!(
            client.peer.read().ends_with(b"\r\n\r\n"),
            "nothing but the head"
        );
    }
    publish_batch(&mut rig, "t", &numbered(0..1));
    publish_batch(&mut rig, "t", &numbered(1..4));
    let rows = |client: &Client| {
        let bytes = client.peer.read();
        let chunks = bytes.strip_suffix(b"0\r\n\r\n").unwrap_or(&bytes);
        payload(chunks).lines().count()
    };
    assert_eq!((rows(&two), rows(&all)), (2, 4));
    assert_eq!(two.peer.how_it_ended(), End::Shut);
    publish(&mut rig, &publisher, "t", "more");
    assert_eq!(rows(&all), 1);
}

#[test]
fn a_reading_that_was_broken_off_does_not_look_whole() {
    for version in ["1.1", "1.0"] {
        let mut rig = Rig::new();
        for _ in 0..10 {
            rig.append("t", 50_000);
        }
        let client = rig.connect();
        client.peer.set_room(60_000);
        let request = format!("GET /t/json HTTP/{version}\r\nHost: localhost\r\n\r\n");
        client.peer.write(request.as_bytes());
        rig.settle();
        assert!(client.peer.read().starts_with(b"HTTP/1.1 200 OK\r\n"));
        rig.refuse(&client, "it has to go");
        client.peer.set_room(1 << 20);
        for _ in 0..20 {
            rig.turn();
        }
        let rest = client.peer.read();
        assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "it would look whole");
        let end = client.peer.how_it_ended();
        assert_eq!(
            end,
            if version == "1.0" {
                End::Aborted
            } else {
                End::Shut
            }
        );
    }
}

#[test]
fn a_client_that_shuts_its_side_reads_what_it_asked_for_to_the_end() {
    let [mut first, mut second] = Rig::shards(settings());
    let topics = [first.topic_of(0, "t/"), first.topic_of(1, "t/")];
    for (topic, rig) in topics.iter().zip([&mut first, &mut second]) {
        rig.append(topic, 10);
        rig.append(topic, 20);
    }
    for topic in &topics {
        for version in ["1.1", "1.0"] {
            let client = first.connect();
            let request = format!("GET /{topic}/raw HTTP/{version}\r\nHost: localhost\r\n\r\n");
            client.peer.write(request.as_bytes());
            client.peer.shutdown();
            settle(&mut [&mut first, &mut second]);
            let text = String::from_utf8(client.peer.read()).expect("text");
            assert_eq!(
                text.matches("xxxxxxxxxx").count(),
                3,
                "{topic} {version}: {text}"
            );
            assert!(
                version == "1.0" || text.ends_with("\r\n0\r\n\r\n"),
                "{text}"
            );
            assert_ne!(client.peer.how_it_ended(), End::Open);
        }
    }
}

#[test]
fn a_stream_on_a_connection_that_was_used_before_gets_a_comment_in_time() {
    let mut rig = Rig::new();
    for wait_ms in [1_000, 9_000, 11_000, 24_000, 40_000] {
        let client = rig.connect();
        ask(&client, "/");
        rig.settle();
        let begin_ms = rig.now_ms();
        while rig.now_ms() < begin_ms + wait_ms {
            rig.pass(1_000);
            rig.settle();
        }
        client.peer.read();
        ask(&client, "/t/sse");
        rig.settle();
        assert!(client.peer.read().starts_with(b"HTTP/1.1 200 "));
        let begin_ms = rig.now_ms();
        while client.peer.waiting() == 0 {
            rig.pass(1_000);
            rig.settle();
            assert!(rig.now_ms() < begin_ms + 30_000, "after {wait_ms} ms");
        }
    }
}

#[test]
fn a_record_that_cannot_be_rendered_is_tried_once_and_reported_as_a_gap() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..5).map(|_| stream(&mut rig, "/t/sse")).collect();
    // A publisher may declare anything as LZ4: the broker looks into no block.
    let mut builder =
        oyez_protocol::record::RecordBuilder::new("t", Limits::HARD).expect("a topic");
    let payload = [b'x'; 100];
    builder
        .push(&oyez_protocol::message::MessageRef::new(&payload))
        .expect("it fits");
    let mut bytes = Vec::new();
    builder.finish(
        1,
        oyez_protocol::record::Codec::Lz4,
        &[0xff; 50],
        &mut bytes,
    );
    let publisher = rig.join();
    publisher.peer.write(&bytes);
    rig.settle();
    assert_eq!(publisher.hear().len(), 1);
    rig.append("t", 10);
    rig.settle();
    for client in &clients {
        let heard = hear(client);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(
            heard[0].starts_with("$gap ") && heard[1] == "xxxxxxxxxx",
            "{heard:?}"
        );
    }
    assert_eq!(rig.metrics().renditions.get(), 2);
}
