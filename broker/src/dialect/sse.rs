//! Server-sent events: records as events of a browser's `EventSource`.
//!
//! A message is an event without a name: `id`, which is a resume token behind it, and `data`. Text is split where lines
//! end; a payload that is not text is an event `$binary` in base64. With `encoding=base64` all payloads are base64, and no
//! event is `$binary`.
//! Keys and headers are not sent. The names of events of the stream itself begin with `$`, as no topic may:
//!
//! | event | data |
//! |---|---|
//! | `$gap` | `{"cause","from","to"}`: messages that will not come, from the first to before the last |
//! | `$epoch` | `{"epoch","from"}`: the history that the stream began in is over; it goes on with the oldest message kept |
//! | `$reference` | `{"url","from","to"}`: messages too large for a stream, and where they can be read |
//! | `$place` | `{}`: only its `id` counts |
//!
//! Each of them has an `id` behind what it reports. A stream begins with a `$place`, unless another of these events begins it, so
//! that a stream that ends before its first message is resumed where it began. `$place` has data, because some clients skip events
//! without.
//!
//! In a stream of several topics a message is a JSON object ([`lines`]), and `$gap`, `$epoch` and `$reference` have a member
//! `topic`. None of them has an `id`: that is a resume token of all the topics, which comes with a `$place` now and then. A client
//! that resumes gets again what came behind the last `$place`; by topic and offset it knows what it has had.
//!
//! The bytes of a record's events are a function of the record, its epoch and the stream's options: they do not depend on the
//! subscriber.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::Record;
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};
use serde::Serialize;

use crate::dialect::form::{Form, Kind, Part, Style};
use crate::dialect::lines;

/// Messages of a larger record are not sent: a reference names where they can be read.
pub(crate) const RAW_SIZE_MAX: u32 = 256 << 10;
/// When a browser comes back after its stream has ended, unless the broker asks for another time, in milliseconds.
const RETRY_MS: u32 = 2_000;
/// A browser waits as long before each attempt that follows, also while the broker is away: the time that the broker asks for is
/// added to this.
const RETRY_LEAST_MS: u32 = 500;
/// The name of an event that holds only an id.
pub(crate) const PLACE: &str = "$place";

/// Data without members.
#[derive(Serialize)]
pub(crate) struct NoData {}

#[derive(Serialize)]
struct ReferenceData<'a> {
    /// In streams of several topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    url: &'a str,
    from: u64,
    to: u64,
}

/// Adds the event of a message.
pub(crate) fn write_message(
    (offset, epoch): (Offset, Epoch),
    payload: &[u8],
    style: Style,
    out: &mut Vec<u8>,
) {
    write_id(epoch, offset.plus(1), out);
    write_payload(payload, style, out);
}

/// Adds the event of a message to a stream of several topics.
pub(crate) fn write_row(
    place: (&str, u64, u64),
    message: &MessageRef<'_>,
    style: Style,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"data: ");
    lines::write_message(place, message, style, out);
    out.push(b'\n');
}

/// Adds the rest of an event, which is its payload.
pub(crate) fn write_payload(payload: &[u8], style: Style, out: &mut Vec<u8>) {
    match std::str::from_utf8(payload) {
        Ok(text) if !style.is_base64() => write_text(text, out),
        result => {
            if result.is_err() && !style.is_base64() {
                out.extend_from_slice(b"event: $binary\n");
            }
            out.extend_from_slice(b"data: ");
            write_encoded(&STANDARD, payload, out);
            out.extend_from_slice(b"\n\n");
        }
    }
}

/// Adds the token of the next message of the only topic.
fn write_id(epoch: Epoch, next: Offset, out: &mut Vec<u8>) {
    let place = Place {
        name: "",
        epoch,
        next: Numbered::Offset(next),
    };
    write_token(&[place], out);
}

fn write_token(places: &[Place<'_>], out: &mut Vec<u8>) {
    let mut token = Vec::with_capacity(32);
    Token::encode(places, &mut token);
    out.extend_from_slice(b"id: ");
    write_encoded(&URL_SAFE_NO_PAD, &token, out);
    out.push(b'\n');
}

fn write_encoded(engine: &impl Engine, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let size = base64::encoded_len(bytes.len(), true).expect("payloads are short");
    out.resize(start + size, 0);
    let written = engine.encode_slice(bytes, &mut out[start..]);
    out.truncate(start + written.expect("there is room for all of it"));
}

/// Adds a line of data for each line of text; to a browser all three line ends are one.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(end) = rest.find(['\r', '\n']) else {
            out.extend_from_slice(rest.as_bytes());
            break;
        };
        out.extend_from_slice(&rest.as_bytes()[..end]);
        out.push(b'\n');
        let after = &rest[end..];
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
    out.extend_from_slice(b"\n\n");
}

/// Adds an event by its name, with the token of the place behind what it reports.
pub(crate) fn write_event(
    name: &str,
    (epoch, next): (Epoch, Offset),
    data: &impl Serialize,
    out: &mut Vec<u8>,
) {
    write_id(epoch, next, out);
    write_named(name, data, out);
}

/// Adds an event by its name.
pub(crate) fn write_named(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_string(data).expect("text and numbers are JSON");
    write(out, format_args!("event: {name}\ndata: {json}\n\n"));
}

/// Adds the beginning of every stream: when to come back, and the token of where it begins. An event has to follow.
pub(crate) fn write_begin(epoch: Epoch, next: Offset, out: &mut Vec<u8>) {
    write_patience(out);
    write_id(epoch, next, out);
}

/// Adds when to come back. An event has to follow.
pub(crate) fn write_patience(out: &mut Vec<u8>) {
    write(out, format_args!("retry: {RETRY_MS}\n"));
}

/// Adds where a stream of several topics stands.
pub(crate) fn write_places(places: &[Place<'_>], out: &mut Vec<u8>) {
    write_token(places, out);
    write_named(PLACE, &NoData {}, out);
}

/// Adds when to come back, after the time that the broker asks for.
pub(crate) fn write_retry(asked_ms: u32, out: &mut Vec<u8>) {
    let retry_ms = asked_ms.saturating_add(RETRY_LEAST_MS);
    write(out, format_args!("retry: {retry_ms}\n\n"));
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing into memory cannot fail");
}

/// Adds a reference to where the messages of a record can be read.
pub(crate) fn refer(
    record: &Record<'_>,
    epoch: Epoch,
    (part, form): (Part, Form),
    out: &mut Vec<u8>,
) {
    let style = form.style;
    let is_topic_told = style.is_of_several() || style.is_framed();
    let (from, count) = (
        record.offset().plus(part.first.into()),
        part.end - part.first,
    );
    let to = from.plus(count.into());
    let mut url = "/".to_owned();
    escape(record.topic(), &mut url);
    url += &format!("/raw?from=offset:{from}&limit={count}");
    let reference = ReferenceData {
        topic: is_topic_told.then_some(record.topic()),
        url: &url,
        from: from.get(),
        to: to.get(),
    };
    match form.kind {
        Kind::Lines => return lines::write_event("$reference", &reference, style, out),
        _ if !style.is_of_several() => write_id(epoch, to, out),
        _ => {}
    }
    write_named("$reference", &reference, out);
}

/// Adds a topic as the path that names it. Clients would take empty levels for another host, or leave them or levels of dots out:
/// the slash beside such a level is escaped, so that it does not begin a level of the path.
fn escape(topic: &str, out: &mut String) {
    let is_plain = |level: &str| !matches!(level, "" | "." | "..");
    let mut last: Option<&str> = None;
    for level in topic.split('/') {
        match last {
            Some(last) if is_plain(last) && is_plain(level) => out.push('/'),
            Some(_) => *out += "%2F",
            None => {}
        }
        for byte in level.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte));
                }
                byte => *out += &format!("%{byte:02X}"),
            }
        }
        last = Some(level);
    }
}

#[cfg(test)]
mod tests;
