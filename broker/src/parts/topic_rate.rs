//! How many new topics sessions may begin. Each topic takes memory of its log for as long as the log is open, and a client that
//! makes up names must not fill it in half a minute.
//!
//! A session has an allowance at its own shard. The shard learns what it spends when its records are acknowledged, so a session
//! with many records under way may overspend by these, and pays later. As a client can have as many sessions as it likes, each
//! shard also begins only so many topics for all sessions together.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::parts::session::SessionId;

/// A shard begins as many topics as this many sessions at their full rate.
const SESSIONS_AT_ONCE: u64 = 100;
/// Seconds of that rate which a shard saves up.
const SAVED_S: u64 = 2;
/// How often a shard forgets the sessions that have all of their allowance again, in milliseconds.
const SWEEP_MS: u64 = 100;
/// How long a session is told to wait at least, in milliseconds; below, at most.
const WAIT_MS_MIN: u64 = 100;
const WAIT_MS_MAX: u64 = 60_000;

/// How fast topics may be begun.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u64,
    /// Most that is saved up, in thousandths of a topic.
    saved_max: i64,
}

impl Rate {
    fn new(per_second: u64, burst: u64) -> Self {
        let saved_max = burst.saturating_mul(1_000).cast_signed();
        Self {
            per_second,
            saved_max,
        }
    }
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug)]
struct TopicAllowance {
    /// Thousandths of a topic; below zero when more was spent than there was.
    left: i64,
    passed_ms: u64,
}

impl TopicAllowance {
    fn whole(rate: Rate, now_ms: u64) -> Self {
        Self {
            left: rate.saved_max,
            passed_ms: now_ms,
        }
    }

    fn pass(&mut self, rate: Rate, now_ms: u64) {
        let more = (now_ms - self.passed_ms).saturating_mul(rate.per_second);
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        self.left = self.left.saturating_add(more).min(rate.saved_max);
        self.passed_ms = now_ms;
    }

    /// Whether one more topic may begin. Credits the time that has passed only when that is needed, since each record asks.
    fn has_one_at(&mut self, rate: Rate, now_ms: u64) -> bool {
        if self.left < 1_000 {
            self.pass(rate, now_ms);
        }
        self.left >= 1_000
    }

    fn spend(&mut self, topics: u64) {
        self.left -= topics.cast_signed() * 1_000;
    }

    /// Milliseconds until one more topic may begin.
    fn wait_ms(&self, rate: Rate) -> u64 {
        let lacking = (1_000 - self.left).max(0).cast_unsigned();
        lacking.div_ceil(rate.per_second)
    }
}

/// The allowances of one shard and of its sessions.
#[derive(Debug)]
pub(crate) struct TopicRate {
    /// `None`: topics begin without a bound.
    rates: Option<Rates>,
    of_shard: TopicAllowance,
    /// Allowances of the sessions that have spent some of theirs.
    of_sessions: BTreeMap<SessionId, TopicAllowance>,
    swept_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rates {
    session: Rate,
    shard: Rate,
}

impl TopicRate {
    pub(crate) fn new(config: &Config, now_ms: u64) -> Self {
        let (per_second, burst) = (
            u64::from(config.topic_creation_rate),
            u64::from(config.topic_creation_burst),
        );
        let of_all = per_second * SESSIONS_AT_ONCE;
        let session = Rate::new(per_second, burst);
        let shard = Rate::new(of_all, (of_all * SAVED_S).max(burst));
        Self {
            rates: (per_second > 0).then_some(Rates { session, shard }),
            of_shard: TopicAllowance::whole(shard, now_ms),
            of_sessions: BTreeMap::new(),
            swept_ms: now_ms,
        }
    }

    /// Whether a session of this shard may begin a topic. Costs nothing as long as no session has begun one lately.
    pub(crate) fn may_begin(&mut self, id: SessionId, now_ms: u64) -> bool {
        if self.of_sessions.is_empty() {
            return true;
        }
        let Some(rates) = self.rates else {
            return true;
        };
        self.sweep(rates, now_ms);
        let Some(allowance) = self.of_sessions.get_mut(&id) else {
            return true;
        };
        allowance.has_one_at(rates.session, now_ms)
    }

    /// Notes that records of a session of this shard have begun `topics` topics.
    pub(crate) fn note_begun(&mut self, id: SessionId, topics: u64, now_ms: u64) {
        let Some(rates) = self.rates.filter(|_| topics > 0) else {
            return;
        };
        let whole = TopicAllowance::whole(rates.session, now_ms);
        let allowance = self.of_sessions.entry(id).or_insert(whole);
        allowance.pass(rates.session, now_ms);
        allowance.spend(topics);
    }

    /// How long a session should wait before it begins another topic, in milliseconds.
    pub(crate) fn wait_ms(&self, id: SessionId) -> u32 {
        let wait_ms = match (self.rates, self.of_sessions.get(&id)) {
            (Some(rates), Some(allowance)) => allowance.wait_ms(rates.session),
            _ => 0,
        };
        u32::try_from(wait_ms.clamp(WAIT_MS_MIN, WAIT_MS_MAX)).unwrap_or(u32::MAX)
    }

    /// Whether this shard may begin a topic in one of its logs, for any session.
    pub(crate) fn may_begin_here(&mut self, now_ms: u64) -> bool {
        let Some(rates) = self.rates else {
            return true;
        };
        self.of_shard.has_one_at(rates.shard, now_ms)
    }

    /// Notes that this shard has begun a topic in one of its logs.
    pub(crate) fn note_begun_here(&mut self, now_ms: u64) {
        if let Some(rates) = self.rates {
            self.of_shard.pass(rates.shard, now_ms);
            self.of_shard.spend(1);
        }
    }

    /// Forgets the sessions that have all of their allowance again, and so also those that are gone.
    fn sweep(&mut self, rates: Rates, now_ms: u64) {
        if now_ms < self.swept_ms + SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        self.of_sessions.retain(|_, allowance| {
            allowance.pass(rates.session, now_ms);
            allowance.left < rates.session.saved_max
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId::new(1, 1);
    const OTHER: SessionId = SessionId::new(2, 1);

    fn topic_rate(topic_creation_rate: u32, topic_creation_burst: u32) -> TopicRate {
        let config = Config {
            topic_creation_rate,
            topic_creation_burst,
            ..Config::default()
        };
        TopicRate::new(&config, 0)
    }

    #[test]
    fn a_session_that_has_spent_its_allowance_waits_and_others_do_not() {
        let mut topic_rate = topic_rate(10, 5);
        assert!(topic_rate.may_begin(ONE, 0));
        topic_rate.note_begun(ONE, 7, 0);
        assert!(!topic_rate.may_begin(ONE, 0) && topic_rate.may_begin(OTHER, 0));
        assert_eq!(
            topic_rate.wait_ms(ONE),
            300,
            "two are owed, and one is for the next"
        );
        assert!(!topic_rate.may_begin(ONE, 299));
        assert!(topic_rate.may_begin(ONE, 300));
        assert_eq!(topic_rate.wait_ms(OTHER), 100);
    }

    #[test]
    fn a_session_that_has_all_of_its_allowance_again_is_forgotten() {
        let mut topic_rate = topic_rate(10, 5);
        topic_rate.note_begun(ONE, 5, 0);
        topic_rate.note_begun(OTHER, 50, 0);
        assert!(topic_rate.may_begin(ONE, 400));
        assert_eq!(topic_rate.of_sessions.len(), 2);
        assert!(!topic_rate.may_begin(OTHER, 1_000));
        assert_eq!(topic_rate.of_sessions.len(), 1);
        assert!(topic_rate.may_begin(OTHER, 5_000));
        assert_eq!(topic_rate.of_sessions.len(), 0);
    }

    #[test]
    fn a_shard_begins_only_so_many_topics_for_all_sessions_together() {
        let mut topic_rate = topic_rate(1, 10);
        let begun = (0..1_000).filter(|_| {
            let may = topic_rate.may_begin_here(0);
            if may {
                topic_rate.note_begun_here(0);
            }
            may
        });
        assert_eq!(begun.count(), 200, "what two seconds of 100 sessions are");
        assert!(!topic_rate.may_begin_here(9) && topic_rate.may_begin_here(10));
    }

    #[test]
    fn without_a_rate_topics_begin_without_a_bound() {
        let mut topic_rate = topic_rate(0, 1);
        topic_rate.note_begun(ONE, 1_000_000, 0);
        assert!(topic_rate.may_begin(ONE, 0) && topic_rate.may_begin_here(0));
    }
}
