//! The topics of one shard by name and by number.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use oyez_protocol::LogId;
use oyez_storage::Place;
use slab::Slab;

use crate::parts::feed::{Topic, WINDOW_RECORDS_MAX, WINDOW_RECORDS_TIGHT};

/// Places that the windows of one shard remember together: 2 MiB.
const WINDOW_PLACES_BUDGET: usize = 65_536;

/// Tables that share the names out: one that grows moves so many times fewer entries, so that a burst of new topics does
/// not make a turn long. *With one table a turn took 49 ms on the way to 256,000 topics.*
const TABLES: usize = 256;

/// The topics that somebody on this shard subscribes to.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    /// Numbers of topics, by the hash of the name.
    numbers: Box<[HashTable<u32>]>,
    topics: Slab<Topic>,
    window_places: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            numbers: (0..TABLES).map(|_| HashTable::new()).collect(),
            topics: Slab::new(),
            window_places: 0,
        }
    }
}

/// The table for a hash, by bits that the tables themselves do not use first.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

impl Registry {
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(name), name)
    }

    fn find_hashed(&self, hash: u64, name: &str) -> Option<u32> {
        let is_it = |number: &u32| *self.topics[*number as usize].name == *name;
        self.numbers[table_of(hash)].find(hash, is_it).copied()
    }

    pub(crate) fn find_or_insert(&mut self, name: &str, log: LogId) -> u32 {
        let hash = self.hasher.hash_one(name);
        if let Some(number) = self.find_hashed(hash, name) {
            return number;
        }
        let number = self.topics.insert(Topic::new(name.into(), log, hash));
        let number = u32::try_from(number).expect("topics are bounded by subscriptions");
        let topics = &self.topics;
        let hash_of = |number: &u32| topics[*number as usize].hash;
        self.numbers[table_of(hash)].insert_unique(hash, number, hash_of);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Topic> {
        self.topics.get(number as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Topic> {
        self.topics.get_mut(number as usize)
    }

    /// Beyond the number of every topic.
    pub(crate) fn numbers_end(&self) -> u32 {
        u32::try_from(self.topics.capacity()).unwrap_or(u32::MAX)
    }

    /// Forgets a topic that nobody subscribes to any more.
    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(topic) = self.topics.try_remove(number as usize) {
            self.window_places -= topic.window_len();
            let entry =
                self.numbers[table_of(topic.hash)].find_entry(topic.hash, |found| *found == number);
            if let Ok(entry) = entry {
                entry.remove();
            }
        }
    }

    /// A record of topic `number` has become visible.
    pub(crate) fn push(&mut self, number: u32, place: Place) {
        let tight = self.window_places > WINDOW_PLACES_BUDGET;
        let Some(topic) = self.topics.get_mut(number as usize) else {
            return;
        };
        let records_max = if tight {
            WINDOW_RECORDS_TIGHT
        } else {
            WINDOW_RECORDS_MAX
        };
        let grown = topic.push(place, records_max);
        self.window_places = self.window_places.saturating_add_signed(grown);
    }

    /// A pass over topic `number` is complete: what everybody has leaves the window.
    pub(crate) fn finish_pass(&mut self, number: u32) {
        if let Some(topic) = self.topics.get_mut(number as usize) {
            let lowest = topic.walk.lowest.take();
            self.window_places -= topic.trim(lowest);
        }
    }
}
