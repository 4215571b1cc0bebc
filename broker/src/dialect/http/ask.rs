//! Reads what a request asks.

use oyez_protocol::command::Question;
use oyez_protocol::record::Record;

use crate::dialect::command::{Command, DecodeProgress, Refusal, Subscribe};
use crate::dialect::exchange::{Exchange, Streams, Wants};
use crate::dialect::http::asked::{Asked, Refused, Scratch, Upgrade, Wanted, refused, topic_of};
use crate::dialect::http::body::{self, BadBody, Body};
use crate::dialect::http::head::{self, BadHead, FIELDS_MAX, Field, Head};
use crate::dialect::http::target::Target;
use crate::dialect::http::{batch, inquiry, publish, stream, upgrade};
use crate::dialect::rules::Rules;
use crate::dialect::status::{self, Status};

/// The text at `GET /`.
const ROOT: &str = concat!(
    "Oyez ",
    env!("CARGO_PKG_VERSION"),
    "\n\nPOST /TOPIC       publishes the body to a topic:  curl -d hello localhost:7450/demo\n\
     GET  /TOPIC/sse   sends its messages as they come:  curl -N localhost:7450/demo/sse\n\
     GET  /TOPIC/ws    the same over WebSocket, as JSON; /api/v1/ws for any topics\n\
     GET  /TOPIC/json  reads what is kept, as JSON:      curl localhost:7450/demo/json\n\
     GET  /TOPIC/raw   reads payloads:                   curl 'localhost:7450/demo/raw?from=offset:0&limit=1'\n"
);

const TOO_EARLY: &str = "nothing may follow a request to become a WebSocket before its answer";
const NO_HEAD: &str = "messages are read with GET";

/// The result of decoding the front of a session's input.
#[derive(Debug)]
pub(crate) enum Front<'a> {
    /// The request is not whole yet.
    Need {
        /// The input has to be this long at least.
        total: usize,
        /// Its head is whole, and nothing in it is refused.
        has_head: bool,
        /// The client waits to be told that the rest is wanted (`100 Continue`).
        expects: bool,
    },
    /// A request.
    Request {
        /// The commands of the request, in order: several where it publishes several records.
        commands: Commands<'a>,
        exchange: Exchange,
        /// Bytes of the input that the request takes.
        size: usize,
        /// Bytes that were compressed for it, or left as they were because that makes them no smaller.
        encoded: Option<usize>,
    },
    /// A request to go on as a WebSocket, which is all of the input.
    Upgrade {
        upgrade: Upgrade,
        /// The session's first command, without the framing of WebSocket; may be empty.
        says: &'a [u8],
        size: usize,
    },
}

/// The commands of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Commands<'a> {
    One(Command<'a>),
    /// Publishes records, which lie in these bytes at these places.
    Publish(&'a [u8], &'a [(usize, usize)]),
    /// Asks for the messages of several topics, whose names lie in these bytes.
    Subscribe(&'a [u8], &'a [Wanted]),
}

impl<'a> Commands<'a> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Publish(_, places) => places.len(),
            Self::Subscribe(_, wanted) => wanted.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Command<'a> {
        match self {
            Self::One(command) => *command,
            Self::Publish(bytes, places) => {
                let (begin, end) = places[index];
                let record = Record::trusted(&bytes[begin..end]);
                Command::Publish(record.expect("it was built just now"))
            }
            Self::Subscribe(names, wanted) => Command::Subscribe(Subscribe {
                request: u32::try_from(index).expect("few topics are asked for at once"),
                topic: name_of(names, wanted[index]),
                start: wanted[index].start,
                epoch: wanted[index].epoch,
            }),
        }
    }
}

/// Decodes the request at the front of `input`.
///
/// `is_operators` says whether the request came to the operator's address. `resumed` is the number of a request of which some
/// commands were taken already, and which is decoded again.
pub(crate) fn decode<'a>(
    input: &'a [u8],
    progress: &mut DecodeProgress,
    (rules, is_operators): (&Rules, bool),
    resumed: Option<u64>,
    scratch: &'a mut Scratch,
) -> Front<'a> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let (head, head_size) = match find_head(input, &mut fields, progress) {
        Ok(Some(found)) => found,
        Ok(None) => return need(input.len() + 1, (false, false)),
        Err(BadHead { status, message }) => return give_up(input, status, message),
    };
    scratch.requests += u64::from(resumed.is_none());
    let mut exchange = Exchange {
        number: resumed.unwrap_or(scratch.requests),
        taken: 0,
        is_being_taken: false,
        wants: Wants::Whatever,
        is_head: head.method == "HEAD",
        is_1_0: head.is_1_0,
        closes: !head.keeps_alive,
        readers: readers(&head, rules).filter(|_| !is_operators),
    };
    let asked = ask(&head, (rules, is_operators), scratch);
    let framing = (head.framing, rules.body_size_max());
    let size = match body::find(input, head_size, framing, progress) {
        Ok(Body::Whole { size }) => size,
        // The body of a request that is refused anyway is not waited for.
        Ok(Body::Need(total)) if asked.is_ok() => {
            return need(total, (true, head.expects && !progress.continued));
        }
        Ok(Body::Need(_)) => {
            exchange.closes = true;
            input.len()
        }
        Err(BadBody { status, message }) => return give_up(input, status, message),
    };
    if let Ok(Asked::Upgrade(upgrade)) = asked {
        return switch(upgrade, input, size, scratch);
    }
    let whole = (&input[..size], head_size);
    let means = (rules, &mut *scratch);
    let publishes = matches!(asked, Ok(Asked::Publish { .. } | Asked::PublishAll { .. }));
    let asked = asked.and_then(|asked| prepare(asked, &head, whole, &mut exchange, means));
    // Compressing in vain counts, too.
    let encoded = publishes.then_some(scratch.body.len());
    Front::Request {
        commands: match asked {
            Ok(Asked::Publish { .. } | Asked::PublishAll { .. }) => {
                Commands::Publish(&scratch.record, &scratch.places)
            }
            Ok(Asked::Streams { .. }) => Commands::Subscribe(&scratch.topic, &scratch.wanted),
            asked => Commands::One(command(&asked, scratch)),
        },
        exchange,
        size,
        encoded,
    }
}

/// Goes on as a WebSocket, unless something has come too early.
fn switch<'a>(upgrade: Upgrade, input: &[u8], size: usize, scratch: &'a Scratch) -> Front<'a> {
    if input.len() > size {
        return give_up(input, status::BAD_REQUEST, TOO_EARLY);
    }
    let says = &scratch.body;
    Front::Upgrade {
        upgrade,
        says,
        size,
    }
}

/// Prepares what a whole request asks, and notes what its answer is to hold.
fn prepare(
    asked: Asked,
    head: &Head<'_, '_>,
    whole: (&[u8], usize),
    exchange: &mut Exchange,
    (rules, scratch): (&Rules, &mut Scratch),
) -> Result<Asked, Refused> {
    match asked {
        Asked::Publish { waits } => {
            copy_body(head, whole, scratch);
            let means = (waits, rules);
            exchange.wants = publish::build(head, means, exchange.number, scratch)?;
        }
        Asked::PublishAll { waits } => {
            copy_body(head, whole, scratch);
            exchange.wants = batch::build((waits, rules), exchange.number, scratch)?;
        }
        Asked::Stream { stream, .. } => exchange.wants = Wants::Stream(stream),
        Asked::Streams { form } => {
            let names = scratch.wanted.iter();
            let names = names.map(|wanted| name_of(&scratch.topic, *wanted).into());
            exchange.wants = Wants::Streams(Box::new(Streams {
                form,
                topics: names.collect(),
                begun: vec![None; scratch.wanted.len()],
            }));
        }
        Asked::Health { .. }
        | Asked::Metrics
        | Asked::Stats
        | Asked::Topics
        | Asked::Topic
        | Asked::Text(_)
        | Asked::Upgrade(_)
        | Asked::Preflight => {}
    }
    Ok(asked)
}

fn copy_body(head: &Head<'_, '_>, (input, head_size): (&[u8], usize), scratch: &mut Scratch) {
    scratch.body.clear();
    body::copy(input, head_size, head.framing, &mut scratch.body);
}

/// Finds the head at the front of `input`, and its size; `None` if it has not come whole.
fn find_head<'f, 'a>(
    input: &'a [u8],
    fields: &'f mut [Field<'a>; FIELDS_MAX],
    progress: &mut DecodeProgress,
) -> Result<Option<(Head<'f, 'a>, usize)>, BadHead> {
    let Some(size) = head::end(input, progress)? else {
        return Ok(None);
    };
    Ok(Some((head::read(&input[..size], fields)?, size)))
}

const fn need<'a>(total: usize, (has_head, expects): (bool, bool)) -> Front<'a> {
    Front::Need {
        total,
        has_head,
        expects,
    }
}

/// Answers input that cannot be read; nothing that follows it is read.
fn give_up<'a>(input: &[u8], status: Status, message: &'static str) -> Front<'a> {
    Front::Request {
        commands: Commands::One(Command::Refuse(Refusal {
            request: 0,
            status,
            message,
            retry_after_ms: 0,
        })),
        exchange: Exchange::LAST,
        size: input.len(),
        encoded: None,
    }
}

fn name_of(names: &[u8], wanted: Wanted) -> &str {
    topic_of(&names[wanted.name.0..wanted.name.1])
}

fn command<'a>(asked: &Result<Asked, Refused>, scratch: &'a Scratch) -> Command<'a> {
    match *asked {
        Ok(
            Asked::Publish { .. }
            | Asked::PublishAll { .. }
            | Asked::Streams { .. }
            | Asked::Upgrade(_),
        ) => Command::Nothing,
        Ok(Asked::Stream { start, epoch, .. }) => Command::Subscribe(Subscribe {
            request: 0,
            topic: topic_of(&scratch.topic),
            start,
            epoch,
        }),
        Ok(Asked::Health { ready }) => Command::Health { ready },
        Ok(Asked::Metrics) => Command::Metrics,
        Ok(Asked::Stats) => Command::Query {
            request: 0,
            question: Question::Stats,
        },
        Ok(Asked::Topics) => Command::Query {
            request: 0,
            question: Question::Topics {
                after: topic_of(&scratch.topic),
            },
        },
        Ok(Asked::Topic) => Command::Topic {
            request: 0,
            topic: topic_of(&scratch.topic),
        },
        Ok(Asked::Text(text)) => Command::Say(text),
        Ok(Asked::Preflight) => Command::Say(""),
        Err(Refused { status, message }) => Command::Refuse(Refusal {
            request: 0,
            status,
            message: message.unwrap_or(&scratch.message),
            retry_after_ms: 0,
        }),
    }
}

/// Returns the origin whose pages may read the answer.
fn readers(head: &Head<'_, '_>, rules: &Rules) -> Option<Box<str>> {
    let origin = head.text("origin")?;
    rules.is_known(origin).then(|| origin.into())
}

/// Checks that the broker knows the name that it is asked by. HTTP/1.0 may leave the host out; no browser does.
fn check_host(head: &Head<'_, '_>, rules: &Rules, scratch: &mut Scratch) -> Result<(), Refused> {
    if rules.allow_host(head.host) || (head.is_1_0 && head.host.is_empty()) {
        return Ok(());
    }
    scratch.say(format_args!(
        "this broker is not asked as {:?}; put that name into `hosts`",
        head.host
    ));
    Err(Refused {
        status: status::MISDIRECTED,
        message: None,
    })
}

/// Reads from the head what a request asks.
fn ask(
    head: &Head<'_, '_>,
    (rules, is_operators): (&Rules, bool),
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    check_host(head, rules, scratch)?;
    // A fragment is not part of a request; a proxy may have decided by it.
    if head.target.contains('#') {
        let why = "a target has no #; as a part of a topic it is %23";
        return Err(refused(status::BAD_REQUEST, why));
    }
    let target = Target::new(head.target);
    match head.method {
        "OPTIONS" => Ok(Asked::Preflight),
        "POST" | "PUT" => {
            check_origin(head, (rules, is_operators), scratch)?;
            publish::ask(target, scratch)
        }
        "GET" | "HEAD" if target.path == "/" => Ok(Asked::Text(ROOT)),
        "HEAD" if stream::is_of_several(target.path) || upgrade::is_one(target.path) => {
            Err(refused(status::METHOD_NOT_ALLOWED, NO_HEAD))
        }
        "GET" if stream::is_of_several(target.path) => {
            check_origin(head, (rules, is_operators), scratch)?;
            stream::ask_several(head, target, scratch)
        }
        "GET" if upgrade::is_one(target.path) => {
            check_origin(head, (rules, is_operators), scratch)?;
            upgrade::ask(head, target, scratch)
        }
        "GET" | "HEAD" if inquiry::is_one(target.path) => {
            if is_operators {
                check_origin(head, (rules, is_operators), scratch)?;
            }
            inquiry::ask(target, is_operators, scratch)
        }
        "HEAD" if stream::kind(target.path).is_some() => {
            Err(refused(status::METHOD_NOT_ALLOWED, NO_HEAD))
        }
        "GET" if let Some((path, kind)) = stream::kind(target.path) => {
            check_origin(head, (rules, is_operators), scratch)?;
            stream::ask(head, (target, path, kind), scratch)
        }
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

/// Refuses pages of other sites that change something or ask for messages, unless their origin is known. Browsers name the page
/// that asks: always with a request that changes something, and newer ones otherwise at least whether it is of another site.
fn check_origin(
    head: &Head<'_, '_>,
    (rules, is_operators): (&Rules, bool),
    scratch: &mut Scratch,
) -> Result<(), Refused> {
    let is_allowed = match head.field("origin") {
        Some(_) => head
            .text("origin")
            .is_some_and(|origin| rules.allow_origin(origin, (head.host, !is_operators))),
        None => head
            .text("sec-fetch-site")
            .is_none_or(|site| matches!(site, "same-origin" | "none")),
    };
    if is_allowed {
        return Ok(());
    }
    let origin = head.text("origin").unwrap_or("another site");
    let way_out = match is_operators {
        true => "nothing at the operator's address is for pages of other sites",
        false => "put their origin into `origins`",
    };
    scratch.say(format_args!(
        "pages of {origin:?} may not do this; {way_out}"
    ));
    Err(Refused {
        status: status::FORBIDDEN,
        message: None,
    })
}
