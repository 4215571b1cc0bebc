//! Accepting: bounded per turn, and with an answer even when there is no room.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use oyez_protocol::event::GoodbyeCode;
use tracing::warn;

use crate::dialect::command::{Goodbye, Reply};
use crate::dialect::native::encode;
use crate::parts::ending::FULL_RETRY_MS;
use crate::parts::here::Here;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;
use crate::sys::socket;

/// Connections accepted in one turn, 2 to 3 ms; the rest wait in the backlog for the next one.
const ACCEPTS_PER_TURN: usize = 128;

/// A shard's own listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// There may be connections to accept; edge-triggered events do not tell twice.
    ready: bool,
    /// A descriptor given up for a moment to answer Goodbye when the table is full.
    spare: Option<File>,
    /// The system has been short of something since the last connection.
    short: bool,
    /// Accepting has to wait a little for that.
    later: bool,
}

impl Listener {
    /// Takes connections from a socket that listens.
    pub(crate) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::from_std(socket),
            ready: true,
            spare: Some(File::open("/dev/null")?),
            short: false,
            later: false,
        })
    }

    pub(crate) fn source(&mut self) -> &mut impl Source {
        &mut self.socket
    }

    pub(crate) fn mark_ready(&mut self) {
        self.ready = true;
    }

    /// Whether there may be connections to accept at once.
    pub(crate) const fn has_more(&self) -> bool {
        self.ready && !self.later
    }

    /// Whether there may be some to accept in a moment.
    pub(crate) const fn is_short(&self) -> bool {
        self.later
    }

    /// The next connection; `None` when there is none for the moment.
    fn next(&mut self) -> Option<Accepted> {
        match self.socket.accept() {
            Ok((stream, _)) => {
                self.short = false;
                Some(Accepted::Connection(stream))
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => self.next_without_room(),
                Some(libc::EAGAIN) => {
                    self.ready = false;
                    None
                }
                // Out of memory: what waits in the backlog is tried again a little later.
                Some(libc::ENOBUFS | libc::ENOMEM) => Some(self.later(&error)),
                _ => Some(Accepted::Gone),
            },
        }
    }

    fn next_without_room(&mut self) -> Option<Accepted> {
        self.spare = None;
        match self.socket.accept() {
            // The stream holds the descriptor; whoever turns it away calls `restore`.
            Ok((stream, _)) => Some(Accepted::NoRoom(stream)),
            Err(error) => {
                self.restore();
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.ready = false;
                    return None;
                }
                Some(self.later(&error))
            }
        }
    }

    /// Told once, however often it is tried again.
    fn later(&mut self, error: &io::Error) -> Accepted {
        if !std::mem::replace(&mut self.short, true) {
            warn!("connections cannot be accepted: {error}; it is tried again");
        }
        Accepted::Later
    }

    fn restore(&mut self) {
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
    }
}

enum Accepted {
    Connection(TcpStream),
    NoRoom(TcpStream),
    Gone,
    /// The system is short of something; there may be connections.
    Later,
}

/// What accepting needs.
pub(crate) struct Accepting<'a> {
    pub(crate) here: &'a Here,
    pub(crate) listener: &'a mut Listener,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
    /// Where new sockets are watched.
    pub(crate) poll: &'a Registry,
}

impl Accepting<'_> {
    /// Accepts what has come, up to the turn's bound.
    pub(crate) fn run(&mut self) {
        self.listener.later = false;
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.listener.ready {
                return;
            }
            match self.listener.next() {
                None => return,
                Some(Accepted::Gone) => {}
                Some(Accepted::Later) => {
                    self.here.metrics().accepts_failed.add(1);
                    self.listener.later = true;
                    return;
                }
                Some(Accepted::NoRoom(stream)) => {
                    self.turn_away(stream, "the broker has no descriptor left");
                    self.listener.restore();
                }
                Some(Accepted::Connection(stream)) => self.welcome(stream),
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream) {
        let shared = &self.here.shared;
        if self.sessions.len() >= shared.connections_per_shard {
            self.turn_away(
                stream,
                "this shard of the broker has as many connections as it may",
            );
            return;
        }
        let total = shared.connections.fetch_add(1, Ordering::Relaxed);
        let is_full = total >= shared.config.max_connections;
        let id = self
            .sessions
            .insert_with(self.here.tick(), |id: SessionId| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let token: Token = id.token();
                let registered = self.poll.register(&mut stream, token, interest);
                (stream, registered)
            });
        let Ok(id) = id else {
            // The connection died between its arrival and here.
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        self.here.metrics().connections_accepted.add(1);
        self.here.metrics().connections.add(1);
        let config = &shared.config;
        let wait_ms = config.hello_timeout_ms.min(config.heartbeat_ms);
        let due_ms = self.here.now.monotonic_ms + u64::from(wait_ms);
        self.timers.watch_silence(id, due_ms);
        if is_full {
            self.here.metrics().connections_refused.add(1);
            let goodbye = full("the broker has as many connections as it may");
            self.sessions.dismiss(self.here, id, goodbye);
        }
    }

    fn turn_away(&self, stream: TcpStream, reason: &'static str) {
        self.here.metrics().connections_refused.add(1);
        let mut goodbye = Vec::new();
        encode(&Reply::Goodbye(&full(reason)), &mut goodbye);
        // A fresh socket has room for one frame; if not, closing says enough.
        let _ = socket::send(stream.as_fd(), &[io::IoSlice::new(&goodbye)]);
        drop(stream);
    }
}

/// There is no room for a connection.
fn full(reason: &'static str) -> Goodbye {
    Goodbye {
        code: GoodbyeCode::Full,
        retry_after_ms: FULL_RETRY_MS,
        reason: reason.into(),
    }
}
