//! Writes the data directories that the sweep damages, through the store, on real files, so that two runs write the
//! same bytes: every step waits until the disk has nothing left to do.
//!
//! What a kill leaves is what is in the files at that moment, since everything written is in the page cache. A clean
//! stop is a drain.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oyez_protocol::checksum::seal_frame;
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::record::{Record, Stamp, stamp};
use oyez_protocol::{LogId, Offset, Position, Sequence};
use oyez_storage::{
    ArenaPool, DataDir, DirLock, DiskChoice, Durability, LogOptions, SYNC_MARK_SIZE, open_disk,
};

use crate::image::{Known, Oracle, copy_sparse};
use crate::support::{Dice, Rig, SEGMENT, dir_options, options, pool, record};

/// The logs that have files.
pub(crate) const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];

/// How the writing process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    Clean,
    /// `kill -9`, after more than 10 ms of quiet.
    Kill,
}

impl Stop {
    pub(crate) const BOTH: [Self; 2] = [Self::Clean, Self::Kill];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Kill => "kill",
        }
    }
}

/// How an image comes about.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Writer),
    retention_bytes: Option<u64>,
}

const fn script(name: &'static str, run: fn(&mut Writer)) -> Script {
    Script {
        name,
        run,
        retention_bytes: None,
    }
}

pub(crate) const SCRIPTS: [Script; 5] = [
    script("sealed", sealed),
    script("small", small),
    script("restarted", restarted),
    Script {
        retention_bytes: Some(2 * SEGMENT),
        ..script("retained", retained)
    },
    script("mimic", mimic),
];

/// Two segments with footers, and one that is open.
fn sealed(writer: &mut Writer) {
    writer.fill(2 * SEGMENT + SEGMENT / 8);
    writer.keep_older();
    writer.fill(SEGMENT / 2);
}

/// 200 messages in records of 8: a segment that is nearly empty.
fn small(writer: &mut Writer) {
    for number in 0..25 {
        if number == 12 {
            writer.keep_older();
        }
        for durability in DURABLE {
            let payload = writer.payload(60 + number);
            writer.append(durability, "news/europe", (8, &payload));
            writer.rig().settle();
        }
        writer.pass(2);
    }
}

/// Several runs: two that were killed, one of them with records that no mark covers, and one that was drained.
fn restarted(writer: &mut Writer) {
    writer.fill(SEGMENT / 2);
    writer.restart();
    writer.fill(SEGMENT + SEGMENT / 4);
    writer.quiet();
    writer.restart();
    writer.fill(SEGMENT / 4);
    writer.rig().drain();
    writer.keep_older();
    writer.restart();
    writer.fill(SEGMENT / 8);
    writer.quiet();
    writer.restart();
    writer.fill(SEGMENT / 8);
}

/// More than retention keeps, so that a topic has no records left.
fn retained(writer: &mut Writer) {
    for durability in DURABLE {
        writer.append(durability, "rare", (3, b"gone by the end"));
    }
    writer.fill(3 * SEGMENT + SEGMENT / 4);
    writer.pass(2000);
    writer.keep_older();
    writer.fill(SEGMENT + SEGMENT / 4);
    writer.pass(2000);
}

/// Payloads that look like frames of this very log: records that were stored, records that never were, a mark.
fn mimic(writer: &mut Writer) {
    writer.fill(SEGMENT / 64);
    for number in 0..24 {
        for durability in DURABLE {
            let payload = writer.look_alike(durability);
            writer.append(durability, "mimic", (1, &payload));
            let payload = writer.payload(200 + 100 * number);
            writer.append(durability, "a", (2, &payload));
            writer.rig().settle();
        }
        if number == 12 {
            writer.keep_older();
        }
        writer.pass(number as u64);
    }
}

const TOPICS: [&str; 4] = ["a", "a/b", "devices/7/state", "news/europe"];

/// An acknowledged record.
struct Entry {
    topic: String,
    first: u64,
    next: u64,
    sequence: u64,
    body: Vec<u8>,
}

/// A store at work, and what it has acknowledged.
pub(crate) struct Writer {
    root: PathBuf,
    options: LogOptions,
    pool: Arc<ArenaPool>,
    rig: Option<(Rig, DirLock)>,
    dice: Dice,
    starts: u8,
    entries: BTreeMap<&'static str, Vec<Entry>>,
}

impl Writer {
    /// Begins a data directory in `root/data`.
    pub(crate) fn new(root: &Path, script: &Script) -> Self {
        let mut writer = Self {
            root: root.to_owned(),
            options: LogOptions {
                retention_bytes: script.retention_bytes,
                ..options()
            },
            pool: pool(48),
            rig: None,
            dice: Dice::of(script.name.len() as u64),
            starts: 0,
            entries: BTreeMap::new(),
        };
        writer.open(1_000_000);
        writer
    }

    fn open(&mut self, now_ms: u64) {
        self.starts += 1;
        let options = dir_options([self.starts; 16]);
        let (dir, lock) = DataDir::open(self.data(), &options).expect("a data directory");
        let disk = open_disk(DiskChoice::Thread).expect("the disk opens").disk;
        let mut rig = Rig::open(&dir, disk, &self.pool, &self.options, now_ms);
        assert!(
            rig.reports
                .iter()
                .skip(1)
                .all(|r| !r.epoch_changed && r.gaps.is_empty()),
            "nothing is lost by a stop: {:?}",
            rig.reports
        );
        rig.settle();
        self.rig = Some((rig, lock));
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn rig(&mut self) -> &mut Rig {
        &mut self.rig.as_mut().expect("the store is open").0
    }

    /// Ends the run where it is, and begins another one.
    fn restart(&mut self) {
        let now_ms = self.rig().now_ms;
        // The lock goes last, and before the next run wants it.
        self.rig = None;
        self.open(now_ms + 500);
    }

    /// Lets time go by.
    fn pass(&mut self, ms: u64) {
        let rig = self.rig();
        rig.now_ms += ms;
        rig.settle();
    }

    /// Lets more than 10 ms go by without a record, so that marks are written.
    pub(crate) fn quiet(&mut self) {
        for _ in 0..3 {
            self.pass(6);
        }
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 4);
        while out.len() < len {
            let word = self.dice.roll(1 << 32) as u32;
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// Appends records of all sizes, several of them per write, to every log.
    fn fill(&mut self, bytes: u64) {
        for durability in DURABLE {
            let mut left = bytes;
            while left > 0 {
                for _ in 0..=self.dice.roll(5) {
                    let size = match self.dice.roll(20) {
                        0..10 => 60 + self.dice.roll(400),
                        10..15 => 1000 + self.dice.roll(8000),
                        15..18 => 20_000 + self.dice.roll(40_000),
                        _ => 100_000 + self.dice.roll(100_000),
                    };
                    let topic = TOPICS[self.dice.roll(4) as usize];
                    let count = 1 + self.dice.roll(8) as usize;
                    let payload = self.payload((size as usize / count).max(1));
                    self.append(durability, topic, (count, &payload));
                    left = left.saturating_sub(size);
                }
                let ms = self.dice.roll(8);
                self.pass(ms);
            }
        }
    }

    /// Appends a record of so many messages with the same payload.
    fn append(&mut self, durability: Durability, topic: &str, (count, payload): (usize, &[u8])) {
        let bytes = record(topic, count, payload);
        let rig = self.rig();
        let log = rig.log(durability);
        let appended = rig.append(log, &bytes);
        let first = appended.offset.get();
        let entries = self.entries.entry(durability.as_str()).or_default();
        entries.push(Entry {
            topic: topic.to_owned(),
            first,
            next: first + count as u64,
            sequence: appended.sequence.get(),
            body: bytes[48..].to_vec(),
        });
    }

    /// The newest record as it is stored, then two that would follow in the log, then a mark that speaks of them; on
    /// the frames' alignment.
    fn look_alike(&mut self, durability: Durability) -> Vec<u8> {
        let entries = &self.entries[durability.as_str()];
        let last = entries.last().expect("something was stored before");
        let (topic, first, next) = (last.topic.clone(), last.first, last.sequence + 1);
        let rig = self.rig();
        let log = rig.log(durability);
        let mut places = Vec::new();
        rig.store
            .places(log, &topic, Offset::new(first), 1, &mut places);
        let mut reader = rig.store.reader(log);
        let stored = rig.read(&mut reader, &places[0]);
        let incarnation = Record::trusted(&stored).expect("a record").incarnation();
        let mut frames = stored;
        for sequence in next + 1..next + 3 {
            let mut forged = record("forged", 1, b"nobody ever published this");
            stamp(
                &mut forged,
                &Stamp {
                    offset: Offset::new(sequence),
                    sequence: Sequence::new(sequence),
                    log,
                    timestamp_ms: rig.now_ms,
                    incarnation,
                },
            );
            frames.extend_from_slice(&forged);
        }
        let position = places[0].position.get() + 4096;
        frames.extend_from_slice(&mark(next + 3, position, u32::from(incarnation)));
        aligned("mimic", &frames)
    }

    /// What is in the files now is what some cases go back to.
    fn keep_older(&mut self) {
        self.rig().settle();
        copy_tree(&self.data(), &self.root.join("older"));
    }

    /// Ends the writing in both ways, and keeps what each leaves in `root/kill` and `root/clean`.
    pub(crate) fn finish(mut self) {
        self.quiet();
        copy_tree(&self.data(), &self.root.join(Stop::Kill.name()));
        self.write_oracles(Stop::Kill);
        self.rig().drain();
        self.rig().settle();
        copy_tree(&self.data(), &self.root.join(Stop::Clean.name()));
        self.write_oracles(Stop::Clean);
        self.rig = None;
        fs::remove_dir_all(self.data()).expect("the directory goes");
    }

    fn write_oracles(&mut self, stop: Stop) {
        for durability in DURABLE {
            let oracle = self.oracle(durability);
            let name = format!("{}-{durability}.oracle", stop.name());
            fs::write(self.root.join(name), oracle.encode()).expect("the oracle is written");
        }
    }

    /// What the log has acknowledged and keeps, as appended and as the store tells it: both are the same.
    fn oracle(&mut self, durability: Durability) -> Oracle {
        let entries = std::mem::take(self.entries.entry(durability.as_str()).or_default());
        let rig = self.rig();
        let log = rig.log(durability);
        let kept = rig.dump(log);
        let dropped = entries.len() - kept.len();
        let mut next = BTreeMap::new();
        for entry in &entries {
            next.insert(entry.topic.clone(), entry.next);
        }
        let mut oracle = Oracle {
            log,
            epoch: rig.report(durability).epoch.get(),
            next,
            records: Vec::new(),
        };
        for (entry, (topic, first, body)) in entries[dropped..].iter().zip(&kept) {
            assert!(entry.topic == *topic && entry.first == *first && entry.body == *body);
            let (position, size) = place(rig, log, entry);
            oracle.records.push(Known {
                topic: topic.clone(),
                first: *first,
                next: entry.next,
                position: position.get(),
                size,
                sequence: entry.sequence,
            });
        }
        self.entries.insert(durability.as_str(), entries);
        oracle
    }
}

fn place(rig: &Rig, log: LogId, entry: &Entry) -> (Position, u32) {
    let mut places = Vec::new();
    let first = Offset::new(entry.first);
    rig.store.places(log, &entry.topic, first, 1, &mut places);
    assert_eq!((places[0].first, places[0].next.get()), (first, entry.next));
    (places[0].position, places[0].size)
}

/// A payload of a record of `topic` that has `frames` where frames may begin.
fn aligned(topic: &str, frames: &[u8]) -> Vec<u8> {
    let starts_aligned = |payload: &Vec<u8>| {
        let whole = record(topic, 1, payload);
        let padding = usize::from(whole[18]);
        (whole.len() - padding - frames.len()).is_multiple_of(8)
    };
    let mut payloads = (0..8).map(|filler| [&[0; 8][..filler], frames].concat());
    let aligned = payloads.find(starts_aligned);
    aligned.expect("one of eight places in a row is aligned")
}

fn mark(sequence: u64, position: u64, incarnation: u32) -> Vec<u8> {
    let mut out = vec![0; SYNC_MARK_SIZE];
    let head = FrameHead {
        size: SYNC_MARK_SIZE as u32,
        kind: kind::SYNC_MARK,
        flags: 0,
        aux: 0,
    };
    out[..8].copy_from_slice(&head.to_bytes());
    out[16..24].copy_from_slice(&sequence.to_le_bytes());
    out[24..32].copy_from_slice(&position.to_le_bytes());
    out[32..36].copy_from_slice(&incarnation.to_le_bytes());
    seal_frame(&mut out);
    out
}

/// Copies a data directory, without its lock.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy_tree(&path, &to.join(name));
        } else if name != "LOCK" {
            copy_sparse(&path, &to.join(name));
        }
    }
}
