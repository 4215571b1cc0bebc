//! Kills and power cuts at moments that a seed picks. All acknowledged records are there afterwards, in order, whole, with
//! the same offsets. Others may be there, but only as the next records in order.

mod support;

use std::sync::Arc;

use oyez_protocol::Position;
use oyez_storage::*;
use support::{Dice, Rig, dir, options, pool, record};

type Entry = (String, u64, Vec<u8>);

const TOPICS: [&str; 4] = ["a", "a/b", "news/europe", "x"];

/// The records that were appended to a log, and how many of them were acknowledged.
#[derive(Default)]
struct Twin {
    appended: Vec<(Entry, Position)>,
    acknowledged: usize,
    next: std::collections::HashMap<String, u64>,
}

impl Twin {
    /// Compares with what a recovery found, and forgets what it did not find.
    fn check(&mut self, found: &[Entry], what: &str) {
        assert!(
            found.len() >= self.acknowledged,
            "{what}: {} records found, {} were acknowledged",
            found.len(),
            self.acknowledged
        );
        self.restart(found, what);
    }

    /// Compares with what is left of unacknowledged records, and forgets the others.
    fn lose(&mut self, found: &[Entry], what: &str) {
        let mut appended = std::mem::take(&mut self.appended).into_iter();
        for (number, found) in found.iter().enumerate() {
            let same = appended.find(|(entry, _)| entry == found);
            let same = same.unwrap_or_else(|| panic!("{what}: record {number} is another one"));
            self.appended.push(same);
        }
        self.restart(found, what);
    }

    fn restart(&mut self, found: &[Entry], what: &str) {
        assert!(
            found.len() <= self.appended.len(),
            "{what}: more than was appended"
        );
        for (number, (found, (wanted, _))) in found.iter().zip(&self.appended).enumerate() {
            assert!(found == wanted, "{what}: record {number} is another one");
        }
        self.appended.truncate(found.len());
        self.acknowledged = found.len();
        self.next.clear();
        for ((topic, offset, _), _) in &self.appended {
            self.next.insert(topic.clone(), offset + 1);
        }
    }
}

const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];

/// Counts of the events that the seeds are meant to cause.
#[derive(Debug, Default)]
struct Met {
    acknowledged: usize,
    unacknowledged: usize,
    copied: u64,
    cut_bytes: u64,
    interrupted: u64,
}

struct Run {
    met: Met,
    seed: u64,
    dice: Dice,
    dir: DataDir,
    pool: Arc<ArenaPool>,
    twins: [Twin; 2],
}

impl Run {
    /// Appends and turns at random until the disk stops completing operations, and notes what was acknowledged.
    fn work(&mut self, rig: &mut Rig, disk: &MemoryDisk) {
        disk.allow(Some(self.dice.roll(60)));
        for _ in 0..self.dice.roll(120) {
            let slot = self.dice.roll(2) as usize;
            let topic = TOPICS[self.dice.roll(4) as usize];
            let size = match self.dice.roll(10) {
                0 => 200_000,
                1..4 => 20_000,
                _ => 100,
            };
            let byte = self.dice.roll(256) as u8;
            let bytes = record(topic, 1, &vec![byte; 1 + self.dice.roll(size) as usize]);
            let log = rig.log(DURABLE[slot]);
            if let Ok(appended) = rig.try_append(log, &bytes) {
                let next = self.twins[slot].next.entry(topic.to_owned()).or_insert(0);
                assert_eq!(appended.offset.get(), *next, "seed {}", self.seed);
                *next += 1;
                let entry = (
                    topic.to_owned(),
                    appended.offset.get(),
                    bytes[48..].to_vec(),
                );
                self.twins[slot].appended.push((entry, appended.end));
            }
            if self.dice.roll(3) == 0 {
                rig.now_ms += self.dice.roll(10);
                rig.turn();
            }
        }
        for (slot, durability) in DURABLE.into_iter().enumerate() {
            let visible = rig.store.visible(rig.log(durability));
            let twin = &mut self.twins[slot];
            let acknowledged = twin.appended.iter().filter(|(_, end)| *end <= visible);
            twin.acknowledged = twin.acknowledged.max(acknowledged.count());
        }
    }

    /// Opens what a crash has left, crashing during recovery now and then.
    fn recover(&mut self, mut disk: MemoryDisk, power: bool) -> (Rig, MemoryDisk) {
        loop {
            let interrupted = self.dice.roll(2) == 0;
            disk.allow(interrupted.then(|| self.dice.roll(12)));
            let opened = Rig::try_open(
                &self.dir,
                Box::new(disk.clone()),
                &self.pool,
                &options(),
                1000,
            );
            match opened {
                Ok(rig) => {
                    disk.allow(None);
                    return (rig, disk);
                }
                Err(error) => {
                    assert!(interrupted, "seed {}: {error}", self.seed);
                    self.met.interrupted += 1;
                    let seed = self.dice.roll(1 << 30);
                    disk = if power {
                        disk.crash(seed)
                    } else {
                        disk.kill(seed)
                    };
                }
            }
        }
    }
}

fn run(seed: u64, data: &DataDir, pool: &Arc<ArenaPool>, power: bool, met: &mut Met) {
    let mut run = Run {
        met: std::mem::take(met),
        seed,
        dice: Dice::of(seed + 1),
        dir: data.clone(),
        pool: Arc::clone(pool),
        twins: Default::default(),
    };
    let mut disk = MemoryDisk::new();
    let mut rig = Rig::open(data, Box::new(disk.clone()), pool, &options(), 1000);
    for generation in 0..4 {
        if run.dice.roll(4) > 0 {
            rig.turn();
        }
        run.work(&mut rig, &disk);
        let end = run.dice.roll(1 << 30);
        let ended = if power {
            disk.crash(end)
        } else {
            disk.kill(end)
        };
        drop(rig);
        (rig, disk) = run.recover(ended, power);
        for (slot, durability) in DURABLE.into_iter().enumerate() {
            let what = format!("seed {seed} power {power} generation {generation} {durability}");
            let found = rig.dump(rig.log(durability));
            let report = rig.report(durability).clone();
            run.met.copied += report.records_rewritten;
            run.met.cut_bytes += report.cut_bytes;
            run.met.acknowledged += run.twins[slot].acknowledged;
            run.met.unacknowledged += run.twins[slot].appended.len() - run.twins[slot].acknowledged;
            if power && durability == Durability::Written {
                run.twins[slot].lose(&found, &what);
                continue;
            }
            run.twins[slot].check(&found, &what);
            assert_eq!(report.gaps, [], "{what}");
            assert!(!report.epoch_changed, "{what}: {report:?}");
        }
    }
    *met = run.met;
}

/// The seeds must cause these events, or they test nothing.
fn check_met(met: &Met) {
    if std::env::var("OYEZ_SEED").is_err() {
        assert!(
            met.acknowledged > 1000
                && met.unacknowledged > 100
                && met.copied > 50
                && met.cut_bytes > 0
                && met.interrupted > 10,
            "{met:?}"
        );
    }
}

fn seeds() -> std::ops::Range<u64> {
    let seed = std::env::var("OYEZ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    seed.map_or(0..24, |seed| seed..seed + 1)
}

#[test]
fn power_loss_keeps_everything_acknowledged_by_a_synced_log() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let pool = pool(64);
    let mut met = Met::default();
    for seed in seeds() {
        run(seed, &dir, &pool, true, &mut met);
    }
    check_met(&met);
}

#[test]
fn a_kill_keeps_everything_acknowledged() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let pool = pool(64);
    let mut met = Met::default();
    for seed in seeds() {
        run(seed, &dir, &pool, false, &mut met);
    }
    check_met(&met);
}
