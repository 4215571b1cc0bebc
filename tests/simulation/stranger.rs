//! Clients that do not do what a client should: the floods and stalls that a broker meets on an open port. They publish
//! to topics of their own, so that nobody depends on what becomes of their records.

use oyez_broker::simulation::Broker;
use oyez_protocol::command::{Hello, Query, Question, Start, Subscribe, Unsubscribe, VERSION};
use oyez_protocol::event::Heartbeat;
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;

use super::dice::Dice;
use super::link::Link;
use super::plan::{StrangerKind, TopicPlan};

/// Bytes that are written in one go at most.
const BURST_BYTES: usize = 64 << 10;

/// A stranger.
pub(super) struct StrangerSeat {
    pub(super) kind: StrangerKind,
    pub(super) link: Link,
    dice: Dice,
    /// What it says next: the link has not taken it yet.
    unsaid: Vec<u8>,
    pub(super) due_ms: u64,
    said: u64,
}

impl StrangerSeat {
    pub(super) fn new(number: usize, kind: StrangerKind, seed: u64) -> Self {
        Self {
            kind,
            link: Link::default(),
            dice: Dice::new(seed, "stranger", number),
            unsaid: Vec::new(),
            due_ms: 0,
            said: 0,
        }
    }

    /// Does a bit of what it does.
    pub(super) fn turn(&mut self, broker: Option<&Broker>, topics: &[TopicPlan], now_ms: u64) {
        self.due_ms = now_ms + self.dice.among(1, 40);
        if self.link.peer().is_none() {
            self.unsaid.clear();
            self.link.close();
            if self.link.dial(broker, &mut self.dice) && self.kind != StrangerKind::Silent {
                self.say_hello();
            }
            return;
        }
        let reads = !matches!(
            self.kind,
            StrangerKind::Pinger | StrangerKind::Pusher | StrangerKind::Deaf
        );
        if reads
            && self.link.has_news()
            && !matches!(self.link.read(BURST_BYTES, &mut self.dice), Ok(bytes) if !bytes.is_empty())
        {
            self.due_ms += self.dice.among(1, 500);
            self.link.close();
            return;
        }
        if self.unsaid.is_empty() {
            self.think(topics);
        }
        self.say();
        if self.kind == StrangerKind::Visitor && self.dice.one_in(3) {
            match self.dice.one_in(2) {
                true => self.link.reset(),
                false => self.link.close(),
            }
        }
    }

    fn say(&mut self) {
        let most = match self.kind {
            StrangerKind::Dripper => 1,
            _ => BURST_BYTES,
        };
        let size = self.unsaid.len().min(most);
        if size == 0 {
            return;
        }
        match self.link.write(&self.unsaid[..size], &mut self.dice) {
            Ok(taken) => drop(self.unsaid.drain(..taken)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.link.close(),
        }
    }

    fn say_hello(&mut self) {
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            heartbeat_ms: 0,
            name: "stranger",
            credentials: if self.dice.one_in(30) { b"secret" } else { b"" },
        }
        .encode(&mut self.unsaid);
    }

    /// Makes up what to say next.
    fn think(&mut self, topics: &[TopicPlan]) {
        self.said += 1;
        let times = self.dice.among(1, 60);
        match self.kind {
            StrangerKind::Silent => {}
            StrangerKind::Babbler => self.babble(),
            StrangerKind::Pinger => {
                for token in 0..10 * times {
                    Heartbeat { token }.encode_ping(&mut self.unsaid);
                }
            }
            StrangerKind::Fickle => {
                for number in 0..times {
                    let name = format!("m/fickle-{}", number % 7);
                    self.subscribe(&name);
                    let (id, topic) = (number as u32, &*name);
                    Unsubscribe { id, topic }.encode(&mut self.unsaid);
                }
            }
            StrangerKind::Pusher => {
                for _ in 0..times {
                    self.record(500);
                }
            }
            StrangerKind::Halfway if self.said == 1 => {
                self.record(100_000);
                let keep = self.dice.among(1, self.unsaid.len() as u64 - 1);
                self.unsaid
                    .truncate(usize::try_from(keep).expect("a part of a record"));
            }
            StrangerKind::Halfway => {}
            StrangerKind::Dripper => self.record(30),
            StrangerKind::Deaf if self.said == 1 => {
                let topic = self.dice.pick(topics).name.clone();
                self.subscribe(&topic);
            }
            StrangerKind::Deaf => {}
            StrangerKind::Asker => {
                for id in 0..times {
                    let question = Question::Stats;
                    Query {
                        id: id as u32,
                        question,
                    }
                    .encode(&mut self.unsaid);
                }
            }
            StrangerKind::Visitor => self.record(30),
        }
    }

    fn babble(&mut self) {
        if self.dice.one_in(2) {
            self.record(30);
            let at = self.dice.index(self.unsaid.len());
            self.unsaid[at] ^= 1 << self.dice.below(8);
            return;
        }
        for _ in 0..self.dice.among(1, 100) {
            self.unsaid.push(self.dice.below(256) as u8);
        }
    }

    fn subscribe(&mut self, topic: &str) {
        let subscribe = Subscribe {
            id: self.said as u32,
            topic,
            start: Start::Earliest,
            epoch: None,
        };
        subscribe.encode(&mut self.unsaid);
    }

    fn record(&mut self, size: usize) {
        let topic = ["m/flood", "w/flood", "s/flood"][self.dice.index(3)];
        let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
        let payload = vec![b'x'; size];
        builder.push(&MessageRef::new(&payload)).expect("it fits");
        builder.finish_stored(self.said, &mut self.unsaid);
    }
}
