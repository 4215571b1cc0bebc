use super::*;
use crate::dialect::command::{Command, DecodeProgress};
use crate::dialect::http::tests::rules;
use crate::dialect::http::{Commands, Front, decode};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const FIELDS: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    KEY,
];

/// The result of a handshake: what the messages hold and the session's first command, or a status.
fn asked(first: &str, fields: &[&str]) -> String {
    let mut request = format!("{first} HTTP/1.1\r\nHost: localhost\r\n");
    for field in fields {
        request += field;
        request += "\r\n";
    }
    request += "\r\n";
    let (mut scratch, mut progress) = (Scratch::default(), DecodeProgress::default());
    let means = (&rules(), false);
    match decode(request.as_bytes(), &mut progress, means, None, &mut scratch) {
        Front::Upgrade {
            upgrade,
            says,
            size,
        } => {
            assert_eq!(upgrade.accept, *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            assert_eq!(size, request.len());
            format!("{:?} {}", upgrade.dialect, says.escape_ascii())
        }
        Front::Request {
            commands: Commands::One(Command::Refuse(refusal)),
            ..
        } => refusal.status.code.to_string(),
        other => panic!("{other:?}"),
    }
}

fn with(field: &'static str) -> Vec<&'static str> {
    [&FIELDS[..], &[field]].concat()
}

/// The fields of a handshake, of which number `index` is replaced, or left out.
fn but(index: usize, field: &'static str) -> Vec<&'static str> {
    let mut fields = FIELDS.to_vec();
    fields[index] = field;
    fields.retain(|field| !field.is_empty());
    fields
}

#[test]
fn a_handshake_says_what_messages_hold() {
    let any = "GET /api/v1/ws";
    assert_eq!(asked(any, &FIELDS), "Json ");
    for protocols in [
        "Sec-WebSocket-Protocol: oyez.v2",
        "Sec-WebSocket-Protocol: bearer.token,oyez.v2",
        "sec-websocket-protocol: v9.mqtt , oyez.v2 , x",
    ] {
        assert_eq!(asked(any, &with(protocols)), "WebSocket ");
    }
    let two = [
        "Sec-WebSocket-Protocol: a",
        "Sec-WebSocket-Protocol: oyez.v2",
    ];
    assert_eq!(asked(any, &[&FIELDS[..], &two].concat()), "WebSocket ");
    assert_eq!(asked(any, &with("Sec-WebSocket-Protocol: oyez.v3")), "400");
    // Proxies and browsers say it in many ways.
    assert_eq!(asked(any, &but(0, "upgrade: h2c, WebSocket")), "Json ");
    assert_eq!(
        asked(any, &but(1, "Connection: keep-alive, upgrade")),
        "Json "
    );
    assert_eq!(
        asked(any, &with("Sec-WebSocket-Extensions: permessage-deflate")),
        "Json "
    );
    assert_eq!(
        asked(any, &with("Origin: https://app.example.com")),
        "Json "
    );
}

#[test]
fn a_path_of_a_topic_asks_for_it() {
    for (first, line) in [
        ("GET /a/b/ws", r#"{"command":"subscribe","topic":"a/b"}"#),
        (
            "GET /a%20b/ws?from=earliest",
            r#"{"command":"subscribe","topic":"a b","from":"earliest"}"#,
        ),
        (
            "GET /a/ws?from=offset:7&epoch=00ff",
            r#"{"command":"subscribe","topic":"a","from":"offset:7","epoch":"00ff"}"#,
        ),
    ] {
        let expected = format!("Json {}", [line, "\n"].concat().escape_default());
        let expected = expected.replace("\\'", "'");
        assert_eq!(asked(first, &FIELDS), expected);
    }
}

#[test]
fn a_malformed_handshake_is_refused() {
    let any = "GET /api/v1/ws";
    for (first, fields, status) in [
        (any, but(0, ""), "426"),
        (any, but(0, "Upgrade: h2c"), "426"),
        (any, but(1, ""), "426"),
        (any, but(1, "Connection: close"), "426"),
        (any, but(2, ""), "426"),
        (any, but(2, "Sec-WebSocket-Version: 8"), "426"),
        (any, with("Sec-WebSocket-Version: 13"), "426"),
        (any, but(3, ""), "400"),
        (any, but(3, "Sec-WebSocket-Key: short"), "400"),
        (
            any,
            but(3, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!"),
            "400",
        ),
        (any, with(KEY), "400"),
        (any, with("Origin: https://evil.example"), "403"),
        (any, with("Origin: null"), "403"),
        ("GET /api/v1/ws?x=1", FIELDS.to_vec(), "400"),
        ("GET /a/ws?from=now", FIELDS.to_vec(), "400"),
        ("GET /a/ws?epoch=+1", FIELDS.to_vec(), "400"),
        ("GET /a/ws?limit=1", FIELDS.to_vec(), "400"),
        ("GET /a%2/ws", FIELDS.to_vec(), "400"),
        ("GET /a/ws?epoch=1", FIELDS.to_vec(), "400"),
        ("GET /$a/ws", FIELDS.to_vec(), "403"),
        ("GET /api/v2/ws", FIELDS.to_vec(), "404"),
        ("GET /metrics/ws", FIELDS.to_vec(), "404"),
        ("HEAD /api/v1/ws", FIELDS.to_vec(), "405"),
        ("POST /a/ws", FIELDS.to_vec(), "405"),
        ("GET /a/ws", with("Sec-WebSocket-Protocol: oyez.v2"), "400"),
        ("GET /ws", FIELDS.to_vec(), "404"),
    ] {
        assert_eq!(asked(first, &fields), status, "{first} {fields:?}");
    }
    // A body is waited for, and then refused.
    assert_eq!(asked(any, &with("Content-Length: 0")), "Json ");
}
