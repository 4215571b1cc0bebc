//! Files with senseless names or content, and files in the wrong place.
mod support;

use oyez_protocol::record::Record;
use oyez_protocol::{Offset, Position};
use oyez_storage::*;
use std::path::PathBuf;
use support::{Rig, SEGMENT, dir, options, pool, record};

type Entry = (String, u64, Vec<u8>);

fn path(dir: &DataDir, name: &str) -> PathBuf {
    dir.path().join("synced-0").join(name)
}
fn seg(base: u64) -> String {
    format!("{base:016x}.seg")
}

/// A killed log with some records, all of them acknowledged and marked; what it holds, and where.
fn killed(
    dir: &DataDir,
    disk: &MemoryDisk,
    records: u64,
    size: usize,
) -> (Vec<Entry>, Vec<Place>, MemoryDisk) {
    let mut rig = Rig::open(dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let mut last = Position::new(0);
    for n in 0..records {
        last = rig
            .append(log, &record("t", 1, &vec![(n % 250) as u8 + 1; size]))
            .end;
        rig.turn();
    }
    rig.until_visible(log, last);
    for _ in 0..10 {
        rig.now_ms += 10;
        rig.turn();
    }
    let dump = rig.dump(log);
    let mut places = Vec::new();
    rig.store
        .places(log, "t", Offset::new(0), usize::MAX, &mut places);
    (dump, places, disk.kill(1))
}

#[test]
fn segment_names_with_the_largest_numbers_do_not_stop_the_start() {
    for name in [
        "ffffffffffffff00.seg",
        "fffffffffffffff8.seg",
        "ffffffffffe00000.seg",
        "ffffffffffffffff.seg",
        "0000000000000100.seg",
        "ffffffffffffffff.idx",
    ] {
        for content in [
            vec![],
            vec![0; 4096],
            vec![7; 4096],
            vec![0u8; 2 << 20],
            vec![7u8; 2 << 20],
        ] {
            let temp = tempfile::tempdir().expect("a directory");
            let (dir, _lock) = dir(temp.path());
            let disk = MemoryDisk::new();
            let (wanted, _, disk) = killed(&dir, &disk, 3, 1000);
            disk.replace(&path(&dir, name), &content);
            let rig = Rig::try_open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
            let mut rig = rig.unwrap_or_else(|e| panic!("{name} {}: {e}", content.len()));
            let log = rig.log(Durability::Synced);
            assert_eq!(rig.dump(log), wanted, "{name}");
            rig.append(log, &record("t", 1, &[1]));
            rig.settle();
            drop(rig);
            let mut rig = Rig::open(&dir, Box::new(disk.kill(2)), &pool(32), &options(), 1000);
            assert_eq!(rig.dump(log).len(), 4, "{name} {}", content.len());
        }
    }
}

#[test]
fn a_misdirected_write_over_the_start_of_a_segment_hides_no_more_than_it_lies_on() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (wanted, places, disk) = killed(&dir, &disk, 60, 100_000);
    let file = path(&dir, &seg(0));
    let mut content = disk.content(&file).expect("it");
    let (block, page) = (BLOCK_BYTES as usize, 4096);
    content.copy_within(block..block + page, 0);
    disk.replace(&file, &content);
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let report = rig.report(Durability::Synced).clone();
    let names: Vec<_> = disk.files().into_iter().map(|f| f.0).collect();
    assert!(names.contains(&file), "{names:?}");
    assert!(places[0].position.get() < page as u64, "{places:?}");
    assert!(rig.dump(log) == wanted[1..], "{report:?}");
}

#[test]
fn a_misdirected_write_over_the_start_of_the_last_block_hides_no_more_than_it_lies_on() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    // Block 0 is full, block 1 has the others: of small records a page holds whole ones.
    let cases = [(30, 100_000), (2_400, 1_000)];
    for (is_clean, (records, size)) in [true, false]
        .into_iter()
        .flat_map(|clean| cases.map(|case| (clean, case)))
    {
        let disk = MemoryDisk::new();
        let (wanted, places, mut disk) = killed(&dir, &disk, records, size);
        if is_clean {
            let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
            rig.drain();
            drop(rig);
            disk = disk.kill(2);
        }
        let file = path(&dir, &seg(0));
        let mut content = disk.content(&file).expect("it");
        let (block, page) = (BLOCK_BYTES as usize, 4096);
        content.copy_within(..page, block);
        disk.replace(&file, &content);
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
        let log = rig.log(Durability::Synced);
        let report = rig.report(Durability::Synced).clone();
        let is_hit = |place: &&Place| {
            let at = place.position.get();
            (BLOCK_BYTES..BLOCK_BYTES + page as u64).contains(&at)
        };
        let hit: Vec<_> = places
            .iter()
            .filter(is_hit)
            .map(|place| place.first.get())
            .collect();
        assert!(!hit.is_empty());
        let (mut found, mut reader) = (Vec::new(), rig.store.reader(log));
        rig.store
            .places(log, "t", Offset::new(0), usize::MAX, &mut found);
        // Readers have to notice a whole record in the place of another one.
        let offset = |bytes: &[u8]| Record::trusted(bytes).map(|record| record.offset());
        found.retain(|place| {
            let read = rig.try_read(&mut reader, place);
            read.is_ok_and(|bytes| offset(&bytes) == Some(place.first))
        });
        let found: Vec<_> = found.iter().map(|place| place.first.get()).collect();
        let left = (0..wanted.len() as u64).filter(|offset| !hit.contains(offset));
        assert_eq!(
            found,
            left.collect::<Vec<_>>(),
            "clean: {is_clean}; {report:?}"
        );
    }
}

#[test]
fn a_page_of_a_block_without_its_header_over_the_start_of_the_next_one_hides_no_more_than_it_lies_on()
 {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (wanted, places, disk) = killed(&dir, &disk, 2_400, 1_000);
    let file = path(&dir, &seg(0));
    let mut content = disk.content(&file).expect("it");
    let (block, sector, page) = (BLOCK_BYTES, 512, 4_096);
    content[..sector as usize].fill(0);
    content.copy_within(..page as usize, block as usize);
    disk.replace(&file, &content);
    let mut rig = Rig::open(&dir, Box::new(disk), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let report = rig.report(Durability::Synced).clone();
    let is_hit = |place: &Place| {
        let at = place.position.get();
        at < sector || (block..block + page).contains(&at)
    };
    let left = wanted.iter().zip(&places);
    let left: Vec<_> = left.filter(|(_, place)| !is_hit(place)).collect();
    assert!(left.len() < wanted.len() - 1);
    let left: Vec<_> = left.into_iter().map(|(entry, _)| entry.clone()).collect();
    assert!(rig.dump(log) == left, "{report:?}");
}

#[test]
fn unreadable_bytes_are_not_overwritten() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    // 25 records of 100k: block 0 is full, block 1 has the others.
    let (wanted, _, disk) = killed(&dir, &disk, 25, 100_000);
    let file = path(&dir, &seg(0));
    let before = disk.content(&file).expect("it");
    disk.fail_reads(&file, BLOCK_BYTES..2 * BLOCK_BYTES);
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let report = rig.report(Durability::Synced).clone();
    assert!(report.epoch_changed, "{report:?}");
    let end = rig.turn_until_taken(log, &record("t", 1, &[1; 1000])).end;
    rig.until_visible(log, end);
    let after = disk.content(&file).expect("the segment is still there");
    assert!(after == before, "{report:?} {}", wanted.len());
}

#[test]
fn a_spare_that_cannot_be_read_is_not_removed() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (_, _, disk) = killed(&dir, &disk, 25, 100_000);
    let file = path(&dir, &seg(SEGMENT));
    assert!(disk.content(&file).is_some());
    disk.fail_reads(&file, 0..SEGMENT);
    let mut small = options();
    small.segment_bytes = 6 << 20;
    let rig = Rig::try_open(&dir, Box::new(disk.clone()), &pool(32), &small, 1000);
    let rig = rig.unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<_> = disk.files().into_iter().map(|f| f.0).collect();
    let there = names
        .iter()
        .any(|n| n.to_string_lossy().contains(&seg(SEGMENT)));
    assert!(there, "{:?} {names:?}", rig.report(Durability::Synced));
}

#[test]
fn an_unfinished_segment_that_cannot_be_read_does_not_stop_the_start() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (wanted, _, disk) = killed(&dir, &disk, 3, 1000);
    let file = path(&dir, "0000000000400000.seg.new");
    disk.replace(&file, &vec![0; 8192]);
    disk.fail_reads(&file, 0..512);
    let rig = Rig::try_open(&dir, Box::new(disk), &pool(32), &options(), 1000);
    let mut rig = rig.unwrap_or_else(|e| panic!("{e}"));
    let log = rig.log(Durability::Synced);
    assert_eq!(rig.dump(log), wanted);
}

#[test]
fn a_state_of_an_earlier_drain_does_not_hide_a_segment() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let mut aged = options();
    aged.retention_age_ms = Some(100_000);
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &aged, 1000);
    let log = rig.log(Durability::Synced);
    // Nearly to the end of the first segment, with a spare.
    let mut n = 0;
    while n < 40 {
        rig.append(log, &record("t", 1, &vec![n as u8 + 1; 100_000]));
        rig.turn();
        n += 1;
        if n >= 38 {
            break;
        }
    }
    rig.settle();
    rig.drain();
    let disk = disk.kill(1);
    let states: Vec<_> = ["state", "state.copy"]
        .map(|s| (path(&dir, s), disk.content(&path(&dir, s)).expect("it")))
        .into();
    drop(rig);
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &aged, 1000);
    for i in 0..10 {
        let end = rig
            .append(log, &record("t", 1, &vec![100 + i; 100_000]))
            .end;
        rig.until_visible(log, end);
    }
    let wanted = rig.dump(log).len();
    let epoch = rig.report(Durability::Synced).epoch;
    drop(rig);
    let disk = disk.kill(1);
    for (path, content) in states {
        disk.replace(&path, &content);
    }
    let mut rig = Rig::open(&dir, Box::new(disk), &pool(32), &aged, 1000);
    let report = rig.report(Durability::Synced).clone();
    assert!(
        rig.dump(log).len() == wanted || report.epoch != epoch,
        "{} of {wanted} {report:?}",
        rig.dump(log).len()
    );
}

#[test]
fn one_copy_of_the_state_that_cannot_be_written_does_not_stop_the_start() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let (wanted, _, disk) = killed(&dir, &MemoryDisk::new(), 3, 1000);
    disk.fail_next(OpKind::Overwrite, Fault::Error(libc::EIO));
    let mut logs = dir.logs();
    let synced = logs
        .find(|log| log.durability == Durability::Synced)
        .expect("one");
    let opened = Store::open(
        &dir,
        &[synced.id],
        Box::new(disk),
        pool(32),
        &options(),
        support::moment(1000),
    );
    let mut rig = Rig::around(&dir, opened.unwrap_or_else(|error| panic!("{error}")), 1000);
    assert_eq!(rig.dump(synced.id), wanted);
    rig.turn();
    let troubles: Vec<_> = rig
        .progress
        .failing
        .iter()
        .map(|trouble| trouble.task)
        .collect();
    assert_eq!(troubles, [Task::State]);
    rig.settle();
    assert_eq!(rig.store.failing(), 0);
}

#[test]
fn obsolete_files_that_cannot_be_removed_do_not_stop_the_start() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (wanted, _, disk) = killed(&dir, &disk, 3, 1000);
    disk.replace(&path(&dir, "0000000000400000.seg.new"), &vec![0; 8192]);
    disk.fail_next(OpKind::Unlink, Fault::Error(libc::EIO));
    let rig = Rig::try_open(&dir, Box::new(disk), &pool(32), &options(), 1000);
    let mut rig = rig.unwrap_or_else(|e| panic!("{e}"));
    let log = rig.log(Durability::Synced);
    assert_eq!(rig.dump(log), wanted);
}

#[test]
fn many_damaged_places_of_a_block_hide_no_whole_record() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let disk = MemoryDisk::new();
    let (wanted, places, disk) = killed(&dir, &disk, 200, 8_000);
    let file = path(&dir, &seg(0));
    let mut lost = 0;
    for (n, place) in places.iter().enumerate() {
        if n % 2 == 1 && n < 190 {
            disk.damage(&file, place.position.get() as usize + 20);
            lost += 1;
        }
    }
    let mut rig = Rig::open(&dir, Box::new(disk), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    let found = rig.dump(log).len();
    assert_eq!(
        found,
        wanted.len() - lost,
        "{:?}",
        rig.report(Durability::Synced).gaps.len()
    );
}
