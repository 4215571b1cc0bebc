//! The client: where sessions begin.

use std::fmt;
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
use crate::subscription::Subscription;

/// A client of one broker. Share it between threads by reference or in an `Arc`.
///
/// All publishing and all questions go over one connection; each subscription has its own. A connection that is lost
/// comes back as the [`ReconnectPolicy`](crate::ReconnectPolicy) says.
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

    /// Publishes one message and waits until it is in its topic, as durable as the topic is.
    ///
    /// # Errors
    /// When it is refused, by the rules or by the broker, or the session ends before the acknowledgement came; also an
    /// earlier failure of [`Client::publish`], and then this message was not sent.
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
    /// When the topic is not one, the broker refuses, or a connection cannot be had.
    pub fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        let connection = self.connection()?;
        Subscription::start(self.dialer.clone(), connection, options)
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
    /// acknowledged, and says goodbye. Publishing is over after this; subscriptions go on.
    ///
    /// # Errors
    /// The first failure that its publisher was not told yet, or the end of the session.
    pub fn drain(self) -> Result<(), PublishError> {
        let wire = lock(&self.wire).take();
        wire.map_or(Ok(()), |wire| wire.session.drain())
    }

    fn wire(&self) -> Result<Arc<Wire>, ConnectError> {
        let mut wire = lock(&self.wire);
        if let Some(wire) = &*wire {
            return Ok(Arc::clone(wire));
        }
        let session = Session::start(self.dialer.clone(), self.connection()?)?;
        let session = Arc::new(session);
        let own = Publisher::new(Arc::clone(&session), PublisherOptions::alone());
        let started = Arc::new(Wire { own, session });
        *wire = Some(Arc::clone(&started));
        Ok(started)
    }

    /// The spare connection if it still stands, else a new one.
    fn connection(&self) -> Result<Connection, ConnectError> {
        let spare = lock(&self.spare).take();
        match spare.and_then(Spare::claim) {
            Some(connection) => Ok(connection),
            None => Ok(self.dialer.dial()?),
        }
    }
}
