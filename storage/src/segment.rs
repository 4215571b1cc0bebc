//! A segment: its file, what readers share of it, and its index.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oyez_protocol::checksum::crc32c;

use crate::age::Written;
use crate::disk::{FileId, Map};
use crate::footer::{BlockSum, Footer};
use crate::format::{BLOCK_BYTES, block_start};
use crate::index::LiveIndex;
use crate::place::Gap;
use crate::table::PackedPlace;

/// Marks a block as damaged in [`BlockState::warm_until`].
const DAMAGED: u64 = u64::MAX;

/// What is known of one block of a segment. Changes without a lock.
#[derive(Debug, Default)]
struct BlockState {
    /// Until when the block counts as being in the page cache, or [`DAMAGED`].
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
        // A file that was shortened is as long as its whole blocks.
        let bytes = block_start(map.len());
        let blocks = (0..bytes / BLOCK_BYTES)
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
        let state = self.block(position);
        if state.warm_until.load(Ordering::Relaxed) != DAMAGED {
            state.warm_until.store(until_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_warm(&self, position: u64, now_ms: u64) -> bool {
        let until = self.block(position).warm_until.load(Ordering::Relaxed);
        until != DAMAGED && until > now_ms
    }

    pub(crate) fn set_damaged(&self, position: u64) {
        self.block(position)
            .warm_until
            .store(DAMAGED, Ordering::Relaxed);
    }

    /// Whether any byte of the range is known to be damaged.
    pub(crate) fn is_damaged(&self, from: u64, to: u64) -> bool {
        self.block(from).warm_until.load(Ordering::Relaxed) == DAMAGED
            || self
                .gaps
                .iter()
                .any(|gap| gap.from.get() < to && from < gap.to.get())
    }

    /// Bytes from a position to another, within one block.
    pub(crate) fn bytes_at(&self, from: u64, to: u64) -> &[u8] {
        let place = |position: u64| {
            usize::try_from(position - self.base).expect("a segment is at most 1 GiB")
        };
        self.map.bytes(place(from)..place(to))
    }

    /// Whether a block's bytes are those that were written. Unknown sums pass.
    pub(crate) fn block_is_sound(&self, position: u64) -> bool {
        let sum = self.sum(position);
        let bytes = self.bytes_at(position, position + u64::from(sum.bytes));
        sum.bytes == 0 || crc32c(bytes) == sum.crc
    }
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
    /// In the mapped footer.
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
