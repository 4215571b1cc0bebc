//! Stopping without losing anything: no session is read any more, records that were read are made durable and acknowledged,
//! and then every session is told when to come back, each at its own time.
//!
//! All of it together takes `drain_timeout_ms` at most. Records that a log has not taken in half of that are refused, which
//! leaves the other half to those that it has taken. A store that is not closed when most of that has passed is given up:
//! the broker logs what of it is not durable, says Goodbye all the same, and the process ends with an error.

use std::sync::atomic::Ordering;

use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::planted::{Bug, planted};
use oyez_storage::Undrained;
use tracing::error;

use crate::dialect::command::Goodbye;
use crate::error::ShardError;
use crate::parts::context::ShardContext;
use crate::parts::due::Due;
use crate::parts::ending::Reason;
use crate::parts::session::Stage;
use crate::parts::sessions::Sessions;

/// How often a draining shard looks whether the others have come as far.
const POLL_MS: u64 = 2;
/// Time that the return of one client is given, in microseconds. A broker that has just started takes about 20,000
/// connections a second, 50 us each; four times as much is left for what clients ask for: subscriptions, and what they
/// have missed. With it 40,000 clients come back within 10 s, and one alone comes back at once.
const RETURN_US: u64 = 250;
/// Time that the shutdown keeps for sessions to take their Goodbye: a tenth of all, and this much at most.
const GOODBYE_MS_MAX: u64 = 500;

/// How far a shard's shutdown has come. Logs are closed and sessions dismissed when all shards have come that far, because
/// each may still have records or answers for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Not begun.
    #[default]
    Serving,
    /// This shard reads no session any more; what it has read for other shards is on its way to them.
    Deaf,
    /// This shard hands nothing over any more; others may still do so.
    Quiet,
    /// No other shard hands anything over any more; records that have come are being taken.
    Emptying,
    /// No record comes any more; the logs are being closed.
    Closing,
    /// This shard's logs are closed and it has passed on all its outcomes.
    Drained,
    /// Sessions have their Goodbye.
    Leaving,
    /// All sessions are gone.
    Over,
}

/// The shutdown of one shard.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    step: Step,
    /// Connections of all shards when it began.
    clients: usize,
    /// How long the shutdown waits for logs that take no more, for the store, and for everything.
    appends_until_ms: u64,
    store_until_ms: u64,
    until_ms: u64,
    /// A record that a log does not take at once is not stored any more.
    refuses: bool,
}

/// What a shard sees of itself and of the others at the beginning of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DrainView {
    /// Records wait here for room with another shard.
    pub(crate) has_records: bool,
    /// Records of other shards have not been taken, or wait for logs.
    pub(crate) has_publishes: bool,
    /// This shard's logs are closed, and all its outcomes are passed on.
    pub(crate) is_drained: bool,
    /// Shards that are quiet, and shards that are drained.
    pub(crate) quiet: usize,
    pub(crate) drained: usize,
    pub(crate) sessions: usize,
}

/// The limits of a shutdown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) shards: usize,
    /// Connections of all shards.
    pub(crate) clients: usize,
    /// When it was asked for.
    pub(crate) since_ms: u64,
    /// How long it may take.
    pub(crate) timeout_ms: u64,
}

impl Bounds {
    pub(crate) fn of(context: &ShardContext) -> Self {
        Self {
            shards: context.shared.shards,
            clients: context.shared.connections.load(Ordering::Relaxed),
            since_ms: context.shared.stopping_since_ms(),
            timeout_ms: u64::from(context.shared.config.drain_timeout_ms),
        }
    }
}

/// What a shard has to do in a turn of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Waits: nothing is to be done.
    Wait,
    StopListening,
    /// Tells the other shards that this one hands nothing over any more.
    BeQuiet,
    CloseLogs,
    /// Tells the other shards that the logs of this one are closed.
    BeDrained,
    /// Tells all sessions when to come back.
    Dismiss,
    /// Tells them although the logs are not closed.
    GiveUp,
    /// Closes the connections that are left.
    Close,
    /// Ends the shard.
    Over,
}

impl Drain {
    /// Whether input is not taken any more.
    pub(crate) fn is_begun(&self) -> bool {
        self.step != Step::Serving
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// Whether records that wait for a log are refused: the time that is left is for those that a log has taken.
    pub(crate) const fn refuses(&self) -> bool {
        self.refuses
    }

    /// When to look again how far the others have come.
    pub(crate) fn due(&self, now_ms: u64) -> Due {
        Due::after(now_ms, self.is_begun().then_some(POLL_MS))
    }

    /// Goes on by at most one step.
    pub(crate) fn advance(&mut self, now_ms: u64, bounds: Bounds, seen: DrainView) -> Order {
        let is_late = |until_ms| now_ms >= until_ms;
        self.refuses = self.is_begun() && is_late(self.appends_until_ms);
        if self.is_begun() && self.step < Step::Leaving && is_late(self.store_until_ms) {
            self.step = Step::Leaving;
            return Order::GiveUp;
        }
        let shards = bounds.shards;
        let (next, order) = match self.step {
            Step::Serving => {
                self.set_limits(bounds);
                (Step::Deaf, Order::StopListening)
            }
            Step::Deaf if !seen.has_records => (Step::Quiet, Order::BeQuiet),
            // Records that others handed over before they became quiet are taken in the turn that begins now.
            Step::Quiet if seen.quiet == shards => (Step::Emptying, Order::Wait),
            Step::Emptying if !seen.has_publishes => (Step::Closing, Order::CloseLogs),
            Step::Closing if seen.is_drained => (Step::Drained, Order::BeDrained),
            Step::Drained if seen.drained == shards || planted(Bug::DrainForgetsAnswers) => {
                (Step::Leaving, Order::Dismiss)
            }
            Step::Leaving if seen.sessions == 0 => (Step::Over, Order::Over),
            Step::Leaving if is_late(self.until_ms) => (Step::Leaving, Order::Close),
            same => (same, Order::Wait),
        };
        self.step = next;
        order
    }

    /// Returns over how many milliseconds clients are asked to come back: as the configuration says, or fewer where there are few
    /// clients.
    pub(crate) fn spread_ms(&self, max_ms: u32) -> u64 {
        let needed_ms = (self.clients as u64).saturating_mul(RETURN_US) / 1_000;
        needed_ms.clamp(1, u64::from(max_ms.max(1)))
    }

    fn set_limits(&mut self, bounds: Bounds) {
        self.clients = bounds.clients;
        let timeout_ms = bounds.timeout_ms;
        let goodbye_ms = (timeout_ms / 10).min(GOODBYE_MS_MAX);
        self.until_ms = bounds.since_ms.saturating_add(timeout_ms);
        self.store_until_ms = self.until_ms - goodbye_ms;
        self.appends_until_ms = self.store_until_ms - timeout_ms / 2;
    }
}

/// Counts this shard among those that have come as far as `order` says, for the others.
pub(crate) fn count_shard(context: &ShardContext, order: Order) {
    let shards = match order {
        Order::BeQuiet => &context.shared.shards_quiet,
        Order::BeDrained => &context.shared.shards_drained,
        _ => return,
    };
    shards.fetch_add(1, Ordering::AcqRel);
}

/// Logs which records of a store that was not closed in time may not be durable. Returns an error if there are any.
pub(crate) fn tell_of_undrained(left: &[Undrained]) -> Option<ShardError> {
    for open in left {
        let (log, records) = (open.log.get(), open.records);
        error!(
            log,
            records,
            "the log could not be closed in time; this number of its records is not known to be durable"
        );
    }
    (!left.is_empty()).then(|| ShardError::Undrained {
        logs: left.len(),
        records: left.iter().map(|open| open.records).sum(),
    })
}

/// Tells every session when to come back, each at its own time within `spread_ms`.
pub(crate) fn dismiss_all(context: &ShardContext, sessions: &mut Sessions, spread_ms: u64) {
    for id in sessions.ids() {
        // Sessions of different shards have the same tokens.
        let number = (context.id as u64) << 56 ^ id.token();
        // With 0 the client would choose.
        let draw = 1 + scatter(context.shared.instance ^ number) % spread_ms;
        let goodbye = Goodbye {
            code: GoodbyeCode::Draining,
            retry_after_ms: u32::try_from(draw).unwrap_or(u32::MAX),
            reason: "the broker is shutting down".into(),
        };
        sessions.dismiss(context, id, goodbye);
    }
}

/// Ends the sessions that did not take their Goodbye in time.
pub(crate) fn close_all(context: &ShardContext, sessions: &mut Sessions) {
    for id in sessions.ids() {
        // The kernel goes on to send what it has got, to a peer that reads slowly.
        let all_out = sessions.there(id).stage() == Stage::Lingering;
        let reason = if all_out {
            Reason::Refused
        } else {
            Reason::Stopping
        };
        sessions.end(context, id, reason);
    }
}

/// Spreads numbers that lie close together evenly over all 64 bits (the finaliser of SplitMix64).
fn scatter(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        shards: 2,
        clients: 0,
        since_ms: 1_000,
        timeout_ms: 10_000,
    };

    /// A shard that has done all that is its own to do, and so have the others.
    const ALL_DONE: DrainView = DrainView {
        has_records: false,
        has_publishes: false,
        is_drained: true,
        quiet: 2,
        drained: 2,
        sessions: 0,
    };

    fn orders(drain: &mut Drain, now_ms: u64, seen: DrainView, turns: usize) -> Vec<Order> {
        let turns = 0..turns;
        turns.map(|_| drain.advance(now_ms, BOUNDS, seen)).collect()
    }

    #[test]
    fn a_shutdown_goes_on_by_one_step_in_each_turn() {
        let mut drain = Drain::default();
        let expected = [
            Order::StopListening,
            Order::BeQuiet,
            Order::Wait,
            Order::CloseLogs,
            Order::BeDrained,
            Order::Dismiss,
            Order::Over,
        ];
        assert_eq!(orders(&mut drain, 1_000, ALL_DONE, 7), expected);
    }

    #[test]
    fn each_step_waits_for_what_it_needs() {
        let lacking = [
            (
                Order::StopListening,
                DrainView {
                    has_records: true,
                    ..ALL_DONE
                },
            ),
            (
                Order::BeQuiet,
                DrainView {
                    quiet: 1,
                    ..ALL_DONE
                },
            ),
            (
                Order::Wait,
                DrainView {
                    has_publishes: true,
                    ..ALL_DONE
                },
            ),
            (
                Order::CloseLogs,
                DrainView {
                    is_drained: false,
                    ..ALL_DONE
                },
            ),
            (
                Order::BeDrained,
                DrainView {
                    drained: 1,
                    ..ALL_DONE
                },
            ),
            (
                Order::Dismiss,
                DrainView {
                    sessions: 3,
                    ..ALL_DONE
                },
            ),
        ];
        let mut drain = Drain::default();
        for (order, lacking) in lacking {
            assert_eq!(drain.advance(1_000, BOUNDS, ALL_DONE), order);
            assert_eq!(orders(&mut drain, 1_000, lacking, 3), [Order::Wait; 3]);
        }
        assert_eq!(drain.advance(1_000, BOUNDS, ALL_DONE), Order::Over);
    }

    #[test]
    fn a_store_that_is_not_closed_in_time_is_given_up_and_so_are_sessions_that_stay() {
        let stuck = DrainView {
            is_drained: false,
            sessions: 1,
            ..ALL_DONE
        };
        let mut drain = Drain::default();
        orders(&mut drain, 1_000, stuck, 4);
        assert!(!drain.refuses());
        assert_eq!(drain.advance(6_000, BOUNDS, stuck), Order::Wait);
        assert!(drain.refuses(), "half of the time is over");
        assert_eq!(drain.advance(10_499, BOUNDS, stuck), Order::Wait);
        assert_eq!(drain.advance(10_500, BOUNDS, stuck), Order::GiveUp);
        assert_eq!(drain.advance(10_999, BOUNDS, stuck), Order::Wait);
        assert_eq!(drain.advance(11_000, BOUNDS, stuck), Order::Close);
        assert_eq!(drain.advance(11_001, BOUNDS, ALL_DONE), Order::Over);
    }
}
