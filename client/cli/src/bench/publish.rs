//! `oyez bench publish`: measures how long an acknowledgement takes, and how many there are per second.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::options::{Common, Content, at_least_one, rate};
use super::publishers::{End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::spread::Spread;
use super::stage::{Publishing, Stage, Wanted};
use super::target::{Greeting, Via};
use super::targets::Targets;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench publish --topic orders                          one record at a time
  oyez bench publish --publishers 64 --depth 16 --batch 64   as much as possible
  oyez bench publish --rate 1000 --depth 64                  1,000 per second, on schedule

The broker's configuration decides how durable a topic is: OYEZ_MEMORY_TOPICS,
OYEZ_WRITTEN_TOPICS, OYEZ_SYNCED_TOPICS; --topic chooses among them.";

/// Arguments of `oyez bench publish`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Publishers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    publishers: usize,

    /// Most records without an acknowledgement, for each publisher
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    depth: usize,

    /// Topics; if there are several, they are named TOPIC/0, TOPIC/1 and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    topics: usize,

    /// Records per second of all publishers together, on schedule [default: as fast as they are acknowledged]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Time that the bench runs
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    common: Common,
}

/// Runs the bench.
pub(crate) fn run(targets: &dyn Targets, arguments: &Arguments) -> Result<(), Failure> {
    let wanted = Wanted {
        connections: 0,
        groups: arguments.topics,
        greeting: Greeting::Hello,
        via: Via::Native,
        compress: !arguments.content.no_compress,
    };
    let stage = Stage::set(targets, &arguments.common, wanted)?;
    stage.fit(Some(arguments.publishers), "--publishers")?;
    let topics = Spread::new(arguments.topics, arguments.topics, usize::MAX, 1);
    let board = Arc::new(Board::new(
        0,
        u32::from(arguments.content.batch),
        &topics,
        stage.waker,
    ));
    let load = Load {
        connections: arguments.publishers,
        topic: 0,
        depth: arguments.depth,
        gate: arguments.rate.map_or(Gate::Answers, Gate::PerSecond),
        end: End::After(arguments.duration),
    };
    let (publishers, ratio) = stage.publishers(&arguments.content, load, &board)?;
    let publishing = Publishing::begin(publishers);
    let published = stage.finish_after(publishing, arguments.duration)?;
    stage.publish(&report(&stage, arguments, &published, ratio))
}

fn report(stage: &Stage, arguments: &Arguments, published: &Published, ratio: f64) -> Report {
    let (records, seconds) = (published.answered as f64, published.seconds);
    let messages = records * f64::from(arguments.content.batch);
    let bytes = published.wire_bytes as f64;
    let mut report = stage.report("publish");
    report
        .parameter("topic", arguments.common.topic.clone())
        .parameter("topics", arguments.topics)
        .parameter("publishers", arguments.publishers)
        .parameter("depth", published.depth)
        .parameter("rate", arguments.rate)
        .parameter("duration_s", arguments.duration.as_secs_f64())
        .parameter("messages", arguments.content.source())
        .parameter("batch", arguments.content.batch)
        .parameter("compress", !arguments.content.no_compress)
        .figure("records", records, Unit::Count)
        .figure("seconds", seconds, Unit::Seconds)
        .figure("records_per_s", records / seconds, Unit::PerSecond)
        .figure("messages_per_s", messages / seconds, Unit::PerSecond)
        .figure("wire_bytes_per_s", bytes / seconds, Unit::PerSecond)
        .figure("wire_bytes_per_payload_byte", ratio, Unit::Ratio)
        .times("acknowledgement", &published.times)
        .timeline("records", &published.timeline);
    report
}
