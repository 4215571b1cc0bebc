//! `oyez bench` against brokers that lose connections and records.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_client::{GoodbyeCode, Offset, Start};
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::token::Token;
use serde_json::Value;
use support::{EPOCH, FakeBroker, Heard, Peer};

/// The broker's statistics.
const STATS: &str = r#"{"rss_anon_bytes":1}"#;

fn bench(port: u16, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oyez"))
        .env("OYEZ_SERVER", format!("127.0.0.1:{port}"))
        .arg("bench")
        .args(arguments)
        .args(["--timeout", "60s"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn silent_connections_are_counted_when_the_broker_has_accepted_them() {
    let broker = FakeBroker::new();
    let port = broker.port();
    let attended = thread::spawn(move || {
        let mut questions = broker.accept();
        // Seven before it begins, asked for twice; then none of its two, one of them, both.
        for accepted in [7, 7, 7, 8, 9] {
            let Heard::Stats { id } = questions.next() else {
                panic!("it asks how many are accepted");
            };
            questions.answer(
                id,
                false,
                &format!("{{\"connections_accepted\":{accepted}}}"),
            );
        }
        [(); 2].map(|()| broker.accept_unheard().next())
    });
    let silent = ["connect", "--connections", "2", "--silent", "-o", "json"];
    let output = bench(port, &silent);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["figures"]["connections_per_s"].is_number());
    assert_eq!(told["parameters"]["silent"], true);
    assert_eq!(told["parameters"]["subscribe"], false);
    assert_eq!(attended.join().unwrap(), [Heard::End, Heard::End]);
}

/// A broker that calls a function for every connection except the first, which asks for statistics.
fn broker(attend: fn(Peer)) -> u16 {
    let broker = FakeBroker::new();
    let port = broker.port();
    thread::spawn(move || {
        broker.accept().answer_bench(STATS);
        loop {
            let peer = broker.accept();
            thread::spawn(move || attend(peer));
        }
    });
    port
}

/// The error text of a bench that must fail.
#[track_caller]
fn failure(port: u16) -> String {
    let output = bench(port, &["fanout", "--subscribers", "2", "--records", "2"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    errors
}

#[test]
fn a_broker_that_turns_out_to_be_full_is_named_as_the_cause() {
    let port = broker(|mut peer| {
        peer.subscribe();
        peer.goodbye(GoodbyeCode::Full, 0, "as many as it may");
    });
    let told = failure(port);
    assert!(
        told.contains("as many as it may; start it with a larger --max-connections"),
        "{told}"
    );
}

#[test]
fn a_lost_connection_fails_the_bench() {
    let port = broker(|mut peer| {
        let (id, ..) = peer.subscribe();
        peer.confirm(id, 0);
    });
    assert!(failure(port).contains("lost: the server closed it"));
}

#[test]
fn a_missing_record_fails_the_bench() {
    let port = broker(|mut peer| {
        let (id, ..) = peer.subscribe();
        peer.confirm(id, 7);
        peer.deliver("oyez-bench", 8, &[b"the one before is missing"]);
        peer.next();
    });
    assert!(failure(port).contains("records are lost: message 8 came where 7 was due"));
}

#[test]
fn a_record_of_another_publisher_fails_the_bench() {
    let port = broker(|mut peer| {
        let (id, ..) = peer.subscribe();
        peer.confirm(id, 0);
        peer.deliver("oyez-bench", 0, &[b"one", b"two"]);
        peer.next();
    });
    assert!(failure(port).contains("use a topic that no other client uses"));
}

#[test]
fn a_bench_that_takes_too_long_says_how_far_it_came() {
    let port = broker(|mut peer| {
        peer.subscribe();
        peer.next();
    });
    let output = Command::new(env!("CARGO_BIN_EXE_oyez"))
        .env("OYEZ_SERVER", format!("127.0.0.1:{port}"))
        .args(["bench", "idle", "--connections", "2", "--timeout", "100ms"])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert!(errors.contains("0 of 2 subscribed after 0.1 s"), "{errors}");
}

#[test]
fn all_subscribers_come_back_after_a_restart_of_the_broker() {
    let mut broker = FakeBroker::new();
    let port = broker.port();
    let attended = thread::spawn(move || {
        broker.accept().answer_bench(STATS);
        let first_crowd = [broker.accept(), broker.accept()].map(|mut peer| {
            let (id, ..) = peer.subscribe();
            peer.confirm(id, 5);
            peer
        });
        drop(broker.accept());
        drop(first_crowd);
        broker.welcome.instance += 1;
        drop(broker.accept());
        let mut publisher = broker.accept();
        let record = publisher.record();
        publisher.ack(record.correlation, 5);
        let mut crowd = [broker.accept(), broker.accept()];
        for peer in &mut crowd {
            let (id, start, epoch) = peer.subscribe();
            assert_eq!((start, epoch), (Start::Offset(Offset::new(5)), Some(EPOCH)));
            peer.confirm(id, 5);
            peer.deliver("oyez-bench", 5, &[b"missed"]);
        }
        crowd.map(|mut peer| peer.next())
    });
    let resume = ["--resume", "--resume-after", "restart", "-o", "json"];
    let output = bench(
        port,
        &[&["connect", "--connections", "2"][..], &resume].concat(),
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("restart the broker now"));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        told["figures"]["away_seconds"].is_number()
            && told["figures"]["resume_seconds"].is_number()
    );
    attended.join().unwrap();
}

/// A head as that of the broker, in what a subscriber reads of it.
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Reads a subscriber's request, to the empty line.
fn request(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    first
}

/// The event of a message, or, without a payload, of the place where a stream begins.
fn event(next: u64, payload: Option<&[u8]>) -> String {
    let place = Place {
        name: "",
        epoch: EPOCH,
        next: Numbered::Offset(Offset::new(next)),
    };
    let mut token = Vec::new();
    Token::encode(&[place], &mut token);
    let data = payload.map(|payload| format!("data: {}\n", std::str::from_utf8(payload).unwrap()));
    let place = || "event: $place\ndata: {}\n".to_owned();
    let (id, data) = (URL_SAFE_NO_PAD.encode(token), data.unwrap_or_else(place));
    format!("id: {id}\n{data}\n")
}

fn chunk(next: u64, payload: Option<&[u8]>) -> String {
    chunk_of(&event(next, payload))
}

fn chunk_of(events: &str) -> String {
    format!("{:08x}\r\n{events}\r\n", events.len())
}

/// What a bench ends with that publishes three records, whose stream begins with message 7 and goes on with what `tell`
/// makes of the three payloads.
fn streamed(tell: fn([&[u8]; 3]) -> Vec<String>) -> Output {
    let broker = FakeBroker::new();
    let port = broker.port();
    let attended = thread::spawn(move || {
        broker.accept().answer_bench(STATS);
        let mut stream = broker.accept_unheard().stream;
        assert_eq!(request(&stream), "GET /oyez-bench/sse HTTP/1.1");
        let begin = format!("{HEAD}{}", chunk(7, None));
        stream.write_all(begin.as_bytes()).unwrap();
        let mut publisher = broker.accept();
        let records = [(); 3].map(|()| publisher.record());
        for record in &records {
            publisher.ack(record.correlation, 7);
        }
        let payloads = records.each_ref().map(|record| &*record.payloads[0]);
        for part in tell(payloads) {
            // A subscriber that has found fault may be gone.
            let _gone = stream.write_all(part.as_bytes());
        }
        (stream, publisher)
    });
    let stream = ["--mode", "stream", "--records", "3", "-o", "json"];
    let fanout = ["fanout", "--via", "sse", "--subscribers", "1"];
    let output = bench(port, &[&fanout[..], &stream].concat());
    attended.join().unwrap();
    output
}

#[test]
fn events_in_order_are_a_bench_that_succeeds() {
    let output = streamed(|[one, two, three]| {
        // Half of the second comes with the first.
        let second = chunk(9, Some(two));
        let (left, right) = second.split_at(60);
        vec![
            format!("{}{left}", chunk(8, Some(one))),
            right.to_owned(),
            "00000003\r\n:\n\n\r\n".to_owned(),
            chunk(10, Some(three)),
        ]
    });
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["figures"]["deliveries"], 3.0);
    assert_eq!(told["parameters"]["via"], "sse");
}

#[track_caller]
fn notices(told: &str, tell: fn([&[u8]; 3]) -> Vec<String>) {
    let output = streamed(tell);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(errors.contains(told), "{errors}");
}

#[test]
fn a_lost_event_fails_the_bench() {
    notices(
        "records are lost: message 8 came where 7 was due",
        |[_, two, _]| vec![chunk(9, Some(two))],
    );
}

#[test]
fn a_doubled_event_fails_the_bench() {
    notices(
        "a record came twice: message 7 came where 8 was due",
        |[one, ..]| vec![chunk(8, Some(one)), chunk(8, Some(one))],
    );
}

#[test]
fn swapped_events_fail_the_bench() {
    notices(
        "records are lost: message 8 came where 7 was due",
        |[one, two, _]| vec![chunk(9, Some(two)), chunk(8, Some(one))],
    );
}

#[test]
fn swapped_payloads_fail_the_bench_though_their_ids_are_in_order() {
    notices(
        "message 7 and those of its record came with other payloads",
        |[one, two, _]| vec![chunk(8, Some(two)), chunk(9, Some(one))],
    );
}

#[test]
fn a_gap_and_the_end_of_a_stream_fail_the_bench() {
    notices("records are lost: {\"from\":7}", |_| {
        let message = event(9, Some(b"{\"from\":7}"));
        vec![chunk_of(&message.replace("data", "event: $gap\ndata"))]
    });
    notices("lost: the server ended the stream", |_| {
        vec!["0\r\n\r\n".to_owned()]
    });
}

#[test]
fn a_broker_that_refuses_to_stream_says_why() {
    let broker = FakeBroker::new();
    let port = broker.port();
    let attended = thread::spawn(move || {
        broker.accept().answer_bench(STATS);
        let mut stream = broker.accept_unheard().stream;
        request(&stream);
        let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n";
        stream.write_all(refusal.as_bytes()).unwrap();
    });
    let output = bench(port, &["connect", "--via", "sse", "--connections", "1"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let told = "the server refuses to stream: it answers \"HTTP/1.1 404 Not Found\" and \"none\"";
    assert!(errors.contains(told), "{errors}");
    attended.join().unwrap();
}
