//! Figures that tests measure, printed past the capture of the test runner so that every run shows them.

use std::io::Write;

/// Prints a figure.
pub fn figure(name: &str, value: &str) {
    // A closed stderr is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "figure: {name}: {value}");
}

/// Says that a test could not run here, and why.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// Whether the sizes and bounds of the promises are wanted (`OYEZ_FULL=1`) instead of those for every day.
#[must_use]
pub fn full() -> bool {
    std::env::var_os("OYEZ_FULL").is_some_and(|value| value != "0")
}

/// A size from a variable, or `default`.
///
/// # Panics
/// When the variable is not a number.
#[must_use]
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number"))
    })
}
