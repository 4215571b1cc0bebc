//! WebSocket (RFC 6455) as bytes: what a client asks and says, what a server answers, and the same answers written, for
//! bare servers and for tests. Pure, but for the chance that masks are drawn from.
//!
//! A response and a frame are told apart by their first byte: no frame that is agreed on begins with an H. Nothing is
//! known of a session between two messages, so that a subscriber that waits costs no byte here. A message is heard when
//! it is whole, as by a browser.

pub mod answer;
pub(crate) mod ear;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod json;

pub use ear::{Part, part, say};
pub use frame::{Mask, Message, Opcode, ZERO_MASK, client_header, masked, pong};
pub use handshake::{Path, SUBPROTOCOL, ask};
