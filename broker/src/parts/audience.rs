//! The audience of a topic on one shard: the subscriptions that are sent its records in one form, in a dense list, and the walk
//! over them. A topic has one audience for each form that its subscribers on the shard want.

use oyez_protocol::Offset;

use crate::parts::subscription::{Delivery, Subscription};

/// A list of subscriptions, and a pass over it that is spread over several turns.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    subscriptions: Vec<Subscription>,
    /// The topic is in the shard's list of topics with news.
    queued: bool,
    /// Slot to visit next.
    slot: usize,
    /// Slots to visit until every subscription was visited since the last news.
    left: usize,
    /// A subscription got all that a chain holds and could take more: another pass follows this one.
    again: bool,
    /// Lowest cursor met in this pass.
    lowest: Option<Offset>,
}

impl Audience {
    pub(crate) const fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// The subscription in a slot that a session has.
    pub(crate) fn at(&self, slot: usize) -> &Subscription {
        &self.subscriptions[slot]
    }

    /// The subscription in a slot, to be changed.
    pub(crate) fn at_mut(&mut self, slot: usize) -> &mut Subscription {
        &mut self.subscriptions[slot]
    }

    /// Puts a session's subscription into the list. Returns its slot.
    pub(crate) fn join(&mut self, session: u32, delivery: Delivery) -> u32 {
        let slot = u32::try_from(self.subscriptions.len())
            .expect("subscriptions are bounded by connections, far below 2^32");
        let subscription = Subscription::new(session, delivery);
        self.subscriptions.push(subscription);
        if self.left > 0 {
            self.left += 1; // One more slot on the walk's way to those not visited yet.
        }
        slot
    }

    /// Takes a subscription out of the list; the last one moves into its slot. Returns the removed subscription, and the session
    /// whose subscription has moved, if one has.
    pub(crate) fn leave(&mut self, slot: usize) -> (Subscription, Option<u32>) {
        let left = self.subscriptions.swap_remove(slot);
        if self.slot >= self.subscriptions.len() {
            self.slot = 0;
        }
        let moved = self.subscriptions.get(slot).map(|moved| moved.session);
        (left, moved)
    }

    // The walk.

    /// Whether the list is being walked, or is to be.
    pub(crate) const fn is_queued(&self) -> bool {
        self.queued
    }

    /// Notes whether the topic is in the list of topics with news. Returns whether it was before.
    pub(crate) const fn set_queued(&mut self, queued: bool) -> bool {
        std::mem::replace(&mut self.queued, queued)
    }

    /// Begins a walk over all subscriptions, since there is news.
    pub(crate) const fn begin_walk(&mut self) {
        self.left = self.subscriptions.len();
    }

    /// How many subscriptions the pass has still to visit.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// The slot to visit next, and its subscription; `None` when all were visited.
    pub(crate) fn next(&mut self) -> Option<(usize, &mut Subscription)> {
        if self.left == 0 || self.subscriptions.is_empty() {
            return None;
        }
        self.slot %= self.subscriptions.len();
        Some((self.slot, &mut self.subscriptions[self.slot]))
    }

    /// Moves on from a subscription that stands at `cursor`.
    pub(crate) fn pass(&mut self, cursor: Offset) {
        self.note(cursor);
        self.skip();
    }

    /// Moves on from a subscription that is not served from the window.
    pub(crate) const fn skip(&mut self) {
        self.slot += 1;
        self.left -= 1;
    }

    /// Notes that a visited subscription stands at `cursor`.
    pub(crate) fn note(&mut self, cursor: Offset) {
        self.lowest = Some(self.lowest.map_or(cursor, |lowest| lowest.min(cursor)));
    }

    /// Notes of a visited subscription that can take more whether it is still behind.
    pub(crate) const fn note_behind(&mut self, is_behind: bool) {
        self.again |= is_behind;
    }

    /// Begins another pass if a subscription is still behind that only the walk will serve. Returns whether it did.
    pub(crate) const fn walk_again(&mut self) -> bool {
        let again = std::mem::replace(&mut self.again, false);
        if again {
            self.begin_walk();
            self.lowest = None;
        }
        again
    }

    /// Takes the lowest cursor of the pass that has ended.
    pub(crate) const fn take_lowest(&mut self) -> Option<Offset> {
        self.lowest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(sessions: u32) -> Audience {
        let mut audience = Audience::default();
        for session in 0..sessions {
            assert_eq!(audience.join(session, Delivery::Live), session);
        }
        audience
    }

    #[test]
    fn a_walk_visits_every_subscription_once_after_news_and_again_when_it_was_asked_to() {
        let mut audience = audience(3);
        assert!(audience.next().is_none(), "there is no news");
        audience.begin_walk();
        for (slot, cursor) in [5, 3, 4].into_iter().enumerate() {
            assert_eq!(audience.next().map(|(slot, _)| slot), Some(slot));
            audience.pass(Offset::new(cursor));
        }
        assert!(audience.next().is_none() && !audience.walk_again());
        assert_eq!(audience.lowest, Some(Offset::new(3)));
        audience.note_behind(true);
        audience.note_behind(false);
        assert!(audience.walk_again());
        assert_eq!((audience.left(), audience.lowest), (3, None));
        assert!(!audience.walk_again(), "once");
        assert_eq!(audience.next().map(|(slot, _)| slot), Some(0));
        audience.skip();
        assert_eq!((audience.left(), audience.take_lowest()), (2, None));
    }

    #[test]
    fn a_subscription_that_comes_during_a_walk_is_visited_and_the_last_one_takes_a_free_slot() {
        let mut audience = audience(2);
        audience.begin_walk();
        audience.skip();
        audience.join(7, Delivery::Live);
        assert_eq!(audience.left(), 2);
        let (left, moved) = audience.leave(0);
        assert_eq!((left.session, moved), (0, Some(7)));
        assert_eq!(audience.at(0).session, 7);
        audience.skip();
        let (left, moved) = audience.leave(1);
        assert_eq!((left.session, moved), (1, None));
        assert_eq!(audience.next().map(|(slot, _)| slot), Some(0));
    }
}
