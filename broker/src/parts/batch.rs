//! The sends of one batch, and what they were answered: memory that turns use again and again.

use crate::net::{Answer, BATCH_MAX, Socket};

/// Sends that leave together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// To whom, each with the tag of its answer.
    pub(crate) sockets: Vec<(Socket, u64)>,
    /// Of those that did not take everything.
    pub(crate) answers: Vec<Answer>,
}

impl Batch {
    pub(crate) fn is_full(&self) -> bool {
        self.sockets.len() >= BATCH_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.sockets.clear();
        self.answers.clear();
    }
}
