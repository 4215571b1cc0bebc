//! Everything of a run, and what happens to it: one step after another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use oyez_broker::simulation::SetClock;
use oyez_client::Delivery;
use oyez_storage::{MemoryDisk, OpStage};

use super::channel::Channel;
use super::coverage::{self, Coverage};
use super::dice::Dice;
use super::fault::Lift;
use super::judge::Behind;
use super::link::Link;
use super::machine::{Fall, Machine};
use super::oracle::{Oracle, Verdict};
use super::plan::{Begin, FaultKind, Plan, Without};
use super::publisher::{PublisherSeat, Told};
use super::stranger::StrangerSeat;
use super::stream::Heard;
use super::subscriber::SubscriberSeat;
use super::trace::Trace;

/// When a run begins, by its clock.
const BEGIN_MS: u64 = 1_000_000;
/// Of so many turns a slow shard comes to about one.
const SLOW_TURNS: u64 = 40;
/// Milliseconds that a slow disk takes for an operation, at most.
const SLOW_DISK_MS: u64 = 30;
/// Steps that a fault lasts at most.
const FAULT_STEPS: u64 = 400;

/// Who may take the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    Shard(usize),
    Disk(usize),
    Client(usize),
}

/// A run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) without: Without,
    pub(super) clock: SetClock,
    pub(super) machine: Machine,
    pub(super) oracle: Oracle,
    pub(super) trace: Trace,
    pub(super) coverage: Coverage,
    pub(super) fault_dice: Dice,
    pub(super) steps: u64,
    pub(super) dice: Dice,
    pub(super) publishers: Vec<PublisherSeat>,
    pub(super) subscribers: Vec<SubscriberSeat>,
    pub(super) strangers: Vec<StrangerSeat>,
    /// Faults that last, with the step that ends each.
    pub(super) lifts: VecDeque<(u64, Lift)>,
    pub(super) actors: Vec<Actor>,
    /// Turns in a row that each shard has taken for nothing.
    pub(super) idle_turns: Vec<u32>,
    /// Sockets of each shard that have many answers to take, while it is short of room for them.
    pub(super) behind: Vec<BTreeMap<u32, Behind>>,
    /// When each disk goes on with what it was given.
    pub(super) disk_due_ms: Vec<u64>,
    /// Steps until which each shard gets no time.
    pub(super) starved_until: Vec<u64>,
    /// Some shard comes to its turns when nobody else wants one, or has done so.
    pub(super) comes_last: bool,
    begun_ms: u64,
}

impl World {
    pub(super) fn new(plan: Plan, without: Without, trace: Trace) -> Self {
        let clock = SetClock::new(BEGIN_MS);
        let now = Duration::from_millis(BEGIN_MS);
        let machine = Machine::new(&plan, &clock);
        let mut oracle = Oracle::new(&plan, &machine.dir);
        let publishers = plan.publishers.iter().enumerate();
        let publishers = publishers
            .map(|(number, publisher)| PublisherSeat::new(number, publisher, plan.seed, now))
            .collect();
        let subscribers = plan.subscribers.iter().enumerate();
        let subscribers = subscribers
            .map(|(number, subscriber)| {
                let follower = oracle.follow(subscriber.topic, subscriber.begin == Begin::Earliest);
                assert_eq!(follower, number, "they are numbered alike");
                SubscriberSeat::new(number, subscriber, &plan.topics, plan.seed, now)
            })
            .collect();
        let strangers = plan.strangers.iter().enumerate();
        let strangers = strangers
            .map(|(number, kind)| StrangerSeat::new(number, *kind, plan.seed))
            .collect();
        Self {
            dice: Dice::new(plan.seed, "schedule", 0),
            fault_dice: Dice::new(plan.seed, "faults", 0),
            plan,
            without,
            clock,
            machine,
            oracle,
            trace,
            coverage: Coverage::default(),
            steps: 0,
            publishers,
            subscribers,
            strangers,
            lifts: VecDeque::new(),
            actors: Vec::new(),
            idle_turns: vec![0; 4],
            behind: vec![BTreeMap::new(); 4],
            disk_due_ms: vec![0; 4],
            starved_until: vec![0; 4],
            comes_last: false,
            begun_ms: BEGIN_MS,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What nothing explains.
    pub(super) fn run(&mut self) -> Verdict {
        self.oracle.is_rough = self.is_rough();
        while self.steps < self.plan.steps {
            self.step()?;
            self.perhaps_strike();
        }
        self.calm_down()?;
        self.end_faults();
        self.settle()?;
        self.audit()?;
        // What is promised of an end is tried once more, with everything in its place.
        match self.dice.below(3) {
            0 => self.fall(Fall::Power),
            1 => self.fall(Fall::Process),
            _ => drop(self.ask_to_stop()),
        }
        self.settle()?;
        self.audit()?;
        self.note_net();
        Ok(())
    }

    /// Tells what the seed means.
    pub(super) fn describe(&mut self) {
        let plan = self.plan.clone();
        let Plan { seed, shards, .. } = plan;
        let faults: Vec<&str> = plan.faults.iter().map(|kind| kind.name()).collect();
        self.tell(
            format_args!("seed {seed}"),
            format_args!("{shards} shards; faults: {}", faults.join(", ")),
        );
        for (number, publisher) in plan.publishers.iter().enumerate() {
            self.tell(
                format_args!("seed {seed}"),
                format_args!("publisher {number}: {publisher:?}"),
            );
        }
        for (number, subscriber) in plan.subscribers.iter().enumerate() {
            self.tell(
                format_args!("seed {seed}"),
                format_args!("subscriber {number}: {subscriber:?}"),
            );
        }
        for (number, stranger) in plan.strangers.iter().enumerate() {
            self.tell(
                format_args!("seed {seed}"),
                format_args!("stranger {number}: {stranger:?}"),
            );
        }
    }

    pub(super) fn simulated_ms(&self) -> u64 {
        self.clock.now_ms() - self.begun_ms
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.clock.now_ms())
    }

    pub(super) fn tell(&mut self, who: std::fmt::Arguments<'_>, what: std::fmt::Arguments<'_>) {
        self.trace.tell(self.clock.now_ms(), who, what);
    }

    // Clients by their numbers: publishers, then subscribers, then strangers.

    pub(super) fn clients(&self) -> usize {
        self.publishers.len() + self.subscribers.len() + self.strangers.len()
    }

    /// Whether a client of the plan is left out. Auditors are none, though they have numbers of that kind.
    pub(super) fn is_left_out(&self, client: usize) -> bool {
        let first = self.publishers.len() + self.plan.subscribers.len();
        let is_auditor = client >= first && self.subscribers.len() > self.plan.subscribers.len();
        !is_auditor && self.without.clients.contains(&client)
    }

    pub(super) fn name_of(&self, client: usize) -> String {
        let (publishers, subscribers) = (self.publishers.len(), self.subscribers.len());
        match client {
            _ if client < publishers => format!("publisher {client}"),
            _ if client < publishers + subscribers => format!("subscriber {}", client - publishers),
            _ => format!("stranger {}", client - publishers - subscribers),
        }
    }

    pub(super) fn link_mut(&mut self, client: usize) -> Option<&mut Link> {
        let (publishers, subscribers) = (self.publishers.len(), self.subscribers.len());
        Some(match client {
            _ if client < publishers => &mut self.publishers[client].link,
            _ if client < publishers + subscribers => {
                &mut self.subscribers[client - publishers].link
            }
            _ => {
                &mut self
                    .strangers
                    .get_mut(client - publishers - subscribers)?
                    .link
            }
        })
    }

    /// Lets a client do nothing for a while.
    pub(super) fn keep_still(&mut self, client: usize, until_ms: u64) -> Option<()> {
        let publishers = self.publishers.len();
        let until = match client {
            _ if client < publishers => &mut self.publishers[client].asleep_until_ms,
            _ => {
                let seat = self.subscribers.get_mut(client - publishers)?;
                &mut seat.asleep_until_ms
            }
        };
        *until = until_ms;
        Some(())
    }

    // Faults.

    fn perhaps_strike(&mut self) {
        let due = self.lifts.iter().position(|(at, _)| *at <= self.steps);
        if let Some((_, lift)) = due.and_then(|place| self.lifts.remove(place)) {
            self.tell(format_args!("fault"), format_args!("{lift:?} is over"));
            self.lift(lift);
        }
        if self.plan.faults.is_empty() || !self.fault_dice.one_in(self.plan.fault_every) {
            return;
        }
        let kind = *self.fault_dice.pick(&self.plan.faults);
        if self.without.faults.contains(&kind) {
            return;
        }
        if let Some(what) = self.strike(kind) {
            self.coverage.meet(&format!("fault {kind}"));
            self.tell(format_args!("fault"), format_args!("{what}"));
        }
    }

    /// Whether faults of this kind are among those of the run.
    pub(super) fn may_strike(&self, kind: FaultKind) -> bool {
        self.plan.faults.contains(&kind) && !self.without.faults.contains(&kind)
    }

    pub(super) fn lift_later(&mut self, lift: Lift) {
        let at = self.steps + self.fault_dice.among(1, FAULT_STEPS);
        self.lifts.push_back((at, lift));
    }

    /// Ends all faults.
    pub(super) fn lift_all(&mut self) {
        self.tell(format_args!("everything"), format_args!("faults are over"));
        for (_, lift) in std::mem::take(&mut self.lifts) {
            self.lift(lift);
        }
        for client in 0..self.clients() {
            self.lift(Lift::Socket(client));
        }
        for disk in 0..self.machine.disks.len() {
            self.lift(Lift::Disk(disk));
        }
        self.starved_until.fill(0);
        for publisher in &mut self.publishers {
            publisher.asleep_until_ms = 0;
        }
        for subscriber in &mut self.subscribers {
            subscriber.asleep_until_ms = 0;
        }
    }

    /// No more faults, and no more of what was not to be: from here on everything has to come to rest.
    fn end_faults(&mut self) {
        self.lift_all();
        for stranger in &mut self.strangers {
            stranger.link.close();
        }
        self.strangers.clear();
        for publisher in &mut self.publishers {
            publisher.is_closing = true;
            (publisher.link.flips_in, publisher.link.flips_out) = (false, false);
        }
        for subscriber in &mut self.subscribers {
            subscriber.plan.leaves_after = None;
            (subscriber.link.flips_in, subscriber.link.flips_out) = (false, false);
        }
    }

    /// The broker is gone.
    pub(super) fn fall(&mut self, fall: Fall) {
        let run = self.machine.runs;
        let was_clean = self.machine.stopped_cleanly;
        self.tell(
            format_args!("machine"),
            format_args!("broker {run} is gone: {fall:?}"),
        );
        self.machine.fall(fall, &self.plan, &mut self.coverage);
        self.behind.fill(BTreeMap::new());
        self.oracle.fell(fall, run, was_clean);
        for client in 0..self.clients() {
            let mut dice = self.dice.clone();
            self.dice.next();
            if let Some(link) = self.link_mut(client) {
                link.lose(&mut dice, was_clean);
            }
        }
        // What was wrong with the broker's network went with it.
        self.lifts
            .retain(|(_, lift)| !matches!(lift, Lift::Net(_) | Lift::Socket(_)));
    }

    pub(super) fn ask_to_stop(&mut self) -> Option<String> {
        let now_ms = self.clock.now_ms();
        self.machine.broker.as_mut()?.stop();
        self.machine.stopping_since_ms.get_or_insert(now_ms);
        Some("the broker is asked to stop".to_owned())
    }

    // Steps.

    /// One step: something is done, or time passes until something can be.
    pub(super) fn step(&mut self) -> Verdict {
        self.steps += 1;
        if self.machine.broker.is_none() && self.machine.starts_at_ms <= self.clock.now_ms() {
            return self.start();
        }
        self.look_at_the_end()?;
        if let Some(broker) = &self.machine.broker
            && self.dice.one_in(self.plan.touch_every)
            && broker.touch_block()
        {
            self.coverage.meet("arena block touched");
        }
        self.gather();
        if self.actors.is_empty() {
            self.wait();
            return Ok(());
        }
        if self.dice.one_in(4) {
            let ms = self.dice.among(1, self.plan.step_ms);
            self.clock.pass(ms);
        }
        let mut actor = *self.dice.pick(&self.actors);
        if let (Some(slow), Actor::Shard(shard)) = (self.plan.slow_shard, actor)
            && slow == shard
            && !self.dice.one_in(SLOW_TURNS)
        {
            actor = *self.dice.pick(&self.actors);
        }
        match actor {
            Actor::Shard(shard) => self.turn(shard),
            Actor::Disk(disk) => {
                self.advance(disk);
                Ok(())
            }
            Actor::Client(client) => {
                if let Some(broker) = &self.machine.broker {
                    broker.tell_the_time();
                }
                self.act(client)
            }
        }
    }

    pub(super) fn gather(&mut self) {
        self.gather_but(true);
        // Nobody is kept from a processor that nobody else wants.
        if self.actors.is_empty() {
            self.gather_but(false);
        }
    }

    /// Notes who may take the next step. With `may_starve`, shards that get no time at the moment may not.
    fn gather_but(&mut self, may_starve: bool) {
        let now_ms = self.clock.now_ms();
        self.actors.clear();
        if let Some(broker) = &self.machine.broker {
            let is_starved = |shard: usize| may_starve && self.starved_until[shard] > self.steps;
            let shards =
                (0..broker.shards()).filter(|shard| broker.is_due(*shard) && !is_starved(*shard));
            self.actors.extend(shards.map(Actor::Shard));
            let disks = self.working_disks().filter(|(_, due)| *due <= now_ms);
            let disks: Vec<Actor> = disks.map(|(disk, _)| Actor::Disk(disk)).collect();
            self.actors.extend(disks);
        }
        let publishers = self.publishers.iter().map(|seat| seat.wants(now_ms));
        let subscribers = self.subscribers.iter().map(|seat| seat.wants(now_ms));
        let strangers = self.strangers.iter().map(|seat| seat.wants(now_ms));
        let wants = publishers.chain(subscribers).chain(strangers);
        let wanting = wants.enumerate().filter(|(_, wants)| *wants);
        self.actors
            .extend(wanting.map(|(client, _)| Actor::Client(client)));
        if !self.without.clients.is_empty() {
            let mut actors = std::mem::take(&mut self.actors);
            actors.retain(
                |actor| !matches!(actor, Actor::Client(client) if self.is_left_out(*client)),
            );
            self.actors = actors;
        }
    }

    /// Disks that have something to do, and when they do it.
    pub(super) fn working_disks(&self) -> impl Iterator<Item = (usize, u64)> {
        let disks = self.machine.disks.iter().zip(&self.disk_due_ms).enumerate();
        let works = |disk: &MemoryDisk| self.plan.paced_disks && disk.pending() > 0;
        disks.filter_map(move |(number, (disk, due_ms))| works(disk).then_some((number, *due_ms)))
    }

    /// Time passes until somebody has something to do.
    fn wait(&mut self) {
        let now_ms = self.clock.now_ms();
        let broker = self.machine.broker.as_ref();
        let shards = broker
            .into_iter()
            .flat_map(|broker| (0..broker.shards()).filter_map(|shard| broker.due_ms(shard)));
        let publishers = self
            .publishers
            .iter()
            .filter_map(|seat| seat.due_ms.map(|due| due.max(seat.asleep_until_ms)));
        let subscribers = self.subscribers.iter().filter_map(SubscriberSeat::wakes_ms);
        let strangers = self.strangers.iter().filter_map(StrangerSeat::wakes_ms);
        let start = broker.is_none().then_some(self.machine.starts_at_ms);
        let disks = self.working_disks().map(|(_, due_ms)| due_ms);
        let dues = shards.chain(publishers).chain(subscribers).chain(strangers);
        let dues = dues.chain(disks);
        let next = dues.chain(start).filter(|due| *due > now_ms).min();
        let ms = next.map_or(1_000, |next| next - now_ms);
        self.clock.pass(ms);
    }

    fn start(&mut self) -> Verdict {
        self.oracle.started();
        match self.machine.start(&self.plan) {
            Ok(()) => {
                let run = self.machine.runs;
                self.tell(format_args!("machine"), format_args!("broker {run} serves"));
                self.tell_of_recovery();
                Ok(())
            }
            Err(error) => {
                self.tell(format_args!("machine"), format_args!("no broker: {error}"));
                self.coverage.meet("start refused");
                if !self.oracle.disk_trouble {
                    return Err(format!("the broker does not start: {error}"));
                }
                self.fall(Fall::Process);
                self.machine.starts_at_ms = self.clock.now_ms() + 1_000;
                Ok(())
            }
        }
    }

    fn tell_of_recovery(&mut self) {
        let broker = self.machine.broker.as_ref().expect("it has just begun");
        let found = broker.reports().iter().filter(|report| !report.is_new);
        for report in found.cloned().collect::<Vec<_>>() {
            let log = report.log.get();
            self.tell(
                format_args!("log {log}"),
                format_args!(
                    "opens {}; epoch {:x}{}, {} segments, {} bytes cut, {} footers made, gaps {:?}, set aside {:?}",
                    if report.clean { "clean" } else { "as it was left" },
                    report.epoch.get(),
                    if report.epoch_changed { ", which is new" } else { "" },
                    report.segments,
                    report.cut_bytes,
                    report.footers_rebuilt,
                    report.gaps,
                    report.set_aside,
                ),
            );
        }
    }

    fn advance(&mut self, number: usize) {
        let choice = self.dice.next();
        let Some(advanced) = self.machine.disks[number].advance(choice) else {
            return;
        };
        if self.plan.slow_disk == Some(number) {
            self.disk_due_ms[number] = self.clock.now_ms() + self.dice.among(1, SLOW_DISK_MS);
        }
        let how = match advanced.stage {
            OpStage::Started => "started",
            OpStage::Done => "done",
            OpStage::Short(_) => "short",
            OpStage::Failed(_) => "failed",
        };
        let site = coverage::site(&advanced.path);
        self.coverage
            .meet(&format!("disk {}{site}: {how}", advanced.step));
        self.tell(format_args!("disk {number}"), format_args!("{advanced}"));
    }

    fn act(&mut self, client: usize) -> Verdict {
        let (publishers, subscribers) = (self.publishers.len(), self.subscribers.len());
        match client {
            _ if client < publishers => self.publish(client),
            _ if client < publishers + subscribers => self.listen(client - publishers),
            _ => {
                let stranger = client - publishers - subscribers;
                let now_ms = self.clock.now_ms();
                let broker = self.machine.broker.as_ref();
                let seat = &mut self.strangers[stranger];
                seat.turn(broker, &self.plan.topics, now_ms);
                let (kind, told) = (seat.kind, std::mem::take(&mut seat.told));
                let was_cut = std::mem::take(&mut seat.was_cut_off);
                let is_changed = seat.link.flipped > 0 || self.oracle.bytes_have_changed;
                let fault = seat.fault.take().filter(|_| !is_changed);
                for what in told {
                    self.coverage.meet(&what);
                }
                self.tell(
                    format_args!("stranger {stranger}"),
                    format_args!("{kind:?}"),
                );
                let may_be = self.is_rough()
                    || self.loses_records()
                    || self.machine.stopping_since_ms.is_some();
                if let Some(why) = fault {
                    return Err(format!(
                        "stranger {stranger} hears what is no answer: {why}"
                    ));
                }
                match was_cut && !may_be {
                    true => Err(format!("stranger {stranger} is cut off while it reads")),
                    false => Ok(()),
                }
            }
        }
    }

    fn publish(&mut self, number: usize) -> Verdict {
        let now = self.now();
        let seat = &mut self.publishers[number];
        self.oracle.dials[number] = seat.link.dials;
        for _ in 0..seat.begin_burst(self.clock.now_ms()) {
            let Some((id, size)) = seat.publish(&self.plan.topics, now) else {
                break;
            };
            self.oracle.published(id, size);
            let (now_ms, topic) = (
                self.clock.now_ms(),
                &self.plan.topics[usize::from(id.topic)].name,
            );
            self.trace.tell(
                now_ms,
                format_args!("publisher {number}"),
                format_args!("publishes {id} of {size} bytes to {topic}"),
            );
        }
        let (dials, run) = (seat.link.dials, self.machine.runs);
        let was_welcomed = seat.is_owed_a_goodbye();
        let turned = seat.turn(self.machine.broker.as_ref(), now);
        if seat.link.dials > dials {
            seat.link.run = run;
        }
        self.oracle.dials[number] = seat.link.dials;
        for note in seat.take_notes() {
            self.coverage.meet(&note);
        }
        let losses = seat.losses.clone();
        let breach = seat.channel.as_mut().and_then(Channel::take_breach);
        self.note_breach(number, breach)?;
        self.note_losses(number, &losses, was_welcomed)?;
        turned.map_err(|why| format!("publisher {number} hears what is no answer: {why}"))?;
        while let Some((id, told)) = self.publishers[number].next_told() {
            let run = self.publishers[number].link.run;
            self.tell(
                format_args!("publisher {number}"),
                format_args!("hears of {id}: {told:?}"),
            );
            if let Told::Refused(outcome) = &told {
                self.coverage.meet(&format!("outcome {outcome:?}"));
            }
            self.oracle.told(id, &told, run)?;
        }
        self.look_after_publisher(number)
    }

    fn look_after_publisher(&mut self, number: usize) -> Verdict {
        let now = self.now();
        let (seed, seat) = (self.plan.seed, &mut self.publishers[number]);
        let Some((error, is_damage)) = seat.error() else {
            return Ok(());
        };
        if !is_damage || seat.link.flipped == 0 {
            return Err(format!("publisher {number} gives up: {error}"));
        }
        seat.begin_again(seed, now);
        self.coverage.meet("publisher gave up");
        self.tell(
            format_args!("publisher {number}"),
            format_args!("gives up: {error}"),
        );
        Ok(())
    }

    fn listen(&mut self, number: usize) -> Verdict {
        let now = self.now();
        let seat = &mut self.subscribers[number];
        let (dials, run) = (seat.link.dials, self.machine.runs);
        let was_welcomed = seat.is_connected();
        let turned = seat.turn(self.machine.broker.as_ref(), now);
        if seat.link.dials > dials {
            seat.link.run = run;
        }
        for note in seat.take_notes() {
            self.coverage.meet(&note);
        }
        let losses = seat.losses.clone();
        let breach = seat.channel.as_mut().and_then(Channel::take_breach);
        let client = self.publishers.len() + number;
        self.note_breach(client, breach)?;
        self.note_losses(client, &losses, was_welcomed)?;
        let mut count = 0;
        while let Some(heard) = self.subscribers[number].next_heard() {
            count += 1;
            self.hear(number, &heard)?;
        }
        turned.map_err(|why| format!("subscriber {number} hears what is no stream: {why}"))?;
        let seat = &self.subscribers[number];
        if count == 0 && seat.is_confirmed() && self.oracle.place(number).is_none() {
            let (epoch, offset) = seat.position();
            self.tell(
                format_args!("subscriber {number}"),
                format_args!("begins at {offset} of epoch {epoch:x}"),
            );
            self.oracle.joined(number, (epoch, offset))?;
        }
        self.look_after_subscriber(number)
    }

    fn hear(&mut self, number: usize, heard: &Heard) -> Verdict {
        match heard {
            Heard::Delivery(delivery) => self.deliver(number, delivery),
            Heard::Begun(place) => {
                let (epoch, offset) = place;
                self.tell(
                    format_args!("subscriber {number}"),
                    format_args!("begins at {offset} of epoch {epoch:x}"),
                );
                self.oracle.joined(number, *place)
            }
            Heard::Reference(from, to) => {
                self.tell(
                    format_args!("subscriber {number}"),
                    format_args!("is referred to {from} up to {to}"),
                );
                self.oracle.referred(number, (*from, *to))
            }
        }
    }

    fn deliver(&mut self, number: usize, delivery: &Delivery) -> Verdict {
        let run = self.subscribers[number].link.run;
        let who = format!("subscriber {number}");
        match delivery {
            Delivery::Message(message) => {
                let (offset, size) = (message.offset.get(), message.payload.len());
                self.tell(
                    format_args!("{who}"),
                    format_args!("gets {offset}, {size} bytes"),
                );
            }
            Delivery::Gap(gap) => {
                self.coverage.meet(&format!("gap {:?}", gap.cause));
                self.tell(format_args!("{who}"), format_args!("{gap}"));
            }
            Delivery::NewEpoch(change) => {
                self.coverage.meet("new epoch");
                self.tell(format_args!("{who}"), format_args!("{change}"));
            }
            other => self.tell(format_args!("{who}"), format_args!("{other:?}")),
        }
        let verdict = self.oracle.delivered(number, delivery, run);
        let topic = &self.plan.topics[self.subscribers[number].plan.topic].name;
        verdict.map_err(|why| format!("subscriber {number} of `{topic}`: {why}"))
    }

    fn look_after_subscriber(&mut self, number: usize) -> Verdict {
        let now = self.now();
        let broker = self.machine.broker.as_ref();
        let seat = &mut self.subscribers[number];
        let place = self.oracle.place(number);
        if let Some(error) = seat.error() {
            // Harm may have taken the newest messages with all that vouched for them: then only the beginning is left.
            let is_harmed = seat.topics().any(|topic| self.oracle.is_harmed(topic));
            let is_shorter = error.is_refused && is_harmed;
            let is_explained = seat.link.flipped > 0 || self.oracle.bytes_have_changed;
            if !(is_shorter || error.is_damage && is_explained) {
                return Err(format!("subscriber {number} gives up: {}", error.text));
            }
            if error.is_refused && !is_shorter {
                return Err(format!("subscriber {number} is refused: {}", error.text));
            }
            if is_shorter {
                self.oracle.forget_place(number);
            }
            seat.come_back(place.filter(|_| !is_shorter), broker, now);
            self.coverage.meet("subscriber gave up");
            self.tell(
                format_args!("subscriber {number}"),
                format_args!("gives up: {}", error.text),
            );
        } else if seat.leaves() {
            seat.come_back(place, broker, now);
            self.coverage.meet("subscriber came back");
            self.tell(
                format_args!("subscriber {number}"),
                format_args!("comes back at {place:?}"),
            );
        }
        Ok(())
    }

    fn note_net(&mut self) {
        if let Some(broker) = &self.machine.broker {
            for shard in 0..broker.shards() {
                for (what, times) in broker.net(shard).met() {
                    self.coverage.add(&format!("net {what}"), times);
                }
            }
        }
    }
}
