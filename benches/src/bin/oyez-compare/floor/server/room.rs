//! How many threads with a listener each the bare server needs. Pure arithmetic.

/// Descriptors of a table that are no connections: standard streams, waker, poll, listener, a few to spare.
const DESCRIPTORS_RESERVED: usize = 64;

/// Threads with a listener each that `connections` need when the kernel spreads them by hash: a share is binomial, and
/// its mean and six standard deviations must fit into a table.
pub(super) fn listeners(connections: usize, descriptors: usize, cores: usize) -> usize {
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1) as f64;
    let fits = |threads: &usize| {
        let mean = connections as f64 / *threads as f64;
        mean + 6.0 * (mean * (1.0 - 1.0 / *threads as f64)).sqrt() <= room
    };
    (cores.max(1)..=connections.max(cores).max(1))
        .find(fits)
        .unwrap_or(cores.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_shares_fit_with_six_deviations_to_spare() {
        let threads = listeners(1_000_000, 20_000, 2);
        assert!((51..60).contains(&threads), "{threads}");
        assert_eq!(listeners(1_000, 20_000, 2), 2);
    }
}
