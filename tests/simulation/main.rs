//! `simulate`: runs seeds of the simulation.

use testkit::simulation::{Options, run};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let count: u64 = args[2].parse().unwrap();
    let trace = args.len() > 3;
    let begin = std::time::Instant::now();
    let (mut failed, mut steps, mut ms, mut acked, mut delivered) = (0, 0, 0, 0, 0);
    let mut all = testkit::simulation::coverage::Coverage::default();
    for seed in from..from + count {
        eprintln!("seed {seed}");
        let outcome = run(&Options {
            trace,
            ..Options::new(seed)
        });
        steps += outcome.steps;
        ms += outcome.simulated_ms;
        acked += outcome.acknowledged;
        delivered += outcome.delivered;
        all.merge(&outcome.coverage);
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!(
                "FAILED seed {seed} after {} steps: {failure}",
                outcome.steps
            );
            if count == 1 {
                for line in outcome.last {
                    println!("  {line}");
                }
            }
        }
    }
    println!(
        "{count} seeds, {failed} failed, {steps} steps, {} s simulated, {:.1} s, acked {acked}, delivered {delivered}",
        ms / 1000,
        begin.elapsed().as_secs_f64()
    );
    if count > 1 {
        for (what, n) in all.iter() {
            println!("{n:>9} {what}");
        }
    }
}
