//! One client's connection: the attempt, the hello and its answer, and bytes in both directions.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::wire::Wire;
use crate::error::ConnectionError;
use crate::farewell;
use crate::handshake::{Awaiting, Hellos};
use crate::options::ConnectOptions;
use crate::outbox::Outbox;
use crate::receive_buffer::{ReceiveBuffer, Received, is_timeout};
use crate::terms::Terms;

/// Most bytes of one turn unless another number is set.
pub(super) const READ_MAX: usize = 256 << 10;

/// The arguments of one turn.
pub(super) struct Turn<'a> {
    pub(super) now: Duration,
    pub(super) wire: &'a mut dyn Wire,
    pub(super) random_below: &'a mut dyn FnMut(u64) -> u64,
    /// Bytes that may still be read.
    pub(super) budget: usize,
}

/// How far the connection is.
#[derive(Debug)]
enum Stage {
    Down,
    /// A hello is on its way.
    Greeting(Greeting),
    /// The broker has welcomed it, with this heartbeat.
    Stands(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Greeting {
    hellos: Hellos,
    awaiting: Awaiting,
    deadline: Duration,
}

/// The state of a hello.
#[derive(Debug)]
pub(super) enum Greeted {
    Welcome(Terms),
    /// No answer yet; look again at this time.
    Waiting(Duration),
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes,
    Nothing,
    /// The turn has read as much as it may.
    Spent,
}

/// A connection and the attempts to have one.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) options: ConnectOptions,
    pub(super) received: ReceiveBuffer,
    pub(super) outbox: Outbox,
    stage: Stage,
    /// Since when no byte of the waiting ones was written.
    blocked_at: Option<Duration>,
}

impl Line {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self {
            options,
            received: ReceiveBuffer::default(),
            outbox: Outbox::default(),
            stage: Stage::Down,
            blocked_at: None,
        }
    }

    pub(super) const fn is_down(&self) -> bool {
        matches!(self.stage, Stage::Down)
    }

    /// The heartbeat of the connection, if it stands.
    pub(super) const fn heartbeat(&self) -> Option<Duration> {
        match self.stage {
            Stage::Stands(heartbeat) => Some(heartbeat),
            Stage::Down | Stage::Greeting(_) => None,
        }
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn dial(&mut self, turn: &mut Turn<'_>) -> Result<(), ConnectionError> {
        let deadline = turn.now.saturating_add(self.options.connect_timeout);
        self.say_hello(Hellos::default(), deadline, turn)
    }

    fn say_hello(
        &mut self,
        hellos: Hellos,
        deadline: Duration,
        turn: &mut Turn<'_>,
    ) -> Result<(), ConnectionError> {
        self.received = ReceiveBuffer::default();
        self.outbox.clear();
        self.blocked_at = None;
        self.stage = Stage::Down;
        if !turn.wire.dial() {
            return Err(ConnectionError::Unreachable {
                address: "the simulated network".to_owned(),
                source: Arc::new(Error::from(ErrorKind::ConnectionRefused)),
            });
        }
        let mut hello = Vec::new();
        self.options.hello(&mut hello);
        self.send(hello);
        self.stage = Stage::Greeting(Greeting {
            hellos,
            awaiting: Awaiting::default(),
            deadline,
        });
        Ok(())
    }

    /// Continues the attempt; a hello that was damaged on its way is said again. Returns `None` when there is no
    /// attempt.
    ///
    /// # Errors
    /// When the attempt has failed.
    pub(super) fn greet(
        &mut self,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Greeted>, ConnectionError> {
        while let Stage::Greeting(mut greeting) = self.stage {
            match self.await_welcome(greeting, turn) {
                Err(error) => {
                    self.hang_up(turn.wire);
                    if !greeting.hellos.say_again(&error) {
                        return Err(error);
                    }
                    self.say_hello(greeting.hellos, greeting.deadline, turn)?;
                }
                Ok(greeted) => return Ok(Some(greeted)),
            }
        }
        Ok(None)
    }

    fn await_welcome(
        &mut self,
        mut greeting: Greeting,
        turn: &mut Turn<'_>,
    ) -> Result<Greeted, ConnectionError> {
        self.flush(turn.now, turn.wire)?;
        let left = greeting.deadline.saturating_sub(turn.now);
        loop {
            if let Some(terms) = greeting.awaiting.welcome(&mut self.received, left)? {
                self.stage = Stage::Stands(terms.heartbeat);
                return Ok(Greeted::Welcome(terms));
            }
            match self.read(turn)? {
                Read::Bytes => {}
                Read::Nothing if left.is_zero() => {}
                Read::Nothing => return Ok(Greeted::Waiting(greeting.deadline)),
                Read::Spent => return Ok(Greeted::Waiting(turn.now)),
            }
        }
    }

    /// Reads once, as much as the turn may.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub(super) fn read(&mut self, turn: &mut Turn<'_>) -> Result<Read, ConnectionError> {
        if turn.budget == 0 {
            return Ok(Read::Spent);
        }
        let spare = self.received.spare();
        let size = spare.len().min(turn.budget);
        let read = turn.wire.read(&mut spare[..size]);
        turn.budget -= read.as_ref().map_or(0, |size| *size);
        Ok(match self.received.note_read(read)? {
            Received::Bytes => Read::Bytes,
            Received::Nothing => Read::Nothing,
        })
    }

    /// Queues a frame after what waits to be written.
    pub(super) fn send(&mut self, frame: Vec<u8>) {
        self.outbox.pieces().push(frame.into());
    }

    /// Writes as much as the connection takes.
    ///
    /// # Errors
    /// When it takes nothing any more.
    pub(super) fn flush(
        &mut self,
        now: Duration,
        wire: &mut dyn Wire,
    ) -> Result<(), ConnectionError> {
        while !self.outbox.is_empty() {
            match wire.write(self.outbox.front()) {
                Ok(size) => self.outbox.wrote(size)?,
                Err(error) if is_timeout(error.kind()) => {
                    self.blocked_at.get_or_insert(now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            self.blocked_at = None;
        }
        self.blocked_at = None;
        Ok(())
    }

    /// When no byte has passed for a whole heartbeat, if some wait.
    pub(super) fn stalls_at(&self) -> Option<Duration> {
        let (blocked_at, heartbeat) = (self.blocked_at?, self.heartbeat()?);
        Some(blocked_at.saturating_add(heartbeat))
    }

    /// Notes that a stall was handled; the next one begins now.
    pub(super) const fn stalled(&mut self, now: Duration) {
        self.blocked_at = Some(now);
    }

    /// Complains of what the broker sent, if that is why the connection ends, and closes it.
    pub(super) fn give_up(&mut self, error: &ConnectionError, turn: &mut Turn<'_>) {
        if let (Stage::Stands(_), Some(last)) = (&self.stage, farewell::complaint(error)) {
            self.part(last, turn.now, turn.wire);
        }
        self.hang_up(turn.wire);
    }

    /// Says goodbye, if the connection stands, as far as it takes it, and closes it.
    pub(super) fn say_goodbye(&mut self, now: Duration, wire: &mut dyn Wire) {
        self.part(farewell::done(), now, wire);
        self.hang_up(wire);
    }

    fn part(&mut self, last: Vec<u8>, now: Duration, wire: &mut dyn Wire) {
        if self.heartbeat().is_some() {
            self.send(last);
            // The connection is given up either way.
            let _unsent = self.flush(now, wire);
        }
    }

    /// Closes the connection, if there is one.
    pub(super) fn hang_up(&mut self, wire: &mut dyn Wire) {
        if !self.is_down() {
            wire.close();
        }
        self.stage = Stage::Down;
        self.outbox.clear();
        self.blocked_at = None;
    }
}
