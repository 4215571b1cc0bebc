//! `oyez bench idle`: measures the memory of a connection that only waits.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::memory;
use super::options::{Common, Subscribing, at_least_one};
use super::report::Unit;
use super::room::USUAL;
use super::stage::{Stage, Wanted};
use super::target::Greeting;
use super::targets::Targets;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench idle --connections 10000
  oyez bench idle --connections 1000000 --hold 10m --report idle.html
  oyez bench idle --connections 20000 --via sse            as browsers, over HTTP
  oyez bench idle --connections 1000000 --via ws           over WebSocket; pings are answered

User memory is the server's RssAnon, from the server itself or from --pid; start
the server afresh. Kernel memory is that of the whole machine (slab, socket
buffers, page tables), both ends of each connection: run nothing but server and
bench on it.";

/// Arguments of `oyez bench idle`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections, each with one subscription [default: as many as the broker takes, at most 10,000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,

    /// Time that the connections stay before memory is read; before they are made, memory may take as long to settle
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    hold: Duration,

    #[command(flatten)]
    subscribing: Subscribing,
    #[command(flatten)]
    common: Common,
}

/// Runs the bench.
pub(crate) fn run(targets: &dyn Targets, arguments: &Arguments) -> Result<(), Failure> {
    let wanted = Wanted {
        connections: arguments.connections.unwrap_or(USUAL),
        groups: 1,
        greeting: Greeting::Subscribe,
        via: arguments.subscribing.via,
        compress: true,
    };
    let stage = Stage::set(targets, &arguments.common, wanted)?;
    let connections = stage.fit(arguments.connections, "--connections")?;
    let spread = stage.spread(connections, 1);
    let board = Arc::new(Board::new(0, 1, &spread, stage.waker));
    memory::settle(arguments.hold);
    let before = stage.moment()?;
    let crowd = stage.gather(&spread, false, &board)?;
    let seconds = crowd.ready_ns() as f64 / 1e9;
    stage.hold(arguments.hold, &[&crowd])?;
    let after = stage.moment()?;
    let tally = crowd.dismiss();
    let mut report = stage.report("idle");
    report
        .parameter("connections", connections)
        .parameter("hold_s", arguments.hold.as_secs_f64())
        .figure("seconds_to_connect", seconds, Unit::Seconds)
        .figure(
            "connections_per_s",
            connections as f64 / seconds,
            Unit::PerSecond,
        )
        .times("connect_and_subscribe", &tally.connect)
        .timeline("connections", &tally.connected)
        .memory(after.since(&before, connections));
    stage.publish(&report)
}
