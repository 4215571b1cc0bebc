//! What holds for all frames: they come back as they were, at every cut and after every flipped bit the decoder does
//! the right thing, and no input makes it panic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/strategy.rs"]
mod strategy;
mod support;

use oyez_protocol::limits::{FRAME_HEAD_SIZE, Limits};
use oyez_protocol::message::{Headers, MessageRef, Messages, message_size, write_message};
use oyez_protocol::record::Record;
use oyez_protocol::{Decoded, Frame, decode};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{assert_one_encoding, encode, reseal, whole};

/// Small enough that a flipped bit of a size can be answered with as many bytes.
const LIMITS: Limits = Limits {
    record_size_max: 64 << 10,
    raw_size_max: 1 << 20,
};

/// Uses all that a decoded frame offers, so that a panic hidden in an accessor comes out.
fn exercise(frame: &Frame<'_>, bytes: &[u8]) {
    assert_one_encoding(frame, bytes);
    if let Frame::Record(record) = frame {
        let _ = (
            record.check_header(),
            record.offset().plus(u64::from(record.count())),
        );
        let extras: usize = record.extras().map(|extra| extra.value.len() + 2).sum();
        assert!(record.topic().len() + extras + record.block().len() < bytes.len());
        if let Ok(raw) = oyez_protocol::lz4::Scratch::new().open(record) {
            exercise_messages(raw, record.count());
        }
    }
}

/// Messages end after at most one error, and those that are read are written back as the same bytes.
fn exercise_messages(raw: &[u8], count: u16) {
    let mut again = Vec::new();
    let mut messages = Messages::new(raw, count);
    let mut read = 0;
    for message in messages.by_ref() {
        let Ok(message) = message else {
            break;
        };
        assert_eq!(message.headers.count(), message.headers.len());
        let start = again.len();
        write_message(&message, &mut again);
        assert_eq!(again.len() - start, message_size(&message));
        read += 1;
    }
    assert!(messages.next().is_none());
    assert!(read <= count);
    assert!(raw.starts_with(&again));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_frame_comes_back_as_it_was(frame in strategy::frame()) {
        let bytes = frame.encode();
        let decoded = whole(&bytes, &Limits::DEFAULT);
        frame.assert_is(&decoded);
        let mut again = Vec::new();
        encode(&decoded, &mut again);
        let skipped = matches!(decoded, Frame::Skipped { .. });
        prop_assert!(again == bytes || skipped);
    }

    #[test]
    fn a_stream_is_the_frames_that_were_written(frames in vec(strategy::frame(), 1..6)) {
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        let mut rest = &stream[..];
        for expected in &frames {
            let Ok(Decoded::Frame { frame, size }) = decode(rest, &LIMITS) else {
                panic!("a whole frame is not decoded");
            };
            expected.assert_is(&frame);
            rest = &rest[size..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn at_every_cut_the_decoder_says_how_much_it_needs(frame in strategy::frame()) {
        let bytes = frame.encode();
        for cut in 0..bytes.len() {
            let total = if cut < FRAME_HEAD_SIZE { FRAME_HEAD_SIZE } else { bytes.len() };
            prop_assert_eq!(decode(&bytes[..cut], &LIMITS), Ok(Decoded::Need { total }));
        }
    }

    #[test]
    fn messages_come_back_as_they_were(messages in vec(strategy::message(), 1..20)) {
        let (mut raw, mut scratch) = (Vec::new(), Vec::new());
        for message in &messages {
            let message = message.borrow(&mut scratch);
            let start = raw.len();
            write_message(&message, &mut raw);
            prop_assert_eq!(raw.len() - start, message_size(&message));
        }
        let mut read = Messages::new(&raw, messages.len() as u16);
        for expected in &messages {
            prop_assert_eq!(read.next(), Some(Ok(expected.borrow(&mut scratch))));
        }
        prop_assert!(read.next().is_none());
        // A wrong count is an error, never a message more.
        let wrong = Messages::new(&raw, messages.len() as u16 - 1);
        prop_assert!(wrong.last().is_none_or(|message| message.is_err()));
        let wrong = Messages::new(&raw, messages.len() as u16 + 1);
        prop_assert!(wrong.last().unwrap().is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_flipped_bit_is_refused(frame in strategy::frame()) {
        let mut bytes = frame.encode();
        let size = bytes.len();
        // A greater size must not wait for ever to be found out.
        bytes.resize(size + LIMITS.frame_size_max() as usize, 0);
        for bit in 0..size * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Bits of the size decide how far the checksum reaches; for all others the frame alone will do.
            let input = if bit < 32 { &bytes[..] } else { &bytes[..size] };
            match decode(input, &LIMITS) {
                Err(_) => {}
                Ok(Decoded::Frame { frame: Frame::Record(record), .. }) => {
                    prop_assert!(record.check_header().is_err(), "bit {} is not seen", bit);
                }
                Ok(other) => prop_assert!(false, "bit {} gives {:?}", bit, other),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(Decoded::Frame { frame, size }) = decode(&bytes, &LIMITS) {
            exercise(&frame, &bytes[..size]);
        }
        let _ = Record::trusted(&bytes);
        let _ = Record::verify_stamped(&bytes, &LIMITS);
    }

    /// The checksums are made true again, so that every later check has to stand on its own.
    #[test]
    fn mutated_frames_never_panic(
        frame in strategy::frame(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        head_only in any::<bool>(),
    ) {
        let mut bytes = frame.encode();
        let reach = if head_only { bytes.len().min(64) } else { bytes.len() };
        for (place, value) in &mutations {
            bytes[place.index(reach)] = *value;
        }
        reseal(&mut bytes);
        match decode(&bytes, &LIMITS) {
            Ok(Decoded::Frame { frame, size }) => {
                prop_assert!(size <= bytes.len() && size % 8 == 0);
                exercise(&frame, &bytes[..size]);
            }
            Ok(Decoded::Need { total }) => prop_assert!(total > bytes.len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        if let Some(record) = Record::trusted(&bytes) {
            let _ = record.extras().count();
            exercise_messages(record.block(), record.count());
        }
    }

    #[test]
    fn arbitrary_blocks_never_panic(raw in vec(0u8..40, 0..200), count in 0u16..20) {
        exercise_messages(&raw, count);
        if let Some(headers) = Headers::parse(&raw) {
            prop_assert_eq!(headers.len(), headers.count());
        }
    }
}

#[test]
fn a_message_has_one_encoding_only() {
    let read = |raw: &'static [u8]| Messages::new(raw, 1).next().unwrap();
    assert_eq!(read(b"\x04x"), Ok(MessageRef::new(b"x")));
    assert!(
        read(b"\x84\x00x").is_err(),
        "a length that is longer than it must be"
    );
    assert!(read(b"\x06\x00x").is_err(), "headers promised, none there");
    assert!(
        read(b"\xff\xff\xff\xff\xff\x00").is_err(),
        "a number of six bytes"
    );
    assert!(
        read(b"\xff\xff\xff\xff\x1f").is_err(),
        "a number over 32 bits"
    );
}
