//! Shared by the tests: records, a store that is driven to a condition, and readers that check what they read.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod fixture;

use std::sync::Arc;
use std::time::{Duration, Instant};

use oyez_protocol::LogId;
use oyez_protocol::Position;
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{Record, RecordBuilder};
use oyez_storage::{
    AppendError, Appended, ArenaOptions, ArenaPool, DataDir, DirLock, DirOptions, Disk, Durability,
    LogOptions, LogReader, Moment, OpenError, Place, PopulateError, Read, ReadError,
    RecoveryReport, Store, StoreEvents,
};

pub const SEGMENT: u64 = 4 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        ..LogOptions::default()
    }
}

pub fn pool(blocks_max: usize) -> Arc<ArenaPool> {
    ArenaPool::new(&ArenaOptions {
        blocks_max,
        // As many as the tests that follow single writes take: their logs are never busy for want of one.
        blocks_ready: 4,
    })
    .expect("an arena")
}

pub fn dir(path: &std::path::Path) -> (DataDir, DirLock) {
    DataDir::open(path, &dir_options(entropy())).expect("a data directory")
}

/// One log of each durability.
pub fn dir_options(entropy: [u8; 16]) -> DirOptions {
    DirOptions {
        logs_per_durability: 1,
        entropy,
        restored: false,
    }
}

/// Different at every call, as a start's entropy is.
fn entropy() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let random = || {
        std::hash::RandomState::new()
            .build_hasher()
            .finish()
            .to_le_bytes()
    };
    let mut out = [0; 16];
    out[..8].copy_from_slice(&random());
    out[8..].copy_from_slice(&random());
    out
}

/// The bytes of a record with `count` messages that share out `payload`.
pub fn record(topic: &str, count: usize, payload: &[u8]) -> Vec<u8> {
    let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
    for _ in 0..count {
        builder
            .push(&MessageRef::new(payload))
            .expect("a small message");
    }
    let mut out = Vec::new();
    builder.finish_stored(7, &mut out);
    out
}

/// A time at which both clocks agree.
pub fn moment(now_ms: u64) -> Moment {
    Moment {
        monotonic_ms: now_ms,
        monotonic_us: now_ms * 1000,
        wall_ms: now_ms,
    }
}

/// Why the bytes of a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    Refused(ReadError),
    NotPopulated(PopulateError),
    /// It was populated, and is cold all the same.
    StaysCold,
}

/// A store with one log of each durability, and its time.
pub struct Rig {
    pub store: Store,
    pub dir: DataDir,
    pub progress: StoreEvents,
    /// Both clocks, apart from what the wall clock was set back or ahead.
    pub now_ms: u64,
    pub set_back_ms: u64,
    pub ahead_ms: u64,
    pub reports: Vec<RecoveryReport>,
    tokens: u64,
}

impl Rig {
    pub fn open(
        dir: &DataDir,
        disk: Box<dyn Disk>,
        pool: &Arc<ArenaPool>,
        options: &LogOptions,
        now_ms: u64,
    ) -> Self {
        Self::try_open(dir, disk, pool, options, now_ms).expect("the store opens")
    }

    pub fn try_open(
        dir: &DataDir,
        disk: Box<dyn Disk>,
        pool: &Arc<ArenaPool>,
        options: &LogOptions,
        now_ms: u64,
    ) -> Result<Self, OpenError> {
        let logs: Vec<LogId> = dir.logs().map(|spec| spec.id).collect();
        let opened = Store::open(dir, &logs, disk, Arc::clone(pool), options, moment(now_ms))?;
        Ok(Self::around(dir, opened, now_ms))
    }

    /// Drives a store that was opened at `now_ms`.
    pub fn around(dir: &DataDir, opened: (Store, Vec<RecoveryReport>), now_ms: u64) -> Self {
        let (store, reports) = opened;
        Self {
            store,
            dir: dir.clone(),
            progress: StoreEvents::default(),
            now_ms,
            set_back_ms: 0,
            ahead_ms: 0,
            reports,
            tokens: 0,
        }
    }

    pub fn now(&self) -> Moment {
        Moment {
            wall_ms: self.now_ms + self.ahead_ms - self.set_back_ms,
            ..moment(self.now_ms)
        }
    }

    pub fn log(&self, durability: Durability) -> LogId {
        self.dir.log_of("any", durability)
    }

    pub fn report(&self, durability: Durability) -> &RecoveryReport {
        let log = self.log(durability);
        let report = self.reports.iter().find(|report| report.log == log);
        report.expect("a report for every log")
    }

    pub fn turn(&mut self) {
        self.progress.clear();
        self.store
            .pump(self.now(), &mut self.progress)
            .expect("no log is poisoned");
        self.store.submit().expect("the disk takes submissions");
    }

    /// Turns until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < DEADLINE, "waited too long: {what}");
            self.turn();
            std::thread::yield_now();
        }
    }

    /// Turns until the disk has nothing left to do at this time.
    pub fn settle(&mut self) {
        loop {
            self.turn();
            match self.store.wait() {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("the disk cannot be waited for: {error}"),
            }
        }
    }

    pub fn try_append(&mut self, log: LogId, bytes: &[u8]) -> Result<Appended, AppendError> {
        let record = Record::verify(bytes, &Limits::HARD).expect("a sound record");
        self.store.append(log, &record, self.now().wall_ms)
    }

    /// Appends, turning while the log is busy.
    pub fn append(&mut self, log: LogId, bytes: &[u8]) -> Appended {
        let start = Instant::now();
        loop {
            match self.try_append(log, bytes) {
                Ok(appended) => return appended,
                Err(AppendError::Busy) => self.turn(),
                Err(error) => panic!("append: {error}"),
            }
            assert!(start.elapsed() < DEADLINE, "the log stays busy");
        }
    }

    /// Appends, turning whatever the refusal.
    pub fn turn_until_taken(&mut self, log: LogId, bytes: &[u8]) -> Appended {
        let mut taken = None;
        self.until("the log takes the record", |rig| {
            taken = rig.try_append(log, bytes).ok();
            taken.is_some()
        });
        taken.expect("it was taken")
    }

    pub fn until_visible(&mut self, log: LogId, end: Position) {
        self.until("visible", |rig| rig.store.visible(log) >= end);
    }

    pub fn drain(&mut self) {
        self.store.begin_drain();
        self.until("drained", |rig| rig.store.is_drained());
    }

    /// A record's bytes, populated if need be.
    pub fn read(&mut self, reader: &mut LogReader, place: &Place) -> Vec<u8> {
        let read = self.try_read(reader, place);
        read.unwrap_or_else(|unread| panic!("a kept place: {unread:?}"))
    }

    /// A record's bytes, populated if need be, or why there are none.
    pub fn try_read(&mut self, reader: &mut LogReader, place: &Place) -> Result<Vec<u8>, Unread> {
        for _ in 0..3 {
            let read = reader.read(place.position, place.size);
            match read.map_err(Unread::Refused)? {
                Read::Ready(bytes) => return Ok(bytes.to_vec()),
                Read::Cold(cold) => {
                    self.tokens += 1;
                    let token = self.tokens;
                    self.store.populate(cold, token);
                    self.populated(token).map_err(Unread::NotPopulated)?;
                }
            }
        }
        Err(Unread::StaysCold)
    }

    fn populated(&mut self, token: u64) -> Result<(), PopulateError> {
        let mut outcome = None;
        self.until("populated", |rig| {
            let mut told = rig.progress.populated.iter();
            outcome = told.find(|(other, _)| *other == token).map(|(_, o)| *o);
            outcome.is_some()
        });
        outcome.unwrap_or(Ok(()))
    }

    /// Sequence and timestamp of every visible record of a log.
    pub fn stamps(&mut self, log: LogId) -> Vec<(u64, u64)> {
        let mut reader = self.store.reader(log);
        let mut places = Vec::new();
        reader.walk(Position::new(0), usize::MAX, |place, _, _| {
            places.push(place);
        });
        let mut stamps = Vec::new();
        for place in places {
            let bytes = self.read(&mut reader, &place);
            let record = Record::verify_stamped(&bytes, &Limits::HARD).expect("a sound record");
            stamps.push((record.sequence().get(), record.timestamp_ms()));
        }
        stamps
    }

    /// All visible records of a log as they lie there, each where its place says.
    pub fn records(&mut self, log: LogId) -> Vec<Vec<u8>> {
        let mut reader = self.store.reader(log);
        let mut places = Vec::new();
        let end = reader.walk(Position::new(0), usize::MAX, |place, topic, _| {
            places.push((place, topic.to_owned()));
        });
        assert_eq!(end, reader.visible().max(Position::new(0)));
        let mut out = Vec::new();
        for (place, topic) in places {
            let bytes = self.read(&mut reader, &place);
            let record = Record::verify_stamped(&bytes, &Limits::HARD).expect("a sound record");
            assert_eq!(record.topic(), topic);
            assert_eq!(record.offset(), place.first);
            assert_eq!(
                record.offset().get() + u64::from(record.count()),
                place.next.get()
            );
            assert_eq!(record.log(), log);
            out.push(bytes);
        }
        out
    }

    /// All visible records of a log: topic, offset, bytes after the header.
    pub fn dump(&mut self, log: LogId) -> Vec<(String, u64, Vec<u8>)> {
        let entry = |bytes: Vec<u8>| {
            let record = Record::trusted(&bytes).expect("it was verified");
            let (topic, offset) = (record.topic().to_owned(), record.offset().get());
            (topic, offset, bytes[48..].to_vec())
        };
        self.records(log).into_iter().map(entry).collect()
    }
}

/// A small generator, so that a seed means the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % sides
    }

    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}
