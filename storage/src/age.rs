//! Records that are too old: how old they are, though clocks may be wrong, and how a log comes to lose them that does
//! not fill its segment.
//!
//! Whole segments are dropped, and never the newest. So when the oldest record of the active segment is too old, the log
//! goes on in its spare: what was active is sealed, and goes when its newest record is too old as well. A log that is
//! quiet from then on keeps a segment in which there is nothing but a block header, which knows the sequence.
//!
//! Two clocks say how old a record is. The monotonic one is never wrong, but knows only how long this store has seen the
//! record; the wall clock tells across restarts, if both the stamp and the clock of now are right. The larger age
//! counts, as both are at most the true one unless a clock was wrong. A stamp that lies in the future is wrong: such a
//! segment is as old as the next one whose stamp may be right. A later stamp that is earlier than one which may be right
//! changes nothing: the clock may as well have been behind then.

use crate::log::{Drain, Log};
use crate::segment::{Segment, Stage};

/// Between two segments that are sealed because of their age, however short records are kept: each costs the disk a
/// whole segment of zeroes.
const ROLL_MIN_MS: u64 = 60_000;

/// Not seen by a turn yet.
const UNSEEN_MS: u64 = u64::MAX;

/// When a record was written, as far as the clocks tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Its timestamp; 0 when it could not be read.
    pub stamp_ms: u64,
    /// When this store saw it first, by the monotonic clock: in the turn after it was appended, or at the opening.
    pub seen_ms: u64,
}

impl Written {
    /// A record that was stamped in this turn.
    pub(crate) const fn stamped(stamp_ms: u64) -> Self {
        Self {
            stamp_ms,
            seen_ms: UNSEEN_MS,
        }
    }
}

/// The sealing of a segment that is not full.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    /// A spare segment is wanted at once.
    pub due: bool,
    /// Not before.
    next_ms: u64,
    /// Until when the wall clock is not asked how old records are.
    pub distrusted_until_ms: u64,
}

impl Log {
    /// Says of the newest records when they were seen: appends do not know, as the store may have been idle before.
    pub(crate) fn see_newest(&mut self) {
        let now_ms = self.now.monotonic_ms;
        for segment in self.segments.iter_mut().rev() {
            if segment.last.seen_ms != UNSEEN_MS {
                return;
            }
            segment.last.seen_ms = now_ms;
            if let Some(first) = &mut segment.first {
                first.seen_ms = first.seen_ms.min(now_ms);
            }
        }
    }

    /// Whether a stamp may be right.
    fn is_believable(&self, stamp_ms: u64) -> bool {
        (1..=self.now.wall_ms).contains(&stamp_ms)
    }

    fn is_too_old(&self, written: Written) -> bool {
        let Some(max_ms) = self.parts.options.retention_age_ms else {
            return false;
        };
        let now = self.now;
        let seen = now.monotonic_ms.saturating_sub(written.seen_ms);
        let trusted = now.monotonic_ms >= self.rolling.distrusted_until_ms;
        let stamped = match trusted && self.is_believable(written.stamp_ms) {
            true => now.wall_ms - written.stamp_ms,
            false => 0,
        };
        seen.max(stamped) > max_ms
    }

    /// Whether all records of the oldest segment are too old.
    pub(crate) fn oldest_has_aged(&self) -> bool {
        let newest_records = || self.segments.iter().map(|segment| segment.last);
        let told = newest_records().find(|record| self.is_believable(record.stamp_ms));
        let own = newest_records().next();
        [own, told]
            .into_iter()
            .flatten()
            .any(|r| self.is_too_old(r))
    }

    /// Whether there are records that age.
    pub(crate) fn ages(&self) -> bool {
        let holds = |newest: &Segment| newest.stage != Stage::Active || newest.first.is_some();
        self.parts.options.retention_age_ms.is_some() && self.segments.back().is_some_and(holds)
    }

    /// Decides whether the log has to go on in another segment, so that its records can go.
    pub(crate) fn look_at_newest(&mut self) {
        let old = self.segments.back().and_then(|newest| match newest.stage {
            Stage::Active => newest.first,
            // Nothing comes into it any more, and it is kept for no other reason than that it is the last.
            Stage::Full | Stage::Sealing | Stage::Sealed => Some(newest.last),
        });
        let rested = self.now.monotonic_ms >= self.rolling.next_ms;
        self.rolling.due = rested && old.is_some_and(|record| self.is_too_old(record));
    }

    /// Goes on in the spare segment, if that is due and there is one.
    pub(crate) fn roll_by_age(&mut self) {
        if !self.rolling.due || self.drain != Drain::No {
            return;
        }
        // A record may have filled the segment meanwhile.
        self.look_at_newest();
        if self.rolling.due && self.roll() {
            self.rolling.due = false;
            self.rolling.next_ms = self.now.monotonic_ms + ROLL_MIN_MS;
        }
    }
}
