//! One topic, thousands of subscribers: each gets every record once and in order, and costs next to nothing while idle.

use std::collections::BTreeMap;
use std::time::Instant;

use testkit::crowd::{Audience, Crowd};
use testkit::figures::{figure, size};
use testkit::random::Random;
use testkit::{Broker, Outcome, Session, Setup, Start};

const TOPIC: &str = "broadcast";
/// DESIGN's limit for an idle subscriber with one subscription, in bytes of private memory.
const IDLE_BYTES_MAX: u64 = 256;
/// What one-time growth of tables may add over all subscribers, when there are too few to make it disappear.
const ONCE_BYTES: u64 = 256 << 10;

fn broadcast(sending: &str, subscribers: usize, records: usize) {
    let broker = Setup::new()
        .set("sending", sending)
        .set("max_connections", subscribers + 100)
        .set("heartbeat_ms", 3_600_000)
        .start();
    let mut publisher = broker.connect();
    // Whatever is set up once is there before memory is looked at.
    publisher.subscribe("warm", Start::Latest);
    publisher.publish("warm", b"x");
    let before = broker.memory();
    let crowd = Crowd::subscribe(
        env!("CARGO_BIN_EXE_oyez-crowd"),
        &Audience {
            address: broker.address(),
            topic: TOPIC.to_owned(),
            subscribers,
            records,
        },
    );
    let idle = broker.memory().saturating_sub(before);
    let each = idle as f64 / subscribers as f64;
    figure(
        "private memory of an idle subscriber",
        &format!("{each:.0} B, {subscribers} of them"),
    );

    let mut random = Random::new(1);
    let payloads: Vec<Vec<u8>> = (0..records).map(|_| random.bytes(200)).collect();
    let begin = Instant::now();
    for entry in publisher.publish_each(TOPIC, &payloads) {
        assert_eq!(entry.outcome, Outcome::Ok);
    }
    crowd.satisfied();
    let seconds = begin.elapsed().as_secs_f64();
    let deliveries = subscribers * records;
    let rate = deliveries as f64 / seconds;
    figure(
        &format!("broadcast, {sending}"),
        &format!("{deliveries} deliveries in {seconds:.1} s, {rate:.0} per s"),
    );
    assert!(broker.counter("deliveries") >= deliveries as u64);
    let limit = IDLE_BYTES_MAX * subscribers as u64 + ONCE_BYTES;
    assert!(idle <= limit, "{idle} B for {subscribers} idle subscribers");
}

#[test]
fn ten_thousand_subscribers_get_every_record_once_and_in_order() {
    let subscribers = size("OYEZ_SUBSCRIBERS", 10_000);
    broadcast("ring", subscribers, size("OYEZ_RECORDS", 1_000));
}

#[test]
fn subscribers_get_every_record_once_and_in_order_without_the_ring() {
    let subscribers = size("OYEZ_SUBSCRIBERS", 10_000);
    broadcast("loop", subscribers, size("OYEZ_RECORDS", 1_000) / 10);
}

/// Subscribers of a topic of which some stop reading now and then, and some are gone in the middle of a record.
struct Moody {
    publisher: Session,
    /// With the message that each has to get next.
    subscribers: BTreeMap<usize, (Session, u64)>,
    published: Vec<Vec<u8>>,
}

impl Moody {
    /// On each of two shards three times the fewest that records leave in batches for.
    const SUBSCRIBERS: usize = 48;
    const ROUNDS: usize = 48;
    /// 5 KB a round: what the broker may send in batches, and no divisor of what sockets hold.
    const RECORDS: usize = 5;
    const RECORD_BYTES: usize = 1000;
    /// Everybody's input buffer and the broker's output buffer together hold less than half of all rounds.
    const SEND_BUFFER_BYTES: usize = 8 << 10;

    fn subscribe(broker: &Broker) -> Self {
        let subscriber = |number| {
            let mut session = broker.connect();
            assert_eq!(session.subscribe(TOPIC, Start::Latest).outcome, Outcome::Ok);
            (number, (session, 0))
        };
        Self {
            publisher: broker.connect(),
            subscribers: (0..Self::SUBSCRIBERS).map(subscriber).collect(),
            published: Vec::new(),
        }
    }

    /// Publishes some records, while one subscriber closes; where it has not read everything, that resets its
    /// connection.
    fn publish(&mut self, random: &mut Random, leaving: Option<usize>) {
        let payloads: Vec<Vec<u8>> = (0..Self::RECORDS)
            .map(|_| random.bytes(Self::RECORD_BYTES))
            .collect();
        let gone = leaving.and_then(|number| self.subscribers.remove(&number));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(gone));
            for entry in self.publisher.publish_each(TOPIC, &payloads) {
                assert_eq!(entry.outcome, Outcome::Ok);
            }
        });
        self.published.extend(payloads);
    }

    /// A subscriber reads all that it has not.
    fn read(&mut self, number: usize) {
        let Some((session, next)) = self.subscribers.get_mut(&number) else {
            return;
        };
        let missing = &self.published[*next as usize..];
        for (offset, payload) in session.messages(TOPIC, missing.len()) {
            assert_eq!(offset, *next, "subscriber {number}");
            assert_eq!(payload, self.published[offset as usize], "{number}");
            *next += 1;
        }
    }
}

fn moody(sending: &str) {
    let mut random = Random::from_environment(&format!("short sends by the {sending}"));
    let broker = Setup::new()
        .set("sending", sending)
        .set("send_buffer_bytes", Moody::SEND_BUFFER_BYTES)
        .set("heartbeat_ms", 3_600_000)
        .set("default_durability", "memory")
        .start();
    assert_eq!(broker.stats()["sending"], sending);
    let mut crowd = Moody::subscribe(&broker);
    for round in 0..Moody::ROUNDS {
        // Of four, one never reads, one reads at the end, one now and then, one always; of the first and the last every
        // second one leaves half-way.
        let leaving = round.checked_sub(Moody::ROUNDS / 2);
        let leaving = leaving.map(|number| number / 2 * 8 + number % 2 * 3);
        crowd.publish(&mut random, leaving);
        for number in 0..Moody::SUBSCRIBERS {
            let now_and_then = number % 4 == 2 && random.below(20) == 0;
            if number % 4 == 3 || now_and_then {
                crowd.read(number);
            }
        }
    }
    assert_eq!(crowd.subscribers.len(), Moody::SUBSCRIBERS * 3 / 4);
    for number in 0..Moody::SUBSCRIBERS {
        crowd.read(number);
    }
    // Nothing comes twice: what is next is the next.
    crowd.publish(&mut random, None);
    for number in 0..Moody::SUBSCRIBERS {
        crowd.read(number);
    }
    let (sends, whole) = (broker.counter("sends"), broker.counter("deliveries"));
    figure(
        &format!("moody subscribers, {sending}"),
        &format!("{whole} deliveries in {sends} sends"),
    );
}

#[test]
fn short_and_failed_sends_in_a_batch_lose_and_repeat_nothing() {
    moody("ring");
}

#[test]
fn short_and_failed_sends_one_by_one_lose_and_repeat_nothing() {
    moody("loop");
}
