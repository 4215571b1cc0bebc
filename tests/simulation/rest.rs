//! The end of a run: everybody catches up, nothing is left to be done, and everything is read once more.

use super::oracle::Verdict;
use super::plan::{Begin, FaultKind, StrangerKind, SubscriberPlan};
use super::stranger::StrangerSeat;
use super::subscriber::SubscriberSeat;
use super::world::World;

/// Simulated time in which everybody has caught up when the faults have ended.
const SETTLE_MS: u64 = 600_000;
/// Steps in which that is so.
const SETTLE_STEPS: u64 = 400_000;

/// How long somebody may wait for what is there, while nobody has anything to do: a disk tries again after a second.
const STUCK_MS: u64 = 5_000;

/// Time and steps that strangers have to be read to their ends.
const CALM_MS: u64 = 20_000;
const CALM_STEPS: u64 = 20_000;

/// The client that waits while everything rests, and since when.
#[derive(Debug, Default)]
struct Still(Option<(String, u64)>);

impl Still {
    fn look(&mut self, stuck: Option<String>, now_ms: u64) -> Verdict {
        match (&self.0, stuck) {
            (_, None) => self.0 = None,
            (Some((who, since_ms)), Some(stuck)) if *who == stuck => {
                if now_ms - since_ms > STUCK_MS {
                    return Err(format!("everything rests since {since_ms}, and {stuck}"));
                }
            }
            (_, Some(stuck)) => self.0 = Some((stuck, now_ms)),
        }
        Ok(())
    }
}

impl World {
    /// Nothing goes wrong any more. Strangers say no more, and read what comes, some of them slowly: then everything that they
    /// have said has to be taken, and every subscriber gets what is there, before somebody else wakes anybody up.
    pub(super) fn calm_down(&mut self) -> Verdict {
        self.lift_all();
        let begun = self
            .machine
            .broker
            .as_ref()
            .map(oyez_broker::simulation::Broker::shards);
        if let Some(shards) = begun.filter(|_| self.dice.one_in(2)) {
            // One shard does everything when all others have done what they can.
            let shard = self.dice.index(shards);
            self.starved_until[shard] = u64::MAX;
            (self.comes_last, self.oracle.is_rough) = (true, true);
            self.coverage.meet("a shard comes last");
        }
        for stranger in &mut self.strangers {
            stranger.is_calm = stranger.kind != StrangerKind::Sipper;
        }
        let (until_ms, until) = (self.clock.now_ms() + CALM_MS, self.steps + CALM_STEPS);
        let mut still = Still::default();
        while self.clock.now_ms() < until_ms && self.steps < until {
            self.gather();
            if self.rests() {
                let stuck = self.who_is_not_read().or_else(|| self.who_is_left_behind());
                if stuck.is_none() && !self.strangers.iter().any(StrangerSeat::sips) {
                    break;
                }
                still.look(stuck, self.clock.now_ms())?;
            }
            self.step()?;
        }
        self.starved_until.fill(0);
        Ok(())
    }

    /// Whether the broker is there, and nobody has anything to do at the moment: no disk either, as slow as it may be.
    fn rests(&self) -> bool {
        self.actors.is_empty() && self.machine.broker.is_some() && self.working_disks().count() == 0
    }

    /// Tells whether something is not taken that strangers have said. What has not come whole may hold up the rest.
    fn who_is_not_read(&self) -> Option<String> {
        let unread: usize = self.strangers.iter().map(StrangerSeat::unread).sum();
        let says_halves = |seat: &StrangerSeat| {
            use StrangerKind::{Babbler, Dripper, Halfway, Leaver, Visitor, Wild};
            matches!(
                seat.kind,
                Babbler | Dripper | Halfway | Leaver | Visitor | Wild
            )
        };
        let flips = self.may_strike(FaultKind::Flip);
        let held = self.held_input();
        let may_hold = flips || self.strangers.iter().any(says_halves);
        (unread > 0 || held > 0 && !may_hold)
            .then(|| format!("{unread} bytes are not read, and {held} bytes not taken"))
    }

    /// Tells which subscriber has not got what others have, or what was acknowledged.
    fn who_is_left_behind(&self) -> Option<String> {
        let (number, at) = self.steady_subscribers().find_map(|(number, seat)| {
            let at = seat.position();
            self.oracle
                .goes_on(seat.plan.topic, at)
                .then_some((number, at))
        })?;
        Some(format!("subscriber {number} waits at {at:?}"))
    }

    /// Subscribers that have their subscriptions, and that no flipped bit has met.
    fn steady_subscribers(&self) -> impl Iterator<Item = (usize, &SubscriberSeat)> {
        let first = self.publishers.len();
        let subscribers = self.subscribers.iter().enumerate();
        subscribers.filter(move |(number, seat)| {
            !self.is_left_out(first + number) && seat.is_confirmed() && seat.link.flipped == 0
        })
    }

    fn held_input(&self) -> usize {
        let broker = self.machine.broker.iter();
        let held = broker.flat_map(|broker| (0..broker.shards()).map(|shard| broker.held(shard)));
        held.map(|held| held.input_bytes).sum()
    }

    /// Runs until everybody has caught up and nothing is left to be done.
    pub(super) fn settle(&mut self) -> Verdict {
        self.send_auditors();
        let (steps, since_ms) = (self.steps, self.clock.now_ms());
        let mut still = Still::default();
        loop {
            self.gather();
            let rests = self.rests();
            let waits = self.who_waits();
            if rests && waits.is_none() {
                return Ok(());
            }
            if rests {
                still.look(self.who_is_stuck(), self.clock.now_ms())?;
            }
            let (took, ms) = (self.steps - steps, self.clock.now_ms() - since_ms);
            if took > SETTLE_STEPS || ms > SETTLE_MS {
                let waits = waits.unwrap_or_else(|| format!("{:?} never rest", self.actors));
                return Err(format!(
                    "after {ms} ms and {took} steps without faults {waits}"
                ));
            }
            self.step()?;
        }
    }

    /// Subscribers that read every topic from its beginning.
    fn send_auditors(&mut self) {
        let now = self.now();
        self.subscribers.truncate(self.plan.subscribers.len());
        self.oracle.begin_audit(self.plan.subscribers.len());
        for topic in 0..self.plan.topics.len() {
            let plan = SubscriberPlan {
                topic,
                begin: Begin::Earliest,
                read_max: 1 << 18,
                leaves_after: None,
                stream: None,
                socket: None,
            };
            let number = self.oracle.follow(topic, true);
            let (topics, seed) = (&self.plan.topics, self.plan.seed);
            self.subscribers
                .push(SubscriberSeat::new(number, &plan, topics, seed, now));
        }
    }

    /// Tells what is not done yet, if anything.
    fn who_waits(&self) -> Option<String> {
        if self.machine.broker.is_none()
            || self.machine.stopping_since_ms.is_some()
            || self.machine.failed.is_some()
        {
            return Some("the broker is not back".to_owned());
        }
        let unsettled = self
            .publishers
            .iter()
            .enumerate()
            .position(|(number, seat)| !self.is_left_out(number) && !seat.is_settled());
        if let Some(number) = unsettled {
            return Some(format!(
                "publisher {number} has messages whose fate it does not know"
            ));
        }
        let broker = self.machine.broker.as_ref()?;
        for shard in 0..broker.shards() {
            let held = broker.held(shard);
            if held.input_bytes + held.output_bytes + held.questions > 0 {
                return Some(format!("shard {shard} holds {held}"));
            }
        }
        let first = self.publishers.len();
        for (number, seat) in self.subscribers.iter().enumerate() {
            if self.is_left_out(first + number) {
                continue;
            }
            if !seat.is_confirmed() {
                return Some(format!("subscriber {number} is not subscribed"));
            }
            let (at, head) = (seat.position(), self.head(seat.plan.topic));
            if at != head {
                return Some(format!(
                    "subscriber {number} is at {at:?}, where {head:?} is the end"
                ));
            }
        }
        self.who_is_gone()
    }

    /// Tells which connected client waits for what the broker has. Clients that a flipped bit has met may wait.
    fn who_is_stuck(&self) -> Option<String> {
        let publishers = self.publishers.iter().enumerate();
        let mut publishers = publishers.filter(|(number, _)| !self.is_left_out(*number));
        let unsettled = publishers.find(|(_, seat)| {
            let waits = seat.unsettled() + seat.unanswered() > 0;
            seat.is_connected() && waits && seat.link.flipped == 0
        });
        if let Some((number, seat)) = unsettled {
            let count = seat.unsettled() + seat.unanswered();
            return Some(format!("publisher {number} waits for {count} answers"));
        }
        let unanswered = self
            .steady_subscribers()
            .find(|(_, seat)| seat.unanswered() > 0);
        if let Some((number, seat)) = unanswered {
            let count = seat.unanswered();
            return Some(format!("subscriber {number} waits for {count} pongs"));
        }
        let behind = self.steady_subscribers().find(|(_, seat)| {
            let (at, head) = (seat.position(), self.head(seat.plan.topic));
            at.0 == head.0 && at.1 < head.1
        });
        if let Some((number, seat)) = behind {
            let at = seat.position();
            return Some(format!("subscriber {number} waits at {at:?}"));
        }
        self.who_is_gone()
    }

    /// Tells whether the broker has more sessions than there are connections.
    fn who_is_gone(&self) -> Option<String> {
        let broker = self.machine.broker.as_ref()?;
        let sessions: usize = (0..broker.shards())
            .map(|shard| broker.held(shard).sessions)
            .sum();
        let publishers = self.publishers.iter().map(|seat| &seat.link);
        let links = publishers.chain(self.subscribers.iter().map(|seat| &seat.link));
        let connections = links.filter(|link| link.peer().is_some()).count();
        (sessions > connections)
            .then(|| format!("there are {sessions} sessions for {connections} connections"))
    }

    /// Where a topic ends, as its auditor has seen it.
    fn head(&self, topic: usize) -> (u64, u64) {
        let auditor = self.plan.subscribers.len() + topic;
        self.subscribers[auditor].position()
    }

    pub(super) fn audit(&mut self) -> Verdict {
        for topic in 0..self.plan.topics.len() {
            let auditor = self.plan.subscribers.len() + topic;
            let head = self.head(topic);
            let name = self.plan.topics[topic].name.clone();
            self.tell(
                format_args!("auditor"),
                format_args!("`{name}` ends at {} of epoch {:x}", head.1, head.0),
            );
            self.oracle.audit(auditor, head)?;
        }
        Ok(())
    }
}
