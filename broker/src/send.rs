//! The ways out. What is half out leaves first; then control frames; then records, subscription by subscription.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use oyez_protocol::Position;
use oyez_storage::{LogReader, Read, ReadError};

use crate::close::Reason;
use crate::receive::Taken;
use crate::session::{Outgoing, RecordTail, Session, SessionId, Stage};
use crate::shard::Shard;
use crate::sys::socket;

/// Empty outgoing buffers kept for the next control frames.
const OUTGOING_KEPT: usize = 256;
/// A kept buffer is at most this large.
const OUTGOING_BYTES_KEPT: usize = 4096;

/// What became of bytes given to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The socket took so many.
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

/// Gives `parts` to the socket; less than all of them means that it is full.
pub(crate) fn send(session: &mut Session, parts: &[IoSlice<'_>], total: usize) -> Sent {
    let sent = retry(|| socket::send(session.stream.as_fd(), parts));
    taken(session, sent, total)
}

/// Whether the kernel says that it cannot read what it is to send: from a map, or from a file.
fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EIO))
}

/// Calls again while a signal gets in the way.
pub(crate) fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What a socket's answer means; less than `total` means that it is full.
pub(crate) fn taken(session: &mut Session, result: io::Result<usize>, total: usize) -> Sent {
    match result {
        Ok(size) => {
            session.blocked = size < total;
            Sent::Bytes(size)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            session.blocked = true;
            Sent::Bytes(0)
        }
        Err(error) if is_unreadable(&error) => Sent::Unreadable,
        Err(_) => Sent::Gone,
    }
}

/// How far a range of a file has come.
pub(crate) struct RangeOut {
    pub(crate) sent: usize,
    /// The file has fewer bytes, or some that cannot be read.
    pub(crate) file_ended: bool,
    /// Whether the connection still stands.
    pub(crate) result: io::Result<()>,
}

/// Sends a range of a file until it is out, the socket is full, or there is nothing more to send: a short count alone does
/// not say which.
pub(crate) fn send_range(
    stream: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size: usize,
) -> RangeOut {
    let mut out = RangeOut {
        sent: 0,
        file_ended: false,
        result: Ok(()),
    };
    while out.sent < size {
        let (at, left) = (offset + out.sent as u64, size - out.sent);
        match retry(|| socket::send_file(stream, file, at, left)) {
            Ok(0) => out.file_ended = true,
            Ok(sent) => {
                out.sent += sent;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if is_unreadable(&error) => out.file_ended = true,
            Err(error) => out.result = Err(error),
        }
        break;
    }
    out
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
        let reader = &mut self.logs[tail.log()].reader;
        self.storage_time.enter(&mut *self.clock);
        let read = reader.read(tail.position(), tail.size());
        self.storage_time.leave(&mut *self.clock);
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
        let done = sent == Sent::Bytes(rest.len());
        let reader = &mut self.logs[tail.log()].reader;
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
        if done {
            Progress::Done
        } else {
            Progress::Blocked
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
        let total = rest.len();
        let result = retry(|| socket::send(session.stream.as_fd(), &[IoSlice::new(rest)]));
        let Sent::Bytes(size) = taken(session, result, total) else {
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
            return Progress::Blocked;
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
