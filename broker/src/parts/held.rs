//! One send for two answers. A client that says hello and subscribes at once is welcomed immediately, but the shard may have to
//! ask another one where the subscription begins. Two sends are two packets, two acknowledgements and two wake-ups of the client;
//! so the first answer waits for the second, within a bound.

use std::collections::VecDeque;

use crate::parts::due::Due;
use crate::parts::session::{Session, SessionId};

/// Longest wait, in milliseconds: a few long turns of another shard. Then a welcome alone is better than nothing.
const HOLD_MS: u64 = 100;

/// Sessions whose first answers wait for another shard, and until when; the earliest first.
#[derive(Debug, Default)]
pub(crate) struct HeldReplies(VecDeque<(SessionId, u64)>);

impl HeldReplies {
    /// Holds a session's outgoing bytes until another shard has answered, if that answer is about its first subscription: nothing
    /// else is delayed then.
    pub(crate) fn hold(&mut self, now_ms: u64, id: SessionId, session: &mut Session) {
        if !session.held && session.outgoing.is_some() && session.subscriptions.len() == 1 {
            session.held = true;
            self.0.push_back((id, now_ms + HOLD_MS));
        }
    }

    /// The session that has waited longest, and whether its time is up.
    pub(crate) fn first(&self, now_ms: u64) -> Option<(SessionId, bool)> {
        let (id, due_ms) = self.0.front().copied()?;
        Some((id, now_ms >= due_ms))
    }

    /// Forgets the session that has waited longest.
    pub(crate) fn forget_first(&mut self) {
        self.0.pop_front();
    }

    /// When the time of the session that has waited longest is up.
    pub(crate) fn due(&self) -> Due {
        self.0
            .front()
            .map_or(Due::Idle, |(_, due_ms)| Due::At(*due_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::subscription::SubscriptionRef;
    use crate::rig::{Client, Rig};

    /// A session with so many subscriptions, and with bytes to be sent if `outgoing`.
    fn session(rig: &mut Rig, subscriptions: u32, outgoing: bool) -> Client {
        let client = rig.join();
        let session = rig.session(&client);
        for topic in 0..subscriptions {
            let place = SubscriptionRef { topic, slot: 0 };
            session.subscriptions.insert(place);
        }
        session.outgoing = outgoing.then(Box::default);
        client
    }

    #[test]
    fn only_answers_beside_a_first_subscription_are_held() {
        for (subscriptions, outgoing, is_held) in [
            (1, true, true),
            (1, false, false),
            (0, true, false),
            (2, true, false),
        ] {
            let mut rig = Rig::new();
            let client = session(&mut rig, subscriptions, outgoing);
            let mut held = HeldReplies::default();
            let session = rig.session(&client);
            held.hold(1_000, client.id, session);
            assert_eq!(session.held, is_held);
            assert_eq!(held.first(0).is_some(), is_held);
        }
    }

    #[test]
    fn the_first_that_waits_is_due_first_and_none_waits_twice() {
        let mut rig = Rig::new();
        let clients = [0, 1].map(|_| session(&mut rig, 1, true));
        let mut held = HeldReplies::default();
        assert_eq!(held.due(), Due::Idle);
        for (now_ms, client) in [(1_000, 0), (1_050, 1), (1_060, 0)] {
            let client = &clients[client];
            held.hold(now_ms, client.id, rig.session(client));
        }
        assert_eq!(held.due(), Due::At(1_000 + HOLD_MS));
        assert_eq!(held.first(1_099), Some((clients[0].id, false)));
        assert_eq!(held.first(1_100), Some((clients[0].id, true)));
        held.forget_first();
        assert_eq!(held.first(1_100), Some((clients[1].id, false)));
        held.forget_first();
        assert_eq!((held.due(), held.first(9_000)), (Due::Idle, None));
    }
}
