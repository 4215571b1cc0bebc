//! How sessions end: one place that says why, counts it, and gives back everything that the session held.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use oyez_protocol::event::{Goodbye, GoodbyeCode};
use tracing::{debug, info};

use crate::parts::budget::{Budget, CLOSE_FULL_STEPS, CLOSE_STEPS};
use crate::parts::sessions::{Session, SessionId, Stage};
use crate::shard::Shard;
use crate::turn::heartbeat::note_taken;

/// Time that a refused peer has to close the connection when it has taken its Goodbye, in milliseconds.
pub(crate) const LINGER_MS: u64 = 2_000;
/// Time that it has to take its Goodbye, or some of what lies before it: a receiver that reads slowly makes room in large
/// steps.
pub(crate) const LINGER_STEP_MS: u64 = 10_000;

/// Why a connection is closed without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The peer closed it.
    PeerClosed,
    /// The connection broke.
    PeerReset,
    /// The peer said Goodbye.
    PeerDone,
    /// The peer has had its Goodbye from us.
    Refused,
    /// Nothing was heard, and nothing can be said.
    Silent,
    /// Retention dropped a record of which the peer has a part, or its rest is damaged.
    Dropped,
    /// It holds memory that others need, and makes no progress.
    Stalled,
    /// The broker stops and the peer did not take its last bytes.
    Stopping,
}

impl Shard {
    /// Ends a session with a Goodbye that says why. Whatever is half out leaves first.
    pub(crate) fn refuse(&mut self, id: SessionId, code: GoodbyeCode, reason: &str) {
        self.refuse_for(id, code, 0, reason);
    }

    /// The same, with the time after which the peer should come back.
    pub(crate) fn refuse_for(
        &mut self,
        id: SessionId,
        code: GoodbyeCode,
        retry_after_ms: u32,
        reason: &str,
    ) {
        self.metrics().sessions_refused.add(1);
        let peer = self
            .sessions
            .get(id)
            .and_then(|session| session.stream.peer_addr().ok());
        info!(?peer, ?code, reason, "session refused");
        self.say_goodbye(id, code, retry_after_ms, reason);
    }

    /// The last frame of a session; what is still on its way to it leaves before.
    pub(crate) fn say_goodbye(
        &mut self,
        id: SessionId,
        code: GoodbyeCode,
        retry_after_ms: u32,
        reason: &str,
    ) {
        let said = |session: &Session| !matches!(session.stage, Stage::Greeting | Stage::Open);
        if self.sessions.get(id).is_none_or(said) {
            return;
        }
        // No record comes after the Goodbye. The subscriptions end with the connection.
        self.pause_catchups(id);
        let goodbye = Goodbye {
            code,
            retry_after_ms,
            reason,
        };
        self.send_control(id, |out| goodbye.encode(out));
        let now_tick = self.now_tick();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.stage == Stage::Open {
            self.shared.metrics[self.id].sessions.subtract(1);
        }
        session.stage = Stage::Closing;
        if let Some(mut partial) = session.partial.take() {
            self.room.input.count(&mut partial.counted, 0);
        }
        session.heard_tick = now_tick;
        // In a shutdown the operator says how long a peer may take for its last bytes.
        if !self.drain.is_begun() {
            note_taken(session);
            self.timers.arm(id, self.now.monotonic_ms + LINGER_MS);
        }
    }

    /// The Goodbye is out: shut our side and wait for the peer to shut its own.
    pub(crate) fn linger(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.stage = Stage::Lingering;
        if session.stream.shutdown(Shutdown::Write).is_err() {
            self.disconnect(id, Reason::Refused);
        } else {
            self.queue_read(id);
        }
    }

    /// Ends the connection and gives back everything that the session held. Many subscriptions, and a socket with much in
    /// it, take their time in later turns; until then the session has another name, and its socket stays open.
    pub(crate) fn disconnect(&mut self, id: SessionId, reason: Reason) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let stage = session.stage;
        if stage == Stage::Gone {
            return;
        }
        let may_be_full = session.says_much || session.blocked;
        if let Some(mut partial) = session.partial.take() {
            self.room.input.count(&mut partial.counted, 0);
        }
        if let Some(mut outgoing) = session.outgoing.take() {
            self.room.output.count(&mut outgoing.counted, 0);
        }
        session.tail = None;
        if matches!(
            reason,
            Reason::Stopping | Reason::Dropped | Reason::Silent | Reason::Stalled
        ) {
            crate::sys::socket::reset_when_closed(session.stream.as_fd());
        }
        let metrics = &self.shared.metrics[self.id];
        metrics.connections.subtract(1);
        if stage == Stage::Open {
            metrics.sessions.subtract(1);
        }
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        debug!(session = id.key(), ?reason, "connection closed");
        self.reading.spend(CLOSE_STEPS, 0);
        let Some(gone) = self.sessions.retire(id) else {
            return;
        };
        let mut at_once = Budget::SUBSCRIPTIONS_AT_ONCE;
        // The kernel may hold megabytes that nobody has read, and frees them when the socket is closed.
        let is_full =
            may_be_full || matches!(reason, Reason::Stalled | Reason::Silent | Reason::Dropped);
        if self.end_subscriptions(gone, &mut at_once) && !is_full {
            self.sessions.remove(gone);
        } else {
            self.leaving.push_back(gone);
        }
    }

    /// Goes on with the sessions that are gone and could not end at once.
    pub(crate) fn end_sessions(&mut self) {
        let mut budget = Budget::ENDINGS;
        while let Some(id) = self.leaving.front().copied() {
            if !self.end_subscriptions(id, &mut budget) {
                return;
            }
            self.leaving.pop_front();
            // Closing takes the only descriptor of the socket out of the poll, too.
            self.sessions.remove(id);
            budget.spend(CLOSE_FULL_STEPS, 0);
        }
    }
}
