//! The whole broker in a simulator: shards with their logs, clients, faults, and a naive model that knows what must hold.
//!
//! One thread runs everything, and a seed decides everything: which shard takes its turn, which operation of a disk
//! completes, which client acts, what goes wrong. So a run that fails can be run again, told as a story and made smaller.
//! [`run`] is one seed from its beginning to its verdict:
//!
//! - `plan` is what a seed means: settings, topics, clients, and the kinds of faults that it may meet; `dialects` what clients speak.
//! - `world` holds everything and takes one step after another, until all comes to `rest`; `machine` is the broker with its disks, `publisher`,
//!   `subscriber` and `stranger` are clients over a `link` each, `fault` is what goes wrong. Some subscribers are a `stream`
//!   over HTTP, and some publishers a `poster`: `http` and `sse` take apart what they hear. Others speak over a `channel` of
//!   WebSocket: frames as over a link, or JSON as a `talker` and a `teller`; `websocket` is its bytes.
//! - `judge` looks at each turn and each lost connection.
//! - `oracle` is the model. It believes nobody: it looks at every acknowledgement and every delivery, and at the end at
//!   everything that is left.
//! - `coverage` counts what was met, `trace` tells it, `shrink` makes a failure small, `fleet` runs many.
//!
//! The faults are spread over the first part of a run. Then all of them end, brokers that have failed are started again,
//! and everybody has to catch up within a bound of simulated time.

mod channel;
pub mod coverage;
mod dialects;
mod dice;
mod ending;
mod fault;
pub mod fleet;
mod http;
mod judge;
mod leaver;
mod link;
mod machine;
mod message;
mod oracle;
pub mod plan;
mod poster;
mod publisher;
mod reader;
mod rest;
pub mod run;
mod several;
pub mod shrink;
mod sse;
mod stranger;
mod stream;
mod subscriber;
mod talker;
mod teller;
mod text;
mod trace;
mod websocket;
mod wild;
mod world;

pub use run::{Options, Outcome, run};
