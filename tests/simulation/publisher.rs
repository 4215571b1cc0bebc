//! A publisher: the client library's decisions over a link or a channel, requests over HTTP, or commands in JSON, with messages whose
//! fate is followed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oyez_broker::simulation::Broker;
use oyez_client::simulation::{Publisher, Ticket};
use oyez_client::{
    Ack, ConnectError, ConnectOptions, ConnectionError, ConnectionEvent, NewMessage, Outcome,
    PublishError, PublisherOptions, ReconnectPolicy,
};

use super::channel::{Channel, Wrapped};
use super::dice::Dice;
use super::link::{Link, Reach};
use super::message::{MessageId, payload};
use super::plan::{PublisherPlan, TopicPlan};
use super::poster::Poster;
use super::subscriber::{ms, ms_up};
use super::teller::Teller;

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
    mouth: Mouth,
    /// What it speaks WebSocket over.
    pub(super) channel: Option<Channel>,
    pub(super) losses: Losses,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// Messages whose fate is not known.
    waiting: VecDeque<(Receipt, MessageId)>,
    made: u32,
    /// When it wants to be run again.
    pub(super) due_ms: Option<u64>,
    pub(super) asleep_until_ms: u64,
    /// It publishes nothing before that.
    pauses_until_ms: u64,
    /// No more messages are published.
    pub(super) is_closing: bool,
}

/// What it speaks with.
enum Mouth {
    Native(Box<Publisher>),
    Http(Box<Poster>),
    Json(Teller),
}

/// What it is given for a message, to ask for what became of that.
#[derive(Clone, Copy)]
enum Receipt {
    Ticket(Ticket),
    Request(u64),
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
        let publisher = Publisher::new(options, batches, now).expect("no credentials");
        let is_json = plan.socket.as_ref().is_some_and(|plan| !plan.is_native());
        let mouth = match plan.posts {
            Some(posts) => Mouth::Http(Box::new(Poster::new(posts, number, seed))),
            None if is_json => Mouth::Json(Teller::new()),
            None => Mouth::Native(Box::new(publisher)),
        };
        let channel = plan.socket.clone();
        let channel = channel.map(|plan| {
            let dice = Dice::new(seed, "publisher's channel", number);
            Channel::new(plan, dice)
        });
        Self {
            number: number as u16,
            plan: plan.clone(),
            losses,
            mouth,
            link: Link::new(plan.posts.is_none() && plan.socket.is_none()),
            channel,
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
        let takes_more = match &self.mouth {
            Mouth::Native(publisher) => publisher.is_connected(),
            Mouth::Http(poster) => poster.has_room(),
            Mouth::Json(teller) => {
                let plan = self.plan.socket.as_ref();
                teller.has_room(plan.map_or(1, |plan| plan.depth))
            }
        };
        !self.is_closing && self.made < self.plan.messages && takes_more
    }

    /// Messages whose fate is not known.
    pub(super) fn unsettled(&self) -> usize {
        self.waiting.len()
    }

    /// Pings over WebSocket that were not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.channel.as_ref().map_or(0, Channel::unanswered)
    }

    pub(super) fn is_connected(&self) -> bool {
        match &self.mouth {
            Mouth::Native(publisher) => publisher.is_connected(),
            Mouth::Http(poster) => poster.is_connected(),
            Mouth::Json(teller) => teller.is_connected(),
        }
    }

    /// Whether the broker owes it a word before it goes.
    pub(super) fn is_owed_a_goodbye(&self) -> bool {
        matches!(&self.mouth, Mouth::Native(publisher) if publisher.is_connected())
    }

    /// Whether the fate of all its messages is known.
    pub(super) fn is_settled(&self) -> bool {
        let is_settled = match &self.mouth {
            Mouth::Native(publisher) => publisher.is_over() || publisher.is_settled(),
            Mouth::Http(poster) => poster.is_settled(),
            Mouth::Json(teller) => teller.is_settled(),
        };
        self.waiting.is_empty() && is_settled
    }

    /// Why it has given up, if it has, and whether that is for damage again and again.
    pub(super) fn error(&self) -> Option<(String, bool)> {
        let Mouth::Native(publisher) = &self.mouth else {
            return None;
        };
        let error = publisher.error()?;
        Some((
            error.to_string(),
            matches!(error, ConnectError::Damaged { .. }),
        ))
    }

    /// Begins anew after it has given up.
    pub(super) fn begin_again(&mut self, seed: u64, now: Duration) {
        let (number, plan) = (usize::from(self.number), self.plan.clone());
        let fresh = Self::new(number, &plan, seed ^ u64::from(self.made), now);
        (self.mouth, self.losses) = (fresh.mouth, fresh.losses);
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
        let number = id.number.to_string();
        let number = number.as_bytes();
        if id.number % 5 == 1 {
            message = message.key(number);
        }
        if id.number % 7 == 2 {
            message = message.header("number", number);
        }
        let name = &*topics[topic].name;
        let receipt = match &mut self.mouth {
            Mouth::Native(publisher) => {
                let taken = match self.plan.batches && self.dice.below(3) > 0 {
                    true => publisher.push(name, message, now),
                    false => publisher.publish(name, message, now),
                };
                // An earlier failure is told with the next message, which is then not taken: the tickets tell it, too.
                Receipt::Ticket(taken.ok().flatten()?)
            }
            Mouth::Http(poster) => Receipt::Request(poster.publish(name, id, &bytes)),
            Mouth::Json(teller) => {
                let forgets = self.plan.socket.as_ref().is_some_and(|plan| plan.forgets);
                let waits = !(forgets && self.dice.one_in(4));
                Receipt::Request(teller.publish(name, id, (&bytes, waits)))
            }
        };
        self.made += 1;
        self.waiting.push_back((receipt, id));
        self.due_ms = Some(0);
        Some((id, size))
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// What the broker should not have answered to a request.
    pub(super) fn turn(&mut self, broker: Option<&Broker>, now: Duration) -> Result<(), String> {
        let mut chance = self.dice.clone();
        self.dice.next();
        let mut reach = Reach {
            link: &mut self.link,
            broker,
            dice: &mut self.dice,
        };
        let is_leaving = self
            .channel
            .as_mut()
            .is_some_and(|channel| channel.is_in_the_way(ms(now), &mut reach));
        let losses = self.losses.clone();
        let losses = || losses.lock().expect("one thread");
        let mut below = |bound: u64| chance.below(bound.max(1));
        self.due_ms = match (&mut self.mouth, &mut self.channel) {
            _ if is_leaving => None,
            (Mouth::Native(publisher), Some(channel)) => {
                let mut wrapped = Wrapped { channel, reach };
                publisher.turn(now, &mut wrapped, &mut below).map(ms_up)
            }
            (Mouth::Native(publisher), None) => {
                publisher.turn(now, &mut reach, &mut below).map(ms_up)
            }
            (Mouth::Http(poster), _) => poster.turn(ms(now), &mut reach, &mut losses())?,
            (Mouth::Json(teller), Some(channel)) => {
                teller.turn(ms(now), (channel, &mut reach), &mut losses())?
            }
            (Mouth::Json(_), None) => None,
        };
        // This turn has noticed that the link is closed.
        self.link.closed = false;
        let Some(channel) = &mut self.channel else {
            return Ok(());
        };
        self.due_ms = self.due_ms.into_iter().chain(channel.due_ms()).min();
        channel.take_fault().map_or(Ok(()), Err)
    }

    /// What was met over HTTP since this was asked last.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        match (&mut self.mouth, &mut self.channel) {
            (Mouth::Http(poster), _) => std::mem::take(&mut poster.notes),
            (_, Some(channel)) => std::mem::take(&mut channel.notes),
            _ => Vec::new(),
        }
    }

    /// The next message whose fate has become known.
    pub(super) fn next_told(&mut self) -> Option<(MessageId, Told)> {
        for place in 0..self.waiting.len() {
            let (receipt, id) = self.waiting[place];
            let told = match (&mut self.mouth, receipt) {
                (Mouth::Native(publisher), Receipt::Ticket(ticket)) => {
                    publisher.outcome(ticket).map(|outcome| told(&outcome))
                }
                (Mouth::Http(poster), Receipt::Request(number)) => poster.outcome(number),
                (Mouth::Json(teller), Receipt::Request(number)) => teller.outcome(number),
                _ => None,
            };
            if let Some(told) = told {
                self.waiting.remove(place);
                return Some((id, told));
            }
        }
        None
    }
}

fn told(outcome: &Result<Ack, PublishError>) -> Told {
    match outcome {
        Ok(ack) => Told::Acknowledged {
            epoch: ack.epoch.get(),
            offset: ack.offset.get(),
        },
        Err(PublishError::Refused { outcome, .. }) => Told::Refused(*outcome),
        Err(_) => Told::Unknown,
    }
}
