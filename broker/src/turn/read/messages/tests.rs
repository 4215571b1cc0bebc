use oyez_protocol::command::Start;

use crate::clock::TICK_MS;
use crate::config::Config;
use crate::net::memory::End;
use crate::parts::sending::SENDFILE_BYTES_MIN;
use crate::rig::{Client, Rig, hello_bytes, lines, ping_bytes, record, settings, subscribe_bytes};

mod faults;
mod leaving;

const MASK: [u8; 4] = [0xa1, 0x02, 0x7e, 0x55];
const FRAMES: &str = "Sec-WebSocket-Protocol: other, oyez.v2\r\n";
const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client over WebSocket.
struct Socket {
    client: Client,
    /// Bytes that have come and are not a whole frame.
    left: Vec<u8>,
}

/// Asks for a WebSocket.
fn ask(client: &Client, path: &str, fields: &str) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    client.peer.write(request.as_bytes());
}

impl Socket {
    fn open(rig: &mut Rig, path: &str, fields: &str) -> Self {
        let client = rig.connect();
        ask(&client, path, fields);
        rig.settle();
        Self::opened(client)
    }

    fn opened(client: Client) -> Self {
        let mut left = client.peer.read();
        let head = left.windows(4).position(|four| four == b"\r\n\r\n");
        let rest = left.split_off(head.expect("a head") + 4);
        let head = String::from_utf8(left).expect("text");
        assert!(
            head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        Self { client, left: rest }
    }

    /// A client that speaks frames and was welcomed.
    fn join(rig: &mut Rig) -> Self {
        let mut socket = Self::open(rig, "/api/v1/ws", FRAMES);
        socket.say(BINARY, &hello_bytes());
        rig.settle();
        assert_eq!(socket.hear(), ["welcome"]);
        socket
    }

    fn subscriber(rig: &mut Rig, topic: &str, start: Start) -> Self {
        let mut socket = Self::join(rig);
        socket.say(BINARY, &subscribe_bytes(topic, start));
        rig.settle();
        let heard = socket.hear();
        assert!(heard[0].starts_with("subscribed Ok"), "{heard:?}");
        socket
    }

    fn say(&self, first: u8, payload: &[u8]) {
        self.client.peer.write(&frame(first, payload));
    }

    /// The frames that have come: what each is, and its payload.
    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        self.left.extend(self.client.peer.read());
        let mut frames = Vec::new();
        while let Some((first, payload, size)) = front(&self.left) {
            frames.push((first, payload));
            self.left.drain(..size);
        }
        frames
    }

    /// What has come, a line each: frames of Oyez, texts, and WebSocket's own frames.
    fn hear(&mut self) -> Vec<String> {
        let told = |(first, payload): (u8, Vec<u8>)| match first {
            BINARY => lines(&payload),
            TEXT => vec![String::from_utf8(payload).expect("text")],
            CLOSE => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                vec![format!("close {code}: {}", payload[2..].escape_ascii())]
            }
            PING => vec!["asks".to_owned()],
            PONG => vec![format!("answers {}", payload.escape_ascii())],
            other => panic!("a frame begins with {other:#x}"),
        };
        self.frames().into_iter().flat_map(told).collect()
    }
}

/// The frame at the front of what has come, and its size.
fn front(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (header, size) = match *bytes.get(1)? {
        126 => (
            4,
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize,
        ),
        127 => (
            10,
            u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize,
        ),
        size => (2, usize::from(size)),
    };
    let payload = bytes.get(header..header + size)?;
    Some((bytes[0], payload.to_vec(), header + size))
}

/// A frame as clients send it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..=125 => frame.push(0x80 | size as u8),
        size @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((size as u16).to_be_bytes());
        }
        size => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

fn messages(topic: &str, offsets: std::ops::Range<usize>) -> Vec<String> {
    offsets.map(|offset| format!("{topic} {offset}")).collect()
}

#[test]
fn frames_come_and_go_in_messages() {
    let mut rig = Rig::new();
    let mut socket = Socket::subscriber(&mut rig, "t", Start::Latest);
    let native = rig.subscriber("t");
    rig.publish("t", 10, 2);
    assert_eq!(socket.hear(), ["t 0", "t 1"]);
    assert_eq!(native.hear(), ["t 0", "t 1"]);
    socket.say(BINARY, &record("t", 10));
    rig.settle();
    let mut heard = socket.hear();
    heard.sort();
    assert_eq!(heard, ["published Ok 2", "t 2"]);
}

#[test]
fn records_that_lie_together_are_one_message() {
    let mut rig = Rig::new();
    let mut socket = Socket::subscriber(&mut rig, "t", Start::Latest);
    let publisher = rig.join();
    for topic in ["t", "t", "u", "t"] {
        publisher.publish(topic, 50);
    }
    rig.settle();
    let frames = socket.frames();
    let held: Vec<Vec<String>> = frames.iter().map(|(_, payload)| lines(payload)).collect();
    assert_eq!(held, [messages("t", 0..2), messages("t", 2..3)]);
    assert_eq!(rig.metrics().deliveries.get(), 3);
    assert_eq!(rig.metrics().sends.get(), 1);
}

#[test]
fn a_session_between_messages_keeps_nothing() {
    let mut rig = Rig::new();
    let mut socket = Socket::subscriber(&mut rig, "t", Start::Latest);
    socket.say(PONG, b"");
    socket.say(PING, b"why");
    rig.settle();
    assert_eq!(socket.hear(), ["answers why"]);
    assert!(rig.session(&socket.client).input().is_none());
}

#[test]
fn frames_may_be_cut_into_messages_and_messages_into_frames_anywhere() {
    let mut rig = Rig::new();
    let mut socket = Socket::join(&mut rig);
    let said = [ping_bytes([7]), record("t", 300), ping_bytes([8])].concat();
    for cut in 1..said.len() {
        let (first, second) = said.split_at(cut);
        let begun = [frame(0x02, first), frame(PING, b"between")].concat();
        for piece in begun.chunks(cut) {
            socket.client.peer.write(piece);
            rig.settle();
        }
        assert!(rig.session(&socket.client).input().is_some(), "{cut}");
        socket.say(0x80, second);
        rig.settle();
        let mut heard = socket.hear();
        heard.sort();
        let published = format!("published Ok {}", cut - 1);
        assert_eq!(
            heard,
            ["answers between", "pong 7", "pong 8", &published],
            "{cut}"
        );
        assert!(rig.session(&socket.client).input().is_none());
    }
}

#[test]
fn a_run_goes_on_where_the_socket_has_stopped_and_nothing_comes_within_it() {
    let mut rig = Rig::new();
    let mut sockets: Vec<Socket> = (0..3)
        .map(|_| Socket::subscriber(&mut rig, "t", Start::Latest))
        .collect();
    let publisher = rig.join();
    // Header and run are 2 * 568 + 4 bytes.
    for room in 0..1_141 {
        for socket in &sockets {
            socket.client.peer.set_room(room);
        }
        for _ in 0..2 {
            publisher.publish("t", 500);
        }
        rig.settle();
        sockets[0].say(PING, b"there");
        rig.settle();
        for socket in &sockets {
            socket.client.peer.set_room(usize::MAX);
        }
        rig.settle();
        let offset = 2 * room;
        let expected = messages("t", offset..offset + 2);
        let heard = sockets[0].hear();
        assert_eq!(
            heard
                .iter()
                .filter(|line| *line != "answers there")
                .collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
        assert_eq!(heard.len(), 3);
        for socket in &mut sockets[1..] {
            assert_eq!(socket.hear(), expected, "{room}");
            assert!(socket.left.is_empty());
        }
    }
}

#[test]
fn large_runs_leave_from_the_file_also_when_they_were_cut() {
    let mut rig = Rig::new();
    rig.publish("synced/t", 100_000, 60);
    rig.pass(60_000);
    rig.settle();
    for room in [usize::MAX, 1, 3, 9, 10_000, 100_000, 200_000] {
        let mut socket = Socket::join(&mut rig);
        socket.client.peer.set_room(room);
        let before = rig.net.calls().files;
        socket.say(BINARY, &subscribe_bytes("synced/t", Start::Earliest));
        rig.settle();
        socket.client.peer.set_room(usize::MAX);
        rig.settle();
        let frames = socket.frames();
        let held: Vec<String> = frames
            .iter()
            .flat_map(|(_, payload)| lines(payload))
            .collect();
        let offsets = (0..60).map(|offset| format!("synced/t {offset}"));
        let told = std::iter::once("subscribed Ok at 0".to_owned());
        assert_eq!(held, told.chain(offsets).collect::<Vec<_>>(), "{room}");
        assert!(rig.net.calls().files > before, "{room}");
        let large = frames
            .iter()
            .filter(|(_, payload)| payload.len() > SENDFILE_BYTES_MIN);
        assert!(large.count() > 10);
    }
}

#[test]
fn commands_before_a_close_are_done_and_the_close_is_answered() {
    let mut rig = Rig::new();
    let subscriber = rig.subscriber("t");
    let mut socket = Socket::join(&mut rig);
    let said = [
        frame(BINARY, &record("t", 10)),
        frame(CLOSE, b"\x03\xe9going away"),
        frame(BINARY, &record("t", 10)),
    ];
    socket.client.peer.write(&said.concat());
    rig.settle();
    assert_eq!(subscriber.hear(), ["t 0"]);
    let heard = socket.hear();
    assert_eq!(heard.last().map(String::as_str), Some("close 1001: "));
    assert_eq!(socket.client.peer.how_it_ended(), End::Shut);
    socket.client.peer.shutdown();
    rig.settle();
    assert_eq!(socket.client.peer.how_it_ended(), End::Closed);
}

#[test]
fn input_that_no_client_may_send_is_answered_with_a_close_that_says_why() {
    for (said, code) in [
        (vec![0x82, 0], "close 1002: "),
        (frame(0xf2, b""), "close 1002: "),
        (frame(TEXT, b"text"), "close 1003: "),
        (frame(CLOSE, b"\x00\x00"), "close 1002: "),
        (frame(CLOSE, b"\x03\xe8\xff"), "close 1007: "),
    ] {
        let mut rig = Rig::new();
        let mut socket = Socket::join(&mut rig);
        socket.client.peer.write(&said);
        rig.settle();
        let heard = socket.hear();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(
            heard[0].starts_with(code) && heard[0].len() > code.len(),
            "{heard:?}"
        );
    }
    // Faults within messages are answered in messages.
    let mut rig = Rig::new();
    let mut socket = Socket::join(&mut rig);
    socket.say(BINARY, &[0xff; 16]);
    rig.settle();
    let heard = socket.hear();
    assert!(heard[0].starts_with("goodbye Damaged"), "{heard:?}");
    assert!(heard[1].starts_with("close 4006: "), "{heard:?}");
    assert_eq!(heard.len(), 2);
}

#[test]
fn a_session_in_json_does_what_its_commands_say() {
    let mut rig = Rig::new();
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", "");
    socket.say(TEXT, br#"{"command":"subscribe","topic":"t","id":1}"#);
    socket.say(
        TEXT,
        br#"{"command":"publish","topic":"t","payload":"hello","id":2}"#,
    );
    rig.settle();
    let mut heard = socket.hear();
    heard.sort();
    assert!(
        heard[0].starts_with(r#"{"event":"$published","id":2,"offset":0,"#),
        "{heard:?}"
    );
    assert!(heard[1].starts_with(r#"{"event":"$subscribed","id":1,"topic":"t","next":0,"#));
    assert!(
        heard[2].starts_with(r#"{"topic":"t","offset":0,"#)
            && heard[2].ends_with(r#""payload":"hello"}"#)
    );
    socket.say(TEXT, b"nonsense");
    socket.say(TEXT, br#"{"command":"unsubscribe","topic":"t"}"#);
    rig.settle();
    let heard = socket.hear();
    assert!(
        heard[0].starts_with(r#"{"event":"$error","error":"bad_request","#),
        "{heard:?}"
    );
    assert_eq!(heard[1], r#"{"event":"$unsubscribed","topic":"t"}"#);
    assert!(rig.session(&socket.client).input().is_none());
}

#[test]
fn a_session_of_a_topic_begins_with_it() {
    let mut rig = Rig::new();
    rig.publish("t", 10, 3);
    let mut socket = Socket::open(&mut rig, "/t/ws?from=offset:1", "");
    let heard = socket.hear();
    assert!(
        heard[0].starts_with(r#"{"event":"$subscribed","topic":"t","next":1,"#),
        "{heard:?}"
    );
    assert_eq!(heard.len(), 3);
    rig.publish("t", 10, 1);
    assert!(socket.hear()[0].starts_with(r#"{"topic":"t","offset":3,"#));
}

#[test]
fn a_message_that_is_too_large_is_sent_as_a_reference() {
    let mut rig = Rig::with(Config {
        record_size_max: 1 << 20,
        ..settings()
    });
    let mut socket = Socket::open(&mut rig, "/t/ws", "");
    rig.publish("t", (256 << 10) + 1, 1);
    let reference = r#"{"event":"$reference","topic":"t","url":"/t/raw?from=offset:0&limit=1","from":0,"to":1}"#;
    assert_eq!(socket.hear().last().map(String::as_str), Some(reference));
}

#[test]
fn objects_go_on_where_the_socket_has_stopped() {
    let mut rig = Rig::new();
    let mut socket = Socket::open(&mut rig, "/t/ws", "");
    assert_eq!(socket.hear().len(), 1);
    for (offset, room) in (0..200).enumerate() {
        socket.client.peer.set_room(room);
        rig.publish("t", 60, 1);
        socket.client.peer.set_room(usize::MAX);
        rig.settle();
        let heard = socket.hear();
        let begin = format!(r#"{{"topic":"t","offset":{offset},"#);
        assert!(
            heard.len() == 1 && heard[0].starts_with(&begin),
            "{heard:?}"
        );
    }
}

#[test]
fn a_line_that_cannot_be_taken_waits_and_its_close_with_it() {
    let mut rig = Rig::with(Config {
        inflight_records_max: 1,
        ..settings()
    });
    let subscriber = rig.subscriber("synced/t");
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", "");
    let line = br#"{"command":"publish","topic":"synced/t","payload":"hello"}"#;
    let said = [
        frame(TEXT, line),
        frame(TEXT, line),
        frame(TEXT, line),
        frame(CLOSE, b""),
    ];
    socket.client.peer.write(&said.concat());
    rig.settle();
    assert_eq!(subscriber.hear().len(), 3);
    assert_eq!(socket.hear(), ["close 1000: "]);
}

#[test]
fn of_many_short_lines_each_is_answered() {
    let mut rig = Rig::new();
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", "");
    for count in (1..40).chain([3_000]) {
        let said: Vec<u8> = (0..count).flat_map(|_| frame(TEXT, b"")).collect();
        socket.client.peer.write(&said);
        let mut heard = 0;
        for _ in 0..50 {
            rig.settle();
            heard += socket.hear().len();
        }
        assert_eq!(heard, count);
    }
    assert!(rig.session(&socket.client).input().is_none());
}

#[test]
fn a_connection_may_ask_other_things_before_it_becomes_a_websocket() {
    let mut rig = Rig::new();
    let client = rig.connect();
    client
        .peer
        .write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 200 OK\r\n"));
    ask(&client, "/api/v1/ws", FRAMES);
    rig.settle();
    let mut socket = Socket::opened(client);
    assert_eq!(rig.metrics().sessions.get(), 0);
    socket.say(BINARY, &hello_bytes());
    rig.settle();
    assert_eq!(socket.hear(), ["welcome"]);
    assert_eq!(rig.metrics().sessions.get(), 1);
}

#[test]
fn nothing_may_come_before_the_answer() {
    let mut rig = Rig::new();
    let client = rig.connect();
    ask(&client, "/api/v1/ws", FRAMES);
    client.peer.write(&frame(BINARY, &hello_bytes()));
    rig.settle();
    assert!(client.peer.read().starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn a_session_without_a_hello_in_time_is_refused() {
    let mut rig = Rig::new();
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", FRAMES);
    for _ in 0..2 {
        rig.pass(10_000);
        rig.settle();
    }
    let heard = socket.hear();
    assert_eq!(heard[0], "goodbye Silent: no hello came in time");
    assert!(heard[1].starts_with("close 4003: "), "{heard:?}");
}

#[test]
fn a_session_that_takes_no_answers_is_not_read_any_further() {
    let mut rig = Rig::new();
    let socket = Socket::join(&mut rig);
    socket.client.peer.stall();
    let pings: Vec<u8> = (0..10_000).flat_map(|_| frame(PING, &[0; 100])).collect();
    socket.client.peer.write(&pings);
    rig.settle();
    let bytes = rig.session(&socket.client).outgoing_bytes();
    assert!((64 << 10..256 << 10).contains(&bytes), "{bytes}");
}

#[test]
fn nothing_is_done_of_a_text_that_turns_out_to_be_invalid() {
    let mut rig = Rig::new();
    let subscriber = rig.subscriber("t");
    let mut socket = Socket::open(&mut rig, "/api/v1/ws", "");
    let line = br#"{"command":"publish","topic":"t","payload":"hello"}"#;
    let said = [frame(TEXT, line), frame(0x01, line), frame(0x80, b"\n\xff")];
    socket.client.peer.write(&said.concat());
    rig.settle();
    assert_eq!(subscriber.hear(), ["t 0"]);
    let heard = socket.hear();
    assert!(heard[0].starts_with("close 1007: "), "{heard:?}");
}

#[test]
fn frames_without_content_keep_no_message_open() {
    for fields in [FRAMES, ""] {
        for dribbled in [frame(0, b""), frame(PING, b"there?")] {
            let mut rig = Rig::new();
            let mut socket = match fields {
                "" => Socket::open(&mut rig, "/api/v1/ws", ""),
                _ => Socket::join(&mut rig),
            };
            let kind = if fields.is_empty() { 0x01 } else { 0x02 };
            socket.say(kind, b"");
            let mut heard = Vec::new();
            for byte in dribbled.iter().cycle().take(15) {
                socket.client.peer.write(&[*byte]);
                rig.settle();
                rig.pass(1_000);
                heard.extend(socket.hear());
            }
            rig.settle();
            heard.extend(socket.hear());
            let end = heard.last().expect("it is closed");
            assert!(end.starts_with("close 4003: the rest"), "{heard:?}");
        }
    }
}

// Signs of life.

const HEARTBEAT_MS: u64 = 45_000;

#[test]
fn every_session_gets_a_ping_at_each_heartbeat_whatever_it_sends() {
    for fields in [FRAMES, ""] {
        let mut rig = Rig::new();
        let mut socket = match fields {
            "" => Socket::open(&mut rig, "/api/v1/ws", ""),
            _ => Socket::join(&mut rig),
        };
        let mut asked = 0;
        for _ in 0..100 {
            rig.pass(5_000);
            socket.say(PONG, b"");
            rig.settle();
            asked += socket.hear().len();
        }
        let most = 100 * 5_000 / HEARTBEAT_MS;
        assert!((most - 2..=most).contains(&(asked as u64)), "{asked}");
    }
}

#[test]
fn a_session_that_answers_no_ping_is_closed() {
    let mut rig = Rig::new();
    let mut socket = Socket::join(&mut rig);
    let mut heard = Vec::new();
    for _ in 0..5 {
        socket.client.peer.set_answered_ms(HEARTBEAT_MS);
        rig.pass(HEARTBEAT_MS + TICK_MS);
        rig.settle();
        heard.extend(socket.hear());
    }
    let end = heard
        .iter()
        .position(|line| line.starts_with("goodbye Silent: "));
    assert!(end.is_some_and(|end| (1..=4).contains(&end)), "{heard:?}");
    assert!(
        heard[..end.unwrap_or_default()]
            .iter()
            .all(|line| line == "asks")
    );
}

/// As a stream has: it costs no memory, and a Ping would lie behind what it has not read.
#[test]
fn a_session_that_takes_nothing_has_two_usual_heartbeats() {
    let usual_ms = u64::from(settings().heartbeat_ms);
    assert!(usual_ms > 2 * HEARTBEAT_MS);
    for fields in [FRAMES, ""] {
        let mut rig = Rig::new();
        let socket = match fields {
            "" => Socket::open(&mut rig, "/t/ws", ""),
            _ => Socket::subscriber(&mut rig, "t", Start::Latest),
        };
        socket.client.peer.stall();
        rig.publish("t", 100, 1);
        let mut lived_ms = 0;
        while socket.client.peer.how_it_ended() == End::Open && lived_ms < 10 * usual_ms {
            socket.client.peer.set_answered_ms(lived_ms);
            rig.pass(5_000);
            rig.settle();
            lived_ms += 5_000;
        }
        let bounds = 2 * usual_ms..2 * usual_ms + 3 * HEARTBEAT_MS;
        assert!(bounds.contains(&lived_ms), "{lived_ms}");
    }
}
