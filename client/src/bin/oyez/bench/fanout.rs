//! `oyez bench fanout`: one publisher, many subscribers, every record to all of them.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::board::Board;
use super::options::{Common, Content, at_least_one};
use super::publishers::{End, Gate, Load};
use super::report::{Report, Unit};
use super::stage::{Stage, Wanted};
use super::times::Times;
use crate::Shared;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench fanout --subscribers 10000 --records 20             one record at a time to all
  oyez bench fanout --mode stream --batch 64 --records 500 --decode
  oyez bench fanout --subscribers 1000000 --records 3 --report fanout.html
  oyez bench fanout --target floor                               what the bare kernel does here";

/// What `oyez bench fanout` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Subscribers of the topic
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = at_least_one)]
    subscribers: usize,

    /// Records to publish
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    records: usize,

    /// When the next record leaves
    #[arg(long, value_enum, default_value_t = Mode::Seq)]
    mode: Mode,

    /// Records without an acknowledgement, with --mode stream
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    depth: usize,

    /// Each subscriber checks, decompresses and counts every message, as an application would
    #[arg(long)]
    decode: bool,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// When the last subscriber has the one before
    Seq,
    /// As fast as the server acknowledges
    Stream,
}

/// Runs the bench.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let stage = Stage::set(
        shared,
        &arguments.common,
        Wanted {
            connections: arguments.subscribers,
            groups: 1,
            subscribe: true,
            compress: !arguments.content.no_compress,
        },
    )?;
    let spread = stage.spread(arguments.subscribers, 1);
    let batch = arguments.content.batch;
    let board = Arc::new(Board::new(
        arguments.records,
        u32::from(batch),
        &spread,
        stage.bell,
    ));
    let before = stage.moment()?;
    let crowd = stage.gather(&spread, arguments.decode, &board)?;
    let (gate, depth) = match arguments.mode {
        Mode::Seq => (Gate::LastSubscriber, 1),
        Mode::Stream => (Gate::Answers, arguments.depth),
    };
    let load = Load {
        connections: 1,
        depth,
        gate,
        end: End::Count(arguments.records),
    };
    let (published, ratio) = stage.broadcast(&crowd, &board, &arguments.content, load)?;
    let after = stage.moment()?;
    let tally = crowd.dismiss();
    let seconds = board.span_s();
    let mut last = Times::new();
    board.last_subscriber_ns().for_each(|ns| last.record_ns(ns));
    let mode = arguments
        .mode
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let mut report = Report::new("fanout", &stage);
    report
        .parameter("subscribers", arguments.subscribers)
        .parameter("records", arguments.records)
        .parameter("mode", mode.unwrap_or_default())
        .parameter("messages", arguments.content.source())
        .parameter("batch", batch)
        .parameter("depth", published.depth)
        .parameter("decode", arguments.decode)
        .parameter("compress", !arguments.content.no_compress)
        .figure("deliveries", tally.deliveries as f64, Unit::Count)
        .figure("seconds", seconds, Unit::Seconds)
        .figure(
            "deliveries_per_s",
            tally.deliveries as f64 / seconds,
            Unit::PerSecond,
        )
        .figure(
            "messages_per_s",
            tally.messages as f64 / seconds,
            Unit::PerSecond,
        )
        .figure("wire_bytes_per_payload_byte", ratio, Unit::Ratio)
        .times("to_last_subscriber", &last)
        .times("to_each_subscriber", &tally.latency)
        .times("acknowledgement", &published.times)
        .timeline("deliveries", &tally.delivered)
        .memory(after.since(&before, arguments.subscribers));
    stage.publish(&report)
}
