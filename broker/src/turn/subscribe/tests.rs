use oyez_protocol::event::Subscribed as Told;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};

use super::*;
use crate::config::Config;
use crate::dialect::form::Form;
use crate::rig::{Client, Rig, record, settings, settle};
use crate::turn::fanout::take_news;

/// Subscribes with this step alone.
fn subscribe(rig: &mut Rig, client: &Client, topic: &str, start: Start) -> Handled {
    subscribe_from(rig, client, topic, (start, None))
}

fn subscribe_from(
    rig: &mut Rig,
    client: &Client,
    topic: &str,
    (start, epoch): (Start, Option<Epoch>),
) -> Handled {
    let asked = Subscribe {
        request: 1,
        topic,
        start,
        epoch,
    };
    rig.parts().subscribing().subscribe(client.id, &asked)
}

/// The answers about its subscriptions that a client has got, once everything has left its shard.
fn told(rig: &mut Rig, client: &Client) -> Vec<Told> {
    rig.parts().flushing().run();
    client.hear_subscribed()
}

fn told_once(rig: &mut Rig, client: &Client) -> Told {
    let told = told(rig, client);
    assert_eq!(told.len(), 1, "{told:?}");
    told[0]
}

/// Puts this many records of a topic into an own log, which shows them at once.
fn append(rig: &mut Rig, topic: &str, size: usize, count: usize) {
    let publisher = rig.join();
    let bytes = record(topic, size);
    for _ in 0..count {
        let record = Record::trusted(&bytes).expect("a record");
        while rig.parts().publishing().publish(publisher.id, record) != Handled::Done {
            rig.settle();
        }
    }
}

/// Settings with a window that no test fills.
fn wide() -> Config {
    Config {
        inflight_records_max: u32::MAX,
        inflight_bytes_max: u32::MAX,
        ..settings()
    }
}

/// Two shards, and a topic of the second that has three messages.
fn two() -> (Rig, Rig, String) {
    let [first, mut second] = Rig::shards(wide());
    let topic = first.topic_of(1, "a/");
    second.publish(&topic, 10, 3);
    (first, second, topic)
}

/// The requests of a session that are not answered.
fn requests(rig: &mut Rig, client: &Client) -> u8 {
    let session = rig.parts().sessions.get(client.id).expect("it is there");
    session.requests()
}

fn subscriptions(rig: &mut Rig, client: &Client) -> usize {
    let session = rig.parts().sessions.get(client.id).expect("it is there");
    session.subscriptions().len()
}

/// Where subscriptions begin in a topic whose messages are 0 to 3.
const STARTS: [(Start, u64); 5] = [
    (Start::Latest, 3),
    (Start::Earliest, 0),
    (Start::Offset(Offset::new(0)), 0),
    (Start::Offset(Offset::new(2)), 2),
    (Start::Offset(Offset::new(3)), 3),
];

#[test]
fn a_subscription_begins_where_it_asks_to() {
    let mut rig = Rig::new();
    rig.publish("a", 10, 3);
    for (start, begins) in STARTS {
        let client = rig.join();
        assert_eq!(subscribe(&mut rig, &client, "a", start), Handled::Done);
        let told = told_once(&mut rig, &client);
        assert_eq!((told.outcome, told.next.get()), (Outcome::Ok, begins));
        assert_eq!((told.earliest.get(), told.head.get()), (0, 3));
        assert!(!told.epoch_changed && !told.dropped && told.id == 1);
        rig.settle();
        let records: Vec<String> = (begins..3).map(|offset| format!("a {offset}")).collect();
        assert_eq!(client.hear(), records);
    }
    let metrics = rig.parts().context.metrics();
    assert_eq!(metrics.subscriptions.get(), STARTS.len() as u64);
}

#[test]
fn a_topic_without_messages_begins_and_ends_with_nothing() {
    let mut rig = Rig::new();
    let client = rig.join();
    subscribe(&mut rig, &client, "a", Start::Earliest);
    let told = told_once(&mut rig, &client);
    assert_eq!((told.outcome, told.next.get()), (Outcome::Ok, 0));
    rig.publish("a", 10, 1);
    assert_eq!(client.hear(), ["a 0"]);
}

#[test]
fn the_owner_is_asked_once_and_every_start_is_known_from_then_on() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    assert_eq!(
        subscribe(&mut first, &client, &topic, Start::Earliest),
        Handled::Done
    );
    assert_eq!(first.parts().outbox.questions(), 1);
    assert_eq!(requests(&mut first, &client), 1);
    assert!(told(&mut first, &client).is_empty());
    settle(&mut [&mut first, &mut second]);
    assert_eq!(first.parts().outbox.questions(), 0);
    assert_eq!(requests(&mut first, &client), 0);
    let heard = client.hear();
    assert_eq!(heard[0], "subscribed Ok at 0");
    assert_eq!(
        heard[1..],
        [0, 1, 2].map(|offset| format!("{topic} {offset}"))
    );
    for (start, begins) in STARTS {
        let client = first.join();
        subscribe(&mut first, &client, &topic, start);
        assert_eq!(first.parts().outbox.questions(), 0);
        let told = told_once(&mut first, &client);
        assert_eq!((told.outcome, told.next.get()), (Outcome::Ok, begins));
        assert_eq!((told.earliest.get(), told.head.get()), (0, 3));
        assert!(!told.epoch_changed && !told.dropped);
    }
}

#[test]
fn every_start_is_answered_by_the_owner_as_the_shard_itself_would() {
    for (start, begins) in STARTS {
        let (mut first, mut second, topic) = two();
        let client = first.join();
        subscribe(&mut first, &client, &topic, start);
        settle(&mut [&mut first, &mut second]);
        assert_eq!(client.hear()[0], format!("subscribed Ok at {begins}"));
    }
}

#[test]
fn visible_messages_that_are_not_followed_yet_come_before_a_subscription_to_the_latest() {
    let (mut first, mut second, topic) = two();
    let (early, client) = (first.join(), first.join());
    subscribe(&mut first, &early, &topic, Start::Latest);
    settle(&mut [&mut first, &mut second]);
    append(&mut second, &topic, 1, 2);
    subscribe(&mut first, &client, &topic, Start::Latest);
    assert_eq!(first.parts().outbox.questions(), 0);
    assert_eq!(told_once(&mut first, &client).next.get(), 5);
    settle(&mut [&mut first, &mut second]);
    assert_eq!(
        early.hear()[1..],
        [3, 4].map(|offset| format!("{topic} {offset}"))
    );
    assert!(client.hear().is_empty());
}

#[test]
fn a_shard_that_is_far_behind_in_a_log_asks_its_owner() {
    let (mut first, mut second, topic) = two();
    let (early, client) = (first.join(), first.join());
    subscribe(&mut first, &early, &topic, Start::Latest);
    settle(&mut [&mut first, &mut second]);
    append(&mut second, &topic, 1, 5_000);
    subscribe(&mut first, &client, &topic, Start::Latest);
    assert_eq!(first.parts().outbox.questions(), 1);
    assert!(told(&mut first, &client).is_empty());
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear(), ["subscribed Ok at 5003"]);
}

#[test]
fn a_message_that_comes_while_the_owner_is_asked_is_delivered_after_the_answer() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    subscribe(&mut first, &client, &topic, Start::Latest);
    first.parts().submit().expect("a disk in memory");
    second.parts().hear();
    append(&mut second, &topic, 1, 1);
    // The shard has followed the message before the answer comes, and it waits for that.
    let parts = first.parts();
    take_news(&mut parts.feeds, &mut parts.logs);
    first.parts().walk();
    assert!(told(&mut first, &client).is_empty());
    settle(&mut [&mut first, &mut second]);
    assert_eq!(
        client.hear(),
        ["subscribed Ok at 3".to_owned(), format!("{topic} 3")]
    );
}

#[test]
fn a_subscriber_that_resumes_in_another_epoch_begins_with_the_oldest_message() {
    for is_known in [false, true] {
        let (mut first, mut second, topic) = two();
        let client = first.join();
        if is_known {
            let early = first.join();
            subscribe(&mut first, &early, &topic, Start::Latest);
            settle(&mut [&mut first, &mut second]);
        }
        // Also where the new history is shorter than what the subscriber has seen of the old one.
        let start = Start::Offset(Offset::new(9));
        subscribe_from(&mut first, &client, &topic, (start, Some(Epoch::new(1))));
        assert_eq!(first.parts().outbox.questions(), usize::from(!is_known));
        first.parts().submit().expect("a disk in memory");
        second.turn();
        first.parts().hear();
        let told = told_once(&mut first, &client);
        assert_eq!((told.outcome, told.next.get()), (Outcome::Ok, 0));
        assert!(told.epoch_changed && !told.dropped && told.epoch != Epoch::new(1));
        assert_eq!(first.parts().context.metrics().subscribers_ahead.get(), 0);
    }
}

#[test]
fn a_subscriber_that_resumes_in_the_same_epoch_goes_on_where_it_was() {
    let mut rig = Rig::new();
    rig.publish("a", 10, 3);
    let (one, two) = (rig.join(), rig.join());
    subscribe(&mut rig, &one, "a", Start::Latest);
    let epoch = told_once(&mut rig, &one).epoch;
    let resume = (Start::Offset(Offset::new(1)), Some(epoch));
    subscribe_from(&mut rig, &two, "a", resume);
    let told = told_once(&mut rig, &two);
    assert_eq!((told.outcome, told.next.get()), (Outcome::Ok, 1));
    assert!(!told.epoch_changed && told.epoch == epoch);
}

#[test]
fn a_subscriber_that_has_seen_more_than_there_is_gets_no_subscription() {
    let mut rig = Rig::new();
    rig.publish("a", 10, 3);
    let (one, two) = (rig.join(), rig.join());
    subscribe(&mut rig, &one, "a", Start::Latest);
    let epoch = told_once(&mut rig, &one).epoch;
    // Only a subscriber that names this very history has seen messages that are missing.
    for (named, ahead) in [(None, 0), (Some(epoch), 1), (Some(epoch), 2)] {
        let start = Start::Offset(Offset::new(4));
        subscribe_from(&mut rig, &two, "a", (start, named));
        let told = told_once(&mut rig, &two);
        assert_eq!((told.outcome, told.head.get()), (Outcome::OffsetAhead, 3));
        assert_eq!(subscriptions(&mut rig, &two), 0);
        assert_eq!(rig.parts().context.metrics().subscribers_ahead.get(), ahead);
    }
    rig.publish("a", 10, 1);
    assert!(two.hear().is_empty());
}

#[test]
fn a_subscription_to_messages_that_retention_has_dropped_begins_with_the_oldest_and_says_so() {
    let mut rig = Rig::with(wide());
    rig.publish("a", 10, 3);
    let (early, client, latest) = (rig.join(), rig.join(), rig.join());
    subscribe(&mut rig, &early, "a", Start::Latest);
    // A memory log keeps 64 MiB.
    append(&mut rig, "a", 250_000, 320);
    subscribe(&mut rig, &client, "a", Start::Offset(Offset::new(1)));
    let told = told_once(&mut rig, &client);
    assert!(told.dropped && told.earliest.get() > 3, "{told:?}");
    assert_eq!((told.outcome, told.next), (Outcome::Ok, told.earliest));
    subscribe(&mut rig, &latest, "a", Start::Latest);
    let told = told_once(&mut rig, &latest);
    assert!(!told.dropped && told.next.get() == 323, "{told:?}");
}

#[test]
fn an_offset_counts_as_dropped_only_below_the_oldest_and_only_in_its_own_epoch() {
    let (earliest, head, epoch) = (Offset::new(5), Offset::new(9), Epoch::new(2));
    let answer = |start, epoch_named| {
        let wish = Wish {
            session: SessionId::new(0, 0),
            topic: 0,
            nonce: 0,
            request: 0,
            start,
            epoch: epoch_named,
        };
        let answer = wish.answer(Position::default(), |start| {
            let (cursor, ahead) = start.within(earliest, head);
            Located {
                cursor,
                earliest,
                head,
                epoch,
                next_at_walked: head,
                ahead,
            }
        });
        (
            answer.located.cursor.get(),
            answer.dropped,
            answer.epoch_changed,
        )
    };
    let at = |offset| StartAt::At(Offset::new(offset));
    assert_eq!(answer(at(4), None), (5, true, false));
    assert_eq!(answer(at(5), None), (5, false, false));
    assert_eq!(answer(StartAt::Earliest, None), (5, false, false));
    assert_eq!(answer(at(4), Some(epoch)), (5, true, false));
    assert_eq!(answer(at(4), Some(Epoch::new(1))), (5, false, true));
    assert_eq!(answer(at(8), Some(Epoch::new(1))), (5, false, true));
    assert_eq!(
        answer(StartAt::Latest, Some(Epoch::new(1))),
        (5, false, true)
    );
}

#[test]
fn a_session_subscribes_to_a_topic_once() {
    let mut rig = Rig::new();
    let client = rig.join();
    for outcome in [Outcome::Ok, Outcome::AlreadySubscribed] {
        subscribe(&mut rig, &client, "a", Start::Latest);
        assert_eq!(told_once(&mut rig, &client).outcome, outcome);
    }
    rig.publish("a", 10, 1);
    assert_eq!(client.hear(), ["a 0"]);
}

#[test]
fn a_session_has_a_bounded_number_of_subscriptions() {
    let config = Config {
        max_subscriptions: 2,
        ..settings()
    };
    let mut rig = Rig::with(config);
    let client = rig.join();
    let outcomes = ["a", "b", "c"].map(|topic| {
        subscribe(&mut rig, &client, topic, Start::Latest);
        told_once(&mut rig, &client).outcome
    });
    assert_eq!(
        outcomes,
        [Outcome::Ok, Outcome::Ok, Outcome::TooManySubscriptions]
    );
    assert!(
        rig.parts().feeds.find("c", Form::NATIVE).is_none(),
        "nobody subscribes to it"
    );
    rig.parts().subscribing().unsubscribe(client.id, 1, "a");
    subscribe(&mut rig, &client, "c", Start::Latest);
    assert_eq!(told_once(&mut rig, &client).outcome, Outcome::Ok);
}

#[test]
fn a_name_that_is_the_brokers_own_is_not_subscribed_to() {
    let mut rig = Rig::new();
    let client = rig.join();
    subscribe(&mut rig, &client, "$cursors", Start::Earliest);
    assert_eq!(told_once(&mut rig, &client).outcome, Outcome::ReservedTopic);
    assert!(rig.parts().feeds.find("$cursors", Form::NATIVE).is_none());
}

#[test]
fn a_subscription_that_ends_gets_nothing_more_and_its_topic_is_forgotten() {
    let mut rig = Rig::new();
    let client = rig.subscriber("a");
    let handled = rig.parts().subscribing().unsubscribe(client.id, 1, "a");
    assert_eq!(
        (handled, subscriptions(&mut rig, &client)),
        (Handled::Done, 0)
    );
    assert!(rig.parts().feeds.find("a", Form::NATIVE).is_none());
    rig.publish("a", 10, 1);
    assert_eq!(client.hear(), ["unsubscribed Ok"]);
}

#[test]
fn a_session_unsubscribes_only_from_topics_that_it_subscribes_to() {
    let mut rig = Rig::new();
    let (one, _other) = (rig.subscriber("a"), rig.subscriber("b"));
    for topic in ["b", "c"] {
        rig.parts().subscribing().unsubscribe(one.id, 1, topic);
    }
    rig.settle();
    assert_eq!(one.hear(), ["unsubscribed NotSubscribed"; 2]);
    assert_eq!(rig.parts().context.metrics().subscriptions.get(), 2);
}

#[test]
fn a_subscription_whose_beginning_is_not_known_does_not_end_before_it_is() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    subscribe(&mut first, &client, &topic, Start::Latest);
    let unsubscribe = |rig: &mut Rig| {
        let mut subscribing = rig.parts().subscribing();
        subscribing.unsubscribe(client.id, 1, &topic)
    };
    let later = Handled::Later(Until::Answered);
    assert_eq!(unsubscribe(&mut first), later);
    assert_eq!(requests(&mut first, &client), 1);
    settle(&mut [&mut first, &mut second]);
    assert_eq!(requests(&mut first, &client), 0);
    assert_eq!(unsubscribe(&mut first), Handled::Done);
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear(), ["subscribed Ok at 3", "unsubscribed Ok"]);
    assert_eq!(subscriptions(&mut first, &client), 0);
}

#[test]
fn a_subscription_takes_its_own_answer_and_not_that_of_the_one_before_it() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    client.subscribe(&topic, Start::Offset(Offset::new(2)));
    client.unsubscribe(&topic);
    client.subscribe(&topic, Start::Latest);
    settle(&mut [&mut first, &mut second]);
    let told = client.hear();
    let answers: Vec<&String> = told
        .iter()
        .filter(|told| told.contains("subscribed"))
        .collect();
    let expected = [
        "subscribed Ok at 2",
        "unsubscribed Ok",
        "subscribed Ok at 3",
    ];
    assert_eq!(answers, expected);
}

#[test]
fn an_answer_for_a_session_that_is_gone_only_frees_its_question() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    subscribe(&mut first, &client, &topic, Start::Latest);
    client.peer.reset();
    settle(&mut [&mut first, &mut second]);
    assert_eq!(first.parts().outbox.questions(), 0);
    assert!(first.parts().feeds.find(&topic, Form::NATIVE).is_none());
}

#[test]
fn a_session_waits_when_it_has_asked_other_shards_for_a_bounded_number_of_beginnings() {
    let (mut first, mut second, own) = {
        let (first, second, _) = two();
        let own = first.topic_of(0, "own/");
        (first, second, own)
    };
    let client = first.join();
    let topics: Vec<String> = first.topics_of(1, "b/").take(33).collect();
    for topic in &topics[..32] {
        assert_eq!(
            subscribe(&mut first, &client, topic, Start::Latest),
            Handled::Done
        );
    }
    let later = subscribe(&mut first, &client, &topics[32], Start::Latest);
    assert_eq!(later, Handled::Later(Until::Answered));
    assert_eq!(
        (
            requests(&mut first, &client),
            subscriptions(&mut first, &client)
        ),
        (32, 32)
    );
    assert_eq!(
        subscribe(&mut first, &client, &own, Start::Latest),
        Handled::Done
    );
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear(), ["subscribed Ok at 0"; 33]);
    assert_eq!(
        subscribe(&mut first, &client, &topics[32], Start::Latest),
        Handled::Done
    );
}

#[test]
fn a_session_that_waits_for_beginnings_goes_on_when_half_of_them_are_known() {
    let (mut first, mut second, _topic) = two();
    let client = first.join();
    let topics: Vec<String> = first.topics_of(1, "b/").take(32).collect();
    for topic in &topics {
        subscribe(&mut first, &client, topic, Start::Latest);
    }
    first.parts().sessions.await_answer(client.id);
    first.parts().submit().expect("a disk in memory");
    second.turn();
    let resumed_at = (1..=32).find(|_| {
        let message = first.parts().inbox.next_message();
        let Some(Message::Located { from, answer }) = message else {
            panic!("an answer is there: {message:?}");
        };
        let frees = first.parts().subscribing().answered(from, &answer);
        assert!(!frees, "other sessions have not waited");
        first.parts().sessions.has_some_to_read()
    });
    assert_eq!(resumed_at, Some(16));
}

#[test]
fn a_shard_that_has_asked_another_too_much_lets_sessions_wait_until_it_answers() {
    let (mut first, mut second, topic) = two();
    let (client, log) = (first.join(), first.parts().context.shared.log_of(&topic));
    subscribe(&mut first, &client, &topic, Start::Latest);
    let wish = Wish {
        session: SessionId::new(9, 9),
        topic: 0,
        nonce: 0,
        request: 0,
        start: StartAt::Latest,
        epoch: None,
    };
    let locate = || Locate {
        from: 0,
        wish,
        log,
        name: "gone".into(),
        walked: Position::default(),
    };
    while first.parts().outbox.ask(1, locate()) {}
    let other = first.topics_of(1, "b/").next().expect("names without end");
    assert_eq!(
        subscribe(&mut first, &client, &other, Start::Latest),
        Handled::Later(Until::Room)
    );
    first.parts().submit().expect("a disk in memory");
    second.turn();
    let mut frees = |_| match first.parts().inbox.next_message() {
        Some(Message::Located { from, answer }) => {
            first.parts().subscribing().answered(from, &answer)
        }
        other => panic!("an answer is there: {other:?}"),
    };
    assert_eq!([0, 1].map(&mut frees), [true, false], "it is told once");
    assert_eq!(
        subscribe(&mut first, &client, &other, Start::Latest),
        Handled::Done
    );
}

#[test]
fn a_welcome_waits_for_the_answer_about_the_first_subscription_to_leave_with_it() {
    let (mut first, mut second, topic) = two();
    let client = first.connect();
    client.hello();
    client.subscribe(&topic, Start::Latest);
    first.turn();
    assert!(client.hear().is_empty());
    let sends = first.net.calls().sends;
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear(), ["welcome", "subscribed Ok at 3"]);
    assert_eq!(first.net.calls().sends, sends + 1);
}

#[test]
fn a_subscription_that_ends_at_once_is_told_to_begin_before_it_is_told_to_end() {
    let (mut first, mut second, topic) = two();
    let client = first.join();
    for _ in 0..2 {
        client.subscribe(&topic, Start::Earliest);
        client.unsubscribe(&topic);
        client.ping(5);
        settle(&mut [&mut first, &mut second]);
        let told = client.hear();
        // Records may come in between.
        let answers: Vec<&str> = told.iter().map(String::as_str).collect();
        let answers: Vec<&str> = answers
            .into_iter()
            .filter(|told| !told.starts_with("a/"))
            .collect();
        assert_eq!(answers, ["subscribed Ok at 0", "unsubscribed Ok", "pong 5"]);
        assert_eq!(subscriptions(&mut first, &client), 0);
    }
}

#[test]
fn as_many_subscriptions_as_may_be_asked_about_end_at_once() {
    let [mut first, mut second] = Rig::shards(wide());
    let client = first.join();
    let topics: Vec<String> = first.topics_of(1, "a/").take(100).collect();
    for topic in &topics {
        client.subscribe(topic, Start::Latest);
    }
    for topic in topics.iter().rev() {
        client.unsubscribe(topic);
    }
    settle(&mut [&mut first, &mut second]);
    let told = client.hear();
    let (begun, ended) = told.split_at(topics.len());
    assert!(
        begun.iter().all(|told| told == "subscribed Ok at 0"),
        "{told:?}"
    );
    assert_eq!(ended, vec!["unsubscribed Ok"; topics.len()]);
}
