//! Begins and ends subscriptions: keeps in step what a session, its topic, the topic's log and the other shards know of them.

use oyez_protocol::LogId;
use oyez_protocol::planted::{Bug, planted};

use crate::parts::budget::{Budget, SUBSCRIBE_STEPS};
use crate::parts::catchups::Catchups;
use crate::parts::context::ShardContext;
use crate::parts::feeds::Feeds;
use crate::parts::logs::Logs;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Delivery, SubscriptionRef};

/// The parts that a subscription's beginning and end change.
pub(crate) struct Membership<'a> {
    pub(crate) context: &'a ShardContext,
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
        self.context.metrics().subscriptions.add(1);
        if !planted(Bug::ForgetsInterest) {
            self.context.shared.interest.add(log, self.context.id);
        }
        self.logs.join(log);
    }

    /// Takes a subscription of a session out of its topic's list.
    pub(crate) fn leave(&mut self, id: SessionId, place: SubscriptionRef) {
        let session = self.sessions.there_mut(id);
        session.subscriptions.remove(place.topic);
        let removed = self.feeds.leave(place);
        if let Some(key) = removed.moved {
            let moved = self.sessions.at_mut(key);
            if !planted(Bug::ForgetsAMove) {
                moved.subscriptions.moved(place.topic, place.slot);
            }
            // A walk under way may have passed this slot already, and would miss the subscription that has moved into it.
            if removed.is_walked {
                self.sessions.schedule_send(self.sessions.id_at(key));
            }
        }
        if let Delivery::CatchingUp(catchup) = removed.delivery {
            self.catchups.end(catchup);
            // Other subscriptions of the session may have waited for this one's end.
            self.sessions.schedule_send(id);
        }
        self.context.metrics().subscriptions.subtract(1);
        self.context
            .shared
            .interest
            .remove(removed.log, self.context.id);
        self.logs.leave(removed.log);
        self.feeds.forget_if_unused(place.topic);
    }

    /// Ends a session's subscriptions, as far as the budget goes. Returns whether none is left.
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

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Start;

    use super::*;
    use crate::dialect::form::Form;
    use crate::rig::Rig;

    #[test]
    fn a_subscription_that_ends_is_forgotten_by_its_session_its_topic_its_log_and_the_other_shards()
    {
        let mut rig = Rig::new();
        let clients = rig.subscribers("t", 3);
        let places: Vec<_> = clients
            .iter()
            .map(|client| rig.place(client, "t"))
            .collect();
        let mut members = rig.parts().endings().members;
        members.leave(clients[0].id, places[0]);
        assert_eq!(
            rig.place(&clients[2], "t"),
            places[0],
            "the last one has moved"
        );
        assert_eq!(rig.metrics().subscriptions.get(), 2);
        let mut members = rig.parts().endings().members;
        members.leave(clients[2].id, places[0]);
        members.leave(clients[1].id, places[0]);
        let parts = rig.parts();
        assert_eq!(
            parts.feeds.find("t", Form::NATIVE),
            None,
            "it has no subscription"
        );
        let log = parts.context.shared.log_of("t");
        assert_eq!(parts.context.shared.interest.interested(log).count(), 0);
        rig.append("t", 10);
        assert!(
            !rig.parts().logs.has_news(log),
            "this shard does not follow it"
        );
    }

    #[test]
    fn all_subscriptions_of_a_session_end_as_far_as_the_budget_goes() {
        let mut rig = Rig::new();
        let client = rig.join();
        for number in 0..3 {
            client.subscribe(&format!("t/{number}"), Start::Latest);
        }
        rig.settle();
        let left = |rig: &mut Rig| rig.session(&client).subscriptions().len();
        let mut budget = Budget::ENDINGS;
        let most = 10_000 - 2 * SUBSCRIBE_STEPS;
        budget.spend(most, 0);
        assert!(
            !rig.parts()
                .endings()
                .members
                .leave_all(client.id, &mut budget)
        );
        assert_eq!(left(&mut rig), 1);
        let mut budget = Budget::ENDINGS;
        assert!(
            rig.parts()
                .endings()
                .members
                .leave_all(client.id, &mut budget)
        );
        assert_eq!(left(&mut rig), 0);
    }
}
