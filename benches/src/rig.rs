//! A store as one shard has it: a log of each durability, on the real disk, in a temporary directory.
//!
//! The rig is driven as a turn drives its store: append, pump, submit. When a shard would sleep until an operation of
//! the disk has finished, the rig waits and counts that time separately.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Position};
use oyez_storage::{
    AppendError, Appended, ArenaOptions, ArenaPool, DataDir, DirLock, DirOptions, DiskChoice,
    Durability, LogOptions, Moment, Store, StoreEvents, open_disk,
};
use tempfile::TempDir;

/// Arena of a rig: as many blocks as all its logs may hold, and some to spare.
const BLOCKS_MAX: usize = 64;
/// Makes epochs and the assignment of topics to logs; the same in every run.
const ENTROPY: [u8; 16] = *b"oyez benchmarks!";

/// A store, and the values that its shard would keep.
pub struct Rig {
    /// The store; appends and look-ups go to it directly.
    pub store: Store,
    /// Time spent waiting for the disk.
    pub waited: Duration,
    dir: DataDir,
    events: StoreEvents,
    _lock: DirLock,
    // Declared after the store, so that the files outlive it.
    temp: TempDir,
}

impl Rig {
    /// Opens empty logs.
    ///
    /// # Panics
    /// If no logs can be opened in the directory for temporary files.
    #[must_use]
    pub fn open(options: &LogOptions) -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir_options = DirOptions {
            logs_per_durability: 1,
            entropy: ENTROPY,
            restored: false,
        };
        let (dir, lock) = DataDir::open(temp.path(), &dir_options).expect("a fresh directory");
        let arena = ArenaOptions {
            blocks_max: BLOCKS_MAX,
            ..ArenaOptions::default()
        };
        let pool = ArenaPool::new(&arena).expect("room for the arena");
        let disk = open_disk(DiskChoice::Auto).expect("a disk").disk;
        let logs: Vec<LogId> = dir.logs().map(|spec| spec.id).collect();
        let opened = Store::open(&dir, &logs, disk, pool, options, now());
        let (store, _) = opened.expect("empty logs open");
        Self {
            store,
            waited: Duration::ZERO,
            dir,
            events: StoreEvents::default(),
            _lock: lock,
            temp,
        }
    }

    /// The log of a durability.
    #[must_use]
    pub fn log(&self, durability: Durability) -> LogId {
        self.dir.log_of("any", durability)
    }

    /// The directory of the logs.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Makes the calls of a shard to its store at the end of a turn.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn turn(&mut self) {
        self.events.clear();
        let pumped = self.store.pump(now(), &mut self.events);
        pumped.expect("the disk writes and syncs");
        self.store.submit().expect("the disk takes submissions");
    }

    /// Appends all records in one turn, or in as many as the log asks for; returns the numbers of the last one.
    ///
    /// # Panics
    /// If the log takes no records, or there are none.
    pub fn append(&mut self, log: LogId, records: &[Record<'_>]) -> Appended {
        let wall_ms = now().wall_ms;
        let mut last = None;
        for record in records {
            last = loop {
                match self.store.append(log, record, wall_ms) {
                    Ok(appended) => break Some(appended),
                    Err(AppendError::Busy) => self.turn_and_wait(),
                    Err(error) => panic!("append: {error}"),
                }
            };
        }
        self.turn();
        last.expect("there are records")
    }

    /// Takes turns until everything below `end` is visible.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn until_visible(&mut self, log: LogId, end: Position) {
        while self.store.visible(log) < end {
            self.turn_and_wait();
        }
    }

    /// Takes turns until everything is durable and every full segment has its footer. The store takes no more records
    /// after it.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn drain(&mut self) {
        self.store.begin_drain();
        while !self.store.is_drained() {
            self.turn_and_wait();
        }
    }

    fn turn_and_wait(&mut self) {
        self.turn();
        let started = Instant::now();
        match self.store.wait() {
            Ok(()) => {}
            // No operation is in flight: the next turn starts the missing ones.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("waiting for the disk: {error}"),
        }
        self.waited += started.elapsed();
    }
}

fn now() -> Moment {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ms = |since: Duration| u64::try_from(since.as_millis()).expect("milliseconds fit for ages");
    let elapsed = STARTED.elapsed();
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        monotonic_ms: ms(elapsed),
        monotonic_us: u64::try_from(elapsed.as_micros()).expect("microseconds fit for ages"),
        wall_ms: ms(since.expect("the clock is past 1970")),
    }
}
