//! The publishing session: what its publishers hand over, kept until the broker has acknowledged it.
//!
//! Publishers call from any thread; [`writer`] carries what they hand over. All meet in [`Shared`].

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::batch::Finished;
use crate::connection::{Connection, Dialer};
use crate::error::{ConnectionError, PublishError, QueryError};
use crate::ledger::{Interest, OriginId};
use crate::message::Ack;
use crate::query::{Ask, Reply};
use crate::session_state::SessionState;
use crate::shared::Shared;
use crate::slot::BatchSlot;
use crate::writer;

/// A handle on the session; dropping the last one closes it at once.
pub(crate) struct Session {
    shared: Arc<Shared>,
    correlations: Arc<AtomicU64>,
}

impl Session {
    /// Starts the writer over `connection`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(dialer: Dialer, connection: Connection) -> Result<Self, ConnectionError> {
        let shared = Arc::new(Shared::new(dialer, &connection.terms));
        writer::start(Arc::clone(&shared), connection)?;
        Ok(Self {
            shared,
            correlations: Arc::new(AtomicU64::new(1)),
        })
    }

    /// The source of correlation ids.
    pub(crate) fn correlations(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.correlations)
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.time().now()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SessionState> {
        self.shared.state()
    }

    /// Waits until another message may be taken.
    ///
    /// # Errors
    /// An earlier failure of this publisher, or the end of the session.
    pub(crate) fn admit(&self, origin: OriginId) -> Result<(), PublishError> {
        if !self.shared.wants_attention() {
            return Ok(());
        }
        self.shared.await_state(|state| state.admit(origin))
    }

    /// Makes the slot of a new publisher known.
    pub(crate) fn register(&self, state: &SessionState, slot: &Arc<BatchSlot>) {
        self.shared.register(state, slot);
    }

    pub(crate) fn submit(&self, origin: OriginId, interest: Interest, done: Vec<Finished>) {
        self.shared.submit(origin, interest, done);
    }

    pub(crate) fn note_linger(&self, due: Duration) {
        self.shared.note_linger(due);
    }

    /// Waits for the outcome of one record.
    ///
    /// # Errors
    /// When it was refused, or the session ended before.
    pub(crate) fn await_outcome(&self, correlation: u64) -> Result<Ack, PublishError> {
        self.shared
            .await_state(|state| state.ledger.take_outcome(correlation))
    }

    /// Sends what the slot has gathered, and waits until everything of it is settled.
    ///
    /// # Errors
    /// The first failure since the publisher's last call.
    pub(crate) fn flush(&self, slot: &BatchSlot) -> Result<(), PublishError> {
        self.shared.finish(slot);
        self.shared.await_state(|state| state.flushed(slot.origin))
    }

    /// Hands over what the slot has gathered, without waiting, and forgets its publisher.
    pub(crate) fn abandon(&self, slot: &BatchSlot) {
        self.shared.finish(slot);
        self.state().ledger.close_origin(slot.origin);
    }

    /// Asks the broker, and waits for its answer.
    ///
    /// # Errors
    /// When the session ends before.
    pub(crate) fn ask(&self, ask: Ask) -> Result<Reply, QueryError> {
        let id = self.state().ask(ask);
        self.shared.bell.ring();
        let reply = self.shared.await_state(|state| state.answered(id))?;
        match reply.outcome {
            outcome if outcome.is_done() => Ok(reply),
            outcome => Err(QueryError::Refused { outcome }),
        }
    }

    /// Sends and settles everything of all publishers, then says goodbye.
    ///
    /// # Errors
    /// The first failure that its publisher was not told yet.
    pub(crate) fn drain(&self) -> Result<(), PublishError> {
        self.shared.finish_all();
        self.shared.await_state(|state| state.may_part());
        self.state().part();
        self.shared.bell.ring();
        self.shared.await_state(SessionState::parted)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end_abruptly();
        self.shared.bell.ring();
    }
}
