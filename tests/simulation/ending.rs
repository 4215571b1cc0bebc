//! How a broker comes to its end, as it was asked to or because it has failed.

use std::fmt;

use super::machine::Fall;
use super::oracle::Verdict;
use super::plan::FaultKind;
use super::world::World;

/// How much longer a shutdown may take than it is allowed to, as far as clocks are read late.
const STOP_GRACE_MS: u64 = 3_000;
/// The same where time passes fast, or shards get none.
const SLOW_STOP_GRACE_MS: u64 = 40_000;
/// Time that a shutdown needs to close its logs.
const CLOSE_MS: u32 = 1_000;

impl World {
    /// Takes a broker away that has come to its end.
    pub(super) fn look_at_the_end(&mut self) -> Verdict {
        let Some(broker) = &self.machine.broker else {
            return Ok(());
        };
        if self.machine.failed.is_some() {
            self.perhaps_give_up();
            return Ok(());
        }
        let Some(since_ms) = self.machine.stopping_since_ms else {
            return Ok(());
        };
        match (0..broker.shards()).all(|shard| broker.is_over(shard)) {
            true => self.close(),
            false => self.look_at_the_time(since_ms),
        }
    }

    /// A process whose shard has failed ends soon.
    fn perhaps_give_up(&mut self) {
        if !self.dice.one_in(6) {
            return;
        }
        self.tell(
            format_args!("machine"),
            format_args!("the process has failed"),
        );
        // Who made a disk fail may take its power, too.
        let takes_power = self.may_strike(FaultKind::Power) && self.dice.one_in(2);
        self.fall(match takes_power {
            true => Fall::Power,
            false => Fall::Process,
        });
    }

    /// A shutdown is over in time.
    fn look_at_the_time(&self, since_ms: u64) -> Verdict {
        let took_ms = self.clock.now_ms() - since_ms;
        let grace_ms = match self.is_slow() {
            true => SLOW_STOP_GRACE_MS,
            false => STOP_GRACE_MS,
        };
        let most_ms = u64::from(self.plan.config.drain_timeout_ms) + grace_ms;
        // A pause of the whole machine is no fault of the broker.
        match took_ms > most_ms && !self.plan.faults.contains(&FaultKind::Pause) {
            true => Err(format!("the shutdown takes {took_ms} ms")),
            false => Ok(()),
        }
    }

    fn close(&mut self) -> Verdict {
        let broker = self.machine.broker.take().expect("it was there");
        let closed = broker.close();
        self.machine.stopped_cleanly = closed.is_ok();
        self.oracle.is_rough |= closed.is_err();
        self.tell(
            format_args!("machine"),
            format_args!("the broker has stopped: {closed:?}"),
        );
        if let Err(error) = closed {
            self.explain_open_logs(&error)?;
        }
        self.fall(Fall::Process);
        if self.machine.stopped_cleanly {
            self.perhaps_harm_at_rest();
            if self.may_strike(FaultKind::Power) && self.dice.one_in(2) {
                self.fall(Fall::Power);
            }
        }
        Ok(())
    }

    fn explain_open_logs(&mut self, error: &dyn fmt::Display) -> Verdict {
        self.coverage.meet("stop: logs left open");
        // Some shards come late to their turns where many clients want theirs.
        let is_late = self.plan.config.drain_timeout_ms < CLOSE_MS
            || self.plan.paced_disks
            || self.is_slow()
            || self.plan.faults.contains(&FaultKind::Pause);
        match self.oracle.disk_trouble || is_late {
            true => Ok(()),
            false => Err(format!("the logs are not closed: {error}")),
        }
    }
}
