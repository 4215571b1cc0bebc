//! A plain WebSocket server, such as `benches/ws/server.mjs`: it passes each binary message on to all its other
//! clients, and answers a Ping when it has handled everything before it. There are no topics.

use std::ops::Range;

use super::dialect::{Dialect, SLOT_DIGITS, Said, read_slot, write_slot};
use oyez_cli::bench::websocket::{
    Message, Opcode, Part, ZERO_MASK, client_header, masked, part, pong,
};

const NONSENSE: &str = "a server of WebSocket sends what has no place here";

/// Such a server.
pub(super) struct Broadcast;

impl Dialect for Broadcast {
    const NAME: &'static str = "websocket";
    const FORBIDDEN: &'static [char] = &[];
    const RECORDS_MAX: u32 = u32::MAX;
    const KNOCKS: bool = true;
    const HAS_TOPICS: bool = false;

    /// Every connection is subscribed.
    fn join(_topic: Option<&str>, _out: &mut Vec<u8>) {}

    fn greet(_topics: &[String], _out: &mut Vec<u8>) {}

    /// Masks change nothing: marks and slots are written into what is composed.
    fn compose(_topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        for payload in payloads {
            masked(Opcode::Binary, ZERO_MASK, out, |out| {
                out.extend_from_slice(payload);
            });
        }
        masked(Opcode::Ping, ZERO_MASK, out, |out| {
            out.extend_from_slice(&[b'0'; SLOT_DIGITS]);
        });
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let (header, end) = client_message(publication)?;
        Some((header..end, end))
    }

    fn number(publication: &mut [u8], _last: usize, slot: u32) {
        let begin = publication.len() - SLOT_DIGITS;
        write_slot(&mut publication[begin..], slot);
    }

    fn pong(out: &mut Vec<u8>) {
        pong(out);
    }

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let Some((part, size)) = part(input, None)? else {
            return Ok(None);
        };
        let said = match part {
            Part::Open => Said::Subscribed,
            Part::Message(Message { opcode, payload }) => match opcode {
                Opcode::Binary => Said::Message(payload),
                Opcode::Ping if payload.is_empty() => Said::Ping,
                Opcode::Pong => Said::Answer(Some(read_slot(payload).ok_or(NONSENSE)?)),
                Opcode::Text | Opcode::Ping | Opcode::Close => return Err(NONSENSE.to_owned()),
            },
        };
        Ok(Some((said, size)))
    }
}

/// Where the payload of the message at the start of `publication` begins and ends.
fn client_message(publication: &[u8]) -> Option<(usize, usize)> {
    let header = client_header(publication)?;
    let size = match header - ZERO_MASK.len() {
        2 => usize::from(publication[1] & 0x7f),
        4 => u16::from_be_bytes(*publication.get(2..)?.first_chunk()?).into(),
        _ => u64::from_be_bytes(*publication.get(2..)?.first_chunk()?)
            .try_into()
            .ok()?,
    };
    Some((header, header + size))
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;
    use oyez_cli::bench::websocket::answer;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        answer::head(None, &mut out);
        answer::message(Opcode::Binary, b"\x07\0\0\0\0\0\0\0\x01\0\0\0", &mut out);
        answer::message(Opcode::Ping, b"", &mut out);
        answer::message(
            Opcode::Binary,
            b"\x08\0\0\0\0\0\0\0\x01\0\0\0more",
            &mut out,
        );
        answer::message(Opcode::Pong, b"0000001f", &mut out);
        out
    }

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        trial::cut_everywhere::<Broadcast>(
            &stream(),
            &[
                Expected::Subscribed,
                Expected::Message(7),
                Expected::Ping,
                Expected::Message(8),
                Expected::Answer(31),
            ],
        );
    }

    #[test]
    fn a_publication_is_stamped_and_carries_its_messages() {
        trial::stamps_every_message::<Broadcast>();
        let mut publication = Vec::new();
        Broadcast::compose("", &[&[b'x'; 70_000]], &mut publication);
        let (payload, size) = Broadcast::payload(&publication).unwrap();
        assert_eq!((payload, size), (14..70_014, 70_014));
    }

    #[test]
    fn a_publication_ends_with_a_ping_that_names_its_slot() {
        let mut publication = Vec::new();
        Broadcast::compose("", &[&[b'x'; 12]], &mut publication);
        Broadcast::number(&mut publication, 0, 0xabc);
        assert_eq!(publication[18..], *b"\x89\x88\0\0\0\x0000000abc");
        assert_eq!(Broadcast::payload(&publication[18..]), None);
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<Broadcast>(&stream());
        for bytes in [
            &b"\x81\x01a"[..],
            b"\x89\x01a",
            b"\x8a\x01a",
            b"\x88\x00",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ] {
            assert!(Broadcast::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
