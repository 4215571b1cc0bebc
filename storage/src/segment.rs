//! A segment: its file, what readers share of it, and its index.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oyez_protocol::LogId;
use oyez_protocol::checksum::crc32c;
use oyez_protocol::header::FrameHead;
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;

use crate::age::Written;
use crate::disk::{FileId, Map};
use crate::footer::{BlockSum, Footer};
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, block_start};
use crate::index::LiveIndex;
use crate::place::Gap;
use crate::table::PackedPlace;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Marks a block of which nothing is served in [`BlockState::warm_until`].
const DAMAGED: u64 = u64::MAX;
/// Marks a block of which some bytes are missing or wrong: each record is looked at before it is served.
const DOUBTFUL: u64 = u64::MAX - 1;

/// What is known of one block of a segment. Changes without a lock.
#[derive(Debug, Default)]
struct BlockState {
    /// Until when the block counts as being in the page cache, or [`DOUBTFUL`], or [`DAMAGED`].
    warm_until: AtomicU64,
    /// Length in the upper half, checksum in the lower; 0 = not known.
    sum: AtomicU64,
}

/// What all shards share of a segment file. Holds a map and a path, no descriptor.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub base: u64,
    pub bytes: u64,
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub gaps: Vec<Gap>,
    /// Position after the last frame; all of the segment while it is written.
    end: AtomicU64,
    blocks: Box<[BlockState]>,
}

impl SegmentFile {
    pub(crate) fn new(base: u64, path: Arc<Path>, map: Arc<Map>, gaps: Vec<Gap>) -> Self {
        // A file that was cut may end inside a block.
        let bytes = map.len();
        let blocks = (0..bytes.div_ceil(BLOCK_BYTES))
            .map(|_| BlockState::default())
            .collect();
        Self {
            base,
            bytes,
            path,
            map,
            gaps,
            end: AtomicU64::new(base + bytes),
            blocks,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Position after the file.
    pub(crate) fn limit(&self) -> u64 {
        self.base + self.bytes
    }

    fn block(&self, position: u64) -> &BlockState {
        let block = (position - self.base) / BLOCK_BYTES;
        &self.blocks[usize::try_from(block).expect("a segment is at most 1 GiB")]
    }

    pub(crate) fn set_sum(&self, position: u64, sum: BlockSum) {
        let packed = u64::from(sum.bytes) << 32 | u64::from(sum.crc);
        self.block(position).sum.store(packed, Ordering::Release);
    }

    pub(crate) fn sum(&self, position: u64) -> BlockSum {
        let packed = self.block(position).sum.load(Ordering::Acquire);
        BlockSum {
            crc: (packed & u64::from(u32::MAX)) as u32,
            bytes: (packed >> 32) as u32,
        }
    }

    pub(crate) fn set_warm(&self, position: u64, until_ms: u64) {
        let warm_until = &self.block(position).warm_until;
        // Fails for a block that is damaged, which it stays.
        let _ = warm_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < DOUBTFUL).then_some(until_ms)
        });
    }

    pub(crate) fn is_warm(&self, position: u64, now_ms: u64) -> bool {
        let until = self.block(position).warm_until.load(Ordering::Relaxed);
        until != DAMAGED && until > now_ms
    }

    /// Doubts a block, or gives it up as a whole if it says that it is another one. What has befallen it may have befallen
    /// the others: their sums are looked at before they are served again.
    pub(crate) fn doubt(&self, position: u64) {
        let block = block_start(position);
        let header = self.bytes_at(block, self.limit().min(block + BLOCK_HEADER_SIZE as u64));
        let astray = BlockHeader::decode(header).is_some_and(|header| header.position() != block);
        let mark = if astray { DAMAGED } else { DOUBTFUL };
        let before = self
            .block(block)
            .warm_until
            .fetch_max(mark, Ordering::Relaxed);
        if before < DOUBTFUL {
            let blocks = (self.base..self.limit()).step_by(BLOCK);
            blocks.for_each(|block| self.set_warm(block, 0));
        }
    }

    pub(crate) fn is_doubtful(&self, position: u64) -> bool {
        self.block(position).warm_until.load(Ordering::Relaxed) == DOUBTFUL
    }

    /// Whether a range within one block holds whole records of a log and nothing else. What is missing reads as zeroes.
    pub(crate) fn holds_records(&self, from: u64, to: u64, log: LogId) -> bool {
        let mut rest = self.bytes_at(from, to);
        while let Some(Ok(head)) = FrameHead::parse(rest) {
            let Some((frame, after)) = rest.split_at_checked(head.size as usize) else {
                return false;
            };
            let whole = Record::verify_stamped(frame, &Limits::HARD);
            if whole.is_ok_and(|record| record.log() == log) {
                rest = after;
            } else {
                return false;
            }
        }
        rest.is_empty()
    }

    /// Whether bytes of a range within one block were missing from the map when they were read, so that they are no
    /// data; the block is then doubtful. To be asked after reading.
    pub(crate) fn is_torn(&self, from: u64, to: u64) -> bool {
        let torn = self.map.is_torn(self.place(from)..self.place(to));
        if torn {
            self.doubt(from);
        }
        torn
    }

    /// Whether any byte of a range within one block is known to be damaged.
    pub(crate) fn is_damaged(&self, from: u64, to: u64) -> bool {
        self.block(from).warm_until.load(Ordering::Relaxed) == DAMAGED
            || self
                .gaps
                .iter()
                .any(|gap| gap.from.get() < to && from < gap.to.get())
    }

    fn place(&self, position: u64) -> usize {
        usize::try_from(position - self.base).expect("a segment is at most 1 GiB")
    }

    /// Bytes from a position to another, within one block. Believed only when [`SegmentFile::is_torn`] was asked after
    /// they were read.
    pub(crate) fn bytes_at(&self, from: u64, to: u64) -> &[u8] {
        self.map.bytes(self.place(from)..self.place(to))
    }

    /// Whether a block's bytes are those that were written. Unknown sums pass.
    pub(crate) fn block_is_sound(&self, position: u64) -> bool {
        let sum = self.sum(position);
        let bytes = self.bytes_at(position, position + u64::from(sum.bytes));
        let known = sum.bytes == 0 || crc32c(bytes) == sum.crc;
        known && !self.is_torn(position, position + BLOCK_BYTES)
    }

    /// Reads a range within one block into memory, waiting for the disk. What cannot be had makes the block a doubtful
    /// one.
    pub(crate) fn populate(&self, from: u64, to: u64) {
        let populated = self.map.populate(&(self.place(from)..self.place(to)));
        if populated.as_ref().is_err_and(is_lost) {
            self.doubt(from);
        }
    }
}

/// Whether a failure to read pages into memory says that there are none: Linux answers `EFAULT` where a read through the
/// map would raise SIGBUS, because the file was cut or the medium fails, and more where memory has gone bad.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    let lost = [libc::EFAULT, libc::EHWPOISON];
    error
        .raw_os_error()
        .is_some_and(|number| lost.contains(&number))
}

/// How far a segment has come.
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

/// A segment as its log sees it. A memory log has one for each block, without a file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Dense within this run of the store.
    pub number: u32,
    pub base: u64,
    pub bytes: u64,
    pub incarnation: u32,
    pub first_sequence: u64,
    pub index: SegmentIndex,
    pub file: Option<Arc<SegmentFile>>,
    /// Open for writing until sealed.
    pub writing: Option<FileId>,
    pub stage: Stage,
    /// A sync of its own has made it durable.
    pub synced: bool,
    /// When its first record was written. Not known of a segment that was found sealed.
    pub first: Option<Written>,
    /// When its last record was written; while it has none, the last one before it.
    pub last: Written,
}

impl Segment {
    pub(crate) fn limit(&self) -> u64 {
        self.base + self.bytes
    }

    pub(crate) fn place_position(&self, place: PackedPlace) -> u64 {
        self.base + place.at()
    }
}
