//! The network as a shard sees it: one trait, with the kernel behind it ([`kernel`]) or a test ([`memory`]).
//!
//! Readiness is told in edges, as the kernel tells it: once when something changes, and not again until there is news. A
//! socket is readable until a read falls short, answers `WouldBlock` or finds the end of the stream; it takes bytes until a
//! send answers `WouldBlock`, and a send that falls short says nothing.
//!
//! The trait is used as a `Box<dyn Net>`: an indirect call for each system call, and one for each batch of sends.

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

/// What has happened since the last poll.
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
    /// The peer has shut its side, or the connection is broken: reading tells which.
    pub over: bool,
}

/// What accepting has come to.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A connection, which nobody watches, and the number of the door that it came by: of the configured addresses to listen on,
    /// the operator's last.
    Connection(Socket, u8),
    /// A connection for which there is no room, and its door: to be answered and closed at once.
    NoRoom(Socket, u8),
    /// It was gone before it was accepted. There may be others.
    Gone,
    /// The system is short of something. There may be connections; they can be accepted a little later.
    Short(io::Error),
}

/// What became of one send of a batch that did not take everything.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tag: u64,
    /// Bytes taken, or why none were; [`io::ErrorKind::Interrupted`] says that it was not tried.
    pub(crate) sent: io::Result<usize>,
}

/// The network of one shard. Nothing blocks but [`Net::poll`].
pub(crate) trait Net {
    /// Waits until something happens, for at most `wait`, or for ever; then adds what has happened to `events`. Also ends
    /// when another shard wakes this one, or when its disk has finished something.
    ///
    /// # Errors
    /// When the kernel refuses to wait. `Interrupted` is none: then nothing has happened.
    fn poll(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// The next connection; `None` until [`Event::Arrivals`] comes.
    fn accept(&mut self) -> Option<Arrival>;

    /// Accepts no more; those that nobody has accepted are reset.
    fn stop_listening(&mut self);

    /// From now on, polls tell what happens to a socket, by `token`. What has happened before is told, too.
    fn watch(&mut self, socket: Socket, token: u64) -> io::Result<()>;

    /// Reads into the parts of `into`, one after another; 0 is the end of the stream.
    fn read(&mut self, socket: Socket, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Sends as much of `parts` as the socket takes, or less.
    fn send(&mut self, socket: Socket, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same of bytes that more follows at once: the kernel may wait for that before it sends them.
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

    /// Tells the peer now that what it has sent is here, not with the next answer: it may hold back what follows until then.
    fn acknowledge(&mut self, socket: Socket);

    /// What is waiting in a socket.
    fn backlog(&self, socket: Socket) -> io::Result<Backlog>;

    /// The peer's address.
    fn peer(&self, socket: Socket) -> io::Result<SocketAddr>;

    /// Shuts our side: the peer sees the end of the stream once it has read everything.
    fn shutdown(&mut self, socket: Socket) -> io::Result<()>;

    /// Ends a connection. What was sent arrives, if the peer reads it.
    fn close(&mut self, socket: Socket);

    /// Ends a connection with a reset: what was sent and has not left is thrown away.
    fn abort(&mut self, socket: Socket);

    /// Ends the poll of another shard, or its next one.
    fn wake(&mut self, shard: usize);
}
