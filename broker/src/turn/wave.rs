//! A walk's sends by the ring: the same chain to many subscribers, up to 128 in one submission.
//!
//! A cursor is moved when its send is staged, and set right when the socket did not take all. Every submission is
//! settled before anything else happens, so that no other send can come between, and nothing is left between turns. A
//! session has at most one subscription to a topic, hence at most one send in a submission.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use oyez_protocol::Offset;
use oyez_storage::LogReader;
use tracing::warn;

use crate::measure::metrics::Delivered;
use crate::parts::budget::{Budget, SEND_STEPS};
use crate::parts::chain::{Broken, Chain, PARTS_MAX};
use crate::parts::ending::Reason;
use crate::parts::feed::Topic;
use crate::parts::feeds::Feeds;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::sending::{Progress, Sent, send, send_rest};
use crate::parts::session::{Session, SessionId};
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Subscription, SubscriptionRef};
use crate::sys::ring::SendRing;

/// Chains above this leave one at a time: what is saved per send disappears beside the copying. *Processor time of a
/// send one by one and by the ring, two shards and the subscribers on the same two cores: 200 B to 10,000 11.2 and
/// 6.3 us; 7,500 B to 10,000 11.5 and 7.2 us; 50 KB to 2,000 18.4 and 13.0 us.*
const CHAIN_BYTES_MAX: usize = 64 << 10;
/// Fewer than these to visit are not worth a submission. *8 on a shard, 200 B: 8.4 and 7.0 us.*
const SUBSCRIPTIONS_MIN: usize = 8;

/// A chain for everybody who stands at `begin`.
struct Wave<'a> {
    chain: &'a Chain,
    slices: &'a [IoSlice<'a>],
    begin: Offset,
    /// The cursor of a subscription that has got all of it.
    end: Offset,
}

impl Wave<'_> {
    /// Whether it is worth a submission for so many to visit.
    fn suits_ring(&self, left: usize) -> bool {
        self.chain.bytes <= CHAIN_BYTES_MAX && left >= SUBSCRIPTIONS_MIN
    }
}

/// What records pass on their way from the log to sockets.
pub(crate) struct WayOut<'a> {
    pub(crate) here: &'a Here,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) feeds: &'a mut Feeds,
    pub(crate) logs: &'a mut Logs,
}

impl WayOut<'_> {
    /// Sends the chain to every subscription from the walk's place on that is where the chain begins. A ring that fails is
    /// given up; sends leave without one.
    pub(crate) fn send_chain(
        &mut self,
        ring: &mut Option<SendRing>,
        number: u32,
        chain: &Chain,
        budget: &mut Budget,
    ) {
        let Some(topic) = self.feeds.get(number) else {
            return;
        };
        let begin = topic.subscriptions.get(topic.walk.slot).map(|s| s.cursor);
        let (Some(begin), Some(end)) = (begin, chain.next()) else {
            return;
        };
        let left = topic.walk.left;
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let wave = Wave {
            chain,
            slices: chain.fill(&mut slices),
            begin,
            end,
        };
        let Some(open) = ring.as_mut().filter(|_| wave.suits_ring(left)) else {
            self.send_one_by_one(number, &wave, budget);
            return;
        };
        if let Err(error) = self.send_batches(open, number, &wave, budget) {
            let shard = self.here.id;
            warn!(shard, %error, "the ring for sends failed; sends leave one by one");
            *ring = None;
        }
    }

    /// Sends the wave by the ring to every subscription from the walk's place on that it is for.
    fn send_batches(
        &mut self,
        ring: &mut SendRing,
        number: u32,
        wave: &Wave<'_>,
        budget: &mut Budget,
    ) -> io::Result<()> {
        loop {
            self.stage(ring, number, wave, budget);
            if ring.staged() == 0 {
                return Ok(());
            }
            self.settle_batch(ring, number, wave)?;
        }
    }

    /// Fills a submission, as far as the wave and the budget go.
    fn stage(&mut self, ring: &mut SendRing, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let Some(topic) = self.feeds.get_mut(number) else {
            return;
        };
        while topic.walk.left > 0 && !budget.is_spent() && !ring.is_full() {
            topic.walk.slot %= topic.subscriptions.len();
            let slot = topic.walk.slot;
            let subscription = &mut topic.subscriptions[slot];
            if !subscription.is_live() || subscription.cursor != wave.begin {
                return;
            }
            let key = subscription.session;
            let Some(session) = self.sessions.at_mut(key).filter(|s| s.is_clear()) else {
                return;
            };
            ring.stage(session.stream.as_fd(), tag(slot, key));
            subscription.cursor = wave.end;
            budget.spend(SEND_STEPS, wave.chain.bytes);
            topic.pass(wave.end);
        }
    }

    /// Submits what is staged, and sets right what did not leave whole.
    fn settle_batch(
        &mut self,
        ring: &mut SendRing,
        number: u32,
        wave: &Wave<'_>,
    ) -> io::Result<()> {
        let (feeds, sessions) = (&mut *self.feeds, &mut *self.sessions);
        let here = self.here;
        let reader = self.logs.reader(wave.chain.log);
        let total = wave.chain.bytes;
        let staged = ring.staged() as u64;
        let (mut answers, mut cut) = (0, Delivered::default());
        let submitted = ring.submit(wave.slices, |tag, answer| {
            answers += 1;
            let (slot, key) = untag(tag);
            let (Some(topic), Some(session)) = (feeds.get_mut(number), sessions.at_mut(key)) else {
                return;
            };
            let subscription = &mut topic.subscriptions[slot];
            subscription.cursor = wave.begin;
            let sent = send_rest(session, wave.slices, total, answer);
            let sent = wave.chain.look_again(session, reader, sent);
            let out = take_into_account(session, subscription, wave.chain, sent);
            let id = session.id(key);
            match out {
                Some(delivered) => cut.add(&delivered),
                None => sessions.end(here, id, Reason::PeerReset),
            }
            sessions.queue_tail(key);
            let cursor = topic.subscriptions[slot].cursor;
            topic.walk.again |= !sessions.is_blocked(key) && topic.is_behind(cursor);
            topic.walk.note(cursor);
        });
        let whole = staged - answers;
        if let Some(topic) = feeds.get_mut(number) {
            topic.walk.again |= whole > 0 && topic.is_behind(wave.end);
        }
        let metrics = self.here.metrics();
        metrics.sends.add(staged);
        cut.records += whole * wave.chain.records();
        cut.messages += whole * wave.chain.messages;
        cut.bytes += whole * total as u64;
        metrics.take_delivered(&cut);
        submitted
    }

    /// Sends the wave in a call for each subscription from the walk's place on that it is for.
    fn send_one_by_one(&mut self, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let Some(topic) = self.feeds.get_mut(number) else {
            return;
        };
        let metrics = self.here.metrics();
        while topic.walk.left > 0 && !budget.is_spent() {
            topic.walk.slot %= topic.subscriptions.len();
            let subscription = &mut topic.subscriptions[topic.walk.slot];
            if !subscription.is_live() || subscription.cursor != wave.begin {
                return;
            }
            let key = subscription.session;
            let Some(session) = self.sessions.at_mut(key).filter(|s| s.is_clear()) else {
                return;
            };
            budget.spend(SEND_STEPS, wave.chain.bytes);
            metrics.sends.add(1);
            let reader = self.logs.reader(wave.chain.log);
            let sent = send_to(session, subscription, wave, reader);
            let id = session.id(key);
            match sent {
                Some(delivered) => metrics.take_delivered(&delivered),
                None => self.sessions.end(self.here, id, Reason::PeerReset),
            }
            self.sessions.queue_tail(key);
            let (cursor, blocked) = (subscription.cursor, self.sessions.is_blocked(key));
            topic.walk.again |= !blocked && topic.is_behind(cursor);
            topic.pass(cursor);
        }
    }

    /// Sends a chain to one subscription.
    pub(crate) fn send_one(
        &mut self,
        id: SessionId,
        place: SubscriptionRef,
        chain: &Chain,
    ) -> Progress {
        let (Some(topic), Some(session)) =
            (self.feeds.get_mut(place.topic), self.sessions.get_mut(id))
        else {
            return Progress::Gone;
        };
        let subscription = &mut topic.subscriptions[place.slot as usize];
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let wave = Wave {
            chain,
            slices: chain.fill(&mut slices),
            begin: subscription.cursor,
            end: chain.next().unwrap_or(subscription.cursor),
        };
        let reader = self.logs.reader(chain.log);
        let Some(delivered) = send_to(session, subscription, &wave, reader) else {
            return Progress::Gone;
        };
        let cursor = topic.subscriptions[place.slot as usize].cursor;
        let (blocked, behind) = (
            session.blocked,
            session.tail.is_some() || topic.is_behind(cursor),
        );
        let metrics = self.here.metrics();
        metrics.sends.add(1);
        metrics.take_delivered(&delivered);
        match (blocked, behind) {
            (true, _) => Progress::Blocked,
            (false, true) => Progress::More,
            (false, false) => Progress::Done,
        }
    }
}

/// A subscription's slot and its session's key, as the ring gives them back.
fn tag(slot: usize, key: u32) -> u64 {
    (slot as u64) << 32 | u64::from(key)
}

fn untag(tag: u64) -> (usize, u32) {
    ((tag >> 32) as usize, tag as u32)
}

/// One call for the whole chain; moves the cursor by what the socket took. `None` when the connection is gone.
fn send_to(
    session: &mut Session,
    subscription: &mut Subscription,
    wave: &Wave<'_>,
    reader: &mut LogReader,
) -> Option<Delivered> {
    let sent = send(session, wave.slices, wave.chain.bytes);
    let sent = wave.chain.look_again(session, reader, sent);
    take_into_account(session, subscription, wave.chain, sent)
}

/// Moves the cursor, which stands where the chain begins, by what the socket took of the chain. `None` when the
/// connection is gone.
fn take_into_account(
    session: &mut Session,
    subscription: &mut Subscription,
    chain: &Chain,
    sent: Sent,
) -> Option<Delivered> {
    let Sent::Bytes(size) = sent else {
        return None;
    };
    if size == chain.bytes {
        subscription.cursor = chain.next().unwrap_or(subscription.cursor);
        return Some(Delivered {
            records: chain.records(),
            messages: chain.messages,
            bytes: size as u64,
        });
    }
    if size == 0 {
        return Some(Delivered::default());
    }
    let cut = chain.cut(size);
    subscription.cursor = cut.cursor;
    session.tail = cut.tail;
    Some(Delivered {
        records: cut.records,
        messages: cut.messages,
        bytes: size as u64,
    })
}

/// Whether the topic's window has what comes at `cursor`, and it is at hand.
pub(crate) fn build_from_window(
    chain: &mut Chain,
    topic: &Topic,
    logs: &mut Logs,
    cursor: Offset,
) -> bool {
    let Some(places) = topic.window_from(cursor) else {
        return false;
    };
    match logs.build(chain, topic.log, places) {
        // A hole before the first record has to be reported: the catch-up does.
        Ok(()) => chain.first().is_some_and(|first| first <= cursor),
        Err(Broken::Cold(_) | Broken::Dropped | Broken::Damaged) => false,
    }
}
