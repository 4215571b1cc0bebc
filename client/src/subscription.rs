//! Receiving a topic.
//!
//! A subscription is a session of its own: its connection carries nothing else, so that its caller's pace is the
//! socket's pace, and no buffer lies between. It reads in its caller's thread. [`SubscriptionState`] decides what to
//! do.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use oyez_protocol::event::Heartbeat;
use oyez_protocol::{Epoch, Offset};

use crate::backoff::Retry;
use crate::connection::{Connection, Dialer, part};
use crate::delivery::Delivery;
use crate::error::{ConnectError, ConnectionError, SubscribeError};
use crate::farewell;
use crate::intake::{FrameKind, IntakeError};
use crate::keepalive::Keepalive;
use crate::message::Message;
use crate::options::{ConnectionEvent, SubscribeOptions};
use crate::receive_buffer::Received;
use crate::subscription_state::SubscriptionState;
use crate::time::Allowance;

/// A topic being received: an iterator over its [`Delivery`]s, which waits for the next one.
///
/// When the connection is lost, the subscription reconnects by itself, as the
/// [`ReconnectPolicy`](crate::ReconnectPolicy) says, and resumes where it was: nothing is delivered twice, and what
/// cannot be delivered any more is reported as [`Delivery::Gap`] or [`Delivery::NewEpoch`]. What arrives damaged is
/// never delivered, but requested again. After an error the iterator ends.
///
/// ```no_run
/// use oyez_client::{Client, Delivery, Start, SubscribeOptions};
///
/// let client = Client::connect("oyez://127.0.0.1:7450")?;
/// let orders = client.subscribe(SubscribeOptions::topic("orders").from(Start::Earliest))?;
/// for delivery in orders {
///     match delivery? {
///         Delivery::Message(message) => println!("{}: {:?}", message.offset, message.payload),
///         Delivery::Gap(gap) => eprintln!("{gap}"),
///         Delivery::NewEpoch(change) => eprintln!("{change}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscription {
    dialer: Dialer,
    keepalive: Arc<Keepalive>,
    /// The connection, present as long as the state says that one stands.
    connection: Option<Connection>,
    state: SubscriptionState,
    /// An error that was met while the caller did not ask for a delivery.
    failure: Option<SubscribeError>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("cursor", self.state.cursor())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Asks for the topic over `connection`.
    ///
    /// # Errors
    /// When the topic's name is invalid, or the system cannot start a thread.
    pub(crate) fn start(
        dialer: Dialer,
        connection: Connection,
        options: SubscribeOptions,
    ) -> Result<Self, SubscribeError> {
        let cursor = options.cursor()?;
        let options = &dialer.options;
        let heartbeat = connection.terms.heartbeat;
        let keepalive = Keepalive::start(Arc::clone(&options.time), heartbeat);
        let mut subscription = Self {
            keepalive: keepalive.map_err(no_thread)?,
            connection: None,
            state: SubscriptionState::new(
                cursor,
                options.subscribing_policy(),
                options.connect_timeout,
            ),
            failure: None,
            dialer,
        };
        subscription.begin(connection);
        Ok(subscription)
    }

    /// Waits until the broker has confirmed the subscription.
    ///
    /// # Errors
    /// When it refuses, does not answer in time, or the connection is lost for good.
    pub(crate) fn await_confirmation(&mut self) -> Result<(), SubscribeError> {
        let allowance = Allowance::new(self.dialer.options.answer_timeout);
        while !self.state.is_confirmed() {
            if self.is_over() {
                return Err(ConnectError::Closed.into());
            }
            let left = allowance.left();
            self.step(left)?;
            if left.is_some_and(|left| left.is_zero()) && !self.holds_frame() {
                let waited = allowance.whole();
                return Err(SubscribeError::TimedOut { waited });
            }
        }
        Ok(())
    }

    /// Waits for the next delivery, at most for `at_most`. Returns `None` when none came in that time, or the
    /// subscription was closed. An attempt to connect that has begun is not cut short.
    ///
    /// # Errors
    /// When the subscription cannot go on.
    pub fn next_timeout(&mut self, at_most: Duration) -> Result<Option<Delivery>, SubscribeError> {
        // A deadline beyond the clock's end is no deadline.
        self.next_until(Instant::now().checked_add(at_most))
    }

    /// Returns an iterator over the messages alone, without word of what is missing between them.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages { subscription: self }
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

    /// Whether the next call will return at once, with a delivery or an error, because what has arrived is enough for
    /// it. Does not read from the socket.
    pub fn has_more_at_hand(&mut self) -> bool {
        while !self.state.is_ready() && self.failure.is_none() {
            if !self.holds_frame() {
                return false;
            }
            self.failure = self.take_in().err();
        }
        true
    }

    /// Whether it was closed, or ended with an error.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.keepalive.is_closed() || self.state.is_over()
    }

    /// Returns a handle with which another thread can close the subscription.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.keepalive))
    }

    /// Says goodbye to the broker and ends the subscription. Dropping it does the same.
    pub fn close(self) {}

    fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Delivery>, SubscribeError> {
        if let Some(delivery) = self.state.next_delivery() {
            return Ok(Some(delivery));
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.keepalive.reading(true);
        let found = self.search_until(deadline);
        self.keepalive.reading(false);
        found
    }

    fn search_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Delivery>, SubscribeError> {
        while !self.is_over() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            self.step(left)?;
            if let Some(delivery) = self.state.next_delivery() {
                return Ok(Some(delivery));
            }
            // Only what has arrived is still taken in: a broker that sends without end does not keep the caller.
            if left.is_some_and(|left| left.is_zero()) && !self.holds_frame() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Whether a whole frame has arrived.
    fn holds_frame(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.received.holds_frame())
    }

    /// Takes one step: takes in what has arrived, or reads once, or comes one step nearer to a new connection.
    fn step(&mut self, left: Option<Duration>) -> Result<(), SubscribeError> {
        if self.connection.is_none() {
            return self.come_back(left);
        }
        if self.take_in()? {
            return Ok(());
        }
        self.listen(left).or_else(|error| self.lose(error))
    }

    /// Takes in the next whole frame that has arrived. Returns false when there is none.
    fn take_in(&mut self) -> Result<bool, SubscribeError> {
        let Some(connection) = &mut self.connection else {
            return Ok(false);
        };
        match self.state.take_in(&mut connection.received) {
            Ok(FrameKind::NoFrame) => return Ok(false),
            Ok(FrameKind::Formality | FrameKind::Progress) => {}
            Ok(FrameKind::Ping(heartbeat)) => {
                let mut pong = Vec::new();
                heartbeat.encode_pong(&mut pong);
                self.keepalive.send(&pong);
            }
            Err(IntakeError::Connection(error)) => self.lose(error)?,
            Err(IntakeError::Refused(error)) => {
                self.connection = None;
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Reads once, and waits for that as long as the caller and the silence allow.
    fn listen(&mut self, left: Option<Duration>) -> Result<(), ConnectionError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let time = &*self.dialer.options.time;
        let now = time.now();
        let patience = self.state.patience(connection.received.incomplete(), now);
        let at_most = left.map_or(patience, |left| left.min(patience));
        // What has arrived is read before the silence is judged: the caller may have been away for long.
        if connection.receive(at_most)? == Received::Bytes {
            self.state.heard(time.now());
            return Ok(());
        }
        if let Some(Heartbeat { token }) = self.state.heard_nothing(now, time.now())? {
            let mut ping = Vec::new();
            Heartbeat { token }.encode_ping(&mut ping);
            self.keepalive.send(&ping);
        }
        Ok(())
    }

    /// Requests the topic over a new connection.
    fn begin(&mut self, connection: Connection) {
        let heartbeat = connection.terms.heartbeat;
        let now = self.dialer.options.time.now();
        let mut request = Vec::new();
        self.state.connected(heartbeat, now, &mut request);
        self.keepalive.attach(&connection.socket, heartbeat);
        self.connection = Some(connection);
        self.keepalive.send(&request);
    }

    /// Notes that the connection is lost or an attempt to connect has failed, and when to try again.
    fn lose(&mut self, error: ConnectionError) -> Result<(), SubscribeError> {
        if let (Some(connection), Some(last)) =
            (self.connection.take(), farewell::complaint(&error))
        {
            part(&connection.socket, &last);
        }
        self.keepalive.detach();
        if self.keepalive.is_closed() {
            self.state.end();
            return Ok(());
        }
        let options = &self.dialer.options;
        let (time, now) = (&*options.time, options.time.now());
        let delay = self
            .state
            .lost(&error, now, |bound| time.random_below(bound))?;
        options.tell(&ConnectionEvent::Lost { error, delay });
        Ok(())
    }

    fn come_back(&mut self, left: Option<Duration>) -> Result<(), SubscribeError> {
        let time = &*self.dialer.options.time;
        match self.state.next_retry(time.now(), left) {
            Retry::PauseUntil(until) => {
                time.pause(&self.keepalive.caller, until);
                Ok(())
            }
            Retry::Dial => match self.dialer.dial() {
                Ok(connection) => {
                    self.dialer.options.tell(&ConnectionEvent::Restored);
                    self.begin(connection);
                    Ok(())
                }
                Err(error) => self.lose(error),
            },
            Retry::End => Ok(()),
        }
    }
}

fn no_thread(error: std::io::Error) -> ConnectError {
    ConnectionError::from(error).into()
}

impl Iterator for Subscription {
    type Item = Result<Delivery, SubscribeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(None).transpose()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.closer().close();
    }
}

/// Iterator over the messages of a [`Subscription`].
#[derive(Debug)]
pub struct Messages<'a> {
    subscription: &'a mut Subscription,
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, SubscribeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.subscription.next()? {
                Ok(Delivery::Message(message)) => return Some(Ok(message)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A [`Closer`] that does not keep its subscription's keepalive in memory.
#[derive(Debug)]
pub(crate) struct WeakCloser(Weak<Keepalive>);

impl WeakCloser {
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn close(&self) {
        if let Some(keepalive) = self.0.upgrade() {
            Closer(keepalive).close();
        }
    }
}

/// Closes a [`Subscription`] from another thread: its iterator ends after what it has at hand.
#[derive(Clone, Debug)]
pub struct Closer(Arc<Keepalive>);

impl Closer {
    /// Says goodbye and closes. Closing twice does nothing.
    pub fn close(&self) {
        self.0.close(&farewell::done());
    }

    pub(crate) fn downgrade(&self) -> WeakCloser {
        WeakCloser(Arc::downgrade(&self.0))
    }
}
