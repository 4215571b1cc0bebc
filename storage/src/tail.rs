//! The tail of a log: the blocks that are not on disk yet, the one that takes appends, and how far the records reach.
//! Frames are put one after the other; `rollover` provides the next block and the next segment.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::{Record, Stamp, stamp};
use oyez_protocol::{LogId, Offset, Sequence};

use crate::disk::Block;
use crate::footer::BlockSum;
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark,
    encode_pad,
};
use crate::frames::Owner;
use crate::sys::arena::BlockWriter;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Bytes of a stamped record that its chain link covers: the header checksum.
const CHAINED: Range<usize> = 20..24;

/// How far the records reach at some position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Sequence of the next record.
    pub sequence: u64,
    /// Chain checksum so far.
    pub chain: u32,
}

/// A block of the tail.
#[derive(Debug)]
pub(crate) struct TailBlock {
    base: u64,
    block: Arc<Block>,
    /// Set when the block is closed: how far the records reach at its end.
    closed: Option<Reached>,
}

impl TailBlock {
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Checksum of its committed bytes.
    pub(crate) fn sum(&self) -> BlockSum {
        let bytes = self.block.bytes(0..self.block.committed());
        BlockSum {
            crc: crc32c(bytes),
            bytes: u32::try_from(bytes.len()).expect("a block is 2 MiB"),
        }
    }

    /// Where a position at or after the block's base lies within it.
    pub(crate) fn place(&self, position: u64) -> usize {
        let place = position.saturating_sub(self.base);
        usize::try_from(place).expect("a place within a block")
    }
}

/// Bytes that are not written yet, within one block.
pub(crate) struct Unwritten<'a> {
    pub block: &'a TailBlock,
    pub range: Range<usize>,
    /// Everything below is written with them.
    pub covers: u64,
    pub reached: Reached,
}

/// Where a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub sequence: u64,
    pub position: u64,
    /// Position after it.
    pub end: u64,
}

/// The tail of a log.
pub(crate) struct Tail {
    owner: Owner,
    incarnation: u32,
    blocks: VecDeque<TailBlock>,
    /// The block that a memory log dropped last; readers may still hold it.
    dropped: Weak<Block>,
    writer: Option<BlockWriter>,
    /// Position that the next frame gets; a segment's border when there is no writer.
    head: u64,
    reached: Reached,
    /// Position after the last record; marks do not count.
    records_end: u64,
    records_appended: u64,
}

impl Tail {
    pub(crate) fn new(owner: Owner, blocks: usize) -> Self {
        Self {
            owner,
            incarnation: 0,
            blocks: VecDeque::with_capacity(blocks),
            dropped: Weak::new(),
            writer: None,
            head: 0,
            reached: Reached::default(),
            records_end: 0,
            records_appended: 0,
        }
    }

    /// Continues at a position, behind records that were there before.
    pub(crate) fn go_on(&mut self, head: u64, reached: Reached) {
        self.head = head;
        self.records_end = head;
        self.reached = reached;
    }

    pub(crate) fn set_incarnation(&mut self, incarnation: u32) {
        self.incarnation = incarnation;
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    #[inline]
    pub(crate) fn reached(&self) -> Reached {
        self.reached
    }

    pub(crate) fn records_end(&self) -> u64 {
        self.records_end
    }

    pub(crate) fn records_appended(&self) -> u64 {
        self.records_appended
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Oldest first.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &TailBlock> {
        self.blocks.iter()
    }

    /// Whether a frame fits into the open block, and leaves either no rest or one that is large enough for a pad.
    #[inline]
    pub(crate) fn fits(&self, size: usize) -> bool {
        let Some(writer) = &self.writer else {
            return false;
        };
        let left = BLOCK - writer.block().committed();
        left == size || left >= size + PAD_HEADER_SIZE
    }

    pub(crate) fn next_block_base(&self) -> u64 {
        match self.blocks.back() {
            Some(last) if self.writer.is_some() => last.base + BLOCK_BYTES,
            _ => self.head,
        }
    }

    /// Stamps a record for which there is room, and copies it once.
    #[inline]
    pub(crate) fn append(&mut self, record: &Record<'_>, offset: u64, stamp_ms: u64) -> Placed {
        let writer = self.writer.as_mut().expect("there is room in it");
        let sequence = self.reached.sequence;
        let stamped = Stamp {
            offset: Offset::new(offset),
            sequence: Sequence::new(sequence),
            log: LogId::new(self.owner.log),
            timestamp_ms: stamp_ms,
            incarnation: (self.incarnation & 0xffff) as u16,
        };
        let chain = &mut self.reached.chain;
        writer.append(record.bytes().len(), |out| {
            out.copy_from_slice(record.bytes());
            stamp(out, &stamped);
            *chain = crc32c_append(*chain, &out[CHAINED]);
        });
        self.reached.sequence += 1;
        self.records_appended += 1;
        let position = self.head;
        self.head += u64::from(record.size());
        self.records_end = self.head;
        Placed {
            sequence,
            position,
            end: self.head,
        }
    }

    /// Appends a sync mark if the open block has room; without room the next mark does.
    pub(crate) fn mark(&mut self, position: u64, covered: Reached) {
        if !self.fits(SYNC_MARK_SIZE) {
            return;
        }
        let mark = SyncMark {
            chain: covered.chain,
            sequence: covered.sequence + u64::from(planted(Bug::MarksOneTooMany)),
            position,
            incarnation: self.incarnation,
        };
        let writer = self.writer.as_mut().expect("there is room in it");
        writer.append(SYNC_MARK_SIZE, |out| mark.encode(out));
        self.head += SYNC_MARK_SIZE as u64;
    }

    /// Ends the open block, with a pad unless it is exactly full, and returns it.
    pub(crate) fn close_block(&mut self) -> Option<&TailBlock> {
        let mut writer = self.writer.take()?;
        let left = BLOCK - writer.block().committed();
        if left > 0 {
            writer.append(PAD_HEADER_SIZE, |out| encode_pad(left, out));
        }
        let last = self.blocks.back_mut();
        let last = last.expect("the writer's block is the last");
        last.closed = Some(self.reached);
        self.head = last.base + BLOCK_BYTES;
        Some(last)
    }

    /// Leaves everything up to a position unused.
    pub(crate) fn skip_to(&mut self, position: u64) {
        self.head = position;
    }

    /// Goes on in a fresh block, which begins with its header. `last_ms` is the timestamp of the record before.
    pub(crate) fn open_block(&mut self, mut writer: BlockWriter, last_ms: u64) {
        let header = BlockHeader {
            log: self.owner.log,
            incarnation: self.incarnation,
            chain: self.reached.chain,
            number: self.head / BLOCK_BYTES,
            first_sequence: self.reached.sequence,
            timestamp_ms: last_ms,
            dir_id: self.owner.dir_id,
        };
        writer.append(BLOCK_HEADER_SIZE, |out| header.encode(out));
        self.adopt_block(writer, self.head);
        self.head += BLOCK_HEADER_SIZE as u64;
    }

    /// Goes on in a block that holds frames already.
    pub(crate) fn adopt_block(&mut self, writer: BlockWriter, base: u64) {
        self.blocks.push_back(TailBlock {
            base,
            block: Arc::clone(writer.block()),
            closed: None,
        });
        self.writer = Some(writer);
    }

    /// Whether a memory log may drop a block because the arena has no other: not its last one, and one at a time.
    pub(crate) fn may_drop_oldest(&self) -> bool {
        self.blocks.len() >= 2 && self.dropped.strong_count() == 0
    }

    /// Takes out the oldest block. Returns where the tail begins without it, and the block, which is to be dropped once
    /// readers can see that.
    pub(crate) fn take_oldest(&mut self) -> (u64, Option<Arc<Block>>) {
        let oldest = self.blocks.pop_front().map(|oldest| oldest.block);
        self.dropped = oldest.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let start = self.blocks.front().map_or(self.head, |block| block.base);
        (start, oldest)
    }

    /// The first block with unwritten bytes, and the range of these.
    pub(crate) fn unwritten(&self, written: u64) -> Option<Unwritten<'_>> {
        if written >= self.head {
            return None;
        }
        let number = self
            .blocks
            .partition_point(|block| block.base + BLOCK_BYTES <= written);
        let block = self.blocks.get(number)?;
        let range = block.place(written)..block.block.committed();
        let covers = match block.closed {
            // A block that is not its segment's last one may still be the last one used.
            Some(_) => match self.blocks.get(number + 1) {
                Some(next) => next.base,
                None => block.base + BLOCK_BYTES,
            },
            None => block.base + range.end as u64,
        };
        let reached = block.closed.unwrap_or(self.reached);
        (!range.is_empty()).then_some(Unwritten {
            block,
            range,
            covers,
            reached,
        })
    }

    /// Releases blocks that are closed and below `safe`, except for the newest `keep` of them. Returns whether it released
    /// any.
    pub(crate) fn retire(&mut self, safe: u64, keep: usize) -> bool {
        let flushed = self
            .blocks
            .iter()
            .take_while(|block| block.closed.is_some() && block.base + BLOCK_BYTES <= safe)
            .count();
        let retires = flushed > keep;
        if retires {
            self.blocks.drain(..flushed - keep);
        }
        retires
    }
}
