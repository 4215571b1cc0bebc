//! Types that only micro-benchmarks may call, behind the feature `bench`, which `benches/` alone asks for.
//!
//! The bench itself lies there, beside the others that share its corpus and its log; as a target of this crate it would be
//! outside as well, and would need this face too. A type of its own in front of the real one lets that stay private, with and
//! without the feature.

use bytes::Bytes;
use oyez_storage::{LogReader, Place};

use crate::dialect::form::Form;
use crate::parts::chain;
use crate::parts::sending;

/// Parts of a chain, and so of a send, at most.
pub const PARTS_MAX: usize = sending::PARTS_MAX;

/// Records of one topic, as parts that lie together; see `parts::chain`.
#[derive(Debug, Default)]
pub struct Chain(chain::Chain);

impl Chain {
    /// Builds the chain from those of `places` that are in memory, and returns how many these are.
    pub fn build(
        &mut self,
        reader: &mut LogReader,
        topic: &str,
        places: impl Iterator<Item = Place>,
    ) -> u64 {
        match self.0.build(Form::NATIVE, reader, topic, places) {
            Ok(()) => self.0.records(),
            Err(_) => 0,
        }
    }

    /// Empties the chain, and releases its bytes.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The bytes to send, in order.
    #[must_use]
    pub fn parts(&self) -> &[Bytes] {
        &self.0.parts
    }

    /// Bytes of all parts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.0.bytes
    }
}
