//! The trait that handles commands: the step that reads knows commands, but not the steps that serve them.

use crate::dialect::command::Command;
use crate::parts::budget::ReadBudget;
use crate::parts::handled::Handled;
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
