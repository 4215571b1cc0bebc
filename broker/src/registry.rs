//! The topics of one shard by name and by number.

use std::collections::HashMap;
use std::sync::Arc;

use oyez_protocol::LogId;
use oyez_storage::Place;
use slab::Slab;

use crate::topic::{Topic, WINDOW_RECORDS_MAX, WINDOW_RECORDS_TIGHT};

/// Places that the windows of one shard remember together: 2 MiB.
const WINDOW_PLACES_BUDGET: usize = 65_536;

/// The topics that somebody on this shard subscribes to.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    numbers: HashMap<Arc<str>, u32>,
    topics: Slab<Topic>,
    window_places: usize,
}

impl Registry {
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn find_or_insert(&mut self, name: &str, log: LogId) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let name: Arc<str> = name.into();
        let number = self.topics.insert(Topic::new(name.clone(), log));
        let number = u32::try_from(number).expect("topics are bounded by subscriptions");
        self.numbers.insert(name, number);
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
            self.numbers.remove(&topic.name);
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
