//! Requests for messages: where reading begins and ends, and what form messages have.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_protocol::command::{Numbered, Start};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset, topic};

use crate::dialect::exchange::Stream;
use crate::dialect::form::{Form, Kind, Style};
use crate::dialect::http::asked::{
    Asked, BAD_ESCAPE, Refused, Scratch, Wanted, read_topic, refused, topic_of,
};
use crate::dialect::http::head::Head;
use crate::dialect::http::target::{BadTarget, Target};
use crate::dialect::status;

/// Returns the path of the topic, and the form in which it is read, by the last part of the path; `None` if that names no form.
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

/// Whether a path is that of a stream of several topics.
pub(super) fn is_of_several(path: &str) -> bool {
    path == "/api/v1/sse"
}

/// Bytes of the places of several topics in a resume token, and of each place beside its name. The token is text in a field of a
/// request, and has to pass proxies, which take lines of 8 KiB.
const PLACES_BYTES_MAX: usize = 4_096;
const PLACE_BYTES: usize = 17;

/// What the parameters and fields of a request for messages say.
#[derive(Default)]
struct Wishes {
    /// The topics of a stream of several.
    topics: Vec<Vec<u8>>,
    start: Option<Start>,
    token: Option<Vec<u8>>,
    base64: bool,
    follow: bool,
    limit: Option<u64>,
}

/// Reads what a request for messages asks.
pub(super) fn ask(
    head: &Head<'_, '_>,
    (target, path, kind): (Target<'_>, &str, Kind),
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    read_topic(path, scratch)?;
    let wishes = read_wishes(head, target, (kind, false))?;
    // A browser comes back to the address of its first request: the token of what it has got comes first.
    let (start, epoch) = match wishes.token {
        Some(token) => read_token(&token, topic_of(&scratch.topic)).ok_or(refused(
            status::BAD_REQUEST,
            "the last event's id is not one of this topic; leave it out to begin anew",
        ))?,
        // A stream begins with what comes from now on, a reading that ends with the oldest message.
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

/// Reads what a request for the messages of several topics asks.
pub(super) fn ask_several(
    head: &Head<'_, '_>,
    target: Target<'_>,
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    let wishes = read_wishes(head, target, (Kind::Events, true))?;
    read_topics(&wishes.topics, scratch)?;
    let start = wishes.start.unwrap_or(Start::Latest);
    if matches!(start, Start::Offset(_)) {
        let why = "`from` is earliest or latest for several topics";
        return Err(refused(status::BAD_REQUEST, why));
    }
    scratch.wanted.iter_mut().for_each(|one| one.start = start);
    if let Some(token) = wishes.token {
        read_places(&token, scratch).ok_or(refused(
            status::BAD_REQUEST,
            "the last event's id names none of these topics; leave it out to begin anew",
        ))?;
    }
    let style = Style::SEVERAL
        .with(Style::CHUNKED, !head.is_1_0)
        .with(Style::BASE64, wishes.base64);
    let kind = Kind::Events;
    Ok(Asked::Streams {
        form: Form { kind, style },
    })
}

/// Puts the topics that parameters name into the scratch memory.
fn read_topics(topics: &[Vec<u8>], scratch: &mut Scratch) -> Result<(), Refused> {
    scratch.topic.clear();
    scratch.wanted.clear();
    if topics.is_empty() {
        let why = "name the topics: /api/v1/sse?topic=one&topic=another";
        return Err(refused(status::BAD_REQUEST, why));
    }
    let size: usize = topics.iter().map(|name| PLACE_BYTES + name.len()).sum();
    if size > PLACES_BYTES_MAX {
        return Err(refused(
            status::BAD_REQUEST,
            "these are too many topics for one stream: 17 bytes each and their names are more than 4 KiB",
        ));
    }
    for name in topics {
        if let Err(error) = topic::parse(name) {
            scratch.say(format_args!("a `topic` is not valid: {error}"));
            return Err(Refused {
                status: status::BAD_REQUEST,
                message: None,
            });
        }
        let begin = scratch.topic.len();
        scratch.topic.extend_from_slice(name);
        scratch.wanted.push(Wanted {
            name: (begin, scratch.topic.len()),
            start: Start::Latest,
            epoch: None,
        });
    }
    let mut sorted: Vec<&[u8]> = topics.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    match sorted.windows(2).any(|two| two[0] == two[1]) {
        true => Err(refused(status::BAD_REQUEST, "a `topic` is named twice")),
        false => Ok(()),
    }
}

/// Lets each of several topics begin where a stream goes on that ended behind the event with this id, if the id names the topic.
/// Returns `None` if the id names none of them.
fn read_places(token: &[u8], scratch: &mut Scratch) -> Option<()> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_ascii()).ok()?;
    let token = Token::decode(&bytes).ok()?;
    let Scratch { topic, wanted, .. } = scratch;
    let is_single = wanted.len() == 1;
    let names = wanted
        .iter()
        .map(|one| topic_of(&topic[one.name.0..one.name.1]));
    let numbers: HashMap<&str, usize> = names.zip(0..).collect();
    let mut is_known = None;
    let heeded = match planted(Bug::FirstPlaceOnly) {
        true => 1,
        false => usize::MAX,
    };
    for place in token.places().take(heeded) {
        let number = match place.name {
            "" => is_single.then_some(0),
            name => numbers.get(name).copied(),
        };
        if let (Some(number), Numbered::Offset(next)) = (number, place.next) {
            let one = &mut wanted[number];
            (one.start, one.epoch) = (Start::Offset(next), Some(place.epoch));
            is_known = Some(());
        }
    }
    is_known
}

fn read_wishes(
    head: &Head<'_, '_>,
    target: Target<'_>,
    (kind, is_of_several): (Kind, bool),
) -> Result<Wishes, Refused> {
    let is_stream = kind == Kind::Events;
    let mut wishes = Wishes {
        follow: is_stream,
        // A browser that comes back sends the id in a field; a client that can set no fields sends it in a parameter.
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
            "topic" if is_of_several => {
                wishes.topics.push(value.to_vec());
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
            bad = Some(right_value(name));
        }
        true
    });
    wishes.token = wishes.token.filter(|token| !token.trim_ascii().is_empty());
    match (read, bad) {
        (Ok(()), None) => Ok(wishes),
        (Ok(()), Some(why)) => Err(refused(status::BAD_REQUEST, why)),
        (Err(BadTarget::Escape), _) => Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
        (Err(BadTarget::Parameter), _) => {
            let why = right_parameters(kind, is_of_several);
            Err(refused(status::BAD_REQUEST, why))
        }
    }
}

/// Says what the value of a parameter has to be.
fn right_value(name: &str) -> &'static str {
    match name {
        "from" => "`from` is earliest, latest or offset:NUMBER",
        "encoding" => "`encoding` is text or base64",
        "follow" => "`follow` is true or false",
        _ => "`limit` is a number of messages, at least 1",
    }
}

/// Says which parameters there are.
const fn right_parameters(kind: Kind, is_of_several: bool) -> &'static str {
    match kind {
        Kind::Events if is_of_several => {
            "a stream of several topics takes `topic`, `from`, `encoding` and `last_event_id`"
        }
        Kind::Events => "a stream takes `from`, `encoding` and `last_event_id`",
        Kind::Raw => "payloads are read with `from`, `limit` and `follow`",
        _ => "messages are read with `from`, `limit`, `follow` and `encoding`",
    }
}

fn read_number(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}

pub(crate) fn read_start(value: &[u8]) -> Option<Start> {
    match value {
        b"earliest" => Some(Start::Earliest),
        b"latest" => Some(Start::Latest),
        _ => {
            let number = read_number(value.strip_prefix(b"offset:")?)?;
            Some(Start::Offset(Offset::new(number)))
        }
    }
}

/// Returns where a stream goes on that ended behind the event with this id.
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

#[cfg(test)]
mod tests;
