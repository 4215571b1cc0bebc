//! How long to wait before the next attempt to connect, and when to give up. Pure: time and chance are arguments.

use std::time::Duration;

use crate::error::{ConnectError, ConnectionError};

/// First bound of the random delay before a reconnect.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Last bound of the random delay before a reconnect.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Time without progress after which a client gives up, unless it is configured otherwise.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// A connection that stood for this long was a good one, even if nothing was sent over it.
const STOOD: Duration = Duration::from_secs(1);

/// Refusals in a row, without progress, after which what was sent counts as wrong, not as damaged on its way.
const DAMAGES_MAX: u32 = 3;

/// When to reconnect after a connection was lost: *full jitter*, a random delay between zero and a bound that doubles
/// with every attempt, from `base` up to `cap`. So the clients of a broker that restarts do not all come back at once.
///
/// ```
/// use std::time::Duration;
/// use oyez_client::ReconnectPolicy;
///
/// let patient = ReconnectPolicy::default().give_up_after(None);
/// let brief = ReconnectPolicy::default().attempts_max(Some(3)).cap(Duration::from_secs(1));
/// assert_ne!(patient, brief);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconnectPolicy {
    base: Duration,
    cap: Duration,
    attempts_max: Option<u32>,
    give_up_after: Option<Duration>,
}

impl Default for ReconnectPolicy {
    /// A bound from 100 ms doubling to 30 s; any number of attempts, for two minutes.
    fn default() -> Self {
        Self {
            base: BACKOFF_BASE,
            cap: BACKOFF_CAP,
            attempts_max: None,
            give_up_after: Some(GIVE_UP_AFTER),
        }
    }
}

impl ReconnectPolicy {
    /// A policy that never reconnects: the first loss is the end.
    #[must_use]
    pub fn never() -> Self {
        Self::default().attempts_max(Some(0))
    }

    /// Sets the bound of the first delay.
    #[must_use]
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the bound that no delay exceeds.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the number of attempts without progress before giving up; `None` for any number.
    #[must_use]
    pub const fn attempts_max(mut self, attempts: Option<u32>) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// Sets the time without progress before giving up; `None` to never give up.
    #[must_use]
    pub const fn give_up_after(mut self, time: Option<Duration>) -> Self {
        self.give_up_after = time;
        self
    }
}

/// Counts how often in a row the broker could not read what was sent, without any progress in between.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Damages(u32);

impl Damages {
    /// Notes that the broker has answered something that was sent.
    pub(crate) const fn progress(&mut self) {
        self.0 = 0;
    }

    /// Notes that a connection is lost over which something was to be sent.
    ///
    /// # Errors
    /// When sending it again would end the same way.
    pub(crate) fn lost(&mut self, error: &ConnectionError) -> Result<(), ConnectError> {
        self.0 += u32::from(error.is_damage());
        if self.0 < DAMAGES_MAX {
            return Ok(());
        }
        Err(ConnectError::Damaged {
            times: self.0,
            last: error.clone(),
        })
    }
}

/// What to do next without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Wait, at most until then.
    PauseUntil(Duration),
    /// Try to connect.
    Dial,
    /// Stop: no attempt follows.
    End,
}

/// The attempts since the last progress.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    policy: ReconnectPolicy,
    attempts: u32,
    lost_at: Option<Duration>,
}

impl Backoff {
    pub(crate) const fn new(policy: ReconnectPolicy) -> Self {
        Self {
            policy,
            attempts: 0,
            lost_at: None,
        }
    }

    /// Notes that the connection did something useful: the next loss begins with the first delay again.
    pub(crate) const fn progress(&mut self) {
        self.attempts = 0;
        self.lost_at = None;
    }

    /// Notes that the lost connection stood for `time`: long enough counts as progress.
    pub(crate) fn stood(&mut self, time: Duration) {
        if time >= STOOD {
            self.progress();
        }
    }

    /// Notes that a connection was lost at `now`, or an attempt failed. Returns the delay before the next attempt.
    /// `random_below` draws a number of microseconds; a broker that stops has already drawn the delay of each of its
    /// clients.
    ///
    /// No attempt is made later than the policy's time to give up. If the broker asks for a longer delay than that, this
    /// is an error at once.
    ///
    /// # Errors
    /// When connecting again cannot help, or the policy gives up.
    pub(crate) fn lost(
        &mut self,
        error: &ConnectionError,
        now: Duration,
        random_below: impl FnOnce(u64) -> u64,
    ) -> Result<Duration, ConnectError> {
        if !error.may_reconnect() {
            return Err(ConnectError::Refused(error.clone()));
        }
        let elapsed = now.saturating_sub(*self.lost_at.get_or_insert(now));
        let attempts_max = self.policy.attempts_max;
        let left = self
            .policy
            .give_up_after
            .map_or(Duration::MAX, |limit| limit.saturating_sub(elapsed));
        let spare = left.checked_sub(error.retry_after());
        let (Some(spare), false) = (
            spare.filter(|_| !left.is_zero()),
            attempts_max.is_some_and(|max| self.attempts >= max),
        ) else {
            return Err(ConnectError::GaveUp {
                attempts: self.attempts,
                elapsed,
                last: error.clone(),
            });
        };
        let bound = self
            .policy
            .base
            .saturating_mul(1 << self.attempts.min(30))
            .min(self.policy.cap)
            .min(spare);
        self.attempts = self.attempts.saturating_add(1);
        if error.is_told_when() {
            return Ok(error.retry_after());
        }
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_micros(random_below(micros + 1));
        Ok(error.retry_after() + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::event::GoodbyeCode;

    fn goodbye(code: GoodbyeCode, retry_after_ms: u64) -> ConnectionError {
        ConnectionError::Goodbye {
            code,
            retry_after: Duration::from_millis(retry_after_ms),
            reason: "so".into(),
        }
    }

    #[test]
    fn the_bound_doubles_from_base_to_cap_and_the_delay_is_anywhere_below_it() {
        let mut backoff = Backoff::new(ReconnectPolicy::default().give_up_after(None));
        let mut bounds = Vec::new();
        for _ in 0..12 {
            let delay = backoff.lost(&ConnectionError::Closed, Duration::ZERO, |bound| {
                bounds.push((bound - 1) / 1000);
                bound - 1
            });
            assert_eq!(
                delay.unwrap().as_millis(),
                u128::from(*bounds.last().unwrap())
            );
        }
        assert_eq!(bounds[..4], [100, 200, 400, 800]);
        assert_eq!(bounds[9..], [30_000, 30_000, 30_000]);
        let least = backoff.lost(&ConnectionError::Closed, Duration::ZERO, |_| 0);
        assert_eq!(
            least.unwrap(),
            Duration::ZERO,
            "full jitter reaches down to zero"
        );
    }

    #[test]
    fn progress_resets_the_delays() {
        let mut backoff = Backoff::new(ReconnectPolicy::default().attempts_max(Some(1)));
        let lost = |backoff: &mut Backoff| {
            backoff.lost(&ConnectionError::Closed, Duration::ZERO, |bound| bound - 1)
        };
        assert!(lost(&mut backoff).is_ok());
        assert!(lost(&mut backoff).is_err());
        backoff.progress();
        assert_eq!(lost(&mut backoff).unwrap(), Duration::from_millis(100));
    }

    #[test]
    fn time_without_progress_is_limited() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        let mut at = |seconds| {
            backoff.lost(
                &ConnectionError::Closed,
                Duration::from_secs(seconds),
                |_| 0,
            )
        };
        assert!(at(1000).is_ok());
        assert!(at(1119).is_ok());
        match at(1120).unwrap_err() {
            ConnectError::GaveUp {
                attempts, elapsed, ..
            } => {
                assert_eq!((attempts, elapsed.as_secs()), (2, 120));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn no_attempt_is_made_after_the_time_to_give_up() {
        let policy = ReconnectPolicy::default().give_up_after(Some(Duration::from_secs(10)));
        let mut backoff = Backoff::new(policy.base(Duration::from_secs(30)));
        let mut wait = |retry_after_ms, now| {
            let full = goodbye(GoodbyeCode::Full, retry_after_ms);
            backoff.lost(&full, Duration::from_secs(now), |bound| bound - 1)
        };
        assert_eq!(wait(4000, 1).unwrap(), Duration::from_secs(10));
        assert_eq!(wait(4000, 5).unwrap(), Duration::from_secs(6));
        let error = wait(4000, 9).unwrap_err();
        assert!(matches!(error, ConnectError::GaveUp { .. }), "{error}");
    }

    #[test]
    fn three_unreadable_frames_in_a_row_are_the_senders_fault_and_progress_resets_the_count() {
        let damaged = goodbye(GoodbyeCode::Damaged, 0);
        let mut damages = Damages::default();
        for _ in 0..2 {
            for _ in 0..2 {
                damages.lost(&damaged).unwrap();
                damages.lost(&ConnectionError::Closed).unwrap();
            }
            damages.progress();
        }
        damages.lost(&damaged).unwrap();
        damages.lost(&damaged).unwrap();
        match damages.lost(&damaged).unwrap_err() {
            ConnectError::Damaged { times: 3, last } => assert!(last.is_damage()),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_client_comes_back_exactly_when_a_stopping_broker_has_told_it_to() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        let mut wait = |retry_after_ms| {
            let draining = goodbye(GoodbyeCode::Draining, retry_after_ms);
            backoff.lost(&draining, Duration::ZERO, |bound| bound - 1)
        };
        for told_ms in [1, 5_000, 700] {
            assert_eq!(wait(told_ms).unwrap(), Duration::from_millis(told_ms));
        }
        assert!(
            wait(0).unwrap() > Duration::from_millis(100),
            "it is left to the client"
        );
    }

    #[test]
    fn a_goodbye_decides_whether_and_when_to_come_back() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        let full = goodbye(GoodbyeCode::Full, 5000);
        let delay = backoff.lost(&full, Duration::ZERO, |_| 7).unwrap();
        assert_eq!(delay, Duration::from_micros(5_000_007));
        let refused = goodbye(GoodbyeCode::Version, 0);
        let error = backoff.lost(&refused, Duration::ZERO, |_| 0).unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    }
}
