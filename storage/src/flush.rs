//! The decisions of flushing: what to write and sync next, and what completed writes and syncs have covered, which becomes
//! visible. Each log has one write in flight, together with its sync. `flusher` starts the operations.
//!
//! A mark records what has been acknowledged. It lies before the next records and is written together with them; if none
//! come for some milliseconds, it is written alone. A synced log marks what is durable, a written log what the kernel has.
//!
//! A failed write or sync poisons the log: no record is acknowledged any more, and a failed sync is never repeated. The
//! sync of a short write is cancelled; the rest is written with a sync of its own. A sync that did not follow its write
//! proves nothing, be it cancelled (`ECANCELED`) or completed before the write: the file is synced again once the write is
//! whole.

use std::io;
use std::ops::Range;

use oyez_protocol::planted::{Bug, planted};

use crate::disk::WriteSync;
use crate::format::{BLOCK_BYTES, SYNC_MARK_SIZE, block_start};
use crate::options::Durability;
use crate::tail::Reached;

/// Bytes that may be written without a sync; then a sync is due although more bytes wait to be written.
const UNSYNCED_MAX: u64 = 4 * BLOCK_BYTES;
/// Writes in a row that write nothing before the log counts as failed.
const EMPTY_WRITES_MAX: u32 = 3;
/// How long a mark waits for records to be written along with. A write of its own takes the kernel's worker, and with
/// it a part of a core, just when a publisher that waits for one acknowledgement at a time sends its next record.
const MARK_DELAY_MS: u64 = 5;
/// Most bytes that the next write that syncs its own range writes again, as they are: those of a mark that was written
/// alone, without a sync.
const REWRITTEN_MAX: u64 = SYNC_MARK_SIZE as u64;

/// How far flushing has come.
#[derive(Debug)]
pub(crate) struct Flush {
    durability: Durability,
    /// A drain wants everything durable.
    draining: bool,
    /// Everything below is in the kernel's hands.
    written: u64,
    /// Everything below is durable.
    synced: u64,
    /// How far the records reach that the last sync covered.
    synced_reached: Reached,
    /// Everything that is acknowledged.
    acknowledged: Acknowledged,
    /// Sequence that the last mark names.
    marked: u64,
    /// When a mark that waits for records is written alone.
    mark_due_ms: Option<u64>,
    flight: Option<InFlight>,
    /// When the operation in flight was started.
    since_us: u64,
    empty_writes: u32,
    stats: FlushStats,
}

/// Everything below is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub end: u64,
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlushStats {
    pub writes: u64,
    pub bytes: u64,
    pub syncs: u64,
    pub records_synced: u64,
}

/// A write, a sync, or both, in flight.
#[derive(Debug)]
struct InFlight {
    token: u64,
    request: Request,
    write: Write,
    /// The sync has completed and has not followed the write.
    severed: bool,
}

/// A write, a sync, or both, as they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Position that the write begins at.
    pub from: u64,
    /// Bytes that the write was given; 0 for a sync alone.
    pub asked: usize,
    /// Everything below is written when the write has completed in full.
    pub covers: u64,
    pub reached: Reached,
    pub sync: WriteSync,
}

/// The stage of a write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    InFlight,
    /// It has ended early; the sync that was to follow it is cancelled.
    Short,
    /// It has ended, or there is none.
    Whole,
}

/// Bytes that are to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub at: u64,
    /// First position of the block that they lie in.
    pub block: u64,
    /// Everything below is written with them.
    pub covers: u64,
    /// The segment that they are written to.
    pub segment: Range<u64>,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub head: u64,
    /// Position after the last record; marks do not count.
    pub records: u64,
}

/// What follows for the rest of the log from the end of a write or a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlushEffects {
    /// What may be delivered and acknowledged from now on.
    pub acknowledged: Option<Acknowledged>,
    /// What a mark is to record: the position that everything is below, and how far the records reach there.
    pub mark: Option<(u64, Reached)>,
    /// A block that is in the page cache to its end, by its base.
    pub filled: Option<u64>,
    /// Where the operation began that has ended.
    pub completed_from: Option<u64>,
    /// The operation to start now.
    pub next: Next,
}

/// The next operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Next {
    #[default]
    Nothing,
    /// The rest of a write that fell short.
    Rest,
    /// A sync of the file below a position, all of which is written: a sync has not followed its write.
    Sync { covers: u64, reached: Reached },
}

/// The reason why the log has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `write`, `sync`, ...
    pub what: &'static str,
    pub source: io::Error,
}

impl Flush {
    pub(crate) fn new(durability: Durability) -> Self {
        Self {
            durability,
            draining: false,
            written: 0,
            synced: 0,
            synced_reached: Reached::default(),
            acknowledged: Acknowledged::default(),
            marked: 0,
            mark_due_ms: None,
            flight: None,
            since_us: 0,
            empty_writes: 0,
            stats: FlushStats::default(),
        }
    }

    /// Continues at a head: everything below it is written, and everything below `synced` is durable.
    pub(crate) fn go_on(
        &mut self,
        head: u64,
        synced: u64,
        reached: Reached,
        acknowledged: Acknowledged,
    ) {
        self.written = head;
        self.synced = synced;
        self.synced_reached = reached;
        self.marked = reached.sequence;
        self.acknowledged = acknowledged;
    }

    /// Makes everything durable from now on.
    pub(crate) fn begin_drain(&mut self) {
        self.draining = true;
    }

    /// Forgets the operation in flight, as the log has failed.
    pub(crate) fn stop(&mut self) {
        self.flight = None;
        self.mark_due_ms = None;
    }

    pub(crate) fn written_to(&self) -> u64 {
        self.written
    }

    pub(crate) fn synced_to(&self) -> u64 {
        self.synced
    }

    /// Everything below this is as durable as the log's records must be.
    pub(crate) fn safe_to(&self) -> u64 {
        match self.durability {
            Durability::Synced => self.synced,
            Durability::Memory | Durability::Written => self.written,
        }
    }

    /// Full segments below this are durable without a sync of their own.
    pub(crate) fn sealed_to(&self) -> u64 {
        match self.durability {
            Durability::Synced => self.synced,
            Durability::Memory | Durability::Written => 0,
        }
    }

    pub(crate) fn synced_reached(&self) -> Reached {
        self.synced_reached
    }

    pub(crate) fn acknowledged(&self) -> Acknowledged {
        self.acknowledged
    }

    pub(crate) fn mark_due_ms(&self) -> Option<u64> {
        self.mark_due_ms
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    pub(crate) fn since_us(&self) -> u64 {
        self.since_us
    }

    pub(crate) fn set_since(&mut self, now_us: u64) {
        self.since_us = now_us;
    }

    pub(crate) fn stats(&self) -> FlushStats {
        self.stats
    }

    /// Whether writes are to be synced: records of a synced log become visible so, and a drain makes everything durable.
    fn syncs(&self) -> bool {
        self.durability == Durability::Synced || self.draining
    }

    /// Whether no operation is to start now: one is in flight, or only a mark waits to be written.
    pub(crate) fn waits(&mut self, ends: Ends, now_ms: u64) -> bool {
        self.flight.is_some() || self.mark_waits(ends, now_ms)
    }

    fn mark_waits(&mut self, ends: Ends, now_ms: u64) -> bool {
        let written = self.written;
        let alone = ends.records <= written && written < ends.head && !self.draining;
        let due_ms = self.mark_due_ms.unwrap_or(now_ms + MARK_DELAY_MS);
        let waits = alone && now_ms < due_ms;
        self.mark_due_ms = waits.then_some(due_ms);
        waits
    }

    /// Whether a sync is to be started although there is nothing to write.
    pub(crate) fn wants_sync_alone(&self) -> bool {
        self.draining && self.synced < self.written
    }

    /// What a write of a piece is to sync, so that everything below what it covers is durable.
    ///
    /// A sync of the file takes a second trip to the kernel's worker. A write that syncs its own range saves that, and
    /// is enough if no byte below the range waits for a sync. It does what `fdatasync` does, but writes out and waits for
    /// the pages of the range only: Linux calls `fsync` of the file system with the range, which writes out
    /// the range's pages, waits for them and takes the file's write-back errors, whichever page they are of; commits the
    /// journal if the inode has changed in more than its times, which zero-written segments never do; and flushes the
    /// device's cache, which holds more than the range and is written as a whole.
    pub(crate) fn sync_for(&self, piece: &Piece, ends: Ends) -> WriteSync {
        let (synced, covers) = (self.synced, piece.covers);
        // The beginning of a segment preserves the log's position and sequence when all before it is dropped.
        let begins = piece.at == piece.segment.start;
        let records = ends.records > synced || begins || self.draining;
        let due = covers >= ends.head || covers - synced >= UNSYNCED_MAX;
        // A sync of the next segment's file would not cover this one's end.
        if !self.syncs() || covers != piece.segment.end && !(records && due) {
            WriteSync::None
        } else if (synced >= piece.block && piece.at - synced <= REWRITTEN_MAX)
            || planted(Bug::SyncsTooLittle)
        {
            WriteSync::Range
        } else {
            WriteSync::File
        }
    }

    /// Notes that a write or a sync was started.
    pub(crate) fn note_started(&mut self, token: u64, request: Request) {
        let write = match request.asked {
            0 => Write::Whole,
            _ => Write::InFlight,
        };
        self.flight = Some(InFlight {
            token,
            request,
            write,
            severed: false,
        });
    }

    /// Notes that a sync is not needed, as what it would cover is in a durable segment.
    pub(crate) fn is_durable(&mut self, covers: u64) {
        self.synced = covers;
    }

    /// Takes the end of a write. Another token than that of the operation in flight has no effect.
    pub(crate) fn written(
        &mut self,
        token: u64,
        result: io::Result<usize>,
    ) -> Result<FlushEffects, Failure> {
        let Some(flight) = self.flight.as_mut().filter(|f| f.token == token) else {
            return Ok(FlushEffects::default());
        };
        let (request, severed) = (flight.request, flight.severed);
        let what = match request.sync {
            WriteSync::Range => "synced write",
            WriteSync::None | WriteSync::File => "write",
        };
        let written = match result {
            Err(_) if request.sync == WriteSync::Range && planted(Bug::IgnoresASyncError) => {
                request.asked
            }
            Err(_) if request.sync == WriteSync::Range && planted(Bug::SyncsAgainAfterAnError) => {
                self.written = request.covers;
                let mut news = FlushEffects::default();
                self.sync_again(&mut news);
                return Ok(news);
            }
            result => result.map_err(|source| Failure { what, source })?,
        };
        self.stats.writes += 1;
        self.stats.bytes += written as u64;
        if written < request.asked && !planted(Bug::ShortWriteIsWhole) {
            flight.write = Write::Short;
            self.fell_short(request.from + written as u64)?;
            let mut news = FlushEffects::default();
            if request.sync != WriteSync::File || severed {
                self.complete(&mut news);
                news.next = Next::Rest;
            }
            return Ok(news);
        }
        flight.write = Write::Whole;
        self.empty_writes = 0;
        self.written = request.covers;
        let block = block_start(request.from);
        let filled = self.written == block_start(self.written) && self.written != block;
        let mut news = FlushEffects {
            filled: filled.then_some(block),
            ..FlushEffects::default()
        };
        match request.sync {
            WriteSync::None => self.complete(&mut news),
            WriteSync::Range => self.complete_durable(&mut news),
            WriteSync::File if severed => self.sync_again(&mut news),
            WriteSync::File => {}
        }
        if self.durability == Durability::Written || planted(Bug::AcknowledgesAtWritten) {
            self.acknowledge(request, &mut news);
        }
        Ok(news)
    }

    /// Notes that a write ended at `until`, short of what was asked.
    fn fell_short(&mut self, until: u64) -> Result<(), Failure> {
        self.empty_writes = match until > self.written {
            true => 0,
            false => self.empty_writes + 1,
        };
        self.written = self.written.max(until);
        if self.empty_writes >= EMPTY_WRITES_MAX {
            return Err(Failure {
                what: "write",
                source: io::ErrorKind::WriteZero.into(),
            });
        }
        Ok(())
    }

    /// Takes the end of a sync. Another token than that of the operation in flight has no effect.
    pub(crate) fn synced(
        &mut self,
        token: u64,
        result: io::Result<()>,
    ) -> Result<FlushEffects, Failure> {
        let mut news = FlushEffects::default();
        let Some(flight) = self.flight.as_mut().filter(|f| f.token == token) else {
            return Ok(news);
        };
        let follows = flight.request.asked > 0;
        match result {
            Ok(()) if flight.write == Write::Whole => self.complete_durable(&mut news),
            Err(_) if planted(Bug::IgnoresASyncError) && flight.write == Write::Whole => {
                self.complete_durable(&mut news);
            }
            Err(_) if planted(Bug::SyncsAgainAfterAnError) && flight.write == Write::Whole => {
                self.sync_again(&mut news);
            }
            Ok(()) if flight.write == Write::Short => {
                return Err(Failure {
                    what: "sync",
                    source: io::Error::other("the disk synced after a short write"),
                });
            }
            Err(source) if !follows || source.raw_os_error() != Some(libc::ECANCELED) => {
                return Err(Failure {
                    what: "sync",
                    source,
                });
            }
            Ok(()) | Err(_) => match flight.write {
                Write::InFlight => flight.severed = true,
                Write::Short => self.complete(&mut news),
                Write::Whole => self.sync_again(&mut news),
            },
        }
        Ok(news)
    }

    /// Everything that the operation covers is durable.
    fn complete_durable(&mut self, news: &mut FlushEffects) {
        let Some(InFlight { request, .. }) = self.flight else {
            return;
        };
        let before = self.synced_reached.sequence;
        let reached = request.reached;
        self.stats.syncs += 1;
        self.stats.records_synced += reached.sequence.saturating_sub(before);
        self.synced = request.covers;
        self.synced_reached = reached;
        self.complete(news);
        if self.durability == Durability::Synced {
            self.acknowledge(request, news);
        }
    }

    /// Asks for another sync: the write is whole, and its sync did not follow it.
    fn sync_again(&mut self, news: &mut FlushEffects) {
        if let Some(InFlight { request, .. }) = self.flight.take() {
            let (covers, reached) = (request.covers, request.reached);
            news.next = Next::Sync { covers, reached };
        }
    }

    fn complete(&mut self, news: &mut FlushEffects) {
        news.completed_from = self.flight.take().map(|flight| flight.request.from);
    }

    /// Acknowledges everything that an operation covers, and asks for a mark.
    fn acknowledge(&mut self, request: Request, news: &mut FlushEffects) {
        let (end, reached) = (request.covers, request.reached);
        let sequence = reached.sequence;
        self.acknowledged = Acknowledged { end, sequence };
        news.acknowledged = Some(self.acknowledged);
        news.mark = self.marks(reached).then_some((end, reached));
    }

    /// Returns whether a mark is needed, as no mark covers these records yet. The caller is to write it.
    pub(crate) fn marks(&mut self, reached: Reached) -> bool {
        let is_new = reached.sequence > self.marked;
        self.marked = self.marked.max(reached.sequence);
        is_new
    }
}

#[cfg(test)]
mod tests;
