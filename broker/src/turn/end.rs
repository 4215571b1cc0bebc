//! How sessions end: the only step that says Goodbye and closes connections. Everybody else says that a session is to end,
//! and why.

use tracing::info;

use crate::parts::budget::{Budget, CLOSE_FULL_STEPS, CLOSE_STEPS};
use crate::parts::ending::{Dismissed, LINGER_MS};
use crate::parts::membership::Membership;
use crate::parts::timers::Timers;
use crate::tell::say_goodbye;

/// Goes on with the sessions that have ended, or are to be told Goodbye, as far as may be in one turn.
pub(crate) fn end_sessions(members: &mut Membership<'_>, timers: &mut Timers, draining: bool) {
    while let Some(dismissed) = members.sessions.next_dismissed() {
        see_off(members, timers, draining, &dismissed);
    }
    let mut budget = Budget::ENDINGS;
    for _ in 0..members.sessions.count_gone() {
        let Some(gone) = members.sessions.first_gone().filter(|_| !budget.is_spent()) else {
            return;
        };
        if !members.leave_all(gone.id, &mut budget) {
            // Those behind it, which may have few subscriptions, are closed first in the next turn.
            members.sessions.put_first_gone_last();
            return;
        }
        members.sessions.close_first_gone();
        let steps = if gone.is_full {
            CLOSE_FULL_STEPS
        } else {
            CLOSE_STEPS
        };
        budget.spend(steps, 0);
    }
}

/// No record comes after the Goodbye, and the peer has so much time to take it. In a shutdown the operator says how much.
fn see_off(
    members: &mut Membership<'_>,
    timers: &mut Timers,
    draining: bool,
    dismissed: &Dismissed,
) {
    let (id, goodbye) = (dismissed.id, &dismissed.goodbye);
    members.catchups.pause(members.sessions, members.feeds, id);
    if !say_goodbye(members.here, members.sessions, id, goodbye) {
        return; // It has ended since.
    }
    let Some(session) = members.sessions.get_mut(id) else {
        return;
    };
    if dismissed.is_refused {
        let (peer, code, reason) = (
            session.stream.peer_addr().ok(),
            goodbye.code,
            &*goodbye.reason,
        );
        info!(?peer, ?code, reason, "session refused");
    }
    if !draining {
        // What the peer takes from here on is progress.
        let _before = session.look_at_taken();
        let due_ms = members.here.now.monotonic_ms + LINGER_MS;
        timers.watch_silence(id, due_ms);
    }
}
