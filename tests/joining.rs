//! What a subscriber is told that joins others. Whoever answers - the shard that owns the topic's log, or one that has
//! followed it - the answer is the same.

use std::io::Read;

use oyez_protocol::command::{Subscribe, Subscription, VERSION};
use oyez_protocol::event::Subscribed;
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};
use testkit::deadline::PATIENCE;
use testkit::{Broker, Epoch, Offset, Outcome, Session, Setup, Start, record};

const TOPIC: &str = "joined";
/// Enough for every one of the shards to have some, and most of them to join others.
const SESSIONS: usize = 24;
const SHARDS: usize = 3;
/// Bytes of a record that makes a memory log of this size forget soon.
const LARGE: usize = 64 << 10;
const MEMORY_LOG_BYTES: usize = 8 << 20;

fn broker() -> Broker {
    Setup::new()
        .set("shards", SHARDS)
        .set("memory_topics", "#")
        .set("memory_log_bytes", MEMORY_LOG_BYTES)
        .start()
}

/// The sessions of one round subscribe, and all must get the same answer.
fn told(sessions: &mut [Session], start: Start, epoch: Option<Epoch>) -> Subscribed {
    let strip = |answer: Subscribed| Subscribed { id: 0, ..answer };
    let answers: Vec<Subscribed> = sessions
        .iter_mut()
        .map(|session| strip(session.resume(TOPIC, start, epoch)))
        .collect();
    for answer in &answers {
        assert_eq!(*answer, answers[0]);
    }
    answers[0]
}

fn crowd(broker: &Broker) -> Vec<Session> {
    (0..SESSIONS).map(|_| broker.connect()).collect()
}

fn leave(sessions: &mut [Session]) {
    for session in sessions {
        assert_eq!(session.unsubscribe(TOPIC), Outcome::Ok);
    }
}

/// Next, earliest, head.
fn places(answer: Subscribed) -> (u64, u64, u64) {
    (answer.next.get(), answer.earliest.get(), answer.head.get())
}

#[test]
fn all_subscribers_get_the_same_place_also_after_publishes() {
    let broker = broker();
    let mut publisher = broker.connect();
    let mut watchers = crowd(&broker);
    told(&mut watchers, Start::Latest, None);
    let mut sessions = crowd(&broker);
    for head in 0..40 {
        assert_eq!(
            places(told(&mut sessions, Start::Latest, None)),
            (head, 0, head)
        );
        leave(&mut sessions);
        let entry = publisher.publish(TOPIC, head.to_string().as_bytes());
        assert_eq!(entry.offset.get(), head);
    }
    let earliest = told(&mut sessions, Start::Earliest, None);
    assert_eq!(places(earliest), (0, 0, 40));
    let expected: Vec<(u64, Vec<u8>)> = (0..40)
        .map(|number: u64| (number, number.to_string().into_bytes()))
        .collect();
    for session in sessions.iter_mut().chain(&mut watchers) {
        assert_eq!(session.messages(TOPIC, 40), expected);
    }
}

#[test]
fn all_subscribers_resume_at_the_same_place_and_learn_of_another_epoch() {
    let broker = broker();
    let mut publisher = broker.connect();
    let mut watchers = crowd(&broker);
    let epoch = told(&mut watchers, Start::Latest, None).epoch;
    publisher.publish_each(TOPIC, &["0", "1", "2", "3", "4"]);
    let mut sessions = crowd(&broker);
    let three = Start::Offset(Offset::new(3));
    let same = told(&mut sessions, three, Some(epoch));
    assert_eq!((places(same), same.epoch_changed), ((3, 0, 5), false));
    leave(&mut sessions);
    let other = told(&mut sessions, three, Some(Epoch::new(epoch.get() ^ 1)));
    assert_eq!((places(other), other.epoch_changed), ((0, 0, 5), true));
    leave(&mut sessions);
    let ahead = told(&mut sessions, Start::Offset(Offset::new(6)), Some(epoch));
    assert_eq!(ahead.outcome, Outcome::OffsetAhead);
    for session in &mut sessions {
        assert_eq!(session.unsubscribe(TOPIC), Outcome::NotSubscribed);
    }
}

#[test]
fn all_subscribers_learn_what_retention_has_left() {
    let broker = broker();
    let mut publisher = broker.connect();
    let mut watchers = crowd(&broker);
    told(&mut watchers, Start::Latest, None);
    let mut sessions = crowd(&broker);
    let mut published = 0;
    let mut earliest_before = 0;
    for _ in 0..3 {
        for _ in 0..2 * MEMORY_LOG_BYTES / LARGE {
            publisher.send(&record::stored(TOPIC, &[vec![0; LARGE]], published));
            assert_eq!(publisher.outcome_of(published).offset.get(), published);
            published += 1;
        }
        let latest = told(&mut sessions, Start::Latest, None);
        let (next, earliest, head) = places(latest);
        assert_eq!((next, head), (published, published));
        assert!(earliest > earliest_before, "nothing was dropped");
        earliest_before = earliest;
        let listed = &publisher.topics()[0];
        assert_eq!(listed["earliest"].as_u64(), Some(earliest));
        leave(&mut sessions);
        let resumed = told(
            &mut sessions,
            Start::Offset(Offset::new(0)),
            Some(latest.epoch),
        );
        assert_eq!(
            (places(resumed), resumed.dropped),
            ((earliest, earliest, published), true)
        );
        leave(&mut sessions);
    }
}

#[test]
fn after_the_last_subscriber_has_left_the_next_learns_what_came_meanwhile() {
    let broker = broker();
    let mut publisher = broker.connect();
    let mut sessions = crowd(&broker);
    for round in 0..10 {
        let head = 3 * round;
        assert_eq!(
            places(told(&mut sessions, Start::Latest, None)),
            (head, 0, head)
        );
        leave(&mut sessions);
        publisher.publish_each(TOPIC, &["0", "1", "2"]);
    }
}

#[test]
fn hello_and_subscribe_in_one_breath_are_answered_in_one() {
    let broker = broker();
    let mut answered_in_one = 0;
    for number in 0..100 {
        let mut session = Session::open(broker.address());
        let mut asked = record::hello(VERSION, VERSION);
        // Half of these topics belong to the session's shard, and no other shard knows them.
        let topic = format!("{TOPIC}/{number}");
        let topic = Subscription::new(&topic, Start::Latest, None);
        Subscribe::encode(7, &[topic], &mut asked);
        session.send(&asked);
        let mut stream = session.stream();
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        let mut answer = [0; 4096];
        let size = stream.read(&mut answer).expect("the broker answers");
        match frames(&answer[..size])[..] {
            ["welcome", "subscribed"] => answered_in_one += 1,
            // On a machine that is busy with other things the owner of a topic may be late.
            ["welcome"] => {}
            ref other => panic!("topic {}: {other:?}", topic.name),
        }
    }
    assert!(answered_in_one >= 90, "{answered_in_one} of 100");
}

fn frames(mut bytes: &[u8]) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    while !bytes.is_empty() {
        match decode(bytes, &Limits::HARD) {
            Ok(Decoded::Frame { frame, size }) => {
                kinds.push(match frame {
                    Frame::Welcome(_) => "welcome",
                    Frame::Subscribed(_) => "subscribed",
                    _ => "another",
                });
                bytes = &bytes[size..];
            }
            other => panic!("not a frame: {other:?}"),
        }
    }
    kinds
}
