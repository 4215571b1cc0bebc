//! Carrying the tail to the disk: one write in flight per log, soft-linked to its sync; what both have covered becomes
//! visible. While one is in flight, appends gather: the next one serves them all.
//!
//! A failed write or sync poisons the log: nothing is acknowledged any more, and a failed sync is never repeated. A
//! short write cancels its sync; the rest is written again with a sync of its own.

use std::io;

use oyez_protocol::LogId;

use crate::disk::{BlockRange, Disk, FileId};
use crate::error::Poisoned;
use crate::format::{BLOCK_BYTES, block_start};
use crate::log::{Drain, Log, Purpose};
use crate::options::Durability;
use crate::tail::Reached;

/// Writes without a sync in between, in bytes, before a sync is due although more is waiting.
const UNSYNCED_MAX: u64 = 4 * BLOCK_BYTES;
/// Writes in a row that may bring nothing before the log counts as failed.
const EMPTY_WRITES_MAX: u32 = 3;

/// How far flushing has come.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    /// Everything below is in the kernel's hands.
    pub written: u64,
    /// Everything below is durable.
    pub synced: u64,
    /// Position after the last record; marks do not count.
    pub records_end: u64,
    /// What the last sync covered.
    pub synced_reached: Reached,
    /// Sequence that the last mark names.
    pub marked: u64,
    pub flight: Option<Flight>,
    empty_writes: u32,
    pub stats: FlushStats,
}

#[derive(Debug, Default)]
pub(crate) struct FlushStats {
    pub writes: u64,
    pub bytes: u64,
    pub syncs: u64,
    pub records_synced: u64,
}

/// A write, a sync, or both, on their way.
#[derive(Debug)]
pub(crate) struct Flight {
    token: u64,
    /// Bytes that the write was given; 0 for a sync alone.
    asked: usize,
    /// Everything below is written when the write has completed in full.
    covers: u64,
    reached: Reached,
    then_sync: bool,
    /// The write fell short; its sync is cancelled.
    short: bool,
}

impl Log {
    pub(crate) fn poison(&mut self, what: &'static str, source: io::Error) -> Poisoned {
        self.poisoned = true;
        self.flush.flight = None;
        Poisoned {
            log: self.log_id(),
            what,
            source,
        }
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.parts.spec.id
    }

    /// Whether syncs are this log's way to make records visible, or a drain wants everything durable.
    fn syncs(&self) -> bool {
        self.durability() == Durability::Synced || self.drain != Drain::No
    }

    /// Starts the next write or sync unless one is in flight.
    pub(crate) fn start_flush(&mut self, disk: &mut dyn Disk) {
        if self.flush.flight.is_some() || self.poisoned || !self.on_disk() {
            return;
        }
        if let Some((number, from, to)) = self.unwritten() {
            let tail = &self.tail[number];
            let bytes = BlockRange::new(tail.block.clone(), from..to);
            let at = tail.base + from as u64;
            let covers = match tail.closed {
                Some(_) => tail.base + BLOCK_BYTES,
                None => tail.base + to as u64,
            };
            let reached = tail.closed.unwrap_or(self.reached);
            self.write(disk, at, bytes, covers, reached);
            return;
        }
        let waiting = self.flush.synced < self.flush.written;
        if self.drain != Drain::No && waiting {
            self.sync_alone(disk);
        }
    }

    /// The first block with bytes that are not written, and which of its bytes.
    fn unwritten(&self) -> Option<(usize, usize, usize)> {
        let written = self.flush.written;
        if written >= self.head {
            return None;
        }
        let number = self
            .tail
            .partition_point(|block| block.base + BLOCK_BYTES <= written);
        let tail = self.tail.get(number)?;
        let from = written.saturating_sub(tail.base);
        let from = usize::try_from(from).expect("a place within a block");
        let to = tail.block.committed();
        (from < to).then_some((number, from, to))
    }

    fn write(
        &mut self,
        disk: &mut dyn Disk,
        at: u64,
        bytes: BlockRange,
        covers: u64,
        reached: Reached,
    ) {
        let Some((file, base, limit)) = self.writing_at(at) else {
            unreachable!("a block of the tail lies in a segment that is open for writing");
        };
        let records = self.flush.records_end > self.flush.synced || self.drain != Drain::No;
        let due = covers >= self.head || covers - self.flush.synced >= UNSYNCED_MAX;
        // A sync of the next segment's file would not cover this one's end.
        let then_sync = self.syncs() && (covers == limit || records && due);
        let token = self.token(Purpose::Flight);
        self.flush.flight = Some(Flight {
            token,
            asked: bytes.bytes().len(),
            covers,
            reached,
            then_sync,
            short: false,
        });
        disk.write(token, file, at - base, bytes, then_sync);
    }

    fn sync_alone(&mut self, disk: &mut dyn Disk) {
        let covers = self.flush.written;
        let Some((file, ..)) = self.writing_at(covers - 1) else {
            // The last segment is sealed, hence durable.
            self.flush.synced = covers;
            return;
        };
        let token = self.token(Purpose::Flight);
        self.flush.flight = Some(Flight {
            token,
            asked: 0,
            covers,
            reached: self.reached,
            then_sync: true,
            short: false,
        });
        disk.sync(token, file);
    }

    fn writing_at(&self, position: u64) -> Option<(FileId, u64, u64)> {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.base <= position && position < segment.limit())?;
        Some((segment.writing?, segment.base, segment.limit()))
    }

    /// A write of the flight has ended.
    pub(crate) fn written(
        &mut self,
        token: u64,
        result: io::Result<usize>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let Some(flight) = self.flush.flight.as_mut().filter(|f| f.token == token) else {
            return Ok(());
        };
        let written = match result {
            Ok(written) => written,
            Err(error) => return Err(self.poison("write", error)),
        };
        self.flush.stats.writes += 1;
        self.flush.stats.bytes += written as u64;
        let (asked, then_sync) = (flight.asked, flight.then_sync);
        if written < asked {
            flight.short = true;
            self.flush.empty_writes = match written {
                0 => self.flush.empty_writes + 1,
                _ => 0,
            };
            if self.flush.empty_writes >= EMPTY_WRITES_MAX {
                return Err(self.poison("write", io::ErrorKind::WriteZero.into()));
            }
            self.flush.written += written as u64;
            if !then_sync {
                self.land(token);
                self.start_flush(disk);
            }
            return Ok(());
        }
        self.flush.empty_writes = 0;
        self.flush.written = flight.covers;
        self.warm_written();
        if self.durability() == Durability::Written {
            self.set_visible(self.flush.written);
        }
        if !then_sync {
            self.land(token);
        }
        Ok(())
    }

    /// The sync of the flight has ended.
    pub(crate) fn synced(&mut self, token: u64, result: io::Result<()>) -> Result<(), Poisoned> {
        let Some(flight) = self.flush.flight.as_ref().filter(|f| f.token == token) else {
            return Ok(());
        };
        match result {
            Ok(()) if !flight.short => {}
            Ok(()) => {
                let source = io::Error::other("the disk synced after a short write");
                return Err(self.poison("sync", source));
            }
            Err(error) if flight.short && error.raw_os_error() == Some(libc::ECANCELED) => {
                self.land(token);
                return Ok(());
            }
            Err(error) => return Err(self.poison("sync", error)),
        }
        let (covers, reached) = (flight.covers, flight.reached);
        let before = self.flush.synced_reached.sequence;
        self.flush.stats.syncs += 1;
        self.flush.stats.records_synced += reached.sequence.saturating_sub(before);
        self.flush.synced = covers;
        self.flush.synced_reached = reached;
        if self.durability() == Durability::Synced {
            self.set_visible(covers);
        }
        self.land(token);
        self.mark_synced();
        Ok(())
    }

    fn land(&mut self, token: u64) {
        self.flush.flight = None;
        self.ops.retain(|(other, _)| *other != token);
    }

    /// Says in the log what has become durable, once for each time that records did.
    fn mark_synced(&mut self) {
        let synced = self.flush.synced_reached;
        if self.durability() == Durability::Synced && synced.sequence > self.flush.marked {
            self.flush.marked = synced.sequence;
            self.mark(self.flush.synced, synced);
        }
    }

    /// Blocks written to their end are in the page cache.
    fn warm_written(&self) {
        let written = self.flush.written;
        if written != block_start(written) || written == 0 {
            return;
        }
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.base < written);
        if let Some(file) = segment.and_then(|segment| segment.file.as_ref()) {
            let until = self.now.monotonic_ms + self.parts.options.warm_ms;
            file.set_warm(written - BLOCK_BYTES, until);
        }
    }

    /// Lets blocks go that are on disk, but for the few that hot readers like.
    pub(crate) fn retire_blocks(&mut self) {
        if !self.on_disk() {
            return;
        }
        let safe = if self.durability() == Durability::Synced {
            self.flush.synced
        } else {
            self.flush.written
        };
        let flushed = self
            .tail
            .iter()
            .take_while(|block| block.closed.is_some() && block.base + BLOCK_BYTES <= safe)
            .count();
        let scarce = self.parts.pool.free_blocks() * 8 < self.parts.pool.blocks();
        let keep = if scarce {
            0
        } else {
            self.parts.options.hot_blocks
        };
        if flushed > keep {
            self.tail.drain(..flushed - keep);
            self.publish();
        }
    }
}
