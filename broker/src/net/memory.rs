//! The network of one shard in memory, for tests and simulators: no thread, no clock, no chance. The test or simulator that holds
//! it decides what the peers do and what goes wrong.
//!
//! It does what Linux does with non-blocking TCP and edges, and is stricter where the kernel is generous: the kernel also reports
//! room after a send that was cut short, after the broker's own shutdown, and again with any other news
//! ([`MemoryNet::tell_all`]); code that relies on these waits for ever here. A reset loses all bytes on their way; over a real
//! network a part of them arrives.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

use super::{Answer, Arrival, BATCH_MAX, Backlog, Event, Net, Readiness, Socket};
pub use connection::End;
use connection::{Connection, Far, Settings};

mod connection;
#[cfg(test)]
mod tests;

/// The port of the first peer; each further peer has the next.
const FIRST_PORT: usize = 40_000;

/// The calls for bytes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Reads.
    pub reads: usize,
    /// Sends one by one.
    pub sends: usize,
    /// Batches, not the sends in them.
    pub batches: usize,
    /// Sends from files.
    pub files: usize,
    /// Sends from files that found the end of the file.
    pub file_ends: usize,
    /// Bytes read.
    pub bytes_in: usize,
    /// Bytes sent.
    pub bytes_out: usize,
}

/// The network. Clones are handles on the same one, so that a test keeps one while the shard has the other.
#[derive(Clone, Debug)]
pub struct MemoryNet {
    inner: Rc<RefCell<Inner>>,
}

/// The far end of a connection: a handle, like [`MemoryNet`]. Dropping it does nothing.
#[derive(Clone, Debug)]
pub struct Peer {
    net: MemoryNet,
    number: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// All connections ever, by the numbers of their sockets.
    connections: Vec<Connection>,
    /// Connections that the shard has not accepted.
    arrivals: VecDeque<usize>,
    /// The sources of the next poll's events, in the order of their first edges.
    edges: Vec<Source>,
    listens: bool,
    calls: Calls,
    last_wait: Option<Option<Duration>>,
    woken: Vec<usize>,
    tells_all: bool,
    has_batches: bool,
    reverses_batches: bool,
    /// How many sends the next batch tries.
    batch_tries: Option<usize>,
    no_room: usize,
    /// The address of all peers, if not this machine's.
    host: Option<Ipv4Addr>,
    short: Option<i32>,
    /// Sends from files that are still to find an end.
    file_ends: usize,
    now_ms: u64,
    met: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Listener,
    Connection(usize),
}

impl Default for MemoryNet {
    /// A network without peers, with batches.
    fn default() -> Self {
        let inner = Inner {
            listens: true,
            has_batches: true,
            ..Inner::default()
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }
}

impl MemoryNet {
    /// Connects a peer; its connection is reset when the shard does not listen any more.
    pub fn connect(&self) -> Peer {
        self.connect_at(0)
    }

    /// Connects a peer by another door.
    #[must_use]
    pub(crate) fn connect_at(&self, door: u8) -> Peer {
        let mut inner = self.inner.borrow_mut();
        let number = inner.connections.len();
        let now_ms = inner.now_ms;
        inner.connections.push(Connection::new(now_ms, door));
        if inner.listens {
            inner.arrivals.push_back(number);
            if !inner.edges.contains(&Source::Listener) {
                inner.edges.push(Source::Listener);
            }
        } else {
            inner.connections[number].abort();
        }
        let net = self.clone();
        Peer { net, number }
    }

    /// Lets the next send from a file find that it ends there.
    #[cfg(test)]
    pub(crate) fn end_next_file(&self) {
        self.end_files(Some(1));
    }

    /// Lets the next `sends` sends from files find that they end there; `None` means all of them.
    pub fn end_files(&self, sends: Option<usize>) {
        self.inner.borrow_mut().file_ends = sends.unwrap_or(usize::MAX);
    }

    /// Sets the time, for durations that the kernel measures by its own clock.
    pub(crate) fn set_now_ms(&self, now_ms: u64) {
        self.inner.borrow_mut().now_ms = now_ms;
    }

    /// Lets events also report earlier readiness that is still so, as those of the kernel do.
    pub fn tell_all(&self, tells_all: bool) {
        self.inner.borrow_mut().tells_all = tells_all;
    }

    /// Lets the next `connections` connections find no room.
    pub fn no_room_next(&self, connections: usize) {
        self.inner.borrow_mut().no_room = connections;
    }

    /// Lets all peers be at `host`.
    #[cfg(test)]
    pub(crate) fn set_host(&self, host: Ipv4Addr) {
        self.inner.borrow_mut().host = Some(host);
    }

    /// Lets the next accept fail with this error number.
    pub fn short_next(&self, errno: i32) {
        self.inner.borrow_mut().short = Some(errno);
    }

    /// Sets whether batches cost less than sends one by one.
    pub fn set_batches(&self, has_batches: bool) {
        self.inner.borrow_mut().has_batches = has_batches;
    }

    /// Lets the sends of batches begin with the last.
    pub fn reverse_batches(&self, reverses_batches: bool) {
        self.inner.borrow_mut().reverses_batches = reverses_batches;
    }

    /// Lets the next batch end after `tries` sends; the others are not tried.
    pub fn interrupt_next_batch(&self, tries: usize) {
        self.inner.borrow_mut().batch_tries = Some(tries);
    }

    /// How long the last poll might have waited; `None` means for ever.
    #[cfg(test)]
    pub(crate) fn last_wait(&self) -> Option<Duration> {
        let wait = self.inner.borrow().last_wait;
        wait.expect("there has been a poll")
    }

    /// The shards that were woken since the last call.
    pub(crate) fn woken(&self) -> Vec<usize> {
        std::mem::take(&mut self.inner.borrow_mut().woken)
    }

    /// Whether the next poll has something to report.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.inner.borrow().edges.is_empty()
    }

    /// How often calls of the shard have met each special case, by name.
    #[must_use]
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        self.inner.borrow().met.clone()
    }

    /// The calls for bytes so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.borrow().calls
    }

    /// The number of a socket, and how many bytes it has taken since it connected.
    pub(crate) fn taken(&self, socket: Socket) -> (u32, u64) {
        let number = socket.number();
        let inner = self.inner.borrow();
        (number, inner.connections[number as usize].taken())
    }

    /// Calls `act` with a connection, and notes whether the next poll has news of it.
    fn at<T>(&self, number: usize, act: impl FnOnce(&mut Connection) -> T) -> T {
        let mut inner = self.inner.borrow_mut();
        let connection = &mut inner.connections[number];
        let out = act(connection);
        if connection.begins_to_have_news() {
            inner.edges.push(Source::Connection(number));
        }
        out
    }

    /// Counts the special case that a send has met.
    fn note_send(&self, sent: &io::Result<usize>, total: usize, names: [&'static str; 4]) {
        let mut inner = self.inner.borrow_mut();
        inner.calls.bytes_out += sent.as_ref().map_or(0, |size| *size);
        inner.meet(name_of_send(sent, total, names));
    }

    /// Calls `act` with a connection for the shard, which must not have closed it.
    fn own<T>(&self, socket: Socket, act: impl FnOnce(&mut Connection) -> T) -> T {
        self.at(socket.number() as usize, |connection| {
            assert!(!connection.is_closed(), "{socket:?} has not been closed");
            act(connection)
        })
    }
}

impl Inner {
    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }
}

/// The name of the case that a read has met.
fn name_of_read(read: &io::Result<usize>) -> &'static str {
    match read {
        Ok(0) => "read: the end",
        Ok(_) => "read: bytes",
        Err(error) if error.kind() == ErrorKind::WouldBlock => "read: nothing",
        Err(error) if error.kind() == ErrorKind::Interrupted => "read: interrupted",
        Err(_) => "read: failed",
    }
}

/// The name of the case that a send of `total` bytes has met: one of `names`, or a name for nothing special.
fn name_of_send(sent: &io::Result<usize>, total: usize, names: [&'static str; 4]) -> &'static str {
    match sent {
        Ok(size) if *size == total => "sent whole",
        Ok(_) => names[0],
        Err(error) if error.kind() == ErrorKind::WouldBlock => names[1],
        Err(error) if error.kind() == ErrorKind::Interrupted => names[2],
        Err(_) => names[3],
    }
}

impl Peer {
    /// Sends bytes to the shard.
    pub fn write(&self, bytes: &[u8]) {
        self.at(|connection| connection.arrive(bytes));
    }

    /// Reads all that has arrived.
    pub fn read(&self) -> Vec<u8> {
        self.read_some(usize::MAX)
    }

    /// Reads at most `max` bytes of what has arrived.
    #[must_use]
    pub fn read_some(&self, max: usize) -> Vec<u8> {
        let now_ms = self.net.inner.borrow().now_ms;
        self.at(|connection| connection.leave(max, now_ms))
    }

    /// Bytes that have arrived and that the peer has not read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.at(|connection| connection.waiting())
    }

    /// Bytes that the shard has not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.at(|connection| connection.unread())
    }

    /// How often the shard acknowledged the peer's bytes at once ([`Net::acknowledge`]).
    #[must_use]
    pub fn acknowledgements(&self) -> usize {
        self.at(|connection| connection.acknowledgements)
    }

    /// Shuts the peer's side; the peer can still read.
    pub fn shutdown(&self) {
        self.at(Connection::shut_by_peer);
    }

    /// Closes the connection from the peer's side; bytes that the shard still sends are answered with a reset.
    pub fn close(&self) {
        self.at(Connection::close_by_peer);
    }

    /// Ends the connection with a reset.
    pub fn reset(&self) {
        self.at(Connection::reset_by_peer);
    }

    /// How the shard has ended the connection so far.
    pub fn how_it_ended(&self) -> End {
        self.at(|connection| connection.end)
    }

    /// Whether the shard has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.at(|connection| connection.is_closed())
    }

    /// Sets how many bytes may be on their way to the peer.
    pub fn set_room(&self, bytes: usize) {
        self.set(|settings| settings.room = bytes);
    }

    /// Lets each send take at most `max` bytes, whatever the room.
    pub fn dribble(&self, max: usize) {
        assert!(max > 0, "a peer that takes nothing is stalled");
        self.set(|settings| settings.send_max = max);
    }

    /// Lets each read return at most `max` bytes, whatever has arrived.
    pub fn dribble_in(&self, max: usize) {
        assert!(max > 0, "0 would be the end of the stream");
        self.set(|settings| settings.read_max = max);
    }

    /// Lets sends take nothing, until [`Self::resume`].
    pub fn stall(&self) {
        self.set(|settings| settings.stalled = true);
    }

    /// Ends what [`Self::stall`] began.
    pub fn resume(&self) {
        self.set(|settings| settings.stalled = false);
    }

    /// Lets the next `calls` reads and sends be interrupted.
    pub fn interrupt_next(&self, calls: usize) {
        self.set(|settings| settings.interrupts = calls);
    }

    /// Lets the next send fail with this error number.
    pub fn fail_next_send(&self, errno: i32) {
        self.set(|settings| settings.errno = Some(errno));
    }

    /// Lets the peer's last answer be this long ago, beside the time since it last read.
    #[cfg(test)]
    pub(crate) fn set_answered_ms(&self, answered_ms: u64) {
        self.set(|settings| settings.answered_ms = answered_ms);
    }

    /// Lets bytes have waited for this long.
    #[cfg(test)]
    pub(crate) fn set_stuck_ms(&self, stuck_ms: u64) {
        self.set(|settings| settings.stuck_ms = stuck_ms);
    }

    /// Lets the next poll report `told` although nothing has changed.
    pub fn nudge(&self, told: Readiness) {
        self.at(|connection| connection.nudge(told));
    }

    fn set(&self, set: impl FnOnce(&mut Settings)) {
        self.at(|connection| connection.set(set));
    }

    fn at<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        self.net.at(self.number, act)
    }
}

impl Net for MemoryNet {
    fn poll(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.last_wait = Some(wait);
        let all = inner.tells_all;
        for source in std::mem::take(&mut inner.edges) {
            events.extend(match source {
                Source::Listener => (!inner.arrivals.is_empty()).then_some(Event::Arrivals),
                Source::Connection(number) => inner.connections[number].tell(all),
            });
        }
        Ok(())
    }

    fn accept(&mut self) -> Option<Arrival> {
        let mut inner = self.inner.borrow_mut();
        if let Some(errno) = inner.short.take() {
            inner.meet("accept: short of something");
            return Some(Arrival::Short(io::Error::from_raw_os_error(errno)));
        }
        let number = inner.arrivals.pop_front()?;
        if inner.connections[number].far == Far::Reset {
            inner.meet("accept: gone");
            return Some(Arrival::Gone);
        }
        let socket = Socket::new(u32::try_from(number).expect("connections have small numbers"));
        let door = inner.connections[number].door;
        if inner.no_room > 0 {
            inner.no_room -= 1;
            inner.meet("accept: no room");
            return Some(Arrival::NoRoom(socket, door));
        }
        Some(Arrival::Connection(socket, door))
    }

    fn stop_listening(&mut self) {
        let mut inner = self.inner.borrow_mut();
        inner.listens = false;
        for number in std::mem::take(&mut inner.arrivals) {
            inner.connections[number].abort();
        }
    }

    fn watch(&mut self, socket: Socket, token: u64) -> io::Result<()> {
        self.own(socket, |connection| connection.watch(token));
        Ok(())
    }

    fn read(&mut self, socket: Socket, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.borrow_mut().calls.reads += 1;
        let read = self.own(socket, |connection| connection.read(into));
        let mut inner = self.inner.borrow_mut();
        inner.calls.bytes_in += read.as_ref().map_or(0, |size| *size);
        inner.meet(name_of_read(&read));
        read
    }

    fn send(&mut self, socket: Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.borrow_mut().calls.sends += 1;
        let sent = self.own(socket, |connection| connection.send(parts));
        let total = parts.iter().map(|part| part.len()).sum();
        let name = [
            "send: short",
            "send: full",
            "send: interrupted",
            "send: failed",
        ];
        self.note_send(&sent, total, name);
        sent
    }

    fn send_ahead(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        self.send(socket, &[IoSlice::new(bytes)])
    }

    fn send_many(
        &mut self,
        sockets: &[(Socket, u64)],
        parts: &[IoSlice<'_>],
        answers: &mut Vec<Answer>,
    ) {
        assert!(
            sockets.len() <= BATCH_MAX,
            "a batch has {BATCH_MAX} sends at most"
        );
        let names: BTreeSet<Socket> = sockets.iter().map(|(socket, _)| *socket).collect();
        assert_eq!(names.len(), sockets.len(), "a batch names no socket twice");
        let mut inner = self.inner.borrow_mut();
        inner.calls.batches += 1;
        let tries = inner.batch_tries.take().unwrap_or(BATCH_MAX);
        let mut sockets = sockets.to_vec();
        if inner.reverses_batches {
            sockets.reverse();
        }
        drop(inner);
        let total: usize = parts.iter().map(|part| part.len()).sum();
        for (place, (socket, tag)) in sockets.into_iter().enumerate() {
            let sent = self.own(socket, |connection| {
                if place < tries {
                    connection.send(parts)
                } else {
                    Err(ErrorKind::Interrupted.into())
                }
            });
            let name = [
                "batch: short",
                "batch: full",
                "batch: interrupted",
                "batch: failed",
            ];
            self.note_send(&sent, total, name);
            if !matches!(sent, Ok(size) if size == total) {
                answers.push(Answer { tag, sent });
            }
        }
    }

    fn has_batches(&self) -> bool {
        self.inner.borrow().has_batches
    }

    fn send_file(
        &mut self,
        socket: Socket,
        file: BorrowedFd<'_>,
        offset: u64,
        size: usize,
    ) -> io::Result<usize> {
        let mut inner = self.inner.borrow_mut();
        inner.calls.files += 1;
        if inner.file_ends > 0 {
            inner.file_ends -= usize::from(inner.file_ends < usize::MAX);
            inner.calls.file_ends += 1;
            inner.meet("file: at its end");
            return Ok(0);
        }
        drop(inner);
        let mut bytes = vec![0; size];
        let read = File::from(file.try_clone_to_owned()?).read_at(&mut bytes, offset)?;
        let part = IoSlice::new(&bytes[..read]);
        let sent = self.own(socket, |connection| connection.send(&[part]));
        let name = [
            "file: short",
            "file: full",
            "file: interrupted",
            "file: failed",
        ];
        self.note_send(&sent, size, name);
        sent
    }

    fn acknowledge(&mut self, socket: Socket) {
        self.own(socket, |connection| connection.acknowledgements += 1);
    }

    fn backlog(&self, socket: Socket) -> io::Result<Backlog> {
        let now_ms = self.inner.borrow().now_ms;
        Ok(self.own(socket, |connection| connection.backlog(now_ms)))
    }

    fn peer(&self, socket: Socket) -> io::Result<SocketAddr> {
        self.own(socket, |connection| connection.check_connected())?;
        let port = u16::try_from(FIRST_PORT + socket.number() as usize);
        let port = port.expect("no more peers than ports");
        let host = self.inner.borrow().host.unwrap_or(Ipv4Addr::LOCALHOST);
        Ok((host, port).into())
    }

    fn shutdown(&mut self, socket: Socket) -> io::Result<()> {
        self.own(socket, Connection::shutdown)
    }

    fn close(&mut self, socket: Socket) {
        self.own(socket, Connection::close);
    }

    fn abort(&mut self, socket: Socket) {
        self.own(socket, Connection::abort);
    }

    fn wake(&mut self, shard: usize) {
        self.inner.borrow_mut().woken.push(shard);
    }
}
