//! Any bytes as a stream of frames: nothing panics, and what is accepted has one encoding.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use oyez_protocol::checksum::crc32c;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{Messages, write_message};
use oyez_protocol::record::Record;
use oyez_protocol::token::Token;
use oyez_protocol::{Decoded, Frame, decode};

const LIMITS: Limits = Limits::DEFAULT;

fuzz_target!(|input: &[u8]| {
    walk(input);
    check_token(input);
    let mut sealed = input.to_vec();
    seal_all(&mut sealed);
    walk(&sealed);
});

/// Makes the checksums of all whole frames true, so that the checks behind them are reached.
fn seal_all(mut stream: &mut [u8]) {
    while let Some(head) = stream.first_chunk::<4>() {
        let size = u32::from_le_bytes(*head) as usize;
        if size < 8 || size > stream.len() {
            return;
        }
        let (frame, rest) = stream.split_at_mut(size);
        support::reseal(frame);
        stream = rest;
    }
}

fn walk(mut stream: &[u8]) {
    loop {
        match decode(stream, &LIMITS) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
            Ok(Decoded::Need { total }) => {
                assert!(total > stream.len() && total <= LIMITS.frame_size_max() as usize);
                return;
            }
            Ok(Decoded::Frame { frame, size }) => {
                check(&frame, &stream[..size]);
                stream = &stream[size..];
            }
        }
    }
}

fn check(frame: &Frame<'_>, bytes: &[u8]) {
    support::assert_one_encoding(frame, bytes);
    if let Frame::Record(record) = frame {
        check_record(record, bytes);
    }
}

fn check_record(record: &Record<'_>, bytes: &[u8]) {
    assert_eq!(Record::trusted(bytes).as_ref(), Some(record));
    assert_eq!(
        record.check_header(),
        Record::verify_stamped(bytes, &LIMITS).map(drop)
    );
    let _ = (
        record.offset(),
        record.sequence(),
        record.log(),
        record.timestamp_ms(),
    );
    let extras: usize = record
        .extras()
        .map(|extra| (2 + extra.value.len()).next_multiple_of(8))
        .sum();
    let parts = 48 + record.topic().len() + extras + record.block().len();
    assert_eq!(parts.next_multiple_of(8), bytes.len());
    let mut scratch = Scratch::new();
    let Ok(raw) = scratch.open(record) else {
        return;
    };
    assert_eq!(raw.len(), record.raw_size() as usize);
    let mut again = Vec::new();
    let mut all = true;
    for message in Messages::new(raw, record.count()) {
        match message {
            Ok(message) => {
                assert_eq!(message.headers.count(), message.headers.len());
                write_message(&message, &mut again);
            }
            Err(_) => all = false,
        }
    }
    assert!(raw.starts_with(&again) && (!all || again.len() == raw.len()));
}

/// Any bytes as a resume token: what is accepted has one encoding.
fn check_token(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if let Some(content) = bytes.len().checked_sub(4) {
        let checksum = crc32c(&bytes[..content]);
        sealed[content..].copy_from_slice(&checksum.to_le_bytes());
    }
    for bytes in [bytes, &sealed] {
        if let Ok(token) = Token::decode(bytes) {
            let mut again = Vec::new();
            Token::encode(&token.places().collect::<Vec<_>>(), &mut again);
            assert_eq!(again, bytes);
        }
    }
}
