//! What the system tests share: a broker as a child process, sessions that speak raw frames, the corpus, a naive
//! model, and waiting for conditions with a deadline.
//!
//! The tests see Oyez as its users do: programs, a port, a data directory. Nothing here reaches into the broker; the
//! wire is spoken through the protocol crate, the command line through `oyez`. Only [`simulation`] takes the broker and the
//! client apart: it runs them without threads, sockets, files and clock.

pub mod broker;
pub mod corpus;
pub mod crowd;
pub mod deadline;
pub mod figures;
pub mod files;
pub mod flipper;
pub mod http;
pub mod model;
pub mod process;
pub mod program;
pub mod programs;
pub mod random;
pub mod record;
#[path = "../simulation/mod.rs"]
pub mod simulation;
pub mod sockets;
pub mod stream;
#[expect(
    unsafe_code,
    reason = "system calls that std does not have: signals, prctl, seccomp, options of sockets"
)]
mod sys;
pub mod tools;
pub mod websocket;
pub mod wire;

pub use broker::{Broker, Refusal, Setup};
pub use oyez_protocol::command::Start;
pub use oyez_protocol::event::{GoodbyeCode, Outcome};
pub use oyez_protocol::{Epoch, Offset};
pub use sys::seccomp::{Filter, Rule, Test};
pub use sys::{Signal, stop_with_parent};
pub use wire::{Event, Session};
