//! A subscription is a cursor. It lies in its topic's dense list; its session knows where.

use oyez_protocol::Offset;

/// How a subscription gets its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The owner of the log was asked where to begin; the number identifies its answer.
    Pending(u32),
    /// From the topic's window, at `cursor`.
    Live,
    /// From the log, through the catch-up of this number.
    CatchingUp(u32),
}

/// One subscription, 16 bytes in its topic's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// Slot of the session in the shard's slab.
    pub(crate) session: u32,
    /// A packed [`Delivery`]: the kind in the upper two bits, its number in the others.
    delivery: u32,
    /// The next message to deliver.
    pub(crate) cursor: Offset,
}

/// Bits of the number in a packed [`Delivery`].
const NUMBER_BITS: u32 = 30;
/// Greatest number that a [`Delivery`] holds.
pub(crate) const NUMBER_MAX: u32 = (1 << NUMBER_BITS) - 1;
const PENDING: u32 = 0;
const LIVE: u32 = 1;
const CATCHING_UP: u32 = 2;

impl Subscription {
    pub(crate) fn new(session: u32, delivery: Delivery) -> Self {
        Self {
            session,
            delivery: pack(delivery),
            cursor: Offset::default(),
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let number = self.delivery & NUMBER_MAX;
        match self.delivery >> NUMBER_BITS {
            PENDING => Delivery::Pending(number),
            LIVE => Delivery::Live,
            _ => Delivery::CatchingUp(number),
        }
    }

    pub(crate) fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = pack(delivery);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.delivery >> NUMBER_BITS == LIVE
    }
}

fn pack(delivery: Delivery) -> u32 {
    let (kind, number) = match delivery {
        Delivery::Pending(number) => (PENDING, number),
        Delivery::Live => (LIVE, 0),
        Delivery::CatchingUp(number) => (CATCHING_UP, number),
    };
    debug_assert!(number <= NUMBER_MAX);
    kind << NUMBER_BITS | number
}

/// Where a session's subscription lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionRef {
    /// Number of the topic in the shard's registry.
    pub(crate) topic: u32,
    /// Slot in the topic's list.
    pub(crate) slot: u32,
}

/// A session's subscriptions, in the order of their topics' numbers. Almost all sessions have one; it costs no allocation.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "a Vec of its own would make every session 8 bytes larger"
)]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(SubscriptionRef),
    Many(Box<Vec<SubscriptionRef>>),
}

impl Subscriptions {
    pub(crate) fn as_slice(&self) -> &[SubscriptionRef] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn find(&self, topic: u32) -> Option<SubscriptionRef> {
        let refs = self.as_slice();
        let index = refs
            .binary_search_by_key(&topic, |found| found.topic)
            .ok()?;
        Some(refs[index])
    }

    /// Adds a subscription to a topic to which the session has none.
    pub(crate) fn insert(&mut self, added: SubscriptionRef) {
        let place =
            |refs: &[SubscriptionRef]| refs.partition_point(|found| found.topic < added.topic);
        match self {
            Self::None => *self = Self::One(added),
            Self::One(one) => {
                let mut many = vec![*one];
                many.insert(place(&many), added);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => many.insert(place(many), added),
        }
    }

    pub(crate) fn remove(&mut self, topic: u32) {
        match self {
            Self::One(one) if one.topic == topic => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(many) => {
                if let Ok(index) = many.binary_search_by_key(&topic, |found| found.topic) {
                    many.remove(index);
                }
                if many.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    /// Notes that the subscription to `topic` has moved within its topic's list.
    pub(crate) fn moved(&mut self, topic: u32, slot: u32) {
        let refs = match self {
            Self::None => return,
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many.as_mut_slice(),
        };
        if let Ok(index) = refs.binary_search_by_key(&topic, |found| found.topic) {
            refs[index].slot = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subscriptions to these topics, each in the slot with its topic's number.
    fn subscriptions(topics: impl IntoIterator<Item = u32>) -> Subscriptions {
        let mut all = Subscriptions::default();
        for topic in topics {
            all.insert(SubscriptionRef { topic, slot: topic });
        }
        all
    }

    #[test]
    fn subscriptions_are_found_moved_and_removed_in_whatever_order_they_came() {
        let topics = [7, 3, 9, 1, 8];
        let mut all = subscriptions(topics);
        for topic in topics {
            assert_eq!(all.find(topic).map(|found| found.slot), Some(topic));
            all.moved(topic, topic + 100);
            assert_eq!(all.find(topic).map(|found| found.slot), Some(topic + 100));
        }
        all.moved(2, 5);
        assert_eq!(all.len(), 5);
        for (left, topic) in [4, 3, 2, 1, 0].into_iter().zip(topics) {
            all.remove(topic);
            assert_eq!((all.len(), all.find(topic)), (left, None));
        }
        assert!(matches!(all, Subscriptions::None));
    }
}
