//! How far subscriptions are behind, counted when a session asks.
//!
//! No counter is kept for it: lag is where a topic ends minus a cursor, so a shard that is asked walks its subscriptions, a
//! bounded number in each turn, and reports how many are how far behind, and the furthest of them. The kernel is asked what
//! a subscriber's socket holds, for these few alone. However many sessions ask, a shard walks once at a time: a question in
//! the middle of a walk is served by the next one. Subscriptions come, go and move within their lists during a walk, so that
//! it may miss one or meet one twice.

use crate::dialect::command::Reply;
use crate::net::Net;
use crate::parts::budget::LAG_STEPS;
use crate::parts::context::ShardContext;
use crate::parts::feed::Topic;
use crate::parts::feeds::Feeds;
use crate::parts::handled::Until;
use crate::parts::lag::{Candidate, Lag, LagScan, LagSurveys, Slow};
use crate::parts::mail::{Message, Outbox};
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Delivery, Subscription};
use crate::replies::tell;

/// Subscriptions looked at in one turn: at most half a millisecond, when each of them goes on the list of the slowest.
const STEPS_PER_TURN: usize = 4096;
/// Cost of going on to another topic, in subscriptions.
const TOPIC_STEPS: usize = 4;

/// Asks all shards, for a session. Returns the cost in steps, or what the question has to wait for.
pub(crate) fn ask(
    context: &ShardContext,
    (surveys, sessions): (&mut LagSurveys, &mut Sessions),
    outbox: &mut Outbox,
    (id, request): (SessionId, u32),
) -> Result<usize, Until> {
    let shards = context.shared.shards;
    let survey = surveys.begin(id, request, shards)?;
    sessions.there_mut(id).note_request();
    for shard in (0..shards).filter(|shard| *shard != context.id) {
        let from = context.id;
        outbox.say(shard, Message::MeasureLag { from, survey });
    }
    surveys.ask(context.id, survey);
    Ok(shards * LAG_STEPS)
}

/// Goes on with the walk under way, or begins one if a question waits for it. Returns what a walk that ended has counted, for
/// each survey of this shard that waits for it.
pub(crate) fn measure(
    context: &ShardContext,
    surveys: &mut LagSurveys,
    seen: (&Sessions, &Feeds, &dyn Net),
    outbox: &mut Outbox,
) -> Vec<(usize, Lag)> {
    let Some(mut scan) = surveys.take_scan() else {
        return Vec::new(); // No question waits.
    };
    let (sessions, feeds, net) = seen;
    if !scan_on(&mut scan, sessions, feeds) {
        surveys.keep_scan(scan);
        return Vec::new();
    }
    let mut lag = scan.lag;
    let slowest = scan.candidates.iter();
    lag.slowest = slowest
        .filter_map(|one| describe(one, sessions, feeds, net))
        .collect();
    let mut own = Vec::new();
    for (shard, survey) in scan.askers {
        if shard == context.id {
            own.push((survey, lag.clone()));
        } else {
            let lag = Box::new(lag.clone());
            outbox.say(shard, Message::Lag { survey, lag });
        }
    }
    own
}

/// Adds what a shard has counted to its survey; the last shard makes the answer complete. Returns whether other sessions may
/// have waited for that.
pub(crate) fn add(
    context: &ShardContext,
    surveys: &mut LagSurveys,
    sessions: &mut Sessions,
    (survey, lag): (usize, Lag),
) -> bool {
    let Some(complete) = surveys.add(survey, lag) else {
        return false; // Other shards have not reported yet.
    };
    let json = serde_json::to_string(&complete.lag).expect("a struct of numbers is JSON");
    let answer = Reply::Answer {
        request: complete.request,
        more: false,
        json: &json,
    };
    tell(context, sessions, complete.session, &answer);
    sessions.note_answered(context, complete.session);
    complete.makes_room
}

/// Looks at some more subscriptions. Returns whether these were the last.
fn scan_on(scan: &mut LagScan, sessions: &Sessions, feeds: &Feeds) -> bool {
    let mut steps = 0;
    while scan.topic < feeds.numbers_end() {
        let topic = feeds.get(scan.topic);
        let list = topic.map_or(&[][..], |topic| topic.audience.as_slice());
        while let (Some(topic), Some(subscription)) = (topic, list.get(scan.slot)) {
            if steps >= STEPS_PER_TURN {
                return false;
            }
            steps += 1;
            scan.slot += 1;
            look_at(scan, sessions, topic, subscription);
        }
        steps += topic.map_or(1, |_| TOPIC_STEPS);
        (scan.topic, scan.slot) = (scan.topic + 1, 0);
        if steps >= STEPS_PER_TURN {
            return false;
        }
    }
    true
}

fn look_at(scan: &mut LagScan, sessions: &Sessions, topic: &Topic, subscription: &Subscription) {
    let Some(lag) = lag(topic, subscription) else {
        return; // It has not begun.
    };
    scan.lag.count(lag);
    if scan.candidates.want(lag) {
        let session = sessions.id_at(subscription.session);
        scan.candidates.add(Candidate {
            lag,
            session,
            topic: scan.topic,
        });
    }
}

/// Describes a slow subscription, if it still is one.
fn describe(slow: &Candidate, sessions: &Sessions, feeds: &Feeds, net: &dyn Net) -> Option<Slow> {
    let session = sessions.get(slow.session)?;
    let place = session.subscriptions().find(slow.topic)?;
    let topic = feeds.get(slow.topic)?;
    let lag = lag(topic, topic.audience.at(place.slot as usize))?;
    let peer = sessions.peer(net, slow.session);
    let backlog = net.backlog(session.socket()).ok()?;
    (lag > 0).then(|| Slow {
        peer: peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string()),
        topic: (*topic.name).into(),
        lag,
        unacknowledged_bytes: backlog.bytes,
        blocked_ms: session.is_blocked().then_some(backlog.stuck_ms),
    })
}

/// Messages that are visible, as far as the shard knows, and that a subscription has not got. A subscription that has not
/// begun has no lag.
fn lag(topic: &Topic, subscription: &Subscription) -> Option<u64> {
    if matches!(subscription.delivery(), Delivery::Pending(_)) {
        return None;
    }
    let end = topic.end?.get();
    Some(end.saturating_sub(subscription.cursor.get()))
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Question;

    use super::*;
    use crate::parts::due::Due;
    use crate::rig::{Client, Rig, settings, settle};

    /// The only answer that a client has got.
    fn answer(client: &Client) -> serde_json::Value {
        let answers = client.hear_answers();
        let [(json, false)] = &answers[..] else {
            panic!("one whole answer, not {answers:?}");
        };
        serde_json::from_str(json).expect("JSON")
    }

    /// A subscriber whose socket takes nothing, and that is this many messages behind.
    fn behind(rig: &mut Rig, topic: &str, messages: usize) -> Client {
        let client = rig.subscriber(topic);
        client.peer.stall();
        rig.publish(topic, 10, messages);
        client
    }

    #[test]
    fn subscriptions_are_counted_and_the_slowest_reported_with_what_their_sockets_hold() {
        let mut rig = Rig::new();
        let asker = rig.join();
        let _served = rig.subscriber("t/0");
        let slow = [behind(&mut rig, "t/1", 3), behind(&mut rig, "t/2", 12)];
        slow[1].peer.set_stuck_ms(700);
        asker.ask(Question::Lag);
        rig.settle();
        let told = answer(&asker);
        assert_eq!(
            (&told["subscriptions"], &told["max"]),
            (&3.into(), &12.into())
        );
        assert_eq!(told["by_digits"].to_string(), "[1,1,1,0,0,0,0,0]");
        let slowest = told["slowest"].as_array().expect("a list");
        let lags: Vec<_> = slowest.iter().map(|one| &one["lag"]).collect();
        assert_eq!(lags, [12, 3], "the furthest first");
        assert_eq!(slowest[0]["topic"], "t/2");
        assert_eq!(slowest[0]["blocked_ms"], 700);
        let peer = rig.net_peer(&slow[1]);
        assert_eq!(slowest[0]["peer"], peer.to_string());
    }

    #[test]
    fn a_subscription_that_has_not_begun_has_no_lag() {
        let mut rig = Rig::new();
        let client = rig.subscriber("t");
        rig.publish("t", 10, 2);
        let place = rig.place(&client, "t");
        let topic = rig.parts().feeds.subscribed_mut(place.topic);
        assert_eq!(lag(topic, topic.audience.at(0)), Some(0));
        topic.audience.at_mut(0).set_delivery(Delivery::Pending(1));
        assert_eq!(lag(topic, topic.audience.at(0)), None);
    }

    #[test]
    fn all_shards_are_asked_and_the_last_report_completes_the_answer() {
        let [mut first, mut second] = Rig::shards(settings());
        let (asker, other) = (first.join(), second.join());
        let topic = second.topic_of(1, "t/");
        other.subscribe(&topic, oyez_protocol::command::Start::Latest);
        settle(&mut [&mut first, &mut second]);
        other.peer.stall();
        second.publish(&topic, 10, 5);
        asker.ask(Question::Lag);
        first.settle();
        assert!(
            asker.hear_answers().is_empty(),
            "one shard has not reported"
        );
        settle(&mut [&mut first, &mut second]);
        let told = answer(&asker);
        assert_eq!(
            (&told["subscriptions"], &told["max"]),
            (&1.into(), &5.into())
        );
    }

    #[test]
    fn a_session_asks_once_at_a_time() {
        let mut rig = Rig::new();
        let client = rig.join();
        let parts = rig.parts();
        let mut begin = || {
            let surveys = &mut parts.questions.lag;
            let counted = (surveys, &mut parts.sessions);
            ask(&parts.context, counted, &mut parts.outbox, (client.id, 1))
        };
        assert_eq!((begin(), begin()), (Ok(LAG_STEPS), Err(Until::Answered)));
    }

    #[test]
    fn a_walk_is_bounded_in_each_turn_and_goes_on_where_it_stopped() {
        let mut rig = Rig::new();
        let client = rig.subscriber("t");
        rig.publish("t", 10, 1);
        let place = rig.place(&client, "t");
        for _ in 0..2 * STEPS_PER_TURN {
            let slot = rig
                .parts()
                .feeds
                .join(place.topic, client.id.key(), Delivery::Live);
            let topic = rig.parts().feeds.subscribed_mut(place.topic);
            topic.audience.at_mut(slot as usize).cursor = topic.end.expect("it is known");
        }
        let parts = rig.parts();
        parts.questions.lag.ask(0, 0);
        let mut turns = 0;
        let told = loop {
            turns += 1;
            let seen = (&parts.sessions, &parts.feeds, &*parts.net);
            let surveys = &mut parts.questions.lag;
            let told = measure(&parts.context, surveys, seen, &mut parts.outbox);
            if !told.is_empty() {
                break told;
            }
            assert_eq!(parts.questions.due(), Due::Now);
        };
        assert_eq!(turns, 3);
        let mut all = Lag::default();
        (0..=2 * STEPS_PER_TURN).for_each(|_| all.count(0));
        assert_eq!(told, [(0, all)], "each once");
        assert_eq!(parts.questions.due(), Due::Idle);
    }
}
