//! Taking the power from the broker's machine under load and while the broker starts, again and again: each time the
//! next round goes on with what the disk was left with.

use std::time::{Duration, Instant};

use testkit::figures::{figure, full, skipped};
use testkit::random::Random;
use testkit::{Broker, Setup};

use crate::ledger::{Blow, Extent, Ledger};
use crate::load::{Load, Plan, Topics};
use crate::machine::Machine;
use crate::rounds::{below, during_starts, load_time, setup};

/// Power cuts of a whole run under load, and during the starts that follow.
const CUTS: (usize, usize) = (20, 10);
/// Power cuts of a sample.
const CUTS_SAMPLED: (usize, usize) = (2, 1);

/// Bytes that each publisher sends in a run at most.
const BYTES_MAX: usize = 24 << 20;
/// Bytes that a log keeps.
const RETENTION_BYTES: u64 = 128 << 20;
/// How much longer a load lasts than before a kill, because a sync takes its way through two file systems.
const LOAD_TIMES: u32 = 4;

/// A broker on a machine that loses power. Its fields go in this order.
struct Victim {
    broker: Broker,
    machine: Machine,
    last_start: Duration,
}

impl Victim {
    fn start(machine: Machine) -> Self {
        // The broker takes the machine's boot id from its own, not from the one that this test runs on.
        let boot_id = machine.boot_id();
        let bind = format!(
            "mount --bind {} /proc/sys/kernel/random/boot_id",
            boot_id.display()
        );
        let begin = Instant::now();
        let setup: Setup = setup("auto")
            .set("retention_bytes", RETENTION_BYTES)
            .in_namespace(&bind);
        Self {
            broker: setup.start_on(&machine.disk().join("data")),
            machine,
            last_start: begin.elapsed(),
        }
    }

    fn cut(&self) {
        self.machine.cut().expect("it could copy when it was built");
    }

    fn come_back(&mut self) {
        let back = self.machine.come_back();
        back.expect("a journal can be replayed wherever the power fails");
    }

    /// The power fails after a load of some time.
    fn cut_under_load(&mut self, load: Load, time: Duration, ledger: &mut Ledger) {
        load.go_on_for(time);
        let acknowledged = load.acknowledged();
        self.cut();
        self.broker.kill();
        let run = load.run();
        ledger.take_run(run, &load.end(), &acknowledged);
        self.come_back();
    }

    /// The power fails again, some time after the broker was started.
    fn cut_during_start(&mut self, time: Duration) {
        let machine = &self.machine;
        self.broker.interrupted_start(time, || {
            machine.cut().expect("it could copy when it was built");
        });
        self.come_back();
    }

    fn restart(&mut self) {
        let begin = Instant::now();
        self.broker.restart();
        self.last_start = begin.elapsed();
    }
}

#[test]
fn power_cuts_lose_nothing_synced_and_change_no_epoch_of_it() {
    let what = "power cuts";
    let machine = match Machine::build() {
        Ok(machine) => machine,
        Err(why) => return skipped(what, &why),
    };
    let mut random = Random::from_environment(what);
    let (loads, starts) = if full() { CUTS } else { CUTS_SAMPLED };
    let topics = Topics::new();
    let mut ledger = Ledger::new(&topics);
    let mut victim = Victim::start(machine);
    let begin = Instant::now();
    let counts = during_starts(&mut random, loads, starts);
    for (round, during_starts) in counts.into_iter().enumerate() {
        let plan = Plan {
            run: round as u32,
            seed: random.next(),
            bytes_max: BYTES_MAX,
        };
        let load = Load::start(&victim.broker, &topics, plan);
        victim.cut_under_load(load, LOAD_TIMES * load_time(&mut random), &mut ledger);
        for _ in 0..during_starts {
            let time = below(&mut random, victim.last_start);
            victim.cut_during_start(time);
        }
        victim.restart();
        ledger.check(&victim.broker, Blow::PowerCut, Extent::Whole);
    }
    let told = format!(
        "{starts} of {} during starts, {} records acknowledged before, {} of them written and gone, {:.1?}",
        loads + starts,
        ledger.acknowledged(),
        ledger.lost(),
        begin.elapsed()
    );
    figure(what, &told);
    ledger.close(what);
}
