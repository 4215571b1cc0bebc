//! A publisher: the client library's decisions over a link, with messages whose fate is followed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oyez_broker::simulation::Broker;
use oyez_client::simulation::{Publisher, Ticket};
use oyez_client::{
    ConnectError, ConnectOptions, ConnectionError, ConnectionEvent, NewMessage, Outcome,
    PublishError, PublisherOptions, ReconnectPolicy,
};

use super::dice::Dice;
use super::link::{Link, Reach};
use super::message::{MessageId, payload};
use super::plan::{PublisherPlan, TopicPlan};
use super::subscriber::ms_up;

/// What a publisher has to tell of one of its messages.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It is in its topic.
    Acknowledged { epoch: u64, offset: u64 },
    /// It is not, and will not be.
    Refused(Outcome),
    /// Nobody knows.
    Unknown,
}

/// A publisher of the simulation.
pub(super) struct PublisherSeat {
    number: u16,
    pub(super) plan: PublisherPlan,
    publisher: Publisher,
    pub(super) losses: Losses,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// Messages whose fate is not known.
    waiting: VecDeque<(Ticket, MessageId)>,
    made: u32,
    /// When it wants to be run again.
    pub(super) due_ms: Option<u64>,
    pub(super) asleep_until_ms: u64,
    /// It publishes nothing before that.
    pauses_until_ms: u64,
    /// No more messages are published.
    pub(super) is_closing: bool,
}

/// Why connections were lost.
pub(super) type Losses = Arc<Mutex<Vec<ConnectionError>>>;

/// How a client of the simulation connects: it comes back often enough for a simulation, and without end.
pub(super) fn connect_options(name: &str) -> (ConnectOptions, Losses) {
    let losses = Losses::default();
    let heard = Arc::clone(&losses);
    let policy = ReconnectPolicy::default()
        .cap(Duration::from_secs(4))
        .give_up_after(None);
    let options = ConnectOptions::new()
        .name(name)
        .reconnect(policy)
        .on_event(move |event| {
            if let ConnectionEvent::Lost { error, .. } = event {
                heard.lock().expect("one thread").push(error.clone());
            }
        });
    (options, losses)
}

impl PublisherSeat {
    pub(super) fn new(number: usize, plan: &PublisherPlan, seed: u64, now: Duration) -> Self {
        let (options, losses) = connect_options("publisher");
        let batches = PublisherOptions {
            batch_messages: 8,
            linger: Duration::from_millis(5),
            ..PublisherOptions::default()
        };
        Self {
            number: number as u16,
            plan: plan.clone(),
            losses,
            publisher: Publisher::new(options, batches, now).expect("no credentials"),
            link: Link::default(),
            dice: Dice::new(seed, "publisher", number),
            waiting: VecDeque::new(),
            made: 0,
            due_ms: Some(0),
            asleep_until_ms: 0,
            pauses_until_ms: 0,
            is_closing: false,
        }
    }

    /// Whether it has something to do at this time.
    pub(super) fn wants(&self, now_ms: u64) -> bool {
        now_ms >= self.asleep_until_ms
            && (self.link.has_news()
                || self.due_ms.is_some_and(|due| due <= now_ms)
                || self.pauses_until_ms <= now_ms && self.has_messages_left())
    }

    fn has_messages_left(&self) -> bool {
        !self.is_closing && self.made < self.plan.messages && self.publisher.is_connected()
    }

    /// Messages whose fate is not known.
    pub(super) fn unsettled(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.publisher.is_connected()
    }

    /// Whether the fate of all its messages is known.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && (self.publisher.is_over() || self.publisher.is_settled())
    }

    /// Why it has given up, if it has, and whether that is for damage again and again.
    pub(super) fn error(&self) -> Option<(String, bool)> {
        let error = self.publisher.error()?;
        Some((
            error.to_string(),
            matches!(error, ConnectError::Damaged { .. }),
        ))
    }

    /// Begins anew after it has given up.
    pub(super) fn begin_again(&mut self, seed: u64, now: Duration) {
        let (number, plan) = (usize::from(self.number), self.plan.clone());
        let fresh = Self::new(number, &plan, seed ^ u64::from(self.made), now);
        (self.publisher, self.losses) = (fresh.publisher, fresh.losses);
        self.link.close();
        self.due_ms = Some(0);
    }

    /// How many messages it publishes now, at most.
    pub(super) fn begin_burst(&mut self, now_ms: u64) -> u64 {
        if now_ms < self.pauses_until_ms || !self.has_messages_left() {
            return 0;
        }
        let pause_ms = self.plan.pause_ms;
        if pause_ms > 0 {
            self.pauses_until_ms = now_ms + self.dice.among(1, pause_ms);
        }
        self.dice.below(self.plan.burst)
    }

    /// Publishes a message if it may; gives its name, with its size.
    pub(super) fn publish(
        &mut self,
        topics: &[TopicPlan],
        now: Duration,
    ) -> Option<(MessageId, usize)> {
        if !self.has_messages_left() {
            return None;
        }
        let topic = *self.dice.pick(&self.plan.topics);
        let id = MessageId {
            topic: topic as u16,
            publisher: self.number,
            number: self.made,
        };
        let (least, most) = (
            self.plan.size_min,
            self.plan.size_max.max(self.plan.size_min),
        );
        let most = self.dice.among(least, most);
        let size = usize::try_from(self.dice.among(least, most)).expect("a small payload");
        let bytes = payload(id, size);
        let mut message = NewMessage::new(&bytes);
        let number = id.number.to_le_bytes();
        if id.number % 5 == 1 {
            message = message.key(&number);
        }
        if id.number % 7 == 2 {
            message = message.header("number", &number);
        }
        let name = &*topics[topic].name;
        let taken = match self.plan.batches && self.dice.below(3) > 0 {
            true => self.publisher.push(name, message, now),
            false => self.publisher.publish(name, message, now),
        };
        // An earlier failure is told with the next message, which is then not taken: the tickets tell it, too.
        let ticket = taken.ok().flatten()?;
        self.made += 1;
        self.waiting.push_back((ticket, id));
        self.due_ms = Some(0);
        Some((id, size))
    }

    /// Does what can be done now.
    pub(super) fn turn(&mut self, broker: Option<&Broker>, now: Duration) {
        let mut chance = self.dice.clone();
        self.dice.next();
        let mut wire = Reach {
            link: &mut self.link,
            broker,
            dice: &mut self.dice,
        };
        let due = self
            .publisher
            .turn(now, &mut wire, &mut |bound| chance.below(bound.max(1)));
        // This turn has noticed that the link is closed.
        self.link.closed = false;
        self.due_ms = due.map(ms_up);
    }

    /// The next message whose fate has become known.
    pub(super) fn next_told(&mut self) -> Option<(MessageId, Told)> {
        for place in 0..self.waiting.len() {
            let (ticket, id) = self.waiting[place];
            let Some(outcome) = self.publisher.outcome(ticket) else {
                continue;
            };
            self.waiting.remove(place);
            let told = match outcome {
                Ok(ack) => Told::Acknowledged {
                    epoch: ack.epoch.get(),
                    offset: ack.offset.get(),
                },
                Err(PublishError::Refused { outcome, .. }) => Told::Refused(outcome),
                Err(_) => Told::Unknown,
            };
            return Some((id, told));
        }
        None
    }
}
