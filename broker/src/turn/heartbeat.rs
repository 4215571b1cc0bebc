//! Closes sessions that give no sign of life: a session that was silent for a heartbeat is asked, one that stays silent as
//! long again is closed. So is one that does not say hello in time, or that does not send the rest of a frame.
//!
//! Signs of life are bytes that come, and bytes that the peer takes: then it has no need to answer before it has read what
//! lies ahead of the question. The kernel counts what the peer has acknowledged; a peer that only answers the probes of a
//! closed window does not move that count. A peer that is gone is found by the kernel, too, and mostly sooner: see
//! [`socket::claim`].

use std::collections::VecDeque;
use std::os::fd::AsFd;

use oyez_protocol::event::{GoodbyeCode, Heartbeat};

use crate::parts::budget::{Budget, FRAME_STEPS, TIMER_STEPS};
use crate::parts::sessions::{Session, SessionId, Stage};
use crate::parts::timers::TICK_MS;
use crate::shard::Shard;
use crate::sys::socket;
use crate::turn::end::{LINGER_MS, LINGER_STEP_MS, Reason};

/// Bytes of a question, whose acknowledgement alone says nothing about the peer's process.
const PING_BYTES: u32 = 24;
/// The rest of a frame may stay away for so long, or for two heartbeats if that is shorter, in milliseconds.
const FRAME_STALL_MS: u64 = 10_000;
/// A whole frame may take that long and a second for each KiB, so that no peer keeps a frame open for ever by dribbling.
const FRAME_KIB_MS: u64 = 1_000;

/// What timers have called for and no turn has had time for yet.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Sessions that may be silent.
    sessions: VecDeque<SessionId>,
    /// Sessions whose frame should have come to its end.
    frames: VecDeque<SessionId>,
}

impl Due {
    pub(crate) fn has_some(&self) -> bool {
        !(self.sessions.is_empty() && self.frames.is_empty())
    }
}

impl Shard {
    /// Looks after sessions whose timer is due, as many as may be in one turn.
    pub(crate) fn fire_timers(&mut self) {
        self.timers
            .advance(self.now.monotonic_ms, &mut self.due.sessions);
        let mut budget = Budget::TIMERS;
        while !budget.is_spent() {
            let Some(id) = self.due.sessions.pop_front() else {
                break;
            };
            self.look_after(id);
            budget.spend(TIMER_STEPS, 0);
        }
        self.frame_timers
            .advance(self.now.monotonic_ms, &mut self.due.frames);
        while !budget.is_spent() {
            let Some(id) = self.due.frames.pop_front() else {
                return;
            };
            self.look_after_frame(id);
            budget.spend(FRAME_STEPS, 0);
        }
    }

    fn look_after(&mut self, id: SessionId) {
        let now_ms = self.now.monotonic_ms;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let patience_ms = match session.stage {
            // In a shutdown the operator says how long a peer may take for its last bytes.
            Stage::Closing if self.drain.is_begun() => return,
            Stage::Gone => return,
            Stage::Closing | Stage::Lingering => LINGER_MS,
            Stage::Greeting => u64::from(self.shared.config.hello_timeout_ms),
            Stage::Open => u64::from(session.heartbeat_ms),
        };
        let heard_ms = u64::from(session.heard_tick) * TICK_MS;
        if now_ms.saturating_sub(heard_ms) < patience_ms {
            self.timers.arm(id, heard_ms + patience_ms);
            return;
        }
        // A session that we hold back ourselves may have said a lot that was not read yet. It is told that we live.
        if session.stage == Stage::Open && session.reading && !session.blocked {
            self.timers.arm(id, now_ms + patience_ms);
            self.ping(id);
            return;
        }
        let taking = if session.stage == Stage::Greeting {
            Taking::default()
        } else {
            look_at_taken(session)
        };
        if let Some(ago_ms) = taking.ago_ms.filter(|ago_ms| *ago_ms < patience_ms) {
            let heard_ms = now_ms.saturating_sub(ago_ms);
            session.heard_tick = (heard_ms / TICK_MS) as u32;
            session.pinged = false;
            self.timers.arm(id, heard_ms + patience_ms);
            return;
        }
        let leaving = matches!(session.stage, Stage::Closing | Stage::Lingering);
        if leaving && taking.has_more && now_ms.saturating_sub(heard_ms) < LINGER_STEP_MS {
            self.timers.arm(id, now_ms + patience_ms);
            return;
        }
        self.take_for_silent(id);
    }

    /// A session has given no sign of life for as long as it may.
    fn take_for_silent(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let (blocked, heartbeat_ms) = (session.blocked, u64::from(session.heartbeat_ms));
        match session.stage {
            Stage::Gone => {}
            Stage::Closing | Stage::Lingering => self.disconnect(id, Reason::Refused),
            Stage::Greeting => self.refuse(id, GoodbyeCode::Silent, "no hello came in time"),
            // After a stall of this machine everybody seems silent: only a session that did not answer is.
            Stage::Open if !session.pinged => {
                session.pinged = true;
                self.timers.arm(id, self.now.monotonic_ms + heartbeat_ms);
                // To a full socket nothing can be said; it costs no memory to wait for it.
                if !blocked {
                    self.ping(id);
                }
            }
            Stage::Open if blocked => self.disconnect(id, Reason::Silent),
            Stage::Open => self.refuse(
                id,
                GoodbyeCode::Silent,
                "nothing was heard for two heartbeats",
            ),
        }
    }

    /// Waits for the rest of a frame that has begun. One timer for each session is enough, however many frames begin
    /// meanwhile.
    pub(crate) fn watch_frame(&mut self, id: SessionId) {
        let now_ms = self.now.monotonic_ms;
        let stall_ms = self.frame_stall_ms(id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.watched = true;
            self.frame_timers.arm(id, now_ms + stall_ms);
        }
    }

    /// How long the rest of a frame may stay away. A client whose hello lost bytes should hear so before it loses patience.
    fn frame_stall_ms(&self, id: SessionId) -> u64 {
        match self.sessions.get(id) {
            Some(session) if session.stage == Stage::Open => {
                FRAME_STALL_MS.min(2 * u64::from(session.heartbeat_ms))
            }
            _ => u64::from(self.shared.config.hello_timeout_ms) / 2,
        }
    }

    fn look_after_frame(&mut self, id: SessionId) {
        let (now_ms, stall_ms) = (self.now.monotonic_ms, self.frame_stall_ms(id));
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.watched = false;
        // In a shutdown nobody is read.
        let alive =
            matches!(session.stage, Stage::Greeting | Stage::Open) && !self.drain.is_begun();
        let partial = session.partial.as_ref();
        let Some(partial) = partial.filter(|partial| alive && partial.is_incomplete()) else {
            return;
        };
        let kib = partial.need as u64 / 1024;
        let due_ms = (u64::from(partial.fed_tick) * TICK_MS + stall_ms)
            .min(u64::from(partial.begun_tick) * TICK_MS + FRAME_STALL_MS + kib * FRAME_KIB_MS);
        if now_ms >= due_ms && !session.reading {
            let reason = "the rest of a frame did not come in time";
            self.refuse(id, GoodbyeCode::Silent, reason);
        } else {
            session.watched = true;
            self.frame_timers.arm(id, due_ms.max(now_ms + 1));
        }
    }

    fn ping(&mut self, id: SessionId) {
        let ping = Heartbeat {
            token: self.now.monotonic_ms,
        };
        self.send_control(id, |out| ping.encode_ping(out));
    }
}

/// How a peer takes what it is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Taking {
    /// How long ago it last acknowledged something, if it has taken more than our question since the last look.
    ago_ms: Option<u64>,
    /// There are bytes that it has not acknowledged.
    has_more: bool,
}

/// With a million subscribers of busy topics questions would cost more than the records.
fn look_at_taken(session: &mut Session) -> Taking {
    let Ok(backlog) = socket::backlog(session.stream.as_fd()) else {
        return Taking::default();
    };
    let before = std::mem::replace(&mut session.taken, backlog.acknowledged as u32);
    let asked = if session.pinged { PING_BYTES } else { 0 };
    Taking {
        ago_ms: (session.taken.wrapping_sub(before) > asked).then_some(backlog.answered_ms),
        has_more: backlog.bytes > 0,
    }
}

/// What the peer takes from here on is progress.
pub(crate) fn note_taken(session: &mut Session) {
    let _before = look_at_taken(session);
}
