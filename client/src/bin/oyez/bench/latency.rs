//! `oyez bench latency`: how long a message takes to a few subscribers, with nobody else there and among many who wait.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::crowd::Tally;
use super::options::{Common, Content, at_least_one, rate};
use super::publishers::{End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::stage::{Stage, Wanted};
use crate::Shared;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench latency                                    100 subscribers, 100 records a second
  oyez bench latency --idle 1000000 --duration 30s      the same alone, and among a million who wait
  oyez bench latency --idle 10000 --target floor

Records leave on schedule, whatever became of those before; latency counts from the scheduled
moment.";

/// What `oyez bench latency` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Subscribers that get something
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    active: usize,

    /// Subscribers of another topic, that get nothing; measured without them first
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: usize,

    /// Records a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    rate: f64,

    /// Time that each measurement takes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    common: Common,
}

/// Runs the bench.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let wanted = Wanted {
        connections: arguments.active + arguments.idle,
        groups: 2,
        subscribe: true,
        compress: !arguments.content.no_compress,
        durable: false,
    };
    let stage = Stage::set(shared, &arguments.common, wanted)?;
    let (alone, published) = measure(&stage, arguments)?;
    let mut report = Report::new("latency", &stage);
    report
        .parameter("active", arguments.active)
        .parameter("idle", arguments.idle)
        .parameter("records_per_s", arguments.rate)
        .parameter("duration_s", arguments.duration.as_secs_f64())
        .parameter("messages", arguments.content.source())
        .parameter("batch", arguments.content.batch)
        .times("alone", &alone.latency)
        .times("alone_acknowledgement", &published.times)
        .timeline("deliveries_alone", &alone.delivered);
    if arguments.idle > 0 {
        let spread = stage.spread(arguments.idle, 1);
        let board = Arc::new(Board::new(0, 1, &spread, stage.bell));
        let idle = stage.gather_topic(&spread, 1, false, &board)?;
        let (among, published) = measure(&stage, arguments)?;
        if let Some(trouble) = idle.trouble() {
            return Err(Failure::Failed(format!("the bench has failed: {trouble}")));
        }
        drop(idle.dismiss());
        let p99 = |tally: &Tally| tally.latency.summary().p99_us as f64;
        report
            .figure("p99_ratio", p99(&among) / p99(&alone), Unit::Ratio)
            .times("among_idle", &among.latency)
            .times("among_idle_acknowledgement", &published.times)
            .timeline("deliveries_among_idle", &among.delivered);
    }
    stage.publish(&report)
}

fn measure(stage: &Stage, arguments: &Arguments) -> Result<(Tally, Published), Failure> {
    let spread = stage.spread(arguments.active, 1);
    let records = (arguments.rate * arguments.duration.as_secs_f64())
        .ceil()
        .max(1.0) as usize;
    let board = Arc::new(Board::new(
        records,
        u32::from(arguments.content.batch),
        &spread,
        stage.bell,
    ));
    let crowd = stage.gather_topic(&spread, 0, false, &board)?;
    let load = Load {
        connections: 1,
        depth: super::publishers::DEPTH_PACED,
        gate: Gate::PerSecond(arguments.rate),
        end: End::Count(records),
    };
    let (published, _) = stage.broadcast(&crowd, &board, &arguments.content, load)?;
    Ok((crowd.dismiss(), published))
}
