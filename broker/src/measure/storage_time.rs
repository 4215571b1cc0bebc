//! How long the turn under way has been inside the store's calls: appends, look-ups, walks over new records, chains,
//! reads, completions, submission. Sending is none of it, `sendfile` included.
//!
//! An upper bound, so that measuring stays cheap: what begins with the first append or look-up of a read ends when all
//! frames of that read are taken, and the same holds for everything taken from an inbox in one go. A read without
//! either, and a step with nothing to do, reads no clock.

use crate::clock::Clock;

/// The store's part of a turn.
#[derive(Debug, Default)]
pub(crate) struct StorageTime {
    /// When the span under way began.
    since_us: Option<u64>,
    turn_us: u64,
}

impl StorageTime {
    /// A call into the store follows. Within a span it belongs to that.
    pub(crate) fn enter(&mut self, clock: &mut dyn Clock) {
        if self.since_us.is_none() {
            self.since_us = Some(clock.elapsed_us());
        }
    }

    /// Ends the span under way, if there is one.
    pub(crate) fn leave(&mut self, clock: &mut dyn Clock) {
        if let Some(since_us) = self.since_us.take() {
            self.turn_us += clock.elapsed_us() - since_us;
        }
    }

    /// Microseconds of the turn that ends.
    pub(crate) fn finish_turn(&mut self) -> u64 {
        std::mem::take(&mut self.turn_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    /// Each reading is a microsecond later than the one before.
    struct Ticking(u64);

    impl Clock for Ticking {
        fn now(&mut self) -> Now {
            Now::default()
        }

        fn elapsed_us(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }

        fn thread_cpu_us(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn calls_within_a_span_read_no_clock_and_count_once() {
        let (mut time, mut clock) = (StorageTime::default(), Ticking(0));
        time.leave(&mut clock);
        assert_eq!((time.finish_turn(), clock.0), (0, 0), "nothing was begun");
        for _ in 0..100 {
            time.enter(&mut clock);
        }
        time.leave(&mut clock);
        time.enter(&mut clock);
        time.leave(&mut clock);
        assert_eq!((time.finish_turn(), clock.0), (2, 4));
        assert_eq!(time.finish_turn(), 0, "each turn begins anew");
    }
}
