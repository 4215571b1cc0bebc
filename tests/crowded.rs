//! Crowds that do not behave: clients that are told to go and do not, or that read slowly what is far behind. What they cost is
//! bounded, in the kernel, in the log and in work.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use oyez_protocol::command::VERSION;
use testkit::deadline::{PATIENCE, wait_until};
use testkit::figures::figure;
use testkit::random::Random;
use testkit::record::hello;
use testkit::sockets::limit_receive_buffer;
use testkit::{Broker, Outcome, Session, Setup, Start};

/// Clients that read nothing.
const DEAF: usize = 200;
/// What each of them has in its socket at least, after which nothing more goes into it.
const STUFFED_BYTES: usize = 4 << 20;
/// A connection that nobody has a name for any more may stay in the kernel for so long: what a session has to take its last bytes,
/// what the kernel offers them for, and some seconds for a machine that is busy.
const ORPHANED_MAX: Duration = Duration::from_secs(28);
/// FIN-WAIT-1, as `/proc/net/tcp` tells it.
const FIN_WAIT_1: &str = "04";
const TOPIC: &str = "a/topic";

/// The broker's connections in a state of the kernel's.
fn count_in_state(address: SocketAddr, state: &str) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = format!(":{:04X}", address.port());
    let is_it = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let is_local = fields.next().is_some_and(|local| local.ends_with(&port));
        is_local && fields.nth(1) == Some(state)
    };
    table.lines().filter(is_it).count()
}

/// Subscribers that read nothing, and whose sockets are full.
fn stuffed(broker: &Broker) -> Vec<TcpStream> {
    let sessions: Vec<Session> = (0..DEAF)
        .map(|_| {
            let mut session = broker.connect();
            assert_eq!(session.subscribe(TOPIC, Start::Latest).outcome, Outcome::Ok);
            session
        })
        .collect();
    let payload = Random::new(1).bytes(64 << 10);
    let mut publisher = broker.connect();
    for _ in 0..STUFFED_BYTES / payload.len() {
        assert_eq!(publisher.publish(TOPIC, &payload).outcome, Outcome::Ok);
    }
    sessions
        .into_iter()
        .map(|session| session.into_parts().0)
        .collect()
}

fn leave_nothing_in_the_kernel(end: impl Fn(&mut TcpStream)) {
    let broker = Setup::new().start();
    let mut deaf = stuffed(&broker);
    for stream in &mut deaf {
        end(stream);
    }
    let begin = Instant::now();
    wait_until("an end of their sessions", || {
        broker.counter("connections") < 10
    });
    let orphans = count_in_state(broker.address(), FIN_WAIT_1);
    wait_until("an end of their connections", || {
        count_in_state(broker.address(), FIN_WAIT_1) == 0
    });
    let took = begin.elapsed();
    figure("orphans", &format!("{orphans}, gone after {took:?}"));
    assert!(took < ORPHANED_MAX, "{took:?}");
    drop(deaf);
}

#[test]
fn clients_that_are_refused_and_read_nothing_leave_no_connections_in_the_kernel() {
    leave_nothing_in_the_kernel(|stream| {
        stream.write_all(&[0xff; 64]).expect("the broker reads");
    });
}

#[test]
fn clients_that_end_and_read_nothing_leave_no_connections_in_the_kernel() {
    leave_nothing_in_the_kernel(|stream| {
        stream.shutdown(Shutdown::Write).expect("it is connected");
    });
}

fn count_lines(broker: &Broker, what: &str) -> usize {
    let log = broker.log();
    log.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn a_flood_of_refusals_is_logged_at_a_bounded_rate_with_how_many_there_were() {
    const CLIENTS: usize = 400;
    let broker = Setup::new()
        .set("max_connections", 5)
        .set("shards", 1)
        .start();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(broker.address()).expect("the broker listens");
        stream.write_all(&[0xff; 64]).expect("it reads");
        let _told = stream.read(&mut [0; 256]);
    }
    assert!(count_lines(&broker, "session refused") <= 10);
    let served: Vec<Session> = (0..5).map(|_| broker.connect()).collect();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(broker.address()).expect("the broker listens");
        let _sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _told = stream.read(&mut [0; 256]);
    }
    wait_until("a line with how many sessions were refused", || {
        count_lines(
            &broker,
            "more sessions in the last 10 s; last from 127.0.0.1:",
        ) == 1
    });
    wait_until("a line with how many connections were refused", || {
        let sum = "connections in the last 10 s: full (max_connections=5); last from 127.0.0.1:";
        count_lines(&broker, sum) == 1
    });
    assert_eq!(count_lines(&broker, "as many connections as it may"), 1);
    assert!(broker.log().lines().count() < 50, "{}", broker.log());
    drop(served);
}

#[test]
fn those_that_linger_after_they_were_told_full_keep_nobody_out() {
    let broker = Setup::new().set("max_connections", 20).start();
    let served: Vec<Session> = (0..20).map(|_| broker.connect()).collect();
    let late = |_| {
        let mut session = Session::open(broker.address());
        session.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        session
    };
    let lingering: Vec<Session> = (0..20).map(late).collect();
    wait_until("a refusal of each", || {
        served.len() == 20 && broker_refused(&broker) >= 20
    });
    drop(served);
    let mut welcome = 0;
    wait_until("places for others", || {
        let mut session = Session::open(broker.address());
        session.send(&hello(VERSION, VERSION));
        welcome += usize::from(matches!(session.event(), testkit::Event::Welcome(_)));
        welcome == 10
    });
    drop(lingering);
}

/// Told by a session from this machine, which may ask when the broker is full.
fn broker_refused(broker: &Broker) -> u64 {
    broker.counter("connections_refused")
}

/// Processor time that a broker has taken, in the kernel's ticks.
fn processor_ticks(broker: &Broker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid())).expect("it runs");
    let fields = stat.rsplit(')').next().expect("the name of the program");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}

#[test]
fn a_slow_reader_of_many_topics_costs_no_more_catch_ups_than_it_can_use() {
    const TOPICS: usize = 1024;
    /// More records of all topics than windows keep, and in rounds, so that each topic's window keeps only the last ones.
    const ROUNDS: usize = 6;
    const RECORDS: usize = 16;
    const SIZE: usize = 300;
    let broker = Setup::new()
        .set("memory_topics", "#")
        .set("topic_creation_rate", 0)
        .start();
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("t/{number}")).collect();
    let mut reader = broker.connect();
    for topic in &topics {
        assert_eq!(reader.subscribe(topic, Start::Latest).outcome, Outcome::Ok);
    }
    let (mut stream, _rest) = reader.into_parts();
    limit_receive_buffer(&stream, 4 << 10);
    let payloads = vec![Random::new(2).bytes(SIZE); RECORDS];
    let mut publisher = broker.connect();
    for _ in 0..ROUNDS {
        for topic in &topics {
            publisher.publish_each(topic, &payloads);
        }
    }
    let figures = |broker: &Broker| ["catchups", "sends", "turns"].map(|name| broker.counter(name));
    let (before, begin) = (figures(&broker), processor_ticks(&broker));
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    let (mut left, mut buffer) = (3_usize << 20, vec![0; 4 << 10]);
    while left > 0 {
        let size = stream.read(&mut buffer).expect("the stream goes on");
        left = left.saturating_sub(size);
    }
    let after = figures(&broker);
    let [catchups, sends, turns] = [0, 1, 2].map(|at| after[at] - before[at]);
    let ticks = processor_ticks(&broker) - begin;
    let figures =
        format!("{catchups} for {sends} sends in {turns} turns, {ticks} ticks of processor time");
    figure("catch-ups", &figures);
    assert!(catchups > 0, "the topics are not behind their windows");
    assert!(
        catchups <= 3 * sends,
        "{catchups} catch-ups for {sends} sends"
    );
}
