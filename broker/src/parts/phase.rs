//! The phases of the process: serving, stopping, failed.

/// The phase of the process. Only ever moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Serving.
    Serving = 0,
    /// Asked to stop: the shards accept and read nothing more.
    Stopping = 1,
    /// A shard failed: all stop at once and acknowledge nothing.
    Failed = 2,
}
