//! MQTT 3.1.1. Subscribers ask for QoS 0 and get it. The last message of each publication goes to the server with QoS 1,
//! so that the packet identifier of its acknowledgement tells which publication the server has taken in.

use std::ops::Range;

use super::dialect::{Dialect, PAYLOAD_MAX, Said};

/// First bytes of packets: type and flags.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBLISH_ACKED: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;
/// Bytes of the size of a packet, at most; seven bits each.
const SIZE_BYTES_MAX: usize = 4;
const NONSENSE: &str = "mqtt sends what has no place here";

/// An MQTT server.
pub(super) struct Mqtt;

impl Dialect for Mqtt {
    const NAME: &'static str = "mqtt";
    const FORBIDDEN: &'static [char] = &['+', '#'];
    /// There are 65,535 packet identifiers for all connections of a bench: enough for 127 of them.
    const RECORDS_MAX: u32 = 512;

    /// CONNECT and SUBSCRIBE may be answered in two writes, of which the second waits until the first is acknowledged:
    /// mosquitto took 185 to 747 late acknowledgers a second, and 4,000 others.
    const ANSWERS_AT_ONCE: bool = false;

    fn join(topic: Option<&str>, out: &mut Vec<u8>) {
        Self::greet(&[], out);
        if let Some(topic) = topic {
            let mut body = vec![0, 1];
            text(topic, &mut body);
            body.push(0);
            packet(SUBSCRIBE, &body, out);
        }
    }

    /// Version 4, a clean session, no signs of life, and a name of the server's choice.
    fn greet(_topics: &[String], out: &mut Vec<u8>) {
        let mut body = Vec::new();
        text("MQTT", &mut body);
        body.extend_from_slice(&[4, 0x02, 0, 0]);
        text("", &mut body);
        packet(CONNECT, &body, out);
    }

    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        for (number, payload) in payloads.iter().enumerate() {
            let last = number + 1 == payloads.len();
            let mut body = Vec::new();
            text(topic, &mut body);
            if last {
                body.extend_from_slice(&[0, 0]);
            }
            body.extend_from_slice(payload);
            packet(if last { PUBLISH_ACKED } else { PUBLISH }, &body, out);
        }
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let (first, body) = whole(publication).ok()??;
        let start = body.start + payload_at(first, &publication[body.clone()])?;
        Some((start..body.end, body.end))
    }

    /// A slot beyond the packet identifiers becomes 0, which no server accepts.
    fn number(publication: &mut [u8], last: usize, slot: u32) {
        let Some((payload, _)) = Self::payload(&publication[last..]) else {
            return;
        };
        let identifier = u16::try_from(slot + 1).unwrap_or(0);
        let end = last + payload.start;
        publication[end - 2..end].copy_from_slice(&identifier.to_be_bytes());
    }

    /// An MQTT server asks for none.
    fn pong(_out: &mut Vec<u8>) {}

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let Some((first, body)) = whole(input)? else {
            return Ok(None);
        };
        let size = body.end;
        let body = &input[body];
        let said = match (first, body) {
            (PUBLISH, _) => {
                let at = payload_at(first, body).ok_or(NONSENSE)?;
                Said::Message(&body[at..])
            }
            (PUBACK, [high, low]) => {
                let identifier = u32::from(u16::from_be_bytes([*high, *low]));
                Said::Answer(Some(identifier.checked_sub(1).ok_or(NONSENSE)?))
            }
            (CONNACK, [_, 0]) => Said::Ready,
            (CONNACK, [_, code]) => {
                return Err(format!("mqtt refuses the connection: code {code}"));
            }
            (SUBACK, [_, _, 0]) => Said::Subscribed,
            (SUBACK, [_, _, code]) => {
                return Err(format!("mqtt refuses the subscription: code {code:#x}"));
            }
            (PINGRESP, []) => Said::Nothing,
            _ => return Err(NONSENSE.to_owned()),
        };
        Ok(Some((said, size)))
    }
}

/// The first byte of the packet at the start of `input`, and where its body is; none until it is whole.
fn whole(input: &[u8]) -> Result<Option<(u8, Range<usize>)>, String> {
    let Some((first, rest)) = input.split_first() else {
        return Ok(None);
    };
    let mut size = 0;
    for place in 0..SIZE_BYTES_MAX {
        let Some(byte) = rest.get(place) else {
            return Ok(None);
        };
        size |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let body = place + 2..place + 2 + size;
            if size > PAYLOAD_MAX {
                return Err(NONSENSE.to_owned());
            }
            return Ok((body.end <= input.len()).then_some((*first, body)));
        }
    }
    Err("mqtt sends a packet without a size".to_owned())
}

/// Where the payload begins in the body of a published message.
fn payload_at(first: u8, body: &[u8]) -> Option<usize> {
    let (topic, _) = body.split_first_chunk()?;
    let identifier = if first == PUBLISH_ACKED { 2 } else { 0 };
    let at = 2 + usize::from(u16::from_be_bytes(*topic)) + identifier;
    (at <= body.len()).then_some(at)
}

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut size = body.len();
    while size > 0x7f {
        out.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
    out.extend_from_slice(body);
}

fn text(text: &str, out: &mut Vec<u8>) {
    let size = u16::try_from(text.len()).expect("a topic is far shorter");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;

    const STREAM: &[u8] = b"\x20\x02\0\0\x90\x03\0\x01\0\xd0\0\
        \x30\x13\0\x05bench\x07\0\0\0\0\0\0\0\x01\0\0\0\x40\x02\0\x20";

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        trial::cut_everywhere::<Mqtt>(
            STREAM,
            &[
                Expected::Ready,
                Expected::Subscribed,
                Expected::Message(7),
                Expected::Answer(31),
            ],
        );
    }

    #[test]
    fn a_publication_is_stamped_and_carries_its_messages() {
        trial::stamps_every_message::<Mqtt>();
    }

    #[test]
    fn the_last_message_of_a_publication_asks_for_an_answer() {
        let mut publication = Vec::new();
        let payload: &[u8] = &[b'x'; 300];
        Mqtt::compose("bench", &[payload, payload], &mut publication);
        let (_, size) = Mqtt::payload(&publication).unwrap();
        assert_eq!(publication[..3], [PUBLISH, 0x80 | (307 & 0x7f) as u8, 2]);
        Mqtt::number(&mut publication, size, 0x1ff);
        assert_eq!(publication[size], PUBLISH_ACKED);
        assert_eq!(publication[size + 3..][..9], *b"\0\x05bench\x02\0");
        Mqtt::number(&mut publication, size, u32::from(u16::MAX));
        assert_eq!(publication[size + 3..][..9], *b"\0\x05bench\0\0");
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<Mqtt>(STREAM);
        for bytes in [
            b"\x30\xff\xff\xff\xff".as_slice(),
            b"\x30\xff\xff\xff\x7f",
            b"\x30\0",
            b"\x30\x02\0\x01",
            b"\x20\x02\0\x05",
            b"\x90\x03\0\x01\x80",
            b"\x40\x02\0\0",
            b"\x10\0",
            b"\0\0",
        ] {
            assert!(Mqtt::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
