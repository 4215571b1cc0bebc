//! `oyez-compare`: the load of `oyez bench` on the bare server that it starts itself, and what it refuses.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A broker that nobody is.
const NOBODY: &str = "127.0.0.1:1";

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oyez-compare"))
        .env("OYEZ_SERVER", NOBODY)
        .args(arguments)
        .args(["--timeout", "60s"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a bench against the floor tells; it needs no broker.
#[track_caller]
fn floor(arguments: &[&str]) -> Value {
    let output = compare(&[arguments, &["--target", "floor", "-o", "json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_subscriber_gets_every_record_one_after_the_other() {
    let told = floor(&["fanout", "--subscribers", "50", "--records", "10"]);
    assert_eq!(told["figures"]["deliveries"], 500.0);
    assert_eq!(told["times"]["to_last_subscriber"]["count"], 10);
    assert_eq!(told["times"]["to_each_subscriber"]["count"], 500);
    assert_eq!(told["parameters"]["mode"], "seq");
}

#[test]
fn a_stream_of_batches_is_decoded_by_everybody() {
    let stream = [
        "fanout",
        "--subscribers",
        "50",
        "--records",
        "200",
        "--mode",
        "stream",
    ];
    let told = floor(&[&stream[..], &["--batch", "64", "--decode"]].concat());
    assert_eq!(told["figures"]["deliveries"], 10_000.0);
    let ratio = told["figures"]["wire_bytes_per_payload_byte"]
        .as_f64()
        .unwrap();
    assert!(ratio < 0.7, "batches of notifications compress: {ratio}");
}

#[test]
fn a_storm_of_connections_comes_and_comes_back() {
    let told = floor(&["connect", "--connections", "50", "--resume"]);
    assert_eq!(told["times"]["connect_and_subscribe"]["count"], 100);
    assert!(told["figures"]["resumes_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_floor_that_answers_takes_the_words_of_a_real_client() {
    let told = floor(&["connect", "--connections", "50", "--resume", "--answer"]);
    assert_eq!(told["times"]["connect_and_subscribe"]["count"], 100);
}

#[test]
fn another_server_does_not_say_how_many_connections_it_has_accepted() {
    let output = compare(&["connect", "--silent", "--target", "redis://[::1]:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--silent"));
}

#[test]
fn memory_per_connection_is_told_apart() {
    let told = floor(&["idle", "--connections", "50", "--hold", "0"]);
    let memory = &told["memory"];
    assert_eq!(memory["connections"], 50);
    for part in [
        "server_user",
        "server_user_total",
        "kernel",
        "generator_user",
    ] {
        assert!(memory[part].is_i64(), "{part}: {memory}");
    }
}

#[test]
fn latency_is_measured_alone_and_among_idle_subscribers() {
    let told = floor(&[
        "latency",
        "--active",
        "10",
        "--idle",
        "40",
        "--duration",
        "100ms",
    ]);
    assert_eq!(told["times"]["alone"]["count"], 100);
    assert_eq!(told["times"]["among_idle"]["count"], 100);
}

#[test]
fn a_part_of_many_connections_is_active_each_second() {
    let mixed = ["mixed", "--connections", "50", "--topic-size", "10"];
    let told = floor(
        &[
            &mixed[..],
            &["--active-percent", "1000", "--duration", "200ms"],
        ]
        .concat(),
    );
    assert_eq!(told["figures"]["deliveries"], 100.0);
    assert_eq!(told["parameters"]["topics"], 5);
}

#[test]
fn publishers_are_answered_when_their_records_are_synced() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("zeros");
    let synced = ["--sync-file", file.to_str().unwrap()];
    let publish = [
        "publish",
        "--publishers",
        "3",
        "--depth",
        "2",
        "--duration",
        "100ms",
    ];
    let told = floor(&[&publish[..], &synced].concat());
    assert!(told["figures"]["records"].as_f64().unwrap() >= 6.0);
    assert_eq!(file.metadata().unwrap().len(), 64 << 20);
}

#[test]
fn a_page_with_charts_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    floor(&[
        "fanout",
        "--subscribers",
        "5",
        "--report",
        page.to_str().unwrap(),
    ]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("deliveries per second over time"));
    let read = |path| std::fs::read_to_string(path).unwrap().trim().to_owned();
    for told in [
        read("/proc/sys/kernel/hostname"),
        format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        " cores".to_owned(),
        " GMT".to_owned(),
        "oyez-compare fanout --subscribers 5 --report".to_owned(),
    ] {
        assert!(page.contains(&told), "{told}: {page}");
    }
}

#[test]
fn the_table_echoes_the_parameters() {
    let output = compare(&["fanout", "--target", "floor", "--subscribers", "5"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("to last subscriber") && text.contains("generated, 200 bytes"),
        "{text}"
    );
}

#[test]
fn who_stops_reading_is_measured_beside_the_others() {
    let stalled = ["--stalled", "20", "--duration", "100ms"];
    let told = floor(&[&["latency", "--active", "5", "--idle", "20"][..], &stalled].concat());
    assert_eq!(told["parameters"]["stalled"], 20);
    for part in ["alone", "among_idle", "among_stalled"] {
        assert_eq!(told["times"][part]["count"], 50, "{part}");
    }
    let mixed = ["mixed", "--connections", "50", "--active-percent", "1000"];
    let stalled = [&stalled[..], &["--stalled-for", "50ms"]].concat();
    let told = floor(&[&mixed[..], &stalled].concat());
    assert_eq!(told["parameters"]["stalled_for_s"], 0.05);
    assert_eq!(told["parameters"]["topics"], 1);
    assert_eq!(told["times"]["to_each_among_stalled"]["count"], 30);
    assert!(told["figures"]["server_user_grown_by_the_stall"].is_number());
}

#[test]
fn not_everybody_can_stop_reading() {
    let output = compare(&[
        "mixed",
        "--connections",
        "5",
        "--stalled",
        "5",
        "--target",
        "floor",
    ]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn only_servers_that_keep_something_publish_durably() {
    for target in ["floor", "oyez", "mqtt://127.0.0.1:1"] {
        let output = compare(&["publish", "--durable", "--target", target]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("--durable goes with publish and redis:// or nats://"));
    }
}

#[test]
fn a_floor_has_no_restart_to_wait_for() {
    let resume = ["--resume", "--resume-after", "restart", "--target", "floor"];
    let output = compare(&[&["connect", "--connections", "2"][..], &resume].concat());
    assert_eq!(output.status.code(), Some(2));
}

#[track_caller]
fn floor_serves(via: &str) {
    let via = ["--via", via];
    let fanout = ["fanout", "--subscribers", "50", "--records", "10"];
    let batch = ["--batch", "7", "--mode", "stream"];
    let told = floor(&[&fanout[..], &batch, &via].concat());
    assert_eq!(told["figures"]["deliveries"], 500.0);
    assert_eq!(told["parameters"]["via"], via[1]);
    let told = floor(&[&["connect", "--connections", "50", "--resume"][..], &via].concat());
    assert_eq!(told["times"]["connect_and_subscribe"]["count"], 100);
    let told = floor(&[&["idle", "--connections", "50", "--hold", "0"][..], &via].concat());
    assert_eq!(told["memory"]["connections"], 50);
    let latency = ["latency", "--active", "5", "--idle", "20", "--stalled", "9"];
    let told = floor(&[&latency[..], &["--duration", "100ms"], &via].concat());
    for part in ["alone", "among_idle", "among_stalled"] {
        assert_eq!(told["times"][part]["count"], 50, "{part}");
    }
    let mixed = ["mixed", "--connections", "50", "--topic-size", "10"];
    let active = ["--active-percent", "1000", "--duration", "200ms"];
    let told = floor(&[&mixed[..], &active, &via].concat());
    assert_eq!(told["figures"]["deliveries"], 100.0);
}

#[test]
fn a_floor_streams_events_to_everybody() {
    floor_serves("sse");
}

#[test]
fn a_floor_sends_messages_of_frames_to_everybody() {
    floor_serves("ws");
}

#[test]
fn a_floor_sends_messages_in_json_to_everybody() {
    floor_serves("ws-json");
}

#[test]
fn streams_are_asked_for_and_only_of_the_broker_and_the_floor() {
    for via in ["sse", "ws", "ws-json"] {
        refuses(via);
    }
}

#[test]
fn a_server_that_broadcasts_has_one_topic() {
    let latency = ["latency", "--target", "ws://127.0.0.1:1"];
    let output = compare(&latency);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    let told = "passes everything on to all clients; this bench needs 2 topics";
    assert!(errors.contains(told), "{errors}");
}

#[track_caller]
fn refuses(via: &str) {
    let connect = ["connect", "--via", via];
    let elsewhere = format!("--via {via} goes with the broker and the floor");
    for (others, told) in [
        (&["--silent"][..], "leave out --silent and --no-subscribe"),
        (&["--no-subscribe"], "leave out --silent and --no-subscribe"),
        (&["--target", "redis://[::1]:1"], &elsewhere),
    ] {
        let output = compare(&[&connect[..], others].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(told), "{errors}");
    }
}
