//! From news of a log to the sockets of everybody who waits for it.
//!
//! Each shard walks the headers of what has become visible, once, and notes the places in the windows of the topics
//! that somebody on it subscribes to. A topic with news is walked in the order of its list: one chain is built and sent
//! to all whose cursor is where it begins. A walk is bounded per turn and goes on where it stopped; whoever is reached
//! late gets everything that has come since, in the same call.

use std::collections::VecDeque;
use std::io::IoSlice;

use oyez_protocol::{LogId, Offset};
use oyez_storage::LogReader;

use crate::measure::metrics::Delivered;
use crate::parts::budget::{Budget, SEND_STEPS, WALK_STEPS};
use crate::parts::chain::{Broken, Chain, PARTS_MAX};
use crate::parts::ending::Reason;
use crate::parts::feed::Topic;
use crate::parts::logs::Logs;
use crate::parts::sending::{Progress, Sent, send};
use crate::parts::session::{Session, SessionId};
use crate::parts::subscription::{Delivery, Subscription, SubscriptionRef};
use crate::shard::Shard;
use crate::turn::wave::Wave;

/// Records of one log followed in one turn.
const NEWS_PER_TURN: usize = 4096;

/// A topic with more subscriptions than this has many.
const FEW_SUBSCRIPTIONS: usize = 16;

/// Topics with news that not everybody has.
#[derive(Debug, Default)]
pub(crate) struct TopicsWithNews {
    of_few: VecDeque<u32>,
    of_many: VecDeque<u32>,
}

impl TopicsWithNews {
    fn push(&mut self, number: u32, subscriptions: usize) {
        if subscriptions > FEW_SUBSCRIPTIONS {
            self.of_many.push_back(number);
        } else {
            self.of_few.push_back(number);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_few.is_empty() && self.of_many.is_empty()
    }
}

impl Shard {
    /// Follows what has become visible in the logs that somebody here cares for.
    pub(crate) fn take_news(&mut self) {
        for log in 0..self.logs.count() {
            let log = LogId::new(u16::try_from(log).expect("logs have numbers of 16 bits"));
            if self.logs.has_news(log) {
                self.follow(log);
            }
        }
    }

    /// Follows what has become visible in a log.
    pub(crate) fn follow(&mut self, log: LogId) {
        let (registry, queue) = (&mut self.registry, &mut self.topics_with_news);
        self.logs.follow(log, NEWS_PER_TURN, |place, name| {
            let Some(number) = registry.find(name) else {
                return;
            };
            registry.push(number, place);
            if let Some(topic) = registry.get_mut(number).filter(|topic| !topic.walk.queued) {
                topic.walk.queued = true;
                queue.push(number, topic.subscriptions.len());
            }
        });
    }

    /// Walks the topics with news, within the turn's budget: first those of few, who else would wait for all the others; half
    /// of the budget is kept for those of many.
    pub(crate) fn walk_topics(&mut self) {
        let mut budget = Budget::WALKS;
        let mut chain = std::mem::take(&mut self.chain);
        let half = Budget::WALKS.quarter().times(2);
        self.walk_list(|topics| &mut topics.of_few, &mut chain, &mut budget, half);
        let left = Budget::default();
        self.walk_list(|topics| &mut topics.of_many, &mut chain, &mut budget, left);
        chain.clear();
        self.chain = chain;
    }

    /// Walks the topics that are in a list now, until no more than `left` is left of the budget.
    fn walk_list(
        &mut self,
        list: fn(&mut TopicsWithNews) -> &mut VecDeque<u32>,
        chain: &mut Chain,
        budget: &mut Budget,
        left: Budget,
    ) {
        for _ in 0..list(&mut self.topics_with_news).len() {
            if !budget.is_above(left) {
                return;
            }
            let Some(number) = list(&mut self.topics_with_news).pop_front() else {
                return;
            };
            budget.spend(WALK_STEPS, 0);
            // A number may have been given to another topic since it was queued.
            let queued = self
                .registry
                .get(number)
                .is_some_and(|topic| topic.walk.queued);
            if !queued {
                continue;
            }
            if self.walk_topic(number, chain, budget) {
                if let Some(topic) = self.registry.get_mut(number) {
                    topic.walk.queued = false;
                }
                self.registry.finish_pass(number);
            } else {
                list(&mut self.topics_with_news).push_back(number);
            }
        }
    }

    /// Goes on with the walk of one topic; tells whether everybody was visited.
    fn walk_topic(&mut self, number: u32, chain: &mut Chain, budget: &mut Budget) -> bool {
        chain.clear();
        while !budget.is_spent() {
            let Some(cursor) = self.next_to_serve(number, budget) else {
                if budget.is_spent() {
                    break;
                }
                // One pass per turn: a single laggard must not make everybody be visited again and again.
                return !self.registry.get_mut(number).is_some_and(Topic::walk_again);
            };
            let Some(topic) = self.registry.get(number) else {
                return true;
            };
            if build_from_window(chain, topic, &mut self.logs, cursor) {
                self.send_chain(number, chain, budget);
            } else {
                self.leave_walk_to_catchup(number);
            }
        }
        false
    }

    /// Moves the walk on to the next subscription that can be served, and tells its cursor. Passing others takes of the
    /// budget, too.
    fn next_to_serve(&mut self, number: u32, budget: &mut Budget) -> Option<Offset> {
        let topic = self.registry.get_mut(number)?;
        while topic.walk.left > 0 && !topic.subscriptions.is_empty() && !budget.is_spent() {
            budget.spend(1, 0);
            topic.walk.slot %= topic.subscriptions.len();
            let subscription = topic.subscriptions[topic.walk.slot];
            if subscription.is_live() {
                // The cheap question first: a session is a cache line or two further away.
                let ready = topic.is_behind(subscription.cursor)
                    && self
                        .sessions
                        .at_mut(subscription.session)
                        .is_some_and(|session| session.is_clear());
                if ready {
                    return Some(subscription.cursor);
                }
                topic.pass(subscription.cursor);
            } else {
                topic.skip();
            }
        }
        None
    }

    /// Sends the chain to every subscription from the walk's place on that is where the chain begins.
    fn send_chain(&mut self, number: u32, chain: &Chain, budget: &mut Budget) {
        let Some(topic) = self.registry.get(number) else {
            return;
        };
        let begin = topic.subscriptions.get(topic.walk.slot).map(|s| s.cursor);
        let (Some(begin), Some(end)) = (begin, chain.next()) else {
            return;
        };
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let slices = chain.fill(&mut slices);
        let wave = Wave {
            chain,
            slices,
            begin,
            end,
        };
        if self.send_ring.is_some() && wave.suits_ring(topic.walk.left) {
            self.send_batches(number, &wave, budget);
        } else {
            self.send_one_by_one(number, &wave, budget);
        }
    }

    /// Sends the wave in a call for each subscription from the walk's place on that it is for.
    fn send_one_by_one(&mut self, number: u32, wave: &Wave<'_>, budget: &mut Budget) {
        let Some(topic) = self.registry.get_mut(number) else {
            return;
        };
        let metrics = &self.here.shared.metrics[self.here.id];
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
                None => self.sessions.end(&self.here, id, Reason::PeerReset),
            }
            self.sessions.queue_tail(key);
            let (cursor, blocked) = (subscription.cursor, self.sessions.is_blocked(key));
            topic.walk.again |= !blocked && topic.is_behind(cursor);
            topic.pass(cursor);
        }
    }

    /// The walk has met somebody whom the window does not reach: the log itself will serve them.
    fn leave_walk_to_catchup(&mut self, number: u32) {
        let Some(topic) = self.registry.get_mut(number) else {
            return;
        };
        let subscription = topic.subscriptions[topic.walk.slot];
        topic.skip();
        if let Some(id) = self.sessions.id_at(subscription.session) {
            self.sessions.queue_send(id);
        }
    }

    /// Sends one subscription what it has to get, outside the walk.
    pub(crate) fn deliver(&mut self, id: SessionId, place: SubscriptionRef) -> Progress {
        let Some(topic) = self.registry.get(place.topic) else {
            return Progress::Done;
        };
        let Some(subscription) = topic.subscriptions.get(place.slot as usize).copied() else {
            return Progress::Done;
        };
        match subscription.delivery() {
            Delivery::Pending(_) => Progress::Done,
            Delivery::CatchingUp(catchup) => self.go_on(catchup),
            Delivery::Live if !topic.is_behind(subscription.cursor) => Progress::Done,
            Delivery::Live => {
                let mut chain = std::mem::take(&mut self.chain);
                let cursor = subscription.cursor;
                let built = build_from_window(&mut chain, topic, &mut self.logs, cursor);
                let progress = if built {
                    self.send_one(id, place, &chain)
                } else {
                    self.begin_catchup(id, place)
                };
                chain.clear();
                self.chain = chain;
                progress
            }
        }
    }

    /// Sends a chain to one subscription.
    pub(crate) fn send_one(
        &mut self,
        id: SessionId,
        place: SubscriptionRef,
        chain: &Chain,
    ) -> Progress {
        let (Some(topic), Some(session)) = (
            self.registry.get_mut(place.topic),
            self.sessions.get_mut(id),
        ) else {
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
pub(crate) fn take_into_account(
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
fn build_from_window(chain: &mut Chain, topic: &Topic, logs: &mut Logs, cursor: Offset) -> bool {
    let Some(places) = topic.window_from(cursor) else {
        return false;
    };
    match logs.build(chain, topic.log, places) {
        // A hole before the first record has to be reported: the catch-up does.
        Ok(()) => chain.first().is_some_and(|first| first <= cursor),
        Err(Broken::Cold(_) | Broken::Dropped | Broken::Damaged) => false,
    }
}
