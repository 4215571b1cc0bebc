//! Telling sessions something: the one place where replies become bytes. They leave at the end of the turn.

use crate::dialect::command::{Goodbye, Reply};
use crate::dialect::native::encode;
use crate::parts::here::Here;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::taken::Taken;

/// Tells a session something, unless it is over.
pub(crate) fn tell(
    here: &Here,
    sessions: &mut Sessions,
    id: SessionId,
    reply: &Reply<'_>,
) -> Taken {
    sessions.control(here, id, |out| encode(reply, out))
}

/// Tells a session that was dismissed the last thing that it hears. Returns whether it was there to be told.
pub(crate) fn say_goodbye(
    here: &Here,
    sessions: &mut Sessions,
    id: SessionId,
    goodbye: &Goodbye,
) -> bool {
    sessions.conclude(here, id, |out| encode(&Reply::Goodbye(goodbye), out)) == Taken::Done
}
