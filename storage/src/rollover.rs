//! Rollover: goes on in the next block when one is full, and in the prepared segment when a segment is full.
//!
//! Room is made before a record is appended, or refused as a whole: a refused append leaves the log as it was.

use oyez_protocol::planted::{Bug, planted};

use crate::error::AppendError;
use crate::fixed::Fixed;
use crate::segment::SegmentFile;
use crate::segments::{Beginning, Segments};
use crate::spare::SpareSegment;
use crate::sys::arena::BlockWriter;
use crate::tail::Tail;
use crate::visibility::Visibility;

/// The parts of a log that a rollover takes.
pub(crate) struct Rollover<'a> {
    pub fixed: &'a Fixed,
    pub tail: &'a mut Tail,
    pub segments: &'a mut Segments,
    pub spare: &'a mut SpareSegment,
    pub visibility: &'a mut Visibility,
    /// Timestamp of the newest record.
    pub last_ms: u64,
}

impl Rollover<'_> {
    /// Makes room for a frame that does not fit the open block.
    pub(crate) fn make_room(&mut self) -> Result<(), AppendError> {
        let base = self.tail.next_block_base();
        let border = self.segments.is_border(base);
        if border && let Some(refusal) = self.refusal() {
            self.spare.need();
            return Err(refusal);
        }
        let writer = self.take_block().ok_or(AppendError::Busy)?;
        self.close_block();
        if border {
            self.begin_segment(base);
        }
        self.open_block(writer);
        Ok(())
    }

    /// Leaves the rest of the active segment unused and goes on in the spare one. Returns whether it did: without a spare,
    /// or without a block of the arena, everything stays as it is.
    pub(crate) fn roll(&mut self) -> bool {
        if !self.spare.is_ready() {
            return false;
        }
        let Some(writer) = self.take_block() else {
            return false;
        };
        self.close_block();
        let base = self.segments.leave(self.tail.head());
        self.tail.skip_to(base);
        self.begin_segment(base);
        self.open_block(writer);
        true
    }

    /// Whether there is room for a record of any size, so that refused publishers may come back.
    pub(crate) fn has_room(&self) -> bool {
        let options = &self.fixed.options;
        if self.tail.fits(options.limits.record_size_max as usize) {
            return true;
        }
        let free = self.visibility.pool().free_blocks() > 0;
        if !self.fixed.on_disk() {
            // A memory log drops its oldest block rather than wait.
            return free || self.tail.may_drop_oldest();
        }
        let segment = !self.needs_segment() || self.refusal().is_none();
        segment && self.tail.len() < self.fixed.blocks_max() && free
    }

    /// Whether publishers that were told to wait would now be refused with the reason.
    pub(crate) fn knows_why_not(&self) -> bool {
        let refusal = self.refusal();
        refusal.is_some_and(|refusal| refusal != AppendError::Busy) && self.needs_segment()
    }

    fn needs_segment(&self) -> bool {
        self.segments.is_border(self.tail.next_block_base())
    }

    fn refusal(&self) -> Option<AppendError> {
        let of_disk = self.fixed.on_disk();
        of_disk.then(|| self.spare.refusal()).flatten()
    }

    fn take_block(&mut self) -> Option<BlockWriter> {
        let blocks_max = self.fixed.blocks_max();
        if self.fixed.on_disk() {
            return (self.tail.len() < blocks_max)
                .then(|| self.visibility.pool().take())
                .flatten();
        }
        let spared = usize::from(planted(Bug::DropsABlockTooEarly));
        while self.tail.len() + spared >= blocks_max {
            self.drop_oldest_block();
        }
        let taken = self.visibility.pool().take();
        // A free block only has to be touched, and a dropped one may still be read: either becomes available without
        // dropping another.
        if taken.is_some()
            || !self.tail.may_drop_oldest()
            || self.visibility.pool().free_blocks() > 0
        {
            return taken;
        }
        self.drop_oldest_block();
        self.visibility.pool().take()
    }

    /// Drops the oldest block of a memory log, which is a segment as well.
    fn drop_oldest_block(&mut self) {
        let (start, block) = self.tail.take_oldest();
        self.segments.drop_oldest();
        // A reader that does not find the block any more sees that the start has moved.
        self.visibility.set_start(start);
        drop(block);
        self.visibility.publish(self.tail, self.segments);
    }

    fn close_block(&mut self) {
        let Some(closed) = self.tail.close_block() else {
            return;
        };
        if let Some(file) = self.segments.newest().and_then(|newest| newest.file()) {
            file.set_sum(closed.base(), closed.sum());
        }
        if !self.fixed.on_disk() {
            self.visibility.set_visible(self.tail.head());
        }
    }

    /// Makes the spare segment the active one. A memory log makes a segment of one block.
    fn begin_segment(&mut self, base: u64) {
        let spare = self.spare.take(base).map(|opened| {
            let path = self.fixed.segment_path(base);
            let file = SegmentFile::new(base, path, opened.map, Vec::new());
            (file, opened.file)
        });
        if self.segments.is_empty() {
            self.visibility.set_start(base);
        }
        let beginning = Beginning {
            base,
            incarnation: self.tail.incarnation(),
            sequence: self.tail.reached().sequence,
            last_ms: self.last_ms,
        };
        self.segments.begin(beginning, spare);
    }

    fn open_block(&mut self, writer: BlockWriter) {
        self.tail.open_block(writer, self.last_ms);
        self.visibility.publish(self.tail, self.segments);
    }
}
