//! Tasks that fail and are tried again: publishers get an answer, the failure is reported once and counted, and a store
//! whose directory is gone ends the log.

mod support;

use oyez_protocol::LogId;
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];

struct Bench {
    rig: Rig,
    disk: MemoryDisk,
    /// The reports, in order.
    told: Vec<(Task, Option<i32>)>,
    resolved: Vec<(Task, u64)>,
    failures: u64,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

fn bench(options: &LogOptions) -> Bench {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), options, 1000);
    let mut bench = Bench {
        rig,
        disk,
        told: Vec::new(),
        resolved: Vec::new(),
        failures: 0,
        _lock: lock,
        _temp: temp,
    };
    for durability in DURABLE {
        let log = bench.rig.log(durability);
        let end = bench.rig.append(log, &record("t", 1, b"first")).end;
        bench.rig.until_visible(log, end);
    }
    bench.pass(0);
    bench
}

fn large() -> Vec<u8> {
    record("t", 1, &[1; 100_000])
}

impl Bench {
    fn turn(&mut self) {
        self.rig.turn();
        let progress = &mut self.rig.progress;
        let told = progress.failing.iter();
        self.told
            .extend(told.map(|t| (t.task, t.error.raw_os_error())));
        let resolved = progress.resolved.iter();
        self.resolved.extend(resolved.map(|m| (m.task, m.failures)));
        self.failures += progress.failures;
    }

    /// Lets time pass, with a turn at each deadline of the store.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.rig.now_ms + ms;
        for _ in 0..8 {
            self.turn();
        }
        while let Some(due_ms) = self
            .rig
            .store
            .next_deadline_ms()
            .filter(|due| *due <= end_ms)
        {
            self.rig.now_ms = due_ms.max(self.rig.now_ms + 1);
            for _ in 0..4 {
                self.turn();
            }
        }
        self.rig.now_ms = self.rig.now_ms.max(end_ms);
        for _ in 0..8 {
            self.turn();
        }
    }

    /// Appends until the log refuses a record; returns how many it accepted.
    fn fill(&mut self, log: LogId) -> usize {
        let (mut taken, mut end) = (0, 0);
        loop {
            match self.rig.try_append(log, &large()) {
                Ok(appended) => (taken, end) = (taken + 1, appended.end.get()),
                // It is the arena that has no block at the moment.
                Err(AppendError::Busy) if end % SEGMENT < SEGMENT - 200_000 => {}
                Err(_) => return taken,
            }
            assert!(taken < 1000, "the log takes everything");
            for _ in 0..4 {
                self.turn();
            }
        }
    }

    fn turn_until_poisoned(&mut self) -> Poisoned {
        for _ in 0..100 {
            self.rig.progress.clear();
            let pumped = self.rig.store.pump(self.rig.now(), &mut self.rig.progress);
            if let Err(poisoned) = pumped {
                return poisoned;
            }
            self.rig.store.submit().expect("a submission");
            self.rig.now_ms += 100;
        }
        panic!("the log goes on");
    }
}

/// Whether a log that keeps waiting for its next segment answers, and when, in milliseconds.
fn answered(bench: &mut Bench, log: LogId) -> Option<(AppendError, u64)> {
    let begin_ms = bench.rig.now_ms;
    assert_eq!(bench.rig.try_append(log, &large()), Err(AppendError::Busy));
    while bench.rig.now_ms < begin_ms + 10_000 {
        bench.rig.now_ms += 5;
        bench.turn();
        if bench.rig.progress.accepting_again.contains(&log) {
            let refused = bench.rig.try_append(log, &large()).err()?;
            return Some((refused, bench.rig.now_ms - begin_ms));
        }
    }
    None
}

#[test]
fn an_append_that_waits_for_a_segment_that_cannot_be_prepared_is_refused_after_some_seconds() {
    for durability in DURABLE {
        for stuck in [false, true] {
            let mut bench = bench(&options());
            let log = bench.rig.log(durability);
            if stuck {
                bench.disk.hold(OpKind::Prepare);
            } else {
                bench.disk.fail(OpKind::Prepare, Fault::Error(libc::EIO));
            }
            assert!(bench.fill(log) > 30);
            let what = format!("{durability} stuck {stuck}");
            let (refused, after_ms) = answered(&mut bench, log).expect(&what);
            assert_eq!(refused, AppendError::NoSegment, "{what}");
            assert!((3_000..4_000).contains(&after_ms), "{what}: {after_ms} ms");
            let again = bench.rig.try_append(log, &large());
            assert_eq!(again, Err(AppendError::NoSegment), "{what}: at once");
            let told: Vec<Task> = bench.told.iter().map(|(task, _)| *task).collect();
            assert_eq!(told, [Task::Prepare], "{what}");
            assert_eq!(bench.rig.store.failing(), 1, "{what}");
            bench.pass(60_000);
            let again = bench.rig.try_append(log, &large());
            assert_eq!(again, Err(AppendError::NoSegment), "{what}: a minute later");
            bench.disk.lift(OpKind::Prepare);
            bench.pass(1_100);
            let end = bench.rig.try_append(log, &large()).expect(&what).end;
            bench.rig.until_visible(log, end);
            assert_eq!(bench.told.len(), 1, "{what}");
            assert_eq!(bench.resolved.len(), 1, "{what}");
        }
    }
}

#[test]
fn a_log_that_was_idle_waits_for_its_next_segment_as_long_as_any_other() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    disk.hold(OpKind::Prepare);
    let mut rig = Rig::open(&dir, Box::new(disk), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Written);
    // The turn that follows is the first one for an hour.
    rig.now_ms += 3_600_000;
    for _ in 0..5 {
        assert_eq!(rig.try_append(log, &large()), Err(AppendError::Busy));
        rig.turn();
    }
}

#[test]
fn records_appended_before_the_segment_was_missing_are_served_and_acknowledged() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.fail(OpKind::Prepare, Fault::Error(libc::EIO));
    let taken = bench.fill(log);
    bench.pass(10_000);
    assert_eq!(bench.rig.dump(log).len(), taken + 1);
}

#[test]
fn an_append_that_waits_for_a_segment_is_refused_because_of_the_full_disk() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.hold(OpKind::Prepare);
    bench.disk.set_capacity(Some(0));
    bench.fill(log);
    assert_eq!(bench.rig.try_append(log, &large()), Err(AppendError::Busy));
    bench.disk.lift(OpKind::Prepare);
    let mut told = false;
    for _ in 0..10 {
        bench.turn();
        told |= bench.rig.progress.accepting_again.contains(&log);
    }
    assert!(told, "those that wait are answered");
    let refused = bench.rig.try_append(log, &large());
    assert_eq!(refused, Err(AppendError::DiskFull));
}

#[test]
fn a_full_disk_is_the_reason_for_as_long_as_it_is_full() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.set_capacity(Some(0));
    bench.fill(log);
    for _ in 0..2_000 {
        bench.rig.now_ms += 5;
        // The next attempt is under way in some of these moments.
        let pumped = bench
            .rig
            .store
            .pump(bench.rig.now(), &mut bench.rig.progress);
        pumped.expect("no log is poisoned");
        let refused = bench.rig.try_append(log, &large());
        let known = [Err(AppendError::DiskFull), Err(AppendError::Busy)];
        assert!(known.contains(&refused), "{refused:?}");
        bench.rig.store.submit().expect("a submission");
    }
}

#[test]
fn a_store_that_has_vanished_ends_the_log() {
    for number in [libc::ENOENT, libc::ENOTDIR, libc::ESTALE] {
        for step in [OpKind::Prepare, OpKind::Put] {
            let mut bench = bench(&options());
            let log = bench.rig.log(Durability::Synced);
            bench.disk.fail(step, Fault::Error(number));
            let mut taken = 0;
            let poisoned = loop {
                let _ = bench.rig.try_append(log, &large());
                taken += 1;
                assert!(taken < 1_000, "{step:?}: the log goes on");
                bench.rig.progress.clear();
                let now = bench.rig.now();
                if let Err(poisoned) = bench.rig.store.pump(now, &mut bench.rig.progress) {
                    break poisoned;
                }
                bench.rig.store.submit().expect("a submission");
            };
            assert_eq!(poisoned.log, log);
            assert_eq!(poisoned.source.raw_os_error(), Some(number));
            let said = poisoned.to_string();
            assert!(said.contains("directory is gone"), "{step:?}: {said}");
            let refused = bench.rig.try_append(log, &large());
            assert_eq!(refused, Err(AppendError::Poisoned));
        }
    }
}

#[test]
fn a_store_that_has_vanished_ends_the_drain() {
    let mut bench = bench(&options());
    bench
        .disk
        .fail(OpKind::Overwrite, Fault::Error(libc::ENOENT));
    bench.rig.store.begin_drain();
    let poisoned = bench.turn_until_poisoned();
    let said = poisoned.to_string();
    assert!(said.contains("directory is gone"), "{said}");
}

#[test]
fn a_segment_that_cannot_be_prepared_is_reported_once_and_counted() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.fail(OpKind::Prepare, Fault::Error(libc::EIO));
    bench.fill(log);
    bench.pass(10_500);
    assert_eq!(bench.told, [(Task::Prepare, Some(libc::EIO))]);
    assert!((10..=12).contains(&bench.failures), "{}", bench.failures);
    assert_eq!(bench.rig.store.failing(), 1);
    // Another reason is reported.
    bench.disk.lift(OpKind::Prepare);
    bench.disk.fail(OpKind::Prepare, Fault::Error(libc::EACCES));
    bench.pass(5_000);
    let also = (Task::Prepare, Some(libc::EACCES));
    assert_eq!(bench.told[1..], [also]);
    bench.disk.lift(OpKind::Prepare);
    bench.pass(2_000);
    assert_eq!(bench.resolved, [(Task::Prepare, bench.failures)]);
    assert_eq!(bench.rig.store.failing(), 0);
    assert_eq!(bench.told.len(), 2);
}

#[test]
fn a_footer_that_cannot_be_written_is_reported_once_and_written_later() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.fail(OpKind::Put, Fault::Error(libc::EIO));
    for _ in 0..60 {
        bench.rig.append(log, &large());
        bench.pass(0);
    }
    bench.pass(10_000);
    assert_eq!(bench.told, [(Task::Footer, Some(libc::EIO))]);
    assert!(bench.failures >= 10, "{}", bench.failures);
    bench.disk.lift(OpKind::Put);
    bench.pass(2_000);
    assert_eq!(bench.resolved, [(Task::Footer, bench.failures)]);
    let footer =
        |(path, _): &(std::path::PathBuf, u64)| path.extension().is_some_and(|e| e == "idx");
    assert!(bench.disk.files().iter().any(footer));
}

/// A log whose retention cannot remove segments.
fn overflowing(step: OpKind) -> Bench {
    let mut bench = bench(&LogOptions {
        retention_bytes: Some(2 * SEGMENT),
        ..options()
    });
    let log = bench.rig.log(Durability::Synced);
    for _ in 0..150 {
        bench.rig.append(log, &large());
        bench.pass(0);
    }
    bench.told.clear();
    bench.disk.fail(step, Fault::Error(libc::EIO));
    bench
}

fn segments(disk: &MemoryDisk) -> usize {
    let files = disk.files();
    let segment =
        |(path, _): &&(std::path::PathBuf, u64)| path.extension().is_some_and(|e| e == "seg");
    files.iter().filter(segment).count()
}

#[test]
fn a_table_of_topics_that_cannot_be_written_is_reported_once_and_keeps_the_files() {
    let mut bench = overflowing(OpKind::Put);
    let before = segments(&bench.disk);
    bench.pass(10_000);
    assert_eq!(bench.told, [(Task::Carried, Some(libc::EIO))]);
    assert!(bench.failures >= 9, "{}", bench.failures);
    assert_eq!(segments(&bench.disk), before);
    bench.disk.lift(OpKind::Put);
    bench.pass(2_000);
    assert_eq!(bench.resolved, [(Task::Carried, bench.failures)]);
    assert!(segments(&bench.disk) < before);
}

#[test]
fn files_that_cannot_be_removed_are_reported_once_and_removed_later() {
    let mut bench = overflowing(OpKind::Unlink);
    let before = segments(&bench.disk);
    bench.pass(10_000);
    assert_eq!(bench.told, [(Task::Unlink, Some(libc::EIO))]);
    assert!(bench.failures >= 9, "{}", bench.failures);
    assert_eq!(segments(&bench.disk), before);
    bench.disk.lift(OpKind::Unlink);
    bench.pass(2_000);
    assert_eq!(bench.resolved, [(Task::Unlink, bench.failures)]);
    assert!(segments(&bench.disk) < before);
}

#[test]
fn a_state_file_that_cannot_be_written_at_the_end_is_reported() {
    let mut bench = bench(&options());
    bench.disk.fail(OpKind::Overwrite, Fault::Error(libc::EIO));
    bench.rig.store.begin_drain();
    while !bench.rig.store.is_drained() {
        bench.turn();
    }
    let state = (Task::State, Some(libc::EIO));
    assert_eq!(bench.told, [state, state], "one for each log");
    assert_eq!(bench.failures, 4, "two copies each");
}

#[test]
fn a_kernel_that_takes_no_operations_for_a_second_is_reported() {
    let mut bench = bench(&options());
    let log = bench.rig.log(Durability::Synced);
    bench.disk.refuse(true);
    let end = bench.rig.append(log, &record("t", 1, b"x")).end;
    bench.pass(900);
    assert_eq!(bench.told, []);
    bench.pass(5_000);
    let told: Vec<Task> = bench.told.iter().map(|(task, _)| *task).collect();
    assert_eq!(told, [Task::Submit]);
    bench.disk.refuse(false);
    bench.pass(10);
    assert_eq!(bench.rig.store.visible(log), end);
    let resolved: Vec<Task> = bench.resolved.iter().map(|(task, _)| *task).collect();
    assert_eq!(resolved, [Task::Submit]);
}

#[test]
fn a_store_that_cannot_be_drained_reports_what_is_not_durable() {
    for step in [OpKind::Write, OpKind::Sync] {
        let mut bench = bench(&options());
        bench.disk.hold(step);
        for (number, durability) in DURABLE.into_iter().enumerate() {
            let log = bench.rig.log(durability);
            for _ in 0..=number {
                bench.rig.append(log, &record("t", 1, b"x"));
            }
        }
        bench.pass(10);
        bench.rig.store.begin_drain();
        bench.pass(60_000);
        assert!(!bench.rig.store.is_drained());
        let left: Vec<(LogId, u64)> = bench
            .rig
            .store
            .undrained()
            .iter()
            .map(|left| (left.log, left.records))
            .collect();
        let logs = DURABLE.map(|durability| bench.rig.log(durability));
        // The first record of the written log was written and never synced.
        assert_eq!(left, [(logs[0], 2), (logs[1], 2)], "{step:?}");
        bench.disk.lift(step);
        bench.pass(10);
        assert!(bench.rig.store.is_drained());
        assert!(bench.rig.store.undrained().is_empty());
    }
}

#[test]
fn a_start_after_a_kill_needs_no_new_segment() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let end = rig.append(log, &record("t", 1, b"x")).end;
    rig.until_visible(log, end);
    // The newest record has no mark: nothing proves that it is durable.
    let disk = disk.kill(1);
    disk.fail(OpKind::Prepare, Fault::Error(libc::EIO));
    let mut rig = Rig::open(&dir, Box::new(disk), &pool(8), &options(), 2000);
    let end = rig.append(log, &record("t", 1, b"y")).end;
    rig.until_visible(log, end);
    assert_eq!(rig.dump(log).len(), 2);
}
