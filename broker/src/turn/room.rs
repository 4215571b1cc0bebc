//! Turns away the sessions that hold memory and have stalled, while memory is short of room.

use oyez_protocol::event::GoodbyeCode;

use crate::parts::ending::{FULL_RETRY_MS, Reason};
use crate::parts::here::Here;
use crate::parts::room::look_at_holding;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;

/// While room is short, a session that makes no progress for so long has to go.
const STALLED_MS: u64 = 1_000;
/// Sessions turned away in one turn: 2 ms, with the memory of a large record each.
const TURNED_AWAY_MAX: usize = 32;

/// Makes room where it is short. Returns whether there is some again for those that wait for it. Looks at no more
/// sessions than there can be with [`MUCH_BYTES`](crate::parts::room::MUCH_BYTES) each below the caps.
pub(crate) fn make_room(here: &Here, sessions: &mut Sessions) -> bool {
    if sessions.room.is_look_due(here.now.monotonic_ms) {
        turn_away_stalled(here, sessions);
    }
    sessions.room.is_found_again()
}

fn turn_away_stalled(here: &Here, sessions: &mut Sessions) {
    let mut stalled = Vec::new();
    let mut holders = sessions.room.take_holders();
    holders.retain(|id| {
        let Some(session) = sessions.get_mut(*id) else {
            return false; // It has ended meanwhile.
        };
        let holds_much = look_at_holding(session);
        if holds_much && let Some(since_ms) = session.stalled_since_ms() {
            stalled.push((since_ms, *id));
        }
        holds_much
    });
    sessions.room.keep_holders(holders);
    stalled.sort_unstable();
    for (since_ms, id) in stalled.into_iter().take(TURNED_AWAY_MAX) {
        let long = here.now.monotonic_ms.saturating_sub(since_ms) >= STALLED_MS;
        let room = &sessions.room;
        if !(room.is_scarce() || (room.is_short() && long)) {
            return;
        }
        here.metrics().sessions_evicted.add(1);
        turn_away(here, sessions, id);
    }
}

/// Ends a session for want of room, at once: a Goodbye that it does not read would only hold more.
fn turn_away(here: &Here, sessions: &mut Sessions, id: SessionId) {
    if sessions.there(id).is_blocked() {
        sessions.end(here, id, Reason::Stalled);
    } else {
        let reason = "the broker is short of room and this session makes no progress";
        sessions.refuse_for(here, id, GoodbyeCode::Full, FULL_RETRY_MS, reason);
    }
}
