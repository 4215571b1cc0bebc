//! The simulator in everyday tests: seeds that have found something, some that are always the same, fresh ones, and that
//! a seed is a run.

use std::process::Command;
use std::time::{Duration, Instant};

use testkit::figures::{figure, full};
use testkit::random::seed;
use testkit::simulation::run;
use testkit::simulation::run::{Options, Outcome, STEPS};

/// Seeds that found a fault once. What a seed means changes with the plans, so that each fault also has a test of its own
/// where it was mended; these keep what was met beside it.
const FOUND: &[(u64, &str)] = &[
    (
        36,
        "publishes were refused after a pause while a log waited for its first segment",
    ),
    (
        807,
        "a segment with a loss at its end got a footer without it when records behind it were lost as well",
    ),
    (
        4256,
        "the same, after retention had removed the segments before it",
    ),
    (
        19_928,
        "a whole record of another place was sent again and again after a write had gone astray",
    ),
    (
        32_964,
        "an older state that was clean had the log go on inside a sealed segment",
    ),
    (
        9563,
        "the rest of a torn write was taken for a lost segment after the log had been closed behind it",
    ),
    (
        9,
        "a page of another block over a block's header cost all of the block",
    ),
    (
        89,
        "the first records of a log without a state were missing without a word",
    ),
    (
        228,
        "a topic whose first record lay in a gap began behind it without a word",
    ),
    (
        825,
        "two segments exchanged their names for a header that had gone astray",
    ),
];
/// Seeds that are always run.
const FIXED: u64 = 20;
/// Seeds that are run twice.
const SAME: u64 = 200;
/// How long fresh seeds are run.
const FRESH: Duration = Duration::from_secs(12);

fn check(seed: u64, outcome: &Outcome) {
    if let Some(failure) = &outcome.failure {
        let story = outcome.last.join("\n");
        panic!(
            "seed {seed}: {failure}\n{story}\nagain: cargo run --release -p oyez-tests --bin simulate -- --seed {seed} --trace"
        );
    }
}

#[test]
fn seeds_that_have_found_something_find_nothing_any_more() {
    for (seed, _what) in FOUND {
        check(*seed, &run(&Options::new(*seed)));
    }
}

#[test]
fn fixed_seeds_leave_nothing_unexplained() {
    for seed in 1..=FIXED {
        check(seed, &run(&Options::new(seed)));
    }
}

#[test]
fn fresh_seeds_leave_nothing_unexplained() {
    let (first, begin) = (seed("simulation"), Instant::now());
    let (mut count, mut simulated_ms) = (0, 0);
    while begin.elapsed() < FRESH {
        let seed = first.wrapping_add(count);
        let outcome = run(&Options::new(seed));
        check(seed, &outcome);
        count += 1;
        simulated_ms += outcome.simulated_ms;
    }
    let per_second = simulated_ms / begin.elapsed().as_millis().max(1) as u64;
    figure(
        "simulation",
        &format!("{count} fresh seeds, {per_second} s simulated in a second"),
    );
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let steps = if full() { STEPS } else { 20 };
    for seed in 1..=SAME {
        let options = Options {
            steps,
            ..Options::new(seed)
        };
        let hashes = [(); 2].map(|()| run(&options).hash);
        assert_eq!(hashes[0], hashes[1], "seed {seed}");
    }
}

/// Runs one seed in another process, whose addresses and hash seeds are its own.
#[test]
fn a_seed_is_the_same_run_in_every_process() {
    let simulate = env!("CARGO_BIN_EXE_simulate");
    for seed in ["7", "12"] {
        let told = [(); 2].map(|()| {
            let mut command = Command::new(simulate);
            let output = command.args(["--seed", seed, "--trace"]).output();
            output.expect("simulate runs").stdout
        });
        assert!(!told[0].is_empty());
        assert!(told[0] == told[1], "seed {seed} tells two stories");
    }
}
