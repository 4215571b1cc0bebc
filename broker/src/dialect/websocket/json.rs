//! JSON over WebSocket, for clients without a library: each text message is a command, a reply or a message of a topic.
//!
//! | command | members beside `command` |
//! |---|---|
//! | `subscribe` | `topic`; `from`: `latest` (unless it says otherwise), `earliest` or `offset:N`; `epoch` of that offset |
//! | `unsubscribe` | `topic` |
//! | `publish` | `topic`, `payload` or `payload_base64`, `key`, `headers` |
//! | `ping` | |
//!
//! Each may have an `id`, a number from 1 to 4,294,967,295, which its answer repeats. A message of a topic is sent as in
//! [`crate::dialect::lines`], everything else has an `event`:
//!
//! | event | members | when |
//! |---|---|---|
//! | `$subscribed` | `id`, `topic`, `next`, `earliest`, `head`, `epoch` | messages from `next` on follow |
//! | `$unsubscribed` | `id`, `topic` | none of that topic follows |
//! | `$published` | `id`, `offset`, `epoch` | the message is as safe as its topic promises; not without an `id` |
//! | `$pong` | `id` | |
//! | `$error` | `id`, `error`, `message`, `retry_after_ms` | a command was not done; the session goes on |
//! | `$gap`, `$epoch` | `topic` and those of [`crate::dialect::sse`] | messages that will not come; another history |
//! | `$reference` | `topic`, `url`, `from`, `to` | messages too large for a stream, and where they can be read |
//! | `$goodbye` | `reason`, `retry_after_ms` | the session ends, but not for what is wrong with messages: the Close says that |

use oyez_protocol::command::Start;
use oyez_protocol::event::{Outcome, PublishedEntry};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, topic};
use serde::{Deserialize, Serialize};

use crate::dialect::command::{Command, Refusal, Reply, Subscribe, Subscribed};
use crate::dialect::form::Form;
use crate::dialect::http::{
    Refused, Row, Scratch, build_one, read_start, refused, topic_of, wrong,
};
use crate::dialect::rules::Rules;
use crate::dialect::run::{Opcode, in_frame};
use crate::dialect::status;
use crate::dialect::text::{Pairs, Text};
use crate::dialect::{lines, stream};

/// A command, as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    command: Text<'a>,
    id: Option<u32>,
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
    #[serde(borrow)]
    payload: Option<Text<'a>>,
    #[serde(borrow)]
    payload_base64: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Pairs<'a>,
}

/// The number of a line that may not be a command.
#[derive(Deserialize)]
struct Numbered {
    id: Option<u32>,
}

/// What a line asks; names and records are in the scratch memory.
enum Asked {
    Subscribe(Start, Option<Epoch>),
    Unsubscribe,
    Publish,
    Ping,
}

/// A command as a client could have sent it: to subscribe to a topic.
#[derive(Serialize)]
struct SubscribeLine<'a> {
    command: &'a str,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

/// Adds the line of a wish to subscribe.
pub(crate) fn write_subscribe(
    topic: &str,
    (from, epoch): (Option<&str>, Option<&str>),
    out: &mut Vec<u8>,
) {
    let command = "subscribe";
    let line = SubscribeLine {
        command,
        topic,
        from,
        epoch,
    };
    serde_json::to_writer(&mut *out, &line).expect("text is JSON");
    out.push(b'\n');
}

/// Decodes a line into a command. Returns with it the bytes that were compressed for it, or left as they were.
pub(crate) fn decode<'a>(
    line: &[u8],
    rules: &Rules,
    scratch: &'a mut Scratch,
) -> (Command<'a>, Option<usize>) {
    let mut request = 0;
    let asked = read(line, (rules, &mut request), scratch);
    let command = match asked {
        Ok(Asked::Subscribe(start, epoch)) => Command::Subscribe(Subscribe {
            request,
            topic: topic_of(&scratch.topic),
            start,
            epoch,
        }),
        Ok(Asked::Unsubscribe) => Command::Unsubscribe {
            request,
            topic: topic_of(&scratch.topic),
        },
        Ok(Asked::Publish) => {
            let record = Record::trusted(&scratch.record);
            let record = record.expect("it was built just now");
            return (Command::Publish(record), Some(scratch.record.len()));
        }
        Ok(Asked::Ping) => Command::Ping {
            token: request.into(),
        },
        Err(Refused { status, message }) => Command::Refuse(Refusal {
            request,
            status,
            message: message.unwrap_or(&scratch.message),
            retry_after_ms: 0,
        }),
    };
    (command, None)
}

fn read(
    line: &[u8],
    (rules, request): (&Rules, &mut u32),
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    let line = parse(line, request, scratch)?;
    if line.id == Some(0) {
        return Err(bad(Some("`id` is a number, at least 1")));
    }
    line.check_members()?;
    let Some(name) = &line.topic else {
        return Ok(Asked::Ping);
    };
    match &*line.command {
        "subscribe" => {
            read_topic(name, scratch)?;
            read_begin(&line)
        }
        "unsubscribe" => {
            read_topic(name, scratch)?;
            Ok(Asked::Unsubscribe)
        }
        "publish" => {
            let row = Row {
                topic: name.clone(),
                payload: line.payload,
                payload_base64: line.payload_base64,
                key: line.key,
                headers: line.headers,
            };
            build_one(&row, (u64::from(*request), rules), scratch)?;
            Ok(Asked::Publish)
        }
        _ => Err(bad(Some(NO_COMMAND))),
    }
}

const NO_COMMAND: &str = "`command` is subscribe, unsubscribe, publish or ping";

/// Parses a line. Its number is returned also where it is not a command.
fn parse<'a>(
    line: &'a [u8],
    request: &mut u32,
    scratch: &mut Scratch,
) -> Result<Line<'a>, Refused> {
    // The parser would accept a list of the members, too.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(bad(Some(
            "the message is not a command: it has to be a JSON object",
        )));
    }
    let parsed: Result<Line<'_>, _> = serde_json::from_slice(line);
    let id = match &parsed {
        Ok(line) => line.id,
        Err(_) => serde_json::from_slice(line).map_or(None, |numbered: Numbered| numbered.id),
    };
    *request = id.unwrap_or_default();
    parsed.map_err(|error| {
        scratch.say(format_args!(
            "the message is not a command in JSON: {error}"
        ));
        bad(None)
    })
}

impl Line<'_> {
    /// Checks that a command has only the members that are its own.
    fn check_members(&self) -> Result<(), Refused> {
        let begins = self.from.is_some() || self.epoch.is_some();
        let has_payload = self.payload.is_some() || self.payload_base64.is_some();
        let holds = has_payload || self.key.is_some() || !self.headers.0.is_empty();
        let names = self.topic.is_some();
        let (is_right, why) = match &*self.command {
            "subscribe" => (
                names && !holds,
                "`subscribe` has `topic`, and may have `from` and `epoch`",
            ),
            "unsubscribe" => (names && !begins && !holds, "`unsubscribe` has `topic`"),
            "publish" => (
                names && !begins,
                "`publish` has `topic` and `payload` or `payload_base64`, and may have `key` and `headers`",
            ),
            "ping" => (
                !names && !begins && !holds,
                "`ping` has no members beside `id`",
            ),
            _ => (false, NO_COMMAND),
        };
        is_right.then_some(()).ok_or(bad(Some(why)))
    }
}

const fn bad(message: Option<&'static str>) -> Refused {
    Refused {
        status: status::BAD_REQUEST,
        message,
    }
}

/// Puts the topic that a command names into the scratch memory.
fn read_topic(name: &str, scratch: &mut Scratch) -> Result<(), Refused> {
    scratch.topic.clear();
    if let Err(error) = topic::parse(name.as_bytes()) {
        scratch.say(format_args!("`topic` is not valid: {error}"));
        return Err(bad(None));
    }
    scratch.topic.extend_from_slice(name.as_bytes());
    Ok(())
}

/// Why an epoch is refused.
pub(crate) const ALONE: &str = "an `epoch` belongs to an offset: give `from` as offset:NUMBER";

fn read_begin(line: &Line<'_>) -> Result<Asked, Refused> {
    let start = line
        .from
        .as_ref()
        .map_or(Some(Start::Latest), |from| read_start(from.as_bytes()));
    let Some(start) = start else {
        return Err(refused(
            status::BAD_REQUEST,
            "`from` is earliest, latest or offset:NUMBER",
        ));
    };
    let epoch = match &line.epoch {
        None => None,
        Some(_) if planted(Bug::IgnoresTheEpoch) => None,
        Some(text) => {
            let why = "`epoch` is one that the broker has sent, 16 hexadecimal digits";
            let epoch: Option<Epoch> = text.parse().ok();
            Some(epoch.ok_or(bad(Some(why)))?)
        }
    };
    if epoch.is_some() && !matches!(start, Start::Offset(_)) {
        return Err(bad(Some(ALONE)));
    }
    Ok(Asked::Subscribe(start, epoch))
}

// Replies.

#[derive(Serialize)]
struct SubscribedData<'a> {
    #[serde(skip_serializing_if = "is_none")]
    id: u32,
    topic: &'a str,
    next: u64,
    earliest: u64,
    head: u64,
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
}

#[derive(Serialize)]
struct UnsubscribedData<'a> {
    #[serde(skip_serializing_if = "is_none")]
    id: u32,
    topic: &'a str,
}

#[derive(Serialize)]
struct PublishedData {
    id: u32,
    offset: u64,
    epoch: String,
}

#[derive(Serialize)]
struct PongData {
    #[serde(skip_serializing_if = "is_none")]
    id: u32,
}

#[derive(Serialize)]
struct ErrorData<'a> {
    #[serde(skip_serializing_if = "is_none")]
    id: u32,
    error: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    retry_after_ms: u32,
}

#[derive(Serialize)]
struct GoodbyeData<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    retry_after_ms: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(number: &u32) -> bool {
    *number == 0
}

/// Adds a reply as a message, or as many as it takes.
pub(super) fn encode(reply: &Reply<'_>, out: &mut Vec<u8>) {
    match *reply {
        Reply::Published(entries) => {
            for entry in entries {
                tell_published(entry, out);
            }
        }
        Reply::Subscribed { topic, subscribed } => tell_subscribed(topic, &subscribed, out),
        Reply::Unsubscribed {
            request: id,
            topic,
            outcome,
        } => match outcome.is_done() {
            true => event("$unsubscribed", &UnsubscribedData { id, topic }, out),
            false => tell_wrong(id, outcome, 0, out),
        },
        Reply::Refused(refusal) => {
            let data = ErrorData {
                id: refusal.request,
                error: refusal.status.error,
                message: refusal.message,
                retry_after_ms: refusal.retry_after_ms,
            };
            event("$error", &data, out);
        }
        Reply::Gap { .. } => stream::tell(Form::OBJECTS, reply, out),
        Reply::Ping { .. } => in_frame(Opcode::Ping, out, |_| ()),
        Reply::Pong { token } => event("$pong", &PongData { id: token as u32 }, out),
        Reply::Goodbye(goodbye) => {
            let data = GoodbyeData {
                reason: &goodbye.reason,
                retry_after_ms: goodbye.retry_after_ms,
            };
            event("$goodbye", &data, out);
        }
        // No command here asks for these.
        Reply::Welcome(_)
        | Reply::Unsupported { .. }
        | Reply::Answer { .. }
        | Reply::Health { .. }
        | Reply::Metrics(_)
        | Reply::Said(_)
        | Reply::Taken
        | Reply::ResumeAt(_) => {}
    }
}

fn event(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    lines::write_event(name, data, Form::OBJECTS.style, out);
}

fn tell_published(entry: &PublishedEntry, out: &mut Vec<u8>) {
    let id = (entry.correlation >> 16) as u32;
    if !entry.outcome.is_done() {
        return tell_wrong(id, entry.outcome, entry.retry_after_ms, out);
    }
    if id > 0 {
        let data = PublishedData {
            id,
            offset: entry.offset.get(),
            epoch: entry.epoch.to_string(),
        };
        event("$published", &data, out);
    }
}

fn tell_subscribed(topic: &str, subscribed: &Subscribed, out: &mut Vec<u8>) {
    if !subscribed.outcome.is_done() {
        return tell_wrong(subscribed.request, subscribed.outcome, 0, out);
    }
    let data = SubscribedData {
        id: subscribed.request,
        topic,
        next: subscribed.next.get(),
        earliest: subscribed.earliest.get(),
        head: subscribed.head.get(),
        epoch: subscribed.epoch.to_string(),
    };
    event("$subscribed", &data, out);
    stream::write_why_elsewhere((Form::OBJECTS, Some(topic)), subscribed, out);
}

fn tell_wrong(id: u32, outcome: Outcome, retry_after_ms: u32, out: &mut Vec<u8>) {
    let (status, message) = wrong(outcome);
    let data = ErrorData {
        id,
        error: status.error,
        message,
        retry_after_ms,
    };
    event("$error", &data, out);
}
