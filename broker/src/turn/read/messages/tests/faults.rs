//! Faults that were found once, and what damage and hurry do to sessions over WebSocket.

use std::path::PathBuf;

use oyez_protocol::limits::RECORD_HEADER_SIZE;

use super::*;
use crate::rig::goodbye_bytes;

/// Lets answers take all the memory that they may.
fn fill_output(rig: &mut Rig) -> usize {
    let output = &mut rig.parts().sessions.room.output;
    let (bytes, mut counted) = (output.max() - output.bytes(), 0);
    output.count(&mut counted, bytes);
    counted
}

#[test]
fn pings_wait_while_there_is_no_memory_for_answers() {
    let mut rig = Rig::new();
    let mut socket = Socket::join(&mut rig);
    let mut counted = fill_output(&mut rig);
    socket.say(PING, &[b'x'; 100]);
    rig.settle();
    assert_eq!(rig.session(&socket.client).outgoing_bytes(), 0);
    rig.parts().sessions.room.output.count(&mut counted, 0);
    for _ in 0..3 {
        rig.pass(1_000);
        rig.settle();
    }
    assert_eq!(socket.hear(), [format!("answers {}", "x".repeat(100))]);
}

#[test]
fn outcomes_of_http_requests_do_not_reach_the_websocket_session() {
    for fields in ["", FRAMES] {
        let mut rig = Rig::new();
        let subscriber = rig.subscriber("synced/t");
        let client = rig.connect();
        client.peer.write(
            b"POST /synced/t?ack=none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        );
        ask(&client, "/api/v1/ws", fields);
        rig.settle();
        assert_eq!(subscriber.hear(), ["synced/t 0"]);
        let bytes = client.peer.read();
        let answers = String::from_utf8(bytes).expect("no frames");
        assert!(answers.starts_with("HTTP/1.1 202 "), "{answers}");
        assert!(
            answers.contains("\r\n\r\n{}\nHTTP/1.1 101 ") && answers.ends_with("\r\n\r\n"),
            "{answers}"
        );
    }
}

#[test]
fn a_session_that_unsubscribes_while_an_object_is_half_out_gets_the_rest() {
    let mut rig = Rig::with(Config {
        rendition_cache_bytes: 0,
        ..settings()
    });
    let mut socket = Socket::open(&mut rig, "/t/ws", "");
    assert_eq!(socket.hear().len(), 1);
    socket.client.peer.set_room(50);
    rig.publish("t", 600, 1);
    socket.say(TEXT, br#"{"command":"unsubscribe","topic":"t"}"#);
    socket.say(TEXT, br#"{"command":"subscribe","topic":"t"}"#);
    rig.settle();
    socket.client.peer.set_room(usize::MAX);
    rig.settle();
    let heard = socket.hear();
    assert!(
        heard[0].starts_with(r#"{"topic":"t","offset":0,"#),
        "{heard:?}"
    );
    assert_eq!(heard[1], r#"{"event":"$unsubscribed","topic":"t"}"#);
    assert!(heard[2].starts_with(r#"{"event":"$subscribed","topic":"t","next":1,"#));
}

#[test]
fn the_end_of_a_line_is_a_blank_between_words_and_wrong_within_them() {
    let mut rig = Rig::new();
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", "");
    socket.say(TEXT, b"{\r\n\"command\":\n\"ping\"\n}\n");
    socket.say(
        TEXT,
        b"{\"command\":\"publish\",\"topic\":\"t\",\"payload\":\"a\nb\",\"id\":1}",
    );
    rig.settle();
    let heard = socket.hear();
    assert_eq!(heard[0], r#"{"event":"$pong"}"#);
    assert!(heard[1].starts_with(r#"{"event":"$error","#), "{heard:?}");
}

#[test]
fn a_goodbye_of_frames_is_answered_with_a_close() {
    let mut rig = Rig::new();
    let mut socket = Socket::join(&mut rig);
    socket.say(BINARY, &goodbye_bytes());
    rig.settle();
    assert_eq!(socket.hear(), ["close 1000: "]);
}

#[test]
fn a_topic_that_ends_in_ws_is_described_like_others() {
    let mut rig = Rig::new();
    rig.publish("a/ws", 10, 1);
    rig.pass(2_000);
    rig.settle();
    let client = rig.connect();
    let request = b"GET /api/v1/topics/a/ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.peer.write(request);
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 200 "));
}

#[test]
fn commands_before_a_fault_are_done_also_if_they_have_to_wait() {
    let mut rig = Rig::with(Config {
        inflight_records_max: 1,
        ..settings()
    });
    let subscriber = rig.subscriber("synced/t");
    let mut socket = Socket::join(&mut rig);
    let mut said: Vec<u8> = (0..3)
        .flat_map(|_| frame(BINARY, &record("synced/t", 10)))
        .collect();
    said.extend(frame(TEXT, b"wrong"));
    socket.client.peer.write(&said);
    rig.settle();
    assert_eq!(subscriber.hear().len(), 3);
    let heard = socket.hear();
    assert!(
        heard
            .last()
            .is_some_and(|last| last.starts_with("close 1003: ")),
        "{heard:?}"
    );
}

#[test]
fn a_line_that_waits_is_compressed_once() {
    let mut rig = Rig::with(Config {
        inflight_records_max: 1,
        ..settings()
    });
    let socket = Socket::open(&mut rig, "/api/v1/ws", "");
    let line = br#"{"command":"publish","topic":"synced/t","payload":"hello"}"#;
    let said: Vec<u8> = (0..3).flat_map(|_| frame(TEXT, line)).collect();
    socket.client.peer.write(&said);
    rig.settle();
    assert_eq!(rig.metrics().codec_encodes.get(), 3);
}

/// A client that is half in a run of cold records of `synced/t`, and the segment with it.
fn within_a_run(rig: &mut Rig) -> (Socket, PathBuf, Vec<u8>) {
    let publisher = rig.join();
    for round in 0..30 {
        for _ in 0..10 {
            publisher.publish("synced/t", 20_000);
        }
        if round == 0 {
            publisher.publish("synced/u", 20_000);
        }
        rig.settle();
    }
    rig.pass(60_000);
    rig.settle();
    let files = rig.disk.files().into_iter();
    let contents = files.filter_map(|(path, _)| Some((rig.disk.content(&path)?, path)));
    let mut segments = contents.filter(|(content, _)| place_of(content, b"synced/t", 7).is_some());
    let (content, path) = segments.next().expect("a segment has them");
    drop(segments);
    let socket = Socket::join(rig);
    socket.client.peer.set_room(1_000);
    socket.say(BINARY, &subscribe_bytes("synced/t", Start::Earliest));
    rig.settle();
    assert!(rig.session(&socket.client).tail().is_some());
    rig.pass(60_000);
    (socket, path, content)
}

/// Where the `nth` record of a topic begins in a segment.
fn place_of(segment: &[u8], topic: &[u8], nth: usize) -> Option<usize> {
    let names = segment.windows(topic.len()).enumerate();
    let mut places = names.filter(|(_, name)| *name == topic);
    places.nth(nth).map(|(at, _)| at - RECORD_HEADER_SIZE)
}

#[test]
fn the_rest_of_a_run_that_is_half_out_is_what_it_was_or_does_not_come() {
    for (topic, nth) in [(&b"synced/t"[..], 7), (b"synced/u", 0)] {
        let mut rig = Rig::new();
        let (mut socket, path, content) = within_a_run(&mut rig);
        // A misdirected write puts a whole record in the place of another one.
        let from = place_of(&content, topic, nth).expect("it is there");
        let to = place_of(&content, b"synced/t", 1).expect("it is there");
        let size = record("synced/t", 20_000).len();
        rig.disk.overlay(&path, to, &content[from..from + size]);
        socket.client.peer.set_room(usize::MAX);
        for _ in 0..20 {
            rig.settle();
        }
        let heard = socket.hear();
        assert!(heard.len() <= 1, "{heard:?}");
        assert_eq!(socket.client.peer.how_it_ended(), End::Aborted);
    }
}
