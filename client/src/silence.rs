//! Judges how long the broker was silent: first a ping is due, then the connection is dead. Also schedules the client's
//! own signs of life, so that the broker does not take the client for dead. Pure: the clock is an argument.

use std::time::Duration;

use crate::receive_buffer::Incomplete;

/// Longest time without a byte in the middle of a frame; two heartbeats if that is shorter. The broker may have to
/// fetch the rest from a busy disk.
const FRAME_STALL: Duration = Duration::from_secs(30);
/// Time that a whole frame may take for each KiB of it, besides [`FRAME_STALL`]. Only time in which the client listened
/// counts.
const FRAME_KIB: Duration = Duration::from_secs(1);

/// Signs of life that the client sends in one heartbeat of the broker.
const BEATS_PER_HEARTBEAT: u32 = 2;

/// Schedules signs of life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beats {
    due: Duration,
}

impl Beats {
    pub(crate) const fn new(now: Duration) -> Self {
        Self { due: now }
    }

    /// Returns when the next one is due. A missed one is not made up for.
    pub(crate) fn next(&mut self, heartbeat: Duration, now: Duration) -> Duration {
        self.due = (self.due + heartbeat / BEATS_PER_HEARTBEAT).max(now);
        self.due
    }
}

/// Measures the silence on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    heartbeat: Duration,
    heard_at: Duration,
    asked_at: Option<Duration>,
    /// The frame that has begun, and how long the client has waited for its end.
    frame: Option<(Incomplete, Duration)>,
}

/// What to do about the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Do nothing for this long.
    Wait(Duration),
    /// Send a ping.
    Ask,
    /// Give the connection up: nothing came for this long, and the ping was not answered.
    Dead(Duration),
    /// Give the connection up: the rest of a frame does not come.
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

    /// Notes that bytes came.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.asked_at = None;
    }

    /// Notes which frame has begun and is not whole; `None` when what arrived ends with a whole one.
    pub(crate) fn awaits(&mut self, incomplete: Option<Incomplete>) {
        let waited = |new: &Incomplete| {
            let same = self.frame.filter(|(old, _)| old.number == new.number);
            same.map_or(Duration::ZERO, |(_, waited)| waited)
        };
        self.frame = incomplete.map(|new| (new, waited(&new)));
    }

    /// Notes that the client listened for `time` and nothing came.
    pub(crate) fn waited(&mut self, time: Duration) {
        if let Some((_, waited)) = &mut self.frame {
            *waited += time;
        }
    }

    /// Notes that `time` has passed since the last verdict, while another thread listened. If it is far more than a
    /// heartbeat, the process did not run and no thread did.
    pub(crate) fn passed(&mut self, time: Duration, now: Duration) {
        if time <= self.heartbeat + self.heartbeat / 2 {
            self.waited(time);
        } else if self.frame.is_some() {
            self.heard_at = now;
        } else {
            self.asked_at = None;
        }
    }

    /// Returns how long to listen before the next verdict.
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

    /// Returns what to do at `now`. Call it only when there is nothing to read. A reader that was away for long may
    /// find the answers in the socket, so only an unanswered ping counts as death, never the silence alone. In the
    /// middle of a frame no ping is sent: its answer could not be recognised.
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
    fn one_heartbeat_of_silence_brings_a_ping_and_a_second_one_the_end() {
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
    fn bytes_that_come_end_the_silence() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(10)), Verdict::Ask);
        silence.heard(at(19));
        assert_eq!(silence.judge(at(28)), Verdict::Wait(at(1)));
        assert_eq!(silence.judge(at(29)), Verdict::Ask);
    }

    #[test]
    fn a_reader_that_was_away_pings_before_it_gives_up() {
        let mut silence = Silence::new(at(10), at(0));
        assert_eq!(silence.judge(at(1000)), Verdict::Ask);
        assert_eq!(silence.judge(at(1009)), Verdict::Wait(at(1)));
    }

    const fn frame(number: u64, size: usize) -> Option<Incomplete> {
        Some(Incomplete { number, size })
    }

    #[test]
    fn no_ping_is_sent_while_the_rest_of_a_frame_is_missing() {
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
