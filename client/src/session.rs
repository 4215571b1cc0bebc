//! The publishing session: what its publishers hand over, kept until the broker has acknowledged it.
//!
//! Publishers call from any thread; [`writer`] sends what they hand over. They share a [`SessionHub`].

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::batch::Finished;
use crate::connection::{Connection, Dialer};
#[cfg(doc)]
use crate::error::ConnectError;
use crate::error::{ConnectionError, PublishError, QueryError};
use crate::ledger::{Interest, OriginId};
use crate::message::Ack;
use crate::query::{Ask, Reply};
use crate::session_hub::SessionHub;
use crate::session_state::SessionState;
use crate::slot::BatchSlot;
use crate::time::Allowance;
use crate::writer;

/// A handle on the session; dropping the last one closes it at once.
pub(crate) struct Session {
    hub: Arc<SessionHub>,
    correlations: Arc<AtomicU64>,
}

impl Session {
    /// Starts the writer over `connection`.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(crate) fn start(dialer: Dialer, connection: Connection) -> Result<Self, ConnectionError> {
        let hub = Arc::new(SessionHub::new(dialer, &connection.terms));
        writer::start(Arc::clone(&hub), connection)?;
        Ok(Self {
            hub,
            correlations: Arc::new(AtomicU64::new(1)),
        })
    }

    /// The source of correlation ids.
    pub(crate) fn correlations(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.correlations)
    }

    pub(crate) fn now(&self) -> Duration {
        self.hub.time().now()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SessionState> {
        self.hub.state()
    }

    /// How long a call that begins now may wait.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::new(self.hub.dialer.options.answer_timeout)
    }

    /// Whether a message may be taken without a look at the state.
    pub(crate) fn admits(&self) -> bool {
        !self.hub.wants_attention()
    }

    /// Waits until another message may be taken.
    ///
    /// # Errors
    /// An earlier failure of this publisher, the end of the session, or [`PublishError::NotSent`].
    pub(crate) fn admit(&self, origin: OriginId, allowance: Allowance) -> Result<(), PublishError> {
        self.hub.await_state(
            allowance,
            |state| state.admit(origin),
            |_, waited| Err(PublishError::NotSent { waited }),
        )
    }

    /// Makes the slot of a new publisher known.
    pub(crate) fn register(&self, state: &SessionState, slot: &Arc<BatchSlot>) {
        self.hub.register(state, slot);
    }

    pub(crate) fn submit(&self, origin: OriginId, interest: Interest, done: Vec<Finished>) {
        self.hub.submit(origin, interest, done);
    }

    pub(crate) fn note_linger(&self, due: Duration) {
        self.hub.note_linger(due);
    }

    /// Waits for the outcome of one record. If none comes in time, withdraws the record.
    ///
    /// # Errors
    /// When it was refused, the session ended before, or the time was too short.
    pub(crate) fn await_outcome(
        &self,
        correlation: u64,
        allowance: Allowance,
    ) -> Result<Ack, PublishError> {
        self.hub.await_state(
            allowance,
            |state| state.ledger.take_outcome(correlation),
            |state, waited| {
                Err(if state.ledger.withdraw(correlation) {
                    PublishError::Unacknowledged { waited }
                } else {
                    PublishError::NotSent { waited }
                })
            },
        )
    }

    /// Sends what the slot has gathered, and waits until everything of it is settled.
    ///
    /// # Errors
    /// The first failure since the publisher's last call, or [`PublishError::Unacknowledged`].
    pub(crate) fn flush(&self, slot: &BatchSlot, allowance: Allowance) -> Result<(), PublishError> {
        self.hub.finish(slot);
        self.hub.await_state(
            allowance,
            |state| state.flushed(slot.origin),
            |_, waited| Err(PublishError::Unacknowledged { waited }),
        )
    }

    /// Hands over what the slot has gathered, without waiting, and forgets its publisher.
    pub(crate) fn abandon(&self, slot: &BatchSlot) {
        self.hub.finish(slot);
        self.state().ledger.close_origin(slot.origin);
    }

    /// Asks the broker, and waits for its answer.
    ///
    /// # Errors
    /// When the session ends before, or the time was too short.
    pub(crate) fn ask(&self, ask: Ask) -> Result<Reply, QueryError> {
        let id = self.state().ask(ask);
        self.hub.bell.ring();
        let reply = self.hub.await_state(
            self.allowance(),
            |state| state.answered(id),
            |state, waited| {
                state.forget(id);
                Err(QueryError::TimedOut { waited })
            },
        )?;
        match reply.outcome {
            outcome if outcome.is_done() => Ok(reply),
            outcome => Err(QueryError::Refused { outcome }),
        }
    }

    /// Sends and settles everything of all publishers, then says goodbye.
    ///
    /// # Errors
    /// The first failure that its publisher has not received yet, or [`PublishError::Unacknowledged`]. The session has
    /// ended then, too.
    pub(crate) fn drain(&self) -> Result<(), PublishError> {
        let allowance = self.allowance();
        let late = |waited| Err(PublishError::Unacknowledged { waited });
        self.hub.finish_all();
        let settled = self.hub.await_state(
            allowance,
            |state| state.may_part().map(Ok),
            |_, waited| late(waited),
        );
        let parted = settled.and_then(|()| {
            self.state().part();
            self.hub.bell.ring();
            self.hub
                .await_state(allowance, SessionState::parted, |_, waited| late(waited))
        });
        if parted.is_err() {
            self.close();
        }
        parted
    }

    /// Ends the session at once: whatever waits for it ends with [`ConnectError::Closed`].
    pub(crate) fn close(&self) {
        self.hub.close();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}
