//! What the kernel sees of a broadcast: payload leaves in vectored sends or through the ring, reaches the disk through
//! the ring alone, and no segment file is read.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use testkit::deadline::wait_until;
use testkit::figures::{figure, skipped};
use testkit::process::is_installed;
use testkit::random::Random;
use testkit::{Broker, Outcome, Session, Setup, Start};

const TOPIC: &str = "traced";
const SUBSCRIBERS: usize = 100;
const RECORDS: usize = 40;
/// With all records, less than a socket takes while its peer does not read.
const PAYLOAD_BYTES: usize = 1000;
/// Bytes that a session gets beside records: welcome, answers, pings. Far below a record.
const CONTROL_BYTES: u64 = 512;
const TRACED: &str = "trace=read,pread64,readv,preadv,preadv2,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,\
                      sendmmsg,sendfile,splice,copy_file_range,io_uring_enter";

/// One finished call.
#[derive(Debug)]
struct Call {
    thread: String,
    name: String,
    /// Everything between the parentheses.
    arguments: String,
    result: i64,
}

impl Call {
    fn is_on_segment(&self) -> bool {
        self.arguments.contains(".seg")
    }

    fn is_on_socket(&self) -> bool {
        self.arguments.contains("<TCP:")
    }
}

/// Reads what strace wrote; calls that were interrupted by others are put together again.
fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<String, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread.to_owned(), start.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let start = begun.remove(thread).unwrap_or_default();
                let tail = resumed.split_once("resumed>").map_or("", |(_, tail)| tail);
                start + tail
            }
            None => rest.to_owned(),
        };
        calls.extend(parse_call(thread, &whole));
    }
    calls
}

fn parse_call(thread: &str, text: &str) -> Option<Call> {
    let (head, result) = text.rsplit_once(" = ")?;
    let (name, arguments) = head.split_once('(')?;
    Some(Call {
        thread: thread.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        result: result.split_whitespace().next()?.parse().ok()?,
    })
}

/// The shards' threads by their numbers.
fn shard_threads(broker: &Broker) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("the broker runs");
    tasks
        .flatten()
        .filter(|task| {
            fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| name.starts_with("shard-"))
        })
        .map(|task| task.file_name().to_string_lossy().into_owned())
        .collect()
}

fn broadcast(broker: &Broker) {
    let mut sessions: Vec<Session> = (0..SUBSCRIBERS).map(|_| broker.connect()).collect();
    for session in &mut sessions {
        assert_eq!(session.subscribe(TOPIC, Start::Latest).outcome, Outcome::Ok);
    }
    let mut random = Random::new(2);
    let payloads: Vec<Vec<u8>> = (0..RECORDS).map(|_| random.bytes(PAYLOAD_BYTES)).collect();
    let mut publisher = broker.connect();
    for payload in &payloads {
        assert_eq!(publisher.publish(TOPIC, payload).outcome, Outcome::Ok);
    }
    let expected: Vec<(u64, Vec<u8>)> = (0..).zip(payloads).collect();
    for session in &mut sessions {
        assert_eq!(session.messages(TOPIC, RECORDS), expected);
    }
}

/// The calls of the shards' threads during a broadcast.
fn traced_broadcast(sending: &str) -> Vec<Call> {
    let home = tempfile::tempdir().expect("a directory for temporary files");
    let trace = home.path().join("trace");
    let strace = [
        "strace", "-D", "-f", "-yy", "-q", "-s", "16", "-e", TRACED, "-o",
    ];
    let words = strace
        .iter()
        .map(Into::into)
        .chain([trace.clone().into_os_string()]);
    let mut broker = Setup::new()
        .set("disk", "uring")
        .set("sending", sending)
        .under(words.collect::<Vec<_>>())
        .start();
    let shards = shard_threads(&broker);
    assert!(!shards.is_empty());
    broadcast(&broker);
    broker.kill();
    wait_until("the end of the trace", || {
        fs::read_to_string(&trace).is_ok_and(|text| text.contains("+++ killed by SIGKILL +++"))
    });
    let text = fs::read_to_string(&trace).expect("strace has written its trace");
    let mut calls = parse(&text);
    assert!(
        calls.iter().any(Call::is_on_segment),
        "a segment is at least prepared, by a helper; the trace must show that"
    );
    calls.retain(|call| shards.contains(&call.thread));
    calls
}

/// Checks what must hold however records are sent, and gives the bytes that left in vectored sends.
fn vectored_bytes(sending: &str) -> u64 {
    let calls = traced_broadcast(sending);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        *counts.entry(call.name.as_str()).or_default() += 1;
    }
    figure(
        &format!("system calls of a broadcast to 100, {sending}"),
        &format!("{counts:?}"),
    );

    let on_segments: Vec<&Call> = calls.iter().filter(|call| call.is_on_segment()).collect();
    assert!(
        on_segments.iter().all(|call| call.name == "sendfile"),
        "segments are touched by sendfile at most: {on_segments:?}"
    );
    assert!(
        counts.contains_key("io_uring_enter"),
        "the ring is used: {counts:?}"
    );

    let sent_by = |names: &[&str]| -> u64 {
        calls
            .iter()
            .filter(|call| call.is_on_socket() && names.contains(&call.name.as_str()))
            .map(|call| u64::try_from(call.result).unwrap_or(0))
            .sum()
    };
    let plain = sent_by(&["write", "sendto"]);
    let sessions = SUBSCRIBERS as u64 + 1;
    assert!(
        plain <= sessions * CONTROL_BYTES,
        "{plain} bytes left by write and send"
    );
    let vectored = sent_by(&["writev", "sendmsg", "sendmmsg", "sendfile"]);
    figure("bytes in vectored sends", &vectored.to_string());
    vectored
}

/// Bytes of payload that reach all subscribers.
const DELIVERED_BYTES: u64 = (SUBSCRIBERS * RECORDS * PAYLOAD_BYTES) as u64;

#[test]
fn a_broadcast_leaves_by_the_ring_reaches_the_disk_by_the_ring_and_is_never_read_back() {
    if !is_installed("strace") {
        return skipped("system calls of a broadcast", "strace is not installed");
    }
    let vectored = vectored_bytes("ring");
    assert!(
        vectored < DELIVERED_BYTES / 2,
        "{vectored} of {DELIVERED_BYTES} bytes did not leave by the ring"
    );
}

#[test]
fn without_the_ring_a_broadcast_leaves_in_vectored_sends() {
    if !is_installed("strace") {
        return skipped("system calls of a broadcast", "strace is not installed");
    }
    let vectored = vectored_bytes("loop");
    assert!(
        vectored >= DELIVERED_BYTES,
        "{vectored} of {DELIVERED_BYTES} bytes left in vectored sends"
    );
}
