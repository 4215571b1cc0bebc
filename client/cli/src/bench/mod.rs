//! `oyez bench`: load that can be repeated, and what it shows.
//!
//! `stage` prepares a run; `crowd` are the subscribers, `publishers` who publishes, `board` what became of each
//! publication, `report` what is told. `target` says how to speak to what is under load: `broker` does so for a broker,
//! `sse` and `websocket` for those who come to it over HTTP. Arithmetic is in files of its own that touch nothing:
//! `spread`, `room`, `pace`, `times`.
//!
//! A program that puts another server under the same load parses [`Arguments`] and runs them with [`Targets`] of its own:
//! `benches/` does, with other brokers and with a bare kernel loop. What such a target is made of is public for it:
//! the [`Plan`] of a bench speaks Oyez, [`sse`] and [`websocket`] write what a broker answers.

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
  oyez bench fanout --subscribers 10000     one publisher, everybody gets every record
  oyez bench idle --connections 1000000     memory per connection
  oyez bench connect --resume               a connection storm, and that of who comes back
  oyez bench fanout --via sse               subscribers as browsers are, over HTTP
  oyez bench fanout --via ws                the same over WebSocket; --via ws-json without a library

Every bench echoes its parameters, checks that each subscriber gets each record once and in
order, and ends with exit code 1 when a connection or a record is lost. -o json prints one
object, --report FILE.html writes a page with charts.

Where nobody says how many, as many connections come as the broker takes, at most 10,000; for more start
it with oyez-server --max-connections. It publishes to the topic oyez-bench, which stays in the broker
afterwards, and is kept in memory with OYEZ_MEMORY_TOPICS=oyez-bench,oyez-bench/#. Where one descriptor
table is too small for all connections it starts more threads, each with a table of its own.";

/// What `oyez bench` is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// One publisher, many subscribers: how fast a record reaches all of them
    Fanout(fanout::Arguments),
    /// A storm of connections: how fast they are accepted, and taken back
    Connect(connect::Arguments),
    /// Connections that only wait: what each costs
    Idle(idle::Arguments),
    /// Publishers alone: how fast records are acknowledged
    Publish(publish::Arguments),
    /// A few subscribers, alone and among many who wait: how long a record takes to them
    Latency(latency::Arguments),
    /// Very many connections, a part of them active each second
    Mixed(mixed::Arguments),
}

impl Arguments {
    /// Runs the bench on what `targets` finds.
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
