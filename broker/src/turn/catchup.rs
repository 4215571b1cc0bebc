//! Serving a subscription that is further behind than its topic's window: places come from the owner of the log, bytes
//! from the log, read ahead where they are cold, and large runs leave by `sendfile`.
//!
//! A catch-up lives only while its socket takes bytes. When the socket is full the subscription goes back to being a
//! bare cursor, so that a stalled subscriber costs nothing; it starts over where it is when the socket drains.

use std::os::fd::AsFd;

use oyez_protocol::Offset;
use oyez_protocol::event::{Gap, GapCause};
use oyez_storage::{ColdRange, Place, PopulateError};

use crate::parts::chain::{Broken, Chain};
use crate::parts::ending::Reason;
use crate::parts::mail::{Message, Resolve, ResolveAnswer};
use crate::parts::sending::{Progress, Stop, send_range};
use crate::parts::session::SessionId;
use crate::parts::subscription::{Delivery, SubscriptionRef};
use crate::shard::Shard;

/// Catch-ups of one shard at once; others wait as bare cursors.
const CATCHUPS_MAX: usize = 1024;
/// Places asked for at once.
const PLACES_MAX: usize = 128;
/// From this many bytes on, `sendfile` is faster than sending from the map.
const SENDFILE_BYTES_MIN: usize = 64 << 10;
/// Marks the token of a read-ahead that a half-sent record waits for.
const TAIL_TOKEN: u64 = 1 << 63;

/// What a catch-up waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Nothing: it can send.
    Nothing,
    /// The owner of the log, for places.
    Places,
    /// The disk, for bytes.
    Bytes,
}

/// One subscription that is being served from the log.
#[derive(Debug)]
pub(crate) struct Catchup {
    session: SessionId,
    topic: u32,
    nonce: u32,
    waits: Waits,
    places: Vec<Place>,
    /// First of `places` that is not out.
    at: usize,
}

impl Shard {
    /// Begins to serve a subscription from the log.
    pub(crate) fn begin_catchup(&mut self, id: SessionId, place: SubscriptionRef) -> Progress {
        if self.catchups.len() >= CATCHUPS_MAX {
            if let Some(session) = self.sessions.get_mut(id).filter(|s| !s.waiting) {
                session.waiting = true;
                self.catchups_waiting.push_back(id);
            }
            return Progress::Done;
        }
        let nonce = self.nonce();
        let number = self.catchups.insert(Catchup {
            session: id,
            topic: place.topic,
            nonce,
            waits: Waits::Places,
            places: self.places_spare.pop().unwrap_or_default(),
            at: 0,
        });
        let number = u32::try_from(number).expect("catch-ups are bounded by CATCHUPS_MAX");
        self.set_delivery(place, Delivery::CatchingUp(number));
        self.here.metrics().catchups.add(1);
        self.ask_places(number);
        Progress::Done
    }

    /// Starts catch-ups that had to wait, as far as there is room.
    pub(crate) fn start_catchups(&mut self) {
        let room = CATCHUPS_MAX - self.catchups.len();
        for _ in 0..room.min(self.catchups_waiting.len()) {
            let Some(id) = self.catchups_waiting.pop_front() else {
                return;
            };
            if let Some(session) = self.sessions.get_mut(id) {
                session.waiting = false;
            }
            self.sessions.queue_send(id);
        }
    }

    /// Ends a catch-up; its subscription's cursor is what is left of it.
    pub(crate) fn end_catchup(&mut self, number: u32) {
        if let Some(mut catchup) = self.catchups.try_remove(number as usize) {
            catchup.places.clear();
            self.places_spare.push(catchup.places);
        }
    }

    /// Whether somebody waits for a catch-up, and there is room for one.
    pub(crate) fn can_start_catchups(&self) -> bool {
        !self.catchups_waiting.is_empty() && self.catchups.len() < CATCHUPS_MAX
    }

    /// Makes all catch-ups of a session whose socket is full bare cursors again.
    pub(crate) fn pause_catchups(&mut self, id: SessionId) {
        let mut index = 0;
        while let Some(place) = self.sessions.get(id).and_then(|session| {
            let subscriptions = session.subscriptions.as_slice();
            subscriptions.get(index).copied()
        }) {
            let delivery = self.delivery_of(place);
            if let Some(Delivery::CatchingUp(number)) = delivery {
                self.return_to_window(number, place);
            }
            index += 1;
        }
    }

    fn delivery_of(&self, place: SubscriptionRef) -> Option<Delivery> {
        let topic = self.registry.get(place.topic)?;
        Some(topic.subscriptions.get(place.slot as usize)?.delivery())
    }

    fn set_delivery(&mut self, place: SubscriptionRef, delivery: Delivery) {
        if let Some(topic) = self.registry.get_mut(place.topic) {
            topic.subscriptions[place.slot as usize].set_delivery(delivery);
        }
    }

    /// Where the catch-up's subscription lies.
    fn place_of(&self, catchup: &Catchup) -> Option<SubscriptionRef> {
        self.sessions
            .get(catchup.session)?
            .subscriptions
            .find(catchup.topic)
    }

    fn cursor_of(&self, place: SubscriptionRef) -> Option<Offset> {
        let topic = self.registry.get(place.topic)?;
        Some(topic.subscriptions.get(place.slot as usize)?.cursor)
    }

    /// Makes the subscription one that the window serves, or a bare cursor behind it.
    fn return_to_window(&mut self, number: u32, place: SubscriptionRef) {
        self.end_catchup(number);
        self.set_delivery(place, Delivery::Live);
    }

    fn ask_places(&mut self, number: u32) {
        let Some(catchup) = self.catchups.get_mut(number as usize) else {
            return;
        };
        catchup.waits = Waits::Places;
        catchup.at = 0;
        let mut places = std::mem::take(&mut catchup.places);
        places.clear();
        let (token, topic) = (token(number, catchup.nonce), catchup.topic);
        let place = self
            .catchups
            .get(number as usize)
            .and_then(|catchup| self.place_of(catchup));
        let (Some(cursor), Some(topic)) = (
            place.and_then(|place| self.cursor_of(place)),
            self.registry.get(topic),
        ) else {
            return;
        };
        let resolve = Resolve {
            from: self.here.id,
            catchup: token,
            log: topic.log,
            name: topic.name.clone(),
            cursor,
            places,
        };
        let owner = self.here.shared.owner(topic.log);
        if owner == self.here.id {
            self.resolve(resolve);
        } else {
            self.outbox.say(owner, Message::Resolve(resolve));
        }
    }

    /// Answers, as the owner of the log, where a topic's records lie.
    pub(crate) fn resolve(&mut self, mut ask: Resolve) {
        let (log, name) = (ask.log, &ask.name);
        let located = self
            .logs
            .places(log, name, ask.cursor, PLACES_MAX, &mut ask.places);
        let answer = ResolveAnswer {
            catchup: ask.catchup,
            places: ask.places,
            earliest: located.earliest,
            head: located.head,
        };
        if ask.from == self.here.id {
            self.resolved(answer);
        } else {
            self.outbox.say(ask.from, Message::Resolved(answer));
        }
    }

    /// The owner of the log has answered.
    pub(crate) fn resolved(&mut self, answer: ResolveAnswer) {
        let Some(number) = self.catchup_of(answer.catchup) else {
            return; // The subscription has ended in the meantime.
        };
        let Some(catchup) = self.catchups.get_mut(number as usize) else {
            return;
        };
        catchup.waits = Waits::Nothing;
        catchup.places = answer.places;
        catchup.at = 0;
        let (id, first) = (catchup.session, catchup.places.first().map(|p| p.first));
        let Some(place) = self
            .catchups
            .get(number as usize)
            .and_then(|c| self.place_of(c))
        else {
            return;
        };
        let Some(cursor) = self.cursor_of(place) else {
            return;
        };
        // Without places everything that is visible is out, or what is left of it is gone.
        let resume = first.unwrap_or(answer.head.max(cursor));
        if resume > cursor {
            let cause = if answer.earliest > cursor {
                GapCause::Retention
            } else {
                GapCause::Damage
            };
            self.report_gap(id, place, cause, resume);
        }
        if first.is_none() || self.is_blocked(id) {
            self.return_to_window(number, place);
        }
        self.sessions.queue_send(id);
    }

    fn is_blocked(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.blocked)
    }

    /// Tells a subscriber what will not come, and moves its cursor there.
    fn report_gap(&mut self, id: SessionId, place: SubscriptionRef, cause: GapCause, to: Offset) {
        let Some(topic) = self.registry.get_mut(place.topic) else {
            return;
        };
        let subscription = &mut topic.subscriptions[place.slot as usize];
        let from = std::mem::replace(&mut subscription.cursor, to);
        let name = topic.name.clone();
        self.here.metrics().gaps.add(1);
        self.sessions.control(&self.here, id, |out| {
            Gap {
                topic: &name,
                cause,
                from,
                to,
            }
            .encode(out);
        });
    }

    /// Sends the next chain of a catch-up.
    pub(crate) fn go_on(&mut self, number: u32) -> Progress {
        let Some(catchup) = self.catchups.get(number as usize) else {
            return Progress::Done;
        };
        if catchup.waits != Waits::Nothing {
            return Progress::Done;
        }
        let (id, at) = (catchup.session, catchup.at);
        let Some(place) = self.place_of(catchup) else {
            return Progress::Done;
        };
        let Some(topic) = self.registry.get(place.topic) else {
            return Progress::Done;
        };
        let log = topic.log;
        let places = &catchup.places[at.min(catchup.places.len())..];
        // Only between two batches of places is the window looked at: what it holds may be as cold as the rest, and
        // every catch-up that begins has to send, or read ahead, at least once.
        let Some(next) = places.first().map(|place| place.first) else {
            if self.is_in_window(place) {
                self.return_to_window(number, place);
                return Progress::More;
            }
            self.ask_places(number);
            return Progress::Done;
        };
        if self.cursor_of(place).is_some_and(|cursor| cursor < next) {
            self.report_gap(id, place, GapCause::Damage, next);
            return Progress::More;
        }
        let mut chain = std::mem::take(&mut self.chain);
        let built = self.logs.build(&mut chain, log, places.iter().copied());
        let progress = match built {
            Ok(()) => self.send_catchup(number, id, place, &mut chain),
            Err(broken) => self.mend(number, id, place, broken),
        };
        chain.clear();
        self.chain = chain;
        progress
    }

    fn is_in_window(&self, place: SubscriptionRef) -> bool {
        let cursor = self.cursor_of(place);
        let topic = self.registry.get(place.topic);
        cursor
            .zip(topic)
            .is_some_and(|(cursor, topic)| topic.window_from(cursor).is_some())
    }

    fn send_catchup(
        &mut self,
        number: u32,
        id: SessionId,
        place: SubscriptionRef,
        chain: &mut Chain,
    ) -> Progress {
        let progress = match chain.keep_large_first(SENDFILE_BYTES_MIN) {
            Some(size) => self.send_from_file(id, place, chain, size),
            None => self.send_one(id, place, chain),
        };
        match progress {
            Progress::Gone => return Progress::Gone,
            Progress::Blocked => {
                self.return_to_window(number, place);
                return Progress::Blocked;
            }
            Progress::Done | Progress::More => {}
        }
        let cursor = self.cursor_of(place);
        if let Some((catchup, cursor)) = self.catchups.get_mut(number as usize).zip(cursor) {
            let out = catchup.places[catchup.at..]
                .iter()
                .take_while(|place| place.next <= cursor)
                .count();
            catchup.at += out;
        }
        Progress::More
    }

    /// A large run leaves by `sendfile`; from the map where its file cannot be had.
    fn send_from_file(
        &mut self,
        id: SessionId,
        place: SubscriptionRef,
        chain: &Chain,
        size: u32,
    ) -> Progress {
        let now_ms = self.here.now.monotonic_ms;
        let head = chain.head().map(|head| head.position);
        let range = head.and_then(|at| self.logs.file_range(chain.log, at, size, now_ms));
        let (Some((file, offset)), Some(session)) = (range, self.sessions.get_mut(id)) else {
            return self.send_one(id, place, chain);
        };
        let (sent, stop) = send_range(session.stream.as_fd(), file, offset, size as usize);
        // Behind the end of a file there is nothing to wait for: what is read next says so.
        if let (Stop::Unreadable, Some(head)) = (stop, head) {
            self.logs.reader(chain.log).give_up(head);
        }
        session.blocked = stop == Stop::Full;
        if stop == Stop::Gone {
            return Progress::Gone;
        }
        let cut = chain.cut(sent);
        session.tail = cut.tail;
        let blocked = session.blocked;
        if let Some(topic) = self.registry.get_mut(place.topic) {
            topic.subscriptions[place.slot as usize].cursor = cut.cursor;
        }
        let metrics = self.here.metrics();
        metrics.sends.add(1);
        metrics.deliveries.add(cut.records);
        metrics.messages_out.add(cut.messages);
        metrics.bytes_out.add(sent as u64);
        if blocked {
            Progress::Blocked
        } else {
            Progress::More
        }
    }

    /// The bytes at the catch-up's cursor are not at hand.
    fn mend(
        &mut self,
        number: u32,
        id: SessionId,
        place: SubscriptionRef,
        broken: Broken,
    ) -> Progress {
        match broken {
            Broken::Cold(cold) => {
                if let Some(catchup) = self.catchups.get_mut(number as usize) {
                    catchup.waits = Waits::Bytes;
                    let token = token(number, catchup.nonce);
                    self.logs.populate(cold, token);
                }
                Progress::Done
            }
            Broken::Dropped => {
                self.ask_places(number);
                Progress::Done
            }
            Broken::Damaged => {
                self.pass_damaged(number, id, place);
                Progress::More
            }
        }
    }

    fn pass_damaged(&mut self, number: u32, id: SessionId, place: SubscriptionRef) {
        let Some(catchup) = self.catchups.get_mut(number as usize) else {
            return;
        };
        if let Some(damaged) = catchup.places.get(catchup.at) {
            let to = damaged.next;
            catchup.at += 1;
            self.report_gap(id, place, GapCause::Damage, to);
        }
    }

    /// Reads a half-sent record ahead.
    pub(crate) fn warm_for_tail(&mut self, id: SessionId, cold: ColdRange) {
        if let Some(session) = self.sessions.get_mut(id).filter(|s| !s.warming) {
            session.warming = true;
            self.logs.populate(cold, id.token().0 as u64 | TAIL_TOKEN);
        }
    }

    /// A read-ahead has ended.
    pub(crate) fn populated(&mut self, token: u64, outcome: Result<(), PopulateError>) {
        if token & TAIL_TOKEN != 0 {
            self.tail_populated(token & !TAIL_TOKEN, outcome.is_ok());
            return;
        }
        let Some(number) = self.catchup_of(token) else {
            return;
        };
        let Some(catchup) = self.catchups.get_mut(number as usize) else {
            return;
        };
        catchup.waits = Waits::Nothing;
        let id = catchup.session;
        if let Err(error) = outcome {
            tracing::error!(%error, "a range of the log cannot be read; its subscribers are told of a gap");
            let place = self
                .catchups
                .get(number as usize)
                .and_then(|c| self.place_of(c));
            if let Some(place) = place {
                self.pass_damaged(number, id, place);
            }
        }
        if self.is_blocked(id) {
            self.pause_catchups(id);
        }
        self.sessions.queue_send(id);
    }

    fn tail_populated(&mut self, token: u64, readable: bool) {
        let key = token as u32;
        let Some(id) = self.sessions.id_at(key) else {
            return;
        };
        // The token has one bit less than the generation.
        if (id.token().0 as u64) & !TAIL_TOKEN != token {
            return;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.warming = false;
        }
        if readable {
            self.sessions.queue_send(id);
        } else {
            self.sessions.end(&self.here, id, Reason::Dropped);
        }
    }

    /// The catch-up that a token names, if it still is the one.
    fn catchup_of(&self, token: u64) -> Option<u32> {
        let number = token as u32;
        let catchup = self.catchups.get(number as usize)?;
        (u64::from(catchup.nonce) == token >> 32).then_some(number)
    }
}

/// Names a catch-up in questions to owners and to the disk.
fn token(number: u32, nonce: u32) -> u64 {
    u64::from(nonce) << 32 | u64::from(number)
}
