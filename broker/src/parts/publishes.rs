//! Publishes to the logs of one shard that have no outcome yet: records that are in their log and not visible, and records of
//! other shards that their log has not taken.

use std::collections::VecDeque;

use oyez_protocol::event::PublishedEntry;
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Epoch, LogId, Offset, Position};

use crate::parts::awake::Answers;
use crate::parts::mail::Ack;
use crate::parts::parcel::{Handed, Origin};
use crate::parts::topic_rate::TopicRate;

/// Publishes of other shards that may wait for logs without room; with more, the shard leaves its inbox to fill up.
const STALLED_MAX: usize = 1024;

/// A record that is in its log and not visible yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) end: Position,
    pub(crate) origin: Origin,
    pub(crate) offset: Offset,
    pub(crate) epoch: Epoch,
    /// When the turn began that appended it, in microseconds.
    pub(crate) since_us: u64,
}

/// A record of another shard that its log did not take.
#[derive(Debug)]
pub(crate) struct Stalled {
    pub(crate) handed: Handed,
    pub(crate) record: Box<[u8]>,
}

/// Publishes to one log, in its order.
#[derive(Debug, Default)]
struct OfLog {
    pending: VecDeque<Pending>,
    stalled: VecDeque<Stalled>,
    /// Since when the log has no room, in microseconds.
    refused_since_us: Option<u64>,
    /// How soon publishers answer acknowledgements.
    answers: Answers,
}

/// Publishes to all logs of a shard.
#[derive(Debug)]
pub(crate) struct Publishes {
    /// By the number of the log; the entries of other shards' logs stay empty.
    logs: Vec<OfLog>,
    /// Stalled records of all logs.
    stalled: usize,
    /// Logs with visible records whose publishers have no outcome yet.
    unsettled: Vec<LogId>,
    /// Other shards have handed over records that are not taken.
    left: bool,
    /// A turn had no time to retry all stalled records.
    unretried: bool,
    /// This turn's outcomes for publishers of this shard.
    told: Vec<Ack>,
    /// An empty list of entries, kept to be filled again.
    entries: Vec<PublishedEntry>,
    /// How fast topics may be begun.
    pub(crate) topic_rate: TopicRate,
}

impl Publishes {
    /// For `logs` logs, in which `topic_rate` bounds how fast topics begin.
    pub(crate) fn new(logs: usize, topic_rate: TopicRate) -> Self {
        Self {
            logs: std::iter::repeat_with(OfLog::default).take(logs).collect(),
            stalled: 0,
            unsettled: Vec::new(),
            unretried: false,
            left: false,
            told: Vec::new(),
            entries: Vec::new(),
            topic_rate,
        }
    }

    fn of(&mut self, log: LogId) -> &mut OfLog {
        &mut self.logs[usize::from(log.get())]
    }

    /// Notes that a log has taken a record. If no other record waits in that log, returns how many such records in a row have
    /// come soon after an acknowledgement.
    pub(crate) fn appended(&mut self, log: LogId, pending: Pending) -> Option<u32> {
        let of = self.of(log);
        of.refused_since_us = None;
        let alone = of.pending.is_empty();
        let quick = alone.then(|| of.answers.came(pending.since_us));
        of.pending.push_back(pending);
        quick
    }

    /// Notes that a log has no room.
    pub(crate) fn refused(&mut self, log: LogId, now_us: u64) {
        self.of(log).refused_since_us.get_or_insert(now_us);
    }

    /// Notes that a log has room again, or that its publishers were told what it lacks.
    pub(crate) fn no_longer_refused(&mut self, log: LogId) {
        self.of(log).refused_since_us = None;
    }

    /// Takes the next publish to a log that can be acknowledged, now that the log is visible up to a place.
    pub(crate) fn next_visible(
        &mut self,
        log: LogId,
        visible: Position,
        now_us: u64,
    ) -> Option<Pending> {
        let of = self.of(log);
        let next = of.pending.pop_front_if(|pending| {
            pending.end <= visible || planted(Bug::AcknowledgesTheInvisible)
        });
        if next.is_none() {
            of.answers.settled(now_us);
        }
        next
    }

    /// Notes a log whose visible records are not all acknowledged.
    pub(crate) fn note_unsettled(&mut self, log: LogId) {
        if !self.unsettled.contains(&log) {
            self.unsettled.push(log);
        }
    }

    /// Takes the logs that were noted.
    pub(crate) fn take_unsettled(&mut self) -> Vec<LogId> {
        std::mem::take(&mut self.unsettled)
    }

    pub(crate) fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Whether every record in a log is acknowledged.
    pub(crate) fn all_told(&self) -> bool {
        self.logs.iter().all(|of| of.pending.is_empty())
    }

    /// Whether a record has to wait behind others that its log has not taken.
    pub(crate) fn has_stalled_for(&mut self, log: LogId) -> bool {
        !self.of(log).stalled.is_empty()
    }

    /// Keeps a record of another shard until its log takes it.
    pub(crate) fn stall(&mut self, stalled: Stalled) {
        self.stalled += 1;
        self.of(stalled.handed.log).stalled.push_back(stalled);
    }

    /// Takes the first record that waits for log number `log`.
    pub(crate) fn next_stalled(&mut self, log: usize) -> Option<Stalled> {
        let next = self.logs[log].stalled.pop_front();
        self.stalled -= usize::from(next.is_some());
        next
    }

    /// Puts back a record that its log has still not taken.
    pub(crate) fn put_back(&mut self, stalled: Stalled) {
        self.stalled += 1;
        self.of(stalled.handed.log).stalled.push_front(stalled);
    }

    /// Bytes of the records that wait for their logs.
    pub(crate) fn stalled_bytes(&self) -> usize {
        let stalled = self.logs.iter().flat_map(|log| &log.stalled);
        stalled.map(|stalled| stalled.record.len()).sum()
    }

    /// Whether records of other shards wait for logs without room.
    pub(crate) fn has_stalled(&self) -> bool {
        self.stalled > 0
    }

    /// Whether so many records wait that the shard takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.stalled >= STALLED_MAX
    }

    /// Notes whether all records that wait for their logs were retried.
    pub(crate) fn note_retried(&mut self, all: bool) {
        self.unretried = !all;
    }

    /// Whether records that wait for their logs were not retried for want of time.
    pub(crate) fn has_unretried(&self) -> bool {
        self.unretried
    }

    /// Notes whether records that other shards have handed over are left.
    pub(crate) fn note_left(&mut self, left: bool) {
        self.left = left;
    }

    /// Whether records that other shards have handed over are left.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// Adds an outcome for a publisher of this shard.
    pub(crate) fn tell(&mut self, ack: Ack) {
        self.told.push(ack);
    }

    /// Adds outcomes that another shard has sent. Returns the list, empty.
    pub(crate) fn tell_all(&mut self, mut acks: Vec<Ack>) -> Vec<Ack> {
        self.told.append(&mut acks);
        acks
    }

    /// Takes the outcomes of the turn, and memory for their frames; the caller gives both back with [`Self::keep_told`].
    pub(crate) fn take_told(&mut self) -> (Vec<Ack>, Vec<PublishedEntry>) {
        (
            std::mem::take(&mut self.told),
            std::mem::take(&mut self.entries),
        )
    }

    pub(crate) fn keep_told(&mut self, mut acks: Vec<Ack>, entries: Vec<PublishedEntry>) {
        acks.clear();
        (self.told, self.entries) = (acks, entries);
    }

    /// Since when the longest waiting publish to an own log has waited to become visible, or to be taken at all, in microseconds.
    pub(crate) fn waiting_since_us(&self) -> Option<u64> {
        let since = |of: &OfLog| {
            let appended = of.pending.front().map(|pending| pending.since_us);
            [appended, of.refused_since_us]
        };
        self.logs.iter().flat_map(since).flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::lane::Lane;
    use crate::parts::session::SessionId;

    const LOG: LogId = LogId::new(1);

    fn publishes() -> Publishes {
        Publishes::new(2, TopicRate::new(&crate::config::Config::default(), 0))
    }

    fn origin(correlation: u64) -> Origin {
        Origin {
            shard: 0,
            session: SessionId::new(1, 1),
            correlation,
            size: 100,
            lane: Lane::Little,
            may_begin: true,
        }
    }

    fn pending(correlation: u64, end: u64, since_us: u64) -> Pending {
        Pending {
            end: Position::new(end),
            origin: origin(correlation),
            offset: Offset::new(correlation),
            epoch: Epoch::new(1),
            since_us,
        }
    }

    fn stalled(correlation: u64) -> Stalled {
        Stalled {
            handed: Handed {
                origin: origin(correlation),
                log: LOG,
            },
            record: Box::from([]),
        }
    }

    #[test]
    fn records_are_acknowledged_in_order_up_to_the_visible_place() {
        let mut publishes = publishes();
        for (correlation, end) in [(1, 100), (2, 200), (3, 300)] {
            publishes.appended(LOG, pending(correlation, end, correlation));
        }
        let visible = Position::new(200);
        let mut next = || publishes.next_visible(LOG, visible, 9);
        let told: Vec<u64> = std::iter::from_fn(|| Some(next()?.offset.get())).collect();
        assert_eq!(told, [1, 2]);
        assert!(!publishes.all_told());
        assert_eq!(publishes.waiting_since_us(), Some(3));
        assert!(publishes.next_visible(LOG, Position::new(300), 9).is_some());
        assert!(publishes.all_told() && publishes.waiting_since_us().is_none());
    }

    #[test]
    fn only_a_record_that_comes_when_nothing_waits_is_an_answer() {
        let mut publishes = publishes();
        assert!(publishes.appended(LOG, pending(1, 100, 10)).is_some());
        assert_eq!(publishes.appended(LOG, pending(2, 200, 20)), None);
    }

    #[test]
    fn records_that_a_log_does_not_take_stay_in_their_order() {
        let mut publishes = publishes();
        assert!(!publishes.has_stalled() && !publishes.has_stalled_for(LOG));
        for correlation in 1..=3 {
            publishes.stall(stalled(correlation));
        }
        let first = publishes.next_stalled(1).expect("three were stalled");
        publishes.put_back(first);
        let mut next = || publishes.next_stalled(1);
        let order: Vec<u64> =
            std::iter::from_fn(|| Some(next()?.handed.origin.correlation)).collect();
        assert_eq!(order, [1, 2, 3]);
        assert!(!publishes.has_stalled());
    }

    #[test]
    fn a_log_that_is_short_of_room_counts_as_waiting_since_the_first_refusal() {
        let mut publishes = publishes();
        publishes.refused(LOG, 5);
        publishes.refused(LOG, 9);
        assert_eq!(publishes.waiting_since_us(), Some(5));
        publishes.no_longer_refused(LOG);
        assert_eq!(publishes.waiting_since_us(), None);
    }

    #[test]
    fn so_many_records_wait_for_logs_and_no_more() {
        let mut publishes = publishes();
        for correlation in 0..STALLED_MAX as u64 {
            assert!(!publishes.is_full());
            publishes.stall(stalled(correlation));
        }
        assert!(publishes.is_full());
    }
}
