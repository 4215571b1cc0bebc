//! Sends bytes to sockets: makes calls until everything is sent or there is a reason to stop.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;

use oyez_protocol::Position;
use oyez_protocol::planted::{Bug, planted};
use oyez_storage::{LogReader, ReadError};

use crate::net::{Net, Socket};
use crate::parts::session::Session;

/// From this many bytes on, `sendfile` is faster than sending from the map.
pub(crate) const SENDFILE_BYTES_MIN: usize = 64 << 10;
/// Most parts of a chain, headers included.
pub(crate) const PARTS_MAX: usize = 64;

/// Most calls of one visit to a socket. The chain that it sends bounds its bytes, but not its calls, as each may take little.
const CALLS_MAX: usize = 16;

/// The outcome of a visit to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The socket took so many bytes. If these are not all, it is full only when the session is blocked.
    Bytes(usize),
    /// The kernel could not read the bytes; the socket took none.
    Unreadable,
    /// The connection is gone.
    Gone,
}

/// How far a session's sending has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendProgress {
    /// Everything is sent.
    Done,
    /// The socket takes no more until epoll says so.
    Blocked,
    /// There is more, which the socket may take in the next turn.
    More,
    /// The session is gone.
    Gone,
}

/// Why a visit to a socket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Everything is sent.
    Whole,
    /// The socket has answered `EAGAIN`, the only sign that it is full: epoll reports when it is not.
    Full,
    /// The visit has made all its calls; the socket may take more.
    Spent,
    /// The source has no more bytes, or they cannot be read.
    Unreadable,
    /// The connection is gone.
    Gone,
}

/// Calls `call`, with the number of bytes sent so far, until `total` bytes are sent or there is a reason to stop. Returns how
/// many are sent, and why it stopped. A short count is no reason to stop: any interruption of a call causes one on a socket that
/// has room, and no event would follow.
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
            Ok(0) if planted(Bug::RetriesTheEndOfAFile) => {}
            Ok(0) => return (sent, Stop::Unreadable),
            Ok(size) if planted(Bug::ShortCountIsFull) && sent + size < total => {
                return (sent + size, Stop::Full);
            }
            Ok(size) => sent += size,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                sent = if planted(Bug::InterruptedIsSent) {
                    total
                } else {
                    sent
                };
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (sent, Stop::Full),
            Err(error) if is_unreadable(&error) => return (sent, Stop::Unreadable),
            Err(_) => return (sent, Stop::Gone),
        }
    }
    (sent, Stop::Whole)
}

/// Whether the error says that the kernel cannot read the bytes to send: from a map, or from a file.
fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EIO))
}

/// Sends `parts`, which have `total` bytes, to the session's socket.
pub(crate) fn send(
    net: &mut dyn Net,
    session: &mut Session,
    parts: &[IoSlice<'_>],
    total: usize,
) -> Sent {
    let out = send_all(total, |sent| send_from(net, session.socket, parts, sent));
    taken(session, out)
}

/// Goes on sending `parts` after a first attempt whose answer was `first`.
pub(crate) fn send_rest(
    net: &mut dyn Net,
    session: &mut Session,
    (parts, total): (&[IoSlice<'_>], usize),
    first: io::Result<usize>,
) -> Sent {
    let mut first = Some(first);
    let out = send_all(total, |sent| {
        let first = first.take();
        first.unwrap_or_else(|| send_from(net, session.socket, parts, sent))
    });
    taken(session, out)
}

/// Makes one call, for the bytes of `parts` after the first `sent`.
fn send_from(
    net: &mut dyn Net,
    socket: Socket,
    parts: &[IoSlice<'_>],
    sent: usize,
) -> io::Result<usize> {
    if sent == 0 {
        return net.send(socket, parts);
    }
    let mut rest = [IoSlice::new(&[]); PARTS_MAX];
    let mut rest = &mut rest[..parts.len()];
    rest.copy_from_slice(parts);
    IoSlice::advance_slices(&mut rest, sent);
    net.send(socket, rest)
}

/// Notes the end of a visit in its session. Returns the outcome of the visit.
pub(crate) fn taken(session: &mut Session, (sent, stop): (usize, Stop)) -> Sent {
    session.set_blocked(stop == Stop::Full);
    match stop {
        Stop::Gone => Sent::Gone,
        Stop::Unreadable if sent == 0 => Sent::Unreadable,
        Stop::Whole | Stop::Full | Stop::Spent | Stop::Unreadable => Sent::Bytes(sent),
    }
}

/// Sends `header`, then a range of a file.
pub(crate) fn send_range(
    net: &mut dyn Net,
    socket: Socket,
    header: &[u8],
    ((file, offset), size): ((BorrowedFd<'_>, u64), usize),
) -> (usize, Stop) {
    send_all(header.len() + size, |sent| {
        match header.get(sent..).unwrap_or_default() {
            [] => {
                let sent = sent - header.len();
                net.send_file(socket, file, offset + sent as u64, size - sent)
            }
            rest => net.send_ahead(socket, rest),
        }
    })
}

/// Whether a range that a socket has not taken whole lacks bytes, where it is read from a map: then waiting for the socket gains
/// nothing.
pub(crate) fn lacks_bytes(reader: &mut LogReader, position: Position, size: usize) -> bool {
    let size = u32::try_from(size).expect("a range lies in a block");
    reader.is_mapped(position) && reader.recheck(position, size) == Err(ReadError::Damaged)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;
    use crate::net::Arrival;
    use crate::net::memory::MemoryNet;

    /// What becomes of `total` bytes when the calls for them are answered by `answers`, in this order; all of these are used up.
    fn outcome(total: usize, answers: &[Result<usize, i32>]) -> (usize, Stop) {
        let mut answers: VecDeque<_> = answers.iter().copied().collect();
        let mut out = 0;
        let outcome = send_all(total, |sent| {
            assert_eq!(sent, out, "a call goes on where the last one has ended");
            let answer = answers.pop_front().expect("no call after the last one");
            out += answer.unwrap_or(0);
            answer.map_err(io::Error::from_raw_os_error)
        });
        assert!(answers.is_empty(), "answers that no call has used");
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
            let mut net = MemoryNet::default();
            let peer = net.connect();
            let Some(Arrival::Connection(socket, _)) = net.accept() else {
                panic!("a peer has connected");
            };
            let size = send_from(&mut net, socket, &slices, sent).expect("there is room");
            assert_eq!(size, whole.len() - sent);
            assert_eq!(peer.read(), whole.as_bytes()[sent..]);
        }
    }
    /// A session that is blocked, for whose socket nothing is sent.
    fn session() -> Session {
        let mut net = MemoryNet::default();
        net.connect();
        let Some(Arrival::Connection(socket, _)) = net.accept() else {
            panic!("a peer has connected");
        };
        let mut session = Session::new((socket, 0), 0, 0);
        session.blocked = true;
        session
    }

    #[test]
    fn only_a_full_socket_blocks_its_session() {
        let stops = [
            ((5, Stop::Whole), Sent::Bytes(5), false),
            ((5, Stop::Full), Sent::Bytes(5), true),
            ((0, Stop::Full), Sent::Bytes(0), true),
            ((5, Stop::Spent), Sent::Bytes(5), false),
            ((5, Stop::Unreadable), Sent::Bytes(5), false),
            ((0, Stop::Unreadable), Sent::Unreadable, false),
            ((5, Stop::Gone), Sent::Gone, false),
        ];
        let mut session = session();
        for (out, sent, blocked) in stops {
            assert_eq!(taken(&mut session, out), sent);
            assert_eq!(session.blocked, blocked, "{out:?}");
        }
    }

    #[test]
    fn a_range_of_a_file_goes_on_where_the_socket_has_stopped() {
        let content: Vec<u8> = (0..200).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).expect("room for it");
        let mut net = MemoryNet::default();
        let peer = net.connect();
        let Some(Arrival::Connection(socket, _)) = net.accept() else {
            panic!("a peer has connected");
        };
        peer.dribble(30);
        let sent = send_range(&mut net, socket, b"header", ((file.as_fd(), 20), 100));
        assert_eq!(sent, (106, Stop::Whole));
        assert_eq!(peer.read(), [b"header", &content[20..120]].concat());
        let sent = send_range(&mut net, socket, b"", ((file.as_fd(), 150), 100));
        assert_eq!(sent, (50, Stop::Unreadable), "the file ends there");
    }

    #[test]
    fn the_first_answer_of_a_batch_counts_as_a_call() {
        let mut net = MemoryNet::default();
        let peer = net.connect();
        let Some(Arrival::Connection(socket, _)) = net.accept() else {
            panic!("a peer has connected");
        };
        let mut session = Session::new((socket, 0), 0, 0);
        let parts = [IoSlice::new(b"some"), IoSlice::new(b"parts")];
        let first = |size| Ok(size);
        assert_eq!(
            send_rest(&mut net, &mut session, (&parts, 9), first(3)),
            Sent::Bytes(9)
        );
        assert_eq!(peer.read(), b"eparts");
        let refused = Err(io::Error::from_raw_os_error(libc::EPIPE));
        assert_eq!(
            send_rest(&mut net, &mut session, (&parts, 9), refused),
            Sent::Gone
        );
        assert_eq!(send(&mut net, &mut session, &parts, 9), Sent::Bytes(9));
        assert_eq!(peer.read(), b"someparts");
    }
}
