//! Blocks and the records around them: what goes in comes out, records keep within their limits whatever is pushed,
//! and a record that lies about its block is refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/strategy.rs"]
mod strategy;
mod support;

use oyez_protocol::error::{BlockError, RecordError};
use oyez_protocol::limits::{EXTRAS_SIZE_MAX, Limits, MESSAGES_MAX, RAW_SIZE_HARD_MAX};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Codec, Extra, PushError, Record, RecordBuilder};
use proptest::collection::vec;
use proptest::prelude::*;
use support::reseal;

const SMALL: Limits = Limits {
    record_size_max: 1024,
    raw_size_max: 4096,
};

/// A compressed record of one message of `size` equal bytes.
fn compressed(size: usize) -> Vec<u8> {
    let mut builder = RecordBuilder::new("t", Limits::HARD).unwrap();
    builder.push(&MessageRef::new(&vec![b'x'; size])).unwrap();
    let mut out = Vec::new();
    assert_eq!(Scratch::new().finish(&mut builder, 0, &mut out), Codec::Lz4);
    out
}

fn with_raw_size(mut record: Vec<u8>, raw_size: u32) -> Vec<u8> {
    record[12..16].copy_from_slice(&raw_size.to_le_bytes());
    reseal(&mut record);
    record
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(byte).collect()
}

proptest! {
    #[test]
    fn a_block_comes_back_as_it_was(messages in vec(strategy::message(), 1..40)) {
        let mut builder = RecordBuilder::new("a/b", Limits::DEFAULT).unwrap();
        for message in &messages {
            builder.push(&message.borrow(&mut Vec::new())).unwrap();
        }
        let (raw, mut bytes) = (builder.raw().to_vec(), Vec::new());
        let codec = Scratch::new().finish(&mut builder, 0, &mut bytes);
        prop_assert!(builder.is_empty() && builder.raw().is_empty());
        let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
        prop_assert_eq!((record.codec(), record.raw_size() as usize), (codec, raw.len()));
        // A scratch that other records have dirtied gives the same.
        let mut scratch = Scratch::new();
        scratch.open(&Record::verify(&compressed(3000), &Limits::HARD).unwrap()).unwrap();
        prop_assert_eq!(scratch.open(&record).unwrap(), &raw[..]);
    }

    #[test]
    fn a_lying_raw_size_is_refused(size in 100usize..5000, lie in 1u32..10_000) {
        let bytes = compressed(size);
        let raw_size = Record::verify(&bytes, &Limits::DEFAULT).unwrap().raw_size();
        prop_assume!(lie != raw_size);
        let bytes = with_raw_size(bytes, lie);
        if let Ok(record) = Record::verify(&bytes, &Limits::DEFAULT) {
            let mut scratch = Scratch::new();
            let error = BlockError::Decompress { raw_size: lie };
            prop_assert_eq!(scratch.open(&record), Err(error));
        }
    }

    #[test]
    fn arbitrary_blocks_decompress_or_are_refused(block in vec(any::<u8>(), 1..200), ratio in 1u32..250) {
        let raw_size = block.len() as u32 * ratio + 1;
        let mut bytes = compressed(100);
        bytes.truncate(49);
        bytes.extend_from_slice(&block);
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        bytes.resize(bytes.len() + padding, 0);
        let size = bytes.len() as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes[18] = padding as u8;
        let bytes = with_raw_size(bytes, raw_size);
        let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
        prop_assert_eq!(record.block(), &block[..]);
        if let Ok(raw) = Scratch::new().open(&record) {
            prop_assert_eq!(raw.len(), raw_size as usize);
        }
    }

    /// Whatever is pushed in whatever order, and whether it compresses or not, the receiver takes the record.
    #[test]
    fn a_builder_keeps_within_its_limits(
        steps in vec((any::<bool>(), 0usize..300), 1..40),
        record_size_max in 300u32..1100,
        raw_size_max in 100u32..1500,
    ) {
        let limits = Limits { record_size_max, raw_size_max };
        let mut builder = RecordBuilder::new("topic", limits).unwrap();
        let noise = noise(300);
        for (is_extra, size) in steps {
            if is_extra {
                let _ = builder.push_extra(Extra { kind: 0x80, value: &noise[..size] });
            } else {
                let _ = builder.push(&MessageRef::new(&noise[..size]));
            }
        }
        prop_assume!(!builder.is_empty());
        for record in [stored(&mut builder.clone()), stored_or_compressed(&mut builder)] {
            prop_assert!(Record::verify(&record, &limits).is_ok());
        }
    }
}

fn stored(builder: &mut RecordBuilder) -> Vec<u8> {
    let mut out = Vec::new();
    builder.finish_stored(0, &mut out);
    out
}

fn stored_or_compressed(builder: &mut RecordBuilder) -> Vec<u8> {
    let mut out = Vec::new();
    Scratch::new().finish(builder, 0, &mut out);
    out
}

#[test]
fn a_raw_size_over_the_cap_is_refused_before_it_is_believed() {
    let bytes = with_raw_size(compressed(100), RAW_SIZE_HARD_MAX + 1);
    let error = RecordError::RawSize {
        raw_size: RAW_SIZE_HARD_MAX + 1,
        max: RAW_SIZE_HARD_MAX,
    };
    assert_eq!(Record::verify(&bytes, &Limits::HARD), Err(error));
    assert_eq!(Record::trusted(&bytes), None);
}

#[test]
fn a_raw_size_that_no_lz4_block_reaches_is_refused() {
    let bytes = compressed(100);
    let block = Record::verify(&bytes, &Limits::HARD).unwrap().block().len() as u32;
    let most = with_raw_size(bytes.clone(), block * 255);
    assert!(Record::verify(&most, &Limits::HARD).is_ok());
    let raw_size = block * 255 + 1;
    let more = with_raw_size(bytes, raw_size);
    let error = RecordError::Block { block, raw_size };
    assert_eq!(Record::verify(&more, &Limits::HARD), Err(error));
}

#[test]
fn the_best_compressible_block_is_plausible() {
    let bytes = compressed((1 << 20) - 1000);
    let record = Record::verify(&bytes, &Limits::HARD).unwrap();
    assert!(record.raw_size() as usize / record.block().len() > 250);
    assert!(Scratch::new().open(&record).is_ok());
}

#[test]
fn an_incompressible_record_reaches_the_limit_and_does_not_pass_it() {
    let mut builder = RecordBuilder::new("t", SMALL).unwrap();
    let max = builder.raw_capacity();
    assert_eq!(max, 1024 - 48 - 1);
    // The length of these messages takes two bytes.
    let too_much = noise(max - 1);
    let refused = builder.push(&MessageRef::new(&too_much));
    assert_eq!(refused, Err(PushError::TooLarge { size: max + 1, max }));
    builder.push(&MessageRef::new(&too_much[1..])).unwrap();
    assert_eq!(builder.push(&MessageRef::new(b"")), Err(PushError::Full));
    let bytes = stored_or_compressed(&mut builder);
    assert_eq!(bytes.len(), 1024);
    assert!(Record::verify(&bytes, &SMALL).is_ok());
    let less = Limits {
        record_size_max: 1016,
        ..SMALL
    };
    let error = RecordError::TooLarge {
        size: 1024,
        max: 1016,
    };
    assert_eq!(Record::verify(&bytes, &less), Err(error));
}

#[test]
fn the_raw_size_reaches_its_limit_and_does_not_pass_it() {
    let limits = Limits {
        record_size_max: 8192,
        raw_size_max: 1000,
    };
    let mut builder = RecordBuilder::new("t", limits).unwrap();
    builder.push(&MessageRef::new(&[0; 998])).unwrap();
    assert_eq!(builder.push(&MessageRef::new(b"")), Err(PushError::Full));
    let bytes = stored_or_compressed(&mut builder);
    assert!(Record::verify(&bytes, &limits).is_ok());
    let less = Limits {
        raw_size_max: 999,
        ..limits
    };
    let error = RecordError::RawSize {
        raw_size: 1000,
        max: 999,
    };
    assert_eq!(Record::verify(&bytes, &less), Err(error));
}

#[test]
fn a_record_holds_65535_messages_and_no_more() {
    let mut builder = RecordBuilder::new("t", Limits::DEFAULT).unwrap();
    for _ in 0..MESSAGES_MAX {
        builder.push(&MessageRef::new(b"")).unwrap();
    }
    assert_eq!(builder.push(&MessageRef::new(b"")), Err(PushError::Full));
    let bytes = stored_or_compressed(&mut builder);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    let mut scratch = Scratch::new();
    let raw = scratch.open(&record).unwrap();
    assert_eq!(
        Messages::new(raw, record.count())
            .map(Result::unwrap)
            .count(),
        MESSAGES_MAX
    );
}

#[test]
fn extras_reach_their_limit_and_do_not_pass_it() {
    let mut builder = RecordBuilder::new("t", Limits::DEFAULT).unwrap();
    let (kind, value) = (0x80, &[7; 254][..]);
    for _ in 0..7 {
        builder.push_extra(Extra { kind, value }).unwrap();
    }
    let left = &value[..EXTRAS_SIZE_MAX - 7 * 256 - 2];
    builder.push_extra(Extra { kind, value: left }).unwrap();
    let one_more = builder.push_extra(Extra { kind, value: &[] });
    assert_eq!(one_more, Err(RecordError::Extra { kind }));
    builder.push(&MessageRef::new(b"x")).unwrap();
    let bytes = stored(&mut builder);
    assert_eq!(
        Record::verify(&bytes, &Limits::DEFAULT)
            .unwrap()
            .extras()
            .count(),
        8
    );
}

#[test]
fn an_extra_that_must_be_understood_is_neither_sent_nor_taken() {
    let mut builder = RecordBuilder::new("t", Limits::DEFAULT).unwrap();
    let refused = builder.push_extra(Extra {
        kind: 0x7f,
        value: b"",
    });
    assert_eq!(refused, Err(RecordError::Extra { kind: 0x7f }));
    builder
        .push_extra(Extra {
            kind: 0xff,
            value: b"",
        })
        .unwrap();
    builder.push(&MessageRef::new(b"x")).unwrap();
    let mut bytes = stored(&mut builder);
    bytes[49] = 0x7f;
    reseal(&mut bytes);
    assert_eq!(
        Record::verify(&bytes, &Limits::DEFAULT),
        Err(RecordError::Extra { kind: 0x7f })
    );
}

#[test]
fn malformed_extras_are_refused() {
    let mut builder = RecordBuilder::new("t", Limits::DEFAULT).unwrap();
    builder
        .push_extra(Extra {
            kind: 0xff,
            value: b"abc",
        })
        .unwrap();
    builder.push(&MessageRef::new(b"x")).unwrap();
    let bytes = stored(&mut builder);
    // A length that runs into the block; padding that is not zero.
    for (at, value) in [(50, 7), (54, 1)] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        reseal(&mut bytes);
        assert_eq!(
            Record::verify(&bytes, &Limits::DEFAULT),
            Err(RecordError::Extra { kind: 0xff })
        );
    }
}

#[test]
fn limits_from_a_rogue_broker_are_capped() {
    let endless = Limits {
        record_size_max: u32::MAX,
        raw_size_max: u32::MAX,
    };
    let builder = RecordBuilder::new("t", endless).unwrap();
    let hard = RecordBuilder::new("t", Limits::HARD).unwrap();
    assert_eq!(builder.raw_capacity(), hard.raw_capacity());
}
