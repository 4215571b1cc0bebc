//! Putting scanned blocks together: which records a log keeps, where it is cut, and what is damage.
//!
//! A record missing at or above everything that a later mark names was never acknowledged: the log is cut there. One
//! missing below was: that range becomes a gap, and reading goes on at the next block. Pure.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use oyez_protocol::checksum::crc32c;
use oyez_protocol::record::Record;
use oyez_protocol::{Position, Sequence};

use crate::disk::Map;
use crate::footer::BlockSum;
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_SIZE};
use crate::index::LiveIndex;
use crate::place::Gap;
use crate::scan::{BlockScan, Found, scan_block};
use crate::table::PackedPlace;

/// A segment without a footer.
pub(crate) struct Unsealed {
    pub base: u64,
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub blocks: Vec<Option<BlockScan>>,
    /// Sequence that the next segment begins with. Records from it on were copied there, or never were here.
    pub superseded_from: Option<u64>,
}

impl Unsealed {
    pub(crate) fn scan(base: u64, path: Arc<Path>, map: Arc<Map>) -> Self {
        let blocks = (0..map.len() / BLOCK_BYTES)
            .map(|number| {
                let from = number * BLOCK_BYTES;
                scan_block(bytes(&map, from, from + BLOCK_BYTES), base + from)
            })
            .collect();
        Self {
            base,
            path,
            map,
            blocks,
            superseded_from: None,
        }
    }

    /// Whether no block was ever begun.
    pub(crate) fn is_blank(&self) -> bool {
        (0..self.blocks.len() as u64).all(|number| {
            let from = number * BLOCK_BYTES;
            let header = bytes(&self.map, from, from + BLOCK_HEADER_SIZE as u64);
            header.iter().all(|byte| *byte == 0)
        })
    }

    /// The first intact block.
    pub(crate) fn first(&self) -> Option<&BlockScan> {
        self.blocks.iter().flatten().next()
    }

    pub(crate) fn limit(&self) -> u64 {
        (self.base + self.map.len()).next_multiple_of(BLOCK_BYTES)
    }

    pub(crate) fn scanned_bytes(&self) -> u64 {
        let blocks = self.blocks.iter().flatten();
        blocks.map(|block| block.end - block.base).sum()
    }
}

fn bytes(map: &Map, from: u64, to: u64) -> &[u8] {
    let place = |at: u64| usize::try_from(at).expect("a segment is at most 1 GiB");
    map.bytes(place(from)..place(to))
}

/// What of a segment without a footer is kept.
pub(crate) struct Kept {
    pub base: u64,
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub incarnation: u32,
    pub records: Vec<Found>,
    pub gaps: Vec<Gap>,
    /// Position after the last frame that is kept.
    pub end: u64,
    pub sums: Vec<BlockSum>,
    pub first_sequence: u64,
    pub last_ms: u64,
}

impl Kept {
    pub(crate) fn record(&self, found: &Found) -> Record<'_> {
        let from = found.position - self.base;
        let bytes = bytes(&self.map, from, from + u64::from(found.size));
        Record::trusted(bytes).expect("the record was verified when it was found")
    }

    /// Takes the records from a number on away: they go on elsewhere. `None` when there are none.
    pub(crate) fn split_off(&mut self, from: usize) -> Option<Self> {
        let rest = self.records.split_off(from);
        self.end = self.end.min(rest.first()?.position);
        Some(Self {
            base: self.base,
            path: Arc::clone(&self.path),
            map: Arc::clone(&self.map),
            incarnation: self.incarnation,
            records: rest,
            gaps: Vec::new(),
            end: self.end,
            sums: Vec::new(),
            first_sequence: 0,
            last_ms: 0,
        })
    }

    /// The index of its records.
    pub(crate) fn index(&mut self) -> LiveIndex {
        let mut live = LiveIndex::default();
        let mut slots: HashMap<Arc<str>, u32> = HashMap::new();
        let mut last_ms = self.last_ms;
        for found in &self.records {
            let record = self.record(found);
            let slot = match slots.get(record.topic()) {
                Some(slot) => *slot,
                None => {
                    let name: Arc<str> = Arc::from(record.topic());
                    let slot = live.add(&name);
                    slots.insert(name, slot);
                    slot
                }
            };
            last_ms = record.timestamp_ms();
            let at = found.position - self.base;
            let place = PackedPlace::new(record.offset().get(), at, found.size, record.count());
            live.push(slot, place);
        }
        self.last_ms = last_ms;
        live
    }
}

/// Puts runs of unsealed segments together, in order.
pub(crate) struct Assembler {
    /// Sequence that the next record must have, once known.
    pub expected: Option<u64>,
    /// Every record with a smaller sequence was, or may have been, acknowledged.
    pub acknowledged: u64,
    /// Every record with a smaller sequence was acknowledged, as marks, footers or the state file say.
    pub durable: u64,
    pub is_cut: bool,
    pub cut_bytes: u64,
    /// Damage found, for the report; those that lost nothing but a pad are not in it.
    pub gaps: Vec<Gap>,
}

impl Assembler {
    pub(crate) fn add(&mut self, segment: &Unsealed) -> Kept {
        let first = segment.first();
        let mut kept = Kept {
            base: segment.base,
            path: Arc::clone(&segment.path),
            map: Arc::clone(&segment.map),
            incarnation: first.map_or(0, |block| block.header.incarnation),
            records: Vec::new(),
            gaps: Vec::new(),
            end: segment.base,
            sums: vec![BlockSum::default(); segment.blocks.len()],
            first_sequence: self.expected.unwrap_or(0),
            last_ms: first.map_or(0, |block| block.header.timestamp_ms),
        };
        if let (None, Some(block)) = (self.expected, first) {
            self.expected = Some(block.header.first_sequence);
            kept.first_sequence = block.header.first_sequence;
        }
        let mut superseded = false;
        for (number, block) in segment.blocks.iter().enumerate() {
            let base = segment.base + number as u64 * BLOCK_BYTES;
            superseded |= self.goes_on_elsewhere(segment);
            if self.is_cut || superseded {
                let dropped = block.as_ref().map_or(0, |block| block.end - block.base);
                self.cut_bytes += if self.is_cut { dropped } else { 0 };
                continue;
            }
            match block {
                Some(block) if block.header.first_sequence >= self.expected() => {
                    superseded = self.take(block, segment, &mut kept);
                }
                _ => self.missing(base, &mut kept),
            }
        }
        self.sum_up(segment, &mut kept);
        kept
    }

    fn expected(&self) -> u64 {
        self.expected.unwrap_or(0)
    }

    /// A block that cannot be read: part of a gap if acknowledged records are missing, else the end.
    fn missing(&mut self, base: u64, kept: &mut Kept) {
        if self.acknowledged > self.expected() {
            self.gap(base, base + BLOCK_BYTES, self.expected(), kept);
        } else {
            self.is_cut = true;
        }
    }

    /// Records that the range up to `to` does not have: from what is expected up to `next`.
    fn gap(&mut self, from: u64, to: u64, next: u64, kept: &mut Kept) {
        let gap = Gap {
            from: Position::new(from),
            to: Position::new(to),
            first_sequence: Sequence::new(self.expected()),
            next_sequence: Sequence::new(next),
        };
        match kept.gaps.last_mut() {
            Some(last) if last.to == gap.from => {
                last.to = gap.to;
                last.next_sequence = gap.next_sequence;
            }
            _ => kept.gaps.push(gap),
        }
        kept.end = kept.end.max(to);
        self.expected = Some(next);
    }

    /// Takes the records of a block. True when the rest of the segment is superseded.
    fn take(&mut self, block: &BlockScan, segment: &Unsealed, kept: &mut Kept) -> bool {
        let first = block.header.first_sequence;
        if first > self.expected() {
            if self.acknowledged <= self.expected() {
                self.is_cut = true;
                self.cut_bytes += block.end - block.base;
                return false;
            }
            self.skip_to(first, block.base, kept);
        }
        let mut damage = block.damage.iter().peekable();
        for found in &block.records {
            while let Some(damaged) = damage.next_if(|d| d.from < found.position) {
                if !self.damaged(damaged.from, damaged.to, damaged.sequence, kept) {
                    self.cut_bytes += block.end - damaged.from;
                    return false;
                }
            }
            if segment
                .superseded_from
                .is_some_and(|from| found.sequence >= from)
            {
                kept.end = found.position;
                return true;
            }
            kept.records.push(*found);
            kept.end = found.position + u64::from(found.size);
            self.expected = Some(found.sequence + 1);
        }
        for damaged in damage {
            if !self.damaged(damaged.from, damaged.to, damaged.sequence, kept) {
                self.cut_bytes += block.end - damaged.from;
                return false;
            }
        }
        kept.end = block.end;
        if !block.closed && !self.goes_on_elsewhere(segment) {
            self.torn(block, segment, kept);
        }
        false
    }

    /// Whether the next record is the first of the next segment, so that the rest of this one does not matter.
    fn goes_on_elsewhere(&self, segment: &Unsealed) -> bool {
        let from = segment.superseded_from;
        from.is_some_and(|from| self.expected.is_some_and(|expected| expected >= from))
    }

    fn damaged(&mut self, from: u64, to: u64, sequence: u64, kept: &mut Kept) -> bool {
        if sequence < self.acknowledged {
            self.gap(from, to, sequence + 1, kept);
            return true;
        }
        kept.end = from;
        self.is_cut = true;
        false
    }

    /// Sequences are missing between what was read and a later block: the gap that ends there tells.
    fn skip_to(&mut self, first: u64, base: u64, kept: &mut Kept) {
        match kept.gaps.last_mut() {
            Some(gap) if gap.to.get() == base => {
                gap.next_sequence = Sequence::new(first);
                self.expected = Some(first);
            }
            // The range before belongs to the segment before, or a whole segment is missing.
            _ => self.gap(base, base, first, kept),
        }
    }

    /// The frames of a block end early: the end of the log, or damage if acknowledged records must follow.
    fn torn(&mut self, block: &BlockScan, segment: &Unsealed, kept: &mut Kept) {
        let limit = block.base + BLOCK_BYTES;
        let rest = bytes(&segment.map, block.end - segment.base, limit - segment.base);
        if self.acknowledged > self.expected() {
            self.gap(block.end, limit, self.expected(), kept);
        } else {
            let used = rest.iter().rposition(|byte| *byte != 0);
            self.cut_bytes += used.map_or(0, |last| last as u64 + 1);
            self.is_cut = true;
        }
    }

    fn sum_up(&mut self, segment: &Unsealed, kept: &mut Kept) {
        for block in segment.blocks.iter().flatten() {
            let end = block.end.min(kept.end);
            if end > block.base {
                let range = bytes(&segment.map, block.base - segment.base, end - segment.base);
                kept.sums[usize_of((block.base - segment.base) / BLOCK_BYTES)] = BlockSum {
                    crc: crc32c(range),
                    bytes: u32::try_from(range.len()).expect("a block is 2 MiB"),
                };
            }
        }
        let lossy = |gap: &&Gap| gap.next_sequence > gap.first_sequence;
        self.gaps.extend(kept.gaps.iter().filter(lossy));
    }

    /// At the end of everything: acknowledged records that were not found anywhere.
    pub(crate) fn finish(&mut self, end: u64) {
        let expected = self.expected();
        if self.acknowledged > expected {
            self.gaps.push(Gap {
                from: Position::new(end),
                to: Position::new(end),
                first_sequence: Sequence::new(expected),
                next_sequence: Sequence::new(self.acknowledged),
            });
            // What was only suspected has no say in which number comes next.
            self.expected = Some(expected.max(self.durable));
        }
    }
}

fn usize_of(value: u64) -> usize {
    usize::try_from(value).expect("a segment has at most 512 blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspected_loss_is_a_gap_and_does_not_choose_the_next_sequence() {
        let mut assembler = Assembler {
            expected: Some(10),
            acknowledged: 2000,
            durable: 12,
            is_cut: false,
            cut_bytes: 0,
            gaps: Vec::new(),
        };
        assembler.finish(BLOCK_BYTES);
        let [gap] = assembler.gaps.as_slice() else {
            panic!("{:?}", assembler.gaps);
        };
        assert_eq!(gap.first_sequence.get(), 10);
        assert_eq!(gap.next_sequence.get(), 2000);
        assert_eq!(assembler.expected, Some(12));
    }
}
