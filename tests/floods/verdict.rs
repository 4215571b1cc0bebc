//! The conditions that a broker must meet in a flood.

use std::time::Duration;

use testkit::figures::figure;
use testkit::programs::optimised;

use crate::gauges::Gauges;
use crate::trial::{Round, Trial};

/// Processor time of a turn at most.
const TURN_CPU_US_MAX: u64 = 20_000;
/// An honest message may take so many times what it takes through the bare loop.
const TIMES_BARE: u32 = 2;
/// What the bare loop is taken to need at least: below that, the time for which other work keeps a core is measured.
const BARE_FLOOR: Duration = Duration::from_millis(2);
/// Private memory that the second time may add.
const MEMORY_ADDED_MAX: u64 = 8 << 20;
/// Turns of all shards in a second while the broker is idle.
pub(crate) const TURNS_IDLE_MAX: u64 = 200;
/// An honest message between clients that come new, once the flood is over.
const ONE_MESSAGE_MAX: Duration = Duration::from_secs(1);

/// Prints the figures, and fails with all faults at once.
pub(crate) fn judge(trial: &Trial) {
    let figures = figures(trial);
    figure(&format!("flood: {}", trial.name), &figures);
    let faults = faults(trial);
    assert!(
        faults.is_empty(),
        "flood: {}, OYEZ_SEED={}: {}\n{figures}",
        trial.name,
        trial.seed,
        faults.join("; "),
    );
}

/// One line. Of two figures with a slash between them, the first is that of the first time.
fn figures(trial: &Trial) -> String {
    let gauges = &trial.rounds[1].gauges;
    let turn = format!("longest turn {} us of processor", told(gauges.turn_cpu_us));
    [load(trial), turn, caps(gauges), pairs(trial), after(trial)].join("; ")
}

/// A figure of both times.
fn both(trial: &Trial, pick: fn(&Round) -> String) -> String {
    let [first, second] = &trial.rounds;
    format!("{} / {}", pick(first), pick(second))
}

fn load(trial: &Trial) -> String {
    let both = |pick| both(trial, pick);
    [
        profile().to_owned(),
        format!("{} clients", trial.bare_tally.clients),
        format!(
            "connects {}",
            both(|round| round.tally.connects.to_string())
        ),
        format!("lost {}", both(|round| round.tally.lost.to_string())),
        format!(
            "MB sent {}, to the bare loop {}",
            both(|round| (round.tally.bytes_out / 1_000_000).to_string()),
            trial.bare_tally.bytes_out / 1_000_000
        ),
        format!(
            "MB answered {}",
            both(|round| (round.tally.bytes_in / 1_000_000).to_string())
        ),
        format!(
            "subscriptions {}",
            both(|round| round.gauges.subscriptions.to_string())
        ),
    ]
    .join("; ")
}

fn pairs(trial: &Trial) -> String {
    let both = |pick| both(trial, pick);
    [
        format!(
            "pairs' p50 {}, bare {:.1?}",
            both(|round| format!("{:.1?}", round.latencies.p50)),
            trial.bare.p50
        ),
        format!(
            "p99 {}, bare {:.1?}",
            both(|round| format!("{:.1?}", round.latencies.p99)),
            trial.bare.p99
        ),
        format!(
            "longest {}, bare {:.1?}",
            both(|round| format!("{:.1?}", round.latencies.longest)),
            trial.bare.longest
        ),
        format!(
            "messages {}, bare {}",
            both(|round| round.latencies.messages.to_string()),
            trial.bare.messages
        ),
        format!(
            "dropped {}",
            both(|round| round.latencies.dropped.to_string())
        ),
    ]
    .join("; ")
}

fn after(trial: &Trial) -> String {
    let both = |pick| both(trial, pick);
    let gone = |round: &Round| match round.gone {
        Some(time) => format!("{time:.1?}"),
        None => "never".to_owned(),
    };
    [
        format!(
            "KiB kept {}",
            both(|round| (round.memory >> 10).to_string())
        ),
        format!(
            "turns/s held {}",
            both(|round| round.turns_held.to_string())
        ),
        format!("idle {}", both(|round| round.turns_idle.to_string())),
        format!("gone after {}", both(gone)),
        format!(
            "one message {}",
            both(|round| format!("{:.1?}", round.one_message))
        ),
    ]
    .join("; ")
}

fn profile() -> &'static str {
    if optimised() {
        "optimised"
    } else {
        "not optimised, so times are told and not judged"
    }
}

fn told(value: Option<u64>) -> String {
    value.map_or("not told".to_owned(), |value| value.to_string())
}

fn caps(gauges: &Gauges) -> String {
    let one = |(name, capped): (_, Option<crate::gauges::Capped>)| match capped {
        Some(capped) => format!("{name} {} of {}", capped.most, capped.cap),
        None => format!("{name} not told"),
    };
    gauges.capped().map(one).collect::<Vec<_>>().join(", ")
}

fn faults(trial: &Trial) -> Vec<String> {
    let [first, second] = &trial.rounds;
    let mut faults = Vec::new();
    if optimised() {
        faults.extend(slow(trial));
    }
    let added = second.memory.saturating_sub(first.memory);
    if added > MEMORY_ADDED_MAX {
        faults.push(format!("the second time adds {added} bytes of memory"));
    }
    for round in &trial.rounds {
        faults.extend(faults_of(round, trial.pends));
    }
    faults
}

/// What takes too long. Whatever else runs on the machine makes a time longer and never shorter, so the better one of
/// the two is judged.
fn slow(trial: &Trial) -> Vec<String> {
    let [first, second] = &trial.rounds;
    let mut faults = Vec::new();
    if let Some(turn_us) = second.gauges.turn_cpu_us
        && turn_us > TURN_CPU_US_MAX
    {
        faults.push(format!("a turn took {turn_us} us of processor time"));
    }
    let p99 = first.latencies.p99.min(second.latencies.p99);
    let most = TIMES_BARE * trial.bare.p99.max(BARE_FLOOR);
    if p99 > most {
        faults.push(format!(
            "honest messages took {p99:.1?} at p99, {most:.1?} is the most"
        ));
    }
    for round in &trial.rounds {
        if round.one_message > ONE_MESSAGE_MAX {
            faults.push(format!(
                "a message took {:.1?} after the flood",
                round.one_message
            ));
        }
    }
    faults
}

fn faults_of(round: &Round, pends: bool) -> Vec<String> {
    let mut faults = round.faults.clone();
    for (name, capped) in round.gauges.capped() {
        if let Some(capped) = capped.filter(|capped| !capped.holds()) {
            faults.push(format!("{name}: {} of {}", capped.most, capped.cap));
        }
    }
    let failed = round.latencies.failed.iter();
    faults.extend(failed.map(|why| format!("an honest pair failed: {why}")));
    if !pends && round.turns_held > TURNS_IDLE_MAX {
        faults.push(format!(
            "{} turns/s for clients that only hold on",
            round.turns_held
        ));
    }
    if round.turns_idle > TURNS_IDLE_MAX {
        faults.push(format!("{} turns/s for nobody", round.turns_idle));
    }
    if round.gone.is_none() {
        faults.push("sessions stay whose sockets are closed".to_owned());
    }
    faults
}
