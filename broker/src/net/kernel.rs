//! The kernel's network: an epoll, sockets by the numbers of their descriptors, and, where io_uring is allowed, a ring for
//! batches of sends.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_sys::waker::Waker;
use tracing::warn;

use crate::net::port::{self, Port};
use crate::net::{Answer, Arrival, BATCH_MAX, Backlog, Event, Net, Readiness, Socket};
use crate::sys::connections::Connections;
use crate::sys::ring::{SENDS_MAX, SendRing};
use crate::sys::socket;

/// Tokens that are not a connection's; no session has both a generation and a key this high. All listeners share one, and
/// [`Net::accept`] tries each.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const DISK: Token = Token(usize::MAX - 2);

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

const _: () = assert!(BATCH_MAX <= SENDS_MAX as usize);

/// A socket that listens.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| stream.into()),
            Self::Unix(listener) => listener.accept().map(|(stream, _)| stream.into()),
        }
    }
}

/// One shard's network. Must be made in the shard's thread, after its descriptor table was unshared.
pub(crate) struct KernelNet {
    shard: usize,
    poll: Poll,
    events: Events,
    /// The listening sockets, each with its door.
    listeners: Vec<(Listener, u8)>,
    /// The listener to accept from next, so that a flood at one of them does not hold up the others.
    next: usize,
    /// A descriptor given up for a moment to answer a connection when the table is full.
    spare: Option<File>,
    connections: Connections,
    ring: Option<SendRing>,
    /// The wakers of all shards.
    wakers: Vec<Waker>,
}

impl KernelNet {
    /// The network of the shard with this number. Polls also end when `disk` becomes readable.
    pub(crate) fn new(
        shard: usize,
        ports: Vec<Port>,
        ring: Option<SendRing>,
        wakers: Vec<Waker>,
        disk: Option<RawFd>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let mut listeners = Vec::with_capacity(ports.len());
        for port in ports {
            let (listener, door) = port.into_listener();
            let listener = match listener {
                port::Listener::Tcp(listener) => {
                    let mut listener = TcpListener::from_std(listener);
                    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
                    Listener::Tcp(listener)
                }
                port::Listener::Unix(listener) => {
                    let mut listener = UnixListener::from_std(listener);
                    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
                    Listener::Unix(listener)
                }
            };
            listeners.push((listener, door));
        }
        let waker = wakers[shard].fd();
        registry.register(&mut SourceFd(&waker), WAKER, Interest::READABLE)?;
        if let Some(disk) = disk {
            registry.register(&mut SourceFd(&disk), DISK, Interest::READABLE)?;
        }
        Ok(Self {
            shard,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listeners,
            next: 0,
            spare: Some(open_spare()?),
            connections: Connections::default(),
            ring,
            wakers,
        })
    }

    /// Accepts a connection when no descriptor is left: it gets the spare one until it is closed.
    fn accept_without_room(&mut self) -> Option<Arrival> {
        self.spare = None;
        let (listener, door) = self.listeners.get(self.next)?;
        let door = *door;
        match listener.accept() {
            Ok(stream) => Some(Arrival::NoRoom(self.adopt(stream), door)),
            Err(error) => {
                self.spare = open_spare().ok();
                match error.kind() {
                    io::ErrorKind::WouldBlock => None,
                    _ => Some(Arrival::Short(error)),
                }
            }
        }
    }

    fn adopt(&mut self, connection: OwnedFd) -> Socket {
        Socket::new(self.connections.adopt(connection))
    }

    fn close_one(&mut self, connection: OwnedFd) {
        // Closing the socket's only descriptor takes it out of the poll, too.
        drop(connection);
        if self.spare.is_none() {
            self.spare = open_spare().ok();
        }
    }
}

fn open_spare() -> io::Result<File> {
    File::open("/dev/null")
}

impl Net for KernelNet {
    fn poll(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            match event.token() {
                LISTENER => events.push(Event::Arrivals),
                WAKER => self.wakers[self.shard].drain(),
                DISK => {}
                Token(token) => {
                    let readiness = Readiness {
                        readable: event.is_readable(),
                        writable: event.is_writable(),
                        over: event.is_read_closed() || event.is_error(),
                    };
                    events.push(Event::Socket(token as u64, readiness));
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Option<Arrival> {
        for _ in 0..self.listeners.len() {
            self.next = (self.next + 1) % self.listeners.len();
            let (listener, door) = &self.listeners[self.next];
            let (accepted, door) = (listener.accept(), *door);
            return match accepted {
                Ok(stream) => Some(Arrival::Connection(self.adopt(stream), door)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE) => self.accept_without_room(),
                    Some(libc::EAGAIN) => continue,
                    Some(libc::ENOBUFS | libc::ENOMEM) => Some(Arrival::Short(error)),
                    _ => Some(Arrival::Gone),
                },
            };
        }
        None
    }

    fn stop_listening(&mut self) {
        let registry = self.poll.registry();
        for (listener, _) in self.listeners.drain(..) {
            // A drop takes a listener out of the poll, but not one that other shards have open, too.
            let _ = match listener {
                Listener::Tcp(mut listener) => registry.deregister(&mut listener),
                Listener::Unix(mut listener) => registry.deregister(&mut listener),
            };
        }
    }

    fn watch(&mut self, socket: Socket, token: u64) -> io::Result<()> {
        let descriptor = self.connections.fd(socket.number()).as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&descriptor), Token(token as usize), interest)
    }

    fn read(&mut self, socket: Socket, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let connection = self.connections.get(socket.number());
        match into {
            [one] => (&*connection).read(one),
            parts => (&*connection).read_vectored(parts),
        }
    }

    fn send(&mut self, socket: Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(self.connections.fd(socket.number()), parts)
    }

    fn send_ahead(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        socket::send_ahead(self.connections.fd(socket.number()), bytes)
    }

    /// A ring that fails is given up; batches leave one by one from then on.
    fn send_many(
        &mut self,
        sockets: &[(Socket, u64)],
        parts: &[IoSlice<'_>],
        answers: &mut Vec<Answer>,
    ) {
        let untried = |tag| Answer {
            tag,
            sent: Err(io::ErrorKind::Interrupted.into()),
        };
        let Some(ring) = &mut self.ring else {
            answers.extend(sockets.iter().map(|(_, tag)| untried(*tag)));
            return;
        };
        let connections = &self.connections;
        let sends = sockets
            .iter()
            .map(|(socket, tag)| (connections.fd(socket.number()), *tag));
        let submitted = ring.submit(sends, parts, |tag, sent| answers.push(Answer { tag, sent }));
        if let Err(error) = submitted {
            let shard = self.shard;
            warn!(shard, %error, "the ring for sends failed; sends leave one by one");
            self.ring = None;
        }
    }

    fn has_batches(&self) -> bool {
        self.ring.is_some()
    }

    fn send_file(
        &mut self,
        socket: Socket,
        file: BorrowedFd<'_>,
        offset: u64,
        size: usize,
    ) -> io::Result<usize> {
        socket::send_file(self.connections.fd(socket.number()), file, offset, size)
    }

    fn acknowledge(&mut self, socket: Socket) {
        socket::acknowledge(self.connections.fd(socket.number()));
    }

    fn backlog(&self, socket: Socket) -> io::Result<Backlog> {
        socket::backlog(self.connections.fd(socket.number()))
    }

    fn peer(&self, socket: Socket) -> io::Result<SocketAddr> {
        self.connections.get(socket.number()).peer_addr()
    }

    fn shutdown(&mut self, socket: Socket) -> io::Result<()> {
        let connection = self.connections.get(socket.number());
        connection.shutdown(Shutdown::Write)
    }

    fn close(&mut self, socket: Socket) {
        let connection = self.connections.take(socket.number());
        socket::give_up_when_untaken(&connection);
        self.close_one(connection);
    }

    fn abort(&mut self, socket: Socket) {
        let connection = self.connections.take(socket.number());
        // A failure leaves an orderly close, which is no harm.
        let _ = oyez_sys::socket::reset_when_closed(&connection);
        self.close_one(connection);
    }

    fn wake(&mut self, shard: usize) {
        self.wakers[shard].wake();
    }
}
