//! Receiving, step by step.

use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::event::Heartbeat;
use oyez_protocol::{Epoch, Offset};

use super::line::{Greeted, Line, READ_MAX, Read, Turn};
use super::wire::Wire;
use crate::backoff::Retry;
use crate::delivery::Delivery;
use crate::error::{ConnectionError, SubscribeError};
use crate::intake::{FrameKind, IntakeError};
use crate::options::{ConnectOptions, ConnectionEvent, SubscribeOptions};
use crate::silence::Beats;
use crate::subscription_state::SubscriptionState;
use crate::terms::Terms;

/// A subscription, as [`Subscription`](crate::Subscription) is one over sockets.
///
/// A reader that is slow or stuck is one whose [`Subscriber::turn`] is not called. Over sockets a thread gives signs of
/// life meanwhile; here [`Subscriber::beat`] does.
#[derive(Debug)]
pub struct Subscriber {
    line: Line,
    state: SubscriptionState,
    /// Why the subscription is over, unless it was closed.
    error: Option<SubscribeError>,
    /// From when until when the last turn left it listening.
    listening: Option<(Duration, Duration)>,
    /// Signs of life, and when the next one is due; from the first welcome on.
    beats: Option<(Beats, Duration)>,
    /// The heartbeat of the last connection.
    heartbeat: Duration,
    /// An error that was met while sending a sign of life.
    failure: Option<ConnectionError>,
    read_max: usize,
}

impl Subscriber {
    /// A subscription that begins at `now`; its first turn dials.
    ///
    /// # Errors
    /// When the topic is not one, or the credentials are too long.
    pub fn new(
        what: SubscribeOptions,
        options: ConnectOptions,
        now: Duration,
    ) -> Result<Self, SubscribeError> {
        options.check()?;
        let (policy, answer_within) = (options.subscribing_policy(), options.connect_timeout);
        let state = SubscriptionState::new(what.cursor()?, policy, answer_within);
        Ok(Self {
            state: state.dialing_at(now),
            line: Line::new(options),
            error: None,
            listening: None,
            beats: None,
            heartbeat: Duration::ZERO,
            failure: None,
            read_max: READ_MAX,
        })
    }

    /// Most bytes that one turn reads, at least 1; 256 KiB unless it is set.
    pub fn read_max(&mut self, bytes: usize) {
        self.read_max = bytes.max(1);
    }

    /// Takes the next delivery that was received.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.state.next_delivery()
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &Arc<str> {
        self.state.cursor().topic()
    }

    /// The offset after the last message that was received, which may wait to be delivered.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.state.cursor().next().unwrap_or_default()
    }

    /// The topic's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.cursor().epoch()
    }

    /// Whether a connection stands that the broker has welcomed.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.line.heartbeat().is_some()
    }

    /// Whether the broker has confirmed the subscription over the connection that stands.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.is_connected() && self.state.is_confirmed()
    }

    /// Whether the subscription has ended. What was received before can still be fetched.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// Why the subscription is over; none when it goes on, or was closed.
    #[must_use]
    pub const fn error(&self) -> Option<&SubscribeError> {
        self.error.as_ref()
    }

    /// Says goodbye, as far as the connection takes it, and ends the subscription.
    pub fn close(&mut self, now: Duration, wire: &mut dyn Wire) {
        self.line.say_goodbye(now, wire);
        self.state.end();
    }

    /// Does everything that can be done at `now`. Returns when to be called again if nothing arrives and nothing can be
    /// written before; none when the subscription is over. `random_below` draws a number below its argument.
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
        // A reader that reads answers for itself.
        while self.is_beat_due(now) {}
        match self.advance(&mut turn) {
            Ok(until) => until,
            Err(IntakeError::Connection(error)) => self.lose(error, &mut turn),
            Err(IntakeError::Refused(error)) => {
                self.error = Some(error);
                self.close(now, turn.wire);
                None
            }
        }
    }

    /// Gives a sign of life when one is due, as the thread of a subscription does while its caller is busy elsewhere.
    /// Returns when the next one is due; none before the first connection and after the end. Turns do not give them.
    pub fn beat(&mut self, now: Duration, wire: &mut dyn Wire) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        if self.is_beat_due(now) && self.is_connected() && self.failure.is_none() {
            self.failure = self.send_beat(now, wire).err();
            if self.failure.is_some() {
                wire.close();
            }
        }
        self.beats.map(|(_, due)| due)
    }

    /// One sign of life waits for the other.
    fn send_beat(&mut self, now: Duration, wire: &mut dyn Wire) -> Result<(), ConnectionError> {
        if self.line.outbox.is_empty() {
            let mut pong = Vec::new();
            Heartbeat { token: 0 }.encode_pong(&mut pong);
            self.line.send(pong);
        }
        self.flush(now, wire)
    }

    /// Returns whether a sign of life is due, and if so schedules the next one.
    fn is_beat_due(&mut self, now: Duration) -> bool {
        match &mut self.beats {
            Some((beats, due)) if *due <= now => {
                *due = beats.next(self.heartbeat, now);
                true
            }
            _ => false,
        }
    }

    fn advance(&mut self, turn: &mut Turn<'_>) -> Result<Option<Duration>, IntakeError> {
        if let Some(error) = self.failure.take() {
            return Err(error.into());
        }
        if self.line.is_down() {
            match self.state.next_retry(turn.now, None) {
                Retry::PauseUntil(until) => return Ok(Some(until)),
                Retry::Dial => self.line.dial(turn)?,
                Retry::End => return Ok(None),
            }
        }
        match self.line.greet(turn)? {
            Some(Greeted::Welcome(terms)) => self.begin(&terms, turn.now),
            Some(Greeted::Waiting(until)) => return Ok(Some(until)),
            None => {}
        }
        let until = self.listen(turn)?;
        let stalls_at = self.line.stalls_at();
        Ok(Some(stalls_at.map_or(until, |at| at.min(until))))
    }

    /// Asks for the topic over a connection that stands.
    fn begin(&mut self, terms: &Terms, now: Duration) {
        self.heartbeat = terms.heartbeat;
        self.listening = None;
        let mut request = Vec::new();
        self.state.connected(terms.heartbeat, now, &mut request);
        self.line.send(request);
        if self.beats.is_some() {
            self.line.options.tell(&ConnectionEvent::Restored);
        } else {
            let mut beats = Beats::new(now);
            let due = beats.next(terms.heartbeat, now);
            self.beats = Some((beats, due));
        }
    }

    /// Takes in all that has arrived, and judges the silence; returns until when to listen.
    fn listen(&mut self, turn: &mut Turn<'_>) -> Result<Duration, IntakeError> {
        let now = turn.now;
        let mut listened = self.listened(now);
        loop {
            while self.take_in()? {}
            self.flush(now, turn.wire)?;
            self.patience(now);
            match self.line.read(turn)? {
                Read::Spent => return Ok(now),
                Read::Bytes => self.state.heard(now),
                Read::Nothing => {
                    let since = now.saturating_sub(listened);
                    if let Some(Heartbeat { token }) = self.state.heard_nothing(since, now)? {
                        let mut ping = Vec::new();
                        Heartbeat { token }.encode_ping(&mut ping);
                        self.line.send(ping);
                        self.flush(now, turn.wire)?;
                    }
                    let patience = self.patience(now);
                    if !patience.is_zero() {
                        let until = now.saturating_add(patience);
                        self.listening = Some((now, until));
                        return Ok(until);
                    }
                }
            }
            listened = Duration::ZERO;
        }
    }

    /// How long the subscriber listened since the last turn: at most for the time that the turn asked for.
    fn listened(&mut self, now: Duration) -> Duration {
        let listening = self.listening.take();
        listening.map_or(Duration::ZERO, |(from, until)| {
            now.min(until).saturating_sub(from)
        })
    }

    fn patience(&mut self, now: Duration) -> Duration {
        self.state.patience(self.line.received.incomplete(), now)
    }

    /// Takes in the next whole frame that has arrived. Returns false when there is none.
    fn take_in(&mut self) -> Result<bool, IntakeError> {
        match self.state.take_in(&mut self.line.received)? {
            FrameKind::NoFrame => return Ok(false),
            FrameKind::Formality | FrameKind::Progress => {}
            FrameKind::Ping(heartbeat) => {
                let mut pong = Vec::new();
                heartbeat.encode_pong(&mut pong);
                self.line.send(pong);
            }
        }
        Ok(true)
    }

    /// Writes as much as the connection takes. One that takes nothing for a whole heartbeat is given up.
    fn flush(&mut self, now: Duration, wire: &mut dyn Wire) -> Result<(), ConnectionError> {
        self.line.flush(now, wire)?;
        if self.line.stalls_at().is_some_and(|at| at <= now) {
            return Err(ConnectionError::Closed);
        }
        Ok(())
    }

    /// Notes that the connection is lost or an attempt has failed. Returns when to try again.
    fn lose(&mut self, error: ConnectionError, turn: &mut Turn<'_>) -> Option<Duration> {
        self.line.give_up(&error, turn);
        self.listening = None;
        match self.state.lost(&error, turn.now, &mut *turn.random_below) {
            Ok(delay) => {
                let event = ConnectionEvent::Lost { error, delay };
                self.line.options.tell(&event);
                Some(turn.now.saturating_add(delay))
            }
            Err(error) => {
                self.error = Some(error.into());
                None
            }
        }
    }
}
