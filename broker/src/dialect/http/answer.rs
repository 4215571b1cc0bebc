//! From replies to the response to a request.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use oyez_protocol::event::{GoodbyeCode, Outcome, PublishedEntry};
use serde::Serialize;

use crate::dialect::command::{Dialect, Goodbye, Refusal, Reply, Subscribed};
use crate::dialect::exchange::{Exchange, PublishBatch, Stream, Streams, Wants};
use crate::dialect::form::{Form, Kind};
use crate::dialect::http::asked::Upgrade;
use crate::dialect::status::{self, Status};
use crate::dialect::stream;
use crate::dialect::websocket::SUBPROTOCOL;

const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const LINES: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";
const EVENTS: &str = "text/event-stream";
const TEXT: &str = "text/plain; charset=utf-8";
/// Methods and fields that pages of known origins may use, and how long their browsers may remember that, in seconds.
const METHODS: &str = "GET, HEAD, POST, PUT, OPTIONS";
const FIELDS: &str = "*, Authorization";
const PREFLIGHT_S: u32 = 600;

/// Tells a client that waits for it that its body is wanted.
pub(crate) fn respond_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Adds the answer to a request that becomes a WebSocket.
pub(crate) fn switch(upgrade: &Upgrade, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&upgrade.accept);
    if upgrade.dialect == Dialect::WebSocket {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(SUBPROTOCOL.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Where a message stands.
#[derive(Serialize)]
struct Placed<'a> {
    topic: &'a str,
    offset: u64,
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
    message: &'a str,
}

/// A response.
struct Response<'a> {
    status: Status,
    content_type: &'a str,
    body: &'a [u8],
    retry_after_ms: u32,
}

/// Whether `reply` is what the request waits for, or the last of it.
pub(crate) fn answers(exchange: &mut Exchange, reply: &Reply<'_>) -> bool {
    match reply {
        Reply::Published(entries) => take_outcomes(exchange, entries),
        Reply::Subscribed { subscribed, .. } => take_beginning(exchange, subscribed),
        Reply::Answer { .. }
        | Reply::Health { .. }
        | Reply::Metrics(_)
        | Reply::Refused(_)
        | Reply::Said(_)
        | Reply::Taken
        | Reply::Unsupported { .. }
        | Reply::Goodbye(_) => true,
        Reply::Welcome(_)
        | Reply::Unsubscribed { .. }
        | Reply::Gap { .. }
        | Reply::ResumeAt(_)
        | Reply::Ping { .. }
        | Reply::Pong { .. } => false,
    }
}

/// Adds the response to a request, made from `reply`, to `out`.
pub(crate) fn answer(exchange: &Exchange, reply: &Reply<'_>, wall_ms: u64, out: &mut Vec<u8>) {
    match reply {
        Reply::Published(entries) => match &exchange.wants {
            Wants::Places(batch) => tell_places(exchange, batch, wall_ms, out),
            _ => {
                if let Some(entry) = place(exchange, entries) {
                    tell_place(exchange, &entry, wall_ms, out);
                }
            }
        },
        Reply::Answer { json, more, .. } => tell_json(exchange, (json, *more), wall_ms, out),
        Reply::Health { is_well, json } => {
            let status = if *is_well {
                status::OK
            } else {
                status::UNAVAILABLE
            };
            Response::new(status, JSON, json.as_bytes()).write(exchange, wall_ms, out);
        }
        Reply::Metrics(text) => {
            Response::new(status::OK, METRICS, text.as_bytes()).write(exchange, wall_ms, out);
        }
        Reply::Said("") => {
            Response::new(status::NO_CONTENT, "", b"").write(exchange, wall_ms, out);
        }
        Reply::Said(text) => {
            Response::new(status::OK, TEXT, text.as_bytes()).write(exchange, wall_ms, out);
        }
        Reply::Taken => {
            Response::new(status::ACCEPTED, JSON, b"{}\n").write(exchange, wall_ms, out);
        }
        Reply::Refused(refusal) => refuse(exchange, refusal, wall_ms, out),
        Reply::Unsupported { .. } => {
            let refusal = Refusal {
                status: status::NOT_IMPLEMENTED,
                request: 0,
                message: "this broker cannot do that",
                retry_after_ms: 0,
            };
            refuse(exchange, &refusal, wall_ms, out);
        }
        Reply::Goodbye(goodbye) => refuse(exchange, &refusal_of(goodbye), wall_ms, out),
        Reply::Subscribed { subscribed, .. } => match &exchange.wants {
            Wants::Stream(stream) => begin_stream((exchange, stream), subscribed, wall_ms, out),
            Wants::Streams(streams) => begin_streams((exchange, streams), wall_ms, out),
            _ => {} // A request over HTTP subscribes to nothing else.
        },
        Reply::Welcome(_)
        | Reply::Unsubscribed { .. }
        | Reply::Gap { .. }
        | Reply::ResumeAt(_)
        | Reply::Ping { .. }
        | Reply::Pong { .. } => {}
    }
}

/// Adds the last bytes for a session that has no request under way. A request that has begun to come is answered; an idle client
/// gets nothing, because it would take that for the answer to its next request.
pub(crate) fn conclude(goodbye: &Goodbye, wall_ms: u64, out: &mut Vec<u8>) {
    let is_of_request = matches!(
        goodbye.code,
        GoodbyeCode::Silent
            | GoodbyeCode::Full
            | GoodbyeCode::Damaged
            | GoodbyeCode::TooFast
            | GoodbyeCode::NotSupported
    );
    if !is_of_request {
        return;
    }
    let exchange = Exchange::LAST;
    refuse(&exchange, &refusal_of(goodbye), wall_ms, out);
}

fn refusal_of(goodbye: &Goodbye) -> Refusal<'_> {
    let status = match goodbye.code {
        GoodbyeCode::Silent => status::TIMEOUT,
        GoodbyeCode::Full | GoodbyeCode::Draining => status::UNAVAILABLE,
        GoodbyeCode::TooFast => status::TOO_MANY,
        GoodbyeCode::NotSupported => status::MISDIRECTED,
        _ => status::BAD_REQUEST,
    };
    Refusal {
        request: 0,
        status,
        message: &goodbye.reason,
        retry_after_ms: goodbye.retry_after_ms,
    }
}

/// Takes the outcomes that a request waits for. Returns whether it has all of them now.
fn take_outcomes(exchange: &mut Exchange, entries: &[PublishedEntry]) -> bool {
    let number = exchange.number;
    let batch = match &mut exchange.wants {
        Wants::Places(batch) => batch,
        // It is answered when all of it is taken.
        Wants::Nothing => return false,
        _ => return place(exchange, entries).is_some(),
    };
    for entry in entries
        .iter()
        .filter(|entry| entry.correlation >> 16 == number)
    {
        let record = usize::from(entry.correlation as u16);
        if let Some(outcome) = batch.outcomes.get_mut(record) {
            *outcome = Some(*entry);
        }
    }
    batch.outcomes.iter().all(Option::is_some)
}

/// Returns the outcome that a request waits for.
fn place(exchange: &Exchange, entries: &[PublishedEntry]) -> Option<PublishedEntry> {
    let mut entries = entries.iter();
    let entry = entries.find(|entry| entry.correlation >> 16 == exchange.number);
    entry.copied()
}

/// Passes a JSON object on; adds a member that says so where there is more to ask for.
fn tell_json(exchange: &Exchange, (json, more): (&str, bool), wall_ms: u64, out: &mut Vec<u8>) {
    let open = json.strip_suffix('}').filter(|_| more);
    let body = match open {
        Some(open) => format!("{open},\"more\":true}}\n"),
        None => format!("{json}\n"),
    };
    Response::new(status::OK, JSON, body.as_bytes()).write(exchange, wall_ms, out);
}

fn tell_place(exchange: &Exchange, entry: &PublishedEntry, wall_ms: u64, out: &mut Vec<u8>) {
    if !entry.outcome.is_done() {
        let (status, message) = wrong(entry.outcome);
        let is_later = matches!(status, status::UNAVAILABLE | status::TOO_MANY);
        let refusal = Refusal {
            request: 0,
            status,
            message,
            retry_after_ms: match is_later {
                true => entry.retry_after_ms.max(1_000),
                false => entry.retry_after_ms,
            },
        };
        refuse(exchange, &refusal, wall_ms, out);
        return;
    }
    let Wants::Place(topic) = &exchange.wants else {
        return; // It was answered when it was taken.
    };
    let mut json = serde_json::to_vec(&Placed {
        topic,
        offset: entry.offset.get(),
        epoch: entry.epoch.to_string(),
    })
    .expect("text and numbers are JSON");
    json.push(b'\n');
    Response::new(status::OK, JSON, &json).write(exchange, wall_ms, out);
}

/// Takes where a stream begins, or why it does not, for the request that waits for it. Returns whether the wait is over.
fn take_beginning(exchange: &mut Exchange, subscribed: &Subscribed) -> bool {
    match &mut exchange.wants {
        Wants::Stream(_) => true,
        Wants::Streams(streams) => {
            if let Some(begun) = streams.begun.get_mut(subscribed.request as usize) {
                *begun = Some(*subscribed);
            }
            streams.refused().is_some() || streams.begun.iter().all(Option::is_some)
        }
        _ => false,
    }
}

/// Begins a stream, or answers why there is none.
fn begin_stream(
    (exchange, wanted): (&Exchange, &Stream),
    subscribed: &Subscribed,
    wall_ms: u64,
    out: &mut Vec<u8>,
) {
    if !begins(wanted, subscribed) {
        let (status, message) = match subscribed.outcome.is_done() {
            true => GONE,
            false => wrong(subscribed.outcome),
        };
        let refusal = Refusal {
            request: 0,
            status,
            message,
            retry_after_ms: 0,
        };
        // There is a subscription, and no form in which to report its gap: the connection ends with it.
        let exchange = Exchange {
            closes: exchange.closes || subscribed.outcome.is_done(),
            ..exchange.clone()
        };
        refuse(&exchange, &refusal, wall_ms, out);
        return;
    }
    write_stream_head((exchange, wanted.form), wall_ms, out);
    stream::begin(wanted.form, subscribed, out);
}

/// Begins a stream of several topics, or answers why there is none.
fn begin_streams((exchange, wanted): (&Exchange, &Streams), wall_ms: u64, out: &mut Vec<u8>) {
    if let Some((topic, subscribed)) = wanted.refused() {
        let (status, why) = wrong(subscribed.outcome);
        let refusal = Refusal {
            request: 0,
            status,
            message: &format!("{topic}: {why}"),
            retry_after_ms: 0,
        };
        // The other topics may have begun.
        let exchange = Exchange {
            closes: true,
            ..exchange.clone()
        };
        refuse(&exchange, &refusal, wall_ms, out);
        return;
    }
    write_stream_head((exchange, wanted.form), wall_ms, out);
    let begun: Vec<(&str, &Subscribed)> = wanted.begun().collect();
    stream::begin_several(wanted.form, &begun, out);
}

/// Adds the head of a stream's response.
fn write_stream_head((exchange, form): (&Exchange, Form), wall_ms: u64, out: &mut Vec<u8>) {
    let content_type = match form.kind {
        Kind::Events => EVENTS,
        Kind::Lines => LINES,
        Kind::Raw | Kind::Native => BYTES,
    };
    let response = Response::new(status::OK, content_type, b"");
    let written = response.write_begin(exchange, wall_ms, out);
    written.expect("writing into memory cannot fail");
    // Proxies are to pass on bytes as they come.
    out.extend_from_slice(b"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n");
    if form.style.is_chunked() {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    // No request follows a stream: it ends with the connection.
    out.extend_from_slice(b"Connection: close\r\n\r\n");
}

const GONE: (Status, &str) = (
    status::GONE,
    "the first of these messages are not kept any more; read them as /json, which says which, or from=earliest",
);

/// Whether a stream that was asked for begins.
pub(crate) const fn begins(wanted: &Stream, subscribed: &Subscribed) -> bool {
    subscribed.outcome.is_done() && stream::can_begin(wanted.form, subscribed)
}

/// The outcome of one of several messages.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Placed(Placed<'a>),
    Wrong(Wrong<'a>),
}

/// Answers with the outcomes of several messages, in their order. The status is that of the first that failed.
fn tell_places(exchange: &Exchange, batch: &PublishBatch, wall_ms: u64, out: &mut Vec<u8>) {
    let mut status = status::OK;
    let rows: Vec<Row<'_>> = batch
        .rows
        .iter()
        .map(|(record, nth)| {
            let entry = batch.outcomes[usize::from(*record)].as_ref();
            let outcome = entry.map_or(Outcome::LogFailed, |entry| entry.outcome);
            match entry.filter(|_| outcome.is_done()) {
                Some(entry) => Row::Placed(Placed {
                    topic: &batch.topics[usize::from(*record)],
                    offset: entry.offset.get() + u64::from(*nth),
                    epoch: entry.epoch.to_string(),
                }),
                None => {
                    let (code, message) = wrong(outcome);
                    if status == status::OK {
                        status = code;
                    }
                    let error = code.error;
                    Row::Wrong(Wrong { error, message })
                }
            }
        })
        .collect();
    let json = match (&rows[..], batch.is_list) {
        ([row], false) => serde_json::to_vec(row),
        (rows, _) => serde_json::to_vec(rows),
    };
    let mut json = json.expect("text and numbers are JSON");
    json.push(b'\n');
    let entries = batch.outcomes.iter().flatten();
    let response = Response {
        retry_after_ms: match status {
            status::UNAVAILABLE => 1_000,
            status::TOO_MANY => entries.map(|entry| entry.retry_after_ms).max().unwrap_or(0),
            _ => 0,
        },
        ..Response::new(status, JSON, &json)
    };
    response.write(exchange, wall_ms, out);
}

/// Returns the status and the sentence for an outcome other than success.
pub(crate) fn wrong(outcome: Outcome) -> (Status, &'static str) {
    match outcome {
        Outcome::DiskFull => (status::NO_STORAGE, "the broker's disk is full"),
        Outcome::TooManyTopics => (
            status::NO_STORAGE,
            "the broker has as many topics as it may",
        ),
        Outcome::TooFast => (
            status::TOO_MANY,
            "these are more new topics than a session may begin at once (`topic_creation_rate`)",
        ),
        Outcome::Draining => (status::UNAVAILABLE, "the broker is shutting down"),
        Outcome::ReservedTopic => (
            status::FORBIDDEN,
            "topics that begin with $ are the broker's own",
        ),
        Outcome::TooManySubscriptions => (
            status::BAD_REQUEST,
            "these are more topics than a session may subscribe to (`max_subscriptions`)",
        ),
        Outcome::AlreadySubscribed => (
            status::BAD_REQUEST,
            "the session is subscribed to this topic already",
        ),
        Outcome::NotSubscribed => (
            status::BAD_REQUEST,
            "the session is not subscribed to this topic",
        ),
        Outcome::OffsetAhead => (
            status::CONFLICT,
            "the topic has no message there yet: the broker's data may have been put back from a copy",
        ),
        Outcome::LogFailed => (
            status::INTERNAL,
            "the disk failed, and the message may be lost",
        ),
        _ => (status::INTERNAL, "the message was not taken"),
    }
}

fn refuse(exchange: &Exchange, refusal: &Refusal<'_>, wall_ms: u64, out: &mut Vec<u8>) {
    let wrong = Wrong {
        error: refusal.status.error,
        message: refusal.message,
    };
    let mut json = serde_json::to_vec(&wrong).expect("text is JSON");
    json.push(b'\n');
    let response = Response {
        retry_after_ms: refusal.retry_after_ms,
        ..Response::new(refusal.status, JSON, &json)
    };
    response.write(exchange, wall_ms, out);
}

impl<'a> Response<'a> {
    const fn new(status: Status, content_type: &'a str, body: &'a [u8]) -> Self {
        Self {
            status,
            content_type,
            body,
            retry_after_ms: 0,
        }
    }

    fn write(&self, exchange: &Exchange, wall_ms: u64, out: &mut Vec<u8>) {
        let written = self.write_head(exchange, wall_ms, out);
        written.expect("writing into memory cannot fail");
        if !exchange.is_head {
            out.extend_from_slice(self.body);
        }
    }

    /// The lines that every response has.
    fn write_begin(
        &self,
        exchange: &Exchange,
        wall_ms: u64,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let now = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_millis(wall_ms));
        let Status { code, name, .. } = self.status;
        write!(out, "HTTP/1.1 {code} {name}\r\nDate: {now}\r\n")?;
        if code != status::NO_CONTENT.code {
            let kind = self.content_type;
            write!(
                out,
                "Content-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\n"
            )?;
        }
        if let Some(origin) = &exchange.readers {
            write!(
                out,
                "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"
            )?;
        }
        Ok(())
    }

    fn write_head(
        &self,
        exchange: &Exchange,
        wall_ms: u64,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        self.write_begin(exchange, wall_ms, out)?;
        let code = self.status.code;
        if code == status::NO_CONTENT.code {
            write!(out, "Allow: {METHODS}\r\n")?;
            if exchange.readers.is_some() {
                write!(
                    out,
                    "Access-Control-Allow-Methods: {METHODS}\r\nAccess-Control-Allow-Headers: {FIELDS}\r\n\
                     Access-Control-Max-Age: {PREFLIGHT_S}\r\n"
                )?;
            }
        } else {
            let size = self.body.len();
            write!(out, "Content-Length: {size}\r\nCache-Control: no-store\r\n")?;
        }
        if code == status::UPGRADE_REQUIRED.code {
            out.extend_from_slice(
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n",
            );
        }
        if code == status::METHOD_NOT_ALLOWED.code {
            write!(out, "Allow: {METHODS}\r\n")?;
        }
        if self.retry_after_ms > 0 {
            write!(
                out,
                "Retry-After: {}\r\n",
                self.retry_after_ms.div_ceil(1_000)
            )?;
        }
        match (exchange.closes, exchange.is_1_0) {
            (true, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (false, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, false) => {}
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
