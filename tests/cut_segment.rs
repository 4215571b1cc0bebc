//! A segment that somebody cuts under a running broker: its subscribers are told what is missing and get all else; nobody
//! waits for bytes that do not come, and the broker goes on.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use oyez_protocol::event::GapCause;
use testkit::deadline::wait_until;
use testkit::random::Random;
use testkit::{Broker, Event, Offset, Session, Start};

/// Bytes of a segment of the broker that tests use.
const SEGMENT: u64 = 4 << 20;
const BLOCK: u64 = 2 << 20;

/// Bytes that do not compress.
fn payload(topic: &str, number: u64, bytes: usize) -> Vec<u8> {
    Random::new(number * 256 + topic.len() as u64).bytes(bytes)
}

/// The first segments of the logs in a data directory that are what is asked for.
fn first_segments(directory: &Path, is_wanted: impl Fn(&PathBuf) -> bool) -> Vec<PathBuf> {
    let logs = std::fs::read_dir(directory).expect("a directory").flatten();
    let first = logs.map(|log| log.path().join(format!("{:016x}.seg", 0)));
    first.filter(is_wanted).collect()
}

fn sealed(directory: &Path) -> Vec<PathBuf> {
    first_segments(directory, |path| path.with_extension("idx").exists())
}

fn cut(segment: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(segment);
    let cut = file.and_then(|file| file.set_len(bytes));
    cut.expect("the segment is there");
}

/// Reads a topic from its beginning, over gaps, and over breaks by coming back. Returns what was missing.
fn read_over_damage(broker: &Broker, topic: &str, end: u64, bytes: usize) -> Vec<u64> {
    let join = |next: u64| {
        let mut session: Session = broker.connect();
        session.subscribe(topic, Start::Offset(Offset::new(next)));
        session
    };
    let (mut session, mut next, mut missing) = (join(0), 0, Vec::new());
    while next < end {
        match session.event() {
            Event::Delivery(delivery) => {
                assert_eq!(delivery.offset.get(), next, "no hole that was not told");
                assert!(delivery.payloads == [payload(topic, next, bytes)], "{next}");
                next += 1;
            }
            Event::Gap {
                cause, from, to, ..
            } => {
                assert_eq!((cause, from.get()), (GapCause::Damage, next));
                missing.extend(next..to.get());
                next = to.get();
            }
            // A part of a record was out when the rest was found missing.
            Event::Closed => session = join(next),
            event => panic!("expected a delivery or a gap, got {event:?}"),
        }
    }
    missing
}

/// Publishes to topics in turn, cuts the first segment of each log, and reads. `kept` is what is left of the segments.
fn is_reported(topics: &[&str], records: u64, bytes: usize, kept: u64) {
    let broker = Broker::start();
    let mut publisher = broker.connect();
    let numbers: Vec<u64> = (0..records).collect();
    for numbers in numbers.chunks(10) {
        for topic in topics {
            let payloads = numbers.iter().map(|number| payload(topic, *number, bytes));
            publisher.publish_each(topic, &payloads.collect::<Vec<_>>());
        }
    }
    wait_until("a sealed segment in each log that is used", || {
        let used = |path: &PathBuf| path.with_file_name(format!("{SEGMENT:016x}.seg")).exists();
        let (used, sealed) = (first_segments(broker.data(), used), sealed(broker.data()));
        !used.is_empty() && used == sealed
    });
    for segment in sealed(broker.data()) {
        cut(&segment, kept);
    }
    let mut cut = 0;
    for topic in topics {
        let missing = read_over_damage(&broker, topic, records, bytes);
        // A log that has few of the topics has all of them in memory still.
        let Some(first) = missing.first().copied() else {
            continue;
        };
        // Some of the first segment, all of it if nothing is left, and nothing else.
        let all: Vec<u64> = (first..).take(missing.len()).collect();
        assert_eq!(missing, all, "{topic}");
        assert_eq!(first > 0, kept > 0, "{topic}: {first}");
        assert!(first + missing.len() as u64 <= SEGMENT / bytes as u64);
        cut += 1;
    }
    assert!(cut > 0, "nobody has missed anything");
    // The broker goes on.
    let more = publisher.publish(topics[0], &payload(topics[0], records, bytes));
    assert_eq!(more.offset.get(), records);
}

/// At a block's border, in a block, and to nothing.
const KEPT: [u64; 3] = [BLOCK, BLOCK + (1 << 20), 0];

#[test]
fn a_cut_is_reported_to_subscribers_that_get_large_runs() {
    for kept in KEPT {
        is_reported(&["large"], 300, 60_000, kept);
    }
}

#[test]
fn a_cut_is_reported_to_subscribers_that_get_scattered_records() {
    // Each log has some of these topics.
    let topics = [
        "1", "22", "333", "4444", "55555", "666666", "7777777", "88888888",
    ];
    for kept in KEPT {
        is_reported(&topics, 1500, 3_000, kept);
    }
}
