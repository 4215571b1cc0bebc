//! The client without sockets and threads, for simulators and for event loops of one's own tests.
//!
//! [`Publisher`] and [`Subscriber`] decide by the same pure parts as [`Client`](crate::Client) does, and do nothing by
//! themselves: the caller owns the time, the chance and the network. The caller runs each by its `turn`, which does all
//! that can be done at a time without waiting, and returns when to run it again if nothing arrives before. The same
//! calls with the same arguments do the same.
//!
//! What differs from the client over sockets: there is one address, and [`Wire::dial`] reaches it or does not; the
//! first connection is not special, an attempt that fails is followed by another as the
//! [`ReconnectPolicy`](crate::ReconnectPolicy) says; nothing blocks, so that a publisher is told to come again where
//! [`Client::publish_acked`](crate::Client::publish_acked) would wait. [`ConnectOptions`](crate::ConnectOptions) are
//! taken as they are, but for their [`time`](crate::ConnectOptions::time), which is not asked.

mod line;
mod publisher;
mod subscriber;
mod tickets;
mod wire;

pub use publisher::Publisher;
pub use subscriber::Subscriber;
pub use tickets::Ticket;
pub use wire::Wire;

#[cfg(test)]
mod tests;
