//! What `simulate` tells: progress, failures, and what was met.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use testkit::simulation::Outcome;
use testkit::simulation::coverage::Coverage;
use testkit::simulation::run::{Options, STEPS};

use crate::reached;

/// A seed that has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) options: Options,
    pub(crate) outcome: Outcome,
}

/// Everything of many seeds.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) coverage: Coverage,
    pub(crate) failures: Vec<Failure>,
}

impl Sum {
    pub(crate) fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.simulated_ms += outcome.simulated_ms;
        self.acknowledged += outcome.acknowledged;
        self.delivered += outcome.delivered;
        self.coverage.merge(&outcome.coverage);
        if outcome.failure.is_some() {
            let options = Options::new(seed);
            self.failures.push(Failure { options, outcome });
        }
    }
}

/// A line on a terminal that says how far it is, and plain lines elsewhere, a few of them.
#[derive(Debug)]
pub(crate) struct Progress {
    seeds: u64,
    is_terminal: bool,
    shown_s: AtomicU64,
}

/// Seconds from one plain line to the next.
const PLAIN_S: u64 = 30;

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        Self {
            seeds,
            is_terminal: std::io::stderr().is_terminal(),
            shown_s: AtomicU64::new(0),
        }
    }

    pub(crate) fn show(&self, sum: &Sum, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        let apart = if self.is_terminal { 1 } else { PLAIN_S };
        if seconds < self.shown_s.load(Ordering::Relaxed) + apart {
            return;
        }
        self.shown_s.store(seconds, Ordering::Relaxed);
        let (start, end) = if self.is_terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        let mut stderr = std::io::stderr().lock();
        // A closed stderr is no reason to stop.
        let _ = write!(
            stderr,
            "{start}{} of {} seeds, {} failed, {seconds} s, {} s simulated{end}",
            sum.seeds,
            self.seeds,
            sum.failures.len(),
            sum.simulated_ms / 1_000
        );
    }

    /// Tells of a failure at once: the rest may take an hour.
    pub(crate) fn note_failure(&self, seed: u64, why: &str) {
        let start = if self.is_terminal { "\r\x1b[K" } else { "" };
        let why = why.lines().next().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{start}seed {seed} fails: {why}");
    }

    pub(crate) fn end(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// How to see a failure again.
fn command(options: &Options) -> String {
    let mut command = format!(
        "cargo run --release -p oyez-tests --bin simulate -- --seed {}",
        options.seed
    );
    if options.steps != STEPS {
        command += &format!(" --steps {}", options.steps);
    }
    let without = &options.without;
    if !without.faults.is_empty() {
        let kinds: Vec<&str> = without.faults.iter().map(|kind| kind.name()).collect();
        command += &format!(" --without-faults {}", kinds.join(","));
    }
    if !without.clients.is_empty() {
        let numbers: Vec<String> = without.clients.iter().map(ToString::to_string).collect();
        command += &format!(" --without-clients {}", numbers.join(","));
    }
    command + " --trace"
}

fn coverage_json(coverage: &Coverage) -> Map<String, Value> {
    let met = coverage.iter();
    met.map(|(what, times)| (what.to_owned(), times.into()))
        .collect()
}

/// Tells of a single seed.
pub(crate) fn one(seed: u64, outcome: &Outcome, output: &str) {
    let hash = format!("{:016x}", outcome.hash);
    if output == "json" {
        let told = json!({
            "seed": seed,
            "failure": outcome.failure,
            "steps": outcome.steps,
            "simulated_ms": outcome.simulated_ms,
            "acknowledged": outcome.acknowledged,
            "delivered": outcome.delivered,
            "trace_hash": hash,
            "met": coverage_json(&outcome.coverage),
        });
        println!("{told}");
        return;
    }
    println!(
        "seed {seed}: {} steps, {}.{:03} s simulated, {} messages acknowledged, {} delivered, trace {hash}",
        outcome.steps,
        outcome.simulated_ms / 1_000,
        outcome.simulated_ms % 1_000,
        outcome.acknowledged,
        outcome.delivered,
    );
    match &outcome.failure {
        Some(failure) => println!("FAILED: {failure}"),
        None => println!("nothing is left unexplained"),
    }
}

/// Tells of many seeds.
pub(crate) fn many(sum: &Sum, elapsed: Duration, missing: &[&str], output: &str) {
    if output == "json" {
        many_json(sum, elapsed, missing);
        return;
    }
    for failure in &sum.failures {
        let why = failure.outcome.failure.as_deref().unwrap_or_default();
        println!("FAILED seed {}: {why}", failure.options.seed);
        for line in &failure.outcome.last {
            println!("    {line}");
        }
        println!("  again: {}", command(&failure.options));
    }
    let seconds = elapsed.as_secs_f64();
    let simulated = sum.simulated_ms as f64 / 1_000.0;
    let (met, all) = reached(&sum.coverage);
    for (what, times) in sum.coverage.iter() {
        println!("{times:>12}  {what}");
    }
    println!(
        "{} seeds, {} failed; {} steps in {seconds:.1} s; {simulated:.0} s simulated, {:.0} in a second; {} messages acknowledged, {} delivered; met {met} of {all} that there are to meet",
        sum.seeds,
        sum.failures.len(),
        sum.steps,
        simulated / seconds,
        sum.acknowledged,
        sum.delivered,
    );
    for what in missing {
        println!("never met: {what}");
    }
}

fn many_json(sum: &Sum, elapsed: Duration, missing: &[&str]) {
    let failures: Vec<Value> = sum
        .failures
        .iter()
        .map(|failure| {
            json!({
                "seed": failure.options.seed,
                "failure": failure.outcome.failure,
                "last": failure.outcome.last,
                "again": command(&failure.options),
            })
        })
        .collect();
    let told = json!({
        "seeds": sum.seeds,
        "steps": sum.steps,
        "seconds": elapsed.as_secs_f64(),
        "simulated_ms": sum.simulated_ms,
        "acknowledged": sum.acknowledged,
        "delivered": sum.delivered,
        "failures": failures,
        "met": coverage_json(&sum.coverage),
        "never_met": missing,
    });
    println!("{told}");
}
