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

use crate::moment::Moment;
use crate::segments::{Segment, Segments, Stage};
use crate::written::Written;

/// Between two segments that are sealed because of their age, however short records are kept: each costs the disk a
/// whole segment of zeroes.
const ROLL_MIN_MS: u64 = 60_000;

/// The ages of a log's records.
#[derive(Debug)]
pub(crate) struct Ages {
    /// Records that are older go; where there is none, no record ages.
    max_ms: Option<u64>,
    /// The log is to go on in another segment at once.
    roll_due: bool,
    /// Not before.
    next_roll_ms: u64,
    /// Until when the wall clock is not asked how old records are.
    distrusted_until_ms: u64,
}

impl Ages {
    pub(crate) fn new(max_ms: Option<u64>) -> Self {
        Self {
            max_ms,
            roll_due: false,
            next_roll_ms: 0,
            distrusted_until_ms: 0,
        }
    }

    /// Does not ask the wall clock up to this time.
    pub(crate) fn distrust_wall_clock(&mut self, until_ms: u64) {
        self.distrusted_until_ms = until_ms;
    }

    /// Whether records go when they are too old.
    pub(crate) fn matter(&self) -> bool {
        self.max_ms.is_some()
    }

    fn is_too_old(&self, written: Written, now: Moment) -> bool {
        let Some(max_ms) = self.max_ms else {
            return false;
        };
        let seen = written.seen_for_ms(now.monotonic_ms);
        let trusted = now.monotonic_ms >= self.distrusted_until_ms;
        let stamped = match trusted && is_believable(written, now) {
            true => now.wall_ms - written.stamp_ms(),
            false => 0,
        };
        seen.max(stamped) > max_ms
    }

    /// Whether all records of the oldest segment are too old.
    pub(crate) fn oldest_has_aged(&self, segments: &Segments, now: Moment) -> bool {
        let newest_records = || segments.iter().map(Segment::last);
        let told = newest_records().find(|record| is_believable(*record, now));
        let own = newest_records().next();
        [own, told]
            .into_iter()
            .flatten()
            .any(|record| self.is_too_old(record, now))
    }

    /// Whether there are records that age.
    pub(crate) fn apply_to(&self, segments: &Segments) -> bool {
        let holds = |newest: &Segment| newest.stage() != Stage::Active || newest.first().is_some();
        self.matter() && segments.newest().is_some_and(holds)
    }

    /// Decides whether the log has to go on in another segment, so that its records can go.
    pub(crate) fn look_at_newest(&mut self, segments: &Segments, now: Moment) {
        let old = segments.newest().and_then(|newest| match newest.stage() {
            Stage::Active => newest.first(),
            // Nothing comes into it any more, and it is kept for no other reason than that it is the last.
            Stage::Full | Stage::Sealing | Stage::Sealed => Some(newest.last()),
        });
        let rested = now.monotonic_ms >= self.next_roll_ms;
        self.roll_due = rested && old.is_some_and(|record| self.is_too_old(record, now));
    }

    /// Whether the log is to go on in another segment.
    pub(crate) fn roll_is_due(&self) -> bool {
        self.roll_due
    }

    /// The log has gone on in another segment.
    pub(crate) fn rolled(&mut self, now_ms: u64) {
        self.roll_due = false;
        self.next_roll_ms = now_ms + ROLL_MIN_MS;
    }
}

/// Whether a stamp may be right.
fn is_believable(written: Written, now: Moment) -> bool {
    (1..=now.wall_ms).contains(&written.stamp_ms())
}
