//! Who is silent is asked; who stays silent is gone. And who does not say hello. Who has been sent something and has
//! acknowledged it to the kernel is not silent.

use std::os::fd::AsFd;

use oyez_protocol::event::{GoodbyeCode, Heartbeat};

use crate::budget::{Budget, TIMER_STEPS};
use crate::close::{LINGER_MS, Reason};
use crate::session::{Session, SessionId, Stage};
use crate::shard::Shard;
use crate::sys::socket;
use crate::timer::TICK_MS;

impl Shard {
    /// Looks after sessions whose timer is due, as many as may be in one turn.
    pub(crate) fn fire_timers(&mut self) {
        self.timers.advance(self.now.monotonic_ms, &mut self.due);
        let mut budget = Budget::TIMERS;
        while !budget.is_spent() {
            let Some(id) = self.due.pop_front() else {
                return;
            };
            self.look_after(id);
            budget.spend(TIMER_STEPS, 0);
        }
    }

    fn look_after(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let heard_ms = u64::from(session.heard_tick) * TICK_MS;
        let silent_ms = self.now.monotonic_ms.saturating_sub(heard_ms);
        let (config, blocked) = (&self.shared.config, session.blocked);
        let (hello_ms, heartbeat_ms) = (
            u64::from(config.hello_timeout_ms),
            u64::from(session.heartbeat_ms),
        );
        match session.stage {
            // In a shutdown the operator says how long a peer may take for its last bytes.
            Stage::Closing if self.drain.is_begun() => {}
            Stage::Closing | Stage::Lingering if silent_ms >= LINGER_MS => {
                self.disconnect(id, Reason::Refused);
            }
            Stage::Closing | Stage::Lingering => self.timers.arm(id, heard_ms + LINGER_MS),
            Stage::Greeting if silent_ms >= hello_ms => {
                self.refuse(id, GoodbyeCode::Silent, "no hello came in time");
            }
            Stage::Greeting => self.timers.arm(id, heard_ms + hello_ms),
            Stage::Open if silent_ms < heartbeat_ms => self.timers.arm(id, heard_ms + heartbeat_ms),
            // A session that we hold back ourselves may have said a lot that was not read yet. It is told that we live.
            Stage::Open if session.reading && !blocked => {
                self.timers.arm(id, self.now.monotonic_ms + heartbeat_ms);
                self.ping(id);
            }
            // After a stall of this machine everybody seems silent: only who did not answer is.
            Stage::Open if !session.pinged => {
                if let Some(ago_ms) = acknowledged_ms_ago(session).filter(|ago| *ago < heartbeat_ms)
                {
                    let heard_ms = self.now.monotonic_ms.saturating_sub(ago_ms);
                    session.heard_tick = (heard_ms / TICK_MS) as u32;
                    self.timers.arm(id, heard_ms + heartbeat_ms);
                    return;
                }
                session.pinged = true;
                self.timers.arm(id, self.now.monotonic_ms + heartbeat_ms);
                // To a full socket nothing can be said; it costs no memory to wait for it.
                if !blocked {
                    self.ping(id);
                }
            }
            Stage::Open if blocked => self.disconnect(id, Reason::Silent),
            Stage::Gone => {}
            Stage::Open => self.refuse(
                id,
                GoodbyeCode::Silent,
                "nothing was heard for two heartbeats",
            ),
        }
    }

    fn ping(&mut self, id: SessionId) {
        let ping = Heartbeat {
            token: self.now.monotonic_ms,
        };
        self.send_control(id, |out| ping.encode_ping(out));
    }
}

/// How long ago bytes left for a peer, or it last acknowledged some, whichever is longer; a peer that takes what it is sent
/// needs no question, and with a million subscribers of busy topics the questions would cost more than the records. A peer
/// that is gone acknowledges nothing, whatever is sent; one whose socket is full is not asked about here.
fn acknowledged_ms_ago(session: &Session) -> Option<u64> {
    let backlog = socket::backlog(session.stream.as_fd()).ok()?;
    (!session.blocked).then_some(backlog.stuck_ms)
}
