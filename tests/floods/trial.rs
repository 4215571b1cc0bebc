//! One flood: twice against a broker, so that what it leaves behind shows, and in between against the bare loop.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use testkit::deadline::{found_within, wait_until};
use testkit::process::status_bytes;
use testkit::random::seed;
use testkit::sockets::raise_descriptor_limit;
use testkit::{Broker, Session};

use crate::bare::Bare;
use crate::flood::{Flood, SHARDS, clients, time};
use crate::gauges::{Gauges, counter};
use crate::generator::{Generator, Order, Tally};
use crate::pairs::{Latencies, Pairs, one_message};
use crate::verdict::{TURNS_IDLE_MAX, judge};

/// Floods run one after another: each wants the whole machine.
static ALONE: Mutex<()> = Mutex::new(());
/// Between two looks at the statistics while a flood lasts.
const SAMPLE_PAUSE: Duration = Duration::from_millis(100);
/// How long turns are counted.
const COUNTED: Duration = Duration::from_millis(500);
/// How long the broker may take for what is under way when the traffic has ended.
const CALM: Duration = Duration::from_secs(10);

/// The observations of a flood of the broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) tally: Tally,
    pub(crate) latencies: Latencies,
    pub(crate) gauges: Gauges,
    /// Turns of all shards in a second when the traffic has ended and the sockets are still open, and when they are
    /// closed.
    pub(crate) turns_held: u64,
    pub(crate) turns_idle: u64,
    /// How long until all connections of the flood were gone; nothing if they never were.
    pub(crate) gone: Option<Duration>,
    /// How long a message took between two clients that came at once after the flood.
    pub(crate) one_message: Duration,
    /// Private memory without the arena when all was over.
    pub(crate) memory: u64,
    /// What went wrong beside.
    pub(crate) faults: Vec<String>,
}

/// All that is known of a flood.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    pub(crate) pends: bool,
    pub(crate) seed: u64,
    pub(crate) rounds: [Round; 2],
    pub(crate) bare: Latencies,
    pub(crate) bare_tally: Tally,
}

/// Runs a flood and fails if the broker does not withstand it.
pub(crate) fn withstands(flood: &Flood) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let seed = seed(flood.name);
    let broker = flood.setup.clone().start();
    (flood.prepare)(&broker);
    let first = flooded(&broker, flood, seed);
    let (bare, bare_tally) = bare_floor(flood, seed);
    let second = flooded(&broker, flood, seed);
    let trial = Trial {
        name: flood.name,
        pends: flood.pends,
        seed,
        rounds: [first, second],
        bare,
        bare_tally,
    };
    judge(&trial);
}

fn order(flood: &Flood, address: std::net::SocketAddr, seed: u64) -> Order {
    Order {
        address,
        kinds: (flood.kinds)(),
        many: clients(),
        round: flood.round,
        seed,
    }
}

fn flooded(broker: &Broker, flood: &Flood, seed: u64) -> Round {
    let mut asking = broker.connect();
    let mut round = Round::default();
    let pairs = Pairs::of_broker(broker.address());
    let generator = Generator::start(order(flood, broker.address(), seed));
    // Honest clients come when the flood is at its height.
    sample(&mut asking, &mut round.gauges, time() / 2);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| (flood.beside)(broker));
        sample(&mut asking, &mut round.gauges, time() / 2);
        round.faults = beside.join().expect("honest clients only report");
    });
    round.latencies = pairs.end();
    round.tally = generator.hold();
    round.turns_held = turns_when_calm(&mut asking);
    generator.close();
    round.one_message = one_message(broker.address());
    let begin = Instant::now();
    round.gone = found_within(CALM, || {
        let left = counter(&asking.stats(), "connections");
        (left == 1).then(|| begin.elapsed())
    });
    round.turns_idle = turns_when_calm(&mut asking);
    let stats = asking.stats();
    round.gauges.take(&stats);
    let arena = counter(&stats, "arena_bytes");
    round.memory = status_bytes(broker.pid(), "RssAnon").saturating_sub(arena);
    round
}

/// Looks at the statistics for a while.
fn sample(asking: &mut Session, gauges: &mut Gauges, time: Duration) {
    let begin = Instant::now();
    let mut next = begin;
    wait_until("the flood to be over", || {
        let now = Instant::now();
        if next <= now {
            gauges.take(&asking.stats());
            next = Instant::now() + SAMPLE_PAUSE;
        }
        begin.elapsed() >= time
    });
}

/// Turns of all shards in a second, once that is as few as it may be, or the broker has had time enough for it.
fn turns_when_calm(asking: &mut Session) -> u64 {
    let mut rate = 0;
    found_within(CALM, || {
        rate = turns_per_second(asking);
        (rate <= TURNS_IDLE_MAX).then_some(())
    });
    rate
}

fn turns_per_second(asking: &mut Session) -> u64 {
    let before = counter(&asking.stats(), "turns");
    let begin = Instant::now();
    wait_until("the time in which turns are counted", || {
        begin.elapsed() >= COUNTED
    });
    let turns = counter(&asking.stats(), "turns") - before;
    (turns as f64 / begin.elapsed().as_secs_f64()) as u64
}

fn bare_floor(flood: &Flood, seed: u64) -> (Latencies, Tally) {
    let bare = Bare::start(SHARDS);
    let pairs = Pairs::of_echo(bare.echo);
    let generator = Generator::start(order(flood, bare.flood, seed));
    let begin = Instant::now();
    wait_until("the flood to be over", || begin.elapsed() >= time());
    let latencies = pairs.end();
    let tally = generator.hold();
    generator.close();
    bare.end();
    (latencies, tally)
}
