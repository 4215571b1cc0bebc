//! Questions about the broker: counters, and the topics that it keeps.
//!
//! A list of topics is asked of all shards. Each first orders the topics that have come since the last list, then tells a
//! page; both a bounded part in each turn, beside everything else.

use std::collections::VecDeque;

use oyez_protocol::command::{Query, Question};
use oyez_protocol::event::Answer;
use oyez_protocol::limits::ANSWER_SIZE_MAX;
use oyez_storage::{TopicCounts, TopicInfo, TopicPage};
use serde::Serialize;
use slab::Slab;

use crate::measure::metrics::{Caps, ProcessFacts, Stats};
use crate::parts::budget::{
    QUESTION_STEPS_MAX, QUESTION_STEPS_PER_MS, STATS_STEPS, STATS_STEPS_PER_SHARD, TOPICS_STEPS,
};
use crate::parts::mail::Message;
use crate::parts::session::SessionId;
use crate::parts::taken::{Taken, Until};
use crate::shard::Shard;

/// Topics that a shard tells at once; how many of them one answer holds depends on their names.
const TOPICS_PER_PAGE: usize = 256;
/// Pages that a shard tells in one turn. *One takes 0.1 ms, and up to a millisecond for topics of many segments.*
const PAGES_PER_TURN: usize = 2;
/// New topics ordered in one turn, or half as many. *0.3 ms, a millisecond when chunks are halved.*
const ORDERED_PER_TURN: usize = 1024;
/// Lists that one shard gathers at once; others wait.
const LISTINGS_MAX: usize = 8;
/// More rows than this do not fit into an answer, however short they are.
const ROWS_MAX: usize = ANSWER_SIZE_MAX / ROW_BYTES_MIN;
const ROW_BYTES_MIN: usize = 96;

/// Questions that had to wait go on when so many steps are there.
const QUESTION_STEPS_AGAIN: i64 = QUESTION_STEPS_MAX as i64 / 2;

/// A list of topics that is being gathered from all shards.
#[derive(Debug)]
pub(crate) struct Listing {
    session: SessionId,
    request: u32,
    waiting: usize,
    topics: Vec<TopicInfo>,
    /// There is more behind this name; what is known beyond it is told again later.
    cut_at: Option<String>,
}

/// A page of this shard's topics that a shard waits for.
#[derive(Debug)]
struct Asked {
    from: usize,
    listing: usize,
    after: Box<str>,
    /// The topics that there were when it was asked for. Those that come meanwhile are not waited for.
    counted: TopicCounts,
}

/// The lists of topics that a shard gathers, and the pages that it is to tell.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    own: Slab<Listing>,
    asked: VecDeque<Asked>,
}

impl Listings {
    /// Whether somebody waits for a page.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Listing {
    /// Takes in what a shard has told, as far as an answer may have room for it.
    fn add(&mut self, page: TopicPage) {
        if page.more {
            let last = page.topics.last().map(|topic| topic.name.clone());
            self.cut(last);
        }
        self.topics.extend(page.topics);
        self.topics
            .sort_by(|left, right| left.name.cmp(&right.name));
        if self.topics.len() > ROWS_MAX {
            self.topics.truncate(ROWS_MAX);
            let last = self.topics.last().map(|topic| topic.name.clone());
            self.cut(last);
        }
    }

    fn cut(&mut self, at: Option<String>) {
        self.cut_at = match (self.cut_at.take(), at) {
            (Some(before), Some(at)) => Some(before.min(at)),
            (before, at) => before.or(at),
        };
    }
}

/// The steps that questions may take of a shard's time.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Below zero when the last question took more than was left.
    steps: i64,
    /// When it was last added to.
    passed_ms: u64,
    /// A question waits for more.
    missed: bool,
}

impl Allowance {
    /// Whether a question may be answered; if not, [`Self::pass`] tells when.
    fn has_some(&mut self) -> bool {
        let some = self.steps > 0 && !self.missed;
        self.missed = !some;
        some
    }

    fn spend(&mut self, steps: usize) {
        self.steps -= steps as i64;
    }

    /// Milliseconds until questions that wait may be tried again: not one by one.
    pub(crate) fn wait_ms(&self) -> Option<u64> {
        let lacking = (QUESTION_STEPS_AGAIN - self.steps).max(0).cast_unsigned();
        let ms = lacking.div_ceil(QUESTION_STEPS_PER_MS).max(1);
        self.missed.then_some(ms)
    }

    /// Time has passed. Returns whether a question that waited may be tried again.
    pub(crate) fn pass(&mut self, now_ms: u64) -> bool {
        let more = (now_ms - self.passed_ms).saturating_mul(QUESTION_STEPS_PER_MS);
        self.passed_ms = now_ms;
        let more = more.min(2 * QUESTION_STEPS_MAX) as i64;
        self.steps = (self.steps + more).min(QUESTION_STEPS_MAX as i64);
        let again = self.missed && self.steps >= QUESTION_STEPS_AGAIN;
        self.missed &= !again;
        again
    }
}

#[derive(Serialize)]
struct TopicRow<'a> {
    name: &'a str,
    durability: &'static str,
    earliest: u64,
    next: u64,
    records: u64,
    bytes: u64,
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
}

impl Shard {
    pub(crate) fn query(&mut self, id: SessionId, query: &Query<'_>) -> Taken {
        // Also one that takes more than is left is begun, and delays those after it.
        if !self.allowance.has_some() {
            return Taken::Later(Until::Room);
        }
        match query.question {
            Question::Stats => self.answer_stats(id, query.id),
            Question::Topics { after } => self.list_topics(id, query.id, after),
            Question::Lag => self.survey_lag(id, query.id),
        }
    }

    /// A question is answered.
    pub(crate) fn spend_on_question(&mut self, steps: usize) {
        self.reading.spend(steps, 0);
        self.allowance.spend(steps);
    }

    fn answer_stats(&mut self, id: SessionId, request: u32) -> Taken {
        let steps = STATS_STEPS + self.here.shared.shards * STATS_STEPS_PER_SHARD;
        self.spend_on_question(steps);
        let facts = ProcessFacts {
            uptime_ms: self.here.now.monotonic_ms,
            now_us: self.here.now.monotonic_us,
            disk: self.logs.stats().disk,
            sending: match self.send_ring {
                Some(_) => "ring",
                None => "loop",
            },
            descriptor_tables: self.here.shared.tables.name(),
            arena_bytes: self.here.shared.pool.resident_bytes(),
            caps: Caps {
                input_bytes: self.sessions.room.input.max(),
                output_bytes: self.sessions.room.output.max(),
                questions: self.outbox.questions_max(),
            },
        };
        let stats = Stats::gather(&self.here.shared.metrics, facts);
        let json = serde_json::to_string(&stats).expect("a struct of numbers is JSON");
        self.sessions.control(&self.here, id, |out| {
            Answer {
                id: request,
                more: false,
                json: &json,
            }
            .encode(out);
        })
    }

    /// One list at a time for each session: gathering it costs every shard something.
    fn list_topics(&mut self, id: SessionId, request: u32, after: &str) -> Taken {
        let own = &self.listings.own;
        if own.iter().any(|(_, listing)| listing.session == id) {
            return Taken::Later(Until::Answered);
        }
        if own.len() >= LISTINGS_MAX {
            return Taken::Later(Until::Room);
        }
        self.spend_on_question(self.here.shared.shards * TOPICS_STEPS);
        let listing = self.listings.own.insert(Listing {
            session: id,
            request,
            waiting: self.here.shared.shards,
            topics: Vec::new(),
            cut_at: None,
        });
        for shard in (0..self.here.shared.shards).filter(|shard| *shard != self.here.id) {
            let message = Message::ListTopics {
                from: self.here.id,
                listing,
                after: after.into(),
            };
            self.outbox.say(shard, message);
        }
        self.ask_topics(self.here.id, listing, after.into());
        Taken::Done
    }

    /// A shard wants a page of this shard's topics, from `after` on.
    pub(crate) fn ask_topics(&mut self, from: usize, listing: usize, after: Box<str>) {
        self.listings.asked.push_back(Asked {
            from,
            listing,
            after,
            counted: self.logs.topic_counts(),
        });
    }

    /// Tells some of the pages that are waited for, or comes nearer to that.
    pub(crate) fn tell_topics(&mut self) {
        let mut budget = ORDERED_PER_TURN;
        for _ in 0..PAGES_PER_TURN {
            let Some(asked) = self.listings.asked.pop_front() else {
                return;
            };
            let after = (!asked.after.is_empty()).then_some(&*asked.after);
            let page = self
                .logs
                .topic_page(&asked.counted, after, TOPICS_PER_PAGE, &mut budget);
            let Some(page) = page else {
                self.listings.asked.push_front(asked);
                return;
            };
            let listing = asked.listing;
            if asked.from == self.here.id {
                self.add_topics(listing, page);
            } else {
                self.outbox
                    .say(asked.from, Message::Topics { listing, page });
            }
        }
    }

    /// A shard has told its topics; the last one makes the answer complete.
    pub(crate) fn add_topics(&mut self, number: usize, page: TopicPage) {
        let Some(listing) = self.listings.own.get_mut(number) else {
            return;
        };
        listing.add(page);
        listing.waiting -= 1;
        if listing.waiting > 0 {
            return;
        }
        let mut listing = self.listings.own.remove(number);
        self.freed |= self.listings.own.len() + 1 == LISTINGS_MAX;
        if let Some(cut) = &listing.cut_at {
            listing.topics.retain(|topic| topic.name <= *cut);
        }
        let (json, told) = topics_json(&listing.topics);
        let more = listing.cut_at.is_some() || told < listing.topics.len();
        self.sessions.control(&self.here, listing.session, |out| {
            Answer {
                id: listing.request,
                more,
                json: &json,
            }
            .encode(out);
        });
        self.sessions.resume(listing.session);
    }
}

/// As many of `topics` as fit into one answer, and how many these are. One always fits.
fn topics_json(topics: &[TopicInfo]) -> (String, usize) {
    let mut json = "{\"topics\":[".to_owned();
    let mut told = 0;
    for topic in topics {
        let row = serde_json::to_string(&row(topic)).expect("text and numbers are JSON");
        if json.len() + row.len() + ",]}".len() > ANSWER_SIZE_MAX {
            break;
        }
        if told > 0 {
            json.push(',');
        }
        json.push_str(&row);
        told += 1;
    }
    json.push_str("]}");
    (json, told)
}

fn row(topic: &TopicInfo) -> TopicRow<'_> {
    TopicRow {
        name: &topic.name,
        durability: topic.durability.as_str(),
        earliest: topic.earliest.get(),
        next: topic.next.get(),
        records: topic.records,
        bytes: topic.bytes,
        epoch: format!("{:016x}", topic.epoch.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_get_a_share_of_the_time_and_those_that_wait_go_on_together() {
        let mut allowance = Allowance::default();
        assert!(!allowance.has_some(), "no time has passed");
        assert_eq!(allowance.wait_ms(), Some(10));
        assert!(!allowance.pass(9) && allowance.pass(10));
        assert!(allowance.has_some());
        // The last one may take more than is left; that is paid for before the next.
        allowance.spend(25_000);
        assert!(!allowance.has_some());
        assert_eq!(allowance.wait_ms(), Some(25));
        assert!(!allowance.pass(34) && allowance.pass(35));
        assert!(allowance.has_some());
        // A pause saves up for a burst, and no more.
        allowance.pass(1_000_000);
        allowance.spend(QUESTION_STEPS_MAX as usize);
        assert!(!allowance.has_some());
    }
}
