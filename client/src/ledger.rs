//! The records that a session has taken and the broker has not acknowledged: bounded, in order, sent again after a
//! loss. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::event::{Outcome, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::planted::{Bug, planted};

use crate::batch::Finished;
use crate::error::{ConnectError, ConnectionError, PublishError};
use crate::message::Ack;
use crate::terms::Terms;

/// Most acknowledgements kept for one publisher that does not take them; beyond it the oldest are dropped.
const ACKS_KEPT: usize = 65_536;

/// A publisher of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OriginId(u64);

/// Where the outcome of a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// To the publisher, with its next call.
    Publisher,
    /// To the caller that waits for this very record.
    Caller,
    /// Nowhere: its caller waits no longer.
    Withdrawn,
}

#[derive(Debug)]
struct SentRecord {
    correlation: u64,
    origin: OriginId,
    interest: Interest,
    topic: Arc<str>,
    record: Bytes,
    raw_size: usize,
    messages: u16,
    payload_bytes: u64,
    /// Whether it was sent over some connection: then the broker may have it.
    tried: bool,
}

#[derive(Debug, Default)]
struct Origin {
    unsettled: usize,
    failure: Option<PublishError>,
    keep_acks: bool,
    acks: VecDeque<Ack>,
    totals: Totals,
}

/// What a publisher has published. Only what was acknowledged is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records acknowledged.
    pub records: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes of the records as they were sent and stored.
    pub record_bytes: u64,
}

/// All records of a session that are not settled.
#[derive(Debug)]
pub(crate) struct Ledger {
    limits: Limits,
    records_max: usize,
    bytes_max: usize,
    waiting: VecDeque<SentRecord>,
    waiting_bytes: usize,
    sent: BTreeMap<u64, SentRecord>,
    sent_bytes: usize,
    /// Ordered by age, so that [`Ledger::take_any_failure`] returns failures in a fixed order.
    origins: BTreeMap<OriginId, Origin>,
    origins_made: u64,
    failures: usize,
    outcomes: HashMap<u64, Result<Ack, PublishError>>,
    /// Number of records that the broker has answered.
    answered: u64,
}

impl Ledger {
    pub(crate) fn new(terms: &Terms) -> Self {
        let mut ledger = Self {
            limits: terms.limits,
            records_max: 0,
            bytes_max: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent: BTreeMap::new(),
            sent_bytes: 0,
            origins: BTreeMap::new(),
            origins_made: 0,
            failures: 0,
            outcomes: HashMap::new(),
            answered: 0,
        };
        ledger.agree(terms);
        ledger
    }

    /// Adopts the terms of a new connection. A waiting record that is too large for them fails alone: sent, it would
    /// end the session for all.
    pub(crate) fn agree(&mut self, terms: &Terms) {
        self.limits = terms.limits;
        self.records_max = terms.inflight_records_max.max(1);
        self.bytes_max = terms.inflight_bytes_max.max(1);
        self.waiting_bytes = 0;
        for pending in std::mem::take(&mut self.waiting) {
            self.take(pending);
        }
    }

    /// The broker's limits.
    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn open_origin(&mut self, keep_acks: bool) -> OriginId {
        self.origins_made += 1;
        let id = OriginId(self.origins_made);
        let origin = Origin {
            keep_acks,
            ..Origin::default()
        };
        self.origins.insert(id, origin);
        id
    }

    /// Forgets a publisher; what it handed over is still sent.
    pub(crate) fn close_origin(&mut self, id: OriginId) {
        let _untold = self.take_failure(id);
        self.origins.remove(&id);
    }

    /// Whether another message may be taken: what waits and what was sent are together within the broker's limits.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() + self.sent.len() < self.records_max
            && self.waiting_bytes + self.sent_bytes < self.bytes_max
    }

    /// Number of records that the broker has answered so far.
    pub(crate) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether everything is settled.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// Whether everything of this publisher is settled.
    pub(crate) fn is_settled(&self, origin: OriginId) -> bool {
        self.origins
            .get(&origin)
            .is_none_or(|origin| origin.unsettled == 0)
    }

    /// Whether some publisher has a failure that it was not given yet.
    pub(crate) const fn has_failures(&self) -> bool {
        self.failures > 0
    }

    /// Takes the first failure of this publisher since the last call.
    pub(crate) fn take_failure(&mut self, origin: OriginId) -> Option<PublishError> {
        let failure = self.origins.get_mut(&origin)?.failure.take();
        self.failures -= usize::from(failure.is_some());
        failure
    }

    /// Takes the failure, not returned yet, of the oldest publisher that has one.
    pub(crate) fn take_any_failure(&mut self) -> Option<PublishError> {
        let failure = self
            .origins
            .values_mut()
            .find_map(|origin| origin.failure.take());
        self.failures -= usize::from(failure.is_some());
        failure
    }

    pub(crate) fn take_acks(&mut self, origin: OriginId) -> Vec<Ack> {
        self.origins
            .get_mut(&origin)
            .map(|origin| origin.acks.drain(..).collect())
            .unwrap_or_default()
    }

    pub(crate) fn totals(&self, origin: OriginId) -> Totals {
        self.origins
            .get(&origin)
            .map(|origin| origin.totals)
            .unwrap_or_default()
    }

    /// Takes the outcome of a record with [`Interest::Caller`], once it is known.
    pub(crate) fn take_outcome(&mut self, correlation: u64) -> Option<Result<Ack, PublishError>> {
        self.outcomes.remove(&correlation)
    }

    /// Gives up a record whose caller waits no longer: it is not sent any more, nor again after a loss, since it could
    /// overtake what its caller does instead. Returns whether the broker may have it.
    pub(crate) fn withdraw(&mut self, correlation: u64) -> bool {
        if let Some(pending) = self.sent.get_mut(&correlation) {
            pending.interest = Interest::Withdrawn;
            return true;
        }
        let waits = |pending: &SentRecord| pending.correlation == correlation;
        let pending = self.waiting.iter().position(waits);
        let Some(pending) = pending.and_then(|place| self.waiting.remove(place)) else {
            return true;
        };
        self.waiting_bytes -= pending.record.len();
        self.settle_one(pending.origin);
        pending.tried
    }

    /// Takes a record to be sent.
    pub(crate) fn add(&mut self, origin: OriginId, interest: Interest, finished: Finished) {
        if let Some(origin) = self.origins.get_mut(&origin) {
            origin.unsettled += 1;
        }
        self.take(SentRecord {
            correlation: finished.correlation,
            origin,
            interest,
            topic: finished.topic,
            record: finished.record.into(),
            raw_size: finished.raw_size,
            messages: finished.messages,
            payload_bytes: finished.payload_bytes,
            tried: false,
        });
    }

    /// Queues a record, or fails it when it is above the broker's limits.
    fn take(&mut self, pending: SentRecord) {
        let Limits {
            record_size_max,
            raw_size_max,
        } = self.limits;
        let sizes = [
            (pending.record.len(), record_size_max as usize),
            (pending.raw_size, raw_size_max as usize),
        ];
        if let Some((size, max)) = sizes.into_iter().find(|(size, max)| size > max) {
            return self.tell(&pending, Err(PublishError::TooLarge { size, max }));
        }
        self.waiting_bytes += pending.record.len();
        self.waiting.push_back(pending);
    }

    /// Moves at most `count` records from waiting to sent, as the broker's limits allow, and appends their bytes to
    /// `out`. A record larger than the limit goes when nothing else is on its way.
    pub(crate) fn send(&mut self, count: usize, out: &mut Vec<Bytes>) {
        for _ in 0..count {
            let Some(next) = self.waiting.front() else {
                return;
            };
            let size = next.record.len();
            let fits =
                self.sent.len() < self.records_max && self.sent_bytes + size <= self.bytes_max;
            if !fits && !self.sent.is_empty() {
                return;
            }
            if let Some(mut pending) = self.waiting.pop_front() {
                pending.tried = true;
                self.waiting_bytes -= size;
                self.sent_bytes += size;
                out.push(pending.record.clone());
                self.sent.insert(pending.correlation, pending);
            }
        }
    }

    /// Settles one record by the broker's answer. A record refused because the broker drains stays: it is sent again
    /// over the next connection.
    ///
    /// # Errors
    /// When no such record was sent: correlation ids travel without a checksum, so the connection is broken.
    pub(crate) fn settle(&mut self, entry: &PublishedEntry) -> Result<(), ConnectionError> {
        let draining = entry.outcome == Outcome::Draining;
        if draining && self.sent.contains_key(&entry.correlation) {
            return Ok(());
        }
        let Some(pending) = self.sent.remove(&entry.correlation) else {
            let what = "the outcome of a record that was never sent";
            return Err(ConnectionError::Unexpected { what });
        };
        self.answered += 1;
        self.sent_bytes -= pending.record.len();
        let result = if entry.outcome.is_done() {
            Ok(Ack {
                topic: Arc::clone(&pending.topic),
                offset: entry.offset,
                messages: pending.messages,
                epoch: entry.epoch,
            })
        } else {
            Err(PublishError::Refused {
                topic: Arc::clone(&pending.topic),
                outcome: entry.outcome,
            })
        };
        self.tell(&pending, result);
        Ok(())
    }

    fn tell(&mut self, pending: &SentRecord, result: Result<Ack, PublishError>) {
        self.settle_one(pending.origin);
        if result.is_ok()
            && let Some(origin) = self.origins.get_mut(&pending.origin)
        {
            origin.totals.records += 1;
            origin.totals.messages += u64::from(pending.messages);
            origin.totals.payload_bytes += pending.payload_bytes;
            origin.totals.record_bytes += pending.record.len() as u64;
        }
        match pending.interest {
            Interest::Caller => {
                self.outcomes.insert(pending.correlation, result);
            }
            Interest::Publisher => self.report(pending.origin, result),
            Interest::Withdrawn => {}
        }
    }

    fn settle_one(&mut self, origin: OriginId) {
        if let Some(origin) = self.origins.get_mut(&origin) {
            origin.unsettled -= 1;
        }
    }

    fn report(&mut self, origin: OriginId, result: Result<Ack, PublishError>) {
        let Some(origin) = self.origins.get_mut(&origin) else {
            return;
        };
        match result {
            Ok(ack) if origin.keep_acks => {
                if origin.acks.len() == ACKS_KEPT {
                    origin.acks.pop_front();
                }
                origin.acks.push_back(ack);
            }
            Ok(_) => {}
            Err(error) if origin.failure.is_none() => {
                origin.failure = Some(error);
                self.failures += 1;
            }
            Err(_) => {}
        }
    }

    /// Notes that the connection is lost: what was sent and not settled goes first over the next one.
    pub(crate) fn lost(&mut self) {
        self.waiting_bytes += std::mem::take(&mut self.sent_bytes);
        if planted(Bug::DropsAResend) {
            self.sent.pop_first();
        }
        while let Some((_, pending)) = self.sent.pop_last() {
            if pending.interest == Interest::Withdrawn {
                self.waiting_bytes -= pending.record.len();
                self.settle_one(pending.origin);
                continue;
            }
            if planted(Bug::ResendsOutOfOrder) {
                self.waiting.push_back(pending);
            } else {
                self.waiting.push_front(pending);
            }
        }
    }

    /// Fails everything unsettled with `error`, because the session is over.
    pub(crate) fn fail(&mut self, error: &ConnectError) {
        self.lost();
        self.waiting_bytes = 0;
        for pending in std::mem::take(&mut self.waiting) {
            self.tell(&pending, Err(PublishError::Disconnected(error.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::{Epoch, Offset};

    fn terms(records: usize, bytes: usize) -> Terms {
        Terms {
            limits: Limits::DEFAULT,
            heartbeat: std::time::Duration::from_secs(1),
            inflight_records_max: records,
            inflight_bytes_max: bytes,
        }
    }

    fn ledger(records: usize, bytes: usize) -> (Ledger, OriginId) {
        let mut ledger = Ledger::new(&terms(records, bytes));
        let origin = ledger.open_origin(true);
        (ledger, origin)
    }

    fn finished(correlation: u64, size: usize) -> Finished {
        Finished {
            correlation,
            topic: Arc::from("a"),
            record: vec![u8::try_from(correlation).unwrap(); size],
            raw_size: size,
            messages: 2,
            payload_bytes: 10,
        }
    }

    fn entry(correlation: u64, outcome: Outcome) -> PublishedEntry {
        PublishedEntry {
            correlation,
            offset: Offset::new(correlation * 10),
            epoch: Epoch::new(1),
            outcome,
            retry_after_ms: 0,
        }
    }

    fn sent(ledger: &mut Ledger) -> Vec<u8> {
        let mut out = Vec::new();
        ledger.send(usize::MAX, &mut out);
        out.iter().map(|record| record[0]).collect()
    }

    #[test]
    fn no_more_is_sent_than_the_broker_takes() {
        let (mut ledger, origin) = ledger(2, 1000);
        for correlation in 1..=3 {
            ledger.add(origin, Interest::Publisher, finished(correlation, 8));
        }
        assert!(!ledger.has_room());
        assert_eq!(sent(&mut ledger), [1, 2]);
        ledger.settle(&entry(2, Outcome::Ok)).unwrap();
        assert_eq!(sent(&mut ledger), [3]);
        ledger.settle(&entry(1, Outcome::Ok)).unwrap();
        assert!(ledger.has_room());
    }

    #[test]
    fn bytes_are_bounded_and_a_record_above_the_bound_goes_alone() {
        let (mut ledger, origin) = ledger(10, 100);
        for (correlation, size) in [(1, 60), (2, 60), (3, 500)] {
            ledger.add(origin, Interest::Publisher, finished(correlation, size));
        }
        assert_eq!(sent(&mut ledger), [1]);
        ledger.settle(&entry(1, Outcome::Ok)).unwrap();
        assert_eq!(sent(&mut ledger), [2]);
        ledger.settle(&entry(2, Outcome::Ok)).unwrap();
        assert_eq!(sent(&mut ledger), [3]);
    }

    #[test]
    fn after_a_loss_the_unsettled_go_first_and_in_their_order() {
        let (mut ledger, origin) = ledger(3, 1000);
        for correlation in 1..=5 {
            ledger.add(origin, Interest::Publisher, finished(correlation, 8));
        }
        assert_eq!(sent(&mut ledger), [1, 2, 3]);
        ledger.settle(&entry(2, Outcome::Ok)).unwrap();
        ledger.settle(&entry(3, Outcome::Draining)).unwrap();
        ledger.lost();
        assert_eq!(sent(&mut ledger), [1, 3, 4]);
        assert!(!ledger.is_settled(origin));
        for correlation in [1, 3, 4] {
            ledger.settle(&entry(correlation, Outcome::Ok)).unwrap();
        }
        assert_eq!(sent(&mut ledger), [5]);
        ledger.settle(&entry(5, Outcome::Ok)).unwrap();
        assert!(ledger.is_settled(origin) && ledger.is_empty());
        assert_eq!(ledger.totals(origin).messages, 10);
        let offsets: Vec<u64> = ledger
            .take_acks(origin)
            .iter()
            .map(|a| a.offset.get())
            .collect();
        assert_eq!(offsets, [20, 10, 30, 40, 50]);
    }

    #[test]
    fn a_record_above_new_limits_fails_alone() {
        let (mut ledger, origin) = ledger(3, 1000);
        for (correlation, size) in [(1, 8), (2, 108), (3, 24)] {
            ledger.add(origin, Interest::Publisher, finished(correlation, size));
        }
        assert_eq!(sent(&mut ledger), [1, 2, 3]);
        ledger.lost();
        let mut narrow = terms(3, 1000);
        narrow.limits.record_size_max = 104;
        narrow.limits.raw_size_max = 16;
        ledger.agree(&narrow);
        let failure = ledger.take_failure(origin);
        assert!(
            matches!(
                failure,
                Some(PublishError::TooLarge {
                    size: 108,
                    max: 104
                })
            ),
            "{failure:?}"
        );
        ledger.add(origin, Interest::Caller, finished(4, 24));
        let outcome = ledger.take_outcome(4);
        assert!(
            matches!(outcome, Some(Err(PublishError::TooLarge { max: 16, .. }))),
            "{outcome:?}"
        );
        assert_eq!(sent(&mut ledger), [1]);
        ledger.settle(&entry(1, Outcome::Ok)).unwrap();
        assert!(ledger.is_settled(origin) && ledger.is_empty());
    }

    #[test]
    fn a_refusal_is_returned_once_and_to_its_publisher() {
        let (mut ledger, origin) = ledger(3, 1000);
        let other = ledger.open_origin(false);
        ledger.add(origin, Interest::Publisher, finished(1, 8));
        sent(&mut ledger);
        ledger.settle(&entry(1, Outcome::DiskFull)).unwrap();
        assert!(ledger.take_failure(other).is_none());
        let error = ledger.take_failure(origin).unwrap();
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert!(ledger.take_failure(origin).is_none());
        assert_eq!(ledger.totals(origin), Totals::default());
    }

    #[test]
    fn the_end_of_the_session_fails_what_waits_and_what_was_sent() {
        let (mut ledger, origin) = ledger(1, 1000);
        ledger.add(origin, Interest::Publisher, finished(1, 8));
        ledger.add(origin, Interest::Caller, finished(2, 8));
        sent(&mut ledger);
        ledger.fail(&ConnectError::Closed);
        assert!(ledger.is_empty() && ledger.is_settled(origin));
        assert!(ledger.take_failure(origin).is_some());
        assert!(matches!(ledger.take_outcome(2), Some(Err(_))));
        assert!(ledger.take_outcome(2).is_none());
    }

    #[test]
    fn the_outcome_of_a_record_that_was_never_sent_breaks_the_connection() {
        let (mut ledger, origin) = ledger(1, 1000);
        ledger.add(origin, Interest::Publisher, finished(1, 8));
        for outcome in [Outcome::Ok, Outcome::Draining] {
            assert!(ledger.settle(&entry(1, outcome)).is_err(), "it only waits");
        }
        assert_eq!(sent(&mut ledger), [1]);
        ledger.settle(&entry(1, Outcome::Ok)).unwrap();
    }
}
