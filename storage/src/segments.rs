//! The segments of a log, the oldest first: their stages, their indices, and their files. Only this module changes a
//! segment.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::FileId;
use crate::footer::{Footer, FooterHead};
use crate::format::BLOCK_BYTES;
use crate::index::{LiveIndex, SegmentRef, Topic};
use crate::packed_place::PackedPlace;
use crate::segment::SegmentFile;
use crate::write_time::WriteTime;

/// The stage of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Appends go there.
    Active,
    /// Full; its last bytes are not durable yet.
    Full,
    /// Its sync or its footer is being written.
    Sealing,
    /// Its footer is durable.
    Sealed,
}

/// The index of a segment.
#[derive(Debug)]
pub(crate) enum SegmentIndex {
    /// In memory while the segment is written.
    Live(Arc<LiveIndex>),
    /// In the footer.
    Footer(Footer),
}

impl SegmentIndex {
    pub(crate) fn places(&self, slot: u32) -> usize {
        match self {
            Self::Live(live) => live.places(slot),
            Self::Footer(footer) => footer.places(slot),
        }
    }

    pub(crate) fn place(&self, slot: u32, number: usize) -> PackedPlace {
        match self {
            Self::Live(live) => live.place(slot, number),
            Self::Footer(footer) => footer.place(slot, number),
        }
    }

    /// Bytes of a topic's records in the segment.
    pub(crate) fn bytes(&self, slot: u32) -> u64 {
        match self {
            Self::Live(live) => live.bytes(slot),
            Self::Footer(footer) => footer.topic(slot).bytes,
        }
    }

    /// How many of a topic's places, from the first, satisfy `holds`; they must be a prefix.
    pub(crate) fn prefix(&self, slot: u32, holds: impl Fn(PackedPlace) -> bool) -> usize {
        let (mut low, mut high) = (0, self.places(slot));
        while low < high {
            let middle = low.midpoint(high);
            if holds(self.place(slot, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The values that a segment begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    pub base: u64,
    pub incarnation: u32,
    pub sequence: u64,
    /// Timestamp of the record before.
    pub last_ms: u64,
}

/// A segment as its log sees it. A memory log has one for each block, without a file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Dense within this run of the store.
    pub number: u32,
    pub base: u64,
    pub bytes: u64,
    pub incarnation: u32,
    pub first_sequence: u64,
    index: SegmentIndex,
    file: Option<Arc<SegmentFile>>,
    /// Open for writing until sealed.
    writing: Option<FileId>,
    stage: Stage,
    /// A sync of its own has made it durable.
    synced: bool,
    /// When its first record was written. Not known for a segment that was sealed when the log was opened.
    first: Option<WriteTime>,
    /// When its last record was written; while it has none, when the last record before it was.
    last: WriteTime,
}

impl Segment {
    pub(crate) fn limit(&self) -> u64 {
        self.base + self.bytes
    }

    pub(crate) fn place_position(&self, place: PackedPlace) -> u64 {
        self.base + place.at()
    }

    pub(crate) fn index(&self) -> &SegmentIndex {
        &self.index
    }

    pub(crate) fn file(&self) -> Option<&Arc<SegmentFile>> {
        self.file.as_ref()
    }

    pub(crate) fn writing(&self) -> Option<FileId> {
        self.writing
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn first(&self) -> Option<WriteTime> {
        self.first
    }

    pub(crate) fn last(&self) -> WriteTime {
        self.last
    }

    /// Whether all of it is durable: by the log's syncs, which cover everything below `synced`, or by a sync of its own.
    pub(crate) fn is_durable(&self, synced: u64) -> bool {
        self.synced || synced >= self.limit()
    }

    /// The parts of a dropped segment that outlive it.
    pub(crate) fn into_parts(self) -> (Option<Arc<SegmentFile>>, SegmentIndex) {
        (self.file, self.index)
    }
}

/// A segment that was scanned, and is to get its footer.
pub(crate) struct Full {
    pub file: SegmentFile,
    pub writing: FileId,
    pub live: LiveIndex,
    pub incarnation: u32,
    pub first_sequence: u64,
    pub first_ms: Option<u64>,
    pub last_ms: u64,
}

/// The place of a record, for its topic's index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub offset: u64,
    pub position: u64,
    pub size: u32,
    pub count: u16,
    pub stamp_ms: u64,
}

/// The segments of a log.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    kept: VecDeque<Segment>,
    next_number: u32,
}

impl Segments {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.kept.iter()
    }

    pub(crate) fn oldest(&self) -> Option<&Segment> {
        self.kept.front()
    }

    pub(crate) fn newest(&self) -> Option<&Segment> {
        self.kept.back()
    }

    pub(crate) fn numbered(&self, number: u32) -> Option<&Segment> {
        self.kept.get(self.at(number)?)
    }

    fn numbered_mut(&mut self, number: u32) -> Option<&mut Segment> {
        let at = self.at(number)?;
        self.kept.get_mut(at)
    }

    fn at(&self, number: u32) -> Option<usize> {
        let first = self.kept.front()?.number;
        Some(number.checked_sub(first)? as usize)
    }

    /// The segment that a position lies in, or the last one before it.
    pub(crate) fn before(&self, position: u64) -> Option<&Segment> {
        let mut newest = self.kept.iter().rev();
        newest.find(|segment| segment.base <= position)
    }

    /// The segment that holds a position.
    pub(crate) fn holding(&self, position: u64) -> Option<&Segment> {
        let mut newest = self.kept.iter().rev();
        newest.find(|segment| segment.base <= position && position < segment.limit())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.kept.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether a block at `base` would be the first of a segment.
    pub(crate) fn is_border(&self, base: u64) -> bool {
        self.newest()
            .is_none_or(|segment| base >= segment.limit() || segment.stage != Stage::Active)
    }

    /// Number of the segment that comes next.
    pub(crate) fn next_number(&self) -> u32 {
        self.next_number
    }

    fn push(&mut self, segment: Segment) {
        self.next_number = segment.number + 1;
        self.kept.push_back(segment);
    }

    /// Adds a segment that has its footer.
    pub(crate) fn push_sealed(&mut self, file: SegmentFile, head: &FooterHead, footer: Footer) {
        self.push(Segment {
            number: self.next_number,
            base: file.base,
            bytes: file.bytes,
            incarnation: head.incarnation,
            first_sequence: head.first_sequence,
            file: Some(Arc::new(file)),
            writing: None,
            stage: Stage::Sealed,
            synced: true,
            first: None,
            last: WriteTime::stamped(head.last_ms),
            index: SegmentIndex::Footer(footer),
        });
    }

    /// Adds a segment that is to get its footer.
    pub(crate) fn push_full(&mut self, full: Full) {
        self.push(Segment {
            number: self.next_number,
            base: full.file.base,
            bytes: full.file.bytes,
            incarnation: full.incarnation,
            first_sequence: full.first_sequence,
            file: Some(Arc::new(full.file)),
            writing: Some(full.writing),
            stage: Stage::Full,
            synced: false,
            first: full.first_ms.map(WriteTime::stamped),
            last: WriteTime::stamped(full.last_ms),
            index: SegmentIndex::Live(Arc::new(full.live)),
        });
    }

    /// Begins a segment for appends; the one before is full. One without a file is a block long.
    pub(crate) fn begin(&mut self, beginning: Beginning, file: Option<(SegmentFile, FileId)>) {
        if let Some(before) = self.kept.back_mut()
            && before.stage == Stage::Active
        {
            before.stage = Stage::Full;
        }
        let bytes = file.as_ref().map_or(BLOCK_BYTES, |(file, _)| file.bytes);
        let (file, writing) = file.unzip();
        self.push(Segment {
            number: self.next_number,
            base: beginning.base,
            bytes,
            incarnation: beginning.incarnation,
            first_sequence: beginning.sequence,
            index: SegmentIndex::Live(Arc::new(LiveIndex::default())),
            file: file.map(Arc::new),
            writing,
            stage: Stage::Active,
            synced: false,
            first: None,
            last: WriteTime::stamped(beginning.last_ms),
        });
    }

    /// Lets the newest segment take appends again.
    pub(crate) fn reopen(&mut self) -> Option<&Segment> {
        let newest = self.kept.back_mut()?;
        newest.stage = Stage::Active;
        if let Some(file) = &newest.file {
            file.set_end(file.limit());
        }
        Some(newest)
    }

    /// Leaves the rest of the active segment from `end` on unused. Returns where the next one begins.
    pub(crate) fn leave(&self, end: u64) -> u64 {
        let newest = self.newest().filter(|newest| newest.stage == Stage::Active);
        let Some(active) = newest else {
            return end;
        };
        if let Some(file) = &active.file {
            file.set_end(end);
        }
        active.limit()
    }

    pub(crate) fn drop_oldest(&mut self) -> Option<Segment> {
        self.kept.pop_front()
    }

    /// Enters a record of the active segment into the index, as the next one of its topic.
    #[inline]
    pub(crate) fn enter(&mut self, topic: &mut Topic, entry: Entry) {
        let oldest = self.kept.front().map_or(0, |segment| segment.number);
        let written = WriteTime::stamped(entry.stamp_ms);
        let segment = self.kept.back_mut().expect("the tail lies in a segment");
        segment.first.get_or_insert(written);
        segment.last = written;
        let SegmentIndex::Live(live) = &mut segment.index else {
            unreachable!("an active segment has no footer");
        };
        let live = Arc::get_mut(live).expect("an index is shared only once its segment is full");
        let slot = match topic.refs.last() {
            Some(last) if last.segment == segment.number => last.slot,
            _ => {
                let slot = live.add(&topic.name);
                topic.refs.retain(|kept| kept.segment >= oldest);
                topic.refs.push(SegmentRef {
                    segment: segment.number,
                    slot,
                    first: entry.offset,
                });
                slot
            }
        };
        topic.next = entry.offset + u64::from(entry.count);
        let at = entry.position - segment.base;
        let place = PackedPlace::new(entry.offset, at, entry.size, entry.count);
        live.push(slot, place);
    }

    /// Notes when the newest records were first seen. Appends do not know the time, as the store may have been idle before.
    pub(crate) fn see_newest(&mut self, now_ms: u64) {
        for segment in self.kept.iter_mut().rev() {
            if segment.last.is_seen() {
                return;
            }
            segment.last.see(now_ms);
            if let Some(first) = &mut segment.first {
                first.see(now_ms);
            }
        }
    }

    /// Notes that a full segment's sync or footer is on its way.
    pub(crate) fn begin_sealing(&mut self, number: u32) {
        if let Some(segment) = self.numbered_mut(number) {
            segment.stage = Stage::Sealing;
        }
    }

    /// Notes that a segment's own sync has made it durable. Returns whether the segment is still there.
    pub(crate) fn synced(&mut self, number: u32) -> bool {
        let segment = self.numbered_mut(number);
        let is_there = segment.is_some();
        if let Some(segment) = segment {
            segment.synced = true;
            segment.stage = Stage::Full;
        }
        is_there
    }

    pub(crate) fn is_sealed(&self, number: u32) -> bool {
        self.numbered(number)
            .is_some_and(|segment| segment.stage == Stage::Sealed)
    }

    /// Notes that a footer could not be written.
    pub(crate) fn not_sealed(&mut self, number: u32) {
        if let Some(segment) = self.numbered_mut(number) {
            segment.stage = Stage::Full;
        }
    }

    /// Replaces a segment's index in memory by its footer. Returns the index, and the file to close.
    pub(crate) fn seal(
        &mut self,
        number: u32,
        footer: Footer,
    ) -> Option<(SegmentIndex, Option<FileId>)> {
        let segment = self.numbered_mut(number)?;
        let live = std::mem::replace(&mut segment.index, SegmentIndex::Footer(footer));
        segment.stage = Stage::Sealed;
        Some((live, segment.writing.take()))
    }
}

#[cfg(test)]
mod tests;
