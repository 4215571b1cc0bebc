//! `simulate`: runs the whole broker in a simulator, seed after seed, and says which seeds fail and why.

mod report;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use report::{Progress, Sum};
use testkit::simulation::coverage::Coverage;
use testkit::simulation::fleet::{self, Worker};
use testkit::simulation::plan::{FaultKind, Without};
use testkit::simulation::run::{Options, STEPS};
use testkit::simulation::{run, shrink};

/// Seeds from which on a run is long: everything that can be met must have been.
const LONG_SEEDS: u64 = 10_000;
/// Failures that are made small. More of them are listed.
const SHRUNK_MAX: usize = 3;

/// Runs the whole broker in a simulator: shards, disks, networks, clients and faults, all from a seed.
///
/// A seed that fails is printed with the story's last lines and with a command that replays it, made as small as it still
/// fails. The same seed does the same everywhere, in every run.
///
/// Exit codes: 0 when all is well, 1 when a seed fails or a long run (10,000 seeds and more) has not met everything that
/// there is to meet, 2 when the arguments make no sense.
#[derive(Debug, Parser)]
#[command(
    name = "simulate",
    after_help = "Examples:\n  simulate --seeds 20000 --from 1\n  simulate --seeds 1000000 --minutes 60\n  simulate --seed 42 --trace | less"
)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 1_000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// Stop after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Run this seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens, a line each: time, who, what
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Steps of a seed until its faults end
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    /// Kinds of faults to leave out
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    without_faults: Vec<FaultKind>,
    /// Clients to leave out, by their numbers
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    without_clients: Vec<usize>,
    /// Processes that run seeds; one for each processor unless told otherwise
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// `text` or `json`
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// Is a worker of another one
    #[arg(long, hide = true)]
    worker: bool,
}

impl Arguments {
    fn options(&self, seed: u64) -> Options {
        Options {
            steps: self.steps,
            without: Without {
                faults: self.without_faults.iter().copied().collect(),
                clients: self.without_clients.iter().copied().collect(),
            },
            trace: self.trace,
            ..Options::new(seed)
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.worker {
        fleet::work();
        return ExitCode::SUCCESS;
    }
    match arguments.seed {
        Some(seed) => run_one(&arguments, seed),
        None => run_many(&arguments),
    }
}

/// Runs a seed here, so that its story can be read.
fn run_one(arguments: &Arguments, seed: u64) -> ExitCode {
    let outcome = run(&arguments.options(seed));
    report::one(seed, &outcome, &arguments.output);
    ExitCode::from(u8::from(outcome.failure.is_some()))
}

fn run_many(arguments: &Arguments) -> ExitCode {
    let begin = Instant::now();
    let deadline = arguments
        .minutes
        .and_then(|minutes| begin.checked_add(Duration::from_secs(60 * minutes)));
    let sum = Mutex::new(Sum::default());
    let progress = Progress::new(arguments.seeds);
    let (next, over) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let end = arguments.from.saturating_add(arguments.seeds);
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = arguments.jobs.map_or_else(processors, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut worker = Worker::start();
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        over.store(true, Ordering::Relaxed);
                        return;
                    }
                    let outcome = worker.run(&arguments.options(seed));
                    let mut sum = sum.lock().expect("no panic while it is held");
                    if let Some(why) = &outcome.failure {
                        progress.note_failure(seed, why);
                    }
                    sum.add(seed, outcome);
                    progress.show(&sum, begin.elapsed());
                }
            });
        }
    });
    progress.end();
    let mut sum = sum.into_inner().expect("no panic while it was held");
    make_small(arguments, &mut sum);
    let is_long = sum.seeds >= LONG_SEEDS;
    let missing = if is_long {
        sum.coverage.missing()
    } else {
        Vec::new()
    };
    report::many(&sum, begin.elapsed(), &missing, &arguments.output);
    ExitCode::from(u8::from(!sum.failures.is_empty() || !missing.is_empty()))
}

/// Makes the first failures small.
fn make_small(arguments: &Arguments, sum: &mut Sum) {
    sum.failures.sort_by_key(|failure| failure.options.seed);
    let mut worker = None;
    for failure in sum.failures.iter_mut().take(SHRUNK_MAX) {
        let worker = worker.get_or_insert_with(Worker::start);
        let outcome = std::mem::take(&mut failure.outcome);
        let (options, outcome) = shrink::shrink(
            &arguments.options(failure.options.seed),
            outcome,
            |options| {
                let outcome = worker.run(options);
                outcome.failure.is_some().then_some(outcome)
            },
        );
        (failure.options, failure.outcome) = (options, outcome);
    }
}

/// What all seeds have met beside what one has, with the share of what there is to meet.
fn reached(coverage: &Coverage) -> (usize, usize) {
    let all = Coverage::expected();
    (all - coverage.missing().len(), all)
}
