//! `oyez bench connect`: a storm of connections, and the same again from everybody who comes back.

use std::sync::Arc;

use clap::Args;

use super::board::Board;
use super::options::{Common, Content, at_least_one};
use super::publishers::{End, Gate, Load};
use super::report::{Report, Unit};
use super::stage::{Publishing, Stage, Wanted};
use crate::Shared;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench connect --connections 10000
  oyez bench connect --connections 1000000 --resume --missed 1
  oyez bench connect --connections 10000 --target floor

With --resume everybody hangs up, comes back with where it was, and must get what was published before.";

/// What `oyez bench connect` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = at_least_one)]
    connections: usize,

    /// Connect and say hello, but do not subscribe
    #[arg(long, conflicts_with = "resume")]
    no_subscribe: bool,

    /// Then reset all connections and let everybody come back to where it was
    #[arg(long)]
    resume: bool,

    /// Records that everybody has missed when it comes back
    #[arg(long, value_name = "N", default_value_t = 1, requires = "resume")]
    missed: usize,

    #[command(flatten)]
    common: Common,
}

/// Runs the bench.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let wanted = Wanted {
        connections: arguments.connections,
        groups: 1,
        subscribe: !arguments.no_subscribe,
        compress: true,
    };
    let stage = Stage::set(shared, &arguments.common, wanted)?;
    let spread = stage.spread(arguments.connections, 1);
    let resumes = stage.target.answers();
    let missed = if arguments.resume && resumes {
        arguments.missed
    } else {
        0
    };
    let board = Arc::new(Board::new(missed, 1, &spread, stage.bell));
    let begun_ns = board.clock.now_ns();
    let crowd = stage.gather(&spread, false, &board)?;
    let ready_ns = if resumes {
        crowd.ready_ns()
    } else {
        board.clock.now_ns()
    };
    let seconds = (ready_ns - begun_ns) as f64 / 1e9;
    let mut report = Report::new("connect", &stage);
    report
        .parameter("connections", arguments.connections)
        .parameter("outstanding", arguments.common.outstanding)
        .parameter("subscribe", !arguments.no_subscribe)
        .parameter("resume", arguments.resume)
        .parameter("missed", missed)
        .figure("seconds", seconds, Unit::Seconds)
        .figure(
            "connections_per_s",
            arguments.connections as f64 / seconds,
            Unit::PerSecond,
        );
    let mut resumed_s = None;
    if arguments.resume {
        resumed_s = Some(resume(&stage, &crowd, &board, missed)?);
    }
    let tally = crowd.dismiss();
    if let Some(seconds) = resumed_s {
        report
            .figure("resume_seconds", seconds, Unit::Seconds)
            .figure(
                "resumes_per_s",
                arguments.connections as f64 / seconds,
                Unit::PerSecond,
            );
    }
    report
        .times("connect_and_subscribe", &tally.connect)
        .timeline("connections", &tally.connected);
    stage.publish(&report)
}

/// Seconds from the first hang-up until everybody is back and has what it missed.
fn resume(
    stage: &Stage,
    crowd: &super::crowd::Crowd,
    board: &Arc<Board>,
    missed: usize,
) -> Result<f64, Failure> {
    crowd.pause();
    stage.wait(
        "hung up",
        crowd.size() as u64,
        || crowd.hung_up() as u64,
        &[crowd],
        None,
    )?;
    if missed > 0 {
        let load = Load {
            connections: 1,
            depth: 64,
            gate: Gate::Answers,
            end: End::Count(missed),
        };
        let content = Content {
            corpus: None,
            size: 200,
            batch: 1,
            no_compress: false,
        };
        let (publishers, _) = stage.publishers(&content, load, board)?;
        Publishing::begin(publishers).finish()?;
    }
    let begun_ns = board.clock.now_ns();
    crowd.come_again();
    stage.await_ready(crowd)?;
    let deliveries = (missed * crowd.size()) as u64;
    stage.wait(
        "missed records delivered",
        deliveries,
        || crowd.deliveries(),
        &[crowd],
        None,
    )?;
    let ended_ns = if missed > 0 || !stage.target.answers() {
        board.clock.now_ns()
    } else {
        crowd.ready_ns()
    };
    Ok((ended_ns - begun_ns) as f64 / 1e9)
}
