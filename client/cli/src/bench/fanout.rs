//! `oyez bench fanout`: one publisher, many subscribers, every record to all of them.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::board::Board;
use super::crowd::Tally;
use super::memory::{self, Growth};
use super::options::{Common, Content, Subscribing, at_least_one};
use super::publishers::{End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::room::USUAL;
use super::stage::{Stage, Wanted};
use super::target::Greeting;
use super::targets::Targets;
use super::times::Times;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench fanout --subscribers 10000 --records 20             one record at a time to all
  oyez bench fanout --mode stream --batch 64 --records 500 --decode
  oyez bench fanout --subscribers 1000000 --records 3 --report fanout.html
  oyez bench fanout --subscribers 10000 --via sse                as many browser tabs
  oyez bench fanout --subscribers 10000 --via ws-json            over WebSocket";

/// Arguments of `oyez bench fanout`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Subscribers of the topic [default: as many as the broker takes, at most 10,000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    subscribers: Option<usize>,

    /// Records to publish
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    records: usize,

    /// When the next record is published
    #[arg(long, value_enum, default_value_t = Mode::Seq)]
    mode: Mode,

    /// Most records without an acknowledgement, with --mode stream
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    depth: usize,

    /// Each subscriber checks, decompresses and counts every message, as an application would
    #[arg(long)]
    decode: bool,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    subscribing: Subscribing,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// When the last subscriber has received the record before
    Seq,
    /// As fast as the server acknowledges
    Stream,
}

/// The figures of a run.
struct Seen {
    subscribers: usize,
    seconds: f64,
    /// Wire bytes for each payload byte.
    ratio: f64,
    published: Published,
    tally: Tally,
    last: Times,
    memory: Growth,
    /// Processor time of the server from the first publication on, where its process is known.
    processor_s: Option<f64>,
}

/// Runs the bench.
pub(crate) fn run(targets: &dyn Targets, arguments: &Arguments) -> Result<(), Failure> {
    let wanted = Wanted {
        connections: arguments.subscribers.unwrap_or(USUAL),
        groups: 1,
        greeting: Greeting::Subscribe,
        via: arguments.subscribing.via,
        compress: !arguments.content.no_compress,
    };
    let stage = Stage::set(targets, &arguments.common, wanted)?;
    let subscribers = stage.fit(arguments.subscribers, "--subscribers")?;
    let spread = stage.spread(subscribers, 1);
    let batch = u32::from(arguments.content.batch);
    let board = Arc::new(Board::new(arguments.records, batch, &spread, stage.waker));
    let before = stage.moment()?;
    let crowd = stage.gather(&spread, arguments.decode, &board)?;
    let processor = || arguments.common.pid.and_then(memory::processor_s);
    let idle_s = processor();
    let (published, ratio) =
        stage.broadcast(&crowd, &board, &arguments.content, arguments.load())?;
    let after = stage.moment()?;
    let seen = Seen {
        subscribers,
        processor_s: processor().zip(idle_s).map(|(now, idle)| now - idle),
        seconds: board.span_s(),
        ratio,
        published,
        tally: crowd.dismiss(),
        last: board.last_subscriber(),
        memory: after.since(&before, subscribers),
    };
    stage.publish(&report(&stage, arguments, seen))
}

impl Arguments {
    fn load(&self) -> Load {
        let (gate, depth) = match self.mode {
            Mode::Seq => (Gate::LastSubscriber, 1),
            Mode::Stream => (Gate::Answers, self.depth),
        };
        Load {
            connections: 1,
            topic: 0,
            depth,
            gate,
            end: End::Count(self.records),
        }
    }
}

fn report(stage: &Stage, arguments: &Arguments, seen: Seen) -> Report {
    let mode = arguments.mode.to_possible_value();
    let tally = &seen.tally;
    let mut report = stage.report("fanout");
    report
        .parameter("subscribers", seen.subscribers)
        .parameter("records", arguments.records)
        .parameter("mode", mode.map(|value| value.get_name().to_owned()))
        .parameter("messages", arguments.content.source())
        .parameter("batch", arguments.content.batch)
        .parameter("depth", seen.published.depth)
        .parameter("decode", arguments.decode)
        .parameter("compress", !arguments.content.no_compress)
        .figure("deliveries", tally.deliveries as f64, Unit::Count)
        .figure("seconds", seen.seconds, Unit::Seconds)
        .figure(
            "deliveries_per_s",
            tally.deliveries as f64 / seen.seconds,
            Unit::PerSecond,
        )
        .figure(
            "messages_per_s",
            tally.messages as f64 / seen.seconds,
            Unit::PerSecond,
        )
        .figure("wire_bytes_per_payload_byte", seen.ratio, Unit::Ratio)
        .times("to_last_subscriber", &seen.last)
        .times("to_each_subscriber", &tally.latency)
        .times("acknowledgement", &seen.published.times)
        .timeline("deliveries", &tally.delivered)
        .memory(seen.memory);
    if let Some(seconds) = seen.processor_s {
        let each = seconds * 1e9 / tally.messages as f64;
        report
            .figure("server_processor_seconds", seconds, Unit::Seconds)
            .figure("server_processor_ns_per_message", each, Unit::Count);
    }
    report
}
