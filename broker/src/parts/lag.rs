//! How far subscriptions are behind: the counts of one shard, those gathered from all shards, and the sessions that have asked.

use std::cmp::Reverse;

use oyez_protocol::limits::{ANSWER_SIZE_MAX, TOPIC_SIZE_MAX};
use serde::Serialize;
use slab::Slab;

use crate::parts::handled::Until;
use crate::parts::session::SessionId;

/// Questions that one shard has under way; others wait. Each is answered when a walk ends, all in one turn.
const SURVEYS_MAX: usize = 8;
/// Subscriptions that the answer lists one by one.
const SLOWEST_MAX: usize = 10;
/// Classes of lag: none, and by the number of decimal digits up to 7 or more.
const CLASSES: usize = 8;

/// Most JSON bytes of one listed subscription: each byte of its topic escaped, and its numbers.
const SLOW_JSON_BYTES: usize = 6 * TOPIC_SIZE_MAX + 256;
const _: () = assert!(SLOWEST_MAX * SLOW_JSON_BYTES + 1024 <= ANSWER_SIZE_MAX);

/// How far the subscriptions of a shard, or of all shards, are behind. Serialized it is the answer to `Query(Lag)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lag {
    /// Subscriptions that were counted.
    subscriptions: u64,
    /// Messages that the subscription furthest behind lacks.
    max: u64,
    /// Subscriptions by the number of decimal digits of their lag: first those without lag, last those with 7 digits or more.
    by_digits: [u64; CLASSES],
    /// The subscriptions furthest behind, the furthest first.
    pub(crate) slowest: Vec<Slow>,
}

/// One subscription that is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Slow {
    /// Address of the subscriber.
    pub(crate) peer: String,
    pub(crate) topic: Box<str>,
    /// Messages that it lacks.
    pub(crate) lag: u64,
    /// Bytes in its socket that its host has not acknowledged.
    pub(crate) unacknowledged_bytes: u64,
    /// How long its socket has taken nothing; `null` if it takes something.
    pub(crate) blocked_ms: Option<u64>,
}

impl Lag {
    pub(crate) fn count(&mut self, lag: u64) {
        let digits = lag.checked_ilog10().map_or(0, |log| log as usize + 1);
        self.by_digits[digits.min(CLASSES - 1)] += 1;
        self.subscriptions += 1;
        self.max = self.max.max(lag);
    }

    /// Adds the counts of another shard.
    fn add(&mut self, other: Self) {
        self.subscriptions += other.subscriptions;
        self.max = self.max.max(other.max);
        for (own, others) in self.by_digits.iter_mut().zip(other.by_digits) {
            *own += others;
        }
        self.slowest.extend(other.slowest);
        self.slowest.sort_by_key(|slow| Reverse(slow.lag));
        self.slowest.truncate(SLOWEST_MAX);
    }
}

/// A subscription that may be one of the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) lag: u64,
    pub(crate) session: SessionId,
    pub(crate) topic: u32,
}

/// The slowest subscriptions that a walk has met so far.
#[derive(Debug, Default)]
pub(crate) struct Candidates(Vec<Candidate>);

impl Candidates {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.0.iter()
    }

    /// Whether a subscription with this lag would be among them.
    pub(crate) fn want(&self, lag: u64) -> bool {
        let least = self.0.iter().map(|candidate| candidate.lag).min();
        lag > 0 && (self.0.len() < SLOWEST_MAX || least.is_some_and(|least| lag > least))
    }

    pub(crate) fn add(&mut self, new: Candidate) {
        self.0
            .retain(|old| (old.session, old.topic) != (new.session, new.topic));
        if self.0.len() == SLOWEST_MAX {
            let least = (0..SLOWEST_MAX).min_by_key(|index| self.0[*index].lag);
            self.0.swap_remove(least.unwrap_or(0));
        }
        self.0.push(new);
    }
}

/// A session's question, whose answer is gathered from all shards.
#[derive(Debug)]
struct Survey {
    session: SessionId,
    request: u32,
    waiting: usize,
    lag: Lag,
}

/// A pass over all subscriptions of a shard.
#[derive(Debug, Default)]
pub(crate) struct LagScan {
    /// The surveys that it answers: each by its shard and its number there.
    pub(crate) askers: Vec<(usize, usize)>,
    /// Number of the topic under way; below, the slot in its list.
    pub(crate) topic: u32,
    pub(crate) slot: usize,
    pub(crate) lag: Lag,
    pub(crate) candidates: Candidates,
}

/// The questions about lag that one shard asks and answers.
#[derive(Debug, Default)]
pub(crate) struct LagSurveys {
    own: Slab<Survey>,
    /// Surveys that wait for the next walk: each by its shard and its number there.
    askers: Vec<(usize, usize)>,
    scan: Option<LagScan>,
}

impl LagSurveys {
    /// Begins a session's question to so many shards; each session has one at a time. Returns its number, or what it has to wait
    /// for.
    pub(crate) fn begin(
        &mut self,
        session: SessionId,
        request: u32,
        shards: usize,
    ) -> Result<usize, Until> {
        if self.own.iter().any(|(_, survey)| survey.session == session) {
            return Err(Until::Answered);
        }
        if self.own.len() >= SURVEYS_MAX {
            return Err(Until::Room);
        }
        Ok(self.own.insert(Survey {
            session,
            request,
            waiting: shards,
            lag: Lag::default(),
        }))
    }

    /// Adds the counts of a shard. Returns the answer when this was the last shard.
    pub(crate) fn add(&mut self, number: usize, lag: Lag) -> Option<CompleteLag> {
        let survey = self.own.get_mut(number)?;
        survey.lag.add(lag);
        survey.waiting -= 1;
        if survey.waiting > 0 {
            return None;
        }
        let survey = self.own.remove(number);
        Some(CompleteLag {
            session: survey.session,
            request: survey.request,
            lag: survey.lag,
            makes_room: self.own.len() + 1 == SURVEYS_MAX,
        })
    }

    /// Takes the walk under way, or a new one if a survey waits for it.
    pub(crate) fn take_scan(&mut self) -> Option<LagScan> {
        if self.scan.is_none() && !self.askers.is_empty() {
            return Some(LagScan {
                askers: std::mem::take(&mut self.askers),
                ..LagScan::default()
            });
        }
        self.scan.take()
    }

    /// Keeps a walk that goes on in another turn.
    pub(crate) fn keep_scan(&mut self, scan: LagScan) {
        self.scan = Some(scan);
    }

    /// Notes that the survey of a shard wants another walk.
    pub(crate) fn ask(&mut self, shard: usize, survey: usize) {
        self.askers.push((shard, survey));
    }

    /// Whether a survey waits for a walk.
    pub(crate) fn is_wanted(&self) -> bool {
        self.scan.is_some() || !self.askers.is_empty()
    }
}

/// The answer of all shards to a session's question.
#[derive(Debug)]
pub(crate) struct CompleteLag {
    pub(crate) session: SessionId,
    pub(crate) request: u32,
    pub(crate) lag: Lag,
    /// Other sessions may have waited for the place of this question.
    pub(crate) makes_room: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(lag: u64) -> Slow {
        Slow {
            peer: "127.0.0.1:1".to_owned(),
            topic: "t".into(),
            lag,
            unacknowledged_bytes: 0,
            blocked_ms: None,
        }
    }

    #[test]
    fn subscriptions_are_counted_by_the_digits_of_their_lag() {
        let mut lag = Lag::default();
        for messages in [0, 0, 1, 9, 10, 99, 100, 999_999, 1_000_000, u64::MAX] {
            lag.count(messages);
        }
        assert_eq!(lag.by_digits, [2, 2, 2, 1, 0, 0, 1, 2]);
        assert_eq!((lag.subscriptions, lag.max), (10, u64::MAX));
    }

    #[test]
    fn the_slowest_of_all_shards_remain() {
        let mut total = Lag::default();
        for shard in 0..3u64 {
            let slowest = (0..8).map(|number| slow(number * 3 + shard)).collect();
            total.add(Lag {
                subscriptions: 100,
                slowest,
                ..Lag::default()
            });
        }
        let lags: Vec<u64> = total.slowest.iter().map(|slow| slow.lag).collect();
        assert_eq!(lags, (14..24).rev().collect::<Vec<_>>());
        assert_eq!(total.subscriptions, 300);
    }

    #[test]
    fn candidates_are_the_furthest_behind_and_none_of_them_twice() {
        let mut candidates = Candidates::default();
        for lag in (1..100).chain(1..50) {
            let candidate = Candidate {
                lag,
                session: SessionId::new(lag as u32, 0),
                topic: 0,
            };
            if candidates.want(lag) {
                candidates.add(candidate);
            }
        }
        candidates.add(candidates.0[0]);
        let mut lags: Vec<u64> = candidates.0.iter().map(|one| one.lag).collect();
        lags.sort_unstable();
        assert_eq!(lags, (90..100).collect::<Vec<_>>());
        assert!(!candidates.want(0) && !candidates.want(90) && candidates.want(91));
    }
}
