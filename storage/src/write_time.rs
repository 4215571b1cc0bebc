//! The time at which a record was written, by two clocks.

/// Stands for a record that no turn has seen yet.
const UNSEEN_MS: u64 = u64::MAX;

/// The time at which a record was written, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteTime {
    /// Its timestamp; 0 when it could not be read.
    stamp_ms: u64,
    /// When a turn of this store first saw it, by the monotonic clock.
    seen_ms: u64,
}

impl WriteTime {
    /// A record that was stamped in this turn.
    pub(crate) const fn stamped(stamp_ms: u64) -> Self {
        Self {
            stamp_ms,
            seen_ms: UNSEEN_MS,
        }
    }

    pub(crate) const fn stamp_ms(self) -> u64 {
        self.stamp_ms
    }

    pub(crate) const fn is_seen(self) -> bool {
        self.seen_ms != UNSEEN_MS
    }

    /// Notes that it was there at this time, unless it was seen before.
    pub(crate) fn see(&mut self, now_ms: u64) {
        self.seen_ms = self.seen_ms.min(now_ms);
    }

    /// How long this store has seen it.
    pub(crate) const fn seen_for_ms(self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.seen_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_first_seen_once_and_has_no_age_before() {
        let mut record = WriteTime::stamped(5);
        assert!(!record.is_seen());
        assert_eq!(record.seen_for_ms(1_000), 0);
        record.see(1_000);
        record.see(2_000);
        assert!(record.is_seen());
        assert_eq!((record.seen_for_ms(2_500), record.stamp_ms()), (1_500, 5));
    }
}
