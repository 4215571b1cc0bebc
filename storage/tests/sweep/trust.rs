//! Tests of the judge: it finds every fault that there is, and none that there is not.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_storage::Durability;
use tempfile::TempDir;

use crate::case::{Key, Outcome, Road, Start};
use crate::damage::{Damage, Damaged, inflict};
use crate::image::{Image, Name, write_sparse};
use crate::judge::{Fault, FilesSeen, Note, Verdict, judge};
use crate::layout::used;
use crate::run::{ENDS_ITS_PROCESS, images, intact, run};
use crate::writer::{SCRIPTS, Stop};

static IMAGE: LazyLock<Image> = LazyLock::new(|| image("small"));

/// A synced log after a kill.
fn image(name: &str) -> Image {
    let work = crate::work();
    let script = SCRIPTS.iter().find(|script| script.name == name);
    let script = script.expect("a script of that name");
    crate::write(work.path(), script);
    let name = Name {
        script: script.name,
        stop: Stop::Kill,
        durability: Durability::Synced,
    };
    Image::load(work.path(), name)
}

fn road(image: &Image) -> Road {
    Road {
        read: image
            .oracle
            .records
            .iter()
            .map(|known| known.key())
            .collect(),
        next: image.oracle.next.clone(),
        ..Road::default()
    }
}

fn start(image: &Image) -> Start {
    Start {
        epoch: image.oracle.epoch,
        epoch_changed: false,
        gaps: Vec::new(),
        report: String::new(),
        by_places: road(image),
        by_walk: road(image),
    }
}

/// Two starts that show everything, and a record appended between them.
fn flawless(image: &Image) -> Outcome {
    let appended: Key = ("news/europe".to_owned(), 200);
    let mut second = start(image);
    second.by_places.read.insert(appended.clone());
    Outcome {
        starts: vec![start(image), second],
        appended: vec![appended],
        faults: Vec::new(),
    }
}

fn lose(outcome: &mut Outcome, key: &Key) {
    for start in &mut outcome.starts {
        start.by_places.read.remove(key);
        start.by_walk.read.remove(key);
    }
}

fn faults(damage: &Damage, outcome: &Outcome) -> Vec<Fault> {
    judge(&IMAGE, damage, outcome).faults.into_keys().collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let verdict = judge(&IMAGE, &Damage::none(), &flawless(&IMAGE));
    assert!(verdict.faults.is_empty() && verdict.notes.is_empty());
}

#[test]
fn a_missing_record_is_withheld_if_it_is_whole_and_silent_unless_it_is_told() {
    let known = &IMAGE.oracle.records[7];
    let none = Damage::none();
    let mut outcome = flawless(&IMAGE);
    lose(&mut outcome, &known.key());
    assert_eq!(faults(&none, &outcome), [Fault::Silent, Fault::Withheld]);
    let hit = Damage::of(IMAGE.place(known).0, IMAGE.place(known).1);
    assert_eq!(faults(&hit, &outcome), [Fault::Silent]);
    let next = Damage::of(IMAGE.place(known).0, {
        let end = IMAGE.place(known).1.end;
        end..end + 8
    });
    assert_eq!(faults(&next, &outcome), [Fault::Silent, Fault::Withheld]);
    outcome.starts[0]
        .gaps
        .push(known.sequence..known.sequence + 1);
    assert_eq!(faults(&hit, &outcome), []);
    outcome.starts[0].gaps[0] = known.sequence + 1..known.sequence + 9;
    assert_eq!(faults(&hit, &outcome), [Fault::Silent]);
    outcome.starts[0].gaps.clear();
    outcome.starts[0].by_places.told.insert(known.key());
    assert_eq!(faults(&hit, &outcome), []);
    outcome.starts[0].by_places.told.clear();
    for start in &mut outcome.starts {
        start.epoch += 1;
    }
    assert_eq!(faults(&hit, &outcome), []);
}

#[test]
fn a_new_epoch_for_nothing_is_a_false_alarm_only_where_that_can_be_told() {
    let mut outcome = flawless(&IMAGE);
    for start in &mut outcome.starts {
        start.epoch += 1;
    }
    assert_eq!(faults(&Damage::none(), &outcome), [Fault::FalseAlarm]);
    let state = Damage::of("synced-0/state", 0..1);
    let verdict = judge(&IMAGE, &state, &outcome);
    assert!(verdict.faults.is_empty() && verdict.notes.contains(&Note::Alarm));
}

#[test]
fn an_offset_is_given_once_in_an_epoch() {
    let mut outcome = flawless(&IMAGE);
    let key = (outcome.appended[0].0.clone(), 199);
    outcome.appended = vec![key.clone()];
    outcome.starts[1].by_places.read.insert(key);
    let found = faults(&Damage::none(), &outcome);
    assert!(found.contains(&Fault::Reuse), "{found:?}");
}

#[test]
fn a_second_start_finds_what_the_first_one_left() {
    let none = Damage::none();
    let mut other_epoch = flawless(&IMAGE);
    other_epoch.starts[1].epoch += 1;
    let mut gap = flawless(&IMAGE);
    gap.starts[1].gaps.push(3..4);
    let mut less = flawless(&IMAGE);
    let appended = less.appended[0].clone();
    less.starts[1].by_places.read.remove(&appended);
    let mut more = flawless(&IMAGE);
    more.starts[1].by_places.read.insert(("a".to_owned(), 0));
    for outcome in [other_epoch, gap, less, more] {
        assert_eq!(faults(&none, &outcome), [Fault::Second]);
    }
}

/// Judges the files that are left when `change` has changed those of the image.
fn files_after(damage: &Damage, before: &Damaged<'_>, change: impl FnOnce(&TempDir)) -> Verdict {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("synced-0")).expect("a directory");
    for (name, bytes) in before {
        write_sparse(&dir.path().join(name), bytes);
    }
    change(&dir);
    let mut verdict = Verdict::default();
    let seen = FilesSeen {
        image: &IMAGE,
        damage,
        before,
        dir: dir.path(),
    };
    let mut outcome = flawless(&IMAGE);
    let known = &IMAGE.oracle.records[7];
    if damage.hits(&IMAGE, known) {
        lose(&mut outcome, &known.key());
    }
    seen.judge(&outcome, &mut verdict);
    verdict
}

const SEGMENT: &str = "synced-0/0000000000000000.seg";

#[test]
fn a_file_may_go_if_it_was_blank_or_is_whole_elsewhere_or_set_aside() {
    let remove = |name: &'static str| {
        move |dir: &TempDir| fs::remove_file(dir.path().join(name)).expect("it is there")
    };
    let (none, before) = (Damage::none(), intact(&IMAGE));
    let hit = Damage::of(SEGMENT, IMAGE.place(&IMAGE.oracle.records[7]).1);
    let aside = |dir: &TempDir| {
        let path = dir.path().join(SEGMENT);
        fs::rename(&path, path.with_extension("seg.damaged-1")).expect("it is renamed");
    };
    // Its records are all read, so they are elsewhere.
    assert!(
        files_after(&none, &before, remove(SEGMENT))
            .faults
            .is_empty()
    );
    let verdict = files_after(&hit, &before, remove(SEGMENT));
    assert!(verdict.faults.contains_key(&Fault::Unlinked));
    let verdict = files_after(&hit, &before, aside);
    assert!(verdict.faults.is_empty() && verdict.notes.contains(&Note::SetAside));
    let verdict = files_after(&none, &before, remove("synced-0/state"));
    assert!(verdict.faults.contains_key(&Fault::Unlinked));
}

#[test]
fn a_segment_keeps_what_was_written_into_it() {
    let (none, before) = (Damage::none(), intact(&IMAGE));
    let change = |at: usize, byte: u8, len: usize| {
        move |dir: &TempDir| {
            let mut bytes = IMAGE.files[SEGMENT].clone();
            bytes[at] = byte;
            bytes.truncate(len);
            write_sparse(&dir.path().join(SEGMENT), &bytes);
        }
    };
    let len = IMAGE.files[SEGMENT].len();
    let rewritten = |change: &dyn Fn(&TempDir)| {
        let faults = files_after(&none, &before, change).faults;
        faults.contains_key(&Fault::Rewritten)
    };
    assert!(!rewritten(&change(len - 9, 1, len)), "it goes on");
    assert!(rewritten(&change(0, 0, len)));
    assert!(rewritten(&change(len - 9, 0, len - 8)));
}

#[test]
fn a_case_that_ends_its_process_is_seen_and_the_others_run() {
    let work = crate::work();
    for script in &SCRIPTS {
        crate::write(&images(work.path()), script);
    }
    let shown = run(work.path(), &[ENDS_ITS_PROCESS, 3, 4]);
    let ended: Vec<bool> = shown
        .iter()
        .map(|case| case.faults.contains_key(&Fault::Signal))
        .collect();
    assert_eq!(ended, [false, false, true]);
}

#[test]
fn look_alikes_stand_where_frames_may_begin() {
    let image = image("mimic");
    let bytes = &image.files[SEGMENT];
    let is_forged = |at: usize| {
        let size = bytes[at..]
            .first_chunk()
            .map(|size| u32::from_le_bytes(*size));
        let frame = bytes.get(at..at + size.unwrap_or(0) as usize);
        let record = frame.and_then(|frame| Record::verify_stamped(frame, &Limits::HARD).ok());
        record.is_some_and(|record| record.topic() == "forged")
    };
    let used = used(&image.spans[SEGMENT]);
    let forged = (0..used).step_by(8).filter(|at| is_forged(*at));
    assert_eq!(forged.count(), 48, "two in each record of the topic");
}

#[test]
fn seeds_damage_what_they_are_said_to() {
    let mut hit = BTreeSet::new();
    for seed in 0..200 {
        let mut files = intact(&IMAGE);
        let damage = inflict(&IMAGE, seed, &mut files);
        let same = IMAGE.files.iter().all(|(name, bytes)| {
            let now = files.get(name).map(|bytes| bytes.as_ref());
            now == Some(bytes.as_slice())
        });
        assert!(!same, "seed {seed}: {}", damage.about);
        hit.insert(damage.hit);
        let mut again = intact(&IMAGE);
        let repeated = inflict(&IMAGE, seed, &mut again);
        assert!(repeated.about == damage.about && again == files);
    }
    assert!(hit.len() > 6, "{hit:?}");
}
