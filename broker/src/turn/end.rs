//! How sessions end: the only step that says Goodbye and closes connections. Everybody else says that a session is to end,
//! and why.

use tracing::info;

use crate::net::Net;
use crate::parts::budget::{Budget, CLOSE_FULL_STEPS, CLOSE_STEPS};
use crate::parts::ending::{Dismissed, Gone, LINGER_MS};
use crate::parts::membership::Membership;
use crate::parts::timers::Timers;
use crate::tell::say_goodbye;

/// What ending sessions needs.
pub(crate) struct Endings<'a> {
    pub(crate) members: Membership<'a>,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) timers: &'a mut Timers,
    /// The broker is being shut down.
    pub(crate) draining: bool,
}

impl Endings<'_> {
    /// Goes on with the sessions that have ended, or are to be told Goodbye, as far as may be in one turn.
    pub(crate) fn run(&mut self) {
        while let Some(dismissed) = self.members.sessions.next_dismissed() {
            self.see_off(&dismissed);
        }
        let mut budget = Budget::ENDINGS;
        for _ in 0..self.members.sessions.count_gone() {
            if budget.is_spent() {
                return;
            }
            let gone = self.members.sessions.first_gone();
            if !self.members.leave_all(gone.id, &mut budget) {
                // Those behind it, which may have few subscriptions, are closed first in the next turn.
                self.members.sessions.put_first_gone_last();
                return;
            }
            self.close(gone);
            let steps = if gone.is_full {
                CLOSE_FULL_STEPS
            } else {
                CLOSE_STEPS
            };
            budget.spend(steps, 0);
        }
    }

    fn close(&mut self, gone: Gone) {
        let socket = self.members.sessions.forget_first_gone();
        if gone.is_reset {
            self.net.abort(socket);
        } else {
            self.net.close(socket);
        }
    }

    /// No record comes after the Goodbye, and the peer has so much time to take it. In a shutdown the operator says how much.
    fn see_off(&mut self, dismissed: &Dismissed) {
        let (id, goodbye) = (dismissed.id, &dismissed.goodbye);
        let Membership {
            here,
            sessions,
            feeds,
            catchups,
            ..
        } = &mut self.members;
        catchups.pause(sessions, feeds, id);
        if !say_goodbye(here, sessions, id, goodbye) {
            return; // It has ended since.
        }
        let session = sessions.there_mut(id);
        if dismissed.is_refused {
            let (peer, reason) = (self.net.peer(session.socket()).ok(), &*goodbye.reason);
            info!(?peer, code = ?goodbye.code, reason, "session refused");
        }
        if self.draining {
            return;
        }
        // What the peer takes from here on is progress.
        if let Ok(backlog) = self.net.backlog(session.socket()) {
            let _before = session.look_at_taken(backlog);
        }
        let due_ms = here.now.monotonic_ms + LINGER_MS;
        self.timers.watch_silence(id, due_ms);
    }
}
