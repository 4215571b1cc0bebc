//! Time as an argument: the values of two clocks.

/// The time at the start of a turn, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since some fixed point of this process, the same for all stores that share an arena; never goes
    /// back. Everything that waits is measured by it.
    pub monotonic_ms: u64,
    /// The same in microseconds, for measuring how long operations take. No decision depends on it.
    pub monotonic_us: u64,
    /// Milliseconds since the Unix epoch; may jump. For timestamps, and for retention by age, which compares them.
    pub wall_ms: u64,
}
