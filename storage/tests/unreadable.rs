//! Files that are cut, or cannot be read, while a store has them open: missing bytes are reported as damage, are never
//! served, and never end the process. The files are real, since the kernel answers reads of them; a signal would end the
//! process of the tests.

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

/// Records; about two hundred fill a segment.
const RECORDS: u64 = 500;

struct Bench {
    rig: Rig,
    log: LogId,
    places: Vec<Place>,
    _lock: DirLock,
    temp: tempfile::TempDir,
}

fn choices() -> Vec<DiskChoice> {
    let mut choices = vec![DiskChoice::Thread];
    choices.extend(probe_uring().ok().map(|()| DiskChoice::Uring));
    choices
}

/// A synced log with two sealed segments and a third one; only its end is in the arena.
fn bench(choice: DiskChoice) -> Bench {
    let options = LogOptions {
        hot_blocks: 0,
        ..options()
    };
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let disk = open_disk(choice).expect("the disk opens").disk;
    let mut rig = Rig::open(&dir, disk, &pool(32), &options, 1000);
    let log = rig.log(Durability::Synced);
    let mut end = Position::new(0);
    for number in 0..RECORDS {
        let bytes = record("t", 1, &vec![1 + number as u8 % 200; 20_000]);
        end = rig.append(log, &bytes).end;
    }
    rig.until_visible(log, end);
    let footer = temp.path().join("synced-0/0000000000400000.idx");
    rig.until("two footers", |_| footer.exists());
    let mut bench = Bench {
        rig,
        log,
        places: Vec::new(),
        _lock: lock,
        temp,
    };
    bench.places = bench.look_up();
    assert_eq!(bench.places.len() as u64, RECORDS);
    bench
}

impl Bench {
    fn look_up(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let (from, max) = (Offset::new(0), usize::MAX);
        self.rig.store.places(self.log, "t", from, max, &mut places);
        places
    }

    fn reader(&self) -> LogReader {
        self.rig.store.reader(self.log)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("synced-0").join(name)
    }

    /// Cuts a file.
    fn cut(&self, name: &str, bytes: u64) {
        let file = OpenOptions::new().write(true).open(self.path(name));
        file.and_then(|file| file.set_len(bytes))
            .expect("the file is there");
    }

    /// Cuts the first segment.
    fn cut_segment(&self, bytes: u64) {
        self.cut("0000000000000000.seg", bytes);
    }

    /// The first record that lies in a block of the first segment from so many bytes on.
    fn place_from(&self, bytes: u64) -> Place {
        let mut places = self.places.iter();
        *places
            .find(|place| place.position.get() >= bytes)
            .expect("there are more records than that")
    }

    /// Lets all blocks be cold.
    fn cool(&mut self) {
        self.rig.now_ms += 1_000_000;
        self.rig.turn();
    }

    /// The answers to all calls that ask for a block.
    fn populate(&mut self, cold: &ColdRange, tokens: &[u64]) -> Vec<Result<(), PopulateError>> {
        for token in tokens {
            self.rig.store.populate(cold.clone(), *token);
        }
        let mut told = Vec::new();
        self.rig.until("everybody is told", |rig| {
            told.extend(rig.progress.populated.iter().map(|(_, result)| *result));
            told.len() >= tokens.len()
        });
        told
    }
}

fn is_ready(read: &Result<Read, ReadError>) -> bool {
    matches!(read, Ok(Read::Ready(_)))
}

fn is_damaged(read: &Result<Read, ReadError>) -> bool {
    matches!(read, Err(ReadError::Damaged))
}

fn is_sound(bytes: &[u8]) -> bool {
    Record::verify_stamped(bytes, &Limits::HARD).is_ok()
}

#[test]
fn a_footer_that_is_emptied_under_a_live_store_does_not_matter() {
    let mut bench = bench(DiskChoice::Auto);
    for name in ["0000000000000000.idx", "0000000000400000.idx"] {
        bench.cut(name, 0);
    }
    assert_eq!(bench.look_up(), bench.places);
    let start = StartAt::At(Offset::new(3));
    let located = bench
        .rig
        .store
        .locate(bench.log, "t", start, Position::new(0));
    assert_eq!(located.head, Offset::new(RECORDS));
    assert_eq!(bench.rig.dump(bench.log).len() as u64, RECORDS);
}

/// A drained store with all records.
fn drained(dir: &DataDir) -> (MemoryDisk, Rig, LogId) {
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(dir, Box::new(disk.clone()), &pool(32), &options(), 1000);
    let log = rig.log(Durability::Synced);
    for number in 0..RECORDS {
        rig.append(log, &record("t", 1, &vec![number as u8; 20_000]));
    }
    rig.drain();
    (disk, rig, log)
}

#[test]
fn a_footer_that_cannot_be_read_at_start_is_made_again_from_its_segment() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let (disk, mut rig, log) = drained(&dir);
    let wanted = rig.dump(log);
    drop(rig);
    let mut disk = disk;
    let footer = temp.path().join("synced-0/0000000000000000.idx");
    for range in [0..1, 100..200] {
        disk = disk.kill(1);
        disk.fail_reads(&footer, range);
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 2000);
        let report = rig.report(Durability::Synced).clone();
        assert!(!report.epoch_changed, "{report:?}");
        assert_eq!((report.gaps.len(), report.footers_rebuilt), (0, 1));
        assert!(rig.dump(log) == wanted);
        rig.drain();
    }
}

#[test]
fn bytes_that_are_cut_away_under_a_reader_are_damage_once_they_were_read() {
    let mut bench = bench(DiskChoice::Auto);
    let (kept, lost) = (bench.place_from(100), bench.place_from(SEGMENT / 2 + 100));
    let mut reader = bench.reader();
    // The reader has windows of both blocks, whose bytes it has not looked at.
    let mut read = |place: &Place| reader.read(place.position, place.size);
    let Ok(Read::Ready(bytes)) = read(&lost) else {
        panic!("it is warm");
    };
    assert!(is_ready(&read(&kept)));
    bench.cut_segment(SEGMENT / 2);
    assert!(!is_sound(&bytes));
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert!(is_damaged(&read(&lost)));
    // Records in other blocks are checked before they are served again.
    assert!(matches!(read(&kept), Ok(Read::Cold(_))));
    assert!(is_sound(&bench.rig.read(&mut reader, &kept)));
    // The same holds for all readers, and for as long as the store is open.
    bench.cut_segment(SEGMENT);
    let mut other = bench.reader();
    assert!(is_damaged(&other.read(lost.position, lost.size)));
    assert!(other.file_range(lost.position, lost.size).is_none());
}

#[test]
fn bytes_that_could_not_be_used_to_the_end_are_checked_again() {
    for choice in choices() {
        let mut bench = bench(choice);
        let (kept, lost) = (bench.place_from(100), bench.place_from(SEGMENT / 2 + 100));
        let mut reader = bench.reader();
        for place in [kept, lost] {
            assert!(is_ready(&reader.read(place.position, place.size)));
            assert!(reader.is_mapped(place.position));
            assert_eq!(reader.recheck(place.position, place.size), Ok(()));
        }
        bench.cut_segment(SEGMENT / 2);
        assert!(is_ready(&reader.read(lost.position, lost.size)));
        let checked = [kept, lost].map(|place| reader.recheck(place.position, place.size));
        assert_eq!(checked, [Ok(()), Err(ReadError::Damaged)]);
        assert!(is_damaged(&reader.read(lost.position, lost.size)));
        assert!(is_sound(&bench.rig.read(&mut reader, &kept)));
    }
}

#[test]
fn a_range_that_sendfile_finds_empty_is_not_offered_again() {
    let bench = bench(DiskChoice::Auto);
    let lost = bench.place_from(SEGMENT / 2 + 100);
    let mut reader = bench.reader();
    bench.cut_segment(SEGMENT / 2);
    let range = reader.file_range(lost.position, lost.size);
    let range = range.expect("it is taken for warm");
    let file = std::fs::File::open(range.path()).expect("the segment is there");
    let read = file.read_at(&mut [0; 100], range.offset);
    assert_eq!(read.expect("its end is no error"), 0);
    reader.give_up(lost.position);
    assert!(reader.file_range(lost.position, lost.size).is_none());
    assert!(is_damaged(&reader.read(lost.position, lost.size)));
}

#[test]
fn all_that_wait_for_a_block_that_is_gone_get_an_answer() {
    for choice in choices() {
        let mut bench = bench(choice);
        let lost = bench.place_from(SEGMENT / 2 + 100);
        bench.cool();
        let mut reader = bench.reader();
        let Ok(Read::Cold(cold)) = reader.read(lost.position, lost.size) else {
            panic!("it is cold");
        };
        bench.cut_segment(SEGMENT / 2 + 4096);
        let told = bench.populate(&cold, &[1, 2, 3]);
        assert_eq!(told, [Ok(()); 3], "{choice:?}");
        assert!(is_damaged(&reader.read(lost.position, lost.size)));
    }
}

#[test]
fn a_block_that_goes_after_it_was_read_ahead_is_not_taken_for_sound() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let (disk, rig, log) = drained(&dir);
    drop(rig);
    let disk = disk.kill(1);
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &options(), 2000);
    rig.now_ms += 1_000_000;
    rig.turn();
    let (at, len) = (Position::new(64), 20_000);
    let mut reader = rig.store.reader(log);
    let Ok(Read::Cold(cold)) = reader.read(at, len) else {
        panic!("it is cold");
    };
    rig.store.populate(cold, 1);
    // The disk reads the block here; the next turn checks its content.
    rig.store.submit().expect("a submission");
    disk.truncate(&temp.path().join("synced-0/0000000000000000.seg"), 0);
    rig.turn();
    assert_eq!(rig.progress.populated, [(1, Ok(()))]);
    assert!(is_damaged(&reader.read(at, len)));
}

#[test]
fn a_walk_skips_what_is_cut_away_and_finds_all_else() {
    let bench = bench(DiskChoice::Auto);
    let cut = SEGMENT / 2 + (1 << 20);
    bench.cut_segment(cut);
    let mut reader = bench.reader();
    let mut found = Vec::new();
    let end = reader.walk(Position::new(0), usize::MAX, |place, topic, _| {
        assert_eq!(topic, "t");
        found.push(place);
    });
    assert_eq!(end, reader.visible());
    let missing = |place: &&Place| {
        let end = place.position.get() + u64::from(place.size);
        end > cut && place.position.get() < SEGMENT
    };
    let wanted: Vec<Place> = bench
        .places
        .iter()
        .filter(|p| !missing(p))
        .copied()
        .collect();
    assert_eq!(found.len(), wanted.len());
    assert!(found == wanted);
    // The block counts as damaged, so that reads of its records fail.
    for place in bench.places.iter().filter(missing) {
        assert!(is_damaged(&reader.read(place.position, place.size)));
    }
}

#[test]
fn a_block_whose_frames_break_off_is_checked_before_it_is_served_again() {
    let mut bench = bench(DiskChoice::Auto);
    let lost = bench.place_from(SEGMENT / 2 + 1000);
    let mut reader = bench.reader();
    assert!(is_ready(&reader.read(lost.position, lost.size)));
    // Up to the end of its last page a file that was cut reads as zeroes, without a signal.
    bench.cut_segment(lost.position.get());
    let next = bench.place_from(lost.position.get() + 1);
    let end = lost.position.plus(u64::from(lost.size));
    assert_eq!(next.position, end);
    let mut found = 0;
    reader.walk(lost.position, 1, |_, _, _| found += 1);
    assert_eq!(found, 1, "the walk goes on behind the block");
    let Ok(Read::Cold(cold)) = reader.read(lost.position, lost.size) else {
        panic!("it is to be checked");
    };
    let told = bench.populate(&cold, &[1]);
    assert_eq!(told, [Ok(())]);
    assert!(is_damaged(&reader.read(lost.position, lost.size)));
}

#[test]
fn a_segment_that_is_emptied_is_damage_from_end_to_end_and_the_next_one_is_whole() {
    let mut bench = bench(DiskChoice::Auto);
    bench.cut_segment(0);
    let mut reader = bench.reader();
    let mut found = Vec::new();
    reader.walk(Position::new(0), usize::MAX, |place, _, _| {
        found.push(place);
    });
    let whole = |place: &&Place| place.position.get() >= SEGMENT;
    let wanted: Vec<Place> = bench.places.iter().filter(whole).copied().collect();
    assert!(found == wanted);
    for place in &bench.places {
        let read = reader.read(place.position, place.size);
        assert_eq!(is_damaged(&read), !whole(&place), "{place:?}");
    }
    // The store goes on.
    let bytes = record("t", 1, b"more");
    let end = bench.rig.append(bench.log, &bytes).end;
    bench.rig.until_visible(bench.log, end);
    bench.rig.drain();
}
