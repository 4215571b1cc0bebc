//! A subscriber: the client library's decisions over a link or a channel, an event stream, or JSON over WebSocket.

use std::time::Duration;

use oyez_broker::simulation::Broker;
use oyez_client::simulation::{Subscriber, Wire};
use oyez_client::{ConnectError, Epoch, Offset, Start, SubscribeError, SubscribeOptions};

use super::channel::{Channel, Wrapped};
use super::dice::Dice;
use super::link::{Link, Reach};
use super::plan::{Begin, StreamPlan, SubscriberPlan, TopicPlan};
use super::publisher::{Losses, connect_options};
use super::several::Several;
use super::stream::{Heard, Stream};
use super::talker::Talker;

/// A subscriber of the simulation.
pub(super) struct SubscriberSeat {
    pub(super) plan: SubscriberPlan,
    topic: String,
    ear: Ear,
    /// What it speaks WebSocket over.
    pub(super) channel: Option<Channel>,
    pub(super) losses: Losses,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// When it wants to be run again.
    pub(super) due_ms: Option<u64>,
    /// When it gives its next sign of life while it sleeps.
    beat_ms: Option<u64>,
    pub(super) asleep_until_ms: u64,
    deliveries: u64,
}

/// What it hears with.
enum Ear {
    Native(Box<Subscriber>),
    Stream(Box<Stream>),
    Json(Box<Talker>),
}

fn options(topic: &str, start: Start, epoch: Option<Epoch>) -> SubscribeOptions {
    let options = SubscribeOptions::topic(topic).from(start);
    match epoch {
        Some(epoch) => options.epoch(epoch),
        None => options,
    }
}

fn begin(
    topic: &str,
    start: Start,
    epoch: Option<Epoch>,
    read_max: usize,
    now: Duration,
) -> (Subscriber, Losses) {
    let (connect, losses) = connect_options("subscriber");
    let mut subscriber =
        Subscriber::new(options(topic, start, epoch), connect, now).expect("a good topic");
    subscriber.read_max(read_max);
    (subscriber, losses)
}

fn begin_stream(stream: &StreamPlan, plan: &SubscriberPlan, topics: &[TopicPlan]) -> Stream {
    let main = stream
        .topics
        .iter()
        .position(|number| *number == plan.topic);
    let names = stream.topics.iter();
    let names = names.map(|number| topics[*number].name.as_str().into());
    let several = main.map(|main| Several::new(names.collect(), main, stream.base64));
    let means = (plan.begin, plan.read_max);
    Stream::new(stream.clone(), &topics[plan.topic].name, several, means)
}

impl SubscriberSeat {
    pub(super) fn new(
        number: usize,
        plan: &SubscriberPlan,
        topics: &[TopicPlan],
        seed: u64,
        now: Duration,
    ) -> Self {
        let topic = &*topics[plan.topic].name;
        let start = match plan.begin {
            Begin::Latest => Start::Latest,
            Begin::Earliest => Start::Earliest,
        };
        let (subscriber, losses) = begin(topic, start, None, plan.read_max, now);
        let ear = match (&plan.stream, &plan.socket) {
            (_, Some(socket)) if !socket.is_native() => {
                let beside = socket.beside.iter();
                let beside = beside.map(|number| topics[*number].name.as_str().into());
                let means = (plan.begin, plan.read_max);
                Ear::Json(Box::new(Talker::new(topic, beside.collect(), means)))
            }
            (Some(stream), _) => Ear::Stream(Box::new(begin_stream(stream, plan, topics))),
            _ => Ear::Native(Box::new(subscriber)),
        };
        let channel = plan.socket.clone();
        let channel = channel.map(|plan| {
            let dice = Dice::new(seed, "subscriber's channel", number);
            Channel::new(plan, dice)
        });
        Self {
            plan: plan.clone(),
            topic: topic.to_owned(),
            ear,
            channel,
            losses,
            link: Link::new(plan.stream.is_none() && plan.socket.is_none()),
            dice: Dice::new(seed, "subscriber", number),
            due_ms: Some(0),
            beat_ms: None,
            asleep_until_ms: 0,
            deliveries: 0,
        }
    }

    /// Whether it has something to do at this time.
    pub(super) fn wants(&self, now_ms: u64) -> bool {
        if now_ms < self.asleep_until_ms {
            return self.beat_ms.is_some_and(|beat| beat <= now_ms);
        }
        let has_plain = self.channel.as_ref().is_some_and(Channel::has_plain);
        has_plain || self.link.has_news() || self.due_ms.is_some_and(|due| due <= now_ms)
    }

    /// When it has something to do although nothing arrives.
    pub(super) fn wakes_ms(&self) -> Option<u64> {
        let awake = self.due_ms.map(|due| due.max(self.asleep_until_ms));
        let beat = self.beat_ms.filter(|beat| *beat < self.asleep_until_ms);
        awake.into_iter().chain(beat).min()
    }

    pub(super) fn is_connected(&self) -> bool {
        match &self.ear {
            Ear::Native(subscriber) => subscriber.is_connected(),
            Ear::Stream(stream) => stream.is_streaming(),
            Ear::Json(_) => self.channel.as_ref().is_some_and(Channel::is_open),
        }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        match &self.ear {
            Ear::Native(subscriber) => subscriber.is_confirmed(),
            Ear::Stream(stream) => stream.is_confirmed(),
            Ear::Json(talker) => self.is_connected() && talker.is_begun(),
        }
    }

    pub(super) fn position(&self) -> (u64, u64) {
        match &self.ear {
            Ear::Native(subscriber) => (subscriber.epoch().get(), subscriber.position().get()),
            Ear::Stream(stream) => stream.position(),
            Ear::Json(talker) => talker.position(),
        }
    }

    /// Why it has given up, if it has.
    pub(super) fn error(&self) -> Option<GivenUp> {
        let refused = |words: &String| GivenUp {
            text: words.clone(),
            is_refused: true,
            is_damage: false,
        };
        match &self.ear {
            Ear::Native(subscriber) => subscriber.error().map(|error| GivenUp {
                text: error.to_string(),
                is_refused: matches!(error, SubscribeError::Refused { .. }),
                is_damage: matches!(
                    error,
                    SubscribeError::Disconnected(ConnectError::Damaged { .. })
                ),
            }),
            Ear::Stream(stream) => stream.refused.as_ref().map(refused),
            Ear::Json(talker) => talker.refused.as_ref().map(refused),
        }
    }

    /// Does what can be done now; while it sleeps, only gives signs of life.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn turn(&mut self, broker: Option<&Broker>, now: Duration) -> Result<(), String> {
        let now_ms = ms(now);
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
            .is_some_and(|channel| channel.is_in_the_way(now_ms, &mut reach));
        let sleeps = now_ms < self.asleep_until_ms;
        let mut below = |bound: u64| chance.below(bound.max(1));
        match (&mut self.ear, &mut self.channel) {
            _ if is_leaving => self.due_ms = None,
            (Ear::Native(subscriber), channel) => {
                let mut wrapped;
                let wire: &mut dyn Wire = match channel {
                    Some(channel) => {
                        wrapped = Wrapped { channel, reach };
                        &mut wrapped
                    }
                    None => &mut reach,
                };
                if sleeps {
                    self.beat_ms = subscriber.beat(now, wire).map(ms_up);
                    return self.take_fault();
                }
                self.due_ms = subscriber.turn(now, wire, &mut below).map(ms_up);
                self.beat_ms = Some(now_ms);
            }
            (Ear::Stream(stream), _) => {
                let losses = &mut *self.losses.lock().expect("one thread");
                self.due_ms = stream.turn(now_ms, &mut reach, losses)?;
            }
            (Ear::Json(talker), Some(channel)) => {
                let losses = &mut *self.losses.lock().expect("one thread");
                self.due_ms = talker.turn(now_ms, (channel, &mut reach), losses)?;
            }
            (Ear::Json(_), None) => {}
        }
        // This turn has noticed that the link is closed.
        self.link.closed = false;
        self.take_fault()
    }

    /// What the broker should not have said over WebSocket.
    fn take_fault(&mut self) -> Result<(), String> {
        let Some(channel) = &mut self.channel else {
            return Ok(());
        };
        self.due_ms = self.due_ms.into_iter().chain(channel.due_ms()).min();
        channel.take_fault().map_or(Ok(()), Err)
    }

    pub(super) fn next_heard(&mut self) -> Option<Heard> {
        let heard = match &mut self.ear {
            Ear::Native(subscriber) => Heard::Delivery(subscriber.next_delivery()?),
            Ear::Stream(stream) => stream.next_heard()?,
            Ear::Json(talker) => talker.next_heard()?,
        };
        self.deliveries += u64::from(!matches!(heard, Heard::Begun(_)));
        Some(heard)
    }

    /// What it has met since this was asked last.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        let mut notes = match &mut self.ear {
            Ear::Native(_) => Vec::new(),
            Ear::Stream(stream) => stream.take_notes(),
            Ear::Json(talker) => std::mem::take(&mut talker.notes),
        };
        if let Some(channel) = &mut self.channel {
            notes.append(&mut channel.notes);
        }
        notes
    }

    /// What was asked over WebSocket that is not answered.
    pub(super) fn unanswered(&self) -> usize {
        let commands = match &self.ear {
            Ear::Json(talker) => talker.unanswered(),
            _ => 0,
        };
        commands + self.channel.as_ref().map_or(0, Channel::unanswered)
    }

    /// The topics that it has asked for.
    pub(super) fn topics(&self) -> impl Iterator<Item = usize> {
        let stream = self.plan.stream.as_ref();
        let others = stream.map_or(&[][..], |stream| &stream.topics);
        std::iter::once(self.plan.topic).chain(others.iter().copied())
    }

    /// Whether it is time for it to leave and come back.
    pub(super) fn leaves(&self) -> bool {
        let after = self.plan.leaves_after;
        after.is_some_and(|after| self.deliveries >= after) && self.is_confirmed()
    }

    /// Leaves, and subscribes anew at a place; without one, at the beginning.
    pub(super) fn come_back(
        &mut self,
        place: Option<(u64, u64)>,
        broker: Option<&Broker>,
        now: Duration,
    ) {
        let mut reach = Reach {
            link: &mut self.link,
            broker,
            dice: &mut self.dice,
        };
        match (&mut self.ear, &mut self.channel) {
            (Ear::Native(subscriber), Some(channel)) => {
                subscriber.close(now, &mut Wrapped { channel, reach });
            }
            (Ear::Native(subscriber), None) => {
                subscriber.close(now, &mut reach);
                self.link.close();
            }
            (_, Some(channel)) => channel.leave(&mut reach),
            (_, None) => self.link.close(),
        }
        (self.deliveries, self.due_ms, self.beat_ms) = (0, Some(0), None);
        if let Ear::Stream(stream) = &mut self.ear {
            **stream = stream.again(place.is_some());
            return;
        }
        if let Ear::Json(talker) = &mut self.ear {
            **talker = talker.again(place.is_some());
            return;
        }
        let (start, epoch) = match place {
            Some((epoch, offset)) => {
                let known = (epoch != 0).then(|| Epoch::new(epoch));
                (Start::Offset(Offset::new(offset)), known)
            }
            None => (Start::Earliest, None),
        };
        let (subscriber, losses) = begin(&self.topic, start, epoch, self.plan.read_max, now);
        (self.ear, self.losses) = (Ear::Native(Box::new(subscriber)), losses);
    }
}

/// Why a subscriber has given up.
#[derive(Clone, Debug)]
pub(super) struct GivenUp {
    pub(super) text: String,
    /// The broker has answered that it cannot be.
    pub(super) is_refused: bool,
    /// What came was damaged again and again.
    pub(super) is_damage: bool,
}

/// Whole milliseconds of a time.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The first whole millisecond at which a time has come.
pub(super) fn ms_up(time: Duration) -> u64 {
    let part = u64::from(!time.subsec_nanos().is_multiple_of(1_000_000));
    ms(time).saturating_add(part)
}
