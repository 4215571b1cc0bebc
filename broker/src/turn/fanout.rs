//! Brings the news of a log to the sockets of its subscribers.
//!
//! Each shard walks the headers of what has become visible, once, and notes the places in the windows of the topics
//! that somebody on it subscribes to. A topic with news is walked in the order of its list: one chain is built and sent
//! to all subscriptions whose cursor is where it begins. A walk is bounded in each turn and goes on where it stopped; a
//! subscription that is reached late gets everything that has come since, in the same call.

use oyez_protocol::{LogId, Offset};

use crate::parts::batch::Batch;
use crate::parts::budget::{Budget, WALK_STEPS};
use crate::parts::chain::Chain;
use crate::parts::feeds::{Audience, Feeds};
use crate::parts::logs::Logs;
use crate::turn::wave::{WayOut, build_from_window};

/// Follows what has become visible in the logs that somebody here cares for.
pub(crate) fn take_news(feeds: &mut Feeds, logs: &mut Logs) {
    for log in 0..logs.count() {
        let log = LogId::new(u16::try_from(log).expect("logs have numbers of 16 bits"));
        if logs.has_news(log) {
            feeds.follow(logs, log);
        }
    }
}

/// Walks the topics with news, within the turn's budget: first those of few, which would wait for all the others; half
/// of the budget is kept for those of many.
pub(crate) fn walk_topics(out: &mut WayOut<'_>, batch: &mut Batch, chain: &mut Chain) {
    let mut budget = Budget::WALKS;
    let half = Budget::WALKS.quarter().times(2);
    for (audience, left) in [(Audience::Few, half), (Audience::Many, Budget::default())] {
        for _ in 0..out.feeds.count_with_news(audience) {
            if !budget.is_above(left) {
                break;
            }
            budget.spend(WALK_STEPS, 0);
            let Some(number) = out.feeds.next_with_news(audience) else {
                continue; // Nobody subscribes to it any more.
            };
            if walk_topic(out, batch, chain, (number, &mut budget)) {
                out.feeds.end_walk(number);
            } else {
                out.feeds.walk_later(audience, number);
            }
        }
    }
    chain.clear();
}

/// Goes on with the walk of one topic; tells whether everybody was visited.
fn walk_topic(
    out: &mut WayOut<'_>,
    batch: &mut Batch,
    chain: &mut Chain,
    (number, budget): (u32, &mut Budget),
) -> bool {
    chain.clear();
    while !budget.is_spent() {
        let Some(cursor) = next_to_serve(out, number, budget) else {
            if budget.is_spent() {
                break;
            }
            // One pass per turn: a single laggard must not make everybody be visited again and again.
            return !out.feeds.subscribed_mut(number).walk_again();
        };
        let topic = out.feeds.subscribed(number);
        if build_from_window(chain, topic, out.logs, cursor) {
            out.send_chain(batch, number, chain, budget);
        } else {
            leave_to_catchup(out, number);
        }
    }
    false
}

/// Moves the walk on to the next subscription that can be served, and tells its cursor. Passing others takes of the
/// budget, too.
fn next_to_serve(out: &mut WayOut<'_>, number: u32, budget: &mut Budget) -> Option<Offset> {
    let topic = out.feeds.subscribed_mut(number);
    while topic.walk.left > 0 && !topic.subscriptions.is_empty() && !budget.is_spent() {
        budget.spend(1, 0);
        topic.walk.slot %= topic.subscriptions.len();
        let subscription = topic.subscriptions[topic.walk.slot];
        if subscription.is_live() {
            // The cheap question first: a session is a cache line or two further away.
            let ready = topic.is_behind(subscription.cursor)
                && out.sessions.at_mut(subscription.session).is_clear();
            if ready {
                return Some(subscription.cursor);
            }
            topic.pass(subscription.cursor);
        } else {
            topic.skip();
        }
    }
    None
}

/// The walk has met somebody whom the window does not reach: the log itself will serve them.
fn leave_to_catchup(out: &mut WayOut<'_>, number: u32) {
    let topic = out.feeds.subscribed_mut(number);
    let key = topic.subscriptions[topic.walk.slot].session;
    topic.skip();
    let id = out.sessions.id_at(key);
    out.sessions.queue_send(id);
}
