//! What takes what sessions ask for: reading knows commands, and not where they lead.

use crate::dialect::command::Command;
use crate::parts::budget::ReadBudget;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::taken::Taken;

/// Takes what sessions ask for, command by command.
pub(crate) trait Takes {
    /// Takes one command of a session, and of the budget what it costs.
    fn take(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        command: Command<'_>,
    ) -> Taken;
}
