//! Input that a session keeps between two reads.

use crate::dialect::command::DecodeProgress;
use crate::dialect::websocket::unframe::Unframing;

/// Input that is not a whole frame yet, or whose frame cannot be handled now.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the frame at the front, as far as its size is known.
    pub(crate) need: usize,
    /// How far the decoder has come with that frame.
    pub(crate) progress: DecodeProgress,
    /// How far the unframing of a WebSocket message has come.
    pub(crate) framing: Option<Box<Unframing>>,
    /// Bytes of memory that the shard counts for it.
    pub(crate) counted: usize,
    /// When the frame at the front began, in ticks of the timer wheel; below, when its last bytes came.
    pub(crate) begun_tick: u32,
    pub(crate) fed_tick: u32,
    /// How long the input was when it last counted as grown; below, when that was.
    grown_to: usize,
    pub(crate) grown_tick: u32,
}

/// Input that grows by less counts as stalled: a byte now and then is no progress.
const GROWTH_BYTES: usize = 4 << 10;

impl Partial {
    pub(crate) fn new(bytes: Vec<u8>, need: usize, now_tick: u32) -> Self {
        Self {
            need,
            progress: DecodeProgress::default(),
            framing: None,
            counted: 0,
            begun_tick: now_tick,
            fed_tick: now_tick,
            grown_to: bytes.len(),
            grown_tick: now_tick,
            bytes,
        }
    }

    /// Whether the frame at the front lacks bytes.
    pub(crate) const fn is_incomplete(&self) -> bool {
        self.bytes.len() < self.need
    }

    /// Notes that bytes have come, or were taken.
    pub(crate) fn note_growth(&mut self, now_tick: u32) {
        self.fed_tick = now_tick;
        let size = self.bytes.len();
        if size < self.grown_to || size >= self.grown_to + GROWTH_BYTES {
            (self.grown_to, self.grown_tick) = (size, now_tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_grows_when_enough_has_come_or_something_was_taken() {
        let mut partial = Partial::new(vec![0; 100], 10_000, 1);
        for (size, tick, grown) in [
            (101, 2, 1),
            (100 + GROWTH_BYTES - 1, 3, 1),
            (100 + GROWTH_BYTES, 4, 4),
            (100 + GROWTH_BYTES, 5, 4),
            (50, 6, 6),
            (50 + GROWTH_BYTES, 7, 7),
        ] {
            partial.bytes.resize(size, 0);
            partial.note_growth(tick);
            assert_eq!((partial.fed_tick, partial.grown_tick), (tick, grown));
            assert!(partial.is_incomplete());
        }
        partial.bytes.resize(10_000, 0);
        assert!(!partial.is_incomplete());
    }
}
