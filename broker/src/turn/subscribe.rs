//! Beginning and ending subscriptions. Where one begins is known to the owner of the topic's log, and to every shard
//! that has been told and has followed the log since. A shard that does not know asks, and until the owner answers the
//! subscription stands in its topic's list without getting anything.

use oyez_protocol::command::{Start, Subscribe, Unsubscribe};
use oyez_protocol::event::{Outcome, Subscribed, Unsubscribed};
use oyez_protocol::{LogId, Position};
use oyez_storage::{Located, StartAt};
use tracing::error;

use crate::parts::budget::{Budget, SUBSCRIBE_STEPS};
use crate::parts::feed::Begin;
use crate::parts::mail::{Locate, LocateAnswer, Message, Wish};
use crate::parts::session::SessionId;
use crate::parts::subscription::{Delivery, Subscription, SubscriptionRef};
use crate::parts::taken::{Taken, Until};
use crate::shard::Shard;

/// Subscriptions of one session whose beginnings other shards are asked for at once.
const REQUESTS_MAX: u8 = 32;

impl Wish {
    /// Answers with what `locate` says of a topic in a log that begins at `log_start`.
    fn answer(
        self,
        log_start: Position,
        mut locate: impl FnMut(StartAt) -> Located,
    ) -> LocateAnswer {
        let mut located = locate(self.start);
        let epoch_changed = self.epoch.is_some_and(|epoch| epoch != located.epoch);
        if epoch_changed {
            located = locate(StartAt::Earliest);
        }
        let dropped = matches!(self.start, StartAt::At(offset) if offset < located.cursor);
        LocateAnswer {
            wish: self,
            located,
            epoch_changed,
            dropped: dropped && !epoch_changed,
            log_start,
        }
    }
}

impl Shard {
    pub(crate) fn subscribe(&mut self, id: SessionId, request: &Subscribe<'_>) -> Taken {
        self.reading.spend(SUBSCRIBE_STEPS, 0);
        let log = self.here.shared.log_of(request.topic);
        if let Some(wait) = self.wait_to_ask(id, self.here.shared.owner(log)) {
            return Taken::Later(wait);
        }
        let topic = self.registry.find_or_insert(request.topic, log);
        let refusal = self.subscription_refusal(id, topic);
        if refusal != Outcome::Ok {
            self.forget_if_unused(topic);
            return self.sessions.control(&self.here, id, |out| {
                Subscribed {
                    id: request.id,
                    outcome: refusal,
                    next: Default::default(),
                    earliest: Default::default(),
                    head: Default::default(),
                    epoch: Default::default(),
                    epoch_changed: false,
                    dropped: false,
                }
                .encode(out);
            });
        }
        let nonce = self.nonce();
        self.join(id, topic, log, nonce);
        let wish = Wish {
            session: id,
            topic,
            nonce,
            request: request.id,
            start: match request.start {
                Start::Latest => StartAt::Latest,
                Start::Earliest => StartAt::Earliest,
                Start::Offset(offset) => StartAt::At(offset),
            },
            epoch: request.epoch,
        };
        match self.answer_from_walk(wish, log) {
            Some(answer) => self.located(&answer),
            None => self.ask(wish, log),
        }
        Taken::Done
    }

    /// Where a subscription begins, if this shard knows the topic up to all that is visible.
    fn answer_from_walk(&mut self, wish: Wish, log: LogId) -> Option<LocateAnswer> {
        self.registry.get(wish.topic)?.begin?;
        if self.logs.has_news(log) {
            self.follow(log);
        }
        let known = self.logs.known(log);
        if !known.is_walked {
            return None; // There is a lot to follow; the owner knows already.
        }
        let (earliest, head) = self.registry.get(wish.topic)?.bounds(known.start)?;
        let epoch = known.epoch;
        let locate = |start: StartAt| {
            let (cursor, ahead) = start.within(earliest, head);
            Located {
                cursor,
                earliest,
                head,
                epoch,
                next_at_walked: head,
                ahead,
            }
        };
        Some(wish.answer(known.start, locate))
    }

    /// What has to come before a question of a session may be put to a shard. A question counts until it is answered, also
    /// if its subscription is over before.
    fn wait_to_ask(&self, id: SessionId, owner: usize) -> Option<Until> {
        if owner == self.here.id {
            return None;
        }
        let requests = self.sessions.get(id).map_or(0, |session| session.requests);
        if requests >= REQUESTS_MAX {
            return Some(Until::Answered);
        }
        (!self.outbox.may_ask(owner)).then_some(Until::Room)
    }

    /// Asks the owner of the log where a subscription begins.
    fn ask(&mut self, wish: Wish, log: LogId) {
        let Some(topic) = self.registry.get(wish.topic) else {
            return;
        };
        let (name, walked, owner) = (
            topic.name.clone(),
            self.logs.walked(log),
            self.here.shared.owner(log),
        );
        let locate = Locate {
            from: self.here.id,
            wish,
            log,
            name,
            walked,
        };
        if owner == self.here.id {
            self.locate(&locate);
        } else {
            let asked = self.outbox.ask(owner, locate);
            debug_assert!(asked, "`wait_to_ask` comes first");
            if let Some(session) = self.sessions.get_mut(wish.session) {
                session.requests += 1;
                self.held
                    .hold(self.here.now.monotonic_ms, wish.session, session);
            }
        }
    }

    fn subscription_refusal(&self, id: SessionId, topic: u32) -> Outcome {
        let Some(session) = self.sessions.get(id) else {
            return Outcome::Draining;
        };
        if session.subscriptions.find(topic).is_some() {
            Outcome::AlreadySubscribed
        } else if session.subscriptions.len() >= self.here.shared.config.max_subscriptions {
            Outcome::TooManySubscriptions
        } else {
            Outcome::Ok
        }
    }

    /// Puts a subscription into its topic's list.
    fn join(&mut self, id: SessionId, topic: u32, log: LogId, nonce: u32) {
        let Some(entry) = self.registry.get_mut(topic) else {
            return;
        };
        let slot = u32::try_from(entry.subscriptions.len())
            .expect("subscriptions are bounded by connections, far below 2^32");
        entry
            .subscriptions
            .push(Subscription::new(id.key(), Delivery::Pending(nonce)));
        if entry.walk.left > 0 {
            entry.walk.left += 1; // One more slot on the walk's way to those not visited yet.
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session
                .subscriptions
                .insert(SubscriptionRef { topic, slot });
        }
        self.here.metrics().subscriptions.add(1);
        self.here.shared.add_interest(log, self.here.id);
        self.logs.join(log);
    }

    /// Answers, as the owner of the log, where a subscription begins.
    pub(crate) fn locate(&mut self, ask: &Locate) {
        let log_start = self.logs.start(ask.log);
        let locate = |start| self.logs.locate(ask.log, &ask.name, start, ask.walked);
        let answer = ask.wish.answer(log_start, locate);
        if ask.from == self.here.id {
            self.located(&answer);
        } else {
            let from = self.here.id;
            self.outbox.say(ask.from, Message::Located { from, answer });
        }
    }

    /// A subscriber says that it has seen more of this very history than there is. No message was delivered before it was
    /// as safe as its topic is: either the subscriber is wrong, or the data directory is older than what was delivered.
    fn note_ahead(&mut self, topic: u32) {
        self.here.metrics().subscribers_ahead.add(1);
        let Some(log) = self.registry.get(topic).map(|topic| topic.log) else {
            return;
        };
        if self.logs.note_ahead(log) {
            error!(
                log = log.get(),
                "a subscriber resumes behind the newest message of this epoch: if the data directory was put back from a \
                 backup, restart with --restored, or others will miss messages in silence"
            );
        }
    }

    /// Another shard has answered where a subscription begins.
    pub(crate) fn answered(&mut self, from: usize, answer: &LocateAnswer) {
        self.freed |= self.outbox.answered(from);
        let id = answer.wish.session;
        let mut few = false;
        if let Some(session) = self.sessions.get_mut(id) {
            session.requests -= 1;
            few = session.requests <= REQUESTS_MAX / 2;
        }
        self.located(answer);
        if few {
            self.sessions.resume(id);
        }
    }

    /// It is known where a subscription begins.
    pub(crate) fn located(&mut self, answer: &LocateAnswer) {
        let Some(place) = self.pending_subscription(&answer.wish) else {
            return; // Unsubscribed, or gone, in the meantime.
        };
        let (id, located) = (answer.wish.session, &answer.located);
        let refused = located.ahead && !answer.epoch_changed;
        let outcome = if refused {
            Outcome::OffsetAhead
        } else {
            Outcome::Ok
        };
        self.sessions.control(&self.here, id, |out| {
            Subscribed {
                id: answer.wish.request,
                outcome,
                next: located.cursor,
                earliest: located.earliest,
                head: located.head,
                epoch: located.epoch,
                epoch_changed: answer.epoch_changed,
                dropped: answer.dropped,
            }
            .encode(out);
        });
        if let Some(session) = self.sessions.get_mut(id) {
            session.held = false;
        }
        if refused {
            if answer.wish.epoch.is_some() {
                self.note_ahead(answer.wish.topic);
            }
            self.leave(id, place);
            return;
        }
        if let Some(topic) = self.registry.get_mut(answer.wish.topic) {
            let begin = Begin {
                earliest: located.earliest,
                log_start: answer.log_start,
            };
            topic.learn(begin, located.next_at_walked);
            let subscription = &mut topic.subscriptions[place.slot as usize];
            subscription.set_delivery(Delivery::Live);
            subscription.cursor = located.cursor;
        }
    }

    fn pending_subscription(&self, wish: &Wish) -> Option<SubscriptionRef> {
        let session = self.sessions.get(wish.session)?;
        let place = session.subscriptions.find(wish.topic)?;
        let topic = self.registry.get(wish.topic)?;
        let subscription = topic.subscriptions.get(place.slot as usize)?;
        (subscription.delivery() == Delivery::Pending(wish.nonce)).then_some(place)
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, request: &Unsubscribe<'_>) -> Taken {
        self.reading.spend(SUBSCRIBE_STEPS, 0);
        let topic = self.registry.find(request.topic);
        let place = topic.and_then(|topic| self.sessions.get(id)?.subscriptions.find(topic));
        let outcome = match place {
            Some(place) => {
                self.leave(id, place);
                Outcome::Ok
            }
            None => Outcome::NotSubscribed,
        };
        self.sessions.control(&self.here, id, |out| {
            Unsubscribed {
                id: request.id,
                outcome,
            }
            .encode(out);
        })
    }

    /// Ends the subscriptions of a session, as far as the budget goes. Returns whether none is left.
    pub(crate) fn end_subscriptions(&mut self, id: SessionId, budget: &mut Budget) -> bool {
        while let Some(place) = self
            .sessions
            .get(id)
            .and_then(|session| session.subscriptions.as_slice().last().copied())
        {
            if budget.is_spent() {
                return false;
            }
            self.leave(id, place);
            budget.spend(SUBSCRIBE_STEPS, 0);
        }
        true
    }

    /// Takes a subscription out of its topic's list; the last one of the list moves into its slot.
    fn leave(&mut self, id: SessionId, place: SubscriptionRef) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscriptions.remove(place.topic);
        }
        let Some(topic) = self.registry.get_mut(place.topic) else {
            return;
        };
        let (slot, log) = (place.slot as usize, topic.log);
        let left = topic.subscriptions.swap_remove(slot);
        if topic.walk.slot >= topic.subscriptions.len() {
            topic.walk.slot = 0;
        }
        let walked = topic.walk.queued;
        if let Some(key) = topic.subscriptions.get(slot).map(|moved| moved.session) {
            if let Some(moved) = self.sessions.at_mut(key) {
                moved.subscriptions.moved(place.topic, place.slot);
            }
            // A walk under way may have passed this slot and not yet met who is in it now.
            if let Some(id) = self.sessions.id_at(key).filter(|_| walked) {
                self.sessions.queue_send(id);
            }
        }
        if let Delivery::CatchingUp(catchup) = left.delivery() {
            self.end_catchup(catchup);
        }
        self.here.metrics().subscriptions.subtract(1);
        self.here.shared.remove_interest(log, self.here.id);
        self.logs.leave(log);
        self.forget_if_unused(place.topic);
    }

    fn forget_if_unused(&mut self, topic: u32) {
        let unused = self
            .registry
            .get(topic)
            .is_some_and(|topic| topic.subscriptions.is_empty());
        if unused {
            self.registry.remove(topic);
        }
    }
}
