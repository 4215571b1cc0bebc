//! Receiving a topic.
//!
//! A subscription is a session of its own: its connection carries nothing else, so that its caller's pace is the
//! socket's pace, and no buffer lies between. It reads in its caller's thread. Decisions about places are the
//! [`Cursor`]'s, about coming back the [`Backoff`]'s.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oyez_protocol::event::{Goodbye, GoodbyeCode, Heartbeat};
use oyez_protocol::{Epoch, Offset, topic};

use crate::backoff::{Backoff, Damages};
use crate::connection::{Connection, Dialer, Received};
use crate::cursor::Cursor;
use crate::delivery::Delivery;
use crate::error::{ConnectError, ConnectionError, SubscribeError};
use crate::intake::{Intake, Taken, Trouble};
use crate::keepalive::Keepalive;
use crate::message::Message;
use crate::options::{ConnectionEvent, SubscribeOptions};
use crate::silence::{Silence, Verdict};

/// A topic being received: an iterator over its [`Delivery`]s, which waits for the next one.
///
/// When the connection is lost, the subscription comes back by itself, as the
/// [`ReconnectPolicy`](crate::ReconnectPolicy) says, and resumes where it was: nothing is delivered twice, and what
/// cannot be delivered any more is told as [`Delivery::Gap`] or [`Delivery::NewEpoch`]. What arrives damaged is never
/// delivered, but asked for again. After an error the iterator ends.
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
    line: Line,
    intake: Intake,
    backoff: Backoff,
    damages: Damages,
    requests: u32,
    /// Met while nobody asked for a delivery.
    failure: Option<SubscribeError>,
}

enum Line {
    Up(Box<Up>),
    Down { retry_at: Duration },
    Over,
}

struct Up {
    connection: Connection,
    silence: Silence,
    began_at: Duration,
}

impl Line {
    /// Whether a whole frame has arrived.
    fn holds_frame(&self) -> bool {
        matches!(self, Self::Up(up) if up.connection.inbox.holds_frame())
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("cursor", self.intake.cursor())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Subscribes over `connection`, and waits for the broker's word.
    ///
    /// # Errors
    /// When the topic is not one, the broker refuses, or the connection is lost for good.
    pub(crate) fn start(
        dialer: Dialer,
        connection: Connection,
        options: SubscribeOptions,
    ) -> Result<Self, SubscribeError> {
        topic::parse(options.topic.as_bytes())?;
        let cursor = Cursor::new(Arc::from(options.topic), options.start, options.epoch);
        let time = Arc::clone(&dialer.options.time);
        let mut subscription = Self {
            backoff: Backoff::new(dialer.options.reconnect),
            damages: Damages::default(),
            keepalive: Keepalive::start(time, connection.terms.heartbeat).map_err(no_thread)?,
            line: Line::Over,
            intake: Intake::new(cursor),
            requests: 0,
            failure: None,
            dialer,
        };
        subscription.begin(connection)?;
        while !subscription.intake.is_confirmed() {
            subscription.step(None)?;
        }
        Ok(subscription)
    }

    /// Waits for the next delivery, at most for `at_most`; `None` when nothing came in that time, or the subscription
    /// was closed. An attempt to connect that has begun is not cut short.
    ///
    /// # Errors
    /// When the subscription cannot go on.
    pub fn next_timeout(&mut self, at_most: Duration) -> Result<Option<Delivery>, SubscribeError> {
        // What lies beyond the clock's end is for ever.
        self.next_until(Instant::now().checked_add(at_most))
    }

    /// The messages alone, without what is missing between them.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages { subscription: self }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &Arc<str> {
        self.intake.cursor().topic()
    }

    /// The offset after the last message that was received, which may wait to be delivered.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.intake.cursor().next().unwrap_or_default()
    }

    /// The topic's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.intake.cursor().epoch()
    }

    /// Whether the next call will return at once, with a delivery or an error, because what has arrived is enough for
    /// it. Does not read from the socket.
    pub fn has_more_at_hand(&mut self) -> bool {
        while self.intake.ready.is_empty() && self.failure.is_none() {
            if !self.line.holds_frame() {
                return false;
            }
            self.failure = self.take_in().err();
        }
        true
    }

    /// Whether it was closed, or ended with an error.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.keepalive.is_closed() || matches!(self.line, Line::Over)
    }

    /// Something with which another thread can close the subscription.
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
        if let Some(delivery) = self.intake.ready.pop_front() {
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
            if let Some(delivery) = self.intake.ready.pop_front() {
                return Ok(Some(delivery));
            }
            // Only what has arrived is still looked at: a broker that talks without end does not keep the caller.
            if left.is_some_and(|left| left.is_zero()) && !self.line.holds_frame() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// One step: takes in what has arrived, or reads once, or comes one step nearer to a new connection.
    fn step(&mut self, left: Option<Duration>) -> Result<(), SubscribeError> {
        if let Line::Down { retry_at } = self.line {
            return self.come_back(retry_at, left);
        }
        if self.take_in()? {
            return Ok(());
        }
        let confirmed = self.intake.is_confirmed();
        let Line::Up(up) = &mut self.line else {
            return Ok(());
        };
        up.listen(&self.dialer, &self.keepalive, left, confirmed)
            .or_else(|error| self.lose(error))
    }

    /// Takes in the next whole frame that has arrived; false when there is none.
    fn take_in(&mut self) -> Result<bool, SubscribeError> {
        let Line::Up(up) = &mut self.line else {
            return Ok(false);
        };
        match self.intake.take_next(&mut up.connection.inbox) {
            Ok(Taken::NoFrame) => return Ok(false),
            Ok(Taken::Formality) => {}
            Ok(Taken::Progress) => self.backoff.progress(),
            Ok(Taken::Ping(heartbeat)) => {
                self.backoff.progress();
                let mut pong = Vec::new();
                heartbeat.encode_pong(&mut pong);
                self.keepalive.send(&pong);
            }
            Err(Trouble::Connection(error)) => self.lose(error)?,
            Err(Trouble::Refused(error)) => {
                self.line = Line::Over;
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Asks for the topic over a connection that stands.
    fn begin(&mut self, connection: Connection) -> Result<(), SubscribeError> {
        self.requests = self.requests.wrapping_add(1);
        let mut request = Vec::new();
        self.intake.request(self.requests, &mut request);
        self.keepalive
            .attach(&connection.socket, connection.terms.heartbeat);
        let sent = (&*connection.socket).write_all(&request);
        let now = self.dialer.options.time.now();
        self.line = Line::Up(Box::new(Up {
            silence: Silence::new(connection.terms.heartbeat, now),
            connection,
            began_at: now,
        }));
        sent.or_else(|error| self.lose(error.into()))
    }

    /// The connection is lost: notes when to come back.
    fn lose(&mut self, error: ConnectionError) -> Result<(), SubscribeError> {
        let time = Arc::clone(&self.dialer.options.time);
        if let Line::Up(up) = &self.line {
            self.backoff.stood(time.now().saturating_sub(up.began_at));
            if let Some((code, reason)) = error.complaint() {
                up.connection.part(code, &reason);
            }
        }
        self.keepalive.detach();
        self.line = Line::Over;
        if self.keepalive.is_closed() {
            return Ok(());
        }
        if self.intake.is_confirmed() {
            self.damages.progress();
        }
        self.damages.lost(&error)?;
        let delay = self
            .backoff
            .lost(&error, time.now(), |bound| time.random_below(bound))?;
        self.line = Line::Down {
            retry_at: time.now() + delay,
        };
        let event = ConnectionEvent::Lost { error, delay };
        self.dialer.options.tell(&event);
        Ok(())
    }

    fn come_back(
        &mut self,
        retry_at: Duration,
        left: Option<Duration>,
    ) -> Result<(), SubscribeError> {
        let time = &self.dialer.options.time;
        let now = time.now();
        if now < retry_at {
            let until = left.map_or(retry_at, |left| retry_at.min(now.saturating_add(left)));
            time.pause(&self.keepalive.caller, until);
            return Ok(());
        }
        match self.dialer.dial() {
            Ok(connection) => {
                self.dialer.options.tell(&ConnectionEvent::Restored);
                self.begin(connection)
            }
            Err(error) => self.lose(error),
        }
    }
}

fn no_thread(error: std::io::Error) -> ConnectError {
    ConnectionError::from(error).into()
}

impl Up {
    /// Reads once, for as long as the caller and the silence allow.
    fn listen(
        &mut self,
        dialer: &Dialer,
        keepalive: &Keepalive,
        left: Option<Duration>,
        confirmed: bool,
    ) -> Result<(), ConnectionError> {
        let (time, patience) = (&dialer.options.time, dialer.options.connect_timeout);
        let now = time.now();
        self.silence.awaits(self.connection.inbox.incomplete());
        let mut at_most = left.unwrap_or(Duration::MAX);
        at_most = at_most.min(self.silence.patience(now));
        let answer_in = self.began_at.saturating_add(patience).saturating_sub(now);
        if !confirmed {
            at_most = at_most.min(answer_in);
        }
        // What has arrived is read before anything is judged: the caller may have been away for long.
        if self.connection.receive(at_most)? == Received::Bytes {
            self.silence.heard(time.now());
            return Ok(());
        }
        if !confirmed && answer_in.is_zero() {
            let late = "the subscription was not answered in time";
            return Err(std::io::Error::new(ErrorKind::TimedOut, late).into());
        }
        let after = time.now();
        self.silence.waited(after.saturating_sub(now));
        match self.silence.judge(after) {
            Verdict::Wait(_) => {}
            Verdict::Dead(silence) => return Err(ConnectionError::Silent { silence }),
            Verdict::Unfinished => return Err(ConnectionError::Unfinished),
            Verdict::Ask => {
                let mut ping = Vec::new();
                Heartbeat { token: 1 }.encode_ping(&mut ping);
                keepalive.send(&ping);
            }
        }
        Ok(())
    }
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

/// Closes a [`Subscription`] from another thread: its iterator ends after what it has at hand.
#[derive(Clone, Debug)]
pub struct Closer(Arc<Keepalive>);

impl Closer {
    /// Says goodbye and closes. Closing twice does nothing.
    pub fn close(&self) {
        let mut goodbye = Vec::new();
        Goodbye {
            code: GoodbyeCode::Done,
            retry_after_ms: 0,
            reason: "",
        }
        .encode(&mut goodbye);
        self.0.close(&goodbye);
    }
}
