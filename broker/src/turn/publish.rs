//! From a record to its outcome: to the owner of its log, into the log, and back to the publisher once the log's
//! visible place has passed it.

use oyez_protocol::event::{Outcome, PublishedEntry};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, LogId, Offset, topic};
use oyez_storage::{AppendError, StoreEvents};

use crate::dialect::command::Reply;
use crate::parts::awake::Awake;
use crate::parts::budget::{Budget, FRAME_STEPS};
use crate::parts::context::ShardContext;
use crate::parts::handled::{Handled, Until};
use crate::parts::lane::Lane;
use crate::parts::logs::Logs;
use crate::parts::mail::{Ack, Inbox, Message, Outbox};
use crate::parts::parcel::{Handed, Origin};
use crate::parts::publishes::{Pending, Publishes, Stalled};
use crate::parts::session::{Session, SessionId};
use crate::parts::sessions::Sessions;
use crate::replies::tell;

/// The step that takes records and answers their publishers, with the parts that it needs.
pub(crate) struct Publishing<'a> {
    pub(crate) context: &'a ShardContext,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) logs: &'a mut Logs,
    pub(crate) publishes: &'a mut Publishes,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) awake: &'a mut Awake,
    /// The broker is shutting down: a record that its log does not take at once is refused.
    pub(crate) refuses: bool,
}

impl Publishing<'_> {
    /// Takes a record from a publisher; [`Handled::Later`] holds back this publisher and no other.
    pub(crate) fn publish(&mut self, id: SessionId, record: Record<'_>) -> Handled {
        let session = self.sessions.there_mut(id);
        let (size, config) = (record.size(), &self.context.shared.config);
        let (records_max, bytes_max) = (config.inflight_records_max, config.inflight_bytes_max);
        if !session.may_publish(size, records_max, bytes_max) {
            return Handled::Later(Until::Answered);
        }
        let lane = session.lane();
        let now_ms = self.context.now.monotonic_ms;
        let may_begin = self.publishes.topic_rate.may_begin(id, now_ms);
        let log = self.context.shared.log_of(record.topic());
        let origin = Origin {
            shard: self.context.id,
            session: id,
            correlation: record.correlation(),
            size,
            lane,
            may_begin,
        };
        let owner = self.context.shared.owner(log);
        let handled = if topic::is_reserved(record.topic()) {
            self.refuse(origin, Outcome::ReservedTopic)
        } else if owner == self.context.id {
            self.append(log, &record, origin)
        } else {
            self.hand_over(owner, Handed { origin, log }, &record)
        };
        if handled == Handled::Done {
            self.sessions.there_mut(id).note_publish(size);
            let metrics = self.context.metrics();
            metrics.records_in.add(1);
            metrics.messages_in.add(u64::from(record.count()));
            metrics.bytes_in_raw.add(u64::from(record.raw_size()));
            metrics.bytes_in_wire.add(u64::from(size));
        }
        handled
    }

    fn hand_over(&mut self, owner: usize, handed: Handed, record: &Record<'_>) -> Handled {
        if self.outbox.hand_over(owner, handed, record.bytes()) {
            return Handled::Done;
        }
        Handled::Later(Until::Room)
    }

    /// Puts a record into a log of this shard. A refusal is an outcome like any other.
    fn append(&mut self, log: LogId, record: &Record<'_>, origin: Origin) -> Handled {
        let (wall_ms, now_ms) = (self.context.now.wall_ms, self.context.now.monotonic_ms);
        let topic_rate = &mut self.publishes.topic_rate;
        let appended = match origin.may_begin && topic_rate.may_begin_here(now_ms) {
            true => self.logs.append(log, record, wall_ms),
            false => self.logs.append_to_known(log, record, wall_ms),
        };
        let outcome = match appended {
            Ok(appended) => {
                if appended.offset == Offset::default() {
                    topic_rate.note_begun_here(now_ms);
                }
                let pending = Pending {
                    end: appended.end,
                    origin,
                    offset: appended.offset,
                    epoch: appended.epoch,
                    since_us: self.context.now.monotonic_us,
                };
                let quick = self.publishes.appended(log, pending);
                if let Some(quick) = quick.filter(|_| self.logs.is_on_disk(log)) {
                    self.awake.answered(quick, self.context.now.monotonic_ms);
                }
                return Handled::Done;
            }
            Err(AppendError::Busy) if self.refuses => Outcome::Draining,
            Err(AppendError::Busy) => {
                self.publishes.refused(log, self.context.now.monotonic_us);
                return Handled::Later(Until::Room);
            }
            Err(AppendError::DiskFull) => Outcome::DiskFull,
            Err(AppendError::TooManyTopics) => Outcome::TooManyTopics,
            Err(AppendError::UnknownTopic) => Outcome::TooFast,
            Err(AppendError::Closing) => Outcome::Draining,
            Err(
                AppendError::NoSegment
                | AppendError::Poisoned
                | AppendError::TooLarge
                | AppendError::NotHere,
            ) => Outcome::LogFailed,
        };
        if matches!(outcome, Outcome::DiskFull | Outcome::LogFailed) {
            // Publishers that wait for the log are answered, too.
            self.publishes.no_longer_refused(log);
        }
        self.refuse(origin, outcome)
    }

    fn refuse(&mut self, origin: Origin, outcome: Outcome) -> Handled {
        let metrics = self.context.metrics();
        metrics.publishes_refused.add(1);
        if matches!(outcome, Outcome::TooFast | Outcome::TooManyTopics) {
            metrics.topics_refused.add(1);
        }
        let entry = PublishedEntry {
            correlation: origin.correlation,
            offset: Offset::default(),
            epoch: Epoch::default(),
            outcome,
            retry_after_ms: 0,
        };
        self.answer(origin, entry);
        Handled::Done
    }

    /// Takes the records that other shards have handed over, each log's in their order. A log that takes no more holds up only
    /// its own publishes, until too many wait for all logs together.
    pub(crate) fn take_publishes(&mut self) {
        let mut budget = Budget::HANDED_OVER;
        let all_retried = self.retry_stalled(&mut budget);
        self.publishes.note_retried(all_retried);
        // A quarter of the budget is kept for the lane of much.
        let quarter = Budget::HANDED_OVER.quarter();
        self.take_lane(Lane::Little, &mut budget, quarter);
        self.take_lane(Lane::Much, &mut budget, Budget::default());
        self.publishes.note_left(self.inbox.has_begun());
    }

    /// Takes the records of a lane, until only `left` remains of the budget.
    fn take_lane(&mut self, lane: Lane, budget: &mut Budget, left: Budget) {
        while let Some(mut parcel) = self.inbox.next_parcel(lane) {
            while let Some((handed, record)) = parcel.next() {
                if !budget.is_above(left) || self.publishes.is_full() {
                    self.inbox.put_back(lane, parcel);
                    return;
                }
                budget.spend(2 * FRAME_STEPS, record.len());
                self.take_handed(handed, record);
                parcel.advance();
            }
            self.inbox.finish(lane);
            if let Some(shard) = parcel.clear() {
                self.outbox.give_back(shard, Message::EmptyParcel(parcel));
            }
        }
    }

    fn take_handed(&mut self, handed: Handed, record: &[u8]) {
        let waits = self.publishes.has_stalled_for(handed.log) && !planted(Bug::OvertakesStalled);
        if waits || self.append_handed_over(handed, record) != Handled::Done {
            let record = record.into();
            self.publishes.stall(Stalled { handed, record });
        }
    }

    /// Retries the records that wait for their logs. Returns whether the budget sufficed.
    fn retry_stalled(&mut self, budget: &mut Budget) -> bool {
        if !self.publishes.has_stalled() {
            return true;
        }
        for log in 0..self.logs.count() {
            while let Some(stalled) = self.publishes.next_stalled(log) {
                if budget.is_spent() && !planted(Bug::NoBudgetForRetries) {
                    self.publishes.put_back(stalled);
                    return false;
                }
                budget.spend(2 * FRAME_STEPS, stalled.record.len());
                if self.append_handed_over(stalled.handed, &stalled.record) != Handled::Done {
                    self.publishes.put_back(stalled);
                    break;
                }
            }
        }
        true
    }

    /// The other shard has verified the record; only its structure is looked at again.
    fn append_handed_over(&mut self, handed: Handed, record: &[u8]) -> Handled {
        let record = Record::trusted(record).expect("the other shard has verified it");
        self.append(handed.log, &record, handed.origin)
    }

    /// Passes on what the store has brought: outcomes of records that have become visible, and of those that were left in
    /// the last turn. Returns whether room has become free that others may have waited for.
    pub(crate) fn take_progress(&mut self, progress: &StoreEvents) -> bool {
        let mut budget = Budget::OUTCOMES;
        let unsettled = self.publishes.take_unsettled();
        for log in progress.advanced.iter().chain(&unsettled) {
            if !self.settle(*log, &mut budget) {
                self.publishes.note_unsettled(*log);
            }
        }
        for log in &progress.accepting_again {
            self.publishes.no_longer_refused(*log);
        }
        !(progress.advanced.is_empty() && progress.accepting_again.is_empty())
    }

    /// Answers the publishers whose records have become visible in an own log, as many as may be in one turn. Returns
    /// whether these were all.
    fn settle(&mut self, log: LogId, budget: &mut Budget) -> bool {
        let (visible, now_us) = (self.logs.visible(log), self.context.now.monotonic_us);
        while !budget.is_spent() {
            budget.spend(1, 0);
            let Some(ack) = self.publishes.next_visible(log, visible, now_us) else {
                return true; // All that is visible is answered.
            };
            let entry = PublishedEntry {
                correlation: ack.origin.correlation,
                offset: ack.offset,
                epoch: ack.epoch,
                outcome: Outcome::Ok,
                retry_after_ms: 0,
            };
            let took_us = self.context.now.monotonic_us - ack.since_us;
            self.context.metrics().visible_us.record(took_us);
            self.answer(ack.origin, entry);
        }
        false
    }

    fn answer(&mut self, origin: Origin, entry: PublishedEntry) {
        let ack = Ack {
            session: origin.session,
            entry,
            size: origin.size,
        };
        if origin.shard == self.context.id || planted(Bug::AnswersTheWrongSession) {
            self.publishes.tell(ack);
        } else {
            self.outbox.answer(origin.shard, ack);
        }
    }
}

/// Sends the turn's outcomes, one frame per publisher.
pub(crate) fn deliver_acks(
    context: &ShardContext,
    sessions: &mut Sessions,
    publishes: &mut Publishes,
) {
    let (mut acks, mut entries) = publishes.take_told();
    // Stable: the outcomes of one session stay in their order.
    acks.sort_by_key(|ack| ack.session);
    for group in acks.chunk_by(|left, right| left.session == right.session) {
        let id = group[0].session;
        let is_full = sessions.get(id).is_some_and(Session::is_blocked);
        if is_full && planted(Bug::DropsAnswersToTheFull) {
            continue;
        }
        let topic_rate = &mut publishes.topic_rate;
        let begun = group
            .iter()
            .filter(|ack| begins_a_topic(&ack.entry))
            .count();
        topic_rate.note_begun(id, begun as u64, context.now.monotonic_ms);
        entries.clear();
        entries.extend(group.iter().map(|ack| match ack.entry.outcome {
            Outcome::TooFast => PublishedEntry {
                retry_after_ms: topic_rate.wait_ms(id),
                ..ack.entry
            },
            _ => ack.entry,
        }));
        if let Some(session) = sessions.get_mut(id) {
            let bytes: u32 = group.iter().map(|ack| ack.size).sum();
            session.note_outcomes(group.len() as u32, bytes);
        }
        tell(context, sessions, id, &Reply::Published(&entries));
        sessions.resume(id);
        sessions.finish_leaving(context, id);
    }
    publishes.keep_told(acks, entries);
}

/// Whether a record was the first one of its topic.
fn begins_a_topic(entry: &PublishedEntry) -> bool {
    entry.outcome == Outcome::Ok && entry.offset == Offset::default()
}

#[cfg(test)]
mod tests;
