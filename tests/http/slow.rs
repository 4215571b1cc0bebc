//! Peers that take their time: a request has as long as a hello has, or as the rest of a frame, and a peer that takes longer is
//! told so and closed.

use std::time::{Duration, Instant};

use oyez_protocol::{Decoded, Frame, decode, limits::Limits};
use testkit::http::{Connection, End, ask, get, post};
use testkit::{Broker, GoodbyeCode, Setup};

use crate::{Bystander, assert_is_empty};

/// What a new connection has for its first request, in milliseconds.
const HELLO_MS: u64 = 600;
/// What a body of less than 1 KiB has at least, in milliseconds: a second less than what is documented, for coarse clocks.
const BODY_MS: u64 = 9_000;
const MOMENT: Duration = Duration::from_millis(20);

fn broker() -> Broker {
    Setup::new()
        .set("memory_topics", "#")
        .set("hello_timeout_ms", HELLO_MS)
        .start()
}

/// Says a byte now and then until something comes back. Gives how long that took.
fn dribble(connection: &mut Connection, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    for byte in bytes.iter().cycle() {
        if connection.try_send([*byte]).is_err() {
            break;
        }
        match connection.glance(MOMENT) {
            Ok([]) => {}
            Ok(_) | Err(_) => break,
        }
    }
    begin.elapsed()
}

/// The broker has waited long enough, answers that the request did not come in time, and shuts its side.
fn assert_timed_out(connection: &mut Connection, what: &str) {
    let answer = connection.answer();
    assert_eq!(answer.status, 408, "{what}: {answer:?}");
    assert!(answer.closes(), "{what}: {answer:?}");
    assert_eq!(connection.end(), (Vec::new(), End::Closed), "{what}");
}

const HEAD: &str = "POST /slow HTTP/1.1\r\nHost: localhost\r\n";

#[test]
fn a_first_request_that_stops_is_answered_when_its_time_is_over() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let begun = [
        "POST /slo".to_owned(),
        HEAD.to_owned(),
        format!("{HEAD}\r"),
        format!("{HEAD}Content-Length: 5\r\n\r\nhell"),
        format!("{HEAD}Content-Length: 5\r\n\r\n"),
        chunked.clone(),
        format!("{chunked}5\r\nhel"),
        format!("{chunked}5\r\nhello\r\n0\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\nX: y\r\n"),
    ]
    .map(|bytes| {
        let mut connection = Connection::open(broker.address());
        let begin = Instant::now();
        connection.send(&bytes);
        (bytes, connection, begin)
    });
    for (bytes, mut connection, begin) in begun {
        assert_timed_out(&mut connection, &bytes);
        let waited = begin.elapsed();
        assert!(
            waited >= Duration::from_millis(HELLO_MS / 2),
            "{waited:?} for {bytes:?}"
        );
        bystander.goes_on(&broker);
    }
    assert_is_empty(&broker, "/slow");
}

/// The head of a first request has as long as a hello; a body has as long as a frame of its size.
#[test]
fn a_first_request_that_dribbles_has_no_longer() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    for (begin, rest, least_ms) in [
        (HEAD.to_owned(), "X: y\r\n", HELLO_MS / 2),
        (
            format!("{HEAD}Content-Length: 2000\r\n\r\n"),
            "body",
            BODY_MS,
        ),
        (
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"),
            "1\r\na\r\n",
            BODY_MS,
        ),
    ] {
        let mut connection = Connection::open(broker.address());
        connection.send(&begin);
        let waited = dribble(&mut connection, rest.as_bytes());
        let bounds = Duration::from_millis(least_ms)..Duration::from_millis(4 * BODY_MS);
        assert!(bounds.contains(&waited), "{waited:?} for {begin:?}");
        assert_timed_out(&mut connection, &begin);
        bystander.goes_on(&broker);
    }
    assert_is_empty(&broker, "/slow");
}

/// Fewer bytes than tell what is spoken are answered in frames.
#[test]
fn a_connection_that_says_next_to_nothing_hears_a_goodbye_in_frames() {
    let broker = broker();
    for bytes in ["", "GET", "GET / H"] {
        let mut connection = Connection::open(broker.address());
        connection.send(bytes);
        let (said, end) = connection.end();
        let Ok(Decoded::Frame {
            frame: Frame::Goodbye(goodbye),
            ..
        }) = decode(&said, &Limits::DEFAULT)
        else {
            panic!("{bytes:?}: {said:?}");
        };
        assert_eq!(
            (goodbye.code, end),
            (GoodbyeCode::Silent, End::Closed),
            "{bytes:?}"
        );
    }
}

/// It has ten seconds for each piece, as a frame has.
#[test]
fn a_later_request_that_stops_is_answered_when_its_time_is_over_and_a_slow_one_is_served() {
    let broker = broker();
    let stops = [
        "GET / HTTP/1.1\r\nHost".to_owned(),
        format!("{HEAD}Content-Length: 5\r\n\r\nhell"),
    ];
    let mut stopped = stops.map(|bytes| {
        let mut connection = Connection::open(broker.address());
        assert_eq!(connection.ask(get("/")).status, 200);
        connection.send(bytes);
        connection
    });
    let mut slow = Connection::open(broker.address());
    assert_eq!(slow.ask(get("/")).status, 200);
    let begin = Instant::now();
    for byte in post("/served", "hello").bytes() {
        slow.send([byte]);
        // A moment for each byte, in which nothing comes but the answer to the last one.
        slow.glance(MOMENT).expect("the connection is open");
    }
    assert_eq!(slow.answer().offset(), Some(0));
    assert!(begin.elapsed() > Duration::from_millis(HELLO_MS));
    for connection in &mut stopped {
        assert_timed_out(connection, "a later request");
    }
    assert!(begin.elapsed() >= Duration::from_secs(9));
    assert_is_empty(&broker, "/slow");
}

/// A refused peer that goes on sending for longer than the broker reads on may see a reset, behind the answer.
#[test]
fn a_refused_client_that_sends_on_and_on_sees_its_answer_and_then_the_end_or_a_reset() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let mut connection = Connection::open(broker.address());
    connection.send(ask("POST", "/slow", "Content-Length: +5\r\n", ""));
    let answer = connection.answer();
    assert!(answer.status == 400 && answer.closes(), "{answer:?}");
    let begin = Instant::now();
    let mut end = None;
    while connection.try_send("on and on").is_ok() {
        match connection.glance(MOMENT) {
            Ok(bytes) => assert_eq!(bytes, b""),
            Err(how) => end = Some(how),
        }
    }
    assert!(end.is_some());
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "the broker reads on for a while"
    );
    bystander.goes_on(&broker);
    assert_is_empty(&broker, "/slow");
}
