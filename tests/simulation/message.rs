//! The messages of a simulation: their content follows from their names, so that every byte of a delivery can be checked.

use std::fmt;

/// Names a message: who published it, to which topic, as which of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageId {
    pub(super) topic: u16,
    pub(super) publisher: u16,
    pub(super) number: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.publisher, self.number)
    }
}

/// Bytes of a name.
pub(super) const NAME_SIZE: usize = 8;

/// The payload of a message: its name, then bytes that follow from it. `size` counts both.
pub(super) fn payload(id: MessageId, size: usize) -> Vec<u8> {
    let size = size.max(NAME_SIZE);
    let mut out = Vec::with_capacity(size + 8);
    out.extend_from_slice(&id.topic.to_le_bytes());
    out.extend_from_slice(&id.publisher.to_le_bytes());
    out.extend_from_slice(&id.number.to_le_bytes());
    let mut state = u64::from_le_bytes(out[..8].try_into().expect("8 bytes")) | 1;
    while out.len() < size {
        // Half of it repeats, so that compression has something to do.
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        out.extend_from_slice(&(state >> 32).to_le_bytes());
    }
    out.truncate(size);
    out
}

/// The message that a payload is; none when it is not one, to the last byte.
pub(super) fn read(bytes: &[u8]) -> Option<MessageId> {
    let name = bytes.get(..NAME_SIZE)?;
    let id = MessageId {
        topic: u16::from_le_bytes([name[0], name[1]]),
        publisher: u16::from_le_bytes([name[2], name[3]]),
        number: u32::from_le_bytes([name[4], name[5], name[6], name[7]]),
    };
    (payload(id, bytes.len()) == bytes).then_some(id)
}
