//! The broker without threads, sockets, files and clock, for simulators: shards over the network and the disk in memory, whose
//! turns the simulator runs, one after another.
//!
//! Nothing happens by itself. A shard that the kernel would let sleep is not due ([`Broker::is_due`]), so a lost wake-up stays
//! lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oyez_protocol::LogId;
use oyez_storage::{ArenaPool, DataDir, LogReader, MemoryDisk, RecoveryReport, Store};

use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::error::{ShardError, StartError};
use crate::lend::ShardInit;
pub use crate::net::Readiness;
pub use crate::net::memory::{Calls, End, MemoryNet, Peer};
use crate::parts::awake::Awake;
use crate::parts::due::Due;
use crate::parts::mail::{Outbox, inbox};
use crate::parts::phase::Phase;
use crate::parts::room::MemoryCaps;
use crate::parts::shared::{Shared, SharedParts};
use crate::plan::Tables;
use crate::recovered;
use crate::shard::Shard;
use crate::sizes::{arena_options, log_options};

/// A clock that stands still until it is set. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SetClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    monotonic_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl SetClock {
    /// A clock at `now_ms`, as the time since the start and as the time of the day.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self(Arc::new(Times {
            monotonic_ms: AtomicU64::new(now_ms),
            wall_ms: AtomicU64::new(now_ms),
        }))
    }

    /// Lets time pass.
    pub fn pass(&self, ms: u64) {
        self.0.monotonic_ms.fetch_add(ms, Ordering::Relaxed);
        self.0.wall_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the time of the day, forward or back.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.0.wall_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.monotonic_ms.load(Ordering::Relaxed)
    }

    /// The time of the day, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.0.wall_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SetClock {
    fn now(&mut self) -> Now {
        Now {
            monotonic_ms: self.now_ms(),
            monotonic_us: self.elapsed_us(),
            wall_ms: self.wall_ms(),
        }
    }

    fn elapsed_us(&mut self) -> u64 {
        self.now_ms() * 1_000
    }

    fn thread_cpu_us(&mut self) -> u64 {
        0
    }
}

/// The arguments of [`Broker::start`].
#[derive(Debug)]
pub struct Setup {
    /// Its settings. Those of files, sockets and threads have no effect.
    pub config: Config,
    /// The directory that its logs would lie in.
    pub dir: DataDir,
    /// The disk of each shard; their number is that of the shards.
    pub disks: Vec<MemoryDisk>,
    /// Its clock.
    pub clock: SetClock,
    /// Connections that each shard has room for.
    pub connections_per_shard: usize,
    /// Distinguishes this run of the broker from others.
    pub instance: u64,
    /// Bounds that are narrower than in production.
    pub narrow: Narrow,
}

/// Bounds that a simulation may narrow, so that small runs reach them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Narrow {
    /// Bytes of answers that each shard keeps for its sessions at most.
    pub output_bytes: Option<usize>,
    /// Milliseconds for which a block of a file that was read counts as being in memory.
    pub warm_ms: Option<u64>,
}

/// A running broker.
pub struct Broker {
    shards: Vec<Seat>,
    shared: Arc<Shared>,
    clock: SetClock,
    reports: Vec<RecoveryReport>,
}

/// A shard, and the events that would end its sleep.
struct Seat {
    shard: Shard,
    net: MemoryNet,
    disk: MemoryDisk,
    due: Due,
    /// Another shard, or the broker, has woken it.
    woken: bool,
}

impl Broker {
    /// Opens the logs and begins to serve.
    ///
    /// # Errors
    /// When a log cannot be opened, or there is no memory.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let (disks, clock, narrow) = (setup.disks.clone(), setup.clock.clone(), setup.narrow);
        let arena = arena_options(&setup.config, &setup.dir);
        let pool = ArenaPool::without_thread(&arena).map_err(StartError::Arena)?;
        let shared = Arc::new(share(setup, pool));
        let mut options = log_options(&shared.config, &shared.dir);
        options.warm_ms = narrow.warm_ms.unwrap_or(options.warm_ms);
        let (mut stores, mut all_reports) = (Vec::new(), Vec::new());
        for (id, disk) in disks.iter().enumerate() {
            let (own, disk) = (own_logs(&shared, id), Box::new(disk.clone()));
            let (pool, now) = (shared.pool.clone(), clock.clone().now().into());
            let (store, reports) = Store::open(&shared.dir, &own, disk, pool, &options, now)?;
            recovered::tell_all(&reports, &shared, id);
            all_reports.extend(reports);
            stores.push(store);
        }
        let shards = make(&shared, stores, &clock);
        let seats = shards.into_iter().zip(disks);
        Ok(Self {
            shards: seats
                .map(|((shard, net), disk)| Seat {
                    shard,
                    net,
                    disk,
                    due: Due::Now,
                    woken: false,
                })
                .collect(),
            shared,
            clock,
            reports: all_reports,
        })
    }

    /// The reports of opening the logs.
    #[must_use]
    pub fn reports(&self) -> &[RecoveryReport] {
        &self.reports
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The network of a shard.
    #[must_use]
    pub fn net(&self, shard: usize) -> &MemoryNet {
        &self.shards[shard].net
    }

    /// Whether the kernel would let a shard run: it has work to do, its time has come, or an event has come.
    #[must_use]
    pub fn is_due(&self, shard: usize) -> bool {
        let seat = &self.shards[shard];
        let time = match seat.due {
            Due::Now => true,
            Due::At(due_ms) => due_ms <= self.clock.now_ms(),
            Due::Idle => false,
        };
        !self.is_over(shard)
            && (time || seat.woken || seat.net.has_news() || seat.disk.has_completions())
    }

    /// Whether a shard's last turn has left work that is due at once.
    #[must_use]
    pub fn has_more_to_do(&self, shard: usize) -> bool {
        self.shards[shard].due == Due::Now
    }

    /// When a shard runs at the latest, if no event comes: milliseconds since the start.
    #[must_use]
    pub fn due_ms(&self, shard: usize) -> Option<u64> {
        match self.shards[shard].due {
            _ if self.is_over(shard) => None,
            Due::Now => Some(self.clock.now_ms()),
            Due::At(due_ms) => Some(due_ms),
            Due::Idle => None,
        }
    }

    /// Runs one turn of a shard.
    ///
    /// # Errors
    /// When the shard cannot go on. The other shards then end, too, and the broker should be dropped soon.
    pub fn turn(&mut self, shard: usize) -> Result<(), ShardError> {
        let seat = &mut self.shards[shard];
        seat.woken = false;
        seat.net.set_now_ms(self.clock.now_ms());
        let due = std::mem::replace(&mut seat.due, Due::Idle);
        let turned = seat.shard.begin_turn(due).and_then(|()| seat.shard.turn());
        for woken in seat.net.woken() {
            self.shards[woken].woken = true;
        }
        match turned {
            Ok(due) => self.shards[shard].due = due,
            Err(error) => {
                self.shared.enter(Phase::Failed);
                self.wake_all();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Asks the broker to stop, as SIGTERM does.
    pub fn stop(&mut self) {
        self.shared.stop(self.clock.now_ms());
        self.wake_all();
    }

    /// Whether a shard has stopped.
    #[must_use]
    pub fn is_over(&self, shard: usize) -> bool {
        self.shards[shard].shard.parts.drain.is_over()
    }

    /// Closes the logs of a broker that has stopped.
    ///
    /// # Errors
    /// When they could not be closed in time.
    pub fn close(self) -> Result<(), ShardError> {
        let mut outcome = Ok(());
        for seat in self.shards {
            outcome = outcome.and(seat.shard.parts.close());
        }
        outcome
    }

    /// Makes a block of the arena ready. Returns whether one was wanted.
    pub fn touch_block(&self) -> bool {
        self.shared.pool.touch_next()
    }

    /// What a shard holds at the moment.
    #[must_use]
    pub fn held(&self, shard: usize) -> Held {
        let parts = &self.shards[shard].shard.parts;
        Held {
            sessions: parts.sessions.ids().len(),
            leaving: parts.sessions.count_leaving(),
            input_bytes: parts.sessions.room.input.bytes(),
            output_bytes: parts.sessions.room.output.bytes(),
            questions: parts.outbox.questions(),
            questions_of_one: parts.sessions.requests_max(),
            stalled_bytes: parts.publishes.stalled_bytes(),
        }
    }

    /// Numbers of the sockets whose sessions hold more than `bytes` of answers, and how many bytes each socket has taken so far.
    #[must_use]
    pub fn behind(&self, shard: usize, bytes: usize) -> Vec<(u32, u64)> {
        let seat = &self.shards[shard];
        let sockets = seat.shard.parts.sessions.sockets_behind(bytes);
        sockets.map(|socket| seat.net.taken(socket)).collect()
    }

    /// Sets the time of all networks, so that they know when peers read.
    pub fn tell_the_time(&self) {
        for seat in &self.shards {
            seat.net.set_now_ms(self.clock.now_ms());
        }
    }

    fn wake_all(&mut self) {
        for seat in &mut self.shards {
            seat.woken = true;
        }
    }
}

/// What a shard holds for its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Sessions.
    pub sessions: usize,
    /// Sessions that are leaving or were told to go, whose input is not handled any more.
    pub leaving: usize,
    /// Bytes of records that have not arrived whole, or wait for their log.
    pub input_bytes: usize,
    /// Bytes of answers that have not left.
    pub output_bytes: usize,
    /// Questions to other shards that are not answered.
    pub questions: usize,
    /// The most questions that any session has under way.
    pub questions_of_one: usize,
    /// Bytes of records of other shards that wait for their log.
    pub stalled_bytes: usize,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            leaving: _,
            input_bytes,
            output_bytes,
            questions,
            questions_of_one: _,
            stalled_bytes,
        } = self;
        write!(
            f,
            "{sessions} sessions, {input_bytes} bytes in, {output_bytes} out, {stalled_bytes} stalled, {questions} questions"
        )
    }
}

pub(crate) fn share(setup: Setup, pool: Arc<ArenaPool>) -> Shared {
    let mut caps = MemoryCaps::new(setup.disks.len());
    caps.output = setup.narrow.output_bytes.unwrap_or(caps.output);
    Shared::new(SharedParts {
        config: setup.config,
        dir: setup.dir,
        pool,
        shards: setup.disks.len(),
        instance: setup.instance,
        connections_per_shard: setup.connections_per_shard,
        caps,
        tables: Tables::Shared,
        wakers: Vec::new(),
    })
}

pub(crate) fn own_logs(shared: &Shared, shard: usize) -> Vec<LogId> {
    let logs = shared.dir.logs().map(|spec| spec.id);
    logs.filter(|log| shared.owner(*log) == shard).collect()
}

/// Shards over these stores, one each.
pub(crate) fn make(
    shared: &Arc<Shared>,
    stores: Vec<Store>,
    clock: &SetClock,
) -> Vec<(Shard, MemoryNet)> {
    let logs = shared.dir.logs().map(|spec| spec.id);
    let readers: Vec<LogReader> = logs
        .map(|log| stores[shared.owner(log)].reader(log))
        .collect();
    let (senders, inboxes): (Vec<_>, Vec<_>) = stores.iter().map(|_| inbox()).unzip();
    let shards = stores.into_iter().zip(inboxes).enumerate();
    shards
        .map(|(id, (store, inbox))| {
            let net = MemoryNet::default();
            let init = ShardInit {
                id,
                shared: shared.clone(),
                storage_clock: Box::new(clock.clone()),
                net: Box::new(net.clone()),
                store,
                readers: readers.clone(),
                inbox,
                outbox: Outbox::new(id, senders.clone()),
                awake: Awake::default(),
            };
            (Shard::new(init, Box::new(clock.clone())), net)
        })
        .collect()
}
