//! Redis publish/subscribe, RESP2: `SUBSCRIBE`, and `PUBLISH` with an `ECHO` after each publication, whose answer says
//! which publication Redis has handled.

use std::ops::Range;

use super::dialect::{
    Dialect, LINE_END, SLOT_DIGITS, Said, line, quoted, read_slot, size, write_slot,
};

/// Largest array that is accepted; a message is an array of three.
const ITEMS_MAX: usize = 16;

/// A Redis server.
pub(super) struct Redis;

impl Dialect for Redis {
    const NAME: &'static str = "redis";
    const FORBIDDEN: &'static [char] = &[];
    const RECORDS_MAX: u32 = u32::MAX;

    fn join(topic: Option<&str>, out: &mut Vec<u8>) {
        match topic {
            Some(topic) => command(&[b"SUBSCRIBE", topic.as_bytes()], out),
            None => Self::greet(&[], out),
        }
    }

    fn greet(_topics: &[String], out: &mut Vec<u8>) {
        command(&[b"PING"], out);
    }

    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        for payload in payloads {
            command(&[b"PUBLISH", topic.as_bytes(), payload], out);
        }
        command(&[b"ECHO", &[b'0'; SLOT_DIGITS]], out);
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let Ok(Some((items, size))) = array(publication) else {
            return None;
        };
        let [
            Some(Item::Bulk(_)),
            Some(Item::Bulk(_)),
            Some(Item::Bulk(payload)),
        ] = items
        else {
            return None;
        };
        Some((payload, size))
    }

    fn number(publication: &mut [u8], _last: usize, slot: u32) {
        let end = publication.len() - LINE_END.len();
        write_slot(&mut publication[end - SLOT_DIGITS..end], slot);
    }

    /// Redis asks for none.
    fn pong(_out: &mut Vec<u8>) {}

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        if input.first() == Some(&b'*') {
            return pushed(input);
        }
        let Some((item, size)) = item(input)? else {
            return Ok(None);
        };
        let said = match item {
            Item::Simple(text) if &input[text.clone()] == b"PONG" => Said::Ready,
            Item::Bulk(text) => match read_slot(&input[text]) {
                Some(slot) => Said::Answer(Some(slot)),
                None => return Err(NONSENSE.to_owned()),
            },
            Item::Simple(_) | Item::Integer => Said::Nothing,
        };
        Ok(Some((said, size)))
    }
}

pub(super) const NONSENSE: &str = "redis sends what has no place here";

/// A value that holds no others; texts as places in what was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Simple(Range<usize>),
    Bulk(Range<usize>),
    Integer,
}

/// The first three of an array's items, and the size of all of it.
type Array = ([Option<Item>; 3], usize);

/// A message, or the answer to a subscription.
fn pushed(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
    let Some((items, size)) = array(input)? else {
        return Ok(None);
    };
    let [Some(Item::Bulk(kind)), Some(Item::Bulk(_)), Some(third)] = items else {
        return Err(NONSENSE.to_owned());
    };
    let said = match (&input[kind], third) {
        (b"message", Item::Bulk(payload)) => Said::Message(&input[payload]),
        (b"subscribe", Item::Integer) => Said::Subscribed,
        _ => return Err(NONSENSE.to_owned()),
    };
    Ok(Some((said, size)))
}

/// The array at the start of `input`; none until it is whole.
fn array(input: &[u8]) -> Result<Option<Array>, String> {
    let Some((head, mut at)) = line(input)? else {
        return Ok(None);
    };
    let count = head.strip_prefix(b"*").and_then(size);
    let count = count.filter(|count| *count <= ITEMS_MAX).ok_or(NONSENSE)?;
    let mut items = [const { None }; 3];
    for number in 0..count {
        let Some((item, size)) = item(&input[at..])? else {
            return Ok(None);
        };
        if let Some(slot) = items.get_mut(number) {
            *slot = Some(item.moved(at));
        }
        at += size;
    }
    Ok(Some((items, at)))
}

/// The value at the start of `input`, and its size.
pub(super) fn item(input: &[u8]) -> Result<Option<(Item, usize)>, String> {
    let Some((head, at)) = line(input)? else {
        return Ok(None);
    };
    let (kind, rest) = head.split_first().ok_or(NONSENSE)?;
    match kind {
        b'+' => Ok(Some((Item::Simple(1..head.len()), at))),
        b':' => Ok(Some((Item::Integer, at))),
        b'-' => Err(format!("redis refuses: {}", quoted(rest))),
        b'$' => {
            let end = at + size(rest).ok_or(NONSENSE)?;
            match input.get(end..end + LINE_END.len()) {
                Some(LINE_END) => Ok(Some((Item::Bulk(at..end), end + LINE_END.len()))),
                Some(_) => Err(NONSENSE.to_owned()),
                None => Ok(None),
            }
        }
        _ => Err(NONSENSE.to_owned()),
    }
}

impl Item {
    /// The same when what it was decoded from begins `by` bytes later.
    fn moved(self, by: usize) -> Self {
        let moved = |text: Range<usize>| text.start + by..text.end + by;
        match self {
            Self::Simple(text) => Self::Simple(moved(text)),
            Self::Bulk(text) => Self::Bulk(moved(text)),
            Self::Integer => Self::Integer,
        }
    }
}

pub(super) fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(LINE_END);
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;

    const STREAM: &[u8] = b"+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$5\r\nbench\r\n:1\r\n:0\r\n\
        *3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$12\r\n\x07\0\0\0\0\0\0\0\x01\0\0\0\r\n\
        $8\r\n0000001f\r\n";

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        trial::cut_everywhere::<Redis>(
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
        trial::stamps_every_message::<Redis>();
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<Redis>(STREAM);
        for bytes in [
            b"*99\r\n".as_slice(),
            b"*-1\r\n",
            b"$-1\r\n",
            b"$99999999999999999999\r\n",
            b"$1\r\nabc",
            b"!\r\n",
            b"\r\n",
            b"-ERR no\r\n",
            b"$3\r\nabc\r\n",
            b"*1\r\n*1\r\n",
        ] {
            assert!(Redis::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
