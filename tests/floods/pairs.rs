//! Honest clients beside a flood: one of each pair publishes at a steady pace, the other subscribes, and every message
//! has to come, soon.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oyez_protocol::header::kind;
use testkit::deadline::PATIENCE;
use testkit::record::stored;
use testkit::stream::Cutter;
use testkit::{Outcome, Session, Start};

/// Pairs, so that publishers, subscribers and topics meet on the same shard and on different ones.
const PAIRS: usize = 8;
/// Time between two messages of a pair.
const PACE: Duration = Duration::from_millis(20);
/// Longest wait for the last messages when the flood is over.
const LATE: Duration = Duration::from_secs(10);
const PAYLOAD_BYTES: usize = 200;

/// A publisher and a subscriber.
struct Pair {
    publisher: TcpStream,
    subscriber: TcpStream,
    cutter: Cutter,
    record: Vec<u8>,
    /// Offset of the first message; an echo has none, and loses nothing.
    base: Option<u64>,
    diary: Diary,
}

/// The results of a pair.
#[derive(Debug, Default)]
struct Diary {
    sent: Vec<Instant>,
    latencies: Vec<Duration>,
    /// Messages that the broker said it keeps no more: a flood of the same log may push them out.
    dropped: usize,
    /// Messages of which is known what became of them.
    told: usize,
    /// The code of the broker's Goodbye.
    goodbye: Option<u16>,
}

impl Diary {
    fn ending(&self) -> String {
        match self.goodbye {
            Some(code) => format!("Goodbye {code}"),
            None => "cut off without a Goodbye".to_owned(),
        }
    }

    /// A message that is reported as dropped counts with the time until the report.
    fn tell(&mut self, places: Range<usize>, now: Instant) {
        self.told = places.end;
        let sent = self.sent.get(places).expect("sent before it comes");
        self.latencies.extend(sent.iter().map(|begin| now - *begin));
    }

    fn take(&mut self, base: Option<u64>, kind: u8, frame: &[u8], now: Instant) {
        let number = |at: usize| {
            let bytes = frame[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        match kind {
            kind::RECORD => {
                let place = base.map_or(self.latencies.len(), |base| (number(24) - base) as usize);
                self.tell(place..place + 1, now);
            }
            kind::GAP => {
                let base = base.expect("an echo has no gaps");
                let places = (number(16) - base) as usize..(number(24) - base) as usize;
                self.dropped += places.len();
                self.tell(places, now);
            }
            kind::GOODBYE => self.goodbye = Some(u16::from_le_bytes([frame[6], frame[7]])),
            _ => {}
        }
    }
}

/// The topic of a pair; it is kept in memory.
pub(crate) fn topic(number: usize) -> String {
    format!("honest/{number}")
}

impl Pair {
    /// Through a broker.
    fn of_broker(address: SocketAddr, number: usize) -> Self {
        let topic = topic(number);
        let mut session = Session::connect(address);
        let answer = session.subscribe(&topic, Start::Latest);
        assert_eq!(answer.outcome, Outcome::Ok);
        let (subscriber, rest) = session.into_parts();
        let (publisher, _) = Session::connect(address).into_parts();
        Self {
            publisher,
            subscriber,
            cutter: Cutter::new(rest),
            record: record(&topic),
            base: Some(answer.next.get()),
            diary: Diary::default(),
        }
    }

    /// Through a loop that sends back what it gets.
    fn of_echo(address: SocketAddr, number: usize) -> Self {
        let publisher = TcpStream::connect(address).expect("the bare loop listens");
        publisher.set_nodelay(true).expect("a TCP socket");
        Self {
            subscriber: publisher.try_clone().expect("a descriptor"),
            publisher,
            cutter: Cutter::default(),
            record: record(&topic(number)),
            base: None,
            diary: Diary::default(),
        }
    }

    /// Publishes at its pace until the end, and goes on until all is told that was published before the end: what was
    /// dropped is told in front of what comes after it.
    fn run(mut self, goes_on: &AtomicBool) -> Result<Diary, String> {
        let mut next = Instant::now();
        let mut end = None;
        loop {
            let now = Instant::now();
            if next <= now {
                self.diary.sent.push(now);
                let published = self.publisher.write_all(&self.record);
                published.map_err(|error| format!("cannot publish: {error}"))?;
                next += PACE;
            }
            if end.is_none() && !goes_on.load(Ordering::Relaxed) {
                end = Some((now + LATE, self.diary.sent.len()));
            }
            match end {
                Some((_, count)) if self.diary.told >= count => return Ok(self.diary),
                Some((late, count)) if late <= now => return Err(self.missing(count)),
                _ => self.receive(next.saturating_duration_since(now))?,
            }
        }
    }

    /// What is missing of the first messages, and whether the publisher knows better.
    fn missing(&mut self, count: usize) -> String {
        let mut acknowledged = 0;
        let mut buffer = vec![0; 256 << 10];
        let mut cutter = Cutter::default();
        let reading = self.publisher.set_nonblocking(true);
        reading.expect("a TCP socket");
        while let Ok(size @ 1..) = self.publisher.read(&mut buffer) {
            cutter.feed(&buffer[..size], |kind, frame| {
                if kind == kind::PUBLISHED {
                    acknowledged += usize::from(u16::from_le_bytes([frame[6], frame[7]]));
                }
            });
        }
        format!(
            "{} of {count} messages did not come; {acknowledged} were acknowledged, {} told to be dropped",
            count - self.diary.told,
            self.diary.dropped
        )
    }

    /// Takes what comes in time.
    fn receive(&mut self, time: Duration) -> Result<(), String> {
        if time.is_zero() {
            return Ok(());
        }
        let mut buffer = [0; 16 << 10];
        let reading = self.subscriber.set_read_timeout(Some(time));
        reading.expect("the time is not zero");
        let size = match self.subscriber.read(&mut buffer) {
            Ok(0) => return Err(self.diary.ending()),
            Ok(size) => size,
            Err(error) => {
                let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                return match late.contains(&error.kind()) {
                    true => Ok(()),
                    false => Err(format!("{}: {error}", self.diary.ending())),
                };
            }
        };
        let now = Instant::now();
        let (base, diary) = (self.base, &mut self.diary);
        self.cutter.feed(&buffer[..size], |kind, frame| {
            diary.take(base, kind, frame, now);
        });
        Ok(())
    }
}

fn record(topic: &str) -> Vec<u8> {
    stored(topic, &[[b'x'; PAYLOAD_BYTES]], 1)
}

/// How long honest messages took to come, or to be reported as dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) messages: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    /// Messages that were reported as dropped.
    pub(crate) dropped: usize,
    /// What became of pairs whose connections ended, or whose messages did not come.
    pub(crate) failed: Vec<String>,
}

/// Running pairs.
pub(crate) struct Pairs {
    threads: Vec<JoinHandle<Result<Diary, String>>>,
    goes_on: Arc<AtomicBool>,
}

impl Pairs {
    pub(crate) fn of_broker(address: SocketAddr) -> Self {
        Self::start((0..PAIRS).map(|number| Pair::of_broker(address, number)))
    }

    pub(crate) fn of_echo(address: SocketAddr) -> Self {
        Self::start((0..PAIRS).map(|number| Pair::of_echo(address, number)))
    }

    fn start(pairs: impl Iterator<Item = Pair>) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let threads = pairs.map(|pair| {
            let goes_on = Arc::clone(&goes_on);
            std::thread::spawn(move || pair.run(&goes_on))
        });
        Self {
            threads: threads.collect(),
            goes_on,
        }
    }

    pub(crate) fn end(self) -> Latencies {
        self.goes_on.store(false, Ordering::Relaxed);
        let runs = self.threads.into_iter().map(|thread| thread.join());
        let (mut diaries, mut failed) = (Vec::new(), Vec::new());
        for run in runs {
            match run.expect("a pair does not panic") {
                Ok(diary) => diaries.push(diary),
                Err(why) => failed.push(why),
            }
        }
        let latencies = diaries.iter().flat_map(|diary| &diary.latencies);
        let mut all: Vec<Duration> = latencies.copied().collect();
        all.sort_unstable();
        let at = |per_cent: usize| {
            let rank = (all.len() * per_cent).div_ceil(100).max(1);
            all.get(rank - 1).copied().unwrap_or_default()
        };
        Latencies {
            messages: all.len(),
            p50: at(50),
            p99: at(99),
            longest: at(100),
            dropped: diaries.iter().map(|diary| diary.dropped).sum(),
            failed,
        }
    }
}

/// How long one message takes between two clients that come new.
pub(crate) fn one_message(address: SocketAddr) -> Duration {
    let begin = Instant::now();
    let mut subscriber = Session::connect(address);
    let answer = subscriber.subscribe("honest/after", Start::Latest);
    assert_eq!(answer.outcome, Outcome::Ok);
    let entry = Session::connect(address).publish("honest/after", b"still there?");
    assert_eq!(entry.outcome, Outcome::Ok);
    subscriber.delivery();
    assert!(begin.elapsed() < PATIENCE, "the event says so");
    begin.elapsed()
}
