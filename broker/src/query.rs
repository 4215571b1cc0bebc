//! Questions about the broker: counters, and the topics that it keeps.

use oyez_protocol::command::{Query, Question};
use oyez_protocol::event::Answer;
use oyez_protocol::limits::ANSWER_SIZE_MAX;
use oyez_storage::TopicInfo;
use serde::Serialize;

use crate::budget::{STATS_STEPS, STATS_STEPS_PER_SHARD, TOPICS_STEPS};
use crate::inbox::Message;
use crate::metrics::{Caps, ProcessFacts, Stats};
use crate::receive::{Taken, Until};
use crate::session::SessionId;
use crate::shard::Shard;

/// Topics that a shard tells at once; how many of them one answer holds depends on their names.
const TOPICS_PER_ANSWER: usize = 256;
/// Lists that a shard gathers at once; others wait. Each holds what every shard tells.
const LISTINGS_MAX: usize = 16;

/// A list of topics that is being gathered from all shards.
#[derive(Debug)]
pub(crate) struct Listing {
    session: SessionId,
    request: u32,
    waiting: usize,
    topics: Vec<TopicInfo>,
    /// Some shard has more than it told, from this name on; what others told beyond it is told again later.
    cut_at: Option<String>,
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
        match query.question {
            Question::Stats => self.answer_stats(id, query.id),
            Question::Topics { after } => self.list_topics(id, query.id, after),
            Question::Lag => self.survey_lag(id, query.id),
        }
    }

    fn answer_stats(&mut self, id: SessionId, request: u32) -> Taken {
        let steps = STATS_STEPS + self.shared.shards * STATS_STEPS_PER_SHARD;
        self.reading.spend(steps, 0);
        let facts = ProcessFacts {
            uptime_ms: self.now.monotonic_ms,
            now_us: self.now.monotonic_us,
            disk: self.store.stats().disk,
            sending: match self.send_ring {
                Some(_) => "ring",
                None => "loop",
            },
            descriptor_tables: self.shared.tables.name(),
            arena_bytes: self.shared.pool.resident_bytes(),
            caps: Caps {
                input_bytes: self.room.input.max(),
                output_bytes: self.room.output.max(),
                questions: self.outbox.questions_max(),
            },
        };
        let stats = Stats::gather(&self.shared.metrics, facts);
        let json = serde_json::to_string(&stats).expect("a struct of numbers is JSON");
        self.send_control(id, |out| {
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
        if self
            .listings
            .iter()
            .any(|(_, listing)| listing.session == id)
        {
            return Taken::Later(Until::Answered);
        }
        if self.listings.len() >= LISTINGS_MAX {
            return Taken::Later(Until::Room);
        }
        self.reading.spend(TOPICS_STEPS, 0);
        let listing = self.listings.insert(Listing {
            session: id,
            request,
            waiting: self.shared.shards,
            topics: Vec::new(),
            cut_at: None,
        });
        for shard in (0..self.shared.shards).filter(|shard| *shard != self.id) {
            let message = Message::ListTopics {
                from: self.id,
                listing,
                after: after.into(),
            };
            self.outbox.say(shard, message);
        }
        let topics = self.own_topics(after);
        self.add_topics(listing, topics);
        Taken::Done
    }

    /// The topics of this shard's own logs, from `after` on.
    pub(crate) fn own_topics(&mut self, after: &str) -> Vec<TopicInfo> {
        let after = (!after.is_empty()).then_some(after);
        self.storage_time.enter(&mut *self.clock);
        let topics = self.store.topics(after, TOPICS_PER_ANSWER);
        self.storage_time.leave(&mut *self.clock);
        topics
    }

    /// A shard has told its topics; the last one makes the answer complete.
    pub(crate) fn add_topics(&mut self, number: usize, mut topics: Vec<TopicInfo>) {
        let Some(listing) = self.listings.get_mut(number) else {
            return;
        };
        if topics.len() == TOPICS_PER_ANSWER {
            let last = topics.last().map(|topic| topic.name.clone());
            listing.cut_at = match listing.cut_at.take() {
                Some(cut) => last.map(|last| last.min(cut)),
                None => last,
            };
        }
        listing.topics.append(&mut topics);
        listing.waiting -= 1;
        if listing.waiting > 0 {
            return;
        }
        let mut listing = self.listings.remove(number);
        self.freed |= self.listings.len() + 1 == LISTINGS_MAX;
        listing
            .topics
            .sort_by(|left, right| left.name.cmp(&right.name));
        if let Some(cut) = &listing.cut_at {
            listing.topics.retain(|topic| topic.name <= *cut);
        }
        let (json, told) = topics_json(&listing.topics);
        let more = listing.cut_at.is_some() || told < listing.topics.len();
        self.send_control(listing.session, |out| {
            Answer {
                id: listing.request,
                more,
                json: &json,
            }
            .encode(out);
        });
        self.resume(listing.session);
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
