//! A data directory that cannot be used is refused with what and why; a disk that fills up refuses publishing and
//! nothing else, and takes records again when there is room.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use testkit::deadline::wait_until;
use testkit::process::{is_installed, run};
use testkit::random::Random;
use testkit::{Broker, Outcome, Refusal, Setup, Start};

/// Exit code of a broker that could not do what it was started for.
const FAILED: i32 = 1;

fn check(refusal: &Refusal, words: &[&str]) {
    assert_eq!(refusal.code, FAILED, "{refusal:?}");
    for word in words {
        assert!(
            refusal.message.contains(word),
            "{word:?} is not in {}",
            refusal.message
        );
    }
}

/// Whether mount namespaces can be had here; says why not.
fn can_mount(test: &str) -> bool {
    if !is_installed("unshare") {
        testkit::figures::skipped(test, "unshare is not installed");
        return false;
    }
    let script = "mount -t tmpfs -o size=1m tmpfs /mnt";
    let tried = run(std::process::Command::new("unshare").args(["--mount", "sh", "-c", script]));
    if !tried.status.success() {
        testkit::figures::skipped(test, &String::from_utf8_lossy(&tried.stderr));
    }
    tried.status.success()
}

#[test]
fn a_new_directory_is_private_to_its_owner() {
    let broker = Broker::start();
    let mode = fs::metadata(broker.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_holds_it() {
    let broker = Broker::start();
    let refusal = Setup::new().refused_on(broker.data());
    let pid = broker.pid().to_string();
    check(
        &refusal,
        &[
            "in use by process",
            &pid,
            &broker.data().display().to_string(),
        ],
    );
    broker
        .connect()
        .publish("a/topic", b"the first one goes on");
}

#[test]
fn a_directory_is_free_again_after_a_crash() {
    let mut broker = Broker::start();
    broker.kill();
    broker.restart();
    assert_eq!(
        broker.connect().publish("a/topic", b"x").outcome,
        Outcome::Ok
    );
}

#[test]
fn a_directory_of_another_version_is_refused_and_left_as_it_is() {
    let mut broker = Broker::start();
    broker.connect().publish("a/topic", b"x");
    assert!(broker.stop().success());
    let meta = broker.data().join("meta");
    let original = fs::read(&meta).expect("a data directory has a meta file");
    let mut other = original;
    other[8..12].copy_from_slice(&99u32.to_le_bytes());
    seal(&mut other);
    fs::write(&meta, &other).unwrap();
    let refusal = Setup::new().refused_on(broker.data());
    check(&refusal, &["format version 99", "reads 1 to 2"]);
    assert_eq!(fs::read(&meta).unwrap(), other);
}

/// Writes a small file's checksum, which covers all of it with its own field as zero.
fn seal(bytes: &mut [u8]) {
    bytes[12..16].fill(0);
    let crc = oyez_protocol::checksum::crc32c(bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_directory_without_a_whole_meta_file_is_refused() {
    let mut broker = Broker::start();
    assert!(broker.stop().success());
    for name in ["meta", "meta.copy"] {
        let meta = broker.data().join(name);
        let mut bytes = fs::read(&meta).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&meta, bytes).unwrap();
    }
    check(
        &Setup::new().refused_on(broker.data()),
        &["meta", "damaged"],
    );
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_left_as_it_is() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("thesis.txt"), "years of work").unwrap();
    check(&Setup::new().refused_on(home.path()), &["holds files"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "not a directory").unwrap();
    check(&Setup::new().refused_on(&path), &["not a directory"]);
}

#[test]
fn a_read_only_directory_is_refused() {
    if !can_mount("a_read_only_directory_is_refused") {
        return;
    }
    let mut broker = Broker::start();
    broker.connect().publish("a/topic", b"x");
    assert!(broker.stop().success());
    let read_only = Setup::new()
        .in_namespace("mount --bind \"$DATA\" \"$DATA\" && mount -o remount,bind,ro \"$DATA\"");
    check(
        &read_only.refused_on(broker.data()),
        &["cannot be written", "read-only"],
    );
}

#[test]
fn a_disk_that_is_full_at_the_start_is_refused() {
    if !can_mount("a_disk_that_is_full_at_the_start_is_refused") {
        return;
    }
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let tiny = Setup::new().in_namespace("mount -t tmpfs -o size=64k tmpfs \"$DATA\"");
    let outcome = tiny.start_or_refused_on(&data);
    match outcome {
        Err(refusal) => check(&refusal, &["space"]),
        // Segments are prepared when they are wanted: then it is the publish that is refused.
        Ok(broker) => {
            assert_eq!(
                broker.connect().publish("a/topic", b"x").outcome,
                Outcome::DiskFull
            );
        }
    }
}

/// Publishes until the disk is full; gives how many were taken.
fn fill(broker: &Broker, payload: &[u8]) -> u64 {
    let mut publisher = broker.connect();
    for taken in 0..10_000 {
        let entry = publisher.publish("a/topic", payload);
        match entry.outcome {
            Outcome::Ok => assert_eq!(entry.offset.get(), taken),
            Outcome::DiskFull => return taken,
            outcome => panic!("expected the disk to be full, got {outcome:?}"),
        }
    }
    panic!("the disk does not fill up");
}

fn full_disk(disk: &str) {
    let home = TempDir::new().expect("a directory for temporary files");
    let data = home.path().join("data");
    fs::create_dir(&data).expect("it is not there yet");
    let broker = Setup::new()
        .set("disk", disk)
        .in_namespace("mount -t tmpfs -o size=48m tmpfs \"$DATA\"")
        .start_on(&data);
    // The mount is the broker's alone; its root leads there.
    let inside = format!("/proc/{}/root{}", broker.pid(), data.display());
    let filler = Path::new(&inside).join("filler");
    fs::write(&filler, vec![0; 16 << 20]).expect("the broker's disk has room at first");
    let payload = Random::new(5).bytes(100_000);
    let taken = fill(&broker, &payload);
    assert!(taken > 0, "there was room for a segment");

    let mut reader = broker.connect();
    let answer = reader.subscribe("a/topic", Start::Earliest);
    assert_eq!(answer.head.get(), taken);
    let messages = reader.messages("a/topic", taken as usize);
    assert!(
        messages.iter().all(|(_, found)| *found == payload),
        "reading goes on"
    );
    assert!(broker.counter("publishes_refused") > 0);

    fs::remove_file(&filler).expect("the filler is there");
    let mut publisher = broker.connect();
    wait_until("room on the disk to be noticed", || {
        publisher.publish("a/topic", b"after").outcome == Outcome::Ok
    });
    assert_eq!(reader.messages("a/topic", 1), [(taken, b"after".to_vec())]);
}

#[test]
fn a_full_disk_refuses_publishing_until_there_is_room_and_reading_goes_on_with_the_ring() {
    if can_mount("a full disk with the ring") {
        full_disk("uring");
    }
}

#[test]
fn a_full_disk_refuses_publishing_until_there_is_room_and_reading_goes_on_with_the_thread() {
    if can_mount("a full disk with the thread") {
        full_disk("thread");
    }
}

/// A disk of its own, which stays when the broker ends.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).expect("a directory for the mount");
        let size = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = run(std::process::Command::new("mount").args(mount).arg(at));
        assert!(mounted.status.success(), "{mounted:?}");
        Self(at.to_owned())
    }

    /// Takes all the space that is left.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("filler");
        let mut filler = fs::File::create(&path).expect("a file");
        let chunk = vec![1; 64 << 10];
        while filler.write_all(&chunk).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = run(std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0));
        if !unmounted.status.success() {
            eprintln!("left behind: {unmounted:?}");
        }
    }
}

#[test]
fn a_disk_that_filled_up_does_not_keep_the_broker_from_starting() {
    if !can_mount("a_disk_that_filled_up_does_not_keep_the_broker_from_starting") {
        return;
    }
    for clean in [false, true] {
        let home = TempDir::new().expect("a directory for temporary files");
        let disk = Disk::mount(&home.path().join("disk"), "300m");
        let data = disk.0.join("data");
        fs::create_dir(&data).expect("it is not there yet");
        let mut broker = Setup::new().start_on(&data);
        let mut publisher = broker.connect();
        publisher.publish("a/topic", b"one");
        let epoch = publisher.publish("a/topic", b"two").epoch;
        let filler = disk.fill();
        for _ in 0..3 {
            match clean {
                true => assert!(broker.stop().success()),
                false => broker.kill(),
            }
            broker.restart();
        }
        let mut reader = broker.connect();
        let answer = reader.subscribe("a/topic", Start::Earliest);
        assert_eq!(
            (answer.head.get(), answer.epoch),
            (2, epoch),
            "clean {clean}"
        );
        let messages: Vec<_> = reader.messages("a/topic", 2);
        assert_eq!(messages, [(0, b"one".to_vec()), (1, b"two".to_vec())]);
        // Its own segment has room; when that is full the disk is.
        let mut publisher = broker.connect();
        let payload = Random::new(5).bytes(200_000);
        let mut outcomes = (0..2000).map(|_| publisher.publish("a/topic", &payload).outcome);
        assert!(outcomes.any(|outcome| outcome == Outcome::DiskFull));
        fs::remove_file(&filler).expect("the filler is there");
        wait_until("room on the disk to be noticed", || {
            publisher.publish("a/topic", b"after").outcome == Outcome::Ok
        });
        assert!(broker.stop().success());
    }
}

/// Copies a stopped broker's directory, as a backup does.
fn back_up(from: &Path, to: &Path) {
    let copied = run(std::process::Command::new("cp").arg("-a").args([from, to]));
    assert!(copied.status.success(), "{copied:?}");
}

#[test]
fn a_restored_directory_is_noticed_by_clients_that_saw_more_and_gets_new_epochs_when_asked_to() {
    let mut broker = Broker::start();
    let mut session = broker.connect();
    session.publish("a/topic", b"0");
    assert!(broker.stop().success());
    let backup = broker.home().join("backup");
    back_up(broker.data(), &backup);
    broker.restart();
    let mut session = broker.connect();
    let epoch = session.publish_each("a/topic", &["1", "2", "3"])[0].epoch;
    assert!(broker.stop().success());
    fs::remove_dir_all(broker.data()).unwrap();
    back_up(&backup, broker.data());
    broker.restart();
    wait_until("the copy to be noticed", || {
        broker.log().contains("is a copy of the one")
    });
    let resume = Start::Offset(testkit::Offset::new(4));
    let answer = broker.connect().resume("a/topic", resume, Some(epoch));
    assert_eq!(answer.outcome, Outcome::OffsetAhead);
    assert_eq!(broker.counter("subscribers_ahead"), 1);
    wait_until("the older directory to be noticed", || {
        broker.log().contains("--restored")
    });
    assert!(broker.stop().success());
    broker.restart_with(Setup::new().flag("--restored"));
    let mut session = broker.connect();
    let answer = session.resume("a/topic", resume, Some(epoch));
    assert!(answer.epoch_changed && answer.epoch != epoch);
    assert_eq!(session.messages("a/topic", 1), [(0, b"0".to_vec())]);
    // It is for one start.
    assert!(broker.stop().success());
    broker.restart_with(Setup::new());
    let again = broker.connect().subscribe("a/topic", Start::Earliest);
    assert_eq!(again.epoch, answer.epoch);
}

#[test]
fn a_damaged_file_is_named_by_the_log_the_statistics_and_the_doctor() {
    let mut broker = Broker::start();
    broker.connect().publish("a/topic", b"x");
    assert!(broker.stop().success());
    let logs = fs::read_dir(broker.data()).unwrap().flatten();
    let used = logs.map(|entry| entry.path().join("0000000000000000.seg"));
    let segments = used.filter(|path| fs::read(path).is_ok_and(|bytes| bytes[0] != 0));
    for segment in segments {
        fs::write(&segment, b"nothing of a segment").unwrap();
    }
    broker.restart();
    let name = "0000000000000000.seg.damaged-1";
    wait_until("the file in the log", || broker.log().contains(name));
    assert!(broker.counter("damaged_files") >= 1);
    let doctor = run(std::process::Command::new(testkit::programs::server())
        .args(["doctor", "--data"])
        .arg(broker.data()));
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains(name), "{said}");
}

#[test]
fn the_name_of_a_directory_that_was_there_before_is_synced() {
    let test = "the sync of a directory's name";
    if !is_installed("strace") {
        return testkit::figures::skipped(test, "strace is not installed");
    }
    let home = TempDir::new().expect("a directory for temporary files");
    let (data, trace) = (home.path().join("data"), home.path().join("trace"));
    fs::create_dir(&data).expect("it is not there yet");
    let arguments = ["-D", "-f", "-y", "-q", "-e", "trace=fsync", "-o"];
    let tracer = ["strace"].into_iter().chain(arguments).map(Into::into);
    let tracer: Vec<_> = tracer.chain([trace.clone().into_os_string()]).collect();
    let broker = Setup::new().under(tracer).start_on(&data);
    let synced = fs::read_to_string(&trace).expect("strace has written its trace");
    drop(broker);
    for directory in [home.path(), &data] {
        // In two parts, where another thread calls meanwhile.
        let name = format!("<{}>", directory.display());
        let called = [")", " <unfinished"].map(|end| format!("{name}{end}"));
        let is_called = called.iter().any(|call| synced.contains(call));
        assert!(is_called, "no sync of {name} in {synced}");
    }
}
