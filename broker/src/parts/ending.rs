//! Why connections end, and what remains to be done then.

use oyez_protocol::event::GoodbyeCode;

use crate::dialect::command::Goodbye;
use crate::parts::session::SessionId;

/// When a client that found no room should come back, in milliseconds.
pub(crate) const FULL_RETRY_MS: u32 = 5_000;
/// The Goodbye to a client that is done.
pub(crate) fn done(reason: &'static str) -> Goodbye {
    Goodbye {
        code: GoodbyeCode::Done,
        retry_after_ms: 0,
        reason: reason.into(),
    }
}

/// Why there is no room for a connection.
pub(crate) const FULL: &str = "the broker has as many connections as it may";

/// The Goodbye to a client that found no room.
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
/// Time that a refused peer has to close the connection after it has taken its Goodbye, in milliseconds.
pub(crate) const LINGER_MS: u64 = 2_000;
/// Time that a refused peer has to take its Goodbye, or some of the bytes before it, in milliseconds: a receiver that reads
/// slowly makes room in large steps.
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
    /// The peer has had its Goodbye from the broker.
    Refused,
    /// The peer was told to go, and has not taken its last bytes in time; or others need the room that it lingers in.
    Untaken,
    /// The peer is silent, and its socket takes nothing either.
    Silent,
    /// The peer asks for nothing any more, in a dialect that has no Goodbye.
    Idle,
    /// Retention dropped a record of which the peer has a part, or its rest is damaged.
    Dropped,
    /// The peer holds memory that others need, and makes no progress.
    Stalled,
    /// The broker stops and the peer did not take its last bytes.
    Stopping,
}

impl Reason {
    /// Whether the kernel may hold many bytes for the peer, or from it, that will never be read.
    pub(crate) const fn leaves_much(self) -> bool {
        matches!(
            self,
            Self::Dropped | Self::Silent | Self::Stalled | Self::Untaken
        )
    }
}

/// How a session over WebSocket is closed that gets no Goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The code of its Close.
    pub(crate) code: u16,
    /// The rule that its peer has broken; `None` if the peer has closed.
    pub(crate) fault: Option<&'static str>,
}

impl Closing {
    /// The peer has closed normally.
    pub(crate) const DONE: Self = Self {
        code: 1000,
        fault: None,
    };
}

/// A session that is to get a Goodbye.
#[derive(Clone, Debug)]
pub(crate) struct Dismissed {
    pub(crate) id: SessionId,
    pub(crate) goodbye: Goodbye,
    /// The client caused it.
    pub(crate) is_refused: bool,
}

/// A session that has ended, but whose connection and subscriptions are still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) id: SessionId,
    /// Its socket may hold megabytes.
    pub(crate) is_full: bool,
    /// Its connection is reset: unsent bytes are thrown away.
    pub(crate) is_reset: bool,
}
