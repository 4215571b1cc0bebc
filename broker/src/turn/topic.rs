//! Describes one topic: what is kept of it, and how many subscribe to it.

use oyez_protocol::LogId;
use serde::Serialize;

use crate::dialect::command::{Refusal, Reply};
use crate::dialect::status;
use crate::parts::budget::DESCRIBE_STEPS;
use crate::parts::context::ShardContext;
use crate::parts::feeds::Feeds;
use crate::parts::handled::Until;
use crate::parts::inquiries::{Inquiries, KnownTopic};
use crate::parts::logs::Logs;
use crate::parts::mail::{Message, Outbox};
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::replies::tell;

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    durability: &'static str,
    earliest: u64,
    next: u64,
    records: u64,
    bytes: u64,
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
    subscribers: u64,
}

/// Asks all shards what they know of a topic, for a session. Returns the cost in steps, or what the question has to wait for.
pub(crate) fn describe(
    context: &ShardContext,
    (inquiries, sessions): (&mut Inquiries, &mut Sessions),
    (feeds, logs, outbox): (&Feeds, &mut Logs, &mut Outbox),
    (id, request, name): (SessionId, u32, &str),
) -> Result<usize, Until> {
    let shards = context.shared.shards;
    let inquiry = inquiries.begin((id, request), shards)?;
    let log = context.shared.log_of(name);
    for shard in (0..shards).filter(|shard| *shard != context.id) {
        let message = Message::DescribeTopic {
            from: context.id,
            inquiry,
            log,
            name: name.into(),
        };
        outbox.say(shard, message);
    }
    let known = know_topic(context, (feeds, logs), log, name);
    add_topic(context, inquiries, sessions, (inquiry, known));
    Ok(shards * DESCRIBE_STEPS)
}

/// Returns what this shard knows of a topic.
pub(crate) fn know_topic(
    context: &ShardContext,
    (feeds, logs): (&Feeds, &mut Logs),
    log: LogId,
    name: &str,
) -> KnownTopic {
    let is_owner = context.shared.owner(log) == context.id;
    KnownTopic {
        info: is_owner.then(|| logs.topic(log, name)).flatten(),
        subscribers: feeds.count_subscriptions(name) as u64,
    }
}

/// Adds what a shard knows of a topic to its question; the last shard makes the answer complete. Returns whether other questions
/// may have waited for that.
pub(crate) fn add_topic(
    context: &ShardContext,
    inquiries: &mut Inquiries,
    sessions: &mut Sessions,
    (number, known): (usize, KnownTopic),
) -> bool {
    let Some(complete) = inquiries.add(number, known) else {
        return false; // Other shards have not answered yet.
    };
    let subscribers = complete.known.subscribers;
    match &complete.known.info {
        Some(info) => {
            let json = serde_json::to_string(&Description {
                name: &info.name,
                durability: info.durability.as_str(),
                earliest: info.earliest.get(),
                next: info.next.get(),
                records: info.records,
                bytes: info.bytes,
                epoch: info.epoch.to_string(),
                subscribers,
            })
            .expect("text and numbers are JSON");
            let answer = Reply::Answer {
                request: complete.request,
                more: false,
                json: &json,
            };
            tell(context, sessions, complete.session, &answer);
        }
        None => {
            let message =
                format!("nothing was published to this topic; it has {subscribers} subscribers");
            let refusal = Refusal {
                request: 0,
                status: status::NOT_FOUND,
                message: &message,
                retry_after_ms: 0,
            };
            tell(
                context,
                sessions,
                complete.session,
                &Reply::Refused(refusal),
            );
        }
    }
    sessions.resume(complete.session);
    complete.makes_room
}
