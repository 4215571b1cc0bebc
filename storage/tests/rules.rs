//! The rules of visibility and durability, also when the disk fails.

mod support;

use std::ops::Range;
use std::path::Path;

use oyez_protocol::Position;
use oyez_storage::*;
use support::{Dice, Rig, SEGMENT, dir, options, pool, record};

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

/// The stage of every byte of the synced log, by the calls of the disk.
#[derive(Default)]
struct Ledger {
    calls: usize,
    log: Vec<Byte>,
    /// The visible position at the last check; no byte below it is written any more.
    checked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Zero,
    Written,
    /// A sync has started after it was written.
    Syncing,
    Durable,
}

/// Base position of a segment of the synced log.
fn base(path: &Path) -> Option<usize> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    let ours = path.parent()?.ends_with("synced-0");
    ours.then(|| usize::from_str_radix(digits, 16).expect("a base position"))
}

impl Ledger {
    fn follow(&mut self, disk: &MemoryDisk) {
        let calls = disk.calls();
        for call in &calls[self.calls..] {
            match call {
                Call::Written { path, at, len } => {
                    let visible = self.checked as u64;
                    let place = base(path).map(|base| base as u64 + at);
                    assert!(place.is_none_or(|place| place >= visible), "{call:?}");
                    let written = self.range(path, Some(*at..at + *len as u64));
                    written.fill(Byte::Written);
                }
                Call::SyncStarted { path, range } => {
                    turn(
                        self.range(path, range.clone()),
                        Byte::Written,
                        Byte::Syncing,
                    );
                }
                Call::Synced { path, range } => {
                    turn(
                        self.range(path, range.clone()),
                        Byte::Syncing,
                        Byte::Durable,
                    );
                }
                _ => {}
            }
        }
        self.calls = calls.len();
    }

    /// The bytes of a range of a segment, or of all of it.
    fn range(&mut self, path: &Path, range: Option<Range<u64>>) -> &mut [Byte] {
        let Some(base) = base(path) else {
            return &mut [];
        };
        let limit = base + SEGMENT as usize;
        self.log.resize(self.log.len().max(limit), Byte::Zero);
        match range {
            Some(range) => &mut self.log[base + range.start as usize..base + range.end as usize],
            None => &mut self.log[base..limit],
        }
    }

    /// Checks that no byte of the log below `visible` waits for a sync, and that the records there were written.
    fn check(&mut self, visible: Position, records: &[Range<u64>], what: &str) {
        let visible = visible.get() as usize;
        let seen = &self.log[self.checked..visible.min(self.log.len())];
        let waiting = |byte: &Byte| matches!(byte, Byte::Written | Byte::Syncing);
        let early = seen.iter().any(waiting);
        assert!(!early, "{what}: visible before a sync of it has ended");
        self.checked = visible;
        for record in records
            .iter()
            .filter(|record| record.end as usize <= visible)
        {
            let bytes = &self.log[record.start as usize..record.end as usize];
            let durable = bytes.iter().all(|byte| *byte == Byte::Durable);
            assert!(durable, "{what}: {record:?} is visible and not durable");
        }
    }
}

fn turn(bytes: &mut [Byte], from: Byte, to: Byte) {
    for byte in bytes.iter_mut().filter(|byte| **byte == from) {
        *byte = to;
    }
}

#[test]
fn a_synced_record_becomes_visible_only_after_a_sync_that_started_after_its_write_completed() {
    let mut bench = bench(&options());
    let mut ledger = Ledger::default();
    let log = bench.rig.log(Durability::Synced);
    for number in 0..50u8 {
        bench.disk.allow(Some(0));
        let bytes = record("t", 1, &[number; 100]);
        let end = bench.rig.append(log, &bytes).end;
        let appended = end.get() - bytes.len() as u64..end.get();
        assert!(bench.rig.store.visible(log) < end);
        // Let one operation at a time complete, and look after each.
        for _ in 0..20 {
            bench.disk.allow(Some(1));
            bench.rig.turn();
            // Every second mark is written together with the next record.
            bench.rig.now_ms += u64::from(number % 2);
            ledger.follow(&bench.disk);
            let visible = bench.rig.store.visible(log);
            let records = std::slice::from_ref(&appended);
            ledger.check(visible, records, &format!("record {number}"));
        }
        assert!(bench.rig.store.visible(log) >= end);
    }
}

/// Random sizes over blocks and segments, gathering, pauses in which marks are written alone, short writes, and syncs
/// that run before the writes that they were to follow.
#[test]
fn whatever_is_visible_of_a_synced_log_was_synced_after_it_was_written() {
    let mut met = [0; 3];
    for seed in 0..4 {
        let mut bench = bench(&options());
        let mut dice = Dice::of(seed + 1);
        let mut ledger = Ledger::default();
        let mut records = Vec::new();
        let log = bench.rig.log(Durability::Synced);
        for step in 0..500 {
            for _ in 0..dice.roll(3) {
                let size = [50, 500, 5_000, 250_000][dice.roll(4) as usize];
                let bytes = record("t", 1, &vec![step as u8; 1 + dice.roll(size) as usize]);
                if let Ok(appended) = bench.rig.try_append(log, &bytes) {
                    let end = appended.end.get();
                    records.push(end - bytes.len() as u64..end);
                }
            }
            if dice.roll(20) == 0 {
                let short = Fault::Short(dice.roll(300) as usize);
                bench.disk.fail_next(OpKind::Write, short);
            }
            if dice.roll(20) == 0 {
                let fault = [Fault::Severed, Fault::Overtaken][dice.roll(2) as usize];
                bench.disk.fail_next(OpKind::Write, fault);
            }
            bench.rig.now_ms += dice.roll(4);
            bench.disk.allow(Some(dice.roll(4)));
            bench.rig.turn();
            ledger.follow(&bench.disk);
            let visible = bench.rig.store.visible(log);
            let what = format!("seed {seed} step {step}");
            ledger.check(visible, &records, &what);
            records.retain(|record| record.end > visible.get());
        }
        for call in bench.disk.calls() {
            if let Call::Write { path, sync, .. } = call
                && base(&path).is_some()
            {
                met[sync as usize] += 1;
            }
        }
    }
    assert!(met.iter().all(|times| *times > 20), "{met:?}");
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

/// The writes of the synced log since a call: place, bytes, and what they are to sync.
fn writes(disk: &MemoryDisk, from: usize) -> Vec<(u64, usize, WriteSync)> {
    let calls = disk.calls();
    let write = |call: &Call| match call {
        Call::Write {
            path,
            at,
            len,
            sync,
        } => base(path).map(|_| (*at, *len, *sync)),
        _ => None,
    };
    calls[from..].iter().filter_map(write).collect()
}

#[test]
fn a_mark_is_written_together_with_the_next_records() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let from = bench.disk.calls().len();
    let bytes = record("t", 1, b"x");
    let mut at = bench.rig.store.visible(log).get();
    let mut expected = Vec::new();
    for _ in 0..10 {
        let end = bench.rig.append(log, &bytes).end;
        bench.rig.until_visible(log, end);
        expected.push((at, SYNC_MARK_SIZE + bytes.len(), WriteSync::Range));
        at = end.get();
        bench.rig.turn();
        bench.rig.now_ms += 4;
        bench.rig.turn();
    }
    assert_eq!(writes(&bench.disk, from), expected);
}

#[test]
fn an_idle_log_writes_its_last_mark_alone_after_some_milliseconds_and_then_rests() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let bytes = record("t", 1, b"x");
    let end = bench.rig.append(log, &bytes).end;
    bench.rig.until_visible(log, end);
    bench.rig.turn();
    let from = bench.disk.calls().len();
    let deadline = bench.rig.store.next_deadline_ms().expect("the mark's");
    assert_eq!(deadline, bench.rig.now_ms + 5);
    bench.rig.now_ms = deadline - 1;
    bench.rig.turn();
    assert_eq!(writes(&bench.disk, from), []);
    bench.rig.now_ms = deadline;
    for _ in 0..20 {
        bench.rig.turn();
        bench.rig.now_ms += 1;
    }
    let mark = (end.get(), SYNC_MARK_SIZE, WriteSync::None);
    assert_eq!(writes(&bench.disk, from), [mark]);
    assert_eq!(bench.rig.store.next_deadline_ms(), None);
    // Nothing has synced the mark: it is written again with the next record, whose sync covers no more than its write.
    let next = bench.rig.append(log, &bytes).end;
    bench.rig.until_visible(log, next);
    let both = (end.get(), SYNC_MARK_SIZE + bytes.len(), WriteSync::Range);
    assert_eq!(writes(&bench.disk, from), [mark, both]);
}

#[test]
fn a_write_syncs_the_file_where_bytes_below_it_wait_for_a_sync() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.allow(Some(0));
    let from = bench.disk.calls().len();
    let large = record("t", 1, &[1; 200_000]);
    let mut end = Position::new(0);
    while end.get() < BLOCK_BYTES {
        end = bench.rig.append(log, &large).end;
    }
    bench.disk.allow(None);
    bench.rig.until_visible(log, end);
    let syncs: Vec<_> = writes(&bench.disk, from)
        .iter()
        .map(|(_, _, sync)| *sync)
        .collect();
    assert_eq!(syncs, [WriteSync::None, WriteSync::File]);
}

#[test]
fn a_short_write_is_completed_and_synced_again_before_anything_becomes_visible() {
    for short in [0, 1, 40, 60] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        let bytes = record("t", 1, &[7; 500]);
        let end = bench.rig.append(log, &bytes).end;
        let before = bench.rig.store.stats().syncs;
        bench.disk.fail_next(OpKind::Write, Fault::Short(short));
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

/// Lets a sync that was to follow a write run before it, and complete first; `short` is how much of the write is done.
fn reorder(fault: Fault, short: Option<usize>) {
    let mut bench = bench(&options());
    let mut ledger = Ledger::default();
    let log = bench.rig.log(Durability::Synced);
    bench.disk.allow(Some(0));
    let large = record("t", 1, &[1; 200_000]);
    let (mut end, mut records) = (Position::new(0), Vec::new());
    // What goes on in the next block is synced by a sync of the file.
    while end.get() < BLOCK_BYTES {
        end = bench.rig.append(log, &large).end;
        records.push(end.get() - large.len() as u64..end.get());
    }
    bench.disk.fail_next(OpKind::Write, fault);
    let what = format!("{fault:?} {short:?}");
    let is_sync = |call: &&Call| matches!(call, Call::SyncStarted { .. });
    let syncs = |disk: &MemoryDisk| disk.calls().iter().filter(is_sync).count();
    let (before, mut short) = (syncs(&bench.disk), short);
    for _ in 0..30 {
        bench.disk.allow(Some(1));
        bench.rig.turn();
        ledger.follow(&bench.disk);
        let visible = bench.rig.store.visible(log);
        ledger.check(visible, &records, &what);
        // Next after the sync is the write that it was to follow.
        if let Some(len) = short.take_if(|_| syncs(&bench.disk) > before) {
            bench.disk.fail_next(OpKind::Write, Fault::Short(len));
        }
    }
    assert!(bench.rig.store.visible(log) >= end, "{what}");
    assert!(syncs(&bench.disk) > before + 1, "{what}");
}

#[test]
fn a_sync_that_the_disk_severed_from_its_write_is_repeated() {
    reorder(Fault::Severed, None);
    reorder(Fault::Severed, Some(100));
}

#[test]
fn a_sync_that_ends_before_its_write_makes_nothing_durable() {
    reorder(Fault::Overtaken, None);
    reorder(Fault::Overtaken, Some(100));
}

#[test]
fn a_write_that_stays_short_poisons_the_log() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    for _ in 0..3 {
        bench.disk.fail_next(OpKind::Write, Fault::Short(0));
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
    for (step, large, what) in [
        (OpKind::Write, false, "synced write"),
        (OpKind::Sync, false, "synced write"),
        (OpKind::Write, true, "write"),
        (OpKind::Sync, true, "sync"),
    ] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        let mut end = bench.rig.append(log, &record("t", 1, b"x")).end;
        // What goes on in the next block is synced by a sync of the file.
        while large && end.get() < BLOCK_BYTES {
            end = bench.rig.append(log, &record("t", 1, &[1; 200_000])).end;
        }
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
    bench.disk.fail_next(OpKind::Sync, Fault::Error(5));
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

/// Appends until the log refuses for the given reason; other refusals are ignored.
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
fn a_log_whose_disk_hangs_is_busy_and_the_others_are_not() {
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
fn a_segment_that_cannot_be_prepared_refuses_with_the_reason_and_only_lack_of_space_is_a_full_disk()
{
    for (number, refusal) in [
        (libc::ENOSPC, AppendError::DiskFull),
        (libc::EDQUOT, AppendError::DiskFull),
        (libc::EACCES, AppendError::Busy),
    ] {
        let mut bench = bench(&options());
        let log = bench.rig.log(Durability::Synced);
        bench.disk.fail_next(OpKind::Prepare, Fault::Error(number));
        let mut told = Vec::new();
        bench.rig.until("the log refuses", |rig| {
            let trouble = rig.progress.failing.iter();
            told.extend(trouble.map(|trouble| (trouble.log, trouble.error.raw_os_error())));
            rig.try_append(log, &record("t", 1, &[1; 100_000])) == Err(refusal) && !told.is_empty()
        });
        assert_eq!(told, [(Some(log), Some(number))]);
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
    bench.disk.fail_next(OpKind::Put, Fault::Error(5));
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

#[test]
fn a_submission_that_the_kernel_does_not_take_is_tried_again_by_itself() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.refuse(true);
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    for _ in 0..3 {
        bench.rig.turn();
        assert!(bench.rig.store.visible(log) < end);
        let deadline = bench.rig.store.next_deadline_ms();
        assert_eq!(deadline, Some(bench.rig.now_ms + 1));
        bench.rig.now_ms += 1;
    }
    bench.disk.refuse(false);
    bench.rig.turn();
    bench.rig.turn();
    assert_eq!(bench.rig.store.visible(log), end);
}
