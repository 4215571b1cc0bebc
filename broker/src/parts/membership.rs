//! Beginning and ending subscriptions: what a session, its topic and the topic's log know of them, kept in step.

use oyez_protocol::LogId;

use crate::parts::budget::{Budget, SUBSCRIBE_STEPS};
use crate::parts::catchups::Catchups;
use crate::parts::feeds::Feeds;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Delivery, SubscriptionRef};

/// What a subscription's beginning and end touch.
pub(crate) struct Membership<'a> {
    pub(crate) here: &'a Here,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) feeds: &'a mut Feeds,
    pub(crate) logs: &'a mut Logs,
    pub(crate) catchups: &'a mut Catchups,
}

impl Membership<'_> {
    /// Puts a subscription of a session into its topic's list.
    pub(crate) fn join(&mut self, id: SessionId, topic: u32, log: LogId, delivery: Delivery) {
        let session = self.sessions.there_mut(id);
        let slot = self.feeds.join(topic, id.key(), delivery);
        session
            .subscriptions
            .insert(SubscriptionRef { topic, slot });
        self.here.metrics().subscriptions.add(1);
        self.here.shared.add_interest(log, self.here.id);
        self.logs.join(log);
    }

    /// Takes a subscription of a session out of its topic's list.
    pub(crate) fn leave(&mut self, id: SessionId, place: SubscriptionRef) {
        let session = self.sessions.there_mut(id);
        session.subscriptions.remove(place.topic);
        let removed = self.feeds.leave(place);
        if let Some(key) = removed.moved {
            let moved = self.sessions.at_mut(key);
            moved.subscriptions.moved(place.topic, place.slot);
            // A walk under way may have passed this slot already, and would miss the subscription that has moved into it.
            if removed.is_walked {
                self.sessions.queue_send(self.sessions.id_at(key));
            }
        }
        if let Delivery::CatchingUp(catchup) = removed.delivery {
            self.catchups.end(catchup);
        }
        self.here.metrics().subscriptions.subtract(1);
        self.here.shared.remove_interest(removed.log, self.here.id);
        self.logs.leave(removed.log);
        self.feeds.forget_if_unused(place.topic);
    }

    /// Ends the subscriptions of a session, as far as the budget goes. Returns whether none is left.
    pub(crate) fn leave_all(&mut self, id: SessionId, budget: &mut Budget) -> bool {
        let last = |sessions: &Sessions| {
            let subscriptions = sessions.there(id).subscriptions.as_slice();
            subscriptions.last().copied()
        };
        while let Some(place) = last(self.sessions) {
            if budget.is_spent() {
                return false;
            }
            self.leave(id, place);
            budget.spend(SUBSCRIBE_STEPS, 0);
        }
        true
    }
}
