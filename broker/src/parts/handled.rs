//! What became of a command, and what it waits for when it cannot be handled now.

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// The shard has dealt with it.
    Done,
    /// The shard cannot handle it now: the session keeps it, and reads no further.
    Later(Until),
    /// The session is over.
    Over,
}

/// What a command that cannot be handled now waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// An answer to its own session, which has to come first, or to be sent.
    Answered,
    /// Room that sessions share: in a log, in a shard's inbox, in memory.
    Room,
}
