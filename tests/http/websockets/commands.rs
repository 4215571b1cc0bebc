//! Texts that are no command: each is answered with an error, and the session goes on.

use serde_json::{Value, json};
use testkit::websocket::{FIN, PATH, PING, TEXT, WebSocket, frame};

use super::{Site, Spoken};

const NONSENSE: &[&str] = &[
    "",
    " ",
    "\n",
    "\r\n\r\n",
    "\0",
    "x",
    "{",
    "}",
    "{}",
    "[]",
    "null",
    "true",
    "1",
    "-",
    "\"ping\"",
    "[{\"command\":\"ping\"}]",
    "{\"command\":\"ping\"",
    "{\"command\":\"ping\"}}",
    "{\"command\":\"ping\"}{\"command\":\"ping\"}",
    "{\"command\":\"ping\"}\n{\"command\":\"ping\"}",
    "{'command':'ping'}",
    "{\"command\":\"ping\",}",
    "{command:\"ping\"}",
    "{\"command\":\"ping\",\"command\":\"ping\"}",
    "{\"command\":\"ping\",\"id\":1,\"id\":2}",
    "{\"command\":\"PING\"}",
    "{\"command\":\"\"}",
    "{\"command\":null}",
    "{\"command\":1}",
    "{\"command\":[\"ping\"]}",
    "{\"Command\":\"ping\"}",
    "{\"command\":\"ping\",\"more\":1}",
    "{\"command\":\"ping\",\"id\":0}",
    "{\"command\":\"ping\",\"id\":-1}",
    "{\"command\":\"ping\",\"id\":1.5}",
    "{\"command\":\"ping\",\"id\":1e3}",
    "{\"command\":\"ping\",\"id\":4294967296}",
    "{\"command\":\"ping\",\"id\":\"1\"}",
    "{\"command\":\"ping\",\"id\":99999999999999999999999999}",
    "{\"command\":\"\\ud800\"}",
    "{\"command\":\"\\u00zz\"}",
    "\u{feff}{\"command\":\"ping\"}",
    "{\"command\":\"subscribe\"}",
    "{\"command\":\"subscribe\",\"topic\":null}",
    "{\"command\":\"subscribe\",\"topic\":\"\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a+\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\\u0000b\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"from\":\"now\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"from\":\"offset:-1\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"from\":\"offset:18446744073709551616\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"from\":0}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"epoch\":\"\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"epoch\":\"xyz\"}",
    "{\"command\":\"subscribe\",\"topic\":\"a\",\"epoch\":1}",
    "{\"command\":\"unsubscribe\"}",
    "{\"command\":\"unsubscribe\",\"topic\":\"never\"}",
    "{\"command\":\"publish\",\"topic\":\"a\"}",
    "{\"command\":\"publish\",\"payload\":\"a\"}",
    "{\"command\":\"publish\",\"topic\":\"$oyez/a\",\"payload\":\"a\"}",
    "{\"command\":\"publish\",\"topic\":\"a/ws\",\"payload\":\"a\"}",
    "{\"command\":\"publish\",\"topic\":\"api/a\",\"payload\":\"a\"}",
    "{\"command\":\"publish\",\"topic\":\"a\",\"payload\":1}",
    "{\"command\":\"publish\",\"topic\":\"a\",\"payload\":\"a\",\"payload_base64\":\"YQ==\"}",
    "{\"command\":\"publish\",\"topic\":\"a\",\"payload_base64\":\"!\"}",
    "{\"command\":\"publish\",\"topic\":\"a\",\"payload\":\"a\",\"headers\":[]}",
    "{\"command\":\"publish\",\"topic\":\"a\",\"payload\":\"a\",\"headers\":{\"x\":1}}",
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "<a/>",
];

/// Asks for a sign of life.
fn lives(socket: &mut WebSocket, id: u32) {
    socket.command(&json!({ "command": "ping", "id": id }));
    assert_eq!(socket.event(), json!({ "event": "$pong", "id": id }));
}

#[test]
fn a_text_that_is_no_command_is_answered_with_an_error_and_the_session_goes_on() {
    let mut site = Site::new();
    let mut socket = WebSocket::json(site.broker.address(), PATH);
    for (number, text) in (1..).zip(NONSENSE) {
        for cut in [0, text.len() / 2] {
            let (first, second) = text.as_bytes().split_at(cut);
            let says = [
                frame(TEXT & !FIN, first),
                frame(PING, b""),
                frame(FIN, second),
            ];
            socket.send(says.concat());
            // A Pong, and an error, in any order.
            let mut heard = [socket.answering(), socket.answering()].map(|message| {
                let message = message.expect("the session goes on");
                format!("{message:?}")
            });
            heard.sort();
            assert_eq!(heard[0], "Pong([])", "{text:?}: {heard:?}");
            assert!(heard[1].contains("$error"), "{text:?}: {heard:?}");
            lives(&mut socket, number);
        }
    }
    site.goes_on();
    crate::assert_is_empty(&site.broker, "/a");
    site.has_not_grown();
}

#[test]
fn what_is_nested_deeply_is_no_command_and_costs_nothing() {
    let mut site = Site::new();
    let mut socket = WebSocket::json(site.broker.address(), PATH);
    let brackets = "[".repeat(1 << 20);
    let objects = "{\"command\":".repeat(100_000);
    for text in [
        brackets,
        objects,
        "\"\\u".repeat(300_000),
        " ".repeat(1 << 20),
    ] {
        socket.say(TEXT, text.as_bytes());
        let error = socket.event();
        assert_eq!(
            (&error["event"], &error["error"]),
            (&json!("$error"), &json!("bad_request"))
        );
        let message = error["message"].as_str().expect("a sentence");
        assert!(message.len() < 500, "{message}");
        lives(&mut socket, 1);
    }
    site.goes_on();
    site.has_not_grown();
}

/// Thousands at once: the last of them is a single byte.
#[test]
fn every_text_of_thousands_at_once_is_answered() {
    let mut site = Site::new();
    let mut socket = Spoken::Json.open(&site.broker);
    const TEXTS: usize = 20_000;
    let texts: Vec<u8> = (0..TEXTS).flat_map(|_| frame(TEXT, b"")).collect();
    std::thread::scope(|scope| {
        let mut writer = socket
            .connection()
            .stream()
            .try_clone()
            .expect("a descriptor");
        scope.spawn(move || std::io::Write::write_all(&mut writer, &texts).expect("it is read"));
        for number in 0..TEXTS {
            let error: Value = socket.event();
            assert_eq!(error["event"], "$error", "{number}");
        }
    });
    lives(&mut socket, 1);
    site.goes_on();
    site.has_not_grown();
}
