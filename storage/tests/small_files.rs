//! The small files of a log: damaged, empty, missing, old, or not the log's at all. None of these keeps a broker from
//! starting, and none costs more than one new epoch.

mod support;

use std::path::{Path, PathBuf};

use oyez_protocol::Position;
use oyez_storage::*;
use support::{Rig, SEGMENT, dir, options, pool, record};

/// A synced log on a memory disk, of which retention has removed the beginning, so that it has all its files.
struct Bench {
    dir: DataDir,
    disk: MemoryDisk,
    rig: Option<Rig>,
    now_ms: u64,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

fn retaining() -> LogOptions {
    LogOptions {
        retention_bytes: Some(2 * SEGMENT),
        ..options()
    }
}

impl Bench {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, lock) = dir(temp.path());
        let disk = MemoryDisk::new();
        let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(32), &retaining(), 1000);
        let log = rig.log(Durability::Synced);
        let old = rig.append(log, &record("old", 3, b"nothing of this topic is kept"));
        rig.until_visible(log, old.end);
        for number in 0..150u8 {
            let end = rig.append(log, &record("t", 1, &vec![number; 100_000])).end;
            rig.until_visible(log, end);
            rig.now_ms += 100;
            rig.turn();
        }
        rig.until("a table of carried topics", |rig| {
            rig.now_ms += 100;
            rig.store.stats().segments <= 4
        });
        let bench = Self {
            dir,
            disk,
            rig: Some(rig),
            now_ms: 100_000,
            _lock: lock,
            _temp: temp,
        };
        assert!(bench.disk.content(&bench.path("carried")).is_some());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("synced-0").join(name)
    }

    /// Ends the store; `harm` comes before the next start.
    fn restart(&mut self, clean: bool, harm: impl FnOnce(&Self)) -> RecoveryReport {
        if let Some(mut rig) = self.rig.take()
            && clean
        {
            rig.drain();
        }
        self.disk = self.disk.kill(1);
        harm(self);
        let disk = Box::new(self.disk.clone());
        self.now_ms += 1000;
        let rig = Rig::open(&self.dir, disk, &pool(32), &retaining(), self.now_ms);
        let report = rig.report(Durability::Synced).clone();
        self.rig = Some(rig);
        report
    }

    fn records(&mut self) -> usize {
        let rig = self.rig.as_mut().expect("it is open");
        rig.dump(rig.log(Durability::Synced)).len()
    }

    /// The next offset of a topic.
    fn next(&mut self, topic: &str) -> u64 {
        let rig = self.rig.as_mut().expect("it is open");
        let log = rig.log(Durability::Synced);
        let appended = rig.append(log, &record(topic, 1, b"x"));
        rig.until_visible(log, appended.end);
        appended.offset.get()
    }
}

/// Everything that may happen to a small file.
fn harms(content: &[u8]) -> Vec<Option<Vec<u8>>> {
    let flipped = |at: usize| {
        let mut bytes = content.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let half = content[..content.len() / 2].to_vec();
    let mut harms = vec![None, Some(Vec::new()), Some(half)];
    harms.extend([0, 8, 11, 12, 20, content.len() - 1].map(|at| Some(flipped(at))));
    harms
}

fn harm(disk: &MemoryDisk, path: &Path, harm: Option<&Vec<u8>>) {
    match harm {
        Some(content) => disk.replace(path, content),
        None => disk.remove(path),
    }
}

#[test]
fn one_whole_copy_of_the_state_is_enough() {
    for clean in [true, false] {
        let mut bench = Bench::new();
        let wanted = bench.records();
        let epoch = bench.restart(clean, |_| {}).epoch;
        for name in ["state", "state.copy"] {
            let content = bench.disk.content(&bench.path(name)).expect("it is there");
            for number in 0..harms(&content).len() {
                let report = bench.restart(clean, |bench| {
                    let path = bench.path(name);
                    let content = bench.disk.content(&path).expect("it is there again");
                    harm(&bench.disk, &path, harms(&content)[number].as_ref());
                });
                let what = format!("{name}, harm {number}, clean {clean}: {report:?}");
                assert_eq!(
                    (report.epoch, report.epoch_changed),
                    (epoch, false),
                    "{what}"
                );
                assert_eq!(bench.records(), wanted, "{what}");
            }
        }
    }
}

#[test]
fn without_a_whole_state_the_epoch_is_new_once_and_nothing_is_lost() {
    let mut bench = Bench::new();
    let wanted = bench.records();
    let content = bench
        .disk
        .content(&bench.path("state"))
        .expect("it is there");
    for (number, _) in harms(&content).iter().enumerate() {
        let epoch = bench.restart(true, |_| {}).epoch;
        let report = bench.restart(true, |bench| {
            for name in ["state", "state.copy"] {
                let path = bench.path(name);
                let content = bench.disk.content(&path).expect("it is there again");
                harm(&bench.disk, &path, harms(&content)[number].as_ref());
            }
        });
        let what = format!("harm {number}: {report:?}");
        assert!(report.epoch_changed && report.epoch != epoch, "{what}");
        let again = bench.restart(true, |_| {});
        assert_eq!(
            (again.epoch, again.epoch_changed),
            (report.epoch, false),
            "{what}: {again:?}"
        );
        assert_eq!(bench.records(), wanted, "{what}");
    }
}

#[test]
fn a_table_of_carried_topics_that_is_lost_gives_a_new_epoch_once() {
    let content = {
        let bench = Bench::new();
        bench.disk.content(&bench.path("carried"))
    };
    for (number, _) in harms(&content.expect("it is there")).iter().enumerate() {
        let mut bench = Bench::new();
        let wanted = bench.records();
        let report = bench.restart(false, |bench| {
            let path = bench.path("carried");
            let content = bench.disk.content(&path).expect("it is there");
            harm(&bench.disk, &path, harms(&content)[number].as_ref());
        });
        let what = format!("harm {number}: {report:?}");
        assert!(report.epoch_changed, "{what}");
        assert_eq!(bench.records(), wanted, "{what}");
        for start in 0..2 {
            let again = bench.restart(false, |_| {});
            let told = (again.epoch, again.epoch_changed, again.set_aside.len());
            assert_eq!(
                told,
                (report.epoch, false, 0),
                "{what}: start {start}: {again:?}"
            );
        }
    }
}

#[test]
fn an_older_table_of_carried_topics_is_not_taken_for_the_newest() {
    let mut bench = Bench::new();
    let old = bench
        .disk
        .content(&bench.path("carried"))
        .expect("it is there");
    let rig = bench.rig.as_mut().expect("it is open");
    let log = rig.log(Durability::Synced);
    let mut end = Position::new(0);
    for number in 0..100u8 {
        end = rig.append(log, &record("t", 1, &vec![number; 100_000])).end;
        rig.now_ms += 100;
        rig.turn();
    }
    rig.until_visible(log, end);
    rig.until("more files to go", |rig| {
        rig.now_ms += 100;
        rig.store.stats().segments <= 4
    });
    let report = bench.restart(false, |bench| {
        let path = bench.path("carried");
        assert!(
            bench.disk.content(&path).as_ref() != Some(&old),
            "it was written again"
        );
        bench.disk.replace(&path, &old);
    });
    assert!(report.epoch_changed, "{report:?}");
}

#[test]
fn a_topic_without_records_goes_on_where_it_was() {
    let mut bench = Bench::new();
    bench.restart(false, |_| {});
    assert_eq!(bench.next("old"), 3);
}

#[test]
fn files_that_are_not_the_logs_are_left_alone_and_reported() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, lock) = dir(temp.path());
    let open = |dir: &DataDir, now_ms| {
        let disk = open_disk(DiskChoice::Thread).expect("a disk").disk;
        Rig::open(dir, disk, &pool(8), &options(), now_ms)
    };
    let mut rig = open(&dir, 1000);
    let log = rig.log(Durability::Synced);
    let end = rig.append(log, &record("t", 1, b"x")).end;
    rig.until_visible(log, end);
    rig.drain();
    drop(rig);
    let path = dir.path().join("synced-0");
    std::fs::create_dir(path.join("x.new")).expect("it is ours");
    std::fs::create_dir(path.join("state.new")).expect("it is ours");
    std::fs::write(path.join("00000000DEADBEEF.seg"), [0; 100]).expect("it is ours");
    std::fs::write(path.join("notes.txt"), "mine").expect("it is ours");
    std::os::unix::fs::symlink("/dev/null", path.join("0000000009000000.seg")).expect("it is ours");
    let mut foreign: Vec<PathBuf> = ["x.new", "state.new", "00000000DEADBEEF.seg", "notes.txt"]
        .iter()
        .chain(&["0000000009000000.seg"])
        .map(|name| path.join(name))
        .collect();
    foreign.sort();
    let mut rig = open(&dir, 2000);
    let mut report = rig.report(Durability::Synced).clone();
    report.foreign.sort();
    assert_eq!(report.foreign, foreign);
    assert!(report.clean && !report.epoch_changed, "{report:?}");
    assert_eq!(rig.dump(log).len(), 1);
    drop((rig, lock));
    assert!(
        foreign
            .iter()
            .all(|path| std::fs::symlink_metadata(path).is_ok())
    );
}

#[test]
fn a_restored_directory_gets_new_epochs_and_a_copy_is_told_from_the_original() {
    let temp = tempfile::tempdir().expect("a directory");
    let (original, copy) = (temp.path().join("original"), temp.path().join("copy"));
    let open = |path: &Path, restored| {
        let options = DirOptions {
            logs_per_durability: 1,
            entropy: [u8::from(restored) + 1; 16],
            restored,
        };
        let (dir, lock) = DataDir::open(path, &options).expect("a data directory");
        let disk = open_disk(DiskChoice::Thread).expect("a disk").disk;
        let rig = Rig::open(&dir, disk, &pool(8), &support::options(), 1000);
        (rig, lock)
    };
    let (mut rig, lock) = open(&original, false);
    let log = rig.log(Durability::Synced);
    let end = rig.append(log, &record("t", 1, b"x")).end;
    rig.until_visible(log, end);
    let epoch = rig.report(Durability::Synced).epoch;
    rig.drain();
    drop((rig, lock));
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&original, &copy])
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let (rig, _lock) = open(&original, false);
    let report = rig.report(Durability::Synced);
    assert_eq!((report.copied, report.epoch), (false, epoch));
    let (rig, lock) = open(&copy, false);
    let report = rig.report(Durability::Synced);
    assert_eq!((report.copied, report.epoch), (true, epoch));
    drop((rig, lock));
    let (mut rig, _lock) = open(&copy, true);
    for durability in [Durability::Written, Durability::Synced] {
        let report = rig.report(durability);
        assert!(report.epoch_changed && report.epoch != epoch, "{report:?}");
    }
    assert_eq!(rig.dump(log).len(), 1, "nothing is thrown away");
}
