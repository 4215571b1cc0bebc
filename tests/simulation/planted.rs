//! `planted`: whether the simulator finds the bugs of [`oyez_protocol::planted`]. Each is tried on seed after seed, until one
//! fails.
//!
//! Seeds run in a child of this program, since some bugs end a process or keep it busy for ever: a child that dies, or takes
//! too long with a seed, has found its bug.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use oyez_protocol::planted::{BUILT_IN, Bug, choose, trap};
use testkit::simulation::{Options, run};

/// Seeds that a bug is tried on, unless it is said otherwise.
const SEEDS: u64 = 300;
/// How long a child may be silent: a seed takes milliseconds, and a few of them a second.
const SEED_TIME: Duration = Duration::from_secs(20);
/// Of a hundred bugs so many have to be found.
const PERCENT_MIN: usize = 95;

const USAGE: &str = "\
usage: planted [--seeds N] [--from S] [--bugs 3,7]
       planted --reach [--seeds N] [--from S] [--bugs 3,7]     whether seeds come to the places of the bugs
       planted --none [--seeds N] [--from S]     without any bug: every seed passes";
const NOT_BUILT_IN: &str = "\
this build has no bugs in it; build it with
  RUSTFLAGS=\"--cfg oyez_planted\" CARGO_TARGET_DIR=target/planted cargo run --release -p oyez-tests --bin planted";

/// What is tried.
#[derive(Clone, Debug)]
struct Trial {
    seeds: u64,
    from: u64,
    /// No bug stands for a broker as it is.
    bugs: Vec<Option<Bug>>,
    /// Bugs are not planted; their places are traps.
    reaches: bool,
    /// Seeds are run here, and told line by line.
    is_worker: bool,
}

/// How a bug was found.
#[derive(Clone, Debug)]
struct Catch {
    seed: u64,
    /// Unknown where the process has not told.
    steps: Option<u64>,
    why: String,
}

/// A child that runs seeds, and its lines.
struct Worker {
    child: Child,
    lines: Receiver<String>,
}

fn main() -> ExitCode {
    let trial = match parse(std::env::args().skip(1)) {
        Ok(trial) => trial,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if trial.is_worker {
        work(&trial);
        return ExitCode::SUCCESS;
    }
    if !BUILT_IN {
        eprintln!("{NOT_BUILT_IN}");
        return ExitCode::from(2);
    }
    match try_all(&trial) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("a child cannot be run: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Trial, String> {
    let mut trial = Trial {
        seeds: SEEDS,
        from: 1,
        bugs: Bug::ALL.iter().copied().map(Some).collect(),
        reaches: false,
        is_worker: false,
    };
    while let Some(arg) = args.next() {
        match &*arg {
            "--worker" => trial.is_worker = true,
            "--reach" => trial.reaches = true,
            "--none" => trial.bugs = vec![None],
            "--seeds" => trial.seeds = number(args.next())?,
            "--from" => trial.from = number(args.next())?,
            "--bugs" => {
                let list = args.next().unwrap_or_default();
                trial.bugs = list.split(',').map(bug).collect::<Result<_, _>>()?;
            }
            other => return Err(format!("`{other}` means nothing")),
        }
    }
    Ok(trial)
}

fn number(arg: Option<String>) -> Result<u64, String> {
    let arg = arg.unwrap_or_default();
    let number = arg.parse();
    number.map_err(|_| format!("`{arg}` is not a number"))
}

fn bug(number: &str) -> Result<Option<Bug>, String> {
    let found = number.parse().ok().and_then(Bug::from_number);
    let bug = found.ok_or_else(|| format!("there is no bug `{number}`"))?;
    Ok(Some(bug))
}

/// Tries all bugs; tells them as a table, and whether enough were found.
fn try_all(trial: &Trial) -> io::Result<bool> {
    println!(
        "{:>3}  {:<24} {:<7} {:>5} {:>7}  failure",
        "no", "bug", "caught", "seed", "steps"
    );
    let mut caught = 0;
    for bug in &trial.bugs {
        let catch = try_bug(trial, *bug)?;
        caught += usize::from(catch.is_some());
        print_row(*bug, catch.as_ref());
    }
    let all = trial.bugs.len();
    println!(
        "{caught} of {all} caught, {} seeds each at most",
        trial.seeds
    );
    Ok(match trial.bugs[..] {
        [None] => caught == 0,
        _ => caught * 100 >= all * PERCENT_MIN,
    })
}

fn print_row(bug: Option<Bug>, catch: Option<&Catch>) {
    let (number, name) = bug.map_or((0, "none"), |bug| (bug.number(), bug.name()));
    match catch {
        None => println!("{number:>3}  {name:<24} no"),
        Some(Catch { seed, steps, why }) => {
            let steps = steps.map_or_else(String::new, |steps| steps.to_string());
            println!("{number:>3}  {name:<24} yes     {seed:>5} {steps:>7}  {why}");
        }
    }
}

/// Runs the seeds in a child, up to the first that fails.
fn try_bug(trial: &Trial, bug: Option<Bug>) -> io::Result<Option<Catch>> {
    let mut worker = Worker::start(trial, bug)?;
    let mut seed = trial.from;
    let caught = loop {
        let line = worker.lines.recv_timeout(SEED_TIME);
        let catch = |steps, why: &str| Catch {
            seed,
            steps,
            why: why.to_owned(),
        };
        match line.as_deref() {
            Ok("passed") => seed += 1,
            Ok("done") => break None,
            Ok(line) => {
                let failed = line.strip_prefix("failed ").unwrap_or(line);
                let (steps, why) = failed.split_once(' ').unwrap_or((failed, ""));
                break Some(catch(steps.parse().ok(), why));
            }
            Err(RecvTimeoutError::Timeout) => break Some(catch(None, "the seed does not end")),
            Err(RecvTimeoutError::Disconnected) => {
                break Some(catch(None, "the process has ended"));
            }
        }
    };
    worker.end()?;
    Ok(caught)
}

impl Worker {
    fn start(trial: &Trial, bug: Option<Bug>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--worker", "--seeds", &trial.seeds.to_string()]);
        command.args(["--from", &trial.from.to_string()]);
        if trial.reaches {
            command.arg("--reach");
        }
        match bug {
            Some(bug) => command.args(["--bugs", &bug.number().to_string()]),
            None => command.arg("--none"),
        };
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.stdin(Stdio::null()).spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            for line in lines {
                if sender.send(line).is_err() {
                    return; // Nobody listens any more.
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn end(&mut self) -> io::Result<()> {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().map(drop)
    }
}

/// Runs the seeds with the bug, up to the first that fails, and tells a line for each.
fn work(trial: &Trial) {
    let bug = trial.bugs.first().copied().flatten();
    match trial.reaches {
        true => trap(bug),
        false => choose(bug),
    }
    let mut out = io::stdout().lock();
    for seed in trial.from..trial.from.saturating_add(trial.seeds) {
        let outcome = run(&Options::new(seed));
        let (line, fails) = match outcome.failure {
            None => ("passed".to_owned(), false),
            Some(failure) => {
                let first = failure.lines().next().unwrap_or_default();
                (format!("failed {} {first}", outcome.steps), true)
            }
        };
        // Without the one that listens there is nothing to do.
        let told = writeln!(out, "{line}").and_then(|()| out.flush());
        if fails || told.is_err() {
            return;
        }
    }
    let _ = writeln!(out, "done");
}
