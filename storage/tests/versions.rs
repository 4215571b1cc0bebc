//! Data directories that releases wrote: each later version opens them with all that they held.
//!
//! `fixtures/make` shows how they were made. Ranges of zeroes are holes in the restored files; otherwise they equal what the
//! release left.

mod support;

use std::path::Path;

use oyez_protocol::record::Record;
use oyez_protocol::{Offset, Position};
use oyez_storage::*;
use support::fixture::{Fixture, Held, HeldLog, HeldTopic, Packed, boot_id, set_boot_id};
use support::{Rig, dir, options, pool, record};

const RELEASE: &str = "0.1.0";
const DURABLE: [Durability; 2] = [Durability::Written, Durability::Synced];
/// From the newest record of a directory to its opening, and from one opening to the next.
const LATER_MS: u64 = 3_600_000;

fn choices() -> Vec<DiskChoice> {
    let mut choices = vec![DiskChoice::Thread];
    match probe_uring() {
        Ok(()) => choices.push(DiskChoice::Uring),
        Err(why) => eprintln!("io_uring is not tested: {why}"),
    }
    choices
}

/// How a directory was left, and what the next start must find.
#[derive(Clone, Copy)]
struct Left {
    name: &'static str,
    /// The run of the machine that is to have had the logs open, instead of the true one.
    boot_id: Option<u128>,
    /// Without them every segment is read frame by frame, those too whose end a recovery has copied to the next one.
    footers: bool,
    clean: bool,
    /// Logs that begin a new epoch.
    anew: &'static [Durability],
}

#[test]
fn a_directory_of_0_1_0_that_was_stopped_opens_with_all_it_held() {
    opens_with_all_it_held(&Left {
        name: "clean",
        boot_id: None,
        footers: true,
        clean: true,
        anew: &[],
    });
}

#[test]
fn a_directory_of_0_1_0_that_was_killed_opens_with_all_it_held() {
    opens_with_all_it_held(&Left {
        name: "killed",
        boot_id: Some(boot_id()),
        footers: true,
        clean: false,
        anew: &[],
    });
}

/// A written log survives as long as the kernel's memory: when the machine goes down, acknowledged records may be lost.
#[test]
fn a_directory_of_0_1_0_whose_machine_went_down_too_has_a_new_epoch_for_its_written_log_alone() {
    opens_with_all_it_held(&Left {
        name: "killed",
        boot_id: Some(!boot_id()),
        footers: true,
        clean: false,
        anew: &[Durability::Written],
    });
}

#[test]
fn directories_of_0_1_0_without_their_footers_open_with_all_they_held() {
    for (name, clean) in [("clean", true), ("killed", false)] {
        opens_with_all_it_held(&Left {
            name,
            boot_id: Some(boot_id()),
            footers: false,
            clean,
            anew: &[],
        });
    }
}

fn opens_with_all_it_held(left: &Left) {
    for choice in choices() {
        let temp = tempfile::tempdir().expect("a directory");
        let fixture = Fixture::load(RELEASE, left.name);
        fixture.unpack(temp.path(), |name| left.footers || !name.ends_with(".idx"));
        for log in ["written-0", "synced-0"] {
            if let Some(boot_id) = left.boot_id {
                set_boot_id(&temp.path().join(log), boot_id);
            }
        }
        let mut opening = Opening {
            what: format!("{} {choice:?}", left.name),
            path: temp.path(),
            choice,
            now_ms: fixture.manifest.last_ms() + LATER_MS,
            held: DURABLE.map(|durability| fixture.manifest.logs[&durability].clone()),
        };
        opening.again(left.clean, left.anew, |_, _| {});
        opening.again(false, &[], append_everywhere);
        opening.again(false, &[], |rig, _| rig.drain());
        opening.again(true, &[], |_, _| {});
    }
}

/// A directory that is opened again and again.
struct Opening<'a> {
    what: String,
    path: &'a Path,
    choice: DiskChoice,
    now_ms: u64,
    /// What the logs of [`DURABLE`] must hold.
    held: [HeldLog; 2],
}

impl Opening<'_> {
    /// Opens it, compares, and leaves it as `then` does. `anew` are the logs whose epoch must be a new one.
    fn again(
        &mut self,
        clean: bool,
        anew: &[Durability],
        then: impl FnOnce(&mut Rig, &mut [HeldLog; 2]),
    ) {
        self.now_ms += LATER_MS;
        let (data, _lock) = dir(self.path);
        let disk = open_disk(self.choice).expect("the disk opens").disk;
        let mut rig = Rig::open(&data, disk, &pool(32), &options(), self.now_ms);
        for (durability, held) in DURABLE.into_iter().zip(&mut self.held) {
            let what = format!("{} {durability}", self.what);
            let report = rig.report(durability);
            assert_eq!(report.clean, clean, "{what}: {report:?}");
            assert_eq!((&report.gaps[..], report.cut_bytes), (&[][..], 0), "{what}");
            let is_new = anew.contains(&durability);
            assert_eq!(report.epoch_changed, is_new, "{what}: {report:?}");
            assert_eq!(report.epoch.get() != held.epoch, is_new, "{what}");
            held.epoch = report.epoch.get();
            holds(&mut rig, durability, held, &what);
        }
        let memory = rig.log(Durability::Memory);
        assert_eq!(rig.dump(memory), [], "a memory log is empty");
        then(&mut rig, &mut self.held);
    }
}

/// Nothing is missing, nothing is there besides, and all of it is in order: in the log, in each topic, in the list of
/// topics.
fn holds(rig: &mut Rig, durability: Durability, held: &HeldLog, what: &str) {
    let log = rig.log(durability);
    let found = rig.records(log);
    for (number, (bytes, held_record)) in (0..).zip(found.iter().zip(&held.records)) {
        assert_eq!(Held::of(bytes), *held_record, "{what}: record {number}");
        let sequence = Record::trusted(bytes).map(|record| record.sequence().get());
        assert_eq!(sequence, Some(held.first_sequence + number), "{what}");
    }
    assert_eq!(found.len(), held.records.len(), "{what}: records");
    let mut topics = rig.store.topics(None, usize::MAX);
    topics.retain(|topic| topic.durability == durability);
    let topics: Vec<HeldTopic> = topics
        .into_iter()
        .map(|topic| HeldTopic {
            name: topic.name,
            earliest: topic.earliest.get(),
            next: topic.next.get(),
        })
        .collect();
    assert_eq!(topics, held.topics, "{what}");
    for topic in &held.topics {
        let mut places = Vec::new();
        rig.store
            .places(log, &topic.name, Offset::new(0), usize::MAX, &mut places);
        let found = places
            .iter()
            .map(|place| (place.first.get(), place.next.get()));
        let own = held
            .records
            .iter()
            .filter(|record| record.topic == topic.name);
        let wanted = own.map(|record| (record.offset, record.next()));
        assert!(found.eq(wanted), "{what}: the places of {}", topic.name);
    }
}

/// A small record to each topic, those whose records are all gone and a new one included, and enough large ones to fill
/// a segment. The offsets go on.
fn append_everywhere(rig: &mut Rig, held: &mut [HeldLog; 2]) {
    for (durability, held) in DURABLE.into_iter().zip(held) {
        let log = rig.log(durability);
        held.topics.push(HeldTopic {
            name: "z/new".into(),
            earliest: 0,
            next: 0,
        });
        let mut end = Position::new(0);
        for topic in &mut held.topics {
            let large = topic.name.ends_with("/large");
            for _ in 0..if large { 20 } else { 1 } {
                let payload = vec![b'+'; if large { 80_000 } else { 30 }];
                let bytes = record(&topic.name, 3, &payload);
                let appended = rig.append(log, &bytes);
                assert_eq!(appended.offset.get(), topic.next, "{}", topic.name);
                assert_eq!(appended.epoch.get(), held.epoch);
                end = appended.end;
                topic.next += 3;
                held.records.push(Held {
                    topic: topic.name.clone(),
                    offset: appended.offset.get(),
                    messages: 3,
                    timestamp_ms: rig.now().wall_ms,
                    crc: oyez_protocol::checksum::crc32c(&bytes[48..]),
                });
            }
        }
        rig.until_visible(log, end);
    }
}

#[test]
fn a_damaged_archive_is_not_taken_for_the_directory() {
    for name in ["clean", "killed"] {
        let mut fixture = Fixture::load(RELEASE, name);
        assert!(fixture.files().is_ok(), "{name}");
        for at in (0..fixture.archive.len()).step_by(97) {
            fixture.archive[at] ^= 1;
            assert!(fixture.files().is_err(), "{name}: byte {at}");
            fixture.archive[at] ^= 1;
        }
        fixture.archive.pop();
        assert!(fixture.files().is_err(), "{name}: shortened");
    }
}

/// Holds directories that are made again to the same standard.
#[test]
fn the_directories_of_0_1_0_have_every_kind_of_file_topic_and_record() {
    for name in ["clean", "killed"] {
        let fixture = Fixture::load(RELEASE, name);
        let files = fixture.files().expect("a sound archive");
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        for wanted in [
            "LOCK",
            "meta",
            "written-0/state",
            "synced-0/state",
            "synced-0/carried",
        ] {
            assert!(names.contains(&wanted), "{name}: {wanted} of {names:?}");
        }
        for durability in DURABLE {
            let what = format!("{name} {durability}");
            let log = &fixture.manifest.logs[&durability];
            has_every_kind_of_segment(&files, durability, &what);
            has_every_kind_of_record(log, &what);
            let gone = |topic: &&HeldTopic| topic.earliest == topic.next && topic.next > 0;
            let all_gone = log.topics.iter().filter(gone).count();
            assert_eq!(
                all_gone,
                usize::from(durability == Durability::Synced),
                "{what}"
            );
        }
    }
}

/// Two or more with footers, an open one, and a blank one ahead of it.
fn has_every_kind_of_segment(files: &[Packed<'_>], durability: Durability, what: &str) {
    let folder = format!("{durability}-0/");
    let of_kind = |ending: &str| {
        let own = files
            .iter()
            .filter(|file| file.name.starts_with(&folder) && file.name.ends_with(ending));
        own.collect::<Vec<_>>()
    };
    let (segments, footers) = (of_kind(".seg"), of_kind(".idx"));
    assert!(
        footers.len() >= 2 && segments.len() == footers.len() + 2,
        "{what}"
    );
    let blank: Vec<bool> = segments.iter().map(|file| file.is_blank()).collect();
    let first_blank = blank.iter().position(|blank| *blank);
    assert_eq!(first_blank, Some(segments.len() - 1), "{what}");
    assert!(
        segments.iter().all(|file| file.bytes == support::SEGMENT),
        "{what}"
    );
}

/// Records of one message and of several, many of one topic, and all of one topic in the first segment.
fn has_every_kind_of_record(log: &HeldLog, what: &str) {
    let of_topic = |ending: &str| {
        let own = |record: &&Held| record.topic.ends_with(ending);
        log.records.iter().filter(own).collect::<Vec<_>>()
    };
    let has_several = |record: &&Held| record.messages > 1;
    let (steady, packed) = (of_topic("/steady"), of_topic("/packed"));
    assert!(steady.iter().any(has_several), "{what}");
    assert!(!steady.iter().all(has_several), "{what}");
    assert!(packed.iter().any(has_several), "{what}");
    let (first, large) = (of_topic("/first"), of_topic("/large"));
    let place = |wanted: &Held| log.records.iter().position(|record| record == wanted);
    // A segment holds four large records.
    let last = first.last().expect("records of the topic");
    assert!(place(last) < place(large[4]), "{what}");
}
