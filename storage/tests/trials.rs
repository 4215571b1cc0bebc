//! Everything at once, from a seed: kills and power cuts, also while a log is being opened; errors of every operation;
//! retention, rolls, drains; and damage to files at rest. A naive twin knows what was acknowledged.

mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};
use oyez_storage::*;
use support::{Dice, Rig, Unread, dir, pool, record};

const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];
const TOPICS: [&str; 6] = ["a", "a/b", "news/europe", "x", "rare/1", "rare/2"];

/// A record that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    topic: &'static str,
    offset: u64,
    count: u64,
    from: u64,
    to: u64,
    body: Vec<u8>,
    /// Retention has dropped it, or the epoch that it was acknowledged in is over.
    is_past: bool,
}

/// Bytes that were damaged while the log was closed.
#[derive(Clone, Debug)]
struct Harm {
    file: PathBuf,
    from: u64,
    to: u64,
}

/// The records that were appended to a log.
#[derive(Default)]
struct Twin {
    appended: Vec<Entry>,
    acknowledged: usize,
    /// Everything below was dropped by retention, or may have been.
    earliest: u64,
    next: HashMap<&'static str, u64>,
    /// The next offsets of the topics at the last start.
    settled: HashMap<&'static str, u64>,
    epoch: Option<Epoch>,
    harms: Vec<Harm>,
}

struct Trial {
    seed: u64,
    dice: Dice,
    dir: DataDir,
    pool: Arc<ArenaPool>,
    twins: [Twin; 2],
    now_ms: u64,
    harmful: bool,
    poisoned: bool,
    met: HashMap<&'static str, u64>,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

/// How a record was found.
enum Seen {
    Whole,
    Damaged,
}

impl Trial {
    fn new(seed: u64, harmful: bool) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, lock) = dir(temp.path());
        Self {
            seed,
            dice: Dice::of(seed + 1),
            dir,
            pool: pool(64),
            twins: Default::default(),
            now_ms: 1_000_000,
            harmful,
            poisoned: false,
            met: HashMap::new(),
            _lock: lock,
            _temp: temp,
        }
    }

    fn meet(&mut self, what: &'static str, times: u64) {
        *self.met.entry(what).or_insert(0) += times;
    }

    fn options(&mut self) -> LogOptions {
        LogOptions {
            segment_bytes: (2 + self.dice.roll(2)) * BLOCK_BYTES,
            retention_bytes: (self.dice.roll(3) > 0).then_some(9 << 20),
            retention_age_ms: (self.dice.roll(3) > 0).then_some(100_000),
            hot_blocks: self.dice.roll(3) as usize,
            ..LogOptions::default()
        }
    }

    fn turn(&mut self, rig: &mut Rig) {
        if self.poisoned {
            return;
        }
        rig.progress.clear();
        let now = rig.now();
        if rig.store.pump(now, &mut rig.progress).is_err() {
            self.poisoned = true;
        }
        rig.store.submit().expect("the disk takes submissions");
    }

    fn append(&mut self, rig: &mut Rig) {
        let slot = self.dice.roll(2) as usize;
        let topic = TOPICS[(self.dice.roll(36) as f64).sqrt() as usize];
        let size = match self.dice.roll(8) {
            0..3 => 400_000,
            3..5 => 20_000,
            _ => 100,
        };
        let byte = self.dice.roll(256) as u8;
        let count = 1 + self.dice.roll(3);
        let payload = vec![byte; 1 + self.dice.roll(size / count) as usize];
        let bytes = record(topic, count as usize, &payload);
        let log = rig.log(DURABLE[slot]);
        let Ok(appended) = rig.try_append(log, &bytes) else {
            return;
        };
        let twin = &mut self.twins[slot];
        let offset = appended.offset.get();
        if let Some(next) = twin.next.get(topic) {
            assert_eq!(
                offset, *next,
                "seed {}: offset of {topic} slot {slot}",
                self.seed
            );
        }
        twin.next.insert(topic, offset + count);
        let to = appended.end.get();
        twin.appended.push(Entry {
            topic,
            offset,
            count,
            from: to - bytes.len() as u64,
            to,
            body: bytes[48..].to_vec(),
            is_past: false,
        });
    }

    fn fault(&mut self) -> (OpKind, Fault) {
        let errors = [libc::EIO, libc::ENOSPC];
        let error = Fault::Error(errors[self.dice.roll(2) as usize]);
        match self.dice.roll(16) {
            0..3 => (OpKind::Prepare, error),
            3..6 => (OpKind::Put, error),
            6..9 => (OpKind::Overwrite, error),
            9..11 => (OpKind::Unlink, error),
            11 => (OpKind::Sync, error),
            12 => (OpKind::Write, error),
            13 => (OpKind::Rename, error),
            14 => (OpKind::Sync, Fault::Severed),
            _ => (OpKind::Write, Fault::Short(self.dice.roll(5000) as usize)),
        }
    }

    /// Appends and turns at random, with faults and jumps of time, perhaps until operations stop to complete.
    fn work(&mut self, rig: &mut Rig, disk: &MemoryDisk) {
        let allowed = self.dice.roll(3) > 0;
        disk.allow(allowed.then(|| self.dice.roll(150)));
        let drains = self.dice.roll(3) == 0;
        let steps = self.dice.roll(200);
        for _ in 0..steps {
            self.append(rig);
            match self.dice.roll(60) {
                0..20 => rig.now_ms += self.dice.roll(10),
                20 => rig.now_ms += 1_000,
                21 => rig.now_ms += 70_000,
                22 => rig.now_ms += 150_000,
                23 if self.dice.roll(2) == 0 => {
                    let (step, fault) = self.fault();
                    disk.fail_next(step, fault);
                }
                _ => continue,
            }
            self.turn(rig);
        }
        if drains {
            rig.store.begin_drain();
            for _ in 0..self.dice.roll(40) {
                rig.now_ms += self.dice.roll(400);
                self.turn(rig);
            }
            self.meet("drained", u64::from(rig.store.is_drained()));
        }
        self.note_what_holds(rig);
    }

    /// Notes what is acknowledged and what retention has left.
    fn note_what_holds(&mut self, rig: &Rig) {
        for (slot, durability) in DURABLE.into_iter().enumerate() {
            let log = rig.log(durability);
            let (visible, reader) = (rig.store.visible(log).get(), rig.store.reader(log));
            let twin = &mut self.twins[slot];
            let acknowledged = twin.appended.iter().filter(|entry| entry.to <= visible);
            twin.acknowledged = twin.acknowledged.max(acknowledged.count());
            twin.earliest = twin.earliest.max(reader.earliest().get());
        }
        self.now_ms = rig.now_ms;
    }

    /// Lets marks be written, so that only they prove what was acknowledged.
    fn rest(&mut self, rig: &mut Rig, disk: &MemoryDisk) {
        disk.allow(None);
        for step in [OpKind::Write, OpKind::Sync, OpKind::Overwrite, OpKind::Put] {
            disk.lift(step);
        }
        for _ in 0..20 {
            rig.now_ms += 10;
            self.turn(rig);
        }
        self.note_what_holds(rig);
    }

    /// Damages one place of one log.
    fn harm(&mut self, disk: &MemoryDisk) {
        let slot = self.dice.roll(2) as usize;
        let log = self.dir.path().join(format!("{}-0", DURABLE[slot]));
        let files = disk.files();
        let files: Vec<_> = files
            .iter()
            .filter(|(path, len)| path.starts_with(&log) && *len > 0)
            .filter(|(path, _)| !path.to_string_lossy().contains("damaged"))
            .collect();
        if files.is_empty() {
            return;
        }
        let (path, len) = files[self.dice.roll(files.len() as u64) as usize];
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let base = name.strip_suffix(".seg");
        let base = base.map(|digits| u64::from_str_radix(digits, 16).expect("a base"));
        let content = disk.content(path).expect("the file");
        let used = content
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1) as u64;
        let at = match self.dice.roll(4) {
            0 => self.dice.roll(*len),
            1 => (used.saturating_sub(1 + self.dice.roll(400))).min(len - 1),
            2 => self.dice.roll(200).min(len - 1),
            _ => self.dice.roll(used.max(1)),
        };
        let (from, to) = match self.dice.roll(3) {
            0 => {
                disk.damage(path, at as usize);
                (at, at + 1)
            }
            1 => {
                let from = at - at % 512;
                let to = (from + 512 * (1 + self.dice.roll(9))).min(*len);
                disk.zero(path, from as usize..to as usize);
                (from, to)
            }
            _ => {
                let from = at - at % 4096;
                let to = (from + 4096).min(*len);
                disk.fail_reads(path, from..to);
                (from, to)
            }
        };
        self.meet("harms", 1);
        self.twins[slot].harms.push(Harm {
            file: path.clone(),
            from: base.unwrap_or(0) + from,
            to: base.unwrap_or(0) + to,
        });
        if std::env::var("OYEZ_SEED").is_ok() {
            println!("harm {path:?} {from}..{to} of {len}");
        }
    }

    /// Opens what an end has left; now and then an opening is ended itself.
    fn recover(&mut self, mut disk: MemoryDisk, power: bool) -> (Rig, MemoryDisk) {
        let options = self.options();
        loop {
            // A new epoch is unlike the ones before because of the time, here where the entropy stays the same.
            self.now_ms += 1;
            let interrupted = self.dice.roll(2) == 0;
            let faulty = self.dice.roll(4) == 0;
            disk.allow(interrupted.then(|| self.dice.roll(14)));
            let (step, fault) = self.fault();
            if faulty && fault != Fault::Severed {
                disk.fail(step, fault);
            }
            let (dir, pool) = (self.dir.clone(), Arc::clone(&self.pool));
            let boxed = Box::new(disk.clone());
            match Rig::try_open(&dir, boxed, &pool, &options, self.now_ms) {
                Ok(rig) => {
                    disk.lift(step);
                    disk.allow(None);
                    return (rig, disk);
                }
                Err(error) => {
                    assert!(interrupted || faulty, "seed {}: {error}", self.seed);
                    self.meet("interrupted", 1);
                    let seed = self.dice.roll(1 << 30);
                    disk = match power && self.dice.roll(2) == 0 {
                        true => disk.crash(seed),
                        false => disk.kill(seed),
                    };
                }
            }
        }
    }

    /// The records that the index of a log names: each whole, or as damaged.
    fn found(&mut self, rig: &mut Rig, slot: usize, what: &str) -> Vec<(usize, Seen)> {
        let log = rig.log(DURABLE[slot]);
        let mut reader = rig.store.reader(log);
        let mut found = Vec::new();
        for topic in TOPICS {
            let mut places = Vec::new();
            rig.store
                .places(log, topic, Offset::new(0), usize::MAX, &mut places);
            for place in places {
                let from = place.position.get();
                let number = self.twins[slot]
                    .appended
                    .iter()
                    .position(|entry| entry.from == from && entry.topic == topic)
                    .unwrap_or_else(|| panic!("{what}: nothing was appended at {place:?} {topic}"));
                let read = rig.try_read(&mut reader, &place);
                let entry = &self.twins[slot].appended[number];
                let seen = match read {
                    Ok(bytes) => {
                        let whole = Record::verify_stamped(&bytes, &Limits::HARD);
                        let whole = whole.unwrap_or_else(|e| panic!("{what}: {place:?}: {e:?}"));
                        assert_eq!(whole.offset().get(), entry.offset, "{what}");
                        assert!(
                            bytes[48..] == entry.body,
                            "{what}: other bytes at {place:?}"
                        );
                        Seen::Whole
                    }
                    Err(Unread::Refused(ReadError::Damaged)) => Seen::Damaged,
                    // Reading takes turns, in which retention works.
                    Err(Unread::Refused(ReadError::Dropped)) => Seen::Whole,
                    Err(other) => panic!("{what}: {place:?}: {other:?}"),
                };
                assert_eq!(place.first.get(), entry.offset, "{what}");
                assert_eq!(place.next.get(), entry.offset + entry.count, "{what}");
                found.push((number, seen));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        found
    }

    /// Compares what was found with what was acknowledged, and takes it over.
    fn check(&mut self, rig: &mut Rig, slot: usize, power: bool, what: &str) {
        let report = rig.report(DURABLE[slot]).clone();
        let what = format!("{what}: {report:?}");
        let found = self.found(rig, slot, &what);
        let earliest = rig.store.reader(report.log).earliest().get();
        // A power cut may take anything from a written log.
        let free = power && DURABLE[slot] == Durability::Written;
        let twin = &self.twins[slot];
        let mut is_there = vec![false; twin.appended.len()];
        let mut told = 0;
        for (number, seen) in &found {
            is_there[*number] = true;
            if matches!(seen, Seen::Damaged) {
                let entry = &twin.appended[*number];
                let hit = twin.is_hit(entry);
                assert!(hit || free, "{what}: {} is not readable", entry.from);
                told += 1;
            }
        }
        // An opening that was ended may have changed it.
        let changed = twin.epoch != Some(report.epoch);
        let mut lost = 0;
        if !free {
            lost = twin.lost(&is_there, earliest, &what);
            assert!(changed || lost == 0, "{what}: {lost} vanished in silence");
            twin.check_tail(&is_there, &what);
            if twin.harms.is_empty() {
                assert!(!changed, "{what}: a false alarm");
                assert_eq!(report.gaps, [], "{what}");
                assert_eq!(report.set_aside, [], "{what}");
            }
        }
        self.meet("told", told);
        self.meet("lost", lost);
        self.meet("alarms", u64::from(changed));
        self.meet("checked", found.len() as u64);
        self.meet("cut", u64::from(report.cut_bytes > 0));
        self.meet("rewritten", report.records_rewritten);
        self.meet("clean", u64::from(report.clean));
        self.meet("dropped", u64::from(earliest > 0));
        self.twins[slot].take_over(&is_there, report.epoch, earliest);
    }

    fn run(&mut self) {
        let mut disk = MemoryDisk::new();
        let options = self.options();
        let (dir, pool) = (self.dir.clone(), Arc::clone(&self.pool));
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool, &options, self.now_ms);
        for (twin, durability) in DURABLE.into_iter().enumerate() {
            self.twins[twin].epoch = Some(rig.report(durability).epoch);
        }
        for generation in 0..8 {
            self.poisoned = false;
            self.work(&mut rig, &disk);
            let harmed = self.harmful && self.dice.roll(2) == 0;
            if harmed {
                self.rest(&mut rig, &disk);
            }
            let seed = self.dice.roll(1 << 30);
            // A mark that was written alone is not durable: with power and medium failing at once, the records of the
            // last sync may be cut.
            let power = self.dice.roll(2) == 0 && !harmed;
            let ended = match power {
                true => disk.crash(seed),
                false => disk.kill(seed),
            };
            drop(rig);
            if harmed {
                self.harm(&ended);
            }
            if std::env::var("OYEZ_SEED").is_ok() {
                println!(
                    "generation {generation} power {power} poisoned {}",
                    self.poisoned
                );
                for (path, len) in ended.files() {
                    let content = ended.content(&path).expect("a file");
                    let used = content
                        .iter()
                        .rposition(|byte| *byte != 0)
                        .map_or(0, |last| last + 1);
                    println!("  {} {len} used {used}", path.display());
                }
            }
            (rig, disk) = self.recover(ended, power);
            for (slot, durability) in DURABLE.into_iter().enumerate() {
                let what = format!(
                    "seed {} generation {generation} power {power} {durability}",
                    self.seed
                );
                if std::env::var("OYEZ_SEED").is_ok() {
                    println!("{what}: {:?}", rig.report(durability));
                }
                self.check(&mut rig, slot, power, &what);
            }
        }
    }
}

impl Twin {
    /// How many acknowledged records are missing, all of which damage must have hit.
    fn lost(&self, is_there: &[bool], earliest: u64, what: &str) -> u64 {
        let earliest = self.earliest.max(earliest);
        let mut lost = 0;
        for (number, entry) in self.appended.iter().enumerate().take(self.acknowledged) {
            if is_there[number] || entry.is_past || entry.from < earliest {
                continue;
            }
            lost += 1;
            assert!(
                self.is_hit(entry),
                "{what}: whole acknowledged record {number} at {}..{} is missing",
                entry.from,
                entry.to
            );
        }
        lost
    }

    /// Unacknowledged records are there up to one of them.
    fn check_tail(&self, is_there: &[bool], what: &str) {
        let Some(missing) = (self.acknowledged..is_there.len()).find(|n| !is_there[*n]) else {
            return;
        };
        let later = (missing..is_there.len()).find(|n| is_there[*n]);
        let mut tail = self.appended[missing..].iter();
        assert!(
            later.is_none() || tail.any(|entry| self.is_hit(entry)),
            "{what}: record {missing} is missing, {later:?} is there"
        );
    }

    /// Whether damage overlaps a record, or is in a small file that records it.
    fn is_hit(&self, entry: &Entry) -> bool {
        let on = |harm: &Harm| harm.from < entry.to && entry.from < harm.to;
        self.harms
            .iter()
            .any(|harm| harm.file.extension().is_some_and(|e| e == "seg") && on(harm))
    }

    fn take_over(&mut self, is_there: &[bool], epoch: Epoch, earliest: u64) {
        let new_epoch = self.epoch != Some(epoch);
        if new_epoch {
            self.settled.clear();
        }
        self.next.clear();
        let appended = std::mem::take(&mut self.appended);
        for (number, mut entry) in appended.into_iter().enumerate() {
            let acknowledged = number < self.acknowledged && !new_epoch && !entry.is_past;
            if is_there[number] || acknowledged {
                // Offsets of acknowledged messages are not given twice, whatever becomes of the messages.
                self.settled.insert(entry.topic, entry.offset + entry.count);
            }
            // Files that retention has dropped may still be there at the next start.
            entry.is_past = !is_there[number] && (new_epoch || entry.is_past);
            if is_there[number] || number < self.acknowledged && entry.from < earliest {
                self.appended.push(entry);
            }
        }
        if !new_epoch {
            self.next.clone_from(&self.settled);
        }
        self.acknowledged = self.appended.len();
        self.earliest = earliest;
        self.epoch = Some(epoch);
    }
}

fn run(seeds: std::ops::Range<u64>, harmful: bool) {
    let only = std::env::var("OYEZ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let many = std::env::var("OYEZ_SEEDS")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = many.map_or(seeds, |many: u64| 0..many);
    let seeds = only.map_or(seeds, |seed: u64| seed..seed + 1);
    let mut met: HashMap<&str, u64> = HashMap::new();
    for seed in seeds {
        let mut trial = Trial::new(seed, harmful);
        trial.run();
        for (what, times) in trial.met {
            *met.entry(what).or_insert(0) += times;
        }
    }
    println!("{met:?}");
}

#[test]
fn whatever_ends_a_log_nothing_acknowledged_is_lost_and_no_alarm_is_false() {
    run(0..8, false);
}

#[test]
fn damage_hides_what_it_lies_on_and_nothing_else() {
    run(0..8, true);
}
