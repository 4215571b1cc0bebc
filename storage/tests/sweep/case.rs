//! One case: an image is copied and damaged, opened, read in both ways, appended to, stopped and opened once more. This
//! module collects the observations; `judge` judges them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oyez_protocol::record::Record;
use oyez_protocol::{Offset, Position};
use oyez_storage::{
    AppendError, ArenaPool, DataDir, DirLock, DiskChoice, Place, PopulateError, ReadError, Store,
    open_disk,
};

use crate::damage::Damaged;
use crate::image::{Image, write_sparse};
use crate::judge::Fault;
use crate::panics;
use crate::support::{Rig, Unread, dir_options, moment, options, pool, record};

/// How long a log may say that it is busy.
const BUSY_MAX: Duration = Duration::from_secs(15);
/// Later than everything in the images.
const FIRST_START_MS: u64 = 100_000_000;
const SECOND_START_MS: u64 = 100_600_000;

/// Topic and first offset.
pub(crate) type Key = (String, u64);

/// The records that one way of reading gave.
#[derive(Debug, Default)]
pub(crate) struct Road {
    /// Records whose bytes came and were right.
    pub(crate) read: BTreeSet<Key>,
    /// Records that were named, and reported as damaged when they were read.
    pub(crate) told: BTreeSet<Key>,
    /// Where these stood.
    pub(crate) told_at: Vec<Range<u64>>,
    /// Topic -> offset after what came last.
    pub(crate) next: BTreeMap<String, u64>,
}

/// The findings of one start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) epoch: u64,
    pub(crate) epoch_changed: bool,
    /// Sequences.
    pub(crate) gaps: Vec<Range<u64>>,
    pub(crate) report: String,
    pub(crate) by_places: Road,
    pub(crate) by_walk: Road,
}

/// The observations of a case.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) starts: Vec<Start>,
    /// The records that were appended after the first start.
    pub(crate) appended: Vec<Key>,
    /// Faults, whatever was damaged.
    pub(crate) faults: Vec<(Fault, String)>,
}

/// The bytes that a record must have, as far as they never change, and its sequence if that is known.
struct Wanted<'a> {
    bytes: Cow<'a, [u8]>,
    sequence: Option<u64>,
}

pub(crate) struct Case<'a> {
    pub(crate) image: &'a Image,
    pub(crate) dir: &'a Path,
    seed: u64,
    pool: Arc<ArenaPool>,
    wanted: BTreeMap<Key, Wanted<'a>>,
    pub(crate) outcome: Outcome,
}

impl<'a> Case<'a> {
    /// A case whose files lie in `dir`.
    pub(crate) fn new(image: &'a Image, seed: u64, dir: &'a Path) -> Self {
        let records = image.oracle.records.iter();
        let wanted = records.map(|known| {
            let wanted = Wanted {
                bytes: Cow::Borrowed(image.bytes(known)),
                sequence: Some(known.sequence),
            };
            (known.key(), wanted)
        });
        Self {
            image,
            dir,
            seed,
            // An arena of its own: time begins anew with every case, and a panic may leave blocks behind.
            pool: pool(32),
            wanted: wanted.collect(),
            outcome: Outcome::default(),
        }
    }

    /// Writes the files of the case into its directory.
    pub(crate) fn lay_out(&self, files: &Damaged<'_>) {
        let _ = fs::remove_dir_all(self.dir);
        let log = format!("{}-0", self.image.durability);
        fs::create_dir_all(self.dir.join(log)).expect("a directory for the case");
        for (name, bytes) in files {
            write_sparse(&self.dir.join(name), bytes);
        }
    }

    pub(crate) fn run(&mut self) {
        panics::forget();
        let ended = catch_unwind(AssertUnwindSafe(|| self.live()));
        let mut seen = panics::take();
        if ended.is_err() && seen.is_empty() {
            seen.push("a panic that nobody reported".to_owned());
        }
        for panic in seen {
            // The test itself waits for something in vain.
            let fault = match panic.contains("tests/support") {
                true => Fault::Stuck,
                false => Fault::Panic,
            };
            self.fault(fault, panic);
        }
    }

    fn fault(&mut self, fault: Fault, what: impl Into<String>) {
        self.outcome.faults.push((fault, what.into()));
    }

    fn live(&mut self) {
        let Some((mut rig, lock)) = self.start(FIRST_START_MS) else {
            return;
        };
        let appended = self.append_everywhere(&mut rig);
        if appended {
            self.stop(&mut rig);
        }
        drop(rig);
        drop(lock);
        if appended {
            self.start(SECOND_START_MS);
        }
    }

    /// Half of the cases drain before the second start; the others are killed after a quiet time.
    fn stop(&self, rig: &mut Rig) {
        if self.seed.is_multiple_of(2) {
            rig.drain();
            return;
        }
        for _ in 0..3 {
            rig.now_ms += 6;
            rig.settle();
        }
    }

    fn start(&mut self, now_ms: u64) -> Option<(Rig, DirLock)> {
        let (mut rig, lock) = match self.open(now_ms) {
            Ok(opened) => opened,
            Err(why) => {
                self.fault(Fault::Refusal, why);
                return None;
            }
        };
        let report = rig.reports[0].clone();
        let gaps = report.gaps.iter();
        let gaps = gaps.map(|gap| gap.first_sequence.get()..gap.next_sequence.get());
        let start = Start {
            epoch: report.epoch.get(),
            epoch_changed: report.epoch_changed,
            gaps: gaps.collect(),
            report: format!("{report:?}"),
            by_walk: self.walk(&mut rig),
            by_places: self.places(&mut rig),
        };
        self.outcome.starts.push(start);
        Some((rig, lock))
    }

    fn open(&self, now_ms: u64) -> Result<(Rig, DirLock), String> {
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&self.seed.to_le_bytes());
        entropy[8..].copy_from_slice(&now_ms.to_le_bytes());
        let opened = DataDir::open(self.dir, &dir_options(entropy));
        let (dir, lock) = opened.map_err(|error| error.to_string())?;
        let disk = open_disk(DiskChoice::Thread).expect("the disk opens").disk;
        let (pool, options) = (Arc::clone(&self.pool), options());
        let logs = [self.image.oracle.log];
        let opened = Store::open(&dir, &logs, disk, pool, &options, moment(now_ms));
        let opened = opened.map_err(|error| error.to_string())?;
        Ok((Rig::around(&dir, opened, now_ms), lock))
    }

    /// Reads as live delivery does: the log's records in order.
    fn walk(&mut self, rig: &mut Rig) -> Road {
        let mut reader = rig.store.reader(self.image.oracle.log);
        let mut found = Vec::new();
        reader.walk(Position::new(0), usize::MAX, |place, topic, _| {
            found.push((place, topic.to_owned()));
        });
        let mut road = Road::default();
        for (place, topic) in found {
            self.take(rig, &mut road, &topic, &place);
        }
        road
    }

    /// Reads as catching up does: topic by topic.
    fn places(&mut self, rig: &mut Rig) -> Road {
        let mut topics: BTreeSet<String> = self.image.oracle.next.keys().cloned().collect();
        let known = rig.store.topics(None, usize::MAX);
        topics.extend(known.into_iter().map(|info| info.name));
        let mut road = Road::default();
        let log = self.image.oracle.log;
        for topic in topics {
            let mut places = Vec::new();
            rig.store
                .places(log, &topic, Offset::new(0), usize::MAX, &mut places);
            for place in places {
                self.take(rig, &mut road, &topic, &place);
            }
        }
        road
    }

    /// Reads the records at these places.
    fn take(&mut self, rig: &mut Rig, road: &mut Road, topic: &str, place: &Place) {
        let key = (topic.to_owned(), place.first.get());
        let mut reader = rig.store.reader(self.image.oracle.log);
        match rig.try_read(&mut reader, place) {
            Ok(bytes) => {
                if let Err(why) = self.check(&bytes, &key, place) {
                    self.fault(
                        Fault::Wrong,
                        format!("{key:?} at {}: {why}", place.position),
                    );
                    return;
                }
                let next = road.next.entry(key.0.clone()).or_insert(0);
                let fault = (key.1 < *next).then(|| match road.read.contains(&key) {
                    true => Fault::Duplicate,
                    false => Fault::Disorder,
                });
                *next = place.next.get().max(*next);
                if let Some(fault) = fault {
                    self.fault(fault, format!("{key:?} at {}", place.position));
                }
                road.read.insert(key);
            }
            Err(
                Unread::Refused(ReadError::Damaged) | Unread::NotPopulated(PopulateError::Io(_)),
            ) => {
                let from = place.position.get();
                road.told_at.push(from..from + u64::from(place.size));
                road.told.insert(key);
            }
            // Such a record counts as missing.
            Err(Unread::Refused(_) | Unread::StaysCold) => {}
        }
    }

    fn check(&self, bytes: &[u8], key: &Key, place: &Place) -> Result<(), String> {
        let wanted = self.wanted.get(key).ok_or("never acknowledged")?;
        let record = Record::trusted(bytes).ok_or("not a record")?;
        record.check_header().map_err(|error| error.to_string())?;
        let named = record.topic() == key.0 && record.offset().get() == key.1;
        let count = u64::from(record.count());
        if !named || place.first.plus(count) != place.next || record.log() != self.image.oracle.log
        {
            return Err("its header does not say what its place says".to_owned());
        }
        if wanted
            .sequence
            .is_some_and(|s| s != record.sequence().get())
        {
            return Err(format!("it has sequence {}", record.sequence()));
        }
        // The broker's part of the header is new when recovery has copied the record.
        let same = bytes.len() == wanted.bytes.len()
            && bytes[..20] == wanted.bytes[..20]
            && bytes[48..] == wanted.bytes[48..];
        same.then_some(()).ok_or("other bytes".to_owned())
    }

    /// Appends a record to every topic. Returns false if the log refuses one.
    fn append_everywhere(&mut self, rig: &mut Rig) -> bool {
        let topics: Vec<String> = self.image.oracle.next.keys().cloned().collect();
        let log = self.image.oracle.log;
        let mut end = Position::new(0);
        for topic in topics {
            let bytes = record(&topic, 1, format!("after {}", self.seed).as_bytes());
            let began = Instant::now();
            let appended = loop {
                match rig.try_append(log, &bytes) {
                    Err(AppendError::Busy) if began.elapsed() < BUSY_MAX => rig.turn(),
                    appended => break appended,
                }
            };
            let appended = match appended {
                Ok(appended) => appended,
                Err(error) => {
                    self.fault(Fault::Stuck, format!("append: {error}"));
                    return false;
                }
            };
            end = appended.end;
            let key = (topic, appended.offset.get());
            let wanted = Wanted {
                bytes: Cow::Owned(bytes),
                sequence: Some(appended.sequence.get()),
            };
            // In a new epoch it may have the offset of a record that is lost.
            self.wanted.insert(key.clone(), wanted);
            self.outcome.appended.push(key);
        }
        rig.until_visible(log, end);
        true
    }
}
