//! The damage sweep: data directories as a clean stop and as `kill -9` leave them are damaged at one place each, opened
//! and read. Acknowledged records come back, or their loss is reported; whole records are served; no data is removed.
//!
//! Every day a twentieth of the cases runs, and more while there is time, some with fresh seeds. `OYEZ_FULL=1` runs all
//! of them; `OYEZ_SEED=N` runs the one with that seed and prints its story; `OYEZ_SWEEP_STORIES=FILE` writes down all.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod damage;
mod image;
mod judge;
mod layout;
mod panics;
mod run;
mod table;
mod trust;
mod writer;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use oyez_storage::{DiskChoice, open_disk};
use tempfile::TempDir;

use crate::case::Case;
use crate::damage::{Damage, ROUND};
use crate::image::{Image, Name, read_sparse};
use crate::run::{Shown, images, intact, itself, try_case};
use crate::table::{examples, story, table};
use crate::writer::{DURABLE, SCRIPTS, Script, Stop, Writer, copy_tree};

/// Rounds of the whole sweep: 2000 flips, 500 truncations, 200 zeroed pages, 100 files deleted, emptied or swapped, and
/// 100 that are older.
const ROUNDS: u64 = 100;
/// Every day one round in so many runs, and as many again if there is time.
const EVERY: u64 = 20;
/// When a day's second part, and then the fresh seeds, are left out.
const SECOND_PART_UNTIL: Duration = Duration::from_secs(20);
const FRESH_UNTIL: Duration = Duration::from_secs(30);
/// Fresh seeds are above the fixed ones.
const FRESH_FROM: u64 = 1 << 20;
/// Bytes that must be free in memory for cases to lie there.
const MEMORY_FREE_MIN: u64 = 1 << 30;
/// Names the directory that a child writes an image into.
const WRITE_TO: &str = "OYEZ_SWEEP_WRITE_TO";

/// In memory if there is room, since cases are many and short-lived.
fn work() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut disk = open_disk(DiskChoice::Thread).expect("the disk opens").disk;
    let free = disk.free_bytes(memory).unwrap_or(0);
    let in_memory = (free >= MEMORY_FREE_MIN).then(|| tempfile::tempdir_in(memory));
    match in_memory {
        Some(Ok(work)) => work,
        _ => tempfile::tempdir().expect("a directory"),
    }
}

fn write(images: &Path, script: &Script) {
    let root = images.join(script.name);
    std::fs::create_dir_all(&root).expect("a directory for the image");
    let mut writer = Writer::new(&root, script);
    (script.run)(&mut writer);
    writer.finish();
}

/// Prints past the capture of the test runner.
fn say(text: &str) {
    // A closed stderr is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_full() -> bool {
    std::env::var_os("OYEZ_FULL").is_some_and(|value| value != "0")
}

/// The seeds of the rounds that leave `rest` when divided by [`EVERY`].
fn part_of_rounds(rest: u64) -> impl Iterator<Item = u64> {
    let rounds = (0..ROUNDS).filter(move |round| round % EVERY == rest);
    rounds.flat_map(|round| round * ROUND..(round + 1) * ROUND)
}

/// Seeds that no run had before.
fn fresh_seeds() -> Vec<u64> {
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let from = FRESH_FROM + since_1970.as_millis() as u64 % (1 << 40);
    let rounds = if is_full() { ROUNDS / EVERY } else { 1 };
    say(&format!("sweep: fresh seeds from {from} on"));
    (from..from + rounds * ROUND).collect()
}

/// Runs as many cases as there is time for.
fn sweep(work: &Path, began: Instant) -> Vec<Shown> {
    if is_full() {
        let mut seeds: Vec<u64> = (0..ROUNDS * ROUND).collect();
        seeds.extend(fresh_seeds());
        return run::run(work, &seeds);
    }
    let mut shown = run::run(work, &part_of_rounds(0).collect::<Vec<u64>>());
    if began.elapsed() < SECOND_PART_UNTIL {
        let seeds: Vec<u64> = part_of_rounds(EVERY / 2).collect();
        shown.extend(run::run(work, &seeds));
    }
    if began.elapsed() < FRESH_UNTIL {
        shown.extend(run::run(work, &fresh_seeds()));
    }
    shown
}

fn check(shown: &[Shown]) {
    if let Some(file) = std::env::var_os("OYEZ_SWEEP_STORIES") {
        let stories: Vec<String> = shown.iter().map(story).collect();
        std::fs::write(file, stories.join("\n")).expect("the stories are written");
    }
    let wrong = shown.iter().filter(|case| !case.faults.is_empty()).count();
    if is_full() || wrong > 0 {
        say(&format!("{}\n{}", table(shown), examples(shown)));
    }
    assert!(
        wrong == 0,
        "{wrong} of {} cases are wrong; OYEZ_SEED=N tells one case's story",
        shown.len()
    );
}

#[test]
fn damage_hides_no_loss_and_withholds_nothing_that_is_whole() {
    let began = Instant::now();
    let work = work();
    for script in &SCRIPTS {
        write(&images(work.path()), script);
    }
    let written = began.elapsed();
    if let Ok(seed) = std::env::var("OYEZ_SEED") {
        let seed = seed.parse().expect("OYEZ_SEED is a number");
        let shown = run::run(work.path(), &[seed]);
        say(&story(&shown[0]));
        assert!(shown[0].faults.is_empty(), "seed {seed} is wrong");
        return;
    }
    let shown = sweep(work.path(), began);
    say(&format!(
        "sweep: {} cases, {:.1} s, {:.1} s of it for the images",
        shown.len(),
        began.elapsed().as_secs_f32(),
        written.as_secs_f32()
    ));
    check(&shown);
}

#[test]
fn an_undamaged_directory_opens_as_it_was_left() {
    let work = work();
    let mut wrong = Vec::new();
    for script in &SCRIPTS {
        write(&images(work.path()), script);
        for (durability, stop) in DURABLE.into_iter().flat_map(|d| Stop::BOTH.map(|s| (d, s))) {
            let name = Name {
                script: script.name,
                stop,
                durability,
            };
            let image = Image::load(&images(work.path()), name);
            for seed in 0..2 {
                let dir = work.path().join("case");
                let mut case = Case::new(&image, seed, &dir);
                let verdict = try_case(&mut case, &Damage::none(), &intact(&image));
                if !verdict.faults.is_empty() || !verdict.notes.is_empty() {
                    wrong.push(format!("{name}, seed {seed}: {verdict:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file's bytes, without the directory's fingerprint in a state, and the checksum over it.
fn comparable(path: &Path) -> Vec<u8> {
    let mut bytes = read_sparse(path);
    if bytes.starts_with(b"OYEZLOG1") {
        bytes[152..160].fill(0);
        bytes[12..16].fill(0);
    }
    bytes
}

/// Shows that the images are like real ones.
#[test]
fn a_killed_process_leaves_byte_for_byte_what_the_image_holds() {
    let work = work();
    let script = &SCRIPTS[2];
    write(work.path(), script);
    let real = work.path().join("real");
    let mut child = itself("writes_until_it_is_killed")
        .env(WRITE_TO, &real)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts itself");
    let lines = run::lines_of(&mut child);
    let written = lines.iter().any(|line| line.contains("@written"));
    child.kill().expect("the child is there");
    child.wait().expect("the child ends");
    assert!(written, "the child has written everything");
    copy_tree(&real.join("data"), &work.path().join("copy"));
    let image = work.path().join(script.name).join(Stop::Kill.name());
    let mut files = 0;
    for directory in [".", "written-0", "synced-0"] {
        let (one, other) = (
            image.join(directory),
            work.path().join("copy").join(directory),
        );
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).expect("a directory").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&one), names(&other), "{directory}");
        for name in names(&one) {
            let (one, other) = (one.join(&name), other.join(&name));
            if one.is_file() {
                let [left, right] = [&one, &other].map(|path| comparable(path));
                assert!(left == right, "{}", one.display());
                files += 1;
            }
        }
    }
    assert!(files > 10, "{files} files");
}

#[test]
#[ignore = "the sweep runs it in processes of their own"]
fn runs_its_part_of_the_sweep() {
    let variable = |name| std::env::var(name).ok();
    if let (Some(seeds), Some(work)) = (variable(run::SEEDS), variable(run::WORK)) {
        run::part(Path::new(&work), &seeds);
    }
}

#[test]
#[ignore = "another test runs it in a process of its own and kills it"]
fn writes_until_it_is_killed() {
    let Some(root) = std::env::var_os(WRITE_TO) else {
        return;
    };
    std::fs::create_dir_all(&root).expect("a directory");
    let script = &SCRIPTS[2];
    let mut writer = Writer::new(Path::new(&root), script);
    (script.run)(&mut writer);
    writer.quiet();
    say_out("\n@written\n");
    // Until the end of the input or of the process, whichever comes first.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn say_out(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}
