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
/// All publishing and all questions go over one connection; each subscription has its own. A lost connection is made
/// again as the [`ReconnectPolicy`](crate::ReconnectPolicy) says.
///
/// A call that waits for the broker ends after [`ConnectOptions::answer_timeout`] with an error that says what is
/// known. [`Client::close`] ends it from another thread.
///
/// Call [`Client::drain`] before you drop it: a client that is just dropped closes at once, and what the broker has not
/// acknowledged may be lost.
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
    /// Held by the call that makes the wire, which may take long. No other lock is held meanwhile.
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
    /// When the address is invalid, no broker answers there, or the broker refuses.
    pub fn connect(address: &str) -> Result<Self, ConnectError> {
        Self::connect_with(address, ConnectOptions::new())
    }

    /// Connects with options. The first connection is tried once; the reconnect policy applies after it.
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
    /// or [`Client::drain`] returns the error. For more than a few messages use a [`Publisher`].
    ///
    /// # Errors
    /// When the topic's name is invalid or the message too large; else an earlier failure, or the end of the session.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
    ) -> Result<(), PublishError> {
        self.wire()?.own.push(topic, message)
    }

    /// Publishes one message and waits until it is in its topic, as durable as the topic is: at most for
    /// [`ConnectOptions::answer_timeout`], or until another thread calls [`Client::close`]. After that the message is
    /// not sent again, so that it cannot overtake what its caller does next.
    ///
    /// # Errors
    /// When the topic's name is invalid, the message is too large, or the broker refuses it. When the time was too
    /// short: [`PublishError::NotSent`] if the message is not stored, [`PublishError::Unacknowledged`] if it may be.
    /// When the session ends before the acknowledgement came, the message may be stored as well. Also an earlier
    /// failure of [`Client::publish`]; this message was not sent then.
    pub fn publish_acked<'m>(
        &self,
        topic: &str,
        message: impl Into<NewMessage<'m>>,
    ) -> Result<Ack, PublishError> {
        self.wire()?.own.push_acked(topic, &message.into())
    }

    /// Creates a publisher that gathers messages into batches.
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
    /// When the topic's name is invalid, the broker refuses or does not answer in time, or a connection cannot be had.
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
        // The client was closed meanwhile, perhaps before the subscription was in the list.
        if self.is_closed() {
            subscription.closer().close();
        }
    }

    /// Returns the broker's counters and gauges as the text of a JSON object: [its
    /// members](oyez_protocol::answer#question-1-statistics).
    ///
    /// # Errors
    /// When no answer comes in time, the session ends before, or the broker refuses to answer.
    pub fn stats(&self) -> Result<String, QueryError> {
        Ok(self.wire()?.session.ask(Ask::Stats)?.json)
    }

    /// Returns how far subscriptions are behind the newest message of their topics, and which of them are furthest
    /// behind, as the text of a JSON object: [its members](oyez_protocol::answer#question-3-lag). The broker looks at
    /// each subscription for it.
    ///
    /// # Errors
    /// Those of [`Client::stats`].
    pub fn lag(&self) -> Result<String, QueryError> {
        Ok(self.wire()?.session.ask(Ask::Lag)?.json)
    }

    /// Returns the next topics that the broker keeps, in the order of their names: those after `after`, which need not
    /// be the name of a topic. An empty `after` begins with the first.
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
    /// The first failure that its publisher has not received yet, the end of the session, or
    /// [`PublishError::Unacknowledged`] when [`ConnectOptions::answer_timeout`] was too short.
    pub fn drain(&self) -> Result<(), PublishError> {
        self.closed.store(true, Ordering::Release);
        drop(lock(&self.spare).take());
        let wire = lock(&self.wire).clone();
        wire.map_or(Ok(()), |wire| wire.session.drain())
    }

    /// Ends everything at once, from any thread: calls that wait and publishers end with [`ConnectError::Closed`], and
    /// the iterators of subscriptions end. What was not acknowledged may or may not be stored. An attempt to connect
    /// that has begun is not cut short, but only the call that needs the connection waits for it.
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
        // The client was closed meanwhile, perhaps before the wire was there.
        if self.is_closed() {
            started.session.close();
            return Err(ConnectError::Closed);
        }
        Ok(started)
    }

    /// Returns the spare connection if it still stands, else a new one.
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
