//! Who takes what sessions ask for: reading knows frames, and not what they ask.

use oyez_protocol::Frame;

use crate::parts::budget::ReadBudget;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::taken::Taken;

/// Takes what sessions ask for, frame by frame.
pub(crate) trait Takes {
    /// Takes one frame of a session, and of the budget what it costs.
    fn take(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        frame: Frame<'_>,
    ) -> Taken;
}
