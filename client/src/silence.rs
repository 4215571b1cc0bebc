//! How long nothing was heard, and what follows from it: first a ping, then the end of the connection.

use std::time::Duration;

/// The silence on one connection. Pure: the clock is an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    heartbeat: Duration,
    heard_at: Duration,
    asked_at: Option<Duration>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing, for this long.
    Wait(Duration),
    /// Send a ping.
    Ask,
    /// Nothing came for this long, and the ping was not answered: the connection is dead.
    Dead(Duration),
}

impl Silence {
    pub(crate) const fn new(heartbeat: Duration, now: Duration) -> Self {
        Self {
            heartbeat,
            heard_at: now,
            asked_at: None,
        }
    }

    /// Bytes came.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.asked_at = None;
    }

    /// How long to listen before the next verdict.
    pub(crate) fn patience(&self, now: Duration) -> Duration {
        let since = self.asked_at.unwrap_or(self.heard_at);
        (since + self.heartbeat).saturating_sub(now)
    }

    /// To be asked only when there is nothing to read: a reader that was away for long finds its answers in the
    /// socket, so only an unanswered ping counts as death, never the silence alone.
    pub(crate) fn judge(&mut self, now: Duration) -> Verdict {
        let left = self.patience(now);
        if !left.is_zero() {
            return Verdict::Wait(left);
        }
        if self.asked_at.is_some() {
            return Verdict::Dead(now.saturating_sub(self.heard_at));
        }
        self.asked_at = Some(now);
        Verdict::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_heartbeat_of_silence_asks_and_a_second_one_is_death() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(3)), Verdict::Wait(at(7)));
        assert_eq!(silence.judge(at(10)), Verdict::Ask);
        assert_eq!(silence.judge(at(10)), Verdict::Wait(at(10)));
        assert_eq!(silence.judge(at(20)), Verdict::Dead(at(20)));
    }

    #[test]
    fn a_sign_of_life_begins_anew() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(10)), Verdict::Ask);
        silence.heard(at(19));
        assert_eq!(silence.judge(at(28)), Verdict::Wait(at(1)));
        assert_eq!(silence.judge(at(29)), Verdict::Ask);
    }

    #[test]
    fn a_reader_that_was_away_asks_before_it_judges() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(1000)), Verdict::Ask);
        assert_eq!(silence.judge(at(1009)), Verdict::Wait(at(1)));
    }
}
