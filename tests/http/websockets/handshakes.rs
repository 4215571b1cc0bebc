//! Requests that do not become a WebSocket.

use testkit::http::{Connection, End, ask};
use testkit::record::hello;
use testkit::websocket::{BINARY, FRAMES, KEY, PATH, frame, handshake, handshake_fields};

use super::Site;

/// A handshake of whose head a line is another one.
fn but(line: &str, other: &str) -> String {
    let request = handshake(PATH, "");
    assert!(request.contains(line), "{line}");
    request.replacen(line, other, 1)
}

/// Requests that ask for what is no WebSocket.
fn wrong_targets() -> Vec<(String, u16)> {
    let fields = handshake_fields();
    let by = |method: &str, target: &str| ask(method, target, &fields, "");
    vec![
        (by("POST", "/a/ws"), 405),
        (by("PUT", "/a/ws"), 405),
        (by("HEAD", PATH), 405),
        (by("DELETE", PATH), 405),
        (by("BREW", PATH), 501),
        (by("POST", PATH), 404),
        (by("GET", "/ws"), 404),
        (by("GET", "/api/v2/ws"), 404),
        (by("GET", "/metrics/ws"), 404),
        (by("GET", "/a%2/ws"), 400),
        (by("GET", "/a%00b/ws"), 400),
        (by("GET", "/a/ws?from=now"), 400),
        (by("GET", "/a/ws?epoch=xyz"), 400),
        (by("GET", "/api/v1/ws?topic=a"), 400),
        (handshake("/a/ws", FRAMES), 400),
    ]
}

/// Requests that ask in a way that is none.
fn wrong_fields() -> Vec<(String, u16)> {
    let with = |more: &str| handshake(PATH, more);
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    vec![
        (but(" HTTP/1.1", " HTTP/1.0"), 426),
        (but(" HTTP/1.1", " HTTP/2.0"), 505),
        (but("Upgrade: websocket\r\n", ""), 426),
        (but("Upgrade: websocket", "Upgrade: h2c"), 426),
        (but("Upgrade: websocket", "Upgrade: websockets"), 426),
        (but("Connection: Upgrade\r\n", ""), 426),
        (but("Connection: Upgrade", "Connection: close"), 426),
        (but("Sec-WebSocket-Version: 13\r\n", ""), 426),
        (but("Version: 13", "Version: 8"), 426),
        (but("Version: 13", "Version: 013"), 426),
        (but("Version: 13", "Version: 13, 8"), 426),
        (with("Sec-WebSocket-Version: 13\r\n"), 426),
        (but(&key, ""), 400),
        (but(KEY, ""), 400),
        (but(KEY, "dGhlIHNhbXBsZSBub25jZQ"), 400),
        (but(KEY, "dGhlIHNhbXBsZSBub25jZSE="), 400),
        (but(KEY, "!!!!!!!!!!!!!!!!!!!!!!!!"), 400),
        (but(KEY, &"A".repeat(2_000)), 400),
        (with(&key), 400),
        (with("Sec-WebSocket-Protocol: oyez.v1\r\n"), 400),
        (with("Sec-WebSocket-Protocol: mqtt, xoyez.v2\r\n"), 400),
        (with("Origin: https://evil.example\r\n"), 403),
        (with("Origin: null\r\n"), 403),
        (with("Origin: http://localhost.evil.example\r\n"), 403),
        (but("Host: localhost", "Host: evil.example"), 421),
        (but("Host: localhost\r\n", ""), 400),
        (with("Host: localhost\r\n"), 400),
        (with("Content-Length: 5\r\n") + "hello", 400),
        (
            with("Content-Length: 1\r\nContent-Length: 2\r\n") + "a",
            400,
        ),
        (with("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        (
            with("Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\n\r\n",
            400,
        ),
        (with(&"X: y\r\n".repeat(100)), 431),
        (with("X: y\n z\r\n"), 400),
    ]
}

#[test]
fn what_is_no_handshake_is_answered_with_a_status_and_becomes_no_websocket() {
    let mut site = Site::new();
    let mut wrong = Vec::new();
    for (request, status) in [wrong_targets(), wrong_fields()].concat() {
        let mut connection = Connection::open(site.broker.address());
        connection.send(&request);
        let answer = connection.answer_to_head();
        if answer.status != status {
            wrong.push(format!("{} and not {status}: {request}", answer.status));
            continue;
        }
        assert_eq!(answer.field("sec-websocket-accept"), None);
        let names_version = answer.field("sec-websocket-version") == Some("13");
        assert!(status != 426 || names_version, "{request}: {answer:?}");
        site.goes_on();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.has_not_grown();
}

/// A proxy may take what follows for the next request.
#[test]
fn bytes_before_the_answer_are_refused_and_never_taken() {
    let mut site = Site::new();
    let smuggled = "POST /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na";
    let hello = frame(BINARY, &hello(2, 2));
    for (fields, early) in [
        (FRAMES, &hello[..]),
        (FRAMES, smuggled.as_bytes()),
        ("", smuggled.as_bytes()),
        ("", b"\x81"),
    ] {
        let mut connection = Connection::open(site.broker.address());
        connection.send([handshake(PATH, fields).as_bytes(), early].concat());
        let answer = connection.answer();
        assert!(answer.status == 400 && answer.closes(), "{answer:?}");
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
        site.goes_on();
    }
    crate::assert_is_empty(&site.broker, "/smuggled");
    site.has_not_grown();
}
