//! One seed, from its beginning to its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oyez_protocol::planted::{self, Bug};

use super::coverage::Coverage;
use super::plan::{FaultKind, Plan, Without};
use super::trace::Trace;
use super::world::World;

/// Steps of a run, unless it is told otherwise.
pub const STEPS: u64 = 2_000;

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Steps until its faults end.
    pub steps: u64,
    /// What is left out.
    pub without: Without,
    /// Whether the story is printed.
    pub trace: bool,
    /// The bug that is planted, if one is.
    pub plant: Option<Plant>,
}

/// A bug that is planted, in a build that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plant {
    /// The bug.
    pub bug: Bug,
    /// It is not planted, but its place is a trap: to see whether anything comes there.
    pub is_trap: bool,
}

impl Options {
    /// A seed as it is.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: STEPS,
            without: Without::default(),
            trace: false,
            plant: None,
        }
    }
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Why it failed, if it has.
    pub failure: Option<String>,
    /// Its last lines.
    pub last: Vec<String>,
    /// Stands for its whole story.
    pub hash: u64,
    /// Steps taken.
    pub steps: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// What was met.
    pub coverage: Coverage,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that were delivered.
    pub delivered: u64,
}

/// How many clients a seed has.
#[must_use]
pub fn clients(options: &Options) -> usize {
    Plan::new(options.seed, options.steps).clients()
}

/// Kinds of faults that a seed may meet.
#[must_use]
pub fn faults(options: &Options) -> Vec<FaultKind> {
    Plan::new(options.seed, options.steps).faults
}

/// Runs a seed.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let (is_trap, bug) = options
        .plant
        .map_or((false, None), |plant| (plant.is_trap, Some(plant.bug)));
    planted::choose(bug.filter(|_| !is_trap));
    planted::trap(bug.filter(|_| is_trap));
    let plan = Plan::new(options.seed, options.steps);
    let mut world = World::new(plan, options.without.clone(), Trace::new(options.trace));
    world.describe();
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = match verdict {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(format!("panic: {}", text_of(&*panic))),
    };
    let (acknowledged, delivered) = world.oracle.counts();
    Outcome {
        failure,
        last: world.trace.last(),
        hash: world.trace.hash(),
        steps: world.steps,
        simulated_ms: world.simulated_ms(),
        coverage: std::mem::take(&mut world.coverage),
        acknowledged,
        delivered,
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}
