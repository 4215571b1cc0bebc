//! The search for the next sound frame behind damage, as a part of a scan.

use oyez_protocol::header::kind;
use oyez_protocol::limits::FRAME_ALIGN;

use crate::format::SyncMark;
use crate::frames::{Frame, Frames};

/// Bytes of frames that the searches in one block may check. A payload may be made of records that each claim a megabyte;
/// with this bound they cost some milliseconds.
const SEARCH_BYTES_MAX: usize = 64 << 20;

/// The searches in one block.
#[derive(Debug)]
pub(crate) struct Search {
    /// Bytes that may still be checked.
    budget: usize,
    /// The runs that the last search has found.
    runs: Vec<Run>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            budget: SEARCH_BYTES_MAX,
            runs: Vec::new(),
        }
    }
}

impl Search {
    /// The first sound frame behind one that is not.
    ///
    /// Frames that follow each other to the end of the block's content are the block's. Frames that break off before may
    /// lie inside the payload of a damaged record: they count only if they do not contradict the frames behind them.
    pub(crate) fn run(&mut self, frames: &mut Frames<'_>, from: usize) -> Option<(usize, Frame)> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.retain(|run| run.at > from && still_fits(frames, from, run));
        if runs.is_empty() {
            runs = self.look(frames, from);
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

    /// The runs behind a place, up to the first that goes to the end. They are kept, so that they need not be checked again
    /// for the next damage.
    fn look(&mut self, frames: &mut Frames<'_>, from: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut at = from + FRAME_ALIGN;
        while at < frames.used() && !runs.last().is_some_and(|run| run.is_whole) {
            match self.follow(frames, from, at) {
                Some(run) => {
                    at = run.sound_end;
                    runs.push(run);
                }
                None => at += FRAME_ALIGN,
            }
        }
        runs
    }

    /// The run of frames that begins at a place, if a frame is there.
    fn follow(&mut self, frames: &mut Frames<'_>, from: usize, at: usize) -> Option<Run> {
        let first = match frames.kind_at(at)? {
            kind::RECORD => {
                let passed = frames.passed_until(from, at);
                frames.candidate(at, &passed, &mut self.budget)
            }
            kind::SYNC_MARK => mark_behind(frames, from, at).map(Frame::Mark),
            kind::PAD => frames.pad(at),
            _ => None,
        }?;
        let mut run = Run {
            at,
            first,
            sequences: None,
            end: at,
            sound_end: at,
            frames: 0,
            is_whole: false,
        };
        let mut frame = Some(first);
        while let Some(next) = frame {
            self.budget = self.budget.checked_sub(next.size())?;
            run.frames += 1;
            run.end += next.size();
            if !matches!(next, Frame::Body { .. }) {
                run.sound_end = run.end;
            }
            if let Some(sequence) = next.sequence() {
                let begin = run.sequences.map_or(sequence, |(begin, _)| begin);
                run.sequences = Some((begin, sequence + 1));
            }
            run.is_whole = run.end >= frames.used() || matches!(next, Frame::Pad);
            if run.is_whole {
                break;
            }
            frame = next_of(frames, &run);
        }
        Some(run)
    }
}

/// Whether a run can still follow damage that begins at `from`, after the frames read since.
fn still_fits(frames: &Frames<'_>, from: usize, run: &Run) -> bool {
    match run.first {
        Frame::Record(found) => {
            let passed = frames.passed_until(from, run.at);
            frames.still_fits(run.at, &found, &passed)
        }
        Frame::Mark(_) => mark_behind(frames, from, run.at).is_some(),
        Frame::Pad => true,
        Frame::Body { .. } => false,
    }
}

/// The frame behind a run.
fn next_of(frames: &mut Frames<'_>, run: &Run) -> Option<Frame> {
    let at = run.end;
    match frames.kind_at(at)? {
        kind::RECORD => {
            let frame = frames.record_at(at, &(0..u64::MAX))?;
            let expected = run.sequences.map(|(_, next)| next);
            let fits = expected.is_none_or(|next| frame.sequence() == Some(next));
            fits.then_some(frame)
        }
        kind::SYNC_MARK => frames.mark(at).map(Frame::Mark),
        kind::PAD => frames.pad(at),
        _ => None,
    }
}

/// The mark at a place behind damage, if it names no more records than the damage may have held.
fn mark_behind(frames: &Frames<'_>, from: usize, at: usize) -> Option<SyncMark> {
    let most = frames.passed_until(from, at).end;
    let fits = |mark: &SyncMark| {
        let next = frames.next();
        next.is_none_or(|next| mark.sequence <= next.saturating_add(most))
    };
    frames.mark(at).filter(fits)
}

/// A run: frames that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    at: usize,
    first: Frame,
    /// Sequence of its first record, and the one after its last.
    sequences: Option<(u64, u64)>,
    end: usize,
    /// The end of its last frame that is sound as a whole: a record with a damaged body may be cut, and hide others.
    sound_end: usize,
    frames: usize,
    /// It goes to the end of the block's content.
    is_whole: bool,
}

impl Run {
    /// Whether the sequences of a later run can follow those of this one.
    fn agrees_with(&self, later: &Self) -> bool {
        let Some((_, next)) = self.sequences else {
            return false;
        };
        later.sequences.is_none_or(|(first, _)| first >= next)
    }
}
