//! Server-sent events: records as events of a browser's `EventSource`.
//!
//! A message is an event without a name: `id`, which is a resume token behind it, and `data`. Text is split where lines
//! end; a payload that is no text is an event `$binary` in base64. With `encoding=base64` all payloads are base64, and no
//! event is `$binary`.
//! Keys and headers are not told. What a stream says of itself begins with `$`, as no topic may:
//!
//! | event | data |
//! |---|---|
//! | `$gap` | `{"cause","from","to"}`: messages that will not come, from the first to before the last |
//! | `$epoch` | `{"epoch","from"}`: the history that the stream began in is over; it goes on with the oldest message kept |
//! | `$reference` | `{"url","from","to"}`: messages too large for a stream, and where they can be read |
//!
//! Each of them has an `id` behind what it tells of. A block of an `id` alone begins a stream, so that one that ends before its first message is resumed
//! where it began.
//!
//! The bytes of a record's events are a function of the record, its epoch and the stream's options: nothing of a subscriber is in
//! them.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::error::BlockError;
use oyez_protocol::event::GapCause;
use oyez_protocol::lz4;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};
use serde::Serialize;

use crate::dialect::command::{Goodbye, Reply, Subscribed};
use crate::dialect::form::Events;

/// A record whose messages take more is told by where it can be read.
pub(crate) const RAW_SIZE_MAX: u32 = 256 << 10;
/// When a browser comes back after its stream has ended, unless it was told otherwise, in milliseconds.
const RETRY_MS: u32 = 2_000;
/// The line that begins a chunk has room for that many digits.
const CHUNK_DIGITS: usize = 8;

/// Memory that events are made in, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Renderer {
    codec: lz4::Scratch,
}

#[derive(Serialize)]
struct GapData {
    cause: &'static str,
    from: u64,
    to: u64,
}

#[derive(Serialize)]
struct EpochData {
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
    from: u64,
}

#[derive(Serialize)]
struct ReferenceData<'a> {
    url: &'a str,
    from: u64,
    to: u64,
}

impl Renderer {
    /// Adds the events of a record, which was verified, to `out`.
    ///
    /// # Errors
    /// When its block is none.
    pub(crate) fn render(
        &mut self,
        record: &Record<'_>,
        epoch: Epoch,
        events: Events,
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        let begin = begin_chunk(events, out);
        if record.raw_size() > RAW_SIZE_MAX {
            refer(record, epoch, out);
        } else {
            let raw = self.codec.open(record)?;
            let mut next = record.offset();
            for message in Messages::new(raw, record.count()) {
                next = next.plus(1);
                write_id(epoch, next, out);
                write_payload(message?.payload, events, out);
            }
        }
        end_chunk(begin, out);
        Ok(())
    }
}

/// Leaves room for the line that begins a chunk. Gives where the chunk begins; `None` where there are no chunks.
fn begin_chunk(events: Events, out: &mut Vec<u8>) -> Option<usize> {
    events.chunked.then(|| {
        out.extend_from_slice(&[b'0'; CHUNK_DIGITS]);
        out.extend_from_slice(b"\r\n");
        out.len()
    })
}

fn end_chunk(begin: Option<usize>, out: &mut Vec<u8>) {
    let Some(begin) = begin else {
        return;
    };
    let line = begin - CHUNK_DIGITS - 2;
    let digits = format!("{:0CHUNK_DIGITS$x}", out.len() - begin);
    out[line..line + CHUNK_DIGITS].copy_from_slice(digits.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The token of what comes next in a topic that the request names.
fn write_id(epoch: Epoch, next: Offset, out: &mut Vec<u8>) {
    let place = Place {
        name: "",
        epoch,
        next: Numbered::Offset(next),
    };
    let mut token = Vec::with_capacity(32);
    Token::encode(&[place], &mut token);
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

fn write_payload(payload: &[u8], events: Events, out: &mut Vec<u8>) {
    match std::str::from_utf8(payload) {
        Ok(text) if !events.base64 => write_text(text, out),
        result => {
            if result.is_err() && !events.base64 {
                out.extend_from_slice(b"event: $binary\n");
            }
            out.extend_from_slice(b"data: ");
            write_encoded(&STANDARD, payload, out);
            out.extend_from_slice(b"\n\n");
        }
    }
}

/// A line of data for each line of text; all three ways to end a line are one to a browser.
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

fn write_event(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_string(data).expect("text and numbers are JSON");
    write(out, format_args!("event: {name}\ndata: {json}\n\n"));
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing into memory cannot fail");
}

/// Tells where the messages of a record can be read.
fn refer(record: &Record<'_>, epoch: Epoch, out: &mut Vec<u8>) {
    let (from, count) = (record.offset(), u64::from(record.count()));
    let to = from.plus(count);
    let mut url = "/".to_owned();
    escape(record.topic(), &mut url);
    url += &format!("/raw?from=offset:{from}&limit={count}");
    write_id(epoch, to, out);
    let reference = ReferenceData {
        url: &url,
        from: from.get(),
        to: to.get(),
    };
    write_event("$reference", &reference, out);
}

/// Adds a topic as the path that names it.
fn escape(topic: &str, out: &mut String) {
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            byte => *out += &format!("%{byte:02X}"),
        }
    }
}

/// Adds what a stream begins with, behind the head of the response.
pub(crate) fn begin(events: Events, subscribed: &Subscribed, out: &mut Vec<u8>) {
    let begin = begin_chunk(events, out);
    write(out, format_args!("retry: {RETRY_MS}\n"));
    write_id(subscribed.epoch, subscribed.next, out);
    let (epoch, from) = (subscribed.epoch, subscribed.next.get());
    if subscribed.epoch_changed {
        let epoch = format!("{:016x}", epoch.get());
        write_event("$epoch", &EpochData { epoch, from }, out);
    } else if subscribed.dropped {
        let cause = cause(GapCause::Retention);
        let (from, to) = (subscribed.asked.get(), from);
        write_event("$gap", &GapData { cause, from, to }, out);
    } else {
        out.push(b'\n');
    }
    end_chunk(begin, out);
}

/// Whether there is an event for `reply`.
pub(crate) const fn tells(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Gap { .. } | Reply::Ping { .. })
}

/// Adds what a stream's client is told beside records.
pub(crate) fn tell(events: Events, reply: &Reply<'_>, out: &mut Vec<u8>) {
    match reply {
        Reply::Gap {
            cause: why,
            from,
            to,
            epoch,
            ..
        } => {
            let begin = begin_chunk(events, out);
            write_id(*epoch, *to, out);
            let (cause, from, to) = (cause(*why), from.get(), to.get());
            write_event("$gap", &GapData { cause, from, to }, out);
            end_chunk(begin, out);
        }
        // A comment: proxies cut what is silent for a minute.
        Reply::Ping { .. } => {
            let begin = begin_chunk(events, out);
            out.extend_from_slice(b":\n\n");
            end_chunk(begin, out);
        }
        _ => {}
    }
}

/// Adds the end of a stream.
pub(crate) fn conclude(events: Events, goodbye: &Goodbye, out: &mut Vec<u8>) {
    if goodbye.retry_after_ms > 0 {
        let begin = begin_chunk(events, out);
        write(out, format_args!("retry: {}\n\n", goodbye.retry_after_ms));
        end_chunk(begin, out);
    }
    if events.chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

const fn cause(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Retention => "retention",
        GapCause::Damage => "damage",
        GapCause::Unreadable => "unreadable",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
