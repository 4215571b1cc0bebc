//! `oyez bench mixed`: very many connections of which a part is active each second, the classic load of a push service.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::crowd::Tally;
use super::memory::Growth;
use super::options::{Common, Content, at_least_one, rate};
use super::publishers::{DEPTH_PACED, End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::stage::{Stage, Wanted};
use super::times::Times;
use crate::Shared;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench mixed --connections 100000
  oyez bench mixed --connections 1000000 --active-percent 20 --duration 60s --report mixed.html
  oyez bench mixed --connections 1000000 --target floor

20 % of 1,000,000 are 200,000 deliveries a second: with 1,000 subscribers to a topic, 200 records
a second to one topic after the other. They leave on schedule, whatever became of those before;
latency counts from the scheduled moment.";

/// What `oyez bench mixed` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections, each with one subscription
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one)]
    connections: usize,

    /// How many of a hundred connections get a record each second
    #[arg(long, value_name = "PERCENT", default_value = "20", value_parser = rate)]
    active_percent: f64,

    /// Subscribers of one topic; TOPIC/0, TOPIC/1 and so on
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = at_least_one)]
    topic_size: usize,

    /// How long it goes on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    common: Common,
}

impl Arguments {
    fn topics(&self) -> usize {
        self.connections.div_ceil(self.topic_size)
    }

    /// Records a second, to all topics together.
    fn records_per_s(&self) -> f64 {
        let deliveries = self.connections as f64 * self.active_percent / 100.0;
        deliveries * self.topics() as f64 / self.connections as f64
    }

    /// Records in all.
    fn records(&self) -> usize {
        let records = self.records_per_s() * self.duration.as_secs_f64();
        records.round().max(1.0) as usize
    }
}

/// What a run has shown.
struct Seen {
    connect_s: f64,
    seconds: f64,
    published: Published,
    tally: Tally,
    last: Times,
    memory: Growth,
}

/// Runs the bench.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let (connections, topics) = (arguments.connections, arguments.topics());
    let wanted = Wanted {
        connections,
        groups: topics,
        subscribe: true,
        compress: !arguments.content.no_compress,
        durable: false,
    };
    let stage = Stage::set(shared, &arguments.common, wanted)?;
    let spread = stage.spread(connections, topics);
    let batch = u32::from(arguments.content.batch);
    let board = Arc::new(Board::new(arguments.records(), batch, &spread, stage.bell));
    let before = stage.moment()?;
    let crowd = stage.gather(&spread, false, &board)?;
    let connect_s = crowd.ready_ns() as f64 / 1e9;
    let after = stage.moment()?;
    let load = Load {
        connections: 1,
        depth: DEPTH_PACED,
        gate: Gate::PerSecond(arguments.records_per_s()),
        end: End::Count(arguments.records()),
    };
    let (published, _) = stage.broadcast(&crowd, &board, &arguments.content, load)?;
    let seen = Seen {
        connect_s,
        seconds: board.span_s(),
        published,
        tally: crowd.dismiss(),
        last: board.last_subscriber(),
        memory: after.since(&before, connections),
    };
    stage.publish(&report(&stage, arguments, seen))
}

fn report(stage: &Stage, arguments: &Arguments, seen: Seen) -> Report {
    let connections = arguments.connections as f64;
    let deliveries = seen.tally.deliveries as f64;
    let wanted = connections * arguments.active_percent / 100.0;
    let mut report = Report::new("mixed", stage);
    report
        .parameter("connections", arguments.connections)
        .parameter("active_percent", arguments.active_percent)
        .parameter("topics", arguments.topics())
        .parameter("records_per_s", arguments.records_per_s())
        .parameter("duration_s", arguments.duration.as_secs_f64())
        .parameter("messages", arguments.content.source())
        .parameter("batch", arguments.content.batch)
        .figure("seconds_to_connect", seen.connect_s, Unit::Seconds)
        .figure(
            "connections_per_s",
            connections / seen.connect_s,
            Unit::PerSecond,
        )
        .figure("deliveries", deliveries, Unit::Count)
        .figure("deliveries_per_s_wanted", wanted, Unit::PerSecond)
        .figure(
            "deliveries_per_s",
            deliveries / seen.seconds,
            Unit::PerSecond,
        )
        .times("to_each_subscriber", &seen.tally.latency)
        .times("to_last_subscriber", &seen.last)
        .times("acknowledgement", &seen.published.times)
        .times("connect_and_subscribe", &seen.tally.connect)
        .timeline("deliveries", &seen.tally.delivered)
        .timeline("connections", &seen.tally.connected)
        .memory(seen.memory);
    report
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_fifth_of_a_million_are_200_records_a_second_to_topics_of_a_thousand() {
        let line = Line::parse_from(["mixed", "--connections", "1000000"]);
        assert_eq!(line.arguments.topics(), 1_000);
        assert!((line.arguments.records_per_s() - 200.0).abs() < 1e-9);
    }
}
