//! Decodes the server-sent events that subscribers get from the broker, or from the bare server.

use std::net::SocketAddr;

use super::ask::Ask;
use super::chunk::{Part, part};
use super::event::{Event, Events};
use super::sum::Sum;
use super::token::Next;
use crate::bench::target::{Ear, Heard, Place};

/// Appends what a subscriber says.
pub(crate) fn ask(host: SocketAddr, topic: &str, from: Option<Place>, out: &mut Vec<u8>) {
    let from = from.map(|place| Next {
        epoch: place.epoch,
        offset: place.next,
    });
    Ask { host, topic, from }.write(out);
}

/// Decodes a stream of events.
pub(crate) struct SseEar;

impl Ear for SseEar {
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
        let mut taken = 0;
        while let Some(size) = hear_one(&input[taken..], heard)? {
            taken += size;
        }
        Ok(taken)
    }
}

/// The size of what is at the start of `input`, once it is whole and heard. A head is taken with its first chunk.
fn hear_one(input: &[u8], heard: &mut Vec<Heard>) -> Result<Option<usize>, String> {
    match part(input)? {
        None => Ok(None),
        Some((Part::Chunk(chunk), size)) => {
            heard.extend(record(chunk)?);
            Ok(Some(size))
        }
        Some((Part::Head, head)) => match part(&input[head..])? {
            None => Ok(None),
            Some((Part::Head, _)) => Err("two heads came, and no stream".to_owned()),
            Some((Part::Chunk(chunk), size)) => {
                heard.push(Heard::Subscribed(begun(chunk)?));
                Ok(Some(head + size))
            }
        },
    }
}

/// Where a stream begins that begins with this chunk.
fn begun(chunk: &[u8]) -> Result<Place, String> {
    let mut events = Events::new(chunk);
    let (first, second) = (events.next()?, events.next()?);
    let (Some(event), None) = (first, second) else {
        return Err("a stream does not begin with a `$place` event".to_owned());
    };
    match (event.id, event.name, event.data) {
        (Some(id), Some(b"$place"), Some(_)) => Next::read(id).map(|next| Place {
            next: next.offset,
            epoch: next.epoch,
        }),
        (_, Some(_), _) => Err(refused(&event)),
        _ => Err("a stream does not begin with a `$place` event".to_owned()),
    }
}

/// The record whose events a chunk holds; none for a sign of life.
fn record(chunk: &[u8]) -> Result<Option<Heard>, String> {
    let (mut events, mut sum) = (Events::new(chunk), Sum::default());
    let (mut first, mut messages) = (0, 0_u32);
    while let Some(event) = events.next()? {
        let Event { id, name, data } = event;
        let (id, data) = match (id, name, data) {
            (None, None, None) => continue,
            (Some(id), None | Some(b"$binary"), Some(data)) => (id, data),
            (_, Some(_), _) => return Err(refused(&event)),
            (_, None, _) => return Err("an event came without an id or without data".to_owned()),
        };
        let next = Next::read(id)?.offset;
        let number = next
            .checked_sub(1)
            .ok_or("an event came before the first")?;
        if messages == 0 {
            first = number;
        } else if number.checked_sub(first) != Some(u64::from(messages)) {
            return Err(format!(
                "messages are lost or out of order: message {number} came after {messages} messages from {first} on"
            ));
        }
        messages += 1;
        sum.add(data.sum);
    }
    Ok((messages > 0).then_some(Heard::Record {
        first,
        messages,
        sum: Some(sum.get()),
    }))
}

/// What an event says that brings no message.
fn refused(event: &Event<'_>) -> String {
    let name = readable(event.name.unwrap_or_default());
    let data = readable(event.data.map_or(&b""[..], |data| data.line));
    match event.name {
        Some(b"$gap") => format!("records are lost: {data}"),
        Some(b"$epoch") => format!(
            "records are lost: the broker no longer keeps what a subscriber came back for: {data}"
        ),
        Some(b"$reference") => {
            format!("messages are too large for events; publish smaller records: {data}")
        }
        _ => format!("the broker sends an event that has no place here: {name}, {data}"),
    }
}

/// The beginning of a text, for people.
fn readable(text: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let text = String::from_utf8_lossy(text);
    let letters = text.chars().filter(|letter| !letter.is_control());
    letters.take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::random::Random;
    use crate::bench::sse::{answer, sum};

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
        Content-Type: text/event-stream\r\nX-Content-Type-Options: nosniff\r\n\
        Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\
        Transfer-Encoding: chunked\r\n\r\n";

    const EPOCH: u64 = 0xab;

    fn place(offset: u64) -> Next {
        Next {
            epoch: EPOCH,
            offset,
        }
    }

    /// A stream with a message, a sign of life, a batch, and a word about coming back.
    fn stream() -> Vec<u8> {
        let mut out = HEAD.to_vec();
        answer::begin(place(6), &mut out);
        answer::record(place(6), [&b"one"[..]], &mut out);
        out.extend_from_slice(b"00000003\r\n:\n\n\r\n");
        answer::record(place(7), [&b"a\r\nb"[..], b"", b"\xff"], &mut out);
        out.extend_from_slice(b"0000000d\r\nretry: 3000\n\n\r\n");
        answer::record(place(10), [&b"last"[..]], &mut out);
        out
    }

    fn told(first: u64, payloads: &[&[u8]]) -> Heard {
        Heard::Record {
            first,
            messages: payloads.len() as u32,
            sum: Some(sum::of(payloads)),
        }
    }

    /// Decodes `pieces` one after the other, as a connection does.
    fn hear(pieces: &[&[u8]]) -> Result<Vec<Heard>, String> {
        let (mut held, mut heard) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let taken = SseEar.hear(&held, &mut heard)?;
            held.drain(..taken);
        }
        assert_eq!(held, b"");
        Ok(heard)
    }

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        let stream = stream();
        let expected = vec![
            Heard::Subscribed(Place {
                next: 6,
                epoch: EPOCH,
            }),
            told(6, &[b"one"]),
            told(7, &[b"a\nb", b"", b"\xff"]),
            told(10, &[b"last"]),
        ];
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(hear(&[left, right]).as_ref(), Ok(&expected), "{cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(hear(&bytes), Ok(expected));
    }

    /// Written out, so that reading does not agree with our own writing alone.
    #[test]
    fn the_bytes_of_a_broker_are_understood() {
        let events = b"0000004b\r\nretry: 2000\nid: AQABAKsAAAAAAAAACAAAAAAAAAAAc2kBcg\nevent: $place\ndata: {}\n\n\r\n\
            00000003\r\n:\n\n\r\n\
            00000042\r\nid: AQABAKsAAAAAAAAACAAAAAAAAAAAc2kBcg\nevent: $binary\ndata: //4K\n\n\r\n";
        let place = Place {
            next: 8,
            epoch: EPOCH,
        };
        let expected = vec![Heard::Subscribed(place), told(7, &[b"\xff\xfe\n"])];
        assert_eq!(hear(&[HEAD, events]), Ok(expected));
    }

    #[test]
    fn damage_is_an_error_or_something_else_and_never_a_panic() {
        const SEED: u64 = 7;
        let (stream, mut random) = (stream(), Random::new(SEED));
        let mut heard = Vec::new();
        for _ in 0..20_000 {
            let mut damaged = stream.clone();
            for _ in 0..=random.next() % 3 {
                let place = random.next() as usize % damaged.len();
                match random.next() % 3 {
                    0 => damaged[place] = random.next() as u8,
                    1 => drop(damaged.remove(place)),
                    _ => damaged.insert(place, random.next() as u8),
                }
            }
            heard.clear();
            if let Ok(taken) = SseEar.hear(&damaged, &mut heard) {
                assert!(taken <= damaged.len());
            }
        }
    }

    #[track_caller]
    fn fails(write: impl FnOnce(&mut Vec<u8>), told: &str) {
        let mut out = Vec::new();
        write(&mut out);
        let error = hear(&[&out]).unwrap_err();
        assert!(error.contains(told), "{error}");
    }

    fn chunk(text: &str) -> Vec<u8> {
        format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn a_message_that_is_missing_in_a_record_is_noticed() {
        for numbers in [[4, 6], [4, 4], [4, 3]] {
            let mut text = String::new();
            for number in numbers {
                let mut id = Vec::new();
                place(number).write(&mut id);
                text += &format!("id: {}\ndata: x\n\n", id.escape_ascii());
            }
            fails(
                |out| *out = chunk(&text),
                "messages are lost or out of order",
            );
        }
    }

    #[test]
    fn what_a_broker_says_of_losses_fails_the_bench() {
        let mut id = Vec::new();
        place(9).write(&mut id);
        let id = id.escape_ascii().to_string();
        for (event, told) in [
            ("$gap", "records are lost: {\"from\":3}"),
            ("$epoch", "records are lost: the broker no longer keeps"),
            ("$reference", "too large for events"),
            ("$what", "has no place here: $what, {\"from\":3}"),
        ] {
            let text = format!("id: {id}\nevent: {event}\ndata: {{\"from\":3}}\n\n");
            fails(|out| *out = chunk(&text), told);
            let begin = chunk(&format!("retry: 2000\n{text}"));
            fails(|out| *out = [HEAD, &begin].concat(), told);
        }
    }

    #[test]
    fn a_stream_that_does_not_begin_with_its_place_is_none() {
        let mut id = Vec::new();
        place(9).write(&mut id);
        let id = id.escape_ascii().to_string();
        for (text, told) in [
            ("retry: 2000\n\n".to_owned(), "with a `$place` event"),
            (format!("id: {id}\n\n"), "with a `$place` event"),
            (
                format!("id: {id}\nevent: $place\ndata: {{}}\n\n:\n\n"),
                "with a `$place` event",
            ),
            (format!("id: {id}\ndata: x\n\n"), "with a `$place` event"),
            ("id: x\nevent: $place\ndata: {}\n\n".to_owned(), "no token"),
        ] {
            fails(|out| *out = [HEAD, &chunk(&text)].concat(), told);
        }
        fails(|out| *out = [HEAD, HEAD].concat(), "two heads");
        fails(|out| *out = chunk(&format!("id: {id}\n\n")), "without data");
        fails(|out| *out = chunk("data: x\n\n"), "without an id");
        let mut id = Vec::new();
        place(0).write(&mut id);
        let first = format!("id: {}\ndata: x\n\n", id.escape_ascii());
        fails(|out| *out = chunk(&first), "before the first");
    }
}
