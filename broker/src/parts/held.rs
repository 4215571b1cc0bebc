//! One send for two answers. A client that says hello and subscribes in one breath is welcomed at once, but where its
//! subscription begins may have to be asked of another shard. Two sends are two packets, two acknowledgements and two
//! wake-ups of the client; so the first answer waits for the second, within a bound.

use std::collections::VecDeque;

use crate::parts::due::Due;
use crate::parts::session::{Session, SessionId};

/// Longest wait, in milliseconds: a few long turns of another shard. Then a welcome alone is better than nothing.
const HOLD_MS: u64 = 100;

/// Sessions whose first answers wait for another shard, and until when; the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Held(VecDeque<(SessionId, u64)>);

impl Held {
    /// Lets what waits to be sent to a session wait for the answer of another shard, if that answer is about its first
    /// subscription: nothing else is delayed then.
    pub(crate) fn hold(&mut self, now_ms: u64, id: SessionId, session: &mut Session) {
        if !session.held && session.outgoing.is_some() && session.subscriptions.len() == 1 {
            session.held = true;
            self.0.push_back((id, now_ms + HOLD_MS));
        }
    }

    /// The session that has waited longest, and whether that was long enough.
    pub(crate) fn first(&self, now_ms: u64) -> Option<(SessionId, bool)> {
        let (id, due_ms) = self.0.front().copied()?;
        Some((id, now_ms >= due_ms))
    }

    /// Forgets that one.
    pub(crate) fn forget_first(&mut self) {
        self.0.pop_front();
    }

    /// When the first of those that wait has waited long enough.
    pub(crate) fn due(&self) -> Due {
        self.0
            .front()
            .map_or(Due::Idle, |(_, due_ms)| Due::At(*due_ms))
    }
}
