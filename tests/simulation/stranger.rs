//! Clients that do not do what a client should: the floods and stalls that a broker meets on an open port. They publish
//! to topics of their own, so that nobody depends on what becomes of their records.

use oyez_broker::simulation::{Broker, End, Peer};
use oyez_protocol::command::{
    Hello, Query, Question, Start, Subscribe, Subscription, Unsubscribe, VERSION,
};
use oyez_protocol::event::{Heartbeat, Outcome, Unsubscribed};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;
use oyez_protocol::{Decoded, Frame, decode};

use super::dice::Dice;
use super::leaver::Leaver;
use super::link::Link;
use super::plan::{StrangerKind, TopicPlan};
use super::reader::Reading;
use super::wild::Wild;

/// Bytes that are written in one go at most.
const BURST_BYTES: usize = 64 << 10;

/// Bytes of answers that may be on their way to a stranger that reads none.
const PINGER_ROOM_BYTES: usize = 16 << 10;
/// Bytes that a stranger reads at once that reads little.
const SIP_BYTES: usize = 50;
/// A stranger still reads if its last read was less than so long ago and left so many bytes.
const READING_MS: u64 = 500;
const UNREAD_BYTES: usize = 1_000;

/// A stranger.
pub(super) struct StrangerSeat {
    pub(super) kind: StrangerKind,
    pub(super) link: Link,
    dice: Dice,
    /// What it says next: the link has not taken it yet.
    unsaid: Vec<u8>,
    pub(super) due_ms: u64,
    /// When it has read something the last time that left more to be read.
    sipped_ms: Option<u64>,
    /// The broker has ended its connection, out of which it read at the time.
    pub(super) was_cut_off: bool,
    /// It has no more to say, and reads.
    pub(super) is_calm: bool,
    said: u64,
    /// What it has heard, up to the last whole frame.
    heard: Vec<u8>,
    /// What it was told, a word each, for who counts it.
    pub(super) told: Vec<String>,
    /// The answer that it reads.
    reading: Option<Reading>,
    /// Its connection over WebSocket.
    wild: Option<Wild>,
    /// What it waits for before it goes.
    leaver: Option<Leaver>,
    now_ms: u64,
    /// What the broker should not have said.
    pub(super) fault: Option<String>,
}

impl StrangerSeat {
    pub(super) fn new(number: usize, kind: StrangerKind, seed: u64) -> Self {
        Self {
            kind,
            link: Link::default(),
            dice: Dice::new(seed, "stranger", number),
            unsaid: Vec::new(),
            due_ms: 0,
            sipped_ms: None,
            was_cut_off: false,
            is_calm: false,
            said: 0,
            heard: Vec::new(),
            told: Vec::new(),
            reading: None,
            wild: None,
            leaver: None,
            now_ms: 0,
            fault: None,
        }
    }

    /// Whether it has something to do at this time.
    pub(super) fn wants(&self, now_ms: u64) -> bool {
        match self.is_calm {
            true => self.link.has_news(),
            false => self.due_ms <= now_ms,
        }
    }

    /// When it has something to do although nothing arrives.
    pub(super) fn wakes_ms(&self) -> Option<u64> {
        (!self.is_calm).then_some(self.due_ms)
    }

    /// Bytes that the broker has not read, of a connection that stands.
    pub(super) fn unread(&self) -> usize {
        self.link.peer().map_or(0, Peer::unread)
    }

    /// Whether it reads a little at a time, and has not read everything.
    pub(super) fn sips(&self) -> bool {
        let waiting = self.link.peer().map_or(0, Peer::waiting);
        self.kind == StrangerKind::Sipper && waiting > 0
    }

    /// Whether the broker has not ended its connection.
    pub(super) fn is_open(&self) -> bool {
        self.link
            .peer()
            .is_some_and(|peer| peer.how_it_ended() == End::Open)
    }

    /// Does a bit of what it does.
    pub(super) fn turn(&mut self, broker: Option<&Broker>, topics: &[TopicPlan], now_ms: u64) {
        self.now_ms = now_ms;
        self.due_ms = now_ms + self.dice.among(1, 40);
        if self.is_calm {
            if !self.hear() {
                self.link.close();
                self.link.closed = false;
            }
            return;
        }
        if self.link.peer().is_none() {
            self.connect(broker, topics);
            return;
        }
        self.talk(topics, now_ms);
    }

    fn connect(&mut self, broker: Option<&Broker>, topics: &[TopicPlan]) {
        self.unsaid.clear();
        self.heard.clear();
        (self.said, self.sipped_ms) = (0, None);
        self.link.close();
        let greets = match self.kind {
            StrangerKind::Silent => false,
            StrangerKind::Babbler => self.dice.one_in(2),
            StrangerKind::Reader | StrangerKind::Wild | StrangerKind::Leaver => false,
            _ => true,
        };
        if self.link.dial(broker, &mut self.dice) && greets {
            self.say_hello();
        }
        match (self.kind, self.link.peer()) {
            (StrangerKind::Pinger, Some(peer)) => peer.set_room(PINGER_ROOM_BYTES),
            (StrangerKind::Reader, Some(_)) => {
                let (reading, request) = Reading::ask(topics, &mut self.dice);
                (self.reading, self.unsaid) = (Some(reading), request);
            }
            (StrangerKind::Wild, Some(_)) => {
                let (wild, request) = Wild::ask(&mut self.dice);
                (self.wild, self.unsaid) = (Some(wild), request);
            }
            (StrangerKind::Leaver, Some(_)) => {
                let (leaver, words) = Leaver::compose(&mut self.dice);
                (self.leaver, self.unsaid) = (Some(leaver), words);
            }
            _ => {}
        }
    }

    /// Reads what it reads, and says what it says.
    fn talk(&mut self, topics: &[TopicPlan], now_ms: u64) {
        self.note_the_end(now_ms);
        let reads = !matches!(
            self.kind,
            StrangerKind::Pinger | StrangerKind::Pusher | StrangerKind::Deaf
        ) && !self.wild.as_ref().is_some_and(Wild::is_deaf);
        if reads && self.link.has_news() && !self.hear() {
            self.due_ms += self.dice.among(1, 500);
            self.link.close();
            return;
        }
        if let (StrangerKind::Sipper, Some(peer)) = (self.kind, self.link.peer()) {
            let has_more = peer.waiting() > UNREAD_BYTES;
            self.sipped_ms = (has_more && self.is_open()).then_some(now_ms);
        }
        if self.unsaid.is_empty() {
            self.think(topics);
        }
        self.say();
        let goes = match self.kind {
            StrangerKind::Visitor => self.dice.one_in(3),
            StrangerKind::Wild => self.dice.one_in(60),
            _ => false,
        };
        if goes {
            match self.dice.one_in(2) {
                true => self.link.reset(),
                false => self.link.close(),
            }
        }
    }

    /// Reads, and notes what it is told; false at the end of the connection.
    fn hear(&mut self) -> bool {
        let now_ms = self.now_ms;
        let most = match self.kind {
            StrangerKind::Sipper if !self.is_calm => SIP_BYTES,
            StrangerKind::Reader => *self.dice.pick(&[SIP_BYTES, 4_000, BURST_BYTES]),
            _ => BURST_BYTES,
        };
        let bytes = match self.link.read(most, &mut self.dice) {
            Ok(bytes) if !bytes.is_empty() => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Ok(_) => {
                if let Some(leaver) = &mut self.leaver {
                    self.fault = leaver.end(now_ms).err();
                    self.told.append(&mut leaver.told);
                }
                return false;
            }
            Err(_) => return false,
        };
        if let Some(reading) = &mut self.reading {
            self.fault = reading.take(&bytes).err();
            self.told.append(&mut reading.told);
            return self.fault.is_none() && !reading.is_over;
        }
        if let Some(wild) = &mut self.wild {
            self.fault = wild.take(&bytes).err();
            self.told.append(&mut wild.told);
            return self.fault.is_none() && !wild.is_over;
        }
        self.heard.extend(bytes);
        let mut taken = 0;
        while let Ok(Decoded::Frame { frame, size }) = decode(&self.heard[taken..], &Limits::HARD) {
            taken += size;
            if let Some(leaver) = &mut self.leaver
                && let Err(why) = leaver.take(&frame)
            {
                self.fault = Some(why);
                return false;
            }
            match frame {
                Frame::Goodbye(goodbye) => self.told.push(format!("goodbye {:?}", goodbye.code)),
                Frame::Subscribed(told) => self.told.push(format!("outcome {:?}", told.outcome)),
                Frame::Unsubscribed(told) => self.told.push(format!("outcome {:?}", told.outcome)),
                Frame::Answer(_) => self.told.push("answer".to_owned()),
                _ => {}
            }
        }
        self.heard.drain(..taken);
        true
    }

    /// Notes whether the broker has ended the connection since it has last read from it.
    fn note_the_end(&mut self, now_ms: u64) {
        let is_over = !self.is_open();
        let sipped_ms = self.sipped_ms.filter(|ms| now_ms - ms < READING_MS);
        self.was_cut_off = is_over && sipped_ms.is_some();
        if is_over {
            self.sipped_ms = None;
        }
    }

    fn say(&mut self) {
        let most = match self.kind {
            StrangerKind::Dripper => 1,
            _ => BURST_BYTES,
        };
        let size = self.unsaid.len().min(most);
        if size == 0 {
            if let Some(leaver) = &mut self.leaver {
                leaver.note_left(self.now_ms);
                if leaver.shuts {
                    self.link.shut();
                }
            }
            return;
        }
        match self.link.write(&self.unsaid[..size], &mut self.dice) {
            Ok(taken) => drop(self.unsaid.drain(..taken)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.link.close(),
        }
    }

    fn say_hello(&mut self) {
        let version = if self.dice.one_in(20) { 99 } else { VERSION };
        let credentials: &[u8] = if self.dice.one_in(20) { b"secret" } else { b"" };
        Hello {
            version_min: version,
            version_max: version,
            features: 0,
            heartbeat_ms: 0,
            name: "stranger",
            credentials,
        }
        .encode(&mut self.unsaid);
    }

    /// Makes up what to say next.
    fn think(&mut self, topics: &[TopicPlan]) {
        self.said += 1;
        let times = self.dice.among(1, 60);
        match self.kind {
            StrangerKind::Silent | StrangerKind::Reader | StrangerKind::Leaver => {}
            StrangerKind::Wild => {
                if let Some(wild) = &mut self.wild {
                    wild.think(&mut self.dice, &mut self.unsaid);
                }
            }
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
                    for _ in 0..*self.dice.pick(&[0, 1, 1, 1, 1, 2]) {
                        Unsubscribe {
                            id,
                            name: topic,
                            is_filter: false,
                        }
                        .encode(&mut self.unsaid);
                    }
                }
            }
            StrangerKind::Pusher => {
                for _ in 0..times {
                    self.record(500);
                }
            }
            StrangerKind::Trickler => {
                self.record(1_200);
            }
            StrangerKind::Halfway if self.said == 1 => {
                self.record(100_000);
                let keep = self.dice.among(1, self.unsaid.len() as u64 - 1);
                self.unsaid
                    .truncate(usize::try_from(keep).expect("a part of a record"));
            }
            StrangerKind::Halfway => {}
            StrangerKind::Dripper => self.record(30),
            StrangerKind::Deaf | StrangerKind::Sipper if self.said == 1 => {
                let topic = self.dice.pick(topics).name.clone();
                self.subscribe(&topic);
            }
            StrangerKind::Deaf | StrangerKind::Sipper => {}
            StrangerKind::Asker => (0..times).for_each(|id| self.ask(id as u32)),
            StrangerKind::Visitor => self.record(30),
        }
    }

    fn ask(&mut self, id: u32) {
        let question = match self.dice.below(3) {
            0 => Question::Stats,
            1 => Question::Lag,
            _ => Question::Topics { after: "" },
        };
        Query { id, question }.encode(&mut self.unsaid);
    }

    fn babble(&mut self) {
        if self.dice.one_in(6) {
            // What only a broker says.
            let (id, outcome) = (1, Outcome::Ok);
            Unsubscribed { id, outcome }.encode(&mut self.unsaid);
            return;
        }
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
        let topic = Subscription::new(topic, Start::Earliest, None);
        Subscribe::encode(self.said as u32, &[topic], &mut self.unsaid);
    }

    fn record(&mut self, size: usize) {
        let topics = match self.kind {
            // All of them to one shard.
            StrangerKind::Trickler => &["m/flood"][..],
            _ => &["m/flood", "w/flood", "s/flood"],
        };
        let topic = *self.dice.pick(topics);
        let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
        let payload = vec![b'x'; size];
        builder.push(&MessageRef::new(&payload)).expect("it fits");
        builder.finish_stored(self.said, &mut self.unsaid);
    }
}
