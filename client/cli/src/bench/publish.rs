//! `oyez bench publish`: how long an acknowledgement takes, and how many there are a second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::options::{Common, Content, TargetName, at_least_one, rate};
use super::publishers::{End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::spread::Spread;
use super::stage::{Publishing, Stage, Wanted};
use super::target::floor::FloorOptions;
use super::target::{Greeting, Via};
use crate::Shared;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench publish --topic orders                          one record at a time
  oyez bench publish --publishers 64 --depth 16 --batch 64   as much as goes in
  oyez bench publish --rate 1000 --depth 64                  a thousand a second, on schedule
  oyez bench publish --target floor --sync-file /data/x      a TCP echo, a write and fdatasync
  oyez bench publish --target redis://127.0.0.1:6379 --durable   XADD; appendfsync always
  oyez bench publish --target nats://127.0.0.1:4222 --durable    JetStream; sync_interval: always

How durable a topic is, the broker's configuration decides: OYEZ_MEMORY_TOPICS, OYEZ_WRITTEN_TOPICS,
OYEZ_SYNCED_TOPICS; --topic chooses among them. Other servers' PUBLISH keeps nothing. With --durable
Redis appends to a stream (XADD, the nearest to a topic that is kept: numbered, in order, read by many;
a batch is one entry with as many fields) and NATS to a JetStream stream in files, which the bench
creates; whether their answer waits for the disk, is up to their configuration as well. Both want an
empty data directory.";

/// What `oyez bench publish` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Publishers, each with a connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    publishers: usize,

    /// Records without an acknowledgement, of each publisher
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    depth: usize,

    /// Topics; with more than one TOPIC/0, TOPIC/1 and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    topics: usize,

    /// Records a second from all publishers together, on schedule [default: as the answers allow]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How long it goes on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    /// With --target floor: the server writes each record to this file, which it makes 64 MiB of zeros first, and syncs
    /// it before it answers
    #[arg(long, value_name = "FILE")]
    sync_file: Option<PathBuf>,

    /// With redis:// and nats://: append to what the server keeps on disk, and wait until it says so
    #[arg(long)]
    durable: bool,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    common: Common,
}

/// Runs the bench.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.sync_file.is_some() && arguments.common.target != TargetName::Floor {
        return Err(Failure::Usage(
            "--sync-file goes with --target floor".to_owned(),
        ));
    }
    if arguments.durable && !matches!(arguments.common.target, TargetName::Peer(_)) {
        return Err(Failure::Usage(
            "--durable goes with redis:// and nats://; the broker's configuration decides for its topics, --sync-file for the floor".to_owned(),
        ));
    }
    let wanted = Wanted {
        connections: 0,
        groups: arguments.topics,
        greeting: Greeting::Hello,
        via: Via::Native,
        compress: !arguments.content.no_compress,
        durable: arguments.durable,
    };
    let floor = FloorOptions {
        answer: false,
        sync_file: arguments.sync_file.clone(),
    };
    let stage = Stage::set_with(shared, &arguments.common, wanted, &floor)?;
    let topics = Spread::new(arguments.topics, arguments.topics, usize::MAX, 1);
    let board = Arc::new(Board::new(
        0,
        u32::from(arguments.content.batch),
        &topics,
        stage.bell,
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
        .parameter("durable", arguments.durable)
        .parameter("sync_file", arguments.sync_file.is_some())
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
