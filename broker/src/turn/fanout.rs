//! Sends what has become visible in a log to its subscribers.
//!
//! Each shard walks the headers of what has become visible, once, and notes the places in the windows of the topics
//! that its sessions subscribe to. A topic with news is walked in the order of its list: one chain is built and sent
//! to all subscriptions whose cursor is where it begins. A walk is bounded in each turn and goes on where it stopped; a
//! subscription that is reached late gets everything that has come since, in the same call.

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{LogId, Offset};

use crate::parts::batch::SendBatch;
use crate::parts::budget::{Budget, WALK_STEPS};
use crate::parts::chain::Chain;
use crate::parts::context::ShardContext;
use crate::parts::feeds::{Feeds, Size};
use crate::parts::logs::Logs;
use crate::turn::wave::DeliveryContext;

/// Follows what has become visible in the logs that have subscribers on this shard.
pub(crate) fn take_news(feeds: &mut Feeds, logs: &mut Logs) {
    for log in 0..logs.count() {
        let log = LogId::new(u16::try_from(log).expect("logs have numbers of 16 bits"));
        if logs.has_news(log) {
            feeds.follow(logs, log);
        }
    }
}

/// Walks the topics with news, within the turn's budget: first those with few subscriptions, which would otherwise wait for
/// all the others; half of the budget is kept for those with many.
pub(crate) fn walk_topics(out: &mut DeliveryContext<'_>, batch: &mut SendBatch, chain: &mut Chain) {
    let mut budget = Budget::WALKS;
    let half = Budget::WALKS.quarter().times(2);
    for (size, left) in [(Size::Few, half), (Size::Many, Budget::default())] {
        for _ in 0..out.feeds.count_with_news(size) {
            if !budget.is_above(left) {
                break;
            }
            budget.spend(WALK_STEPS, 0);
            let Some(number) = out.feeds.next_with_news(size) else {
                continue; // The topic has no subscription any more.
            };
            if walk_topic(out, batch, chain, (number, &mut budget)) {
                let since_ms = out.feeds.end_walk(number);
                note_delivery(out.context, since_ms);
            } else {
                out.feeds.walk_later(size, number);
            }
        }
    }
    chain.clear();
}

/// Notes how long it took until every subscriber that could take records was sent all that there were.
fn note_delivery(context: &ShardContext, since_ms: Option<u64>) {
    if let Some(since_ms) = since_ms {
        let took_ms = context.now.wall_ms.saturating_sub(since_ms);
        context.metrics().delivery_us.record(took_ms * 1_000);
    }
}

/// Goes on with the walk of one topic. Returns whether every subscription was visited.
fn walk_topic(
    out: &mut DeliveryContext<'_>,
    batch: &mut SendBatch,
    chain: &mut Chain,
    (number, budget): (u32, &mut Budget),
) -> bool {
    chain.clear();
    while !budget.is_spent() {
        let Some(cursor) = next_to_serve(out, number, budget) else {
            if budget.is_spent() {
                break;
            }
            // One pass per turn: a single laggard must not make the walk visit all the others again and again.
            let audience = &mut out.feeds.subscribed_mut(number).audience;
            return !audience.walk_again() || planted(Bug::WalksOnce);
        };
        // A session that is to get a part of the records cannot share chains with others.
        let is_shared = !out.feeds.subscribed(number).form.style.is_bounded();
        let built = is_shared && out.build_from_window(chain, number, (cursor, None));
        if built {
            out.send_chain(batch, number, chain, budget);
        } else {
            leave_to_catchup(out, number);
        }
        // Charged when a subscriber has got it, because what is rendered may not be kept.
        budget.spend(out.rendering.take_steps(), 0);
    }
    false
}

/// Moves the walk on to the next subscription that can be served, and returns its cursor. Passing others is charged to the
/// budget, too.
fn next_to_serve(
    out: &mut DeliveryContext<'_>,
    number: u32,
    budget: &mut Budget,
) -> Option<Offset> {
    let topic = out.feeds.subscribed_mut(number);
    while !budget.is_spent() {
        let (_, subscription) = topic.audience.next()?;
        budget.spend(1, 0);
        let (cursor, is_live) = (subscription.cursor, subscription.is_live());
        let key = subscription.session;
        if !is_live {
            topic.audience.skip();
            continue;
        }
        // The cheap question first: a session is a cache line or two further away.
        if topic.is_behind(cursor) && out.sessions.at_mut(key).is_clear() {
            return Some(cursor);
        }
        topic.audience.pass(cursor);
    }
    None
}

/// Leaves the subscription that the walk has met to a catch-up: the window does not reach back to its cursor.
fn leave_to_catchup(out: &mut DeliveryContext<'_>, number: u32) {
    let topic = out.feeds.subscribed_mut(number);
    let (_, subscription) = topic.audience.next().expect("it was visited just now");
    let key = subscription.session;
    topic.audience.skip();
    let id = out.sessions.id_at(key);
    out.sessions.schedule_send(id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::form::Form;
    use crate::rig::{Client, Rig};
    use oyez_protocol::command::Start;

    /// One client that subscribes to this many topics, in the order of their names.
    fn subscriber_of_topics(rig: &mut Rig, count: usize) -> (Client, Vec<String>) {
        let client = rig.join();
        let topics: Vec<String> = (0..count).map(|topic| format!("few/{topic:03}")).collect();
        for topic in &topics {
            client.subscribe(topic, Start::Latest);
        }
        rig.settle();
        assert_eq!(client.hear().len(), count);
        (client, topics)
    }

    #[test]
    fn only_logs_with_subscribers_are_followed() {
        let mut rig = Rig::new();
        let (publisher, _subscriber) = (rig.join(), rig.subscriber("synced/a"));
        let logs = ["a", "synced/a"].map(|topic| rig.parts().context.shared.log_of(topic));
        let begun = logs.map(|log| rig.parts().logs.walked(log));
        publisher.publish("a", 10);
        publisher.publish("synced/a", 10);
        for _ in 0..4 {
            rig.follow();
            rig.parts().submit().expect("the disk works");
        }
        let parts = rig.parts();
        assert_eq!(parts.logs.walked(logs[0]), begun[0]);
        assert!(parts.logs.walked(logs[1]) > begun[1]);
        assert!(!parts.logs.have_news());
        assert_eq!(parts.feeds.count_with_news(Size::Few), 1);
    }

    #[test]
    fn topics_of_few_go_before_those_of_many_and_leave_them_half_of_the_turn() {
        let mut rig = Rig::new();
        let crowd = rig.subscribers("many", 17);
        let (few, topics) = subscriber_of_topics(&mut rig, 150);
        let publisher = rig.join();
        publisher.publish("many", 10);
        for topic in &topics {
            publisher.publish(topic, 10);
        }
        rig.follow();
        rig.parts().walk();
        let mut heard = few.hear();
        let first = heard.len();
        // A send, its topic and its visit are 56 steps, of 6,400.
        assert_eq!(first, 115);
        assert!(crowd.iter().all(|client| client.hear() == ["many 0"]));
        assert!(rig.parts().feeds.have_news());
        rig.parts().walk();
        heard.extend(few.hear());
        let expected: Vec<String> = topics.iter().map(|topic| format!("{topic} 0")).collect();
        assert_eq!(heard, expected, "those that came first are walked first");
        assert!(!rig.parts().feeds.have_news());
    }

    #[test]
    fn a_topic_of_many_is_walked_until_the_turn_is_used_up() {
        let mut rig = Rig::new();
        let crowd = rig.subscribers("many", 300);
        let publisher = rig.join();
        publisher.publish("many", 10);
        rig.follow();
        rig.parts().walk();
        let reached = || {
            let heard = crowd.iter().map(|client| client.hear().len());
            heard.sum::<usize>()
        };
        let first = reached();
        assert!((250..=256).contains(&first), "{first} sends in a turn");
        assert_eq!(rig.parts().feeds.count_with_news(Size::Many), 1);
        rig.parts().walk();
        assert_eq!(first + reached(), 300);
        assert!(!rig.parts().feeds.have_news());
    }

    #[test]
    fn passing_subscriptions_that_take_nothing_is_bounded_too() {
        let mut rig = Rig::new();
        let crowd = rig.subscribers("many", 30);
        let publisher = rig.join();
        for client in &crowd {
            rig.session(client).set_blocked(true);
        }
        publisher.publish("many", 10);
        rig.follow();
        let number = rig
            .parts()
            .feeds
            .find("many", Form::NATIVE)
            .expect("a topic");
        let (mut out, ..) = rig.parts().way_out();
        let mut budget = Budget::default();
        assert_eq!(next_to_serve(&mut out, number, &mut budget), None);
        let topic = out.feeds.get(number).expect("a topic");
        assert_eq!(topic.audience.left(), 30, "nothing was left for a visit");
        let mut budget = Budget::WALKS;
        assert_eq!(next_to_serve(&mut out, number, &mut budget), None);
        assert_eq!(
            out.feeds.get(number).map(|topic| topic.audience.left()),
            Some(0)
        );
        let mut spent = Budget::WALKS;
        spent.spend(30, 0);
        assert_eq!(budget, spent, "a step each");
    }

    #[test]
    fn a_subscription_behind_the_window_is_left_to_a_catchup_and_holds_up_no_other() {
        let mut rig = Rig::new();
        let keeper = rig.subscriber("t");
        rig.publish("t", 10, 3);
        assert_eq!(keeper.hear().len(), 3);
        let laggard = rig.join();
        laggard.subscribe("t", Start::Earliest);
        let publisher = rig.join();
        let next = rig.subscriber("t");
        // Back to the beginning, of which the window has nothing any more.
        let place = rig.place(&laggard, "t");
        let subscription = rig.parts().feeds.subscription_mut(place);
        subscription.cursor = Offset::new(0);
        publisher.publish("t", 10);
        rig.follow();
        rig.take_to_send();
        rig.parts().walk();
        assert_eq!(rig.take_to_send(), [laggard.id]);
        assert_eq!(rig.cursor(&laggard, "t"), 0);
        assert_eq!(
            (keeper.hear(), next.hear()),
            (vec!["t 3".to_owned()], vec!["t 3".to_owned()])
        );
        assert!(!rig.parts().feeds.have_news());
    }

    #[test]
    fn a_subscription_that_has_not_begun_is_passed_by() {
        let mut rig = Rig::new();
        let (waiting, live) = (rig.subscriber("t"), rig.subscriber("t"));
        let publisher = rig.join();
        let place = rig.place(&waiting, "t");
        let pending = crate::parts::subscription::Delivery::Pending(1);
        rig.parts().feeds.set_delivery(place, pending);
        publisher.publish("t", 10);
        rig.follow();
        rig.parts().walk();
        assert_eq!((waiting.hear().len(), live.hear().len()), (0, 1));
        assert!(!rig.parts().feeds.have_news());
    }

    #[test]
    fn news_of_a_topic_without_subscriptions_are_forgotten() {
        let mut rig = Rig::new();
        let (subscriber, publisher) = (rig.subscriber("t"), rig.join());
        let other = rig.subscriber("other");
        publisher.publish("t", 10);
        publisher.publish("other", 10);
        rig.follow();
        let place = rig.place(&subscriber, "t");
        let mut endings = rig.parts().endings();
        endings.members.leave(subscriber.id, place);
        rig.parts().walk();
        assert_eq!((subscriber.hear().len(), other.hear().len()), (0, 1));
        assert!(!rig.parts().feeds.have_news());
    }
}
