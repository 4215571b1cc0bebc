//! A wall clock that is set back delays nothing, as waiting and expiring are measured by the monotonic clock; one that is
//! set ahead makes no record expire at once.

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
fn the_time_of_a_sync_is_measured_from_the_turn_that_queued_its_write() {
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
fn retention_checks_again_after_the_wall_clock_was_set_back() {
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

const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

#[test]
fn a_clock_that_was_ahead_once_is_followed_again() {
    for clean in [true, false] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        bench.rig.set_back_ms = 0;
        let small = record("t", 1, b"x");
        bench.rig.ahead_ms = YEAR_MS;
        let ahead = bench.rig.append(log, &small);
        bench.rig.ahead_ms = 0;
        let first = bench.rig.append(log, &small);
        let end = bench.rig.append(log, &small).end;
        let mut told = Vec::new();
        bench.rig.until("the records are visible", |rig| {
            rig.turn();
            told.append(&mut rig.progress.clock_was_ahead);
            rig.store.visible(log) >= end
        });
        assert_eq!(first.sequence.get(), ahead.sequence.get() + 1);
        let (ahead_ms, sequence) = (YEAR_MS, first.sequence);
        let was_ahead = ClockWasAhead {
            log,
            ahead_ms,
            sequence,
        };
        assert_eq!(told, [was_ahead], "once");
        let newest = |rig: &mut Rig| rig.stamps(log).last().map(|(_, stamp)| *stamp);
        assert_eq!(newest(&mut bench.rig), Some(bench.rig.now_ms));
        if clean {
            bench.rig.drain();
        }
        let disk = Box::new(bench.disk.kill(1));
        let (dir, now_ms) = (bench.rig.dir.clone(), bench.rig.now_ms + 1000);
        let mut rig = Rig::open(&dir, disk, &pool(32), &options(), now_ms);
        let end = rig.append(log, &small).end;
        rig.until("the record is visible", |rig| {
            rig.turn();
            assert_eq!(rig.progress.clock_was_ahead, [], "clean {clean}");
            rig.store.visible(log) >= end
        });
        assert_eq!(newest(&mut rig), Some(now_ms), "clean {clean}");
    }
}

#[test]
fn timestamps_do_not_go_back_while_a_clock_is_behind_by_an_hour_or_less() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    for _ in 0..10 {
        let end = bench.rig.append(log, &record("t", 1, b"x")).end;
        bench.rig.until_visible(log, end);
    }
    let stamps = bench.rig.stamps(log);
    assert!(stamps.is_sorted_by_key(|(_, stamp)| *stamp), "{stamps:?}");
}

#[test]
fn a_wall_clock_that_is_set_ahead_is_reported_and_makes_no_record_expire_for_ten_minutes() {
    let mut bench = bench(&LogOptions {
        retention_age_ms: Some(24 * HOUR_MS),
        ..options()
    });
    let log = bench.rig.log(Durability::Synced);
    let oldest = |rig: &Rig| {
        let store = &rig.store;
        let located = store.locate(log, "t", StartAt::Earliest, Position::new(0));
        located.earliest.get()
    };
    let turns = |bench: &mut Bench, ms: u64| {
        let mut told = Vec::new();
        bench.rig.now_ms += ms;
        for _ in 0..10 {
            bench.rig.turn();
            told.extend(bench.rig.progress.clock_set_ahead_ms);
        }
        told
    };
    bench.rig.ahead_ms = YEAR_MS;
    assert_eq!(turns(&mut bench, 1_000), [YEAR_MS], "once");
    assert_eq!(turns(&mut bench, 500_000), []);
    assert_eq!(oldest(&bench.rig), 0);
    bench.rig.ahead_ms = 0;
    assert_eq!(turns(&mut bench, 1_000_000), []);
    assert_eq!(
        oldest(&bench.rig),
        0,
        "it was right again before it mattered"
    );
    bench.rig.ahead_ms = YEAR_MS;
    turns(&mut bench, 1_000);
    turns(&mut bench, 600_000);
    assert!(oldest(&bench.rig) > 0, "it seems to be right");
}
