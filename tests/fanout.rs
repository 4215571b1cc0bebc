//! One topic, thousands of subscribers: each gets every record once and in order, and costs next to nothing while idle.

use std::time::Instant;

use testkit::crowd::{Audience, Crowd};
use testkit::figures::{figure, size};
use testkit::random::Random;
use testkit::{Outcome, Setup, Start};

const TOPIC: &str = "broadcast";
/// DESIGN's limit for an idle subscriber with one subscription, in bytes of private memory.
const IDLE_BYTES_MAX: u64 = 256;
/// What one-time growth of tables may add over all subscribers, when there are too few to make it disappear.
const ONCE_BYTES: u64 = 256 << 10;

#[test]
fn ten_thousand_subscribers_get_every_record_once_and_in_order() {
    let subscribers = size("OYEZ_SUBSCRIBERS", 10_000);
    let records = size("OYEZ_RECORDS", 1_000);
    let broker = Setup::new()
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
        "broadcast",
        &format!("{deliveries} deliveries in {seconds:.1} s, {rate:.0} per s"),
    );
    assert!(broker.counter("deliveries") >= deliveries as u64);
    let limit = IDLE_BYTES_MAX * subscribers as u64 + ONCE_BYTES;
    assert!(idle <= limit, "{idle} B for {subscribers} idle subscribers");
}
