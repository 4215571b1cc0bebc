//! A subscriber that stops reading costs no memory and delays no other; when it reads again it gets everything.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oyez_protocol::event::GapCause;
use oyez_protocol::header::kind;
use testkit::deadline::{PATIENCE, wait_for, wait_until};
use testkit::figures::{figure, full, size};
use testkit::random::Random;
use testkit::stream::Cutter;
use testkit::{Broker, Event, Offset, Outcome, Session, Setup, Start};

const TOPIC: &str = "stream";
const RECORD_BYTES: usize = 64 << 10;
/// Records that are acknowledged before the next ones are sent.
const CHUNK: usize = 32;
const READERS: usize = 3;
/// Private memory that a stalled subscriber may cost, in bytes.
const MEMORY_MAX: u64 = 1 << 20;

/// A stream of records; the same few payloads over and over.
struct Stream {
    payloads: Vec<Vec<u8>>,
    records: usize,
    /// Offset of its first record.
    base: u64,
}

impl Stream {
    fn new(megabytes: usize) -> Self {
        let mut random = Random::new(9);
        Self {
            payloads: (0..CHUNK).map(|_| random.bytes(RECORD_BYTES)).collect(),
            records: (megabytes << 20) / RECORD_BYTES / CHUNK * CHUNK,
            base: 0,
        }
    }

    fn publish(&self, publisher: &mut Session) {
        for _ in 0..self.records / CHUNK {
            for entry in publisher.publish_each(TOPIC, &self.payloads) {
                assert_eq!(entry.outcome, Outcome::Ok);
            }
        }
    }

    /// Reads the whole stream; every record must be the one that was published, in its order.
    fn read(&self, subscriber: Subscriber) {
        let Subscriber { mut socket, rest } = subscriber;
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        let mut cutter = Cutter::new(rest);
        let mut buffer = vec![0; 256 << 10];
        let mut got = 0;
        while got < self.records {
            let size = socket.read(&mut buffer).expect("the stream goes on");
            assert!(size > 0, "cut off after {got} of {} records", self.records);
            cutter.feed(&buffer[..size], |kind, bytes| {
                if kind == kind::RECORD {
                    self.check(got, bytes);
                    got += 1;
                }
            });
        }
    }

    fn check(&self, number: usize, bytes: &[u8]) {
        let offset = u64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes"));
        assert_eq!(offset, self.base + number as u64, "records come in order");
        let payload = &self.payloads[number % CHUNK];
        let padding = usize::from(bytes[18]);
        assert!(
            bytes[..bytes.len() - padding].ends_with(payload),
            "record {number} is not the one that was published"
        );
    }
}

/// A subscription, with what was read of it already.
struct Subscriber {
    socket: TcpStream,
    rest: Vec<u8>,
}

impl Subscriber {
    fn new(broker: &Broker) -> Self {
        let mut session = broker.connect();
        assert_eq!(session.subscribe(TOPIC, Start::Latest).outcome, Outcome::Ok);
        let (socket, rest) = session.into_parts();
        Self { socket, rest }
    }
}

/// The times of a run of the stream.
#[derive(Clone, Copy)]
struct Run {
    /// Private memory of the broker at its end.
    memory: u64,
    time: Duration,
}

/// One run, with a subscriber that does not read until the end, or without.
fn run(broker: &Broker, stream: &mut Stream, with_stalled: bool) -> Run {
    let mut publisher = broker.connect();
    let readers: Vec<Subscriber> = (0..READERS).map(|_| Subscriber::new(broker)).collect();
    let stalled = with_stalled.then(|| Subscriber::new(broker));
    let begin = Instant::now();
    let going = &*stream;
    std::thread::scope(|scope| {
        for reader in readers {
            scope.spawn(move || going.read(reader));
        }
        going.publish(&mut publisher);
    });
    let run = Run {
        time: begin.elapsed(),
        memory: broker.memory(),
    };
    if let Some(stalled) = stalled {
        stream.read(stalled);
    }
    stream.base += stream.records as u64;
    run
}

/// Runs without and with, in turns on one broker, so that whatever is allocated once and whatever mood the machine is
/// in meets both. The least that a stalled subscriber has cost, in bytes and in time.
fn cost(stream: &mut Stream, rounds: usize) -> (u64, f64) {
    let broker = Setup::new().set("heartbeat_ms", 3_600_000).start();
    run(&broker, stream, true);
    let runs: Vec<(Run, Run)> = (0..rounds)
        .map(|_| (run(&broker, stream, false), run(&broker, stream, true)))
        .collect();
    let extra = runs
        .iter()
        .map(|(without, with)| with.memory.saturating_sub(without.memory));
    let best = |pick: fn(&(Run, Run)) -> Duration| runs.iter().map(pick).min();
    let (without, with) = (best(|runs| runs.0.time), best(|runs| runs.1.time));
    let times = without.zip(with).expect("at least one round");
    let slower = times.1.as_secs_f64() / times.0.as_secs_f64() - 1.0;
    (extra.min().expect("at least one round"), slower)
}

#[test]
fn a_subscriber_that_stops_reading_costs_no_memory_and_delays_no_other() {
    let (megabytes, rounds) = if full() { (200, 3) } else { (24, 3) };
    let megabytes = size("OYEZ_STREAM_MB", megabytes);
    let mut stream = Stream::new(megabytes);
    let (extra, slower) = cost(&mut stream, rounds);
    let figures = format!(
        "{extra} B more memory, the others {:+.1} % slower over {megabytes} MB",
        slower * 100.0
    );
    figure("a stalled subscriber", &figures);
    assert!(extra <= MEMORY_MAX, "{figures}");
    // Short runs on shared machines vary far more than what is promised.
    let allowed = if full() { 0.05 } else { 1.0 };
    assert!(slower <= allowed, "{figures}");
}

#[test]
fn a_subscriber_that_stops_reading_is_logged_with_its_address_and_lag() {
    let broker = Setup::new()
        .set("heartbeat_ms", 3_600_000)
        .set("shards", 3)
        .start();
    let stream = Stream::new(24);
    let stalled = Subscriber::new(&broker);
    let others: Vec<Session> = (0..20)
        .map(|_| {
            let mut session = broker.connect();
            session.subscribe("another", Start::Latest);
            session
        })
        .collect();
    stream.publish(&mut broker.connect());
    let mut asking = broker.connect();
    let lag = wait_for("the subscriber to be seen stalled", || {
        let lag = asking.lag();
        let blocked_ms = lag["slowest"][0]["blocked_ms"].as_u64();
        (blocked_ms >= Some(1)).then_some(lag)
    });
    assert_eq!(lag["subscriptions"], others.len() + 1, "{lag}");
    assert_eq!(lag["by_digits"][0], others.len(), "{lag}");
    let slowest = lag["slowest"].as_array().expect("a list");
    assert_eq!(slowest.len(), 1, "those that have everything are not slow");
    let slow = &slowest[0];
    let address = stalled.socket.local_addr().expect("a connected socket");
    assert_eq!(slow["peer"], address.to_string());
    assert_eq!(slow["topic"], TOPIC);
    assert_eq!(slow["lag"], lag["max"]);
    let behind = slow["lag"].as_u64().expect("a number");
    assert!((1..=stream.records as u64).contains(&behind), "{lag}");
    assert!(slow["unacknowledged_bytes"].as_u64() > Some(0), "{lag}");

    stream.read(stalled);
    wait_until("nobody to be behind", || {
        let lag = asking.lag();
        lag["subscriptions"] == others.len() && lag["max"] == 0
    });
}

/// Reads from `next` on up to `end`, over gaps, and over breaks by coming back; returns every reported hole.
fn read_over_holes(
    broker: &Broker,
    mut session: Session,
    mut next: u64,
    end: u64,
) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    while next < end {
        match session.event() {
            Event::Delivery(delivery) => {
                assert_eq!(delivery.offset.get(), next, "no hole that was not told");
                next += delivery.payloads.len() as u64;
            }
            Event::Gap {
                cause, from, to, ..
            } => {
                assert_eq!((cause, from.get()), (GapCause::Retention, next));
                holes.push((next, to.get()));
                next = to.get();
            }
            // Retention has dropped a record of which a part was out: nothing else can be said on that connection.
            Event::Closed => {
                session = broker.connect();
                let answer = session.subscribe(TOPIC, Start::Offset(Offset::new(next)));
                assert!(answer.dropped, "{answer:?}");
                holes.push((next, answer.next.get()));
                next = answer.next.get();
            }
            event => panic!("expected a delivery or a gap, got {event:?}"),
        }
    }
    holes
}

#[test]
fn a_subscriber_that_retention_overtakes_learns_what_is_missing_and_goes_on() {
    let broker = Setup::new()
        .set("retention_bytes", 8 << 20)
        .set("heartbeat_ms", 3_600_000)
        .start();
    let mut lagging = broker.connect();
    lagging.subscribe(TOPIC, Start::Earliest);
    let stream = Stream::new(40);
    stream.publish(&mut broker.connect());
    wait_until("retention to drop what the subscriber has not read", || {
        let answer = broker.connect().subscribe(TOPIC, Start::Earliest);
        answer.earliest.get() > stream.records as u64 / 2
    });
    let holes = read_over_holes(&broker, lagging, 0, stream.records as u64);
    assert!(!holes.is_empty(), "retention has dropped nothing");

    // A later subscriber begins with the oldest message kept, and learns that offset.
    let mut late = broker.connect();
    let answer = late.subscribe(TOPIC, Start::Offset(Offset::new(0)));
    assert!(answer.dropped && answer.earliest.get() > 0, "{answer:?}");
    assert_eq!(answer.next, answer.earliest);
    read_over_holes(&broker, late, answer.next.get(), answer.head.get());
}
