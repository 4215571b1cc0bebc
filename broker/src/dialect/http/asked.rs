//! What a request asks, and the memory in which it becomes a command.

use oyez_protocol::command::Start;
use oyez_protocol::{Epoch, lz4, topic};

use crate::dialect::command::Dialect;
use crate::dialect::exchange::Stream;
use crate::dialect::form::Form;
use crate::dialect::http::target::unescape;
use crate::dialect::status::{self, Status};

/// First parts of paths that are not topics.
const FIRST_RESERVED: [&str; 5] = ["api", "console", "livez", "metrics", "readyz"];

/// Most bytes of a sentence.
const MESSAGE_BYTES_MAX: usize = 300;

/// Memory that requests are turned into commands in, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) body: Vec<u8>,
    pub(in crate::dialect) topic: Vec<u8>,
    pub(super) headers: Vec<u8>,
    pub(in crate::dialect) record: Vec<u8>,
    /// Where each of several records lies in the memory.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) wanted: Vec<Wanted>,
    pub(in crate::dialect) message: String,
    pub(super) codec: lz4::Scratch,
    /// Requests so far.
    pub(super) requests: u64,
}

/// One of several topics that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where its name lies among the names of all.
    pub(super) name: (usize, usize),
    pub(super) start: Start,
    pub(super) epoch: Option<Epoch>,
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Publishes its body, and `waits` for the outcome or not.
    Publish { waits: bool },
    /// Publishes the messages in its body, and `waits` for their outcomes or not.
    PublishAll { waits: bool },
    /// Asks for a topic's messages as they come.
    Stream {
        start: Start,
        epoch: Option<Epoch>,
        stream: Stream,
    },
    /// Asks for the messages of the topics in the scratch memory as they come.
    Streams { form: Form },
    /// Goes on as a WebSocket. The session's first command, if there is one, is in the scratch memory.
    Upgrade(Upgrade),
    /// Asks whether the broker lives, or is ready.
    Health { ready: bool },
    /// Asks for the broker's counters, for Prometheus.
    Metrics,
    /// Asks for the broker's counters, as JSON.
    Stats,
    /// Asks for the broker's topics behind the name in the scratch memory.
    Topics,
    /// Asks for a description of the topic in the scratch memory.
    Topic,
    /// Asks for a text.
    Text(&'static str),
    /// Asks what a page of another origin may do.
    Preflight,
}

/// From HTTP to WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// Proves that the request was read, made from its key.
    pub(crate) accept: [u8; 28],
    /// What the messages hold: frames under the subprotocol, or JSON.
    pub(crate) dialect: Dialect,
}

/// Why a request is not served: a sentence in the scratch memory, or one that is always the same.
pub(crate) struct Refused {
    pub(crate) status: Status,
    pub(crate) message: Option<&'static str>,
}

pub(crate) const fn refused(status: Status, message: &'static str) -> Refused {
    Refused {
        status,
        message: Some(message),
    }
}

pub(super) const BAD_ESCAPE: &str = "a % in the path is not followed by two hexadecimal digits";

/// Puts the topic that a path names into the scratch memory.
pub(super) fn read_topic(path: &str, scratch: &mut Scratch) -> Result<(), Refused> {
    scratch.topic.clear();
    let Some(escaped) = path.strip_prefix('/') else {
        return Err(refused(status::BAD_REQUEST, "a path begins with /"));
    };
    if unescape(escaped, false, &mut scratch.topic).is_err() {
        return Err(refused(status::BAD_REQUEST, BAD_ESCAPE));
    }
    let topic = match topic::parse(&scratch.topic) {
        Ok(topic) => topic,
        Err(error) => {
            let text = error.to_string();
            scratch.say(format_args!("the path is not a topic: {text}"));
            return Err(Refused {
                status: status::BAD_REQUEST,
                message: None,
            });
        }
    };
    check_first(topic)?;
    Ok(())
}

pub(crate) fn topic_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a topic is text")
}

impl Scratch {
    /// Puts a sentence into the memory, cut to [`MESSAGE_BYTES_MAX`]: it may quote a long part of a request.
    pub(in crate::dialect) fn say(&mut self, message: std::fmt::Arguments<'_>) {
        self.message.clear();
        // Writing into memory cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut Bounded(&mut self.message), message);
    }
}

/// A text that takes no more than [`MESSAGE_BYTES_MAX`].
struct Bounded<'a>(&'a mut String);

impl std::fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let left = MESSAGE_BYTES_MAX - self.0.len();
        let end = text.floor_char_boundary(left);
        self.0.push_str(&text[..end]);
        Ok(())
    }
}

/// Refuses topics that are paths of the broker itself.
pub(super) fn check_first(topic: &str) -> Result<(), Refused> {
    let first = topic.split('/').next().unwrap_or_default();
    if FIRST_RESERVED.contains(&first) {
        return Err(refused(
            status::NOT_FOUND,
            "paths below api, console, livez, metrics and readyz are not topics",
        ));
    }
    Ok(())
}

/// Last parts of paths that name the form of what is read.
const LAST_RESERVED: [&str; 4] = ["json", "raw", "sse", "ws"];

/// Refuses topics that could not be read under their own path.
pub(super) fn check_last(topic: &str) -> Result<(), Refused> {
    let last = topic.rsplit_once('/').map(|(_, last)| last);
    if last.is_some_and(|last| LAST_RESERVED.contains(&last)) {
        return Err(refused(
            status::METHOD_NOT_ALLOWED,
            "paths that end in json, raw, sse or ws are for reading; publish to the path before it",
        ));
    }
    Ok(())
}
