//! Publishing, step by step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::line::{Greeted, Line, READ_MAX, Read, Turn};
use super::tickets::{Gathering, Ticket, Tickets};
use super::wire::Wire;
use crate::backoff::Retry;
use crate::batch::{Batcher, Finished, PublisherOptions};
use crate::error::{ConnectError, ConnectionError, PublishError};
use crate::ledger::{Interest, OriginId};
use crate::message::{Ack, NewMessage};
use crate::options::{ConnectOptions, ConnectionEvent};
use crate::session_state::{SessionState, Step};
use crate::terms::Terms;

/// A publishing session with two publishers: one whose messages travel alone and at once, as those of
/// [`Client::publish_acked`](crate::Client::publish_acked), and one that gathers batches, as
/// [`Publisher`](crate::Publisher) does. The outcome of each message can be fetched.
pub struct Publisher {
    line: Line,
    state: SessionState,
    alone: Slot,
    batched: Slot,
    tickets: Tickets,
    /// Whether a broker has stated its limits.
    welcomed: bool,
    /// Whether the session ends as soon as everything is settled.
    parting: bool,
    read_max: usize,
}

/// Where messages gather until their records are finished.
struct Slot {
    origin: OriginId,
    batcher: Batcher,
    gathering: Gathering,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("line", &self.line)
            .field("welcomed", &self.welcomed)
            .field("parting", &self.parting)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that begins at `now`; its first turn dials. `batches` holds for [`Publisher::push`].
    ///
    /// # Errors
    /// When the credentials are too long.
    pub fn new(
        options: ConnectOptions,
        batches: PublisherOptions,
        now: Duration,
    ) -> Result<Self, ConnectError> {
        options.check()?;
        let terms = Terms::default();
        let mut state = SessionState::new(&terms, options.publishing_policy(), now);
        let correlations = Arc::new(AtomicU64::new(1));
        let mut slot = |options: PublisherOptions| Slot {
            origin: state.ledger.open_origin(options.keep_acks),
            batcher: Batcher::new(options, terms.limits, Arc::clone(&correlations)),
            gathering: Gathering::default(),
        };
        Ok(Self {
            alone: slot(PublisherOptions::alone()),
            batched: slot(batches),
            line: Line::new(options),
            state,
            tickets: Tickets::default(),
            welcomed: false,
            parting: false,
            read_max: READ_MAX,
        })
    }

    /// Most bytes that one turn reads, at least 1; 256 KiB unless it is set.
    pub fn read_max(&mut self, bytes: usize) {
        self.read_max = bytes.max(1);
    }

    /// Takes a message as a record of its own; the next turn sends it. None while as much is on its way as the broker
    /// allows, or no broker has stated its limits yet, or [`Publisher::part`] was called: the message is not taken
    /// then.
    ///
    /// # Errors
    /// When the topic or the message's size breaks the rules, or the session is over; nothing was taken then.
    pub fn publish<'m>(
        &mut self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
        now: Duration,
    ) -> Result<Option<Ticket>, PublishError> {
        self.take(Way::Alone, topic, &message.into(), now)
    }

    /// [`Publisher::publish`] in batches: a later message or a later turn finishes the batch, as the options say.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`].
    pub fn push<'m>(
        &mut self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
        now: Duration,
    ) -> Result<Option<Ticket>, PublishError> {
        self.take(Way::Batched, topic, &message.into(), now)
    }

    fn take(
        &mut self,
        way: Way,
        topic: &str,
        message: &NewMessage<'_>,
        now: Duration,
    ) -> Result<Option<Ticket>, PublishError> {
        let slot = match way {
            Way::Alone => &mut self.alone,
            Way::Batched => &mut self.batched,
        };
        let waits = !self.welcomed || self.parting;
        if waits && self.state.over().is_none() {
            return Ok(None);
        }
        let Some(admitted) = self.state.admit(slot.origin) else {
            return Ok(None);
        };
        admitted?;
        let (mut headers, mut done) = (Vec::new(), Vec::new());
        let message = message.lend(&mut headers);
        let opened = slot.batcher.push(topic, &message, now, &mut done)?;
        let ticket = self.tickets.make();
        slot.gathering.add(topic, ticket);
        slot.submit(done, &mut self.state, &mut self.tickets);
        if let Some(due) = opened {
            self.state.note_linger(due);
        }
        Ok(Some(ticket))
    }

    /// Takes the outcome of a message, once; `None` while it is not known, and after it was taken. An acknowledgement
    /// is for this message alone: its offset is the message's.
    pub fn outcome(&mut self, ticket: Ticket) -> Option<Result<Ack, PublishError>> {
        self.tickets.outcome(ticket, &mut self.state.ledger)
    }

    /// Whether the outcome of every message is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state.ledger.is_empty() && self.batched.gathering.is_empty()
    }

    /// Whether a connection stands that the broker has welcomed.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.line.heartbeat().is_some()
    }

    /// Whether the session has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.over().is_some()
    }

    /// Why the session is over; none when it goes on, or ended as it was asked to.
    #[must_use]
    pub fn error(&self) -> Option<&ConnectError> {
        let over = self.state.over();
        over.filter(|error| !matches!(error, ConnectError::Closed))
    }

    /// Finishes all batches now.
    pub fn finish(&mut self) {
        let mut done = Vec::new();
        self.batched.batcher.finish_all(&mut done);
        let (state, tickets) = (&mut self.state, &mut self.tickets);
        self.batched.submit(done, state, tickets);
    }

    /// Finishes all batches; the turn that finds everything settled says goodbye, and the session is over.
    pub fn part(&mut self) {
        self.finish();
        self.parting = true;
    }

    /// Closes the connection without a goodbye; the session is over.
    #[cfg(test)]
    pub(crate) fn end_abruptly(&mut self, wire: &mut dyn Wire) {
        self.state.end_abruptly();
        self.line.hang_up(wire);
        self.end(&ConnectError::Closed);
    }

    /// Does everything that can be done at `now`. Returns when to be called again if nothing arrives, nothing can be
    /// written and no message is taken before; none when the session is over. `random_below` draws a number below its
    /// argument.
    pub fn turn(
        &mut self,
        now: Duration,
        wire: &mut dyn Wire,
        random_below: &mut dyn FnMut(u64) -> u64,
    ) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        let mut turn = Turn {
            now,
            wire,
            random_below,
            budget: self.read_max,
        };
        self.part_if_settled();
        match self.reach(&mut turn) {
            Ok(Some(Greeted::Welcome(terms))) => self.connected(&terms, now),
            Ok(Some(Greeted::Waiting(until))) => return Some(until),
            Ok(None) if self.is_connected() => {}
            Ok(None) => return self.next_attempt(now),
            Err(error) => return self.lose(error, &mut turn),
        }
        let goes_on = self.hear(&mut turn);
        let until = self.speak(&mut turn)?;
        Some(if goes_on { now } else { until })
    }

    /// Comes nearer to a connection, if none stands.
    fn reach(&mut self, turn: &mut Turn<'_>) -> Result<Option<Greeted>, ConnectionError> {
        if self.line.is_down() && self.state.next_retry(turn.now) == Retry::Dial {
            self.line.dial(turn)?;
        }
        self.line.greet(turn)
    }

    fn next_attempt(&mut self, now: Duration) -> Option<Duration> {
        match self.state.next_retry(now) {
            Retry::PauseUntil(until) => Some(until),
            Retry::Dial => Some(now),
            Retry::End => {
                self.end(&ConnectError::Closed);
                None
            }
        }
    }

    /// Applies the broker's terms to the session and both batchers.
    fn connected(&mut self, terms: &Terms, now: Duration) {
        self.state.connected(terms, now);
        if std::mem::replace(&mut self.welcomed, true) {
            self.line.options.tell(&ConnectionEvent::Restored);
        }
        for slot in [&mut self.alone, &mut self.batched] {
            let mut done = Vec::new();
            slot.batcher.agree(terms.limits, &mut done);
            slot.submit(done, &mut self.state, &mut self.tickets);
        }
    }

    /// Reads and takes in what has arrived. Returns true when there may be more.
    fn hear(&mut self, turn: &mut Turn<'_>) -> bool {
        while self.state.take_in(&mut self.line.received) {
            match self.line.read(turn) {
                Ok(Read::Bytes) => self.state.heard(turn.now),
                Ok(Read::Nothing) => return false,
                Ok(Read::Spent) => return true,
                Err(error) => {
                    self.state.note_loss(error);
                    break;
                }
            }
        }
        // The connection is lost: there is no use in writing the rest.
        self.line.outbox.clear();
        false
    }

    /// Takes one step after the other until it has to wait.
    fn speak(&mut self, turn: &mut Turn<'_>) -> Option<Duration> {
        loop {
            if let Some(until) = self.write(turn) {
                return Some(until);
            }
            self.part_if_settled();
            match self.state.next_step(turn.now, self.line.outbox.pieces()) {
                Step::Write => {}
                Step::FinishDue => self.finish_due(turn.now),
                Step::WaitUntil(until) => return Some(until),
                Step::Lost(error) => return self.lose(error, turn),
                Step::Goodbye => {
                    self.line.say_goodbye(turn.now, turn.wire);
                    self.end(&ConnectError::Closed);
                    return None;
                }
                Step::End => {
                    self.line.hang_up(turn.wire);
                    self.end(&ConnectError::Closed);
                    return None;
                }
            }
        }
    }

    /// Writes on; when something is left, returns when to look at it again.
    fn write(&mut self, turn: &mut Turn<'_>) -> Option<Duration> {
        let mut written = self.line.flush(turn.now, turn.wire);
        if written.is_ok() && self.line.stalls_at().is_some_and(|at| at <= turn.now) {
            self.line.stalled(turn.now);
            written = self.state.write_stalled(turn.now);
        }
        if let Err(error) = written {
            self.state.note_loss(error);
            self.line.outbox.clear();
            return None;
        }
        self.line.stalls_at()
    }

    fn finish_due(&mut self, now: Duration) {
        self.state.forget_linger();
        let mut done = Vec::new();
        if let Some(due) = self.batched.batcher.finish_due(now, &mut done) {
            self.state.note_linger(due);
        }
        let (state, tickets) = (&mut self.state, &mut self.tickets);
        self.batched.submit(done, state, tickets);
    }

    fn part_if_settled(&mut self) {
        if self.parting && self.state.may_part().is_some() {
            self.state.part();
        }
    }

    /// Notes that the connection is lost or an attempt has failed. Returns when to try again.
    fn lose(&mut self, error: ConnectionError, turn: &mut Turn<'_>) -> Option<Duration> {
        self.line.hang_up(turn.wire);
        match self.state.lost(&error, turn.now, &mut *turn.random_below) {
            Ok(delay) => {
                let event = ConnectionEvent::Lost { error, delay };
                self.line.options.tell(&event);
                self.next_attempt(turn.now)
            }
            Err(error) => {
                self.end(&error);
                None
            }
        }
    }

    /// Ends the session: messages that still gather fail with those that were sent.
    fn end(&mut self, error: &ConnectError) {
        self.state.end(error);
        self.finish();
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Alone,
    Batched,
}

impl Slot {
    fn submit(&mut self, done: Vec<Finished>, state: &mut SessionState, tickets: &mut Tickets) {
        for finished in &done {
            tickets.finished(&mut self.gathering, finished);
        }
        state.submit(self.origin, Interest::Caller, done);
    }
}
