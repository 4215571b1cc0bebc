//! The index of a log: topic -> places of its records. For sealed segments it has an entry of sixteen bytes for each topic
//! and segment; the places are in the footers. For segments being written it has the places themselves.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::order::TopicOrder;
use crate::packed_place::PackedPlace;

/// Stands for no topic.
const NONE: u32 = u32::MAX;

/// An entry: the topic has records in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentRef {
    /// Number of the segment within this run of the store.
    pub segment: u32,
    /// The topic's row in the segment's index.
    pub slot: u32,
    /// Offset of its first message there.
    pub first: u64,
}

/// A topic of a log.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: Arc<str>,
    /// Another topic with the same hash.
    chained: u32,
    /// Offset that the next message gets.
    pub next: u64,
    /// Oldest first. Entries of dropped segments stay until the topic is touched.
    pub refs: Vec<SegmentRef>,
}

/// Hashes nothing: the key is the topic's hash, which is keyed and well mixed.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole numbers are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Number of maps that the topics are spread over. A map that grows moves that many times fewer entries, so that a burst
/// of new topics does not delay a turn. *With one map an append stalled 50 ms on the way to 1M topics.*
const MAPS: usize = 256;

type ByHash = HashMap<u64, u32, BuildHasherDefault<Identity>>;

/// All topics of a log.
pub(crate) struct TopicIndex {
    by_hash: Box<[ByHash]>,
    topics: Vec<Topic>,
    order: TopicOrder,
}

impl Default for TopicIndex {
    fn default() -> Self {
        Self {
            by_hash: (0..MAPS).map(|_| ByHash::default()).collect(),
            topics: Vec::new(),
            order: TopicOrder::default(),
        }
    }
}

/// The map for a hash, by bits that the maps themselves do not use.
fn map_of(hash: u64) -> usize {
    (hash >> 40) as usize % MAPS
}

impl TopicIndex {
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, name: &str) -> Option<u32> {
        let mut id = *self.by_hash[map_of(hash)].get(&hash)?;
        while id != NONE {
            let topic = &self.topics[id as usize];
            if &*topic.name == name {
                return Some(id);
            }
            id = topic.chained;
        }
        None
    }

    pub(crate) fn find_or_add(&mut self, hash: u64, name: &str) -> u32 {
        if let Some(id) = self.find(hash, name) {
            return id;
        }
        let id = u32::try_from(self.topics.len())
            .ok()
            .filter(|id| *id != NONE)
            .expect("memory ends before there are 2^32 topics");
        let map = &mut self.by_hash[map_of(hash)];
        let chained = map.insert(hash, id).unwrap_or(NONE);
        self.topics.push(Topic {
            name: Arc::from(name),
            chained,
            next: 0,
            refs: Vec::with_capacity(1),
        });
        id
    }

    pub(crate) fn topic(&self, id: u32) -> &Topic {
        &self.topics[id as usize]
    }

    pub(crate) fn topic_mut(&mut self, id: u32) -> &mut Topic {
        &mut self.topics[id as usize]
    }

    /// Sorts the first `end` topics by name, as far as `budget` goes, and subtracts the cost from it. Returns whether all of
    /// them are sorted.
    pub(crate) fn order(&mut self, end: usize, budget: &mut usize) -> bool {
        let topics = &self.topics;
        self.order.add(end, budget, |id| &topics[id as usize].name)
    }

    /// At most `max` of the topics that [`Self::order`] has sorted, with names greater than `after`, in order.
    pub(crate) fn after(&mut self, after: Option<&str>, max: usize) -> Vec<u32> {
        let topics = &self.topics;
        self.order.after(after, max, |id| &topics[id as usize].name)
    }

    /// All topics, in the order in which they came.
    pub(crate) fn topics(&self) -> &[Topic] {
        &self.topics
    }
}

/// A topic's row in the index of a segment being written.
#[derive(Debug)]
pub(crate) struct LiveTopic {
    pub name: Arc<str>,
    pub places: Vec<PackedPlace>,
    pub bytes: u64,
}

/// The places of a segment being written; rows in the order in which the topics came.
#[derive(Debug, Default)]
pub(crate) struct LiveIndex {
    pub topics: Vec<LiveTopic>,
}

impl LiveIndex {
    /// Adds a row for a topic that has none yet.
    pub(crate) fn add(&mut self, name: &Arc<str>) -> u32 {
        let slot = u32::try_from(self.topics.len()).expect("a segment has fewer records than 2^32");
        self.topics.push(LiveTopic {
            name: Arc::clone(name),
            places: Vec::with_capacity(1),
            bytes: 0,
        });
        slot
    }

    #[inline]
    pub(crate) fn push(&mut self, slot: u32, place: PackedPlace) {
        let topic = &mut self.topics[slot as usize];
        topic.places.push(place);
        topic.bytes += u64::from(place.size());
    }

    pub(crate) fn places(&self, slot: u32) -> usize {
        self.topics[slot as usize].places.len()
    }

    pub(crate) fn place(&self, slot: u32, number: usize) -> PackedPlace {
        self.topics[slot as usize].places[number]
    }

    pub(crate) fn bytes(&self, slot: u32) -> u64 {
        self.topics[slot as usize].bytes
    }
}
