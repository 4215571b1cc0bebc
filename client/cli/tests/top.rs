//! `oyez top`, as a shell runs it.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::{Command, Output, Stdio};
use std::thread;

use support::{FakeBroker, Heard};

/// Runs `oyez top` against a broker that answers each look with the next of `stats`.
fn top(arguments: &[&str], stats: &[&str]) -> Output {
    let broker = FakeBroker::new();
    let child = Command::new(env!("CARGO_BIN_EXE_oyez"))
        .args(["--server", &broker.address(), "top", "--interval", "1ms"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = thread::spawn(move || child.wait_with_output());
    let mut peer = broker.accept();
    for json in stats {
        match peer.next() {
            Heard::Stats { id } => peer.answer(id, false, json),
            other => panic!("{other:?}"),
        }
        match peer.next() {
            Heard::Lag { id } => peer.answer(id, false, LAG),
            other => panic!("{other:?}"),
        }
    }
    output.join().unwrap().unwrap()
}

const LAG: &str = r#"{"subscriptions":3,"max":70,"by_digits":[2,0,1,0,0,0,0,0],
    "slowest":[{"peer":"10.0.0.7:40312","topic":"live","lag":70,"unacknowledged_bytes":9,"blocked_ms":5000}]}"#;

const STATS: [&str; 3] = [
    r#"{"uptime_ms":1000,"messages_in":0}"#,
    r#"{"uptime_ms":2000,"messages_in":5000,"connections":77}"#,
    r#"{"uptime_ms":4000,"messages_in":5000,"connections":78}"#,
];

#[test]
fn off_a_terminal_each_interval_is_a_line_below_titles() {
    let output = top(&["--count", "2"], &STATS);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0][..2], ["uptime", "connections"]);
    assert_eq!(lines[1][..3], ["2s", "77", "5,000"]);
    assert_eq!(lines[2][..3], ["4s", "78", "0"]);
    assert!(!text.contains('\x1b'), "no control characters in a file");
}

#[test]
fn json_is_one_object_for_each_interval() {
    let output = top(&["--count", "2", "-o", "json"], &STATS);
    let text = String::from_utf8(output.stdout).unwrap();
    let rates: Vec<f64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|figures| figures["messages_in"].as_f64().unwrap())
        .collect();
    assert_eq!(rates, [5000.0, 0.0]);
}

#[test]
fn json_holds_lag_and_the_slowest() {
    let output = top(&["--once", "-o", "json"], &STATS[..2]);
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["lag"]["max"], 70);
    assert_eq!(figures["lag"]["slowest"][0]["peer"], "10.0.0.7:40312");
}

#[test]
fn once_is_a_whole_screen_without_control_characters() {
    let output = top(&["--once"], &STATS[..2]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for shown in [
        "messages             5,000",
        "connections 77",
        "10.0.0.7:40312",
        "10-99",
    ] {
        assert!(text.contains(shown), "{shown} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no control characters in a file");
}

#[test]
fn no_interval_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_oyez"))
        .args(["top", "--interval", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
