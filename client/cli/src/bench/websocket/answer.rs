//! What a broker sends to a subscriber, for a bare server that sends the same, and for tests.

use super::frame::{Opcode, header};
use super::handshake::ACCEPT;
use super::json::member;
use crate::bench::sse::token::Next;

/// A time with as many digits as those of today.
const TIME_MS: u64 = 1_000_000_000_000;

/// Appends what begins a session, under a subprotocol if there is one.
pub fn head(subprotocol: Option<&str>, out: &mut Vec<u8>) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}"
    );
    out.extend_from_slice(head.as_bytes());
    if let Some(name) = subprotocol {
        out.extend_from_slice(format!("\r\nSec-WebSocket-Protocol: {name}").as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends that a subscription in JSON begins here.
pub fn subscribed(topic: &str, next: Next, out: &mut Vec<u8>) {
    let Next { epoch, offset } = next;
    let topic = serde_json::Value::from(topic);
    let text = format!(
        "{{\"event\":\"$subscribed\",\"topic\":{topic},\"next\":{offset},\"earliest\":0,\"head\":{offset},\"epoch\":\"{epoch:016x}\"}}"
    );
    message(Opcode::Text, text.as_bytes(), out);
}

/// Appends a record's messages in JSON; `first` is the place of its first message.
pub fn record<'a>(
    topic: &str,
    first: u64,
    payloads: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    let topic = serde_json::Value::from(topic);
    for (offset, payload) in (first..).zip(payloads) {
        let text = format!(
            "{{\"topic\":{topic},\"offset\":{offset},\"timestamp_ms\":{TIME_MS},{}}}",
            member(payload)
        );
        message(Opcode::Text, text.as_bytes(), out);
    }
}

/// Appends a whole message.
pub fn message(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.extend(header(opcode, payload.len()));
    out.extend_from_slice(payload);
}
