//! Carrying the tail to the disk: one write in flight per log, together with its sync; what both have covered becomes
//! visible. While one is in flight, appends gather: the next one serves them all.
//!
//! What has been acknowledged is said by a mark, which lies before the next records and is written along with them; alone
//! it is written only when none have come for some milliseconds. A synced log marks what is durable, a written log what
//! the kernel has.
//!
//! A failed write or sync poisons the log: nothing is acknowledged any more, and a failed sync is never repeated. A
//! short write leaves its sync out; the rest is written with a sync of its own. A sync that did not follow its write,
//! because the disk says so (`ECANCELED`) or because it has come before the write did, says nothing: the file is synced
//! once the write is whole.

use std::io;
use std::ops::Range;

use oyez_protocol::LogId;

use crate::disk::{BlockRange, Disk, FileId, WriteSync};
use crate::error::Poisoned;
use crate::format::{BLOCK_BYTES, SYNC_MARK_SIZE, block_start};
use crate::log::{Drain, Log, Purpose};
use crate::options::Durability;
use crate::tail::Reached;

/// Writes without a sync in between, in bytes, before a sync is due although more is waiting.
const UNSYNCED_MAX: u64 = 4 * BLOCK_BYTES;
/// Writes in a row that may bring nothing before the log counts as failed.
const EMPTY_WRITES_MAX: u32 = 3;
/// How long a mark waits for records to be written along with. A write of its own takes the kernel's worker, and with
/// it a part of a core, just when a publisher that waits for one acknowledgement at a time sends its next record.
const MARK_DELAY_MS: u64 = 5;
/// Bytes that were written without a sync and are written again, as they are, by the next write that syncs its own
/// range: a mark that was written alone.
const REWRITTEN_MAX: u64 = SYNC_MARK_SIZE as u64;

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
    /// What has been acknowledged, as far as writes and syncs have told.
    pub acknowledged: Acknowledged,
    /// Sequence that the last mark names.
    pub marked: u64,
    /// When the mark that waits for records is written without them.
    pub mark_due_ms: Option<u64>,
    pub flight: Option<Flight>,
    empty_writes: u32,
    pub stats: FlushStats,
}

/// Everything below is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub end: u64,
    pub sequence: u64,
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
    /// Position that the write begins at.
    from: u64,
    /// Bytes that the write was given; 0 for a sync alone.
    asked: usize,
    /// Everything below is written when the write has completed in full.
    covers: u64,
    reached: Reached,
    sync: WriteSync,
    write: Write,
    /// The sync has come and has not followed the write.
    severed: bool,
}

/// How far a flight's write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    InFlight,
    /// It has ended early; the sync that was to follow it is cancelled.
    Short,
    /// It has ended, or there is none.
    Whole,
}

impl Log {
    pub(crate) fn poison(&mut self, what: &'static str, source: io::Error) -> Poisoned {
        self.poisoned = true;
        self.flush.flight = None;
        self.flush.mark_due_ms = None;
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
        if self.flush.flight.is_some() || self.poisoned || !self.on_disk() || self.mark_waits() {
            return;
        }
        if let Some((number, range)) = self.unwritten() {
            self.write(disk, number, range);
            return;
        }
        let waiting = self.flush.synced < self.flush.written;
        if self.drain != Drain::No && waiting {
            self.sync_alone(disk);
        }
    }

    /// Whether nothing but a mark is to be written, and not yet.
    fn mark_waits(&mut self) -> bool {
        let (written, records_end) = (self.flush.written, self.flush.records_end);
        let alone = records_end <= written && written < self.head && self.drain == Drain::No;
        let now_ms = self.now.monotonic_ms;
        let due_ms = self.flush.mark_due_ms.unwrap_or(now_ms + MARK_DELAY_MS);
        let waits = alone && now_ms < due_ms;
        self.flush.mark_due_ms = waits.then_some(due_ms);
        waits
    }

    /// The first block with bytes that are not written, and which of its bytes.
    fn unwritten(&self) -> Option<(usize, Range<usize>)> {
        let written = self.flush.written;
        if written >= self.head {
            return None;
        }
        let number = self
            .tail
            .partition_point(|block| block.base + BLOCK_BYTES <= written);
        let tail = self.tail.get(number)?;
        let from = place(tail.base, written);
        let to = tail.block.committed();
        (from < to).then_some((number, from..to))
    }

    fn write(&mut self, disk: &mut dyn Disk, number: usize, mut range: Range<usize>) {
        let tail = &self.tail[number];
        let at = tail.base + range.start as u64;
        let Some((file, base, limit)) = self.writing_at(at) else {
            unreachable!("a block of the tail lies in a segment that is open for writing");
        };
        let covers = match tail.closed {
            // A block that is not its segment's last one may still be the last one used.
            Some(_) => match self.tail.get(number + 1) {
                Some(next) => next.base,
                None => tail.base + BLOCK_BYTES,
            },
            None => tail.base + range.end as u64,
        };
        let sync = self.sync_for(covers, base..limit, at, tail.base);
        if sync == WriteSync::Range {
            range.start = place(tail.base, self.flush.synced);
        }
        let from = tail.base + range.start as u64;
        let bytes = BlockRange::new(tail.block.clone(), range);
        let reached = tail.closed.unwrap_or(self.reached);
        let token = self.token(Purpose::Flight);
        self.flush.flight = Some(Flight {
            token,
            from,
            asked: bytes.bytes().len(),
            covers,
            reached,
            sync,
            write: Write::InFlight,
            severed: false,
        });
        disk.write(token, file, from - base, bytes, sync);
    }

    /// What a write of the bytes from `at` on is to make durable, so that everything below `covers` is; the block that
    /// they lie in begins at `block`, and `segment` is where they are written to.
    ///
    /// A sync of the file takes a second trip to the kernel's worker. A write that syncs its own range saves that, and
    /// is enough where no byte below the range waits for a sync. What it does is what `fdatasync` does, but for the
    /// pages that it writes out and waits for: Linux calls `fsync` of the file system with the range, which writes out
    /// the range's pages, waits for them and takes the file's write-back errors, whichever page they are of; commits the
    /// journal if the inode has changed in more than its times, which zero-written segments never do; and flushes the
    /// device's cache, which holds more than the range and is written as a whole.
    fn sync_for(&self, covers: u64, segment: Range<u64>, at: u64, block: u64) -> WriteSync {
        let synced = self.flush.synced;
        // The beginning of a segment says where the log goes on, also when all that was before it is dropped.
        let begins = at == segment.start;
        let records = self.flush.records_end > synced || begins || self.drain != Drain::No;
        let due = covers >= self.head || covers - synced >= UNSYNCED_MAX;
        // A sync of the next segment's file would not cover this one's end.
        if !self.syncs() || covers != segment.end && !(records && due) {
            WriteSync::None
        } else if synced >= block && at - synced <= REWRITTEN_MAX {
            WriteSync::Range
        } else {
            WriteSync::File
        }
    }

    fn sync_alone(&mut self, disk: &mut dyn Disk) {
        self.sync_file(self.flush.written, self.reached, disk);
    }

    /// Syncs the file below `covers`, all of which is written.
    fn sync_file(&mut self, covers: u64, reached: Reached, disk: &mut dyn Disk) {
        let Some((file, ..)) = self.writing_at(covers - 1) else {
            // The last segment is sealed, hence durable.
            self.flush.synced = covers;
            return;
        };
        let token = self.token(Purpose::Flight);
        self.flush.flight = Some(Flight {
            token,
            from: covers,
            asked: 0,
            covers,
            reached,
            sync: WriteSync::File,
            write: Write::Whole,
            severed: false,
        });
        disk.sync(token, file);
    }

    /// Syncs the file of a flight whose write is whole and whose sync did not follow it.
    fn sync_again(&mut self, disk: &mut dyn Disk) {
        let Some(flight) = self.flush.flight.take() else {
            return;
        };
        self.ops.retain(|(other, _)| *other != flight.token);
        self.sync_file(flight.covers, flight.reached, disk);
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
        let (sync, severed) = (flight.sync, flight.severed);
        let written = match (result, sync) {
            (Ok(written), _) => written,
            (Err(error), WriteSync::Range) => return Err(self.poison("synced write", error)),
            (Err(error), _) => return Err(self.poison("write", error)),
        };
        self.flush.stats.writes += 1;
        self.flush.stats.bytes += written as u64;
        if written < flight.asked {
            flight.write = Write::Short;
            let until = flight.from + written as u64;
            self.fell_short(until)?;
            if sync != WriteSync::File || severed {
                self.land(token);
                self.start_flush(disk);
            }
            return Ok(());
        }
        flight.write = Write::Whole;
        self.flush.empty_writes = 0;
        let block = block_start(flight.from);
        self.flush.written = flight.covers;
        let (covers, reached) = (flight.covers, flight.reached);
        self.warm_written(block);
        match sync {
            WriteSync::None => self.land(token),
            WriteSync::Range => self.land_durable(),
            WriteSync::File if severed => self.sync_again(disk),
            WriteSync::File => {}
        }
        if self.durability() == Durability::Written {
            self.acknowledge(covers, reached);
        }
        Ok(())
    }

    /// Everything below a position may be delivered and acknowledged, and a mark says so.
    fn acknowledge(&mut self, end: u64, reached: Reached) {
        self.set_visible(end);
        let sequence = reached.sequence;
        self.flush.acknowledged = Acknowledged { end, sequence };
        self.note_use();
        if sequence > self.flush.marked {
            self.flush.marked = sequence;
            self.mark(end, reached);
        }
    }

    /// A write came no further than to `until`.
    fn fell_short(&mut self, until: u64) -> Result<(), Poisoned> {
        let flush = &mut self.flush;
        flush.empty_writes = match until > flush.written {
            true => 0,
            false => flush.empty_writes + 1,
        };
        flush.written = flush.written.max(until);
        if flush.empty_writes >= EMPTY_WRITES_MAX {
            return Err(self.poison("write", io::ErrorKind::WriteZero.into()));
        }
        Ok(())
    }

    /// The sync of the flight has ended.
    pub(crate) fn synced(
        &mut self,
        token: u64,
        result: io::Result<()>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let Some(flight) = self.flush.flight.as_mut().filter(|f| f.token == token) else {
            return Ok(());
        };
        let follows = flight.asked > 0;
        match result {
            Ok(()) if flight.write == Write::Whole => self.land_durable(),
            Ok(()) if flight.write == Write::Short => {
                let source = io::Error::other("the disk synced after a short write");
                return Err(self.poison("sync", source));
            }
            Err(error) if !follows || error.raw_os_error() != Some(libc::ECANCELED) => {
                return Err(self.poison("sync", error));
            }
            Ok(()) | Err(_) => match flight.write {
                Write::InFlight => flight.severed = true,
                Write::Short => self.land(token),
                Write::Whole => self.sync_again(disk),
            },
        }
        Ok(())
    }

    /// Everything that the flight covers is durable.
    fn land_durable(&mut self) {
        let Some(Flight {
            token,
            covers,
            reached,
            ..
        }) = self.flush.flight
        else {
            return;
        };
        let before = self.flush.synced_reached.sequence;
        self.flush.stats.syncs += 1;
        self.flush.stats.records_synced += reached.sequence.saturating_sub(before);
        self.flush.synced = covers;
        self.flush.synced_reached = reached;
        self.land(token);
        if self.durability() == Durability::Synced {
            self.acknowledge(covers, reached);
        }
    }

    fn land(&mut self, token: u64) {
        let landed = self.flush.flight.take();
        let newest = self.segments.back().map(|newest| newest.base);
        if landed.is_some_and(|flight| Some(flight.from) == newest) {
            // The segment before may have waited for this one to begin.
            self.look_at_retention_now();
        }
        self.ops.retain(|(other, _)| *other != token);
    }

    /// Blocks written to their end are in the page cache.
    fn warm_written(&self, block: u64) {
        let written = self.flush.written;
        if written != block_start(written) || written == block {
            return;
        }
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.base <= block);
        if let Some(file) = segment.and_then(|segment| segment.file.as_ref()) {
            let until = self.now.monotonic_ms + self.parts.options.warm_ms;
            file.set_warm(block, until);
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

/// Where a position at or after a block's base lies within the block.
fn place(base: u64, position: u64) -> usize {
    usize::try_from(position.saturating_sub(base)).expect("a place within a block")
}
