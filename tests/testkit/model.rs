//! The naive twin: a topic is a list of payloads. What was acknowledged stands at its offset for ever.

use std::collections::BTreeMap;

/// What a broker has acknowledged, and what it was sent without an answer.
#[derive(Clone, Debug, Default)]
pub struct Model {
    topics: BTreeMap<String, Topic>,
}

#[derive(Clone, Debug, Default)]
struct Topic {
    acknowledged: BTreeMap<u64, Vec<u8>>,
    unanswered: Vec<Vec<u8>>,
}

impl Model {
    /// Notes that a message was acknowledged at an offset.
    ///
    /// # Panics
    /// When another one was acknowledged there.
    pub fn acknowledge(&mut self, topic: &str, offset: u64, payload: &[u8]) {
        let before = self
            .topic(topic)
            .acknowledged
            .insert(offset, payload.to_vec());
        assert_eq!(before, None, "{topic} at {offset} was acknowledged twice");
    }

    /// Notes that a message was sent and its outcome never came.
    pub fn leave_unanswered(&mut self, topic: &str, payload: &[u8]) {
        self.topic(topic).unanswered.push(payload.to_vec());
    }

    /// Messages acknowledged in a topic.
    #[must_use]
    pub fn acknowledged(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, |t| t.acknowledged.len())
    }

    /// Checks all that a topic holds against what is known: from 0, dense, everything acknowledged at its place, and
    /// nothing that was not sent, each unanswered message at most once.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check(&self, topic: &str, found: &[(u64, Vec<u8>)]) {
        let known = self.topics.get(topic).cloned().unwrap_or_default();
        let mut unanswered = known.unanswered;
        for (index, (offset, payload)) in found.iter().enumerate() {
            assert_eq!(*offset, index as u64, "offsets of {topic} are dense");
            match known.acknowledged.get(offset) {
                Some(expected) => assert_eq!(payload, expected, "{topic} at {offset}"),
                None => {
                    let at = unanswered.iter().position(|sent| sent == payload);
                    let at = at.unwrap_or_else(|| {
                        panic!("{topic} at {offset} holds what nobody sent, or sent once only")
                    });
                    unanswered.swap_remove(at);
                }
            }
        }
        let last = known.acknowledged.keys().next_back();
        if let Some(last) = last {
            assert!(
                *last < found.len() as u64,
                "{topic}: {last} was acknowledged, only {} messages are there",
                found.len()
            );
        }
    }

    /// Takes what was found as what is acknowledged from here on.
    pub fn settle(&mut self, topic: &str, found: &[(u64, Vec<u8>)]) {
        let topic = self.topic(topic);
        topic.acknowledged = found.iter().cloned().collect();
        topic.unanswered.clear();
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        self.topics.entry(name.to_owned()).or_default()
    }
}
