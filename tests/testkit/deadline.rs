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
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
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
