//! A session that speaks raw frames over a blocking socket, for tests that look at the wire itself.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use oyez_protocol::command::{
    Numbered, Query, Question, Start, Subscribe, Subscription, Unsubscribe, VERSION,
};
use oyez_protocol::event::{
    Acked, Gap, GapCause, GoodbyeCode, Heartbeat, Outcome, PublishedEntry, Renewed, Subscribed,
    Unsubscribed,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;
use oyez_protocol::{Decoded, Epoch, Frame, Offset, decode};

use crate::deadline::PATIENCE;
use crate::record;
use crate::sockets::limit_receive_buffer;
use crate::sys::segments_in;

/// What comes from the broker, taken out of the buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A record; both its checksums were right.
    Delivery(Delivery),
    /// Where a subscription begins.
    Subscribed(Subscribed),
    /// A subscription is over.
    Unsubscribed(Unsubscribed),
    /// Outcomes of published records.
    Published(Vec<PublishedEntry>),
    /// The broker asks for a sign of life; the session has answered if it answers at all.
    Ping(u64),
    /// The broker lives.
    Pong(u64),
    /// The last frame.
    Goodbye(Farewell),
    /// The answer to a question.
    Answer {
        /// The question's id.
        id: u32,
        /// Whether it was answered.
        outcome: Outcome,
        /// There is more to ask for.
        more: bool,
        /// The JSON text.
        json: String,
    },
    /// Messages that will not come.
    Gap {
        /// Their topic.
        topic: String,
        /// Why.
        cause: GapCause,
        /// The first one missing.
        from: Offset,
        /// The first one that comes.
        to: Offset,
    },
    /// What became of other credentials.
    Renewed(Renewed),
    /// What became of what a cursor is done with.
    Acked(Acked),
    /// The answer to the hello.
    Welcome(Greeting),
    /// The end of the stream.
    Closed,
}

/// A delivered record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its topic.
    pub topic: String,
    /// Offset of its first message.
    pub offset: Offset,
    /// The payloads of its messages.
    pub payloads: Vec<Vec<u8>>,
    /// The record as it came.
    pub bytes: Vec<u8>,
}

/// Why the broker ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The code.
    pub code: GoodbyeCode,
    /// When to come back.
    pub retry_after_ms: u32,
    /// The sentence for people.
    pub reason: String,
}

/// What the broker said when it accepted a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version spoken.
    pub version: u16,
    /// Silence after which it pings.
    pub heartbeat_ms: u32,
    /// What it accepts.
    pub limits: Limits,
    /// Records that may be without an answer.
    pub inflight_records_max: u32,
    /// This run of the broker.
    pub instance: u64,
}

/// A connection to the broker.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    kept: VecDeque<Event>,
    answers_pings: bool,
    next_id: u32,
    next_correlation: u64,
}

impl Session {
    /// Connects without a word.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            kept: VecDeque::new(),
            answers_pings: true,
            next_id: 1,
            next_correlation: 1,
        }
    }

    /// Connects and says hello.
    ///
    /// # Panics
    /// When the broker does not welcome it.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let mut session = Self::open(address);
        session.greet();
        session
    }

    /// Says hello and waits for the welcome.
    ///
    /// # Panics
    /// When it does not come.
    pub fn greet(&mut self) -> Greeting {
        self.send(&record::hello(VERSION, VERSION));
        match self.event() {
            Event::Welcome(greeting) => greeting,
            event => panic!("expected a welcome, got {event:?}"),
        }
    }

    /// Leaves pings without an answer from here on.
    pub fn ignore_pings(&mut self) {
        self.answers_pings = false;
    }

    /// The socket, and what was read from it and not looked at.
    ///
    /// # Panics
    /// When there are events that nobody has taken.
    #[must_use]
    pub fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        assert!(self.kept.is_empty(), "events left: {:?}", self.kept);
        let rest = self.buffer.split_off(self.start);
        (self.stream, rest)
    }

    /// The socket.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Lets the kernel take in little before it is read.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn keep_receive_buffer_small(&self) {
        limit_receive_buffer(&self.stream, 8 << 10);
    }

    /// Segments that have come from the broker, the handshake's included.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn segments_in(&self) -> u32 {
        segments_in(&self.stream).expect("the kernel knows")
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("cannot send {} bytes: {error}", bytes.len()));
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Shuts its side of the connection, and still reads.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn shut_down(&self) {
        let shut = self.stream.shutdown(std::net::Shutdown::Write);
        shut.expect("the connection stands");
    }

    /// A correlation id that this session has not used.
    pub const fn correlation(&mut self) -> u64 {
        self.next_correlation += 1;
        self.next_correlation
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing comes for [`PATIENCE`].
    pub fn event(&mut self) -> Event {
        self.event_within(PATIENCE)
            .expect("the broker says something before patience ends")
    }

    /// What comes next, if anything comes in time.
    pub fn event_within(&mut self, time: Duration) -> Option<Event> {
        match self.kept.pop_front() {
            Some(event) => Some(event),
            None => self.receive_until(Instant::now() + time),
        }
    }

    /// The first event that `pick` takes; the others are kept in their order.
    ///
    /// # Panics
    /// When none comes before patience ends, or the connection ends first.
    pub fn find<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut passed = VecDeque::new();
        loop {
            let event = self.event();
            if let Some(found) = pick(&event) {
                passed.append(&mut self.kept);
                self.kept = passed;
                return found;
            }
            let over = matches!(event, Event::Goodbye(_) | Event::Closed);
            assert!(!over, "expected {what}, got {event:?}");
            passed.push_back(event);
        }
    }

    /// Subscribes and waits for the answer.
    pub fn subscribe(&mut self, topic: &str, start: Start) -> Subscribed {
        self.resume(topic, start, None)
    }

    /// Subscribes with the epoch that an offset belongs to.
    pub fn resume(&mut self, topic: &str, start: Start, epoch: Option<Epoch>) -> Subscribed {
        let id = self.id();
        let topic = Subscription::new(topic, start, epoch);
        self.send_with(|out| Subscribe::encode(id, &[topic], out));
        self.find("a subscription", |event| match event {
            Event::Subscribed(answer) if answer.id == id => Some(*answer),
            _ => None,
        })
    }

    /// Ends a subscription and waits for the answer.
    pub fn unsubscribe(&mut self, topic: &str) -> Outcome {
        let id = self.id();
        let unsubscribe = Unsubscribe {
            id,
            name: topic,
            is_filter: false,
        };
        self.send_with(|out| unsubscribe.encode(out));
        self.find("an end of the subscription", |event| match event {
            Event::Unsubscribed(answer) if answer.id == id => Some(answer.outcome),
            _ => None,
        })
    }

    /// Publishes one message and waits for the outcome.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> PublishedEntry {
        self.publish_batch(topic, &[payload])
    }

    /// Publishes messages as one record and waits for the outcome.
    pub fn publish_batch<P: AsRef<[u8]>>(&mut self, topic: &str, payloads: &[P]) -> PublishedEntry {
        let correlation = self.correlation();
        self.send(&record::record(topic, payloads, correlation));
        self.outcome_of(correlation)
    }

    /// Publishes each payload as a record of its own, without waiting in between, and gives the outcomes in order.
    pub fn publish_each<P: AsRef<[u8]>>(
        &mut self,
        topic: &str,
        payloads: &[P],
    ) -> Vec<PublishedEntry> {
        let first = self.next_correlation + 1;
        let mut out = Vec::new();
        for payload in payloads {
            let correlation = self.correlation();
            out.extend_from_slice(&record::record(topic, &[payload], correlation));
        }
        self.send(&out);
        (first..=self.next_correlation)
            .map(|correlation| self.outcome_of(correlation))
            .collect()
    }

    /// Waits for the outcome of one record; those of others stay where they are.
    pub fn outcome_of(&mut self, correlation: u64) -> PublishedEntry {
        let found = self.find("an outcome", |event| match event {
            Event::Published(entries) => {
                let at = entries.iter().position(|e| e.correlation == correlation)?;
                Some((entries[at], entries.clone()))
            }
            _ => None,
        });
        let (entry, mut rest) = found;
        rest.retain(|other| other.correlation != correlation);
        if !rest.is_empty() {
            self.kept.push_front(Event::Published(rest));
        }
        entry
    }

    /// The next delivery, whatever else comes before it.
    pub fn delivery(&mut self) -> Delivery {
        self.find("a delivery", |event| match event {
            Event::Delivery(delivery) => Some(delivery.clone()),
            _ => None,
        })
    }

    /// As many messages of a topic as wanted, in the order in which they come, with their offsets.
    ///
    /// # Panics
    /// When an offset is not the one after that before it, or the last record holds more than what is wanted.
    pub fn messages(&mut self, topic: &str, count: usize) -> Vec<(u64, Vec<u8>)> {
        let mut messages: Vec<(u64, Vec<u8>)> = Vec::with_capacity(count);
        while messages.len() < count {
            let delivery = self.find("a delivery", |event| match event {
                Event::Delivery(delivery) if delivery.topic == topic => Some(delivery.clone()),
                _ => None,
            });
            let first = delivery.offset.get();
            if let Some((last, _)) = messages.last() {
                assert_eq!(first, last + 1, "offsets of {topic} are dense");
            }
            messages.extend((first..).zip(delivery.payloads));
        }
        assert_eq!(messages.len(), count, "the last record ends where expected");
        messages
    }

    /// The broker's counters.
    ///
    /// # Panics
    /// When the answer is not JSON.
    pub fn stats(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.ask(Question::Stats)).expect("statistics are JSON")
    }

    /// How far subscriptions are behind.
    ///
    /// # Panics
    /// When the answer is not JSON.
    pub fn lag(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.ask(Question::Lag)).expect("lag is JSON")
    }

    /// The broker's topics, of one answer.
    pub fn topics(&mut self) -> Vec<serde_json::Value> {
        self.topics_after("").0
    }

    /// Topics with names greater than `after`, of one answer, and whether there are more.
    pub fn topics_after(&mut self, after: &str) -> (Vec<serde_json::Value>, bool) {
        let asked = self.ask_topics(after);
        self.listed(asked)
    }

    /// Asks for topics without waiting, and gives the question's id.
    pub fn ask_topics(&mut self, after: &str) -> u32 {
        self.question(Question::Topics { after })
    }

    /// Waits for the topics that were asked for.
    ///
    /// # Panics
    /// When the answer is not JSON of the promised shape.
    pub fn listed(&mut self, asked: u32) -> (Vec<serde_json::Value>, bool) {
        let (answer, more) = self.answer(asked);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("topics are JSON");
        let topics = answer["topics"].as_array().expect("a list of topics");
        (topics.clone(), more)
    }

    fn ask(&mut self, question: Question<'_>) -> String {
        let asked = self.question(question);
        self.answer(asked).0
    }

    fn question(&mut self, question: Question<'_>) -> u32 {
        let id = self.id();
        self.send_with(|out| Query { id, question }.encode(out));
        id
    }

    /// The answer to a question, and whether there is more to ask for.
    fn answer(&mut self, asked: u32) -> (String, bool) {
        self.find("an answer", |event| match event {
            Event::Answer { id, json, more, .. } if *id == asked => Some((json.clone(), *more)),
            _ => None,
        })
    }

    /// Pings and waits for the pong: the broker has then taken everything that was sent before.
    pub fn ping(&mut self) {
        let token = u64::from(self.id());
        self.send_with(|out| Heartbeat { token }.encode_ping(out));
        self.find("a pong", |event| {
            (*event == Event::Pong(token)).then_some(())
        });
    }

    /// Waits for the broker's Goodbye and the end of the stream behind it; what comes before is passed over.
    ///
    /// # Panics
    /// When the stream ends without one, or goes on after it.
    pub fn farewell(&mut self) -> Farewell {
        loop {
            match self.event() {
                Event::Goodbye(farewell) => {
                    assert_eq!(self.event(), Event::Closed, "Goodbye is the last frame");
                    return farewell;
                }
                Event::Closed => panic!("the connection ended without a Goodbye"),
                _ => {}
            }
        }
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn send_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.send(&out);
    }

    fn receive_until(&mut self, deadline: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.take_event() {
                if let (Event::Ping(token), true) = (&event, self.answers_pings) {
                    let token = *token;
                    self.send_with(|out| Heartbeat { token }.encode_pong(out));
                    continue;
                }
                return Some(event);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if left.is_zero() {
                return None;
            }
            if !self.fill(left)? {
                return Some(Event::Closed);
            }
        }
    }

    /// Reads more; false at the end of the stream, nothing when the time is over.
    fn fill(&mut self, time: Duration) -> Option<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.stream
            .set_read_timeout(Some(time))
            .expect("the time is not zero");
        self.buffer.resize(kept + (64 << 10), 0);
        let result = self.stream.read(&mut self.buffer[kept..]);
        self.buffer
            .truncate(kept + result.as_ref().map_or(0, |size| *size));
        match result {
            Ok(size) => Some(size > 0),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Some(true),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => None,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some(false),
                _ => panic!("reading from the broker: {error}"),
            },
        }
    }

    /// Takes one frame out of the buffer; frames to be skipped are.
    fn take_event(&mut self) -> Option<Event> {
        loop {
            let decoded = decode(&self.buffer[self.start..], &Limits::HARD);
            match decoded.unwrap_or_else(|error| panic!("the broker sent nonsense: {error}")) {
                Decoded::Need { .. } => return None,
                Decoded::Frame { frame, size } => {
                    let event = to_event(&frame);
                    self.start += size;
                    if event.is_some() {
                        return event;
                    }
                }
            }
        }
    }
}

fn to_event(frame: &Frame<'_>) -> Option<Event> {
    Some(match frame {
        Frame::Record(record) => Event::Delivery(open(record)),
        Frame::Subscribed(answer) => Event::Subscribed(*answer),
        Frame::Unsubscribed(answer) => Event::Unsubscribed(*answer),
        Frame::Published(published) => Event::Published(published.entries().collect()),
        Frame::Ping(ping) => Event::Ping(ping.token),
        Frame::Pong(pong) => Event::Pong(pong.token),
        Frame::Goodbye(goodbye) => Event::Goodbye(Farewell {
            code: goodbye.code,
            retry_after_ms: goodbye.retry_after_ms,
            reason: goodbye.reason.to_owned(),
        }),
        Frame::Answer(answer) => Event::Answer {
            id: answer.id,
            outcome: answer.outcome,
            more: answer.more,
            json: answer.json.to_owned(),
        },
        Frame::Gap(Gap { cause, hole }) => {
            let Numbered::Offset(from) = hole.from else {
                panic!("{hole:?}");
            };
            Event::Gap {
                topic: hole.name.to_owned(),
                cause: *cause,
                from,
                to: Offset::new(hole.to),
            }
        }
        Frame::Welcome(welcome) => Event::Welcome(Greeting {
            version: welcome.version,
            heartbeat_ms: welcome.heartbeat_ms,
            limits: welcome.limits,
            inflight_records_max: welcome.inflight_records_max,
            instance: welcome.instance,
        }),
        Frame::Skipped { .. } => return None,
        Frame::Renewed(renewed) => Event::Renewed(*renewed),
        Frame::Acked(acked) => Event::Acked(*acked),
        Frame::Skip(_) | Frame::Notice(_) | Frame::Ended(_) | Frame::Reached(_) => {
            panic!("the broker does not send that yet: {frame:?}")
        }
        Frame::Hello(_)
        | Frame::Subscribe(_)
        | Frame::Unsubscribe(_)
        | Frame::Query(_)
        | Frame::Renew(_)
        | Frame::Ack(_) => {
            panic!("the broker sent a frame that only clients send: {frame:?}")
        }
    })
}

/// Checks a delivery as every subscriber must, and takes its messages out.
fn open(record: &Record<'_>) -> Delivery {
    record
        .check_header()
        .unwrap_or_else(|error| panic!("a delivery on {}: {error}", record.topic()));
    let mut scratch = Scratch::new();
    let raw = scratch
        .open(record)
        .unwrap_or_else(|error| panic!("a delivery on {}: {error}", record.topic()));
    let payloads = Messages::new(raw, record.count())
        .map(|message| message.map(|message| message.payload.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_else(|error| panic!("a delivery on {}: {error}", record.topic()));
    Delivery {
        topic: record.topic().to_owned(),
        offset: record.offset(),
        payloads,
        bytes: record.bytes().to_vec(),
    }
}
