//! Lets go of the answers that waited for another one, to leave in one send with it.

use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::session::Session;
use crate::parts::sessions::Sessions;

/// Forgets the sessions whose answer has come, and releases those that have waited long enough.
pub(crate) fn release_due(here: &Here, sessions: &mut Sessions, held: &mut Held) {
    while let Some((id, is_due)) = held.first(here.now.monotonic_ms) {
        let waits = sessions.get(id).is_some_and(Session::is_held);
        if waits && !is_due {
            return;
        }
        held.forget_first();
        if waits {
            sessions.there_mut(id).release();
            sessions.queue_send(id);
        }
    }
}
