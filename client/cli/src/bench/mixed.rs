//! `oyez bench mixed`: measures very many connections of which a part is active each second, the classic load of a push
//! service.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::crowd::Tally;
use super::memory::Moment;
use super::options::{Common, Content, Subscribing, at_least_one, rate};
use super::publishers::{DEPTH_PACED, End, Gate, Load, Published};
use super::report::{Report, Unit};
use super::room::USUAL;
use super::stage::{Stage, Wanted};
use super::stalled::{Stalled, StalledOptions};
use super::target::Greeting;
use super::targets::Targets;
use super::times::Times;
use crate::duration;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  oyez bench mixed --connections 100000
  oyez bench mixed --connections 1000000 --active-percent 20 --duration 60s --report mixed.html
  oyez bench mixed --connections 100000 --via sse           over HTTP; or ws, ws-json
  oyez bench mixed --connections 1000000 --stalled 500000   half of them stop reading
  oyez bench mixed --stalled 5000 --stalled-for 3m          measured 3 minutes later

20 % of 1,000,000 are 200,000 deliveries per second: with 1,000 subscribers to a
topic, 200 records per second to one topic after the other. Records are
published on schedule, even if those before are late; latency counts from the
scheduled moment.

With --stalled all is measured twice: while all read, and when some have stopped
reading and records for them go on. The result says how much the server's
RssAnon has grown, and the p99 of the others. A broker with a small
send_buffer_bytes (OYEZ_SEND_BUFFER_BYTES=4096) keeps little in the kernel for a
subscriber that does not read. The broker closes a connection that takes nothing
for two heartbeats, so let heartbeat_ms be more than the time that the bench
takes (OYEZ_HEARTBEAT_MS=3600000). The kernel probes each closed window 8 times
in the first minute, later every 2 minutes: a long --stalled-for lets the first
probes pass.";

/// Arguments of `oyez bench mixed`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections, each with one subscription [default: as many as the broker takes, at most 10,000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,

    /// Percentage of the connections that get a record each second
    #[arg(long, value_name = "PERCENT", default_value = "20", value_parser = rate)]
    active_percent: f64,

    /// Subscribers of one topic; the topics are TOPIC/0, TOPIC/1 and so on
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = at_least_one)]
    topic_size: usize,

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

impl Arguments {
    fn connections(&self) -> usize {
        self.connections.unwrap_or(USUAL)
    }

    /// Refuses arguments by which no connection would go on reading.
    fn check(&self) -> Result<(), Failure> {
        self.stalled.readers(self.connections(), 1).map(drop)
    }

    /// Connections that go on reading.
    fn readers(&self) -> usize {
        self.connections() - self.stalled.stalled
    }

    /// Their topics.
    fn topics(&self) -> usize {
        self.readers().div_ceil(self.topic_size)
    }

    /// Records per second, to all topics together.
    fn records_per_s(&self) -> f64 {
        self.topics() as f64 * self.active_percent / 100.0
    }

    /// Records in all.
    fn records(&self) -> usize {
        let records = self.records_per_s() * self.duration.as_secs_f64();
        records.round().max(1.0) as usize
    }
}

/// The figures of a measurement.
struct Measured {
    connect_s: f64,
    seconds: f64,
    published: Published,
    tally: Tally,
    last: Times,
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
    arguments.check()?;
    let wanted = Wanted {
        connections: arguments.connections(),
        groups: arguments.topics() + arguments.stalled.topics(),
        greeting: Greeting::Subscribe,
        via: arguments.subscribing.via,
        compress: !arguments.content.no_compress,
    };
    let stage = Stage::set(targets, &arguments.common, wanted)?;
    let arguments = &Arguments {
        connections: Some(stage.fit(arguments.connections, "--connections")?),
        ..arguments.clone()
    };
    arguments.check()?;
    let before = stage.moment()?;
    let stalled = arguments.stalled.gather(&stage, arguments.topics())?;
    let measured = measure(&stage, arguments, || Ok(()))?;
    let mut report = report(&stage, arguments, &measured);
    report.memory(measured.begin.since(&before, arguments.connections()));
    if let Some(stalled) = stalled {
        among_stalled(&stage, arguments, stalled, &measured, &mut report)?;
    }
    stage.publish(&report)
}

/// Measures once more, when some have stopped reading.
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
        .figure(
            "deliveries_per_s_among_stalled",
            among.tally.deliveries as f64 / among.seconds,
            Unit::PerSecond,
        )
        .times("to_each_among_stalled", &among.tally.latency)
        .timeline("deliveries_among_stalled", &among.tally.delivered);
    let grown = before.end.since(&before.begin, 1).server_user;
    stalled.report(report, grown, &among.end);
    stalled.dismiss()
}

/// Connects the subscribers that read, calls `when_ready`, and publishes.
fn measure(
    stage: &Stage,
    arguments: &Arguments,
    when_ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let spread = stage.spread(arguments.readers(), arguments.topics());
    let batch = u32::from(arguments.content.batch);
    let board = Arc::new(Board::new(arguments.records(), batch, &spread, stage.waker));
    let crowd = stage.gather(&spread, false, &board)?;
    let connect_s = crowd.ready_ns() as f64 / 1e9;
    let begin = stage.moment()?;
    when_ready()?;
    let load = Load {
        connections: 1,
        topic: 0,
        depth: DEPTH_PACED,
        gate: Gate::PerSecond(arguments.records_per_s()),
        end: End::Count(arguments.records()),
    };
    let (published, _) = stage.broadcast(&crowd, &board, &arguments.content, load)?;
    let end = stage.moment()?;
    Ok(Measured {
        connect_s,
        seconds: board.span_s(),
        published,
        tally: crowd.dismiss(),
        last: board.last_subscriber(),
        begin,
        end,
    })
}

fn report(stage: &Stage, arguments: &Arguments, seen: &Measured) -> Report {
    let connections = arguments.readers() as f64;
    let deliveries = seen.tally.deliveries as f64;
    let wanted = connections * arguments.active_percent / 100.0;
    let mut report = stage.report("mixed");
    report
        .parameter("connections", arguments.connections())
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
        .timeline("connections", &seen.tally.connected);
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
