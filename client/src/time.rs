//! The source of time and chance: all other code takes them as arguments.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// The clock and the random numbers of a client. [`Machine`] is the real one; a test brings its own and need not sleep.
pub trait Time: Send + Sync {
    /// Time since a start of the implementation's choice; never goes backwards.
    fn now(&self) -> Duration;

    /// Waits for `bell` to be rung, at most until this clock shows `until`. It may return early: the caller looks at
    /// its state again.
    fn wait(&self, bell: &Bell, until: Duration);

    /// Waits before the next attempt to connect, like [`Time::wait`].
    fn pause(&self, bell: &Bell, until: Duration);

    /// Returns a random number below `bound`; 0 when `bound` is 0.
    fn random_below(&self, bound: u64) -> u64;
}

/// How long a call may wait, from when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    began: Instant,
    at_most: Option<Duration>,
}

impl Allowance {
    /// Starts an allowance now; `None` has no end.
    pub(crate) fn new(at_most: Option<Duration>) -> Self {
        Self {
            began: Instant::now(),
            at_most,
        }
    }

    /// Returns what is left of it; `None` when it has no end.
    pub(crate) fn left(&self) -> Option<Duration> {
        let at_most = self.at_most?;
        Some(at_most.saturating_sub(self.began.elapsed()))
    }

    /// Returns the whole allowance, from its start.
    pub(crate) fn whole(&self) -> Duration {
        self.at_most.unwrap_or(Duration::MAX)
    }
}

/// Wakes one waiting thread. A ring while no thread waits is kept for the next wait.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Rope>);

#[derive(Debug, Default)]
struct Rope {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// Creates a bell that was not rung yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the current wait, or else the next one.
    pub fn ring(&self) {
        *lock(&self.0.rung) = true;
        self.0.heard.notify_all();
    }

    /// Waits for a ring, at most for `at_most`. Returns whether there was one.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        let (mut rung, _) = self
            .0
            .heard
            .wait_timeout_while(lock(&self.0.rung), at_most, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

/// The machine's monotonic clock, and random numbers from a seed that the process drew at its start.
#[derive(Debug)]
pub struct Machine {
    start: Instant,
    seed: Mutex<u64>,
}

impl Machine {
    /// Creates a clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            seed: Mutex::new(RandomState::new().hash_one(0u8)),
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Time for Machine {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, bell: &Bell, until: Duration) {
        let _woken = bell.wait(until.saturating_sub(self.now()));
    }

    fn pause(&self, bell: &Bell, until: Duration) {
        self.wait(bell, until);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014); the multiplication maps it onto the bound.
    fn random_below(&self, bound: u64) -> u64 {
        let mut seed = lock(&self.seed);
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let bell = Bell::new();
        bell.ring();
        assert!(bell.wait(Duration::ZERO));
        assert!(!bell.wait(Duration::ZERO), "one ring ends one wait");
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_differ() {
        let machine = Machine::new();
        let drawn: Vec<u64> = (0..64).map(|_| machine.random_below(1 << 40)).collect();
        assert!(drawn.iter().all(|number| *number < 1 << 40));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
        assert_eq!(machine.random_below(0), 0);
        assert_eq!(machine.random_below(1), 0);
    }
}
