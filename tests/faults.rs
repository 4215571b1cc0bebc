//! A disk that does not do its part: publishers get an answer, the broker says what is wrong, and it can be stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::deadline::wait_until;
use testkit::figures::{figure, skipped};
use testkit::process::{is_installed, run, succeed};
use testkit::random::Random;
use testkit::record::record;
use testkit::{Broker, Event, GoodbyeCode, Outcome, Session, Setup, Start};

/// A publisher has an answer by then.
const ANSWER: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(3);
/// Time that a machine which is busy with other tests may add to any of these times.
const SLACK: Duration = Duration::from_secs(3);
const SEGMENT: u64 = 4 << 20;

fn setup() -> Setup {
    Setup::new()
        .set("segment_bytes", SEGMENT)
        .set("drain_timeout_ms", DRAIN.as_millis())
}

/// Publishes until a record is not stored; gives how many were, the outcome, and how long it took.
fn fill(broker: &Broker, payload: &[u8]) -> (u64, Outcome, Duration) {
    let mut publisher = broker.connect();
    for taken in 0..1_000 {
        let begin = Instant::now();
        let entry = publisher.publish("a/topic", payload);
        if entry.outcome != Outcome::Ok {
            return (taken, entry.outcome, begin.elapsed());
        }
    }
    panic!("everything is stored");
}

/// Stops a broker; gives its exit code and how long it took.
fn stop(broker: &mut Broker) -> (Option<i32>, Duration) {
    let begin = Instant::now();
    let code = broker.stop().code();
    (code, begin.elapsed())
}

/// The directories of all synced logs.
fn synced_logs(broker: &Broker) -> Vec<PathBuf> {
    let entries = fs::read_dir(broker.data()).expect("the data directory");
    let logs = entries.flatten().map(|entry| entry.path());
    let synced = |path: &PathBuf| path.to_string_lossy().contains("synced-");
    logs.filter(synced).collect()
}

/// Starts a broker whose synced logs have their first segments.
fn start(setup: Setup) -> Broker {
    let broker = setup.start();
    let first = format!("{:016x}.seg", 0);
    wait_until("the first segments", || {
        let logs = synced_logs(&broker);
        logs.iter().all(|log| log.join(&first).exists())
    });
    broker
}

/// Lets the next segment of every synced log fail for another reason than space.
trait Obstacle {
    fn put(&self, broker: &Broker);
    fn remove(&self, broker: &Broker);
}

/// A directory has the name of the file.
struct Squatter;

impl Squatter {
    fn names(broker: &Broker) -> Vec<PathBuf> {
        let name = format!("{SEGMENT:016x}.seg.new");
        let logs = synced_logs(broker).into_iter();
        logs.map(|log| log.join(&name)).collect()
    }
}

impl Obstacle for Squatter {
    fn put(&self, broker: &Broker) {
        for name in Self::names(broker) {
            fs::create_dir(name).expect("it is not there yet");
        }
    }

    fn remove(&self, broker: &Broker) {
        for name in Self::names(broker) {
            fs::remove_dir(name).expect("nobody has removed it");
        }
    }
}

/// Files may not become as large.
struct FileSize;

impl FileSize {
    fn limit(broker: &Broker, bytes: &str) {
        let pid = broker.pid().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        succeed(std::process::Command::new("prlimit").args(["--pid", &pid, &limit]));
    }
}

impl Obstacle for FileSize {
    fn put(&self, broker: &Broker) {
        Self::limit(broker, &(SEGMENT - 1).to_string());
    }

    fn remove(&self, broker: &Broker) {
        Self::limit(broker, "unlimited");
    }
}

fn meets(obstacle: &impl Obstacle, disk: &str, word: &str) {
    let mut broker = start(setup().set("disk", disk));
    obstacle.put(&broker);
    let payload = Random::new(5).bytes(100_000);
    let (taken, outcome, took) = fill(&broker, &payload);
    figure(
        &format!("answer without a segment ({disk})"),
        &format!("{took:?}"),
    );
    assert_eq!(outcome, Outcome::LogFailed);
    assert!(took < ANSWER, "{took:?}");
    assert!(taken > 30, "the first segment was filled: {taken}");
    let (_, outcome, took) = fill(&broker, &payload);
    assert_eq!(outcome, Outcome::LogFailed);
    assert!(took < Duration::from_secs(1), "at once: {took:?}");
    let stats = broker.stats();
    assert_eq!(stats["publishes_refused"], 2, "{stats}");
    assert!(stats["storage_failures"].as_u64() >= Some(3), "{stats}");
    assert_eq!(stats["storage_failing"], 1, "{stats}");
    assert_eq!(stats["oldest_unacknowledged_ms"], 0, "{stats}");
    let told = |log: &str| log.matches("preparing the next segment failed").count();
    wait_until("the log to tell", || told(&broker.log()) == 1);
    assert!(broker.log().contains(word), "{}", broker.log());

    let mut reader = broker.connect();
    let head = reader.subscribe("a/topic", Start::Earliest).head.get();
    assert_eq!(head, taken);
    assert_eq!(reader.messages("a/topic", head as usize).len() as u64, head);
    obstacle.remove(&broker);
    let mut publisher = broker.connect();
    wait_until("the segment to be made", || {
        publisher.publish("a/topic", &payload).outcome == Outcome::Ok
    });
    assert_eq!(reader.messages("a/topic", 1)[0].0, head);
    assert_eq!(broker.counter("storage_failing"), 0);
    wait_until("the log to tell", || broker.log().contains("works again"));
    assert_eq!(told(&broker.log()), 1, "once");
    drop((reader, publisher));
    let (code, _) = stop(&mut broker);
    assert_eq!(code, Some(0));
}

#[test]
fn a_segment_whose_name_is_taken_is_an_answer_within_five_seconds_with_the_ring() {
    meets(&Squatter, "uring", "directory");
}

#[test]
fn a_segment_whose_name_is_taken_is_an_answer_within_five_seconds_with_the_thread() {
    meets(&Squatter, "thread", "directory");
}

#[test]
fn a_segment_that_would_be_too_large_is_an_answer_within_five_seconds() {
    if !is_installed("prlimit") {
        return skipped(
            "a segment that would be too large",
            "prlimit is not installed",
        );
    }
    meets(&FileSize, "uring", "File too large");
}

/// Also those whose records wait on their way from another shard.
#[test]
fn every_publisher_has_an_answer_within_five_seconds() {
    const PUBLISHERS: usize = 16;
    let broker = start(setup().set("shards", 2));
    Squatter.put(&broker);
    let payload = Random::new(5).bytes(100_000);
    let publish = || {
        let mut session = Session::connect(broker.address());
        let (mut longest, mut outcome) = (Duration::ZERO, Outcome::Ok);
        while outcome == Outcome::Ok {
            let begin = Instant::now();
            outcome = session.publish("a/topic", &payload).outcome;
            longest = longest.max(begin.elapsed());
        }
        assert_eq!(outcome, Outcome::LogFailed);
        longest
    };
    let longest = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        let times = threads
            .into_iter()
            .map(|thread| thread.join().expect("it has an answer"));
        times.max().expect("there are some")
    });
    figure("the last of 16 answers", &format!("{longest:?}"));
    assert!(longest < ANSWER, "{longest:?}");
    assert_eq!(broker.counter("publishes_refused"), PUBLISHERS as u64);
}

#[test]
fn a_shutdown_does_not_wait_for_a_segment_that_cannot_be_made() {
    for disk in ["uring", "thread"] {
        let mut broker = start(setup().set("disk", disk));
        Squatter.put(&broker);
        let payload = Random::new(5).bytes(100_000);
        let mut publisher = broker.connect();
        // More than there is room for: some of it waits when the broker is stopped.
        for correlation in 0..60 {
            publisher.send(&record("a/topic", &[&payload], correlation));
        }
        wait_until("publishers to wait", || {
            broker.counter("oldest_unacknowledged_ms") > 100
        });
        let (code, took) = stop(&mut broker);
        assert_eq!(code, Some(0), "what was stored is durable");
        assert!(took < DRAIN + SLACK, "{disk}: {took:?}");
    }
}

fn remove(path: &Path) {
    // The broker may make a file while the directory is being emptied.
    wait_until("the directory to be gone", || {
        fs::remove_dir_all(path).is_ok() || !path.exists()
    });
}

#[test]
fn a_broker_whose_data_directory_vanishes_stops() {
    for disk in ["uring", "thread"] {
        for busy in [true, false] {
            let mut broker = setup().set("disk", disk).start();
            let mut publisher = broker.connect();
            publisher.publish("a/topic", b"x");
            let begin = Instant::now();
            remove(broker.data());
            if busy {
                let payload = Random::new(5).bytes(100_000);
                let mut bytes = Vec::new();
                for correlation in 0..100 {
                    bytes.extend(record("a/topic", &[&payload], correlation));
                }
                // It may end in the middle of this.
                let _ = publisher.try_send(&bytes);
            }
            let code = broker.wait().code();
            let took = begin.elapsed();
            figure(
                &format!("the end without a directory ({disk}, busy {busy})"),
                &format!("{took:?}"),
            );
            assert_eq!(code, Some(1));
            assert!(took < ANSWER + SLACK, "{took:?}");
            let log = broker.log();
            assert!(log.contains("vanished") || log.contains("is gone"), "{log}");
        }
    }
}

/// A broker, and the program that holds its system calls.
struct Held {
    broker: Broker,
    tracer: String,
}

impl Held {
    /// Asks the broker to stop; gives its exit code, and how long it took until it said that it is over: the kernel
    /// keeps its process for as long as it is held.
    fn stop(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        self.broker.terminate();
        wait_until("the end", || self.broker.log().contains("ERROR stopping"));
        let took = begin.elapsed();
        self.release();
        (self.broker.wait().code(), took)
    }

    fn release(&self) {
        run(std::process::Command::new("sh").args(["-c", "kill -KILL $0", &self.tracer]));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// A broker with one shard, some of whose system calls do not come back.
fn on_a_stuck_disk(calls: &str, when: &str) -> Held {
    let inject = format!("inject={calls}:delay_enter=300s{when}");
    let trace = format!("trace={calls}");
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e"];
    let words = strace.into_iter().chain([trace.as_str(), "-e", &inject]);
    let setup = setup().set("disk", "thread").set("shards", 1);
    let broker = setup.under(words).start();
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid()));
    let status = status.expect("the broker runs");
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.expect("the kernel says").trim().to_owned();
    Held { broker, tracer }
}

#[test]
fn a_segment_that_is_never_made_is_an_answer_within_five_seconds_and_holds_up_no_shutdown() {
    if !is_installed("strace") {
        return skipped("a segment that is never made", "strace is not installed");
    }
    // Every synced log makes one at the start: there are as many as cores.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut held = on_a_stuck_disk("fallocate", &format!(":when={}+", cores + 1));
    let broker = &held.broker;
    let payload = Random::new(5).bytes(100_000);
    let (_, outcome, took) = fill(broker, &payload);
    assert_eq!(outcome, Outcome::LogFailed);
    assert!(took < ANSWER, "{took:?}");
    assert!(broker.counter("publishes_refused") > 0);
    let mut session = broker.connect();
    let (code, took) = held.stop();
    figure(
        "the end with a segment under way",
        &format!("{took:?} of {DRAIN:?}"),
    );
    assert_eq!(code, Some(1));
    assert!(took < DRAIN + SLACK, "{took:?}");
    assert_eq!(session.farewell().code, GoodbyeCode::Draining);
    let log = held.broker.log();
    assert!(
        log.contains("preparing the next segment failed: timed out"),
        "{log}"
    );
    assert!(log.contains("could not be closed in time"), "{log}");
}

#[test]
fn a_record_that_waits_for_its_sync_is_neither_refused_nor_waited_for_by_a_shutdown() {
    if !is_installed("strace") {
        return skipped(
            "a record that waits for its sync",
            "strace is not installed",
        );
    }
    let mut held = on_a_stuck_disk("pwritev2", "");
    let broker = &held.broker;
    let mut publisher = broker.connect();
    publisher.send(&record("a/topic", &["x"], 1));
    wait_until("the publish to be seen waiting", || {
        broker.counter("oldest_unacknowledged_ms") > 4_000
    });
    assert_eq!(broker.counter("publishes_refused"), 0);
    let (code, took) = held.stop();
    figure(
        "the end with a sync under way",
        &format!("{took:?} of {DRAIN:?}"),
    );
    assert_eq!(code, Some(1));
    assert!(took < DRAIN + SLACK, "{took:?}");
    let farewell = publisher.find("the goodbye", |event| match event {
        Event::Goodbye(farewell) => Some(farewell.clone()),
        Event::Published(entries) => panic!("its outcome is not known: {entries:?}"),
        _ => None,
    });
    assert_eq!(farewell.code, GoodbyeCode::Draining);
    let log = held.broker.log();
    assert!(log.contains("records=1"), "{log}");
    assert!(
        log.contains("1 of their records are not known to be durable"),
        "{log}"
    );
}
