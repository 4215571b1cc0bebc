//! Closes sessions that give no sign of life: a session that was silent for a heartbeat is asked, one that stays silent as
//! long again is closed. So is one that does not say hello in time, or that does not send the rest of a frame.
//!
//! Signs of life are bytes that come, and bytes that the peer takes: then it has no need to answer before it has read what
//! lies ahead of the question. The kernel counts what the peer has acknowledged; a peer that only answers the probes of a
//! closed window does not move that count. A peer that is gone is found by the kernel, too, and mostly sooner: see
//! [`crate::sys::socket::claim`].

use oyez_protocol::event::GoodbyeCode;

use crate::clock::TICK_MS;
use crate::dialect::command::Reply;
use crate::net::Net;
use crate::parts::budget::{Budget, FRAME_STEPS, TIMER_STEPS};
use crate::parts::ending::{LINGER_MS, LINGER_STEP_MS, Reason};
use crate::parts::here::Here;
use crate::parts::patience::frame_due_ms;
use crate::parts::session::{Session, SessionId, Stage, Taking};
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;
use crate::tell::tell;

/// Sessions, and the timers that watch them.
pub(crate) struct Watch<'a> {
    pub(crate) here: &'a Here,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
    /// The broker is being shut down: nobody is read, and the operator says how long a peer may take for its last bytes.
    pub(crate) draining: bool,
}

impl Watch<'_> {
    /// Looks after sessions whose time has come, as many as may be in one turn.
    pub(crate) fn fire(&mut self) {
        self.timers.advance(self.here.now.monotonic_ms);
        let mut budget = Budget::TIMERS;
        while !budget.is_spent() {
            let Some(id) = self.timers.next_silent() else {
                break;
            };
            self.look_after(id);
            budget.spend(TIMER_STEPS, 0);
        }
        while !budget.is_spent() {
            let Some(id) = self.timers.next_stalled() else {
                return;
            };
            self.look_after_frame(id);
            budget.spend(FRAME_STEPS, 0);
        }
    }

    fn look_after(&mut self, id: SessionId) {
        let now_ms = self.here.now.monotonic_ms;
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        let patience_ms = match session.stage() {
            Stage::Closing if self.draining => return,
            Stage::Gone => return,
            Stage::Closing | Stage::Lingering => LINGER_MS,
            Stage::Greeting => u64::from(self.here.shared.config.hello_timeout_ms),
            Stage::Open => u64::from(session.heartbeat_ms()),
        };
        let heard_ms = session.heard_ms();
        if now_ms.saturating_sub(heard_ms) < patience_ms {
            self.timers.watch_silence(id, heard_ms + patience_ms);
            return;
        }
        // A session that we hold back ourselves may have said a lot that was not read yet. It is told that we live.
        if session.stage() == Stage::Open && session.is_to_read() && !session.is_blocked() {
            self.timers.watch_silence(id, now_ms + patience_ms);
            self.ping(id);
            return;
        }
        let taking = match session.stage() {
            Stage::Greeting => Taking::default(),
            _ => look_at_taken(self.net, session),
        };
        if let Some(ago_ms) = taking.ago_ms.filter(|ago_ms| *ago_ms < patience_ms) {
            let heard_ms = now_ms.saturating_sub(ago_ms);
            session.note_life((heard_ms / TICK_MS) as u32);
            self.timers.watch_silence(id, heard_ms + patience_ms);
            return;
        }
        let leaving = matches!(session.stage(), Stage::Closing | Stage::Lingering);
        if leaving && taking.has_more && now_ms.saturating_sub(heard_ms) < LINGER_STEP_MS {
            self.timers.watch_silence(id, now_ms + patience_ms);
            return;
        }
        self.take_for_silent(id);
    }

    /// A session has given no sign of life for as long as it may.
    fn take_for_silent(&mut self, id: SessionId) {
        let session = self.sessions.there_mut(id);
        let (blocked, heartbeat_ms) = (session.is_blocked(), u64::from(session.heartbeat_ms()));
        match session.stage() {
            Stage::Gone => {}
            Stage::Closing | Stage::Lingering => self.sessions.end(self.here, id, Reason::Refused),
            Stage::Greeting => {
                self.sessions
                    .refuse(self.here, id, GoodbyeCode::Silent, "no hello came in time");
            }
            // After a stall of this machine everybody seems silent: only a session that did not answer is.
            Stage::Open if !session.note_asked() => {
                self.timers
                    .watch_silence(id, self.here.now.monotonic_ms + heartbeat_ms);
                // To a full socket nothing can be said; it costs no memory to wait for it.
                if !blocked {
                    self.ping(id);
                }
            }
            Stage::Open if blocked => self.sessions.end(self.here, id, Reason::Silent),
            Stage::Open => self.sessions.refuse(
                self.here,
                id,
                GoodbyeCode::Silent,
                "nothing was heard for two heartbeats",
            ),
        }
    }

    fn look_after_frame(&mut self, id: SessionId) {
        let now_ms = self.here.now.monotonic_ms;
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        session.set_watched(false);
        let alive = matches!(session.stage(), Stage::Greeting | Stage::Open) && !self.draining;
        let Some(partial) = session
            .input()
            .filter(|partial| alive && partial.is_incomplete())
        else {
            return; // The rest has come, or is not waited for any more.
        };
        let due_ms = frame_due_ms(self.here, session, partial);
        if now_ms >= due_ms && !session.is_to_read() {
            let reason = "the rest of a frame did not come in time";
            self.sessions
                .refuse(self.here, id, GoodbyeCode::Silent, reason);
        } else {
            session.set_watched(true);
            self.timers.watch_frame(id, due_ms.max(now_ms + 1));
        }
    }

    fn ping(&mut self, id: SessionId) {
        let token = self.here.now.monotonic_ms;
        tell(self.here, self.sessions, id, &Reply::Ping { token });
    }
}

/// How far a peer has come since the last look.
fn look_at_taken(net: &dyn Net, session: &mut Session) -> Taking {
    let backlog = net.backlog(session.socket()).ok();
    backlog.map_or_else(Taking::default, |backlog| session.look_at_taken(backlog))
}
