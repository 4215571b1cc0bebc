//! The verdict on a case, from its damage and its observations.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::case::{Key, Outcome, Start};
use crate::damage::{Damage, Damaged};
use crate::image::{Image, Known, read_sparse};
use crate::layout::Sort;

const PAGE: usize = 4096;

/// A fault: something that must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The directory or the log is not opened.
    Refusal,
    Panic,
    /// The process ended.
    Signal,
    /// The test waits for something in vain, or a record is refused.
    Stuck,
    /// A record that was never acknowledged, or other bytes than it had.
    Wrong,
    Duplicate,
    Disorder,
    /// An acknowledged record is missing without a report.
    Silent,
    /// A record is missing although none of its bytes is damaged.
    Withheld,
    /// A file is gone that was neither blank nor read whole from elsewhere.
    Unlinked,
    /// Bytes of a segment that were written are others, or cut off.
    Rewritten,
    /// A new record has the offset of an acknowledged one, in the same epoch.
    Reuse,
    /// The start after this one loses something, or finds something else.
    Second,
    /// A new epoch or a gap, though nothing is missing and that can be told.
    FalseAlarm,
}

impl Fault {
    pub(crate) const ALL: [Self; 14] = [
        Self::Refusal,
        Self::Panic,
        Self::Signal,
        Self::Stuck,
        Self::Wrong,
        Self::Duplicate,
        Self::Disorder,
        Self::Silent,
        Self::Withheld,
        Self::Unlinked,
        Self::Rewritten,
        Self::Reuse,
        Self::Second,
        Self::FalseAlarm,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Panic => "panic",
            Self::Signal => "signal",
            Self::Stuck => "stuck",
            Self::Wrong => "wrong",
            Self::Duplicate => "duplicate",
            Self::Disorder => "disorder",
            Self::Silent => "silent",
            Self::Withheld => "withheld",
            Self::Unlinked => "unlinked",
            Self::Rewritten => "rewritten",
            Self::Reuse => "reuse",
            Self::Second => "second",
            Self::FalseAlarm => "false-alarm",
        }
    }
}

/// Something that may happen, and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Note {
    /// A loss that is reported.
    Told,
    /// A loss that a start cannot see.
    Hidden,
    /// A new epoch or a gap, though no record is missing: the damaged bytes might have held one.
    Alarm,
    /// A walk passes over a record that its topic's places still have.
    Unwalked,
    /// A file is set aside.
    SetAside,
}

impl Note {
    pub(crate) const ALL: [Self; 5] = [
        Self::Told,
        Self::Hidden,
        Self::Alarm,
        Self::Unwalked,
        Self::SetAside,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Hidden => "hidden",
            Self::Alarm => "alarm",
            Self::Unwalked => "unwalked",
            Self::SetAside => "set-aside",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) faults: BTreeMap<Fault, Vec<String>>,
    pub(crate) notes: BTreeSet<Note>,
}

impl Verdict {
    fn fault(&mut self, fault: Fault, what: impl Into<String>) {
        self.faults.entry(fault).or_default().push(what.into());
    }
}

/// Judges the observations of the log; [`judge_files`] judges those of its files.
pub(crate) fn judge(image: &Image, damage: &Damage, outcome: &Outcome) -> Verdict {
    let mut verdict = Verdict::default();
    for (fault, what) in &outcome.faults {
        verdict.fault(*fault, what);
    }
    let Some(first) = outcome.starts.first() else {
        return verdict;
    };
    let missing = judge_records(image, damage, first, &mut verdict);
    let alarmed = first.epoch != image.oracle.epoch || !first.gaps.is_empty();
    if alarmed && missing == 0 {
        // Payloads that look like marks speak of records that never were.
        match damage.is_harmless && !image.oracle.next.contains_key("mimic") {
            true => verdict.fault(Fault::FalseAlarm, &first.report),
            false => drop(verdict.notes.insert(Note::Alarm)),
        }
    }
    if !damage.is_hidden {
        judge_offsets(image, first, &outcome.appended, &mut verdict);
    }
    if let Some(second) = outcome.starts.get(1) {
        judge_second(first, second, &outcome.appended, &mut verdict);
    }
    verdict
}

/// Judges which records came. Returns how many did not.
fn judge_records(image: &Image, damage: &Damage, first: &Start, verdict: &mut Verdict) -> usize {
    let mut missing = 0;
    for known in &image.oracle.records {
        let key = known.key();
        if first.by_places.read.contains(&key) {
            if !first.by_walk.read.contains(&key) {
                verdict.notes.insert(Note::Unwalked);
            }
            continue;
        }
        missing += 1;
        let what = format!(
            "{key:?}, sequence {}, {} at {}",
            known.sequence, known.size, known.position
        );
        if !damage.hits(image, known) {
            verdict.fault(Fault::Withheld, &what);
        }
        if is_told(image, known, first) {
            verdict.notes.insert(Note::Told);
        } else if damage.is_hidden {
            verdict.notes.insert(Note::Hidden);
        } else {
            verdict.fault(Fault::Silent, what);
        }
    }
    missing
}

/// Whether the loss of a record is reported: by a new epoch, by a gap, or when it is read.
fn is_told(image: &Image, known: &Known, first: &Start) -> bool {
    let (from, to) = (known.position, known.position + u64::from(known.size));
    let overlaps = |at: &std::ops::Range<u64>| at.start < to && from < at.end;
    first.epoch != image.oracle.epoch
        || first.gaps.iter().any(|gap| gap.contains(&known.sequence))
        || first.by_places.told.contains(&known.key())
        || first.by_walk.told_at.iter().any(overlaps)
}

fn judge_offsets(image: &Image, first: &Start, appended: &[Key], verdict: &mut Verdict) {
    for (topic, offset) in appended {
        let acknowledged = image.oracle.next[topic];
        let same_epoch = first.epoch == image.oracle.epoch;
        let given = first.by_places.next.get(topic).copied().unwrap_or(0);
        if same_epoch && *offset < acknowledged || *offset < given {
            let what = format!("{topic} goes on with {offset}, {acknowledged} was next");
            verdict.fault(Fault::Reuse, what);
        }
    }
}

fn judge_second(first: &Start, second: &Start, appended: &[Key], verdict: &mut Verdict) {
    if second.epoch != first.epoch || second.epoch_changed || !second.gaps.is_empty() {
        verdict.fault(Fault::Second, &second.report);
    }
    let mut wanted = first.by_places.read.clone();
    wanted.extend(appended.iter().cloned());
    let lost: Vec<&Key> = wanted.difference(&second.by_places.read).collect();
    if !lost.is_empty() {
        let what = format!("{} records less, from {:?} on", lost.len(), lost[0]);
        verdict.fault(Fault::Second, what);
    }
    let more: Vec<&Key> = second.by_places.read.difference(&wanted).collect();
    if !more.is_empty() {
        let what = format!("{} records more, from {:?} on", more.len(), more[0]);
        verdict.fault(Fault::Second, what);
    }
}

/// The files before the first start, and those after the last one.
pub(crate) struct FilesSeen<'a> {
    pub(crate) image: &'a Image,
    pub(crate) damage: &'a Damage,
    pub(crate) before: &'a Damaged<'a>,
    pub(crate) dir: &'a Path,
}

impl FilesSeen<'_> {
    /// Judges the changes of the files.
    pub(crate) fn judge(&self, outcome: &Outcome, verdict: &mut Verdict) {
        for (name, bytes) in self.before {
            if self.is_set_aside(name, bytes) {
                verdict.notes.insert(Note::SetAside);
                continue;
            }
            let path = self.dir.join(name);
            if !path.exists() {
                if !self.may_go(name, bytes, outcome) {
                    verdict.fault(Fault::Unlinked, format!("{name}, {} bytes", bytes.len()));
                }
            } else if name.ends_with(".seg") {
                let after = read_sparse(&path);
                // A segment that stood under another one's name may have got its own back.
                let own = self.before.get(self.damage.origin(name));
                let is_back = own.is_some_and(|own| rewritten(own, &after).is_none());
                let what = rewritten(bytes, &after).filter(|_| !is_back);
                if let Some(what) = what {
                    verdict.fault(Fault::Rewritten, format!("{name}: {what}"));
                }
            }
        }
    }

    fn is_set_aside(&self, name: &str, bytes: &[u8]) -> bool {
        let path = self.dir.join(name);
        let prefix = format!("{}.damaged-", file_name(&path));
        let entries = fs::read_dir(path.parent().unwrap_or(self.dir));
        let mut entries = entries.into_iter().flatten().flatten();
        entries.any(|entry| {
            let same_name = entry.file_name().to_string_lossy().starts_with(&prefix);
            same_name && read_sparse(&entry.path()) == bytes
        })
    }

    fn may_go(&self, name: &str, bytes: &[u8], outcome: &Outcome) -> bool {
        let segment = match Sort::of(name, bytes) {
            _ if name.ends_with(".new") || bytes.iter().all(|byte| *byte == 0) => return true,
            Sort::Segment => self.damage.origin(name).to_owned(),
            Sort::Footer => self.damage.origin(name).replace(".idx", ".seg"),
            _ => return false,
        };
        let records = self.image.oracle.records.iter();
        let mut of_segment = records.filter(|known| {
            let (file, range) = self.image.place(known);
            let cut = Sort::of(name, bytes) == Sort::Segment && range.start >= bytes.len();
            file == segment && !cut
        });
        let read = outcome.starts.last().map(|start| &start.by_places.read);
        read.is_some_and(|read| of_segment.all(|known| read.contains(&known.key())))
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Where a segment lost bytes that were written.
fn rewritten(before: &[u8], after: &[u8]) -> Option<String> {
    if after.len() < before.len() {
        return Some(format!("{} of {} bytes", after.len(), before.len()));
    }
    let pages = before.chunks(PAGE).zip(after.chunks(PAGE)).enumerate();
    for (number, (before, after)) in pages {
        let after = &after[..before.len()];
        if before == after {
            continue;
        }
        let other = before
            .iter()
            .zip(after)
            .position(|(b, a)| *b != 0 && a != b);
        if let Some(at) = other {
            return Some(format!("byte {} is another", number * PAGE + at));
        }
    }
    None
}
