//! A stranger that publishes, subscribes and goes in one breath: with a Goodbye, or with the end of its side. Whatever it has asked
//! for has to be answered before its connection ends in good order, each Subscribe before the Unsubscribe behind it.

use std::collections::BTreeSet;

use oyez_protocol::Frame;
use oyez_protocol::command::{Hello, Start, Subscribe, Subscription, Unsubscribe, VERSION};
use oyez_protocol::event::{Goodbye, GoodbyeCode};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;

use super::dice::Dice;

/// The broker waits for outcomes of one that goes for ten seconds.
const WAITS_MS: u64 = 9_500;
/// The id of an Unsubscribe is that of its Subscribe and this.
const ENDS: u32 = 1_000;

/// A connection of it.
#[derive(Debug, Default)]
pub(super) struct Leaver {
    /// Records without an outcome.
    records: BTreeSet<u64>,
    /// Subscribes and Unsubscribes without an answer.
    requests: BTreeSet<u32>,
    /// It ends its side when it has said everything.
    pub(super) shuts: bool,
    /// When it had said everything.
    left_ms: Option<u64>,
    /// The broker has said why it ends the connection, and not because the stranger goes.
    is_sent_away: bool,
    /// What was met, a word each.
    pub(super) told: Vec<String>,
}

impl Leaver {
    /// Makes up what it says, from its hello to its last word.
    pub(super) fn compose(dice: &mut Dice) -> (Self, Vec<u8>) {
        let (mut leaver, mut out) = (Self::default(), Vec::new());
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            heartbeat_ms: 0,
            name: "leaver",
            credentials: b"",
        }
        .encode(&mut out);
        for number in 1..=dice.among(1, 20) {
            match dice.one_in(3) {
                true => leaver.look_in(number as u32, dice, &mut out),
                false => leaver.publish(number, dice, &mut out),
            }
        }
        leaver.shuts = dice.one_in(2);
        if !leaver.shuts {
            let goodbye = Goodbye {
                code: GoodbyeCode::Done,
                retry_after_ms: 0,
                reason: "",
            };
            goodbye.encode(&mut out);
        }
        (leaver, out)
    }

    fn publish(&mut self, number: u64, dice: &mut Dice, out: &mut Vec<u8>) {
        let topic = *dice.pick(&["m/flood", "w/flood", "s/flood"]);
        let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
        let message = MessageRef::new(b"leaves");
        builder.push(&message).expect("it fits");
        builder.finish_stored(number, out);
        self.records.insert(number);
    }

    /// Subscribes to a topic, and ends that at once.
    fn look_in(&mut self, id: u32, dice: &mut Dice, out: &mut Vec<u8>) {
        let name = &*format!("m/leaver-{}", dice.below(7));
        Subscribe::encode(id, &[Subscription::new(name, Start::Earliest, None)], out);
        let unsubscribe = Unsubscribe {
            id: id + ENDS,
            name,
            is_filter: false,
        };
        unsubscribe.encode(out);
        self.requests.extend([id, id + ENDS]);
    }

    /// It has said everything.
    pub(super) fn note_left(&mut self, now_ms: u64) {
        self.left_ms.get_or_insert(now_ms);
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn take(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        match frame {
            Frame::Published(published) => {
                for entry in published.entries() {
                    let id = entry.correlation;
                    if !self.records.remove(&id) {
                        return Err(format!("an outcome of record {id}, which has none"));
                    }
                }
                Ok(())
            }
            Frame::Subscribed(told) => self.answered(told.id),
            Frame::Unsubscribed(told) if self.requests.contains(&(told.id - ENDS)) => Err(format!(
                "the subscription {} ends before it is told to begin",
                told.id - ENDS
            )),
            Frame::Unsubscribed(told) => self.answered(told.id),
            Frame::Goodbye(goodbye) => {
                self.is_sent_away = goodbye.code != GoodbyeCode::Done;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, id: u32) -> Result<(), String> {
        match self.requests.remove(&id) {
            true => Ok(()),
            false => Err(format!("an answer to {id}, which has none")),
        }
    }

    /// The connection has ended in good order.
    ///
    /// # Errors
    /// When it waits for something.
    pub(super) fn end(&mut self, now_ms: u64) -> Result<(), String> {
        let waits_ms = self.left_ms.map(|left_ms| now_ms - left_ms);
        if self.is_sent_away || waits_ms.is_none_or(|ms| ms > WAITS_MS) {
            return Ok(());
        }
        if self.records.is_empty() && self.requests.is_empty() {
            self.told.push("leaver answered".to_owned());
            return Ok(());
        }
        Err(format!(
            "the end, without the outcomes of {:?} and the answers to {:?}",
            self.records, self.requests
        ))
    }
}
