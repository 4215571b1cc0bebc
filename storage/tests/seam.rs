//! The promises of every disk about single files: reading, overwriting and renaming them.

mod support;

use std::io;
use std::path::{Path, PathBuf};

use oyez_storage::*;

/// A disk of each kind that there is here, each with a directory.
fn disks(dir: &Path) -> Vec<(Box<dyn Disk>, PathBuf)> {
    let mut choices = vec![DiskChoice::Thread];
    choices.extend(probe_uring().ok().map(|()| DiskChoice::Uring));
    let real = choices.into_iter().map(|choice| {
        let disk = open_disk(choice).expect("the disk opens").disk;
        let own = dir.join(disk.name());
        (disk, own)
    });
    let memory: Box<dyn Disk> = Box::new(MemoryDisk::new());
    let mut disks: Vec<_> = real.chain([(memory, dir.join("memory"))]).collect();
    for (disk, dir) in &mut disks {
        disk.make_dir(dir).expect("a directory");
    }
    disks
}

fn outcome(disk: &mut dyn Disk) -> Outcome {
    let mut done = Vec::new();
    while done.is_empty() {
        disk.wait().expect("something is in flight");
        disk.reap(&mut done);
    }
    done.remove(0).outcome
}

fn put(disk: &mut dyn Disk, path: &Path, content: &[u8]) {
    let content = content.to_vec();
    disk.put(1, path.to_owned(), Box::new(move || content));
    let outcome = outcome(disk);
    assert!(matches!(outcome, Outcome::Put(Ok(_))), "{outcome:?}");
}

fn content(disk: &mut dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut out = vec![0; 10_000];
    let len = disk.read(path, 0, &mut out)?;
    out.truncate(len);
    Ok(out)
}

#[test]
fn a_read_ends_early_only_where_the_file_does() {
    let temp = tempfile::tempdir().expect("a directory");
    for (mut disk, dir) in disks(temp.path()) {
        let path = dir.join("file");
        let bytes: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        put(&mut *disk, &path, &bytes);
        let mut out = [0; 1000];
        for (at, len) in [(0, 1000), (4000, 1000), (4500, 500), (5000, 0), (9000, 0)] {
            let read = disk.read(&path, at, &mut out).expect("the file is there");
            let at = at as usize;
            assert_eq!((at, read), (at, len));
            assert_eq!(out[..len], bytes[at.min(5000)..at.min(5000) + len]);
        }
        put(&mut *disk, &dir.join("empty"), b"");
        let empty = content(&mut *disk, &dir.join("empty"));
        assert_eq!(empty.expect("an empty file is one"), b"");
        let missing = content(&mut *disk, &dir.join("missing"));
        let error = missing.expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", disk.name());
    }
}

#[test]
fn a_file_is_overwritten_in_place_and_replaced_if_the_length_differs() {
    let temp = tempfile::tempdir().expect("a directory");
    for (mut disk, dir) in disks(temp.path()) {
        let path = dir.join("state");
        for new in [&b"first"[..], b"again", b"longer than before", b""] {
            disk.overwrite(1, path.clone(), new.to_vec());
            let outcome = outcome(&mut *disk);
            assert!(
                matches!(outcome, Outcome::Overwritten(Ok(()))),
                "{outcome:?}"
            );
            let found = content(&mut *disk, &path).expect("the file is there");
            assert_eq!(found, new, "{}", disk.name());
        }
    }
}

#[test]
fn overwriting_a_file_keeps_its_inode() {
    use std::os::unix::fs::MetadataExt;
    let temp = tempfile::tempdir().expect("a directory");
    let mut disk = open_disk(DiskChoice::Thread).expect("the disk opens").disk;
    let path = temp.path().join("state");
    put(&mut *disk, &path, &[1; 88]);
    let inode = || std::fs::metadata(&path).expect("the file is there").ino();
    let before = inode();
    disk.overwrite(1, path.clone(), vec![2; 88]);
    let outcome = outcome(&mut *disk);
    assert!(matches!(outcome, Outcome::Overwritten(Ok(()))));
    assert_eq!(inode(), before);
}

#[test]
fn a_new_name_never_replaces_a_file() {
    let temp = tempfile::tempdir().expect("a directory");
    for (mut disk, dir) in disks(temp.path()) {
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.join(name));
        put(&mut *disk, &a, b"of a");
        put(&mut *disk, &b, b"of b");
        let taken = disk.rename(&a, &b).expect_err("the name is taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        disk.rename(&a, &c).expect("the name is free");
        let gone = disk.rename(&a, &c).expect_err("it has gone");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound, "{}", disk.name());
        for (path, kept) in [(&b, b"of b"), (&c, b"of a")] {
            assert_eq!(content(&mut *disk, path).expect("it is there"), kept);
        }
    }
}

#[test]
fn two_files_exchange_names() {
    let temp = tempfile::tempdir().expect("a directory");
    for (mut disk, dir) in disks(temp.path()) {
        let [a, b] = ["a", "b"].map(|name| dir.join(name));
        put(&mut *disk, &a, b"of a");
        disk.exchange(&a, &b).expect_err("one is missing");
        put(&mut *disk, &b, b"of b");
        disk.exchange(&a, &b).expect("both are there");
        for (path, kept) in [(&a, b"of b"), (&b, b"of a")] {
            assert_eq!(content(&mut *disk, path).expect("it is there"), kept);
        }
    }
}

#[test]
fn directories_links_and_names_that_are_not_utf8_are_no_files() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let temp = tempfile::tempdir().expect("a directory");
    let path = |name: &[u8]| temp.path().join(OsStr::from_bytes(name));
    std::fs::write(path(b"file"), b"four").expect("a file");
    std::fs::write(path(b"\xff.seg"), b"five").expect("a file");
    std::fs::create_dir(path(b"x.new")).expect("a directory");
    std::os::unix::fs::symlink("file", path(b"link.seg")).expect("a link");
    let mut disk = open_disk(DiskChoice::Thread).expect("the disk opens").disk;
    let mut found = disk.list(temp.path()).expect("the directory is there");
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> = found.iter().map(|e| (e.name.as_str(), e.is_file)).collect();
    let other = "\u{fffd}.seg";
    assert_eq!(
        found,
        [
            ("file", true),
            ("link.seg", false),
            ("x.new", false),
            (other, false)
        ]
    );
}

#[test]
fn the_memory_disk_fails_reads_of_a_range_until_it_is_written_anew() {
    let disk = MemoryDisk::new();
    let path = Path::new("/d/file");
    disk.replace(path, &[7; 4096]);
    disk.fail_reads(path, 512..1024);
    let disk = disk.crash(1);
    let mut seam: Box<dyn Disk> = Box::new(disk.clone());
    let mut out = [0; 512];
    for (at, sound) in [(0, true), (511, false), (1023, false), (1024, true)] {
        let read = seam.read(path, at, &mut out).map_err(|e| e.raw_os_error());
        let wanted = if sound { Ok(512) } else { Err(Some(libc::EIO)) };
        assert_eq!((at, read), (at, wanted));
    }
    seam.overwrite(1, path.to_owned(), vec![8; 4096]);
    outcome(&mut *seam);
    assert_eq!(content(&mut *seam, path).expect("it is mended"), [8; 4096]);
    disk.truncate(path, 100);
    disk.zero(path, 10..20);
    let found = content(&mut *seam, path).expect("it is there");
    assert_eq!(
        (found.len(), found[9], found[10], found[20]),
        (100, 8, 0, 8)
    );
}

#[test]
fn an_interrupted_overwrite_leaves_each_sector_old_or_new() {
    let path = Path::new("/d/file");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = MemoryDisk::new();
        disk.replace(path, &[1; 1000]);
        disk.allow(Some(0));
        let mut seam: Box<dyn Disk> = Box::new(disk.clone());
        seam.overwrite(1, path.to_owned(), vec![2; 1000]);
        seam.submit().expect("a submission");
        let after = match seed % 2 {
            0 => disk.crash(seed),
            _ => disk.kill(seed),
        };
        let found = after.content(path).expect("it is there");
        let sectors = found.chunks(512).map(|sector| {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}");
            sector[0]
        });
        seen.insert(sectors.collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}
