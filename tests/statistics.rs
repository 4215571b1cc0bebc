//! The broker's statistics, and what they must show.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use testkit::deadline::wait_until;
use testkit::figures::{figure, skipped};
use testkit::process::{is_installed, succeed};
use testkit::record::record;
use testkit::{Broker, Event, Outcome, Session, Setup, Start};

#[test]
fn statistics_hold_what_operators_and_promises_rely_on() {
    let broker = Broker::start();
    let mut subscriber = broker.connect();
    subscriber.subscribe("a/topic", Start::Latest);
    let mut publisher = broker.connect();
    publisher.publish_batch("a/topic", &["one", "two", "three"]);
    subscriber.delivery();
    let output = succeed(broker.oyez().args(["stats", "-o", "json"]));
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    for key in [
        "connections",
        "sessions",
        "records_in",
        "messages_in",
        "bytes_in_raw",
        "bytes_in_wire",
        "deliveries",
        "bytes_out",
        "ring_submissions",
        "syncs",
        "records_per_sync",
    ] {
        assert!(stats[key].is_number(), "{key} in {stats}");
    }
    assert_eq!(
        stats["connections"], 3,
        "subscriber, publisher and the one that asks"
    );
    assert_eq!(stats["sessions"], 3);
    assert_eq!(
        (stats["records_in"].as_u64(), stats["messages_in"].as_u64()),
        (Some(1), Some(3))
    );
    assert_eq!(stats["deliveries"], 1);
    assert!(stats["syncs"].as_u64() >= Some(1));
    assert!(stats["bytes_out"].as_u64() >= stats["bytes_in_wire"].as_u64());
}

#[test]
fn statistics_name_the_disk_that_runs() {
    for disk in ["uring", "thread"] {
        let broker = Setup::new().set("disk", disk).start();
        broker.connect().publish("a/topic", b"x");
        let stats = broker.stats();
        assert_eq!(stats["disk"], disk);
        let submissions = stats["ring_submissions"].as_u64().expect("a number");
        assert!(submissions > 0 || disk == "thread");
    }
}

#[test]
fn statistics_name_the_way_of_sending() {
    for sending in ["ring", "loop"] {
        let broker = Setup::new().set("sending", sending).start();
        assert_eq!(broker.stats()["sending"], sending);
    }
}

#[test]
fn a_hundred_publishers_on_a_synced_topic_share_their_syncs() {
    const PUBLISHERS: usize = 100;
    const ROUNDS: usize = 15;
    const UNDER_WAY: usize = 4;
    let broker = Broker::start();
    let address = broker.address();
    let together = Barrier::new(PUBLISHERS);
    let publish = |publisher: usize| {
        let mut session = Session::connect(address);
        together.wait();
        for round in 0..ROUNDS {
            let payloads: Vec<String> = (0..UNDER_WAY)
                .map(|number| format!("{publisher}: {round}: {number}"))
                .collect();
            let entries = session.publish_each("shared", &payloads);
            assert!(entries.iter().all(|entry| entry.outcome == Outcome::Ok));
        }
    };
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let publish = &publish;
            scope.spawn(move || publish(publisher));
        }
    });
    let stats = broker.stats();
    let per_sync = stats["records_per_sync"].as_f64().expect("a number");
    figure(
        "records per sync",
        &format!("{per_sync:.1} of {PUBLISHERS} publishers"),
    );
    assert_eq!(stats["records_in"], PUBLISHERS * ROUNDS * UNDER_WAY);
    assert!(per_sync > 10.0, "{per_sync} records per sync");
}

/// How long each sync takes on a disk that is slow.
const SLOW_MS: u64 = 700;

/// A broker whose syncs take long.
fn on_a_slow_disk() -> Broker {
    let calls = "fdatasync,pwritev2";
    let inject = format!("inject={calls}:delay_enter={}", SLOW_MS * 1000);
    let trace = format!("trace={calls}");
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e"];
    let words = strace.into_iter().chain([trace.as_str(), "-e", &inject]);
    Setup::new().set("disk", "thread").under(words).start()
}

#[test]
fn a_publish_that_waits_for_the_disk_is_seen_while_it_waits() {
    if !is_installed("strace") {
        return skipped("a publish that waits", "strace is not installed");
    }
    let broker = on_a_slow_disk();
    let mut publisher = broker.connect();
    let waited_ms = || broker.counter("oldest_unacknowledged_ms");
    wait_until("a disk with nothing to do", || waited_ms() == 0);
    publisher.send(&record("a/topic", &["x"], 1));
    wait_until("the publish to be seen waiting", || {
        waited_ms() >= SLOW_MS / 2
    });
    assert!(matches!(publisher.event(), Event::Published(_)));
    wait_until("nobody to wait", || waited_ms() == 0);
    let stats = broker.stats();
    for histogram in ["sync_us", "visible_us"] {
        let longest = stats[histogram]["max"].as_u64();
        assert!(longest >= Some(SLOW_MS * 1000), "{histogram} in {stats}");
    }
    assert_eq!(stats["visible_us"]["count"], 1);
}

#[test]
fn time_in_storage_holds_the_appends() {
    const ROUNDS: usize = 10;
    let broker = Setup::new().set("memory_topics", "#").start();
    let total = |histogram: &str| broker.stats()[histogram]["total"].as_u64();
    let totals = || {
        let totals = total("storage_us").zip(total("turn_us"));
        totals.expect("both are numbers")
    };
    let mut publisher = broker.connect();
    let before = totals();
    for _ in 0..ROUNDS {
        publisher.publish_each("a/topic", &["x"; 1000]);
    }
    let after = totals();
    let (storage, turns) = (after.0 - before.0, after.1 - before.1);
    figure("time in storage", &format!("{storage} of {turns} us"));
    // All frames of a read count from its first append on; reading and answering do not.
    assert!(storage > turns / 4, "{storage} of {turns} us");
}

#[test]
fn the_command_line_tells_lag_when_it_is_asked_for_it() {
    let broker = Broker::start();
    let mut subscriber = broker.connect();
    subscriber.subscribe("a/topic", Start::Latest);
    let told = |arguments: &[&str]| -> serde_json::Value {
        let output = succeed(broker.oyez().args(arguments));
        serde_json::from_slice(&output.stdout).expect("JSON alone")
    };
    let stats = told(&["stats", "-o", "json"]);
    assert!(stats["lag"].is_null(), "it costs a look at each of them");
    let stats = told(&["stats", "--lag", "-o", "json"]);
    assert_eq!(stats["lag"]["subscriptions"], 1);
    let figures = told(&["top", "--once", "--interval", "10ms", "-o", "json"]);
    assert_eq!(figures["lag"], stats["lag"]);
}

#[test]
fn outcomes_of_many_records_come_in_few_frames() {
    const RECORDS: usize = 1000;
    let broker = Broker::start();
    let mut publisher = broker.connect();
    let mut bytes = Vec::new();
    for correlation in 0..RECORDS as u64 {
        bytes.extend_from_slice(&record("a/topic", &["x"], correlation));
    }
    publisher.send(&bytes);
    let (mut frames, mut outcomes) = (0, 0);
    while outcomes < RECORDS {
        let Event::Published(entries) = publisher.event() else {
            panic!("a publisher hears of nothing but its records");
        };
        frames += 1;
        outcomes += entries.len();
    }
    figure("frames for 1,000 outcomes", &frames.to_string());
    assert!(frames < RECORDS / 4, "{frames} frames");
}

/// The answer to a path at the operator's address.
fn ask_operator(broker: &Broker, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(broker.operator()).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_operators_address_tells_prometheus_and_watchers() {
    const TEST: &str = "metrics are what promtool takes for such";
    let broker = Setup::new().set("operator", "127.0.0.1:0").start();
    assert_eq!(broker.connect().publish("a", b"hello").outcome, Outcome::Ok);
    for path in ["/livez", "/readyz", "/api/v1/stats", "/api/v1/topics"] {
        let (head, body) = ask_operator(&broker, path);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{path}: {head}");
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
    }
    let (_, metrics) = ask_operator(&broker, "/metrics");
    let records =
        |line: &str| line.starts_with("oyez_records_in_total{shard=") && line.ends_with(" 1");
    assert!(metrics.lines().any(records), "{metrics}");
    if !is_installed("promtool") {
        return skipped(TEST, "promtool is not installed");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is installed");
    let mut input = promtool.stdin.take().expect("it is piped");
    input.write_all(metrics.as_bytes()).expect("it is read");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "promtool finds: {said}"
    );
}
