//! Many subscribers: threads with descriptor tables of their own, and the counters that they publish while they run.

mod sockets;
mod table;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::board::Board;
use super::spread::{SourceNet, Spread};
use super::target::Target;
use super::times::{Timeline, Times};
use crate::failure::Failure;
use table::Table;

/// Stack size of a thread of the crowd, which calls nothing deep.
const STACK_BYTES: usize = 256 << 10;
/// The phase that ends all.
const STOP: u32 = u32::MAX;

/// The parameters of a crowd.
#[derive(Clone, Debug)]
pub(crate) struct Audience {
    pub(crate) spread: Spread,
    /// Number of its first connection among those of all crowds of the run.
    pub(crate) first: usize,
    /// Number of its first topic among those of the target.
    pub(crate) topic: usize,
    /// Most connections that are being made at once.
    pub(crate) outstanding: usize,
    pub(crate) receive_buffer: Option<u32>,
    /// Where source addresses are from, if not the usual ones.
    pub(crate) source_net: Option<SourceNet>,
    pub(crate) decode: bool,
}

/// Connected subscribers.
pub(crate) struct Crowd {
    shared: Arc<CrowdShared>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What the threads and their owner share.
pub(crate) struct CrowdShared {
    pub(crate) audience: Audience,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) board: Arc<Board>,
    /// Even: be connected; odd: hang up; or [`STOP`].
    round: AtomicU32,
    /// Whether the subscribers have stopped reading.
    deaf: AtomicBool,
    /// Whether connections may be lost, because the server is about to stop.
    forgiving: AtomicBool,
    gauges: Vec<Gauge>,
    /// The epoch of each topic, for subscribers that come back.
    pub(crate) epochs: Vec<AtomicU64>,
    trouble: Mutex<Option<String>>,
}

/// One thread's numbers, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    /// Connections of this round that are subscribed.
    ready: AtomicUsize,
    /// When the last of them became so.
    ready_ns: AtomicU64,
    deliveries: AtomicU64,
    messages: AtomicU64,
}

/// What one thread has seen, or all together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) deliveries: u64,
    pub(crate) messages: u64,
    /// From the intended departure of a publication to each of its arrivals.
    pub(crate) latency: Times,
    /// From the call that connects to the answer that all is subscribed.
    pub(crate) connect: Times,
    pub(crate) delivered: Timeline,
    pub(crate) connected: Timeline,
}

impl Crowd {
    /// Starts the threads; they begin to connect at once.
    pub(crate) fn gather(
        audience: Audience,
        target: Arc<dyn Target>,
        board: Arc<Board>,
    ) -> Result<Self, Failure> {
        let tables = audience.spread.tables();
        let groups = audience.spread.groups();
        let shared = Arc::new(CrowdShared {
            audience,
            target,
            board,
            round: AtomicU32::new(0),
            deaf: AtomicBool::new(false),
            forgiving: AtomicBool::new(false),
            gauges: (0..tables).map(|_| Gauge::default()).collect(),
            epochs: (0..groups).map(|_| AtomicU64::new(0)).collect(),
            trouble: Mutex::new(None),
        });
        let mut crowd = Self {
            shared,
            threads: Vec::with_capacity(tables),
        };
        for number in 0..tables {
            let shared = crowd.shared.clone();
            let builder = Builder::new()
                .name(format!("crowd-{number}"))
                .stack_size(STACK_BYTES);
            let thread = builder
                .spawn(move || Table::run(&shared, number))
                .map_err(|error| Failure::io("cannot start a thread", &error))?;
            crowd.threads.push(thread);
        }
        Ok(crowd)
    }

    pub(crate) fn size(&self) -> usize {
        self.shared.audience.spread.connections()
    }

    /// Subscribers that are connected and subscribed.
    pub(crate) fn ready(&self) -> usize {
        self.shared
            .gauges
            .iter()
            .map(|gauge| gauge.ready.load(Ordering::Acquire))
            .sum()
    }

    /// When the last one became so.
    pub(crate) fn ready_ns(&self) -> u64 {
        let times = self
            .shared
            .gauges
            .iter()
            .map(|gauge| gauge.ready_ns.load(Ordering::Acquire));
        times.max().unwrap_or(0)
    }

    /// Number of deliveries to subscribers.
    pub(crate) fn deliveries(&self) -> u64 {
        self.shared
            .gauges
            .iter()
            .map(|gauge| gauge.deliveries.load(Ordering::Relaxed))
            .sum()
    }

    /// Lets all subscribers hang up.
    pub(crate) fn pause(&self) {
        self.shared.round.fetch_or(1, Ordering::AcqRel);
    }

    /// Subscribers that are not connected.
    pub(crate) fn hung_up(&self) -> usize {
        self.size() - self.ready()
    }

    /// Lets all subscribers that have hung up come back to their places.
    pub(crate) fn come_again(&self) {
        self.shared.round.fetch_add(1, Ordering::AcqRel);
    }

    /// Stops all reading. A connection that the server closes is still noticed.
    pub(crate) fn stop_reading(&self) {
        self.shared.deaf.store(true, Ordering::Release);
    }

    /// Whether a connection that is lost is only counted, in [`Self::hung_up`], or fails the bench.
    pub(crate) fn forgive(&self, losses: bool) {
        self.shared.forgiving.store(losses, Ordering::Release);
    }

    /// What went wrong, if something did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Hangs up, and returns what all have seen.
    pub(crate) fn dismiss(mut self) -> Tally {
        self.shared.round.store(STOP, Ordering::Release);
        let mut all = Tally::new();
        for thread in self.threads.drain(..) {
            if let Ok(tally) = thread.join() {
                all.merge(&tally);
            }
        }
        all
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.round.store(STOP, Ordering::Release);
    }
}

impl CrowdShared {
    pub(crate) fn address(&self) -> SocketAddr {
        self.target.address()
    }

    fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Acquire)
    }

    fn is_forgiving(&self) -> bool {
        self.forgiving.load(Ordering::Acquire)
    }

    fn round(&self) -> u32 {
        self.round.load(Ordering::Acquire)
    }

    /// Keeps the first failure.
    fn complain(&self, text: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert(text);
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            deliveries: 0,
            messages: 0,
            latency: Times::new(),
            connect: Times::new(),
            delivered: Timeline::default(),
            connected: Timeline::default(),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.messages += other.messages;
        self.latency.merge(&other.latency);
        self.connect.merge(&other.connect);
        self.delivered.merge(&other.delivered);
        self.connected.merge(&other.connected);
    }
}
