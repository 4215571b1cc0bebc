//! The publishing side: some connections, each with a limited number of unanswered publications, paced by a schedule,
//! by the last subscriber, or by the answers alone.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_sys::timer::Timer;

use super::board::Board;
use super::composed::Composed;
use super::pace::Pace;
use super::target::{Ear, Heard, Stamp, Target};
use super::times::{Timeline, Times};
use crate::failure::Failure;

/// Longest time until the thread looks at the clock.
const GLANCE: Duration = Duration::from_millis(50);
/// Longest wait for the answer to a greeting.
const GREETING: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 << 10;
/// Records that a schedule may have on their way: enough that it never has to wait for answers.
pub(crate) const DEPTH_PACED: usize = 1024;
/// Bytes gathered for one connection before they are written.
const GATHER_BYTES: usize = 64 << 10;
const WAKER: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);

/// When the next publication may leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gate {
    /// As soon as an answer makes room.
    Answers,
    /// When the last subscriber has the one before.
    LastSubscriber,
    /// So many per second, even if answers are late.
    PerSecond(f64),
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Count(usize),
    After(Duration),
}

/// How to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Number of the first topic among those of the target.
    pub(crate) topic: usize,
    /// Publications without an answer on each connection, at most; fewer if the server says so.
    pub(crate) depth: usize,
    pub(crate) gate: Gate,
    pub(crate) end: End,
}

/// Connected publishers that have not begun.
pub(crate) struct Publishers {
    load: Load,
    target: Arc<dyn Target>,
    board: Arc<Board>,
    composed: Composed,
    poll: Poll,
    timer: Timer,
    links: Vec<Link>,
    heard: Vec<Heard>,
    buffer: Vec<u8>,
    /// Publications on their way, by slot; slot `s` belongs to connection `s % connections`.
    flying: Vec<u64>,
    free: VecDeque<u32>,
    depth: usize,
    next: usize,
    answered: usize,
    times: Times,
    timeline: Timeline,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) answered: usize,
    pub(crate) wire_bytes: u64,
    pub(crate) seconds: f64,
    /// From the intended departure to the answer.
    pub(crate) times: Times,
    pub(crate) timeline: Timeline,
    /// How many may be on their way on one connection.
    pub(crate) depth: usize,
}

struct Link {
    stream: mio::net::TcpStream,
    ear: Box<dyn Ear>,
    /// Its slots that wait for their answer, the oldest first.
    waiting: VecDeque<u32>,
    out: Vec<u8>,
    half: Vec<u8>,
}

impl Publishers {
    /// Connects, and learns what the server allows.
    pub(crate) fn connect(
        target: Arc<dyn Target>,
        board: Arc<Board>,
        composed: Composed,
        load: Load,
    ) -> Result<Self, Failure> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Failure::io(&what, &error)
        };
        let poll = Poll::new().map_err(failed("cannot make a poll"))?;
        let timer = Timer::new().map_err(failed("cannot make a timer"))?;
        let registry = poll.registry();
        registry
            .register(&mut SourceFd(&timer.fd()), TIMER, Interest::READABLE)
            .and_then(|()| {
                registry.register(
                    &mut SourceFd(&board.waker().fd()),
                    WAKER,
                    Interest::READABLE,
                )
            })
            .map_err(failed("cannot watch a descriptor"))?;
        let mut publishers = Self {
            depth: load.depth,
            links: Vec::with_capacity(load.connections),
            heard: Vec::new(),
            buffer: vec![0; READ_BYTES],
            flying: Vec::new(),
            free: VecDeque::new(),
            next: 0,
            answered: 0,
            times: Times::new(),
            timeline: Timeline::default(),
            load,
            target,
            board,
            composed,
            poll,
            timer,
        };
        for number in 0..load.connections {
            publishers
                .greet(number)
                .map_err(failed("a publisher cannot connect"))?;
        }
        let slots = publishers.depth * load.connections;
        publishers.flying = vec![0; slots];
        publishers.free = (0..u32::try_from(slots).unwrap_or(u32::MAX)).collect();
        Ok(publishers)
    }

    fn greet(&mut self, number: usize) -> io::Result<()> {
        let mut stream =
            std::net::TcpStream::connect_timeout(&self.target.publish_address(), GREETING)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GREETING))?;
        let mut greeting = Vec::new();
        self.target.greet(&mut greeting);
        stream.write_all(&greeting)?;
        let (mut ear, mut answer) = (self.target.publisher_ear(), Vec::new());
        while !greeting.is_empty() {
            if self.welcomed(&mut *ear, &mut answer)? {
                break;
            }
            if self.heard.contains(&Heard::Open) {
                greeting.clear();
                self.target.enter_publisher(&mut greeting);
                stream.write_all(&greeting)?;
                continue;
            }
            let mut bytes = [0; 4096];
            let size = stream.read(&mut bytes)?;
            if size == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&bytes[..size]);
        }
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(number), interest)?;
        self.links.push(Link {
            stream,
            ear,
            waiting: VecDeque::new(),
            out: Vec::new(),
            half: answer,
        });
        Ok(())
    }

    /// Whether the answer to a greeting is there; it says how much may be on its way.
    fn welcomed(&mut self, ear: &mut dyn Ear, answer: &mut Vec<u8>) -> io::Result<bool> {
        self.heard.clear();
        let taken = ear
            .hear(answer, &mut self.heard)
            .map_err(io::Error::other)?;
        answer.drain(..taken);
        for heard in &self.heard {
            if let Heard::Welcome { records, bytes } = *heard {
                let by_bytes = bytes as usize / self.composed.largest();
                self.depth = self.depth.min(records as usize).min(by_bytes).max(1);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Publishes until the end of the load, and until everything is answered.
    pub(crate) fn run(mut self) -> Result<Published, String> {
        let start_ns = self.board.clock.now_ns();
        let pace = match self.load.gate {
            Gate::PerSecond(rate) => Some(Pace::new(start_ns, rate)),
            Gate::Answers | Gate::LastSubscriber => None,
        };
        let mut events = Events::with_capacity(1024);
        let mut last_ns = start_ns;
        loop {
            let more = self
                .refill(start_ns, pace)
                .map_err(|error| format!("a publisher is lost: {error}"))?;
            if !more && self.free.len() == self.flying.len() {
                break;
            }
            match self.poll.poll(&mut events, Some(GLANCE)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("cannot poll: {error}"));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKER => self.board.waker().drain(),
                    TIMER => self.timer.drain(),
                    Token(number) => {
                        self.read(number)
                            .map_err(|trouble| format!("a publisher is lost: {trouble}"))?;
                        self.flush(number)
                            .map_err(|error| format!("a publisher is lost: {error}"))?;
                    }
                }
            }
            last_ns = self.board.clock.now_ns();
        }
        Ok(Published {
            answered: self.answered,
            wire_bytes: self.composed.wire_bytes(self.next),
            seconds: (last_ns - start_ns) as f64 / 1e9,
            times: self.times,
            timeline: self.timeline,
            depth: self.depth,
        })
    }

    /// Sends what may be sent. Returns false when nothing more is to be sent.
    fn refill(&mut self, start_ns: u64, pace: Option<Pace>) -> io::Result<bool> {
        let more = loop {
            let now_ns = self.board.clock.now_ns();
            let ended = match self.load.end {
                End::Count(count) => self.next >= count,
                End::After(time) => u128::from(now_ns - start_ns) >= time.as_nanos(),
            };
            if ended {
                break false;
            }
            if self.load.gate == Gate::LastSubscriber
                && self.next > 0
                && !self.board.is_done(self.next - 1)
            {
                break true;
            }
            if let Some(wait) = pace
                .map(|pace| pace.wait(self.next, now_ns))
                .filter(|wait| !wait.is_zero())
            {
                self.timer.arm(wait)?;
                break true;
            }
            let Some(slot) = self.free.pop_front() else {
                break true;
            };
            self.publish(slot, pace.map_or(now_ns, |pace| pace.due_ns(self.next)))?;
        };
        for number in 0..self.links.len() {
            self.flush(number)?;
        }
        Ok(more)
    }

    fn publish(&mut self, slot: u32, at_ns: u64) -> io::Result<()> {
        let publication = self.next;
        self.next += 1;
        if publication < self.board.publications() {
            let sum = self.composed.sum(publication);
            self.board.sent(publication, at_ns, sum);
        }
        self.flying[slot as usize] = at_ns;
        let groups = self.board.groups();
        let number = slot as usize % self.links.len();
        self.links[number].waiting.push_back(slot);
        let out = &mut self.links[number].out;
        let start = out.len();
        out.extend_from_slice(self.composed.publication(publication));
        let stamp = Stamp {
            slot,
            first: (publication / groups) as u64 * u64::from(self.board.batch()),
            group: self.load.topic + publication % groups,
        };
        self.target.stamp(&mut out[start..], stamp);
        if out.len() >= GATHER_BYTES {
            self.flush(number)?;
        }
        Ok(())
    }

    fn flush(&mut self, number: usize) -> io::Result<()> {
        let link = &mut self.links[number];
        let mut written = 0;
        while written < link.out.len() {
            match link.stream.write(&link.out[written..]) {
                Ok(size) => written += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        link.out.drain(..written);
        Ok(())
    }

    fn read(&mut self, number: usize) -> Result<(), String> {
        loop {
            let link = &mut self.links[number];
            match link.stream.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed its connection".to_owned()),
                Ok(size) => {
                    link.half.extend_from_slice(&self.buffer[..size]);
                    self.listen(number)?;
                    if size < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn listen(&mut self, number: usize) -> Result<(), String> {
        self.heard.clear();
        let link = &mut self.links[number];
        let taken = link.ear.hear(&link.half, &mut self.heard)?;
        link.half.drain(..taken);
        let now_ns = self.board.clock.now_ns();
        for heard in &self.heard {
            match *heard {
                Heard::Published { slot } => {
                    let slot = link
                        .answered(slot)
                        .ok_or("the server answered a publication that was not sent")?;
                    let sent_ns = self.flying[slot as usize];
                    self.times.record_ns(now_ns.saturating_sub(sent_ns));
                    self.timeline.add(now_ns, 1);
                    self.free.push_back(slot);
                    self.answered += 1;
                }
                Heard::Ping { token } => self.target.publisher_pong(token, &mut link.out),
                Heard::Open
                | Heard::Welcome { .. }
                | Heard::Subscribed(_)
                | Heard::Record { .. } => {}
            }
        }
        Ok(())
    }
}

impl Link {
    /// Takes the slot that an answer is for.
    fn answered(&mut self, slot: Option<u32>) -> Option<u32> {
        let place = slot.map_or(Some(0), |slot| {
            self.waiting.iter().position(|waiting| *waiting == slot)
        });
        self.waiting.remove(place?)
    }
}
