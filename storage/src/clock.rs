//! Wrong clocks: what a record is stamped with, and how the store notices that the wall clock was set ahead.
//!
//! Timestamps do not go back within a log, so that small corrections of the wall clock cannot be seen in it. But a
//! clock that was far ahead once must not determine all later stamps: if the last stamp lies more than [`AHEAD_MAX_MS`]
//! in the future, the log follows the wall clock again.

use oyez_protocol::{LogId, Sequence};

use crate::moment::Moment;

/// How far the newest stamp of a log may be ahead of the wall clock before the log follows the clock again. Time services
/// correct seconds, and a wrong daylight saving time is an hour; a clock that was further ahead was wrong.
const AHEAD_MAX_MS: u64 = 3_600_000;

/// How much further than time has passed the wall clock must have moved to count as set ahead.
const JUMP_MIN_MS: u64 = AHEAD_MAX_MS;

/// How long retention by age uses the monotonic clock alone after the wall clock was set ahead: an operator who set a
/// wrong date has this long to notice before all records expire by that date.
const JUMP_HOLD_MS: u64 = 10 * 60_000;

/// A timestamp travels in 48 bits.
const STAMP_MAX: u64 = (1 << 48) - 1;

/// A log's newest record was stamped by a clock that was ahead; the log follows the wall clock again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockWasAhead {
    /// The log.
    pub log: LogId,
    /// How far the stamp of its newest record lies ahead of the wall clock, in milliseconds.
    pub ahead_ms: u64,
    /// The first record that is stamped by the wall clock again; those before it may carry stamps of the future.
    pub sequence: Sequence,
}

/// What the records of a log are stamped with.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// Timestamp of the newest record.
    last_ms: u64,
    /// Findings about the wall clock that the next turn reports.
    was_ahead: Vec<ClockWasAhead>,
}

impl Stamps {
    #[inline]
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Continues behind records that were stamped before.
    pub(crate) fn go_on(&mut self, last_ms: u64) {
        self.last_ms = last_ms;
    }

    /// Decides the stamp of the next record, whose number in its log is `sequence`.
    #[inline]
    pub(crate) fn take(&mut self, wall_ms: u64, log: LogId, sequence: u64) {
        let wall_ms = wall_ms & STAMP_MAX;
        let ahead_ms = self.last_ms.saturating_sub(wall_ms);
        if ahead_ms > AHEAD_MAX_MS {
            self.was_ahead.push(ClockWasAhead {
                log,
                ahead_ms,
                sequence: Sequence::new(sequence),
            });
            self.last_ms = wall_ms;
        }
        self.last_ms = self.last_ms.max(wall_ms);
    }

    /// Moves the findings to `out`.
    pub(crate) fn report(&mut self, out: &mut Vec<ClockWasAhead>) {
        out.append(&mut self.was_ahead);
    }
}

/// Watches the wall clock.
#[derive(Debug)]
pub(crate) struct WallClock {
    seen: Moment,
    distrusted_until_ms: u64,
}

impl WallClock {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            seen: now,
            distrusted_until_ms: 0,
        }
    }

    /// Takes the time. Returns how far the wall clock was set ahead since the last call, if by more than an hour.
    pub(crate) fn look(&mut self, now: Moment) -> Option<u64> {
        let passed_ms = now.monotonic_ms.saturating_sub(self.seen.monotonic_ms);
        let expected_ms = self.seen.wall_ms.saturating_add(passed_ms);
        self.seen = now;
        if expected_ms.saturating_sub(now.wall_ms) > JUMP_MIN_MS {
            // It was set right, or is wrong in the other direction, which makes nothing look old.
            self.distrusted_until_ms = 0;
        }
        let jump_ms = now.wall_ms.saturating_sub(expected_ms);
        let jumped = jump_ms > JUMP_MIN_MS;
        if jumped {
            self.distrusted_until_ms = now.monotonic_ms + JUMP_HOLD_MS;
        }
        jumped.then_some(jump_ms)
    }

    /// Until this monotonic time, ages are measured by the monotonic clock alone.
    pub(crate) fn distrusted_until_ms(&self) -> u64 {
        self.distrusted_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(monotonic_ms: u64, wall_ms: u64) -> Moment {
        Moment {
            monotonic_ms,
            monotonic_us: monotonic_ms * 1000,
            wall_ms,
        }
    }

    #[test]
    fn stamps_do_not_decrease_except_from_more_than_an_hour_ahead_of_the_clock() {
        let (mut stamps, mut reported) = (Stamps::default(), Vec::new());
        let mut stamp = |wall_ms, sequence| {
            stamps.take(wall_ms, LogId::new(1), sequence);
            stamps.report(&mut reported);
            stamps.last_ms()
        };
        assert_eq!(stamp(5 * AHEAD_MAX_MS, 0), 5 * AHEAD_MAX_MS);
        assert_eq!(
            stamp(4 * AHEAD_MAX_MS, 1),
            5 * AHEAD_MAX_MS,
            "an hour is small"
        );
        assert_eq!(stamp(4 * AHEAD_MAX_MS - 1, 2), 4 * AHEAD_MAX_MS - 1);
        assert_eq!(stamp(STAMP_MAX + 1 + 4 * AHEAD_MAX_MS, 3), 4 * AHEAD_MAX_MS);
        let ahead = ClockWasAhead {
            log: LogId::new(1),
            ahead_ms: AHEAD_MAX_MS + 1,
            sequence: Sequence::new(2),
        };
        assert_eq!(reported, [ahead], "it is reported once");
    }

    #[test]
    fn a_wall_clock_that_is_set_ahead_is_distrusted_for_a_while_or_until_it_is_set_back() {
        const YEAR_MS: u64 = 365 * 24 * 3_600_000;
        let mut clock = WallClock::new(moment(0, YEAR_MS));
        assert_eq!(clock.look(moment(10_000_000, YEAR_MS + 10_000_000)), None);
        assert_eq!(clock.look(moment(10_000_001, YEAR_MS + 12_000_000)), None);
        assert_eq!(clock.distrusted_until_ms(), 0);
        let ahead = moment(10_000_002, 2 * YEAR_MS + 12_000_001);
        assert_eq!(clock.look(ahead), Some(YEAR_MS));
        assert_eq!(clock.distrusted_until_ms(), 10_000_002 + JUMP_HOLD_MS);
        assert_eq!(clock.look(ahead), None, "it is told once");
        assert_eq!(clock.look(moment(10_000_003, YEAR_MS)), None);
        assert_eq!(clock.distrusted_until_ms(), 0);
    }
}
