//! How far the tail has been carried to the disk: one write in flight per log, together with its sync; what both have
//! covered becomes visible. Decides and keeps count; `carry` asks the disk.
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

use oyez_protocol::planted::{Bug, planted};

use crate::disk::WriteSync;
use crate::format::{BLOCK_BYTES, SYNC_MARK_SIZE, block_start};
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
#[derive(Debug)]
pub(crate) struct Flush {
    durability: Durability,
    /// A drain wants everything durable.
    draining: bool,
    /// Everything below is in the kernel's hands.
    written: u64,
    /// Everything below is durable.
    synced: u64,
    /// What the last sync covered.
    synced_reached: Reached,
    /// What has been acknowledged, as far as writes and syncs have told.
    acknowledged: Acknowledged,
    /// Sequence that the last mark names.
    marked: u64,
    /// When the mark that waits for records is written without them.
    mark_due_ms: Option<u64>,
    flight: Option<InFlight>,
    /// When the flight under way took off.
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

/// A write, a sync, or both, on their way.
#[derive(Debug)]
struct InFlight {
    token: u64,
    request: Request,
    write: Write,
    /// The sync has come and has not followed the write.
    severed: bool,
}

/// What a flight takes off with.
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

/// How far a flight's write has come.
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
    /// Where the block begins that they lie in.
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

/// What the end of a write or a sync means to the rest of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlushEffects {
    /// What may be delivered and acknowledged from now on.
    pub acknowledged: Option<Acknowledged>,
    /// What a mark is to say: everything below a position, and how far the records reach there.
    pub mark: Option<(u64, Reached)>,
    /// A block that is in the page cache to its end, by its base.
    pub filled: Option<u64>,
    /// Where the flight began that is over.
    pub completed_from: Option<u64>,
    /// What is to be asked of the disk now.
    pub next: Next,
}

/// What is to be asked of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Next {
    #[default]
    Nothing,
    /// The rest of a write that fell short.
    Rest,
    /// A sync of the file below a position, all of which is written: a sync has not followed its write.
    Sync { covers: u64, reached: Reached },
}

/// Why the log has failed.
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

    /// Goes on at a head below which everything is written, and everything below `synced` durable.
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

    /// From here on everything is to become durable.
    pub(crate) fn begin_drain(&mut self) {
        self.draining = true;
    }

    /// Forgets what is on its way: the log has failed.
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

    /// Below which everything is as safe as the log's records are meant to be.
    pub(crate) fn safe_to(&self) -> u64 {
        match self.durability {
            Durability::Synced => self.synced,
            Durability::Memory | Durability::Written => self.written,
        }
    }

    /// Below which full segments are durable without a sync of their own.
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

    /// Whether syncs are this log's way to make records visible, or a drain wants everything durable.
    fn syncs(&self) -> bool {
        self.durability == Durability::Synced || self.draining
    }

    /// Whether nothing is to be started now: something is in flight, or only a mark is to be written, and not yet.
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

    /// What a write of a piece is to make durable, so that everything below what it covers is.
    ///
    /// A sync of the file takes a second trip to the kernel's worker. A write that syncs its own range saves that, and
    /// is enough where no byte below the range waits for a sync. What it does is what `fdatasync` does, but for the
    /// pages that it writes out and waits for: Linux calls `fsync` of the file system with the range, which writes out
    /// the range's pages, waits for them and takes the file's write-back errors, whichever page they are of; commits the
    /// journal if the inode has changed in more than its times, which zero-written segments never do; and flushes the
    /// device's cache, which holds more than the range and is written as a whole.
    pub(crate) fn sync_for(&self, piece: &Piece, ends: Ends) -> WriteSync {
        let (synced, covers) = (self.synced, piece.covers);
        // The beginning of a segment says where the log goes on, also when all that was before it is dropped.
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

    /// Notes that a sync is not needed: what it would cover is in a segment that is durable.
    pub(crate) fn is_durable(&mut self, covers: u64) {
        self.synced = covers;
    }

    /// A write has ended. One that is not the flight's says nothing.
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

    /// A write came no further than to `until`.
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

    /// A sync has ended. One that is not the flight's says nothing.
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

    /// Everything that the flight covers is durable.
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

    /// The write of the flight is whole, and its sync did not follow it.
    fn sync_again(&mut self, news: &mut FlushEffects) {
        if let Some(InFlight { request, .. }) = self.flight.take() {
            let (covers, reached) = (request.covers, request.reached);
            news.next = Next::Sync { covers, reached };
        }
    }

    fn complete(&mut self, news: &mut FlushEffects) {
        news.completed_from = self.flight.take().map(|flight| flight.request.from);
    }

    /// Everything that a flight covers may be delivered and acknowledged, and a mark says so.
    fn acknowledge(&mut self, request: Request, news: &mut FlushEffects) {
        let (end, reached) = (request.covers, request.reached);
        let sequence = reached.sequence;
        self.acknowledged = Acknowledged { end, sequence };
        news.acknowledged = Some(self.acknowledged);
        news.mark = self.marks(reached).then_some((end, reached));
    }

    /// Whether a mark is to say that the records reach so far: the last one did not. It counts as said then.
    pub(crate) fn marks(&mut self, reached: Reached) -> bool {
        let news = reached.sequence > self.marked;
        self.marked = self.marked.max(reached.sequence);
        news
    }
}

#[cfg(test)]
mod tests;
