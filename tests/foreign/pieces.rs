//! Clients that send a request in pieces, as nginx does with bodies that it has kept in a file, and PHP's streams: their kernel keeps
//! the next piece until it hears that the last one is here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use testkit::Setup;
use testkit::deadline::{PATIENCE, wait_until};

/// What is acknowledged with an answer waits for that so long.
const WITH_AN_ANSWER: Duration = Duration::from_millis(40);

/// Publishes in three pieces over a connection of its own, and gives how long that took.
fn publish_in_pieces(address: SocketAddr) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let begin = Instant::now();
    let head = "POST /pieces HTTP/1.0\r\nConnection: close\r\nContent-Length: 6\r\n\r\n";
    for piece in [head, "one", "two"] {
        stream.write_all(piece.as_bytes()).expect("it is read");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    begin.elapsed()
}

#[test]
fn a_client_that_sends_a_request_in_pieces_does_not_wait_between_them() {
    let broker = Setup::new().set("memory_topics", "pieces").start();
    // A machine that is busy takes longer; it is not always.
    wait_until("pieces that come without a pause", || {
        publish_in_pieces(broker.address()) < WITH_AN_ANSWER / 2
    });
}
