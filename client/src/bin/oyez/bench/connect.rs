//! `oyez bench connect`: a storm of connections, and the same again from everybody who comes back.

use std::sync::Arc;

use clap::Args;

use super::board::Board;
use super::crowd::Crowd;
use super::options::{Common, Content, at_least_one};
use super::publishers::{End, Gate, Load};
use super::report::{Report, Unit};
use super::stage::{Publishing, Stage, Wanted};
use super::target::floor::FloorOptions;
use crate::Shared;
use crate::failure::Failure;

/// Bytes of a message that everybody misses, and how many of them are on their way at once.
const MISSED_BYTES: usize = 200;
const MISSED_DEPTH: usize = 64;

const EXAMPLES: &str = "\
Examples:
  oyez bench connect --connections 10000
  oyez bench connect --connections 1000000 --resume --missed 1
  oyez bench connect --connections 10000 --target floor             accepted, and no more
  oyez bench connect --connections 10000 --target floor --answer    read and answered, too

With --resume everybody hangs up, comes back with where it was, and must get what was published
meanwhile.";

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

    /// With --target floor: the server reads what each says, and answers as many bytes as a broker would
    #[arg(long)]
    answer: bool,

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
        durable: false,
    };
    let floor = FloorOptions {
        answer: arguments.answer,
        sync_file: None,
    };
    let stage = Stage::set_with(shared, &arguments.common, wanted, &floor)?;
    let spread = stage.spread(arguments.connections, 1);
    // Who keeps nothing has nothing for who comes back.
    let missed = if arguments.resume && stage.target.keeps() {
        arguments.missed
    } else {
        0
    };
    let board = Arc::new(Board::new(missed, 1, &spread, stage.bell));
    let begun_ns = board.clock.now_ns();
    let crowd = stage.gather(&spread, false, &board)?;
    let seconds = (ended_ns(&stage, &crowd, &board) - begun_ns) as f64 / 1e9;
    let resumed_s = arguments
        .resume
        .then(|| resume(&stage, &crowd, &board))
        .transpose()?;
    let tally = crowd.dismiss();
    let connections = arguments.connections as f64;
    let mut report = Report::new("connect", &stage);
    report
        .parameter("connections", arguments.connections)
        .parameter("outstanding", arguments.common.outstanding)
        .parameter("subscribe", !arguments.no_subscribe)
        .parameter("resume", arguments.resume)
        .parameter("missed", missed)
        .parameter("answer", arguments.answer)
        .figure("seconds", seconds, Unit::Seconds)
        .figure("connections_per_s", connections / seconds, Unit::PerSecond);
    if let Some(seconds) = resumed_s {
        report
            .figure("resume_seconds", seconds, Unit::Seconds)
            .figure("resumes_per_s", connections / seconds, Unit::PerSecond);
    }
    report
        .times("connect_and_subscribe", &tally.connect)
        .timeline("connections", &tally.connected);
    stage.publish(&report)
}

/// When the last one was connected: as it was told, or now, when the server has just said so.
fn ended_ns(stage: &Stage, crowd: &Crowd, board: &Board) -> u64 {
    if stage.target.answers() {
        crowd.ready_ns()
    } else {
        board.clock.now_ns()
    }
}

/// Seconds from the first call that connects again until everybody is back and has what it missed.
fn resume(stage: &Stage, crowd: &Crowd, board: &Arc<Board>) -> Result<f64, Failure> {
    let size = crowd.size() as u64;
    crowd.pause();
    stage.wait("hung up", size, || crowd.hung_up() as u64, &[crowd], None)?;
    let missed = board.publications();
    if missed > 0 {
        publish(stage, board, missed)?;
    }
    let begun_ns = board.clock.now_ns();
    crowd.come_again();
    stage.await_ready(crowd)?;
    let back_ns = ended_ns(stage, crowd, board);
    let deliveries = || crowd.deliveries();
    stage.wait(
        "missed records",
        missed as u64 * size,
        deliveries,
        &[crowd],
        None,
    )?;
    let ended_ns = board.last_done_ns().max(back_ns);
    Ok((ended_ns - begun_ns) as f64 / 1e9)
}

fn publish(stage: &Stage, board: &Arc<Board>, records: usize) -> Result<(), Failure> {
    let content = Content {
        corpus: None,
        size: MISSED_BYTES,
        batch: 1,
        no_compress: false,
    };
    let load = Load {
        connections: 1,
        depth: MISSED_DEPTH,
        gate: Gate::Answers,
        end: End::Count(records),
    };
    let (publishers, _) = stage.publishers(&content, load, board)?;
    stage.finish(Publishing::begin(publishers), &[]).map(drop)
}
