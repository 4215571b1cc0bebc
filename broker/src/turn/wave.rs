//! A walk's sends: the same chain to many subscribers, in batches where these cost less.
//!
//! A cursor is moved when its send is staged, and set right when the socket did not take all. Every batch is settled before
//! anything else happens, so that no other send can come between, and nothing is left between turns. A session has at
//! most one subscription to a topic, hence at most one send in a batch.

use std::io::IoSlice;

use oyez_protocol::Offset;
use oyez_protocol::planted::{Bug, planted};
use oyez_storage::LogReader;

use crate::measure::metrics::Delivered;
use crate::net::{Answer, Net};
use crate::parts::batch::SendBatch;
use crate::parts::budget::{Budget, SEND_STEPS};
use crate::parts::chain::{Broken, Chain};
use crate::parts::context::ShardContext;
use crate::parts::ending::Reason;
use crate::parts::feeds::Feeds;
use crate::parts::logs::Logs;
use crate::parts::sending::{PARTS_MAX, SendProgress, Sent, send, send_rest};
use crate::parts::session::{Session, SessionId};
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Subscription, SubscriptionRef};
use crate::turn::render::{Rendering, Span};

/// Chains above this leave one at a time: what is saved per send disappears beside the copying. *Processor time of a
/// send one by one and by the ring, two shards and the subscribers on the same two cores: 200 B to 10,000 11.2 and
/// 6.3 us; 7,500 B to 10,000 11.5 and 7.2 us; 50 KB to 2,000 18.4 and 13.0 us.*
const CHAIN_BYTES_MAX: usize = 64 << 10;
/// Fewer than these to visit are not worth a batch. *8 on a shard, 200 B: 8.4 and 7.0 us.*
const SUBSCRIPTIONS_MIN: usize = 8;

/// Why a chain has a first record and a last one.
const BUILT: &str = "a chain that was built has records";

/// A chain for every subscription whose cursor is `begin`.
struct Wave<'a> {
    chain: &'a Chain,
    slices: &'a [IoSlice<'a>],
    begin: Offset,
    /// The cursor of a subscription that has got all of it.
    end: Offset,
}

impl Wave<'_> {
    /// Whether a batch is worth it when this many subscriptions are left to visit.
    fn suits_batch(&self, left: usize) -> bool {
        self.chain.bytes <= CHAIN_BYTES_MAX && left >= SUBSCRIPTIONS_MIN
    }
}

/// The parts that records pass on their way from the log to sockets.
pub(crate) struct DeliveryContext<'a> {
    pub(crate) context: &'a ShardContext,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) feeds: &'a mut Feeds,
    pub(crate) logs: &'a mut Logs,
    pub(crate) rendering: &'a mut Rendering,
    /// Bytes that sockets have taken outside of walks.
    pub(crate) sent: usize,
}

impl DeliveryContext<'_> {
    /// Builds the chain of the records from `cursor` up to `until`. Returns whether they are in the topic's window and at hand.
    pub(crate) fn build_from_window(
        &mut self,
        chain: &mut Chain,
        number: u32,
        (cursor, until): (Offset, Option<Offset>),
    ) -> bool {
        let topic = self.feeds.subscribed(number);
        let Some(places) = topic.window_from(cursor) else {
            return false;
        };
        let means = (&mut *self.logs, self.context.metrics());
        let span = Span {
            from: cursor,
            until,
        };
        let built = self.rendering.build(means, chain, (topic, span), places);
        match built {
            // A hole before the first record has to be reported: the catch-up does.
            Ok(()) => chain.first().is_some_and(|first| first <= cursor),
            Err(Broken::Cold(_) | Broken::Dropped | Broken::Damaged) => false,
        }
    }

    /// Sends the chain to every subscription from the walk's place on whose cursor is where the chain begins.
    pub(crate) fn send_chain(
        &mut self,
        batch: &mut SendBatch,
        number: u32,
        chain: &Chain,
        budget: &mut Budget,
    ) {
        let audience = &mut self.feeds.subscribed_mut(number).audience;
        let left = audience.left();
        let (_, first) = audience.next().expect("the chain is for a subscription");
        let begin = first.cursor;
        let end = chain.next().expect(BUILT);
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let wave = Wave {
            chain,
            slices: chain.fill(&mut slices),
            begin,
            end,
        };
        if self.net.has_batches() && wave.suits_batch(left) {
            self.send_batches(batch, number, &wave, budget);
        } else {
            self.send_one_by_one(number, &wave, budget);
        }
    }

    /// Sends the wave in batches to every subscription that it is for, from the walk's place on.
    fn send_batches(
        &mut self,
        batch: &mut SendBatch,
        number: u32,
        wave: &Wave<'_>,
        budget: &mut Budget,
    ) {
        loop {
            batch.clear();
            self.stage(batch, number, wave, budget);
            if batch.sockets.is_empty() {
                return;
            }
            self.net
                .send_many(&batch.sockets, wave.slices, &mut batch.answers);
            self.settle(batch, number, wave);
        }
    }

    /// Fills a batch, as far as the wave and the budget go.
    fn stage(&mut self, batch: &mut SendBatch, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let audience = &mut self.feeds.subscribed_mut(number).audience;
        while !budget.is_spent() && !batch.is_full() {
            let Some((slot, subscription)) = audience.next() else {
                return; // Every subscription was visited.
            };
            if !subscription.is_live() || subscription.cursor != wave.begin {
                return; // The wave is not for it.
            }
            let key = subscription.session;
            let session = self.sessions.at_mut(key);
            if !session.is_clear() {
                return; // Its socket takes nothing now; the walk passes it by.
            }
            batch.sockets.push((session.socket(), tag(slot, key)));
            subscription.cursor = wave.end;
            budget.spend(SEND_STEPS, wave.chain.bytes);
            audience.pass(wave.end);
        }
    }

    /// Sets the cursors right whose sends of a batch did not leave whole, and counts what did leave.
    fn settle(&mut self, batch: &mut SendBatch, number: u32, wave: &Wave<'_>) {
        let staged = batch.sockets.len() as u64;
        let whole = staged - batch.answers.len() as u64;
        let mut delivered = Delivered {
            records: whole * wave.chain.records(),
            messages: whole * wave.chain.messages,
            bytes: whole * wave.chain.bytes as u64,
        };
        for (index, mut answer) in batch.answers.drain(..).enumerate() {
            if planted(Bug::MixesUpAnswers) {
                answer.tag = batch.sockets[index].1;
            }
            delivered.add(&self.settle_one(number, wave, answer));
        }
        let topic = self.feeds.subscribed_mut(number);
        let is_behind = whole > 0 && topic.is_behind(wave.end);
        topic.audience.note_behind(is_behind);
        let metrics = self.context.metrics();
        metrics.sends.add(staged);
        metrics.take_delivered(&delivered);
    }

    /// Goes on with a send that did not take all. Returns what it has sent.
    fn settle_one(&mut self, number: u32, wave: &Wave<'_>, answer: Answer) -> Delivered {
        let (slot, key) = untag(answer.tag);
        let topic = self.feeds.subscribed_mut(number);
        let session = self.sessions.at_mut(key);
        let subscription = topic.audience.at_mut(slot);
        subscription.cursor = wave.begin;
        let whole = (wave.slices, wave.chain.bytes);
        let sent = send_rest(self.net, session, whole, answer.sent);
        let reader = self.logs.reader(wave.chain.log);
        let sent = wave.chain.look_again(session, reader, sent);
        let out = take_into_account(session, subscription, wave.chain, sent);
        let cursor = subscription.cursor;
        let id = session.id(key);
        if out.is_none() {
            self.sessions.end(self.context, id, Reason::PeerReset);
        }
        self.sessions.queue_tail(key);
        let is_behind = !self.sessions.is_blocked(key) && topic.is_behind(cursor);
        topic.audience.note_behind(is_behind);
        topic.audience.note(cursor);
        out.unwrap_or_default()
    }

    /// Sends the wave in one call for each subscription that it is for, from the walk's place on.
    fn send_one_by_one(&mut self, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let topic = self.feeds.subscribed_mut(number);
        let metrics = self.context.metrics();
        while !budget.is_spent() {
            let Some((_, subscription)) = topic.audience.next() else {
                return; // Every subscription was visited.
            };
            if !subscription.is_live() || subscription.cursor != wave.begin {
                return; // The wave is not for it.
            }
            let key = subscription.session;
            let session = self.sessions.at_mut(key);
            if !session.is_clear() {
                return; // Its socket takes nothing now; the walk passes it by.
            }
            budget.spend(SEND_STEPS, wave.chain.bytes);
            metrics.sends.add(1);
            let reader = self.logs.reader(wave.chain.log);
            let sent = send_to(self.net, session, subscription, (wave, reader));
            let id = session.id(key);
            match sent {
                Some(delivered) => metrics.take_delivered(&delivered),
                None => self.sessions.end(self.context, id, Reason::PeerReset),
            }
            self.sessions.queue_tail(key);
            let (cursor, blocked) = (subscription.cursor, self.sessions.is_blocked(key));
            let is_behind = !blocked && topic.is_behind(cursor);
            topic.audience.note_behind(is_behind);
            topic.audience.pass(cursor);
        }
    }

    /// Sends a chain to one subscription.
    pub(crate) fn send_one(
        &mut self,
        id: SessionId,
        place: SubscriptionRef,
        chain: &Chain,
    ) -> SendProgress {
        let topic = self.feeds.subscribed_mut(place.topic);
        let session = self.sessions.there_mut(id);
        let subscription = topic.audience.at_mut(place.slot as usize);
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let wave = Wave {
            chain,
            slices: chain.fill(&mut slices),
            begin: subscription.cursor,
            end: chain.next().expect(BUILT),
        };
        let reader = self.logs.reader(chain.log);
        let Some(delivered) = send_to(self.net, session, subscription, (&wave, reader)) else {
            return SendProgress::Gone;
        };
        let cursor = subscription.cursor;
        let (blocked, behind) = (
            session.is_blocked(),
            session.tail().is_some() || topic.is_behind(cursor),
        );
        let metrics = self.context.metrics();
        metrics.sends.add(1);
        metrics.take_delivered(&delivered);
        self.sent += delivered.bytes as usize;
        match (blocked, behind) {
            (true, _) => SendProgress::Blocked,
            (false, true) => SendProgress::More,
            (false, false) => SendProgress::Done,
        }
    }
}

/// A subscription's slot and its session's key, as the answers of a batch give them back.
fn tag(slot: usize, key: u32) -> u64 {
    (slot as u64) << 32 | u64::from(key)
}

fn untag(tag: u64) -> (usize, u32) {
    ((tag >> 32) as usize, tag as u32)
}

/// Sends the whole chain in one call and moves the cursor by what the socket took. Returns `None` when the connection is gone.
fn send_to(
    net: &mut dyn Net,
    session: &mut Session,
    subscription: &mut Subscription,
    (wave, reader): (&Wave<'_>, &mut LogReader),
) -> Option<Delivered> {
    let sent = send(net, session, wave.slices, wave.chain.bytes);
    let sent = wave.chain.look_again(session, reader, sent);
    take_into_account(session, subscription, wave.chain, sent)
}

/// Moves the cursor, which stands where the chain begins, by what the socket took of the chain. Returns `None` when the
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
        subscription.cursor = chain.next().expect(BUILT);
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
    session.set_tail(cut.tail);
    Some(Delivered {
        records: cut.records,
        messages: cut.messages,
        bytes: size as u64,
    })
}

#[cfg(test)]
mod tests;
