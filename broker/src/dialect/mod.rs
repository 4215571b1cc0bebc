//! Dialects: how what sessions ask, and what they get in reply, looks in bytes.
//!
//! [`command`] has the values that the broker works with inside: commands and replies. A dialect turns bytes into these
//! and back, and knows nothing else: no sockets, sessions or topics, no clock. It has a result for every input, and
//! allocates nothing when it decodes frames. A record is the same bytes for every native session and passes as it is.
//!
//! Every module may import the values. The dialects themselves are for the modules between a socket and a step: reading,
//! replying and turning away. `tests/tidy.rs` holds that parts name no dialect.

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
