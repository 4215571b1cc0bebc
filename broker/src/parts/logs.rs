//! The logs as one shard sees them: the store of those that it owns, and a reader of every one.
//!
//! Only this file calls the store, so it measures the store's part of a turn: look-ups, walks over new records, chains, reads,
//! completions, submission. Appends, of which a turn may make thousands, are sampled. Sends do not count, `sendfile` included.

use std::io;
use std::os::fd::BorrowedFd;

use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, LogId, Offset, Position};
use oyez_storage::{
    AppendError, Appended, ColdRange, Durability, Located, LogReader, Moment, Place, Poisoned,
    Read, ReadError, SegmentFiles, StartAt, Store, StoreEvents, StoreStats, TopicCounts, TopicInfo,
    TopicPage, Undrained,
};

use crate::clock::{Clock, Now};
use crate::dialect::form::Form;
use crate::parts::chain::{Broken, Chain};
use crate::parts::due::Due;

/// Segment files that a shard keeps open for `sendfile`.
const SEGMENT_FILES_MAX: usize = 64;
/// Segment files are closed when none was needed for this long, in milliseconds: an open one that retention has removed keeps its
/// space.
const FILES_IDLE_MS: u64 = 1_000;
/// One of so many appends is timed, and counts for all of them.
const APPENDS_PER_SAMPLE: u64 = 16;

/// How far this shard has followed a log.
struct View {
    reader: LogReader,
    /// The place up to which this shard has followed the log.
    walked: Position,
    /// Subscriptions of this shard to topics of this log.
    subscriptions: usize,
    /// The log said already that a subscriber has seen more than there is.
    told_of_ahead: bool,
}

impl View {
    fn new(reader: LogReader) -> Self {
        Self {
            walked: reader.visible(),
            subscriptions: 0,
            told_of_ahead: false,
            reader,
        }
    }

    fn has_news(&self) -> bool {
        self.subscriptions > 0 && self.walked < self.reader.visible()
    }
}

/// The store's part of a turn.
struct StorageTime {
    clock: Box<dyn Clock>,
    turn_us: u64,
    appends: u64,
}

impl StorageTime {
    fn timed<T>(&mut self, call: impl FnOnce() -> T) -> T {
        self.weighed(1, call)
    }

    fn weighed<T>(&mut self, weight: u64, call: impl FnOnce() -> T) -> T {
        let begin_us = self.clock.elapsed_us();
        let result = call();
        self.turn_us += weight * (self.clock.elapsed_us() - begin_us);
        result
    }

    fn sampled<T>(&mut self, append: impl FnOnce() -> T) -> T {
        self.appends += 1;
        if self.appends.is_multiple_of(APPENDS_PER_SAMPLE) {
            return self.weighed(APPENDS_PER_SAMPLE, append);
        }
        append()
    }
}

/// The logs of the broker, for one shard.
pub(crate) struct Logs {
    store: Store,
    /// By the number of the log.
    views: Vec<View>,
    files: SegmentFiles,
    /// When a segment file was last used, in milliseconds.
    files_used_ms: u64,
    time: StorageTime,
    /// The events that [`Self::pump`] fills, kept to be used again.
    progress: StoreEvents,
}

/// What a shard knows of a log without asking its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownLog {
    pub(crate) epoch: Epoch,
    /// Oldest place kept.
    pub(crate) start: Position,
    /// The shard has followed all of the log that is visible.
    pub(crate) is_walked: bool,
}

impl Logs {
    /// The store of the shard's own logs, with `readers` of all logs in the order of their numbers.
    pub(crate) fn new(store: Store, readers: Vec<LogReader>, clock: Box<dyn Clock>) -> Self {
        Self {
            store,
            views: readers.into_iter().map(View::new).collect(),
            files: SegmentFiles::new(SEGMENT_FILES_MAX),
            files_used_ms: 0,
            time: StorageTime {
                clock,
                turn_us: 0,
                appends: 0,
            },
            progress: StoreEvents::default(),
        }
    }

    fn view(&self, log: LogId) -> &View {
        &self.views[usize::from(log.get())]
    }

    /// How many logs there are, of all shards.
    pub(crate) fn count(&self) -> usize {
        self.views.len()
    }

    // For logs that this shard owns.

    /// See [`Store::append`].
    pub(crate) fn append(
        &mut self,
        log: LogId,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        let store = &mut self.store;
        self.time.sampled(|| store.append(log, record, wall_ms))
    }

    /// See [`Store::append_to_known`].
    pub(crate) fn append_to_known(
        &mut self,
        log: LogId,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        let store = &mut self.store;
        self.time
            .sampled(|| store.append_to_known(log, record, wall_ms))
    }

    /// The place of an own log below which everything may be delivered and acknowledged.
    pub(crate) fn visible(&self, log: LogId) -> Position {
        self.store.visible(log)
    }

    /// Whether an own log keeps its records on a disk.
    pub(crate) fn is_on_disk(&self, log: LogId) -> bool {
        self.view(log).reader.durability() != Durability::Memory
    }

    /// See [`Store::locate`].
    pub(crate) fn locate(
        &mut self,
        log: LogId,
        topic: &str,
        start: StartAt,
        walked: Position,
    ) -> Located {
        let store = &self.store;
        self.time.timed(|| store.locate(log, topic, start, walked))
    }

    /// See [`Store::topic`].
    pub(crate) fn topic(&mut self, log: LogId, name: &str) -> Option<TopicInfo> {
        let store = &self.store;
        self.time.timed(|| store.topic(log, name))
    }

    /// See [`Store::places`]; also returns where the topic begins and ends.
    pub(crate) fn places(
        &mut self,
        log: LogId,
        topic: &str,
        from: Offset,
        max: usize,
        out: &mut Vec<Place>,
    ) -> Located {
        let store = &self.store;
        self.time.timed(|| {
            store.places(log, topic, from, max, out);
            store.locate(log, topic, StartAt::At(from), Position::default())
        })
    }

    /// Lets the store work: completions, visible places, the next flushes. The caller gives the events back with
    /// [`Self::keep_progress`].
    pub(crate) fn pump(&mut self, now: Now) -> Result<StoreEvents, Poisoned> {
        let mut progress = std::mem::take(&mut self.progress);
        progress.clear();
        let (store, now) = (&mut self.store, Moment::from(now));
        let pumped = self.time.timed(|| store.pump(now, &mut progress));
        pumped.map(|()| progress)
    }

    pub(crate) fn keep_progress(&mut self, progress: StoreEvents) {
        self.progress = progress;
    }

    /// Ends the turn: releases what was read, and hands everything to the disk in one call. Returns the microseconds that the
    /// store has taken of the turn.
    pub(crate) fn finish_turn(&mut self) -> io::Result<u64> {
        let (store, views) = (&mut self.store, &mut self.views);
        self.time.timed(|| {
            store.submit()?;
            for view in views {
                view.reader.release();
            }
            io::Result::Ok(())
        })?;
        Ok(std::mem::take(&mut self.time.turn_us))
    }

    /// When the store has work to do although no event has come.
    pub(crate) fn store_due(&self) -> Due {
        self.store.next_deadline_ms().map_or(Due::Idle, Due::At)
    }

    /// See [`Store::begin_drain`].
    pub(crate) fn begin_drain(&mut self) {
        self.store.begin_drain();
    }

    /// See [`Store::is_drained`].
    pub(crate) fn is_drained(&self) -> bool {
        self.store.is_drained()
    }

    /// See [`Store::undrained`].
    pub(crate) fn undrained(&self) -> Vec<Undrained> {
        self.store.undrained()
    }

    /// See [`Store::abandon`].
    pub(crate) fn abandon(self) {
        self.store.abandon();
    }

    /// How many operations of the store fail now and are tried again.
    pub(crate) fn failing(&self) -> usize {
        self.store.failing()
    }

    pub(crate) fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    pub(crate) fn topic_counts(&self) -> TopicCounts {
        self.store.topic_counts()
    }

    /// A page of the own topics behind `after`; `None` until all topics of `counted` are sorted in. Sorts in at most `budget` new
    /// ones now.
    pub(crate) fn topic_page(
        &mut self,
        counted: &TopicCounts,
        after: Option<&str>,
        max: usize,
        budget: &mut usize,
    ) -> Option<TopicPage> {
        let store = &mut self.store;
        self.time.timed(|| {
            let ordered = store.order_topics(counted, budget);
            ordered.then(|| store.topic_page(after, max))
        })
    }

    // For all logs.

    /// Notes that a subscription of this shard to a topic of the log begins.
    pub(crate) fn join(&mut self, log: LogId) {
        let view = &mut self.views[usize::from(log.get())];
        view.subscriptions += 1;
        if view.subscriptions == 1 {
            // This shard had no subscription in the log, and so has not followed its news.
            view.walked = view.reader.visible();
        }
    }

    /// Notes that a subscription of this shard to a topic of the log has ended.
    pub(crate) fn leave(&mut self, log: LogId) {
        let view = &mut self.views[usize::from(log.get())];
        view.subscriptions -= 1;
    }

    /// The place up to which this shard has followed the log.
    pub(crate) fn walked(&self, log: LogId) -> Position {
        self.view(log).walked
    }

    pub(crate) fn start(&self, log: LogId) -> Position {
        self.view(log).reader.earliest()
    }

    /// What this shard knows of a log. To be called after the walk, so that the log's beginning shows if retention was ahead of
    /// it.
    pub(crate) fn known(&self, log: LogId) -> KnownLog {
        let view = self.view(log);
        let is_walked = view.walked >= view.reader.visible();
        KnownLog {
            epoch: view.reader.epoch(),
            start: view.reader.earliest(),
            is_walked,
        }
    }

    /// Whether there are visible records that this shard has still to follow.
    pub(crate) fn have_news(&self) -> bool {
        self.views.iter().any(View::has_news)
    }

    pub(crate) fn has_news(&self, log: LogId) -> bool {
        self.view(log).has_news()
    }

    /// Follows at most `records_max` records that have become visible in a log.
    pub(crate) fn follow(
        &mut self,
        log: LogId,
        records_max: usize,
        found: impl FnMut(Place, &str, u64),
    ) {
        let view = &mut self.views[usize::from(log.get())];
        view.walked = self
            .time
            .timed(|| view.reader.walk(view.walked, records_max, found));
    }

    /// Notes that a subscriber has seen more of the log than there is. Returns whether it is the first one.
    pub(crate) fn note_ahead(&mut self, log: LogId) -> bool {
        let view = &mut self.views[usize::from(log.get())];
        !std::mem::replace(&mut view.told_of_ahead, true)
    }

    /// Builds a chain from as many of `places` as are in memory, at least one. See [`Chain::build`].
    pub(crate) fn build(
        &mut self,
        chain: &mut Chain,
        (log, form): (LogId, Form),
        topic: &str,
        places: impl Iterator<Item = Place>,
    ) -> Result<(), Broken> {
        let reader = &mut self.views[usize::from(log.get())].reader;
        self.time.timed(|| chain.build(form, reader, topic, places))
    }

    /// See [`LogReader::read`].
    pub(crate) fn read(
        &mut self,
        log: LogId,
        position: Position,
        size: u32,
    ) -> Result<Read, ReadError> {
        let reader = &mut self.views[usize::from(log.get())].reader;
        self.time.timed(|| reader.read(position, size))
    }

    /// The first bytes of a record: see [`LogReader::read_front`].
    pub(crate) fn read_front(
        &mut self,
        log: LogId,
        position: Position,
        size: u32,
    ) -> Result<Read, ReadError> {
        let reader = &mut self.views[usize::from(log.get())].reader;
        self.time.timed(|| reader.read_front(position, size))
    }

    /// The file and the place in it where `size` bytes at `position` lie, if they can be sent from a file.
    pub(crate) fn file_range(
        &mut self,
        log: LogId,
        position: Position,
        size: u32,
        now_ms: u64,
    ) -> Option<(BorrowedFd<'_>, u64)> {
        let reader = &mut self.views[usize::from(log.get())].reader;
        let files = &mut self.files;
        self.files_used_ms = now_ms;
        self.time.timed(|| {
            let range = reader.file_range(position, size)?;
            let offset = range.offset;
            Some((files.open(&range).ok()?, offset))
        })
    }

    /// The log's reader, to check again what was read.
    pub(crate) fn reader(&mut self, log: LogId) -> &mut LogReader {
        &mut self.views[usize::from(log.get())].reader
    }

    /// See [`Store::populate`].
    pub(crate) fn populate(&mut self, cold: ColdRange, token: u64) {
        self.store.populate(cold, token);
    }

    /// Closes the segment files once none was needed for a while.
    pub(crate) fn close_idle_files(&mut self, now_ms: u64) {
        if !self.files.is_empty() && now_ms > self.files_used_ms + FILES_IDLE_MS {
            self.files.clear();
        }
    }

    /// When the segment files are to be closed.
    pub(crate) fn files_due(&self) -> Due {
        match self.files.is_empty() {
            true => Due::Idle,
            false => Due::At(self.files_used_ms + FILES_IDLE_MS + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Rig;
    use oyez_protocol::command::Start;

    /// Each reading is a microsecond later than the one before.
    struct Ticking(u64);

    impl Clock for Ticking {
        fn now(&mut self) -> Now {
            Now::default()
        }

        fn elapsed_us(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }

        fn thread_cpu_us(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn one_append_of_sixteen_is_timed_and_counts_for_all() {
        let mut time = StorageTime {
            clock: Box::new(Ticking(0)),
            turn_us: 0,
            appends: 0,
        };
        for _ in 0..10 * APPENDS_PER_SAMPLE {
            time.sampled(|| ());
        }
        assert_eq!(time.turn_us, 10 * APPENDS_PER_SAMPLE);
        assert_eq!(time.clock.elapsed_us(), 21, "two readings for each sample");
        assert_eq!(time.timed(|| 7), 7);
        assert_eq!(time.turn_us, 10 * APPENDS_PER_SAMPLE + 1);
    }
    #[test]
    fn a_log_is_followed_from_where_the_first_subscription_begins() {
        let mut rig = Rig::new();
        rig.publish("t", 10, 2);
        let log = rig.parts().context.shared.log_of("t");
        let logs = &mut rig.parts().logs;
        assert!(logs.walked(log) < logs.visible(log) && !logs.has_news(log));
        assert!(!logs.known(log).is_walked);
        logs.join(log);
        assert_eq!(logs.walked(log), logs.visible(log));
        assert!(logs.known(log).is_walked);
        let publisher = rig.join();
        publisher.publish("t", 10);
        publisher.publish("t", 10);
        rig.begin_turn();
        rig.parts().read();
        rig.parts().pump().expect("the store works");
        let logs = &mut rig.parts().logs;
        let (before, after) = (logs.walked(log), logs.visible(log));
        logs.join(log);
        assert_eq!(logs.walked(log), before, "a subscription is still there");
        assert!(logs.has_news(log) && logs.have_news());
        let mut found = Vec::new();
        logs.follow(log, 1, |place, name, _| {
            found.push((name.to_owned(), place.first.get()));
        });
        assert!(logs.has_news(log));
        logs.follow(log, 9, |place, name, _| {
            found.push((name.to_owned(), place.first.get()));
        });
        assert_eq!(found, [("t".to_owned(), 2), ("t".to_owned(), 3)]);
        assert!(!logs.has_news(log) && logs.walked(log) == after);
        logs.leave(log);
        logs.leave(log);
        rig.publish("t", 10, 1);
        assert!(!rig.parts().logs.have_news(), "no subscription is left");
    }

    #[test]
    fn a_shard_knows_of_logs_what_it_has_followed() {
        let mut rig = Rig::new();
        rig.publish("t", 10, 1);
        let shared = rig.parts().context.shared.clone();
        let (memory, synced) = (shared.log_of("t"), shared.log_of("synced/t"));
        let logs = &mut rig.parts().logs;
        assert!(!logs.is_on_disk(memory) && logs.is_on_disk(synced));
        assert_eq!(logs.count(), shared.dir.logs().count());
        let known = logs.known(memory);
        assert_eq!(
            (known.epoch, known.start),
            (logs.reader(memory).epoch(), logs.start(memory))
        );
        assert!(logs.note_ahead(memory) && !logs.note_ahead(memory));
        assert!(logs.note_ahead(synced));
        assert_eq!(logs.topic_counts(), logs.topic_counts());
        assert_eq!(logs.failing(), 0);
        assert_eq!(logs.stats().topics, 1);
    }

    #[test]
    fn a_page_of_topics_comes_once_they_are_in_order() {
        let mut rig = Rig::new();
        for topic in ["b", "a"] {
            rig.publish(topic, 10, 1);
        }
        let logs = &mut rig.parts().logs;
        let counted = logs.topic_counts();
        assert!(logs.topic_page(&counted, None, 9, &mut 1).is_none());
        let page = logs
            .topic_page(&counted, None, 1, &mut 9)
            .expect("they are in order");
        assert_eq!((page.topics.len(), page.more), (1, true));
        assert_eq!(page.topics[0].name, "a");
        let page = logs
            .topic_page(&counted, Some("a"), 9, &mut 9)
            .expect("they are in order");
        assert_eq!((&*page.topics[0].name, page.more), ("b", false));
    }

    #[test]
    fn the_time_of_the_store_is_returned_once_for_each_turn() {
        let mut rig = Rig::new();
        let logs = &mut rig.parts().logs;
        logs.time.clock = Box::new(Ticking(0));
        assert_eq!(logs.finish_turn().expect("the disk works"), 1);
        logs.time.turn_us = 7;
        assert_eq!(logs.finish_turn().expect("the disk works"), 8);
        assert_eq!(logs.finish_turn().expect("the disk works"), 1);
    }

    #[test]
    fn files_are_closed_once_none_was_needed_for_a_while() {
        let mut rig = Rig::new();
        rig.publish("synced/t", 250 << 10, 18);
        rig.pass(20_000);
        rig.settle();
        assert_eq!(rig.parts().logs.files_due(), Due::Idle);
        let client = rig.join();
        client.peer.set_room(64 << 20);
        client.subscribe("synced/t", Start::Earliest);
        rig.settle();
        assert!(rig.net.calls().files > 0);
        let used_ms = rig.now_ms();
        let logs = &mut rig.parts().logs;
        assert_eq!(logs.files_due(), Due::At(used_ms + FILES_IDLE_MS + 1));
        logs.close_idle_files(used_ms + FILES_IDLE_MS);
        assert!(!logs.files.is_empty());
        logs.close_idle_files(used_ms + FILES_IDLE_MS + 1);
        assert!(logs.files.is_empty());
        assert_eq!(logs.files_due(), Due::Idle);
    }
}
