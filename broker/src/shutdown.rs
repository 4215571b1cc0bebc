//! The shutdown of a shard: what `drain` decides is done here.

use std::sync::atomic::Ordering;

use crate::error::ShardError;
use crate::lend::Parts;
use crate::parts::phase::Phase;
use crate::turn::drain::{self, Bounds, Order, Seen};

impl Parts {
    /// Goes on with the shutdown, if there is one.
    ///
    /// # Errors
    /// When another shard has failed: this one ends, too.
    pub(crate) fn follow_phase(&mut self) -> Result<(), ShardError> {
        match self.here.shared.phase() {
            Phase::Serving => Ok(()),
            Phase::Stopping => {
                self.shut_down();
                Ok(())
            }
            Phase::Failed => Err(ShardError::Elsewhere),
        }
    }

    /// Ends the shard, when the shutdown is over.
    ///
    /// # Errors
    /// When its logs could not be closed in time.
    pub(crate) fn close(self) -> Result<(), ShardError> {
        let Some(undrained) = self.undrained else {
            return Ok(());
        };
        self.logs.abandon();
        Err(undrained)
    }

    /// Goes on with the shutdown by at most one step.
    fn shut_down(&mut self) {
        let seen = self.seen();
        let now_ms = self.here.now.monotonic_ms;
        let order = self.drain.advance(now_ms, Bounds::of(&self.here), seen);
        drain::count_shard(&self.here, order);
        match order {
            Order::StopListening => {
                self.net.stop_listening();
                self.arrivals.are_over();
            }
            Order::CloseLogs => self.logs.begin_drain(),
            Order::Dismiss | Order::GiveUp => {
                if order == Order::GiveUp {
                    self.undrained = drain::tell_of_undrained(&self.logs.undrained());
                }
                // Until nothing is left: what comes after the Goodbye is not sent.
                self.hear();
                while self.inbox.has_messages_left() {
                    self.hear();
                }
                self.deliver_acks();
                drain::dismiss_all(&self.here, &mut self.sessions);
            }
            Order::Close => drain::close_all(&self.here, &mut self.sessions),
            Order::Wait | Order::BeQuiet | Order::BeDrained | Order::Over => {}
        }
    }

    fn seen(&self) -> Seen {
        let (shared, publishes) = (&self.here.shared, &self.publishes);
        let all_said = publishes.all_told() && !self.outbox.has_unsaid();
        Seen {
            has_records: self.outbox.has_records(),
            has_publishes: publishes.has_stalled() || publishes.has_left(),
            is_drained: self.logs.is_drained() && all_said,
            quiet: shared.shards_quiet.load(Ordering::Acquire),
            drained: shared.shards_drained.load(Ordering::Acquire),
            sessions: self.sessions.len(),
        }
    }
}
