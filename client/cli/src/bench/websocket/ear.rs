//! Encodes and decodes what subscribers send and receive over WebSocket, at the broker or the bare server: frames of
//! Oyez, or JSON.

use std::net::SocketAddr;

use super::frame::{Message, Opcode, mask, masked, message};
use super::handshake::{Path, SUBPROTOCOL, ask, begun};
use super::json::{Told, read};
use crate::bench::sse::sum::Sum;
use crate::bench::sse::token::Next;
use crate::bench::target::{Ear, Heard, Place};

/// Appends the request for a session of frames.
pub(crate) fn ask_frames(host: SocketAddr, path: Path<'_>, out: &mut Vec<u8>) {
    ask(path, host, Some(SUBPROTOCOL), out);
}

/// Appends the request for a session in JSON that is subscribed to a topic.
pub(crate) fn ask_json(host: SocketAddr, topic: &str, from: Option<Place>, out: &mut Vec<u8>) {
    let from = from.map(|place| Next {
        epoch: place.epoch,
        offset: place.next,
    });
    ask(Path::Topic { name: topic, from }, host, None, out);
}

/// Appends, as a message, the frames that `write` appends.
pub fn say(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    masked(Opcode::Binary, mask(), out, write);
}

/// What a server sends.
#[derive(Debug)]
pub enum Part<'a> {
    /// It opens the session.
    Open,
    /// It says something within the session.
    Message(Message<'a>),
}

/// The part at the start of `input`, and its size; none until it is whole.
pub fn part<'a>(
    input: &'a [u8],
    subprotocol: Option<&str>,
) -> Result<Option<(Part<'a>, usize)>, String> {
    if input.first() == Some(&b'H') {
        let size = begun(input, subprotocol)?;
        return Ok(size.map(|size| (Part::Open, size)));
    }
    let message = message(input)?;
    Ok(message.map(|(message, size)| (Part::Message(message), size)))
}

/// What a sign of life asks to be answered.
pub(crate) fn ping(payload: &[u8]) -> Result<Heard, String> {
    match payload {
        [] => Ok(Heard::Ping { token: 0 }),
        _ => Err(
            "the server sends a ping with a payload, which this bench does not answer".to_owned(),
        ),
    }
}

/// Decodes messages that hold whole frames.
pub(crate) struct FramesEar {
    frames: Box<dyn Ear>,
}

impl FramesEar {
    pub(crate) const fn new(frames: Box<dyn Ear>) -> Self {
        Self { frames }
    }
}

impl Ear for FramesEar {
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
        let mut taken = 0;
        while let Some((part, size)) = part(&input[taken..], Some(SUBPROTOCOL))? {
            taken += size;
            match part {
                Part::Open => heard.push(Heard::Open),
                Part::Message(Message { opcode, payload }) => match opcode {
                    Opcode::Binary => {
                        if self.frames.hear(payload, heard)? < payload.len() {
                            return Err("a message ends within a frame".to_owned());
                        }
                    }
                    Opcode::Ping => heard.push(ping(payload)?),
                    Opcode::Pong => {}
                    Opcode::Text | Opcode::Close => {
                        return Err("the broker sends text where frames were to come".to_owned());
                    }
                },
            }
        }
        Ok(taken)
    }
}

/// Decodes messages in JSON. Nothing marks where a record ends, so its messages wait until all of them are there.
pub(crate) struct JsonEar {
    batch: u32,
}

impl JsonEar {
    pub(crate) const fn new(batch: u32) -> Self {
        Self { batch }
    }
}

/// A record of which not all messages are there.
#[derive(Clone, Copy, Debug)]
struct Half {
    first: u64,
    messages: u32,
    sum: Sum,
}

impl Ear for JsonEar {
    /// What is taken ends where no record is half there; the rest is heard again when there is more.
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
        let (mut at, mut taken, mut taken_heard) = (0, 0, heard.len());
        let mut half = None;
        while let Some((part, size)) = part(&input[at..], None)? {
            at += size;
            match part {
                Part::Open => heard.push(Heard::Open),
                Part::Message(Message { opcode, payload }) => match opcode {
                    Opcode::Text => half = self.told(half, read(payload)?, heard)?,
                    Opcode::Ping => heard.push(ping(payload)?),
                    Opcode::Pong => {}
                    Opcode::Binary | Opcode::Close => {
                        return Err("the broker sends bytes where text was to come".to_owned());
                    }
                },
            }
            if half.is_none() {
                (taken, taken_heard) = (at, heard.len());
            }
        }
        heard.truncate(taken_heard);
        Ok(taken)
    }
}

impl JsonEar {
    /// One more text, with what is half there before it; what is half there behind it.
    fn told(
        &self,
        half: Option<Half>,
        told: Told,
        heard: &mut Vec<Heard>,
    ) -> Result<Option<Half>, String> {
        let (offset, sum) = match told {
            Told::Subscribed(Next { epoch, offset }) => {
                let next = offset;
                heard.push(Heard::Subscribed(Place { next, epoch }));
                return Ok(half);
            }
            Told::Message { offset, sum } => (offset, sum),
        };
        let mut half = half.unwrap_or(Half {
            first: offset,
            messages: 0,
            sum: Sum::default(),
        });
        if offset.checked_sub(half.first) != Some(u64::from(half.messages)) {
            let Half {
                first, messages, ..
            } = half;
            return Err(format!(
                "messages are lost or out of order: message {offset} came after {messages} messages from {first} on"
            ));
        }
        half.messages += 1;
        half.sum.add(sum);
        if half.messages < self.batch {
            return Ok(Some(half));
        }
        heard.push(Heard::Record {
            first: half.first,
            messages: half.messages,
            sum: Some(half.sum.get()),
        });
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::random::Random;
    use crate::bench::websocket::{answer, json};

    const EPOCH: u64 = 0xab;
    const NEXT: Next = Next {
        epoch: EPOCH,
        offset: 6,
    };
    const PLACE: Place = Place {
        next: 6,
        epoch: EPOCH,
    };

    /// Takes each byte as a record.
    struct Bytes;

    impl Ear for Bytes {
        fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String> {
            let whole = input.iter().take_while(|byte| **byte != b'?');
            let count = whole.map(|byte| heard.push(record(u64::from(*byte), 1, None)));
            Ok(count.count())
        }
    }

    const fn record(first: u64, messages: u32, sum: Option<u32>) -> Heard {
        Heard::Record {
            first,
            messages,
            sum,
        }
    }

    /// A session of frames with a message, a sign of life, and a run of three.
    fn frames() -> Vec<u8> {
        let mut out = Vec::new();
        answer::head(Some(SUBPROTOCOL), &mut out);
        answer::message(Opcode::Binary, b"\x01", &mut out);
        answer::message(Opcode::Ping, b"", &mut out);
        answer::message(Opcode::Pong, b"x", &mut out);
        answer::message(Opcode::Binary, b"\x02\x03\x04", &mut out);
        out
    }

    const PAYLOADS: [[&[u8]; 2]; 2] = [[b"o\"ne", b""], [b"\xff", b"a\r\nb"]];

    /// A session in JSON with two records, each of two messages.
    fn texts() -> Vec<u8> {
        let mut out = Vec::new();
        answer::head(None, &mut out);
        answer::subscribed("bench", NEXT, &mut out);
        answer::record("bench", 6, PAYLOADS[0], &mut out);
        answer::message(Opcode::Ping, b"", &mut out);
        answer::record("bench", 8, PAYLOADS[1], &mut out);
        out
    }

    /// Decodes `pieces` one after the other, as a connection does.
    fn hear(ear: &mut dyn Ear, pieces: &[&[u8]]) -> Result<Vec<Heard>, String> {
        let (mut held, mut heard) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let taken = ear.hear(&held, &mut heard)?;
            held.drain(..taken);
        }
        assert_eq!(held, b"");
        Ok(heard)
    }

    /// A decoder, the bytes of a session, and what they say.
    type Session = (Box<dyn Ear>, Vec<u8>, Vec<Heard>);

    /// One of each kind.
    fn sessions() -> [Session; 2] {
        let ping = Heard::Ping { token: 0 };
        let mut of_frames = vec![Heard::Open, record(1, 1, None), ping];
        of_frames.extend([2, 3, 4].map(|first| record(first, 1, None)));
        let sum = |number: usize| Some(json::of(&PAYLOADS[number]));
        let mut of_texts = vec![Heard::Open, Heard::Subscribed(PLACE)];
        of_texts.extend([record(6, 2, sum(0)), ping, record(8, 2, sum(1))]);
        [
            (
                Box::new(FramesEar::new(Box::new(Bytes))),
                frames(),
                of_frames,
            ),
            (Box::new(JsonEar::new(2)), texts(), of_texts),
        ]
    }

    #[test]
    fn a_session_is_understood_wherever_it_is_cut() {
        for (mut ear, session, expected) in sessions() {
            for cut in 0..=session.len() {
                let (left, right) = session.split_at(cut);
                let heard = hear(&mut *ear, &[left, right]);
                assert_eq!(heard.as_ref(), Ok(&expected), "{cut}");
            }
            let bytes: Vec<&[u8]> = session.chunks(1).collect();
            assert_eq!(hear(&mut *ear, &bytes), Ok(expected));
        }
    }

    /// Written out, so that reading does not agree with our own writing alone.
    #[test]
    fn the_bytes_of_a_broker_are_understood() {
        let session = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\
            \x81\x61{\"event\":\"$subscribed\",\"topic\":\"bench\",\"next\":7,\"earliest\":0,\"head\":7,\
            \"epoch\":\"00000000000000ab\"}\x81\x48{\"topic\":\"bench\",\"offset\":7,\"timestamp_ms\":1234,\
            \"payload_base64\":\"//4K\"}";
        let sum = Some(json::of(&[b"\xff\xfe\n"]));
        let place = Place { next: 7, ..PLACE };
        let expected = vec![Heard::Open, Heard::Subscribed(place), record(7, 1, sum)];
        assert_eq!(hear(&mut JsonEar::new(1), &[session]), Ok(expected));
    }

    #[test]
    fn damage_is_an_error_or_something_else_and_never_a_panic() {
        const SEED: u64 = 7;
        let mut random = Random::new(SEED);
        for (mut ear, session, _) in sessions() {
            let mut heard = Vec::new();
            for _ in 0..20_000 {
                let mut damaged = session.clone();
                for _ in 0..=random.next() % 3 {
                    let place = random.next() as usize % damaged.len();
                    match random.next() % 3 {
                        0 => damaged[place] = random.next() as u8,
                        1 => drop(damaged.remove(place)),
                        _ => damaged.insert(place, random.next() as u8),
                    }
                }
                heard.clear();
                if let Ok(taken) = ear.hear(&damaged, &mut heard) {
                    assert!(taken <= damaged.len());
                }
            }
        }
    }

    #[track_caller]
    fn fails(ear: &mut dyn Ear, (opcode, payload): (Opcode, &[u8]), told: &str) {
        let mut out = Vec::new();
        answer::message(opcode, payload, &mut out);
        let error = hear(ear, &[&out]).unwrap_err();
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn what_has_no_place_in_a_session_fails_the_bench() {
        let mut ear = FramesEar::new(Box::new(Bytes));
        fails(&mut ear, (Opcode::Binary, b"a?"), "ends within a frame");
        fails(&mut ear, (Opcode::Text, b"a"), "text where frames");
        fails(&mut ear, (Opcode::Ping, b"a"), "a ping with a payload");
        fails(&mut ear, (Opcode::Close, b""), "the server closed it");
        let mut ear = JsonEar::new(1);
        fails(&mut ear, (Opcode::Binary, b"a"), "bytes where text");
        fails(&mut ear, (Opcode::Text, b"a"), "no message");
        fails(&mut ear, (Opcode::Ping, b"a"), "a ping with a payload");
        fails(&mut ear, (Opcode::Close, b""), "the server closed it");
    }

    #[test]
    fn a_message_that_is_missing_in_a_record_is_noticed() {
        for second in [8, 6, 5] {
            let mut out = Vec::new();
            answer::record("bench", 6, [&b"a"[..]], &mut out);
            answer::record("bench", second, [&b"b"[..]], &mut out);
            let error = hear(&mut JsonEar::new(2), &[&out]).unwrap_err();
            assert!(
                error.contains("messages are lost or out of order"),
                "{error}"
            );
        }
    }
}
