//! Accepting: bounded per turn, and with an answer even when there is no room.

use std::io;
use std::sync::atomic::Ordering;

use oyez_protocol::event::GoodbyeCode;
use tracing::warn;

use crate::dialect::command::{Goodbye, Reply};
use crate::dialect::native::encode;
use crate::net::{Arrival, Net, Socket};
use crate::parts::arrivals::Arrivals;
use crate::parts::ending::FULL_RETRY_MS;
use crate::parts::here::Here;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;

/// Connections accepted in one turn, 2 to 3 ms; the rest wait in the backlog for the next one.
const ACCEPTS_PER_TURN: usize = 128;

/// What accepting needs.
pub(crate) struct Accepting<'a> {
    pub(crate) here: &'a Here,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) arrivals: &'a mut Arrivals,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
}

impl Accepting<'_> {
    /// Accepts what has come, up to the turn's bound.
    pub(crate) fn run(&mut self) {
        if !self.arrivals.begin() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.net.accept() {
                None => {
                    self.arrivals.are_over();
                    return;
                }
                Some(Arrival::Gone) => {}
                Some(Arrival::Short(error)) => {
                    self.here.metrics().accepts_failed.add(1);
                    // Told once, however often it is tried again.
                    if self.arrivals.wait_a_little() {
                        warn!("connections cannot be accepted: {error}; it is tried again");
                    }
                    return;
                }
                Some(Arrival::NoRoom(socket)) => {
                    self.turn_away(socket, "the broker has no descriptor left");
                }
                Some(Arrival::Connection(socket)) => {
                    self.arrivals.accepted();
                    self.welcome(socket);
                }
            }
        }
    }

    fn welcome(&mut self, socket: Socket) {
        let shared = &self.here.shared;
        if self.sessions.len() >= shared.connections_per_shard {
            self.turn_away(
                socket,
                "this shard of the broker has as many connections as it may",
            );
            return;
        }
        let total = shared.connections.fetch_add(1, Ordering::Relaxed);
        let is_full = total >= shared.config.max_connections;
        let net = &mut *self.net;
        let watch = |id: SessionId| net.watch(socket, id.token());
        let Ok(id) = self.sessions.insert_with(self.here.tick(), socket, watch) else {
            // The connection died between its arrival and here.
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            self.net.close(socket);
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

    fn turn_away(&mut self, socket: Socket, reason: &'static str) {
        self.here.metrics().connections_refused.add(1);
        let mut goodbye = Vec::new();
        encode(&Reply::Goodbye(&full(reason)), &mut goodbye);
        // A fresh socket has room for one frame; if not, closing says enough.
        let _ = self.net.send(socket, &[io::IoSlice::new(&goodbye)]);
        self.net.close(socket);
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
