//! Time as an argument: the two clocks that a store is told.

/// What the clocks said at the start of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since some fixed point of this process, the same for all stores that share an arena; never goes
    /// back. Everything that waits or expires goes by it.
    pub monotonic_ms: u64,
    /// The same in microseconds, for measuring how long things take. Nothing is decided on it.
    pub monotonic_us: u64,
    /// Milliseconds since the Unix epoch; may jump. For timestamps, and for retention by age, which compares them.
    pub wall_ms: u64,
}
