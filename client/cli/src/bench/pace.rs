//! An open-loop schedule: when each publication is due, whatever became of the ones before.

use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

/// So many publications a second from some moment on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start_ns: u64,
    per_second: f64,
}

impl Pace {
    pub(crate) const fn new(start_ns: u64, per_second: f64) -> Self {
        Self {
            start_ns,
            per_second,
        }
    }

    /// When publication `number` is to leave. Latency counts from here: a load generator that is late, or held back by
    /// the broker, must not make the broker look fast.
    pub(crate) fn due_ns(&self, number: usize) -> u64 {
        self.start_ns + (number as f64 * NANOS_PER_SECOND / self.per_second) as u64
    }

    /// How long until publication `number` is due; zero when it is.
    pub(crate) fn wait(&self, number: usize, now_ns: u64) -> Duration {
        Duration::from_nanos(self.due_ns(number).saturating_sub(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_due_at_even_distances() {
        let pace = Pace::new(1_000, 4.0);
        let due: Vec<u64> = (0..4).map(|number| pace.due_ns(number)).collect();
        assert_eq!(due, [1_000, 250_001_000, 500_001_000, 750_001_000]);
    }

    #[test]
    fn being_late_moves_no_later_publication() {
        let pace = Pace::new(0, 1_000.0);
        assert_eq!(pace.wait(5, 4_000_000), Duration::from_millis(1));
        assert_eq!(pace.wait(5, 9_000_000), Duration::ZERO);
        assert_eq!(pace.wait(10, 9_000_000), Duration::from_millis(1));
    }

    #[test]
    fn a_long_run_does_not_drift() {
        let pace = Pace::new(0, 3.0);
        assert_eq!(pace.due_ns(3 * 3_600), 3_600_000_000_000);
    }
}
