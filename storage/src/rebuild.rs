//! Rebuilding a log from a survey, so that it can go on. Each disk operation is waited for before the next one starts.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};

use crate::disk::{BlockRange, Completion, Disk, Opened, Outcome, WriteSync};
use crate::error::OpenError;
use crate::failing::{Task, has_vanished};
use crate::flush::Acknowledged;
use crate::format::block_start;
use crate::frames::FoundRecord;
use crate::lookup::FrontLoss;
use crate::moment::Moment;
use crate::names::{ASIDE_MAX, aside};
use crate::options::Durability;
use crate::parts::LogParts;
use crate::recovery::Kept;
use crate::segments::{Segment, Stage};
use crate::state::{STATE, STATE_COPY};
use crate::survey::{Aside, Blank, RecoveredSegment, Survey};
use crate::sys::arena::BlockWriter;
use crate::tail::Reached;
use crate::values::{RecoveryReport, SetAside};

/// Positions and numbers of the log from the survey.
struct Bounds {
    state_end: u64,
    state_chain: u32,
    limit: u64,
    proven: u64,
}

/// The token of the operations that a rebuild waits for.
const OWN: u64 = u64::MAX;

/// A log while it is rebuilt.
pub(crate) struct Rebuild<'a> {
    log: LogParts,
    /// Position that the log goes on at.
    head: u64,
    reached: Reached,
    disk: &'a mut dyn Disk,
    now: Moment,
    /// Outcomes of own operations that were not taken yet.
    done: VecDeque<Outcome>,
}

impl<'a> Rebuild<'a> {
    pub(crate) fn new(log: LogParts, disk: &'a mut dyn Disk, now: Moment) -> Self {
        Self {
            log,
            head: 0,
            reached: Reached::default(),
            disk,
            now,
            done: VecDeque::new(),
        }
    }

    pub(crate) fn run(
        mut self,
        mut survey: Survey,
        report: &mut RecoveryReport,
    ) -> Result<LogParts, OpenError> {
        self.take_over(&survey);
        report.clean = survey.is_clean();
        let parts = std::mem::take(&mut survey.segments);
        let bounds = Bounds {
            state_end: survey.state.map_or(0, |state| state.end),
            state_chain: survey.state.map_or(0, |state| state.chain),
            limit: survey.limit,
            proven: survey.proven,
        };
        if report.clean {
            self.go_on(parts, &bounds, report)?;
        } else {
            self.start_anew(parts, &bounds, report)?;
        }
        let log = &mut self.log;
        log.front_loss = FrontLoss::of(&log.index, &log.segments, &survey.topics);
        log.visibility.publish(&log.tail, &log.segments);
        self.tidy(survey, report)?;
        Ok(self.log)
    }

    /// Takes over from the survey what is known of the log apart from its records.
    fn take_over(&mut self, survey: &Survey) {
        let log = &mut self.log;
        let topics = survey.topics.topics.iter();
        for (name, next) in topics.filter(|_| !planted(Bug::ForgetsCarriedTopics)) {
            log.carry(name, *next);
        }
        let generation = survey.topics.generation;
        let carried = survey.carried.clone();
        log.retention.go_on(carried, generation, survey.new_floor());
        // Without a state the segments name the last incarnation.
        let committed = survey.state.map_or(0, |state| state.incarnation);
        log.tail.set_incarnation(committed.max(survey.newest));
        let generation = survey.state.map_or(0, |state| state.generation);
        log.commits.go_on(generation, survey.reported());
        log.stamps
            .go_on(survey.state.map_or(0, |state| state.last_ms));
        let expected = survey.assembler.expected();
        self.reached.sequence = expected.saturating_sub(u64::from(planted(Bug::SequenceOffByOne)));
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            path: self.log.fixed.path.clone(),
            source,
        }
    }

    /// Continues a drained log.
    fn go_on(
        &mut self,
        parts: Vec<RecoveredSegment>,
        bounds: &Bounds,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.into_iter().enumerate() {
            match part {
                RecoveredSegment::Sealed(sealed) => self.log.attach_sealed(sealed),
                RecoveredSegment::Kept(mut kept) => {
                    report.footers_rebuilt += u64::from(number < last);
                    if number == last {
                        kept.go_on_at(bounds.state_end, self.reached.sequence);
                    }
                    self.attach(kept)?;
                }
            }
        }
        self.head = bounds.state_end;
        self.reached.chain = bounds.state_chain;
        self.settle_positions();
        self.reopen_tail(bounds.state_end)
    }

    /// Makes the last segment the active one again if the log ended inside it.
    fn reopen_tail(&mut self, end: u64) -> Result<(), OpenError> {
        let Some(last) = self.log.segments.newest() else {
            return Ok(());
        };
        if last.stage() != Stage::Full || end >= last.limit() {
            return Ok(());
        }
        let file = last.file().cloned();
        let file = file.expect("a segment of a log on disk");
        self.log.segments.reopen();
        let base = block_start(end);
        if base == end {
            return Ok(());
        }
        let mut writer = self.take_block()?;
        let range = base - file.base..end - file.base;
        self.read_into(&mut writer, &file.path, range)?;
        self.log.tail.adopt_block(writer, base);
        Ok(())
    }

    fn take_block(&self) -> Result<BlockWriter, OpenError> {
        let taken = self.log.visibility.pool().take_waiting();
        taken.ok_or_else(|| OpenError::Arena {
            path: self.log.fixed.path.clone(),
        })
    }

    /// Appends a range of a file, within one block of it, to a block of the arena.
    fn read_into(
        &mut self,
        writer: &mut BlockWriter,
        path: &Path,
        range: Range<u64>,
    ) -> Result<(), OpenError> {
        let len = usize::try_from(range.end - range.start).expect("a block is 2 MiB");
        let mut read = Ok(0);
        writer.append(len, |out| read = self.disk.read(path, range.start, out));
        match read {
            Ok(read) if read == len => Ok(()),
            Ok(_) => Err(self.io(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.io(error)),
        }
    }

    /// Continues a log that was not drained, in a new incarnation.
    fn start_anew(
        &mut self,
        parts: Vec<RecoveredSegment>,
        bounds: &Bounds,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let incarnation = self.log.tail.incarnation().wrapping_add(1);
        self.log.tail.set_incarnation(incarnation);
        self.head = bounds.limit;
        let synced = self.log.fixed.durability() == Durability::Synced;
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.into_iter().enumerate() {
            let kept = match part {
                RecoveredSegment::Sealed(sealed) => {
                    self.log.attach_sealed(sealed);
                    continue;
                }
                RecoveredSegment::Kept(kept) => kept,
            };
            let opened = self.disk.open(&kept.path).map_err(|e| self.io(e))?;
            if synced && !planted(Bug::ForgetsToRewrite) {
                report.records_rewritten += self.rewrite(&kept, &opened, bounds.proven)?;
            }
            let fresh = kept.fresh_block().filter(|_| number == last);
            match fresh.filter(|_| !kept.holds_more && !kept.needs_footer()) {
                Some(fresh) => self.reopen_at(fresh, kept, opened),
                None => {
                    report.footers_rebuilt += 1;
                    self.log.attach_kept(kept, opened, self.now.monotonic_ms);
                }
            }
        }
        self.settle_positions();
        Ok(())
    }

    /// Goes on in a segment, at a block that was never written to.
    fn reopen_at(&mut self, fresh: u64, mut kept: Kept, opened: Opened) {
        kept.go_on_at(fresh, self.reached.sequence);
        kept.incarnation = self.log.tail.incarnation();
        self.log.attach_kept(kept, opened, self.now.monotonic_ms);
        self.log.segments.reopen();
        self.head = fresh;
    }

    /// Rewrites the records that nothing proves to be durable, and syncs them. Returns their number.
    fn rewrite(&mut self, kept: &Kept, opened: &Opened, proven: u64) -> Result<u64, OpenError> {
        let from = kept.records.partition_point(|r| r.sequence < proven);
        let records = &kept.records[from..];
        let same_block = |left: &FoundRecord, right: &FoundRecord| {
            block_start(left.position) == block_start(right.position)
        };
        for block in records.chunk_by(same_block) {
            let (first, last) = (block[0], block[block.len() - 1]);
            let range = first.position - kept.base..last.end() - kept.base;
            let mut writer = self.take_block()?;
            self.read_into(&mut writer, &kept.path, range.clone())?;
            let len = writer.block().committed();
            let bytes = BlockRange::new(Arc::clone(writer.block()), 0..len);
            self.write_synced(opened, range.start, bytes)?;
        }
        Ok(records.len() as u64)
    }

    fn write_synced(
        &mut self,
        opened: &Opened,
        at: u64,
        bytes: BlockRange,
    ) -> Result<(), OpenError> {
        let asked = bytes.bytes().len();
        self.disk
            .write(OWN, opened.file, at, bytes, WriteSync::File);
        let mut left = 2;
        while left > 0 {
            left -= 1;
            let result = match self.wait_own()? {
                Outcome::Written(Ok(written)) if written < asked => {
                    Err(io::ErrorKind::WriteZero.into())
                }
                Outcome::Written(result) => result.map(drop),
                Outcome::Synced(result) => result,
                _ => Ok(()),
            };
            result.map_err(|error| self.io(error))?;
        }
        Ok(())
    }

    fn attach(&mut self, kept: Kept) -> Result<(), OpenError> {
        let opened = self.disk.open(&kept.path).map_err(|e| self.io(e))?;
        self.log.attach_kept(kept, opened, self.now.monotonic_ms);
        Ok(())
    }

    /// Sets the positions of the parts: everything below the head is in the segments.
    fn settle_positions(&mut self) {
        let (log, head) = (&mut self.log, self.head);
        log.tail.go_on(head, self.reached);
        let newest = log.segments.newest();
        let active = newest.filter(|newest| newest.stage() == Stage::Active);
        let synced = match active {
            // The kernel has what the segment holds; a drain syncs it.
            Some(active) if log.fixed.durability() == Durability::Written => active.base,
            _ => head,
        };
        // In segments without records nothing was acknowledged, although the log may go on behind the remains of an
        // incomplete write at their beginning.
        let is_unused = |last: &&Segment| last.stage() != Stage::Sealed && last.first().is_none();
        let unused = log.segments.iter().rev().take_while(is_unused).last();
        let acknowledged = Acknowledged {
            end: unused.map_or(head, |unused| unused.base),
            sequence: self.reached.sequence,
        };
        log.flush.go_on(head, synced, self.reached, acknowledged);
        if log.segments.is_empty() {
            log.visibility.set_start(head);
        }
        log.visibility.set_visible(head);
    }

    /// Commits the incarnation, then sets aside unreadable files and removes obsolete ones.
    fn tidy(&mut self, survey: Survey, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let lies = |aside: &Aside, name| aside.path.file_name().is_some_and(|n| n == name);
        let (states, others): (Vec<_>, Vec<_>) = survey
            .to_set_aside
            .into_iter()
            .partition(|aside| lies(aside, STATE) || lies(aside, STATE_COPY));
        // Before the commit overwrites them.
        self.set_aside(states, report);
        self.commit()?;
        self.set_aside(others, report);
        let limit = self
            .log
            .segments
            .newest()
            .map_or(self.head, |last| self.head.max(last.limit()));
        let size = self.log.fixed.options.segment_bytes;
        let useless = |blank: &&Blank| blank.base != limit || blank.bytes != size;
        let blanks = survey.blanks.iter().filter(useless);
        let mut paths: Vec<PathBuf> = blanks.map(|blank| blank.path.clone()).collect();
        paths.extend(survey.obsolete);
        self.remove(paths)
    }

    fn set_aside(&mut self, to_set_aside: Vec<Aside>, report: &mut RecoveryReport) {
        for Aside { path, why } in to_set_aside {
            let names = (1..=ASIDE_MAX).map(|number| aside(&path, number));
            // A file that cannot be renamed stays where it is; the report says so.
            let mut to = None;
            for name in names {
                match self.disk.rename(&path, &name) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    renamed => to = Some(renamed.map(|()| name).ok()),
                }
                break;
            }
            if let Some(to) = to {
                report.set_aside.push(SetAside { path, to, why });
            }
        }
    }

    /// Waits for the next operation under [`OWN`].
    fn wait_own(&mut self) -> Result<Outcome, OpenError> {
        loop {
            if let Some(outcome) = self.done.pop_front() {
                return Ok(outcome);
            }
            self.disk.wait().map_err(|error| self.io(error))?;
            let mut done: Vec<Completion> = Vec::new();
            self.disk.reap(&mut done);
            // Logs that were opened before have nothing in flight yet.
            let own = done.into_iter().filter(|c| c.token == OWN);
            self.done.extend(own.map(|completion| completion.outcome));
        }
    }

    /// Commits the incarnation, and that the log is open.
    fn commit(&mut self) -> Result<(), OpenError> {
        let content = self.log.next_state().encode();
        let mut failed = None;
        for name in [STATE, STATE_COPY] {
            let path = self.log.fixed.path.join(name);
            self.disk.overwrite(OWN, path, content.clone());
            if let Outcome::Overwritten(Err(error)) = self.wait_own()? {
                // One copy is enough.
                if let Some(before) = failed.replace(error) {
                    return Err(self.io(before));
                }
            }
        }
        if let Some(error) = failed {
            self.log.health.note(Task::State, error);
            self.log.commits.want();
        }
        Ok(())
    }

    fn remove(&mut self, paths: Vec<PathBuf>) -> Result<(), OpenError> {
        if paths.is_empty() {
            return Ok(());
        }
        self.disk.unlink(OWN, paths);
        match self.wait_own()? {
            Outcome::Unlinked(Err(error)) if has_vanished(&error) => Err(self.io(error)),
            // They take space until the next start. They are not tried again before, as the log may use one of their names.
            Outcome::Unlinked(Err(error)) => {
                self.log.health.note(Task::Unlink, error);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
