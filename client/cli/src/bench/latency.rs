//! `oyez bench latency`: measures how long a message takes to a few subscribers, alone and among many idle ones.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::crowd::{Crowd, Tally};
use super::memory::Moment;
use super::options::{Common, Content, Subscribing, at_least_one, rate};
use super::publishers::{End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::stage::{Stage, Wanted};
use super::stalled::{Stalled, StalledOptions};
use super::target::Greeting;
use super::targets::Targets;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench latency                                    100 subscribers, 100 records a second
  oyez bench latency --idle 1000000 --duration 30s      the same alone, and among a million idle
  oyez bench latency --idle 1000000 --stalled 500000    and when half of them have stopped reading
  oyez bench latency --idle 10000 --via sse             over HTTP; or ws, ws-json

Records are published on schedule, even if those before are late; latency counts
from the scheduled moment. For --stalled see oyez bench mixed --help.";

/// Arguments of `oyez bench latency`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Subscribers that receive the records
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    active: usize,

    /// Idle subscribers of another topic, which receive nothing; the first measurement is without them
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: usize,

    /// Records per second
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    rate: f64,

    /// Time of each measurement
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    #[command(flatten)]
    stalled: StalledOptions,
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    subscribing: Subscribing,
    #[command(flatten)]
    common: Common,
}

/// The figures of a measurement.
struct Measured {
    tally: Tally,
    published: Published,
    /// Memory when all were connected, and when all had received everything.
    begin: Moment,
    end: Moment,
}

impl Measured {
    fn p99_us(&self) -> f64 {
        self.tally.latency.summary().p99_us as f64
    }
}

/// Runs the bench.
pub(crate) fn run(targets: &dyn Targets, arguments: &Arguments) -> Result<(), Failure> {
    let idle = arguments.stalled.readers(arguments.idle, 0)?;
    let wanted = Wanted {
        connections: arguments.active + arguments.idle,
        groups: 2 + arguments.stalled.topics(),
        greeting: Greeting::Subscribe,
        via: arguments.subscribing.via,
        compress: !arguments.content.no_compress,
    };
    let stage = Stage::set(targets, &arguments.common, wanted)?;
    let connections = arguments.active + arguments.idle;
    stage.fit(Some(connections), "--active and --idle together")?;
    let alone = measure(&stage, arguments, || Ok(()))?;
    let mut report = stage.report("latency");
    report
        .parameter("active", arguments.active)
        .parameter("idle", arguments.idle)
        .parameter("records_per_s", arguments.rate)
        .parameter("duration_s", arguments.duration.as_secs_f64())
        .parameter("messages", arguments.content.source())
        .parameter("batch", arguments.content.batch)
        .times("alone", &alone.tally.latency)
        .times("alone_acknowledgement", &alone.published.times)
        .timeline("deliveries_alone", &alone.tally.delivered);
    if arguments.idle > 0 {
        let waiting = (idle > 0)
            .then(|| {
                let spread = stage.spread(idle, 1);
                let board = Arc::new(Board::new(0, 1, &spread, stage.waker));
                stage.gather_topic(&spread, 1, false, &board)
            })
            .transpose()?;
        let stalled = arguments.stalled.gather(&stage, 2)?;
        let among = measure(&stage, arguments, || Ok(()))?;
        report
            .figure("p99_ratio", among.p99_us() / alone.p99_us(), Unit::Ratio)
            .times("among_idle", &among.tally.latency)
            .times("among_idle_acknowledgement", &among.published.times)
            .timeline("deliveries_among_idle", &among.tally.delivered);
        if let Some(stalled) = stalled {
            among_stalled(&stage, arguments, stalled, &among, &mut report)?;
        }
        if let Some(trouble) = waiting.as_ref().and_then(Crowd::trouble) {
            return Err(Failure::Failed(format!("the bench has failed: {trouble}")));
        }
    }
    stage.publish(&report)
}

/// Measures once more, when some of the others have stopped reading.
fn among_stalled(
    stage: &Stage,
    arguments: &Arguments,
    mut stalled: Stalled,
    before: &Measured,
    report: &mut Report,
) -> Result<(), Failure> {
    let among = stalled.measure(stage, arguments.duration, |when_ready| {
        measure(stage, arguments, when_ready)
    })?;
    report
        .figure(
            "p99_ratio_among_stalled",
            among.p99_us() / before.p99_us(),
            Unit::Ratio,
        )
        .times("among_stalled", &among.tally.latency)
        .times("among_stalled_acknowledgement", &among.published.times)
        .timeline("deliveries_among_stalled", &among.tally.delivered);
    let grown = before.end.since(&before.begin, arguments.idle).server_user;
    stalled.report(report, grown, &among.end);
    stalled.dismiss()
}

/// Connects the active subscribers, calls `when_ready`, and publishes.
fn measure(
    stage: &Stage,
    arguments: &Arguments,
    when_ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let spread = stage.spread(arguments.active, 1);
    let records = (arguments.rate * arguments.duration.as_secs_f64())
        .ceil()
        .max(1.0) as usize;
    let board = Arc::new(Board::new(
        records,
        u32::from(arguments.content.batch),
        &spread,
        stage.waker,
    ));
    let crowd = stage.gather_topic(&spread, 0, false, &board)?;
    let begin = stage.moment()?;
    when_ready()?;
    let load = Load {
        connections: 1,
        topic: 0,
        depth: super::publishers::DEPTH_PACED,
        gate: Gate::PerSecond(arguments.rate),
        end: End::Count(records),
    };
    let (published, _) = stage.broadcast(&crowd, &board, &arguments.content, load)?;
    let end = stage.moment()?;
    Ok(Measured {
        tally: crowd.dismiss(),
        published,
        begin,
        end,
    })
}
