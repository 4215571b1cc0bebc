//! Assembling a log from scanned blocks: decides which records it keeps, where it is cut, and what is lost.
//!
//! Records are taken in the order of their sequences. A record that is missing below the highest sequence known to be
//! acknowledged is a loss: its range becomes a gap, and reading goes on at the next whole record. At a record that is
//! missing above, the log is cut: a write that did not complete leaves its pages there or not, in any order. Pure.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Position, Sequence};

use crate::footer::BlockSum;
use crate::format::{BLOCK_BYTES, block_start};
use crate::frames::{FoundRecord, TopicNames};
use crate::index::LiveIndex;
use crate::packed_place::PackedPlace;
use crate::scan::{BlockScan, Hole};
use crate::values::Gap;

/// A segment that was scanned.
pub(crate) struct Scanned {
    pub base: u64,
    pub path: Arc<Path>,
    /// Bytes of the file.
    pub len: u64,
    pub blocks: Vec<BlockScan>,
    pub names: TopicNames,
    /// Positions of bytes that could not be read.
    pub missing: Vec<Range<u64>>,
}

impl Scanned {
    /// Sequence that the segment begins with, if a header or a record names it.
    pub(crate) fn first_sequence(&self) -> Option<u64> {
        self.blocks.iter().find_map(BlockScan::first_sequence)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &FoundRecord> {
        self.blocks.iter().flat_map(|block| &block.records)
    }

    /// Whether no byte of it was ever written.
    pub(crate) fn is_blank(&self) -> bool {
        self.blocks.iter().all(BlockScan::is_blank)
    }

    /// Whether nothing in it can be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        let known = |block: &BlockScan| block.header.is_some() || block.end > block.base;
        !self.blocks.iter().any(known)
    }

    /// The latest incarnation that wrote into it. Where only low halves are known they are taken to lie near `near`.
    pub(crate) fn incarnation(&self, near: u32) -> Option<u32> {
        let of = |block: &BlockScan| {
            let low = block.low?;
            Some(block.incarnation.unwrap_or_else(|| widen(low, near)))
        };
        self.blocks.iter().filter_map(of).max()
    }

    pub(crate) fn scanned_bytes(&self) -> u64 {
        let blocks = self.blocks.iter();
        blocks.map(|block| block.used_end - block.base).sum()
    }
}

/// The number nearest to `near` that has this low half.
fn widen(low: u16, near: u32) -> u32 {
    let ahead = low.wrapping_sub(near as u16);
    if ahead < 1 << 15 {
        near.wrapping_add(u32::from(ahead))
    } else {
        near.wrapping_sub(u32::from(ahead.wrapping_neg()))
    }
}

/// The part of a scanned segment that the log keeps.
pub(crate) struct Kept {
    pub base: u64,
    pub path: Arc<Path>,
    pub len: u64,
    pub records: Vec<FoundRecord>,
    pub names: TopicNames,
    /// Ranges that readers skip: lost records, and bytes without records.
    pub gaps: Vec<Gap>,
    /// Position after the last frame that is kept.
    pub end: u64,
    /// Position after the last byte that is not zero.
    pub used_end: u64,
    pub sums: Vec<BlockSum>,
    pub first_sequence: u64,
    pub last_ms: u64,
    pub incarnation: u32,
    /// The file holds whole records that the log does not keep.
    pub holds_more: bool,
    /// The block that the log ends in has its header.
    pub has_last_header: bool,
    /// Bytes of it could not be read.
    pub is_partial: bool,
}

impl Kept {
    fn new(segment: Scanned, first_sequence: u64, near: u32) -> (Self, Vec<BlockScan>) {
        let header = segment.blocks.iter().find_map(|block| block.header);
        let mut last = segment.blocks.iter().rev();
        let last = last.find(|block| !block.is_blank());
        let kept = Self {
            base: segment.base,
            incarnation: segment.incarnation(near).unwrap_or(near),
            path: segment.path,
            len: segment.len,
            records: Vec::new(),
            names: segment.names,
            gaps: Vec::new(),
            end: segment.base,
            used_end: last.map_or(segment.base, |block| block.used_end),
            sums: vec![BlockSum::default(); segment.blocks.len()],
            first_sequence,
            last_ms: header.map_or(0, |header| header.timestamp_ms),
            holds_more: false,
            has_last_header: true,
            is_partial: !segment.missing.is_empty(),
        };
        (kept, segment.blocks)
    }

    /// Whether records or bytes of it are lost, which its footer is to record.
    pub(crate) fn needs_footer(&self) -> bool {
        self.is_partial || self.gaps.iter().any(is_lossy)
    }

    /// The first block such that neither it nor any behind it was ever written to.
    pub(crate) fn fresh_block(&self) -> Option<u64> {
        let whole = self.len.is_multiple_of(BLOCK_BYTES);
        let fresh = self.used_end.next_multiple_of(BLOCK_BYTES);
        (whole && fresh < self.base + self.len).then_some(fresh)
    }

    /// Lets the log go on at a position. Readers skip the bytes up to it, which may be the beginning of an incomplete
    /// write.
    pub(crate) fn go_on_at(&mut self, position: u64, sequence: u64) {
        if self.end < position {
            self.pass(self.end, position, sequence);
        }
    }

    /// Records that records behind the segment are lost.
    pub(crate) fn end_with(&mut self, lost: &Gap) {
        let end = self.end;
        let joins = |last: &&mut Gap| {
            last.from.get() >= end && last.next_sequence == lost.first_sequence && is_lossy(last)
        };
        if let Some(last) = self.gaps.last_mut().filter(joins) {
            last.next_sequence = lost.next_sequence;
            return;
        }
        let sequences = lost.first_sequence.get()..lost.next_sequence.get();
        self.add_gap(self.end, self.used_end.max(self.end), sequences);
    }

    /// The index of its records.
    pub(crate) fn index(&self) -> LiveIndex {
        let mut live = LiveIndex::default();
        let mut slots = vec![None; self.names.list.len()];
        for found in &self.records {
            let topic = found.topic as usize;
            let slot = *slots[topic].get_or_insert_with(|| live.add(&self.names.list[topic]));
            let at = found.position - self.base;
            let place = PackedPlace::new(found.offset, at, found.size, found.count);
            live.push(slot, place);
        }
        live
    }

    /// Skips a range without records.
    fn pass(&mut self, from: u64, to: u64, sequence: u64) {
        self.add_gap(from, to, sequence..sequence);
    }

    fn add_gap(&mut self, from: u64, to: u64, sequences: Range<u64>) {
        let gap = Gap {
            from: Position::new(from),
            to: Position::new(to),
            first_sequence: Sequence::new(sequences.start),
            next_sequence: Sequence::new(sequences.end),
        };
        let joins = |last: &&mut Gap| {
            last.to == gap.from && last.next_sequence == gap.first_sequence && !is_lossy(last)
        };
        match self.gaps.last_mut().filter(joins) {
            Some(last) => {
                last.to = gap.to;
                last.next_sequence = gap.next_sequence;
            }
            None => self.gaps.push(gap),
        }
    }
}

fn is_lossy(gap: &Gap) -> bool {
    gap.first_sequence < gap.next_sequence
}

/// Assembles a log from its segments, in order.
pub(crate) struct Assembler {
    /// Sequence that the next record must have, once known.
    pub expected: Option<u64>,
    /// Every record with a smaller sequence was, or may have been, acknowledged.
    pub acknowledged: u64,
    pub is_cut: bool,
    pub cut_bytes: u64,
    /// Losses found, for the report.
    pub losses: Vec<Gap>,
    /// An incarnation of the log, to complete those of which only the low half is known.
    pub near: u32,
}

/// A segment that is being assembled.
struct Assembly {
    kept: Kept,
    /// First byte of a hole behind what was taken last.
    hole: Option<u64>,
}

impl Assembler {
    /// Takes from a segment what the log keeps. `next` is the sequence that a later segment begins with, if known: records
    /// of this segment from it on are in the later one, or were never acknowledged.
    pub(crate) fn add(&mut self, segment: Scanned, next: Option<u64>) -> Kept {
        if self.expected.is_none() {
            self.expected = segment.first_sequence();
        }
        let caps = caps(&segment.blocks, next);
        let (kept, blocks) = Kept::new(segment, self.expected(), self.near);
        let mut assembly = Assembly { kept, hole: None };
        for (block, cap) in blocks.iter().zip(caps) {
            if self.is_cut {
                self.drop_block(block, &mut assembly.kept);
            } else {
                self.take(block, cap, &mut assembly);
            }
        }
        let limit = assembly.kept.base + assembly.kept.len;
        if let Some(next) = next.filter(|next| self.lost_below(*next)) {
            // The records up to the next segment were in what could not be read, or in a part that is gone.
            let from = assembly.hole.unwrap_or(assembly.kept.end);
            self.lose(&mut assembly.kept, from..limit, next);
        } else if let Some(hole) = assembly.hole {
            self.cut_bytes += assembly.kept.used_end - hole;
        }
        sum_up(&blocks, &mut assembly.kept);
        let mut last = blocks.iter().rev();
        let last = last.find(|block| block.base < assembly.kept.end);
        assembly.kept.has_last_header = last.is_none_or(|block| block.header.is_some());
        assembly.kept
    }

    pub(crate) fn expected(&self) -> u64 {
        self.expected.unwrap_or(0)
    }

    /// Whether records from the expected one to `next` are missing that were acknowledged.
    pub(crate) fn lost_below(&self, next: u64) -> bool {
        let counts = |expected| expected < next && expected < self.acknowledged;
        !self.is_cut && self.expected.is_some_and(counts)
    }

    /// Goes on behind a segment whose footer is used, at the sequence `next`.
    pub(crate) fn pass(&mut self, next: u64) {
        self.expected = Some(self.expected().max(next));
    }

    fn take(&mut self, block: &BlockScan, cap: Option<u64>, assembly: &mut Assembly) {
        let mut holes = block.holes.iter().peekable();
        for (number, record) in block.records.iter().enumerate() {
            while let Some(hole) = holes.next_if(|hole| hole.from < record.position) {
                assembly.hole.get_or_insert(hole.from);
            }
            let sequence = record.sequence + u64::from(planted(Bug::CutsTooEarly));
            if cap.is_some_and(|cap| sequence >= cap) || !self.accept(record, assembly) {
                self.drop_rest(block, number, assembly);
                return;
            }
        }
        for Hole { from, .. } in holes {
            assembly.hole.get_or_insert(*from);
        }
        if assembly.hole.is_none() && !block.is_blank() {
            assembly.kept.end = block.end;
        }
        if let Some(hole) = assembly.hole.filter(|_| block.closed) {
            // Nothing but a pad follows: reading goes on in the next block.
            assembly.kept.pass(hole, block.end, self.expected());
            assembly.kept.end = block.end;
            assembly.hole = None;
        }
    }

    /// Takes a record, or skips one that the log has already. Returns false where the log is cut.
    fn accept(&mut self, record: &FoundRecord, assembly: &mut Assembly) -> bool {
        let expected = self.expected();
        let from = assembly.hole.unwrap_or(record.position);
        if record.sequence < expected {
            let kept = &mut assembly.kept;
            kept.pass(from, record.end(), expected);
            kept.holds_more = true;
            assembly.hole = None;
            return true;
        }
        if record.sequence > expected {
            if expected >= self.acknowledged {
                self.is_cut = true;
                return false;
            }
            self.lose(&mut assembly.kept, from..record.position, record.sequence);
        } else if from < record.position {
            assembly.kept.pass(from, record.position, expected);
        }
        assembly.hole = None;
        let kept = &mut assembly.kept;
        kept.records.push(*record);
        kept.last_ms = record.timestamp_ms;
        kept.end = record.end();
        self.expected = Some(record.sequence + 1);
        true
    }

    fn lose(&mut self, kept: &mut Kept, range: Range<u64>, next: u64) {
        let sequences = self.expected()..next;
        self.losses.push(Gap {
            from: Position::new(range.start),
            to: Position::new(range.end),
            first_sequence: Sequence::new(sequences.start),
            next_sequence: Sequence::new(sequences.end),
        });
        kept.add_gap(range.start, range.end, sequences);
        self.expected = Some(next);
    }

    /// Skips what a block holds from one of its records on.
    fn drop_rest(&mut self, block: &BlockScan, number: usize, assembly: &mut Assembly) {
        let from = assembly.hole.take();
        let from = from.unwrap_or(block.records[number].position);
        assembly.kept.pass(from, block.used_end, self.expected());
        assembly.kept.holds_more = true;
        if self.is_cut {
            self.cut_bytes += block.used_end - from;
        }
    }

    fn drop_block(&mut self, block: &BlockScan, kept: &mut Kept) {
        if !block.is_blank() {
            self.cut_bytes += block.used_end - block.base;
            kept.pass(block.base, block.used_end, self.expected());
        }
        kept.holds_more |= !block.records.is_empty();
    }

    /// Ends the assembly at `end`. Returns the gap of acknowledged records that were not found anywhere.
    pub(crate) fn finish(&mut self, end: u64) -> Option<Gap> {
        let expected = self.expected();
        if self.acknowledged <= expected {
            return None;
        }
        let gap = Gap {
            from: Position::new(end),
            to: Position::new(end),
            first_sequence: Sequence::new(expected),
            next_sequence: Sequence::new(self.acknowledged),
        };
        self.losses.push(gap);
        self.expected = Some(self.acknowledged);
        Some(gap)
    }
}

/// For each block the sequence that some later block or segment begins with: records from it on are there, or were never
/// acknowledged.
fn caps(blocks: &[BlockScan], next: Option<u64>) -> Vec<Option<u64>> {
    let mut cap = next;
    let mut caps = vec![None; blocks.len()];
    for (number, block) in blocks.iter().enumerate().rev() {
        caps[number] = cap;
        cap = match (cap, block.first_sequence()) {
            (Some(cap), Some(first)) => Some(cap.min(first)),
            (cap, first) => cap.or(first),
        };
    }
    caps
}

/// Sets the checksums of what is kept of each block. For a block of which less is kept than was scanned it sets the
/// length alone, and the caller is to compute the checksum.
fn sum_up(blocks: &[BlockScan], kept: &mut Kept) {
    for (block, sum) in blocks.iter().zip(&mut kept.sums) {
        let end = kept.end.min(block.end);
        if end <= block.base {
            continue;
        }
        *sum = BlockSum {
            crc: if end == block.end { block.crc } else { 0 },
            bytes: u32::try_from(end - block.base).expect("a block is 2 MiB"),
        };
    }
}

/// The block of which less is kept than was scanned, so that its checksum is to be computed.
pub(crate) fn cut_block(kept: &Kept) -> Option<(usize, u64)> {
    let number = usize::try_from((kept.end - kept.base) / BLOCK_BYTES).expect("512 blocks at most");
    let sum = kept.sums.get(number)?;
    (sum.bytes > 0 && sum.crc == 0).then(|| (number, block_start(kept.end)))
}
