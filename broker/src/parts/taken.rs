//! Whether what a session asks for is taken.

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is dealt with.
    Done,
    /// It cannot be taken now: keep it, and do not read on.
    Later(Until),
    /// The session is over.
    Over,
}

/// What a frame that cannot be taken waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// An answer to its own session, which has to come, or to leave.
    Answered,
    /// Room that sessions share: in a log, in a shard's inbox, in memory.
    Room,
}
