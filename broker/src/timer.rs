//! A timer wheel for heartbeats: many timers, coarse, mostly re-armed. Arming is a push, an advance takes a slot.
//!
//! Timers are never removed. Whoever is called back checks whether there still is anything to do (the session's
//! generation, when it was last heard); that costs one look per session and heartbeat and no memory per change.

use crate::session::SessionId;

/// Length of one slot in milliseconds; also the grain in which sessions remember when they were heard.
pub(crate) const TICK_MS: u64 = 256;
/// Slots of the wheel; what lies further ahead than a revolution is called early and arms itself again.
const SLOTS: usize = 1024;

/// Timers of one shard.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    slots: Vec<Vec<SessionId>>,
    /// The slot number (of all time, not of this revolution) up to which timers have fired.
    fired: u64,
    armed: usize,
}

impl TimerWheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            fired: now_ms / TICK_MS,
            armed: 0,
        }
    }

    /// Calls `session` back at `due_ms`, up to a slot later.
    pub(crate) fn arm(&mut self, session: SessionId, due_ms: u64) {
        let slot = (due_ms / TICK_MS + 1).clamp(self.fired + 1, self.fired + SLOTS as u64 - 1);
        self.slots[Self::index(slot)].push(session);
        self.armed += 1;
    }

    /// Moves everything due at `now_ms` into `due`.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut impl Extend<SessionId>) {
        let now = now_ms / TICK_MS;
        // After a pause of more than a revolution one revolution has seen every slot.
        let first = self.fired + 1;
        let last = now.min(self.fired + SLOTS as u64);
        for slot in first..=last {
            // With its memory: a burst of connections would else leave its mark in every slot.
            let timers = std::mem::take(&mut self.slots[Self::index(slot)]);
            self.armed -= timers.len();
            due.extend(timers);
        }
        self.fired = self.fired.max(now);
    }

    /// Milliseconds until the next slot is due, if anything is armed.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let ahead = (self.fired + 1..=self.fired + SLOTS as u64)
            .find(|slot| !self.slots[Self::index(*slot)].is_empty())?;
        Some((ahead * TICK_MS).saturating_sub(now_ms).max(1))
    }

    fn index(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
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
    fn the_wait_reaches_to_the_next_timer() {
        let mut wheel = TimerWheel::new(0);
        wheel.arm(session(1), 10_000);
        let wait = wheel.wait_ms(0).unwrap();
        assert!((10_000..=10_000 + TICK_MS).contains(&wait), "{wait}");
    }
}
