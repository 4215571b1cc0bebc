//! Redis with streams, which keep what is published: a stream for each topic, and `XADD` to it. Of what Redis keeps, a
//! stream is the nearest to a topic: entries in order with numbers, for any number of readers. A publication is one
//! entry, its messages the values of as many fields. With `appendfsync always` Redis answers when the entry is on disk;
//! its answers come in order and say nothing of what they are for.

use std::ops::Range;

use super::dialect::{Dialect, Said, line};
use super::redis::{Item, NONSENSE, Redis, command, item};

/// Items of the command before its fields: `XADD`, the topic, and `*` for a number of the server's choice.
const HEAD_ITEMS: usize = 3;
/// Name of every field.
const FIELD: &[u8] = b"m";

/// A Redis server that keeps what is published.
pub(super) struct RedisStream;

impl Dialect for RedisStream {
    const NAME: &'static str = "redis stream";
    const FORBIDDEN: &'static [char] = Redis::FORBIDDEN;
    const RECORDS_MAX: u32 = Redis::RECORDS_MAX;

    /// Appends nothing: this target has no subscribers.
    fn join(_topic: Option<&str>, out: &mut Vec<u8>) {
        Self::greet(&[], out);
    }

    fn greet(topics: &[String], out: &mut Vec<u8>) {
        Redis::greet(topics, out);
    }

    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        let head: [&[u8]; HEAD_ITEMS] = [b"XADD", topic.as_bytes(), b"*"];
        let fields = payloads.iter().flat_map(|payload| [FIELD, payload]);
        let words: Vec<&[u8]> = head.into_iter().chain(fields).collect();
        command(&words, out);
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let mut at = head(publication)?;
        let mut value = 0..0;
        for _field_and_value in 0..2 {
            let (Item::Bulk(text), size) = item(&publication[at..]).ok()?? else {
                return None;
            };
            value = at + text.start..at + text.end;
            at += size;
        }
        Some((value, at))
    }

    /// The answer brings back nothing.
    fn number(_publication: &mut [u8], _last: usize, _slot: u32) {}

    fn pong(out: &mut Vec<u8>) {
        Redis::pong(out);
    }

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let Some((item, size)) = item(input)? else {
            return Ok(None);
        };
        let said = match item {
            Item::Simple(text) if &input[text.clone()] == b"PONG" => Said::Ready,
            Item::Bulk(text) if is_entry(&input[text.clone()]) => Said::Answer(None),
            _ => return Err(NONSENSE.to_owned()),
        };
        Ok(Some((said, size)))
    }
}

/// Where the fields begin, when the command is here; 0 between fields.
fn head(publication: &[u8]) -> Option<usize> {
    if publication.first() != Some(&b'*') {
        return Some(0);
    }
    let (_, mut at) = line(publication).ok()??;
    for _ in 0..HEAD_ITEMS {
        at += item(&publication[at..]).ok()??.1;
    }
    Some(at)
}

/// Whether this is the number of an entry: milliseconds, a dash, and a number within the millisecond.
fn is_entry(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut number = || {
        parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    number() && number() && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;

    const STREAM: &[u8] = b"+PONG\r\n$15\r\n1700000000000-0\r\n$16\r\n1700000000000-12\r\n";

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        let expected = [
            Expected::Ready,
            Expected::AnswerToOldest,
            Expected::AnswerToOldest,
        ];
        trial::cut_everywhere::<RedisStream>(STREAM, &expected);
    }

    #[test]
    fn a_publication_is_stamped_and_carries_its_messages() {
        trial::stamps_every_message::<RedisStream>();
    }

    #[test]
    fn a_publication_is_one_entry_with_a_field_for_each_message() {
        let mut publication = Vec::new();
        RedisStream::compose("t", &[b"one", b"three"], &mut publication);
        let expected = "*7\r\n$4\r\nXADD\r\n$1\r\nt\r\n$1\r\n*\r\n\
            $1\r\nm\r\n$3\r\none\r\n$1\r\nm\r\n$5\r\nthree\r\n";
        assert_eq!(String::from_utf8(publication).unwrap(), expected);
    }

    #[test]
    fn a_publication_that_is_cut_has_no_payload_behind_the_cut() {
        let mut publication = Vec::new();
        RedisStream::compose("t", &[b"0123456789ab"], &mut publication);
        for cut in 0..publication.len() {
            assert_eq!(RedisStream::payload(&publication[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<RedisStream>(STREAM);
        for bytes in [
            b"-ERR wrong kind of value\r\n".as_slice(),
            b"-MISCONF Errors writing to the AOF file\r\n",
            b"$1\r\n-\r\n",
            b"$3\r\n1-x\r\n",
            b"$5\r\n1-2-3\r\n",
            b"+OK\r\n",
            b":1\r\n",
            b"*1\r\n",
        ] {
            assert!(RedisStream::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
