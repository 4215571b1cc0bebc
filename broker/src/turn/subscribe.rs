//! Beginning and ending subscriptions. The owner of a topic's log knows where a subscription begins, and so does every shard
//! that was told once and has followed the log since. A shard that does not know asks, and until the owner answers the
//! subscription stands in its topic's list without getting anything.

use oyez_protocol::command::Start;
use oyez_protocol::event::Outcome;
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{LogId, Position, topic};
use oyez_storage::{Located, StartAt};
use tracing::error;

use crate::dialect::command::{Reply, Subscribe, Subscribed};
use crate::parts::context::ShardContext;
use crate::parts::feed::Begin;
use crate::parts::handled::{Handled, Until};
use crate::parts::held::HeldReplies;
use crate::parts::logs::Logs;
use crate::parts::mail::{Locate, LocateAnswer, Message, Outbox, Wish};
use crate::parts::membership::Membership;
use crate::parts::session::SessionId;
use crate::parts::subscription::{Delivery, SubscriptionRef};
use crate::replies::places::note_begin;
use crate::replies::tell;

/// Most subscriptions of one session whose beginnings other shards are asked for at once.
const REQUESTS_MAX: u8 = 32;

impl Wish {
    /// Answers with what `locate` says of a topic in a log that begins at `log_start`.
    fn answer(
        self,
        log_start: Position,
        mut locate: impl FnMut(StartAt) -> Located,
    ) -> LocateAnswer {
        let mut located = locate(self.start);
        let epoch_changed =
            self.epoch.is_some_and(|epoch| epoch != located.epoch) && !planted(Bug::EpochNotTold);
        if epoch_changed {
            located = locate(StartAt::Earliest);
        }
        let dropped = matches!(self.start, StartAt::At(offset) if offset < located.cursor);
        LocateAnswer {
            wish: self,
            located,
            epoch_changed,
            dropped: dropped && !epoch_changed && !planted(Bug::DroppedNotTold),
            log_start,
        }
    }
}

/// The step that begins and ends subscriptions, with the parts that it needs.
pub(crate) struct Subscribing<'a> {
    pub(crate) members: Membership<'a>,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) held: &'a mut HeldReplies,
}

impl Subscribing<'_> {
    pub(crate) fn subscribe(&mut self, id: SessionId, asked: &Subscribe<'_>) -> Handled {
        if topic::is_reserved(asked.topic) {
            let refused = Subscribed::refused(asked.request, Outcome::ReservedTopic);
            return self.tell_beginning(id, (asked.topic, refused));
        }
        let log = self.members.context.shared.log_of(asked.topic);
        if let Some(wait) = self.wait_to_ask(id, self.members.context.shared.owner(log)) {
            return Handled::Later(wait);
        }
        let form = self.members.sessions.there(id).form();
        let feeds = &mut *self.members.feeds;
        let topic = feeds.find_or_insert(asked.topic, form, log);
        let refusal = self.subscription_refusal(id, topic);
        if refusal != Outcome::Ok {
            self.members.feeds.forget_if_unused(topic);
            let refused = Subscribed::refused(asked.request, refusal);
            return self.tell_beginning(id, (asked.topic, refused));
        }
        let nonce = self.members.feeds.nonce();
        self.members.join(id, topic, log, Delivery::Pending(nonce));
        let wish = Wish {
            session: id,
            topic,
            nonce,
            request: asked.request,
            start: match asked.start {
                Start::Latest => StartAt::Latest,
                Start::Earliest => StartAt::Earliest,
                Start::Offset(offset) => StartAt::At(offset),
            },
            epoch: asked.epoch,
        };
        match self.answer_from_walk(wish, log) {
            Some(answer) => self.located(&answer),
            None => self.ask(wish, log),
        }
        Handled::Done
    }

    /// Where a subscription begins, if this shard knows the topic up to all that is visible.
    fn answer_from_walk(&mut self, wish: Wish, log: LogId) -> Option<LocateAnswer> {
        self.members.feeds.get(wish.topic)?.begin?;
        if self.members.logs.has_news(log) {
            self.members.feeds.follow(self.members.logs, log);
        }
        let known = self.members.logs.known(log);
        if !known.is_walked {
            return None; // There is a lot to follow; the owner knows already.
        }
        let (earliest, head) = self.members.feeds.get(wish.topic)?.bounds(known.start)?;
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

    /// What has to come before a question of a session may be put to a shard. A question counts until it is answered, even if
    /// its subscription ends before.
    fn wait_to_ask(&self, id: SessionId, owner: usize) -> Option<Until> {
        if owner == self.members.context.id {
            return None;
        }
        let requests = self.members.sessions.there(id).requests();
        if requests >= REQUESTS_MAX && !planted(Bug::QuestionsUnbounded) {
            return Some(Until::Answered);
        }
        (!self.outbox.may_ask(owner)).then_some(Until::Room)
    }

    /// Asks the owner of the log where a subscription begins.
    fn ask(&mut self, wish: Wish, log: LogId) {
        let topic = self.members.feeds.subscribed(wish.topic);
        let (name, walked, owner) = (
            topic.name.clone(),
            self.members.logs.walked(log),
            self.members.context.shared.owner(log),
        );
        let locate = Locate {
            from: self.members.context.id,
            wish,
            log,
            name,
            walked,
        };
        if owner == self.members.context.id {
            let answer = locate_here(self.members.logs, &locate);
            self.located(&answer);
        } else {
            let asked = self.outbox.ask(owner, locate);
            debug_assert!(asked, "`wait_to_ask` comes first");
            let session = self.members.sessions.there_mut(wish.session);
            session.note_request();
            self.held
                .hold(self.members.context.now.monotonic_ms, wish.session, session);
        }
    }

    fn subscription_refusal(&self, id: SessionId, topic: u32) -> Outcome {
        let session = self.members.sessions.there(id);
        if session.subscriptions().find(topic).is_some() {
            Outcome::AlreadySubscribed
        } else if session.subscriptions().len()
            >= self.members.context.shared.config.max_subscriptions
        {
            Outcome::TooManySubscriptions
        } else {
            Outcome::Ok
        }
    }

    /// Notes a subscriber that has seen more of this very history than there is. No message was delivered before it was
    /// as safe as its topic is: either the subscriber is wrong, or the data directory is older than what was delivered.
    fn note_ahead(&mut self, topic: u32) {
        self.members.context.metrics().subscribers_ahead.add(1);
        let log = self.members.feeds.subscribed(topic).log;
        if self.members.logs.note_ahead(log) {
            error!(
                log = log.get(),
                "a subscriber resumes behind the newest message of this epoch: if the data directory was put back from a \
                 backup, restart with --restored, or others will miss messages in silence"
            );
        }
    }

    /// Takes another shard's answer where a subscription begins. Returns whether other subscriptions may have waited for that.
    pub(crate) fn answered(&mut self, from: usize, answer: &LocateAnswer) -> bool {
        let frees = self.outbox.answered(from);
        let id = answer.wish.session;
        let mut few = false;
        if let Some(session) = self.members.sessions.get_mut(id) {
            few = session.note_answered() <= REQUESTS_MAX / 2;
        }
        self.located(answer);
        if few {
            self.members.sessions.resume(id);
        }
        self.members
            .sessions
            .finish_leaving(self.members.context, id);
        frees
    }

    /// Begins a subscription, or refuses it, now that its beginning is known.
    fn located(&mut self, answer: &LocateAnswer) {
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
        let subscribed = Subscribed {
            request: answer.wish.request,
            outcome,
            asked: match answer.wish.start {
                StartAt::At(offset) => offset,
                StartAt::Latest | StartAt::Earliest => located.cursor,
            },
            next: located.cursor,
            earliest: located.earliest,
            head: located.head,
            epoch: located.epoch,
            epoch_changed: answer.epoch_changed,
            dropped: answer.dropped,
        };
        let topic = self.members.feeds.subscribed(answer.wish.topic);
        let name = topic.name.clone();
        self.tell_beginning(id, (&name, subscribed));
        self.members.sessions.there_mut(id).release();
        if refused {
            if answer.wish.epoch.is_some() {
                self.note_ahead(answer.wish.topic);
            }
            self.members.leave(id, place);
            return;
        }
        let topic = self.members.feeds.subscribed_mut(answer.wish.topic);
        let begin = Begin {
            earliest: located.earliest,
            log_start: answer.log_start,
        };
        topic.learn(begin, located.next_at_walked);
        let subscription = topic.audience.at_mut(place.slot as usize);
        subscription.cursor = located.cursor;
        self.begin(id, place);
    }

    /// Lets a subscription be delivered to from here on. Records come behind the head of a response, and that waits until all
    /// topics of a stream are known to begin.
    fn begin(&mut self, id: SessionId, place: SubscriptionRef) {
        let feeds = &mut *self.members.feeds;
        if self.members.sessions.exchanges.has(id) && !planted(Bug::BeginsBeforeItsHead) {
            let waiting = Delivery::Pending(feeds.nonce());
            feeds.set_delivery(place, waiting);
            return;
        }
        feeds.set_delivery(place, Delivery::Live);
        let session = self.members.sessions.there(id);
        if session.form().style.is_of_several() {
            for place in session.subscriptions().as_slice() {
                feeds.set_delivery(*place, Delivery::Live);
            }
            note_begin(self.members.context, self.members.sessions, feeds, id);
        }
    }

    fn pending_subscription(&self, wish: &Wish) -> Option<SubscriptionRef> {
        let session = self.members.sessions.get(wish.session)?;
        let place = session.subscriptions().find(wish.topic)?;
        let topic = self.members.feeds.get(wish.topic)?;
        let subscription = topic.audience.at(place.slot as usize);
        (subscription.delivery() == Delivery::Pending(wish.nonce)).then_some(place)
    }

    /// Whether another shard has not answered yet where a subscription begins.
    fn is_pending(&self, place: SubscriptionRef) -> bool {
        let topic = self.members.feeds.subscribed(place.topic);
        let subscription = topic.audience.at(place.slot as usize);
        matches!(subscription.delivery(), Delivery::Pending(_))
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, request: u32, name: &str) -> Handled {
        let session = self.members.sessions.there(id);
        let form = session.form();
        // The rest of a record is rendered again with what its subscription knows.
        if session.tail().is_some() && !form.is_native() {
            return Handled::Later(Until::Answered);
        }
        let topic = self.members.feeds.find(name, form);
        let place =
            topic.and_then(|topic| self.members.sessions.there(id).subscriptions().find(topic));
        // The answer to its Subscribe goes first: answers keep the order of what they answer.
        if place.is_some_and(|place| self.is_pending(place)) && !planted(Bug::UnsubscribesTooEarly)
        {
            return Handled::Later(Until::Answered);
        }
        let outcome = match place {
            Some(place) => {
                self.members.leave(id, place);
                Outcome::Ok
            }
            None => Outcome::NotSubscribed,
        };
        let reply = Reply::Unsubscribed {
            request,
            topic: name,
            outcome,
        };
        self.tell(id, &reply)
    }

    fn tell_beginning(
        &mut self,
        id: SessionId,
        (topic, subscribed): (&str, Subscribed),
    ) -> Handled {
        self.tell(id, &Reply::Subscribed { topic, subscribed })
    }

    fn tell(&mut self, id: SessionId, reply: &Reply<'_>) -> Handled {
        tell(self.members.context, self.members.sessions, id, reply)
    }
}

/// Answers, as the owner of the log, where a subscription begins.
pub(crate) fn locate(context: &ShardContext, logs: &mut Logs, outbox: &mut Outbox, ask: &Locate) {
    debug_assert_ne!(
        ask.from, context.id,
        "a shard does not ask itself by message"
    );
    let (from, answer) = (context.id, locate_here(logs, ask));
    outbox.say(ask.from, Message::Located { from, answer });
}

fn locate_here(logs: &mut Logs, ask: &Locate) -> LocateAnswer {
    let log_start = logs.start(ask.log);
    let locate = |start| logs.locate(ask.log, &ask.name, start, ask.walked);
    ask.wish.answer(log_start, locate)
}

#[cfg(test)]
mod tests;
