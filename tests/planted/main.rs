//! `planted`: whether the simulator finds the bugs of [`oyez_protocol::planted`]. Each is tried on seed after seed, until one
//! fails.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use oyez_protocol::planted::{BUILT_IN, Bug};
use testkit::simulation::fleet::{self, Worker};
use testkit::simulation::run::{Options, Plant};

/// Of a hundred bugs so many have to be found.
const PERCENT_MIN: usize = 95;

const NOT_BUILT_IN: &str = "\
this build has no bugs in it; build it with
  RUSTFLAGS=\"--cfg oyez_planted\" CARGO_TARGET_DIR=target/planted cargo run --release -p oyez-tests --bin planted";

/// Tries whether the simulator finds bugs that are planted on purpose, one at a time.
///
/// Exit codes: 0 when at least 95 % are found (with --none: when nothing fails), 1 when fewer are, 2 when the arguments make
/// no sense or the bugs are not built in.
#[derive(Debug, Parser)]
#[command(name = "planted")]
struct Arguments {
    /// Seeds that a bug is tried on at most
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Numbers of the bugs; all unless told otherwise
    #[arg(long, value_delimiter = ',', value_parser = bug, value_name = "NUMBER")]
    bugs: Vec<Bug>,
    /// Plant nothing, and tell whether any seed comes to the places of the bugs
    #[arg(long, conflicts_with = "none")]
    reach: bool,
    /// Plant nothing: every seed passes
    #[arg(long, conflicts_with = "bugs")]
    none: bool,
    /// Bugs that are tried at the same time; one for each processor unless told otherwise
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Is a worker of another one
    #[arg(long, hide = true)]
    worker: bool,
}

fn bug(number: &str) -> Result<Bug, String> {
    let found = number.parse().ok().and_then(Bug::from_number);
    found.ok_or_else(|| format!("there is no bug `{number}`"))
}

/// How a bug was found.
#[derive(Clone, Debug)]
struct Catch {
    seed: u64,
    steps: u64,
    why: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.worker {
        fleet::work();
        return ExitCode::SUCCESS;
    }
    if !BUILT_IN {
        eprintln!("{NOT_BUILT_IN}");
        return ExitCode::from(2);
    }
    let plants = plants(&arguments);
    let catches = try_all(&arguments, &plants);
    let caught = catches.iter().flatten().count();
    println!(
        "{:>3}  {:<24} {:<7} {:>5} {:>7}  failure",
        "no", "bug", "caught", "seed", "steps"
    );
    for (plant, catch) in plants.iter().zip(&catches) {
        print_row(plant.map(|plant| plant.bug), catch.as_ref());
    }
    let all = plants.len();
    println!(
        "{caught} of {all} caught, {} seeds each at most",
        arguments.seeds
    );
    let is_well = match arguments.none {
        true => caught == 0,
        false => caught * 100 >= all * PERCENT_MIN,
    };
    ExitCode::from(u8::from(!is_well))
}

/// What is tried; `None` stands for a broker as it is.
fn plants(arguments: &Arguments) -> Vec<Option<Plant>> {
    if arguments.none {
        return vec![None];
    }
    let bugs = match &arguments.bugs[..] {
        [] => Bug::ALL,
        some => some,
    };
    let is_trap = arguments.reach;
    let plant = |bug: &Bug| Some(Plant { bug: *bug, is_trap });
    bugs.iter().map(plant).collect()
}

/// How each was found, if it was.
fn try_all(arguments: &Arguments, plants: &[Option<Plant>]) -> Vec<Option<Catch>> {
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = arguments.jobs.map_or_else(processors, NonZeroUsize::get);
    let catches = Mutex::new(vec![None; plants.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(plants.len()) {
            scope.spawn(|| {
                let mut worker = Worker::start();
                while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let catch = try_one(arguments, *plant, &mut worker);
                    let name = plant.map_or("none", |plant| plant.bug.name());
                    eprintln!(
                        "{name}: {}",
                        if catch.is_some() {
                            "caught"
                        } else {
                            "not caught"
                        }
                    );
                    let place = plants.iter().position(|other| other == plant);
                    let place = place.expect("it is one of them");
                    catches.lock().expect("no panic while it is held")[place] = catch;
                }
            });
        }
    });
    catches.into_inner().expect("no panic while it was held")
}

/// Runs seeds, up to the first that fails.
fn try_one(arguments: &Arguments, plant: Option<Plant>, worker: &mut Worker) -> Option<Catch> {
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    for seed in seeds {
        let outcome = worker.run(&Options {
            plant,
            ..Options::new(seed)
        });
        if let Some(failure) = outcome.failure {
            return Some(Catch {
                seed,
                steps: outcome.steps,
                why: failure.lines().next().unwrap_or_default().to_owned(),
            });
        }
    }
    None
}

fn print_row(bug: Option<Bug>, catch: Option<&Catch>) {
    let (number, name) = bug.map_or((0, "none"), |bug| (bug.number(), bug.name()));
    match catch {
        None => println!("{number:>3}  {name:<24} no"),
        Some(Catch { seed, steps, why }) => {
            println!("{number:>3}  {name:<24} yes     {seed:>5} {steps:>7}  {why}");
        }
    }
}
