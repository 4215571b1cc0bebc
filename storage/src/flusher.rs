//! Flushing the tail: starts the writes and syncs that `flush` decides on, and takes their completions.

use std::io;
use std::ops::Range;

use oyez_protocol::planted::{Bug, planted};

use crate::disk::{BlockRange, Disk, FileId, WriteSync};
use crate::fixed::Fixed;
use crate::flush::{Ends, Failure, Flush, FlushEffects, Next, Piece, Request};
use crate::operations::{Operations, Purpose};
use crate::segments::Segments;
use crate::tail::{Reached, Tail, Unwritten};

/// The parts of a log that flushing takes.
pub(crate) struct Flusher<'a> {
    pub fixed: &'a Fixed,
    pub flush: &'a mut Flush,
    pub tail: &'a Tail,
    pub segments: &'a Segments,
    pub operations: &'a mut Operations,
    pub disk: &'a mut dyn Disk,
    pub now_ms: u64,
}

/// A segment that is open for writing.
struct Target {
    file: FileId,
    range: Range<u64>,
}

impl Flusher<'_> {
    /// Starts the next write or sync unless one is in flight.
    pub(crate) fn start(&mut self) {
        if !self.fixed.on_disk() || self.flush.waits(self.ends(), self.now_ms) {
            return;
        }
        let tail = self.tail;
        if let Some(unwritten) = tail.unwritten(self.flush.written_to()) {
            self.write(unwritten);
        } else if self.flush.wants_sync_alone() {
            self.sync(self.flush.written_to(), tail.reached());
        }
    }

    /// Takes the completion of a write.
    pub(crate) fn written(
        &mut self,
        token: u64,
        result: io::Result<usize>,
    ) -> Result<FlushEffects, Failure> {
        let news = self.flush.written(token, result)?;
        self.go_on(token, &news);
        Ok(news)
    }

    /// Takes the completion of a sync.
    pub(crate) fn synced(
        &mut self,
        token: u64,
        result: io::Result<()>,
    ) -> Result<FlushEffects, Failure> {
        let news = self.flush.synced(token, result)?;
        self.go_on(token, &news);
        Ok(news)
    }

    fn go_on(&mut self, token: u64, news: &FlushEffects) {
        if news.completed_from.is_some() || news.next != Next::Nothing {
            self.operations.end(token);
        }
        match news.next {
            Next::Nothing => {}
            Next::Rest => self.start(),
            Next::Sync { covers, reached } => self.sync(covers, reached),
        }
    }

    fn ends(&self) -> Ends {
        Ends {
            head: self.tail.head(),
            records: self.tail.records_end(),
        }
    }

    fn target(&self, position: u64) -> Option<Target> {
        let segment = self.segments.holding(position)?;
        Some(Target {
            file: segment.writing()?,
            range: segment.base..segment.limit(),
        })
    }

    fn write(&mut self, unwritten: Unwritten<'_>) {
        let Unwritten {
            block,
            mut range,
            covers,
            reached,
        } = unwritten;
        let at = block.base() + range.start as u64;
        let Some(target) = self.target(at) else {
            unreachable!("a block of the tail lies in a segment that is open for writing");
        };
        let base = target.range.start;
        let piece = Piece {
            at,
            block: block.base(),
            covers,
            segment: target.range,
        };
        let sync = self.flush.sync_for(&piece, self.ends());
        if sync == WriteSync::Range {
            range.start = block.place(self.flush.synced_to());
        }
        let from = block.base() + range.start as u64;
        let bytes = BlockRange::new(block.block().clone(), range);
        let token = self.operations.begin(Purpose::Flush);
        self.flush.note_started(
            token,
            Request {
                from,
                asked: bytes.bytes().len(),
                covers,
                reached,
                sync,
            },
        );
        let sync = match sync {
            WriteSync::Range if planted(Bug::SkipsASync) => WriteSync::None,
            sync => sync,
        };
        self.disk
            .write(token, target.file, from - base, bytes, sync);
    }

    /// Syncs the file below `covers`, all of which is written.
    fn sync(&mut self, covers: u64, reached: Reached) {
        let Some(target) = self.target(covers - 1) else {
            // The last segment is sealed, hence durable.
            self.flush.is_durable(covers);
            return;
        };
        let token = self.operations.begin(Purpose::Flush);
        self.flush.note_started(
            token,
            Request {
                from: covers,
                asked: 0,
                covers,
                reached,
                sync: WriteSync::File,
            },
        );
        self.disk.sync(token, target.file);
    }
}
