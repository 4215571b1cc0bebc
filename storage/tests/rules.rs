//! When a record becomes visible, and what happens when the disk does not do its part.

mod support;

use oyez_protocol::Position;
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

struct Bench {
    rig: Rig,
    disk: MemoryDisk,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

/// A store on a memory disk whose synced and written logs have their first segment.
fn bench(options: &LogOptions) -> Bench {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), options, 1000);
    for durability in [Durability::Written, Durability::Synced] {
        let log = rig.log(durability);
        let end = rig.append(log, &record("t", 1, b"first")).end;
        rig.until_visible(log, end);
        rig.turn();
    }
    rig.turn();
    Bench {
        rig,
        disk,
        _lock: lock,
        _temp: temp,
    }
}

fn pump(rig: &mut Rig) -> Result<(), Poisoned> {
    rig.progress.clear();
    rig.store.pump(rig.now(), &mut rig.progress)
}

#[test]
fn a_synced_record_becomes_visible_only_after_a_sync_that_started_after_its_write_completed() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    for number in 0..50u8 {
        bench.disk.allow(Some(0));
        let end = bench.rig.append(log, &record("t", 1, &[number; 100])).end;
        let before = bench.rig.store.visible(log);
        assert!(before < end);
        let from = bench.disk.calls().len();
        // Let one operation at a time complete, and look after each.
        for _ in 0..20 {
            bench.disk.allow(Some(1));
            bench.rig.turn();
            let calls = bench.disk.calls();
            let written = calls[from..]
                .iter()
                .position(|call| matches!(call, Call::Written { .. }));
            let synced = written.is_some_and(|written| {
                let later = &calls[from + written..];
                let started = later
                    .iter()
                    .position(|call| matches!(call, Call::SyncStarted { .. }));
                started.is_some_and(|started| {
                    later[started..]
                        .iter()
                        .any(|call| matches!(call, Call::Synced { .. }))
                })
            });
            let visible = bench.rig.store.visible(log) >= end;
            assert!(
                !visible || synced,
                "visible before the sync: {:?}",
                &calls[from..]
            );
        }
        assert!(bench.rig.store.visible(log) >= end);
    }
}

#[test]
fn a_written_record_becomes_visible_when_its_write_completed_without_a_sync() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Written);
    let from = bench.disk.calls().len();
    bench.disk.allow(Some(0));
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    bench.rig.turn();
    assert!(bench.rig.store.visible(log) < end);
    bench.disk.allow(None);
    bench.rig.until_visible(log, end);
    let calls = bench.disk.calls();
    let synced = |call: &Call| matches!(call, Call::SyncStarted { .. });
    assert!(!calls[from..].iter().any(synced));
}

#[test]
fn appends_gather_while_a_flush_is_in_flight_and_one_sync_serves_them_all() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.allow(Some(0));
    bench
        .rig
        .append(log, &record("t", 1, b"first of the group"));
    bench.rig.turn();
    let mut end = Position::new(0);
    for number in 0..100 {
        end = bench.rig.append(log, &record("t", 1, &[number; 50])).end;
        bench.rig.turn();
    }
    let before = bench.rig.store.stats();
    bench.disk.allow(None);
    bench.rig.until_visible(log, end);
    let after = bench.rig.store.stats();
    assert_eq!(after.syncs - before.syncs, 2);
    assert_eq!(after.records_synced - before.records_synced, 101);
}

#[test]
fn an_idle_log_writes_one_mark_after_its_last_sync_and_then_rests() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let from = bench.disk.calls().len();
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    bench.rig.until_visible(log, end);
    for _ in 0..20 {
        bench.rig.turn();
    }
    let calls = bench.disk.calls();
    let writes = calls[from..]
        .iter()
        .filter(|call| matches!(call, Call::Write { .. }))
        .collect::<Vec<_>>();
    let [_, Call::Write { len, then_sync, .. }] = writes.as_slice() else {
        panic!("a record and a mark were expected: {writes:?}");
    };
    assert_eq!((*len, *then_sync), (SYNC_MARK_SIZE, false));
}

#[test]
fn a_short_write_is_completed_and_synced_again_before_anything_becomes_visible() {
    for short in [0, 1, 40, 60] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        let bytes = record("t", 1, &[7; 500]);
        let end = bench.rig.append(log, &bytes).end;
        let before = bench.rig.store.stats().syncs;
        bench.disk.fail_next(Step::Write, Fault::Short(short));
        bench.disk.allow(Some(2));
        bench.rig.turn();
        bench.rig.turn();
        assert!(bench.rig.store.visible(log) < end);
        bench.disk.allow(None);
        bench.rig.until_visible(log, end);
        assert_eq!(bench.rig.store.stats().syncs, before + 1);
        let found = bench.rig.dump(log);
        assert_eq!(
            found.last().map(|(_, _, body)| body),
            Some(&bytes[48..].to_vec())
        );
    }
}

#[test]
fn a_write_that_stays_short_poisons_the_log() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    for _ in 0..3 {
        bench.disk.fail_next(Step::Write, Fault::Short(0));
    }
    let failed = (0..20).find_map(|_| {
        let failed = pump(&mut bench.rig).err();
        bench.rig.store.submit().expect("a submission");
        failed
    });
    assert_eq!(failed.expect("the log fails").what, "write");
    assert!(bench.rig.store.visible(log) < end);
}

#[test]
fn a_failed_write_or_sync_poisons_the_log_and_is_not_tried_again() {
    for (step, what) in [(Step::Write, "write"), (Step::Sync, "sync")] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        let end = bench.rig.append(log, &record("t", 1, b"x")).end;
        bench.disk.fail_next(step, Fault::Error(5));
        let failed = (0..20).find_map(|_| {
            let failed = pump(&mut bench.rig).err();
            bench.rig.store.submit().expect("a submission");
            failed
        });
        let failed = failed.expect("the log fails");
        assert_eq!((failed.what, failed.log), (what, log));
        assert_eq!(failed.source.raw_os_error(), Some(5));
        let from = bench.disk.calls().len();
        for _ in 0..10 {
            bench.rig.turn();
        }
        assert_eq!(
            bench.disk.calls().len(),
            from,
            "nothing more is done to the disk"
        );
        assert!(bench.rig.store.visible(log) < end);
        let refused = bench.rig.try_append(log, &record("t", 1, b"y"));
        assert_eq!(refused, Err(AppendError::Poisoned));
        let other = bench.rig.log(Durability::Written);
        let end = bench.rig.append(other, &record("t", 1, b"z")).end;
        bench.rig.until_visible(other, end);
    }
}

#[test]
fn a_failed_sync_of_a_full_segment_poisons_a_written_log() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Written);
    for _ in 0..30 {
        let end = bench.rig.append(log, &record("t", 1, &[1; 100_000])).end;
        bench.rig.until_visible(log, end);
    }
    bench.disk.fail_next(Step::Sync, Fault::Error(5));
    let failed = (0..40).find_map(|_| {
        let _ = bench.rig.try_append(log, &record("t", 1, &[1; 100_000]));
        let failed = pump(&mut bench.rig).err();
        bench.rig.store.submit().expect("a submission");
        failed
    });
    let failed = failed.expect("the log fails");
    assert_eq!((failed.what, failed.log), ("sync", log));
    let visible = bench.rig.store.visible(log);
    for _ in 0..10 {
        bench.rig.turn();
    }
    assert_eq!(bench.rig.store.visible(log), visible);
}

/// Appends until the log refuses for the reason given; others pass.
fn fill(bench: &mut Bench, durability: Durability, reason: AppendError) {
    let log = bench.rig.log(durability);
    bench.rig.until("the log refuses", |rig| {
        rig.turn();
        rig.try_append(log, &record("t", 1, &[1; 100_000])) == Err(reason)
    });
}

#[test]
fn a_full_disk_refuses_appends_while_reading_goes_on_and_resumes_when_space_returns() {
    for durability in [Durability::Written, Durability::Synced] {
        let mut bench = bench(&options());
        let log = bench.rig.log(durability);
        bench.disk.set_capacity(Some(0));
        fill(&mut bench, durability, AppendError::DiskFull);
        let kept = bench.rig.dump(log).len();
        assert!(kept > 30);
        bench.rig.now_ms += 2000;
        for _ in 0..5 {
            bench.rig.turn();
        }
        let refused = bench.rig.try_append(log, &record("t", 1, &[1; 100_000]));
        assert_eq!(refused, Err(AppendError::DiskFull));
        bench.disk.set_capacity(None);
        let deadline = bench.rig.store.next_deadline_ms().expect("a retry is due");
        assert!(deadline <= bench.rig.now_ms + 2000);
        bench.rig.now_ms += 2000;
        let mut accepting = false;
        bench.rig.until("the log accepts again", |rig| {
            accepting |= rig.progress.accepting_again.contains(&log);
            accepting
        });
        let end = bench.rig.append(log, &record("t", 1, &[1; 100_000])).end;
        bench.rig.until_visible(log, end);
        assert_eq!(bench.rig.dump(log).len(), kept + 1);
    }
}

#[test]
fn a_disk_without_space_for_the_first_segment_is_an_error_of_opening() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(SEGMENT / 2));
    let opened = Rig::try_open(&dir, Box::new(disk), &pool(8), &options(), 1);
    let Err(OpenError::NoSpace { needed, free, .. }) = opened else {
        panic!("it opened");
    };
    assert_eq!((needed, free), (SEGMENT, SEGMENT / 2));
}

#[test]
fn a_log_whose_disk_stands_still_is_busy_and_the_others_are_not() {
    let mut bench = bench(&LogOptions {
        tail_blocks: 2,
        hot_blocks: 0,
        ..options()
    });
    bench.disk.allow(Some(0));
    fill(&mut bench, Durability::Synced, AppendError::Busy);
    let memory = bench.rig.log(Durability::Memory);
    let end = bench.rig.append(memory, &record("t", 1, b"x")).end;
    assert!(bench.rig.store.visible(memory) >= end);
    bench.disk.allow(None);
    let log = bench.rig.log(Durability::Synced);
    let mut accepting = false;
    bench.rig.until("the log accepts again", |rig| {
        accepting |= rig.progress.accepting_again.contains(&log);
        accepting
    });
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    bench.rig.until_visible(log, end);
}

#[test]
fn the_end_of_a_segment_is_synced_before_records_of_the_next_become_visible() {
    for seed in 0..4 {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        let large = record("t", 1, &[1; 100_000]);
        while bench.rig.store.visible(log).get() < SEGMENT - 300_000 {
            let end = bench.rig.append(log, &large).end;
            bench.rig.until_visible(log, end);
        }
        // Two records for this segment and three for the next gather behind one flush.
        bench.disk.allow(Some(0));
        let mut end = Position::new(0);
        for _ in 0..5 {
            end = bench.rig.append(log, &large).end;
            bench.rig.turn();
        }
        assert!(end.get() > SEGMENT);
        bench.disk.allow(None);
        bench.rig.until_visible(log, end);
        let wanted = bench.rig.dump(log);
        let disk = bench.disk.crash(seed);
        let dir = bench.rig.dir.clone();
        let mut rig = Rig::open(&dir, Box::new(disk), &pool(32), &options(), 2000);
        assert!(rig.dump(log) == wanted, "seed {seed}");
    }
}

#[test]
fn a_record_above_the_limit_and_a_log_of_another_shard_are_refused() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let large = record("t", 1, &vec![1; 300_000]);
    assert_eq!(
        bench.rig.try_append(log, &large),
        Err(AppendError::TooLarge)
    );
    let other = oyez_protocol::LogId::new(77);
    let refused = bench.rig.try_append(other, &record("t", 1, b"x"));
    assert_eq!(refused, Err(AppendError::NotHere));
}

#[test]
fn a_drain_refuses_appends_and_makes_written_logs_durable_too() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Written);
    for number in 0..40 {
        bench.rig.append(log, &record("t", 1, &[number; 200_000]));
    }
    bench.rig.store.begin_drain();
    let refused = bench.rig.try_append(log, &record("t", 1, b"x"));
    assert_eq!(refused, Err(AppendError::Closing));
    bench.rig.until("drained", |rig| rig.store.is_drained());
    let wanted = bench.rig.dump(log);
    assert_eq!(wanted.len(), 41);
    let after = bench.disk.crash(3);
    let dir = bench.rig.dir.clone();
    let mut rig = Rig::open(&dir, Box::new(after), &pool(32), &options(), 1000);
    assert!(rig.report(Durability::Written).clean);
    assert!(!rig.report(Durability::Written).epoch_changed);
    assert!(rig.dump(log) == wanted);
}

#[test]
fn a_log_with_as_many_topics_as_it_may_have_refuses_new_ones_and_serves_the_others() {
    let mut bench = bench(&LogOptions {
        topics_max: 3,
        ..options()
    });
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        let log = bench.rig.log(durability);
        for topic in ["t", "b", "c", "t"] {
            bench.rig.append(log, &record(topic, 1, b"x"));
        }
        let refused = bench.rig.try_append(log, &record("d", 1, b"x"));
        assert_eq!(refused, Err(AppendError::TooManyTopics));
        let end = bench.rig.append(log, &record("b", 1, b"y")).end;
        bench.rig.until_visible(log, end);
        assert!(bench.rig.dump(log).len() >= 5);
    }
    assert_eq!(bench.rig.store.stats().topics, 9);
}

#[test]
fn a_segment_that_cannot_be_prepared_says_why_and_only_want_of_space_is_a_full_disk() {
    for (number, refusal) in [
        (libc::ENOSPC, AppendError::DiskFull),
        (libc::EDQUOT, AppendError::DiskFull),
        (libc::EACCES, AppendError::Busy),
    ] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        bench.disk.fail_next(Step::Prepare, Fault::Error(number));
        let mut told = Vec::new();
        bench.rig.until("the log refuses", |rig| {
            let trouble = rig.progress.trouble.iter();
            told.extend(trouble.map(|(log, error)| (*log, error.raw_os_error())));
            rig.try_append(log, &record("t", 1, &[1; 100_000])) == Err(refusal) && !told.is_empty()
        });
        assert_eq!(told, [(log, Some(number))]);
        bench.rig.now_ms += 1000;
        let large = record("t", 1, &[1; 100_000]);
        let end = bench.rig.turn_until_taken(log, &large).end;
        bench.rig.until_visible(log, end);
    }
}

#[test]
fn a_drain_is_not_clean_before_full_segments_are_durable() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Written);
    let large = record("t", 1, &[1; 100_000]);
    // The footer of the first segment fails, and the second fills before it is tried again.
    bench.disk.fail_next(Step::Put, Fault::Error(5));
    for _ in 0..100 {
        let end = bench.rig.append(log, &large).end;
        bench.rig.until_visible(log, end);
        bench.rig.turn();
    }
    bench.rig.drain();
    let wanted = bench.rig.dump(log);
    for seed in 0..3 {
        let after = bench.disk.crash(seed);
        let dir = bench.rig.dir.clone();
        let mut rig = Rig::open(&dir, Box::new(after.clone()), &pool(32), &options(), 1000);
        assert!(rig.report(Durability::Written).clean);
        assert!(rig.dump(log) == wanted);
        rig.drain();
        bench.disk = after;
    }
}

#[test]
fn a_drain_does_not_wait_for_a_segment_that_could_not_be_prepared() {
    let mut bench = bench(&options());
    bench.disk.set_capacity(Some(0));
    fill(&mut bench, Durability::Synced, AppendError::DiskFull);
    bench.rig.now_ms += 5000;
    bench.rig.drain();
    assert_eq!(bench.rig.store.next_deadline_ms(), None);
}
