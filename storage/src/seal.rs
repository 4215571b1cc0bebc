//! Full segments become durable, and get their footers. Nothing here is waited for.

use std::io;
use std::sync::Arc;

use crate::discards::Discards;
use crate::disk::{Disk, FileId};
use crate::error::Poisoned;
use crate::fixed::Fixed;
use crate::footer::{self, BlockSum, Footer, FooterHead};
use crate::format::BLOCK_BYTES;
use crate::health::Health;
use crate::operations::{Operations, Purpose};
use crate::options::Durability;
use crate::segments::{Segment, SegmentIndex, Segments, Stage};
use crate::trouble::Attempt;

/// How long until a footer that could not be written is tried again.
const RETRY_MS: u64 = 1000;

/// When footers are tried again.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    retry_ms: u64,
}

/// What a segment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Sync(FileId),
    Footer,
}

/// How far the log's writes and syncs have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed {
    pub written: u64,
    /// Below which full segments are durable without a sync of their own.
    pub durable: u64,
}

/// The parts of a log that seal its segments.
pub(crate) struct Sealer<'a> {
    pub fixed: &'a Fixed,
    pub sealing: &'a mut Sealing,
    pub segments: &'a mut Segments,
    pub operations: &'a mut Operations,
    pub discards: &'a mut Discards,
    pub health: &'a mut Health,
    pub disk: &'a mut dyn Disk,
    pub flushed: Flushed,
    /// Sequence of the log's next record.
    pub next_sequence: u64,
    pub now_ms: u64,
}

impl Sealing {
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        (self.retry_ms > 0).then_some(self.retry_ms)
    }

    /// Whether footers are to be written now; they are tried at once then.
    fn is_due(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.retry_ms;
        if due {
            self.retry_ms = 0;
        }
        due
    }
}

impl Sealer<'_> {
    /// Starts the sync or the footer of segments that are full and flushed.
    pub(crate) fn start(&mut self) {
        let footers = self.sealing.is_due(self.now_ms);
        let end = self.segments.next_number();
        let oldest = self.segments.oldest().map_or(end, |oldest| oldest.number);
        for number in oldest..end {
            match self.step(number) {
                Step::Footer if footers => self.put_footer(number),
                Step::Sync(file) => {
                    self.segments.begin_sealing(number);
                    let token = self.operations.begin(Purpose::SealSync(number));
                    self.disk.sync(token, file);
                }
                Step::Nothing | Step::Footer => {}
            }
        }
    }

    fn step(&self, number: u32) -> Step {
        let segment = self.segments.numbered(number);
        let Some(segment) = segment.filter(|segment| segment.stage() == Stage::Full) else {
            return Step::Nothing;
        };
        if segment.is_durable(self.flushed.durable) {
            return Step::Footer;
        }
        // A synced log's flush covers it in time.
        let syncs = self.fixed.durability() == Durability::Written;
        let written = self.flushed.written >= segment.limit();
        match segment.writing() {
            Some(file) if syncs && written => Step::Sync(file),
            _ => Step::Nothing,
        }
    }

    fn put_footer(&mut self, number: u32) {
        let next = self.segments.numbered(number + 1);
        let next_sequence = next.map_or(self.next_sequence, |next| next.first_sequence);
        self.segments.begin_sealing(number);
        let Some(segment) = self.segments.numbered(number) else {
            return;
        };
        let (Some(file), SegmentIndex::Live(live)) = (segment.file(), segment.index()) else {
            return;
        };
        let head = FooterHead {
            log: self.fixed.id().get(),
            incarnation: segment.incarnation,
            base: segment.base,
            end: file.end(),
            segment_bytes: segment.bytes,
            first_sequence: segment.first_sequence,
            next_sequence,
            last_ms: segment.last().stamp_ms(),
            dir_id: self.fixed.dir_id,
            sums: sums(segment),
            gaps: file.gaps.clone(),
        };
        let live = Arc::clone(live);
        let path = self.fixed.footer_path(head.base);
        let token = self.operations.begin(Purpose::Footer(number));
        let discarded = self.discards.take();
        let content = move || {
            drop(discarded);
            footer::encode(&head, &live)
        };
        self.disk.put(token, path, Box::new(content));
    }

    /// A segment's own sync has made it durable, or not. A failed sync is never repeated.
    pub(crate) fn synced(&mut self, token: u64, result: io::Result<()>) -> Result<(), Poisoned> {
        let Some(Purpose::SealSync(number)) = self.operations.end(token) else {
            return Ok(());
        };
        result.map_err(|source| self.health.poison("sync", source))?;
        if self.segments.synced(number) {
            self.start();
        }
        Ok(())
    }

    /// A footer was written, or not.
    pub(crate) fn footer_put(
        &mut self,
        number: u32,
        result: io::Result<Vec<u8>>,
    ) -> Result<(), Poisoned> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it reads back otherwise");
        let footer = result.and_then(|bytes| Footer::written(bytes).ok_or_else(damaged));
        match footer {
            Ok(footer) => {
                if let Some((live, writing)) = self.segments.seal(number, footer) {
                    writing.into_iter().for_each(|file| self.disk.close(file));
                    self.discards.index(live);
                }
                self.health.worked(Attempt::Footer);
                Ok(())
            }
            Err(error) => {
                self.segments.not_sealed(number);
                self.sealing.retry_ms = self.now_ms + RETRY_MS;
                self.health.fail(Attempt::Footer, error)
            }
        }
    }
}

fn sums(segment: &Segment) -> Vec<BlockSum> {
    let blocks = 0..segment.bytes.div_ceil(BLOCK_BYTES);
    let file = segment.file();
    blocks
        .map(|block| {
            file.map_or(BlockSum::default(), |f| {
                f.sum(segment.base + block * BLOCK_BYTES)
            })
        })
        .collect()
}
