//! Messages and control frames: those of a server read, those of a client written.

use std::hash::{BuildHasher, RandomState};

use crate::bench::sse::shown;

/// Largest message that is believed to come.
const MESSAGE_MAX: u64 = 256 << 20;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Largest payload whose size is in the second byte, as that of every control frame is.
const SHORT_MAX: usize = 125;
/// The size is in the next 2 bytes, or in the next 8.
const SIZE_16: u8 = 126;
const SIZE_64: u8 = 127;
/// A mask that changes nothing.
pub const ZERO_MASK: Mask = [0; 4];

/// What the payloads of clients are changed with.
pub type Mask = [u8; 4];

/// What a message is (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A message of UTF-8.
    Text = 1,
    /// A message of bytes.
    Binary = 2,
    /// The end of the session.
    Close = 8,
    /// A sign of life is asked for.
    Ping = 9,
    /// The answer to it.
    Pong = 10,
}

/// A message of a server, or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub opcode: Opcode,
    /// What it carries.
    pub payload: &'a [u8],
}

/// The message at the start of `input`, and its size; none until it is whole.
///
/// # Errors
/// When the server closes the session, or sends what is no message, in words.
pub(crate) fn message(input: &[u8]) -> Result<Option<(Message<'_>, usize)>, String> {
    let Some((&[first, second], rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let opcode = opcode(first)?;
    if second & MASKED != 0 {
        return Err("the server masks what it sends, and only clients may".to_owned());
    }
    let Some((size, header)) = size(second, rest) else {
        return Ok(None);
    };
    let is_control = opcode as u8 >= Opcode::Close as u8;
    if size > MESSAGE_MAX || is_control && size > SHORT_MAX as u64 {
        return Err(format!("the server sends {size} bytes as one message"));
    }
    let end = header + usize::try_from(size).map_err(|error| error.to_string())?;
    let Some(payload) = input.get(header..end) else {
        return Ok(None);
    };
    match opcode {
        Opcode::Close => Err(closed(payload)),
        _ => Ok(Some((Message { opcode, payload }, end))),
    }
}

fn opcode(first: u8) -> Result<Opcode, String> {
    if first & RESERVED != 0 {
        return Err(format!(
            "the server sends a frame of an extension that was not requested: it begins with {first:#04x}"
        ));
    }
    match (first & OPCODE, first & FIN != 0) {
        (1, true) => Ok(Opcode::Text),
        (2, true) => Ok(Opcode::Binary),
        (8, true) => Ok(Opcode::Close),
        (9, true) => Ok(Opcode::Ping),
        (10, true) => Ok(Opcode::Pong),
        (0..=2, _) => {
            Err("the server sends a message in parts, which this bench does not read".to_owned())
        }
        _ => Err(format!(
            "the server sends what is no frame of WebSocket: it begins with {first:#04x}"
        )),
    }
}

/// The size of a payload, and that of the header, of which `rest` is behind the first two bytes.
fn size(second: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match second {
        SIZE_16 => {
            let size = rest.first_chunk()?;
            Some((u16::from_be_bytes(*size).into(), 4))
        }
        SIZE_64 => {
            let size = rest.first_chunk()?;
            Some((u64::from_be_bytes(*size), 10))
        }
        size => Some((size.into(), 2)),
    }
}

/// What a Close says.
fn closed(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let (code, reason) = (u16::from_be_bytes(*code), shown(reason));
            format!("lost: the server closed it with code {code} and {reason}")
        }
        None => "lost: the server closed it".to_owned(),
    }
}

/// Returns an unpredictable mask, as the standard demands of clients.
pub(crate) fn mask() -> Mask {
    let chance = RandomState::new().hash_one(0_u8);
    (chance as u32).to_ne_bytes()
}

/// Appends what `write` appends, as a client sends it.
pub fn masked(opcode: Opcode, mask: Mask, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    write(out);
    for (byte, mask) in out[begin..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    let mut header = header(opcode, out.len() - begin);
    header[1] |= MASKED;
    header.extend_from_slice(&mask);
    out.splice(begin..begin, header);
}

/// The answer to a sign of life that has no payload.
pub fn pong(out: &mut Vec<u8>) {
    masked(Opcode::Pong, mask(), out, |_| ());
}

/// The header of a frame that a server sends, in front of so many bytes.
pub(crate) fn header(opcode: Opcode, size: usize) -> Vec<u8> {
    let mut header = vec![FIN | opcode as u8];
    if size <= SHORT_MAX {
        header.push(size as u8);
    } else if let Ok(size) = u16::try_from(size) {
        header.push(SIZE_16);
        header.extend_from_slice(&size.to_be_bytes());
    } else {
        header.push(SIZE_64);
        header.extend_from_slice(&(size as u64).to_be_bytes());
    }
    header
}

/// The size of the header at the start of a message that a client sends; none where something else begins.
pub fn client_header(message: &[u8]) -> Option<usize> {
    let (&[first, second], _) = message.split_first_chunk()?;
    let size = match second & !MASKED {
        SIZE_16 => 4,
        SIZE_64 => 10,
        _ => 2,
    };
    let is_header = first == FIN | Opcode::Binary as u8 && second & MASKED != 0;
    is_header.then_some(size + ZERO_MASK.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_size_is_none_until_it_is_whole() {
        for (size, begin) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(header(Opcode::Binary, size), begin);
            let payload = vec![7; size];
            let bytes = [begin, &payload].concat();
            for cut in (0..bytes.len()).filter(|cut| *cut < 20 || bytes.len() - cut < 20) {
                assert_eq!(message(&bytes[..cut]), Ok(None), "{cut} of {size}");
            }
            let expected = Message {
                opcode: Opcode::Binary,
                payload: &payload,
            };
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(message(&more), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_told() {
        for (bytes, told) in [
            (&[0x82, 0x80][..], "masks what it sends"),
            (&[0xc2, 0], "of an extension"),
            (&[0x02, 0], "in parts"),
            (&[0x80, 0], "in parts"),
            (&[0x83, 0], "no frame of WebSocket"),
            (&[0x0a, 0], "no frame of WebSocket"),
            (&[0x8a, 126, 0, 126], "126 bytes as one message"),
            (&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0], "bytes as one message"),
            (&[0x88, 0], "lost: the server closed it"),
            (b"\x88\x05\x03\xf4bye", "with code 1012 and \"bye\""),
        ] {
            let error = message(bytes).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn what_a_client_says_is_masked() {
        for size in [0, 1, 5, 126, 70_000] {
            let (payload, mask) = (vec![b'x'; size], [1, 2, 3, 4]);
            let mut out = b"before".to_vec();
            masked(Opcode::Binary, mask, &mut out, |out| {
                out.extend_from_slice(&payload);
            });
            let said = &out[b"before".len()..];
            let begin = client_header(said).unwrap();
            assert_eq!((said[1] & MASKED, said.len()), (MASKED, begin + size));
            assert_eq!(said[begin - 4..begin], mask);
            for (place, byte) in said[begin..].iter().enumerate() {
                assert_eq!(byte ^ mask[place % 4], b'x');
            }
        }
        let masks: Vec<Mask> = (0..100).map(|_| super::mask()).collect();
        assert!(masks.iter().any(|mask| *mask != masks[0]));
        assert_eq!(client_header(b"PUB"), None);
    }
}
