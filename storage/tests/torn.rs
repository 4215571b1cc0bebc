//! A segment that holds only a part of its first write, which did not complete: a start cuts the log there and goes on
//! behind it. No record of it was acknowledged, and no later start reports a loss, however the log ends in between.

mod support;

use std::path::{Path, PathBuf};

use oyez_protocol::{Epoch, Position};
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

const ON_DISK: [Durability; 2] = [Durability::Written, Durability::Synced];
const BLOCK: usize = 2 << 20;
/// The first bytes of a block header.
const HEADER: [u8; 11] = [64, 0, 0, 0, 0x82, 0, 1, 0, 1, 0, 0];
/// Records of the segment before.
const RECORDS: usize = 40;

/// The part of the segment's first write that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Torn {
    /// Some bytes of it.
    Header,
    /// Some bytes of each of its blocks: the log cannot go on in the segment.
    Blocks,
}

/// The end of the log between two starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Drained,
    /// A drain, and then a power cut that removes the cut bytes, which were never synced.
    Forgotten,
}

struct Bench {
    dir: DataDir,
    disk: MemoryDisk,
    durability: Durability,
    /// Whether retention leaves the segment before.
    keeps: bool,
    epoch: Epoch,
    now_ms: u64,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

impl Bench {
    /// A log that has ended within the first write of its second segment.
    fn new(durability: Durability, torn: Torn, keeps: bool) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, lock) = dir(temp.path());
        let disk = MemoryDisk::new();
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
        let log = rig.log(durability);
        for _ in 0..RECORDS {
            let end = rig.append(log, &record("t", 1, &[7; 100_000])).end;
            rig.until_visible(log, end);
        }
        rig.settle();
        let bench = Self {
            epoch: rig.report(durability).epoch,
            disk: disk.kill(1),
            dir,
            durability,
            keeps,
            now_ms: 1000,
            _lock: lock,
            _temp: temp,
        };
        let spare = bench.path(SEGMENT);
        let mut content = bench.disk.content(&spare).expect("there is a spare");
        assert!(content.iter().all(|byte| *byte == 0));
        content[..HEADER.len()].copy_from_slice(&HEADER);
        if torn == Torn::Blocks {
            content[BLOCK + 5000..BLOCK + 5100].fill(0x55);
        }
        bench.disk.replace(&spare, &content);
        bench
    }

    fn path(&self, base: u64) -> PathBuf {
        let log = format!("{}-0", self.durability);
        self.dir.path().join(log).join(format!("{base:016x}.seg"))
    }

    fn is_there(&self, path: &Path) -> bool {
        self.disk.content(path).is_some()
    }

    /// Starts a store on it, which reports nothing. Afterwards retention has removed the segment before, unless that is to
    /// stay.
    fn start(&mut self, what: &str) -> (Rig, RecoveryReport) {
        self.now_ms += 10_000;
        let retention_bytes = (!self.keeps).then_some(SEGMENT);
        let options = LogOptions {
            retention_bytes,
            ..options()
        };
        let disk = Box::new(self.disk.clone());
        let mut rig = Rig::open(&self.dir, disk, &pool(32), &options, self.now_ms);
        let report = rig.report(self.durability).clone();
        let told = (report.epoch, report.epoch_changed);
        assert_eq!(told, (self.epoch, false), "{what}: {report:?}");
        assert_eq!(report.gaps, [], "{what}: {report:?}");
        assert_eq!(report.set_aside, [], "{what}: {report:?}");
        let first = self.path(0);
        if !self.keeps && self.is_there(&first) {
            rig.until("the segment before is gone", |rig| {
                rig.now_ms += 100;
                self.disk.content(&first).is_none()
            });
        }
        rig.settle();
        let log = rig.log(self.durability);
        let kept = if self.keeps { RECORDS } else { 0 };
        assert_eq!(rig.dump(log).len(), kept, "{what}: {report:?}");
        (rig, report)
    }

    fn end(&mut self, mut rig: Rig, end: End) {
        if end != End::Killed {
            rig.drain();
        }
        drop(rig);
        self.disk = self.disk.kill(self.now_ms);
        let torn = self.path(SEGMENT);
        if end == End::Forgotten && self.is_there(&torn) {
            self.disk.zero(&torn, 0..SEGMENT as usize);
        }
    }
}

/// Ends of the log, from the first start behind the torn write on.
const ENDS: [&[End]; 7] = [
    &[End::Drained],
    &[End::Killed],
    &[End::Killed, End::Drained],
    &[End::Drained, End::Killed],
    &[End::Drained, End::Drained, End::Drained],
    &[End::Drained, End::Killed, End::Killed, End::Drained],
    &[End::Forgotten, End::Drained, End::Killed],
];

fn check(durability: Durability, torn: Torn, keeps: bool) {
    for ends in ENDS {
        let mut bench = Bench::new(durability, torn, keeps);
        // When the rest is forgotten, a footer may still record where the log ends.
        let mut clean = Some(false);
        for end in ends {
            let what = format!("{durability} {torn:?} keeps {keeps} {ends:?}, before {end:?}");
            let (rig, report) = bench.start(&what);
            assert_eq!(
                report.clean,
                clean.unwrap_or(report.clean),
                "{what}: {report:?}"
            );
            bench.end(rig, *end);
            clean = (*end != End::Forgotten).then_some(*end == End::Drained);
        }
        let what = format!("{durability} {torn:?} keeps {keeps} {ends:?}");
        let (mut rig, _) = bench.start(&what);
        let log = rig.log(durability);
        let appended = rig.append(log, &record("t", 1, b"after"));
        assert_eq!(appended.offset.get(), RECORDS as u64, "{what}");
        rig.until_visible(log, appended.end);
        let entries = rig.dump(log);
        bench.end(rig, End::Killed);
        let disk = Box::new(bench.disk.clone());
        let mut rig = Rig::open(&bench.dir, disk, &pool(32), &options(), 900_000);
        let report = rig.report(durability).clone();
        assert!(
            !report.epoch_changed && report.gaps.is_empty(),
            "{what}: {report:?}"
        );
        assert!(rig.dump(log) == entries, "{what}: {report:?}");
    }
}

#[test]
fn a_torn_first_write_is_no_loss_however_often_the_log_ends_and_starts() {
    for durability in ON_DISK {
        for torn in [Torn::Header, Torn::Blocks] {
            check(durability, torn, true);
        }
    }
}

#[test]
fn a_torn_first_write_is_no_loss_when_retention_has_removed_all_that_came_before() {
    for durability in ON_DISK {
        check(durability, Torn::Header, false);
    }
}

/// The start after the first torn write goes on in the next segment, and ends within its first write, too, before the
/// first one has its footer.
#[test]
fn two_torn_segments_in_a_row_are_no_loss_either() {
    for durability in ON_DISK {
        let mut bench = Bench::new(durability, Torn::Blocks, true);
        let mut content = vec![0; SEGMENT as usize];
        content[..HEADER.len()].copy_from_slice(&HEADER);
        bench.disk.replace(&bench.path(2 * SEGMENT), &content);
        for start in 0..3 {
            let disk = bench.disk.kill(start);
            let rig = Rig::open(
                &bench.dir,
                Box::new(disk.clone()),
                &pool(32),
                &options(),
                2000,
            );
            let told = rig.report(durability);
            let epoch = (told.epoch, told.epoch_changed);
            assert_eq!(
                epoch,
                (bench.epoch, false),
                "{durability}, start {start}: {told:?}"
            );
            bench.disk = disk;
        }
    }
}

/// A record with a damaged body and a sound header: a walk checks headers only.
#[test]
fn a_torn_record_is_not_there_after_a_clean_stop_either() {
    for durability in ON_DISK {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, _lock) = dir(temp.path());
        let mut disk = MemoryDisk::new();
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
        let log = rig.log(durability);
        let mut last = 0;
        for number in 0..4 {
            let appended = rig.append(log, &record("t", 1, &[number; 1000]));
            rig.until_visible(log, appended.end);
            last = appended.end.get();
        }
        drop(rig);
        disk = disk.kill(1);
        let path = dir.path().join(format!("{durability}-0/{:016x}.seg", 0));
        disk.damage(&path, usize::try_from(last).expect("a small place") - 10);
        for start in 0..3 {
            let rig_disk = Box::new(disk.clone());
            let mut rig = Rig::open(&dir, rig_disk, &pool(32), &options(), 2000 + start);
            let report = rig.report(durability).clone();
            let what = format!("{durability}, start {start}: {report:?}");
            assert_eq!(
                (report.clean, report.epoch_changed),
                (start > 0, false),
                "{what}"
            );
            let mut seen = 0;
            let mut reader = rig.store.reader(log);
            reader.walk(Position::new(0), usize::MAX, |_, _, _| seen += 1);
            assert_eq!(seen, 3, "{what}");
            rig.drain();
            drop(rig);
            disk = disk.kill(start);
        }
    }
}
