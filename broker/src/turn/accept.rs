//! Accepting: bounded per turn, and with an answer even when there is no room.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use oyez_protocol::event::{Goodbye, GoodbyeCode};
use tracing::warn;

use crate::parts::ending::FULL_RETRY_MS;
use crate::parts::session::SessionId;
use crate::shard::Shard;
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
}

impl Listener {
    /// Takes connections from a socket that listens.
    pub(crate) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::from_std(socket),
            ready: true,
            spare: Some(File::open("/dev/null")?),
            short: false,
        })
    }

    pub(crate) fn source(&mut self) -> &mut impl Source {
        &mut self.socket
    }

    pub(crate) fn mark_ready(&mut self) {
        self.ready = true;
    }

    pub(crate) const fn has_more(&self) -> bool {
        self.ready
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

impl Shard {
    /// Accepts what has come, up to the turn's bound.
    pub(crate) fn accept(&mut self) {
        self.accept_later = false;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener.as_mut().filter(|l| l.ready) else {
                return;
            };
            match listener.next() {
                None => return,
                Some(Accepted::Gone) => {}
                Some(Accepted::Later) => {
                    self.here.metrics().accepts_failed.add(1);
                    self.retry = true;
                    self.accept_later = true;
                    return;
                }
                Some(Accepted::NoRoom(stream)) => {
                    self.turn_away(stream, "the broker has no descriptor left");
                    if let Some(listener) = &mut self.listener {
                        listener.restore();
                    }
                }
                Some(Accepted::Connection(stream)) => self.welcome(stream),
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream) {
        let total = self.here.shared.connections.fetch_add(1, Ordering::Relaxed);
        let full = total >= self.here.shared.config.max_connections;
        if self.sessions.len() >= self.here.shared.connections_per_shard {
            self.here.shared.connections.fetch_sub(1, Ordering::Relaxed);
            self.turn_away(
                stream,
                "this shard of the broker has as many connections as it may",
            );
            return;
        }
        let id = self
            .sessions
            .insert_with(self.here.tick(), |id: SessionId| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let token: Token = id.token();
                let registered = self.poll.registry().register(&mut stream, token, interest);
                (stream, registered)
            });
        match id {
            Ok(id) => {
                self.here.metrics().connections_accepted.add(1);
                self.here.metrics().connections.add(1);
                let config = &self.here.shared.config;
                let wait_ms = config.hello_timeout_ms.min(config.heartbeat_ms);
                self.timers
                    .watch_silence(id, self.here.now.monotonic_ms + u64::from(wait_ms));
                if full {
                    self.here.metrics().connections_refused.add(1);
                    let goodbye = Goodbye {
                        code: GoodbyeCode::Full,
                        retry_after_ms: FULL_RETRY_MS,
                        reason: "the broker has as many connections as it may",
                    };
                    self.sessions.dismiss(&self.here, id, goodbye);
                }
            }
            // The connection died between its arrival and here.
            Err(_) => {
                self.here.shared.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn turn_away(&mut self, stream: TcpStream, reason: &str) {
        self.here.metrics().connections_refused.add(1);
        self.scratch.clear();
        Goodbye {
            code: GoodbyeCode::Full,
            retry_after_ms: FULL_RETRY_MS,
            reason,
        }
        .encode(&mut self.scratch);
        // A fresh socket has room for one frame; if not, closing says enough.
        let _ = socket::send(stream.as_fd(), &[io::IoSlice::new(&self.scratch)]);
        drop(stream);
    }
}
