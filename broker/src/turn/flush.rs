//! The ways out. What is half out leaves first; then control frames; then records, subscription by subscription.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use oyez_protocol::Position;
use oyez_storage::{LogReader, Read, ReadError};

use crate::parts::chain::PARTS_MAX;
use crate::parts::sessions::{Outgoing, RecordTail, Session, SessionId, Stage};
use crate::shard::Shard;
use crate::sys::socket;
use crate::turn::end::Reason;
use crate::turn::read::Taken;

/// Empty outgoing buffers kept for the next control frames.
const OUTGOING_KEPT: usize = 256;
/// A kept buffer is at most this large.
const OUTGOING_BYTES_KEPT: usize = 4096;

/// Calls that one visit to a socket makes. Its bytes are bounded by what is sent at once, a chain; without this its calls
/// would not be, as each may take little.
const CALLS_MAX: usize = 16;

/// What became of bytes given to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The socket took so many. If these are not all, it is full only when the session is blocked.
    Bytes(usize),
    /// The kernel could not read them; the socket took none.
    Unreadable,
    /// The connection is gone.
    Gone,
}

/// How far a session's sending has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything is out.
    Done,
    /// The socket takes no more; epoll will tell.
    Blocked,
    /// There is more, and the socket may take it: in the next turn.
    More,
    /// The session is gone.
    Gone,
}

/// Why a visit to a socket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Everything is out.
    Whole,
    /// The socket has answered `EAGAIN`, and nothing less says that it is full: epoll will tell when it is not.
    Full,
    /// The visit has made its calls; the socket may take more.
    Spent,
    /// There are no more bytes where these come from, or they cannot be read.
    Unreadable,
    /// The connection is gone.
    Gone,
}

/// Calls until `total` bytes are out or there is a reason to stop, and tells how many are out; `call` is told how many were
/// before. A short count is no reason to stop: whatever interrupts a call halfway causes one on a socket that has room, and
/// no event would follow.
pub(crate) fn send_all(
    total: usize,
    mut call: impl FnMut(usize) -> io::Result<usize>,
) -> (usize, Stop) {
    let (mut sent, mut calls) = (0, 0);
    while sent < total {
        if calls == CALLS_MAX {
            return (sent, Stop::Spent);
        }
        calls += 1;
        match call(sent) {
            Ok(0) => return (sent, Stop::Unreadable),
            Ok(size) => sent += size,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (sent, Stop::Full),
            Err(error) if is_unreadable(&error) => return (sent, Stop::Unreadable),
            Err(_) => return (sent, Stop::Gone),
        }
    }
    (sent, Stop::Whole)
}

/// Whether the kernel says that it cannot read what it is to send: from a map, or from a file.
fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EIO))
}

/// Gives `parts`, which have `total` bytes, to the socket.
pub(crate) fn send(session: &mut Session, parts: &[IoSlice<'_>], total: usize) -> Sent {
    let stream = session.stream.as_fd();
    let out = send_all(total, |sent| send_from(stream, parts, sent));
    taken(session, out)
}

/// Goes on after a first attempt to send `parts`, whose answer was `first`.
pub(crate) fn send_rest(
    session: &mut Session,
    parts: &[IoSlice<'_>],
    total: usize,
    first: io::Result<usize>,
) -> Sent {
    let stream = session.stream.as_fd();
    let mut first = Some(first);
    let out = send_all(total, |sent| {
        let first = first.take();
        first.unwrap_or_else(|| send_from(stream, parts, sent))
    });
    taken(session, out)
}

/// One call, for what comes after the first `sent` bytes of `parts`.
fn send_from(stream: BorrowedFd<'_>, parts: &[IoSlice<'_>], sent: usize) -> io::Result<usize> {
    if sent == 0 {
        return socket::send(stream, parts);
    }
    let mut rest = [IoSlice::new(&[]); PARTS_MAX];
    let mut rest = &mut rest[..parts.len()];
    rest.copy_from_slice(parts);
    IoSlice::advance_slices(&mut rest, sent);
    socket::send(stream, rest)
}

/// What the end of a visit means for its session.
fn taken(session: &mut Session, (sent, stop): (usize, Stop)) -> Sent {
    session.blocked = stop == Stop::Full;
    match stop {
        Stop::Gone => Sent::Gone,
        Stop::Unreadable if sent == 0 => Sent::Unreadable,
        Stop::Whole | Stop::Full | Stop::Spent | Stop::Unreadable => Sent::Bytes(sent),
    }
}

/// Sends a range of a file.
pub(crate) fn send_range(
    stream: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size: usize,
) -> (usize, Stop) {
    send_all(size, |sent| {
        socket::send_file(stream, file, offset + sent as u64, size - sent)
    })
}

/// Whether a range that a socket has not taken whole has lost bytes, where it was read from a map: then nothing is gained
/// by waiting for the socket.
pub(crate) fn lacks_bytes(reader: &mut LogReader, position: Position, size: usize) -> bool {
    let size = u32::try_from(size).expect("a range lies in a block");
    reader.is_mapped(position) && reader.recheck(position, size) == Err(ReadError::Damaged)
}

impl Shard {
    /// Adds a control frame to what a session is sent. It leaves at the end of the turn.
    pub(crate) fn send_control(
        &mut self,
        id: SessionId,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Taken {
        let Some(session) = self
            .sessions
            .get_mut(id)
            .filter(|session| matches!(session.stage, Stage::Greeting | Stage::Open))
        else {
            return Taken::Over; // Nothing comes after a Goodbye.
        };
        let spare = &mut self.outgoing_spare;
        let now_ms = self.now.monotonic_ms;
        let outgoing = session.outgoing.get_or_insert_with(|| {
            let mut outgoing = spare.pop().unwrap_or_default();
            outgoing.moved_ms = now_ms;
            outgoing
        });
        encode(&mut outgoing.bytes);
        let bytes = outgoing.bytes.capacity();
        self.room.output.count(&mut outgoing.counted, bytes);
        self.room.note(id, session);
        self.queue_send(id);
        Taken::Done
    }

    /// Sends what a session has to get, as far as its socket takes it.
    pub(crate) fn flush(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.queued = false;
        }
        if self.is_held(id) {
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
            Progress::More => self.queue_send(id),
            Progress::Gone => self.disconnect(id, Reason::PeerReset),
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
        let first = usize::try_from(self.metrics().turns.get()).unwrap_or(0);
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
                self.disconnect(id, Reason::Dropped);
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
            self.disconnect(id, Reason::Dropped);
            return Progress::Blocked;
        }
        let Sent::Bytes(size) = sent else {
            return Progress::Gone;
        };
        tail.sent += u32::try_from(size).expect("a part of a record is smaller than the record");
        session.tail = (!done).then_some(tail);
        let metrics = self.metrics();
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
                    outgoing.moved_ms = self.now.monotonic_ms;
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
        if let Some(mut outgoing) = session.outgoing.take() {
            self.room.output.count(&mut outgoing.counted, 0);
            self.keep_outgoing(outgoing);
        }
        self.resume(id);
        if closing {
            self.linger(id);
        }
        Progress::Done
    }

    fn keep_outgoing(&mut self, mut outgoing: Box<Outgoing>) {
        if self.outgoing_spare.len() < OUTGOING_KEPT
            && outgoing.bytes.capacity() <= OUTGOING_BYTES_KEPT
        {
            outgoing.bytes.clear();
            outgoing.sent = 0;
            self.outgoing_spare.push(outgoing);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What becomes of `total` bytes when the calls for them are answered so, in this order; all answers are used up.
    fn outcome(total: usize, answers: &[Result<usize, i32>]) -> (usize, Stop) {
        let mut answers: VecDeque<_> = answers.iter().copied().collect();
        let mut out = 0;
        let outcome = send_all(total, |sent| {
            assert_eq!(sent, out, "a call goes on where the last one has ended");
            let answer = answers.pop_front().expect("no call after the last one");
            out += answer.unwrap_or(0);
            answer.map_err(io::Error::from_raw_os_error)
        });
        assert!(answers.is_empty(), "answers that nobody asked for");
        outcome
    }

    #[test]
    fn only_a_socket_that_says_so_is_full() {
        let full = Err(libc::EAGAIN);
        assert_eq!(outcome(10, &[Ok(10)]), (10, Stop::Whole));
        assert_eq!(outcome(10, &[Ok(3), Ok(7)]), (10, Stop::Whole));
        assert_eq!(outcome(10, &[Ok(3), full]), (3, Stop::Full));
        assert_eq!(outcome(10, &[full]), (0, Stop::Full));
        let interrupted = Err(libc::EINTR);
        assert_eq!(outcome(10, &[interrupted, Ok(10)]), (10, Stop::Whole));
        assert_eq!(outcome(0, &[]), (0, Stop::Whole));
        assert_eq!(outcome(10, &[Ok(3), Ok(0)]), (3, Stop::Unreadable));
        assert_eq!(
            outcome(10, &[Ok(3), Err(libc::EFAULT)]),
            (3, Stop::Unreadable)
        );
        assert_eq!(outcome(10, &[Ok(3), Err(libc::EPIPE)]), (3, Stop::Gone));
    }

    #[test]
    fn a_visit_makes_so_many_calls_and_no_more() {
        let ones = [Ok(1); CALLS_MAX];
        assert_eq!(outcome(CALLS_MAX, &ones), (CALLS_MAX, Stop::Whole));
        assert_eq!(outcome(CALLS_MAX + 1, &ones), (CALLS_MAX, Stop::Spent));
        let interrupted = [Err(libc::EINTR); CALLS_MAX];
        assert_eq!(outcome(1, &interrupted), (0, Stop::Spent));
    }

    #[test]
    fn the_rest_of_parts_begins_where_the_socket_has_stopped() {
        let parts = ["some", "", "parts", "of a chain"];
        let whole = parts.concat();
        let slices = parts.map(|part| IoSlice::new(part.as_bytes()));
        for sent in 0..whole.len() {
            let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
            let size = send_from(near.as_fd(), &slices, sent).expect("there is room");
            drop(near);
            let mut rest = String::new();
            far.read_to_string(&mut rest).expect("text");
            assert_eq!((size, &rest[..]), (whole.len() - sent, &whole[sent..]));
        }
    }
}
