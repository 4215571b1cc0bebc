//! `oyez bench --via ws-json` against brokers that lose or change messages, and a broker that sends pings.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use support::FakeBroker;

/// The answer to the key that every subscriber has (RFC 6455, 1.3).
const HEAD: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PING: [u8; 2] = [0x89, 0];

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

/// Reads a subscriber's request, to the empty line.
fn request(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    first
}

/// A text message of a server.
fn text(value: &Value) -> Vec<u8> {
    framed(&value.to_string())
}

fn framed(text: &str) -> Vec<u8> {
    let size = u16::try_from(text.len()).unwrap();
    let mut out = match size {
        0..=125 => vec![0x81, size as u8],
        _ => vec![0x81, 126, (size >> 8) as u8, size as u8],
    };
    out.extend_from_slice(text.as_bytes());
    out
}

fn message(offset: u64, payload: &[u8]) -> Vec<u8> {
    let payload = Value::from(std::str::from_utf8(payload).unwrap());
    framed(&format!(
        "{{\"topic\":\"bench\",\"offset\":{offset},\"timestamp_ms\":1234,\"payload\":{payload}}}"
    ))
}

/// What a bench ends with that publishes three records, whose session begins with message 7 and goes on with what
/// `tell` makes of the three payloads. Each ping must be answered.
fn told(tell: fn([&[u8]; 3]) -> Vec<Vec<u8>>) -> Output {
    let broker = FakeBroker::new();
    let port = broker.port();
    let attended = thread::spawn(move || {
        broker.accept().answer_bench(STATS);
        let mut stream = broker.accept_unheard().stream;
        assert_eq!(request(&stream), "GET /oyez-bench/ws HTTP/1.1");
        let subscribed = json!({"event": "$subscribed", "topic": "oyez-bench", "next": 7, "epoch": "0000000000000001"});
        stream
            .write_all(&[HEAD, &text(&subscribed)].concat())
            .unwrap();
        let mut publisher = broker.accept();
        let records = [(); 3].map(|()| publisher.record());
        for record in &records {
            publisher.ack(record.correlation, 7);
        }
        let payloads = records.each_ref().map(|record| &*record.payloads[0]);
        for part in tell(payloads) {
            // A subscriber that has found fault may be gone.
            let _gone = stream.write_all(&part);
            if part == PING {
                let mut pong = [0; 6];
                stream.read_exact(&mut pong).unwrap();
                assert_eq!(pong[..2], [0x8a, 0x80], "a pong, masked");
            }
        }
        (stream, publisher)
    });
    let stream = ["--mode", "stream", "--records", "3", "-o", "json"];
    let fanout = ["fanout", "--via", "ws-json", "--subscribers", "1"];
    let output = bench(port, &[&fanout[..], &stream].concat());
    attended.join().unwrap();
    output
}

#[test]
fn messages_in_order_are_a_bench_that_succeeds() {
    let output = told(|[one, two, three]| {
        // Half of the second comes with the first.
        let second = message(8, two);
        let (left, right) = second.split_at(60);
        vec![
            [&message(7, one), left].concat(),
            right.to_owned(),
            PING.to_vec(),
            message(9, three),
        ]
    });
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["figures"]["deliveries"], 3.0);
    assert_eq!(told["parameters"]["via"], "ws-json");
}

#[track_caller]
fn notices(why: &str, tell: fn([&[u8]; 3]) -> Vec<Vec<u8>>) {
    let output = told(tell);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(errors.contains(why), "{errors}");
}

#[test]
fn lost_and_doubled_messages_fail_the_bench() {
    notices(
        "records are lost: message 8 came where 7 was due",
        |[_, two, _]| vec![message(8, two)],
    );
    notices(
        "a record came twice: message 7 came where 8 was due",
        |[one, ..]| vec![message(7, one), message(7, one)],
    );
}

#[test]
fn swapped_payloads_fail_the_bench_though_their_offsets_are_in_order() {
    notices(
        "message 7 and those of its record came with other payloads",
        |[one, two, _]| vec![message(7, two), message(8, one)],
    );
}

#[test]
fn a_gap_and_a_close_fail_the_bench() {
    notices("records are lost: ", |_| {
        vec![text(&json!({"event": "$gap", "topic": "oyez-bench"}))]
    });
    notices(
        "lost: the server closed it with code 1012 and \"soon\"",
        |_| vec![b"\x88\x06\x03\xf4soon".to_vec()],
    );
}

#[test]
fn a_broker_that_refuses_a_session_says_why() {
    for via in ["ws", "ws-json"] {
        let broker = FakeBroker::new();
        let port = broker.port();
        let attended = thread::spawn(move || {
            broker.accept().answer_bench(STATS);
            let mut stream = broker.accept_unheard().stream;
            request(&stream);
            let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n";
            stream.write_all(refusal.as_bytes()).unwrap();
        });
        let output = bench(port, &["connect", "--via", via, "--connections", "1"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let told =
            "the server refuses a WebSocket: it answers \"HTTP/1.1 404 Not Found\" and \"none\"";
        assert!(errors.contains(told), "{errors}");
        attended.join().unwrap();
    }
}
