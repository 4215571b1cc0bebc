//! Serving a subscription that is further behind than its topic's window: places come from the owner of the log, bytes
//! from the log, read ahead where they are cold, and large runs leave by `sendfile`.
//!
//! A catch-up lives only while its socket takes bytes. When the socket is full the subscription becomes a bare cursor
//! again, so that a stalled subscriber costs nothing; a new catch-up begins at the cursor when the socket drains. A session
//! begins only as many as its socket has shown that it can use ([`Catchups::has_use`]), and looking up places is charged to
//! the turn that does it.

use oyez_protocol::Offset;
use oyez_protocol::event::GapCause;
use oyez_protocol::planted::{Bug, planted};
use oyez_storage::{ColdRange, PopulateError};

use crate::dialect::command::Reply;
use crate::parts::budget::{ASK_STEPS, RESOLVE_STEPS};
use crate::parts::catchups::{Catchups, Waits};
use crate::parts::chain::{Broken, Chain};
use crate::parts::context::ShardContext;
use crate::parts::ending::Reason;
use crate::parts::log_limits::LogEvent;
use crate::parts::logs::Logs;
use crate::parts::mail::{Message, Outbox, Resolve, ResolveAnswer};
use crate::parts::sending::{SENDFILE_BYTES_MIN, SendProgress, Stop, send_range};
use crate::parts::session::SessionId;
use crate::parts::subscription::{Delivery, SubscriptionRef};
use crate::replies::tell;
use crate::turn::render::Span;
use crate::turn::wave::DeliveryContext;

/// Most places asked for at once.
const PLACES_MAX: usize = 128;
/// Marks the token of a read-ahead that a half-sent record waits for.
const TAIL_TOKEN: u64 = 1 << 63;

/// Why the session of a catch-up cannot have ended: it is the one that is being sent to, or it was found just now.
const SERVED: &str = "nothing has ended the session that is served";

/// The step that serves subscriptions from the log, with the parts that it needs.
pub(crate) struct Serving<'a> {
    pub(crate) out: DeliveryContext<'a>,
    pub(crate) catchups: &'a mut Catchups,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) chain: &'a mut Chain,
}

impl Serving<'_> {
    pub(crate) fn pause(&mut self, id: SessionId) {
        self.catchups.pause(self.out.sessions, self.out.feeds, id);
    }

    /// Begins to serve a subscription from the log, unless its session has no use for one more catch-up.
    pub(crate) fn begin(&mut self, id: SessionId, place: SubscriptionRef) -> SendProgress {
        if !self.catchups.has_use(id) {
            return SendProgress::Done; // The session is sent to again when one of its catch-ups ends.
        }
        let Some(number) = self.catchups.begin(id, place.topic) else {
            self.catchups.wait(self.out.sessions, id);
            return SendProgress::Done;
        };
        self.out
            .feeds
            .set_delivery(place, Delivery::CatchingUp(number));
        self.out.context.metrics().catchups.add(1);
        self.ask_places(number);
        SendProgress::Done
    }

    fn ask_places(&mut self, number: u32) {
        let token = self.catchups.token(number);
        let catchup = self.catchups.begun_mut(number);
        catchup.waits = Waits::Places;
        catchup.at = 0;
        let mut places = std::mem::take(&mut catchup.places);
        places.clear();
        let place = catchup.place(self.out.sessions).expect(SERVED);
        let cursor = self.out.feeds.cursor(place);
        let topic = self.out.feeds.subscribed(place.topic);
        let resolve = Resolve {
            from: self.out.context.id,
            catchup: token,
            log: topic.log,
            name: topic.name.clone(),
            cursor,
            places,
        };
        let owner = self.out.context.shared.owner(topic.log);
        if owner == self.out.context.id {
            self.catchups.spend(RESOLVE_STEPS);
            let answer = resolve_here(self.out.logs, resolve);
            self.resolved(answer);
        } else {
            self.catchups.spend(ASK_STEPS);
            self.outbox.say(owner, Message::Resolve(resolve));
        }
    }

    /// Takes the answer of the log's owner.
    pub(crate) fn resolved(&mut self, answer: ResolveAnswer) {
        let Some(number) = self.catchups.named(answer.catchup) else {
            return; // The subscription has ended in the meantime, or was caught up by the window.
        };
        let catchup = self.catchups.begun_mut(number);
        catchup.waits = Waits::Nothing;
        catchup.places = answer.places;
        catchup.at = 0;
        let (id, first) = (catchup.session, catchup.places.first().map(|p| p.first));
        let Some(place) = catchup.place(self.out.sessions) else {
            return; // The session has ended.
        };
        let cursor = self.out.feeds.cursor(place);
        // Without places everything that is visible was sent, or what is left of it is gone.
        let resume = first.unwrap_or(answer.head.max(cursor));
        if resume > cursor {
            let cause = if answer.earliest > cursor {
                GapCause::Retention
            } else {
                GapCause::Damage
            };
            self.report_gap(id, place, cause, resume);
        }
        if self.out.sessions.get(id).is_none() && !planted(Bug::ServesWhoIsGone) {
            return; // The session could not be told and was ended.
        }
        if first.is_none() || self.out.sessions.there(id).is_blocked() {
            self.catchups
                .return_to_window(self.out.feeds, number, place);
        }
        self.out.sessions.schedule_send(id);
    }

    /// Tells a subscriber which messages will not come, and moves its cursor past them. A session that is to end gets no gap, only
    /// where it stands: it is told of the gap when it comes back. A session that cannot be told is ended.
    fn report_gap(&mut self, id: SessionId, place: SubscriptionRef, cause: GapCause, to: Offset) {
        let is_going = !self.out.sessions.there(id).is_open();
        if is_going && !planted(Bug::PassesAGapAtTheEnd) {
            return;
        }
        let topic = self.out.feeds.subscribed_mut(place.topic);
        let subscription = topic.audience.at_mut(place.slot as usize);
        let from = std::mem::replace(&mut subscription.cursor, to);
        let (name, log) = (topic.name.clone(), topic.log);
        let epoch = self.out.logs.known(log).epoch;
        self.out.context.metrics().gaps.add(1);
        let gap = Reply::Gap {
            topic: &name,
            cause,
            from,
            to: to.plus(u64::from(planted(Bug::GapTooLong))),
            epoch,
        };
        if !planted(Bug::GapNotTold) {
            tell(self.out.context, self.out.sessions, id, &gap);
        }
    }

    /// Sends the next chain of a catch-up.
    pub(crate) fn go_on(&mut self, number: u32) -> SendProgress {
        let catchup = self.catchups.begun(number);
        if catchup.waits != Waits::Nothing {
            return SendProgress::Done;
        }
        let id = catchup.session;
        let place = catchup.place(self.out.sessions).expect(SERVED);
        let places = catchup.left();
        // The window is looked at only between two batches of places: its bytes may be as cold as the rest, and every
        // catch-up that begins has to send, or read ahead, at least once.
        let Some(next) = places.first().map(|place| place.first) else {
            self.catchups.note_use(id);
            if self.is_in_window(place) {
                self.catchups
                    .return_to_window(self.out.feeds, number, place);
                return SendProgress::More;
            }
            self.ask_places(number);
            return SendProgress::Done;
        };
        if self.out.feeds.cursor(place) < next {
            self.report_gap(id, place, GapCause::Damage, next);
            return SendProgress::More;
        }
        let mut chain = std::mem::take(self.chain);
        let topic = self.out.feeds.subscribed(place.topic);
        let means = (&mut *self.out.logs, self.out.context.metrics());
        let span = Span {
            from: self.out.feeds.cursor(place),
            until: self.out.sessions.end_of(id),
        };
        let rendering = &mut *self.out.rendering;
        let places = places.iter().copied();
        let built = rendering.build(means, &mut chain, (topic, span), places);
        let progress = match built {
            Ok(()) => self.send_catchup(number, id, place, &mut chain),
            Err(broken) => self.handle_unreadable(number, id, place, broken),
        };
        chain.clear();
        *self.chain = chain;
        progress
    }

    fn is_in_window(&self, place: SubscriptionRef) -> bool {
        let cursor = self.out.feeds.cursor(place);
        let topic = self.out.feeds.subscribed(place.topic);
        topic.window_from(cursor).is_some()
    }

    fn send_catchup(
        &mut self,
        number: u32,
        id: SessionId,
        place: SubscriptionRef,
        chain: &mut Chain,
    ) -> SendProgress {
        let form = self.out.sessions.there(id).form();
        let large = match form.is_native() {
            true => chain.keep_large_first(SENDFILE_BYTES_MIN),
            false => None, // No file holds its bytes.
        };
        let progress = match large {
            Some(size) => self.send_from_file(id, place, chain, size),
            None => self.out.send_one(id, place, chain),
        };
        match progress {
            SendProgress::Gone => return SendProgress::Gone,
            SendProgress::Blocked => {
                self.catchups
                    .return_to_window(self.out.feeds, number, place);
                return SendProgress::Blocked;
            }
            SendProgress::Done | SendProgress::More => {}
        }
        let cursor = self.out.feeds.cursor(place);
        let catchup = self.catchups.begun_mut(number);
        let left = catchup.places[catchup.at..].iter();
        catchup.at += left.take_while(|place| place.next <= cursor).count();
        catchup.at += usize::from(planted(Bug::CatchupSkips));
        SendProgress::More
    }

    /// Sends a large run by `sendfile`; from the map where its file cannot be had.
    fn send_from_file(
        &mut self,
        id: SessionId,
        place: SubscriptionRef,
        chain: &Chain,
        size: u32,
    ) -> SendProgress {
        let now_ms = self.out.context.now.monotonic_ms;
        let head = chain.head().expect("a chain that was built has records");
        let head = head.position;
        let range = self.out.logs.file_range(chain.log, head, size, now_ms);
        let Some(range) = range else {
            return self.out.send_one(id, place, chain);
        };
        let session = self.out.sessions.there_mut(id);
        let (sent, stop) = send_range(
            self.out.net,
            session.socket(),
            chain.header(),
            (range, size as usize),
        );
        // Nothing comes behind the end of a file: the next read reports that.
        if stop == Stop::Unreadable {
            self.out.logs.reader(chain.log).give_up(head);
        }
        session.set_blocked(stop == Stop::Full);
        if stop == Stop::Gone {
            return SendProgress::Gone;
        }
        let cut = chain.cut(sent);
        session.set_tail(cut.tail);
        let blocked = session.is_blocked();
        self.out.feeds.subscription_mut(place).cursor = cut.cursor;
        let metrics = self.out.context.metrics();
        metrics.sends.add(1);
        metrics.deliveries.add(cut.records);
        metrics.messages_out.add(cut.messages);
        metrics.bytes_out.add(sent as u64);
        self.out.sent += sent;
        if blocked {
            SendProgress::Blocked
        } else {
            SendProgress::More
        }
    }

    /// Goes on where the bytes at the catch-up's cursor are not at hand.
    fn handle_unreadable(
        &mut self,
        number: u32,
        id: SessionId,
        place: SubscriptionRef,
        broken: Broken,
    ) -> SendProgress {
        match broken {
            Broken::Cold(cold) => {
                self.catchups.begun_mut(number).waits = Waits::Bytes;
                let token = self.catchups.token(number);
                self.out.logs.populate(cold, token);
                SendProgress::Done
            }
            Broken::Dropped => {
                self.ask_places(number);
                SendProgress::Done
            }
            Broken::Damaged => {
                self.pass_damaged(number, id, place);
                SendProgress::More
            }
        }
    }

    fn pass_damaged(&mut self, number: u32, id: SessionId, place: SubscriptionRef) {
        let catchup = self.catchups.begun_mut(number);
        if let Some(damaged) = catchup.places.get(catchup.at) {
            let to = damaged.next;
            catchup.at += 1;
            self.report_gap(id, place, GapCause::Damage, to);
        }
    }

    /// Reads a half-sent record ahead.
    pub(crate) fn warm_for_tail(&mut self, id: SessionId, cold: ColdRange) {
        let session = self.out.sessions.there_mut(id);
        if session.begin_warming() {
            self.out.logs.populate(cold, id.token() | TAIL_TOKEN);
        }
    }

    /// Takes the end of a read-ahead.
    pub(crate) fn populated(&mut self, token: u64, outcome: Result<(), PopulateError>) {
        if token & TAIL_TOKEN != 0 {
            self.tail_populated(token & !TAIL_TOKEN, outcome.is_ok());
            return;
        }
        let Some(number) = self.catchups.named(token) else {
            return; // The subscription has ended, or was caught up by the window.
        };
        let catchup = self.catchups.begun_mut(number);
        catchup.waits = Waits::Nothing;
        let id = catchup.session;
        let Some(place) = catchup.place(self.out.sessions) else {
            return; // The session has ended.
        };
        if let Err(error) = outcome {
            let (context, sessions) = (self.out.context, &*self.out.sessions);
            if context.may_log(LogEvent::Unreadable, sessions.peer(self.out.net, id)) {
                tracing::error!(%error, "a range of the log cannot be read; its subscribers are told of a gap");
            }
            self.pass_damaged(number, id, place);
        }
        let Some(session) = self.out.sessions.get(id) else {
            return; // The session could not be told of the gap.
        };
        if session.is_blocked() {
            self.pause(id);
        }
        self.out.sessions.schedule_send(id);
    }

    fn tail_populated(&mut self, token: u64, readable: bool) {
        // The token has one bit less than the session's name.
        let Some(id) = self.out.sessions.by_token(token, !TAIL_TOKEN) else {
            return; // It has ended since.
        };
        self.out.sessions.there_mut(id).end_warming();
        if readable {
            self.out.sessions.schedule_send(id);
        } else {
            self.out.sessions.end(self.out.context, id, Reason::Dropped);
        }
    }
}

/// Answers, as the owner of the log, where a topic's records lie.
pub(crate) fn resolve(context: &ShardContext, logs: &mut Logs, outbox: &mut Outbox, ask: Resolve) {
    debug_assert_ne!(
        ask.from, context.id,
        "a shard does not ask itself by message"
    );
    let from = ask.from;
    outbox.say(from, Message::Resolved(resolve_here(logs, ask)));
}

fn resolve_here(logs: &mut Logs, mut ask: Resolve) -> ResolveAnswer {
    let located = logs.places(ask.log, &ask.name, ask.cursor, PLACES_MAX, &mut ask.places);
    ResolveAnswer {
        catchup: ask.catchup,
        places: ask.places,
        earliest: located.earliest,
        head: located.head,
    }
}

#[cfg(test)]
mod tests;
