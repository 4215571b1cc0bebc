//! The data directory: opening it, and the errors when it cannot be opened.

mod support;

use std::os::unix::fs::PermissionsExt;

use oyez_storage::*;
use support::{Rig, dir, options, pool, record};

fn dir_options() -> DirOptions {
    DirOptions {
        logs_per_durability: 4,
        entropy: [9; 16],
        restored: false,
    }
}

#[test]
fn a_second_broker_is_refused_with_the_process_id_of_the_first() {
    let temp = tempfile::tempdir().expect("a directory");
    let (_dir, lock) = dir(temp.path());
    let error = DataDir::open(temp.path(), &dir_options()).expect_err("it is locked");
    let message = error.to_string();
    assert!(matches!(error, DirError::Locked { .. }), "{message}");
    assert!(
        message.contains(&std::process::id().to_string()),
        "{message}"
    );
    drop(lock);
    DataDir::open(temp.path(), &dir_options()).expect("it is free again");
}

/// The checksum of a small file, which covers all of it with its own field as zero.
fn seal(bytes: &mut [u8]) {
    bytes[12..16].fill(0);
    let crc = oyez_protocol::checksum::crc32c(bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_directory_of_another_version_is_refused_with_that_version() {
    let temp = tempfile::tempdir().expect("a directory");
    drop(dir(temp.path()));
    let meta = temp.path().join("meta");
    let mut bytes = std::fs::read(&meta).expect("the meta file");
    bytes[8] = 99;
    seal(&mut bytes);
    std::fs::write(&meta, bytes).expect("it is ours");
    let error = DataDir::open(temp.path(), &dir_options()).expect_err("another version");
    let DirError::Version {
        found, expected, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((found, expected), (99, FORMAT_VERSION));
}

#[test]
fn a_damaged_meta_file_is_written_again_from_its_copy() {
    let temp = tempfile::tempdir().expect("a directory");
    drop(dir(temp.path()));
    let names = ["meta", "meta.copy"].map(|name| temp.path().join(name));
    let whole = std::fs::read(&names[0]).expect("the meta file");
    for name in &names {
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(name, bytes).expect("it is ours");
            let (dir, _lock) = DataDir::open(temp.path(), &dir_options()).expect("one is whole");
            let rewritten: Vec<_> = dir.rewritten().iter().map(|one| &one.path).collect();
            assert_eq!(rewritten, [name], "byte {at}");
            assert_eq!(
                std::fs::read(name).expect("it is there"),
                whole,
                "byte {at}"
            );
        }
        std::fs::remove_file(name).expect("it is there");
        drop(DataDir::open(temp.path(), &dir_options()).expect("one is there"));
        assert_eq!(std::fs::read(name).expect("it is there again"), whole);
    }
}

#[test]
fn a_directory_without_a_whole_meta_file_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    drop(dir(temp.path()));
    for name in ["meta", "meta.copy"] {
        let name = temp.path().join(name);
        let whole = std::fs::read(&name).expect("the meta file");
        std::fs::write(&name, &whole[..20]).expect("it is ours");
    }
    let error = DataDir::open(temp.path(), &dir_options()).expect_err("both are damaged");
    assert!(matches!(error, DirError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_and_a_directory_with_foreign_files_are_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let file = temp.path().join("file");
    std::fs::write(&file, b"x").expect("a file");
    let error = DataDir::open(&file, &dir_options()).expect_err("a file");
    assert!(matches!(error, DirError::NotADirectory { .. }), "{error}");
    let error = DataDir::open(temp.path(), &dir_options()).expect_err("other things");
    assert!(matches!(error, DirError::Foreign { .. }), "{error}");
}

#[test]
fn a_read_only_directory_is_an_error_that_says_so() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("data");
    std::fs::create_dir(&path).expect("a directory");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
    mode(0o500).expect("it is ours");
    if std::fs::write(path.join("probe"), b"x").is_ok() {
        eprintln!("modes do not bind this user: looking at /proc instead");
        let error = DataDir::open("/proc/1", &dir_options()).expect_err("nobody writes there");
        assert!(!error.to_string().is_empty());
        return;
    }
    let error = DataDir::open(&path, &dir_options()).expect_err("it is read-only");
    assert!(matches!(error, DirError::ReadOnly { .. }), "{error}");
    mode(0o700).expect("it is ours");
}

#[test]
fn directories_and_files_are_private() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("data");
    let (dir, _lock) = dir(&path);
    let disk = open_disk(DiskChoice::Auto).expect("a disk").disk;
    let mut rig = Rig::open(&dir, disk, &pool(8), &options(), 1);
    let log = rig.log(Durability::Synced);
    let end = rig.append(log, &record("t", 1, b"x")).end;
    rig.until_visible(log, end);
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("synced-0")), 0o700);
    for entry in std::fs::read_dir(path.join("synced-0")).expect("the log") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
}

#[test]
fn a_topic_keeps_its_log_and_logs_are_numbered_by_durability() {
    let temp = tempfile::tempdir().expect("a directory");
    let (first, lock) = DataDir::open(temp.path(), &dir_options()).expect("a new directory");
    let numbers: Vec<_> = first
        .logs()
        .map(|spec| (spec.id.get(), spec.durability, spec.ordinal))
        .collect();
    assert_eq!(numbers.len(), 12);
    assert_eq!(numbers[0], (0, Durability::Memory, 0));
    assert_eq!(numbers[5], (5, Durability::Written, 1));
    assert_eq!(numbers[11], (11, Durability::Synced, 3));
    drop(lock);
    let other = DirOptions {
        logs_per_durability: 7,
        entropy: [1; 16],
        restored: false,
    };
    let (again, _lock) = DataDir::open(temp.path(), &other).expect("the same directory");
    assert_eq!(again.logs_per_durability(), 4);
    let mut used = std::collections::HashSet::new();
    for number in 0..100 {
        let topic = format!("topic/{number}");
        for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
            let log = first.log_of(&topic, durability);
            assert_eq!(log, again.log_of(&topic, durability));
            used.insert(log);
        }
    }
    assert_eq!(used.len(), 12, "the hash uses every log");
}

#[test]
fn a_log_of_another_directory_is_not_opened() {
    let (one, two) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (first, _lock) = dir(one.path());
    let (second, _other_lock) = dir(two.path());
    let disk = || open_disk(DiskChoice::Thread).expect("a disk").disk;
    let mut rig = Rig::open(&first, disk(), &pool(8), &options(), 1);
    let log = rig.log(Durability::Synced);
    let end = rig.append(log, &record("t", 1, b"x")).end;
    rig.until_visible(log, end);
    drop(rig);
    std::fs::rename(one.path().join("synced-0"), two.path().join("synced-0")).expect("a move");
    let opened = Rig::try_open(&second, disk(), &pool(8), &options(), 1);
    assert!(matches!(opened, Err(OpenError::Foreign { .. })));
}
