//! The sends of one batch, and the answers to them, in memory that all turns use again.

use crate::net::{Answer, BATCH_MAX, Socket};

/// Sends that leave together.
#[derive(Debug, Default)]
pub(crate) struct SendBatch {
    /// The sockets to send to, each with the tag of its answer.
    pub(crate) sockets: Vec<(Socket, u64)>,
    /// Answers of the sockets that did not take everything.
    pub(crate) answers: Vec<Answer>,
}

impl SendBatch {
    pub(crate) fn is_full(&self) -> bool {
        self.sockets.len() >= BATCH_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.sockets.clear();
        self.answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::MemoryNet;
    use crate::net::{Arrival, Net};

    #[test]
    fn a_batch_holds_as_many_sends_as_a_call_takes() {
        let mut net = MemoryNet::default();
        net.connect();
        let Some(Arrival::Connection(socket, _)) = net.accept() else {
            panic!("a peer has connected");
        };
        let mut batch = SendBatch::default();
        for tag in 0..BATCH_MAX as u64 {
            assert!(!batch.is_full());
            batch.sockets.push((socket, tag));
        }
        assert!(batch.is_full());
        batch.answers.push(Answer {
            tag: 0,
            sent: Ok(1),
        });
        batch.clear();
        assert!(!batch.is_full() && batch.sockets.is_empty() && batch.answers.is_empty());
    }
}
