//! Reproducible randomness: SplitMix64 from a seed that is printed.

use crate::figures::figure;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of [`seed`].
    ///
    /// # Panics
    /// When `OYEZ_SEED` is not a number.
    #[must_use]
    pub fn from_environment(test: &str) -> Self {
        Self(seed(test))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that do not compress.
    #[must_use]
    pub fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }
}

/// `OYEZ_SEED`, or a seed of the clock; it is printed.
///
/// # Panics
/// When `OYEZ_SEED` is not a number.
#[must_use]
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("OYEZ_SEED") {
        Ok(text) => text.parse().expect("OYEZ_SEED is a number"),
        Err(_) => clock_seed(),
    };
    figure(test, &format!("OYEZ_SEED={seed}"));
    seed
}

fn clock_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |time| time.as_micros() as u64)
}
