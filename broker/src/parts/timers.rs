//! Timer wheels for silence and for unfinished frames: many timers, coarse, mostly re-armed. Arming is a push, an advance takes a
//! slot.
//!
//! Timers are never removed. The step that is called back checks whether there still is anything to do (the session's generation,
//! when it was last heard); that costs one look per session and heartbeat and no memory per change.

use std::collections::VecDeque;

use crate::clock::TICK_MS;
use crate::parts::due::Due;
use crate::parts::session::SessionId;

/// Slots of the wheel: a revolution takes 524 seconds, more than the default heartbeat. A timer further ahead fires early, and
/// the step arms it again.
const SLOTS: usize = 2048;
const WORD_BITS: usize = u64::BITS as usize;

/// Timers of one shard.
#[derive(Debug)]
struct TimerWheel {
    slots: Vec<Vec<SessionId>>,
    /// A bit for each slot that holds a timer, because every turn looks for the next one.
    occupied: [u64; SLOTS / WORD_BITS],
    /// The slot number (of all time, not of this revolution) up to which timers have fired.
    fired: u64,
}

impl TimerWheel {
    fn new(now_ms: u64) -> Self {
        Self {
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            occupied: [0; SLOTS / WORD_BITS],
            fired: now_ms / TICK_MS,
        }
    }

    /// Calls `session` back at `due_ms`, up to a slot later.
    fn arm(&mut self, session: SessionId, due_ms: u64) {
        let slot = (due_ms / TICK_MS + 1).clamp(self.fired + 1, self.fired + SLOTS as u64 - 1);
        let index = Self::index(slot);
        self.slots[index].push(session);
        self.occupied[index / WORD_BITS] |= 1 << (index % WORD_BITS);
    }

    /// Moves everything due at `now_ms` into `due`.
    fn advance(&mut self, now_ms: u64, due: &mut impl Extend<SessionId>) {
        let now = now_ms / TICK_MS;
        // After a longer pause, one revolution visits every slot.
        let first = self.fired + 1;
        let last = now.min(self.fired + SLOTS as u64);
        for slot in first..=last {
            // Takes the slot's memory, too, or a burst of connections would leave some in every slot.
            let index = Self::index(slot);
            due.extend(std::mem::take(&mut self.slots[index]));
            self.occupied[index / WORD_BITS] &= !(1 << (index % WORD_BITS));
        }
        self.fired = self.fired.max(now);
    }

    /// Milliseconds until the next slot is due, if anything is armed.
    fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let first = Self::index(self.fired + 1);
        // The rest of the first word, the words behind it, and at last the part of the first word that was left out.
        let mut mask = u64::MAX << (first % WORD_BITS);
        let words = self.occupied.len();
        let found = (0..=words).find_map(|step| {
            let word = (first / WORD_BITS + step) % words;
            let bits = self.occupied[word] & std::mem::replace(&mut mask, u64::MAX);
            (bits != 0).then(|| word * WORD_BITS + bits.trailing_zeros() as usize)
        })?;
        let ahead = (found + SLOTS - first) % SLOTS;
        let slot = self.fired + 1 + ahead as u64;
        Some((slot * TICK_MS).saturating_sub(now_ms).max(1))
    }

    fn index(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }
}

/// The timers of a shard, and the sessions whose timers have fired.
#[derive(Debug)]
pub(crate) struct Timers {
    silence: TimerWheel,
    frames: TimerWheel,
    /// Sessions that may be silent and that no turn has had time to look at.
    silent: VecDeque<SessionId>,
    /// Sessions whose frame should be complete and that no turn has had time to look at.
    stalled: VecDeque<SessionId>,
}

impl Timers {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            silence: TimerWheel::new(now_ms),
            frames: TimerWheel::new(now_ms),
            silent: VecDeque::new(),
            stalled: VecDeque::new(),
        }
    }

    /// Arms a timer for when a session may have been silent for too long.
    pub(crate) fn watch_silence(&mut self, id: SessionId, due_ms: u64) {
        self.silence.arm(id, due_ms);
    }

    /// Arms a timer for when the rest of a session's frame should be there.
    pub(crate) fn watch_frame(&mut self, id: SessionId, due_ms: u64) {
        self.frames.arm(id, due_ms);
    }

    /// Fires the timers that are due at `now_ms`.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        self.silence.advance(now_ms, &mut self.silent);
        self.frames.advance(now_ms, &mut self.stalled);
    }

    /// Takes the next session that may be silent.
    pub(crate) fn next_silent(&mut self) -> Option<SessionId> {
        self.silent.pop_front()
    }

    /// Takes the next session whose frame should be complete.
    pub(crate) fn next_stalled(&mut self) -> Option<SessionId> {
        self.stalled.pop_front()
    }

    /// When a session is to be looked at.
    pub(crate) fn due(&self, now_ms: u64) -> Due {
        let left = !(self.silent.is_empty() && self.stalled.is_empty());
        let waits = [&self.silence, &self.frames].map(|wheel| wheel.wait_ms(now_ms));
        let next = waits.map(|wait_ms| Due::after(now_ms, wait_ms));
        Due::now_if(left).min(next[0]).min(next[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u32) -> SessionId {
        SessionId::new(number, 0)
    }

    #[test]
    fn a_timer_fires_once_and_never_early() {
        let mut wheel = TimerWheel::new(1_000);
        wheel.arm(session(1), 5_000);
        let mut due = Vec::new();
        wheel.advance(4_999, &mut due);
        assert!(due.is_empty());
        wheel.advance(5_000 + TICK_MS, &mut due);
        assert_eq!(due, [session(1)]);
        due.clear();
        wheel.advance(1_000_000, &mut due);
        assert!(due.is_empty());
    }

    #[test]
    fn a_pause_longer_than_a_revolution_fires_everything() {
        let mut wheel = TimerWheel::new(0);
        for number in 0..100 {
            wheel.arm(session(number), u64::from(number) * 2_000);
        }
        let mut due = Vec::new();
        wheel.advance(TICK_MS * SLOTS as u64 * 3, &mut due);
        assert_eq!(due.len(), 100);
        assert_eq!(wheel.wait_ms(0), None);
    }

    #[test]
    fn a_timer_of_five_minutes_is_not_called_early() {
        let (mut wheel, mut due) = (TimerWheel::new(0), Vec::new());
        wheel.arm(session(1), 300_000);
        wheel.advance(299_999, &mut due);
        assert!(due.is_empty());
        wheel.advance(300_000 + TICK_MS, &mut due);
        assert_eq!(due, [session(1)]);
    }

    #[test]
    fn the_wait_is_that_for_the_earliest_wherever_the_wheel_stands() {
        for fired in [
            0,
            1,
            62,
            63,
            64,
            1000,
            SLOTS as u64 - 2,
            SLOTS as u64 * 7 - 1,
        ] {
            let now_ms = fired * TICK_MS;
            for ahead in [1, 2, 63, 64, 65, 1500, SLOTS as u64 - 2] {
                let mut wheel = TimerWheel::new(now_ms);
                wheel.arm(session(1), now_ms + (SLOTS as u64 - 2) * TICK_MS);
                wheel.arm(session(2), now_ms + (ahead - 1) * TICK_MS);
                let wait = wheel.wait_ms(now_ms);
                assert_eq!(wait, Some(ahead * TICK_MS), "{ahead} ahead of {fired}");
            }
        }
    }

    #[test]
    fn the_wait_reaches_to_the_next_timer() {
        let mut wheel = TimerWheel::new(0);
        wheel.arm(session(1), 10_000);
        let wait = wheel.wait_ms(0).unwrap();
        assert!((10_000..=10_000 + TICK_MS).contains(&wait), "{wait}");
    }

    #[test]
    fn the_two_kinds_of_timers_are_told_apart() {
        let mut timers = Timers::new(0);
        assert_eq!(timers.due(0), Due::Idle);
        timers.watch_silence(session(1), 5_000);
        timers.watch_frame(session(2), 1_000);
        assert_eq!(timers.due(0), Due::At(1_024));
        timers.advance(1_024);
        assert_eq!(timers.due(1_024), Due::Now);
        assert_eq!(timers.next_silent(), None);
        assert_eq!(timers.next_stalled(), Some(session(2)));
        assert_eq!(timers.due(1_024), Due::At(5_120));
        timers.advance(5_120);
        assert_eq!(timers.due(5_120), Due::Now);
        assert_eq!(timers.next_stalled(), None);
        assert_eq!(timers.next_silent(), Some(session(1)));
        assert_eq!(timers.due(5_120), Due::Idle);
    }

    #[test]
    fn a_slot_that_has_fired_is_empty_when_the_wheel_comes_by_again() {
        let (mut wheel, mut due) = (TimerWheel::new(0), Vec::new());
        wheel.arm(session(1), 1_000);
        wheel.advance(2_000, &mut due);
        assert_eq!((due.len(), wheel.wait_ms(2_000)), (1, None));
        wheel.advance(SLOTS as u64 * TICK_MS + 2_000, &mut due);
        assert_eq!(due.len(), 1);
    }

    #[test]
    fn timers_that_are_late_or_more_than_a_revolution_ahead_fire_within_one() {
        let (mut wheel, mut due) = (TimerWheel::new(10_000), Vec::new());
        wheel.arm(session(1), 1_000);
        wheel.advance(10_000 + TICK_MS, &mut due);
        assert_eq!(due, [session(1)]);
        wheel.arm(session(2), 10_000_000);
        let revolution_ms = SLOTS as u64 * TICK_MS;
        wheel.advance(10_000 + revolution_ms - TICK_MS, &mut due);
        assert_eq!(due, [session(1)]);
        wheel.advance(10_000 + revolution_ms, &mut due);
        assert_eq!(due, [session(1), session(2)]);
    }

    #[test]
    fn time_that_stands_still_or_goes_back_fires_nothing_twice() {
        let (mut wheel, mut due) = (TimerWheel::new(10_000), Vec::new());
        wheel.arm(session(1), 10_000);
        for now_ms in [10_000, 10_256, 10_256, 5_000, 10_256] {
            wheel.advance(now_ms, &mut due);
        }
        assert_eq!(due, [session(1)]);
        wheel.arm(session(2), 10_300);
        wheel.advance(10_300, &mut due);
        assert_eq!(due, [session(1)]);
        assert_eq!(wheel.wait_ms(10_300), Some(196));
        assert_eq!(wheel.wait_ms(11_000), Some(1), "it is late");
    }
}
