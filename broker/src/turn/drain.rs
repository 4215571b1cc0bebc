//! Stopping without losing anything: nobody is read any more, what was read is made durable and acknowledged, and then
//! every session is told when to come back, each at its own time.
//!
//! All of it together takes `drain_timeout_ms` at most. Records that a log has not taken in half of that are refused, so
//! that the rest is there for those that it has taken. A store that is not closed when most of that has passed is given
//! up: what of it is not durable is said, sessions are told all the same, and the process ends with an error.

use oyez_protocol::event::{Goodbye, GoodbyeCode};
use std::sync::atomic::Ordering;

use tracing::error;

use crate::error::ShardError;
use crate::parts::ending::Reason;
use crate::parts::session::Stage;
use crate::shard::Shard;

/// How often a draining shard looks whether the others have come as far.
const POLL_MS: u64 = 2;
/// What of the shutdown's time is kept for sessions to take their Goodbye: a tenth of it, at most so much.
const GOODBYE_MS_MAX: u64 = 500;

/// How far a shard's shutdown has come. Logs are closed and sessions told when all shards have come so far, because each
/// may still have something for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Default)]
pub(crate) struct Drain {
    step: Step,
    /// Until when logs that take no more are waited for, until when the store is, and everything.
    appends_until_ms: u64,
    store_until_ms: u64,
    until_ms: u64,
    /// A record that a log does not take at once is not stored any more.
    refuses: bool,
    /// What was given up.
    undrained: Option<ShardError>,
}

impl Drain {
    /// Whether input is not taken any more.
    pub(crate) fn is_begun(&self) -> bool {
        self.step != Step::Serving
    }

    /// Whether records that wait for a log are refused: the time that is left is for those that are stored.
    pub(crate) const fn refuses(&self) -> bool {
        self.refuses
    }

    pub(crate) fn wait_ms(&self) -> Option<u64> {
        self.is_begun().then_some(POLL_MS)
    }
}

impl Shard {
    /// Goes on with the shutdown by at most one step; tells whether it is complete.
    ///
    /// # Errors
    /// It is, but the store was given up.
    pub(crate) fn drain_turn(&mut self) -> Result<bool, ShardError> {
        if self.drain.is_begun()
            && self.drain.step < Step::Leaving
            && self.here.now.monotonic_ms >= self.drain.store_until_ms
        {
            self.give_up();
        }
        self.drain.refuses =
            self.drain.is_begun() && self.here.now.monotonic_ms >= self.drain.appends_until_ms;
        let (shards, shared) = (self.here.shared.shards, self.here.shared.clone());
        match self.drain.step {
            Step::Serving => {
                self.stop_listening();
                let timeout_ms = u64::from(shared.config.drain_timeout_ms);
                self.drain.until_ms = shared.stopping_since_ms().saturating_add(timeout_ms);
                let goodbye_ms = (timeout_ms / 10).min(GOODBYE_MS_MAX);
                self.drain.store_until_ms = self.drain.until_ms - goodbye_ms;
                self.drain.appends_until_ms = self.drain.store_until_ms - timeout_ms / 2;
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
                    if !self.publishes.has_stalled() && !self.publishes_left {
                        self.logs.begin_drain();
                        self.drain.step = Step::Closing;
                    }
                }
            }
            Step::Closing => {
                let told = self.publishes.all_told();
                if self.logs.is_drained() && told && !self.retry {
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
            Step::Leaving => {
                if self.is_empty_or_late() {
                    return self.drain.undrained.take().map_or(Ok(true), Err);
                }
            }
        }
        Ok(false)
    }

    /// The store has not been closed in time, here or by another shard: sessions are told to go, whatever waits.
    fn give_up(&mut self) {
        let left = self.logs.undrained();
        for open in &left {
            let (log, records) = (open.log.get(), open.records);
            error!(
                log,
                records,
                "the log could not be closed in time; so many of its records are not known to be durable"
            );
        }
        if !left.is_empty() {
            self.drain.undrained = Some(ShardError::Undrained {
                logs: left.len(),
                records: left.iter().map(|open| open.records).sum(),
            });
        }
        while self.take_messages() {}
        self.deliver_acks();
        self.dismiss_sessions();
        self.drain.step = Step::Leaving;
    }

    fn stop_listening(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // Dropping the listener takes it out of the poll in any case.
            let _ = self.poll.registry().deregister(listener.source());
        }
    }

    fn dismiss_sessions(&mut self) {
        let spread = u64::from(self.here.shared.config.drain_spread_ms).max(1);
        for id in self.sessions.ids() {
            // Sessions of different shards have the same numbers.
            let number = (self.here.id as u64) << 56 ^ id.token().0 as u64;
            let draw = scatter(self.here.shared.instance ^ number) % spread;
            let goodbye = Goodbye {
                code: GoodbyeCode::Draining,
                retry_after_ms: u32::try_from(draw).unwrap_or(u32::MAX),
                reason: "the broker is shutting down",
            };
            self.sessions.dismiss(&self.here, id, goodbye);
        }
    }

    fn is_empty_or_late(&mut self) -> bool {
        if self.here.now.monotonic_ms >= self.drain.until_ms {
            for id in self.sessions.ids() {
                let session = self.sessions.get(id);
                // What the kernel has got it goes on sending, to a peer that reads slowly.
                let all_out = session.is_some_and(|session| session.stage == Stage::Lingering);
                let reason = if all_out {
                    Reason::Refused
                } else {
                    Reason::Stopping
                };
                self.sessions.end(&self.here, id, reason);
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
