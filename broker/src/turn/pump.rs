//! The shard's store at work: passes on what has finished to the sessions that wait for it, and says what went wrong.

use oyez_protocol::LogId;
use oyez_storage::{Attempt, Progress, Trouble};
use tracing::{error, info, warn};

use crate::error::ShardError;
use crate::parts::budget::Budget;
use crate::shard::Shard;

impl Shard {
    /// Lets the store work: completions, visible places, the next flushes.
    pub(crate) fn pump(&mut self) -> Result<(), ShardError> {
        let mut progress = self
            .logs
            .pump(self.here.now)
            .map_err(ShardError::Poisoned)?;
        if !progress.advanced.is_empty() {
            self.here.metrics().take_store(&self.logs.stats());
        }
        self.freed |= !progress.advanced.is_empty() || !progress.accepting_again.is_empty();
        let mut budget = Budget::OUTCOMES;
        let unsettled = self.publishes.take_unsettled();
        for log in progress.advanced.iter().chain(&unsettled) {
            if !self.settle(*log, &mut budget) {
                self.publishes.note_unsettled(*log);
            }
        }
        for log in &progress.advanced {
            for shard in self
                .here
                .shared
                .interested(*log)
                .filter(|shard| *shard != self.here.id)
            {
                self.outbox.wake(shard);
            }
        }
        for log in &progress.accepting_again {
            self.publishes.no_longer_refused(*log);
        }
        self.tell_of_clocks(&progress);
        for us in progress.syncs_us.drain(..) {
            self.here.metrics().sync_us.record(us);
        }
        for (token, outcome) in progress.populated.drain(..) {
            self.populated(token, outcome);
        }
        self.tell_of_damage(&progress);
        self.tell_of_trouble(&progress);
        self.logs.keep_progress(progress);
        Ok(())
    }

    /// What is tried again is told when it begins to fail and when it works again, and counted in between.
    fn tell_of_trouble(&self, progress: &Progress) {
        if progress.failures == 0 && progress.mended.is_empty() {
            return;
        }
        let metrics = self.here.metrics();
        metrics.storage_failures.add(progress.failures);
        metrics.storage_failing.set(self.logs.failing() as u64);
        for Trouble {
            log,
            attempt,
            error,
        } in &progress.trouble
        {
            let log = log.map(LogId::get);
            let then = match attempt {
                Attempt::State => {
                    "it is tried again, and if the log is being closed, the next start recovers it"
                }
                _ => "it is tried again",
            };
            warn!(log, "{attempt} failed: {error}; {then}");
        }
        for mended in &progress.mended {
            let log = mended.log.map(LogId::get);
            let (attempt, failures) = (mended.attempt, mended.failures);
            info!(log, failures, "{attempt} works again");
        }
    }

    fn tell_of_damage(&self, progress: &Progress) {
        for block in &progress.damaged {
            let path = block.path.display();
            error!(
                "{path}: the bytes of the block at {} are not those that were written; what is whole of them is served, \
                 subscribers are told of a gap for the rest",
                block.at
            );
            self.here.metrics().damaged_blocks.add(1);
        }
    }

    fn tell_of_clocks(&self, progress: &Progress) {
        for clock in &progress.clock_was_ahead {
            warn!(
                log = clock.log.get(),
                ahead_ms = clock.ahead_ms,
                before_sequence = clock.sequence.get(),
                "the wall clock had been ahead: records are stamped with its present time again, earlier ones keep \
                 their stamps of the future"
            );
        }
        // Every shard sees the same clock.
        if let Some(ahead_ms) = progress.clock_set_ahead_ms.filter(|_| self.here.id == 0) {
            warn!(
                ahead_ms,
                "the wall clock was set ahead: if that is wrong, set it right within ten minutes, before records \
                 expire by it"
            );
        }
    }
}
