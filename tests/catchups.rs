//! A subscriber that catches up is sent bytes for as long as the log has more. The disk's completions interrupt the broker's sends
//! halfway, and the timers that would wake a stalled session are as far away as they can be.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oyez_protocol::header::kind;
use testkit::figures::{figure, full, size};
use testkit::random::Random;
use testkit::stream::Cutter;
use testkit::{Broker, Outcome, Setup, Start};

const TOPIC: &str = "history";
const RECORD_BYTES: usize = 16 << 10;
/// The messages that every client that catches up gets.
const HISTORY_BYTES: usize = 16 << 20;
const RECORDS: usize = HISTORY_BYTES / RECORD_BYTES;
/// Records that are acknowledged before the next ones are sent.
const CHUNK: usize = 32;
/// Topics that are published to meanwhile: more than there are logs, so that every shard's disk has something to do.
const BUSY_TOPICS: usize = 16;
/// Catch-ups at once.
const AT_ONCE: usize = 16;

/// How long a read waits at most: the grain of what is measured.
const LOOK: Duration = Duration::from_millis(10);
/// The longest that a socket may be empty.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// A receiver that has waited so long is given up.
const STALLED: Duration = Duration::from_secs(5);

/// How long each of a broker's threads has been ready to run and was not let: what the machine owes to it.
#[derive(Clone, Debug)]
struct Waited(Vec<Duration>);

impl Waited {
    fn of(broker: &Broker) -> Self {
        let threads = format!("/proc/{}/task", broker.pid());
        let threads = std::fs::read_dir(threads).expect("the broker runs");
        let waited = |thread: std::io::Result<std::fs::DirEntry>| {
            let path = thread.ok()?.path().join("schedstat");
            let text = std::fs::read_to_string(path).ok()?;
            let nanoseconds = text.split_whitespace().nth(1)?.parse().ok()?;
            Some(Duration::from_nanos(nanoseconds))
        };
        Self(threads.filter_map(waited).collect())
    }

    /// The longest that one of them has waited since.
    fn since(&self, before: &Self) -> Duration {
        let threads = self.0.iter().zip(&before.0);
        let waited = threads.map(|(now, before)| now.saturating_sub(*before));
        waited.max().unwrap_or_default()
    }
}

/// How long nothing was there to read. A silence begins before a read that finds nothing and ends when the last such read
/// had waited for [`LOOK`]: the socket was empty all that time, and a reader that does not get to run makes it shorter.
#[derive(Debug, Default)]
struct Silence {
    /// When the present one began, how long it is, and how long the broker's threads had waited by then.
    present: Option<(Instant, Duration, Waited)>,
    /// The longest, without the time for which a thread of the broker had to wait for a processor.
    longest: Duration,
    /// The longest as it was.
    longest_whole: Duration,
}

impl Silence {
    fn nothing_since(&mut self, begin: Instant, broker: &Broker) -> Duration {
        let (since, size, _) = self
            .present
            .get_or_insert_with(|| (begin, LOOK, Waited::of(broker)));
        *size = begin - *since + LOOK;
        *size
    }

    fn ends(&mut self, broker: &Broker) {
        if let Some((_, size, before)) = self.present.take() {
            let waited = Waited::of(broker).since(&before);
            self.longest = self.longest.max(size.saturating_sub(waited));
            self.longest_whole = self.longest_whole.max(size);
        }
    }
}

fn publish_history(broker: &Broker) {
    let mut random = Random::new(16);
    let payloads: Vec<Vec<u8>> = (0..CHUNK).map(|_| random.bytes(RECORD_BYTES)).collect();
    let mut publisher = broker.connect();
    for _ in 0..RECORDS / CHUNK {
        for entry in publisher.publish_each(TOPIC, &payloads) {
            assert_eq!(entry.outcome, Outcome::Ok);
        }
    }
}

/// Publishes record by record, each synced before the next one is sent, until `over`.
fn keep_disks_busy(broker: &Broker, over: &AtomicBool) {
    let mut publisher = broker.connect();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let topic = format!("busy/{}", number % BUSY_TOPICS);
        assert_eq!(publisher.publish(&topic, &[7; 1024]).outcome, Outcome::Ok);
    }
}

/// Reads the whole history as fast as it comes, and returns the longest pause.
fn catch_up(broker: &Broker) -> Silence {
    let mut session = broker.connect();
    let answer = session.subscribe(TOPIC, Start::Earliest);
    assert_eq!(answer.outcome, Outcome::Ok);
    let (mut socket, rest) = session.into_parts();
    socket.set_read_timeout(Some(LOOK)).expect("a TCP socket");
    let mut cutter = Cutter::new(rest);
    let mut buffer = vec![0; 256 << 10];
    let (mut got, mut silence) = (0, Silence::default());
    while got < RECORDS {
        let begin = Instant::now();
        match socket.read(&mut buffer) {
            Ok(size) => {
                assert!(size > 0, "cut off after {got} of {RECORDS} records");
                silence.ends(broker);
                cutter.feed(&buffer[..size], |kind, bytes| {
                    assert_eq!(kind, kind::RECORD);
                    let offset = u64::from_le_bytes(bytes[24..32].try_into().expect("8 bytes"));
                    assert_eq!(offset, got as u64, "records come in order");
                    got += 1;
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if silence.nothing_since(begin, broker) >= STALLED {
                    break;
                }
            }
            Err(error) => panic!("after {got} of {RECORDS} records: {error}"),
        }
    }
    silence.ends(broker);
    silence
}

/// The silences of each of `count` catch-ups, [`AT_ONCE`] at a time, beside a publisher.
fn catch_ups(broker: &Broker, count: usize) -> Vec<Silence> {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| keep_disks_busy(broker, &over));
        let readers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut silences = Vec::new();
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        silences.push(catch_up(broker));
                    }
                    silences
                })
            })
            .collect();
        let joined: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        over.store(true, Ordering::Relaxed);
        let all = joined.into_iter().map(|all| all.expect("a reader's end"));
        all.flatten().collect()
    })
}

#[test]
fn no_catch_up_waits_while_the_log_has_more() {
    let count = size("OYEZ_CATCHUPS", if full() { 2000 } else { 96 });
    for disk in ["uring", "thread"] {
        let broker = Setup::new()
            .set("disk", disk)
            .set("heartbeat_ms", u32::MAX)
            .start();
        publish_history(&broker);
        let silences = catch_ups(&broker, count);
        let more = |pick: fn(&Silence) -> Duration| {
            let longest = silences.iter().map(pick).max().expect("at least one");
            let times = silences.iter().map(pick);
            let more = times.filter(|time| *time > SILENCE_MAX).count();
            (more, longest)
        };
        let (stalled, longest) = more(|silence| silence.longest);
        let (whole, longest_whole) = more(|silence| silence.longest_whole);
        let found = format!(
            "{stalled} of {count} had nothing to read for more than {SILENCE_MAX:?}, the longest for {longest:?}; \
             with the time that the broker had to wait for a processor {whole} and {longest_whole:?}"
        );
        figure(&format!("catch-ups with disk {disk}"), &found);
        assert_eq!(stalled, 0, "{found}");
    }
}
