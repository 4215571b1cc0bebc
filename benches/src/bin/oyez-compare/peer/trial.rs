//! Tests that every dialect must pass.

use super::dialect::{Dialect, Said};
use super::{PeerEar, stamp_publication};
use oyez_benches::Random;
use oyez_cli::bench::{Ear, Heard, Place, Stamp};

/// What is to be heard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Open,
    Ready,
    Subscribed,
    Ping,
    /// The only message of its publication, with this number.
    Message(u64),
    Answer(u32),
    /// An answer that does not say to which publication.
    AnswerToOldest,
}

impl Expected {
    fn heard<D: Dialect>(self) -> Vec<Heard> {
        let ready = Heard::Welcome {
            records: D::RECORDS_MAX,
            bytes: u32::MAX,
        };
        match self {
            Self::Open => vec![Heard::Open],
            Self::Ready => vec![ready],
            Self::Subscribed => vec![ready, Heard::Subscribed(Place { next: 0, epoch: 0 })],
            Self::Ping => vec![Heard::Ping { token: 0 }],
            Self::Message(first) => vec![Heard::Record {
                first,
                messages: 1,
                sum: None,
            }],
            Self::AnswerToOldest => vec![Heard::Published { slot: None }],
            Self::Answer(slot) => vec![Heard::Published { slot: Some(slot) }],
        }
    }
}

/// Decodes `pieces` one after the other, as a connection does.
fn hear<D: Dialect>(pieces: &[&[u8]]) -> Result<Vec<Heard>, String> {
    let mut ear = PeerEar::<D>::new(true);
    let (mut held, mut heard) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let taken = ear.hear(&held, &mut heard)?;
        held.drain(..taken);
    }
    assert_eq!(held, b"");
    Ok(heard)
}

/// The stream says what is expected in one piece, in two of any size, and byte by byte.
pub(super) fn cut_everywhere<D: Dialect>(stream: &[u8], expected: &[Expected]) {
    let expected: Vec<Heard> = expected.iter().flat_map(|one| one.heard::<D>()).collect();
    for cut in 0..=stream.len() {
        let (left, right) = stream.split_at(cut);
        assert_eq!(hear::<D>(&[left, right]).unwrap(), expected, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(hear::<D>(&bytes).unwrap(), expected);
}

/// Each message of a publication gets its number, and none of its other bytes changes.
pub(super) fn stamps_every_message<D: Dialect>() {
    let payloads: Vec<Vec<u8>> = (12..600).step_by(49).map(|size| vec![b'.'; size]).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let mut publication = Vec::new();
    D::compose("a/b", &payloads, &mut publication);
    let stamp = Stamp {
        slot: 77,
        first: 1 << 40,
        group: 0,
    };
    stamp_publication::<D>(&mut publication, stamp);
    let (mut at, mut number) = (0, stamp.first);
    for payload in &payloads {
        let (place, size) = D::payload(&publication[at..]).unwrap();
        let (mark, rest) = publication[at..][place].split_at(12);
        assert_eq!(mark[..8], number.to_le_bytes());
        assert_eq!(mark[8..], (payloads.len() as u32).to_le_bytes());
        assert_eq!(rest, &payload[12..]);
        number += 1;
        at += size;
    }
    assert_eq!(D::payload(&publication[at..]), None);
}

/// Changes, cuts out and inserts each byte: the result is an error, another message, or not whole.
pub(super) fn survives_damage<D: Dialect>(stream: &[u8]) {
    const SEED: u64 = 7;
    let mut random = Random::new(SEED);
    let mut heard = Vec::new();
    for _ in 0..20_000 {
        let mut damaged = stream.to_vec();
        for _ in 0..=random.below(3) {
            let place = random.below(damaged.len() as u64) as usize;
            match random.below(3) {
                0 => damaged[place] = random.below(256) as u8,
                1 => drop(damaged.remove(place)),
                _ => damaged.insert(place, random.below(256) as u8),
            }
        }
        heard.clear();
        if let Ok(taken) = PeerEar::<D>::new(true).hear(&damaged, &mut heard) {
            assert!(taken <= damaged.len());
        }
        assert!(!matches!(D::decode(&damaged), Ok(Some((_, 0)))));
        if let Ok(Some((Said::Message(payload), size))) = D::decode(&damaged) {
            assert!(payload.len() <= size);
        }
    }
}
