//! `oyez bench connect`: a storm of connections, and a second one when all subscribers come back.

use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::board::Board;
use super::crowd::Crowd;
use super::options::{Common, Content, Subscribing, at_least_one};
use super::publishers::{End, Gate, Load};
use super::report::Unit;
use super::room::USUAL;
use super::stage::{Publishing, Stage, Wanted};
use super::target::Greeting;
use super::targets::Targets;
use crate::failure::Failure;
use crate::say::say;

/// Bytes of a message that the subscribers miss, and how many of them are on their way at once.
const MISSED_BYTES: usize = 200;
const MISSED_DEPTH: usize = 64;

const EXAMPLES: &str = "\
Examples:
  oyez bench connect --connections 10000
  oyez bench connect --connections 1000000 --resume --missed 1
  oyez bench connect --connections 10000 --silent                   accepted, and no more
  oyez bench connect --connections 10000 --via sse --resume         over HTTP
  oyez bench connect --connections 10000 --via ws --resume          over WebSocket

With --resume all subscribers hang up, come back with their place, and must get
what was published meanwhile.

The same after a restart of the broker, with a topic that survives it:

  oyez bench connect --connections 1000000 --resume --resume-after restart

The bench says when all are connected. Then restart the broker as in production,
on the same address and data (systemctl restart, or kill -TERM and start it
again; kill -9 will do as well). When the broker is back, one publisher
publishes what was missed, and all subscribers come back. Time counts from the
first connect call; how long the broker was away is reported separately.";

/// Arguments of `oyez bench connect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Connections [default: as many as the broker takes, at most 10,000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,

    /// Connect and say hello, but do not subscribe
    #[arg(long, conflicts_with = "resume")]
    no_subscribe: bool,

    /// Connect and send nothing, to measure only how fast connections are accepted. The broker closes connections that
    /// have sent nothing for `hello_timeout_ms`
    #[arg(long, conflicts_with_all = ["resume", "no_subscribe"])]
    silent: bool,

    /// Then reset all connections, and let every subscriber come back to its place
    #[arg(long)]
    resume: bool,

    /// What ends the connections before the subscribers come back
    #[arg(long, value_enum, default_value_t = After::HangUp, requires = "resume")]
    resume_after: After,

    /// Records that each subscriber has missed when it comes back
    #[arg(long, value_name = "N", default_value_t = 1, requires = "resume")]
    missed: usize,

    #[command(flatten)]
    subscribing: Subscribing,
    #[command(flatten)]
    common: Common,
}

/// Why the subscribers were away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum After {
    /// All subscribers hang up
    HangUp,
    /// The broker is restarted by you; the bench waits for that
    Restart,
}

/// How the subscribers came back.
struct Resumed {
    seconds: f64,
    /// How long the broker was away, where it was.
    away_s: Option<f64>,
}

impl Arguments {
    const fn greeting(&self) -> Greeting {
        match (self.silent, self.no_subscribe) {
            (true, _) => Greeting::Silence,
            (false, true) => Greeting::Hello,
            (false, false) => Greeting::Subscribe,
        }
    }

    const fn wanted(&self) -> Wanted {
        Wanted {
            connections: match self.connections {
                Some(connections) => connections,
                None => USUAL,
            },
            groups: 1,
            greeting: self.greeting(),
            via: self.subscribing.via,
            compress: true,
        }
    }
}

/// Runs the bench.
pub(crate) fn run(targets: &dyn Targets, arguments: &Arguments) -> Result<(), Failure> {
    let stage = Stage::set(targets, &arguments.common, arguments.wanted())?;
    let count = stage.fit(arguments.connections, "--connections")?;
    let spread = stage.spread(count, 1);
    // A server that keeps nothing has no missed records for subscribers that come back.
    let missed = if arguments.resume && stage.target.keeps() {
        arguments.missed
    } else {
        0
    };
    let board = Arc::new(Board::new(missed, 1, &spread, stage.waker));
    let begun_ns = board.clock.now_ns();
    let crowd = stage.gather(&spread, false, &board)?;
    let seconds = (ended_ns(&stage, &crowd, &board) - begun_ns) as f64 / 1e9;
    let resumed = arguments
        .resume
        .then(|| resume(&stage, &crowd, &board, arguments.resume_after))
        .transpose()?;
    let tally = crowd.dismiss();
    let connections = count as f64;
    let after = arguments.resume_after.to_possible_value();
    let mut report = stage.report("connect");
    report
        .parameter("connections", count)
        .parameter("outstanding", arguments.common.outstanding)
        .parameter("silent", arguments.silent)
        .parameter("subscribe", arguments.greeting() == Greeting::Subscribe)
        .parameter("resume", arguments.resume)
        .parameter(
            "resume_after",
            after.map(|value| value.get_name().to_owned()),
        )
        .parameter("missed", missed)
        .figure("seconds", seconds, Unit::Seconds)
        .figure("connections_per_s", connections / seconds, Unit::PerSecond);
    if let Some(resumed) = resumed {
        let rate = connections / resumed.seconds;
        report
            .figure("resume_seconds", resumed.seconds, Unit::Seconds)
            .figure("resumes_per_s", rate, Unit::PerSecond);
        if let Some(seconds) = resumed.away_s {
            report.figure("away_seconds", seconds, Unit::Seconds);
        }
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

/// Lets all subscribers go, come back, and get what they missed.
fn resume(
    stage: &Stage,
    crowd: &Crowd,
    board: &Arc<Board>,
    after: After,
) -> Result<Resumed, Failure> {
    let size = crowd.size() as u64;
    let away_s = match after {
        After::HangUp => None,
        After::Restart => Some(outlive(stage, crowd)?),
    };
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
    Ok(Resumed {
        seconds: (ended_ns - begun_ns) as f64 / 1e9,
        away_s,
    })
}

/// Waits until the broker has restarted. Returns the seconds from the loss of the first connection until then.
fn outlive(stage: &Stage, crowd: &Crowd) -> Result<f64, Failure> {
    crowd.forgive(true);
    let run = || stage.target.run();
    let Some(before) = run().map_err(Failure::Failed)? else {
        let text = "--resume-after restart needs a server that reports its restart";
        return Err(Failure::Usage(text.to_owned()));
    };
    say("oyez bench: all subscribers are connected; restart the broker now");
    let lost = || crowd.hung_up() as u64;
    stage.wait("lost", 1, || lost().min(1), &[crowd], None)?;
    let began = Instant::now();
    let size = crowd.size() as u64;
    stage.wait("lost", size, lost, &[crowd], None)?;
    let is_back = || run().is_ok_and(|run| run.is_some_and(|run| run != before));
    stage.wait("broker back", 1, || u64::from(is_back()), &[crowd], None)?;
    crowd.forgive(false);
    Ok(began.elapsed().as_secs_f64())
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
        topic: 0,
        depth: MISSED_DEPTH,
        gate: Gate::Answers,
        end: End::Count(records),
    };
    let (publishers, _) = stage.publishers(&content, load, board)?;
    stage.finish(Publishing::begin(publishers), &[]).map(drop)
}
