//! Hundreds of hostile clients on one thread, over sockets that do not block. It needs no answers, so that the same
//! flood runs against a broker and against the bare loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use testkit::random::Random;

use crate::connection::{Alarm, Connection, Visit};
use crate::script::{Count, Kind};

/// How long the generator may be without a look at whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time after which a client comes back whose connection the other side has ended.
const COME_BACK_US: u64 = 500_000;
/// Bytes that one read takes.
const READ_BYTES: usize = 64 << 10;

/// How a flood is to be run.
pub(crate) struct Order {
    pub(crate) address: SocketAddr,
    pub(crate) kinds: Vec<Kind>,
    /// Clients of each kind whose count is that of the run.
    pub(crate) many: usize,
    /// After each time so long, all connections are reset in one go and come back.
    pub(crate) round: Option<Duration>,
    pub(crate) seed: u64,
}

/// The result of a flood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) clients: usize,
    pub(crate) connects: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    /// Connections that the other side has ended.
    pub(crate) lost: u64,
}

/// A running flood.
pub(crate) struct Generator {
    thread: JoinHandle<()>,
    flooding: Arc<AtomicBool>,
    tallies: Receiver<Tally>,
    closing: Sender<()>,
}

impl Generator {
    pub(crate) fn start(order: Order) -> Self {
        let flooding = Arc::new(AtomicBool::new(true));
        let (tally_in, tallies) = channel();
        let (closing, close) = channel();
        let goes_on = Arc::clone(&flooding);
        let thread = std::thread::spawn(move || {
            let mut engine = Engine::new(order);
            engine.run(&goes_on);
            // Nobody may be left to hear of it.
            let _ = tally_in.send(engine.tally);
            // The sockets stay open until the word comes, or nobody is left to give it.
            let _ = close.recv();
        });
        Self {
            thread,
            flooding,
            tallies,
            closing,
        }
    }

    /// Ends the traffic; the sockets stay open.
    pub(crate) fn hold(&self) -> Tally {
        self.flooding.store(false, Ordering::Relaxed);
        self.tallies.recv().expect("the generator runs")
    }

    /// Closes all sockets.
    pub(crate) fn close(self) {
        drop(self.closing);
        self.thread.join().expect("the generator runs to its end");
    }
}

struct Engine {
    address: SocketAddr,
    poll: Poll,
    kinds: Vec<Kind>,
    connections: Vec<Connection>,
    ready: VecDeque<usize>,
    alarms: BinaryHeap<Reverse<(Instant, usize, u32, Alarm)>>,
    round: Option<Duration>,
    random: Random,
    buffer: Vec<u8>,
    tally: Tally,
}

impl Engine {
    fn new(order: Order) -> Self {
        let mut random = Random::new(order.seed);
        let mut kinds = order.kinds;
        let mut connections = Vec::new();
        for (number, kind) in kinds.iter_mut().enumerate() {
            let count = match kind.count {
                Count::Many => order.many,
                Count::Exactly(count) => count,
            };
            for place in 0..count {
                let client = (kind.maker)(place, &mut random);
                connections.push(Connection::new(number, place, client));
            }
        }
        Self {
            address: order.address,
            poll: Poll::new().expect("a poll"),
            kinds,
            ready: (0..connections.len()).collect(),
            tally: Tally {
                clients: connections.len(),
                ..Tally::default()
            },
            connections,
            alarms: BinaryHeap::new(),
            round: order.round,
            random,
            buffer: vec![0; READ_BYTES],
        }
    }

    fn run(&mut self, flooding: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        let mut round_ends = self.round.map(|round| Instant::now() + round);
        while flooding.load(Ordering::Relaxed) {
            let now = Instant::now();
            if round_ends.is_some_and(|end| end <= now) {
                self.reset_all();
                round_ends = self.round.map(|round| now + round);
            }
            self.ring(now);
            let wait = self.wait(now);
            self.poll.poll(&mut events, Some(wait)).expect("a poll");
            for event in &events {
                let number = event.token().0;
                self.connections[number].note(event);
                self.queue(number);
            }
            // Those that get ready meanwhile have their turn in the next pass.
            for _ in 0..self.ready.len() {
                if let Some(number) = self.ready.pop_front() {
                    self.connections[number].queued = false;
                    self.visit(number);
                }
            }
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let first = self.alarms.peek().map(|Reverse((at, ..))| *at);
        first.map_or(LOOK, |at| at.saturating_duration_since(now).min(LOOK))
    }

    fn ring(&mut self, now: Instant) {
        while let Some(Reverse((at, number, life, alarm))) = self.alarms.peek().copied()
            && at <= now
        {
            self.alarms.pop();
            if self.connections[number].life == life {
                self.connections[number].ring(alarm);
                self.queue(number);
            }
        }
    }

    fn queue(&mut self, number: usize) {
        if !std::mem::replace(&mut self.connections[number].queued, true) {
            self.ready.push_back(number);
        }
    }

    fn visit(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if !connection.is_connected() {
            match connection.connect(self.address, self.poll.registry(), number) {
                Ok(()) => self.tally.connects += 1,
                // All ports wait, or the like: a little later there may be one.
                Err(_) => self.come_back_later(number),
            }
            return;
        }
        let visit = connection.visit(&mut self.random, &mut self.buffer, &mut self.tally);
        match visit {
            Visit::More => self.queue(number),
            Visit::Idle => {}
            Visit::Alarm(after, alarm) => self.set_alarm(number, after, alarm),
            Visit::Closed => {
                self.replace(number);
                self.queue(number);
            }
            Visit::Lost => {
                self.tally.lost += 1;
                self.replace(number);
                self.come_back_later(number);
            }
        }
    }

    fn come_back_later(&mut self, number: usize) {
        let after = Duration::from_micros(self.random.below(COME_BACK_US));
        self.set_alarm(number, after, Alarm::GoOn);
    }

    fn set_alarm(&mut self, number: usize, after: Duration, alarm: Alarm) {
        let life = self.connections[number].life;
        let at = Instant::now() + after;
        self.alarms.push(Reverse((at, number, life, alarm)));
    }

    /// A new client takes the place of one whose connection is over.
    fn replace(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let maker = &mut self.kinds[connection.kind].maker;
        let client = maker(connection.place, &mut self.random);
        connection.replace(client);
    }

    /// First everybody goes, then everybody comes.
    fn reset_all(&mut self) {
        for number in 0..self.connections.len() {
            self.connections[number].reset();
            self.replace(number);
        }
        for number in 0..self.connections.len() {
            self.queue(number);
        }
    }
}
