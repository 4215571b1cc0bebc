//! Reading: where it begins and ends, and what messages look like.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_protocol::command::{Numbered, Start};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};

use crate::dialect::exchange::Stream;
use crate::dialect::form::{Form, Kind, Style};
use crate::dialect::http::asked::{
    Asked, BAD_ESCAPE, Refused, Scratch, read_topic, refused, topic_of,
};
use crate::dialect::http::head::Head;
use crate::dialect::http::target::{BadTarget, Target};
use crate::dialect::status;

/// What is read, and in which form, by the last part of its path; `None` if it is none.
pub(super) fn kind(path: &str) -> Option<(&str, Kind)> {
    let (path, last) = path.rsplit_once('/')?;
    let kind = match last {
        "sse" => Kind::Events,
        "json" => Kind::Lines,
        "raw" => Kind::Raw,
        _ => return None,
    };
    Some((path, kind))
}

/// What a request for messages says of itself.
#[derive(Default)]
struct Wishes {
    start: Option<Start>,
    token: Option<Vec<u8>>,
    base64: bool,
    follow: bool,
    limit: Option<u64>,
}

/// What a request for messages asks.
pub(super) fn ask(
    head: &Head<'_, '_>,
    (target, path, kind): (Target<'_>, &str, Kind),
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    read_topic(path, scratch)?;
    let wishes = read_wishes(head, target, kind)?;
    // A browser comes back to the address of its first request: what it has had counts more.
    let (start, epoch) = match wishes.token {
        Some(token) => read_token(&token, topic_of(&scratch.topic)).ok_or(refused(
            status::BAD_REQUEST,
            "the last event's id is none of this topic; leave it out to begin anew",
        ))?,
        // What comes is streamed from now on, and what there is is read from its beginning.
        None if wishes.follow => (wishes.start.unwrap_or(Start::Latest), None),
        None => (wishes.start.unwrap_or(Start::Earliest), None),
    };
    let stream = Stream {
        form: Form {
            kind,
            style: Style::default()
                .with(Style::CHUNKED, !head.is_1_0)
                .with(Style::BASE64, wishes.base64)
                .with(Style::BOUNDED, !wishes.follow || wishes.limit.is_some())
                .with(Style::ALONE, wishes.limit == Some(1)),
        },
        ends: !wishes.follow,
        limit: wishes.limit,
    };
    Ok(Asked::Stream {
        start,
        epoch,
        stream,
    })
}

fn read_wishes(head: &Head<'_, '_>, target: Target<'_>, kind: Kind) -> Result<Wishes, Refused> {
    let is_stream = kind == Kind::Events;
    let mut wishes = Wishes {
        follow: is_stream,
        // A browser that comes back says where it stopped in a field; what has no fields to set says it in a parameter.
        token: head.field("last-event-id").map(<[u8]>::to_vec),
        ..Wishes::default()
    };
    let mut bad = None;
    let read = target.each_parameter(|name, value| {
        let is_right = match name {
            "from" => {
                wishes.start = read_start(value);
                wishes.start.is_some()
            }
            "encoding" if kind != Kind::Raw => {
                wishes.base64 = value == b"base64";
                matches!(value, b"text" | b"base64")
            }
            "last_event_id" => {
                wishes.token.get_or_insert_with(|| value.to_vec());
                true
            }
            "follow" if !is_stream => {
                wishes.follow = value == b"true";
                matches!(value, b"true" | b"false")
            }
            "limit" if !is_stream => {
                wishes.limit = read_number(value).filter(|limit| *limit > 0);
                wishes.limit.is_some()
            }
            _ => return false,
        };
        if !is_right {
            bad = Some(match name {
                "from" => "`from` is earliest, latest or offset:NUMBER",
                "encoding" => "`encoding` is text or base64",
                "follow" => "`follow` is true or false",
                _ => "`limit` is a number of messages, at least 1",
            });
        }
        true
    });
    wishes.token = wishes.token.filter(|token| !token.trim_ascii().is_empty());
    match (read, bad) {
        (Ok(()), None) => Ok(wishes),
        (Ok(()), Some(why)) => Err(refused(status::BAD_REQUEST, why)),
        (Err(BadTarget::Escape), _) => Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
        (Err(BadTarget::Parameter), _) => Err(refused(
            status::BAD_REQUEST,
            match kind {
                Kind::Events => "a stream takes `from`, `encoding` and `last_event_id`",
                Kind::Raw => "payloads are read with `from`, `limit` and `follow`",
                _ => "messages are read with `from`, `limit`, `follow` and `encoding`",
            },
        )),
    }
}

fn read_number(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}

fn read_start(value: &[u8]) -> Option<Start> {
    match value {
        b"earliest" => Some(Start::Earliest),
        b"latest" => Some(Start::Latest),
        _ => {
            let number = read_number(value.strip_prefix(b"offset:")?)?;
            Some(Start::Offset(Offset::new(number)))
        }
    }
}

/// Where a stream goes on that ended behind an event with this id.
fn read_token(token: &[u8], topic: &str) -> Option<(Start, Option<Epoch>)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_ascii()).ok()?;
    let token = Token::decode(&bytes).ok()?;
    let mut places = token.places();
    match (places.next(), places.next()) {
        (Some(place), None) if place.name.is_empty() || place.name == topic => match place.next {
            Numbered::Offset(next) => {
                let next = next.plus(u64::from(planted(Bug::LastEventOffByOne)));
                Some((Start::Offset(next), Some(place.epoch)))
            }
            Numbered::Sequence { .. } => None,
        },
        _ => None,
    }
}
