//! One send for two answers. A client that says hello and subscribes in one breath is welcomed at once, but where its
//! subscription begins may have to be asked of another shard. Two sends are two packets, two acknowledgements and two
//! wake-ups of the client; so the first answer waits for the second, within a bound.

use crate::parts::sessions::{SessionId, Stage};
use crate::shard::Shard;

/// Longest wait, in milliseconds: a few long turns of another shard. Then a welcome alone is better than nothing.
const HOLD_MS: u64 = 100;

impl Shard {
    /// Lets what waits to be sent to a session wait for the answer of another shard, if that answer is about its first
    /// subscription: nothing else is delayed then.
    pub(crate) fn hold(&mut self, id: SessionId) {
        let due_ms = self.now.monotonic_ms + HOLD_MS;
        if let Some(session) = self.sessions.get_mut(id)
            && !session.held
            && session.outgoing.is_some()
            && session.subscriptions.len() == 1
        {
            session.held = true;
            self.held.push_back((id, due_ms));
        }
    }

    /// The answer is there.
    pub(crate) fn release(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.held = false;
        }
    }

    /// Forgets who has been released, and releases who has waited long enough.
    pub(crate) fn release_due(&mut self) {
        while let Some((id, due_ms)) = self.held.front().copied() {
            let waits = self.sessions.get(id).is_some_and(|session| session.held);
            if waits && self.now.monotonic_ms < due_ms {
                return;
            }
            self.held.pop_front();
            if waits {
                self.release(id);
                self.queue_send(id);
            }
        }
    }

    /// Whether nothing is sent to a session for the moment. A Goodbye does not wait.
    pub(crate) fn is_held(&self, id: SessionId) -> bool {
        self.sessions
            .get(id)
            .is_some_and(|session| session.held && session.stage == Stage::Open)
    }

    /// Milliseconds until the first of those that wait has waited long enough.
    pub(crate) fn held_wait_ms(&self) -> Option<u64> {
        let (_, due_ms) = self.held.front()?;
        Some(due_ms.saturating_sub(self.now.monotonic_ms))
    }
}
