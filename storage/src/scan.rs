//! Reading a block frame by frame, believing nothing: the first half of recovery. Pure; what it finds is put together
//! in `recovery`.
//!
//! Each record proves itself: its header is checked apart from its body, and names its log, its incarnation and its
//! sequence. Where a frame cannot be read the scan looks for the next one that can, so that damage hides what it
//! overlaps and nothing else. A candidate found so must verify as a whole, and its sequence must be one that the bytes
//! passed over have room for: what merely looks like a record inside the payload of a damaged one is not taken for one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::{Limits, RECORD_SIZE_MIN};
use oyez_protocol::record::Record;

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark, is_pad,
    u16_at,
};
use crate::search::Run;

/// Bytes of frames that are checked while the scan of one block looks for sound ones behind damage. A payload may be made
/// of records that each claim a megabyte; with this bound they cost some milliseconds.
const SEARCH_BYTES_MAX: usize = 64 << 20;

/// Where a record keeps the low half of its incarnation.
const RECORD_INCARNATION: usize = 46;

/// A sound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub position: u64,
    pub sequence: u64,
    /// Offset of its first message.
    pub offset: u64,
    pub timestamp_ms: u64,
    pub size: u32,
    /// Number of its topic among the segment's [`Names`].
    pub topic: u32,
    pub count: u16,
}

impl Found {
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

/// The topics of a segment, each once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub list: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
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

/// Bytes between sound frames that hold none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub from: u64,
    pub to: u64,
}

/// Whose blocks are scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub log: u16,
    pub dir_id: u64,
}

/// What a block holds.
#[derive(Clone, Debug)]
pub(crate) struct BlockScan {
    pub base: u64,
    /// The header, if it is intact, the owner's, and of this place.
    pub header: Option<BlockHeader>,
    pub records: Vec<Found>,
    /// In order, none next to another.
    pub holes: Vec<Hole>,
    /// The highest sequence that a mark names.
    pub marked: u64,
    /// Incarnation of what was found: all of it from a header or a mark.
    pub incarnation: Option<u32>,
    /// Its low half, which records tell as well.
    pub low: Option<u16>,
    /// Position after the last sound frame.
    pub end: u64,
    /// Position after the last byte that is not zero.
    pub used_end: u64,
    /// CRC-32C of everything up to `end`.
    pub crc: u32,
    /// The frames reach the end of the block.
    pub closed: bool,
    /// A whole header says that the block is of another place or another log.
    pub is_foreign: bool,
}

impl Owner {
    pub(crate) fn owns(&self, header: &BlockHeader) -> bool {
        header.log == self.log && header.dir_id == self.dir_id
    }

    /// Position that a block says it has, if it is the owner's.
    pub(crate) fn position_of(&self, bytes: &[u8]) -> Option<u64> {
        let header = BlockHeader::decode(bytes).filter(|header| self.owns(header))?;
        Some(header.position())
    }
}

impl BlockScan {
    /// Whether nothing was ever written here, as far as the bytes tell.
    pub(crate) fn is_blank(&self) -> bool {
        self.used_end == self.base
    }

    /// Sequence that the block begins with: by its header, else by its first record.
    pub(crate) fn first_sequence(&self) -> Option<u64> {
        let header = self.header.map(|header| header.first_sequence);
        header.or_else(|| self.records.first().map(|record| record.sequence))
    }
}

/// Bytes before the trailing zeroes.
pub(crate) fn used_bytes(bytes: &[u8]) -> usize {
    const STEP: usize = 4096;
    let zeroes = [0; STEP];
    let mut chunks = bytes.chunks(STEP).enumerate().rev();
    let used = chunks.find(|(_, chunk)| *chunk != &zeroes[..chunk.len()]);
    used.map_or(0, |(number, chunk)| {
        let last = chunk.iter().rposition(|byte| *byte != 0);
        number * STEP + last.map_or(0, |last| last + 1)
    })
}

/// Scans a block of a segment, or what there is of one.
pub(crate) fn scan_block(bytes: &[u8], base: u64, owner: Owner, names: &mut Names) -> BlockScan {
    let used = used_bytes(bytes);
    let found = BlockHeader::decode(bytes);
    let header = found.filter(|header| owner.owns(header) && header.position() == base);
    let mut scanner = Scanner {
        bytes,
        used,
        owner,
        names,
        next: header.map(|header| header.first_sequence),
        passed: 0..0,
        chains: header.map(|header| vec![header.chain]),
        budget: SEARCH_BYTES_MAX,
        runs: Vec::new(),
        scan: BlockScan {
            base,
            header,
            records: Vec::new(),
            holes: Vec::new(),
            marked: 0,
            incarnation: header.map(|header| header.incarnation),
            low: header.map(|header| header.incarnation as u16),
            crc: 0,
            end: base,
            used_end: base + used as u64,
            closed: false,
            is_foreign: found.is_some() && header.is_none(),
        },
    };
    if scanner.scan.is_foreign {
        // Nothing in it belongs here.
        scanner.hole(0, used);
    } else {
        scanner.run();
    }
    let mut scan = scanner.scan;
    let end = usize::try_from(scan.end - base).expect("a block is 2 MiB");
    scan.crc = crc32c(&bytes[..end]);
    scan
}

pub(crate) struct Scanner<'a> {
    pub bytes: &'a [u8],
    pub used: usize,
    owner: Owner,
    names: &'a mut Names,
    /// Sequence of the record behind the last one that was read, once known.
    pub next: Option<u64>,
    /// How many records may have been passed over since, and how many surely were.
    passed: Range<u64>,
    /// The chain before each record of the block, and after the last one; not known behind damage.
    chains: Option<Vec<u32>>,
    /// Body bytes that searching may still check.
    pub budget: usize,
    /// What the last search has found.
    pub runs: Vec<Run>,
    scan: BlockScan,
}

/// A frame that can be read.
#[derive(Clone, Copy)]
pub(crate) enum Frame {
    Record(Found),
    /// A record whose header is sound and whose body is not: what follows it can still be found.
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

impl Scanner<'_> {
    fn run(&mut self) {
        let mut at = 0;
        if self.scan.header.is_some() {
            at = BLOCK_HEADER_SIZE;
            self.scan.end += BLOCK_HEADER_SIZE as u64;
        }
        while at < self.used {
            let (from, frame) = match self.frame(at) {
                // Without its header a block has no frame at its first byte.
                Some(frame) if at > 0 => (at, frame),
                _ => match self.search(at) {
                    Some((found, frame)) => {
                        self.passed = self.passed_until(at, found);
                        self.hole(at, found);
                        (found, frame)
                    }
                    None => {
                        self.hole(at, self.used);
                        return;
                    }
                },
            };
            at = self.take(from, frame);
            if self.scan.closed {
                return;
            }
        }
        self.scan.closed = at as u64 == BLOCK_BYTES;
    }

    /// Takes a frame, and gives the place after it.
    fn take(&mut self, at: usize, frame: Frame) -> usize {
        let position = self.scan.base + at as u64;
        let to = match frame {
            Frame::Record(found) => {
                let low = || u16_at(self.bytes, at + RECORD_INCARNATION);
                self.scan.low = Some(self.scan.low.unwrap_or_else(low));
                self.expect(found.sequence + 1);
                if let Some(chains) = &mut self.chains {
                    let chain = chains.last().copied().unwrap_or_default();
                    chains.push(crc32c_append(chain, &self.bytes[at + 20..at + 24]));
                }
                self.scan.records.push(found);
                at + found.size as usize
            }
            Frame::Body { size, sequence } => {
                self.hole(at, at + size);
                self.expect(sequence + 1);
                return at + size;
            }
            Frame::Mark(mark) => {
                self.scan.low = Some(mark.incarnation as u16);
                self.scan.incarnation = Some(mark.incarnation);
                self.scan.marked = self.scan.marked.max(mark.sequence);
                at + SYNC_MARK_SIZE
            }
            Frame::Pad => {
                self.scan.closed = true;
                at + PAD_HEADER_SIZE
            }
        };
        self.scan.end = position + (to - at) as u64;
        to
    }

    fn expect(&mut self, next: u64) {
        self.next = Some(next);
        self.passed = 0..0;
    }

    /// How many records were passed over if the scan goes on behind a hole: none if it may have been frames other than
    /// records, else at least one, and no more than the smallest of them fill it.
    pub(crate) fn passed_until(&self, from: usize, to: usize) -> Range<u64> {
        let most = (to - from) as u64 / u64::from(RECORD_SIZE_MIN);
        let least = u64::from(!lost_none(from, to));
        self.passed.start + least..self.passed.end + most.max(least)
    }

    /// Whether a record may come next.
    pub(crate) fn may_come(&self, sequence: u64, passed: &Range<u64>) -> bool {
        self.next.is_none_or(|next| {
            let range = next.saturating_add(passed.start)..=next.saturating_add(passed.end);
            range.contains(&sequence)
        })
    }

    fn hole(&mut self, from: usize, to: usize) {
        let base = self.scan.base;
        let (from, to) = (base + from as u64, base + to as u64);
        match self.scan.holes.last_mut() {
            Some(last) if last.to == from => last.to = to,
            _ => self.scan.holes.push(Hole { from, to }),
        }
        self.chains = None;
    }

    /// The frame at a place right behind the one before.
    fn frame(&mut self, at: usize) -> Option<Frame> {
        match FrameHead::parse(&self.bytes[at..])?.ok()?.kind {
            kind::RECORD => {
                let passed = self.passed.clone();
                self.record_at(at, &passed)
            }
            kind::SYNC_MARK => self
                .mark(at)
                .filter(|mark| self.fits(mark))
                .map(Frame::Mark),
            kind::PAD => self.pad(at),
            _ => None,
        }
    }

    /// A record of this log and incarnation with a sound header.
    pub(crate) fn own_record<'b>(&self, frame: &'b [u8]) -> Option<Record<'b>> {
        let record = Record::trusted(frame)?;
        let ours = record.check_header().is_ok()
            && record.log().get() == self.owner.log
            && self.scan.low.is_none_or(|low| low == record.incarnation());
        ours.then_some(record)
    }

    fn found(&mut self, at: usize, record: &Record<'_>) -> Found {
        Found {
            position: self.scan.base + at as u64,
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
        let ours = match self.scan.incarnation {
            Some(incarnation) => incarnation == mark.incarnation,
            None => self
                .scan
                .low
                .is_none_or(|low| low == mark.incarnation as u16),
        };
        (ours && mark.position <= self.scan.base + at as u64).then_some(mark)
    }

    /// A mark whose chain does not fit speaks of other records than these.
    fn fits(&self, mark: &SyncMark) -> bool {
        let Some((header, chains)) = self.scan.header.zip(self.chains.as_ref()) else {
            return true;
        };
        let here = mark.sequence.checked_sub(header.first_sequence);
        let chain = here.and_then(|here| chains.get(usize::try_from(here).ok()?));
        chain.is_none_or(|chain| *chain == mark.chain)
    }

    /// A pad spans the rest of its block, which there may be less of.
    pub(crate) fn pad(&self, at: usize) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size;
        let spans = (at as u64 + u64::from(size)) == BLOCK_BYTES;
        let ends = self.used <= at + PAD_HEADER_SIZE;
        (spans && ends && is_pad(rest)).then_some(Frame::Pad)
    }

    /// A record with a sound header that may come, whole or not.
    pub(crate) fn record_at(&mut self, at: usize, passed: &Range<u64>) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size as usize;
        let record = self.own_record(rest.get(..size)?)?;
        let sequence = record.sequence().get();
        if !self.may_come(sequence, passed) {
            return None;
        }
        Some(if Record::verify(record.bytes(), &Limits::HARD).is_ok() {
            Frame::Record(self.found(at, &record))
        } else {
            Frame::Body { size, sequence }
        })
    }
}

/// Whether the bytes between may be frames other than records: a mark, a block header, or both. A record that hides
/// another one in its payload is longer than either.
fn lost_none(from: usize, to: usize) -> bool {
    let marks = [
        SYNC_MARK_SIZE,
        BLOCK_HEADER_SIZE,
        BLOCK_HEADER_SIZE + SYNC_MARK_SIZE,
    ];
    to - from == marks[0] || from == 0 && marks.contains(&to)
}
