//! Headers of WebSocket's frames, as the broker sends them: whole, and without a mask. In front of a run of records, one of them
//! makes the run a message.

/// The kind of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    /// More of a message that has begun.
    #[default]
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// Whether a frame of this kind may stand between the frames of a message.
    pub(crate) const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// Marks the last frame of a message.
pub(crate) const FIN: u8 = 0x80;
/// Longest payload whose size is in the second byte.
pub(crate) const SHORT_MAX: usize = 125;
/// These say that the size is in the next 2 bytes, or in the next 8.
pub(crate) const SIZE_16: u8 = 126;
pub(crate) const SIZE_64: u8 = 127;
/// Bytes of the longest header that the broker sends.
const SIZE_MAX: usize = 10;

/// The header of a frame that is a whole message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunHeader {
    bytes: [u8; SIZE_MAX],
    size: u8,
}

impl RunHeader {
    /// The header in front of this many bytes.
    pub(crate) fn new(opcode: Opcode, payload: usize) -> Self {
        let mut bytes = [0; SIZE_MAX];
        bytes[0] = FIN | opcode as u8;
        let size = header_size(payload);
        match size {
            2 => bytes[1] = payload as u8,
            4 => {
                bytes[1] = SIZE_16;
                bytes[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                bytes[1] = SIZE_64;
                bytes[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        Self {
            bytes,
            size: size as u8,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }
}

/// Bytes of the header in front of a payload of this size.
pub(crate) const fn header_size(payload: usize) -> usize {
    match payload {
        0..=SHORT_MAX => 2,
        126..=0xffff => 4,
        _ => SIZE_MAX,
    }
}

/// Adds a message that holds what `write` adds.
pub(crate) fn in_frame<T>(
    opcode: Opcode,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let begin = out.len();
    out.extend_from_slice(&[0; 2]);
    let written = write(out);
    let header = RunHeader::new(opcode, out.len() - begin - 2);
    out.splice(begin..begin + 2, header.as_bytes().iter().copied());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_takes_as_few_bytes_as_it_can() {
        for (payload, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(RunHeader::new(Opcode::Binary, payload).as_bytes(), header);
            assert_eq!(header_size(payload), header.len());
        }
    }

    #[test]
    fn what_is_written_becomes_a_frame() {
        for (size, header) in [(3, &[0x81, 3][..]), (300, &[0x81, 126, 1, 44])] {
            let mut out = b"before".to_vec();
            in_frame(Opcode::Text, &mut out, |out| {
                out.resize(out.len() + size, 7);
            });
            assert_eq!(out[..6], *b"before");
            assert_eq!(out[6..6 + header.len()], *header);
            assert_eq!(out[6 + header.len()..], vec![7; size]);
        }
    }
}
