//! How far subscriptions are behind, counted when somebody asks.
//!
//! Nothing is kept for it: lag is where a topic ends minus a cursor, so a shard that is asked walks its subscriptions, a
//! bounded number in each turn, and tells how many are how far behind and which furthest. What a subscriber's socket
//! holds is asked of the kernel, for those few alone. However many ask, a shard walks once at a time: who asks in the
//! middle is served by the next walk. While it goes on subscriptions come, go and move within their lists, so that a
//! walk may miss one or meet one twice.

use std::cmp::Reverse;
use std::os::fd::AsFd;

use oyez_protocol::event::Answer;
use oyez_protocol::limits::{ANSWER_SIZE_MAX, TOPIC_SIZE_MAX};
use serde::Serialize;
use slab::Slab;

use crate::parts::budget::LAG_STEPS;
use crate::parts::feed::Topic;
use crate::parts::mail::Message;
use crate::parts::session::SessionId;
use crate::parts::subscription::{Delivery, Subscription};
use crate::parts::taken::{Taken, Until};
use crate::shard::Shard;
use crate::sys::socket;

/// Subscriptions looked at in one turn: at most half a millisecond, when each of them goes on the list of the slowest.
const STEPS_PER_TURN: usize = 4096;
/// What it costs to come to another topic, in subscriptions.
const TOPIC_STEPS: usize = 4;
/// Questions that one shard has under way; others wait. Each is answered when a walk ends, all in one turn.
const SURVEYS_MAX: usize = 8;
/// Subscriptions that are told one by one.
const SLOWEST_MAX: usize = 10;
/// Classes of lag: none, and by the number of decimal digits up to 7 or more.
const CLASSES: usize = 8;

/// JSON bytes of one of the slowest at most: each byte of its topic escaped, and its numbers.
const SLOW_JSON_BYTES: usize = 6 * TOPIC_SIZE_MAX + 256;
const _: () = assert!(SLOWEST_MAX * SLOW_JSON_BYTES + 1024 <= ANSWER_SIZE_MAX);

/// How far the subscriptions of a shard, or of all shards, are behind. Serialized it is the answer to `Query(Lag)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lag {
    /// Subscriptions that were looked at.
    subscriptions: u64,
    /// Messages that the one furthest behind has not got.
    max: u64,
    /// Subscriptions by the number of decimal digits of their lag: first those that have everything, last those with 7
    /// digits or more.
    by_digits: [u64; CLASSES],
    /// Those furthest behind, the furthest first.
    slowest: Vec<Slow>,
}

/// One subscription that is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Slow {
    /// Address of the subscriber.
    peer: String,
    topic: Box<str>,
    /// Messages that it has not got.
    lag: u64,
    /// Bytes in its socket that its host has not acknowledged.
    unacknowledged_bytes: u64,
    /// How long its socket has taken nothing; `null` if it takes something.
    blocked_ms: Option<u64>,
}

impl Lag {
    fn count(&mut self, lag: u64) {
        let digits = lag.checked_ilog10().map_or(0, |log| log as usize + 1);
        self.by_digits[digits.min(CLASSES - 1)] += 1;
        self.subscriptions += 1;
        self.max = self.max.max(lag);
    }

    /// Takes in what another shard has counted.
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
struct Candidate {
    lag: u64,
    session: SessionId,
    topic: u32,
}

/// The slowest met so far.
#[derive(Debug, Default)]
struct Candidates(Vec<Candidate>);

impl Candidates {
    /// Whether one with this lag would be among them.
    fn want(&self, lag: u64) -> bool {
        let least = self.0.iter().map(|candidate| candidate.lag).min();
        lag > 0 && (self.0.len() < SLOWEST_MAX || least.is_some_and(|least| lag > least))
    }

    fn add(&mut self, new: Candidate) {
        self.0
            .retain(|old| (old.session, old.topic) != (new.session, new.topic));
        if self.0.len() == SLOWEST_MAX {
            let least = (0..SLOWEST_MAX).min_by_key(|index| self.0[*index].lag);
            self.0.swap_remove(least.unwrap_or(0));
        }
        self.0.push(new);
    }
}

/// Somebody's question, gathered from all shards.
#[derive(Debug)]
struct Survey {
    session: SessionId,
    request: u32,
    waiting: usize,
    lag: Lag,
}

/// A pass over all subscriptions of a shard.
#[derive(Debug, Default)]
struct Walk {
    /// Whom it answers: a shard, and its survey.
    askers: Vec<(usize, usize)>,
    /// Number of the topic under way, and the slot in its list.
    topic: u32,
    slot: usize,
    lag: Lag,
    candidates: Candidates,
}

/// The questions about lag that one shard asks and answers.
#[derive(Debug, Default)]
pub(crate) struct LagSurveys {
    own: Slab<Survey>,
    /// Who waits for the next walk.
    askers: Vec<(usize, usize)>,
    walk: Option<Walk>,
}

impl LagSurveys {
    /// Another walk is wanted, by the survey of a shard.
    pub(crate) fn ask(&mut self, shard: usize, survey: usize) {
        self.askers.push((shard, survey));
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.walk.is_some() || !self.askers.is_empty()
    }
}

impl Shard {
    /// Asks all shards, for a session; one question of it at a time.
    pub(crate) fn survey_lag(&mut self, id: SessionId, request: u32) -> Taken {
        if self.lag.own.iter().any(|(_, survey)| survey.session == id) {
            return Taken::Later(Until::Answered);
        }
        if self.lag.own.len() >= SURVEYS_MAX {
            return Taken::Later(Until::Room);
        }
        self.spend_on_question(self.here.shared.shards * LAG_STEPS);
        let survey = self.lag.own.insert(Survey {
            session: id,
            request,
            waiting: self.here.shared.shards,
            lag: Lag::default(),
        });
        for shard in (0..self.here.shared.shards).filter(|shard| *shard != self.here.id) {
            let from = self.here.id;
            self.outbox.say(shard, Message::MeasureLag { from, survey });
        }
        self.lag.ask(self.here.id, survey);
        Taken::Done
    }

    /// Goes on with the walk under way, or begins one if somebody waits for it.
    pub(crate) fn measure_lag(&mut self) {
        if !self.lag.is_wanted() {
            return;
        }
        let askers = &mut self.lag.askers;
        let mut walk = self.lag.walk.take().unwrap_or_else(|| Walk {
            askers: std::mem::take(askers),
            ..Walk::default()
        });
        if !self.walk_on(&mut walk) {
            self.lag.walk = Some(walk);
            return;
        }
        let mut lag = walk.lag;
        let slowest = walk.candidates.0.iter();
        lag.slowest = slowest.filter_map(|one| self.describe(one)).collect();
        for (shard, survey) in walk.askers {
            if shard == self.here.id {
                self.add_lag(survey, lag.clone());
            } else {
                let lag = Box::new(lag.clone());
                self.outbox.say(shard, Message::Lag { survey, lag });
            }
        }
    }

    /// Looks at some more subscriptions; tells whether it was all of them.
    fn walk_on(&self, walk: &mut Walk) -> bool {
        let mut steps = 0;
        while walk.topic < self.registry.numbers_end() {
            let topic = self.registry.get(walk.topic);
            let list = topic.map_or(&[][..], |topic| &topic.subscriptions);
            while let (Some(topic), Some(subscription)) = (topic, list.get(walk.slot)) {
                if steps >= STEPS_PER_TURN {
                    return false;
                }
                steps += 1;
                walk.slot += 1;
                self.look_at(walk, topic, subscription);
            }
            steps += topic.map_or(1, |_| TOPIC_STEPS);
            (walk.topic, walk.slot) = (walk.topic + 1, 0);
            if steps >= STEPS_PER_TURN {
                return false;
            }
        }
        true
    }

    fn look_at(&self, walk: &mut Walk, topic: &Topic, subscription: &Subscription) {
        let Some(lag) = lag(topic, subscription) else {
            return;
        };
        walk.lag.count(lag);
        if walk.candidates.want(lag)
            && let Some(session) = self.sessions.id_at(subscription.session)
        {
            walk.candidates.add(Candidate {
                lag,
                session,
                topic: walk.topic,
            });
        }
    }

    /// What there is to say of a slow subscription, if it still is one.
    fn describe(&self, slow: &Candidate) -> Option<Slow> {
        let session = self.sessions.get(slow.session)?;
        let place = session.subscriptions.find(slow.topic)?;
        let topic = self.registry.get(slow.topic)?;
        let lag = lag(topic, topic.subscriptions.get(place.slot as usize)?)?;
        let peer = session.stream.peer_addr().ok()?;
        let backlog = socket::backlog(session.stream.as_fd()).ok()?;
        (lag > 0).then(|| Slow {
            peer: peer.to_string(),
            topic: (*topic.name).into(),
            lag,
            unacknowledged_bytes: backlog.bytes,
            blocked_ms: session.blocked.then_some(backlog.stuck_ms),
        })
    }

    /// A shard has told what it counted; the last one makes the answer complete.
    pub(crate) fn add_lag(&mut self, number: usize, lag: Lag) {
        let Some(survey) = self.lag.own.get_mut(number) else {
            return;
        };
        survey.lag.add(lag);
        survey.waiting -= 1;
        if survey.waiting > 0 {
            return;
        }
        let survey = self.lag.own.remove(number);
        self.freed |= self.lag.own.len() + 1 == SURVEYS_MAX;
        let json = serde_json::to_string(&survey.lag).expect("a struct of numbers is JSON");
        self.sessions.control(&self.here, survey.session, |out| {
            Answer {
                id: survey.request,
                more: false,
                json: &json,
            }
            .encode(out);
        });
        self.sessions.resume(survey.session);
    }
}

/// Messages that a subscription has not got of those that its shard knows to be visible. One that has not begun has no
/// lag.
fn lag(topic: &Topic, subscription: &Subscription) -> Option<u64> {
    if matches!(subscription.delivery(), Delivery::Pending(_)) {
        return None;
    }
    let end = topic.end?.get();
    Some(end.saturating_sub(subscription.cursor.get()))
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
    fn of_all_shards_the_slowest_remain() {
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
