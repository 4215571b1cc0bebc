//! The result of surveying a log's directory. It decides which segments belong to the log, which were never used, which are
//! to be set aside, which an interrupted recovery left, and up to where records are known to be acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Map;
use crate::footer::{Footer, FooterHead};
use crate::format::BLOCK_BYTES;
use crate::listing::Listing;
use crate::loss_history::LossHistory;
use crate::names::{footer_name, segment_name};
use crate::options::Durability;
use crate::recovery::{Assembler, Kept, Scanned};
use crate::scan::BlockScan;
use crate::state::{Carried, Floor, Named, ReportedLosses, State};
use crate::values::Gap;

/// A segment with its footer.
pub(crate) struct Sealed {
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub footer: Footer,
    pub head: FooterHead,
}

pub(crate) enum OnDisk {
    Sealed(Sealed),
    Scanned(Scanned),
}

/// A segment that goes into the log.
pub(crate) enum RecoveredSegment {
    Sealed(Sealed),
    Kept(Kept),
}

/// A segment that was prepared and never used.
pub(crate) struct Blank {
    pub base: u64,
    pub bytes: u64,
    pub path: PathBuf,
}

/// A file that is to be set aside.
pub(crate) struct Aside {
    pub path: PathBuf,
    pub why: &'static str,
}

/// The result of a survey.
pub(crate) struct Survey {
    pub state: Option<State>,
    /// Losses that earlier starts have reported.
    pub loss_history: LossHistory,
    /// A file is damaged or missing in a way that hides which records are lost.
    pub damaged: bool,
    /// Positions of missing bytes of which it is not known which records they held.
    pub missing: Vec<Range<u64>>,
    pub carried: Option<Bytes>,
    pub topics: Carried,
    pub segments: Vec<RecoveredSegment>,
    pub blanks: Vec<Blank>,
    /// Files to remove: unfinished ones, and what retention or an interrupted recovery left.
    pub obsolete: Vec<PathBuf>,
    pub to_set_aside: Vec<Aside>,
    /// Files that were set aside before and are still there.
    pub set_aside: Vec<PathBuf>,
    /// Files that are not the log's.
    pub foreign: Vec<PathBuf>,
    pub assembler: Assembler,
    /// Records with a smaller sequence are known to be durable.
    pub proven: u64,
    pub scanned_bytes: u64,
    /// Position after every segment that was used or may have been.
    pub limit: u64,
    /// Id of the machine's run; 0 if it is not known and the log does not depend on it.
    pub boot_id: u128,
    /// The latest incarnation among the segments that go into the log.
    pub newest: u32,
    /// Segments among the obsolete files: copies that an interrupted recovery left.
    pub copies_removed: u64,
}

impl OnDisk {
    /// Sequence that a segment begins with, if it is known.
    pub(crate) fn first_sequence(&self) -> Option<u64> {
        match self {
            Self::Sealed(sealed) => Some(sealed.head.first_sequence),
            Self::Scanned(scanned) => scanned.first_sequence(),
        }
    }

    fn incarnation(&self, near: u32) -> Option<u32> {
        match self {
            Self::Sealed(sealed) => Some(sealed.head.incarnation),
            Self::Scanned(scanned) => scanned.incarnation(near),
        }
    }

    /// Sequence behind the last of its records, if it has any.
    fn next_sequence(&self) -> Option<u64> {
        match self {
            Self::Sealed(sealed) => Some(sealed.head.next_sequence),
            Self::Scanned(scanned) => scanned.records().map(|record| record.sequence + 1).max(),
        }
    }

    /// The sequences of its records.
    fn sequences(&self) -> Vec<u64> {
        match self {
            Self::Sealed(sealed) => {
                let head = &sealed.head;
                let (mut next, mut found) = (head.first_sequence, Vec::new());
                for gap in &head.gaps {
                    found.extend(next..gap.first_sequence.get());
                    next = next.max(gap.next_sequence.get());
                }
                found.extend(next..head.next_sequence);
                found
            }
            Self::Scanned(scanned) => scanned.records().map(|record| record.sequence).collect(),
        }
    }

    /// A lower bound of the sequences in all segments behind, by intact headers and footers.
    pub(crate) fn has_reached(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.head.next_sequence,
            Self::Scanned(scanned) => {
                let blocks = scanned.blocks.iter();
                blocks.map(BlockScan::has_reached).max().unwrap_or(0)
            }
        }
    }

    fn limit(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.head.base + sealed.map.len(),
            Self::Scanned(scanned) => {
                (scanned.base + scanned.len.max(1)).next_multiple_of(BLOCK_BYTES)
            }
        }
    }
}

impl Survey {
    pub(crate) fn floor(&self) -> Option<Floor> {
        self.state.and_then(|state| state.floor)
    }

    pub(crate) fn set_aside(&mut self, path: PathBuf, why: &'static str) {
        self.to_set_aside.push(Aside { path, why });
    }

    /// Whether acknowledged records are missing, or may be.
    pub(crate) fn is_lossy(&self) -> bool {
        let mut missing = self.missing.iter();
        self.damaged
            || missing.any(|range| !self.loss_history.has_missing(range))
            || self.new_losses().next().is_some()
    }

    /// Losses that no earlier start has reported.
    pub(crate) fn new_losses(&self) -> impl Iterator<Item = Gap> {
        let losses = self.assembler.losses.iter();
        losses.flat_map(|loss| self.loss_history.unreported(loss))
    }

    /// The losses that the next start is not to report again; first those that no footer records yet.
    pub(crate) fn reported(&self) -> ReportedLosses {
        let mut losses = self.assembler.losses.clone();
        losses.sort_by_key(|loss| self.loss_history.is_in_footers(loss));
        ReportedLosses::of(&losses, &self.missing)
    }

    /// Notes the bytes of a segment without a footer that could not be read, or were cut off.
    pub(crate) fn note_missing_parts(&mut self, scanned: &Scanned) {
        for range in &scanned.missing {
            self.note_missing(range.start, range.end);
        }
        // It is not known how much was cut off beyond the last block.
        let end = scanned.base + scanned.len;
        let limit = end.next_multiple_of(BLOCK_BYTES);
        if end < limit {
            self.note_missing(end, limit);
        }
    }

    /// Notes that the bytes between two positions are missing.
    pub(crate) fn note_missing(&mut self, from: u64, to: u64) {
        match self.missing.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ => self.missing.push(from..to),
        }
    }

    /// Whether, by the state of a drained log, a segment was made and never used.
    pub(crate) fn is_unused_spare(&self, base: u64, bytes: u64) -> bool {
        self.state
            .filter(|state| state.clean)
            .is_some_and(|state| state.named[1] == Named { base, bytes } && base >= state.end)
    }

    /// Checks that the files that the state names are there in full length.
    pub(crate) fn check_named(&mut self, listing: &Listing) {
        let Some(state) = self.state else {
            return;
        };
        for named in state.named() {
            let found = listing.segments.get(&named.base);
            let dropped = self
                .floor()
                .is_some_and(|floor| named.limit() <= floor.position);
            if !dropped && found.is_none_or(|bytes| *bytes < named.bytes) {
                self.damaged = true;
                self.limit = self.limit.max(named.limit());
            }
        }
    }

    /// Returns the segments that go into the log. Notes those that were never used, cannot be read, or were left by an
    /// interrupted recovery.
    pub(crate) fn sort(&mut self, dir: &Path, segments: BTreeMap<u64, OnDisk>) -> Vec<OnDisk> {
        let mut used = Vec::with_capacity(segments.len());
        let end = self.state.map_or(0, |state| state.end);
        let without_records = self.without_records(&segments);
        for (base, segment) in segments {
            let limit = segment.limit();
            match segment {
                OnDisk::Scanned(scanned) if is_blank(&scanned) && base >= end => {
                    self.blanks.push(Blank {
                        base,
                        bytes: scanned.len,
                        path: dir.join(segment_name(base)),
                    });
                    continue;
                }
                OnDisk::Scanned(scanned) if scanned.is_unreadable() => {
                    let foreign = scanned.blocks.iter().any(|block| block.is_foreign);
                    let whole = scanned.len > 0 && scanned.len.is_multiple_of(BLOCK_BYTES);
                    let unused = base >= end || without_records.contains(&base);
                    if unused && whole && !foreign {
                        // It holds the beginning of its first write, which did not complete.
                        used.push(OnDisk::Scanned(scanned));
                    } else {
                        self.note_missing(base, limit);
                        let why = match scanned.is_blank() {
                            true => "nothing is left of the records that it held",
                            false => "nothing in it can be read as this log's",
                        };
                        self.set_aside(dir.join(segment_name(base)), why);
                        // Its footer is useless without it.
                        self.set_aside(dir.join(footer_name(base)), why);
                    }
                }
                segment => used.push(segment),
            }
            self.limit = self.limit.max(limit);
        }
        self.remove_copies(dir, used)
    }

    /// The bases of segments that never held a record of the log: the segment behind, or the end of a closed log, goes on
    /// with the sequence that the segments before have reached. Positions do not prove it: a start goes on behind what it
    /// has cut, so the end of a closed log may lie behind a segment that holds only such remains.
    fn without_records(&self, segments: &BTreeMap<u64, OnDisk>) -> HashSet<u64> {
        let closed = self.state.filter(|state| state.clean);
        let mut next = closed.map(|state| state.sequence);
        let mut nexts = Vec::with_capacity(segments.len());
        for segment in segments.values().rev() {
            nexts.push(next);
            next = segment.first_sequence().or(next);
        }
        let mut reached = self.floor().map(|floor| floor.sequence);
        let mut found = HashSet::new();
        for ((&base, segment), next) in segments.iter().zip(nexts.into_iter().rev()) {
            if reached.is_some() && reached == next {
                found.insert(base);
            }
            reached = reached.max(segment.next_sequence());
        }
        found
    }

    /// Removes segments of a later incarnation than the committed one: they are copies that an interrupted recovery left,
    /// and the committed segments hold all their records. If that is not so, the state is not the log's latest, and they
    /// stay.
    fn remove_copies(&mut self, dir: &Path, used: Vec<OnDisk>) -> Vec<OnDisk> {
        let Some(committed) = self.state.map(|state| state.incarnation) else {
            self.newest = newest(&used, 0);
            return used;
        };
        let later = |segment: &OnDisk| {
            segment
                .incarnation(committed)
                .is_some_and(|i| i > committed)
        };
        let (copies, kept): (Vec<_>, Vec<_>) = used.into_iter().partition(later);
        if copies.is_empty() {
            self.newest = newest(&kept, committed);
            return kept;
        }
        let known: HashSet<u64> = kept.iter().flat_map(OnDisk::sequences).collect();
        let mut extra = copies.iter().flat_map(OnDisk::sequences);
        if extra.all(|sequence| known.contains(&sequence)) {
            for copy in &copies {
                self.copies_removed += 1;
                self.obsolete.push(dir.join(segment_name(copy.base())));
                self.obsolete.push(dir.join(footer_name(copy.base())));
            }
            self.newest = newest(&kept, committed);
            return kept;
        }
        self.damaged = true;
        let mut all: Vec<OnDisk> = kept.into_iter().chain(copies).collect();
        all.sort_by_key(OnDisk::base);
        self.newest = newest(&all, committed);
        all
    }

    /// Notes the sequence below which all records were acknowledged, by marks, footers and the state. In a written log all
    /// records that are there were, too, since each write starts after the one before has completed.
    pub(crate) fn note_acknowledged(&mut self, used: &[OnDisk], durability: Durability) {
        let mut last = 0;
        for segment in used {
            let OnDisk::Scanned(scanned) = segment else {
                continue;
            };
            for block in &scanned.blocks {
                self.proven = self.proven.max(block.marked);
                let records = block.records.iter();
                last = records
                    .map(|record| record.sequence + 1)
                    .fold(last, u64::max);
            }
        }
        self.assembler.acknowledged = match durability {
            Durability::Written => self.proven.max(last),
            _ => self.proven,
        };
        let floor = self.floor().map(|floor| floor.sequence);
        // The first segment does not name it if nothing in it can be read.
        let first = used.iter().find_map(OnDisk::first_sequence);
        // A log without any segment has lost all records that its state names.
        let none = used.is_empty().then_some(0);
        // No record was removed from a log that is there from its first byte.
        let whole = used.first().is_some_and(|segment| segment.base() == 0);
        let first = if whole { Some(0) } else { first };
        self.assembler.expected = floor.or(first).or(none);
    }
}

impl OnDisk {
    fn base(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.head.base,
            Self::Scanned(scanned) => scanned.base,
        }
    }
}

fn newest(segments: &[OnDisk], near: u32) -> u32 {
    let incarnations = segments.iter().filter_map(|s| s.incarnation(near));
    incarnations.max().unwrap_or(0)
}

/// Whether a segment holds only zeroes and has a valid length, as one that was prepared and never used.
fn is_blank(scanned: &Scanned) -> bool {
    let whole = scanned.len > 0 && scanned.len.is_multiple_of(BLOCK_BYTES);
    whole && scanned.is_blank()
}

impl Survey {
    /// The floor of the log. A log without segments begins where it goes on.
    pub(crate) fn new_floor(&self) -> Floor {
        let first = match self.segments.first() {
            None => {
                return Floor {
                    position: self.limit,
                    sequence: self.assembler.expected(),
                };
            }
            Some(RecoveredSegment::Sealed(sealed)) => {
                (sealed.head.base, sealed.head.first_sequence)
            }
            Some(RecoveredSegment::Kept(kept)) => (kept.base, kept.first_sequence),
        };
        self.floor().unwrap_or(Floor {
            position: first.0,
            sequence: first.1,
        })
    }

    /// Whether the log is as its drain left it.
    pub(crate) fn is_clean(&self) -> bool {
        let Some(state) = self.state.filter(|state| state.clean) else {
            return false;
        };
        let (end, used_end, intact) = match self.segments.last() {
            None => (state.end, state.end, true),
            Some(RecoveredSegment::Kept(kept)) => (kept.end, kept.used_end, kept.has_last_header),
            Some(RecoveredSegment::Sealed(sealed)) => {
                let end = state.end.max(sealed.head.end);
                // No log goes on inside a segment that has its footer: a state that says so is an older one.
                (
                    end,
                    end,
                    state.end >= sealed.head.base + sealed.head.segment_bytes,
                )
            }
        };
        // A start goes on in the next block, or behind all that it has cut.
        let fresh = [end, end.max(used_end)].map(|end| end.next_multiple_of(BLOCK_BYTES));
        let reached = self.assembler.expected.unwrap_or(state.sequence);
        !self.damaged
            && self.missing.is_empty()
            && self.assembler.losses.is_empty()
            && intact
            && reached == state.sequence
            && (end == state.end || fresh.contains(&state.end))
    }
}
