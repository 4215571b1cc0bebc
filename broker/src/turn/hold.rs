//! Lets go of the answers that waited for another one, to leave in one send with it.

use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::sessions::Sessions;

/// Forgets the sessions whose answer has come, and releases those that have waited long enough.
pub(crate) fn release_due(here: &Here, sessions: &mut Sessions, held: &mut Held) {
    while let Some((id, is_due)) = held.first(here.now.monotonic_ms) {
        let session = sessions.get_mut(id).filter(|session| session.held);
        if session.is_some() && !is_due {
            return;
        }
        held.forget_first();
        if let Some(session) = session {
            session.held = false;
            sessions.queue_send(id);
        }
    }
}
