//! Answers questions about the broker: counters, health, and the topics that it keeps.
//!
//! A list of topics is asked of all shards. Each first orders the topics that are new since the last list, then sends a page;
//! both a bounded part in each turn, beside everything else.

use std::sync::atomic::Ordering;

use oyez_protocol::limits::ANSWER_SIZE_MAX;
use oyez_storage::{TopicInfo, TopicPage};
use serde::Serialize;

use crate::dialect::command::Reply;
use crate::measure::exposition::expose;
use crate::measure::metrics::{MetricCaps, ProcessFacts, Stats, oldest_wait_us};
use crate::parts::budget::{STATS_STEPS, STATS_STEPS_PER_SHARD, TOPICS_STEPS};
use crate::parts::context::ShardContext;
use crate::parts::handled::{Handled, Until};
use crate::parts::listings::{AskedPage, Listings};
use crate::parts::logs::Logs;
use crate::parts::mail::{Message, Outbox};
use crate::parts::phase::Phase;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::replies::tell;

/// Topics in one page of a shard; how many of them one answer holds depends on their names.
const TOPICS_PER_PAGE: usize = 256;
/// Pages that a shard makes in one turn. *One takes 0.1 ms, and up to a millisecond for topics of many segments.*
const PAGES_PER_TURN: usize = 2;
/// New topics ordered in one turn, or half as many. *0.3 ms, a millisecond when chunks are halved.*
const ORDERED_PER_TURN: usize = 1024;

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

/// Answers with the counters of all shards. Returns the cost in steps.
pub(crate) fn answer_stats(
    context: &ShardContext,
    sessions: &mut Sessions,
    (logs, outbox, sending): (&Logs, &Outbox, &'static str),
    (id, request): (SessionId, u32),
) -> usize {
    let facts = facts(context, sessions, (logs, outbox, sending));
    let stats = Stats::gather(&context.shared.metrics, facts);
    let json = serde_json::to_string(&stats).expect("a struct of numbers is JSON");
    let answer = Reply::Answer {
        request,
        more: false,
        json: &json,
    };
    tell(context, sessions, id, &answer);
    STATS_STEPS + context.shared.shards * STATS_STEPS_PER_SHARD
}

/// Answers with the counters in the text format of Prometheus. Returns the cost in steps.
pub(crate) fn answer_metrics(
    context: &ShardContext,
    sessions: &mut Sessions,
    told: (&Logs, &Outbox, &'static str),
    id: SessionId,
) -> usize {
    let text = expose(&context.shared.metrics, &facts(context, sessions, told));
    tell(context, sessions, id, &Reply::Metrics(&text));
    STATS_STEPS + 2 * context.shared.shards * STATS_STEPS_PER_SHARD
}

fn facts(
    context: &ShardContext,
    sessions: &Sessions,
    (logs, outbox, sending): (&Logs, &Outbox, &'static str),
) -> ProcessFacts {
    ProcessFacts {
        uptime_ms: context.now.monotonic_ms,
        now_us: context.now.monotonic_us,
        disk: logs.stats().disk,
        sending,
        descriptor_tables: context.shared.tables.name(),
        max_connections: context.shared.config.max_connections,
        arena_bytes: context.shared.pool.resident_bytes(),
        caps: MetricCaps {
            input_bytes: sessions.room.input.max(),
            output_bytes: sessions.room.output.max(),
            questions: outbox.questions_max(),
        },
    }
}

/// Whether the broker is well.
#[derive(Serialize)]
struct Health {
    ready: bool,
    /// Every client that reaches the broker may publish and subscribe to everything.
    open: bool,
    reasons: Vec<String>,
}

/// Answers whether the broker lives, which this answer shows, or whether it is ready to serve new clients.
pub(crate) fn answer_health(
    context: &ShardContext,
    sessions: &mut Sessions,
    (id, ready): (SessionId, bool),
) -> Handled {
    if !ready {
        let is_well = true;
        let json = "{\"live\":true}\n";
        return tell(context, sessions, id, &Reply::Health { is_well, json });
    }
    let reasons = why_not_ready(context);
    let is_well = reasons.is_empty();
    let health = Health {
        ready: is_well,
        open: context.shared.config.open,
        reasons,
    };
    let mut json = serde_json::to_string(&health).expect("texts are JSON");
    json.push('\n');
    tell(
        context,
        sessions,
        id,
        &Reply::Health {
            is_well,
            json: &json,
        },
    )
}

/// How long publishes may wait for the disk before the broker counts as not ready, in milliseconds.
const READY_WAIT_MS: u64 = 5_000;

fn why_not_ready(context: &ShardContext) -> Vec<String> {
    let shared = &context.shared;
    let mut reasons = Vec::new();
    if shared.phase() != Phase::Serving {
        reasons.push("the broker is shutting down".to_owned());
    }
    let failing: u64 = shared
        .metrics
        .iter()
        .map(|shard| shard.storage_failing.get())
        .sum();
    if failing > 0 {
        reasons.push(format!(
            "{failing} operations of the store fail and are tried again"
        ));
    }
    let waits_ms = oldest_wait_us(&shared.metrics, context.now.monotonic_us) / 1_000;
    if waits_ms > READY_WAIT_MS {
        reasons.push(format!("a publish has waited for {waits_ms} ms"));
    }
    let (connections, max) = (
        shared.connections.load(Ordering::Relaxed),
        shared.config.max_connections,
    );
    if connections >= max {
        reasons.push(format!(
            "there are {connections} connections, as many as may be"
        ));
    }
    reasons
}

/// Asks all shards for their topics behind `after`, for a session. Returns the cost in steps, or what the question has to wait
/// for.
pub(crate) fn list_topics(
    context: &ShardContext,
    (listings, sessions): (&mut Listings, &mut Sessions),
    (logs, outbox): (&Logs, &mut Outbox),
    (id, request, after): (SessionId, u32, &str),
) -> Result<usize, Until> {
    let shards = context.shared.shards;
    let listing = listings.begin(id, request, shards)?;
    sessions.there_mut(id).note_request();
    for shard in (0..shards).filter(|shard| *shard != context.id) {
        let message = Message::ListTopics {
            from: context.id,
            listing,
            after: after.into(),
        };
        outbox.say(shard, message);
    }
    ask_topics(listings, logs, context.id, listing, after.into());
    Ok(shards * TOPICS_STEPS)
}

/// Notes that a shard wants a page of this shard's topics, from `after` on.
pub(crate) fn ask_topics(
    listings: &mut Listings,
    logs: &Logs,
    from: usize,
    listing: usize,
    after: Box<str>,
) {
    listings.ask(AskedPage {
        from,
        listing,
        after,
        counted: logs.topic_counts(),
    });
}

/// Makes some of the pages that shards wait for, or orders more topics for them. Returns those that are for lists of this shard.
pub(crate) fn tell_topics(
    context: &ShardContext,
    listings: &mut Listings,
    logs: &mut Logs,
    outbox: &mut Outbox,
) -> Vec<(usize, TopicPage)> {
    let (mut budget, mut own) = (ORDERED_PER_TURN, Vec::new());
    for _ in 0..PAGES_PER_TURN {
        let Some(asked) = listings.next_asked() else {
            break;
        };
        let after = (!asked.after.is_empty()).then_some(&*asked.after);
        let page = logs.topic_page(&asked.counted, after, TOPICS_PER_PAGE, &mut budget);
        let Some(page) = page else {
            listings.put_back(asked);
            break;
        };
        let listing = asked.listing;
        if asked.from == context.id {
            own.push((listing, page));
        } else {
            outbox.say(asked.from, Message::Topics { listing, page });
        }
    }
    own
}

/// Adds the topics of a shard to its list; the last shard makes the answer complete. Returns whether other questions may have
/// waited for that.
pub(crate) fn add_topics(
    context: &ShardContext,
    listings: &mut Listings,
    sessions: &mut Sessions,
    (number, page): (usize, TopicPage),
) -> bool {
    let Some(complete) = listings.add(number, page) else {
        return false; // Other shards have not answered yet.
    };
    let (json, told) = topics_json(&complete.topics);
    let more = complete.is_cut || told < complete.topics.len();
    let answer = Reply::Answer {
        request: complete.request,
        more,
        json: &json,
    };
    tell(context, sessions, complete.session, &answer);
    sessions.note_answered(context, complete.session);
    complete.makes_room
}

/// Returns as many of `topics` as fit into one answer, as JSON, and how many these are. One always fits.
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
        epoch: topic.epoch.to_string(),
    }
}

#[cfg(test)]
mod tests;
