//! Retention by age: how old records are, although clocks may be wrong, and when a segment that is not full is left so
//! that its records can expire.
//!
//! Retention drops whole segments, and never the newest. So when the oldest record of the active segment has expired, the
//! log goes on in its spare segment. The old one is sealed, and is dropped when its newest record has expired as well. A
//! log that is quiet from then on keeps a segment that holds only a block header, which preserves the sequence.
//!
//! Two clocks measure a record's age. The monotonic clock is never wrong, but knows only for how long this store has seen
//! the record. The wall clock measures across restarts, if both the stamp and its present value are right. The larger age
//! counts, as both are at most the true age unless the wall clock was wrong. A stamp that lies in the future is wrong: such
//! a segment is as old as the next one whose stamp may be right. A later stamp that is earlier than one that may be right
//! changes nothing: the clock may have been behind when the later record was stamped.

use crate::moment::Moment;
use crate::segments::{Segment, Segments, Stage};
use crate::write_time::WriteTime;

/// Least time between two segments that are sealed because of their age, however short the retention: each costs the
/// disk a whole segment of zeroes.
const ROLL_MIN_MS: u64 = 60_000;

/// The ages of a log's records.
#[derive(Debug)]
pub(crate) struct Ages {
    /// Records that are older expire; `None` means that no record expires.
    max_ms: Option<u64>,
    /// The log is to go on in another segment at once.
    roll_due: bool,
    /// The log is not to go on in another segment before this time.
    next_roll_ms: u64,
    /// Until this time ages are measured by the monotonic clock alone.
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

    /// Measures ages by the monotonic clock alone until this time.
    pub(crate) fn distrust_wall_clock(&mut self, until_ms: u64) {
        self.distrusted_until_ms = until_ms;
    }

    /// Whether records expire.
    pub(crate) fn is_enabled(&self) -> bool {
        self.max_ms.is_some()
    }

    fn is_too_old(&self, written: WriteTime, now: Moment) -> bool {
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

    /// Whether all records of the oldest segment have expired.
    pub(crate) fn oldest_has_aged(&self, segments: &Segments, now: Moment) -> bool {
        let newest_records = || segments.iter().map(Segment::last);
        let believable = newest_records().find(|record| is_believable(*record, now));
        let own = newest_records().next();
        [own, believable]
            .into_iter()
            .flatten()
            .any(|record| self.is_too_old(record, now))
    }

    /// Whether there are records that will expire.
    pub(crate) fn apply_to(&self, segments: &Segments) -> bool {
        let holds = |newest: &Segment| newest.stage() != Stage::Active || newest.first().is_some();
        self.is_enabled() && segments.newest().is_some_and(holds)
    }

    /// Decides whether the log has to go on in another segment, so that its records can be dropped.
    pub(crate) fn look_at_newest(&mut self, segments: &Segments, now: Moment) {
        let old = segments.newest().and_then(|newest| match newest.stage() {
            Stage::Active => newest.first(),
            // It takes no more records, and is kept only because it is the newest.
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
fn is_believable(written: WriteTime, now: Moment) -> bool {
    (1..=now.wall_ms).contains(&written.stamp_ms())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BLOCK_BYTES;
    use crate::index::TopicIndex;
    use crate::segments::{Beginning, Entry};

    const DAY_MS: u64 = 24 * 3_600_000;

    fn moment(monotonic_ms: u64, wall_ms: u64) -> Moment {
        Moment {
            monotonic_ms,
            monotonic_us: monotonic_ms * 1000,
            wall_ms,
        }
    }

    /// Segments that each hold a record with one of the stamps.
    fn stamped(stamps_ms: &[u64]) -> Segments {
        let (mut segments, mut index) = (Segments::default(), TopicIndex::default());
        let id = index.find_or_add(1, "a");
        for (number, &stamp_ms) in (0..).zip(stamps_ms) {
            let base = number * BLOCK_BYTES;
            segments.begin(
                Beginning {
                    base,
                    incarnation: 1,
                    sequence: number,
                    last_ms: 0,
                },
                None,
            );
            segments.enter(
                index.topic_mut(id),
                Entry {
                    offset: number,
                    position: base + 64,
                    size: 80,
                    count: 1,
                    stamp_ms,
                },
            );
        }
        segments.see_newest(0);
        segments
    }

    #[test]
    fn a_segment_is_as_old_as_either_clock_says_and_the_wall_clock_only_while_it_is_trusted() {
        let mut ages = Ages::new(Some(DAY_MS));
        let segments = stamped(&[10 * DAY_MS]);
        let aged = |ages: &Ages, now| ages.oldest_has_aged(&segments, now);
        assert!(!aged(&ages, moment(DAY_MS, 11 * DAY_MS)));
        assert!(aged(&ages, moment(DAY_MS + 1, 10 * DAY_MS)), "it was seen");
        let ahead = moment(1, 11 * DAY_MS + 1);
        assert!(aged(&ages, ahead), "it was stamped");
        ages.distrust_wall_clock(2);
        assert!(!aged(&ages, ahead));
        assert!(aged(&ages, moment(2, 11 * DAY_MS + 1)));
        let forever = Ages::new(None);
        assert!(!aged(&forever, moment(100 * DAY_MS, 100 * DAY_MS)));
    }

    #[test]
    fn a_segment_with_a_stamp_of_the_future_is_as_old_as_the_next_that_may_be_right() {
        let ages = Ages::new(Some(DAY_MS));
        let now = moment(1, 20 * DAY_MS);
        let future = 99 * DAY_MS;
        let aged = |stamps_ms: &[u64]| ages.oldest_has_aged(&stamped(stamps_ms), now);
        assert!(aged(&[future, 10 * DAY_MS]));
        assert!(!aged(&[future, 20 * DAY_MS, 10 * DAY_MS]));
        assert!(!aged(&[future]), "nothing tells");
        assert!(!aged(&[0]), "its stamp could not be read");
    }

    #[test]
    fn a_log_rolls_when_its_oldest_record_is_too_old_and_then_rests_for_a_minute() {
        let mut ages = Ages::new(Some(1_000));
        let segments = stamped(&[1]);
        assert!(ages.apply_to(&segments));
        ages.look_at_newest(&segments, moment(1_000, 1));
        assert!(!ages.roll_is_due());
        ages.look_at_newest(&segments, moment(1_001, 1));
        assert!(ages.roll_is_due());
        ages.rolled(1_001);
        ages.look_at_newest(&segments, moment(1_000 + ROLL_MIN_MS, 1));
        assert!(!ages.roll_is_due());
        ages.look_at_newest(&segments, moment(1_001 + ROLL_MIN_MS, 1));
        assert!(ages.roll_is_due());
        let empty = Segments::default();
        assert!(!ages.apply_to(&empty));
    }
}
