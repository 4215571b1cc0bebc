//! A peer is alive when it takes what it is sent or sends what it began, however slowly. It is not alive when it
//! takes nothing, says nothing, or begins a frame and never ends it.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oyez_client::{Client, ConnectError, ConnectOptions};
use oyez_protocol::command::Hello;
use oyez_protocol::event::Goodbye;
use oyez_protocol::header::kind;
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};
use testkit::deadline::{wait_for, wait_until};
use testkit::figures::figure;
use testkit::random::Random;
use testkit::record::{HELLO, hello_of, record};
use testkit::stream::Cutter;
use testkit::{Broker, Event, GoodbyeCode, Outcome, Session, Setup, Start};

const TOPIC: &str = "stream";
const HEARTBEAT: Duration = Duration::from_millis(1000);
/// A slow reader takes so much in each step: 40 KB a second.
const STEP: Duration = Duration::from_millis(100);
const STEP_BYTES: usize = 4_000;
/// And a very slow one: then its socket takes nothing new for longer than the broker waits for an end of the connection.
const SMALL_STEP_BYTES: usize = 3_000;

fn broker() -> Broker {
    Setup::new()
        .set("heartbeat_ms", HEARTBEAT.as_millis())
        .set("written_topics", TOPIC)
        .start()
}

/// More than any socket takes.
fn fill(broker: &Broker) {
    let payload = Random::new(5).bytes(60_000);
    for entry in broker.connect().publish_each(TOPIC, &vec![payload; 40]) {
        assert_eq!(entry.outcome, Outcome::Ok);
    }
}

/// A subscriber that answers no ping and whose socket takes in little.
fn slow_subscriber(broker: &Broker) -> (TcpStream, Vec<u8>) {
    let mut session = broker.connect();
    session.keep_receive_buffer_small();
    session.subscribe(TOPIC, Start::Earliest);
    session.into_parts()
}

/// Reads on at the pace of a slow reader, as much in each step as `buffer` holds; false at the end of the stream.
fn read_slowly(
    socket: &mut TcpStream,
    due: &mut Instant,
    buffer: &mut [u8],
    mut on_bytes: impl FnMut(&[u8]),
) -> bool {
    wait_until("the next step", || Instant::now() >= *due);
    *due += STEP;
    socket
        .set_read_timeout(Some(STEP))
        .expect("a time that is not zero");
    match socket.read(buffer) {
        Ok(0) => false,
        Ok(size) => {
            on_bytes(&buffer[..size]);
            true
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn a_slow_but_steady_reader_lives_and_one_that_stops_reading_does_not() {
    let broker = broker();
    fill(&broker);
    let (mut socket, _rest) = slow_subscriber(&broker);
    let (begin, mut due) = (Instant::now(), Instant::now());
    while begin.elapsed() < 7 * HEARTBEAT {
        let goes_on = read_slowly(&mut socket, &mut due, &mut [0; STEP_BYTES], |_| {});
        assert!(goes_on, "closed after {:?}", begin.elapsed());
    }
    // The kernel still answers for it: it acknowledges that its window is closed.
    let stopped = Instant::now();
    wait_until("the end of the session", || {
        broker.stats()["subscriptions"] == 0
    });
    let took = stopped.elapsed();
    figure("closed after the last read", &format!("{took:?}"));
    assert!(took >= HEARTBEAT, "{took:?}");
    assert!(took < 6 * HEARTBEAT, "{took:?}");
}

#[test]
fn a_goodbye_reaches_a_reader_that_is_slow() {
    let broker = broker();
    fill(&broker);
    let mut session = broker.connect();
    session.keep_receive_buffer_small();
    session.subscribe(TOPIC, Start::Earliest);
    let mut asking = broker.connect();
    wait_until("a full socket", || {
        asking.lag()["slowest"][0]["blocked_ms"].as_u64() >= Some(1)
    });
    // A frame that only brokers send: what was on its way comes first, then Goodbye.
    session.send(&testkit::record::control(kind::UNSUBSCRIBED, 0, 1, &[]));
    let (mut socket, rest) = session.into_parts();
    let (begin, mut due) = (Instant::now(), Instant::now());
    let (mut cutter, mut code) = (Cutter::new(rest), None);
    while code.is_none() {
        let mut buffer = [0; SMALL_STEP_BYTES];
        let goes_on = read_slowly(&mut socket, &mut due, &mut buffer, |bytes| {
            cutter.feed(bytes, |kind, frame| {
                if kind == kind::GOODBYE {
                    code = Some(goodbye(frame).code);
                }
            });
        });
        assert!(
            goes_on || code.is_some(),
            "closed after {:?} without a Goodbye",
            begin.elapsed()
        );
    }
    assert_eq!(code, Some(GoodbyeCode::Unexpected));
    let took = begin.elapsed();
    figure("a Goodbye to a slow reader", &format!("{took:?}"));
    assert!(
        took > Duration::from_secs(3),
        "it was no slow one: {took:?}"
    );
}

fn goodbye(frame: &[u8]) -> Goodbye<'_> {
    match decode(frame, &Limits::HARD) {
        Ok(Decoded::Frame {
            frame: Frame::Goodbye(goodbye),
            ..
        }) => goodbye,
        other => panic!("expected Goodbye, got {other:?}"),
    }
}

/// Sends bytes in pieces, one in each step, until all are sent or the broker hangs up.
fn send_slowly(session: &mut Session, bytes: &[u8], piece: usize, step: Duration) {
    let mut due = Instant::now();
    for piece in bytes.chunks(piece) {
        wait_until("the next step", || Instant::now() >= due);
        due += step;
        if session.try_send(piece).is_err() {
            return;
        }
    }
}

#[test]
fn a_slow_but_steady_sender_lives() {
    let broker = broker();
    let mut session = broker.connect();
    session.ignore_pings();
    let payload = Random::new(6).bytes(200_000);
    let bytes = record(TOPIC, &[payload], 7);
    send_slowly(&mut session, &bytes, 4_000, STEP);
    assert_eq!(session.outcome_of(7).outcome, Outcome::Ok);
}

#[test]
fn the_rest_of_a_frame_is_not_waited_for_for_ever() {
    let broker = Setup::new().set("hello_timeout_ms", 3000).start();
    let bytes = record(TOPIC, &["a payload"], 7);
    // A size that was damaged on its way looks like this, too.
    let mut session = broker.connect();
    session.send(&bytes[..bytes.len() - 8]);
    let begin = Instant::now();
    let farewell = session.farewell();
    assert_eq!(farewell.code, GoodbyeCode::Silent);
    assert!(farewell.reason.contains("rest of a frame"), "{farewell:?}");
    let took = begin.elapsed();
    figure("the rest of a frame stays away", &format!("{took:?}"));
    assert!(took >= Duration::from_secs(9), "{took:?}");
    // A hello has half the time that a connection has for it.
    let mut session = Session::open(broker.address());
    session.send(&hello_of(&HELLO)[..20]);
    let farewell = session.farewell();
    assert!(farewell.reason.contains("rest of a frame"), "{farewell:?}");
}

#[test]
fn a_frame_that_comes_in_dribbles_does_not_hold_its_session_for_ever() {
    let broker = Broker::start();
    let bytes = record(TOPIC, &["a payload of some length"], 7);
    let mut session = broker.connect();
    let begin = Instant::now();
    send_slowly(&mut session, &bytes, 1, Duration::from_millis(300));
    let farewell = session.farewell();
    assert_eq!(farewell.code, GoodbyeCode::Silent);
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(9), "{took:?}");
}

#[test]
fn a_client_may_ask_to_be_looked_after_more_often_and_not_less() {
    let broker = Broker::start();
    let granted = |heartbeat_ms| {
        let mut session = Session::open(broker.address());
        session.send(&hello_of(&Hello {
            heartbeat_ms,
            ..HELLO
        }));
        match session.event() {
            Event::Welcome(greeting) => (greeting.heartbeat_ms, session),
            event => panic!("expected a welcome, got {event:?}"),
        }
    };
    for (wish, grant) in [
        (0, 300_000),
        (3_600_000, 300_000),
        (300_001, 300_000),
        (299_999, 299_999),
        (1, 1000),
    ] {
        assert_eq!(granted(wish).0, grant, "asked for {wish}");
    }
    // It gets what it is granted, once the time for its hello is over.
    let (_, mut session) = granted(1000);
    session.ignore_pings();
    let begin = Instant::now();
    assert!(matches!(session.event(), Event::Ping(_)));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn the_kernel_looks_for_peers_that_are_gone() {
    /// The kernel's timer for what is neither sent again nor probed, here keepalive.
    const TIMER_KEEPALIVE: &str = "02";
    const TICKS_PER_SECOND: u64 = 100;
    let broker = Broker::start();
    let mut session = broker.connect();
    session.ping();
    let client = session.stream().local_addr().expect("a connected socket");
    let (own, peer) = (hex(broker.address().port()), hex(client.port()));
    let due = wait_for("the timer of the broker's socket", || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let mut lines = table.lines().map(|line| line.split_whitespace());
        let mut line = lines.find_map(|mut words| {
            let found = words.nth(1)?.ends_with(&own) && words.next()?.ends_with(&peer);
            found.then_some(words)
        })?;
        let (timer, due) = line.nth(2)?.split_once(':')?;
        (timer == TIMER_KEEPALIVE).then(|| u64::from_str_radix(due, 16).expect("hexadecimal"))
    });
    let due = Duration::from_secs(due / TICKS_PER_SECOND);
    assert!(due <= Duration::from_secs(120), "{due:?}");
    assert!(due > Duration::from_secs(60), "{due:?}");
}

fn hex(port: u16) -> String {
    format!(":{port:04X}")
}

#[test]
fn credentials_that_cannot_be_checked_are_refused() {
    let broker = Broker::start();
    let options = ConnectOptions::new().credentials("definitely-wrong");
    let address = broker.address().to_string();
    let error = Client::connect_with(&address, options).expect_err("no access control");
    assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
    let said = error.to_string();
    for words in ["cannot check credentials", "Credentials", "code 263"] {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
    assert!(Client::connect(&address).is_ok(), "without them");
}

#[test]
fn a_shutdown_lets_the_kernel_finish_what_a_slow_reader_was_sent() {
    let mut broker = Setup::new()
        .set("drain_timeout_ms", 1000)
        .set("written_topics", TOPIC)
        .start();
    let mut session = broker.connect();
    session.keep_receive_buffer_small();
    session.subscribe(TOPIC, Start::Latest);
    // All of it fits into the broker's side of the connection.
    let payload = Random::new(7).bytes(60_000);
    broker.connect().publish(TOPIC, &payload);
    assert_eq!(broker.stop().code(), Some(0));
    let delivery = session.delivery();
    assert!(delivery.payloads == [payload]);
    assert_eq!(session.farewell().code, GoodbyeCode::Draining);
}
