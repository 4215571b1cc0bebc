//! The Oyez client library: publish to and subscribe from an Oyez broker, with blocking calls.
//!
//! ```no_run
//! use oyez_client::{Client, Start, SubscribeOptions};
//!
//! let client = Client::connect("oyez://127.0.0.1:7450")?;
//! let ack = client.publish_acked("demo", "hello")?;
//!
//! let from = Start::Offset(ack.offset);
//! let mut demo = client.subscribe(SubscribeOptions::topic("demo").from(from))?;
//! if let Some(message) = demo.messages().next() {
//!     assert_eq!(message?.payload, "hello");
//! }
//! client.drain()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - **An [`Ack`] means kept**: the messages are in their topic, as durable as the topic is, and may be delivered.
//! - **Publishing is at least once.** What was not acknowledged when a connection was lost is sent again over the next
//!   one, in order; a message whose acknowledgement was lost with the connection is then in the topic twice. Without a
//!   loss every message is there once.
//! - **Delivery is in order and once per subscription**, across losses too: a subscription remembers its offset and
//!   epoch, resumes there, trims what it had, and drops repeats.
//! - **Nothing is skipped silently.** Messages that cannot be delivered any more are reported as [`Delivery::Gap`],
//!   messages that expired, were replaced or were deleted as [`Delivery::Skip`], and a history that changed as
//!   [`Delivery::NewEpoch`]. What arrives damaged is not delivered but requested again.
//! - **Damage on the way costs a connection and no more**: what the broker could not read is sent again over the next
//!   one. After three refusals in a row without any progress the session ends with an error.
//! - **No call waits for ever** unless it is told to: [`ConnectOptions::answer_timeout`] bounds the wait for the
//!   broker, and the error says whether a message is not stored or its outcome is unknown; [`Client::close`] ends all
//!   waits. Only the wait for a delivery has no end: a subscription reconnects however long its broker is away.
//! - **Everything is bounded.** A publisher waits while as much is on its way as the broker allows; a subscription
//!   reads no faster than its caller asks for messages, and the broker keeps the rest.
//!
//! # How it is built
//!
//! Decisions are pure: time and chance are arguments, and tests drive them without threads or sockets. For every
//! connection: `receive_buffer` (bytes to frames), `outbox` (short writes), `handshake` (is this a broker), `farewell`
//! (last words), `silence` (is it still there), `backoff` (when to come back). For publishing `batch` (messages to
//! records), `ledger` (what is in flight), `query` (what was asked) and `session_state` (what the session does next).
//! For receiving `cursor` (what comes next), `intake` (frames to deliveries) and `subscription_state` (what the
//! subscription does next).
//!
//! Around them is a thin rim of sockets and threads: `connection`; `session_hub` (what publishers and threads of a
//! session share) and `writer` (its writing and its reading thread); `keepalive`, which gives signs of life while no
//! thread reads; `spare`, the first connection until it is needed. On top are the handles: `session` with `publisher`
//! and its batch `slot`, `subscription`, which reads in its caller's thread, and `client`. Time and chance come in
//! through [`time::Time`]. Beside the rim stands [`simulation`], which drives the same decisions without sockets and
//! threads.
#![forbid(unsafe_code)]

mod address;
mod backoff;
mod batch;
mod client;
mod connection;
mod cursor;
mod delivery;
mod error;
mod farewell;
mod handshake;
mod intake;
mod keepalive;
mod ledger;
mod lock;
mod message;
mod options;
mod outbox;
mod publisher;
mod query;
mod receive_buffer;
mod session;
mod session_hub;
mod session_state;
mod silence;
pub mod simulation;
mod slot;
mod spare;
mod subscription;
mod subscription_state;
mod terms;
pub mod time;
mod writer;

pub use address::{Address, AddressError};
pub use backoff::ReconnectPolicy;
pub use batch::PublisherOptions;
pub use client::Client;
pub use delivery::{Delivery, Gap, GapCause, NewEpoch, Skip, SkipCause};
pub use error::{
    ConnectError, ConnectionError, PublishError, QueryError, Stranger, SubscribeError,
};
pub use ledger::Totals;
pub use message::{Ack, Message, NewMessage};
pub use options::{ConnectOptions, ConnectionEvent, SubscribeOptions};
pub use oyez_protocol::command::Start;
pub use oyez_protocol::error::TopicError;
pub use oyez_protocol::event::{GoodbyeCode, Outcome};
pub use oyez_protocol::{Epoch, Offset};
pub use publisher::Publisher;
pub use query::TopicsPage;
pub use subscription::{Closer, Messages, Subscription};

/// Makes the doc tests compile the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
