//! Where a subscription begins, what it gets, and how it ends.

use testkit::{Broker, Event, Offset, Outcome, Session, Start};

const TOPIC: &str = "a/topic";

/// A broker with messages `0`, `1`, ... in the topic, each a record of its own.
fn broker_with(count: u64) -> (Broker, Session) {
    let broker = Broker::start();
    let mut publisher = broker.connect();
    let entries = publisher.publish_each(TOPIC, &numbers(0..count));
    for (offset, entry) in entries.iter().enumerate() {
        assert_eq!(entry.outcome, Outcome::Ok);
        assert_eq!(entry.offset.get(), offset as u64);
    }
    (broker, publisher)
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// The messages of `range` that a subscriber gets.
fn expected(range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    range
        .map(|number| (number, number.to_string().into_bytes()))
        .collect()
}

#[test]
fn latest_begins_with_the_next_message() {
    let (broker, mut publisher) = broker_with(5);
    let mut subscriber = broker.connect();
    let answer = subscriber.subscribe(TOPIC, Start::Latest);
    assert_eq!(answer.outcome, Outcome::Ok);
    assert_eq!(
        (answer.next.get(), answer.earliest.get(), answer.head.get()),
        (5, 0, 5)
    );
    publisher.publish_each(TOPIC, &numbers(5..8));
    assert_eq!(subscriber.messages(TOPIC, 3), expected(5..8));
}

#[test]
fn earliest_begins_with_the_oldest_message_and_goes_on_live() {
    let (broker, mut publisher) = broker_with(5);
    let mut subscriber = broker.connect();
    assert_eq!(subscriber.subscribe(TOPIC, Start::Earliest).next.get(), 0);
    publisher.publish_each(TOPIC, &numbers(5..8));
    assert_eq!(subscriber.messages(TOPIC, 8), expected(0..8));
}

#[test]
fn an_offset_begins_there_also_when_it_is_the_end() {
    let (broker, mut publisher) = broker_with(5);
    let mut middle = broker.connect();
    let mut end = broker.connect();
    assert_eq!(
        middle
            .subscribe(TOPIC, Start::Offset(Offset::new(3)))
            .next
            .get(),
        3
    );
    assert_eq!(
        end.subscribe(TOPIC, Start::Offset(Offset::new(5)))
            .next
            .get(),
        5
    );
    publisher.publish_each(TOPIC, &numbers(5..6));
    assert_eq!(middle.messages(TOPIC, 3), expected(3..6));
    assert_eq!(end.messages(TOPIC, 1), expected(5..6));
}

#[test]
fn an_offset_inside_a_record_gets_the_whole_record() {
    let broker = Broker::start();
    let mut publisher = broker.connect();
    publisher.publish_batch(TOPIC, &numbers(0..10));
    publisher.publish_batch(TOPIC, &numbers(10..20));
    let mut subscriber = broker.connect();
    assert_eq!(
        subscriber
            .subscribe(TOPIC, Start::Offset(Offset::new(13)))
            .next
            .get(),
        13
    );
    assert_eq!(subscriber.messages(TOPIC, 10), expected(10..20));
}

#[test]
fn an_offset_ahead_of_the_newest_is_refused_and_nothing_is_subscribed() {
    let (broker, mut publisher) = broker_with(5);
    let mut subscriber = broker.connect();
    let answer = subscriber.subscribe(TOPIC, Start::Offset(Offset::new(6)));
    assert_eq!(answer.outcome, Outcome::OffsetAhead);
    publisher.publish(TOPIC, b"5");
    subscriber.ping();
    assert_eq!(subscriber.unsubscribe(TOPIC), Outcome::NotSubscribed);
    assert_eq!(
        subscriber.subscribe(TOPIC, Start::Latest).outcome,
        Outcome::Ok
    );
}

#[test]
fn an_offset_of_another_epoch_begins_with_the_oldest_and_says_so() {
    let (broker, _) = broker_with(5);
    let mut subscriber = broker.connect();
    let epoch = subscriber.subscribe(TOPIC, Start::Latest).epoch;
    subscriber.unsubscribe(TOPIC);
    let three = Start::Offset(Offset::new(3));
    let same = subscriber.resume(TOPIC, three, Some(epoch));
    assert_eq!((same.next.get(), same.epoch_changed), (3, false));
    assert_eq!(subscriber.messages(TOPIC, 2), expected(3..5));
    subscriber.unsubscribe(TOPIC);
    let other = testkit::Epoch::new(epoch.get() ^ 1);
    let changed = subscriber.resume(TOPIC, three, Some(other));
    assert_eq!((changed.next.get(), changed.epoch_changed), (0, true));
    assert_eq!(subscriber.messages(TOPIC, 5), expected(0..5));
}

#[test]
fn subscribing_twice_is_refused_and_the_first_subscription_stands() {
    let (broker, mut publisher) = broker_with(0);
    let mut subscriber = broker.connect();
    assert_eq!(
        subscriber.subscribe(TOPIC, Start::Latest).outcome,
        Outcome::Ok
    );
    let again = subscriber.subscribe(TOPIC, Start::Earliest);
    assert_eq!(again.outcome, Outcome::AlreadySubscribed);
    publisher.publish_each(TOPIC, &numbers(0..3));
    assert_eq!(subscriber.messages(TOPIC, 3), expected(0..3));
}

#[test]
fn after_unsubscribed_no_record_of_the_topic_comes() {
    let (broker, mut publisher) = broker_with(0);
    let mut subscriber = broker.connect();
    subscriber.subscribe(TOPIC, Start::Latest);
    subscriber.subscribe("other", Start::Latest);
    publisher.publish(TOPIC, b"0");
    assert_eq!(subscriber.messages(TOPIC, 1), expected(0..1));
    assert_eq!(subscriber.unsubscribe(TOPIC), Outcome::Ok);
    publisher.publish(TOPIC, b"1");
    publisher.publish("other", b"seen");
    match subscriber.event() {
        Event::Delivery(delivery) => assert_eq!(delivery.topic, "other"),
        event => panic!("expected the other topic's message, got {event:?}"),
    }
    assert_eq!(subscriber.unsubscribe(TOPIC), Outcome::NotSubscribed);
}

#[test]
fn a_topic_subscribed_again_goes_on_where_asked() {
    let (broker, mut publisher) = broker_with(4);
    let mut subscriber = broker.connect();
    for round in 0..20 {
        subscriber.subscribe(TOPIC, Start::Offset(Offset::new(2)));
        let count = 2 + round;
        assert_eq!(
            subscriber.messages(TOPIC, count as usize),
            expected(2..2 + count)
        );
        assert_eq!(subscriber.unsubscribe(TOPIC), Outcome::Ok);
        publisher.publish(TOPIC, (4 + round).to_string().as_bytes());
    }
}

#[test]
fn one_session_follows_many_topics_each_in_its_own_order() {
    const TOPICS: u64 = 100;
    const MESSAGES: u64 = 20;
    let broker = Broker::start();
    let mut publisher = broker.connect();
    let mut subscriber = broker.connect();
    let name = |number: u64| format!("many/{number}");
    for topic in 0..TOPICS {
        assert_eq!(
            subscriber.subscribe(&name(topic), Start::Earliest).outcome,
            Outcome::Ok
        );
    }
    for message in 0..MESSAGES {
        for topic in 0..TOPICS {
            let correlation = publisher.correlation();
            let record = testkit::record::record(&name(topic), &[message.to_string()], correlation);
            publisher.send(&record);
        }
    }
    for topic in 0..TOPICS {
        assert_eq!(
            subscriber.messages(&name(topic), MESSAGES as usize),
            expected(0..MESSAGES)
        );
    }
}

#[test]
fn a_session_has_no_more_subscriptions_than_it_may() {
    let broker = testkit::Setup::new().set("max_subscriptions", 3).start();
    let mut subscriber = broker.connect();
    let mut outcome = |topic: &str| subscriber.subscribe(topic, Start::Latest).outcome;
    for topic in ["a", "b", "c"] {
        assert_eq!(outcome(topic), Outcome::Ok);
    }
    assert_eq!(outcome("d"), Outcome::TooManySubscriptions);
    assert_eq!(subscriber.unsubscribe("b"), Outcome::Ok);
    assert_eq!(
        subscriber.subscribe("d", Start::Latest).outcome,
        Outcome::Ok
    );
}

#[test]
fn subscribers_on_every_shard_get_the_topics_of_every_shard() {
    const SESSIONS: usize = 24;
    const TOPICS: u64 = 8;
    let broker = testkit::Setup::new().set("shards", 3).start();
    let name = |number: u64| format!("spread/{number}");
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|_| broker.connect()).collect();
    for session in &mut sessions {
        for topic in 0..TOPICS {
            session.subscribe(&name(topic), Start::Latest);
        }
    }
    // Each publishes to each topic in turn; all see the same order.
    for round in 0..SESSIONS as u64 {
        for topic in 0..TOPICS {
            let entry =
                sessions[round as usize].publish(&name(topic), round.to_string().as_bytes());
            assert_eq!(entry.offset.get(), round);
        }
    }
    for session in &mut sessions {
        for topic in 0..TOPICS {
            let messages = session.messages(&name(topic), SESSIONS);
            assert_eq!(messages, expected(0..SESSIONS as u64));
        }
    }
}

#[test]
fn every_subscriber_gets_the_very_bytes_that_were_stored() {
    let (broker, _) = broker_with(3);
    let mut records = Vec::new();
    for _ in 0..4 {
        let mut subscriber = broker.connect();
        subscriber.subscribe(TOPIC, Start::Earliest);
        let bytes: Vec<Vec<u8>> = (0..3).map(|_| subscriber.delivery().bytes).collect();
        records.push(bytes);
    }
    assert!(records.iter().all(|bytes| *bytes == records[0]));
}

#[test]
fn topics_are_listed_with_their_durability_and_bounds() {
    let (broker, mut session) = broker_with(7);
    session.publish("another", b"x");
    let topics = session.topics();
    let names: Vec<&str> = topics
        .iter()
        .filter_map(|topic| topic["name"].as_str())
        .collect();
    assert_eq!(names, [TOPIC, "another"]);
    assert_eq!(topics[0]["durability"], "synced");
    assert_eq!(
        (topics[0]["earliest"].as_u64(), topics[0]["next"].as_u64()),
        (Some(0), Some(7))
    );
    drop(broker);
}
