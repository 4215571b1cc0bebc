//! Chance, as streams of a seed: who draws from one stream does not change what another draws.

use crate::random::Random;

/// A stream of chance.
#[derive(Clone, Debug)]
pub(super) struct Dice(Random);

impl Dice {
    /// The stream of a seed with this name and number.
    pub(super) fn new(seed: u64, name: &str, number: usize) -> Self {
        let mut mixed = seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(Random::new(Random::new(mixed).next()))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `bound`.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number of a range, its end included.
    pub(super) const fn among(&mut self, from: u64, to: u64) -> u64 {
        from + self.0.below(to - from + 1)
    }

    /// True once in so many throws.
    pub(super) const fn one_in(&mut self, throws: u64) -> bool {
        self.0.below(throws) == 0
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A place in a list of so many.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("a place in a list")
    }
}
