//! Retention: which segments are dropped and when, and which blocks a memory log keeps.

mod support;

use oyez_protocol::{Offset, Position};
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

const LARGE: usize = 100_000;

struct Bench {
    rig: Rig,
    disk: MemoryDisk,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

fn bench(options: &LogOptions) -> Bench {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), options, 1000);
    Bench {
        rig,
        disk,
        _lock: lock,
        _temp: temp,
    }
}

impl Bench {
    /// Appends so many records of one topic and lets everything settle.
    fn append(&mut self, durability: Durability, topic: &str, records: usize) -> Position {
        let log = self.rig.log(durability);
        let mut end = Position::new(0);
        for number in 0..records {
            end = self
                .rig
                .append(log, &record(topic, 1, &vec![number as u8; LARGE]))
                .end;
            self.rig.turn();
        }
        self.rig.until_visible(log, end);
        for _ in 0..6 {
            self.rig.turn();
        }
        end
    }

    fn settle(&mut self, ms: u64) {
        self.rig.now_ms += ms;
        for _ in 0..6 {
            self.rig.turn();
        }
    }

    fn locate(&self, durability: Durability, topic: &str, start: StartAt) -> Located {
        let log = self.rig.log(durability);
        self.rig.store.locate(log, topic, start, Position::new(0))
    }

    fn segments(&self, log: &str) -> usize {
        let files = self.disk.files();
        let ours = |path: &std::path::Path| {
            path.extension().is_some_and(|e| e == "seg")
                && path.parent().is_some_and(|dir| dir.ends_with(log))
        };
        files.iter().filter(|(path, _)| ours(path)).count()
    }
}

#[test]
fn a_log_larger_than_its_bound_loses_its_oldest_segments() {
    for durability in [Durability::Written, Durability::Synced] {
        let mut bench = bench(&LogOptions {
            retention_bytes: Some(3 * SEGMENT),
            ..options()
        });
        bench.append(durability, "old", 10);
        bench.append(durability, "t", 250);
        bench.settle(2000);
        let located = bench.locate(durability, "t", StartAt::Earliest);
        assert!(located.earliest.get() > 100, "{located:?}");
        assert_eq!(located.head, Offset::new(250));
        let name = format!("{durability}-0");
        // Three kept, and the one prepared ahead.
        assert!(bench.segments(&name) <= 4, "{:?}", bench.disk.files());
        let log = bench.rig.log(durability);
        let mut reader = bench.rig.store.reader(log);
        assert!(reader.earliest() > Position::new(0));
        assert!(matches!(
            reader.read(Position::new(64), 48),
            Err(ReadError::Dropped)
        ));
        let found = bench.rig.dump(log);
        assert_eq!(found[0].1, located.earliest.get());
        assert_eq!(found.len() as u64, 250 - located.earliest.get());
    }
}

#[test]
fn a_topic_whose_records_are_all_gone_goes_on_where_it_was() {
    let kept = LogOptions {
        retention_bytes: Some(2 * SEGMENT),
        ..options()
    };
    let mut bench = bench(&kept);
    let durability = Durability::Synced;
    bench.append(durability, "rare", 3);
    bench.append(durability, "t", 150);
    bench.settle(2000);
    let located = bench.locate(durability, "rare", StartAt::At(Offset::new(1)));
    assert_eq!(
        (
            located.earliest,
            located.head,
            located.cursor,
            located.ahead
        ),
        (Offset::new(3), Offset::new(3), Offset::new(3), false)
    );
    for clean in [true, false] {
        if clean {
            bench.rig.drain();
        }
        let disk = bench.disk.crash(5);
        let dir = bench.rig.dir.clone();
        bench.rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &kept, 9000);
        bench.disk = disk;
        assert_eq!(bench.rig.report(durability).clean, clean);
        let located = bench.locate(durability, "rare", StartAt::Latest);
        assert_eq!(located.cursor, Offset::new(3));
        bench.append(durability, "other", 1);
    }
    let log = bench.rig.log(durability);
    let appended = bench.rig.append(log, &record("rare", 2, b"again"));
    assert_eq!(appended.offset, Offset::new(3));
}

#[test]
fn sealed_segments_are_dropped_when_their_newest_record_is_too_old() {
    let mut bench = bench(&LogOptions {
        retention_age_ms: Some(60_000),
        ..options()
    });
    bench.append(Durability::Synced, "t", 100);
    bench.settle(30_000);
    assert_eq!(
        bench
            .locate(Durability::Synced, "t", StartAt::Earliest)
            .earliest,
        Offset::new(0)
    );
    bench.settle(31_000);
    let located = bench.locate(Durability::Synced, "t", StartAt::Earliest);
    assert!(located.earliest.get() >= 76, "{located:?}");
    assert!(located.earliest < located.head, "the active segment stays");
}

#[test]
fn retention_that_is_interrupted_anywhere_loses_no_topic() {
    let kept = LogOptions {
        retention_bytes: Some(2 * SEGMENT),
        ..options()
    };
    for steps in 0..8 {
        let mut bench = bench(&LogOptions {
            retention_bytes: None,
            ..options()
        });
        bench.append(Durability::Synced, "rare", 3);
        bench.append(Durability::Synced, "t", 150);
        let dir = bench.rig.dir.clone();
        bench.rig.drain();
        let disk = bench.disk.kill(1);
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &kept, 5000);
        disk.allow(Some(steps));
        for _ in 0..5 {
            rig.now_ms += 1000;
            rig.turn();
        }
        let disk = disk.crash(steps);
        let rig = Rig::open(&dir, Box::new(disk), &pool(32), &kept, 9000);
        let log = rig.log(Durability::Synced);
        let located = rig
            .store
            .locate(log, "rare", StartAt::Latest, Position::new(0));
        assert_eq!(located.head, Offset::new(3), "after {steps} steps");
        assert!(
            !rig.report(Durability::Synced).epoch_changed,
            "after {steps} steps"
        );
    }
}

#[test]
fn a_memory_log_is_visible_at_once_bounded_and_never_on_disk() {
    let mut bench = bench(&LogOptions {
        memory_blocks: 3,
        ..options()
    });
    let log = bench.rig.log(Durability::Memory);
    for number in 0..200u64 {
        let bytes = record("t", 1, &vec![number as u8; LARGE]);
        let end = bench.rig.append(log, &bytes).end;
        assert_eq!(bench.rig.store.visible(log), end);
    }
    bench.rig.turn();
    assert_eq!(bench.rig.progress.advanced, [log]);
    assert_eq!(bench.rig.store.stats().arena_blocks_used, 3);
    let located = bench.locate(Durability::Memory, "t", StartAt::Earliest);
    assert_eq!(located.head, Offset::new(200));
    assert!((140..180).contains(&located.earliest.get()), "{located:?}");
    let found = bench.rig.dump(log);
    assert_eq!(found[0].1, located.earliest.get());
    assert_eq!(found.last().map(|(_, offset, _)| *offset), Some(199));
    let mut reader = bench.rig.store.reader(log);
    assert!(matches!(
        reader.read(Position::new(64), 48),
        Err(ReadError::Dropped)
    ));
    assert_eq!(bench.segments("memory-0"), 0);
}

#[test]
fn a_memory_log_has_a_new_epoch_and_no_records_after_a_restart() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut epochs = std::collections::HashSet::new();
    for _ in 0..3 {
        let (dir, _lock) = dir(temp.path());
        let mut rig = Rig::open(
            &dir,
            Box::new(MemoryDisk::new()),
            &pool(8),
            &options(),
            1000,
        );
        let log = rig.log(Durability::Memory);
        assert!(epochs.insert(rig.report(Durability::Memory).epoch));
        assert_eq!(rig.dump(log), []);
        rig.append(log, &record("t", 1, b"x"));
    }
}

#[test]
fn an_idle_reader_keeps_no_block_from_the_arena() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let pool = pool(6);
    let small = LogOptions {
        memory_blocks: 3,
        ..options()
    };
    let mut rig = Rig::open(&dir, Box::new(MemoryDisk::new()), &pool, &small, 1000);
    let log = rig.log(Durability::Memory);
    let mut idle = Vec::new();
    for number in 0..400u64 {
        rig.append(log, &record("t", 1, &vec![number as u8; LARGE]));
        if number % 10 == 0 {
            let mut reader = rig.store.reader(log);
            let visible = reader.visible();
            reader.walk(visible, 1, |_, _, _| {});
            let mut place = None;
            reader.walk(reader.earliest(), 1, |found, _, _| place = Some(found));
            let place = place.expect("a record");
            reader.read(place.position, place.size).expect("it is hot");
            reader.release();
            idle.push(reader);
        }
    }
    assert_eq!(pool.free_blocks(), 3);
}

#[test]
fn a_memory_log_keeps_its_history_while_blocks_are_free() {
    let mut bench = bench(&LogOptions {
        memory_blocks: 30,
        ..options()
    });
    let log = bench.rig.log(Durability::Memory);
    let bytes = record("t", 1, &vec![1; 250_000]);
    while bench.rig.store.stats().arena_blocks_used < 28 {
        bench.rig.append(log, &bytes);
        let located = bench.locate(Durability::Memory, "t", StartAt::Earliest);
        assert_eq!(located.earliest, Offset::new(0));
    }
}

#[test]
fn a_memory_log_drops_one_block_at_a_time_while_readers_hold_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = Box::new(MemoryDisk::new());
    let mut rig = Rig::open(&dir, disk, &pool(4), &options(), 1000);
    let log = rig.log(Durability::Memory);
    let bytes = record("t", 1, &vec![1; 250_000]);
    while rig.store.stats().arena_blocks_used < 4 {
        rig.append(log, &bytes);
    }
    let earliest = |rig: &Rig| {
        let store = &rig.store;
        let located = store.locate(log, "t", StartAt::Earliest, Position::new(0));
        located.earliest.get()
    };
    let mut places = Vec::new();
    rig.store.places(log, "t", Offset::new(0), 1, &mut places);
    let mut reader = rig.store.reader(log);
    let read = reader.read(places[0].position, places[0].size);
    assert!(matches!(read, Ok(Read::Ready(_))));
    drop(read);
    rig.until("the arena is full", |rig| {
        rig.try_append(log, &bytes) == Err(AppendError::Busy)
    });
    let kept = earliest(&rig);
    assert!(kept > 0);
    for _ in 0..10 {
        rig.turn();
        assert_eq!(rig.progress.accepting_again, []);
        assert_eq!(rig.try_append(log, &bytes), Err(AppendError::Busy));
    }
    assert_eq!(earliest(&rig), kept);
    reader.release();
    rig.append(log, &bytes);
    assert_eq!(earliest(&rig), kept);
}
