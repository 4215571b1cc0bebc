//! Streams: where one begins, and what its events look like.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_protocol::command::{Numbered, Start};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};

use crate::dialect::form::Events;
use crate::dialect::http::asked::{
    Asked, BAD_ESCAPE, Refused, Scratch, read_topic, refused, topic_of,
};
use crate::dialect::http::head::Head;
use crate::dialect::http::target::{BadTarget, Target};
use crate::dialect::status;

/// What a request for a stream asks.
pub(super) fn ask(
    head: &Head<'_, '_>,
    target: Target<'_>,
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    let path = target.path.strip_suffix("/sse").unwrap_or(target.path);
    read_topic(path, scratch)?;
    let (mut start, mut base64) = (Some(Start::Latest), Some(false));
    // A browser that comes back says where it stopped in a field; what has no fields to set says it in a parameter.
    let mut token = head.field("last-event-id").map(<[u8]>::to_vec);
    let read = target.each_parameter(|name, value| {
        match name {
            "from" => start = read_start(value),
            "encoding" => base64 = read_encoding(value),
            "last_event_id" if token.is_none() => token = Some(value.to_vec()),
            "last_event_id" => {}
            _ => return false,
        }
        true
    });
    match read {
        Ok(()) => {}
        Err(BadTarget::Escape) => return Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
        Err(BadTarget::Parameter) => {
            return Err(refused(
                status::BAD_REQUEST,
                "a stream takes the parameters `from`, `encoding` and `last_event_id`",
            ));
        }
    }
    let start = start.ok_or(refused(
        status::BAD_REQUEST,
        "`from` is earliest, latest or offset:NUMBER",
    ))?;
    let base64 = base64.ok_or(refused(status::BAD_REQUEST, "`encoding` is text or base64"))?;
    let token = token.filter(|token| !token.trim_ascii().is_empty());
    let (start, epoch) = match token {
        None => (start, None),
        Some(token) => read_token(&token, topic_of(&scratch.topic)).ok_or(refused(
            status::BAD_REQUEST,
            "the last event's id is none of this topic; leave it out to begin anew",
        ))?,
    };
    Ok(Asked::Stream {
        start,
        epoch,
        events: Events {
            chunked: !head.is_1_0,
            base64,
        },
    })
}

fn read_start(value: &[u8]) -> Option<Start> {
    match value {
        b"earliest" => Some(Start::Earliest),
        b"latest" => Some(Start::Latest),
        _ => {
            let digits = value.strip_prefix(b"offset:")?;
            let digits = std::str::from_utf8(digits).ok()?;
            Some(Start::Offset(Offset::new(digits.parse().ok()?)))
        }
    }
}

fn read_encoding(value: &[u8]) -> Option<bool> {
    match value {
        b"text" => Some(false),
        b"base64" => Some(true),
        _ => None,
    }
}

/// Where a stream goes on that ended behind an event with this id.
fn read_token(token: &[u8], topic: &str) -> Option<(Start, Option<Epoch>)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_ascii()).ok()?;
    let token = Token::decode(&bytes).ok()?;
    let mut places = token.places();
    match (places.next(), places.next()) {
        (Some(place), None) if place.name.is_empty() || place.name == topic => match place.next {
            Numbered::Offset(next) => Some((Start::Offset(next), Some(place.epoch))),
            Numbered::Sequence { .. } => None,
        },
        _ => None,
    }
}
