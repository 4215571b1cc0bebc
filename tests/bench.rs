//! `oyez bench` against a real broker: everybody gets everything once and in order, natively, over HTTP and over WebSocket.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

use serde_json::Value;
use testkit::broker::{Broker, Setup};
use testkit::process::{run, succeed};

const VIAS: [&str; 4] = ["native", "sse", "ws", "ws-json"];

/// What a bench tells whose subscribers come this way, to topics in memory and not.
#[track_caller]
fn bench(broker: &Broker, via: &str, arguments: &[&str]) -> Value {
    let mut command = broker.oyez();
    command.arg("bench").args(arguments);
    command.args(["--via", via, "--timeout", "60s", "-o", "json"]);
    let told: Value = serde_json::from_slice(&succeed(&mut command).stdout).unwrap();
    assert_eq!(told["parameters"]["via"], via);
    told
}

#[test]
fn every_record_is_fanned_out_to_every_subscriber() {
    let broker = Broker::start();
    let fanout = ["fanout", "--subscribers", "200", "--records", "20"];
    for via in VIAS {
        let told = bench(&broker, via, &fanout);
        assert_eq!(told["figures"]["deliveries"], 4_000.0);
        let batches = ["--mode", "stream", "--batch", "16", "--size", "1000"];
        let told = bench(&broker, via, &[&fanout[..], &batches].concat());
        assert_eq!(told["figures"]["deliveries"], 4_000.0);
    }
}

/// Text whose lines end in all three ways, and what is no text.
#[test]
fn payloads_of_all_kinds_arrive_as_they_were_published() {
    let broker = Broker::start();
    let corpus = broker.home().join("corpus");
    let lines: [&[u8]; 5] = [b"plain", b"a\r", b"b\r\rc\r", b"\xff\xfe", b": x\r data: y"];
    std::fs::write(&corpus, lines.join(&b'\n')).unwrap();
    let fanout = ["fanout", "--subscribers", "20", "--records", "50"];
    let corpus = ["--corpus", corpus.to_str().unwrap(), "--batch", "3"];
    for via in VIAS {
        let told = bench(&broker, via, &[&fanout[..], &corpus].concat());
        assert_eq!(told["figures"]["deliveries"], 1_000.0);
    }
}

#[test]
fn every_subscriber_comes_back_to_where_it_was() {
    let broker = Broker::start();
    let connect = ["connect", "--connections", "200", "--resume"];
    for via in VIAS {
        let told = bench(&broker, via, &[&connect[..], &["--missed", "3"]].concat());
        assert_eq!(told["times"]["connect_and_subscribe"]["count"], 400);
        assert_eq!(told["parameters"]["missed"], 3);
    }
}

#[test]
fn the_memory_of_waiting_connections_is_reported() {
    let broker = Broker::start();
    for via in VIAS {
        let told = bench(
            &broker,
            via,
            &["idle", "--connections", "200", "--hold", "0"],
        );
        assert!(told["memory"]["server_user"].is_i64(), "{told}");
    }
}

#[test]
fn some_are_active_while_others_wait_or_stop_reading() {
    let broker = Setup::new().set("send_buffer_bytes", 4_096).start();
    let stalled = ["--stalled", "20", "--duration", "100ms"];
    for via in VIAS {
        let latency = ["latency", "--active", "5", "--idle", "40"];
        let told = bench(&broker, via, &[&latency[..], &stalled].concat());
        for part in ["alone", "among_idle", "among_stalled"] {
            assert_eq!(told["times"][part]["count"], 50, "{part}");
        }
        let mixed = ["mixed", "--connections", "50", "--topic-size", "10"];
        let active = ["--active-percent", "1000"];
        let told = bench(&broker, via, &[&mixed[..], &active, &stalled].concat());
        assert_eq!(told["parameters"]["topics"], 3);
        assert_eq!(told["times"]["to_each_among_stalled"]["count"], 30);
    }
}

/// A broker with room for so few connections.
fn small(max_connections: usize) -> Broker {
    Setup::new().set("max_connections", max_connections).start()
}

#[test]
fn as_many_come_as_the_broker_takes_where_nobody_says_how_many() {
    let broker = small(60);
    for (name, counted) in [
        ("fanout", "subscribers"),
        ("connect", "connections"),
        ("idle", "connections"),
        ("mixed", "connections"),
    ] {
        let mut command = broker.oyez();
        command.args(["bench", name, "--timeout", "60s", "-o", "json"]);
        match name {
            "idle" => drop(command.args(["--hold", "0"])),
            "mixed" => drop(command.args(["--duration", "200ms"])),
            _ => {}
        }
        let told: Value = serde_json::from_slice(&succeed(&mut command).stdout).unwrap();
        let came = told["parameters"][counted].as_u64().unwrap();
        assert!((30..60).contains(&came), "{name}: {came} of 60");
    }
}

#[test]
fn a_bench_that_does_not_fit_names_the_flags_that_make_it_fit() {
    let broker = small(60);
    for (name, flag) in [
        ("fanout", "--subscribers"),
        ("connect", "--connections"),
        ("idle", "--connections"),
        ("mixed", "--connections"),
        ("latency", "--idle"),
        ("publish", "--publishers"),
    ] {
        let mut command = broker.oyez();
        command.args(["bench", name, flag, "60", "--timeout", "10s"]);
        let output = run(&mut command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        for word in ["--max-connections", flag, "60 connections"] {
            assert!(said.contains(word), "{name}: {said}");
        }
    }
}

#[test]
fn a_bench_says_which_topic_it_leaves_and_runs_leave_one() {
    for (class, how) in [
        ("memory_topics", "in memory"),
        ("synced_topics", "retention"),
    ] {
        let broker = Setup::new().set(class, "oyez-bench").start();
        for _ in 0..2 {
            let mut command = broker.oyez();
            command.args(["bench", "fanout", "--subscribers", "5", "--records", "2"]);
            let said = String::from_utf8(succeed(&mut command).stderr).unwrap();
            assert!(
                said.contains("`oyez-bench` stays") && said.contains(how),
                "{said}"
            );
        }
        let topics = broker.connect().topics();
        let names: Vec<&Value> = topics.iter().map(|topic| &topic["name"]).collect();
        assert_eq!(names, ["oyez-bench"]);
    }
}
