//! Looking for the next sound frame behind damage: the second thing that a scan does.

use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::FRAME_ALIGN;

use crate::format::SyncMark;
use crate::scan::{Frame, Scanner};

impl Scanner<'_> {
    /// The first sound frame behind one that is not.
    ///
    /// Frames that follow each other to the end of what the block holds are the block's. Those that break off before may
    /// lie inside the payload of a damaged record: they count only if they do not contradict what is found behind them.
    pub(crate) fn search(&mut self, from: usize) -> Option<(usize, Frame)> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.retain(|run| run.at > from && self.still_fits(from, run));
        if runs.is_empty() {
            runs = self.look(from);
        }
        let mut best: Option<Run> = None;
        for run in &runs {
            best = match best {
                Some(best) if best.agrees_with(run) => Some(best),
                Some(best) if !run.is_whole && best.frames >= run.frames => Some(best),
                _ => Some(*run),
            };
        }
        self.runs = runs;
        best.map(|run| (run.at, run.first))
    }

    /// What there is behind a place, up to the first run that goes to the end. Found once, it need not be checked again
    /// for the next damage.
    fn look(&mut self, from: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut at = from + FRAME_ALIGN;
        while at < self.used && !runs.last().is_some_and(|run| run.is_whole) {
            match self.follow(from, at) {
                Some(run) => {
                    at = run.end;
                    runs.push(run);
                }
                None => at += FRAME_ALIGN,
            }
        }
        runs
    }

    /// Whether a run can be what comes after damage that begins at `from`, with what was found since.
    fn still_fits(&self, from: usize, run: &Run) -> bool {
        match run.first {
            Frame::Record(found) => {
                let frame = &self.bytes[run.at..run.at + found.size as usize];
                let passed = self.passed_until(from, run.at);
                self.own_record(frame).is_some() && self.may_come(found.sequence, &passed)
            }
            Frame::Mark(_) => self.mark_behind(from, run.at).is_some(),
            Frame::Pad => true,
            Frame::Body { .. } => false,
        }
    }

    /// The frames that follow each other from a place on, if there is one.
    fn follow(&mut self, from: usize, at: usize) -> Option<Run> {
        let first = match *self.bytes.get(at + 4)? {
            kind::RECORD => self.candidate(from, at),
            kind::SYNC_MARK => self.mark_behind(from, at).map(Frame::Mark),
            kind::PAD => self.pad(at),
            _ => None,
        }?;
        let mut run = Run {
            at,
            first,
            sequences: None,
            end: at,
            frames: 0,
            is_whole: false,
        };
        let mut frame = Some(first);
        while let Some(next) = frame {
            self.budget = self.budget.checked_sub(next.size())?;
            run.frames += 1;
            run.end += next.size();
            if let Some(sequence) = next.sequence() {
                let begin = run.sequences.map_or(sequence, |(begin, _)| begin);
                run.sequences = Some((begin, sequence + 1));
            }
            run.is_whole = run.end >= self.used || matches!(next, Frame::Pad);
            if run.is_whole {
                break;
            }
            frame = self.next_of(&run);
        }
        Some(run)
    }

    /// The frame behind a run.
    fn next_of(&mut self, run: &Run) -> Option<Frame> {
        let at = run.end;
        match *self.bytes.get(at + 4)? {
            kind::RECORD => {
                let frame = self.record_at(at, &(0..u64::MAX))?;
                let expected = run.sequences.map(|(_, next)| next);
                let fits = expected.is_none_or(|next| frame.sequence() == Some(next));
                fits.then_some(frame)
            }
            kind::SYNC_MARK => self.mark(at).map(Frame::Mark),
            kind::PAD => self.pad(at),
            _ => None,
        }
    }

    /// A mark behind damage names no more records than may be there.
    fn mark_behind(&self, from: usize, at: usize) -> Option<SyncMark> {
        let most = self.passed_until(from, at).end;
        let fits = |mark: &SyncMark| {
            self.next
                .is_none_or(|next| mark.sequence <= next.saturating_add(most))
        };
        self.mark(at).filter(fits)
    }

    /// A whole record behind damage, if it can be one that was written there.
    fn candidate(&mut self, from: usize, at: usize) -> Option<Frame> {
        let rest = &self.bytes[at..];
        let size = FrameHead::parse(rest)?.ok()?.size as usize;
        self.own_record(rest.get(..size)?)?;
        // Checking the body costs the same whether it is found right or not.
        self.budget = self.budget.checked_sub(size)?;
        let passed = self.passed_until(from, at);
        let frame = self.record_at(at, &passed);
        frame.filter(|frame| matches!(frame, Frame::Record(_)))
    }
}

/// Frames that follow each other.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    at: usize,
    first: Frame,
    /// Sequence of its first record, and the one after its last.
    sequences: Option<(u64, u64)>,
    end: usize,
    frames: usize,
    /// It goes up to the end of what the block holds.
    is_whole: bool,
}

impl Run {
    /// Whether a later run can be what comes after this one.
    fn agrees_with(&self, later: &Self) -> bool {
        let Some((_, next)) = self.sequences else {
            return false;
        };
        later.sequences.is_none_or(|(first, _)| first >= next)
    }
}
