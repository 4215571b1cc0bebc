//! Opening a log: from what the survey found to a log that goes on.
//!
//! After a drain it goes on where it ended, in the same segment. Otherwise it goes on in a new segment of a new
//! incarnation: records that are not known to be durable are copied there and synced; then the state file commits the
//! incarnation; only then does anything superseded disappear. An interruption leaves the old log or the new one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use oyez_protocol::Epoch;

use crate::dir::DataDir;
use crate::disk::{Completion, Disk, Outcome};
use crate::error::{AppendError, OpenError};
use crate::format::{BLOCK_BYTES, block_start};
use crate::log::{Log, LogParts, Spare, footer_name};
use crate::moment::Moment;
use crate::options::{Durability, LogOptions, LogSpec};
use crate::place::{Progress, RecoveryReport};
use crate::recovery::Kept;
use crate::segment::{Segment, Stage};
use crate::state::STATE;
use crate::survey::{Blank, Part, Survey, Surveyor};
use crate::sys::arena::ArenaPool;
use crate::tail::Reached;
use crate::trouble::Attempt;

/// What a log is opened with.
pub(crate) struct Opening<'a> {
    pub dir: &'a DataDir,
    pub spec: LogSpec,
    pub slot: u16,
    pub options: LogOptions,
    pub pool: Arc<ArenaPool>,
    pub now: Moment,
}

impl Opening<'_> {
    pub(crate) fn run(self, disk: &mut dyn Disk) -> Result<(Log, RecoveryReport), OpenError> {
        if self.spec.durability == Durability::Memory {
            return Ok(self.memory());
        }
        let path = self.dir.log_path(&self.spec);
        let failed = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        disk.make_dir(&path).map_err(failed)?;
        let survey = Surveyor {
            disk,
            path: &path,
            log: self.spec.id.get(),
            dir_id: self.dir.dir_id(),
            durability: self.spec.durability,
        }
        .run()?;
        if survey.state.is_none() && survey.parts.is_empty() {
            let (free, needed) = (
                disk.free_bytes(&path).map_err(failed)?,
                self.options.segment_bytes,
            );
            if free < needed {
                return Err(OpenError::NoSpace { path, free, needed });
            }
        }
        let (epoch, changed) = self.epoch(&survey);
        let mut report = RecoveryReport {
            log: self.spec.id,
            clean: false,
            epoch: Epoch::new(epoch),
            epoch_changed: changed,
            segments: 0,
            scanned_bytes: survey.scanned_bytes,
            footers_rebuilt: 0,
            records_copied: 0,
            cut_bytes: survey.assembler.cut_bytes,
            copies_removed: survey.copies_removed,
            gaps: survey.assembler.gaps.clone(),
        };
        let mut rebuilt = Rebuild {
            log: Log::new(self.parts(path, epoch, survey.boot_id)),
            disk,
            now: self.now,
        };
        rebuilt.run(survey, &mut report)?;
        let log = rebuilt.log;
        report.segments = log.segments.len() as u64;
        Ok((log, report))
    }

    fn parts(&self, path: PathBuf, epoch: u64, boot_id: u128) -> LogParts {
        LogParts {
            spec: self.spec,
            slot: self.slot,
            path,
            dir_id: self.dir.dir_id(),
            key: self.dir.key(),
            options: self.options,
            pool: Arc::clone(&self.pool),
            epoch,
            boot_id,
        }
    }

    fn memory(&self) -> (Log, RecoveryReport) {
        let epoch = self.dir.fresh_epoch(self.spec.id, self.now.wall_ms);
        let mut log = Log::new(self.parts(PathBuf::new(), epoch, 0));
        log.now = self.now;
        let report = RecoveryReport {
            log: self.spec.id,
            clean: false,
            epoch: Epoch::new(epoch),
            epoch_changed: true,
            segments: 0,
            scanned_bytes: 0,
            footers_rebuilt: 0,
            records_copied: 0,
            cut_bytes: 0,
            copies_removed: 0,
            gaps: Vec::new(),
        };
        (log, report)
    }

    /// The epoch, and whether it is new because history was, or may have been, lost.
    fn epoch(&self, survey: &Survey) -> (u64, bool) {
        let fresh = || self.dir.fresh_epoch(self.spec.id, self.now.wall_ms);
        let Some(state) = survey.state else {
            return (fresh(), survey.is_lossy());
        };
        let went_down = self.spec.durability == Durability::Written
            && !state.clean
            && state.boot_id != survey.boot_id;
        if went_down || survey.is_lossy() {
            (fresh(), true)
        } else {
            (state.epoch, false)
        }
    }
}

/// A log while it is rebuilt.
struct Rebuild<'a> {
    log: Log,
    disk: &'a mut dyn Disk,
    now: Moment,
}

impl Rebuild<'_> {
    fn run(&mut self, survey: Survey, report: &mut RecoveryReport) -> Result<(), OpenError> {
        self.log.now = self.now;
        self.remove(survey.rubbish.clone())?;
        for (name, next) in &survey.topics {
            let hash = self.log.hash(name);
            let topic = self.log.index.find_or_add(hash, name);
            self.log.index.topic_mut(topic).next = *next;
        }
        self.log.carried.clone_from(&survey.carried);
        // Without a state file the segments say which incarnations there were.
        let committed = survey.state.map_or(0, |state| state.incarnation);
        self.log.incarnation = committed.max(survey.newest);
        self.log.last_ms = survey.state.map_or(0, |state| state.last_ms);
        self.log.reached.sequence = survey.assembler.expected.unwrap_or(0);
        if is_clean(&survey) {
            report.clean = true;
            return self.go_on(survey, report);
        }
        self.start_anew(survey, report)
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            path: self.log.parts.path.clone(),
            source,
        }
    }

    /// Continues a drained log.
    fn go_on(&mut self, survey: Survey, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let state = survey.state.expect("only a log with a state file is clean");
        self.log.reached = Reached {
            sequence: state.sequence,
            chain: state.chain,
        };
        let last = survey.parts.len().saturating_sub(1);
        for (number, part) in survey.parts.into_iter().enumerate() {
            match part {
                Part::Sealed(sealed) => self.log.attach_sealed(sealed),
                Part::Kept(kept) => {
                    report.footers_rebuilt += u64::from(number < last);
                    self.attach(kept)?;
                }
            }
        }
        self.adopt_spare(survey.blanks, state.end)?;
        self.log.head = state.end;
        self.settle_positions();
        self.reopen_tail(state.end)?;
        self.log.publish();
        self.commit()
    }

    /// Makes the last segment the active one again if the log ended inside it.
    fn reopen_tail(&mut self, end: u64) -> Result<(), OpenError> {
        let Some(last) = self.log.segments.back_mut() else {
            return Ok(());
        };
        if last.stage != Stage::Full || end >= last.limit() {
            return Ok(());
        }
        last.stage = Stage::Active;
        let file = last.file.clone().expect("a segment of a log on disk");
        file.set_end(file.limit());
        let base = block_start(end);
        if base == end {
            return Ok(());
        }
        let mut writer = self.log.parts.pool.take_waiting().ok_or(OpenError::Arena {
            path: self.log.parts.path.clone(),
        })?;
        let bytes = file.bytes_at(base, end);
        writer.append(bytes.len(), |out| out.copy_from_slice(bytes));
        self.log.adopt_block(writer, base);
        Ok(())
    }

    fn adopt_spare(&mut self, blanks: Vec<Blank>, end: u64) -> Result<(), OpenError> {
        let last = self.log.segments.back();
        let goes_on = last.filter(|last| last.stage == Stage::Full && end < last.limit());
        let limit = goes_on.map_or(end, Segment::limit);
        let mut useless = Vec::new();
        for blank in blanks {
            let fits = blank.base == limit && blank.bytes == self.log.parts.options.segment_bytes;
            if fits {
                let opened = self.disk.open(&blank.path).map_err(|e| self.io(e))?;
                self.log.spare = Spare::Ready {
                    base: blank.base,
                    opened,
                };
            } else {
                useless.push(blank.path.to_path_buf());
            }
        }
        self.remove(useless)
    }

    /// Continues a log that was not drained, in a new incarnation.
    fn start_anew(&mut self, survey: Survey, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let blanks = survey.blanks.iter().map(|blank| blank.path.to_path_buf());
        self.remove(blanks.collect())?;
        let copying = self.log.durability() == Durability::Synced;
        let keep_to = if copying { survey.durable } else { u64::MAX };
        let mut copies: Vec<Kept> = Vec::new();
        let mut superseded = Vec::new();
        for part in survey.parts {
            match part {
                Part::Sealed(sealed) => self.log.attach_sealed(sealed),
                Part::Kept(mut kept) => {
                    let from = kept.records.partition_point(|r| r.sequence < keep_to);
                    let rest = kept.split_off(from);
                    if kept.records.is_empty() && kept.gaps.is_empty() {
                        superseded.extend(self.files(kept.base, &kept));
                    } else {
                        report.footers_rebuilt += 1;
                        self.attach(kept)?;
                    }
                    copies.extend(rest);
                }
            }
        }
        self.log.incarnation = self.log.incarnation.wrapping_add(1);
        let copied: u64 = copies.iter().map(|kept| kept.records.len() as u64).sum();
        let first = copies.iter().flat_map(|kept| &kept.records).next();
        self.log.reached = Reached {
            sequence: first.map_or(survey.assembler.expected.unwrap_or(0), |r| r.sequence),
            chain: 0,
        };
        self.log.head = survey.limit;
        self.settle_positions();
        self.log.publish();
        report.records_copied = copied;
        self.copy(&copies)?;
        self.commit()?;
        self.remove(superseded)
    }

    fn attach(&mut self, kept: Kept) -> Result<(), OpenError> {
        let opened = self.disk.open(&kept.path).map_err(|e| self.io(e))?;
        self.log.attach_kept(kept, opened);
        Ok(())
    }

    fn files(&self, base: u64, kept: &Kept) -> [PathBuf; 2] {
        [
            kept.path.to_path_buf(),
            self.log.parts.path.join(footer_name(base)),
        ]
    }

    /// Everything below the head is where it belongs.
    fn settle_positions(&mut self) {
        let log = &mut self.log;
        log.flush.written = log.head;
        log.flush.synced = log.head;
        log.flush.records_end = log.head;
        log.flush.synced_reached = log.reached;
        log.flush.marked = log.reached.sequence;
        if log.segments.is_empty() {
            log.shared.set_start(log.head);
        }
        log.set_visible(log.head);
    }

    fn copy(&mut self, copies: &[Kept]) -> Result<(), OpenError> {
        self.log.spare_wanted |= !copies.is_empty();
        for kept in copies {
            for found in &kept.records {
                let record = kept.record(found);
                while let Err(refused) = self.log.append_again(&record) {
                    self.wait_for_room(refused)?;
                }
            }
        }
        while self.log.flush.synced < self.log.flush.records_end {
            self.step()?;
        }
        Ok(())
    }

    fn wait_for_room(&mut self, refused: AppendError) -> Result<(), OpenError> {
        let path = self.log.parts.path.clone();
        // No time passes here, so that it would never be tried again.
        if let Some(error) = self.log.streaks.take_begun(Attempt::Prepare)
            && refused == AppendError::Busy
        {
            return Err(self.io(error));
        }
        match refused {
            AppendError::Busy => match self.step() {
                Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                    // Nothing is in flight, so it is the arena that has nothing to give.
                    if self.log.parts.pool.free_blocks() == 0 {
                        return Err(OpenError::Arena { path });
                    }
                    std::thread::yield_now();
                    Ok(())
                }
                stepped => stepped,
            },
            _ => Err(OpenError::NoSpace {
                free: self.disk.free_bytes(&path).unwrap_or(0),
                needed: self.log.parts.options.segment_bytes,
                path,
            }),
        }
    }

    /// One turn of the log, waiting for something to finish.
    fn step(&mut self) -> Result<(), OpenError> {
        // A footer would end the old incarnation before the new one is committed.
        self.log.seal_retry_ms = u64::MAX;
        let mut progress = Progress::default();
        self.log.turn(self.now, self.disk, &mut progress);
        self.disk.wait().map_err(|error| self.io(error))?;
        let stepped = self.complete_all().map(drop);
        self.log.seal_retry_ms = 0;
        stepped
    }

    fn complete_all(&mut self) -> Result<Vec<Completion>, OpenError> {
        let mut done = Vec::new();
        self.disk.reap(&mut done);
        let mut own = Vec::new();
        for completion in done {
            if completion.token == OWN {
                own.push(completion);
                continue;
            }
            if let Err(poisoned) = self.log.complete(completion, self.disk) {
                return Err(self.io(poisoned.source));
            }
        }
        Ok(own)
    }

    /// Waits for the one operation under [`OWN`].
    fn wait_own(&mut self) -> Result<(), OpenError> {
        loop {
            self.disk.wait().map_err(|error| self.io(error))?;
            let Some(completion) = self.complete_all()?.pop() else {
                continue;
            };
            let result = match completion.outcome {
                Outcome::Put(result) => result.map(drop),
                Outcome::Unlinked(result) => result,
                _ => Ok(()),
            };
            return result.map_err(|error| self.io(error));
        }
    }

    /// Writes down the incarnation, and that the log is open.
    fn commit(&mut self) -> Result<(), OpenError> {
        let state = self.log.state(false);
        let path = self.log.parts.path.join(STATE);
        self.disk.put(OWN, path, Box::new(move || state.encode()));
        self.wait_own()
    }

    fn remove(&mut self, paths: Vec<PathBuf>) -> Result<(), OpenError> {
        if paths.is_empty() {
            return Ok(());
        }
        self.disk.unlink(OWN, paths);
        self.wait_own()
    }
}

/// The token of operations that opening waits for.
const OWN: u64 = u64::MAX;

/// Whether the log is as its drain left it.
fn is_clean(survey: &Survey) -> bool {
    let Some(state) = survey.state.filter(|state| state.clean) else {
        return false;
    };
    let end = match survey.parts.last() {
        None => state.end,
        Some(Part::Kept(kept)) => kept.end,
        Some(Part::Sealed(sealed)) => state.end.max(sealed.head.end),
    };
    let whole_block = end.next_multiple_of(BLOCK_BYTES);
    let reached = survey.assembler.expected.unwrap_or(state.sequence);
    !survey.is_lossy()
        && reached == state.sequence
        && (end == state.end || whole_block == state.end)
}
