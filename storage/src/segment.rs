//! The file of a segment, as all shards share it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oyez_protocol::LogId;
use oyez_protocol::checksum::crc32c;
use oyez_protocol::header::FrameHead;
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;

use crate::disk::Map;
use crate::footer::BlockSum;
use crate::format::BLOCK_BYTES;
use crate::values::Gap;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Marks a doubtful block in [`BlockState::warm_until`]: some of its bytes are missing or wrong, and each record is verified
/// before it is served.
const DOUBTFUL: u64 = u64::MAX;

/// What is known of one block of a segment. It changes without a lock.
#[derive(Debug, Default)]
struct BlockState {
    /// Until this time the block counts as being in the page cache; or [`DOUBTFUL`].
    warm_until: AtomicU64,
    /// Length of the checked bytes in the upper half, their checksum in the lower; 0 = not known.
    sum: AtomicU64,
}

/// A segment file, as all shards share it. It holds a map and a path, no descriptor.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub base: u64,
    pub bytes: u64,
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub gaps: Vec<Gap>,
    /// Position after the last frame; the end of the segment while that is active.
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
        // This fails for a doubtful block, which stays so.
        let _ = warm_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < DOUBTFUL).then_some(until_ms)
        });
    }

    pub(crate) fn is_warm(&self, position: u64, now_ms: u64) -> bool {
        let until = self.block(position).warm_until.load(Ordering::Relaxed);
        until > now_ms
    }

    /// Marks a block as doubtful. The other blocks of the file may be damaged as well: they have to be populated, and their
    /// checksums checked, before they are served again.
    pub(crate) fn doubt(&self, position: u64) {
        let before = self
            .block(position)
            .warm_until
            .fetch_max(DOUBTFUL, Ordering::Relaxed);
        if before < DOUBTFUL {
            let blocks = (self.base..self.limit()).step_by(BLOCK);
            blocks.for_each(|block| self.set_warm(block, 0));
        }
    }

    pub(crate) fn is_doubtful(&self, position: u64) -> bool {
        self.block(position).warm_until.load(Ordering::Relaxed) == DOUBTFUL
    }

    /// Whether a range within one block holds whole records of a log and nothing else. Missing bytes read as zeroes.
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

    /// Whether bytes of a range within one block were missing from the map when they were read, so that they are no data.
    /// The block is doubtful from then on. Ask this after reading.
    pub(crate) fn is_unreadable(&self, from: u64, to: u64) -> bool {
        let unreadable = self.map.is_unreadable(self.place(from)..self.place(to));
        if unreadable {
            self.doubt(from);
        }
        unreadable
    }

    /// Whether a range within one block overlaps a gap.
    pub(crate) fn is_damaged(&self, from: u64, to: u64) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|gap| gap.from.get() < to && from < gap.to.get())
    }

    fn place(&self, position: u64) -> usize {
        usize::try_from(position - self.base).expect("a segment is at most 1 GiB")
    }

    /// Bytes from one position to another, within one block. They are valid only if [`SegmentFile::is_unreadable`] returns
    /// false after they were read.
    pub(crate) fn bytes_at(&self, from: u64, to: u64) -> &[u8] {
        self.map.bytes(self.place(from)..self.place(to))
    }

    /// Whether a block's bytes are those that were written. A block without a known checksum passes.
    pub(crate) fn block_is_sound(&self, position: u64) -> bool {
        let sum = self.sum(position);
        let bytes = self.bytes_at(position, position + u64::from(sum.bytes));
        let known = sum.bytes == 0 || crc32c(bytes) == sum.crc;
        known && !self.is_unreadable(position, position + BLOCK_BYTES)
    }

    /// Reads a range within one block into memory, waiting for the disk. If bytes are missing, the block becomes
    /// doubtful.
    pub(crate) fn populate(&self, from: u64, to: u64) {
        let populated = self.map.populate(&(self.place(from)..self.place(to)));
        if populated.as_ref().is_err_and(is_lost) {
            self.doubt(from);
        }
    }
}

/// Whether a failure to populate pages means that they are missing. Linux answers `EFAULT` if a read through the map would
/// raise SIGBUS, because the file was cut or the medium fails, and `EHWPOISON` if memory has gone bad.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    let lost = [libc::EFAULT, libc::EHWPOISON];
    error
        .raw_os_error()
        .is_some_and(|number| lost.contains(&number))
}
