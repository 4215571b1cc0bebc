//! What is asked of each turn of a shard, and of each connection that a client loses.

use oyez_client::{ConnectionError, GoodbyeCode};

use super::oracle::Verdict;
use super::plan::{FaultKind, StrangerKind};
use super::publisher::Losses;
use super::world::World;

/// Calls for bytes in one turn of a shard, at most.
const CALLS_MAX: usize = 6_000;
/// Bytes that a shard reads in one turn, at most: half a mebibyte, and what the last visit of each kind adds.
const BYTES_IN_MAX: usize = 1 << 20;
/// Turns in a row in which a shard says that it has more to do, and moves nothing.
const IDLE_TURNS_MAX: u32 = 60;
/// Questions to other shards that one session may have open.
const QUESTIONS_MAX: usize = 32;

/// Time that a shutdown needs where many clients want their turns.
const SHUTDOWN_MS: u32 = 1_000;

/// Faults of sockets, of the time that clients have, and of what stands between: with one of them a connection may be lost
/// in any way.
const ROUGH: &[FaultKind] = &[
    FaultKind::Reset,
    FaultKind::HalfClose,
    FaultKind::DribbleOut,
    FaultKind::DribbleIn,
    FaultKind::SmallRoom,
    FaultKind::Stall,
    FaultKind::Interrupt,
    FaultKind::SendError,
    FaultKind::Merged,
    FaultKind::Flip,
    FaultKind::Asleep,
    FaultKind::Pause,
];

impl World {
    /// Whether connections may be lost in any way, whatever the broker does.
    pub(super) fn is_rough(&self) -> bool {
        self.may_be_cut_short() || self.may_meet(&[FaultKind::Kill, FaultKind::Power])
    }

    /// The same, but for ends of the broker. A shutdown that has no time cuts short what is left.
    fn may_be_cut_short(&self) -> bool {
        self.may_meet(ROUGH) || self.plan.config.drain_timeout_ms < SHUTDOWN_MS
    }

    /// Sessions that ask as much as they may; honest ones ask once for each of their subscriptions.
    fn askers(&self) -> usize {
        let kinds = self.plan.strangers.iter();
        // One that was cut off may be back before its questions are answered.
        2 * kinds.filter(|kind| **kind == StrangerKind::Fickle).count()
    }

    fn may_meet(&self, kinds: &[FaultKind]) -> bool {
        kinds.iter().any(|kind| self.plan.faults.contains(kind))
    }

    /// One turn of a shard.
    pub(super) fn turn(&mut self, shard: usize) -> Verdict {
        let broker = self.machine.broker.as_ref().expect("a shard is due");
        let before = broker.net(shard).calls();
        let had_completions = self.machine.disks[shard].has_completions();
        let turned = self.machine.turn(shard);
        let broker = self.machine.broker.as_ref().expect("it is still there");
        let (after, held) = (broker.net(shard).calls(), broker.held(shard));
        let calls = (after.reads - before.reads)
            + (after.sends - before.sends)
            + (after.batches - before.batches)
            + (after.files - before.files);
        let bytes_in = after.bytes_in - before.bytes_in;
        let moved = bytes_in + after.bytes_out - before.bytes_out;
        let is_idle = moved == 0 && !had_completions && broker.has_more_to_do(shard);
        let idle = &mut self.idle_turns[shard];
        *idle = if is_idle { *idle + 1 } else { 0 };
        let idle = *idle;
        self.tell(
            format_args!("shard {shard}"),
            format_args!("{calls} calls; holds {held}"),
        );
        if let Err(error) = turned {
            let is_first = self.machine.failed.is_none();
            let error = error.to_string();
            self.tell(
                format_args!("shard {shard}"),
                format_args!("fails: {error}"),
            );
            if is_first && !self.oracle.disk_trouble {
                return Err(format!("shard {shard} fails: {error}"));
            }
            self.machine.failed.get_or_insert(error);
            self.coverage.meet("shard failed");
        }
        let what = match () {
            () if calls > CALLS_MAX => format!("makes {calls} calls in a turn"),
            () if bytes_in > BYTES_IN_MAX => format!("reads {bytes_in} bytes in a turn"),
            () if idle > IDLE_TURNS_MAX => format!("takes {idle} turns in a row for nothing"),
            () if held.questions > QUESTIONS_MAX * self.askers() + 2 * held.sessions + 8 => {
                format!("holds {held}")
            }
            () => return Ok(()),
        };
        Err(format!("shard {shard} {what}"))
    }

    /// Notes why a client has lost its connections.
    ///
    /// # Errors
    /// When nothing explains it.
    pub(super) fn note_losses(
        &mut self,
        client: usize,
        losses: &Losses,
        was_welcomed: bool,
    ) -> Verdict {
        let left = self
            .link_mut(client)
            .is_some_and(|link| link.was_left_cleanly);
        let was_left = was_welcomed && left;
        let losses = std::mem::take(&mut *losses.lock().expect("one thread"));
        for error in losses {
            let who = self.name_of(client);
            self.tell(format_args!("{who}"), format_args!("is cut off: {error}"));
            if let ConnectionError::Goodbye { code, .. } = &error {
                self.coverage.meet(&format!("goodbye {code:?}"));
            }
            if !self.is_explained(&error, was_left) {
                return Err(format!("{who} is cut off: {error}"));
            }
        }
        Ok(())
    }

    /// What a broker sends is sound unless something has changed it; it is silent to nobody who speaks; and it goes with
    /// a word when it has stopped.
    fn is_explained(&self, error: &ConnectionError, was_left: bool) -> bool {
        let is_rough = self.may_be_cut_short() || self.oracle.disk_trouble;
        match error {
            ConnectionError::Frame(_) | ConnectionError::Unexpected { .. } => {
                self.may_meet(&[FaultKind::Flip]) || self.oracle.disk_trouble
            }
            ConnectionError::Unfinished | ConnectionError::Silent { .. } => is_rough,
            ConnectionError::Closed | ConnectionError::Io(_) => is_rough || !was_left,
            ConnectionError::Goodbye { code, .. } => match code {
                GoodbyeCode::Silent => is_rough,
                GoodbyeCode::Damaged => self.may_meet(&[FaultKind::Flip]),
                code => code.may_reconnect(),
            },
            _ => true,
        }
    }
}
