//! Stopping without losing anything: nobody is read any more, what was read is made durable and acknowledged, and then
//! every session is told when to come back, each at its own time.

use oyez_protocol::event::GoodbyeCode;
use std::sync::atomic::Ordering;

use crate::close::Reason;
use crate::shard::Shard;

/// How often a draining shard looks whether the others have come as far.
const POLL_MS: u64 = 2;

/// How far a shard's shutdown has come. Logs are closed and sessions told when all shards have come so far, because each
/// may still have something for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Not begun.
    #[default]
    Serving,
    /// This shard reads nobody; what it has read for other shards is on its way to them.
    Deaf,
    /// It hands nothing over any more; others may still do so.
    Quiet,
    /// No record comes any more; the logs are being closed.
    Closing,
    /// This shard's logs are closed and it has said all its outcomes.
    Drained,
    /// Sessions have their Goodbye.
    Leaving,
}

/// The shutdown of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    step: Step,
    deadline_ms: u64,
}

impl Drain {
    /// Whether input is not taken any more.
    pub(crate) fn is_begun(&self) -> bool {
        self.step != Step::Serving
    }

    pub(crate) fn wait_ms(&self) -> Option<u64> {
        self.is_begun().then_some(POLL_MS)
    }
}

impl Shard {
    /// Goes on with the shutdown by at most one step; tells whether it is complete.
    pub(crate) fn drain_turn(&mut self) -> bool {
        let (shards, shared) = (self.shared.shards, self.shared.clone());
        match self.drain.step {
            Step::Serving => {
                self.stop_listening();
                self.drain.step = Step::Deaf;
            }
            Step::Deaf => {
                if !self.outbox.has_records() {
                    shared.shards_quiet.fetch_add(1, Ordering::AcqRel);
                    self.drain.step = Step::Quiet;
                }
            }
            Step::Quiet => {
                let all_quiet = shared.shards_quiet.load(Ordering::Acquire) == shards;
                if all_quiet {
                    self.take_publishes();
                    if !self.has_stalled_publishes() && !self.publishes_left {
                        self.store.begin_drain();
                        self.drain.step = Step::Closing;
                    }
                }
            }
            Step::Closing => {
                let told = self.logs.iter().all(|log| log.pending.is_empty());
                if self.store.is_drained() && told && !self.retry {
                    shared.shards_drained.fetch_add(1, Ordering::AcqRel);
                    self.drain.step = Step::Drained;
                }
            }
            Step::Drained => {
                if shared.shards_drained.load(Ordering::Acquire) == shards {
                    // Until nothing is left: what comes after the Goodbye is not sent.
                    while self.take_messages() {}
                    self.deliver_acks();
                    self.dismiss_sessions();
                    self.drain.step = Step::Leaving;
                }
            }
            Step::Leaving => return self.is_empty_or_late(),
        }
        false
    }

    fn stop_listening(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // Dropping the listener takes it out of the poll in any case.
            let _ = self.poll.registry().deregister(listener.source());
        }
    }

    fn dismiss_sessions(&mut self) {
        let spread = u64::from(self.shared.config.drain_spread_ms).max(1);
        for id in self.sessions.ids() {
            // Sessions of different shards have the same numbers.
            let number = (self.id as u64) << 56 ^ id.token().0 as u64;
            let draw = scatter(self.shared.instance ^ number) % spread;
            let retry_after_ms = u32::try_from(draw).unwrap_or(u32::MAX);
            let reason = "the broker is shutting down";
            self.say_goodbye(id, GoodbyeCode::Draining, retry_after_ms, reason);
        }
        self.drain.deadline_ms =
            self.now.monotonic_ms + u64::from(self.shared.config.drain_timeout_ms);
    }

    fn is_empty_or_late(&mut self) -> bool {
        if self.now.monotonic_ms >= self.drain.deadline_ms {
            for id in self.sessions.ids() {
                self.disconnect(id, Reason::Stopping);
            }
        }
        self.sessions.len() == 0
    }
}

/// Spreads numbers that lie close together evenly over all (the finaliser of SplitMix64).
fn scatter(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
