//! A protocol of another server within binary messages of WebSocket. Each publication is a message. What the server sends
//! is messages of whole lines: a line that begins in one message ends there.

use std::marker::PhantomData;
use std::ops::Range;

use super::dialect::{Dialect, Said};
use oyez_cli::bench::websocket::{
    Message, Opcode, Part, ZERO_MASK, client_header, masked, part, say,
};

/// A protocol whose own lines do not begin as a message or a response does.
pub(super) trait Within: Dialect {
    /// Its name when it comes this way.
    const NAME_WITHIN: &'static str;
}

impl Within for super::nats::Nats {
    const NAME_WITHIN: &'static str = "nats over websocket";
}

/// `D` over WebSocket.
pub(super) struct OverWebSocket<D> {
    dialect: PhantomData<D>,
}

impl<D: Within> Dialect for OverWebSocket<D> {
    const NAME: &'static str = D::NAME_WITHIN;
    const FORBIDDEN: &'static [char] = D::FORBIDDEN;
    const RECORDS_MAX: u32 = D::RECORDS_MAX;
    const ANSWERS_AT_ONCE: bool = D::ANSWERS_AT_ONCE;
    const KNOCKS: bool = true;

    fn join(topic: Option<&str>, out: &mut Vec<u8>) {
        say(out, |out| D::join(topic, out));
    }

    fn greet(topics: &[String], out: &mut Vec<u8>) {
        say(out, |out| D::greet(topics, out));
    }

    /// The mask changes nothing: marks and slots are written into what is composed.
    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        masked(Opcode::Binary, ZERO_MASK, out, |out| {
            D::compose(topic, payloads, out);
        });
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let header = client_header(publication).unwrap_or(0);
        let (payload, size) = D::payload(&publication[header..])?;
        Some((payload.start + header..payload.end + header, size + header))
    }

    fn number(publication: &mut [u8], last: usize, slot: u32) {
        D::number(publication, last, slot);
    }

    fn pong(out: &mut Vec<u8>) {
        say(out, D::pong);
    }

    /// A message that is whole is taken off line by line, its header first.
    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let is_within = input
            .first()
            .is_some_and(|byte| *byte & 0x80 == 0 && *byte != b'H');
        if is_within {
            return D::decode(input);
        }
        let Some((part, size)) = part(input, None)? else {
            return Ok(None);
        };
        match part {
            Part::Open => Ok(Some((Said::Open, size))),
            Part::Message(Message { opcode, payload }) => match opcode {
                Opcode::Binary => Ok(Some((Said::Nothing, size - payload.len()))),
                Opcode::Pong => Ok(Some((Said::Nothing, size))),
                Opcode::Text | Opcode::Ping | Opcode::Close => Err(format!(
                    "{} sends a {opcode:?} where binary messages were to come",
                    D::NAME
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nats::Nats;
    use super::super::trial::{self, Expected};
    use super::*;
    use oyez_cli::bench::websocket::answer;

    type Both = OverWebSocket<Nats>;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        answer::head(None, &mut out);
        let messages: [&[u8]; 4] = [
            b"INFO {\"server_id\":\"x\"}\r\n",
            b"PONG\r\nPING\r\n",
            b"MSG bench 1 12\r\n\x07\0\0\0\0\0\0\0\x01\0\0\0\r\nMSG bench 1 12\r\n\x08\0\0\0\0\0\0\0\x01\0\0\0\r\n",
            b"MSG _oyez.00000001.0000001f 0000001f 0\r\n\r\n",
        ];
        for message in messages {
            answer::message(Opcode::Binary, message, &mut out);
        }
        out
    }

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        trial::cut_everywhere::<Both>(
            &stream(),
            &[
                Expected::Open,
                Expected::Subscribed,
                Expected::Ping,
                Expected::Message(7),
                Expected::Message(8),
                Expected::Answer(31),
            ],
        );
    }

    #[test]
    fn a_publication_is_stamped_and_carries_its_messages() {
        trial::stamps_every_message::<Both>();
    }

    #[test]
    fn a_publication_is_one_message_of_what_goes_without() {
        let (mut within, mut out) = (Vec::new(), Vec::new());
        Nats::compose("bench", &[&[b'x'; 12]], &mut within);
        Nats::number(&mut within, 0, 0xabc);
        Both::compose("bench", &[&[b'x'; 12]], &mut out);
        Both::number(&mut out, 0, 0xabc);
        let header = client_header(&out).unwrap();
        assert_eq!(out[header..], within);
        assert_eq!(out.len(), header + within.len());
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<Both>(&stream());
        for bytes in [
            &b"\x81\x01a"[..],
            b"\x89\x00",
            b"\x88\x02\x03\xe8",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"hello\r\n",
        ] {
            assert!(Both::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
