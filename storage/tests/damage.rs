//! Damage: bytes that differ from what was written are never served and never skipped in silence.

mod support;

use std::path::PathBuf;

use oyez_protocol::{Offset, Position};
use oyez_storage::*;
use support::{Rig, dir, options, pool, record};

struct Bench {
    dir: DataDir,
    disk: MemoryDisk,
    entries: Vec<(String, u64, Vec<u8>)>,
    places: Vec<Place>,
    epoch: oyez_protocol::Epoch,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

const RECORDS: u64 = 100;

/// A synced log of several segments: each segment holds about forty of the records.
fn bench() -> (Bench, Rig) {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let mut end = Position::new(0);
    for number in 0..RECORDS {
        let bytes = record("t", 1, &vec![number as u8; 100_000]);
        end = rig.append(log, &bytes).end;
        rig.turn();
        rig.turn();
    }
    rig.until_visible(log, end);
    for _ in 0..5 {
        rig.turn();
    }
    let mut places = Vec::new();
    rig.store
        .places(log, "t", Offset::new(0), usize::MAX, &mut places);
    let bench = Bench {
        epoch: rig.report(Durability::Synced).epoch,
        entries: rig.dump(log),
        places,
        dir,
        disk,
        _lock: lock,
        _temp: temp,
    };
    assert_eq!(bench.entries.len() as u64, RECORDS);
    (bench, rig)
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("synced-0").join(name)
    }

    /// Changes a byte of a record's body, or of its header.
    fn damage(&self, number: usize, at: u64) {
        let position = self.places[number].position.get() + at;
        let base = position - position % support::SEGMENT;
        let path = self.path(&format!("{base:016x}.seg"));
        self.disk.damage(&path, (position - base) as usize);
    }

    fn reopen(&self) -> Rig {
        let disk = self.disk.kill(1);
        Rig::open(&self.dir, Box::new(disk), &pool(32), &options(), 2000)
    }
}

fn open_at(bench: &Bench, disk: &MemoryDisk, now_ms: u64) -> Rig {
    let disk = Box::new(disk.clone());
    Rig::open(&bench.dir, disk, &pool(32), &options(), now_ms)
}

#[test]
fn a_damaged_body_in_the_active_segment_is_a_gap_of_one_record_and_a_new_epoch() {
    let (bench, rig) = bench();
    bench.damage(85, 60);
    drop(rig);
    let disk = bench.disk.kill(1);
    let mut rig = Rig::open(
        &bench.dir,
        Box::new(disk.clone()),
        &pool(32),
        &options(),
        2000,
    );
    let report = rig.report(Durability::Synced).clone();
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(gap.first_sequence.get(), 85);
    assert_eq!(gap.next_sequence.get(), 86);
    assert!(report.epoch_changed && report.epoch != bench.epoch);
    let log = rig.log(Durability::Synced);
    let mut wanted = bench.entries.clone();
    wanted.remove(85);
    assert!(rig.dump(log) == wanted);
    let mut places = Vec::new();
    rig.store.places(log, "t", Offset::new(84), 2, &mut places);
    assert_eq!(
        (places[0].next, places[1].first),
        (Offset::new(85), Offset::new(86))
    );
    let mut reader = rig.store.reader(log);
    let damaged = bench.places[85];
    assert!(matches!(
        reader.read(damaged.position, damaged.size),
        Err(ReadError::Damaged)
    ));
    // It stays a gap, and is reported only once.
    rig.drain();
    drop(rig);
    let disk = Box::new(disk.kill(2));
    let mut rig = Rig::open(&bench.dir, disk, &pool(32), &options(), 3000);
    let again = rig.report(Durability::Synced);
    assert_eq!((again.epoch, again.gaps.len()), (report.epoch, 0));
    assert!(rig.dump(log) == wanted);
    let mut reader = rig.store.reader(log);
    assert!(matches!(
        reader.read(damaged.position, damaged.size),
        Err(ReadError::Damaged)
    ));
}

#[test]
fn a_topic_whose_first_message_is_damaged_does_not_begin_behind_it_in_silence() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk, now_ms| {
        Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), now_ms)
    };
    let mut rig = open(&disk, 1000);
    let log = rig.log(Durability::Synced);
    for name in ["first", "second", "second", "third"] {
        let end = rig.append(log, &record(name, 1, &[7; 1_000])).end;
        rig.until_visible(log, end);
    }
    let mut places = Vec::new();
    rig.store
        .places(log, "second", Offset::new(0), 1, &mut places);
    rig.drain();
    drop(rig);
    let mut disk = disk.kill(1);
    let file = dir.path().join("synced-0/0000000000000000.seg");
    let mut content = disk.content(&file).expect("the segment");
    let at = usize::try_from(places[0].position.get()).expect("a small file");
    content[at + 500] ^= 1;
    disk.replace(&file, &content);
    for (number, name, first) in [(0, "first", 0), (1, "second", 1), (2, "third", 0)] {
        let mut rig = open(&disk, 2000 + number);
        let log = rig.log(Durability::Synced);
        let start = StartAt::Earliest;
        let located = rig.store.locate(log, name, start, Position::new(0));
        assert_eq!(
            (located.earliest, located.cursor),
            (Offset::new(0), Offset::new(0)),
            "{name}"
        );
        let mut places = Vec::new();
        rig.store.places(log, name, located.cursor, 1, &mut places);
        assert_eq!(places[0].first, Offset::new(first), "{name}");
        // The next start knows it from the footers, or from the state.
        rig.drain();
        drop(rig);
        disk = disk.kill(2 + number);
    }
}

#[test]
fn a_log_that_is_there_from_its_first_byte_begins_with_its_first_record_also_without_a_state() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    for _ in 0..4 {
        let end = rig.append(log, &record("t", 1, &[7; 1_000])).end;
        rig.until_visible(log, end);
    }
    rig.drain();
    drop(rig);
    let disk = disk.kill(1);
    let path = |name: &str| dir.path().join("synced-0").join(name);
    for name in ["state", "state.copy"] {
        disk.replace(&path(name), &[0; 512]);
    }
    let segment = path("0000000000000000.seg");
    let mut content = disk.content(&segment).expect("the segment");
    content[..512].fill(0);
    disk.replace(&segment, &content);
    let rig = Rig::open(&dir, Box::new(disk), &pool(32), &options(), 2000);
    let report = rig.report(Durability::Synced);
    let [gap] = report.gaps.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((gap.first_sequence.get(), gap.next_sequence.get()), (0, 1));
    let log = rig.log(Durability::Synced);
    let located = rig
        .store
        .locate(log, "t", StartAt::Earliest, Position::new(0));
    assert_eq!(located.earliest, Offset::new(0));
}

#[test]
fn a_damaged_head_of_a_record_hides_that_record_and_no_more() {
    for (number, footer) in [(65, true), (85, false)] {
        let (bench, rig) = bench();
        bench.damage(number, 30);
        if footer {
            bench.disk.remove(&bench.path("0000000000400000.idx"));
        }
        drop(rig);
        let mut rig = bench.reopen();
        let report = rig.report(Durability::Synced).clone();
        let [gap] = report.gaps.as_slice() else {
            panic!("{report:?}");
        };
        let missing = gap.first_sequence.get()..gap.next_sequence.get();
        assert_eq!(missing, number as u64..number as u64 + 1);
        assert!(report.epoch_changed);
        let log = rig.log(Durability::Synced);
        let mut wanted = bench.entries.clone();
        wanted.remove(number);
        assert!(rig.dump(log) == wanted);
    }
}

#[test]
fn a_lost_or_damaged_footer_is_rebuilt() {
    for remove in [true, false] {
        let (bench, rig) = bench();
        let footer = bench.path("0000000000000000.idx");
        drop(rig);
        if remove {
            bench.disk.remove(&footer);
        } else {
            bench.disk.damage(&footer, 100);
        }
        let mut rig = bench.reopen();
        let report = rig.report(Durability::Synced).clone();
        assert!(
            !report.epoch_changed && report.gaps.is_empty(),
            "{report:?}"
        );
        assert!(report.footers_rebuilt >= 1);
        let log = rig.log(Durability::Synced);
        assert!(rig.dump(log) == bench.entries);
    }
}

#[test]
fn damage_in_a_sealed_segment_withholds_the_record_that_it_hit_and_no_other() {
    let (bench, mut rig) = bench();
    let log = rig.log(Durability::Synced);
    rig.now_ms += 1_000_000;
    rig.turn();
    bench.damage(3, 60);
    let mut reader = rig.store.reader(log);
    let place = bench.places[3];
    let Ok(Read::Cold(cold)) = reader.read(place.position, place.size) else {
        panic!("it is cold");
    };
    rig.store.populate(cold, 77);
    let (mut told, mut damaged) = (false, Vec::new());
    rig.until("populated", |rig| {
        let done =
            |(token, result): &(u64, Result<(), PopulateError>)| *token == 77 && result.is_ok();
        told |= rig.progress.populated.iter().any(done);
        damaged.append(&mut rig.progress.damaged);
        told
    });
    assert_eq!(damaged.len(), 1, "the operator is told once");
    assert_eq!(*damaged[0].path, *bench.path("0000000000000000.seg"));
    let in_block = |place: &&Place| place.position.get() < BLOCK_BYTES;
    for place in bench.places.iter().take_while(in_block) {
        let read = reader.read(place.position, place.size);
        let hit = *place == bench.places[3];
        let right = match &read {
            Err(ReadError::Damaged) => hit,
            Ok(Read::Ready(_)) => !hit,
            _ => false,
        };
        assert!(right, "{place:?}: {read:?}");
        assert!(reader.file_range(place.position, place.size).is_none());
    }
    let both = bench.places[2].size + place.size;
    let read = reader.read(bench.places[2].position, both);
    assert!(matches!(read, Err(ReadError::Damaged)), "{read:?}");
}

#[test]
fn a_populate_that_fails_is_reported_and_leaves_the_range_cold() {
    let (bench, mut rig) = bench();
    let log = rig.log(Durability::Synced);
    rig.now_ms += 1_000_000;
    rig.turn();
    let mut reader = rig.store.reader(log);
    let place = bench.places[3];
    let Ok(Read::Cold(cold)) = reader.read(place.position, place.size) else {
        panic!("it is cold");
    };
    bench.disk.fail_next(OpKind::Populate, Fault::Error(5));
    rig.store.populate(cold, 78);
    let mut told = false;
    rig.until("populated", |rig| {
        let failed = |(token, result): &(u64, Result<(), PopulateError>)| {
            *token == 78 && matches!(result, Err(PopulateError::Io(_)))
        };
        told |= rig.progress.populated.iter().any(failed);
        told
    });
    assert!(matches!(
        reader.read(place.position, place.size),
        Ok(Read::Cold(_))
    ));
}

#[test]
fn a_missing_segment_in_the_middle_is_a_gap_and_a_new_epoch() {
    let (bench, rig) = bench();
    drop(rig);
    let disk = bench.disk.kill(1);
    disk.remove(&bench.path("0000000000400000.seg"));
    let mut rig = Rig::open(&bench.dir, Box::new(disk), &pool(32), &options(), 2000);
    let report = rig.report(Durability::Synced).clone();
    assert!(report.epoch_changed, "{report:?}");
    let lost: u64 = report
        .gaps
        .iter()
        .map(|gap| gap.next_sequence.get() - gap.first_sequence.get())
        .sum();
    let log = rig.log(Durability::Synced);
    let found = rig.dump(log);
    assert_eq!(found.len() as u64 + lost, RECORDS, "{report:?}");
    assert!(found.iter().all(|entry| bench.entries.contains(entry)));
}

#[test]
fn a_damaged_state_file_changes_the_epoch_and_loses_no_record() {
    let (bench, rig) = bench();
    drop(rig);
    let disk = bench.disk.kill(1);
    disk.damage(&bench.path("state"), 20);
    disk.damage(&bench.path("state.copy"), 20);
    let mut rig = Rig::open(&bench.dir, Box::new(disk), &pool(32), &options(), 2000);
    assert!(rig.report(Durability::Synced).epoch_changed);
    let log = rig.log(Durability::Synced);
    assert!(rig.dump(log) == bench.entries);
}

#[test]
fn a_damaged_state_file_does_not_make_later_starts_remove_segments() {
    let (bench, rig) = bench();
    let log = rig.log(Durability::Synced);
    drop(rig);
    // A start after a kill writes under a later incarnation.
    let mut disk = bench.disk.kill(1);
    let mut wanted = bench.entries.clone();
    for (number, damage) in [false, true, false, false].into_iter().enumerate() {
        if damage {
            disk.damage(&bench.path("state"), 20);
            disk.damage(&bench.path("state.copy"), 20);
        }
        let mut rig = open_at(&bench, &disk, 2000 + number as u64);
        let bytes = record("t", 1, &[number as u8; 1000]);
        let appended = rig.append(log, &bytes);
        rig.until_visible(log, appended.end);
        wanted.push(("t".to_owned(), appended.offset.get(), bytes[48..].to_vec()));
        assert!(rig.dump(log) == wanted, "start {number}");
        let report = rig.report(Durability::Synced);
        assert_eq!(report.epoch_changed, damage, "{report:?}");
        drop(rig);
        disk = disk.kill(2);
    }
}

/// A state file of an earlier start, as from a copy of the directory.
#[test]
fn a_state_file_that_is_too_old_removes_nothing_and_changes_the_epoch() {
    let (bench, rig) = bench();
    let log = rig.log(Durability::Synced);
    drop(rig);
    let state = bench.path("state");
    let old = bench.disk.content(&state).expect("a state file");
    let mut disk = bench.disk.kill(1);
    let mut wanted = bench.entries.clone();
    for number in 0..3 {
        let mut rig = open_at(&bench, &disk, 2000 + number);
        let bytes = record("t", 1, &[number as u8; 1000]);
        let appended = rig.append(log, &bytes);
        rig.until_visible(log, appended.end);
        wanted.push(("t".to_owned(), appended.offset.get(), bytes[48..].to_vec()));
        drop(rig);
        disk = disk.kill(2);
    }
    disk.replace(&state, &old);
    disk.replace(&bench.path("state.copy"), &old);
    let mut rig = open_at(&bench, &disk, 3000);
    assert!(rig.report(Durability::Synced).epoch_changed);
    assert!(rig.dump(log) == wanted);
}

/// Appends to a bench until it has so many sealed segments and a few records more.
fn long_bench() -> (Bench, Rig) {
    let (mut bench, mut rig) = bench();
    let log = rig.log(Durability::Synced);
    for number in RECORDS..RECORDS + 60 {
        let end = rig
            .append(log, &record("t", 1, &vec![number as u8; 100_000]))
            .end;
        rig.until_visible(log, end);
        rig.turn();
    }
    for _ in 0..5 {
        rig.turn();
    }
    bench.entries = rig.dump(log);
    (bench, rig)
}

/// Checks that what is missing is reported once: as gaps and a new epoch at this start, not at the next.
fn check_loss(bench: &Bench, disk: &MemoryDisk) -> (Vec<(String, u64, Vec<u8>)>, MemoryDisk) {
    let mut rig = open_at(bench, disk, 2000);
    let report = rig.report(Durability::Synced).clone();
    assert!(report.epoch_changed, "{report:?}");
    let lost: u64 = report
        .gaps
        .iter()
        .map(|gap| gap.next_sequence.get() - gap.first_sequence.get())
        .sum();
    let log = rig.log(Durability::Synced);
    let found = rig.dump(log);
    assert!(lost > 0);
    assert_eq!(found.len() as u64 + lost, bench.entries.len() as u64);
    assert!(found.iter().all(|entry| bench.entries.contains(entry)));
    for _ in 0..5 {
        rig.turn();
    }
    drop(rig);
    let disk = disk.kill(3);
    let mut rig = open_at(bench, &disk, 3000);
    let again = rig.report(Durability::Synced);
    assert_eq!((again.epoch, again.gaps.len()), (report.epoch, 0));
    assert!(rig.dump(log) == found);
    (found, disk)
}

#[test]
fn a_missing_segment_before_a_sealed_one_is_a_gap_and_a_new_epoch() {
    let (bench, rig) = long_bench();
    drop(rig);
    let disk = bench.disk.kill(1);
    assert!(disk.content(&bench.path("0000000000800000.idx")).is_some());
    disk.remove(&bench.path("0000000000400000.seg"));
    check_loss(&bench, &disk);
}

#[test]
fn a_segment_that_was_shortened_keeps_its_whole_blocks_and_the_rest_is_a_gap() {
    for (bytes, kept) in [(BLOCK_BYTES + 300_000, 15), (300_000, 0)] {
        let (bench, rig) = long_bench();
        drop(rig);
        let disk = bench.disk.kill(1);
        let path = bench.path("0000000000400000.seg");
        let content = disk.content(&path).expect("a segment");
        disk.replace(&path, &content[..bytes as usize]);
        let (found, disk) = check_loss(&bench, &disk);
        let (from, to) = (support::SEGMENT, 2 * support::SEGMENT);
        let mut inside = bench.places.iter().zip(&bench.entries);
        let of_segment = inside.by_ref().filter(|(place, entry)| {
            (from..to).contains(&place.position.get()) && found.contains(entry)
        });
        assert!(of_segment.count() >= kept);
        assert!(disk.content(&path).is_some(), "nothing is removed");
    }
}
