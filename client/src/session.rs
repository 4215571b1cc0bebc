//! The publishing session: what its publishers hand over, kept until the broker has acknowledged it.
//!
//! Publishers call from any thread; [`crate::courier`] carries. Both meet in one [`State`] under one lock, which is
//! held for bookkeeping only, never across a system call. Lock order: a desk's batcher, then the state.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::Finished;
use crate::connection::{Connection, Dialer};
use crate::courier;
use crate::error::{ConnectError, ConnectionError, PublishError, QueryError};
use crate::ledger::{Interest, OriginId};
use crate::lock::lock;
use crate::message::Ack;
use crate::publisher::Desk;
use crate::query::{Ask, Reply};
use crate::state::{Ending, State};
use crate::terms::Terms;
use crate::time::{Bell, Time};

/// The meeting place of publishers and courier.
pub(crate) struct Shared {
    state: Mutex<State>,
    settled: Condvar,
    /// Whether a publisher must look at the state before it goes on.
    attention: AtomicBool,
    pub(crate) bell: Bell,
    pub(crate) dialer: Dialer,
}

impl Shared {
    pub(crate) fn time(&self) -> &dyn Time {
        &*self.dialer.options.time
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state has changed: tell whoever waits for it.
    pub(crate) fn announce(&self, state: &State) {
        let ledger = &state.ledger;
        let attention = state.over.is_some() || !ledger.has_room() || ledger.has_failures();
        self.attention.store(attention, Ordering::Release);
        self.settled.notify_all();
    }

    /// Waits until `ready` finds something.
    fn await_state<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state();
        loop {
            if let Some(found) = ready(&mut state) {
                self.announce(&state);
                return found;
            }
            state = self
                .settled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn submit(&self, origin: OriginId, interest: Interest, done: Vec<Finished>) {
        if done.is_empty() {
            return;
        }
        let mut state = self.state();
        for finished in done {
            state.ledger.add(origin, interest, finished);
        }
        if let Some(error) = state.over.clone() {
            state.ledger.fail(&error);
        }
        self.announce(&state);
        drop(state);
        self.bell.ring();
    }

    /// Finishes all batches that are due, and notes when the next one is.
    pub(crate) fn finish_due(&self, now: Duration) {
        let mut state = self.state();
        state.forget_linger();
        let desks = state.desks();
        drop(state);
        for desk in desks {
            let (mut done, mut batcher) = (Vec::new(), lock(&desk.batcher));
            if let Some(due) = batcher.finish_due(now, &mut done) {
                self.note_linger(due);
            }
            self.submit(desk.origin, Interest::Publisher, done);
        }
    }

    fn finish_all(&self) {
        let desks = self.state().desks();
        for desk in desks {
            self.finish_desk(&desk);
        }
    }

    fn finish_desk(&self, desk: &Desk) {
        let (mut done, mut batcher) = (Vec::new(), lock(&desk.batcher));
        batcher.finish_all(&mut done);
        self.submit(desk.origin, Interest::Publisher, done);
    }

    fn note_linger(&self, due: Duration) {
        let sooner = self.state().note_linger(due);
        if sooner {
            self.bell.ring();
        }
    }

    /// A connection stands: everybody keeps to its terms from here on.
    pub(crate) fn connected(&self, terms: &Terms, socket: Arc<TcpStream>) {
        let now = self.time().now();
        let mut state = self.state();
        state.connected(terms, socket, now);
        self.announce(&state);
        let desks = state.desks();
        drop(state);
        for desk in desks {
            let (mut done, mut batcher) = (Vec::new(), lock(&desk.batcher));
            batcher.agree(terms.limits, &mut done);
            self.submit(desk.origin, Interest::Publisher, done);
        }
    }

    /// The session is over: nothing will be sent or settled any more.
    pub(crate) fn end(&self, error: &ConnectError) {
        let mut state = self.state();
        state.disconnected();
        state.ledger.fail(error);
        state.over = Some(error.clone());
        self.announce(&state);
    }
}

/// A handle on the session; dropping the last one closes it at once.
pub(crate) struct Session {
    shared: Arc<Shared>,
    correlations: Arc<AtomicU64>,
}

impl Session {
    /// Starts the courier over `connection`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(dialer: Dialer, connection: Connection) -> Result<Self, ConnectionError> {
        let now = dialer.options.time.now();
        let state = State::new(&connection.terms, now);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            settled: Condvar::new(),
            attention: AtomicBool::new(false),
            bell: Bell::new(),
            dialer,
        });
        courier::start(Arc::clone(&shared), connection)?;
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

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Waits until another message may be taken.
    ///
    /// # Errors
    /// An earlier failure of this publisher, or the end of the session.
    pub(crate) fn admit(&self, origin: OriginId) -> Result<(), PublishError> {
        if !self.shared.attention.load(Ordering::Acquire) {
            return Ok(());
        }
        self.shared.await_state(|state| {
            if let Some(failure) = state.ledger.take_failure(origin) {
                return Some(Err(failure));
            }
            if let Some(error) = &state.over {
                return Some(Err(error.clone().into()));
            }
            state.ledger.has_room().then_some(Ok(()))
        })
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

    /// Sends what the desk has gathered, and waits until everything of it is settled.
    ///
    /// # Errors
    /// The first failure since the publisher's last call.
    pub(crate) fn flush(&self, desk: &Desk) -> Result<(), PublishError> {
        self.shared.finish_desk(desk);
        self.shared
            .await_state(|state| {
                let settled = state.ledger.is_settled(desk.origin);
                settled.then(|| state.ledger.take_failure(desk.origin))
            })
            .map_or(Ok(()), Err)
    }

    /// Hands over what the desk has gathered, without waiting, and forgets its publisher.
    pub(crate) fn abandon(&self, desk: &Desk) {
        self.shared.finish_desk(desk);
        self.state().ledger.close_origin(desk.origin);
    }

    /// Asks the broker, and waits for its answer.
    ///
    /// # Errors
    /// When the session ends before.
    pub(crate) fn ask(&self, ask: Ask) -> Result<Reply, QueryError> {
        let id = self.state().ask(ask);
        self.shared.bell.ring();
        self.shared.await_state(|state| {
            if let Some(reply) = state.take_reply(id) {
                return Some(Ok(reply));
            }
            state.over.clone().map(|error| Err(error.into()))
        })
    }

    /// Sends and settles everything of all publishers, then says goodbye.
    ///
    /// # Errors
    /// The first failure that its publisher was not told yet.
    pub(crate) fn drain(&self) -> Result<(), PublishError> {
        self.shared.finish_all();
        self.shared
            .await_state(|state| (state.ledger.is_empty() || state.over.is_some()).then_some(()));
        self.state().ending = Ending::Goodbye;
        self.shared.bell.ring();
        self.shared.await_state(|state| {
            let over = state.over.clone()?;
            Some(match (state.ledger.take_any_failure(), over) {
                (Some(failure), _) => Err(failure),
                (None, ConnectError::Closed) => Ok(()),
                (None, error) => Err(error.into()),
            })
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.state().end_abruptly();
        self.shared.bell.ring();
    }
}
