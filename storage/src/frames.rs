//! Reads single frames of a block without trusting it: each record proves itself by its checksums, and the frames read
//! before determine which sequences may follow.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::{Limits, RECORD_SIZE_MIN};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark, is_pad,
    u16_at,
};

/// Where a record keeps the low half of its incarnation.
const RECORD_INCARNATION: usize = 46;

/// A sound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundRecord {
    pub position: u64,
    pub sequence: u64,
    /// Offset of its first message.
    pub offset: u64,
    pub timestamp_ms: u64,
    pub size: u32,
    /// Number of its topic among the segment's [`TopicNames`].
    pub topic: u32,
    pub count: u16,
}

impl FoundRecord {
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

/// The names of a segment's topics, each once.
#[derive(Debug, Default)]
pub(crate) struct TopicNames {
    pub list: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl TopicNames {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("a segment has fewer topics than 2^32");
        let name: Arc<str> = Arc::from(name);
        self.list.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }
}

/// The log that a block belongs to, as block headers name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub log: u16,
    pub dir_id: u64,
}

impl Owner {
    pub(crate) fn owns(&self, header: &BlockHeader) -> bool {
        header.log == self.log && header.dir_id == self.dir_id
    }

    /// Position that a block's header names, if the block is the owner's.
    pub(crate) fn position_of(&self, bytes: &[u8]) -> Option<u64> {
        let header = BlockHeader::decode(bytes).filter(|header| self.owns(header))?;
        Some(header.position())
    }
}

/// A readable frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame {
    Record(FoundRecord),
    /// A record whose header is sound and whose body is not. Its size is known, so the next frame can be found.
    Body {
        size: usize,
        sequence: u64,
    },
    Mark(SyncMark),
    Pad,
}

impl Frame {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Record(found) => found.size as usize,
            Self::Body { size, .. } => *size,
            Self::Mark(_) => SYNC_MARK_SIZE,
            Self::Pad => PAD_HEADER_SIZE,
        }
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        match self {
            Self::Record(found) => Some(found.sequence),
            Self::Body { sequence, .. } => Some(*sequence),
            Self::Mark(_) | Self::Pad => None,
        }
    }
}

/// The frames of a block, and what is known of the block so far.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    /// Bytes before the trailing zeroes.
    used: usize,
    base: u64,
    owner: Owner,
    names: &'a mut TopicNames,
    /// Sequence of the record behind the last one read, once known.
    next: Option<u64>,
    /// No record of the block has a smaller sequence.
    least: u64,
    /// Least and greatest number of records that were skipped since.
    passed: Range<u64>,
    /// The whole incarnation, from a header or a mark.
    incarnation: Option<u32>,
    /// The low half of the incarnation, from a record, a header or a mark.
    low: Option<u16>,
}

impl<'a> Frames<'a> {
    /// The first `used` bytes of a block at `base`, whose header is `header` if that is sound. `least` is a sequence that the
    /// blocks before it have reached.
    pub(crate) fn new(
        (bytes, used): (&'a [u8], usize),
        base: u64,
        (owner, header): (Owner, Option<&BlockHeader>),
        (names, least): (&'a mut TopicNames, u64),
    ) -> Self {
        Self {
            bytes,
            used,
            base,
            owner,
            names,
            next: header.map(|header| header.first_sequence),
            least,
            passed: 0..0,
            incarnation: header.map(|header| header.incarnation),
            low: header.map(|header| header.incarnation as u16),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn incarnation(&self) -> Option<u32> {
        self.incarnation
    }

    pub(crate) fn low(&self) -> Option<u16> {
        self.low
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    /// The kind that a frame at a place names.
    pub(crate) fn kind_at(&self, at: usize) -> Option<u8> {
        self.bytes.get(at + 4).copied()
    }

    /// Takes in a frame that was accepted.
    pub(crate) fn learn(&mut self, at: usize, frame: Frame) {
        match frame {
            Frame::Record(found) => {
                let low = || u16_at(self.bytes, at + RECORD_INCARNATION);
                self.low = Some(self.low.unwrap_or_else(low));
                self.expect(found.sequence + 1);
            }
            Frame::Body { sequence, .. } => self.expect(sequence + 1),
            Frame::Mark(mark) => {
                self.low = Some(mark.incarnation as u16);
                self.incarnation = Some(mark.incarnation);
            }
            Frame::Pad => {}
        }
    }

    /// Skips bytes in which no frame was found.
    pub(crate) fn pass(&mut self, from: usize, to: usize) {
        self.passed = self.passed_until(from, to);
    }

    fn expect(&mut self, next: u64) {
        self.next = Some(next);
        self.passed = 0..0;
    }

    /// Least and greatest number of records that were skipped if the scan goes on behind a hole. The hole adds to the least
    /// one record, or none if it may have been other frames; and to the greatest as many of the smallest records as
    /// fill it.
    pub(crate) fn passed_until(&self, from: usize, to: usize) -> Range<u64> {
        let most = (to - from) as u64 / u64::from(RECORD_SIZE_MIN);
        let least = u64::from(!lost_none(from, to));
        self.passed.start + least..self.passed.end + most.max(least)
    }

    /// Whether the next record may have this sequence.
    fn may_come(&self, sequence: u64, passed: &Range<u64>) -> bool {
        match self.next {
            None => sequence >= self.least,
            Some(next) => {
                let range = next.saturating_add(passed.start)..=next.saturating_add(passed.end);
                range.contains(&sequence)
            }
        }
    }

    /// The frame at a place right behind the one before.
    pub(crate) fn frame(&mut self, at: usize) -> Option<Frame> {
        match FrameHead::parse(&self.bytes[at..])?.ok()?.kind {
            kind::RECORD => {
                let passed = self.passed.clone();
                self.record_at(at, &passed)
            }
            kind::SYNC_MARK => self.mark(at).map(Frame::Mark),
            kind::PAD => self.pad(at),
            _ => None,
        }
    }

    /// The record at a place, if it is whole. Takes its size from `budget`, the bytes that may still be checked; `None` if
    /// that is exceeded, too.
    pub(crate) fn candidate(
        &mut self,
        at: usize,
        passed: &Range<u64>,
        budget: &mut usize,
    ) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size as usize;
        self.own_record(rest.get(..size)?)?;
        // Checking the body costs the same whether it is found right or not.
        *budget = budget.checked_sub(size)?;
        let frame = self.record_at(at, passed);
        frame.filter(|frame| matches!(frame, Frame::Record(_)))
    }

    /// Whether a record that was found at a place still fits the block after the frames read since.
    pub(crate) fn still_fits(&self, at: usize, found: &FoundRecord, passed: &Range<u64>) -> bool {
        let frame = &self.bytes[at..at + found.size as usize];
        self.own_record(frame).is_some() && self.may_come(found.sequence, passed)
    }

    /// A record of this log and incarnation with a sound header.
    fn own_record<'b>(&self, frame: &'b [u8]) -> Option<Record<'b>> {
        let record = Record::trusted(frame)?;
        let ours = record.check_header().is_ok()
            && record.log().get() == self.owner.log
            && self.low.is_none_or(|low| low == record.incarnation());
        ours.then_some(record)
    }

    fn found(&mut self, at: usize, record: &Record<'_>) -> FoundRecord {
        FoundRecord {
            position: self.base + at as u64,
            sequence: record.sequence().get(),
            offset: record.offset().get(),
            timestamp_ms: record.timestamp_ms(),
            size: record.size(),
            topic: self.names.number(record.topic()),
            count: record.count(),
        }
    }

    pub(crate) fn mark(&self, at: usize) -> Option<SyncMark> {
        let mark = SyncMark::decode(&self.bytes[at..])?;
        let ours = match self.incarnation {
            Some(incarnation) => incarnation == mark.incarnation,
            None => self.low.is_none_or(|low| low == mark.incarnation as u16),
        };
        (ours && mark.position <= self.base + at as u64).then_some(mark)
    }

    /// The pad at a place. It spans the rest of its block, of which fewer bytes may be there.
    pub(crate) fn pad(&self, at: usize) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size;
        let spans = (at as u64 + u64::from(size)) == BLOCK_BYTES;
        let ends = self.used <= at + PAD_HEADER_SIZE;
        (spans && ends && is_pad(rest)).then_some(Frame::Pad)
    }

    /// The record at a place if its header is sound and its sequence may come, whether its body is sound or not.
    pub(crate) fn record_at(&mut self, at: usize, passed: &Range<u64>) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size as usize;
        let record = self.own_record(rest.get(..size)?)?;
        let sequence = record.sequence().get();
        if !self.may_come(sequence, passed) {
            return None;
        }
        let is_whole = Record::verify(record.bytes(), &Limits::HARD).is_ok();
        Some(if is_whole || planted(Bug::AcceptsBadChecksums) {
            Frame::Record(self.found(at, &record))
        } else {
            Frame::Body { size, sequence }
        })
    }
}

/// Whether the bytes of a hole may be frames other than records: a mark, a block header, or both. A record that hides
/// another one in its payload is longer than these.
fn lost_none(from: usize, to: usize) -> bool {
    let marks = [
        SYNC_MARK_SIZE,
        BLOCK_HEADER_SIZE,
        BLOCK_HEADER_SIZE + SYNC_MARK_SIZE,
    ];
    to - from == marks[0] || from == 0 && marks.contains(&to)
}
