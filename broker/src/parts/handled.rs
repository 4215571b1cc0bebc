//! What becomes of a command, and what handles it: reading knows commands, and not where they lead.

use crate::dialect::command::Command;
use crate::parts::budget::ReadBudget;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;

/// Handles what sessions ask for, command by command.
pub(crate) trait CommandHandler {
    /// Handles one command of a session. Takes what it costs from the budget.
    fn handle(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        command: Command<'_>,
    ) -> Handled;
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// The shard has dealt with it.
    Done,
    /// The shard cannot handle it now: the session keeps it, and reads no further.
    Later(Until),
    /// The session is over.
    Over,
}

/// What a command that cannot be handled now waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// An answer to its own session, which has to come, or to leave.
    Answered,
    /// Room that sessions share: in a log, in a shard's inbox, in memory.
    Room,
}
