//! Acknowledged messages survive as far as the topic's durability promises, and a crash changes nothing else.

use std::collections::VecDeque;

use oyez_protocol::event::GapCause;
use testkit::deadline::wait_until;
use testkit::model::Model;
use testkit::random::Random;
use testkit::record::record;
use testkit::{Broker, Event, Outcome, Session, Setup, Start};

/// Crashes of one run.
const ROUNDS: usize = 12;
/// Records that may be under way when the broker is killed.
const WINDOW: u64 = 64;

fn all_messages(session: &mut Session, topic: &str) -> Vec<(u64, Vec<u8>)> {
    let answer = session.subscribe(topic, Start::Earliest);
    assert_eq!(answer.outcome, Outcome::Ok);
    assert_eq!(answer.earliest.get(), 0, "nothing was dropped from {topic}");
    let messages = session.messages(topic, answer.head.get() as usize);
    session.unsubscribe(topic);
    messages
}

/// Messages that were sent and not answered yet, in their order.
#[derive(Default)]
struct Underway {
    sent: VecDeque<(u64, String, Vec<u8>)>,
}

/// Publishes to several topics with many records under way, and kills the broker when `acknowledgements` have come.
fn publish_until_killed(
    broker: &mut Broker,
    model: &mut Model,
    random: &mut Random,
    acknowledgements: u64,
) {
    let mut session = broker.connect();
    let mut underway = Underway::default();
    let mut acknowledged = 0;
    loop {
        while (underway.sent.len() as u64) < WINDOW {
            let topic = format!("crash/{}", random.below(4));
            let size = random.below(3000) as usize;
            let payload = random.bytes(16 + size);
            let correlation = session.correlation();
            session.send(&record(&topic, &[&payload], correlation));
            underway.sent.push_back((correlation, topic, payload));
        }
        let Event::Published(entries) = session.event() else {
            panic!("a publisher hears of nothing but its records");
        };
        for entry in entries {
            assert_eq!(entry.outcome, Outcome::Ok);
            let mut sent = underway.sent.iter();
            let at = sent.position(|(correlation, ..)| *correlation == entry.correlation);
            let at = at.expect("only records that were sent are answered");
            let (_, topic, payload) = underway.sent.remove(at).expect("it was found there");
            model.acknowledge(&topic, entry.offset.get(), &payload);
            acknowledged += 1;
        }
        if acknowledged >= acknowledgements {
            break;
        }
    }
    broker.kill();
    for (_, topic, payload) in underway.sent {
        model.leave_unanswered(&topic, &payload);
    }
}

fn survives_crashes(disk: &str) {
    let mut random = Random::from_environment(&format!("crashes with disk {disk}"));
    let mut broker = Setup::new().set("disk", disk).start();
    let mut model = Model::default();
    let mut epochs = Vec::new();
    for _ in 0..ROUNDS {
        let acknowledgements = 1 + random.below(400);
        publish_until_killed(&mut broker, &mut model, &mut random, acknowledgements);
        broker.restart();
        let mut session = broker.connect();
        for number in 0..4 {
            let topic = format!("crash/{number}");
            let found = all_messages(&mut session, &topic);
            model.check(&topic, &found);
            model.settle(&topic, &found);
        }
        let epoch_of = |number| {
            let topic = format!("crash/{number}");
            let answer = session.subscribe(&topic, Start::Latest);
            answer.epoch
        };
        epochs.push((0..4).map(epoch_of).collect::<Vec<_>>());
    }
    assert!(
        epochs.iter().all(|of_round| *of_round == epochs[0]),
        "{epochs:?}"
    );
}

#[test]
fn acknowledged_records_survive_crashes_at_any_point_with_the_ring() {
    survives_crashes("uring");
}

#[test]
fn acknowledged_records_survive_crashes_at_any_point_with_the_thread() {
    survives_crashes("thread");
}

#[test]
fn a_directory_written_with_one_disk_is_read_with_the_other() {
    let setup = Setup::new();
    let mut broker = setup.clone().set("disk", "uring").start();
    broker.connect().publish("a/topic", b"by the ring");
    broker.kill();
    broker.restart_with(setup.clone().set("disk", "thread"));
    broker.connect().publish("a/topic", b"by the thread");
    broker.kill();
    broker.restart_with(setup.set("disk", "uring"));
    let found = all_messages(&mut broker.connect(), "a/topic");
    let expected = [(0, b"by the ring".to_vec()), (1, b"by the thread".to_vec())];
    assert_eq!(found, expected);
}

#[test]
fn history_over_many_segments_survives_a_crash() {
    const RECORDS: usize = 300;
    let mut random = Random::new(11);
    let payloads: Vec<Vec<u8>> = (0..RECORDS).map(|_| random.bytes(60_000)).collect();
    let mut broker = Broker::start();
    let mut publisher = broker.connect();
    for chunk in payloads.chunks(50) {
        publisher.publish_each("big", chunk);
    }
    broker.kill();
    broker.restart();
    let found = all_messages(&mut broker.connect(), "big");
    let expected: Vec<(u64, Vec<u8>)> = (0..).zip(payloads).collect();
    assert!(
        found == expected,
        "18 MB over several segments of 4 MiB came back changed"
    );
}

/// Flips a bit of `needle` wherever it stands in a segment; gives in how many places that was.
fn damage(directory: &std::path::Path, needle: &[u8]) -> usize {
    let mut places = 0;
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            places += damage(&path, needle);
        } else if path.extension().is_some_and(|ext| ext == "seg") {
            let mut bytes = std::fs::read(&path).expect("a readable segment");
            let found = bytes
                .windows(needle.len())
                .position(|window| window == needle);
            if let Some(at) = found {
                bytes[at] ^= 1;
                std::fs::write(&path, bytes).expect("a writable segment");
                places += 1;
            }
        }
    }
    places
}

#[test]
fn a_damaged_record_is_never_served_and_never_passed_over_in_silence() {
    let payload = |number: u64| format!("payload number {number:05} of a topic that gets damaged");
    let payloads: Vec<String> = (0..=100).map(payload).collect();
    let mut broker = Broker::start();
    let mut publisher = broker.connect();
    publisher.publish_each("a/topic", &payloads[..100]);
    // The mark that says that these were synced is written with what comes next.
    publisher.publish_each("a/topic", &payloads[100..]);
    broker.kill();
    assert_eq!(damage(broker.data(), payload(40).as_bytes()), 1);
    broker.restart();
    let mut session = broker.connect();
    let answer = session.subscribe("a/topic", Start::Earliest);
    assert_eq!(answer.head.get(), 101);
    let (mut next, mut missing) = (0, Vec::new());
    while next <= 100 {
        match session.event() {
            Event::Delivery(delivery) => {
                assert_eq!(delivery.offset.get(), next);
                assert_eq!(delivery.payloads, [payload(next).into_bytes()]);
                next += 1;
            }
            Event::Gap {
                cause, from, to, ..
            } => {
                assert_eq!((cause, from.get()), (GapCause::Damage, next));
                missing.extend(next..to.get());
                next = to.get();
            }
            event => panic!("expected a delivery or a gap, got {event:?}"),
        }
    }
    assert!(missing.contains(&40), "the damaged record was served");
    // The log has a thread of its own.
    wait_until("the damage in the log", || broker.log().contains("damaged"));
}

#[test]
fn a_subscriber_resumes_at_its_cursor_after_a_crash() {
    let mut broker = Broker::start();
    let mut session = broker.connect();
    session.publish_each("a/topic", &["0", "1", "2", "3"]);
    let epoch = session.subscribe("a/topic", Start::Earliest).epoch;
    assert_eq!(session.messages("a/topic", 2).len(), 2);
    broker.kill();
    broker.restart();
    let mut session = broker.connect();
    let cursor = Start::Offset(testkit::Offset::new(2));
    let answer = session.resume("a/topic", cursor, Some(epoch));
    assert_eq!((answer.next.get(), answer.epoch_changed), (2, false));
    let entry = session.publish("a/topic", b"4");
    assert_eq!((entry.offset.get(), entry.epoch), (4, epoch));
    let payloads: Vec<Vec<u8>> = session
        .messages("a/topic", 3)
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    assert_eq!(payloads, [b"2", b"3", b"4"]);
}

/// A broker with a topic of each durability.
fn all_durabilities() -> Setup {
    Setup::new()
        .set("memory_topics", "live/#")
        .set("written_topics", "metrics")
}

#[test]
fn a_memory_topic_is_delivered_and_begins_anew_after_a_restart() {
    let mut broker = all_durabilities().start();
    let mut session = broker.connect();
    let before = session.subscribe("live/score", Start::Latest).epoch;
    session.publish("live/score", b"1:0");
    assert_eq!(session.messages("live/score", 1), [(0, b"1:0".to_vec())]);
    assert!(broker.stop().success());
    broker.restart();
    let mut session = broker.connect();
    let cursor = Start::Offset(testkit::Offset::new(1));
    let answer = session.resume("live/score", cursor, Some(before));
    assert!(answer.epoch_changed && answer.epoch != before, "{answer:?}");
    assert_eq!((answer.next.get(), answer.head.get()), (0, 0));
}

#[test]
fn a_memory_topic_never_reaches_the_disk() {
    const SECRET: &[u8] = b"nobody may find this on the disk";
    let mut broker = all_durabilities().start();
    let mut session = broker.connect();
    session.publish("live/score", SECRET);
    session.publish("kept", b"this is");
    assert!(broker.stop().success());
    assert!(directory_contains(broker.data(), b"this is"));
    assert!(!directory_contains(broker.data(), SECRET));
}

fn directory_contains(directory: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory)
        .expect("a directory")
        .flatten()
        .any(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => directory_contains(&entry.path(), needle),
            _ => {
                let bytes = std::fs::read(entry.path()).expect("a readable file");
                bytes.windows(needle.len()).any(|window| window == needle)
            }
        })
}

#[test]
fn a_written_topic_survives_the_process() {
    let mut broker = all_durabilities().start();
    let mut session = broker.connect();
    let entries = session.publish_each("metrics", &["0", "1", "2"]);
    broker.kill();
    broker.restart();
    let mut session = broker.connect();
    let answer = session.subscribe("metrics", Start::Earliest);
    assert_eq!(answer.epoch, entries[0].epoch);
    let expected = [(0, b"0".to_vec()), (1, b"1".to_vec()), (2, b"2".to_vec())];
    assert_eq!(session.messages("metrics", 3), expected);
}

#[test]
fn a_topic_cannot_change_its_durability() {
    let mut broker = Broker::start();
    broker.connect().publish("metrics", b"1");
    assert!(broker.stop().success());
    let refusal = all_durabilities().refused_on(broker.data());
    assert_eq!(refusal.code, 1);
    for word in ["metrics", "stored as synced", "configuration says written"] {
        assert!(
            refusal.message.contains(word),
            "{word:?} is not in {}",
            refusal.message
        );
    }
}
