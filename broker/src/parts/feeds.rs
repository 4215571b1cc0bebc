//! The topics of one shard by name and by number, and those with news that some subscriptions lack. A topic is there once for
//! each form in which its subscribers are sent records.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use oyez_protocol::{LogId, Offset};
use oyez_storage::Place;
use slab::Slab;

use crate::dialect::form::Form;
use crate::parts::feed::{Topic, WINDOW_RECORDS_MAX, WINDOW_RECORDS_TIGHT};
use crate::parts::logs::Logs;
use crate::parts::subscription::{Delivery, NUMBER_MAX, Subscription, SubscriptionRef};

/// Places that the windows of one shard remember together: 2 MiB.
const WINDOW_PLACES_BUDGET: usize = 65_536;

/// A topic with more subscriptions than this has many.
const FEW_SUBSCRIPTIONS: usize = 16;
/// Records of one log followed in one turn.
const NEWS_PER_TURN: usize = 4096;

/// Tables over which the names are spread: a table that grows moves that many times fewer entries, so that a burst of new topics
/// does not make a turn long. *With one table a turn took 49 ms on the way to 256,000 topics.*
const TABLES: usize = 256;

/// The topics to which sessions of this shard subscribe.
#[derive(Debug)]
pub(crate) struct Feeds {
    hasher: RandomState,
    /// Numbers of topics, by the hash of the name.
    numbers: Box<[HashTable<u32>]>,
    topics: Slab<Topic>,
    window_places: usize,
    /// Topics with news, by [`Size`].
    news: [VecDeque<u32>; 2],
    last_nonce: u32,
    /// Scratch list of a topic's numbers, used again for every record.
    found: Vec<u32>,
}

/// How many subscribe to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Few,
    Many,
}

impl Size {
    fn of(topic: &Topic) -> Self {
        if topic.audience.len() > FEW_SUBSCRIPTIONS {
            Self::Many
        } else {
            Self::Few
        }
    }
}

/// A subscription that was taken out of its topic's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    pub(crate) log: LogId,
    pub(crate) delivery: Delivery,
    /// Key of the session whose subscription has moved into its slot.
    pub(crate) moved: Option<u32>,
    /// A walk over the list is under way.
    pub(crate) is_walked: bool,
}

impl Default for Feeds {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            numbers: (0..TABLES).map(|_| HashTable::new()).collect(),
            topics: Slab::new(),
            window_places: 0,
            news: Default::default(),
            last_nonce: 0,
            found: Vec::new(),
        }
    }
}

/// The table for a hash, chosen by bits that the tables themselves do not use first.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

impl Feeds {
    pub(crate) fn find(&self, name: &str, form: Form) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(name), name, form)
    }

    fn find_hashed(&self, hash: u64, name: &str, form: Form) -> Option<u32> {
        let is_it = |number: &u32| {
            let topic = &self.topics[*number as usize];
            *topic.name == *name && topic.form == form
        };
        self.numbers[table_of(hash)].find(hash, is_it).copied()
    }

    pub(crate) fn find_or_insert(&mut self, name: &str, form: Form, log: LogId) -> u32 {
        let hash = self.hasher.hash_one(name);
        if let Some(number) = self.find_hashed(hash, name, form) {
            return number;
        }
        let topic = Topic::new(name.into(), form, log, hash);
        let number = self.topics.insert(topic);
        let number = u32::try_from(number).expect("topics are bounded by subscriptions");
        let topics = &self.topics;
        let hash_of = |number: &u32| topics[*number as usize].hash;
        self.numbers[table_of(hash)].insert_unique(hash, number, hash_of);
        number
    }

    /// How many subscriptions a topic has, in all forms.
    pub(crate) fn count_subscriptions(&self, name: &str) -> usize {
        let hash = self.hasher.hash_one(name);
        let numbers = self.numbers[table_of(hash)].iter_hash(hash);
        let topics = numbers.map(|number| &self.topics[*number as usize]);
        let named = topics.filter(|topic| *topic.name == *name);
        named.map(|topic| topic.audience.len()).sum()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Topic> {
        self.topics.get(number as usize)
    }

    /// A topic that has a subscription: it is there as long as one names it.
    pub(crate) fn subscribed(&self, number: u32) -> &Topic {
        &self.topics[number as usize]
    }

    /// A topic that has a subscription, to be changed.
    pub(crate) fn subscribed_mut(&mut self, number: u32) -> &mut Topic {
        &mut self.topics[number as usize]
    }

    /// A number above that of every topic.
    pub(crate) fn numbers_end(&self) -> u32 {
        u32::try_from(self.topics.capacity()).unwrap_or(u32::MAX)
    }

    /// Forgets a topic that has no subscription any more.
    fn remove(&mut self, number: u32) {
        if let Some(topic) = self.topics.try_remove(number as usize) {
            self.window_places -= topic.window_len();
            let entry =
                self.numbers[table_of(topic.hash)].find_entry(topic.hash, |found| *found == number);
            if let Ok(entry) = entry {
                entry.remove();
            }
        }
    }

    /// Follows what has become visible in a log.
    pub(crate) fn follow(&mut self, logs: &mut Logs, log: LogId) {
        let mut found = std::mem::take(&mut self.found);
        logs.follow(log, NEWS_PER_TURN, |place, name, stamped_ms| {
            // All forms of a topic have the same hash.
            let hash = self.hasher.hash_one(name);
            let numbers = self.numbers[table_of(hash)].iter_hash(hash).copied();
            found.extend(numbers.filter(|number| *self.topics[*number as usize].name == *name));
            found.sort_unstable(); // A table yields them in random order.
            for number in found.drain(..) {
                self.push(number, place);
                self.subscribed_mut(number).note_news(stamped_ms);
                self.queue(number);
            }
        });
        self.found = found;
    }

    /// Puts a topic on the list of those with news.
    fn queue(&mut self, number: u32) {
        let topic = self.subscribed_mut(number);
        if !topic.audience.set_queued(true) {
            let size = Size::of(topic);
            self.news[size as usize].push_back(number);
        }
    }

    /// Whether there are topics with news whose walks are not over.
    pub(crate) fn have_news(&self) -> bool {
        [Size::Few, Size::Many]
            .iter()
            .any(|size| self.count_with_news(*size) > 0)
    }

    /// How many topics with news have an audience of this size.
    pub(crate) fn count_with_news(&self, size: Size) -> usize {
        self.news[size as usize].len()
    }

    /// Takes the next topic with news; the caller passes it on to [`Self::walk_later`] or [`Self::end_walk`]. `None` also if its
    /// number belongs to another topic since.
    pub(crate) fn next_with_news(&mut self, size: Size) -> Option<u32> {
        let number = self.news[size as usize].pop_front()?;
        let is_queued = |topic: &Topic| topic.audience.is_queued();
        self.get(number).is_some_and(is_queued).then_some(number)
    }

    /// Puts a topic back whose walk goes on in another turn.
    pub(crate) fn walk_later(&mut self, size: Size, number: u32) {
        self.news[size as usize].push_back(number);
    }

    /// Ends a walk: all subscriptions were visited. Returns when the oldest record that was new to one of them was published.
    pub(crate) fn end_walk(&mut self, number: u32) -> Option<u64> {
        self.subscribed_mut(number).audience.set_queued(false);
        self.finish_pass(number);
        self.subscribed_mut(number).take_news()
    }

    /// Puts a session's subscription into a topic's list. Returns its slot.
    pub(crate) fn join(&mut self, number: u32, session: u32, delivery: Delivery) -> u32 {
        self.subscribed_mut(number).audience.join(session, delivery)
    }

    /// Takes a subscription out of its topic's list; the last one of the list moves into its slot.
    pub(crate) fn leave(&mut self, place: SubscriptionRef) -> Removed {
        let topic = self.subscribed_mut(place.topic);
        let (left, moved) = topic.audience.leave(place.slot as usize);
        Removed {
            log: topic.log,
            delivery: left.delivery(),
            moved,
            is_walked: topic.audience.is_queued(),
        }
    }

    /// Forgets a topic if it has no subscription any more.
    pub(crate) fn forget_if_unused(&mut self, number: u32) {
        let is_unused = |topic: &Topic| topic.audience.is_empty();
        if self.get(number).is_some_and(is_unused) {
            self.remove(number);
        }
    }

    /// The subscription at a place that a session has.
    pub(crate) fn subscription(&self, place: SubscriptionRef) -> &Subscription {
        self.subscribed(place.topic)
            .audience
            .at(place.slot as usize)
    }

    /// The subscription at a place that a session has, to be changed.
    pub(crate) fn subscription_mut(&mut self, place: SubscriptionRef) -> &mut Subscription {
        self.subscribed_mut(place.topic)
            .audience
            .at_mut(place.slot as usize)
    }

    pub(crate) fn cursor(&self, place: SubscriptionRef) -> Offset {
        self.subscription(place).cursor
    }

    pub(crate) fn set_delivery(&mut self, place: SubscriptionRef, delivery: Delivery) {
        self.subscription_mut(place).set_delivery(delivery);
    }

    /// A fresh number, which distinguishes a request to subscribe from others of the same session and topic.
    pub(crate) fn nonce(&mut self) -> u32 {
        self.last_nonce = (self.last_nonce + 1) & NUMBER_MAX;
        self.last_nonce
    }

    /// Adds a record of topic `number` that has become visible.
    fn push(&mut self, number: u32, place: Place) {
        let tight = self.window_places > WINDOW_PLACES_BUDGET;
        let topic = self.subscribed_mut(number);
        let records_max = if tight {
            WINDOW_RECORDS_TIGHT
        } else {
            WINDOW_RECORDS_MAX
        };
        let grown = topic.push(place, records_max);
        self.window_places = self.window_places.saturating_add_signed(grown);
    }

    /// Completes a pass over topic `number`: records that all subscriptions have leave the window.
    fn finish_pass(&mut self, number: u32) {
        let topic = self.subscribed_mut(number);
        let lowest = topic.audience.take_lowest();
        self.window_places -= topic.trim(lowest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::Position;

    const LOG: LogId = LogId::new(2);

    fn place(number: u64) -> Place {
        Place {
            first: Offset::new(number),
            next: Offset::new(number + 1),
            position: Position::new(number * 100),
            size: 100,
        }
    }

    /// A topic with so many live subscriptions.
    fn topic(feeds: &mut Feeds, name: &str, subscriptions: u32) -> u32 {
        let number = feeds.find_or_insert(name, Form::NATIVE, LOG);
        for session in 0..subscriptions {
            assert_eq!(feeds.join(number, session, Delivery::Live), session);
        }
        number
    }

    /// A record has become visible.
    fn news(feeds: &mut Feeds, number: u32, record: u64) {
        feeds.push(number, place(record));
        feeds.queue(number);
    }

    #[test]
    fn topics_are_found_by_their_names_as_long_as_they_have_subscriptions() {
        let mut feeds = Feeds::default();
        let names: Vec<String> = (0..1_000).map(|number| format!("t/{number}")).collect();
        let insert = |name: &String| topic(&mut feeds, name, 1);
        let numbers: Vec<u32> = names.iter().map(insert).collect();
        for (name, number) in names.iter().zip(&numbers) {
            assert_eq!(feeds.find(name, Form::NATIVE), Some(*number));
            assert_eq!(feeds.find_or_insert(name, Form::NATIVE, LOG), *number);
            assert!(*number < feeds.numbers_end());
            let found = feeds.get(*number).map(|topic| (&*topic.name, topic.log));
            assert_eq!(found, Some((&**name, LOG)));
        }
        for (name, number) in names.iter().zip(&numbers).step_by(2) {
            feeds.forget_if_unused(*number);
            assert_eq!(
                feeds.find(name, Form::NATIVE),
                Some(*number),
                "it has a subscription"
            );
            feeds.leave(SubscriptionRef {
                topic: *number,
                slot: 0,
            });
            feeds.forget_if_unused(*number);
            assert_eq!(feeds.find(name, Form::NATIVE), None);
        }
        for (name, number) in names.iter().zip(&numbers).skip(1).step_by(2) {
            assert_eq!(feeds.find(name, Form::NATIVE), Some(*number));
        }
        assert!(
            (0..TABLES)
                .filter(|table| !feeds.numbers[*table].is_empty())
                .count()
                > 100
        );
    }

    #[test]
    fn the_last_subscription_of_a_list_takes_the_slot_of_one_that_leaves() {
        let mut feeds = Feeds::default();
        let number = topic(&mut feeds, "t", 3);
        let slot = |slot| SubscriptionRef {
            topic: number,
            slot,
        };
        feeds.set_delivery(slot(0), Delivery::CatchingUp(7));
        let removed = feeds.leave(slot(0));
        assert_eq!(
            (removed.log, removed.moved, removed.is_walked),
            (LOG, Some(2), false)
        );
        assert_eq!(removed.delivery, Delivery::CatchingUp(7));
        let sessions = [0, 1].map(|at| feeds.subscription(slot(at)).session);
        assert_eq!(sessions, [2, 1]);
        feeds.queue(number);
        let removed = feeds.leave(slot(1));
        assert_eq!((removed.moved, removed.is_walked), (None, true));
        assert_eq!(feeds.subscribed(number).audience.len(), 1);
    }

    #[test]
    fn topics_with_news_are_listed_once_by_how_many_subscribe_to_them() {
        let mut feeds = Feeds::default();
        assert!(!feeds.have_news());
        let few = topic(&mut feeds, "few", 16);
        let many = topic(&mut feeds, "many", 17);
        for record in 0..2 {
            news(&mut feeds, few, record);
            news(&mut feeds, many, record);
        }
        let counts = [Size::Few, Size::Many].map(|audience| feeds.count_with_news(audience));
        assert_eq!(counts, [1, 1]);
        assert_eq!(feeds.next_with_news(Size::Few), Some(few));
        assert!(feeds.have_news(), "those of many");
        assert_eq!(feeds.next_with_news(Size::Many), Some(many));
        assert!(!feeds.have_news());
        feeds.walk_later(Size::Many, many);
        news(&mut feeds, many, 2);
        assert_eq!(
            feeds.count_with_news(Size::Many),
            1,
            "its walk is under way"
        );
        assert_eq!(feeds.next_with_news(Size::Many), Some(many));
        feeds.end_walk(many);
        news(&mut feeds, many, 3);
        assert_eq!(feeds.count_with_news(Size::Many), 1);
    }

    #[test]
    fn news_of_a_forgotten_topic_are_no_news_of_the_topic_that_has_its_number() {
        let mut feeds = Feeds::default();
        let number = topic(&mut feeds, "t", 1);
        news(&mut feeds, number, 0);
        feeds.leave(SubscriptionRef {
            topic: number,
            slot: 0,
        });
        feeds.forget_if_unused(number);
        assert_eq!(topic(&mut feeds, "other", 1), number);
        assert_eq!(feeds.next_with_news(Size::Few), None);
        assert!(!feeds.have_news());
    }

    #[test]
    fn places_that_windows_remember_are_counted_and_bounded() {
        let mut feeds = Feeds::default();
        let number = topic(&mut feeds, "t", 1);
        for record in 0..20 {
            news(&mut feeds, number, record);
        }
        assert_eq!(feeds.window_places, 20);
        let pass = |topic: &mut Topic| topic.audience.pass(Offset::new(15));
        pass(feeds.subscribed_mut(number));
        feeds.end_walk(number);
        assert_eq!(feeds.window_places, 5);
        feeds.window_places = WINDOW_PLACES_BUDGET;
        for record in 20..40 {
            feeds.push(number, place(record));
        }
        let window_len = |feeds: &Feeds| feeds.get(number).map(Topic::window_len);
        assert_eq!(window_len(&feeds), Some(WINDOW_RECORDS_TIGHT));
        assert_eq!(
            feeds.window_places,
            WINDOW_PLACES_BUDGET - 5 + WINDOW_RECORDS_TIGHT
        );
        feeds.window_places = WINDOW_RECORDS_TIGHT;
        for record in 40..3_000 {
            feeds.push(number, place(record));
        }
        assert_eq!(window_len(&feeds), Some(WINDOW_RECORDS_MAX));
        feeds.leave(SubscriptionRef {
            topic: number,
            slot: 0,
        });
        feeds.forget_if_unused(number);
        assert_eq!(feeds.window_places, 0);
    }

    #[test]
    fn requests_are_numbered_within_what_a_delivery_holds() {
        let mut feeds = Feeds::default();
        assert_eq!([feeds.nonce(), feeds.nonce()], [1, 2]);
        feeds.last_nonce = NUMBER_MAX;
        assert_eq!([feeds.nonce(), feeds.nonce()], [0, 1]);
    }
}
