//! After warm-up a delivery allocates nothing: the broker runs inside this process, under an allocator that counts what
//! its shards do.

#[expect(
    unsafe_code,
    reason = "a global allocator is unsafe to implement; prctl tells a thread's name without allocating"
)]
mod sys;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use oyez_broker::{Config, Server};
use testkit::figures::figure;
use testkit::websocket::{BINARY, Message, WebSocket, words};
use testkit::{Outcome, Session, Start, record};

const TOPIC: &str = "counted";
/// Topics without subscribers: enough that some belong to the shard that the publisher is not on.
const OTHERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const SUBSCRIBERS: usize = 100;
const RECORDS: usize = 200;
const WARM_UP: usize = 300;

/// How subscribers are connected.
#[derive(Clone, Copy)]
enum Via {
    Tcp,
    WebSocket,
}

/// A subscriber of the topic.
enum Subscriber {
    Tcp(Session),
    WebSocket(WebSocket),
}

impl Subscriber {
    fn connect(address: SocketAddr, via: Via) -> Self {
        match via {
            Via::Tcp => {
                let mut session = Session::connect(address);
                assert_eq!(session.subscribe(TOPIC, Start::Latest).outcome, Outcome::Ok);
                Self::Tcp(session)
            }
            Via::WebSocket => {
                let mut socket = WebSocket::native(address);
                socket.say(BINARY, &record::subscribe_to(TOPIC.as_bytes()));
                assert_eq!(socket.line(), "subscribed Ok");
                Self::WebSocket(socket)
            }
        }
    }

    /// Takes so many messages.
    fn take(&mut self, count: usize) {
        match self {
            Self::Tcp(session) => {
                session.messages(TOPIC, count);
            }
            Self::WebSocket(socket) => {
                let mut left = count;
                while left > 0 {
                    let message = socket.message().expect("the broker goes on");
                    if let Message::Binary(frames) = message {
                        left -= words(&frames).len();
                    }
                }
            }
        }
    }
}

struct Run {
    publisher: Session,
    subscribers: Vec<Subscriber>,
}

impl Run {
    /// Publishes and waits until everybody has everything.
    fn publish(&mut self, records: usize) {
        let payload = vec![b'x'; 200];
        for chunk in 0..records / 10 {
            for topic in OTHERS.iter().chain(&[TOPIC]) {
                let entries = self.publisher.publish_each(topic, &[&payload; 10]);
                assert!(
                    entries.iter().all(|entry| entry.outcome == Outcome::Ok),
                    "{chunk} of {topic}"
                );
            }
            for subscriber in &mut self.subscribers {
                subscriber.take(10);
            }
        }
    }
}

/// What the shards allocate for so many records to so many subscribers.
fn allocations(via: Via, subscribers: usize, shards: usize) -> u64 {
    let home = tempfile::tempdir().expect("a directory for temporary files");
    let server = Server::start(Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
        operator: Vec::new(),
        data: home.path().join("data"),
        shards,
        segment_bytes: 16 << 20,
        arena_bytes: 32 << 20,
        ..Config::default()
    })
    .expect("the broker starts");
    let address = server.address();
    let connect = |_| Subscriber::connect(address, via);
    let mut run = Run {
        publisher: Session::connect(address),
        subscribers: (0..subscribers).map(connect).collect(),
    };
    run.publish(WARM_UP);
    let counted = sys::shard_allocations(|| run.publish(RECORDS));
    drop(run);
    server.stopper().stop();
    server.wait().expect("the broker stops in good order");
    counted
}

#[test]
fn a_delivery_allocates_nothing_after_warm_up() {
    check(Via::Tcp, "allocations of the shards");
}

#[test]
fn nor_does_one_over_websocket() {
    check(Via::WebSocket, "allocations of the shards, over WebSocket");
}

/// One after the other: what shards allocate is counted for the process.
static ALONE: Mutex<()> = Mutex::new(());

fn check(via: Via, name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (few, many) = (allocations(via, 1, 1), allocations(via, SUBSCRIBERS, 1));
    let two_shards = allocations(via, SUBSCRIBERS, 2);
    figure(
        name,
        &format!(
            "{few} for {RECORDS} deliveries, {many} for {}, {two_shards} on two shards",
            RECORDS * SUBSCRIBERS
        ),
    );
    assert!(
        many <= few + 10,
        "{many} allocations with {SUBSCRIBERS} subscribers, {few} with one"
    );
    // A record that is handed to the shard that owns its log travels in memory that was used before.
    assert!(
        two_shards <= 2 * many + 10,
        "{two_shards} allocations for {RECORDS} records on two shards"
    );
}
