//! Models of a log and a reader in another thread. Loom runs them in every interleaving, and with every value that an
//! atomic may show.
//!
//! A store appends to a memory log, by the same code as in a broker, and the reader follows it. Disks and maps cannot be
//! modelled.

use std::sync::{Arc, OnceLock};

use loom::model::Builder;
use loom::thread;
use oyez_protocol::Position;
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{Record, RecordBuilder};

use crate::options::{Durability, LogSpec};
use crate::{
    ArenaOptions, ArenaPool, DataDir, DirOptions, LogOptions, LogReader, MemoryDisk, Moment, Place,
    Read, ReadError, Store,
};

/// Most preemptions in one run.
const PREEMPTIONS_MAX: usize = 3;
/// Payload of a record of which two fit into a block, and three do not.
const LARGE: usize = 1_040_000;

/// Runs a model with a memory log of two blocks at most.
fn model(run: impl Fn(Owner) + Send + Sync + 'static) {
    let home = tempfile::tempdir().expect("a directory for temporary files");
    let options = DirOptions {
        logs_per_durability: 1,
        entropy: [7; 16],
        restored: false,
    };
    let (dir, _lock) = DataDir::open(home.path(), &options).expect("a data directory");
    let arena = ArenaOptions {
        blocks_max: 4,
        blocks_ready: 4,
    };
    let pool = ArenaPool::new(&arena).expect("memory for an arena");
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(move || run(Owner::open(&dir, &pool)));
}

/// The shard that the log belongs to.
struct Owner {
    store: Store,
    spec: LogSpec,
}

impl Owner {
    fn open(dir: &DataDir, pool: &Arc<ArenaPool>) -> Self {
        let mut logs = dir.logs();
        let spec = logs.find(|spec| spec.durability == Durability::Memory);
        let spec = spec.expect("one of each durability");
        let options = LogOptions {
            memory_blocks: 2,
            limits: Limits::HARD,
            ..LogOptions::default()
        };
        let (disk, now) = (Box::new(MemoryDisk::new()), Moment::default());
        let opened = Store::open(dir, &[spec.id], disk, pool.clone(), &options, now);
        let (store, _) = opened.expect("an empty log opens");
        Self { store, spec }
    }

    fn append(&mut self, bytes: &[u8]) {
        let record = Record::trusted(bytes).expect("a record");
        let appended = self.store.append(self.spec.id, &record, 0);
        appended.expect("there is room for it");
    }

    fn follower(&self) -> Follower {
        Follower {
            reader: self.store.reader(self.spec.id),
            walked: Position::new(0),
            seen: Vec::new(),
        }
    }
}

/// A shard with subscribers.
struct Follower {
    reader: LogReader,
    walked: Position,
    seen: Vec<Place>,
}

impl Follower {
    /// A turn: follows the log, and reads the records that it finds. Returns how many were dropped before they were read.
    fn turn(&mut self) -> usize {
        let (before, from) = (self.seen.len(), self.walked);
        let next = self.seen.last().map_or(0, |place| place.next.get());
        let seen = &mut self.seen;
        self.walked = self.reader.walk(self.walked, 10, |place, topic, _| {
            assert_eq!(topic, "t");
            seen.push(place);
        });
        let found = self.seen.get(before);
        if found.is_some_and(|place| place.first.get() > next) {
            let start = self.reader.earliest();
            assert!(start > from, "what was passed over is not kept: {start:?}");
        }
        let mut dropped = 0;
        for place in self.seen[before..].iter().copied() {
            match self.reader.read(place.position, place.size) {
                Ok(Read::Ready(bytes)) => check(&bytes, place),
                Err(ReadError::Dropped) => dropped += 1,
                other => panic!("{place:?}: {other:?}"),
            }
        }
        self.reader.release();
        dropped
    }

    fn offsets(&self) -> Vec<u64> {
        self.seen.iter().map(|place| place.first.get()).collect()
    }
}

/// Checks that the record at a place is the one that was put there, to its last byte.
fn check(bytes: &[u8], place: Place) {
    let record = Record::trusted(bytes).expect("a record");
    assert_eq!(record.check_header(), Ok(()));
    assert_eq!(record.offset(), place.first);
    assert_eq!(bytes.len(), place.size as usize);
    assert!(record.block().ends_with(&[b'x'; 8]));
}

/// A record of the one topic there is, with a payload of so many bytes.
fn record(size: usize) -> Vec<u8> {
    let mut builder = RecordBuilder::new("t", Limits::HARD).expect("a topic");
    let payload = vec![b'x'; size];
    builder.push(&MessageRef::new(&payload)).expect("it fits");
    let mut bytes = Vec::new();
    builder.finish_stored(1, &mut bytes);
    bytes
}

fn large() -> &'static [u8] {
    static LARGE_RECORD: OnceLock<Vec<u8>> = OnceLock::new();
    LARGE_RECORD.get_or_init(|| record(LARGE))
}

#[test]
fn loom_a_reader_finds_every_record_that_is_visible_and_nothing_else() {
    model(|mut owner| {
        // It knows of no block yet.
        let mut follower = owner.follower();
        let follower = thread::spawn(move || {
            follower.turn();
            follower.turn();
            follower
        });
        owner.append(&record(16));
        owner.append(&record(24));
        let mut follower = follower.join().unwrap();
        follower.turn();
        assert_eq!(follower.offsets(), [0, 1]);
    });
}

#[test]
fn loom_a_reader_follows_a_log_into_its_next_block() {
    model(|mut owner| {
        owner.append(large());
        owner.append(large());
        let mut follower = owner.follower();
        let follower = thread::spawn(move || {
            assert_eq!(follower.turn(), 0, "both blocks are kept");
            follower
        });
        owner.append(large());
        let mut follower = follower.join().unwrap();
        assert_eq!(follower.turn(), 0);
        assert_eq!(follower.offsets(), [0, 1, 2]);
    });
}

#[test]
fn loom_a_reader_that_is_overtaken_goes_on_behind_what_was_dropped() {
    model(|mut owner| {
        for _ in 0..4 {
            owner.append(large());
        }
        let mut follower = owner.follower();
        let follower = thread::spawn(move || {
            follower.turn();
            follower
        });
        owner.append(large());
        let mut follower = follower.join().unwrap();
        assert_eq!(follower.turn(), 0, "nothing is dropped any more");
        let offsets = follower.offsets();
        assert!(
            offsets == [0, 1, 2, 3, 4] || offsets == [2, 3, 4],
            "{offsets:?}"
        );
    });
}
