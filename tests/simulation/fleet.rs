//! Many seeds at once, each in a process that may die of it: a fault that ends the process, or never ends, is a verdict
//! like any other.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use oyez_protocol::planted::Bug;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::plan::Without;
use super::run::{Options, Outcome, Plant, run};

/// How long one seed may take. Most take some milliseconds.
const SEED_MAX: Duration = Duration::from_secs(120);

/// The argument that makes a program a worker.
pub const WORKER: &str = "--worker";

/// A process that runs seeds, one after another.
pub struct Worker {
    child: Child,
    jobs: ChildStdin,
    answers: Receiver<String>,
    errors: Receiver<String>,
}

impl Worker {
    /// Starts this program once more, as a worker.
    ///
    /// # Panics
    /// When the system gives no process.
    #[must_use]
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .arg(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process for a worker");
        let jobs = child.stdin.take().expect("it is piped");
        let answers = lines(child.stdout.take().expect("it is piped"));
        let errors = lines(child.stderr.take().expect("it is piped"));
        Self {
            child,
            jobs,
            answers,
            errors,
        }
    }

    /// Runs a seed. A worker that dies of it is replaced.
    pub fn run(&mut self, options: &Options) -> Outcome {
        let job = job(options).to_string();
        // One that is gone has said why, or is found to be gone below.
        let _ = writeln!(self.jobs, "{job}");
        let failure = match self.answers.recv_timeout(SEED_MAX) {
            Ok(line) => match outcome(&line) {
                Some(outcome) => return outcome,
                None => format!("a worker says `{line}`"),
            },
            Err(RecvTimeoutError::Timeout) => format!("no end after {SEED_MAX:?}"),
            Err(RecvTimeoutError::Disconnected) => self.last_words(),
        };
        self.end();
        *self = Self::start();
        Outcome {
            failure: Some(failure),
            ..Outcome::default()
        }
    }

    /// What a worker has said before it died.
    fn last_words(&self) -> String {
        let words: Vec<String> = self.errors.iter().take(6).collect();
        format!("the process dies: {}", words.join(" / "))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lines of a pipe, until its end.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else {
                return;
            };
            if told.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A worker's life: jobs come in, outcomes go out, until there are no more jobs.
pub fn work() {
    for line in std::io::stdin().lines() {
        let Some(options) = line.ok().as_deref().and_then(options) else {
            return;
        };
        println!("{}", answer(&run(&options)));
    }
}

fn job(options: &Options) -> Value {
    let faults: Vec<&str> = options
        .without
        .faults
        .iter()
        .map(|kind| kind.name())
        .collect();
    json!({
        "seed": options.seed,
        "steps": options.steps,
        "without_faults": faults,
        "without_clients": options.without.clients,
        "bug": options.plant.map(|plant| plant.bug.number()),
        "trap": options.plant.is_some_and(|plant| plant.is_trap),
    })
}

fn options(line: &str) -> Option<Options> {
    let job: Value = serde_json::from_str(line).ok()?;
    let faults = job["without_faults"].as_array()?.iter();
    let clients = job["without_clients"].as_array()?.iter();
    let number = job["bug"].as_u64().and_then(|bug| u16::try_from(bug).ok());
    let (bug, is_trap) = (number.and_then(Bug::from_number), job["trap"] == true);
    Some(Options {
        seed: job["seed"].as_u64()?,
        steps: job["steps"].as_u64()?,
        without: Without {
            faults: faults
                .filter_map(|name| name.as_str()?.parse().ok())
                .collect(),
            clients: clients
                .filter_map(|number| usize::try_from(number.as_u64()?).ok())
                .collect(),
        },
        trace: false,
        plant: bug.map(|bug| Plant { bug, is_trap }),
    })
}

fn answer(outcome: &Outcome) -> Value {
    let coverage: serde_json::Map<String, Value> = outcome
        .coverage
        .iter()
        .map(|(what, times)| (what.to_owned(), times.into()))
        .collect();
    json!({
        "failure": outcome.failure,
        "last": outcome.last,
        "hash": outcome.hash,
        "steps": outcome.steps,
        "simulated_ms": outcome.simulated_ms,
        "acknowledged": outcome.acknowledged,
        "delivered": outcome.delivered,
        "coverage": coverage,
    })
}

fn outcome(line: &str) -> Option<Outcome> {
    let told: Value = serde_json::from_str(line).ok()?;
    let mut coverage = Coverage::default();
    for (what, times) in told["coverage"].as_object()? {
        coverage.add(what, times.as_u64()?);
    }
    let last = told["last"].as_array()?.iter();
    Some(Outcome {
        failure: told["failure"].as_str().map(str::to_owned),
        last: last
            .filter_map(|line| Some(line.as_str()?.to_owned()))
            .collect(),
        hash: told["hash"].as_u64()?,
        steps: told["steps"].as_u64()?,
        simulated_ms: told["simulated_ms"].as_u64()?,
        coverage,
        acknowledged: told["acknowledged"].as_u64()?,
        delivered: told["delivered"].as_u64()?,
    })
}
