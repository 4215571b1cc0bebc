//! NATS, its core protocol: `CONNECT`, `SUB`, `PUB`. A publisher has an inbox for each slot and sends one empty message
//! there after each publication; it comes back when the server has handled everything before it.

use std::ops::Range;

use super::dialect::{
    Dialect, LINE_END, SLOT_DIGITS, Said, line, quoted, read_slot, size, write_slot,
};

pub(super) const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1,\"name\":\"oyez bench\"}\r\n";
/// Name of a subscriber's subscription; an inbox is named by its slot.
const SUBSCRIPTION: &[u8] = b"1";
pub(super) const NONSENSE: &str = "nats sends what has no place here";

/// A NATS server.
pub(super) struct Nats;

impl Dialect for Nats {
    const NAME: &'static str = "nats";
    const FORBIDDEN: &'static [char] = &[' ', '.', '*', '>'];
    const RECORDS_MAX: u32 = u32::MAX;

    fn join(topic: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(HELLO);
        if let Some(topic) = topic {
            out.extend_from_slice(format!("SUB {topic} ").as_bytes());
            out.extend_from_slice(SUBSCRIPTION);
            out.extend_from_slice(LINE_END);
        }
        out.extend_from_slice(b"PING\r\n");
    }

    fn greet(_topics: &[String], out: &mut Vec<u8>) {
        Self::join(None, out);
    }

    /// An inbox is subscribed to with every publication: the server makes nothing of it when it knows it.
    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        for payload in payloads {
            out.extend_from_slice(format!("PUB {topic} {}\r\n", payload.len()).as_bytes());
            out.extend_from_slice(payload);
            out.extend_from_slice(LINE_END);
        }
        let (inbox, slot) = (inbox(), "0".repeat(SLOT_DIGITS));
        let tail = format!("SUB {inbox}.{slot} {slot}\r\nPUB {inbox}.{slot} 0\r\n\r\n");
        out.extend_from_slice(tail.as_bytes());
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let (head, start) = line(publication).ok()??;
        let digits = head
            .strip_prefix(b"PUB ")?
            .rsplit(|byte| *byte == b' ')
            .next()?;
        let end = start + size(digits)?;
        (end > start).then_some((start..end, end + LINE_END.len()))
    }

    fn number(publication: &mut [u8], _last: usize, slot: u32) {
        let behind = [
            b" 0\r\n\r\n".len(),
            inbox().len() + b"\r\nPUB .".len(),
            b" ".len(),
        ];
        let mut end = publication.len();
        for size in behind {
            end -= size;
            write_slot(&mut publication[end - SLOT_DIGITS..end], slot);
            end -= SLOT_DIGITS;
        }
    }

    fn pong(out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let Some((head, size)) = line(input)? else {
            return Ok(None);
        };
        let said = match head {
            b"PING" => Said::Ping,
            // The server has handled everything that was sent before the ping.
            b"PONG" => Said::Subscribed,
            b"+OK" => Said::Nothing,
            _ => match head.split_at_checked(4) {
                Some((b"MSG ", head)) => return message(head, size, input),
                Some((b"INFO", _)) => Said::Nothing,
                Some((b"-ERR", reason)) => {
                    return Err(format!("nats refuses: {}", quoted(reason)));
                }
                _ => return Err(NONSENSE.to_owned()),
            },
        };
        Ok(Some((said, size)))
    }
}

/// A message whose payload begins at `start`; `head` is what its line says behind `MSG`: subject, subscription, perhaps
/// where to answer, size.
fn message<'a>(
    head: &[u8],
    start: usize,
    input: &'a [u8],
) -> Result<Option<(Said<'a>, usize)>, String> {
    let mut words = head.split(|byte| *byte == b' ');
    let (_subject, subscription) = words.next().zip(words.next()).ok_or(NONSENSE)?;
    let digits = words.next_back().ok_or(NONSENSE)?;
    let end = start + size(digits).ok_or(NONSENSE)?;
    let said = match input.get(end..end + LINE_END.len()) {
        None => return Ok(None),
        Some(LINE_END) if subscription == SUBSCRIPTION => Said::Message(&input[start..end]),
        Some(LINE_END) => Said::Answer(Some(read_slot(subscription).ok_or(NONSENSE)?)),
        Some(_) => return Err(NONSENSE.to_owned()),
    };
    Ok(Some((said, end + LINE_END.len())))
}

/// Where answers of this process come to.
pub(super) fn inbox() -> String {
    format!("_oyez.{:08x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;

    const STREAM: &[u8] = b"INFO {\"server_id\":\"x\"}\r\nPONG\r\nPING\r\n+OK\r\n\
        MSG bench 1 12\r\n\x07\0\0\0\0\0\0\0\x01\0\0\0\r\n\
        MSG bench 1 back 12\r\n\x08\0\0\0\0\0\0\0\x01\0\0\0\r\n\
        MSG _oyez.00000001.0000001f 0000001f 0\r\n\r\n";

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        trial::cut_everywhere::<Nats>(
            STREAM,
            &[
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
        trial::stamps_every_message::<Nats>();
    }

    #[test]
    fn the_inbox_of_a_slot_is_named_like_it_three_times() {
        let mut publication = Vec::new();
        Nats::compose("bench", &[&[b'x'; 12]], &mut publication);
        Nats::number(&mut publication, 0, 0xabc);
        let (inbox, slot) = (inbox(), "00000abc");
        let expected = format!(
            "PUB bench 12\r\nxxxxxxxxxxxx\r\nSUB {inbox}.{slot} {slot}\r\nPUB {inbox}.{slot} 0\r\n\r\n"
        );
        assert_eq!(String::from_utf8(publication).unwrap(), expected);
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<Nats>(STREAM);
        for bytes in [
            b"MSG bench 1\r\n".as_slice(),
            b"MSG bench 1 -1\r\n",
            b"MSG bench 1 99999999999999999999\r\n",
            b"MSG bench 1 1\r\nabc",
            b"MSG bench 2 0\r\n\r\n",
            b"-ERR 'Slow Consumer'\r\n",
            b"HELLO\r\n",
            b"\r\n",
        ] {
            assert!(Nats::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
