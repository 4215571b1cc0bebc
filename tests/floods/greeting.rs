//! Clients that never get as far as a session, or break theirs at once.

use std::time::Duration;

use oyez_protocol::header::kind;
use testkit::random::Random;
use testkit::record::{record, subscribe_to};

use crate::flood::Flood;
use crate::frames;
use crate::script::{Client, Kind, Reading, Step};

/// Bytes that a frame of nonsense claims to have, and nearly all of which come.
const NONSENSE_BYTES: u32 = 250_000;
/// Short, so that it is over again and again while the flood lasts.
const HELLO_TIMEOUT_MS: u32 = 1000;

pub(crate) fn silent() -> Flood {
    let plain = Flood::new("no hello", || {
        let silent = |_, _: &mut Random| Client::new(Reading::Nothing, |_| Step::Rest);
        let nonsense = |_, random: &mut Random| {
            let kinds = [kind::RECORD, kind::HELLO, kind::PING, 0x90];
            let kind = kinds[random.below(4) as usize];
            let mut bytes = frames::head(NONSENSE_BYTES, kind);
            bytes.resize(NONSENSE_BYTES as usize - 8, 0);
            Client::resting(bytes, Reading::Nothing)
        };
        let dribbling = |_, _: &mut Random| {
            let hello = frames::head(4000, kind::HELLO);
            let (mut next, mut pauses) = (0, false);
            Client::new(Reading::Nothing, move |random| {
                pauses = !pauses;
                if !pauses {
                    return Step::Wait(Duration::from_millis(10 + random.below(500)));
                }
                next += 1;
                Step::Send([hello.get(next - 1).copied().unwrap_or(0)].into())
            })
        };
        vec![
            Kind::many(silent),
            Kind::many(nonsense),
            Kind::many(dribbling),
        ]
    });
    Flood {
        setup: plain
            .setup
            .clone()
            .set("hello_timeout_ms", HELLO_TIMEOUT_MS),
        ..plain
    }
}

pub(crate) fn churn() -> Flood {
    Flood::new("malformed frames and reconnects", || {
        let client = |_, random: &mut Random| {
            let mut opening = match random.below(4) {
                0 => Vec::new(),
                _ => frames::hello(),
            };
            opening.extend_from_slice(&malformed(random));
            let reading = match random.below(2) {
                0 => Reading::All,
                _ => Reading::Nothing,
            };
            let mut pause = Some(Duration::from_micros(random.below(2000)));
            Client::after(opening, reading, move |random| match pause.take() {
                Some(pause) if random.below(2) == 0 => Step::Wait(pause),
                _ if random.below(2) == 0 => Step::Reset,
                _ => Step::Close,
            })
        };
        vec![Kind::many(client)]
    })
}

/// Nothing that a broker can take.
fn malformed(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        1 => random.bytes(64),
        2 => frames::head(u32::MAX - 7, kind::RECORD),
        3 => frames::head(16, 0),
        4 => subscribe_to(b"not/a/#/topic"),
        5 => flipped(record("memory/flipped", &["a payload"], 1), random),
        6 => flipped(subscribe_to(b"memory/flipped"), random),
        _ => {
            let mut half = record("memory/half", &[[7; 4000]], 1);
            half.truncate(random.below(half.len() as u64) as usize);
            half
        }
    }
}

/// One bit is another.
fn flipped(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    bytes
}
