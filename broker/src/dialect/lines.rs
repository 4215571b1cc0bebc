//! Messages as JSON, one object per line, as `oyez sub -o json` prints them: `topic`, `offset`, `timestamp_ms`, `key`, `headers`,
//! `payload`. A key, a header or a payload that is not text comes as `key_base64`, `value_base64`, `payload_base64`.
//!
//! Events of the stream itself have a member `event`, which no message has, with the names of [`crate::dialect::sse`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::message::MessageRef;
use serde::Serialize;

use crate::dialect::form::Style;
use crate::dialect::run::{Opcode, in_frame};

/// A message.
#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    offset: u64,
    timestamp_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// An event of the stream itself.
#[derive(Serialize)]
struct Event<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    data: T,
}

fn text_or_base64(bytes: &[u8], base64: bool) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !base64 => (Some(text), None),
        _ => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Adds a message.
pub(crate) fn write_message(
    (topic, offset, timestamp_ms): (&str, u64, u64),
    message: &MessageRef<'_>,
    style: Style,
    out: &mut Vec<u8>,
) {
    let (payload, payload_base64) = text_or_base64(message.payload, style.is_base64());
    let (key, key_base64) = match message.key {
        Some(key) => text_or_base64(key, false),
        None => (None, None),
    };
    let headers = message.headers.map(|(name, value)| {
        let (value, value_base64) = text_or_base64(value, false);
        Header {
            name: String::from_utf8_lossy(name),
            value,
            value_base64,
        }
    });
    let row = Row {
        topic,
        offset,
        timestamp_ms,
        key,
        key_base64,
        headers: headers.collect(),
        payload,
        payload_base64,
    };
    write_line(&row, style, out);
}

/// Adds an event of the stream itself.
pub(crate) fn write_event(event: &str, data: &impl Serialize, style: Style, out: &mut Vec<u8>) {
    write_line(&Event { event, data }, style, out);
}

/// Adds a line, or a message of WebSocket.
fn write_line(row: &impl Serialize, style: Style, out: &mut Vec<u8>) {
    let write = |out: &mut Vec<u8>| {
        serde_json::to_writer(out, row).expect("texts and numbers are JSON");
    };
    if style.is_framed() {
        return in_frame(Opcode::Text, out, write);
    }
    write(out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use oyez_protocol::message::{Headers, write_headers};

    use super::*;

    fn written(message: &MessageRef<'_>, style: Style) -> String {
        let mut out = Vec::new();
        write_message(("a/b", 7, 1_234), message, style, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_message_is_a_line() {
        let begin = "{\"topic\":\"a/b\",\"offset\":7,\"timestamp_ms\":1234";
        let line = written(&MessageRef::new(b"one\ntwo"), Style::default());
        assert_eq!(line, format!("{begin},\"payload\":\"one\\ntwo\"}}\n"));
        let line = written(&MessageRef::new(&[0xff]), Style::default());
        assert_eq!(line, format!("{begin},\"payload_base64\":\"/w==\"}}\n"));
        let line = written(&MessageRef::new(b"a"), Style::BASE64);
        assert_eq!(line, format!("{begin},\"payload_base64\":\"YQ==\"}}\n"));
        let mut headers = Vec::new();
        write_headers(&[(b"color", b"red"), (b"bits", &[0xff])], &mut headers);
        let message = MessageRef {
            key: Some(b"k"),
            headers: Headers::parse(&headers).expect("headers"),
            payload: b"",
        };
        let told = "[{\"name\":\"color\",\"value\":\"red\"},{\"name\":\"bits\",\"value_base64\":\"/w==\"}]";
        let line = written(&message, Style::default());
        assert_eq!(
            line,
            format!("{begin},\"key\":\"k\",\"headers\":{told},\"payload\":\"\"}}\n")
        );
    }

    #[test]
    fn an_event_of_the_stream_itself_is_a_line_with_its_name() {
        let mut out = Vec::new();
        let data = serde_json::json!({"from": 1, "to": 2});
        write_event("$gap", &data, Style::default(), &mut out);
        assert_eq!(out, b"{\"event\":\"$gap\",\"from\":1,\"to\":2}\n");
    }
}
