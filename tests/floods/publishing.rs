//! Publishers that publish without looking at what they are answered, or stop in the middle of a record.

use testkit::Broker;
use testkit::Outcome;
use testkit::figures::full;
use testkit::random::Random;

use crate::flood::Flood;
use crate::frames;
use crate::script::{Client, Count, Kind, Reading};

const SMALL_BYTES: usize = 100;
/// Records in one piece.
const SMALL_RECORDS: usize = 256;
const LARGE_BYTES: usize = 200_000;
/// Near what a record may have.
const STALLED_BYTES: usize = 230_000;
/// Stalled clients: with nearly a whole record each, more than what shards keep of incomplete frames.
const STALLED: usize = 800;
/// Records that honest publishers publish beside them.
const HONEST_RECORDS: usize = 20;

pub(crate) fn without_window() -> Flood {
    Flood::new("publishers without a window", || {
        let publisher = |topic: &'static str, bytes: usize, records: usize| {
            Kind::many(move |place, _: &mut Random| {
                let topics =
                    (0..records).map(|number| format!("{topic}/{}", (place + number) % 64));
                Client::endless(
                    frames::hello(),
                    Reading::Nothing,
                    &frames::records(bytes, topics),
                )
            })
        };
        vec![
            publisher("memory/small", SMALL_BYTES, SMALL_RECORDS),
            publisher("written/small", SMALL_BYTES, SMALL_RECORDS),
            publisher("memory/large", LARGE_BYTES, 1),
        ]
    })
}

pub(crate) fn stalled() -> Flood {
    Flood {
        beside: publish_large,
        ..Flood::new("records stalled halfway", || {
            let record =
                frames::records(STALLED_BYTES, std::iter::once("memory/stalled".to_owned()));
            let client = move |_, random: &mut Random| {
                let mut opening = frames::hello();
                // All but a little.
                let end = record.len() - 1 - random.below(10_000) as usize;
                opening.extend_from_slice(&record[..end]);
                Client::resting(opening, Reading::All)
            };
            vec![Kind::counted(Count::Exactly(STALLED), client)]
        })
    }
}

/// Each record by a publisher that comes new.
fn publish_large(broker: &Broker) -> Vec<String> {
    let payload = Random::new(1).bytes(STALLED_BYTES);
    let records = if full() {
        HONEST_RECORDS
    } else {
        HONEST_RECORDS / 2
    };
    let refused = (0..records).filter_map(|_| publish_one(broker, &payload));
    let refused: Vec<String> = refused.collect();
    match refused.first() {
        None => Vec::new(),
        Some(first) => vec![format!(
            "{} of {records} honest records of {STALLED_BYTES} bytes were refused: {first}",
            refused.len()
        )],
    }
}

/// Why it was refused, if it was.
fn publish_one(broker: &Broker, payload: &[u8]) -> Option<String> {
    use testkit::Event;
    let mut session = broker.connect();
    let correlation = session.correlation();
    let record = testkit::record::stored("memory/whole", &[payload], correlation);
    if let Err(error) = session.try_send(&record) {
        return Some(error.to_string());
    }
    match session.event() {
        Event::Published(entries) if entries[0].outcome == Outcome::Ok => None,
        event => Some(format!("{event:?}")),
    }
}
