//! The share of a shard's time that questions about the broker may take.

use crate::parts::budget::{QUESTION_STEPS_MAX, QUESTION_STEPS_PER_MS};

/// Questions that had to wait go on when this many steps are available again.
const QUESTION_STEPS_AGAIN: i64 = QUESTION_STEPS_MAX as i64 / 2;

/// The steps that questions may take of a shard's time.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Steps left; below zero when the last question took more than was left.
    steps: i64,
    /// When time was last credited.
    passed_ms: u64,
    /// A question waits for more steps.
    missed: bool,
}

impl Allowance {
    /// Whether a question may be answered; if not, [`Self::pass`] returns true once it may.
    pub(crate) fn has_some(&mut self) -> bool {
        let some = self.steps > 0 && !self.missed;
        self.missed = !some;
        some
    }

    pub(crate) fn spend(&mut self, steps: usize) {
        self.steps -= steps as i64;
    }

    /// Milliseconds until waiting questions may be tried again, all together rather than one by one.
    pub(crate) fn wait_ms(&self) -> Option<u64> {
        let lacking = (QUESTION_STEPS_AGAIN - self.steps).max(0).cast_unsigned();
        let ms = lacking.div_ceil(QUESTION_STEPS_PER_MS).max(1);
        self.missed.then_some(ms)
    }

    /// Credits the time that has passed. Returns whether a question that waited may be tried again.
    pub(crate) fn pass(&mut self, now_ms: u64) -> bool {
        let more = (now_ms - self.passed_ms).saturating_mul(QUESTION_STEPS_PER_MS);
        self.passed_ms = now_ms;
        let more = more.min(2 * QUESTION_STEPS_MAX) as i64;
        self.steps = (self.steps + more).min(QUESTION_STEPS_MAX as i64);
        let again = self.missed && self.steps >= QUESTION_STEPS_AGAIN;
        self.missed &= !again;
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_get_a_share_of_the_time_and_those_that_wait_go_on_together() {
        let mut allowance = Allowance::default();
        assert!(!allowance.has_some(), "no time has passed");
        assert_eq!(allowance.wait_ms(), Some(10));
        assert!(!allowance.pass(9) && allowance.pass(10));
        assert!(allowance.has_some());
        // The last question may take more than is left; the next one waits until that is paid for.
        allowance.spend(25_000);
        assert!(!allowance.has_some());
        assert_eq!(allowance.wait_ms(), Some(25));
        assert!(!allowance.pass(34) && allowance.pass(35));
        assert!(allowance.has_some());
        // A pause saves up for a burst, and no more.
        allowance.pass(1_000_000);
        allowance.spend(QUESTION_STEPS_MAX as usize);
        assert!(!allowance.has_some());
    }
}
