//! How far the process is in its life.

/// Where the process stands in its life. Only ever moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Serving.
    Serving = 0,
    /// Asked to stop: nobody is accepted or read any more.
    Stopping = 1,
    /// A shard failed: stop at once, acknowledge nothing.
    Failed = 2,
}
