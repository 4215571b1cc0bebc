//! `oyez bench`: puts repeatable load on a broker, and measures it.
//!
//! `stage` prepares a run; `crowd` holds the subscribers and `publishers` the publishers; `board` records when each
//! publication left and arrived; `report` prints the result. `target` is the interface to the server under load:
//! `broker` implements it for a broker, `sse` and `websocket` for subscribers over HTTP. Pure arithmetic has files of
//! its own: `spread`, `room`, `pace`, `times`.
//!
//! A program that puts another server under the same load parses [`Arguments`] and runs them with [`Targets`] of its
//! own: `benches/` does so with other brokers and with a bare kernel loop. The parts of such a target are public for
//! it: the [`Plan`] of a bench speaks Oyez, [`sse`] and [`websocket`] write what a broker answers.

mod board;
mod broker;
mod composed;
mod connect;
mod corpus;
mod crowd;
mod fanout;
mod idle;
mod latency;
mod memory;
mod mixed;
mod options;
mod own_table;
mod pace;
mod progress;
mod publish;
mod publishers;
mod random;
mod report;
mod room;
mod spread;
pub mod sse;
mod stage;
mod stalled;
mod target;
mod targets;
mod times;
pub mod websocket;

pub use broker::Plan;
pub use own_table::own_table;
pub use target::{Ear, Greeting, Heard, Listening, Place, Room, Stamp, Target, Via};
pub use targets::Targets;

use clap::{Args, Subcommand};

use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench fanout --subscribers 10000     one publisher, each subscriber gets all
  oyez bench idle --connections 1000000     memory per connection
  oyez bench connect --resume               a storm of connections, then of returns
  oyez bench fanout --via sse               subscribers over HTTP, as browsers
  oyez bench fanout --via ws                over WebSocket; or --via ws-json

Every bench prints its parameters, checks that each subscriber gets each record
once and in order, and ends with exit code 1 when a connection or a record is
lost. -o json prints one object, --report FILE.html writes a page with charts.

Without a number, a bench makes as many connections as the broker takes, at most
10,000; for more start the broker with oyez-server --max-connections. Benches
publish to the topic oyez-bench, which stays in the broker afterwards;
OYEZ_MEMORY_TOPICS=oyez-bench,oyez-bench/# keeps it in memory only. Where one
descriptor table is too small for all connections, a bench starts more threads,
each with a table of its own.";

/// Arguments of `oyez bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Measure how fast records of one publisher reach many subscribers
    Fanout(fanout::Arguments),
    /// Measure how fast a storm of connections is accepted, and comes back
    Connect(connect::Arguments),
    /// Measure the memory of idle connections
    Idle(idle::Arguments),
    /// Measure how fast records are acknowledged, without subscribers
    Publish(publish::Arguments),
    /// Measure how long records take to a few subscribers, alone and among many idle ones
    Latency(latency::Arguments),
    /// Measure very many connections, of which a part is active each second
    Mixed(mixed::Arguments),
}

impl Arguments {
    /// Runs the bench on the target that `targets` finds.
    ///
    /// # Errors
    /// When something is lost, takes too long, or cannot be measured.
    pub fn run(&self, targets: &dyn Targets) -> Result<(), Failure> {
        match &self.bench {
            Bench::Fanout(arguments) => fanout::run(targets, arguments),
            Bench::Connect(arguments) => connect::run(targets, arguments),
            Bench::Idle(arguments) => idle::run(targets, arguments),
            Bench::Publish(arguments) => publish::run(targets, arguments),
            Bench::Latency(arguments) => latency::run(targets, arguments),
            Bench::Mixed(arguments) => mixed::run(targets, arguments),
        }
    }
}
