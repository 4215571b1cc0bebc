//! The ways out. What is half out leaves first; then control frames; then records, subscription by subscription.

use std::io::IoSlice;
use std::os::fd::AsFd;

use oyez_storage::{Read, ReadError};

use crate::parts::ending::Reason;
use crate::parts::sending::{Progress, Sent, lacks_bytes, send, send_all, taken};
use crate::parts::session::{RecordTail, Session, SessionId, Stage};
use crate::shard::Shard;
use crate::sys::socket;

impl Shard {
    /// Sends what a session has to get, as far as its socket takes it.
    pub(crate) fn flush(&mut self, id: SessionId) {
        // A Goodbye does not wait.
        let held = |session: &Session| session.held && session.stage == Stage::Open;
        if self.sessions.get(id).is_some_and(held) {
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
            Progress::More => self.sessions.queue_send(id),
            Progress::Gone => self.sessions.end(&self.here, id, Reason::PeerReset),
            Progress::Blocked => self.pause_catchups(id),
            Progress::Done => {}
        }
    }

    /// Sends every subscription of a session something, from another one on in each turn, so that none is always
    /// behind the others.
    fn flush_subscriptions(&mut self, id: SessionId) -> Progress {
        let count = match self.sessions.get(id) {
            Some(session) if session.stage == Stage::Open => session.subscriptions.len(),
            _ => return Progress::Done,
        };
        let first = usize::try_from(self.here.metrics().turns.get()).unwrap_or(0);
        let mut more = false;
        for index in 0..count {
            let index = first.wrapping_add(index) % count;
            let Some(subscription) = self.sessions.get(id).and_then(|session| {
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

    /// Sends the rest of a record of which the socket has taken a part.
    fn flush_tail(&mut self, id: SessionId) -> Progress {
        let Some(session) = self.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        if session.blocked {
            return Progress::Blocked;
        }
        let Some(tail) = session.tail else {
            return Progress::Done;
        };
        let read = self.logs.read(tail.log(), tail.position(), tail.size());
        match read {
            Ok(Read::Ready(bytes)) => self.send_tail(id, tail, &bytes),
            Ok(Read::Cold(cold)) => {
                self.warm_for_tail(id, cold);
                Progress::Blocked
            }
            Err(ReadError::Dropped | ReadError::Damaged | ReadError::Unreadable) => {
                self.sessions.end(&self.here, id, Reason::Dropped);
                Progress::Blocked
            }
        }
    }

    fn send_tail(&mut self, id: SessionId, mut tail: RecordTail, bytes: &[u8]) -> Progress {
        let Some(session) = self.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        let rest = &bytes[tail.sent as usize..];
        let sent = send(session, &[IoSlice::new(rest)], rest.len());
        let (done, blocked) = (sent == Sent::Bytes(rest.len()), session.blocked);
        let reader = self.logs.reader(tail.log());
        if !done && lacks_bytes(reader, tail.position(), bytes.len()) {
            self.sessions.end(&self.here, id, Reason::Dropped);
            return Progress::Blocked;
        }
        let Sent::Bytes(size) = sent else {
            return Progress::Gone;
        };
        tail.sent += u32::try_from(size).expect("a part of a record is smaller than the record");
        session.tail = (!done).then_some(tail);
        let metrics = self.here.metrics();
        metrics.sends.add(1);
        metrics.bytes_out.add(size as u64);
        match (done, blocked) {
            (true, _) => Progress::Done,
            (false, true) => Progress::Blocked,
            (false, false) => Progress::More,
        }
    }

    fn flush_control(&mut self, id: SessionId) -> Progress {
        let Some(session) = self.sessions.get_mut(id) else {
            return Progress::Gone;
        };
        let Some(outgoing) = &session.outgoing else {
            return Progress::Done;
        };
        let rest = &outgoing.bytes[outgoing.sent..];
        let (total, stream) = (rest.len(), session.stream.as_fd());
        let out = send_all(total, |sent| {
            socket::send(stream, &[IoSlice::new(&rest[sent..])])
        });
        let Sent::Bytes(size) = taken(session, out) else {
            return Progress::Gone;
        };
        if size < total {
            if let Some(outgoing) = &mut session.outgoing {
                outgoing.sent += size;
                if size > 0 {
                    outgoing.moved_ms = self.here.now.monotonic_ms;
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
        self.sessions.empty_outgoing(id);
        self.sessions.resume(id);
        if closing {
            self.sessions.linger(&self.here, id);
        }
        Progress::Done
    }
}
