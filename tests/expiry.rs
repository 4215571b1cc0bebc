//! Records that are too old go, whether anything comes after them or not, and their topics go on where they were.

use std::ops::Range;
use std::time::{Duration, Instant};

use oyez_protocol::event::GapCause;
use testkit::deadline::wait_for;
use testkit::{Broker, Event, Offset, Outcome, Setup, Start};

const AGE: Duration = Duration::from_secs(2);

/// A broker that keeps records for [`AGE`], with a topic of each durability on disk.
fn forgetful() -> Setup {
    Setup::new()
        .set("retention_seconds", AGE.as_secs())
        .set("written_topics", "metrics")
        .set("memory_topics", "live")
}

fn oldest(broker: &Broker, topic: &str) -> u64 {
    let answer = broker.connect().subscribe(topic, Start::Earliest);
    assert_eq!(answer.outcome, Outcome::Ok);
    answer.earliest.get()
}

/// Waits until the records of a topic in a range of offsets are gone; returns how long after they were published, from
/// before they were.
fn until_gone(broker: &Broker, topic: &str, records: Range<u64>, published: Instant) -> Duration {
    wait_for("the records to go", || {
        let oldest = oldest(broker, topic);
        // After a kill, what was dropped just before may be there again, to be dropped again.
        assert!(
            oldest <= records.start || published.elapsed() >= AGE,
            "{oldest} went too soon"
        );
        (oldest == records.end).then(|| published.elapsed())
    })
}

fn a_quiet_topic_expires(topic: &str, disk: &str) {
    let mut broker = forgetful().set("disk", disk).start();
    let mut session = broker.connect();
    let mut follower = broker.connect();
    follower.subscribe(topic, Start::Latest);
    let published = Instant::now();
    let epoch = session.publish_each(topic, &["0", "1", "2"])[2].epoch;
    let took = until_gone(&broker, topic, 0..3, published);
    testkit::figures::figure(
        &format!("{topic} expired ({disk})"),
        &format!("{took:?} for {AGE:?}"),
    );
    // A machine that is busy with other tests may take longer than a second for a segment.
    assert!(took < AGE + Duration::from_secs(5), "{took:?}");
    let mut published = Instant::now();
    let entry = session.publish(topic, b"3");
    assert_eq!((entry.offset.get(), entry.epoch), (3, epoch));
    assert_eq!(follower.messages(topic, 4).len(), 4);
    // The next segment is sealed by age no sooner than a minute after the first one, or after a restart.
    for (next, clean) in [(4, true), (5, false)] {
        if clean {
            assert!(broker.stop().success());
        } else {
            broker.kill();
        }
        broker.restart();
        until_gone(&broker, topic, next - 1..next, published);
        published = Instant::now();
        let entry = broker.connect().publish(topic, b"more");
        assert_eq!(
            (entry.offset.get(), entry.epoch),
            (next, epoch),
            "clean {clean}"
        );
    }
}

#[test]
fn a_quiet_synced_topic_expires_and_goes_on_where_it_was_with_the_ring() {
    a_quiet_topic_expires("a/topic", "uring");
}

#[test]
fn a_quiet_synced_topic_expires_and_goes_on_where_it_was_with_the_thread() {
    a_quiet_topic_expires("a/topic", "thread");
}

#[test]
fn a_quiet_written_topic_expires_and_goes_on_where_it_was() {
    a_quiet_topic_expires("metrics", "uring");
}

#[test]
fn a_subscriber_learns_what_expired_before_it_came_back() {
    let broker = forgetful().start();
    let mut session = broker.connect();
    let published = Instant::now();
    let epoch = session.publish_each("a/topic", &["0", "1", "2"])[0].epoch;
    until_gone(&broker, "a/topic", 0..3, published);
    session.publish("a/topic", b"3");
    let mut late = broker.connect();
    let answer = late.resume("a/topic", Start::Offset(Offset::new(1)), Some(epoch));
    assert_eq!((answer.next.get(), answer.epoch_changed), (3, false));
    assert_eq!(late.messages("a/topic", 1), [(3, b"3".to_vec())]);
}

/// Its records are in the window of the topic, and gone from the log.
#[test]
fn a_subscriber_that_does_not_read_learns_what_expired_meanwhile() {
    let broker = forgetful().start();
    let mut stuck = broker.connect();
    stuck.subscribe("a/topic", Start::Latest);
    let payload = testkit::random::Random::new(3).bytes(100_000);
    let mut session = broker.connect();
    let published = Instant::now();
    session.publish_each("a/topic", &vec![payload; 100]);
    until_gone(&broker, "a/topic", 0..100, published);
    session.publish("a/topic", b"100");
    let (mut next, mut missing) = (0, 0);
    while next <= 100 {
        match stuck.event() {
            Event::Delivery(delivery) => {
                assert_eq!(delivery.offset.get(), next);
                next += delivery.payloads.len() as u64;
            }
            Event::Gap {
                cause, from, to, ..
            } => {
                assert_eq!((cause, from.get()), (GapCause::Retention, next));
                missing += to.get() - next;
                next = to.get();
            }
            Event::Ping(_) => {}
            // A record of which it has a part cannot be completed.
            Event::Goodbye(_) | Event::Closed => return,
            event => panic!("expected a delivery or a gap, got {event:?}"),
        }
    }
    assert!(
        missing > 0,
        "100 records of 100 KB do not fit into a socket"
    );
}
