//! The HTTP requests of a shard's sessions that have no answer yet. Few sessions have one at a time, so they lie here and not in
//! the session.

use std::collections::HashMap;

use crate::dialect::exchange::Exchange;
use crate::parts::session::SessionId;

/// Requests by the sessions that wait for their answers, one for each session.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(HashMap<SessionId, Exchange>);

impl Exchanges {
    /// Notes that a session waits for the answer to a request.
    pub(crate) fn begin(&mut self, id: SessionId, exchange: Exchange) {
        let before = self.0.insert(id, exchange);
        debug_assert!(before.is_none(), "a session has one request at a time");
    }

    /// Whether a session waits for an answer.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.0.contains_key(&id)
    }

    /// The number of a session's request if some of its records were taken and others wait.
    pub(crate) fn partly_taken(&self, id: SessionId) -> Option<u64> {
        let exchange = self.0.get(&id)?;
        (exchange.taken > 0 && exchange.is_being_taken).then_some(exchange.number)
    }

    /// The request of a session, to be changed.
    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Exchange> {
        self.0.get_mut(&id)
    }

    /// Takes the request of a session if `is_it`, which may change it, accepts it.
    pub(crate) fn take_if(
        &mut self,
        id: SessionId,
        is_it: impl FnOnce(&mut Exchange) -> bool,
    ) -> Option<Exchange> {
        if !is_it(self.0.get_mut(&id)?) {
            return None;
        }
        let taken = self.0.remove(&id);
        // Frees the memory of a burst when it is over.
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0.shrink_to(KEPT);
        }
        taken
    }
}

/// Requests for which the memory is kept while there are none.
const KEPT: usize = 256;
