//! Clients that ask many times before they read: all answers come, in order, and what waits for those who do not read has a
//! bound.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::Broker;
use testkit::deadline::wait_until;
use testkit::figures::figure;
use testkit::http::{Connection, End, get, post};
use testkit::process::status_bytes;

use crate::{Bystander, broker};

const REQUESTS: usize = 10_000;
/// Bytes that a broker allocates once and late, blocks of its arena (2 MiB each) included.
const ONCE_BYTES: u64 = 6 << 20;
/// Memory that a client which reads no answers may cost: what was read of it and the answers that wait, each twice while it grows.
const DEAF_BYTES: u64 = 512 << 10;

/// Private memory with what is used of the arena: these tests publish little.
fn resident(broker: &Broker) -> u64 {
    status_bytes(broker.pid(), "RssAnon")
}

/// Requests of all kinds, the number in turn.
fn request(number: usize) -> String {
    match number % 3 {
        0 => post("/pipeline", &format!("message {number}")),
        1 => get("/"),
        _ => get(&format!("/nothing/{number}")),
    }
}

/// Reads an answer to each request.
fn read(connection: &mut Connection, count: usize) {
    for number in 0..count {
        let answer = connection.answer();
        let expected = match number % 3 {
            0 => (200, Some(number as u64 / 3)),
            1 => (200, None),
            _ => (404, None),
        };
        assert_eq!(
            (answer.status, answer.offset()),
            expected,
            "answer {number}"
        );
    }
}

#[test]
fn ten_thousand_requests_at_once_are_answered_in_order_and_others_are_served_meanwhile() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let before = resident(&broker);
    let mut connection = Connection::open(broker.address());
    let mut writer = connection
        .stream()
        .try_clone()
        .expect("a descriptor is free");
    let (over, mut served, mut most) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let all: String = (0..REQUESTS).map(request).collect();
            writer
                .write_all(all.as_bytes())
                .expect("the broker takes it all");
        });
        scope.spawn(|| {
            read(&mut connection, REQUESTS);
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            bystander.goes_on(&broker);
            served += 1;
            most = most.max(resident(&broker));
        }
    });
    connection.shut();
    assert_eq!(connection.end(), (Vec::new(), End::Closed));
    let grown = most.saturating_sub(before);
    figure(
        "a pipeline",
        &format!("{grown} B more memory, others served {served} times"),
    );
    assert!(grown <= ONCE_BYTES, "{grown} bytes");
    assert!(served >= 3, "others were served {served} times");
}

/// Writes requests until the broker has read nothing for a while. Returns how many bytes it took, and those of a request that
/// it took a part of.
fn fill(stream: &mut TcpStream, requests: &[u8]) -> usize {
    let (mut taken, mut refused) = (0, 0);
    wait_until("the broker to read no more", || {
        loop {
            match stream.write(&requests[taken % requests.len()..]) {
                Ok(size) => (taken, refused) = (taken + size, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the broker has closed: {error}"),
            }
            assert!(taken < 256 << 20, "the broker reads for ever");
        }
        refused += 1;
        refused > 100
    });
    taken
}

#[test]
fn clients_that_never_read_their_answers_have_a_bound_and_get_them_when_they_read_again() {
    const CLIENTS: usize = 4;
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    bystander.goes_on(&broker);
    let before = resident(&broker);
    let one = get("/");
    let requests = one.repeat(1_000);
    let mut deaf: Vec<(Connection, usize)> = (0..CLIENTS)
        .map(|_| {
            let connection = Connection::open(broker.address());
            let mut stream = connection
                .stream()
                .try_clone()
                .expect("a descriptor is free");
            stream.set_nonblocking(true).expect("a TCP socket");
            let taken = fill(&mut stream, requests.as_bytes());
            stream.set_nonblocking(false).expect("a TCP socket");
            (connection, taken)
        })
        .collect();
    bystander.goes_on(&broker);
    let grown = resident(&broker).saturating_sub(before);
    figure(
        "clients that read no answers",
        &format!("{grown} B of memory"),
    );
    let bound = ONCE_BYTES + CLIENTS as u64 * DEAF_BYTES;
    assert!(grown <= bound, "{grown} bytes");
    for (connection, taken) in &mut deaf {
        let (whole, cut) = (*taken / one.len(), *taken % one.len());
        let rest = if cut > 0 { &one[cut..] } else { "" };
        let mut writer = connection
            .stream()
            .try_clone()
            .expect("a descriptor is free");
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(rest.as_bytes()).expect("it is read again"));
            for _ in 0..whole + usize::from(cut > 0) {
                assert!(connection.answer().body.starts_with("Oyez "));
            }
        });
        connection.shut();
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
    }
    bystander.goes_on(&broker);
}
