//! The proof that a record was acknowledged must not lie only inside the damaged bytes: a start distinguishes a loss from
//! records that were never acknowledged or written, and from those that retention has removed.

mod support;

use std::path::PathBuf;

use oyez_protocol::{Epoch, Offset, Position};
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

const ON_DISK: [Durability; 2] = [Durability::Written, Durability::Synced];
/// How a store ends.
const ENDS: [End; 2] = [End::Killed, End::Drained];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Drained,
}

type Entry = (String, u64, Vec<u8>);

/// The records of one log when its store ended, all of them acknowledged.
struct Bench {
    dir: DataDir,
    disk: MemoryDisk,
    durability: Durability,
    entries: Vec<Entry>,
    places: Vec<Place>,
    epoch: Epoch,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

impl Bench {
    /// `records` records of `messages` messages of `bytes` bytes in all, then some quiet, then the end.
    fn new(
        durability: Durability,
        end: End,
        (records, messages, bytes): (u64, usize, usize),
    ) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, lock) = dir(temp.path());
        let disk = MemoryDisk::new();
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
        let log = rig.log(durability);
        let mut last = Position::new(0);
        for number in 0..records {
            let bytes = record("t", messages, &vec![number as u8 + 1; bytes]);
            last = rig.append(log, &bytes).end;
            rig.turn();
        }
        rig.until_visible(log, last);
        for _ in 0..5 {
            rig.now_ms += 10;
            rig.turn();
        }
        let mut places = Vec::new();
        rig.store
            .places(log, "t", Offset::new(0), usize::MAX, &mut places);
        let entries = rig.dump(log);
        assert_eq!(entries.len() as u64, records);
        if end == End::Drained {
            rig.drain();
        }
        Self {
            epoch: rig.report(durability).epoch,
            disk: disk.kill(1),
            dir,
            durability,
            entries,
            places,
            _lock: lock,
            _temp: temp,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let log = format!("{}-0", self.durability);
        self.dir.path().join(log).join(name)
    }

    fn segment(&self, position: u64) -> (PathBuf, u64) {
        let base = position - position % SEGMENT;
        (self.path(&format!("{base:016x}.seg")), position - base)
    }

    /// Flips bits of the byte at a position.
    fn damage(&self, position: u64) {
        let (path, at) = self.segment(position);
        self.disk.damage(&path, at as usize);
    }

    fn names(&self) -> Vec<String> {
        let dir = self.path("");
        let files = self.disk.files();
        let ours = files.iter().filter(|(path, _)| path.starts_with(&dir));
        ours.filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    }

    fn open(&self) -> Rig {
        self.open_at(2000)
    }

    fn open_at(&self, now_ms: u64) -> Rig {
        let disk = Box::new(self.disk.clone());
        Rig::open(&self.dir, disk, &pool(32), &options(), now_ms)
    }

    /// Opens it and expects everything to be there, under the same epoch.
    fn expect_all(&self, what: &str) {
        let mut rig = self.open();
        let report = rig.report(self.durability).clone();
        assert!(
            rig.dump(rig.log(self.durability)) == self.entries,
            "{what}: {report:?}"
        );
        assert!(
            !report.epoch_changed && report.epoch == self.epoch,
            "{what}: {report:?}"
        );
        assert_eq!(report.gaps, [], "{what}");
        assert_eq!(report.set_aside, [], "{what}");
    }

    /// Opens it and expects all records except those of a range, a new epoch, and gaps that report these; and after that
    /// start, the same again without a report.
    fn expect_loss(&mut self, lost: std::ops::Range<usize>, what: &str) -> RecoveryReport {
        let mut rig = self.open();
        let log = rig.log(self.durability);
        let report = rig.report(self.durability).clone();
        let mut wanted = self.entries.clone();
        wanted.drain(lost.clone());
        let found = rig.dump(log);
        assert!(found == wanted, "{what}: {} found, {report:?}", found.len());
        assert!(
            report.epoch_changed && report.epoch != self.epoch,
            "{what}: {report:?}"
        );
        let told: u64 = report
            .gaps
            .iter()
            .map(|gap| gap.next_sequence.get() - gap.first_sequence.get())
            .sum();
        assert_eq!(told, lost.len() as u64, "{what}: {report:?}");
        let end = rig.append(log, &record("other", 1, b"after")).end;
        rig.until_visible(log, end);
        for _ in 0..5 {
            rig.now_ms += 10;
            rig.turn();
        }
        drop(rig);
        self.disk = self.disk.kill(2);
        let mut rig = self.open_at(3000);
        let again = rig.report(self.durability).clone();
        assert_eq!(
            (again.epoch, again.gaps.len()),
            (report.epoch, 0),
            "{what}: {again:?}"
        );
        assert!(rig.dump(log)[..wanted.len()] == wanted, "{what}: {again:?}");
        report
    }
}

/// Twenty-five records of eight messages, which lie in one block and in more than one page.
const SMALL: (u64, usize, usize) = (25, 8, 200);
/// A hundred records over three segments.
const LARGE: (u64, usize, usize) = (100, 1, 100_000);

#[test]
fn a_damaged_block_header_loses_nothing() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, SMALL);
            bench.damage(20);
            bench.expect_all(&format!("{durability} {end:?}"));
        }
    }
}

#[test]
fn a_damaged_header_of_each_block_loses_nothing() {
    for durability in ON_DISK {
        let bench = Bench::new(durability, End::Killed, LARGE);
        let last = bench.places[bench.places.len() - 1].position.get();
        for block in 0..=last / BLOCK_BYTES {
            let position = block * BLOCK_BYTES + 40;
            bench.damage(position);
            let footer = bench.segment(position).0.with_extension("idx");
            bench.disk.remove(&footer);
        }
        bench.expect_all(&durability.to_string());
    }
}

#[test]
fn a_damaged_record_hides_no_other() {
    for durability in ON_DISK {
        for end in ENDS {
            for (number, at) in [(0, 60), (0, 2), (12, 60), (12, 35), (24, 60), (24, 2)] {
                let mut bench = Bench::new(durability, end, SMALL);
                bench.damage(bench.places[number].position.get() + at);
                let what = format!("{durability} {end:?}: byte {at} of record {number}");
                bench.expect_loss(number..number + 1, &what);
            }
        }
    }
}

#[test]
fn a_damaged_mark_is_no_loss() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, SMALL);
            let last = bench.places[24];
            bench.damage(last.position.get() + u64::from(last.size) + 18);
            bench.expect_all(&format!("{durability} {end:?}"));
        }
    }
}

#[test]
fn a_page_of_zeroes_hides_the_records_that_it_overlaps() {
    for durability in ON_DISK {
        for end in ENDS {
            let mut bench = Bench::new(durability, end, SMALL);
            let (path, _) = bench.segment(0);
            bench.disk.zero(&path, 0..4096);
            let first = |at: u64| {
                bench
                    .places
                    .iter()
                    .take_while(move |p| p.position.get() < at)
            };
            let lost = first(4096).count();
            assert!(lost < 25, "something is left");
            bench.expect_loss(0..lost, &format!("{durability} {end:?}"));
            assert!(bench.disk.content(&path).is_some(), "it was not removed");
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_hides_the_records_that_it_overlaps() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, SMALL);
            let (path, _) = bench.segment(0);
            let bad = 8192..8192 + 512;
            bench.disk.fail_reads(&path, bad.clone());
            // Unreadable bytes are known in pages.
            let page = 8192..8192 + 4096;
            let overlaps = |place: &Place| {
                let from = place.position.get();
                from < page.end && page.start < from + u64::from(place.size)
            };
            let lost: Vec<bool> = bench.places.iter().map(overlaps).collect();
            assert!(lost.contains(&true) && lost.contains(&false));
            let rig = bench.open();
            let report = rig.report(durability).clone();
            let what = format!("{durability} {end:?}: {report:?}");
            assert!(report.epoch_changed && !report.gaps.is_empty(), "{what}");
            // A live read of it would fail as well: only what the index names is asked for.
            let log = rig.log(durability);
            let mut places = Vec::new();
            rig.store
                .places(log, "t", Offset::new(0), usize::MAX, &mut places);
            let kept = bench.places.iter().zip(&lost).filter(|(_, lost)| !**lost);
            let kept: Vec<Place> = kept.map(|(place, _)| *place).collect();
            assert!(places == kept, "{what}");
        }
    }
}

/// All records of the log lie in the page: the file looks as if it had never been used.
#[test]
fn a_segment_of_zeroes_is_not_taken_for_an_unused_one_when_something_in_it_was_acknowledged() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, (5, 1, 100));
            let (path, _) = bench.segment(0);
            bench.disk.zero(&path, 0..4096);
            let rig = bench.open();
            let report = rig.report(durability);
            let what = format!("{durability} {end:?}: {report:?}");
            assert!(report.epoch_changed && !report.gaps.is_empty(), "{what}");
            let aside: Vec<_> = report.set_aside.iter().map(|one| one.to.clone()).collect();
            let name = bench.path("0000000000000000.seg.damaged-1");
            assert_eq!(aside, [Some(name.clone())], "{what}");
            assert!(bench.disk.content(&name).is_some(), "{what}");
        }
    }
}

#[test]
fn a_segment_that_was_cut_hides_no_later_one() {
    for durability in ON_DISK {
        for end in ENDS {
            for bytes in [0, 5, BLOCK_BYTES, BLOCK_BYTES + 300_000] {
                let mut bench = Bench::new(durability, end, LARGE);
                let (path, _) = bench.segment(0);
                bench.disk.truncate(&path, bytes as usize);
                let whole = |place: &&Place| place.position.get() + u64::from(place.size) <= bytes;
                let kept = bench.places.iter().take_while(whole).count();
                let next = bench
                    .places
                    .iter()
                    .take_while(|p| p.position.get() < SEGMENT);
                let next = next.count();
                bench.expect_loss(kept..next, &format!("{durability} {end:?}: cut to {bytes}"));
            }
        }
    }
}

#[test]
fn a_last_segment_that_was_cut_is_a_loss_even_if_no_record_in_it_is_left() {
    for durability in ON_DISK {
        for end in ENDS {
            for bytes in [0, 100, 4096, BLOCK_BYTES] {
                let bench = Bench::new(durability, end, (30, 1, 100_000));
                let (path, _) = bench.segment(0);
                bench.disk.truncate(&path, bytes as usize);
                let mut rig = bench.open();
                let report = rig.report(durability).clone();
                let what = format!("{durability} {end:?}: cut to {bytes}: {report:?}");
                assert!(report.epoch_changed, "{what}");
                let found = rig.dump(rig.log(durability));
                assert!(bench.entries.starts_with(&found), "{what}");
            }
        }
    }
}

#[test]
fn a_log_without_its_segments_is_not_a_new_one() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, LARGE);
            for name in bench.names() {
                if name.ends_with(".seg") || name.ends_with(".idx") {
                    bench.disk.remove(&bench.path(&name));
                }
            }
            let mut rig = bench.open();
            let log = rig.log(durability);
            let report = rig.report(durability).clone();
            let what = format!("{durability} {end:?}: {report:?}");
            assert!(
                report.epoch_changed && report.epoch != bench.epoch,
                "{what}"
            );
            assert!(!report.gaps.is_empty(), "{what}");
            let taken = rig.append(log, &record("t", 1, b"after"));
            rig.until_visible(log, taken.end);
            assert_eq!(rig.dump(log).len(), 1, "{what}");
        }
    }
}

#[test]
fn a_missing_first_segment_is_damage_and_not_retention() {
    for durability in ON_DISK {
        for end in ENDS {
            let mut bench = Bench::new(durability, end, LARGE);
            bench.disk.remove(&bench.path("0000000000000000.seg"));
            bench.disk.remove(&bench.path("0000000000000000.idx"));
            let lost = bench
                .places
                .iter()
                .take_while(|p| p.position.get() < SEGMENT);
            let lost = lost.count();
            bench.expect_loss(0..lost, &format!("{durability} {end:?}"));
            // A subscriber that asks for the oldest message learns of the hole before the first one there is, also later.
            let rig = bench.open_at(4000);
            let log = rig.log(durability);
            let located = rig
                .store
                .locate(log, "t", StartAt::At(Offset::new(3)), Position::new(0));
            assert_eq!(
                (located.earliest, located.cursor),
                (Offset::new(0), Offset::new(3))
            );
            let mut places = Vec::new();
            rig.store.places(log, "t", located.cursor, 1, &mut places);
            assert_eq!(places[0].first, Offset::new(lost as u64));
        }
    }
}

#[test]
fn what_retention_has_removed_is_no_loss() {
    for durability in ON_DISK {
        for end in ENDS {
            let temp = tempfile::tempdir().expect("a directory");
            let (dir, _lock) = dir(temp.path());
            let mut disk = MemoryDisk::new();
            let options = LogOptions {
                retention_bytes: Some(2 * SEGMENT),
                ..options()
            };
            let open = |disk: &MemoryDisk, now_ms| {
                Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options, now_ms)
            };
            let mut rig = open(&disk, 1000);
            let log = rig.log(durability);
            for number in 0..150u8 {
                let bytes = record("t", 1, &vec![number; 100_000]);
                let end = rig.append(log, &bytes).end;
                rig.until_visible(log, end);
                rig.now_ms += 100;
                rig.turn();
            }
            rig.until("files to go", |rig| {
                rig.now_ms += 100;
                rig.store.stats().segments <= 4
            });
            let wanted = rig.dump(log);
            assert!(wanted.len() < 150);
            for number in 0..3 {
                if end == End::Drained {
                    rig.drain();
                }
                drop(rig);
                disk = disk.kill(number);
                rig = open(&disk, 100_000);
                let report = rig.report(durability).clone();
                let what = format!("{durability} {end:?} {number}: {report:?}");
                assert!(!report.epoch_changed && report.gaps.is_empty(), "{what}");
                assert!(rig.dump(log) == wanted, "{what}");
                let start = StartAt::At(Offset::new(0));
                let located = rig.store.locate(log, "t", start, Position::new(0));
                assert_eq!(located.earliest.get(), wanted[0].1, "{what}");
            }
        }
    }
}

#[test]
fn a_missing_segment_that_the_state_names_is_a_loss() {
    for durability in ON_DISK {
        for base in ["0000000000000000", "0000000000400000"] {
            let bench = Bench::new(durability, End::Killed, (30, 1, 100_000));
            let path = bench.path(&format!("{base}.seg"));
            assert!(
                bench.disk.content(&path).is_some(),
                "the second one is the spare"
            );
            bench.disk.remove(&path);
            let rig = bench.open();
            assert!(rig.report(durability).epoch_changed, "{durability} {base}");
        }
    }
}

#[test]
fn segments_whose_names_were_exchanged_get_their_own_back() {
    for durability in ON_DISK {
        for end in ENDS {
            let bench = Bench::new(durability, end, LARGE);
            let [a, b] =
                ["0000000000000000.seg", "0000000000400000.seg"].map(|name| bench.path(name));
            let (first, second) = (bench.disk.content(&a), bench.disk.content(&b));
            bench.disk.replace(&a, &second.expect("it is there"));
            bench.disk.replace(&b, &first.expect("it is there"));
            bench.expect_all(&format!("{durability} {end:?}"));
        }
    }
}

#[test]
fn the_torn_first_write_of_a_segment_is_no_loss_at_the_start_after_the_next_either() {
    for durability in ON_DISK {
        let bench = Bench::new(durability, End::Killed, (40, 1, 100_000));
        let (spare, _) = bench.segment(SEGMENT);
        // A part of a block header, as of a write that did not complete.
        let mut torn = vec![0; SEGMENT as usize];
        torn[..8].copy_from_slice(&[64, 0, 0, 0, 0x82, 0, 1, 0]);
        assert!(bench.disk.content(&spare).is_some(), "there is a spare");
        bench.disk.replace(&spare, &torn);
        for start in 0..3 {
            bench.expect_all(&format!("{durability}, start {start}"));
        }
    }
}

/// The footers that record it are written in the turns after a start; a kill or a full disk may prevent that.
#[test]
fn a_loss_is_reported_once_even_if_no_footer_records_it() {
    for durability in ON_DISK {
        let mut bench = Bench::new(durability, End::Killed, SMALL);
        bench.damage(bench.places[7].position.get() + 60);
        let rig = bench.open();
        let report = rig.report(durability).clone();
        assert!(report.epoch_changed && report.gaps.len() == 1, "{report:?}");
        drop(rig);
        for start in 0..3 {
            bench.disk = bench.disk.kill(start);
            let mut rig = bench.open_at(3000 + start);
            let again = rig.report(durability).clone();
            let told = (again.epoch, again.epoch_changed, again.gaps.len());
            assert_eq!(
                told,
                (report.epoch, false, 0),
                "{durability} {start}: {again:?}"
            );
            assert_eq!(rig.dump(rig.log(durability)).len(), 24);
        }
        // A later loss is reported.
        bench.damage(bench.places[9].position.get() + 60);
        bench.disk.remove(&bench.path("0000000000000000.idx"));
        bench.disk = bench.disk.kill(9);
        let rig = bench.open_at(4000);
        assert!(rig.report(durability).epoch_changed, "{durability}");
    }
}

/// The bytes of a segment of which no byte can be read.
fn destroy(bench: &Bench, position: u64) {
    let (path, _) = bench.segment(position);
    bench.disk.replace(&path, &vec![0xaa; SEGMENT as usize]);
}

impl Bench {
    /// Opens it, and expects a new epoch and a report of so many lost records. Then has footers written, appends a record
    /// that is acknowledged, and ends it.
    fn lose(&mut self, lost: u64, what: &str) -> (Position, Epoch) {
        let mut rig = self.open_at(3000);
        let log = rig.log(self.durability);
        let report = rig.report(self.durability).clone();
        let gaps = report.gaps.iter();
        let told: u64 = gaps
            .map(|gap| gap.next_sequence.get() - gap.first_sequence.get())
            .sum();
        assert_eq!(
            (told, report.epoch_changed),
            (lost, true),
            "{what}: {report:?}"
        );
        let appended = rig.append(log, &record("t", 1, b"behind"));
        rig.until_visible(log, appended.end);
        for _ in 0..5 {
            rig.now_ms += 10;
            rig.turn();
        }
        drop(rig);
        self.disk = self.disk.kill(1);
        (appended.end, report.epoch)
    }

    /// Opens it several times, and expects no report, and no scan of segments with footers.
    fn expect_no_news(&mut self, epoch: Epoch, what: &str) {
        for start in 0..3 {
            let mut rig = self.open_at(5000 + start);
            let report = rig.report(self.durability).clone();
            let told = (report.epoch, report.epoch_changed, report.gaps.len());
            assert_eq!(told, (epoch, false, 0), "{what}, start {start}: {report:?}");
            for _ in 0..5 {
                rig.now_ms += 10;
                rig.turn();
            }
            drop(rig);
            self.disk = self.disk.kill(start);
        }
    }
}

#[test]
fn a_loss_behind_a_segment_that_ends_with_another_one_is_reported_once() {
    for durability in ON_DISK {
        let mut bench = Bench::new(durability, End::Killed, SMALL);
        bench.damage(bench.places[23].position.get() + 60);
        bench.damage(bench.places[24].position.get() + 60);
        let what = durability.to_string();
        let (end, _) = bench.lose(2, &what);
        assert!(end.get() > SEGMENT, "it lies in another segment");
        destroy(&bench, end.get() - 1);
        let (_, epoch) = bench.lose(1, &what);
        bench.expect_no_news(epoch, &what);
    }
}

#[test]
fn a_loss_before_a_segment_does_not_report_those_in_it_again() {
    for durability in ON_DISK {
        let mut bench = Bench::new(durability, End::Killed, LARGE);
        let what = durability.to_string();
        let in_second = |place: &Place| place.position.get() >= SEGMENT;
        let first = bench
            .places
            .iter()
            .position(in_second)
            .expect("there is more");
        bench.damage(bench.places[first + 3].position.get() + 60);
        bench.disk.remove(&bench.path("0000000000400000.idx"));
        let (_, epoch) = bench.lose(1, &what);
        // The state forgets the losses that footers record.
        bench.expect_no_news(epoch, &what);
        bench.disk.remove(&bench.path("0000000000000000.seg"));
        bench.disk.remove(&bench.path("0000000000000000.idx"));
        let (_, epoch) = bench.lose(first as u64, &what);
        bench.expect_no_news(epoch, &what);
    }
}

/// The footer of a segment that was cut is written in the turns after the start, or is not.
#[test]
fn a_segment_that_was_cut_is_reported_once_even_if_no_footer_records_it() {
    for durability in ON_DISK {
        for bytes in [100, 4096, BLOCK_BYTES + 100] {
            let mut bench = Bench::new(durability, End::Killed, (30, 1, 100_000));
            let (path, _) = bench.segment(0);
            bench.disk.truncate(&path, bytes as usize);
            let what = format!("{durability}, cut to {bytes}");
            let rig = bench.open();
            let epoch = rig.report(durability).epoch;
            assert!(rig.report(durability).epoch_changed, "{what}");
            drop(rig);
            bench.disk = bench.disk.kill(1);
            let rig = bench.open_at(3000);
            assert!(!rig.report(durability).epoch_changed, "{what}");
            drop(rig);
            bench.disk = bench.disk.kill(1);
            bench.expect_no_news(epoch, &what);
            // It goes on in a segment that begins where one may.
            let mut rig = bench.open_at(6000);
            let log = rig.log(durability);
            let appended = rig.append(log, &record("t", 1, b"behind"));
            rig.until_visible(log, appended.end);
            drop(rig);
            bench.disk = bench.disk.kill(1);
            let mut rig = bench.open_at(7000);
            let found = rig.dump(log);
            let last = found.last().expect("a record");
            assert_eq!(last.1, appended.offset.get(), "{what}");
            bench.disk = bench.disk.kill(1);
            bench.expect_no_news(epoch, &what);
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_is_reported_once_wherever_it_lies() {
    for durability in ON_DISK {
        for (from, footers) in [
            (8192, true),
            (8192, false),
            (1 << 20, true),
            (1 << 20, false),
            (BLOCK_BYTES + 8192, true),
            (BLOCK_BYTES + 8192, false),
        ] {
            let mut bench = Bench::new(durability, End::Killed, SMALL);
            let (path, _) = bench.segment(0);
            bench.disk.fail_reads(&path, from..from + 512);
            let what = format!("{durability}, at {from}, footers: {footers}");
            let mut rig = bench.open();
            let epoch = rig.report(durability).epoch;
            assert!(rig.report(durability).epoch_changed, "{what}");
            for _ in 0..5 * u64::from(footers) {
                rig.now_ms += 10;
                rig.turn();
            }
            drop(rig);
            bench.disk = bench.disk.kill(1);
            bench.disk.fail_reads(&path, from..from + 512);
            let rig = bench.open_at(3000);
            assert!(!rig.report(durability).epoch_changed, "{what}");
            assert_eq!(rig.report(durability).epoch, epoch, "{what}");
        }
    }
}

/// Both copies of the state are those of an earlier clean stop, as after misdirected writes or the restore of a backup.
/// Since then the segment was sealed.
#[test]
fn an_older_state_that_was_clean_does_not_have_the_log_go_on_inside_a_sealed_segment() {
    // They reach into the last block of the segment.
    const RECORDS: usize = 25;
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let (disk, pool) = (MemoryDisk::new(), pool(32));
    let open = |disk: &MemoryDisk, now_ms| {
        Rig::open(&dir, Box::new(disk.clone()), &pool, &options(), now_ms)
    };
    let mut rig = open(&disk, 1_000);
    let log = rig.log(Durability::Synced);
    for _ in 0..RECORDS {
        let end = rig.append(log, &record("t", 1, &[7; 100_000])).end;
        rig.until_visible(log, end);
    }
    rig.drain();
    drop(rig);
    let disk = disk.kill(1);
    let states = ["state", "state.copy"].map(|name| temp.path().join("synced-0").join(name));
    let old = states
        .clone()
        .map(|path| disk.content(&path).expect("a state"));
    // Without a state, and without a block that was never used, the segment gets its footer at the next start.
    states.iter().for_each(|path| disk.replace(path, &[1; 512]));
    let mut rig = open(&disk, 2_000);
    rig.settle();
    drop(rig);
    let disk = disk.kill(2);
    let put_back = states.iter().zip(&old);
    put_back.for_each(|(path, old)| disk.replace(path, old));
    let mut rig = open(&disk, 3_000);
    assert!(!rig.report(Durability::Synced).clean);
    let end = rig.turn_until_taken(log, &record("t", 1, &[8; 1_000])).end;
    rig.until_visible(log, end);
    assert_eq!(rig.dump(log).len(), RECORDS + 1);
}
