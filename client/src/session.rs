//! The publishing session: what its publishers hand over, kept until the broker has acknowledged it.
//!
//! Publishers call from any thread; [`crate::courier`] carries. Both meet in one [`State`] under one lock, which is
//! held for bookkeeping only, never across a system call. Lock order: a desk's batcher, then the state.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::Frame;
use oyez_protocol::event::Heartbeat;
use oyez_protocol::limits::Limits;

use crate::batch::Finished;
use crate::connection::{Connection, Dialer, Terms, farewell};
use crate::courier;
use crate::error::{ConnectError, ConnectionError, PublishError, QueryError};
use crate::inbox::Inbox;
use crate::ledger::{Interest, Ledger, OriginId};
use crate::lock::lock;
use crate::message::Ack;
use crate::publisher::Desk;
use crate::query::{Ask, Questions, Reply};
use crate::silence::{Silence, Verdict};
use crate::time::{Bell, Time};

/// Records handed to one write.
const BURST_RECORDS: usize = 64;

/// How the session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet.
    None,
    /// With a goodbye, now that everything is settled.
    Goodbye,
    /// At once.
    Abrupt,
}

/// What the courier does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write what was gathered.
    Write,
    /// Finish the batches that lingered long enough.
    FinishDue,
    /// Nothing, at most until then.
    WaitUntil(Duration),
    /// The connection is lost.
    Lost(ConnectionError),
    /// The session ends.
    End,
}

/// Everything that publishers, the courier and its reader share.
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    questions: Questions,
    urgent: Vec<u8>,
    pong: Option<Heartbeat>,
    silence: Silence,
    lost: Option<ConnectionError>,
    socket: Option<Arc<TcpStream>>,
    desks: Vec<Weak<Desk>>,
    linger_at: Option<Duration>,
    pub(crate) ending: Ending,
    over: Option<ConnectError>,
}

impl State {
    /// What to do at `now`; bytes to write are appended to `out`.
    pub(crate) fn next_step(&mut self, now: Duration, out: &mut Vec<Bytes>) -> Step {
        if self.ending == Ending::Abrupt {
            return Step::End;
        }
        if let Some(error) = self.lost.take() {
            return Step::Lost(error);
        }
        let mut until = match self.judge(now) {
            Ok(left) => now + left,
            Err(error) => return Step::Lost(error),
        };
        self.gather(out);
        if !out.is_empty() {
            return Step::Write;
        }
        if self.ending == Ending::Goodbye {
            return Step::End;
        }
        // While the broker lags behind there is no use in cutting batches short: they grow instead.
        if let Some(due) = self.linger_at.filter(|_| self.ledger.has_room()) {
            if due <= now {
                return Step::FinishDue;
            }
            until = until.min(due);
        }
        Step::WaitUntil(until)
    }

    fn gather(&mut self, out: &mut Vec<Bytes>) {
        if let Some(heartbeat) = self.pong.take() {
            heartbeat.encode_pong(&mut self.urgent);
        }
        if !self.urgent.is_empty() {
            out.push(std::mem::take(&mut self.urgent).into());
        }
        self.ledger.send(BURST_RECORDS, out);
    }

    /// How long the silence may last.
    ///
    /// # Errors
    /// When the connection is dead.
    pub(crate) fn judge(&mut self, now: Duration) -> Result<Duration, ConnectionError> {
        match self.silence.judge(now) {
            Verdict::Wait(left) => Ok(left),
            Verdict::Ask => {
                let token = now.as_nanos() as u64;
                Heartbeat { token }.encode_ping(&mut self.urgent);
                Ok(Duration::ZERO)
            }
            Verdict::Dead(silence) => Err(ConnectionError::Silent { silence }),
        }
    }

    /// Whether the connection was found to be lost, or is not wanted any more.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.lost.is_some() || matches!(self.ending, Ending::Abrupt)
    }

    /// Bytes arrived at `now`.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.silence.heard(now);
    }

    /// Takes in all whole frames that arrived.
    ///
    /// # Errors
    /// When one of them is the last of the connection.
    pub(crate) fn absorb(&mut self, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        while let Some(frame) = inbox.next()? {
            match frame {
                Frame::Published(published) => {
                    for entry in published.entries() {
                        self.ledger.settle(&entry)?;
                    }
                }
                Frame::Answer(answer) => self.questions.answer(&answer),
                Frame::Ping(heartbeat) => self.pong = Some(heartbeat),
                Frame::Goodbye(goodbye) => return Err(farewell(&goodbye)),
                Frame::Pong(_) | Frame::Skipped { .. } => {}
                _ => {
                    return Err(ConnectionError::Unexpected {
                        what: "a frame that has no place in a publishing session",
                    });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn note_loss(&mut self, error: ConnectionError) {
        self.lost.get_or_insert(error);
    }

    /// A new connection stands: open questions are asked again.
    pub(crate) fn connected(&mut self, terms: &Terms, socket: Arc<TcpStream>, now: Duration) {
        self.ledger.agree(terms);
        self.silence = Silence::new(terms.heartbeat, now);
        self.socket = Some(socket);
        self.urgent.clear();
        self.questions.ask_again(&mut self.urgent);
    }

    /// The connection is gone: what was sent over it is to be sent again.
    pub(crate) fn disconnected(&mut self) {
        self.socket = None;
        self.pong = None;
        self.lost = None;
        self.urgent.clear();
        self.ledger.lost();
    }

    /// The desks to look at when something is due.
    fn desks(&mut self) -> Vec<Arc<Desk>> {
        self.desks.retain(|desk| desk.strong_count() > 0);
        self.desks.iter().filter_map(Weak::upgrade).collect()
    }
}

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
        state.linger_at = None;
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
        let mut state = self.state();
        let sooner = state.linger_at.is_none_or(|at| due < at);
        if sooner {
            state.linger_at = Some(due);
            drop(state);
            self.bell.ring();
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
    limits: Limits,
}

impl Session {
    /// Starts the courier over `connection`.
    pub(crate) fn start(dialer: Dialer, connection: Connection) -> Self {
        let now = dialer.options.time.now();
        let state = State {
            ledger: Ledger::new(&connection.terms),
            questions: Questions::default(),
            urgent: Vec::new(),
            pong: None,
            silence: Silence::new(connection.terms.heartbeat, now),
            lost: None,
            socket: None,
            desks: Vec::new(),
            linger_at: None,
            ending: Ending::None,
            over: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            settled: Condvar::new(),
            attention: AtomicBool::new(false),
            bell: Bell::new(),
            dialer,
        });
        let limits = connection.terms.limits;
        courier::start(Arc::clone(&shared), connection);
        Self {
            shared,
            correlations: Arc::new(AtomicU64::new(1)),
            limits,
        }
    }

    /// What the broker takes.
    pub(crate) const fn limits(&self) -> Limits {
        self.limits
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

    pub(crate) fn register(&self, desk: &Arc<Desk>) {
        self.state().desks.push(Arc::downgrade(desk));
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
        let mut state = self.state();
        let State {
            questions, urgent, ..
        } = &mut *state;
        let id = questions.ask(ask, urgent);
        drop(state);
        self.shared.bell.ring();
        self.shared.await_state(|state| {
            if let Some(reply) = state.questions.take(id) {
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
        let mut state = self.state();
        state.ending = Ending::Abrupt;
        if let Some(socket) = &state.socket {
            // It may be closed already.
            let _closed = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.bell.ring();
    }
}
