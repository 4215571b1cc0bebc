//! A record that is sent in part.

use std::num::NonZeroU32;

use oyez_protocol::{LogId, Position};

use crate::dialect::form::Part;

/// A record, or a run of records, of which the socket has taken a part. The rest must leave before anything else does. 16 bytes,
/// also as an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordTail {
    /// The log in the upper 16 bits, the record's position in the lower 48.
    place: u64,
    /// Bytes of the record, or of the run of records that is sent as one message; for a record in another form, the part that is
    /// sent.
    what: NonZeroU32,
    /// Bytes that the socket has taken, the header of a message included.
    pub(crate) sent: u32,
}

impl RecordTail {
    /// `None` if `what` is 0; no record has 0 bytes.
    pub(crate) fn new(log: LogId, position: Position, what: u32, sent: u32) -> Option<Self> {
        debug_assert!(position.get() < 1 << POSITION_BITS);
        Some(Self {
            place: u64::from(log.get()) << POSITION_BITS | position.get(),
            what: NonZeroU32::new(what)?,
            sent,
        })
    }

    pub(crate) fn log(&self) -> LogId {
        LogId::new((self.place >> POSITION_BITS) as u16)
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(self.place & ((1 << POSITION_BITS) - 1))
    }

    /// Bytes of a record that is sent as it is, or of a run of them.
    pub(crate) fn size(&self) -> u32 {
        self.what.get()
    }

    /// The part of a record that is sent in another form.
    pub(crate) fn part(&self) -> Part {
        Part::unpack(self.what.get())
    }
}

/// Bits of a position: a log of 256 TiB.
const POSITION_BITS: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_log_place_and_size() {
        let (log, position) = (LogId::new(u16::MAX), Position::new((1 << 48) - 1));
        let tail = RecordTail::new(log, position, 9, 4).expect("it has bytes");
        assert_eq!((tail.log(), tail.position()), (log, position));
        assert_eq!((tail.size(), tail.sent), (9, 4));
        assert_eq!(RecordTail::new(log, position, 0, 0), None);
    }
}
