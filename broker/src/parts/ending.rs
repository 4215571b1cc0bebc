//! Why connections end, and what is left to be done then.

use oyez_protocol::event::GoodbyeCode;

use crate::dialect::command::Goodbye;
use crate::parts::session::SessionId;

/// When a client that found no room should come back, in milliseconds.
pub(crate) const FULL_RETRY_MS: u32 = 5_000;
/// There is nothing more to be said.
pub(crate) fn done(reason: &'static str) -> Goodbye {
    Goodbye {
        code: GoodbyeCode::Done,
        retry_after_ms: 0,
        reason: reason.into(),
    }
}

/// Why there is no room for a connection.
pub(crate) const FULL: &str = "the broker has as many connections as it may";

/// There is no room for a connection.
pub(crate) fn full(reason: &'static str) -> Goodbye {
    Goodbye {
        code: GoodbyeCode::Full,
        retry_after_ms: FULL_RETRY_MS,
        reason: reason.into(),
    }
}

/// Time that a peer which has said Goodbye, or shut its side, waits for its answers at most, in milliseconds. A log that
/// syncs is done long before; one that is stuck for so long may be stuck for ever.
pub(crate) const ANSWERS_MS: u64 = 10_000;
/// Time that a refused peer has to close the connection when it has taken its Goodbye, in milliseconds.
pub(crate) const LINGER_MS: u64 = 2_000;
/// Time that it has to take its Goodbye, or some of what lies before it: a receiver that reads slowly makes room in large
/// steps.
pub(crate) const LINGER_STEP_MS: u64 = 10_000;

/// Why a connection is closed without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The peer closed it.
    PeerClosed,
    /// The connection broke.
    PeerReset,
    /// The peer said Goodbye.
    PeerDone,
    /// The peer has had its Goodbye from us.
    Refused,
    /// The peer was told to go, and has not taken its last bytes for as long as it may; or others need the room that it
    /// lingers in.
    Untaken,
    /// Nothing was heard, and nothing can be said.
    Silent,
    /// It asks for nothing any more, and speaks a dialect in which nothing is said unasked.
    Idle,
    /// Retention dropped a record of which the peer has a part, or its rest is damaged.
    Dropped,
    /// It holds memory that others need, and makes no progress.
    Stalled,
    /// The broker stops and the peer did not take its last bytes.
    Stopping,
}

impl Reason {
    /// Whether the kernel may hold much for the peer, or from it, that nobody will take.
    pub(crate) const fn leaves_much(self) -> bool {
        matches!(
            self,
            Self::Dropped | Self::Silent | Self::Stalled | Self::Untaken
        )
    }
}

/// How a session over WebSocket is closed that is not told Goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The code of its Close.
    pub(crate) code: u16,
    /// What it has sent that cannot be; `None` if it has closed itself.
    pub(crate) fault: Option<&'static str>,
}

impl Closing {
    /// It has said all that it wants.
    pub(crate) const DONE: Self = Self {
        code: 1000,
        fault: None,
    };
}

/// A session that is to be told Goodbye.
#[derive(Clone, Debug)]
pub(crate) struct Dismissed {
    pub(crate) id: SessionId,
    pub(crate) goodbye: Goodbye,
    /// It is its own doing.
    pub(crate) is_refused: bool,
}

/// A session that has ended, and whose connection and subscriptions are still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) id: SessionId,
    /// There may be megabytes in its socket.
    pub(crate) is_full: bool,
    /// What nobody will take is thrown away with it.
    pub(crate) is_reset: bool,
}
