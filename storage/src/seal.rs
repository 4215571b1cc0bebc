//! Sealing: makes full segments durable and writes their footers, without waiting for the disk.

use std::io;
use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};

use crate::discards::Discards;
use crate::disk::{Disk, FileId};
use crate::error::Poisoned;
use crate::failing::Task;
use crate::fixed::Fixed;
use crate::footer::{self, BlockSum, Footer, FooterHead};
use crate::format::BLOCK_BYTES;
use crate::health::Health;
use crate::operations::{Operations, Purpose};
use crate::options::Durability;
use crate::segments::{Segment, SegmentIndex, Segments, Stage};

/// How long until a footer that could not be written is tried again.
const RETRY_MS: u64 = 1000;

/// When a failed footer is tried again.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    retry_ms: u64,
}

/// The next step of sealing a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SealStep {
    Nothing,
    Sync(FileId),
    Footer,
}

/// The positions that the log's writes and syncs have reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed {
    pub written: u64,
    /// Below which full segments are durable without a sync of their own.
    pub durable: u64,
}

/// The parts of a log that sealing its segments takes.
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

    /// Returns whether footers may be written now, and ends the pause after a failure if so.
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
                SealStep::Footer if footers => self.put_footer(number),
                SealStep::Sync(file) => {
                    self.segments.begin_sealing(number);
                    let token = self.operations.begin(Purpose::SealSync(number));
                    self.disk.sync(token, file);
                }
                SealStep::Nothing | SealStep::Footer => {}
            }
        }
    }

    fn step(&self, number: u32) -> SealStep {
        let segment = self.segments.numbered(number);
        let Some(segment) = segment.filter(|segment| segment.stage() == Stage::Full) else {
            return SealStep::Nothing;
        };
        if segment.is_durable(self.flushed.durable) || planted(Bug::SealsTooEarly) {
            return SealStep::Footer;
        }
        // The flush of a synced log will cover the segment.
        let syncs = self.fixed.durability() == Durability::Written;
        let written = self.flushed.written >= segment.limit();
        match segment.writing() {
            Some(file) if syncs && written => SealStep::Sync(file),
            _ => SealStep::Nothing,
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
            let bytes = footer::encode(&head, &live);
            debug_assert!(
                Footer::open(bytes.clone()).is_some(),
                "the next start believes it: {head:?}"
            );
            bytes
        };
        self.disk.put(token, path, Box::new(content));
    }

    /// Takes the result of a segment's own sync. A failed sync is never repeated.
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

    /// Takes the result of writing a footer.
    pub(crate) fn footer_put(
        &mut self,
        number: u32,
        result: io::Result<Vec<u8>>,
    ) -> Result<(), Poisoned> {
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "the footer reads back changed");
        let footer = result.and_then(|bytes| Footer::written(bytes).ok_or_else(damaged));
        match footer {
            Ok(footer) => {
                if let Some((live, writing)) = self.segments.seal(number, footer) {
                    writing.into_iter().for_each(|file| self.disk.close(file));
                    self.discards.index(live);
                }
                self.health.worked(Task::Footer);
                Ok(())
            }
            Err(error) => {
                self.segments.not_sealed(number);
                self.sealing.retry_ms = self.now_ms + RETRY_MS;
                self.health.fail(Task::Footer, error)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Completion, Outcome};
    use crate::index::TopicIndex;
    use crate::memory_disk::{Fault, MemoryDisk, OpKind as Call};
    use crate::segment::SegmentFile;
    use crate::segments::{Beginning, Entry};

    /// A log with a full segment that holds a record, and one that takes appends.
    struct Rig {
        fixed: Fixed,
        sealing: Sealing,
        segments: Segments,
        operations: Operations,
        discards: Discards,
        health: Health,
        disk: MemoryDisk,
    }

    impl Rig {
        fn new(durability: Durability) -> Self {
            let fixed = Fixed::example(durability);
            let mut rig = Self {
                sealing: Sealing::default(),
                segments: Segments::default(),
                operations: Operations::new(0),
                discards: Discards::default(),
                health: Health::new(fixed.id()),
                disk: MemoryDisk::new(),
                fixed,
            };
            let mut index = TopicIndex::default();
            let topic = index.find_or_add(1, "a");
            for base in [0, BLOCK_BYTES] {
                let path = rig.fixed.segment_path(base);
                rig.disk.prepare(0, path.to_path_buf(), BLOCK_BYTES);
                let Outcome::Prepared(Ok(opened)) = rig.end().outcome else {
                    panic!("a disk in memory has room");
                };
                let file = SegmentFile::new(base, path, opened.map, Vec::new());
                let beginning = Beginning {
                    base,
                    incarnation: 1,
                    sequence: base / BLOCK_BYTES,
                    last_ms: 0,
                };
                rig.segments.begin(beginning, Some((file, opened.file)));
                let entry = Entry {
                    offset: base / BLOCK_BYTES,
                    position: base + 64,
                    size: 80,
                    count: 1,
                    stamp_ms: 5,
                };
                rig.segments.enter(index.topic_mut(topic), entry);
            }
            rig
        }

        fn end(&mut self) -> Completion {
            let mut done = Vec::new();
            self.disk.wait().expect("something is in flight");
            self.disk.reap(&mut done);
            done.pop().expect("it has ended")
        }

        fn sealer(&mut self, written: u64, durable: u64, now_ms: u64) -> Sealer<'_> {
            Sealer {
                fixed: &self.fixed,
                sealing: &mut self.sealing,
                segments: &mut self.segments,
                operations: &mut self.operations,
                discards: &mut self.discards,
                health: &mut self.health,
                disk: &mut self.disk,
                flushed: Flushed { written, durable },
                next_sequence: 2,
                now_ms,
            }
        }
    }

    #[test]
    fn a_full_segment_of_a_written_log_is_synced_once_it_is_written_and_gets_its_footer_then() {
        let mut rig = Rig::new(Durability::Written);
        rig.sealer(BLOCK_BYTES - 8, 0, 1).start();
        assert!(rig.operations.is_empty(), "its last bytes are not written");
        rig.sealer(BLOCK_BYTES, 0, 1).start();
        rig.sealer(BLOCK_BYTES, 0, 1).start();
        let sync = rig.end();
        assert!(rig.operations.is_seal_sync(sync.token));
        let result = rig.sealer(BLOCK_BYTES, 0, 1).synced(sync.token, Ok(()));
        result.expect("it is durable");
        let Outcome::Put(bytes) = rig.end().outcome else {
            panic!("a footer is written");
        };
        let (_, head) = Footer::open(bytes.as_ref().expect("it is written").clone())
            .expect("it is a whole footer");
        assert_eq!(
            (head.base, head.first_sequence, head.next_sequence),
            (0, 0, 1)
        );
        let result = rig.sealer(BLOCK_BYTES, 0, 1).footer_put(0, bytes);
        result.expect("it is as it was meant to be");
        assert!(rig.segments.is_sealed(0) && !rig.segments.is_sealed(1));
    }

    #[test]
    fn a_synced_log_waits_for_its_own_flush_and_a_footer_that_fails_for_a_second() {
        let mut rig = Rig::new(Durability::Synced);
        rig.sealer(BLOCK_BYTES, BLOCK_BYTES - 8, 1).start();
        assert!(rig.operations.is_empty());
        rig.disk.fail_next(Call::Put, Fault::Error(libc::EIO));
        rig.sealer(BLOCK_BYTES, BLOCK_BYTES, 1).start();
        let put = rig.end();
        let Outcome::Put(result) = put.outcome else {
            panic!("a footer is written");
        };
        assert_eq!(rig.operations.end(put.token), Some(Purpose::Footer(0)));
        let result = rig
            .sealer(BLOCK_BYTES, BLOCK_BYTES, 1)
            .footer_put(0, result);
        result.expect("it is tried again");
        assert!(rig.health.fails(Task::Footer));
        assert_eq!(rig.sealing.deadline_ms(), Some(1 + RETRY_MS));
        rig.sealer(BLOCK_BYTES, BLOCK_BYTES, RETRY_MS).start();
        assert!(rig.operations.is_empty(), "it is not time yet");
        rig.sealer(BLOCK_BYTES, BLOCK_BYTES, 1 + RETRY_MS).start();
        assert!(!rig.operations.is_empty() && rig.sealing.deadline_ms().is_none());
    }

    #[test]
    fn bytes_that_come_back_changed_are_no_footer_and_a_failed_sync_ends_the_log() {
        let mut rig = Rig::new(Durability::Written);
        rig.sealer(BLOCK_BYTES, 0, 1).start();
        let sync = rig.end();
        let failed = Err(io::Error::from_raw_os_error(libc::EIO));
        let result = rig.sealer(BLOCK_BYTES, 0, 1).synced(sync.token, failed);
        assert!(result.is_err() && rig.health.is_poisoned());
        let mut rig = Rig::new(Durability::Synced);
        let result = rig.sealer(0, 0, 1).footer_put(0, Ok(vec![0; 512]));
        result.expect("it is tried again");
        assert!(!rig.segments.is_sealed(0) && rig.health.fails(Task::Footer));
    }
}
