//! The network as a shard sees it: one trait, implemented over the kernel ([`kernel`]) and in memory for tests ([`memory`]).
//!
//! Readiness is reported in edges, as the kernel does: once when something changes, and not again until there is news. A socket
//! is readable until a read falls short, answers `WouldBlock` or finds the end of the stream; it takes bytes until a send answers
//! `WouldBlock`. A send that falls short means nothing.
//!
//! Shards use the trait as a `Box<dyn Net>`: an indirect call for each system call, and one for each batch of sends.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub(crate) use crate::sys::socket::Backlog;

pub(crate) mod kernel;
pub(crate) mod memory;
pub(crate) mod port;

/// Most sends in one call of [`Net::send_many`].
pub(crate) const BATCH_MAX: usize = 128;

/// Names a connection's socket within its shard, from [`Net::accept`] to [`Net::close`] or [`Net::abort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Socket(u32);

impl Socket {
    pub(in crate::net) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(in crate::net) const fn number(self) -> u32 {
        self.0
    }
}

/// An event since the last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// There are connections to accept.
    Arrivals,
    /// Something has changed at the socket that is watched with this token.
    Socket(u64, Readiness),
}

/// What has changed at a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There are bytes to read, or the end.
    pub readable: bool,
    /// There is room for bytes to send.
    pub writable: bool,
    /// The peer has shut its side, or the connection is broken: a read shows which.
    pub over: bool,
}

/// The outcome of accepting.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A connection, which is not watched yet, and the number of its door: of the configured addresses to listen on, the
    /// operator's last.
    Connection(Socket, u8),
    /// A connection for which there is no room, and its door; to be answered and closed at once.
    NoRoom(Socket, u8),
    /// A connection that was gone before it was accepted. There may be others.
    Gone,
    /// The system is short of something. Connections may wait, to be accepted a little later.
    Short(io::Error),
}

/// The outcome of a send of a batch whose socket did not take everything.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tag: u64,
    /// Bytes taken, or why none were; [`io::ErrorKind::Interrupted`] means that the send was not tried.
    pub(crate) sent: io::Result<usize>,
}

/// The network of one shard. Nothing blocks but [`Net::poll`].
pub(crate) trait Net {
    /// Waits for events, for at most `wait`, or for ever if that is `None`, and adds them to `events`. Also returns when another
    /// shard wakes this one, or when its disk has finished something.
    ///
    /// # Errors
    /// When the kernel refuses to wait. `Interrupted` is no error: it returns without events.
    fn poll(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Accepts the next connection; `None` until [`Event::Arrivals`] comes again.
    fn accept(&mut self) -> Option<Arrival>;

    /// Stops accepting; connections that wait to be accepted are reset.
    fn stop_listening(&mut self);

    /// Lets polls report the events of a socket with `token`, earlier ones included.
    fn watch(&mut self, socket: Socket, token: u64) -> io::Result<()>;

    /// Reads into the parts of `into`, one after another; 0 is the end of the stream.
    fn read(&mut self, socket: Socket, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Sends as much of `parts` as the socket takes, or less.
    fn send(&mut self, socket: Socket, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends bytes that more bytes follow at once: the kernel may wait for these before it sends.
    fn send_ahead(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize>;

    /// Sends all of `parts` to each of at most [`BATCH_MAX`] sockets, in any order, none of them twice. Adds an answer for
    /// each that did not take everything. Nothing is under way when it returns.
    fn send_many(
        &mut self,
        sockets: &[(Socket, u64)],
        parts: &[IoSlice<'_>],
        answers: &mut Vec<Answer>,
    );

    /// Whether a batch costs less than its sends one by one.
    fn has_batches(&self) -> bool;

    /// Sends `size` bytes of a file from `offset` on, or fewer; 0 when the file ends there.
    fn send_file(
        &mut self,
        socket: Socket,
        file: BorrowedFd<'_>,
        offset: u64,
        size: usize,
    ) -> io::Result<usize>;

    /// Acknowledges the peer's bytes now, not with the next answer: the peer may hold back its next bytes until then.
    fn acknowledge(&mut self, socket: Socket);

    /// The bytes that wait in a socket, and since when.
    fn backlog(&self, socket: Socket) -> io::Result<Backlog>;

    /// The peer's address.
    fn peer(&self, socket: Socket) -> io::Result<SocketAddr>;

    /// Shuts the broker's side: the peer sees the end of the stream once it has read everything.
    fn shutdown(&mut self, socket: Socket) -> io::Result<()>;

    /// Closes a connection. Bytes that were sent arrive, if the peer reads them.
    fn close(&mut self, socket: Socket);

    /// Closes a connection with a reset: bytes that have not left are thrown away.
    fn abort(&mut self, socket: Socket);

    /// Ends the poll of another shard, or its next one.
    fn wake(&mut self, shard: usize);
}
