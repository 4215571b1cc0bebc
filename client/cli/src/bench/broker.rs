//! A real broker, spoken to with the protocol crate.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::Duration;

use oyez_client::{Client, ConnectError};
use oyez_protocol::command::{Hello, Numbered, Start, Subscribe, Subscription, VERSION};
use oyez_protocol::event::{GoodbyeCode, Heartbeat, Published, Subscribed};
use oyez_protocol::header::kind;
use oyez_protocol::limits::{FRAME_HEAD_SIZE, Limits, RECORD_HEADER_SIZE};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Record, RecordBuilder};
use oyez_protocol::{Decoded, Epoch, Frame, Offset, decode, topic};
use serde_json::Value;

use super::memory;
use super::sse::ear::SseEar;
use super::sse::{self, sum};
use super::target::{Ear, Greeting, Heard, Listening, Place, Room, Stamp, Target, Via};
use super::websocket::ear::{FramesEar, JsonEar};
use super::websocket::{self, Path, frame, json};
use crate::GlobalOptions;
use crate::failure::Failure;

/// Offsets in a record of its number of messages, and of the publisher's correlation id or the broker's offset.
const COUNT_AT: usize = 6;
const OFFSET_AT: usize = 24;

/// Longest wait for a welcome.
const ANSWER: Duration = Duration::from_secs(1);

/// What a bench is going to do, as far as its target must know.
///
/// It also speaks Oyez for the target: as records on a connection, or over HTTP and WebSocket, as [`Self::via`] says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of subscribers that must find room; zero where records are only published.
    pub connections: usize,
    /// The topic, or the prefix of the names of all topics.
    pub topic: String,
    /// Topics that the subscribers are spread over.
    pub groups: usize,
    /// What each subscriber says when it is connected.
    pub greeting: Greeting,
    /// How subscribers get what is published.
    pub via: Via,
    /// Whether records are compressed.
    pub compress: bool,
    /// The server's process, where the command line names it.
    pub pid: Option<u32>,
}

impl Plan {
    /// The name of a topic: the name alone when there is only one.
    #[must_use]
    pub fn topic_of(&self, group: usize) -> String {
        if self.groups == 1 {
            self.topic.clone()
        } else {
            format!("{}/{group}", self.topic)
        }
    }

    /// Appends what a new subscriber of topic `group` sends over HTTP to `host`; nothing where subscribers are native.
    pub fn ask(&self, host: SocketAddr, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        let topic = self.topic_of(group);
        match self.via {
            Via::Native => {}
            Via::Sse => sse::ear::ask(host, &topic, from, out),
            Via::Ws => websocket::ear::ask_frames(host, Path::Any, out),
            Via::WsJson => websocket::ear::ask_json(host, &topic, from, out),
        }
    }

    /// Appends what it sends within the session that it has asked for.
    pub fn enter(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        if self.via == Via::Ws {
            websocket::say(out, |out| self.greet(group, from, out));
        }
    }

    /// Appends what a new native subscriber sends.
    pub fn greet(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        if self.greeting == Greeting::Silence {
            return;
        }
        hello(out);
        if self.greeting == Greeting::Hello {
            return;
        }
        let topic = self.topic_of(group);
        let start = from.map_or(Start::Latest, |place| {
            Start::Offset(Offset::new(place.next))
        });
        let epoch = from.map(|place| Epoch::new(place.epoch));
        Subscribe::encode(1, &[Subscription::new(&topic, start, epoch)], out);
    }

    /// Creates a decoder of what subscribers are sent.
    #[must_use]
    pub fn ear(&self, listening: Listening) -> Box<dyn Ear> {
        match self.via {
            Via::Native => self.native_ear(listening.decode),
            Via::Sse => Box::new(SseEar),
            Via::Ws => Box::new(FramesEar::new(self.native_ear(listening.decode))),
            Via::WsJson => Box::new(JsonEar::new(listening.batch)),
        }
    }

    /// Creates a decoder of the answers to publishers, which are native.
    #[must_use]
    pub fn publisher_ear(&self) -> Box<dyn Ear> {
        self.native_ear(false)
    }

    fn native_ear(&self, decode: bool) -> Box<dyn Ear> {
        Box::new(NativeEar {
            decode,
            subscribe: self.greeting == Greeting::Subscribe,
            scratch: Scratch::new(),
        })
    }

    /// The sum that these decoders compute for the payloads of a publication.
    #[must_use]
    pub fn sum(&self, payloads: &[&[u8]]) -> u32 {
        match self.via {
            Via::Native | Via::Ws => 0,
            Via::Sse => sum::of(payloads),
            Via::WsJson => json::of(payloads),
        }
    }

    /// Appends a record of `payloads`, without what the broker or the publisher writes into each.
    ///
    /// # Errors
    /// When they do not fit into one, in words.
    pub fn compose(
        &self,
        group: usize,
        payloads: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let topic = self.topic_of(group);
        let mut builder =
            RecordBuilder::new(&topic, Limits::DEFAULT).map_err(|error| error.to_string())?;
        for payload in payloads {
            let refused = |error| {
                format!(
                    "{} messages do not fit into one record: {error}",
                    payloads.len()
                )
            };
            builder.push(&MessageRef::new(payload)).map_err(refused)?;
        }
        if self.compress {
            Scratch::new().finish(&mut builder, 0, out);
        } else {
            builder.finish_stored(0, out);
        }
        Ok(())
    }

    /// The anonymous memory of [`Self::pid`] in bytes, where it can be read.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.pid.and_then(memory::anonymous)
    }
}

/// An Oyez broker.
pub(super) struct Broker {
    address: SocketAddr,
    plan: Plan,
    /// For questions; its connection is there before any figure is taken.
    client: Mutex<Client>,
    /// Connections that the broker had accepted by then; only asked where subscribers say nothing.
    accepted_before: u64,
}

impl Broker {
    pub(super) fn new(global: &GlobalOptions, plan: Plan) -> Result<Self, Failure> {
        topic::parse(plan.topic.as_bytes()).map_err(|error| Failure::Usage(error.to_string()))?;
        let parsed: oyez_client::Address = global.server.parse().map_err(ConnectError::Address)?;
        let client = global.connect()?;
        let accepted_before = match plan.greeting {
            Greeting::Silence => accepted(&client).map_err(Failure::Failed)?,
            Greeting::Hello | Greeting::Subscribe => 0,
        };
        let text = parsed.to_string();
        let found = text
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next());
        let address = found.ok_or_else(|| Failure::Failed(format!("{text} has no address")))?;
        Ok(Self {
            address,
            plan,
            client: Mutex::new(client),
            accepted_before,
        })
    }
}

impl Target for Broker {
    fn name(&self) -> &'static str {
        "oyez"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn join(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        match self.plan.via {
            Via::Native => self.plan.greet(group, from, out),
            Via::Sse | Via::Ws | Via::WsJson => self.plan.ask(self.address, group, from, out),
        }
    }

    fn enter(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>) {
        self.plan.enter(group, from, out);
    }

    fn answers(&self) -> bool {
        self.plan.greeting != Greeting::Silence
    }

    fn greet(&self, out: &mut Vec<u8>) {
        hello(out);
    }

    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
        self.plan.compose(group, payloads, out)
    }

    fn stamp(&self, publication: &mut [u8], stamp: Stamp) {
        let slot = u64::from(stamp.slot);
        publication[OFFSET_AT..OFFSET_AT + 8].copy_from_slice(&slot.to_le_bytes());
    }

    fn pong(&self, token: u64, out: &mut Vec<u8>) {
        match self.plan.via {
            Via::Native | Via::Sse => Heartbeat { token }.encode_pong(out),
            Via::Ws | Via::WsJson => frame::pong(out),
        }
    }

    fn publisher_pong(&self, token: u64, out: &mut Vec<u8>) {
        Heartbeat { token }.encode_pong(out);
    }

    fn ear(&self, listening: Listening) -> Box<dyn Ear> {
        self.plan.ear(listening)
    }

    fn publisher_ear(&self) -> Box<dyn Ear> {
        self.plan.publisher_ear()
    }

    fn sum(&self, payloads: &[&[u8]]) -> u32 {
        self.plan.sum(payloads)
    }

    fn accepted(&self) -> Result<Option<usize>, String> {
        if self.answers() {
            return Ok(None);
        }
        let client = self.client.lock().expect("no thread panics with the lock");
        let fresh = accepted(&client)?.saturating_sub(self.accepted_before);
        usize::try_from(fresh)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    fn room(&self) -> Result<Option<Room>, String> {
        let client = self.client.lock().expect("no thread panics with the lock");
        let stats = stats(&client)?;
        let number = |name: &str| stats[name].as_u64().and_then(|n| usize::try_from(n).ok());
        let (limit, taken) = (number("connections_max"), number("connections"));
        Ok(limit.zip(taken).map(|(limit, taken)| Room { limit, taken }))
    }

    fn leaves(&self) -> Option<String> {
        let (first, groups) = (self.plan.topic_of(0), self.plan.groups);
        let (topics, stay) = match groups {
            1 => (format!("topic `{first}`"), "stays"),
            _ => {
                let last = self.plan.topic_of(groups - 1);
                (format!("topics `{first}` to `{last}`"), "stay")
            }
        };
        let client = self.client.lock().expect("no thread panics with the lock");
        let until = match durability(&client, &first).as_deref() {
            Some("memory") => "; what is in memory ends with the broker",
            Some(_) => "; messages go as its retention_bytes and retention_seconds say",
            None => "",
        };
        Some(format!(
            "{topics} {stay} in the broker, which deletes none, and the next run goes on there{until}"
        ))
    }

    /// What its welcome says.
    fn run(&self) -> Result<Option<u64>, String> {
        let asked = ask_run(self.address);
        asked.map(Some).map_err(|error| error.to_string())
    }

    fn memory(&self) -> Result<Option<u64>, String> {
        if let Some(pid) = self.plan.pid {
            return Ok(memory::anonymous(pid));
        }
        let client = self.client.lock().expect("no thread panics with the lock");
        Ok(stats(&client)?["rss_anon_bytes"].as_u64())
    }
}

/// Connections that the broker has accepted since it started.
fn accepted(client: &Client) -> Result<u64, String> {
    stats(client)?["connections_accepted"]
        .as_u64()
        .ok_or_else(|| "the broker does not say how many connections it has accepted".to_owned())
}

fn stats(client: &Client) -> Result<Value, String> {
    let json = client.stats().map_err(|error| error.to_string())?;
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

/// How durable a topic is, if the broker says so.
fn durability(client: &Client, name: &str) -> Option<String> {
    // The name without its last character comes before the name, so the page after it begins at or before the name.
    let mut before = name.to_owned();
    before.pop();
    let page = client.topics_after(&before).ok()?;
    let page: Value = serde_json::from_str(&page.json).ok()?;
    let topics = page["topics"].as_array()?;
    let topic = topics.iter().find(|topic| topic["name"] == name)?;
    topic["durability"].as_str().map(str::to_owned)
}

/// Says hello on a connection of its own, and reads the welcome.
fn ask_run(address: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let (mut out, mut answer) = (Vec::new(), Vec::new());
    hello(&mut out);
    stream.write_all(&out)?;
    loop {
        match decode(&answer, &Limits::HARD).map_err(io::Error::other)? {
            Decoded::Frame {
                frame: Frame::Welcome(welcome),
                ..
            } => return Ok(welcome.instance),
            Decoded::Frame { .. } => return Err(io::Error::other("the broker does not welcome")),
            Decoded::Need { .. } => {}
        }
        let mut bytes = [0; 512];
        match stream.read(&mut bytes)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            size => answer.extend_from_slice(&bytes[..size]),
        }
    }
}

fn hello(out: &mut Vec<u8>) {
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        features: 0,
        heartbeat_ms: 0,
        name: "oyez bench",
        credentials: b"",
    }
    .encode(out);
}

/// Decodes Oyez frames; a bare server sends the same records.
struct NativeEar {
    decode: bool,
    /// Whether a subscription is awaited, so that a welcome is not yet all.
    subscribe: bool,
    scratch: Scratch,
}

impl Ear for NativeEar {
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
        let mut taken = 0;
        while let Some(size) = self.hear_one(&input[taken..], heard)? {
            taken += size;
        }
        Ok(taken)
    }
}

impl NativeEar {
    /// The size of the frame at the start of `input`, once it is whole and heard.
    fn hear_one(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<Option<usize>, String> {
        if input.len() >= RECORD_HEADER_SIZE && input[4] == kind::RECORD {
            return self.hear_record(input, heard);
        }
        let decoded = decode(input, &Limits::HARD)
            .map_err(|error| format!("the broker sends what is no frame: {error}"))?;
        let Decoded::Frame { frame, size } = decoded else {
            return Ok(None);
        };
        self.hear_control(&frame, heard)?;
        Ok(Some(size))
    }

    fn hear_control(&self, frame: &Frame<'_>, heard: &mut Vec<Heard>) -> Result<(), String> {
        match frame {
            Frame::Welcome(welcome) => {
                heard.push(Heard::Welcome {
                    records: welcome.inflight_records_max,
                    bytes: welcome.inflight_bytes_max,
                });
                if !self.subscribe {
                    heard.push(Heard::Subscribed(Place { next: 0, epoch: 0 }));
                }
            }
            Frame::Subscribed(answer) => heard.push(subscribed(answer)?),
            Frame::Published(answers) => published(*answers, heard)?,
            Frame::Ping(ping) => heard.push(Heard::Ping { token: ping.token }),
            Frame::Pong(_) | Frame::Notice(_) | Frame::Skipped { .. } => {}
            Frame::Goodbye(goodbye) => {
                let help = match goodbye.code {
                    GoodbyeCode::Full => "; start it with a larger --max-connections",
                    _ => "",
                };
                let reason = goodbye.reason;
                return Err(format!("the broker says goodbye: {reason}{help}"));
            }
            Frame::Gap(gap) => {
                let hole = gap.hole;
                let Numbered::Offset(from) = hole.from else {
                    return Err("a gap in a log, where one in a topic was to be".to_owned());
                };
                let (to, topic) = (hole.to, hole.name);
                return Err(format!(
                    "records are lost: messages {from} to {to} of {topic} are kept no more"
                ));
            }
            other => {
                return Err(format!(
                    "the broker sends what has no place here: {other:?}"
                ));
            }
        }
        Ok(())
    }

    fn hear_record(
        &mut self,
        input: &[u8],
        heard: &mut Vec<Heard>,
    ) -> Result<Option<usize>, String> {
        let number = |at: usize| {
            u32::from_le_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]])
        };
        let size = number(0) as usize;
        if size < FRAME_HEAD_SIZE {
            return Err("the broker sends what is no frame".to_owned());
        }
        let Some(bytes) = input.get(..size) else {
            return Ok(None);
        };
        if self.decode {
            self.check(bytes)?;
        }
        let first = u64::from(number(OFFSET_AT)) | u64::from(number(OFFSET_AT + 4)) << 32;
        let messages = u32::from(u16::from_le_bytes([input[COUNT_AT], input[COUNT_AT + 1]]));
        heard.push(Heard::Record {
            first,
            messages,
            sum: None,
        });
        Ok(Some(size))
    }

    /// Checks checksums, block and messages.
    fn check(&mut self, bytes: &[u8]) -> Result<(), String> {
        let broken = |error: &dyn std::fmt::Display| format!("a record came damaged: {error}");
        let record =
            Record::verify_stamped(bytes, &Limits::HARD).map_err(|error| broken(&error))?;
        let count = record.count();
        let raw = self.scratch.open(&record).map_err(|error| broken(&error))?;
        for message in Messages::new(raw, count) {
            message.map_err(|error| broken(&error))?;
        }
        Ok(())
    }
}

fn published(answers: Published<'_>, heard: &mut Vec<Heard>) -> Result<(), String> {
    for entry in answers.entries() {
        if !entry.outcome.is_done() {
            let why = entry.outcome.explain();
            return Err(format!("the broker refuses a record: {why}"));
        }
        let slot = u32::try_from(entry.correlation);
        let slot = slot.map_err(|_| "the broker answers what was never sent")?;
        heard.push(Heard::Published { slot: Some(slot) });
    }
    Ok(())
}

fn subscribed(answer: &Subscribed) -> Result<Heard, String> {
    if !answer.outcome.is_done() {
        return Err(format!(
            "the broker refuses a subscription: {}",
            answer.outcome.explain()
        ));
    }
    if answer.epoch_changed || answer.dropped {
        return Err(
            "records are lost: the broker no longer keeps what a subscriber came back for"
                .to_owned(),
        );
    }
    Ok(Heard::Subscribed(Place {
        next: answer.next.get(),
        epoch: answer.epoch.get(),
    }))
}
