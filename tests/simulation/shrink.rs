//! Makes a failure small: whatever it happens without is left out.

use super::run::{Options, Outcome, clients, faults};

/// Steps below which nothing is gained by fewer.
const STEPS_MIN: u64 = 20;

/// The smallest options found that still fail, with how they do. `fails` runs options and gives the outcome of those that
/// fail, in whatever way.
pub fn shrink(
    options: &Options,
    outcome: Outcome,
    mut fails: impl FnMut(&Options) -> Option<Outcome>,
) -> (Options, Outcome) {
    let (mut smallest, mut outcome) = (options.clone(), outcome);
    let mut attempt = |candidate: Options, smallest: &mut Options| {
        let Some(failed) = fails(&candidate) else {
            return false;
        };
        *smallest = candidate;
        outcome = failed;
        true
    };
    // Fewer steps first: what follows is faster then. The faults end earlier, and all else comes after them.
    let mut cut = smallest.steps / 2;
    while cut >= STEPS_MIN / 2 {
        let steps = smallest.steps.saturating_sub(cut).max(STEPS_MIN);
        let candidate = Options {
            steps,
            ..smallest.clone()
        };
        if steps == smallest.steps || !attempt(candidate, &mut smallest) {
            cut /= 2;
        }
    }
    for kind in faults(options) {
        let mut candidate = smallest.clone();
        candidate.without.faults.insert(kind);
        attempt(candidate, &mut smallest);
    }
    for client in (0..clients(options)).rev() {
        let mut candidate = smallest.clone();
        candidate.without.clients.insert(client);
        attempt(candidate, &mut smallest);
    }
    (smallest, outcome)
}
