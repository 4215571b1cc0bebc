//! The ways out. What is half out leaves first; then control frames; then records, subscription by subscription.

use std::io::IoSlice;

use oyez_storage::{Read, ReadError};

use crate::parts::budget::{Budget, SEND_STEPS};
use crate::parts::ending::Reason;
use crate::parts::sending::{Progress, Sent, lacks_bytes, send, send_all, taken};
use crate::parts::session::{RecordTail, Session, SessionId, Stage};
use crate::parts::subscription::{Delivery, SubscriptionRef};
use crate::turn::catchup::Serving;
use crate::turn::wave::build_from_window;

/// What sending to sessions needs.
pub(crate) struct Flushing<'a> {
    pub(crate) serving: Serving<'a>,
}

impl Flushing<'_> {
    /// Sends to the sessions that have something to get, within the turn's budget.
    pub(crate) fn run(&mut self) {
        let mut budget = Budget::FLUSHES;
        for _ in 0..self.serving.sessions.count_to_send() {
            if budget.is_spent() {
                return;
            }
            let Some(id) = self.serving.sessions.next_to_send() else {
                return;
            };
            let session = self.serving.sessions.get(id);
            let visited = session.map_or(0, |session| session.subscriptions.len());
            let before = self.serving.here.metrics().bytes_out.get();
            self.flush(id);
            let bytes = self.serving.here.metrics().bytes_out.get() - before;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            budget.spend(SEND_STEPS + visited, bytes);
        }
    }

    /// Sends what a session has to get, as far as its socket takes it.
    fn flush(&mut self, id: SessionId) {
        // A Goodbye does not wait.
        let held = |session: &Session| session.held && session.stage == Stage::Open;
        if self.serving.sessions.get(id).is_some_and(held) {
            return;
        }
        let mut progress = self.flush_tail(id);
        if progress == Progress::Done {
            progress = self.flush_control(id);
        }
        if progress == Progress::Done {
            progress = self.flush_subscriptions(id);
        }
        match progress {
            Progress::More => self.serving.sessions.queue_send(id),
            Progress::Gone => self
                .serving
                .sessions
                .end(self.serving.here, id, Reason::PeerReset),
            Progress::Blocked => self.serving.pause(id),
            Progress::Done => {}
        }
    }

    /// Sends every subscription of a session something, from another one on in each turn, so that none is always
    /// behind the others.
    fn flush_subscriptions(&mut self, id: SessionId) -> Progress {
        let count = match self.serving.sessions.get(id) {
            Some(session) if session.stage == Stage::Open => session.subscriptions.len(),
            _ => return Progress::Done,
        };
        let first = self.serving.here.turns;
        let mut more = false;
        for index in 0..count {
            let index = first.wrapping_add(index) % count;
            let Some(subscription) = self.serving.sessions.get(id).and_then(|session| {
                if session.tail.is_some() {
                    more = true; // The rest of that record leaves before anything else.
                    return None;
                }
                let subscriptions = session.subscriptions.as_slice();
                subscriptions.get(index).copied()
            }) else {
                break;
            };
            match self.deliver(id, subscription) {
                Progress::Done => {}
                Progress::More => more = true,
                end @ (Progress::Blocked | Progress::Gone) => return end,
            }
        }
        if more { Progress::More } else { Progress::Done }
    }

    /// Sends one subscription what it has to get, outside the walk.
    fn deliver(&mut self, id: SessionId, place: SubscriptionRef) -> Progress {
        let serving = &mut self.serving;
        let Some(topic) = serving.feeds.get(place.topic) else {
            return Progress::Done;
        };
        let Some(subscription) = topic.subscriptions.get(place.slot as usize).copied() else {
            return Progress::Done;
        };
        match subscription.delivery() {
            Delivery::Pending(_) => Progress::Done,
            Delivery::CatchingUp(catchup) => serving.go_on(catchup),
            Delivery::Live if !topic.is_behind(subscription.cursor) => Progress::Done,
            Delivery::Live => {
                let mut chain = std::mem::take(serving.chain);
                let cursor = subscription.cursor;
                let built = build_from_window(&mut chain, topic, serving.logs, cursor);
                let progress = if built {
                    serving.out().send_one(id, place, &chain)
                } else {
                    serving.begin(id, place)
                };
                chain.clear();
                *serving.chain = chain;
                progress
            }
        }
    }

    /// Sends the rest of a record of which the socket has taken a part.
    fn flush_tail(&mut self, id: SessionId) -> Progress {
        let Some(session) = self.serving.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        if session.blocked {
            return Progress::Blocked;
        }
        let Some(tail) = session.tail else {
            return Progress::Done;
        };
        let read = self
            .serving
            .logs
            .read(tail.log(), tail.position(), tail.size());
        match read {
            Ok(Read::Ready(bytes)) => self.send_tail(id, tail, &bytes),
            Ok(Read::Cold(cold)) => {
                self.serving.warm_for_tail(id, cold);
                Progress::Blocked
            }
            Err(ReadError::Dropped | ReadError::Damaged | ReadError::Unreadable) => {
                self.serving
                    .sessions
                    .end(self.serving.here, id, Reason::Dropped);
                Progress::Blocked
            }
        }
    }

    fn send_tail(&mut self, id: SessionId, mut tail: RecordTail, bytes: &[u8]) -> Progress {
        let Some(session) = self.serving.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        let rest = &bytes[tail.sent as usize..];
        let net = &mut *self.serving.net;
        let sent = send(net, session, &[IoSlice::new(rest)], rest.len());
        let (done, blocked) = (sent == Sent::Bytes(rest.len()), session.blocked);
        let reader = self.serving.logs.reader(tail.log());
        if !done && lacks_bytes(reader, tail.position(), bytes.len()) {
            self.serving
                .sessions
                .end(self.serving.here, id, Reason::Dropped);
            return Progress::Blocked;
        }
        let Sent::Bytes(size) = sent else {
            return Progress::Gone;
        };
        tail.sent += u32::try_from(size).expect("a part of a record is smaller than the record");
        session.tail = (!done).then_some(tail);
        let metrics = self.serving.here.metrics();
        metrics.sends.add(1);
        metrics.bytes_out.add(size as u64);
        match (done, blocked) {
            (true, _) => Progress::Done,
            (false, true) => Progress::Blocked,
            (false, false) => Progress::More,
        }
    }

    fn flush_control(&mut self, id: SessionId) -> Progress {
        let Some(session) = self.serving.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        let Some(outgoing) = &session.outgoing else {
            return Progress::Done;
        };
        let rest = &outgoing.bytes[outgoing.sent..];
        let (total, socket) = (rest.len(), session.socket);
        let net = &mut *self.serving.net;
        let out = send_all(total, |sent| {
            net.send(socket, &[IoSlice::new(&rest[sent..])])
        });
        let Sent::Bytes(size) = taken(session, out) else {
            return Progress::Gone;
        };
        if size < total {
            if let Some(outgoing) = &mut session.outgoing {
                outgoing.sent += size;
                if size > 0 {
                    outgoing.moved_ms = self.serving.here.now.monotonic_ms;
                }
                if outgoing.sent * 2 >= outgoing.bytes.len() {
                    outgoing.bytes.drain(..outgoing.sent);
                    outgoing.sent = 0;
                }
            }
            return match session.blocked {
                true => Progress::Blocked,
                false => Progress::More,
            };
        }
        let closing = session.stage == Stage::Closing;
        self.serving.sessions.empty_outgoing(id);
        self.serving.sessions.resume(id);
        if closing {
            if self.serving.net.shutdown(socket).is_err() {
                return Progress::Gone;
            }
            self.serving.sessions.linger(id);
        }
        Progress::Done
    }
}

#[cfg(test)]
mod tests;
