//! When many connections have ended, their memory is free but lies in pieces between memory in use, and the allocator keeps it.
//! So a thread watches the number of connections. When it has fallen and is steady again, the thread gives free pages back to the
//! kernel. Shards take no part, but an allocation of theirs may wait some milliseconds for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::parts::shared::Shared;
use crate::sys::memory;

/// How often the thread looks.
const LOOK: Duration = Duration::from_millis(250);
/// At least so many connections must have ended.
const CONNECTIONS_MIN: u64 = 64;

/// The peak of connections.
#[derive(Debug, Default)]
struct Peak {
    /// The most connections since memory was last given back.
    high: u64,
    last: u64,
}

impl Peak {
    /// Takes the number of connections. Returns whether it is time to give memory back.
    fn look(&mut self, now: u64) -> bool {
        let calm = now == self.last;
        self.last = now;
        self.high = self.high.max(now);
        let ebbed = calm && self.high - now >= CONNECTIONS_MIN;
        if ebbed {
            self.high = now;
        }
        ebbed
    }
}

/// The thread ends when this is dropped, at its next look.
pub(crate) struct MemoryTrim {
    _over: Sender<()>,
}

impl MemoryTrim {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn begin(shared: Arc<Shared>) -> io::Result<Self> {
        let (over_in, over) = channel();
        let thread = std::thread::Builder::new().name("trim".to_owned());
        thread.spawn(move || {
            let mut peak = Peak::default();
            while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if peak.look(shared.connections.load(Ordering::Relaxed) as u64) {
                    memory::give_back();
                }
            }
        })?;
        Ok(Self { _over: over_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_when_connections_are_steady_after_a_fall() {
        let mut peak = Peak::default();
        let given = [0, 500, 900, 400, 10, 10, 10, 70, 40, 40, 5, 5].map(|now| peak.look(now));
        let expected = [5, 11].map(|look| given[look]);
        assert_eq!(
            (expected, given.iter().filter(|g| **g).count()),
            ([true; 2], 2)
        );
    }
}
