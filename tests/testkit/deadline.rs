//! Waiting for a condition, never for a time: the only place that lets time pass.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails. Far above what any needs, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until `probe` gives something.
///
/// # Panics
/// When it gives nothing for [`PATIENCE`].
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    found_within(PATIENCE, probe).unwrap_or_else(|| panic!("waited too long for {what}"))
}

/// Looks until `probe` gives something, or the time is over; for tests that have more to say then than what was waited
/// for.
pub fn found_within<T>(time: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        let found = probe();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Looks until `condition` holds.
///
/// # Panics
/// When it does not hold for [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}
