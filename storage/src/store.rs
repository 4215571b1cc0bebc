//! The store of a shard: its disk, and the logs assigned to the shard.
//!
//! In each turn the shard appends, pumps and submits. Only opening waits for the disk.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};

use crate::clock::WallClock;
use crate::dir::DataDir;
use crate::disk::{Completion, Disk, Outcome};
use crate::error::{AppendError, OpenError, Poisoned, PopulateError};
use crate::failing::Task;
use crate::format::BLOCK_BYTES;
use crate::log::Log;
use crate::moment::Moment;
use crate::open::Opening;
use crate::options::LogOptions;
use crate::reader::{ColdRange, LogReader};
use crate::retries::Retries;
use crate::segment::is_lost;
use crate::sys::arena::ArenaPool;
use crate::values::{
    Appended, Damaged, Located, Place, RecoveryReport, StartAt, StoreEvents, StoreStats, TopicInfo,
    Undrained,
};

/// How soon a submission that the kernel has not taken in full is tried again.
const SUBMIT_RETRY_MS: u64 = 1;

/// How long the kernel may be short of memory for submissions before that counts as a failure; each such time counts as
/// one more.
const BEHIND_MAX_MS: u64 = 1_000;

/// The slot in tokens that stands for the store itself.
const POPULATE_SLOT: u64 = 0xffff;

/// A block that is being read into memory, and the tokens of the calls that wait for it.
struct Populating {
    /// Token of the disk's operation.
    own: u64,
    cold: ColdRange,
    tokens: Vec<u64>,
}

/// The shard's logs.
pub struct Store {
    disk: Box<dyn Disk>,
    pub(crate) logs: Vec<Log>,
    /// Log number -> place in `logs`.
    slots: HashMap<LogId, usize>,
    pool: Arc<ArenaPool>,
    options: LogOptions,
    populating: Vec<Populating>,
    next_populate: u64,
    completions: Vec<Completion>,
    draining: bool,
    /// The time of the last pump.
    now_ms: u64,
    wall_clock: WallClock,
    /// Since when the kernel has not taken all of a submission.
    behind_since_ms: Option<u64>,
    retries: Retries,
}

impl Store {
    /// Opens logs, recovering what they hold. Blocks.
    ///
    /// # Errors
    /// When a log cannot be used. Then no log has lost anything that another attempt would need.
    pub fn open(
        dir: &DataDir,
        logs: &[LogId],
        disk: Box<dyn Disk>,
        pool: Arc<ArenaPool>,
        options: &LogOptions,
        now: Moment,
    ) -> Result<(Self, Vec<RecoveryReport>), OpenError> {
        if let Some(fault) = options.fault() {
            return Err(OpenError::Options(fault));
        }
        pool.set_clock(now.monotonic_ms);
        let mut store = Self {
            disk,
            logs: Vec::with_capacity(logs.len()),
            slots: HashMap::new(),
            pool,
            options: *options,
            populating: Vec::new(),
            next_populate: 0,
            completions: Vec::new(),
            draining: false,
            now_ms: now.monotonic_ms,
            wall_clock: WallClock::new(now),
            behind_since_ms: None,
            retries: Retries::default(),
        };
        let mut reports = Vec::with_capacity(logs.len());
        for (slot, id) in logs.iter().enumerate() {
            let spec = dir.spec(*id).ok_or(OpenError::NoSuchLog(*id))?;
            let opening = Opening {
                dir,
                spec,
                slot: u16::try_from(slot).map_err(|_| OpenError::NoSuchLog(*id))?,
                options: *options,
                pool: Arc::clone(&store.pool),
                now,
            };
            let (log, report) = opening.run(&mut *store.disk)?;
            store.slots.insert(*id, slot);
            store.logs.push(log);
            reports.push(report);
        }
        Ok((store, reports))
    }

    fn log(&self, log: LogId) -> Option<&Log> {
        self.slots.get(&log).map(|slot| &self.logs[*slot])
    }

    fn own(&self, log: LogId) -> &Log {
        self.log(log).expect("the caller asks about its own logs")
    }

    /// Appends a verified record, stamped with the wall clock's time. It is acknowledged and delivered once the log's visible position has reached
    /// [`Appended::end`].
    ///
    /// # Errors
    /// The record was not appended; see [`AppendError`] for what to do.
    pub fn append(
        &mut self,
        log: LogId,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        let slot = *self.slots.get(&log).ok_or(AppendError::NotHere)?;
        self.logs[slot].append(record, wall_ms)
    }

    /// The same for a record whose topic must be there already.
    ///
    /// # Errors
    /// As [`Self::append`]; and [`AppendError::UnknownTopic`] for a record that would begin a topic.
    pub fn append_to_known(
        &mut self,
        log: LogId,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        let slot = *self.slots.get(&log).ok_or(AppendError::NotHere)?;
        let log = &mut self.logs[slot];
        if !log.knows(record.topic()) {
            return Err(AppendError::UnknownTopic);
        }
        log.append(record, wall_ms)
    }

    /// Takes finished operations, advances the visible positions, and queues what can be started. Adds to `events`.
    ///
    /// # Errors
    /// A log that failed: the broker says so and stops.
    pub fn pump(&mut self, now: Moment, events: &mut StoreEvents) -> Result<(), Poisoned> {
        self.pool.set_clock(now.monotonic_ms);
        self.now_ms = now.monotonic_ms;
        if let Some(ahead_ms) = self.wall_clock.look(now) {
            events.clock_set_ahead_ms = Some(ahead_ms);
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.disk.reap(&mut completions);
        let mut failed = None;
        for completion in completions.drain(..) {
            if let Err(poisoned) = self.complete(completion, now, events) {
                failed.get_or_insert(poisoned);
            }
        }
        self.completions = completions;
        self.look_at_submissions();
        self.retries.report(None, events);
        let distrusted_until_ms = self.wall_clock.distrusted_until_ms();
        for log in &mut self.logs {
            log.distrust_wall_clock(distrusted_until_ms);
            log.turn(now, &mut *self.disk, events);
        }
        failed.map_or(Ok(()), Err)
    }

    fn look_at_submissions(&mut self) {
        if !self.disk.is_behind() {
            self.behind_since_ms = None;
            self.retries.worked(Task::Submit);
            return;
        }
        let since_ms = *self.behind_since_ms.get_or_insert(self.now_ms);
        if self.now_ms - since_ms >= BEHIND_MAX_MS {
            self.behind_since_ms = Some(self.now_ms);
            self.retries
                .failed(Task::Submit, io::ErrorKind::WouldBlock.into());
        }
    }

    fn complete(
        &mut self,
        completion: Completion,
        now: Moment,
        events: &mut StoreEvents,
    ) -> Result<(), Poisoned> {
        let slot = completion.token >> 48;
        if slot == POPULATE_SLOT {
            self.populated(completion, now, events);
            return Ok(());
        }
        let slot = usize::try_from(slot).expect("16 bits");
        let Some(log) = self.logs.get_mut(slot) else {
            return Ok(());
        };
        log.complete(completion, now, &mut *self.disk, events)
    }

    /// Hands everything queued to the kernel; call it once per turn. What the kernel does not take now is kept, and
    /// [`Store::next_deadline_ms`] includes the time to submit it again.
    ///
    /// # Errors
    /// When the kernel refuses the call as such.
    pub fn submit(&mut self) -> io::Result<()> {
        self.disk.submit()
    }

    /// Blocks until an operation has finished, for tools and tests without an event loop.
    ///
    /// # Errors
    /// As [`Store::submit`], or when nothing is in flight.
    pub fn wait(&mut self) -> io::Result<()> {
        self.disk.wait()
    }

    /// When to pump next if no event comes before, by the monotonic clock.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let behind = self.disk.is_behind();
        let submit = behind.then_some(self.now_ms + SUBMIT_RETRY_MS);
        let logs = self.logs.iter().filter_map(Log::deadline_ms);
        logs.chain(submit).min()
    }

    /// An eventfd that is written to whenever an operation has finished. Watch it edge-triggered: then it need not be
    /// read.
    #[must_use]
    pub fn wake_fd(&self) -> Option<RawFd> {
        self.disk.wake_fd()
    }

    /// A reader of one of this store's logs, to be cloned for every shard.
    ///
    /// # Panics
    /// If the log is not one of this store's.
    #[must_use]
    pub fn reader(&self, log: LogId) -> LogReader {
        LogReader::new(Arc::clone(self.own(log).shared()))
    }

    /// The position below which everything may be delivered and acknowledged.
    ///
    /// # Panics
    /// If the log is not one of this store's.
    #[must_use]
    pub fn visible(&self, log: LogId) -> Position {
        Position::new(self.own(log).shared().visible())
    }

    /// Where a subscription to a topic starts.
    ///
    /// # Panics
    /// If the log is not one of this store's.
    #[must_use]
    pub fn locate(&self, log: LogId, topic: &str, start: StartAt, walked: Position) -> Located {
        let own = self.own(log);
        own.lookup().locate(topic, start, walked.get())
    }

    /// Information about a topic; `None` if nothing was published to it.
    ///
    /// # Panics
    /// If the log is not one of this store's.
    #[must_use]
    pub fn topic(&self, log: LogId, name: &str) -> Option<TopicInfo> {
        self.own(log).lookup().topic(name)
    }

    /// Appends the places of a topic's visible records to `out`, from the one that holds `from` on, at most `max`.
    ///
    /// # Panics
    /// If the log is not one of this store's.
    pub fn places(&self, log: LogId, topic: &str, from: Offset, max: usize, out: &mut Vec<Place>) {
        self.own(log).lookup().places(topic, from, max, out);
    }

    /// Reads a cold range of any shard's log into memory; [`StoreEvents::populated`] returns `token`. A block that several
    /// callers ask for at once is read and checked once.
    pub fn populate(&mut self, cold: ColdRange, token: u64) {
        let same = |other: &&mut Populating| {
            other.cold.block == cold.block && Arc::ptr_eq(&other.cold.file, &cold.file)
        };
        if let Some(same) = self.populating.iter_mut().find(same) {
            same.tokens.push(token);
            return;
        }
        self.next_populate = (self.next_populate + 1) & ((1 << 48) - 1);
        let own = POPULATE_SLOT << 48 | self.next_populate;
        let from =
            usize::try_from(cold.block - cold.file.base).expect("a segment is at most 1 GiB");
        let len = BLOCK_BYTES.min(cold.file.limit() - cold.block);
        let to = from + usize::try_from(len).expect("2 MiB");
        self.disk
            .populate(own, Arc::clone(&cold.file.map), from..to);
        self.populating.push(Populating {
            own,
            cold,
            tokens: vec![token],
        });
    }

    fn populated(&mut self, completion: Completion, now: Moment, events: &mut StoreEvents) {
        let (own, populating) = (completion.token, &mut self.populating);
        let Some(done) = populating.iter().position(|one| one.own == own) else {
            return;
        };
        let Populating { cold, tokens, .. } = populating.swap_remove(done);
        let Outcome::Populated(result) = completion.outcome else {
            return;
        };
        let outcome = match result {
            Ok(()) if cold.file.block_is_sound(cold.block) => {
                let until = now.monotonic_ms + self.options.warm_ms;
                cold.file.set_warm(cold.block, until);
                Ok(())
            }
            Err(error) if !is_lost(&error) => Err(PopulateError::Io(error.kind())),
            _ => {
                // Each of its records is verified when it is read.
                cold.file.doubt(cold.block);
                events.damaged.push(Damaged {
                    path: Arc::clone(&cold.file.path),
                    at: cold.block - cold.file.base,
                });
                Ok(())
            }
        };
        let populated = tokens.into_iter().map(|token| (token, outcome));
        events.populated.extend(populated);
    }

    /// Refuses appends from now on, and makes everything appended durable in the turns that follow.
    pub fn begin_drain(&mut self) {
        self.draining = true;
        for log in &mut self.logs {
            log.begin_drain();
        }
    }

    /// Whether everything is durable and the logs are marked as cleanly closed: the store may be dropped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining
            && self
                .logs
                .iter()
                .all(|log| log.is_drained() || log.is_poisoned())
    }

    /// The logs that a drain has not closed, with the number of their records that are not durable.
    #[must_use]
    pub fn undrained(&self) -> Vec<Undrained> {
        let open = |log: &&Log| log.on_disk() && !log.is_drained();
        self.logs
            .iter()
            .filter(open)
            .map(|log| Undrained {
                log: log.id(),
                records: log.undurable(),
            })
            .collect()
    }

    /// Ends the store without waiting for the disk: memory that the kernel may still use is never freed. For a process
    /// that ends while its disk does not answer. Dropping a store waits up to a second or two instead.
    pub fn abandon(self) {
        std::mem::forget(self.disk);
    }

    /// Number of tasks that fail at present and are tried again.
    #[must_use]
    pub fn failing(&self) -> usize {
        let logs = self.logs.iter().map(|log| log.failing());
        logs.sum::<usize>() + self.retries.failing()
    }

    /// Running totals.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats {
            disk: self.disk.name(),
            submissions: self.disk.submissions(),
            ..StoreStats::default()
        };
        for log in &self.logs {
            log.add_to(&mut stats);
        }
        stats
    }
}
