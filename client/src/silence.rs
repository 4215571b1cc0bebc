//! How long nothing was heard, and what follows from it: first a ping, then the end of the connection. And when to give
//! a sign of life, so that the broker does not draw the same conclusion. Pure: the clock is an argument.

use std::time::Duration;

use crate::receive_buffer::Incomplete;

/// The rest of a frame may stay away for so long, or for two heartbeats if that is shorter. The broker may have to fetch it
/// from a busy disk.
const FRAME_STALL: Duration = Duration::from_secs(30);
/// A whole frame may take that long and a second for each KiB of it, while somebody waits for it.
const FRAME_KIB: Duration = Duration::from_secs(1);

/// Signs of life for each heartbeat that the broker expects.
const BEATS_PER_HEARTBEAT: u32 = 2;

/// When signs of life are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beats {
    due: Duration,
}

impl Beats {
    pub(crate) const fn new(now: Duration) -> Self {
        Self { due: now }
    }

    /// When the next one is due. One that was missed is not made up for.
    pub(crate) fn next(&mut self, heartbeat: Duration, now: Duration) -> Duration {
        self.due = (self.due + heartbeat / BEATS_PER_HEARTBEAT).max(now);
        self.due
    }
}

/// The silence on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    heartbeat: Duration,
    heard_at: Duration,
    asked_at: Option<Duration>,
    /// The frame that has begun, and how long its end was waited for.
    frame: Option<(Incomplete, Duration)>,
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
    /// The rest of a frame does not come.
    Unfinished,
}

impl Silence {
    pub(crate) const fn new(heartbeat: Duration, now: Duration) -> Self {
        Self {
            heartbeat,
            heard_at: now,
            asked_at: None,
            frame: None,
        }
    }

    /// Bytes came.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.asked_at = None;
    }

    /// What arrived ends with this frame, of which not all is there.
    pub(crate) fn awaits(&mut self, incomplete: Option<Incomplete>) {
        let waited = |new: &Incomplete| {
            let same = self.frame.filter(|(old, _)| old.number == new.number);
            same.map_or(Duration::ZERO, |(_, waited)| waited)
        };
        self.frame = incomplete.map(|new| (new, waited(&new)));
    }

    /// So long was listened and nothing came.
    pub(crate) fn waited(&mut self, time: Duration) {
        if let Some((_, waited)) = &mut self.frame {
            *waited += time;
        }
    }

    /// So long has passed since the last verdict, while another thread listened: as a rule. If it is far more than a
    /// heartbeat, nobody did.
    pub(crate) fn passed(&mut self, time: Duration, now: Duration) {
        if time <= self.heartbeat + self.heartbeat / 2 {
            self.waited(time);
        } else if self.frame.is_some() {
            self.heard_at = now;
        } else {
            self.asked_at = None;
        }
    }

    /// How long to listen before the next verdict.
    pub(crate) fn patience(&self, now: Duration) -> Duration {
        let Some((frame, waited)) = self.frame else {
            let since = self.asked_at.unwrap_or(self.heard_at);
            return (since + self.heartbeat).saturating_sub(now);
        };
        let stall = FRAME_STALL.min(self.heartbeat.saturating_mul(2));
        let kib = u32::try_from(frame.size / 1024).unwrap_or(u32::MAX);
        let whole = FRAME_STALL + FRAME_KIB.saturating_mul(kib);
        let rest = (self.heard_at + stall).saturating_sub(now);
        rest.min(whole.saturating_sub(waited))
    }

    /// To be asked only when there is nothing to read: a reader that was away for long finds its answers in the
    /// socket, so only an unanswered ping counts as death, never the silence alone. In the middle of a frame no answer
    /// would be known as one.
    pub(crate) fn judge(&mut self, now: Duration) -> Verdict {
        let left = self.patience(now);
        if !left.is_zero() {
            return Verdict::Wait(left);
        }
        if self.frame.is_some() {
            return Verdict::Unfinished;
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
    fn a_sign_of_life_is_due_twice_a_heartbeat_and_missed_ones_are_not_made_up_for() {
        let mut beats = Beats::new(at(0));
        assert_eq!(beats.next(at(10), at(0)), at(5));
        assert_eq!(beats.next(at(10), at(6)), at(10));
        assert_eq!(beats.next(at(10), at(100)), at(100));
        assert_eq!(beats.next(at(10), at(100)), at(105));
        assert_eq!(beats.next(at(4), at(105)), at(107));
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

    const fn frame(number: u64, size: usize) -> Option<Incomplete> {
        Some(Incomplete { number, size })
    }

    #[test]
    fn the_rest_of_a_frame_that_stays_away_is_not_asked_for() {
        let mut silence = Silence::new(at(300), at(0));
        silence.awaits(frame(1, 100));
        assert_eq!(silence.judge(at(29)), Verdict::Wait(at(1)));
        silence.heard(at(29));
        silence.awaits(frame(1, 100));
        assert_eq!(silence.judge(at(30)), Verdict::Wait(at(29)));
        assert_eq!(silence.judge(at(59)), Verdict::Unfinished);
        silence.awaits(None);
        assert_eq!(silence.judge(at(59)), Verdict::Wait(at(270)));
    }

    #[test]
    fn a_frame_that_comes_in_dribbles_ends_in_time_and_the_next_one_has_its_own() {
        let mut silence = Silence::new(at(300), at(0));
        for second in 1..=40 {
            silence.awaits(frame(1, 10 << 10));
            silence.waited(at(1));
            silence.heard(at(second));
        }
        assert_eq!(silence.judge(at(40)), Verdict::Unfinished);
        silence.awaits(frame(2, 10 << 10));
        assert_eq!(silence.judge(at(40)), Verdict::Wait(at(30)));
    }

    #[test]
    fn a_process_that_did_not_run_does_not_blame_the_broker() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(10)), Verdict::Ask);
        silence.passed(at(1000), at(1010));
        assert_eq!(silence.judge(at(1010)), Verdict::Ask);
        silence.passed(at(10), at(1020));
        assert_eq!(silence.judge(at(1020)), Verdict::Dead(at(1020)));
        silence.awaits(frame(1, 100));
        silence.passed(at(1000), at(2020));
        assert_eq!(silence.judge(at(2020)), Verdict::Wait(at(20)));
    }
}
