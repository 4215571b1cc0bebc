//! Killing the broker under load and while it starts, again and again on one directory.

use std::time::{Duration, Instant};

use testkit::deadline::wait_until;
use testkit::figures::{figure, full};
use testkit::files::disk_usage;
use testkit::random::Random;
use testkit::{Broker, Setup};

use crate::ledger::{Blow, Extent, Ledger};
use crate::load::{Load, Plan, Topics};

/// Kills of a whole run with one disk, half of them under load and half during starts.
const KILLS: usize = 100;
/// Kills of a sample.
const KILLS_SAMPLED: usize = 12;
/// Everything is read after so many rounds.
const WHOLE_EVERY: usize = 10;
/// Bytes that a log keeps: several times what a run publishes, so that nothing goes before it was seen.
const RETENTION_BYTES: u64 = 32 << 20;
/// Bytes that each publisher sends in a run at most.
const BYTES_MAX: usize = 6 << 20;
/// Bytes of a segment of the usual test broker.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Logs on disk: one of each durability for each shard.
const LOGS: u64 = 4;
/// Segments that a log may have beyond what it keeps: one being written, one prepared, one dropped and not gone yet.
const SEGMENTS_OVER: u64 = 3;
/// The longest load before a blow.
const LOAD_MS: [u64; 3] = [5, 80, 400];

/// Small segments, so that they roll over and are sealed under every load, and two shards wherever the test runs.
pub(crate) fn setup(disk: &str) -> Setup {
    Setup::new()
        .set("disk", disk)
        .set("shards", 2)
        .set("written_topics", "written/#")
        .set("retention_bytes", RETENTION_BYTES)
}

/// How long a load lasts: often so short that little more than the first records are under way.
pub(crate) fn load_time(random: &mut Random) -> Duration {
    let longest = LOAD_MS[random.below(3) as usize];
    Duration::from_micros(random.below(longest * 1000))
}

/// A time at random.
pub(crate) fn below(random: &mut Random, time: Duration) -> Duration {
    Duration::from_nanos(random.below(time.as_nanos() as u64 + 1))
}

/// How many blows during starts follow the one under load in each of `rounds`: none, one or more in a row, as many as
/// wanted in the end.
pub(crate) fn during_starts(random: &mut Random, rounds: usize, starts: usize) -> Vec<usize> {
    let mut left = starts;
    let mut counts: Vec<usize> = (1..rounds)
        .map(|_| {
            let count = left.min(random.below(3) as usize);
            left -= count;
            count
        })
        .collect();
    counts.push(left);
    counts
}

/// The broker under test, and how long its starts take.
struct Victim {
    broker: Broker,
    starts: Vec<Duration>,
}

impl Victim {
    fn restart(&mut self) {
        let begin = Instant::now();
        self.broker.restart();
        self.starts.push(begin.elapsed());
    }

    fn last_start(&self) -> Duration {
        *self.starts.last().expect("it has been started again")
    }
}

fn survives_kills(disk: &str) {
    let what = format!("kills with disk {disk}");
    let mut random = Random::from_environment(&what);
    let kills = if full() { KILLS } else { KILLS_SAMPLED };
    let topics = Topics::new();
    let mut ledger = Ledger::new(&topics);
    let mut victim = Victim {
        broker: setup(disk).start(),
        starts: Vec::new(),
    };
    assert!(victim.broker.stop().success());
    victim.restart();
    let counts = during_starts(&mut random, kills / 2, kills / 2);
    let (begin, last) = (Instant::now(), counts.len() - 1);
    for (round, during_starts) in counts.into_iter().enumerate() {
        let plan = Plan {
            run: round as u32,
            seed: random.next(),
            bytes_max: BYTES_MAX,
        };
        let load = Load::start(&victim.broker, &topics, plan);
        load.go_on_for(load_time(&mut random));
        victim.broker.kill();
        let diaries = load.end();
        let all: Vec<usize> = diaries.iter().map(|d| d.acknowledged.len()).collect();
        ledger.take_run(round as u32, &diaries, &all);
        for _ in 0..during_starts {
            let time = below(&mut random, victim.last_start());
            victim.broker.interrupted_start(time, || ());
        }
        victim.restart();
        let extent = if round % WHOLE_EVERY == WHOLE_EVERY - 1 || round == last {
            Extent::Whole
        } else {
            Extent::News
        };
        ledger.check(&victim.broker, Blow::Kill, extent);
    }
    tell(&what, &victim, &ledger, begin.elapsed());
    check_size(&victim.broker);
    ledger.close(&what);
}

fn tell(what: &str, victim: &Victim, ledger: &Ledger, time: Duration) {
    let mut starts = victim.starts.clone();
    starts.sort_unstable();
    let (median, longest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    figure(
        what,
        &format!(
            "{} records acknowledged, {time:.1?}; a start {median:.1?}, at most {longest:.1?}; {} MiB on disk",
            ledger.acknowledged(),
            disk_usage(victim.broker.data()) >> 20,
        ),
    );
}

/// However often the broker dies, a log takes no more than it may keep and what is being written.
fn check_size(broker: &Broker) {
    let topics = broker.connect().topics();
    let kept: u64 = topics.iter().filter_map(|row| row["bytes"].as_u64()).sum();
    let taken = disk_usage(broker.data());
    figure(
        "bytes on disk for a byte kept",
        &format!("{:.2}", taken as f64 / kept as f64),
    );
    wait_until("retention to have dropped what is too much", || {
        disk_usage(broker.data()) <= LOGS * (RETENTION_BYTES + SEGMENTS_OVER * SEGMENT_BYTES)
    });
}

#[test]
fn killing_the_broker_loses_nothing_and_changes_no_epoch_with_the_ring() {
    survives_kills("uring");
}

#[test]
fn killing_the_broker_loses_nothing_and_changes_no_epoch_with_the_thread() {
    survives_kills("thread");
}
