//! The client: where sessions begin.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::batch::PublisherOptions;
use crate::connection::{Connection, Dialer};
use crate::error::{ConnectError, PublishError, QueryError, SubscribeError};
use crate::lock::lock;
use crate::message::{Ack, NewMessage};
use crate::options::{ConnectOptions, SubscribeOptions};
use crate::publisher::Publisher;
use crate::query::{Ask, TopicsPage};
use crate::session::Session;
use crate::spare::Spare;
use crate::subscription::{Subscription, WeakCloser};

/// A client of one broker. Share it between threads by reference or in an `Arc`.
///
/// All publishing and all questions go over one connection; each subscription has its own. A connection that is lost
/// comes back as the [`ReconnectPolicy`](crate::ReconnectPolicy) says.
///
/// A call that waits for the broker ends after [`ConnectOptions::answer_timeout`], and says then what is known; and
/// [`Client::close`] ends it from another thread.
///
/// Call [`Client::drain`] before dropping it: a client that is just dropped closes at once, and what the broker has
/// not acknowledged may be lost.
///
/// ```no_run
/// use oyez_client::Client;
///
/// let client = Client::connect("oyez://127.0.0.1:7450")?;
/// let ack = client.publish_acked("greetings", "hear ye")?;
/// println!("message {} of {}", ack.offset, ack.topic);
/// client.drain()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    dialer: Dialer,
    spare: Mutex<Option<Spare>>,
    wire: Mutex<Option<Arc<Wire>>>,
    /// Held by the call that makes the wire, which may take long; nothing else is.
    making_wire: Mutex<()>,
    subscriptions: Mutex<Vec<WeakCloser>>,
    closed: AtomicBool,
}

/// The publishing session, with the publisher of the client's own messages.
struct Wire {
    own: Publisher,
    session: Arc<Session>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.dialer.address)
            .field("options", &self.dialer.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the broker at `oyez://host:port`, `host:port` or `host`.
    ///
    /// # Errors
    /// When the address is not one, nobody listens there, or the broker refuses.
    pub fn connect(address: &str) -> Result<Self, ConnectError> {
        Self::connect_with(address, ConnectOptions::new())
    }

    /// [`Client::connect`] with options. The first connection is tried once; the reconnect policy begins after it.
    ///
    /// # Errors
    /// Those of [`Client::connect`], and credentials that are too long.
    pub fn connect_with(address: &str, options: ConnectOptions) -> Result<Self, ConnectError> {
        let dialer = Dialer {
            address: address.parse()?,
            options: Arc::new(options),
        };
        dialer.check()?;
        let connection = dialer.dial()?;
        let spare = Spare::keep(&dialer, connection)?;
        Ok(Self {
            dialer,
            spare: Mutex::new(Some(spare)),
            wire: Mutex::new(None),
            making_wire: Mutex::new(()),
            subscriptions: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Publishes one message as a record of its own. Returns once it is handed over; if it fails later, the next call
    /// or [`Client::drain`] tells. For more than a few messages use a [`Publisher`].
    ///
    /// # Errors
    /// When the topic or the message's size breaks the rules; else an earlier failure, or the end of the session.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
    ) -> Result<(), PublishError> {
        self.wire()?.own.push(topic, message)
    }

    /// Publishes one message and waits until it is in its topic, as durable as the topic is: at most for
    /// [`ConnectOptions::answer_timeout`], or until another thread calls [`Client::close`]. When that is over, the message
    /// is not sent again, so that it cannot overtake what its caller does next.
    ///
    /// # Errors
    /// When it is refused, by the rules or by the broker. [`PublishError::NotSent`] when the time was too short and the
    /// message is not stored, [`PublishError::Unacknowledged`] when it was, and the message may be stored. When the session
    /// ends before the acknowledgement came, the message may be stored as well. Also an earlier failure of
    /// [`Client::publish`], and then this message was not sent.
    pub fn publish_acked<'m>(
        &self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
    ) -> Result<Ack, PublishError> {
        self.wire()?.own.push_acked(topic, &message.into())
    }

    /// A publisher that gathers messages into batches.
    ///
    /// # Errors
    /// When a connection is needed and cannot be had.
    pub fn publisher(&self, options: PublisherOptions) -> Result<Publisher, PublishError> {
        let session = Arc::clone(&self.wire()?.session);
        Ok(Publisher::new(session, options))
    }

    /// Subscribes to a topic; returns when the broker has confirmed it.
    ///
    /// # Errors
    /// When the topic is not one, the broker refuses or does not answer in time, or a connection cannot be had.
    pub fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        let connection = self.connection()?;
        let mut subscription = Subscription::start(self.dialer.clone(), connection, options)?;
        self.watch(&subscription);
        subscription.await_confirmation()?;
        Ok(subscription)
    }

    /// Lets [`Client::close`] reach a subscription.
    fn watch(&self, subscription: &Subscription) {
        let mut subscriptions = lock(&self.subscriptions);
        subscriptions.retain(WeakCloser::is_alive);
        subscriptions.push(subscription.closer().downgrade());
        drop(subscriptions);
        // Closed meanwhile, and perhaps before it was among them.
        if self.is_closed() {
            subscription.closer().close();
        }
    }

    /// The broker's counters and gauges, as the text of a JSON object.
    ///
    /// # Errors
    /// When the session ends before the answer came, or the broker refuses to answer.
    pub fn stats(&self) -> Result<String, QueryError> {
        Ok(self.wire()?.session.ask(Ask::Stats)?.json)
    }

    /// How far subscriptions are behind the newest message of their topics, and which of them furthest, as the text of a
    /// JSON object. The broker looks at each of them for it.
    ///
    /// # Errors
    /// Those of [`Client::stats`].
    pub fn lag(&self) -> Result<String, QueryError> {
        Ok(self.wire()?.session.ask(Ask::Lag)?.json)
    }

    /// The next topics that the broker keeps, in the order of their names: those after `after`, which need not be one.
    /// An empty `after` begins with the first.
    ///
    /// # Errors
    /// Those of [`Client::stats`].
    pub fn topics_after(&self, after: &str) -> Result<TopicsPage, QueryError> {
        let reply = self
            .wire()?
            .session
            .ask(Ask::TopicsAfter(after.to_owned()))?;
        Ok(TopicsPage {
            json: reply.json,
            more: reply.more,
        })
    }

    /// Sends everything that was handed over, by [`Client::publish`] and by every [`Publisher`], waits until it is
    /// acknowledged, and says goodbye. The client is closed after this; its subscriptions go on.
    ///
    /// # Errors
    /// The first failure that its publisher was not told yet, the end of the session, or
    /// [`PublishError::Unacknowledged`] when [`ConnectOptions::answer_timeout`] was too short.
    pub fn drain(&self) -> Result<(), PublishError> {
        self.closed.store(true, Ordering::Release);
        drop(lock(&self.spare).take());
        let wire = lock(&self.wire).clone();
        wire.map_or(Ok(()), |wire| wire.session.drain())
    }

    /// Ends everything at once, from whichever thread: calls that wait, publishers and subscriptions end with
    /// [`ConnectError::Closed`], or as if there were no more. What was not acknowledged may or may not be stored. An attempt
    /// to connect that has begun is not cut short, but nobody waits for it except the call that needs the connection.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(lock(&self.spare).take());
        if let Some(wire) = lock(&self.wire).clone() {
            wire.session.close();
        }
        let subscriptions = std::mem::take(&mut *lock(&self.subscriptions));
        for subscription in subscriptions {
            subscription.close();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn wire(&self) -> Result<Arc<Wire>, ConnectError> {
        if let Some(wire) = &*lock(&self.wire) {
            return Ok(Arc::clone(wire));
        }
        let _making = lock(&self.making_wire);
        if let Some(wire) = &*lock(&self.wire) {
            return Ok(Arc::clone(wire));
        }
        let session = Session::start(self.dialer.clone(), self.connection()?)?;
        let session = Arc::new(session);
        let own = Publisher::new(Arc::clone(&session), PublisherOptions::alone());
        let started = Arc::new(Wire { own, session });
        *lock(&self.wire) = Some(Arc::clone(&started));
        // Closed meanwhile, and perhaps before it was there.
        if self.is_closed() {
            started.session.close();
            return Err(ConnectError::Closed);
        }
        Ok(started)
    }

    /// The spare connection if it still stands, else a new one.
    fn connection(&self) -> Result<Connection, ConnectError> {
        if self.is_closed() {
            return Err(ConnectError::Closed);
        }
        let spare = lock(&self.spare).take();
        match spare.and_then(Spare::claim) {
            Some(connection) => Ok(connection),
            None => Ok(self.dialer.dial()?),
        }
    }
}
