//! One log: the owner of its parts. An append stamps a verified record and copies it once, into the tail block. A turn lets
//! each part start what it can. The completion of an operation goes to the part that started it.
//!
//! An append never waits: without room it is refused, and `StoreEvents::accepting_again` names the log when it accepts
//! again.

use std::io;
use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, LogId, Offset, Position, Sequence};

use crate::age::Ages;
use crate::clock::Stamps;
use crate::commit::{Commits, CopyEnded, Sources};
use crate::discards::Discards;
use crate::disk::{Completion, Disk, Outcome};
use crate::drain::{DrainStage, DrainStep};
use crate::error::{AppendError, Poisoned};
use crate::failing::Task;
use crate::fixed::Fixed;
use crate::flush::{Failure, Flush, FlushEffects};
use crate::flusher::Flusher;
use crate::health::Health;
use crate::index::TopicIndex;
use crate::lookup::{FrontLoss, Lookup};
use crate::moment::Moment;
use crate::operations::{Operations, Purpose};
use crate::options::Durability;
use crate::parts::LogParts;
use crate::prepare::SparePreparer;
use crate::retention::{Retention, Trimmer};
use crate::rollover::Rollover;
use crate::seal::{Flushed, Sealer, Sealing};
use crate::segments::{Entry, Segments, Stage};
use crate::shared_log::SharedLog;
use crate::spare::SpareSegment;
use crate::state::{STATE, STATE_COPY};
use crate::tail::Tail;
use crate::values::{Appended, StoreEvents, StoreStats};
use crate::visibility::Visibility;

/// How long a refused publisher waits at most if no other event causes a turn.
const REFUSED_MS: u64 = 5;

pub(crate) struct Log {
    fixed: Fixed,
    visibility: Visibility,
    index: TopicIndex,
    front_loss: FrontLoss,
    tail: Tail,
    stamps: Stamps,
    segments: Segments,
    spare: SpareSegment,
    flush: Flush,
    sealing: Sealing,
    ages: Ages,
    retention: Retention,
    commits: Commits,
    operations: Operations,
    discards: Discards,
    health: Health,
    drain: DrainStage,
    /// The last refusal of an append since the log reported that it accepts again.
    refused: Option<AppendError>,
    now: Moment,
}

impl Log {
    pub(crate) fn new(parts: LogParts, now: Moment) -> Self {
        let fixed = parts.fixed;
        let first_segment = fixed.durability() == Durability::Synced;
        Self {
            visibility: parts.visibility,
            index: parts.index,
            front_loss: parts.front_loss,
            stamps: parts.stamps,
            segments: parts.segments,
            spare: SpareSegment::new(first_segment, parts.tail.head()),
            tail: parts.tail,
            flush: parts.flush,
            sealing: Sealing::default(),
            ages: Ages::new(fixed.options.retention_age_ms),
            retention: parts.retention,
            commits: parts.commits,
            operations: Operations::new(fixed.slot),
            discards: Discards::default(),
            health: parts.health,
            drain: DrainStage::default(),
            refused: None,
            now,
            fixed,
        }
    }

    pub(crate) fn id(&self) -> LogId {
        self.fixed.id()
    }

    pub(crate) fn durability(&self) -> Durability {
        self.fixed.durability()
    }

    pub(crate) fn on_disk(&self) -> bool {
        self.fixed.on_disk()
    }

    /// The part of the log that readers share.
    pub(crate) fn shared(&self) -> &Arc<SharedLog> {
        self.visibility.shared()
    }

    pub(crate) fn index(&self) -> &TopicIndex {
        &self.index
    }

    pub(crate) fn index_mut(&mut self) -> &mut TopicIndex {
        &mut self.index
    }

    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            fixed: &self.fixed,
            index: &self.index,
            segments: &self.segments,
            front_loss: &self.front_loss,
            visible: self.visibility.visible(),
        }
    }

    /// Whether a record of `topic` was ever appended.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        let hash = self.fixed.hash(topic);
        self.index.find(hash, topic).is_some()
    }

    pub(crate) fn append(
        &mut self,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        if self.health.is_poisoned() {
            return Err(AppendError::Poisoned);
        }
        if self.drain.has_begun() {
            return Err(AppendError::Closing);
        }
        if record.size() > self.fixed.options.limits.record_size_max {
            return Err(AppendError::TooLarge);
        }
        let hash = self.fixed.hash(record.topic());
        let is_full = self.index.len() >= self.fixed.options.topics_max;
        if is_full && self.index.find(hash, record.topic()).is_none() {
            return Err(AppendError::TooManyTopics);
        }
        if !self.tail.fits(record.size() as usize)
            && let Err(error) = self.rollover().make_room()
        {
            self.refused = Some(error);
            self.spare.want();
            return Err(error);
        }
        let topic = self.index.find_or_add(hash, record.topic());
        let sequence = self.tail.reached().sequence;
        self.stamps.take(wall_ms, self.fixed.id(), sequence);
        Ok(self.put(record, topic))
    }

    /// Puts a record into the tail, which has room for it, and enters it into the index.
    #[inline]
    fn put(&mut self, record: &Record<'_>, topic: u32) -> Appended {
        let topic = self.index.topic_mut(topic);
        let (offset, stamp_ms) = (topic.next, self.stamps.last_ms());
        let placed = self.tail.append(record, offset, stamp_ms);
        let entry = Entry {
            offset,
            position: placed.position,
            size: record.size(),
            count: record.count(),
            stamp_ms,
        };
        self.segments.enter(topic, entry);
        if !self.fixed.on_disk() || planted(Bug::ShowsUnwritten) {
            self.visibility.set_visible(placed.end);
        }
        Appended {
            offset: Offset::new(offset),
            sequence: Sequence::new(placed.sequence),
            end: Position::new(placed.end),
            epoch: Epoch::new(self.fixed.epoch),
        }
    }

    fn rollover(&mut self) -> Rollover<'_> {
        Rollover {
            fixed: &self.fixed,
            tail: &mut self.tail,
            segments: &mut self.segments,
            spare: &mut self.spare,
            visibility: &mut self.visibility,
            last_ms: self.stamps.last_ms(),
        }
    }

    fn flusher<'a>(&'a mut self, disk: &'a mut dyn Disk) -> Flusher<'a> {
        Flusher {
            fixed: &self.fixed,
            flush: &mut self.flush,
            tail: &self.tail,
            segments: &self.segments,
            operations: &mut self.operations,
            disk,
            now_ms: self.now.monotonic_ms,
        }
    }

    fn sealer<'a>(&'a mut self, disk: &'a mut dyn Disk) -> Sealer<'a> {
        Sealer {
            fixed: &self.fixed,
            flushed: Flushed {
                written: self.flush.written_to(),
                durable: self.flush.sealed_to(),
            },
            next_sequence: self.tail.reached().sequence,
            sealing: &mut self.sealing,
            segments: &mut self.segments,
            operations: &mut self.operations,
            discards: &mut self.discards,
            health: &mut self.health,
            disk,
            now_ms: self.now.monotonic_ms,
        }
    }

    fn spare_preparer<'a>(&'a mut self, disk: &'a mut dyn Disk) -> SparePreparer<'a> {
        SparePreparer {
            fixed: &self.fixed,
            spare: &mut self.spare,
            segments: &self.segments,
            commits: &mut self.commits,
            operations: &mut self.operations,
            health: &mut self.health,
            disk,
            head: self.tail.head(),
            now_ms: self.now.monotonic_ms,
        }
    }

    fn trimmer<'a>(&'a mut self, disk: &'a mut dyn Disk) -> Trimmer<'a> {
        Trimmer {
            fixed: &self.fixed,
            retention: &mut self.retention,
            ages: &mut self.ages,
            segments: &mut self.segments,
            tail: &self.tail,
            visibility: &self.visibility,
            operations: &mut self.operations,
            discards: &mut self.discards,
            disk,
            safe: self.flush.safe_to(),
            now: self.now,
        }
    }

    /// Measures ages of records by the monotonic clock alone until this time.
    pub(crate) fn distrust_wall_clock(&mut self, until_ms: u64) {
        self.ages.distrust_wall_clock(until_ms);
    }

    /// One turn: starts everything that can be started, and reports what has changed.
    pub(crate) fn turn(&mut self, now: Moment, disk: &mut dyn Disk, events: &mut StoreEvents) {
        self.now = now;
        self.segments.see_newest(now.monotonic_ms);
        self.note_late_spare();
        if self.on_disk() && !self.health.is_poisoned() {
            self.sealer(disk).start();
            if !self.drain.has_begun() {
                self.trimmer(disk).look();
            }
            self.roll_by_age();
            if !self.drain.has_begun() {
                let rolls = self.ages.roll_is_due();
                self.spare_preparer(disk).start(rolls);
            }
            self.drain_on();
            self.flush_on(disk);
            self.retire_blocks();
            self.start_commit(disk);
        }
        self.health.report(events);
        self.stamps.report(&mut events.clock_was_ahead);
        if self.visibility.take_advanced() {
            events.advanced.push(self.id());
        }
        if self.would_answer() {
            self.refused = None;
            events.accepting_again.push(self.id());
        }
    }

    /// Notes a failure if making the next segment takes too long.
    fn note_late_spare(&mut self) {
        let late = self.spare.measure_need(self.now.monotonic_ms);
        if late && !self.health.fails(Task::Prepare) {
            let error = io::ErrorKind::TimedOut.into();
            self.health.note(Task::Prepare, error);
        }
    }

    /// Lets the next turn check for expired records, as a segment may have become droppable.
    fn look_at_retention_now(&mut self) {
        if self.ages.is_enabled() {
            self.retention.look_now(self.now.monotonic_ms);
        }
    }

    /// Goes on in the spare segment if records of the active one have expired and there is a spare.
    fn roll_by_age(&mut self) {
        if !self.ages.roll_is_due() || self.drain.has_begun() {
            return;
        }
        // An append may have filled the segment meanwhile.
        self.ages.look_at_newest(&self.segments, self.now);
        if self.ages.roll_is_due() && self.rollover().roll() {
            self.ages.rolled(self.now.monotonic_ms);
        }
    }

    fn drain_on(&mut self) {
        let head = self.tail.head();
        let flushed = self.flush.is_idle() && self.flush.synced_to() >= head;
        let sealed_to = self.flush.sealed_to();
        let mut full = self.segments.iter().filter(|s| s.stage() == Stage::Full);
        let durable = full.all(|segment| segment.is_durable(sealed_to));
        let waits = !flushed || !durable || !self.operations.is_empty();
        if waits && !planted(Bug::ClosesBeforeFlushed) {
            return;
        }
        match self.drain.advance() {
            Some(DrainStep::Mark) => {
                let reached = self.tail.reached();
                if self.flush.marks(reached) {
                    self.tail.mark(head, reached);
                }
            }
            Some(DrainStep::Close) => self.commits.want(),
            None => {}
        }
    }

    fn flush_on(&mut self, disk: &mut dyn Disk) {
        let idle = self.flush.is_idle();
        self.flusher(disk).start();
        if idle {
            self.flush.set_since(self.now.monotonic_us);
        }
    }

    /// Releases blocks that are on disk, except a few for hot readers.
    fn retire_blocks(&mut self) {
        let (pool, options) = (self.visibility.pool(), &self.fixed.options);
        let scarce = pool.free_blocks() * 8 < pool.blocks();
        let keep = if scarce { 0 } else { options.hot_blocks };
        if self.tail.retire(self.flush.safe_to(), keep) {
            self.visibility.publish(&self.tail, &self.segments);
        }
    }

    fn start_commit(&mut self, disk: &mut dyn Disk) {
        if !self.commits.is_due(self.now.monotonic_ms) {
            return;
        }
        let sources = Sources {
            fixed: &self.fixed,
            tail: &self.tail,
            segments: &self.segments,
            flush: &self.flush,
            retention: &self.retention,
            last_ms: self.stamps.last_ms(),
            spare: self.spare.to_name(),
        };
        let content = self.commits.start(&sources, self.drain.is_closing());
        self.write_state(Purpose::State, content, disk);
    }

    fn write_state(&mut self, copy: Purpose, content: Vec<u8>, disk: &mut dyn Disk) {
        let name = match copy {
            Purpose::StateCopy => STATE_COPY,
            _ => STATE,
        };
        let token = self.operations.begin(copy);
        disk.overwrite(token, self.fixed.path.join(name), content);
    }

    /// Whether refused publishers may come back: their records would be accepted, or refused with the reason.
    fn would_answer(&mut self) -> bool {
        let Some(refused) = self.refused else {
            return false;
        };
        let takes = !self.health.is_poisoned() && !self.drain.has_begun();
        let rollover = self.rollover();
        takes && rollover.has_room() || refused == AppendError::Busy && rollover.knows_why_not()
    }

    /// When the log needs its next turn if no event comes before.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let runs = !self.drain.has_begun();
        // No event reports that a block of the arena has become free.
        let rolls = self.ages.roll_is_due() && self.spare.is_ready();
        let busy = self.refused == Some(AppendError::Busy) || rolls;
        let (retention, options) = (&self.retention, &self.fixed.options);
        let looks = retention.deadline_ms(options, &self.segments, &self.ages);
        [
            // A drain prepares nothing.
            self.spare.retry_ms().filter(|_| runs),
            self.sealing.deadline_ms(),
            (busy && runs).then_some(self.now.monotonic_ms + REFUSED_MS),
            looks.filter(|_| runs && self.on_disk()),
            self.flush.mark_due_ms(),
            self.commits.deadline_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes the completion of one of this log's operations.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        now: Moment,
        disk: &mut dyn Disk,
        events: &mut StoreEvents,
    ) -> Result<(), Poisoned> {
        let (syncs, since_us) = (self.flush.stats().syncs, self.flush.since_us());
        let result = self.end(completion, disk);
        if result.is_err() {
            self.flush.stop();
        }
        if self.flush.stats().syncs > syncs {
            let took_us = now.monotonic_us.saturating_sub(since_us);
            events.syncs_us.push(took_us);
        }
        result
    }

    fn end(&mut self, completion: Completion, disk: &mut dyn Disk) -> Result<(), Poisoned> {
        let token = completion.token;
        match completion.outcome {
            Outcome::Written(result) => {
                let effects = self.flusher(disk).written(token, result);
                self.apply(effects)
            }
            Outcome::Synced(result) if self.operations.is_seal_sync(token) => {
                self.sealer(disk).synced(token, result)
            }
            Outcome::Synced(result) => {
                let effects = self.flusher(disk).synced(token, result);
                self.apply(effects)
            }
            Outcome::Prepared(result) => self.spare_preparer(disk).ended(token, result),
            Outcome::Put(result) => self.file_put(token, result, disk),
            Outcome::Overwritten(result) => self.overwritten(token, result, disk),
            Outcome::Unlinked(result) => self.unlinked(token, result),
            Outcome::Populated(_) => Ok(()),
        }
    }

    /// Passes the effects of a flush to the parts that they concern.
    fn apply(&mut self, effects: Result<FlushEffects, Failure>) -> Result<(), Poisoned> {
        let effects =
            effects.map_err(|Failure { what, source }| self.health.poison(what, source))?;
        if let Some(block) = effects.filled
            && let Some(file) = self.segments.before(block).and_then(|s| s.file())
        {
            file.set_warm(block, self.now.monotonic_ms + self.fixed.options.warm_ms);
        }
        let newest = self.segments.newest().map(|newest| newest.base);
        if effects.completed_from.is_some() && effects.completed_from == newest {
            // The segment before may have waited for this one to begin.
            self.look_at_retention_now();
        }
        if let Some(acknowledged) = effects.acknowledged {
            self.visibility.set_visible(acknowledged.end);
            self.commits.note_use(newest.unwrap_or(0), acknowledged);
        }
        if let Some((end, reached)) = effects.mark {
            self.tail.mark(end, reached);
        }
        Ok(())
    }

    /// Takes the result of writing a footer or the table of carried topics.
    fn file_put(
        &mut self,
        token: u64,
        result: io::Result<Vec<u8>>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        match self.operations.end(token) {
            Some(Purpose::Footer(number)) => {
                self.sealer(disk).footer_put(number, result)?;
                if self.segments.is_sealed(number) {
                    self.look_at_retention_now();
                }
                Ok(())
            }
            Some(Purpose::Carried) => {
                let result = self.retention.carried_put(result, &mut self.discards);
                if result.is_ok() {
                    self.commits.want();
                }
                self.health.ended(Task::Carried, result)
            }
            _ => Ok(()),
        }
    }

    /// Takes the result of writing a copy of the state.
    fn overwritten(
        &mut self,
        token: u64,
        result: io::Result<()>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let is_first = self.operations.end(token) == Some(Purpose::State);
        let committed = match self.commits.ended(is_first, result.is_ok()) {
            CopyEnded::First(copy) => {
                result.or_else(|error| self.health.fail(Task::State, error))?;
                self.write_state(Purpose::StateCopy, copy, disk);
                return Ok(());
            }
            CopyEnded::Second(committed) => committed,
        };
        self.health.ended(Task::State, result)?;
        if self.drain.is_closing() {
            // Without it the next start treats the log as killed, and recovers it.
            self.drain.end();
        } else if let Some(committed) = committed {
            self.spare.name(committed.spare);
            self.retention
                .committed(committed.floor, &mut self.operations, disk);
        } else {
            self.commits.retry(self.now.monotonic_ms);
        }
        Ok(())
    }

    fn unlinked(&mut self, token: u64, result: io::Result<()>) -> Result<(), Poisoned> {
        let Some(Purpose::Unlink(paths)) = self.operations.end(token) else {
            return Ok(());
        };
        let result = self.retention.unlinked(paths, result);
        self.health.ended(Task::Unlink, result)
    }

    /// Refuses appends from here on, and makes everything durable.
    pub(crate) fn begin_drain(&mut self) {
        self.drain.begin(self.fixed.on_disk());
        self.flush.begin_drain();
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drain.is_done()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.health.is_poisoned()
    }

    /// Number of tasks that fail at present and are tried again.
    pub(crate) fn failing(&self) -> usize {
        self.health.failing()
    }

    /// Records that are not known to be durable.
    pub(crate) fn undurable(&self) -> u64 {
        let (sealed_to, next) = (self.flush.sealed_to(), self.tail.reached().sequence);
        let open = self.segments.iter().find(|s| !s.is_durable(sealed_to));
        let in_segments = open.map_or(next, |open| open.first_sequence);
        let durable_to = in_segments.max(self.flush.synced_reached().sequence);
        next.saturating_sub(durable_to)
    }

    /// Adds this log's totals.
    pub(crate) fn add_to(&self, stats: &mut StoreStats) {
        let flush = self.flush.stats();
        stats.writes += flush.writes;
        stats.bytes_written += flush.bytes;
        stats.syncs += flush.syncs;
        stats.records_synced += flush.records_synced;
        stats.records_appended += self.tail.records_appended();
        stats.arena_blocks_used += self.tail.len() as u64;
        stats.topics += self.index.len() as u64;
        if self.on_disk() {
            stats.segments += self.segments.len() as u64;
            stats.segment_bytes += self.segments.bytes();
        }
    }
}
