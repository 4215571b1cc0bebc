//! Dialects: how what sessions ask, and what they are told, looks in bytes.
//!
//! [`command`] has the values that both sides of the broker speak in: what a session asks, and what it is told. A dialect
//! turns bytes into these and back, and knows nothing else: no sockets, sessions or topics, no clock. It is total, and
//! allocates nothing when it decodes frames. A record is the same bytes for everybody and passes as it is.
//!
//! Everybody may import the values. The dialects themselves are for those that stand between a socket and a step:
//! reading, telling and turning away. `tests/tidy.rs` holds that parts name no dialect.

pub(crate) mod chunk;
pub(crate) mod command;
pub(crate) mod exchange;
pub(crate) mod form;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod native;
pub(crate) mod proxy;
pub(crate) mod refused;
pub(crate) mod render;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod sniff;
pub(crate) mod sse;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod websocket;
