//! From bytes to what a request asks.

use oyez_protocol::lz4;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::record::{PushError, Record, RecordBuilder};
use oyez_protocol::topic;

use crate::dialect::command::{Command, Progress};
use crate::dialect::exchange::{Exchange, Refusal, Wants};
use crate::dialect::http::body::{self, BadBody, Body};
use crate::dialect::http::head::{self, BadHead, FIELDS_MAX, Field, Head};
use crate::dialect::http::target::{BadTarget, Target, unescape};
use crate::dialect::rules::Rules;
use crate::dialect::status::{self, Status};

/// First parts of paths that are no topics.
const FIRST_RESERVED: [&str; 5] = ["api", "console", "livez", "metrics", "readyz"];
/// Last parts of paths that name the form of what is read.
const LAST_RESERVED: [&str; 4] = ["json", "raw", "sse", "ws"];
/// What begins the name of a field that becomes a header of the message.
const HEADER_PREFIX: &str = "x-header-";

/// What `GET /` says.
const ROOT: &str = concat!(
    "Oyez ",
    env!("CARGO_PKG_VERSION"),
    "\n\nPOST /TOPIC   publishes the body to a topic:  curl -d hello localhost:7450/demo\n"
);

/// What the front of a session's input is.
#[derive(Debug)]
pub(crate) enum Front<'a> {
    /// Not a whole request yet.
    Need {
        /// The input has to be so long at least.
        total: usize,
        /// The client waits to be told that the rest is wanted.
        expects: bool,
    },
    /// A request.
    Request {
        command: Command<'a>,
        exchange: Exchange,
        /// Bytes of the input that it takes.
        size: usize,
        /// Bytes that were compressed for it, or not because that makes them no smaller.
        encoded: Option<usize>,
    },
}

/// Memory that requests are turned into commands in, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    body: Vec<u8>,
    topic: Vec<u8>,
    headers: Vec<u8>,
    record: Vec<u8>,
    message: String,
    codec: lz4::Scratch,
    /// Requests so far.
    requests: u64,
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// To publish its body; whether it waits for the outcome.
    Publish { waits: bool },
    /// To be told a text.
    Text(&'static str),
    /// What a page of another origin may ask.
    Preflight,
}

/// Why a request is not served, with a sentence in the scratch memory, or one that is always the same.
struct Refused {
    status: Status,
    message: Option<&'static str>,
}

const fn refused(status: Status, message: &'static str) -> Refused {
    Refused {
        status,
        message: Some(message),
    }
}

/// Decodes the request at the front of `input`.
pub(crate) fn decode<'a>(
    input: &'a [u8],
    progress: &mut Progress,
    rules: &Rules,
    scratch: &'a mut Scratch,
) -> Front<'a> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let (head, head_size) = match find_head(input, &mut fields, progress) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Front::Need {
                total: input.len() + 1,
                expects: false,
            };
        }
        Err(BadHead { status, message }) => return give_up(input, status, message),
    };
    scratch.requests += 1;
    let mut exchange = Exchange {
        number: scratch.requests,
        wants: Wants::Whatever,
        is_head: head.method == "HEAD",
        is_1_0: head.is_1_0,
        closes: !head.keeps_alive,
        readers: readers(&head, rules),
    };
    let asked = ask(&head, rules, scratch);
    let framing = (head.framing, rules.body_size_max());
    let size = match body::find(input, head_size, framing, progress) {
        Ok(Body::Whole { size }) => size,
        // What is refused anyway is not waited for.
        Ok(Body::Need(total)) if asked.is_ok() => {
            return Front::Need {
                total,
                expects: head.expects && !progress.continued,
            };
        }
        Ok(Body::Need(_)) => {
            exchange.closes = true;
            input.len()
        }
        Err(BadBody::TooLarge) => return give_up(input, status::TOO_LARGE, TOO_LARGE),
        Err(BadBody::Chunks(message)) => return give_up(input, status::BAD_REQUEST, message),
    };
    let whole = (&input[..size], head_size);
    let built = asked.and_then(|asked| match asked {
        Asked::Publish { waits } => {
            exchange.wants = publish(&head, whole, (waits, rules), scratch)?;
            Ok((asked, Some(scratch.body.len())))
        }
        Asked::Text(_) | Asked::Preflight => Ok((asked, None)),
    });
    let encoded = built.as_ref().map_or(None, |(_, encoded)| *encoded);
    Front::Request {
        command: command(&built.map(|(asked, _)| asked), scratch),
        exchange,
        size,
        encoded,
    }
}

const TOO_LARGE: &str = "the body is larger than this broker takes";

/// The head that `input` begins with, and its size; `None` if it has not come whole.
fn find_head<'f, 'a>(
    input: &'a [u8],
    fields: &'f mut [Field<'a>; FIELDS_MAX],
    progress: &mut Progress,
) -> Result<Option<(Head<'f, 'a>, usize)>, BadHead> {
    let Some(size) = head::end(input, progress)? else {
        return Ok(None);
    };
    Ok(Some((head::read(&input[..size], fields)?, size)))
}

/// Makes the body of a whole request a record, and says what the answer is to tell.
fn publish(
    head: &Head<'_, '_>,
    (input, head_size): (&[u8], usize),
    (waits, rules): (bool, &Rules),
    scratch: &mut Scratch,
) -> Result<Wants, Refused> {
    scratch.body.clear();
    body::copy(input, head_size, head.framing, &mut scratch.body);
    build(head, rules, scratch)?;
    Ok(match waits {
        true => Wants::Place(topic_of(&scratch.topic).into()),
        false => Wants::Nothing,
    })
}

/// What cannot be read is answered, and nothing that follows it is read.
fn give_up<'a>(input: &[u8], status: Status, message: &'static str) -> Front<'a> {
    Front::Request {
        command: Command::Refuse(Refusal {
            status,
            message,
            retry_after_ms: 0,
        }),
        exchange: Exchange {
            number: 0,
            wants: Wants::Whatever,
            is_head: false,
            is_1_0: false,
            closes: true,
            readers: None,
        },
        size: input.len(),
        encoded: None,
    }
}

fn command<'a>(asked: &Result<Asked, Refused>, scratch: &'a Scratch) -> Command<'a> {
    match *asked {
        Ok(Asked::Publish { .. }) => {
            let record = Record::trusted(&scratch.record).expect("it was built just now");
            Command::Publish(record)
        }
        Ok(Asked::Text(text)) => Command::Say(text),
        Ok(Asked::Preflight) => Command::Say(""),
        Err(Refused { status, message }) => Command::Refuse(Refusal {
            status,
            message: message.unwrap_or(&scratch.message),
            retry_after_ms: 0,
        }),
    }
}

/// The origin whose pages may read the answer.
fn readers(head: &Head<'_, '_>, rules: &Rules) -> Option<Box<str>> {
    let origin = head.text("origin")?;
    rules.is_known(origin).then(|| origin.into())
}

/// What a request asks, by its head.
fn ask(head: &Head<'_, '_>, rules: &Rules, scratch: &mut Scratch) -> Result<Asked, Refused> {
    // HTTP/1.0 may leave the host out; no browser does.
    if !(rules.allow_host(head.host) || (head.is_1_0 && head.host.is_empty())) {
        scratch.say(format_args!(
            "this broker is not asked as {:?}; put that name into `hosts`",
            head.host
        ));
        return Err(Refused {
            status: status::MISDIRECTED,
            message: None,
        });
    }
    let target = Target::new(head.target);
    match head.method {
        "OPTIONS" => Ok(Asked::Preflight),
        "POST" | "PUT" => {
            check_origin(head, rules, scratch)?;
            ask_to_publish(target, scratch)
        }
        "GET" | "HEAD" if target.path == "/" => Ok(Asked::Text(ROOT)),
        "GET" | "HEAD" => Err(refused(
            status::NOT_FOUND,
            "there is nothing to read here; GET / says what there is",
        )),
        "DELETE" | "PATCH" | "TRACE" | "CONNECT" => Err(refused(
            status::METHOD_NOT_ALLOWED,
            "this broker takes GET, HEAD, POST, PUT and OPTIONS",
        )),
        _ => Err(refused(
            status::NOT_IMPLEMENTED,
            "this broker takes GET, HEAD, POST, PUT and OPTIONS",
        )),
    }
}

/// Pages of other sites change nothing and are sent nothing, unless their origin is known. Browsers say whose page asks:
/// always beside what changes something, and otherwise, the newer ones, at least whether it is another site's.
fn check_origin(head: &Head<'_, '_>, rules: &Rules, scratch: &mut Scratch) -> Result<(), Refused> {
    let is_allowed = match head.field("origin") {
        Some(_) => head
            .text("origin")
            .is_some_and(|origin| rules.allow_origin(origin, head.host)),
        None => head
            .text("sec-fetch-site")
            .is_none_or(|site| site != "cross-site"),
    };
    if is_allowed {
        return Ok(());
    }
    let origin = head.text("origin").unwrap_or("another site");
    scratch.say(format_args!(
        "pages of {origin:?} may not do this; put their origin into `origins`"
    ));
    Err(Refused {
        status: status::FORBIDDEN,
        message: None,
    })
}

fn ask_to_publish(target: Target<'_>, scratch: &mut Scratch) -> Result<Asked, Refused> {
    read_topic(target.path, scratch)?;
    let mut waits = Some(true);
    let read = target.each_parameter(|name, value| {
        match (name, value) {
            ("ack", b"none") => waits = Some(false),
            ("ack", b"durable") => waits = Some(true),
            ("ack", _) => waits = None,
            _ => return false,
        }
        true
    });
    match (read, waits) {
        (Ok(()), Some(waits)) => Ok(Asked::Publish { waits }),
        (Ok(()), None) => Err(refused(status::BAD_REQUEST, "`ack` is durable or none")),
        (Err(BadTarget::Parameter), _) => Err(refused(
            status::BAD_REQUEST,
            "what is published here takes one parameter, `ack`",
        )),
        (Err(BadTarget::Escape), _) => Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
    }
}

const BAD_ESCAPE: &str = "a % in the path is not followed by two hexadecimal digits";

/// Puts the topic that a path names into the scratch memory.
fn read_topic(path: &str, scratch: &mut Scratch) -> Result<(), Refused> {
    scratch.topic.clear();
    let escaped = path.strip_prefix('/').unwrap_or(path);
    if unescape(escaped, false, &mut scratch.topic).is_err() {
        return Err(refused(status::BAD_REQUEST, BAD_ESCAPE));
    }
    let topic = match topic::parse(&scratch.topic) {
        Ok(topic) => topic,
        Err(error) => {
            let text = error.to_string();
            scratch.say(format_args!("the path is no topic: {text}"));
            return Err(Refused {
                status: status::BAD_REQUEST,
                message: None,
            });
        }
    };
    let is_one_of =
        |part: Option<&str>, words: &[&str]| part.is_some_and(|part| words.contains(&part));
    if is_one_of(topic.split('/').next(), &FIRST_RESERVED) {
        return Err(refused(
            status::NOT_FOUND,
            "paths below api, console, livez, metrics and readyz are no topics",
        ));
    }
    if topic.contains('/') && is_one_of(topic.rsplit('/').next(), &LAST_RESERVED) {
        return Err(refused(
            status::METHOD_NOT_ALLOWED,
            "what ends in json, raw, sse or ws is read; publish to the path before it",
        ));
    }
    Ok(())
}

fn topic_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a topic is text")
}

/// Builds the record of a message, and compresses it if that makes it smaller.
fn build(head: &Head<'_, '_>, rules: &Rules, scratch: &mut Scratch) -> Result<(), Refused> {
    let names = head.fields.iter().filter_map(|field| {
        let (prefix, name) = field.name.split_at_checked(HEADER_PREFIX.len())?;
        let is_header = prefix.eq_ignore_ascii_case(HEADER_PREFIX) && !name.is_empty();
        is_header.then(|| (name.as_bytes(), field.value.trim_ascii()))
    });
    let names: Vec<(&[u8], &[u8])> = names.collect();
    scratch.headers.clear();
    if !names.is_empty() {
        write_headers(&names, &mut scratch.headers);
    }
    let message = MessageRef {
        key: head.field("x-key").map(<[u8]>::trim_ascii),
        headers: Headers::parse(&scratch.headers).unwrap_or_default(),
        payload: &scratch.body,
    };
    let mut builder =
        RecordBuilder::new(topic_of(&scratch.topic), rules.limits).expect("it was read just now");
    if let Err(PushError::TooLarge { size, max }) = builder.push(&message) {
        scratch.say(format_args!(
            "the message takes {size} bytes; a record of this broker has room for {max}"
        ));
        return Err(Refused {
            status: status::TOO_LARGE,
            message: None,
        });
    }
    scratch.record.clear();
    let number = scratch.requests;
    scratch
        .codec
        .finish(&mut builder, number, &mut scratch.record);
    Ok(())
}

impl Scratch {
    fn say(&mut self, message: std::fmt::Arguments<'_>) {
        self.message.clear();
        // Writing into memory cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut self.message, message);
    }
}
