//! From HTTP to WebSocket: the opening handshake (RFC 6455, 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::topic;

use crate::dialect::command::Dialect;
use crate::dialect::http::asked::{
    Asked, BAD_ESCAPE, Refused, Scratch, Upgrade, read_topic, refused, topic_of,
};
use crate::dialect::http::head::{Framing, Head, is_named};
use crate::dialect::http::stream::read_start;
use crate::dialect::http::target::{BadTarget, Target};
use crate::dialect::status;
use crate::dialect::websocket::{ALONE, SUBPROTOCOL, write_subscribe};

/// The text that a key is joined with before it is hashed (RFC 6455, 1.3).
const JOINED: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_SIZE: usize = 16;
const VERSION: &[u8] = b"13";

/// Whether a path is that of a WebSocket.
pub(super) fn is_one(path: &str) -> bool {
    path == "/api/v1/ws" || topic_path(path).is_some()
}

/// The path of the topic that a session is to begin with.
fn topic_path(path: &str) -> Option<&str> {
    path.strip_suffix("/ws")
        .filter(|path| !path.is_empty() && !path.starts_with("/api/"))
}

/// Reads a request to become a WebSocket. The first command of the session, if there is one, is put into the scratch memory.
pub(super) fn ask(
    head: &Head<'_, '_>,
    target: Target<'_>,
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    let dialect = read_subprotocol(head)?;
    scratch.body.clear();
    match topic_path(target.path) {
        None => check_no_parameters(target)?,
        Some(_) if dialect == Dialect::WebSocket => {
            let why = "oyez.v2 subscribes with its frames: connect to /api/v1/ws";
            return Err(refused(status::BAD_REQUEST, why));
        }
        Some(path) => {
            read_topic(path, scratch)?;
            if topic::is_reserved(topic_of(&scratch.topic)) {
                let why = "topics that begin with $ are the broker's own";
                return Err(refused(status::FORBIDDEN, why));
            }
            read_begin(target, scratch)?;
        }
    }
    let accept = accept(&read_key(head)?);
    Ok(Asked::Upgrade(Upgrade { accept, dialect }))
}

/// Returns the key of a handshake.
fn read_key(head: &Head<'_, '_>) -> Result<[u8; 24], Refused> {
    if head.is_1_0
        || !has_word(head, "upgrade", "websocket")
        || !has_word(head, "connection", "upgrade")
    {
        let why = "this is a WebSocket: ask with Upgrade: websocket and Connection: Upgrade";
        return Err(refused(status::UPGRADE_REQUIRED, why));
    }
    let mut versions = named(head, "sec-websocket-version").map(<[u8]>::trim_ascii);
    if versions.next() != Some(VERSION) || versions.next().is_some() {
        let why = "this broker speaks version 13 of WebSocket";
        return Err(refused(status::UPGRADE_REQUIRED, why));
    }
    if head.framing != Framing::Sized(0) {
        let why = "a request to become a WebSocket has no body";
        return Err(refused(status::BAD_REQUEST, why));
    }
    let mut keys = named(head, "sec-websocket-key");
    let key = keys.next().filter(|_| keys.next().is_none());
    let key: Option<&[u8; 24]> = key.and_then(|key| key.trim_ascii().try_into().ok());
    let is_key = |key: &&[u8; 24]| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_SIZE);
    key.filter(is_key).copied().ok_or(refused(
        status::BAD_REQUEST,
        "Sec-WebSocket-Key is 16 bytes in base64, once",
    ))
}

fn accept(key: &[u8; 24]) -> [u8; 28] {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(JOINED);
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(hash.digest().bytes(), &mut accept);
    debug_assert_eq!(written, Ok(accept.len()));
    accept
}

/// Returns what the messages hold, by the subprotocols that the client speaks.
fn read_subprotocol(head: &Head<'_, '_>) -> Result<Dialect, Refused> {
    let mut offers = words(head, "sec-websocket-protocol").peekable();
    if offers.peek().is_none() {
        return Ok(Dialect::Json);
    }
    match offers.any(|offer| offer == SUBPROTOCOL.as_bytes()) {
        true => Ok(Dialect::WebSocket),
        false => Err(refused(
            status::BAD_REQUEST,
            "the only subprotocol is oyez.v2; without one the broker speaks JSON",
        )),
    }
}

/// Puts the subscription that the target asks for into the scratch memory.
fn read_begin(target: Target<'_>, scratch: &mut Scratch) -> Result<(), Refused> {
    let (mut from, mut epoch, mut is_right) = (None, None, true);
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
    let read = target.each_parameter(|name, value| {
        match name {
            "from" => {
                from = text(value);
                is_right &= read_start(value).is_some();
            }
            "epoch" => {
                epoch = text(value);
                is_right &= !value.is_empty()
                    && value.iter().all(u8::is_ascii_hexdigit)
                    && value.len() <= 16;
            }
            _ => return false,
        }
        true
    });
    check_parameters(read, "a WebSocket of a topic takes `from` and `epoch`")?;
    if !is_right {
        let why = "`from` is earliest, latest or offset:NUMBER, and `epoch` that of the offset, 16 hexadecimal digits";
        return Err(refused(status::BAD_REQUEST, why));
    }
    let has_offset = from
        .as_ref()
        .is_some_and(|from| from.starts_with("offset:"));
    if epoch.is_some() && !has_offset {
        return Err(refused(status::BAD_REQUEST, ALONE));
    }
    let Scratch { topic, body, .. } = scratch;
    write_subscribe(topic_of(topic), (from.as_deref(), epoch.as_deref()), body);
    Ok(())
}

fn check_no_parameters(target: Target<'_>) -> Result<(), Refused> {
    let read = target.each_parameter(|_, _| false);
    check_parameters(read, "a WebSocket of any topic takes no parameters")
}

fn check_parameters(read: Result<(), BadTarget>, why: &'static str) -> Result<(), Refused> {
    read.map_err(|bad| match bad {
        BadTarget::Escape => refused(status::BAD_REQUEST, BAD_ESCAPE),
        BadTarget::Parameter => refused(status::BAD_REQUEST, why),
    })
}

/// The values of all fields of a name.
fn named<'a>(head: &Head<'_, 'a>, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let fields = head
        .fields
        .iter()
        .filter(move |field| is_named(field, name));
    fields.map(|field| field.value)
}

/// The words of a list, which may be in several fields.
fn words<'a>(head: &Head<'_, 'a>, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let words = named(head, name).flat_map(|value| value.split(|byte| *byte == b','));
    words
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

fn has_word(head: &Head<'_, '_>, name: &'static str, word: &str) -> bool {
    words(head, name).any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests;
