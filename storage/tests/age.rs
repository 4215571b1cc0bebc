//! Retention by age: records expire whether or not records follow them, and whatever the clock said when they were
//! written; topics keep their next offsets.

mod support;

use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::*;
use support::{Dice, Rig, SEGMENT, dir, options, pool, record};

const AGE_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];

struct Bench {
    rig: Rig,
    disk: MemoryDisk,
    options: LogOptions,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

fn aging() -> LogOptions {
    LogOptions {
        retention_age_ms: Some(AGE_MS),
        ..options()
    }
}

fn bench(options: &LogOptions) -> Bench {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let now_ms = 10 * YEAR_MS;
    let rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), options, now_ms);
    Bench {
        rig,
        disk,
        options: *options,
        _lock: lock,
        _temp: temp,
    }
}

/// How a store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drain,
    Kill,
    PowerCut,
}

const ENDS: [End; 3] = [End::Drain, End::Kill, End::PowerCut];

impl Bench {
    fn append(&mut self, durability: Durability, topic: &str, size: usize) -> Appended {
        let log = self.rig.log(durability);
        let appended = self.rig.append(log, &record(topic, 1, &vec![7; size]));
        self.rig.until_visible(log, appended.end);
        self.turns();
        appended
    }

    fn turns(&mut self) {
        for _ in 0..8 {
            self.rig.turn();
        }
    }

    /// Lets time pass, with a turn at each deadline of the store.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.rig.now_ms + ms;
        self.turns();
        while let Some(due_ms) = self
            .rig
            .store
            .next_deadline_ms()
            .filter(|due| *due <= end_ms)
        {
            self.rig.now_ms = due_ms.max(self.rig.now_ms + 1);
            self.turns();
        }
        self.rig.now_ms = self.rig.now_ms.max(end_ms);
        self.turns();
    }

    /// Ends the store and opens it again.
    fn restart(&mut self, end: End) {
        let disk = match end {
            End::Drain => {
                self.rig.drain();
                self.disk.kill(3)
            }
            End::Kill => self.disk.kill(3),
            End::PowerCut => self.disk.crash(3),
        };
        let dir = self.rig.dir.clone();
        let (now_ms, ahead_ms) = (self.rig.now_ms, self.rig.ahead_ms);
        let disk_of_store = Box::new(disk.clone());
        self.rig = Rig::open(&dir, disk_of_store, &pool(32), &self.options, now_ms);
        self.rig.ahead_ms = ahead_ms;
        self.disk = disk;
        self.turns();
    }

    fn located(&self, durability: Durability, topic: &str) -> Located {
        let log = self.rig.log(durability);
        let start = StartAt::Earliest;
        self.rig.store.locate(log, topic, start, Position::new(0))
    }

    /// Oldest offset and next offset of a topic.
    fn kept(&self, durability: Durability, topic: &str) -> (u64, u64) {
        let located = self.located(durability, topic);
        (located.earliest.get(), located.head.get())
    }

    fn log(&self, durability: Durability) -> LogId {
        self.rig.log(durability)
    }

    /// Bytes of the segments of a log.
    fn segment_bytes(&self, durability: Durability) -> u64 {
        let files = self.disk.files();
        let ours = files.iter().filter(|(path, _)| {
            let dir = path.parent().expect("a log's directory");
            path.extension().is_some_and(|ext| ext == "seg")
                && dir.ends_with(format!("{durability}-0"))
        });
        ours.map(|(_, bytes)| bytes).sum()
    }
}

#[test]
fn a_quiet_log_loses_its_records_within_about_a_second_after_they_expire() {
    for durability in DURABLE {
        let mut bench = bench(&aging());
        bench.append(durability, "t", 100);
        bench.append(durability, "t", 100);
        bench.pass(AGE_MS - 2_000);
        assert_eq!(bench.kept(durability, "t"), (0, 2), "{durability}");
        bench.pass(4_000);
        assert_eq!(bench.kept(durability, "t"), (2, 2), "{durability}");
        assert_eq!(bench.rig.dump(bench.log(durability)), []);
        // What is left is the segment in which the log goes on.
        assert_eq!(bench.segment_bytes(durability), SEGMENT, "{durability}");
        let appended = bench.append(durability, "t", 100);
        assert_eq!(appended.offset, Offset::new(2));
        assert_eq!(appended.sequence.get(), 2);
        assert_eq!(bench.kept(durability, "t"), (2, 3));
    }
}

#[test]
fn a_record_ages_from_when_it_was_appended_however_long_the_store_was_idle_before() {
    for durability in DURABLE {
        let mut bench = bench(&aging());
        bench.append(durability, "t", 100);
        bench.pass(AGE_MS + 10_000);
        // The store has no turn until the next record comes.
        bench.rig.now_ms += 2 * AGE_MS;
        bench.append(durability, "t", 100);
        bench.pass(AGE_MS - 10_000);
        assert_eq!(bench.kept(durability, "t"), (1, 2), "{durability}");
    }
}

#[test]
fn an_empty_log_has_no_deadline() {
    let mut bench = bench(&aging());
    for durability in DURABLE {
        bench.append(durability, "t", 100);
    }
    bench.pass(AGE_MS + 10_000);
    assert_eq!(bench.rig.store.next_deadline_ms(), None);
    let calls = bench.disk.calls().len();
    bench.pass(3 * AGE_MS);
    assert_eq!(bench.disk.calls().len(), calls);
}

#[test]
fn a_log_that_lost_all_records_goes_on_where_it_was_however_the_store_ended() {
    for durability in DURABLE {
        for end in ENDS {
            let mut bench = bench(&aging());
            for _ in 0..3 {
                bench.append(durability, "t", 100);
            }
            let epoch = bench.located(durability, "t").epoch;
            bench.pass(AGE_MS + 10_000);
            for round in 0..3 {
                bench.restart(end);
                let what = format!("{durability} {end:?} round {round}");
                // A written log that may have lost records with the power has a new epoch.
                if durability == Durability::Synced || end != End::PowerCut {
                    let report = bench.rig.report(durability);
                    assert!(!report.epoch_changed, "{what}: {report:?}");
                    assert_eq!(report.clean, end == End::Drain, "{what}");
                    assert_eq!(bench.located(durability, "t").epoch, epoch, "{what}");
                }
                assert_eq!(bench.kept(durability, "t"), (3, 3), "{what}");
            }
            let appended = bench.append(durability, "t", 100);
            assert_eq!(appended.offset, Offset::new(3), "{durability} {end:?}");
            assert_eq!(appended.sequence.get(), 3, "{durability} {end:?}");
        }
    }
}

#[test]
fn the_last_records_are_not_removed_before_what_comes_after_them_is_durable() {
    let mut bench = bench(&aging());
    bench.append(Durability::Synced, "t", 100);
    bench.append(Durability::Synced, "t", 100);
    bench.rig.now_ms += AGE_MS + 1_000;
    let unlinked = |disk: &MemoryDisk| {
        let calls = disk.calls();
        calls
            .iter()
            .any(|call| matches!(call, Call::Unlinked { .. }))
    };
    // Few turns a millisecond: the beginning of the next segment is written only after some of them.
    for turn in 0..1_000 {
        if unlinked(&bench.disk) {
            break;
        }
        bench.rig.now_ms += u64::from(turn % 16 == 0);
        bench.rig.turn();
    }
    bench.restart(End::PowerCut);
    assert_eq!(bench.kept(Durability::Synced, "t"), (2, 2));
    assert_eq!(bench.append(Durability::Synced, "t", 100).sequence.get(), 2);
}

#[test]
fn a_log_that_was_opened_after_a_kill_loses_its_records_too() {
    for durability in DURABLE {
        for end in ENDS {
            let mut bench = bench(&aging());
            bench.append(durability, "t", 100);
            bench.restart(end);
            bench.pass(AGE_MS + 4_000);
            assert_eq!(bench.kept(durability, "t"), (1, 1), "{durability} {end:?}");
            assert_eq!(bench.append(durability, "t", 100).sequence.get(), 1);
        }
    }
}

#[test]
fn a_log_with_records_now_and_then_loses_those_that_have_expired() {
    for durability in DURABLE {
        let mut bench = bench(&aging());
        for number in 0..40 {
            let appended = bench.append(durability, "t", 100);
            assert_eq!(appended.offset, Offset::new(number));
            bench.pass(AGE_MS / 4);
        }
        // A segment takes records for one age at most, and is dropped one age after its last record.
        let (earliest, next) = bench.kept(durability, "t");
        assert_eq!(next, 40);
        assert!((31..36).contains(&earliest), "{durability}: {earliest}");
    }
}

#[test]
fn segments_are_sealed_by_age_no_more_than_once_a_minute() {
    let mut bench = bench(&LogOptions {
        retention_age_ms: Some(1_000),
        ..options()
    });
    let prepared = |bench: &Bench| {
        let calls = bench.disk.calls();
        let ours = |call: &&Call| matches!(call, Call::Prepared { path } if path.to_string_lossy().contains("synced"));
        calls.iter().filter(ours).count()
    };
    let before = prepared(&bench);
    for _ in 0..300 {
        bench.append(Durability::Synced, "t", 100);
        bench.pass(1_000);
    }
    let made = prepared(&bench) - before;
    assert!((4..=7).contains(&made), "{made} segments in five minutes");
    let (earliest, next) = bench.kept(Durability::Synced, "t");
    assert_eq!(next, 300);
    assert!(earliest >= 230, "{earliest}");
}

#[test]
fn a_log_that_cannot_go_on_in_another_segment_keeps_its_records_and_tries_again() {
    for durability in DURABLE {
        let mut bench = bench(&aging());
        bench.append(durability, "t", 100);
        bench.disk.set_capacity(Some(0));
        bench.pass(AGE_MS + 60_000);
        assert_eq!(bench.kept(durability, "t"), (0, 1), "{durability}");
        bench.append(durability, "t", 100);
        bench.disk.set_capacity(None);
        bench.pass(AGE_MS + 10_000);
        assert_eq!(bench.kept(durability, "t"), (2, 2), "{durability}");
    }
}

#[test]
fn a_drain_does_not_wait_for_records_to_expire() {
    for durability in DURABLE {
        let mut bench = bench(&aging());
        bench.append(durability, "t", 100);
        bench.disk.set_capacity(Some(0));
        bench.pass(AGE_MS + 10_000);
        bench.rig.drain();
        assert_eq!(bench.rig.store.next_deadline_ms(), None);
        bench.disk.set_capacity(None);
        bench.restart(End::Kill);
        assert!(bench.rig.report(durability).clean);
        bench.pass(4_000);
        assert_eq!(bench.kept(durability, "t"), (1, 1), "{durability}");
    }
}

#[test]
fn segments_stamped_by_a_clock_that_was_ahead_expire_with_those_after_them() {
    for durability in DURABLE {
        for restart in [None, Some(End::Drain), Some(End::Kill)] {
            let mut bench = bench(&aging());
            bench.rig.ahead_ms = YEAR_MS;
            for _ in 0..60 {
                bench.append(durability, "ahead", 100_000);
            }
            bench.rig.ahead_ms = 0;
            for _ in 0..60 {
                bench.append(durability, "right", 100_000);
            }
            if let Some(end) = restart {
                bench.restart(end);
            }
            bench.pass(AGE_MS - 60_000);
            let what = format!("{durability} {restart:?}");
            assert_eq!(bench.kept(durability, "ahead"), (0, 60), "{what}");
            bench.pass(70_000);
            assert_eq!(bench.kept(durability, "ahead"), (60, 60), "{what}");
            assert_eq!(bench.kept(durability, "right"), (60, 60), "{what}");
        }
    }
}

/// No record follows them, so no other stamp shows when they were written.
#[test]
fn the_last_records_stamped_by_a_clock_that_was_ahead_expire_too() {
    for durability in DURABLE {
        for restart in [None, Some(End::Drain), Some(End::Kill)] {
            let mut bench = bench(&aging());
            bench.rig.ahead_ms = YEAR_MS;
            bench.append(durability, "t", 100);
            bench.rig.ahead_ms = 0;
            if let Some(end) = restart {
                bench.restart(end);
            }
            bench.pass(AGE_MS + 10_000);
            let what = format!("{durability} {restart:?}");
            assert_eq!(bench.kept(durability, "t"), (1, 1), "{what}");
        }
    }
}

#[test]
fn a_clock_that_was_behind_for_a_while_makes_no_earlier_record_expire() {
    for end in [End::Drain, End::Kill] {
        let mut bench = bench(&aging());
        for _ in 0..60 {
            bench.append(Durability::Synced, "t", 100_000);
        }
        bench.restart(end);
        bench.rig.set_back_ms = 9 * YEAR_MS;
        for _ in 0..60 {
            bench.append(Durability::Synced, "behind", 100_000);
        }
        bench.restart(end);
        for _ in 0..60 {
            bench.append(Durability::Synced, "t", 100_000);
        }
        bench.pass(10_000);
        assert_eq!(bench.kept(Durability::Synced, "t"), (0, 120), "{end:?}");
    }
}

#[test]
fn age_does_not_apply_to_memory_logs() {
    let mut bench = bench(&aging());
    bench.append(Durability::Memory, "t", 100);
    bench.pass(3 * AGE_MS);
    assert_eq!(bench.kept(Durability::Memory, "t"), (0, 1));
}

/// A record that was appended: its time, offset and sequence.
#[derive(Clone, Copy, Debug)]
struct Given {
    at_ms: u64,
    appended: Appended,
}

/// Appends and lets time pass, at random, until the disk stops completing operations. Returns the records, and how many
/// of them were acknowledged.
fn work(bench: &mut Bench, durability: Durability, dice: &mut Dice) -> (Vec<Given>, usize) {
    let log = bench.log(durability);
    let mut given: Vec<Given> = Vec::new();
    let steps = 1 + dice.roll(30);
    let stop = dice.roll(steps + 10);
    for step in 0..steps {
        if step == stop {
            bench.disk.allow(Some(dice.roll(20)));
        }
        let size = if dice.roll(4) == 0 { 200_000 } else { 100 };
        let bytes = record("t", 1, &vec![step as u8; size]);
        for _ in 0..dice.roll(4) {
            if let Ok(appended) = bench.rig.try_append(log, &bytes) {
                let at_ms = bench.rig.now_ms;
                given.push(Given { at_ms, appended });
            }
        }
        for _ in 0..dice.roll(6) {
            bench.rig.turn();
            bench.rig.now_ms += dice.roll(AGE_MS / 8);
        }
    }
    let visible = bench.rig.store.visible(log);
    let acknowledged = given.iter().filter(|one| one.appended.end <= visible);
    let acknowledged = acknowledged.count();
    (given, acknowledged)
}

fn ages_through_interruptions(durability: Durability, end: End) {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice::of(seed + 1);
        let mut bench = bench(&aging());
        let epoch = bench.located(durability, "t").epoch;
        let mut history: Vec<Given> = Vec::new();
        for generation in 0..4 {
            let what = format!("{durability} {end:?} seed {seed} generation {generation}");
            let (given, acknowledged) = work(&mut bench, durability, &mut dice);
            let safe = history.len() + acknowledged;
            history.extend(given);
            bench.restart(end);
            let report = bench.rig.report(durability);
            assert!(
                !report.epoch_changed && report.gaps.is_empty(),
                "{what}: {report:?}"
            );
            assert_eq!(bench.located(durability, "t").epoch, epoch, "{what}");
            let (earliest, next) = bench.kept(durability, "t");
            assert!(
                (safe..=history.len()).contains(&(next as usize)),
                "{what}: {next}"
            );
            history.truncate(next as usize);
            let found = bench.rig.dump(bench.log(durability));
            let offsets: Vec<u64> = found.iter().map(|(_, offset, _)| *offset).collect();
            assert_eq!(offsets, Vec::from_iter(earliest..next), "{what}");
            let now_ms = bench.rig.now_ms;
            let young = |one: &&Given| one.at_ms + AGE_MS >= now_ms;
            let gone = &history[..earliest as usize];
            assert_eq!(gone.iter().find(young).map(|one| one.at_ms), None, "{what}");
            (lost, kept) = (lost + gone.len(), kept + found.len());
            let appended = bench.append(durability, "t", 100);
            assert_eq!(appended.offset, Offset::new(next), "{what}");
            assert_eq!(appended.sequence.get(), next, "{what}");
            let at_ms = bench.rig.now_ms;
            history.push(Given { at_ms, appended });
        }
    }
    assert!(lost > 100 && kept > 100, "{lost} lost, {kept} kept");
}

#[test]
fn kills_at_any_moment_lose_no_record_that_has_not_expired() {
    for durability in DURABLE {
        ages_through_interruptions(durability, End::Kill);
    }
}

#[test]
fn power_cuts_at_any_moment_lose_no_record_that_has_not_expired() {
    ages_through_interruptions(Durability::Synced, End::PowerCut);
}
