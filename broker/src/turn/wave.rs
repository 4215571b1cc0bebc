//! A walk's sends by the ring: the same chain to many subscribers, up to 128 in one submission.
//!
//! A cursor is moved when its send is staged, and set right when the socket did not take all. Every submission is
//! settled before anything else happens, so that no other send can come between, and nothing is left between turns. A
//! session has at most one subscription to a topic, hence at most one send in a submission.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use oyez_protocol::Offset;
use tracing::warn;

use crate::measure::metrics::Delivered;
use crate::parts::budget::{Budget, SEND_STEPS};
use crate::parts::chain::Chain;
use crate::parts::ending::Reason;
use crate::parts::sending::send_rest;
use crate::shard::Shard;
use crate::sys::ring::SendRing;
use crate::turn::fanout::take_into_account;

/// Chains above this leave one at a time: what is saved per send disappears beside the copying. *Processor time of a
/// send one by one and by the ring, two shards and the subscribers on the same two cores: 200 B to 10,000 11.2 and
/// 6.3 us; 7,500 B to 10,000 11.5 and 7.2 us; 50 KB to 2,000 18.4 and 13.0 us.*
const CHAIN_BYTES_MAX: usize = 64 << 10;
/// Fewer than these to visit are not worth a submission. *8 on a shard, 200 B: 8.4 and 7.0 us.*
const SUBSCRIPTIONS_MIN: usize = 8;

/// A chain for everybody who stands at `begin`.
pub(crate) struct Wave<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) slices: &'a [IoSlice<'a>],
    pub(crate) begin: Offset,
    /// Where who has got all of it stands.
    pub(crate) end: Offset,
}

impl Wave<'_> {
    /// Whether it is worth a submission for so many to visit.
    pub(crate) fn suits_ring(&self, left: usize) -> bool {
        self.chain.bytes <= CHAIN_BYTES_MAX && left >= SUBSCRIPTIONS_MIN
    }
}

impl Shard {
    /// Sends the wave by the ring to every subscription from the walk's place on that it is for. A ring that fails is
    /// given up; the walk goes on without.
    pub(crate) fn send_batches(&mut self, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let Some(mut ring) = self.send_ring.take() else {
            return;
        };
        loop {
            self.stage(&mut ring, number, wave, budget);
            if ring.staged() == 0 {
                break;
            }
            if let Err(error) = self.settle_batch(&mut ring, number, wave) {
                warn!(shard = self.here.id, %error, "the ring for sends failed; sends leave one by one");
                return;
            }
        }
        self.send_ring = Some(ring);
    }

    /// Fills a submission, as far as the wave and the budget go.
    fn stage(&mut self, ring: &mut SendRing, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let Some(topic) = self.registry.get_mut(number) else {
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
        let (registry, sessions) = (&mut self.registry, &mut self.sessions);
        let here = &self.here;
        let reader = self.logs.reader(wave.chain.log);
        let total = wave.chain.bytes;
        let staged = ring.staged() as u64;
        let (mut answers, mut cut) = (0, Delivered::default());
        let submitted = ring.submit(wave.slices, |tag, answer| {
            answers += 1;
            let (slot, key) = untag(tag);
            let (Some(topic), Some(session)) = (registry.get_mut(number), sessions.at_mut(key))
            else {
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
        if let Some(topic) = registry.get_mut(number) {
            topic.walk.again |= whole > 0 && topic.is_behind(wave.end);
        }
        let metrics = &self.here.shared.metrics[self.here.id];
        metrics.sends.add(staged);
        cut.records += whole * wave.chain.records();
        cut.messages += whole * wave.chain.messages;
        cut.bytes += whole * total as u64;
        metrics.take_delivered(&cut);
        submitted
    }
}

/// A subscription's slot and its session's key, as the ring gives them back.
fn tag(slot: usize, key: u32) -> u64 {
    (slot as u64) << 32 | u64::from(key)
}

fn untag(tag: u64) -> (usize, u32) {
    ((tag >> 32) as usize, tag as u32)
}
