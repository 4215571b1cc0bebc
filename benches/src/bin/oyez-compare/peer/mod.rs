//! Other servers as targets. A [`Dialect`] says how messages are written and what answers mean; here they become
//! publications, places and answers of the bench.
//!
//! Such servers do not number messages, so the first bytes of each payload do: the number of the message in its topic,
//! and how many messages its publication has. A publication is as many messages, written at once, and something that
//! the server answers when it has taken in all of them. It is heard when its last message is there; until then its
//! bytes wait, so that a message lost in the middle is seen.

mod broadcast;
mod dialect;
mod jetstream;
mod mqtt;
mod nats;
mod over_websocket;
mod redis;
mod redis_stream;
#[cfg(test)]
mod trial;

use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use broadcast::Broadcast;
use dialect::{Dialect, Said};
use jetstream::JetStream;
use mqtt::Mqtt;
use nats::Nats;
use over_websocket::OverWebSocket;
use oyez_cli::Failure;
use oyez_cli::bench::websocket::{self, Path};
use oyez_cli::bench::{Ear, Greeting, Heard, Listening, Place, Plan, Stamp, Target, Via};
use redis::Redis;
use redis_stream::RedisStream;

/// Bytes of a payload that say which it is: number (8) and messages of its publication (4), little-endian.
const MARK_BYTES: usize = 12;
/// A subscriber that sends nothing counts as connected when the server says so.
const NOT_TOLD: &str = "--silent goes with the broker and the floor; other servers do not say how many connections they have accepted";
/// Such a server acknowledges what it has taken for its subscribers; it keeps nothing by itself.
const NOT_DURABLE: &str = "--durable goes with publish and redis:// or nats://; others have no append that is acknowledged when it is on disk";

/// Another server, as `--target` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    protocol: Protocol,
    address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Redis,
    Nats,
    Mqtt,
    NatsOverWebSocket,
    WebSocket,
}

impl Peer {
    /// The target that it is.
    pub(crate) fn target(self, plan: Plan, durable: bool) -> Result<Arc<dyn Target>, Failure> {
        if plan.greeting == Greeting::Silence {
            return Err(Failure::Usage(NOT_TOLD.to_owned()));
        }
        if plan.via != Via::Native {
            let via = plan.via.name();
            return Err(Failure::Usage(format!(
                "--via {via} goes with the broker and the floor; --target says how another server is spoken to"
            )));
        }
        let address = self.address;
        Ok(match (self.protocol, durable) {
            (Protocol::Redis, true) => Arc::new(PeerTarget::<RedisStream>::new(address, plan)?),
            (Protocol::Nats, true) => Arc::new(PeerTarget::<JetStream>::new(address, plan)?),
            (_, true) => return Err(Failure::Usage(NOT_DURABLE.to_owned())),
            (Protocol::Redis, false) => Arc::new(PeerTarget::<Redis>::new(address, plan)?),
            (Protocol::Nats, false) => Arc::new(PeerTarget::<Nats>::new(address, plan)?),
            (Protocol::Mqtt, false) => Arc::new(PeerTarget::<Mqtt>::new(address, plan)?),
            (Protocol::NatsOverWebSocket, false) => {
                Arc::new(PeerTarget::<OverWebSocket<Nats>>::new(address, plan)?)
            }
            (Protocol::WebSocket, false) => Arc::new(PeerTarget::<Broadcast>::new(address, plan)?),
        })
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "give oyez, floor, redis://HOST:PORT, nats://HOST:PORT, nats+ws://HOST:PORT, mqtt://HOST:PORT or ws://HOST:PORT";
        let (scheme, host) = text.split_once("://").ok_or(expected)?;
        let protocol = match scheme {
            "redis" => Protocol::Redis,
            "nats" => Protocol::Nats,
            "mqtt" => Protocol::Mqtt,
            "nats+ws" => Protocol::NatsOverWebSocket,
            "ws" => Protocol::WebSocket,
            _ => return Err(expected.to_owned()),
        };
        let mut found = host
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?;
        let address = found
            .next()
            .ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self { protocol, address })
    }
}

/// A server that speaks the dialect `D`.
struct PeerTarget<D> {
    address: SocketAddr,
    plan: Plan,
    dialect: PhantomData<D>,
}

impl<D: Dialect> PeerTarget<D> {
    fn new(address: SocketAddr, plan: Plan) -> Result<Self, Failure> {
        let forbidden = |letter: char| letter.is_control() || D::FORBIDDEN.contains(&letter);
        if plan.topic.is_empty() || plan.topic.contains(forbidden) {
            let (name, topic) = (D::NAME, &plan.topic);
            let text = format!("{topic:?} is no topic that {name} can have (--topic)");
            return Err(Failure::Usage(text));
        }
        if plan.groups > 1 && !D::HAS_TOPICS {
            let text = format!(
                "{} passes everything on to all clients; this bench needs {} topics",
                D::NAME,
                plan.groups
            );
            return Err(Failure::Usage(text));
        }
        Ok(Self {
            address,
            plan,
            dialect: PhantomData,
        })
    }

    /// Asks for a session of WebSocket, where that comes first.
    fn knock(&self, out: &mut Vec<u8>) -> bool {
        if D::KNOCKS {
            websocket::ask(Path::Root, self.address, None, out);
        }
        D::KNOCKS
    }

    fn topic(&self, group: usize) -> String {
        self.plan.topic_of(group)
    }
}

impl<D: Dialect> Target for PeerTarget<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn answers_at_once(&self) -> bool {
        D::ANSWERS_AT_ONCE
    }

    /// False: these servers keep nothing for a subscriber that was away.
    fn join(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        if !self.knock(out) {
            self.enter(group, from, out);
        }
    }

    fn enter(&self, group: usize, _from: Option<Place>, out: &mut Vec<u8>) {
        let topic = (self.plan.greeting == Greeting::Subscribe).then(|| self.topic(group));
        D::join(topic.as_deref(), out);
    }

    fn greet(&self, out: &mut Vec<u8>) {
        if !self.knock(out) {
            self.enter_publisher(out);
        }
    }

    fn enter_publisher(&self, out: &mut Vec<u8>) {
        let topics: Vec<String> = (0..self.plan.groups)
            .map(|group| self.topic(group))
            .collect();
        D::greet(&topics, out);
    }

    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
        if payloads.iter().any(|payload| payload.len() < MARK_BYTES) {
            return Err(format!(
                "with {} each message has at least {MARK_BYTES} bytes, which number it",
                D::NAME
            ));
        }
        D::compose(&self.topic(group), payloads, out);
        Ok(())
    }

    fn stamp(&self, publication: &mut [u8], stamp: Stamp) {
        stamp_publication::<D>(publication, stamp);
    }

    fn pong(&self, _token: u64, out: &mut Vec<u8>) {
        D::pong(out);
    }

    fn ear(&self, _listening: Listening) -> Box<dyn Ear> {
        Box::new(PeerEar::<D>::new(self.plan.greeting == Greeting::Subscribe))
    }

    fn memory(&self) -> Result<Option<u64>, String> {
        Ok(self.plan.memory())
    }
}

/// Writes into each payload which it is, and into what is answered, for which publication.
fn stamp_publication<D: Dialect>(publication: &mut [u8], stamp: Stamp) {
    let (mut at, mut messages) = (0, 0_u32);
    while let Some((_, size)) = D::payload(&publication[at..]) {
        at += size;
        messages += 1;
    }
    let (mut at, mut last) = (0, 0);
    for number in stamp.first.. {
        let Some((payload, size)) = D::payload(&publication[at..]) else {
            break;
        };
        let mark = &mut publication[at + payload.start..][..MARK_BYTES];
        mark[..8].copy_from_slice(&number.to_le_bytes());
        mark[8..].copy_from_slice(&messages.to_le_bytes());
        (last, at) = (at, at + size);
    }
    D::number(publication, last, stamp.slot);
}

/// Numbers begin with the bench.
const SUBSCRIBED: Heard = Heard::Subscribed(Place { next: 0, epoch: 0 });

/// Decodes a dialect.
struct PeerEar<D> {
    /// Whether a subscription is awaited, so that a connection that stands is not yet all.
    subscribe: bool,
    dialect: PhantomData<D>,
}

impl<D: Dialect> Ear for PeerEar<D> {
    /// What is taken ends where no publication is half there; the rest is heard again when there is more.
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
        let (mut at, mut taken, mut taken_heard) = (0, 0, heard.len());
        let mut half = None;
        while let Some((said, size)) = D::decode(&input[at..])? {
            at += size;
            match said {
                Said::Message(payload) => half = arrived(half, payload, heard)?,
                Said::Open => heard.push(Heard::Open),
                Said::Ready => self.ready(heard),
                Said::Subscribed => heard.extend([Self::WELCOME, SUBSCRIBED]),
                Said::Answer(slot) => heard.push(Heard::Published { slot }),
                Said::Ping => heard.push(Heard::Ping { token: 0 }),
                Said::Nothing => {}
            }
            if half.is_none() {
                (taken, taken_heard) = (at, heard.len());
            }
        }
        heard.truncate(taken_heard);
        Ok(taken)
    }
}

/// A publication of which not all messages are there.
#[derive(Clone, Copy, Debug)]
struct Half {
    first: u64,
    here: u32,
    messages: u32,
}

/// One more message, with what is half there before it; what is half there behind it.
fn arrived(
    half: Option<Half>,
    payload: &[u8],
    heard: &mut Vec<Heard>,
) -> Result<Option<Half>, String> {
    let Some((number, messages)) = read_mark(payload) else {
        return Err("a message came that this bench did not publish; use a topic that no other client uses (--topic)".to_owned());
    };
    let mut half = half.unwrap_or(Half {
        first: number,
        here: 0,
        messages,
    });
    let due = half.first.checked_add(u64::from(half.here));
    if due != Some(number) || half.messages != messages {
        return Err(format!(
            "messages are lost or out of order: message {number} came after {} messages from {} on",
            half.here, half.first
        ));
    }
    half.here += 1;
    if half.here < half.messages {
        return Ok(Some(half));
    }
    heard.push(Heard::Record {
        first: half.first,
        messages,
        sum: None,
    });
    Ok(None)
}

/// Number of a message, and messages of its publication.
fn read_mark(payload: &[u8]) -> Option<(u64, u32)> {
    let (number, rest) = payload.split_first_chunk()?;
    let (messages, _) = rest.split_first_chunk()?;
    let messages = u32::from_le_bytes(*messages);
    (messages > 0).then(|| (u64::from_le_bytes(*number), messages))
}

impl<D: Dialect> PeerEar<D> {
    const WELCOME: Heard = Heard::Welcome {
        records: D::RECORDS_MAX,
        bytes: u32::MAX,
    };

    const fn new(subscribe: bool) -> Self {
        Self {
            subscribe,
            dialect: PhantomData,
        }
    }

    fn ready(&self, heard: &mut Vec<Heard>) {
        heard.push(Self::WELCOME);
        if !self.subscribe {
            heard.push(SUBSCRIBED);
        }
    }
}
