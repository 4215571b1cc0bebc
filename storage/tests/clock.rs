//! A wall clock that is set back holds nothing up: what waits or expires goes by the monotonic clock.

mod support;

use oyez_protocol::{Offset, Position};
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

const HOUR_MS: u64 = 3_600_000;

struct Bench {
    rig: Rig,
    disk: MemoryDisk,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

/// A synced log of some segments, and a wall clock that was set back by an hour since.
fn bench(options: &LogOptions) -> Bench {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let start_ms = 10 * HOUR_MS;
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), options, start_ms);
    let log = rig.log(Durability::Synced);
    let mut end = Position::new(0);
    for _ in 0..100 {
        end = rig.append(log, &record("t", 1, &[1; 100_000])).end;
        rig.turn();
    }
    rig.until_visible(log, end);
    rig.now_ms += 60_000;
    rig.set_back_ms = HOUR_MS;
    for _ in 0..5 {
        rig.turn();
    }
    Bench {
        rig,
        disk,
        _lock: lock,
        _temp: temp,
    }
}

#[test]
fn a_sync_tells_how_long_it_took_from_the_turn_that_queued_its_write() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.allow(Some(0));
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    bench.rig.turn();
    bench.rig.now_ms += 54_000;
    bench.rig.turn();
    assert!(bench.rig.progress.syncs_us.is_empty(), "it is under way");
    bench.disk.allow(None);
    let mut syncs_us = Vec::new();
    bench.rig.until("the record is durable", |rig| {
        rig.turn();
        syncs_us.append(&mut rig.progress.syncs_us);
        rig.store.visible(log) >= end
    });
    assert_eq!(syncs_us, [54_000_000]);
}

#[test]
fn cold_ranges_become_readable_after_the_wall_clock_was_set_back() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let mut places = Vec::new();
    let store = &bench.rig.store;
    store.places(log, "t", Offset::new(0), 1, &mut places);
    let mut reader = store.reader(log);
    let place = places[0];
    let read = reader.read(place.position, place.size);
    assert!(
        matches!(read, Ok(Read::Cold(_))),
        "it is cold to begin with"
    );
    assert!(!bench.rig.read(&mut reader, &place).is_empty());
}

#[test]
fn a_full_disk_is_tried_again_after_the_wall_clock_was_set_back() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.set_capacity(Some(0));
    let large = record("t", 1, &[1; 100_000]);
    bench.rig.until("the log refuses", |rig| {
        rig.turn();
        rig.try_append(log, &large) == Err(AppendError::DiskFull)
    });
    bench.disk.set_capacity(None);
    bench.rig.set_back_ms += HOUR_MS;
    let deadline = bench.rig.store.next_deadline_ms();
    assert!(deadline.expect("a retry is due") <= bench.rig.now_ms + 1000);
    bench.rig.now_ms += 1000;
    let end = bench.rig.turn_until_taken(log, &large).end;
    bench.rig.until_visible(log, end);
}

#[test]
fn retention_looks_again_after_the_wall_clock_was_set_back() {
    let mut bench = bench(&LogOptions {
        retention_bytes: Some(4 * SEGMENT),
        ..options()
    });
    let log = bench.rig.log(Durability::Synced);
    let oldest = |rig: &Rig| {
        let located = rig
            .store
            .locate(log, "t", StartAt::Earliest, Position::new(0));
        located.earliest
    };
    let before = oldest(&bench.rig);
    assert_eq!(before.get(), 0);
    for _ in 0..100 {
        bench.rig.append(log, &record("t", 1, &[1; 100_000]));
        bench.rig.turn();
    }
    let due = bench.rig.store.next_deadline_ms().expect("a check is due");
    assert!(due <= bench.rig.now_ms + 1000);
    bench.rig.now_ms += 1000;
    for _ in 0..5 {
        bench.rig.turn();
    }
    assert!(oldest(&bench.rig) > before);
}
