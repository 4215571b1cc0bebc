//! One bit that flips on its way, whichever it is, costs a client one connection and nothing else: what it publishes is
//! acknowledged and stored, what it subscribes to is delivered, once and in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oyez_client::{Ack, Client, ConnectOptions, PublisherOptions, ReconnectPolicy};
use oyez_client::{Delivery, SubscribeOptions};
use oyez_protocol::command::Hello;
use testkit::deadline::PATIENCE;
use testkit::figures::figure;
use testkit::flipper::{Flip, Flipper, Way};
use testkit::record::{record, subscribe_to};
use testkit::{Broker, Outcome, Setup, Start};

const NAME: &str = "flipped";
/// Clients at once: most of the time of those whose size was damaged is waiting.
const CLIENTS: usize = 16;
const PAYLOADS: [&str; 3] = ["one", "two", "three"];
/// What all subscribers read.
const READ: &str = "read";
/// A welcome has 64 bytes and the broker's name, a multiple of 8.
const WELCOME_BYTES: usize = 88;

/// A broker that waits for the rest of a frame for two seconds, and for that of a hello for one.
fn broker() -> Broker {
    Setup::new()
        .set("heartbeat_ms", 1000)
        .set("hello_timeout_ms", 2000)
        .set("default_durability", "memory")
        .start()
}

fn hello_bytes() -> usize {
    let mut hello = Vec::new();
    Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        heartbeat_ms: 0,
        name: NAME,
        credentials: b"",
    }
    .encode(&mut hello);
    hello.len()
}

fn connect(flipper: &Flipper) -> Client {
    let policy = ReconnectPolicy::default().base(Duration::from_millis(5));
    let options = ConnectOptions::new().name(NAME).reconnect(policy);
    Client::connect_with(&flipper.address().to_string(), options).expect("a welcome")
}

/// Publishes all payloads without waiting in between; each must have an acknowledgement of its own.
fn publish(broker: &Broker, flip: Flip) {
    let flipper = Flipper::new(broker.address(), flip);
    let topic = topic(flip.bit);
    let client = connect(&flipper);
    let publisher = client.publisher(PublisherOptions {
        batch_messages: 1,
        keep_acks: true,
        ..PublisherOptions::default()
    });
    let publisher = publisher.expect("a connection");
    for payload in PAYLOADS {
        publisher.push(&topic, payload).expect("a session");
    }
    publisher.flush().expect("everything is acknowledged");
    let acks: Vec<Ack> = publisher.take_acks();
    assert_eq!(acks.len(), PAYLOADS.len());
    let mut reader = broker.connect();
    let head = reader.subscribe(&topic, Start::Earliest).head.get();
    let stored = reader.messages(&topic, head as usize);
    let mut acknowledged: Vec<String> = acks
        .iter()
        .map(|ack| stored[ack.offset.get() as usize].1.clone())
        .map(|payload| String::from_utf8(payload).expect("as it was published"))
        .collect();
    acknowledged.sort_unstable();
    let mut wanted = PAYLOADS;
    wanted.sort_unstable();
    assert_eq!(acknowledged, wanted, "each has an answer of its own");
    assert!(flipper.has_flipped(), "{flip:?} is beyond the stream");
    drop(publisher);
    client.drain().expect("nothing is left");
}

fn topic(bit: usize) -> String {
    format!("flip/{bit:04}")
}

/// Reads the common topic from its beginning.
fn subscribe(broker: &Broker, flip: Flip) {
    let flipper = Flipper::new(broker.address(), flip);
    let client = connect(&flipper);
    let options = SubscribeOptions::topic(READ).from(Start::Earliest);
    let mut subscription = client.subscribe(options).expect("a subscription");
    for (offset, payload) in (0..).zip(PAYLOADS) {
        match subscription.next_timeout(PATIENCE).expect("a delivery") {
            Some(Delivery::Message(message)) => {
                assert_eq!(message.offset.get(), offset);
                assert_eq!(message.payload, payload.as_bytes());
            }
            other => panic!("expected message {offset}, got {other:?}"),
        }
    }
    assert!(flipper.has_flipped(), "{flip:?} is beyond the stream");
}

/// Runs one client for each bit of a part of a stream, many at a time.
fn flip_each(way: Way, bytes: std::ops::Range<usize>, run: fn(&Broker, Flip)) {
    let broker = Arc::new(broker());
    for entry in broker.connect().publish_each(READ, &PAYLOADS) {
        assert_eq!(entry.outcome, Outcome::Ok);
    }
    let (bits, begin) = (bytes.start * 8..bytes.end * 8, Instant::now());
    let next = Arc::new(AtomicUsize::new(bits.start));
    let running = Arc::new(Mutex::new(Vec::new()));
    let (done, finished) = channel();
    for _ in 0..CLIENTS {
        let (broker, next, done) = (Arc::clone(&broker), Arc::clone(&next), done.clone());
        let (running, end) = (Arc::clone(&running), bits.end);
        std::thread::spawn(move || {
            loop {
                let bit = next.fetch_add(1, Ordering::Relaxed);
                if bit >= end {
                    return;
                }
                running.lock().expect("nobody panics here").push(bit);
                run(&broker, Flip { way, bit });
                running
                    .lock()
                    .expect("nobody panics here")
                    .retain(|other| *other != bit);
                if done.send(()).is_err() {
                    return;
                }
            }
        });
    }
    drop(done);
    for count in 0..bits.len() {
        finished.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let stuck = running.lock().map(|running| running.clone());
            panic!(
                "stuck or failed after {count}, bits from {}: {stuck:?}",
                bits.start
            );
        });
    }
    let what = format!(
        "{way:?} {bytes:?}: {} clients in {:?}",
        bits.len(),
        begin.elapsed()
    );
    figure("flipped bits", &what);
}

#[test]
fn a_bit_of_a_published_record() {
    let first = hello_bytes();
    let size = record(&topic(0), &PAYLOADS[..1], 0).len();
    flip_each(Way::In, first..first + size, publish);
}

#[test]
fn a_bit_of_a_subscription() {
    let first = hello_bytes();
    let size = subscribe_to(READ.as_bytes()).len();
    flip_each(Way::In, first..first + size, subscribe);
}

#[test]
fn a_bit_of_a_hello() {
    flip_each(Way::In, 0..hello_bytes(), subscribe);
}

#[test]
fn a_bit_of_an_acknowledgement() {
    flip_each(Way::Out, WELCOME_BYTES..WELCOME_BYTES + 48, publish);
}

#[test]
fn a_bit_of_the_answer_to_a_subscription_or_of_a_delivery() {
    let size = 56 + record(READ, &PAYLOADS[..1], 0).len();
    flip_each(Way::Out, WELCOME_BYTES..WELCOME_BYTES + size, subscribe);
}
