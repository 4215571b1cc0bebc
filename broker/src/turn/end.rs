//! How sessions end: the only step that closes connections. Everybody else says that a session is to end, or has had its
//! Goodbye, and why.

use crate::parts::budget::{Budget, CLOSE_FULL_STEPS, CLOSE_STEPS};
use crate::parts::ending::LINGER_MS;
use crate::parts::session::SessionId;
use crate::shard::Shard;

impl Shard {
    /// Goes on with the sessions that have ended, or were told Goodbye, as far as may be in one turn.
    pub(crate) fn end_sessions(&mut self) {
        while let Some(id) = self.sessions.next_dismissed() {
            self.see_off(id);
        }
        let mut budget = Budget::ENDINGS;
        while let Some(gone) = self.sessions.first_gone() {
            if !self.end_subscriptions(gone.id, &mut budget) {
                return;
            }
            self.sessions.close_first_gone();
            let steps = if gone.is_full {
                CLOSE_FULL_STEPS
            } else {
                CLOSE_STEPS
            };
            budget.spend(steps, 0);
        }
    }

    /// No record comes after the Goodbye, and the peer has so much time to take it. In a shutdown the operator says how
    /// much.
    fn see_off(&mut self, id: SessionId) {
        self.pause_catchups(id);
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        if !self.drain.is_begun() {
            // What the peer takes from here on is progress.
            let _before = session.look_at_taken();
            let due_ms = self.here.now.monotonic_ms + LINGER_MS;
            self.timers.watch_silence(id, due_ms);
        }
    }
}
