//! Both real disks in a temporary directory.

mod support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::*;
use support::{Rig, dir, options, pool, record};

fn choices() -> Vec<DiskChoice> {
    let mut choices = vec![DiskChoice::Thread];
    match probe_uring() {
        Ok(()) => choices.push(DiskChoice::Uring),
        Err(why) => eprintln!("io_uring is not tested: {why}"),
    }
    choices
}

fn disk(choice: DiskChoice) -> Box<dyn Disk> {
    open_disk(choice).expect("the disk opens").disk
}

const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];

#[test]
fn what_was_appended_is_read_back_before_and_after_a_clean_restart() {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, _lock) = dir(temp.path());
        let pool = pool(32);
        let mut rig = Rig::open(&dir, disk(choice), &pool, &options(), 1000);
        let mut expected = Vec::new();
        for durability in DURABLE {
            let log = rig.log(durability);
            for number in 0..300u64 {
                let bytes = record("a/b", 2, &vec![number as u8; 20_000]);
                let appended = rig.append(log, &bytes);
                assert_eq!(appended.offset, Offset::new(number * 2));
                expected.push((log, number * 2, bytes[48..].to_vec()));
                if number == 299 {
                    rig.until_visible(log, appended.end);
                }
            }
        }
        let check = |rig: &mut Rig| {
            for log in DURABLE.map(|durability| rig.log(durability)) {
                let found: Vec<_> = rig.dump(log);
                let found: Vec<_> = found.into_iter().map(|(_, o, b)| (log, o, b)).collect();
                let wanted: Vec<_> = expected.iter().filter(|e| e.0 == log).cloned().collect();
                assert!(found == wanted, "{choice:?} {log}");
            }
        };
        check(&mut rig);
        rig.drain();
        let segments = rig.store.stats().segments;
        drop(rig);
        let mut rig = Rig::open(&dir, disk(choice), &pool, &options(), 2000);
        for durability in DURABLE {
            let report = rig.report(durability);
            assert!(report.clean && !report.epoch_changed, "{report:?}");
        }
        assert_eq!(rig.store.stats().segments, segments);
        check(&mut rig);
    }
}

#[test]
fn a_log_that_was_not_drained_keeps_everything_visible() {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, _lock) = dir(temp.path());
        let pool = pool(32);
        let mut wanted: Vec<Vec<(String, u64, Vec<u8>)>> = vec![Vec::new(); 2];
        for round in 0..3u64 {
            let mut rig = Rig::open(&dir, disk(choice), &pool, &options(), 1000 + round);
            for (slot, durability) in DURABLE.into_iter().enumerate() {
                let report = rig.report(durability);
                assert_eq!(report.gaps, []);
                assert!(!report.epoch_changed, "{report:?}");
                let log: LogId = rig.log(durability);
                let before = rig.dump(log);
                assert!(
                    before == wanted[slot],
                    "{choice:?} {durability} round {round}"
                );
                for number in 0..20u64 {
                    let bytes = record("t", 1, &[number as u8; 300]);
                    let appended = rig.append(log, &bytes);
                    wanted[slot].push(("t".into(), round * 20 + number, bytes[48..].to_vec()));
                    rig.until_visible(log, appended.end);
                }
            }
        }
    }
}

#[test]
fn cold_reads_are_populated_and_files_are_offered_for_sendfile() {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, _lock) = dir(temp.path());
        let pool = pool(32);
        let mut rig = Rig::open(&dir, disk(choice), &pool, &options(), 1000);
        let log = rig.log(Durability::Synced);
        let mut last = Position::new(0);
        for number in 0..500u64 {
            last = rig
                .append(log, &record("t", 1, &vec![number as u8; 20_000]))
                .end;
        }
        rig.until_visible(log, last);
        let mut places = Vec::new();
        rig.store
            .places(log, "t", Offset::new(0), usize::MAX, &mut places);
        assert_eq!(places.len(), 500);
        rig.now_ms += 1_000_000;
        rig.turn();
        let mut reader = rig.store.reader(log);
        let old = places[0];
        assert!(matches!(
            reader.read(old.position, old.size),
            Ok(Read::Cold(_))
        ));
        assert!(reader.file_range(old.position, old.size).is_none());
        let bytes = rig.read(&mut reader, &old);
        let range = reader
            .file_range(old.position, old.size)
            .expect("it is warm");
        let mut files = SegmentFiles::new(2);
        let file = files.open(&range).expect("the segment is there");
        let file = std::fs::File::from(file.try_clone_to_owned().expect("a descriptor"));
        let mut from_file = vec![0; old.size as usize];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut from_file, range.offset)
            .expect("the range is in the file");
        assert_eq!(from_file, bytes);
    }
}

#[test]
fn readers_in_other_threads_see_every_record_once_and_in_order() {
    const RECORDS: u64 = 1500;
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let pool = pool(32);
    let mut rig = Rig::open(&dir, disk(DiskChoice::Auto), &pool, &options(), 1000);
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        let log = rig.log(durability);
        let reader = rig.store.reader(log);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = reader.clone();
                std::thread::spawn(move || {
                    let (mut at, mut next) = (reader.earliest(), 0);
                    while next < RECORDS {
                        let mut places = Vec::new();
                        at = reader.walk(at, 50, |place, _, _| places.push(place));
                        for place in &places {
                            assert_eq!(place.first, Offset::new(next));
                            let read = reader.read(place.position, place.size);
                            let Ok(Read::Ready(bytes)) = read else {
                                panic!("{next}: {read:?}");
                            };
                            let record = Record::verify_stamped(&bytes, &Limits::HARD);
                            let record = record.expect("a sound record");
                            assert_eq!(record.offset(), place.first);
                            assert_eq!(record.sequence().get(), next);
                            next += 1;
                        }
                        reader.release();
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        for number in 0..RECORDS {
            rig.append(log, &record("t", 1, &vec![number as u8; 5000]));
            if number % 16 == 0 {
                rig.turn();
            }
        }
        rig.until("the readers are done", |_| {
            threads.iter().all(std::thread::JoinHandle::is_finished)
        });
        for thread in threads {
            thread.join().expect("the reader saw what it should");
        }
    }
}

/// Longer than a dropped disk may wait for its operations in flight.
const LONG: Duration = Duration::from_secs(10);

#[test]
fn dropping_a_disk_does_not_wait_for_a_file_that_hangs() {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut disk = disk(choice);
        let (release, released) = channel::<()>();
        let stuck = move || {
            let _ = released.recv_timeout(2 * LONG);
            b"content".to_vec()
        };
        disk.put(1, temp.path().join("stuck"), Box::new(stuck));
        disk.submit().expect("a submission");
        let begin = Instant::now();
        drop(disk);
        assert!(begin.elapsed() < LONG, "{choice:?}: {:?}", begin.elapsed());
        drop(release);
    }
}

#[test]
fn dropping_a_disk_waits_for_its_operations_in_flight() {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("file");
        let mut disk = disk(choice);
        disk.put(1, path.clone(), Box::new(|| b"content".to_vec()));
        disk.submit().expect("a submission");
        drop(disk);
        assert_eq!(std::fs::read(&path).expect("the file"), b"content");
    }
}
