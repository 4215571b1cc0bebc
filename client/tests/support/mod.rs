//! A broker that does only what a test tells it to, over a real socket, and a clock that the test moves.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

pub(crate) mod memory;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use oyez_client::time::{Bell, Time};
use oyez_client::{ConnectOptions, Epoch, Offset, Outcome, Start};
use oyez_protocol::command::{Begin, Numbered, Question, VERSION};
use oyez_protocol::event::{
    Answer, Gap, GapCause, Goodbye, GoodbyeCode, Hole, Published, PublishedEntry, Skip, SkipCause,
    Subscribed, Welcome,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{RecordBuilder, Stamp, stamp};
use oyez_protocol::{Decoded, Frame, LogId, Sequence, decode};

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const EPOCH: Epoch = Epoch::new(7);

/// Listens on a free port; the test accepts.
pub(crate) struct FakeBroker {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
    pub(crate) welcome: Welcome<'static>,
}

impl FakeBroker {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if sender.send(stream.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            accepted,
            welcome: Welcome {
                version: VERSION,
                heartbeat_ms: 60_000,
                limits: Limits::DEFAULT,
                inflight_records_max: 64,
                inflight_bytes_max: 4 << 20,
                subscriptions_max: 1_024,
                features: 0,
                expires_ms: 0,
                instance: 1,
                name: "fake",
            },
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn address(&self) -> String {
        format!("oyez://{}", self.address)
    }

    /// The next connection, of which nothing was read yet.
    pub(crate) fn accept_unheard(&self) -> Peer {
        let stream = self
            .accepted
            .recv_timeout(PATIENCE)
            .expect("a client should connect");
        Peer::new(stream)
    }

    /// The next connection, not welcomed yet.
    pub(crate) fn accept_unwelcomed(&self) -> Peer {
        let mut peer = self.accept_unheard();
        assert!(matches!(peer.next(), Heard::Hello { .. }));
        peer
    }

    /// The next connection, welcomed.
    pub(crate) fn accept(&self) -> Peer {
        let mut peer = self.accept_unwelcomed();
        peer.send(|out| self.welcome.encode(out));
        peer
    }
}

/// A frame from the client, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Hello {
        name: String,
        credentials: Vec<u8>,
    },
    Record(HeardRecord),
    Subscribe {
        id: u32,
        topic: String,
        start: Start,
        epoch: Option<Epoch>,
    },
    Stats {
        id: u32,
    },
    Topics {
        id: u32,
        after: String,
    },
    Lag {
        id: u32,
    },
    Ping(u64),
    Pong(u64),
    Goodbye(GoodbyeCode),
    /// Waits until the client has closed the connection.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeardRecord {
    pub(crate) correlation: u64,
    pub(crate) topic: String,
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) keys: Vec<Option<Vec<u8>>>,
    pub(crate) headers: Vec<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(crate) bytes: Vec<u8>,
}

impl HeardRecord {
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.payloads
            .iter()
            .map(|p| std::str::from_utf8(p).unwrap())
            .collect()
    }
}

/// The broker's side of one connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next frame; fails the test when none comes.
    pub(crate) fn next(&mut self) -> Heard {
        self.next_within(PATIENCE)
            .expect("the client should say something")
    }

    /// The next frame, if one comes in time.
    pub(crate) fn next_within(&mut self, at_most: Duration) -> Option<Heard> {
        let deadline = Instant::now() + at_most;
        loop {
            match decode(&self.buffer, &Limits::HARD).expect("the client sends good frames") {
                Decoded::Frame { frame, size } => {
                    let heard = hear(&frame);
                    self.buffer.drain(..size);
                    return Some(heard);
                }
                Decoded::Need { .. } => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .unwrap();
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(Heard::End),
                Ok(size) => self.buffer.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if left.is_zero() {
                        return None;
                    }
                }
                Err(_) => return Some(Heard::End),
            }
        }
    }

    pub(crate) fn record(&mut self) -> HeardRecord {
        match self.next() {
            Heard::Record(record) => record,
            other => panic!("a record was expected, and {other:?} came"),
        }
    }

    pub(crate) fn subscribe(&mut self) -> (u32, Start, Option<Epoch>) {
        match self.next() {
            Heard::Subscribe {
                id, start, epoch, ..
            } => (id, start, epoch),
            other => panic!("a subscription was expected, and {other:?} came"),
        }
    }

    /// Writes what `encode` appends. A client that is gone already is no failure.
    pub(crate) fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        let _gone = self.stream.write_all(&out);
    }

    pub(crate) fn publish_outcomes(&mut self, entries: &[(u64, u64, Outcome)]) {
        let entries: Vec<PublishedEntry> = entries
            .iter()
            .map(|&(correlation, offset, outcome)| PublishedEntry {
                correlation,
                offset: Offset::new(offset),
                epoch: EPOCH,
                outcome,
                retry_after_ms: 0,
            })
            .collect();
        self.send(|out| Published::encode(&entries, out));
    }

    pub(crate) fn ack(&mut self, correlation: u64, offset: u64) {
        self.publish_outcomes(&[(correlation, offset, Outcome::Ok)]);
    }

    /// Confirms the subscription: delivery begins with `next`.
    pub(crate) fn confirm(&mut self, id: u32, next: u64) {
        self.send(|out| confirmation(id, next).encode(out));
    }

    pub(crate) fn goodbye(&mut self, code: GoodbyeCode, retry_after_ms: u32, reason: &str) {
        self.send(|out| {
            Goodbye {
                code,
                retry_after_ms,
                reason,
            }
            .encode(out);
        });
    }

    pub(crate) fn gap(&mut self, topic: &str, from: u64, to: u64) {
        self.send(|out| {
            Gap {
                cause: GapCause::Retention,
                hole: hole(topic, from, to),
            }
            .encode(out);
        });
    }

    pub(crate) fn skip(&mut self, topic: &str, from: u64, to: u64) {
        self.send(|out| {
            Skip {
                cause: SkipCause::Deleted,
                hole: hole(topic, from, to),
            }
            .encode(out);
        });
    }

    /// Answers what a bench asks, in a thread, until it goes.
    pub(crate) fn answer_bench(mut self, stats: &'static str) {
        thread::spawn(move || {
            loop {
                match self.next() {
                    Heard::Stats { id } => self.answer(id, false, stats),
                    Heard::Topics { id, .. } => self.answer(id, false, r#"{"topics":[]}"#),
                    _ => return,
                }
            }
        });
    }

    pub(crate) fn answer(&mut self, id: u32, more: bool, json: &str) {
        self.send(|out| {
            Answer {
                id,
                outcome: Outcome::Ok,
                retry_after_ms: 0,
                more,
                json,
            }
            .encode(out);
        });
    }

    /// Delivers payloads in one record.
    pub(crate) fn deliver(&mut self, topic: &str, offset: u64, payloads: &[&[u8]]) {
        let record = delivery(topic, offset, payloads);
        self.send(|out| out.extend_from_slice(&record));
    }
}

fn hole(name: &str, from: u64, to: u64) -> Hole<'_> {
    Hole {
        name,
        from: Numbered::Offset(Offset::new(from)),
        to,
        epoch: EPOCH,
    }
}

pub(crate) fn confirmation(id: u32, next: u64) -> Subscribed {
    Subscribed {
        id,
        entry: 0,
        outcome: Outcome::Ok,
        retry_after_ms: 0,
        next: Offset::new(next),
        earliest: Offset::new(0),
        head: Offset::new(next),
        epoch: EPOCH,
        log: None,
        more_logs: false,
        epoch_changed: false,
        dropped: false,
    }
}

/// A stamped record.
pub(crate) fn delivery(topic: &str, offset: u64, payloads: &[&[u8]]) -> Vec<u8> {
    let messages: Vec<MessageRef<'_>> = payloads.iter().map(|p| MessageRef::new(p)).collect();
    delivery_of(topic, offset, &messages)
}

/// A stamped record of whole messages.
pub(crate) fn delivery_of(topic: &str, offset: u64, messages: &[MessageRef<'_>]) -> Vec<u8> {
    let mut builder = RecordBuilder::new(topic, Limits::HARD).unwrap();
    for message in messages {
        builder.push(message).unwrap();
    }
    let mut record = Vec::new();
    let _codec = Scratch::new().finish(&mut builder, 0, &mut record);
    stamp_at(&mut record, offset);
    record
}

pub(crate) fn stamp_at(record: &mut [u8], offset: u64) {
    stamp(
        record,
        &Stamp {
            offset: Offset::new(offset),
            sequence: Sequence::new(offset),
            log: LogId::new(0),
            timestamp_ms: 1_700_000_000_000,
            incarnation: 1,
        },
    );
}

fn hear(frame: &Frame<'_>) -> Heard {
    match frame {
        Frame::Hello(hello) => Heard::Hello {
            name: hello.name.to_owned(),
            credentials: hello.credentials.to_owned(),
        },
        Frame::Record(record) => {
            let mut scratch = Scratch::new();
            let block = scratch.open(record).unwrap();
            let messages: Vec<MessageRef<'_>> = Messages::new(block, record.count())
                .map(Result::unwrap)
                .collect();
            Heard::Record(HeardRecord {
                correlation: record.correlation(),
                topic: record.topic().to_owned(),
                payloads: messages.iter().map(|m| m.payload.to_vec()).collect(),
                keys: messages.iter().map(|m| m.key.map(<[u8]>::to_vec)).collect(),
                headers: messages
                    .iter()
                    .map(|m| m.headers.map(|(n, v)| (n.to_vec(), v.to_vec())).collect())
                    .collect(),
                bytes: record.bytes().to_vec(),
            })
        }
        Frame::Subscribe(subscribe) => {
            let asked = subscribe.topics().next().expect("there is one");
            let Begin::At(start) = asked.begin else {
                panic!("{asked:?}");
            };
            Heard::Subscribe {
                id: subscribe.id,
                topic: asked.name.to_owned(),
                start,
                epoch: asked.epoch,
            }
        }
        Frame::Query(query) => match query.question {
            Question::Stats => Heard::Stats { id: query.id },
            Question::Topics { after } => Heard::Topics {
                id: query.id,
                after: after.to_owned(),
            },
            Question::Lag => Heard::Lag { id: query.id },
            question @ Question::Other { .. } => panic!("{question:?}"),
        },
        Frame::Ping(heartbeat) => Heard::Ping(heartbeat.token),
        Frame::Pong(heartbeat) => Heard::Pong(heartbeat.token),
        Frame::Goodbye(goodbye) => Heard::Goodbye(goodbye.code),
        other => panic!("a client does not send {other:?}"),
    }
}

/// A clock that moves when the test says so. Pauses before a reconnect pass at once and are noted.
#[derive(Default)]
pub(crate) struct FakeTime {
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<Bell>>,
    pub(crate) pauses: Mutex<Vec<Duration>>,
}

impl FakeTime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
        for bell in self.sleepers.lock().unwrap().drain(..) {
            bell.ring();
        }
    }

    pub(crate) fn pauses_ms(&self) -> Vec<u128> {
        self.pauses
            .lock()
            .unwrap()
            .iter()
            .map(Duration::as_millis)
            .collect()
    }
}

impl Time for FakeTime {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wait(&self, bell: &Bell, until: Duration) {
        self.sleepers.lock().unwrap().push(bell.clone());
        if self.now() < until {
            let _woken = bell.wait(PATIENCE);
        }
    }

    fn pause(&self, _: &Bell, until: Duration) {
        let mut now = self.now.lock().unwrap();
        self.pauses.lock().unwrap().push(until - *now);
        *now = until;
    }

    /// Draws the largest number, so that delays are known.
    fn random_below(&self, bound: u64) -> u64 {
        bound.saturating_sub(1)
    }
}

/// Options with a clock that the test moves.
pub(crate) fn with_time(time: &Arc<FakeTime>) -> ConnectOptions {
    let time: Arc<dyn Time> = Arc::<FakeTime>::clone(time);
    ConnectOptions::new().time(time)
}

/// The client's part, in a thread of its own.
pub(crate) struct Call<T> {
    thread: thread::JoinHandle<T>,
    ended: Receiver<()>,
}

/// Runs the client's part in a thread of its own.
pub(crate) fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Call<T> {
    let (running, ended) = channel();
    let thread = thread::spawn(move || {
        let _running = running;
        run()
    });
    Call { thread, ended }
}

impl<T> Call<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end, and fails the test when it does not come.
    pub(crate) fn join(self) -> thread::Result<T> {
        let waited = self.ended.recv_timeout(PATIENCE);
        assert_eq!(
            waited,
            Err(RecvTimeoutError::Disconnected),
            "the call should end"
        );
        self.thread.join()
    }
}
