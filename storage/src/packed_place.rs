//! The place of a record in a segment, packed into sixteen bytes: the same in memory and in a footer.

use oyez_protocol::{Offset, Position};

use crate::values::Place;

const AT_BITS: u32 = 27;
const SIZE_BITS: u32 = 18;

// A place in the largest segment, and the size of the largest record, both in units of eight bytes.
const _: () = assert!(crate::options::SEGMENT_BYTES_MAX / 8 <= 1 << AT_BITS);
const _: () = assert!(oyez_protocol::limits::RECORD_SIZE_HARD_MAX / 8 < 1 << SIZE_BITS);
const _: () = assert!(AT_BITS + SIZE_BITS + 16 <= 64);

/// Bytes of a packed place.
pub(crate) const PLACE_SIZE: usize = 16;

/// Offset of the first message, and packed: place / 8 (27 bits), size / 8 (18 bits), count (16 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedPlace {
    pub first: u64,
    word: u64,
}

impl PackedPlace {
    /// `at` is relative to the segment's base.
    pub(crate) fn new(first: u64, at: u64, size: u32, count: u16) -> Self {
        let size = u64::from(size / 8) << AT_BITS;
        let count = u64::from(count) << (AT_BITS + SIZE_BITS);
        Self {
            first,
            word: (at / 8) | size | count,
        }
    }

    pub(crate) const fn at(self) -> u64 {
        (self.word & ((1 << AT_BITS) - 1)) * 8
    }

    pub(crate) const fn size(self) -> u32 {
        (((self.word >> AT_BITS) & ((1 << SIZE_BITS) - 1)) * 8) as u32
    }

    /// Offset after the last message.
    pub(crate) const fn next(self) -> u64 {
        self.first + ((self.word >> (AT_BITS + SIZE_BITS)) & 0xffff)
    }

    pub(crate) fn encode(self) -> [u8; PLACE_SIZE] {
        let mut out = [0; PLACE_SIZE];
        out[..8].copy_from_slice(&self.first.to_le_bytes());
        out[8..].copy_from_slice(&self.word.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            first: crate::format::u64_at(bytes, 0),
            word: crate::format::u64_at(bytes, 8),
        }
    }

    pub(crate) fn to_place(self, base: u64) -> Place {
        Place {
            first: Offset::new(self.first),
            next: Offset::new(self.next()),
            position: Position::new(base + self.at()),
            size: self.size(),
        }
    }
}
