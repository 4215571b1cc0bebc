//! Publishing in batches.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::batch::{Batcher, Finished, PublisherOptions};
use crate::error::PublishError;
use crate::ledger::{Interest, Totals};
use crate::lock::lock;
use crate::message::{Ack, NewMessage};
use crate::session::Session;
use crate::slot::BatchSlot;

/// Publishes messages in batches: gathered per topic, compressed together, acknowledged together.
///
/// A push returns as soon as the message is taken. It waits while as much is on its way as the broker allows. A later
/// failure is returned by the next call, at the latest by [`Publisher::flush`].
///
/// Messages of one topic keep their order. When the connection is lost, everything that was not acknowledged is sent
/// again over the next one: a message whose acknowledgement was lost with the connection is then in the topic twice.
/// That is *at least once*.
///
/// ```no_run
/// use oyez_client::{Client, PublisherOptions};
///
/// let client = Client::connect("oyez://127.0.0.1:7450")?;
/// let publisher = client.publisher(PublisherOptions::default())?;
/// for reading in 0..10_000 {
///     publisher.push("sensors/7", &format!("{{\"reading\":{reading}}}"))?;
/// }
/// publisher.flush()?; // All 10,000 are as durable as their topic is.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Publisher {
    session: Arc<Session>,
    slot: Arc<BatchSlot>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}

impl Publisher {
    pub(crate) fn new(session: Arc<Session>, options: PublisherOptions) -> Self {
        // Under one lock, so that no change of the limits is missed.
        let mut state = session.state();
        let batcher = Batcher::new(options, state.ledger.limits(), session.correlations());
        let slot = Arc::new(BatchSlot {
            origin: state.ledger.open_origin(options.keep_acks),
            batcher: Mutex::new(batcher),
        });
        session.register(&state, &slot);
        drop(state);
        Self { session, slot }
    }

    /// Takes a message for `topic`. Returns once it is taken; waits while too much is on its way.
    ///
    /// # Errors
    /// When the topic's name is invalid, the message too large, or the wait too long ([`PublishError::NotSent`]):
    /// nothing was taken then. Else an earlier failure of this publisher, or the end of the session.
    pub fn push<'m>(
        &self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
    ) -> Result<(), PublishError> {
        if !self.session.admits() {
            let allowance = self.session.allowance();
            self.session.admit(self.slot.origin, allowance)?;
        }
        self.push_as(Interest::Publisher, topic, &message.into())
            .map(drop)
    }

    /// Pushes a message and waits for its acknowledgement, for a publisher whose batches hold one message.
    pub(crate) fn push_acked(
        &self,
        topic: &str,
        message: &NewMessage<'_>,
    ) -> Result<Ack, PublishError> {
        let allowance = self.session.allowance();
        self.session.admit(self.slot.origin, allowance)?;
        let correlation = self
            .push_as(Interest::Caller, topic, message)?
            .expect("a batch without linger is finished by its first message");
        self.session.await_outcome(correlation, allowance)
    }

    /// Takes a message that was admitted. Returns the correlation id of the last record that it finished.
    fn push_as(
        &self,
        interest: Interest,
        topic: &str,
        message: &NewMessage<'_>,
    ) -> Result<Option<u64>, PublishError> {
        let origin = self.slot.origin;
        let (mut headers, mut done): (Vec<u8>, Vec<Finished>) = (Vec::new(), Vec::new());
        let message = message.lend(&mut headers);
        // The records are submitted before the batcher is free again, so that their order is that of the pushes.
        let mut batcher = lock(&self.slot.batcher);
        let opened = batcher.push(topic, &message, self.session.now(), &mut done)?;
        let correlation = done.last().map(|finished| finished.correlation);
        self.session.submit(origin, interest, done);
        if let Some(due) = opened {
            self.session.note_linger(due);
        }
        Ok(correlation)
    }

    /// Sends everything that was pushed, and waits until it is acknowledged, or until another thread calls
    /// [`Client::close`](crate::Client::close).
    ///
    /// # Errors
    /// The first failure since the last call: a refusal by the broker, or the end of the session; and
    /// [`PublishError::Unacknowledged`] when it takes longer than
    /// [`ConnectOptions::answer_timeout`](crate::ConnectOptions::answer_timeout). What is not acknowledged is still on
    /// its way then: flush again to wait longer.
    pub fn flush(&self) -> Result<(), PublishError> {
        self.session.flush(&self.slot, self.session.allowance())
    }

    /// Flushes like [`Publisher::flush`], and ends this publisher.
    ///
    /// # Errors
    /// Those of [`Publisher::flush`].
    pub fn drain(self) -> Result<(), PublishError> {
        self.flush()
    }

    /// Returns the acknowledgements since the last call, one per batch, in the order in which they came. Empty unless
    /// [`PublisherOptions::keep_acks`] is set; at most the newest 65,536 are kept.
    #[must_use]
    pub fn take_acks(&self) -> Vec<Ack> {
        self.session.state().ledger.take_acks(self.slot.origin)
    }

    /// Returns what was published and acknowledged so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.session.state().ledger.totals(self.slot.origin)
    }
}

impl Drop for Publisher {
    /// Hands over what was pushed, without waiting for its acknowledgement; a later failure is not reported.
    fn drop(&mut self) {
        self.session.abandon(&self.slot);
    }
}
