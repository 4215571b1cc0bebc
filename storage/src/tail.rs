//! The tail of a log: the blocks that are not on disk yet, and the way from a full block into the next one.
//!
//! Room is made before anything is appended, and refused as a whole: a refused append leaves the tail as it was.

use std::sync::{Arc, Weak};

use oyez_protocol::checksum::crc32c;

use crate::age::Written;
use crate::disk::Block;
use crate::error::AppendError;
use crate::footer::BlockSum;
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark,
    encode_pad,
};
use crate::index::LiveIndex;
use crate::log::{Drain, Log, Spare};
use crate::segment::{Segment, SegmentFile, SegmentIndex, Stage};
use crate::sys::arena::BlockWriter;

const BLOCK: usize = BLOCK_BYTES as usize;
/// How long appends that need the next segment wait for it, whether it cannot be made or is not made. A publisher is to
/// have an answer within five seconds; a segment of 64 MiB takes a slow disk of 30 MB/s two, and is begun ahead of need.
const NEEDED_MAX_MS: u64 = 3_000;

/// A block of the tail.
#[derive(Debug)]
pub(crate) struct TailBlock {
    pub base: u64,
    pub block: Arc<Block>,
    /// Set when nothing more comes into it.
    pub closed: Option<Reached>,
}

/// How far the records reach at some position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Sequence of the next record.
    pub sequence: u64,
    /// Chain checksum so far.
    pub chain: u32,
}

impl Log {
    /// Whether the open block takes a frame and still has no rest that is too small for a pad.
    fn fits(&self, size: usize) -> bool {
        let Some(writer) = &self.writer else {
            return false;
        };
        let left = BLOCK - writer.block().committed();
        left == size || left >= size + PAD_HEADER_SIZE
    }

    pub(crate) fn make_room(&mut self, size: usize) -> Result<(), AppendError> {
        if self.fits(size) {
            return Ok(());
        }
        let base = self.next_block_base();
        let border = self.is_border(base);
        if border && let Err(refusal) = self.next_segment() {
            self.segment_needed = true;
            return Err(refusal);
        }
        let writer = self.take_block().ok_or(AppendError::Busy)?;
        self.close_block();
        if border {
            self.open_segment(base);
        }
        self.open_block(writer);
        Ok(())
    }

    /// Whether [`Log::make_room`] would succeed for any record, so that refused publishers may come back.
    pub(crate) fn would_accept(&self) -> bool {
        if self.poisoned || self.drain != Drain::No {
            return false;
        }
        if self.fits(self.parts.options.limits.record_size_max as usize) {
            return true;
        }
        let border = self.is_border(self.next_block_base());
        if !self.on_disk() {
            // A memory log gives up its oldest block rather than wait.
            return self.parts.pool.free_blocks() > 0 || self.may_give_up();
        }
        let segment = !border || self.next_segment().is_ok();
        segment && self.tail.len() < self.blocks_max() && self.parts.pool.free_blocks() > 0
    }

    /// Whether those that were refused may come back: for records to be taken, or to hear why they are not.
    pub(crate) fn would_answer(&self) -> bool {
        match self.refused {
            None => false,
            Some(AppendError::Busy) => {
                let refusal = self.next_segment().err();
                let is_known = refusal.is_some_and(|refusal| refusal != AppendError::Busy);
                self.would_accept() || is_known && self.is_border(self.next_block_base())
            }
            Some(_) => self.would_accept(),
        }
    }

    /// Whether a block at `base` would be the first of a segment.
    fn is_border(&self, base: u64) -> bool {
        self.segments
            .back()
            .is_none_or(|segment| base >= segment.limit() || segment.stage != Stage::Active)
    }

    /// Whether the next segment was needed for too long.
    pub(crate) fn is_starving(&self) -> bool {
        let now_ms = self.now.monotonic_ms;
        let since_ms = self.needed_since_ms.unwrap_or(now_ms);
        now_ms.saturating_sub(since_ms) >= NEEDED_MAX_MS
    }

    /// Whether the next segment is at hand; if not, what an append that needs it is told.
    fn next_segment(&self) -> Result<(), AppendError> {
        match &self.spare {
            _ if !self.on_disk() => Ok(()),
            Spare::Ready { .. } => Ok(()),
            Spare::Failed { no_space: true, .. } => Err(AppendError::DiskFull),
            _ if self.is_starving() => Err(AppendError::NoSegment),
            Spare::None
            | Spare::Preparing { .. }
            | Spare::Unnamed { .. }
            | Spare::Failed { .. } => Err(AppendError::Busy),
        }
    }

    fn next_block_base(&self) -> u64 {
        match self.tail.back() {
            Some(last) if self.writer.is_some() => last.base + BLOCK_BYTES,
            _ => self.head,
        }
    }

    fn blocks_max(&self) -> usize {
        if self.on_disk() {
            self.parts.options.tail_blocks
        } else {
            self.parts.options.memory_blocks
        }
    }

    fn take_block(&mut self) -> Option<BlockWriter> {
        if self.on_disk() {
            return (self.tail.len() < self.blocks_max())
                .then(|| self.parts.pool.take())
                .flatten();
        }
        while self.tail.len() >= self.blocks_max() {
            self.drop_oldest_block();
        }
        let taken = self.parts.pool.take();
        // A free block only has to be touched, and one that was given up may still be read: both come without history.
        if taken.is_some() || !self.may_give_up() || self.parts.pool.free_blocks() > 0 {
            return taken;
        }
        self.drop_oldest_block();
        self.parts.pool.take()
    }

    /// Whether a memory log may give up a block for lack of another: not its last one, and one at a time.
    fn may_give_up(&self) -> bool {
        self.tail.len() >= 2 && self.given_up.strong_count() == 0
    }

    /// A memory log forgets its oldest block, which is also a segment of it.
    fn drop_oldest_block(&mut self) {
        let oldest = self.tail.pop_front();
        self.segments.pop_front();
        let start = self.tail.front().map_or(self.head, |block| block.base);
        self.shared.set_start(start);
        // Whoever does not find the block any more finds the start moved.
        self.given_up = oldest.map_or_else(Weak::new, |oldest| Arc::downgrade(&oldest.block));
        self.publish();
    }

    fn close_block(&mut self) {
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let left = BLOCK - writer.block().committed();
        if left > 0 {
            writer.append(PAD_HEADER_SIZE, |out| encode_pad(left, out));
        }
        let last = self
            .tail
            .back_mut()
            .expect("the writer's block is the last");
        last.closed = Some(self.reached);
        self.head = last.base + BLOCK_BYTES;
        let file = self
            .segments
            .back()
            .and_then(|segment| segment.file.as_ref());
        if let Some(file) = file {
            let bytes = last.block.bytes(0..last.block.committed());
            let sum = BlockSum {
                crc: crc32c(bytes),
                bytes: u32::try_from(bytes.len()).expect("a block is 2 MiB"),
            };
            file.set_sum(last.base, sum);
        }
        if !self.on_disk() {
            self.set_visible(self.head);
        }
    }

    /// Leaves the rest of the active segment unused and goes on in the spare one. Without a spare, or without a block to
    /// begin it with, everything stays as it is.
    pub(crate) fn roll(&mut self) -> bool {
        if !matches!(self.spare, Spare::Ready { .. }) {
            return false;
        }
        let Some(writer) = self.take_block() else {
            return false;
        };
        self.close_block();
        if let Some(active) = self.segments.back().filter(|s| s.stage == Stage::Active) {
            if let Some(file) = &active.file {
                file.set_end(self.head);
            }
            self.head = active.limit();
        }
        self.open_segment(self.head);
        self.open_block(writer);
        true
    }

    /// Makes the spare segment the active one. A memory log makes a segment of one block.
    fn open_segment(&mut self, base: u64) {
        if let Some(segment) = self.segments.back_mut()
            && segment.stage == Stage::Active
        {
            segment.stage = Stage::Full;
        }
        let spare = std::mem::replace(&mut self.spare, Spare::None);
        let (file, writing, bytes) = match spare {
            Spare::Ready { base: at, opened } if self.on_disk() => {
                debug_assert_eq!(at, base);
                let path = self.segment_path(base);
                let file = SegmentFile::new(base, path, opened.map, Vec::new());
                let bytes = file.bytes;
                (Some(Arc::new(file)), Some(opened.file), bytes)
            }
            _ => (None, None, BLOCK_BYTES),
        };
        let segment = Segment {
            number: self.next_number,
            base,
            bytes,
            incarnation: self.incarnation,
            first_sequence: self.reached.sequence,
            index: SegmentIndex::Live(Arc::new(LiveIndex::default())),
            file,
            writing,
            stage: Stage::Active,
            synced: false,
            first: None,
            last: Written::stamped(self.last_ms),
        };
        self.push_segment(segment);
    }

    pub(crate) fn push_segment(&mut self, segment: Segment) {
        self.next_number = segment.number + 1;
        if self.segments.is_empty() {
            self.shared.set_start(segment.base);
        }
        self.segments.push_back(segment);
    }

    fn open_block(&mut self, mut writer: BlockWriter) {
        let header = BlockHeader {
            log: self.parts.spec.id.get(),
            incarnation: self.incarnation,
            chain: self.reached.chain,
            number: self.head / BLOCK_BYTES,
            first_sequence: self.reached.sequence,
            timestamp_ms: self.last_ms,
            dir_id: self.parts.dir_id,
        };
        writer.append(BLOCK_HEADER_SIZE, |out| header.encode(out));
        self.adopt_block(writer, self.head);
        self.head += BLOCK_HEADER_SIZE as u64;
        self.publish();
    }

    pub(crate) fn adopt_block(&mut self, writer: BlockWriter, base: u64) {
        self.tail.push_back(TailBlock {
            base,
            block: Arc::clone(writer.block()),
            closed: None,
        });
        self.writer = Some(writer);
    }

    /// Appends a sync mark if the open block has room; without room the next mark does.
    pub(crate) fn mark(&mut self, position: u64, synced: Reached) {
        if !self.fits(SYNC_MARK_SIZE) {
            return;
        }
        let mark = SyncMark {
            chain: synced.chain,
            sequence: synced.sequence,
            position,
            incarnation: self.incarnation,
        };
        let writer = self.writer.as_mut().expect("there is room in it");
        writer.append(SYNC_MARK_SIZE, |out| mark.encode(out));
        self.head += SYNC_MARK_SIZE as u64;
    }
}
