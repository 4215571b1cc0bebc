//! Segments come and go: the next one is prepared ahead, full ones get their footers, and a drain ends in a state file
//! that says so. Nothing here is waited for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Completion, Disk, Opened, Outcome};
use crate::error::{AppendError, Poisoned};
use crate::footer::{self, BlockSum, Footer, FooterHead};
use crate::format::BLOCK_BYTES;
use crate::log::{Discarded, Drain, Log, Purpose, Spare};
use crate::moment::Moment;
use crate::names::footer_name;
use crate::options::Durability;
use crate::place::Progress;
use crate::segment::{Segment, SegmentIndex, Stage};
use crate::trouble::{Attempt, has_vanished};

/// How long until a segment or a footer that could not be made is tried again.
const RETRY_MS: u64 = 1000;
/// How long a refused publisher waits at most when nothing else turns the loop.
const REFUSED_MS: u64 = 5;

impl Log {
    /// One turn: everything that can be started is, and what has changed is told.
    pub(crate) fn turn(&mut self, now: Moment, disk: &mut dyn Disk, progress: &mut Progress) {
        self.now = now;
        self.see_newest();
        self.look_at_need();
        if self.on_disk() && !self.poisoned {
            self.seal_full(disk);
            self.retain(disk);
            self.roll_by_age();
            self.prepare_ahead(disk);
            self.drain_on();
            let landed = self.flush.flight.is_none();
            self.start_flush(disk);
            if landed {
                self.flight_since_us = now.monotonic_us;
            }
            self.retire_blocks();
            self.start_commit(disk);
        }
        self.streaks.tell(Some(self.parts.spec.id), progress);
        progress.clock_was_ahead.append(&mut self.clock_was_ahead);
        if std::mem::take(&mut self.moved) {
            progress.advanced.push(self.log_id());
        }
        if self.would_answer() {
            self.refused = None;
            progress.accepting_again.push(self.log_id());
        }
    }

    /// Takes the end of one of this log's operations.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let token = completion.token;
        match completion.outcome {
            Outcome::Written(result) => self.written(token, result, disk),
            Outcome::Synced(result) if self.is_seal_sync(token) => {
                self.seal_synced(token, result, disk)
            }
            Outcome::Synced(result) => self.synced(token, result, disk),
            Outcome::Prepared(result) => self.prepared(token, result, disk),
            Outcome::Put(result) => self.put(token, result, disk),
            Outcome::Overwritten(result) => self.overwritten(token, result, disk),
            Outcome::Unlinked(result) => self.unlinked(token, result),
            Outcome::Populated(_) => Ok(()),
        }
    }

    fn is_seal_sync(&self, token: u64) -> bool {
        self.ops
            .iter()
            .any(|(other, purpose)| *other == token && matches!(purpose, Purpose::SealSync(_)))
    }

    pub(crate) fn take_purpose(&mut self, token: u64) -> Option<Purpose> {
        let at = self.ops.iter().position(|(other, _)| *other == token)?;
        Some(self.ops.swap_remove(at).1)
    }

    /// When the log next needs a turn although nothing happens.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let retry = match self.spare {
            // A drain prepares nothing.
            Spare::Failed { retry_ms, .. } if self.drain == Drain::No => Some(retry_ms),
            _ => None,
        };
        let seal = (self.seal_retry_ms > 0).then_some(self.seal_retry_ms);
        // What waits for a block of the arena hears nothing when there is one.
        let rolls = self.rolling.due && matches!(self.spare, Spare::Ready { .. });
        let busy = self.refused == Some(AppendError::Busy) || rolls;
        let busy = busy && self.drain == Drain::No;
        let refused = busy.then_some(self.now.monotonic_ms + REFUSED_MS);
        let retention = self.retention_deadline_ms();
        let mark = self.flush.mark_due_ms;
        let commit = self.commit_deadline_ms();
        [retry, seal, refused, retention, mark, commit]
            .into_iter()
            .flatten()
            .min()
    }

    fn prepare_ahead(&mut self, disk: &mut dyn Disk) {
        let due = match self.spare {
            Spare::None => true,
            Spare::Failed { retry_ms, .. } => self.now.monotonic_ms >= retry_ms,
            Spare::Preparing { .. } | Spare::Unnamed { .. } | Spare::Ready { .. } => false,
        };
        if !due || self.drain != Drain::No {
            return;
        }
        let base = match self.segments.back() {
            Some(active) if active.stage == Stage::Active => {
                if !self.nears_end(active) && !self.rolling.due {
                    return;
                }
                active.limit()
            }
            _ if self.spare_wanted || self.rolling.due => self.head,
            _ => return,
        };
        self.spare = Spare::Preparing { base };
        let path = self.segment_path(base).to_path_buf();
        let token = self.token(Purpose::Prepare);
        disk.prepare(token, path, self.parts.options.segment_bytes);
    }

    /// Whether the active segment is used enough to make the next one: by a block, which gives it the most time; but not
    /// at each start of a log that goes on in a half empty segment and takes little.
    fn nears_end(&self, active: &Segment) -> bool {
        let used = self.head >= active.base + BLOCK_BYTES;
        let used_now = self.head >= self.opened_at + BLOCK_BYTES;
        used && (used_now || active.limit() - self.head < active.bytes / 2)
    }

    fn prepared(
        &mut self,
        token: u64,
        result: io::Result<Opened>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        self.take_purpose(token);
        let Spare::Preparing { base } = self.spare else {
            if let Ok(unwanted) = result {
                disk.close(unwanted.file);
            }
            return Ok(());
        };
        match result {
            Ok(opened) => {
                self.streaks.worked(Attempt::Prepare);
                // From here on it waits for its name.
                self.forget_need();
                self.spare = Spare::Unnamed { base, opened };
                self.want_commit();
            }
            Err(error) => {
                let no_space = matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
                if no_space {
                    // Who needs the segment is told of the full disk, also while the next attempt is under way.
                    self.forget_need();
                }
                self.spare = Spare::Failed {
                    retry_ms: self.now.monotonic_ms + RETRY_MS,
                    no_space,
                };
                self.fail(Attempt::Prepare, error)?;
            }
        }
        Ok(())
    }

    /// Notes since when the next segment is needed, and tells when it is under way for too long.
    fn look_at_need(&mut self) {
        if !self.segment_needed {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        self.needed_since_ms.get_or_insert(now_ms);
        let under_way = matches!(self.spare, Spare::Preparing { .. } | Spare::Unnamed { .. });
        if under_way && self.is_starving() && !self.streaks.fails(Attempt::Prepare) {
            let late = io::ErrorKind::TimedOut.into();
            self.streaks.failed(Attempt::Prepare, late);
        }
    }

    pub(crate) fn forget_need(&mut self) {
        self.segment_needed = false;
        self.needed_since_ms = None;
    }

    /// Notes that something failed which is tried again; not so where the store has vanished.
    pub(crate) fn fail(&mut self, attempt: Attempt, error: io::Error) -> Result<(), Poisoned> {
        if has_vanished(&error) {
            return Err(self.poison(attempt.in_no_directory(), error));
        }
        self.streaks.failed(attempt, error);
        Ok(())
    }

    /// Starts the sync or the footer of segments that are full and flushed.
    fn seal_full(&mut self, disk: &mut dyn Disk) {
        let footers = self.now.monotonic_ms >= self.seal_retry_ms;
        if footers {
            self.seal_retry_ms = 0;
        }
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            let number = segment.number;
            if segment.stage != Stage::Full {
                continue;
            }
            if self.is_durable(segment) {
                if footers {
                    self.put_footer(number, disk);
                }
            } else if self.durability() == Durability::Written
                && self.flush.written >= segment.limit()
                && let Some(file) = segment.writing
            {
                self.segments[at].stage = Stage::Sealing;
                let token = self.token(Purpose::SealSync(number));
                disk.sync(token, file);
            }
        }
    }

    /// Whether all of a full segment is durable: by the log's syncs, or by one of its own.
    fn is_durable(&self, segment: &Segment) -> bool {
        let by_flush = self.durability() == Durability::Synced;
        segment.synced || by_flush && self.flush.synced >= segment.limit()
    }

    fn seal_synced(
        &mut self,
        token: u64,
        result: io::Result<()>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let Some(Purpose::SealSync(number)) = self.take_purpose(token) else {
            return Ok(());
        };
        if let Err(source) = result {
            return Err(self.poison("sync", source));
        }
        if let Some(segment) = self.segment_mut(number) {
            segment.synced = true;
            segment.stage = Stage::Full;
            self.seal_full(disk);
        }
        Ok(())
    }

    fn put_footer(&mut self, number: u32, disk: &mut dyn Disk) {
        let next_sequence = self
            .segment(number + 1)
            .map_or(self.reached.sequence, |next| next.first_sequence);
        let (log, dir_id) = (self.parts.spec.id.get(), self.parts.dir_id);
        let Some(segment) = self.segment_mut(number) else {
            return;
        };
        segment.stage = Stage::Sealing;
        let (Some(file), SegmentIndex::Live(live)) = (&segment.file, &segment.index) else {
            return;
        };
        let head = FooterHead {
            log,
            incarnation: segment.incarnation,
            base: segment.base,
            end: file.end(),
            segment_bytes: segment.bytes,
            first_sequence: segment.first_sequence,
            next_sequence,
            last_ms: segment.last.stamp_ms,
            dir_id,
            sums: sums(segment),
            gaps: file.gaps.clone(),
        };
        let live = Arc::clone(live);
        let path = self.parts.path.join(footer_name(head.base));
        let token = self.token(Purpose::Footer(number));
        let discarded = std::mem::take(&mut self.discarded);
        let content = move || {
            drop(discarded);
            footer::encode(&head, &live)
        };
        disk.put(token, path, Box::new(content));
    }

    fn put(
        &mut self,
        token: u64,
        result: io::Result<Vec<u8>>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        match self.take_purpose(token) {
            Some(Purpose::Footer(number)) => self.footer_put(number, result, disk),
            Some(Purpose::Carried) => self.carried_put(result),
            _ => Ok(()),
        }
    }

    fn footer_put(
        &mut self,
        number: u32,
        result: io::Result<Vec<u8>>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it reads back otherwise");
        let footer = result.and_then(|bytes| Footer::written(bytes).ok_or_else(damaged));
        let retry_ms = self.now.monotonic_ms + RETRY_MS;
        let Some(segment) = self.segment_mut(number) else {
            return Ok(());
        };
        match footer {
            Ok(footer) => {
                let footer = SegmentIndex::Footer(footer);
                let live = std::mem::replace(&mut segment.index, footer);
                segment.stage = Stage::Sealed;
                if let Some(file) = segment.writing.take() {
                    disk.close(file);
                }
                self.discarded.push(Discarded::Index { _index: live });
                self.streaks.worked(Attempt::Footer);
                self.look_at_retention_now();
                Ok(())
            }
            Err(error) => {
                segment.stage = Stage::Full;
                self.seal_retry_ms = retry_ms;
                self.fail(Attempt::Footer, error)
            }
        }
    }

    pub(crate) fn begin_drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = if self.on_disk() {
                Drain::Flushing
            } else {
                Drain::Done
            };
        }
    }

    fn drain_on(&mut self) {
        let flushed = self.flush.flight.is_none() && self.flush.synced >= self.head;
        let full = self.segments.iter().filter(|s| s.stage == Stage::Full);
        let durable = full.into_iter().all(|segment| self.is_durable(segment));
        if !flushed || !durable || !self.ops.is_empty() {
            return;
        }
        match self.drain {
            Drain::Flushing => {
                self.drain = Drain::Marked;
                if self.reached.sequence > self.flush.marked {
                    self.flush.marked = self.reached.sequence;
                    self.mark(self.head, self.reached);
                }
            }
            Drain::Marked => {
                self.drain = Drain::Closing;
                self.want_commit();
            }
            Drain::No | Drain::Closing | Drain::Done => {}
        }
    }

    /// Records that are not known to be durable.
    pub(crate) fn undurable(&self) -> u64 {
        let open = self.segments.iter().find(|s| !self.is_durable(s));
        let sealed_to = open.map_or(self.reached.sequence, |open| open.first_sequence);
        let durable_to = sealed_to.max(self.flush.synced_reached.sequence);
        self.reached.sequence.saturating_sub(durable_to)
    }

    /// The files of a segment.
    pub(crate) fn files_of(&self, segment: &Segment) -> [PathBuf; 2] {
        [
            self.segment_path(segment.base).to_path_buf(),
            self.parts.path.join(footer_name(segment.base)),
        ]
    }
}

fn sums(segment: &Segment) -> Vec<BlockSum> {
    let blocks = 0..segment.bytes.div_ceil(BLOCK_BYTES);
    let file = segment.file.as_ref();
    blocks
        .map(|block| {
            file.map_or(BlockSum::default(), |f| {
                f.sum(segment.base + block * BLOCK_BYTES)
            })
        })
        .collect()
}
