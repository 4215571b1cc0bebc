//! The options: how a client connects and reconnects, and what it subscribes to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::Epoch;
use oyez_protocol::command::{Hello, Start, VERSION};
use oyez_protocol::error::TopicError;
use oyez_protocol::limits::CREDENTIALS_SIZE_MAX;
use oyez_protocol::topic;

use crate::backoff::ReconnectPolicy;
use crate::cursor::Cursor;
use crate::error::{ConnectError, ConnectionError};
use crate::time::{Machine, Time};

/// Longest time for one connection to stand and be welcomed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a call waits for the broker's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A change of a client's connection; see [`ConnectOptions::on_event`].
#[derive(Clone, Debug)]
pub enum ConnectionEvent {
    /// A connection is lost, or an attempt to reconnect failed; the next attempt follows after `delay`.
    Lost {
        /// Why.
        error: ConnectionError,
        /// Time until the next attempt.
        delay: Duration,
    },
    /// The connection stands again; subscriptions resume, and what was not acknowledged is sent again.
    Restored,
}

/// A function that is called with every [`ConnectionEvent`].
pub(crate) type EventHook = Arc<dyn Fn(&ConnectionEvent) + Send + Sync>;

/// How a client introduces itself to the broker, and how long it waits for it.
///
/// ```no_run
/// use std::time::Duration;
/// use oyez_client::{Client, ConnectOptions, ReconnectPolicy};
///
/// let options = ConnectOptions::new()
///     .name("billing")
///     .connect_timeout(Duration::from_secs(3))
///     .reconnect(ReconnectPolicy::default().give_up_after(None));
/// let client = Client::connect_with("oyez://127.0.0.1:7450", options)?;
/// # Ok::<(), oyez_client::ConnectError>(())
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) name: String,
    pub(crate) credentials: Vec<u8>,
    pub(crate) heartbeat: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Option<Duration>,
    reconnect: Option<ReconnectPolicy>,
    pub(crate) time: Arc<dyn Time>,
    pub(crate) event_hook: Option<EventHook>,
}

impl fmt::Debug for ConnectOptions {
    /// Leaves the credentials out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("name", &self.name)
            .field("heartbeat", &self.heartbeat)
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnectOptions {
    /// Options with no credentials, the broker's heartbeat, ten seconds to connect, and a minute for an answer. After a
    /// loss publishing tries to reconnect for two minutes, and a subscription for ever.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: concat!("oyez-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Vec::new(),
            heartbeat: Duration::ZERO,
            connect_timeout: CONNECT_TIMEOUT,
            answer_timeout: Some(ANSWER_TIMEOUT),
            reconnect: None,
            time: Arc::new(Machine::new()),
            event_hook: None,
        }
    }

    /// Sets the name of the client in the broker's log; at most 1,024 bytes are sent.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the credentials, at most 4,096 bytes. A broker without access control refuses a client that sends some,
    /// because it cannot check them.
    #[must_use]
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into();
        self
    }

    /// Sets the heartbeat to ask the broker for, the longest silence of either side, in whole milliseconds; zero leaves
    /// it to the broker. The broker grants one second or more, and at most its own heartbeat: five minutes, unless it
    /// is configured otherwise. While the client waits for an answer, it notices within two heartbeats that the broker
    /// is gone; otherwise the kernel notices within three minutes.
    #[must_use]
    pub const fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Longest time for a connection to stand and be welcomed.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the longest time that a call waits for the broker, losses of the connection included: for an
    /// acknowledgement, for the answer to a question, for the confirmation of a subscription, or until another message
    /// may be handed over. With `None` the call waits until [`Client::close`](crate::Client::close). The wait for a
    /// delivery is not limited by it.
    #[must_use]
    pub const fn answer_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Sets when to reconnect after a loss, for publishing and for subscriptions alike. Unless it is set, publishing
    /// follows the default [`ReconnectPolicy`], which gives up after two minutes, and a subscription follows the same
    /// without giving up.
    #[must_use]
    pub const fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// The policy by which a publishing session reconnects.
    pub(crate) fn publishing_policy(&self) -> ReconnectPolicy {
        self.reconnect.unwrap_or_default()
    }

    /// The policy by which a subscription reconnects.
    pub(crate) fn subscribing_policy(&self) -> ReconnectPolicy {
        let endless = ReconnectPolicy::default().give_up_after(None);
        self.reconnect.unwrap_or(endless)
    }

    /// Lets `hook` be called when a connection is lost and when it stands again, from whichever thread noticed. It
    /// should be brief, and must not call the client.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> Self {
        self.event_hook = Some(Arc::new(hook));
        self
    }

    /// Takes time and chance from `time` instead of the machine; for tests.
    #[must_use]
    pub fn time(mut self, time: Arc<dyn Time>) -> Self {
        self.time = time;
        self
    }

    /// Checks what can be known to be wrong before any attempt.
    ///
    /// # Errors
    /// [`ConnectError::Credentials`].
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let size = self.credentials.len();
        if size > CREDENTIALS_SIZE_MAX {
            return Err(ConnectError::Credentials {
                size,
                max: CREDENTIALS_SIZE_MAX,
            });
        }
        Ok(())
    }

    /// Appends the hello frame to `out`.
    pub(crate) fn hello(&self, out: &mut Vec<u8>) {
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            name: &self.name,
            credentials: &self.credentials,
        }
        .encode(out);
    }

    pub(crate) fn tell(&self, event: &ConnectionEvent) {
        if let Some(hook) = &self.event_hook {
            hook(event);
        }
    }
}

/// What to subscribe to, and where to begin.
///
/// ```
/// use oyez_client::{Start, SubscribeOptions};
///
/// let fresh = SubscribeOptions::topic("orders/eu");
/// let all = SubscribeOptions::topic("orders/eu").from(Start::Earliest);
/// assert_ne!(fresh, all);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) topic: String,
    pub(crate) start: Start,
    pub(crate) epoch: Option<Epoch>,
}

impl SubscribeOptions {
    /// Options for the messages of `topic` from now on.
    #[must_use]
    pub fn topic(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            start: Start::Latest,
            epoch: None,
        }
    }

    /// Sets where to begin: with the oldest message kept, with an offset, or with the next new message.
    #[must_use]
    pub const fn from(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets the epoch in which the offset to begin with was seen. When the topic has another epoch,
    /// [`Delivery::NewEpoch`](crate::Delivery::NewEpoch) comes first and then the oldest message kept.
    #[must_use]
    pub const fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Returns the cursor at the place that these options ask for.
    ///
    /// # Errors
    /// When the topic's name is invalid.
    pub(crate) fn cursor(self) -> Result<Cursor, TopicError> {
        topic::parse(self.topic.as_bytes())?;
        Ok(Cursor::new(Arc::from(self.topic), self.start, self.epoch))
    }
}
