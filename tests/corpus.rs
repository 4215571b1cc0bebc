//! Real input comes back byte-identical and in order: to several subscribers at once, after a crash, from any offset,
//! with either way of driving the disk; and it travels compressed.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use testkit::corpus::{Corpus, all, joined, notifications};
use testkit::process::succeed;
use testkit::{Broker, Setup};

const SUBSCRIBERS: usize = 3;

fn publish(broker: &Broker, corpus: &Corpus) {
    let mut command = broker.oyez();
    command
        .args(["pub", &corpus.name, "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("oyez starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // Should oyez not read all of it, its exit status and its message say more than a broken pipe.
    let _ = stdin.write_all(&corpus.text());
    drop(stdin);
    let output = child.wait_with_output().expect("oyez ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "oyez pub: {} {said}",
        output.status
    );
}

fn subscription(broker: &Broker, topic: &str, from: &str, count: usize) -> Command {
    let mut command = broker.oyez();
    command.args([
        "sub",
        topic,
        "--from",
        from,
        "--timeout",
        "60s",
        "-o",
        "raw",
    ]);
    command.args(["--count", &count.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn subscribe_all(broker: &Broker, files: &[Corpus]) -> Vec<(String, Vec<u8>, Child)> {
    let start = |corpus: &Corpus| {
        let mut command = subscription(broker, &corpus.name, "earliest", corpus.lines.len());
        let child = command.spawn().expect("oyez starts");
        (corpus.name.clone(), corpus.text(), child)
    };
    (0..SUBSCRIBERS)
        .flat_map(|_| files.iter().map(start))
        .collect()
}

fn check_all(running: Vec<(String, Vec<u8>, Child)>) {
    for (name, expected, child) in running {
        let output = child.wait_with_output().expect("oyez ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "oyez sub {name}: {} {said}",
            output.status
        );
        assert!(
            output.stdout == expected,
            "{name} did not come back byte-identical"
        );
    }
}

fn check_offsets(broker: &Broker, corpus: &Corpus) {
    let count = corpus.lines.len();
    for offset in [1, count / 2, count - 1] {
        let from = format!("offset:{offset}");
        let output = succeed(&mut subscription(
            broker,
            &corpus.name,
            &from,
            count - offset,
        ));
        let expected = joined(&corpus.lines[offset..]);
        assert!(output.stdout == expected, "{} from {offset}", corpus.name);
    }
}

fn corpus_survives(disk: &str) {
    let files = all();
    let mut broker = Setup::new().set("disk", disk).start();
    assert_eq!(broker.stats()["disk"], disk);
    // Half of the subscribers' time is before the publishing, so that they get it live.
    let live = subscribe_all(&broker, &files);
    for corpus in &files {
        publish(&broker, corpus);
    }
    check_all(live);
    check_all(subscribe_all(&broker, &files));
    broker.kill();
    broker.restart();
    check_all(subscribe_all(&broker, &files));
    for corpus in &files {
        check_offsets(&broker, corpus);
    }
}

#[test]
fn every_corpus_line_comes_back_byte_identical_also_after_a_crash_with_the_ring() {
    corpus_survives("uring");
}

#[test]
fn every_corpus_line_comes_back_byte_identical_also_after_a_crash_with_the_thread() {
    corpus_survives("thread");
}

#[test]
fn notifications_in_batches_of_64_travel_at_most_at_0_45_of_their_size() {
    let broker = Broker::start();
    let corpus = notifications();
    publish(&broker, &corpus);
    let stats = broker.stats();
    let (raw, wire) = (&stats["bytes_in_raw"], &stats["bytes_in_wire"]);
    let ratio = wire.as_f64().expect("a number") / raw.as_f64().expect("a number");
    testkit::figures::figure("notifications on the wire", &format!("{ratio:.3} of raw"));
    assert_eq!(stats["messages_in"], corpus.lines.len());
    assert!(ratio <= 0.45, "{wire} of {raw} bytes is {ratio:.3}");
}
