//! Decoding allocates nothing, and decompressing no more than the record's checked raw size.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/strategy.rs"]
mod strategy;
mod support;
#[expect(unsafe_code, reason = "a global allocator cannot be written without")]
mod sys;

use oyez_protocol::decode;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Codec, Record, RecordBuilder};
use oyez_protocol::{Decoded, Frame};
use proptest::prelude::*;
use support::reseal;
use sys::allocated_by;

/// Decodes and looks at every part of a record.
fn read_all(bytes: &[u8]) -> usize {
    let Ok(Decoded::Frame { frame, .. }) = decode(bytes, &Limits::DEFAULT) else {
        return 0;
    };
    match frame {
        Frame::Record(record) => {
            let messages = Messages::new(record.block(), record.count())
                .flatten()
                .map(|message| message.headers.count() + message.payload.len());
            let extras = record.extras().map(|extra| extra.value.len());
            record
                .check_header()
                .map_or(0, |()| messages.chain(extras).sum())
        }
        Frame::Published(published) => published.entries().count(),
        _ => 1,
    }
}

#[test]
fn the_allocator_counts() {
    let (_, allocated) = allocated_by(|| std::hint::black_box(vec![1u8; 100]));
    assert_eq!((allocated.calls, allocated.bytes), (1, 100));
}

proptest! {
    #[test]
    fn decoding_allocates_nothing(frame in strategy::frame(), flip in any::<prop::sample::Index>()) {
        let mut bytes = frame.encode();
        // The processor's abilities are looked up once per process.
        read_all(&bytes);
        let (_, whole) = allocated_by(|| read_all(&bytes));
        let (_, cut) = allocated_by(|| read_all(&bytes[..bytes.len() - 1]));
        let at = flip.index(bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        let (_, damaged) = allocated_by(|| read_all(&bytes));
        prop_assert_eq!((whole.calls, cut.calls, damaged.calls), (0, 0, 0));
    }
}

/// A compressed record that claims `raw_size` bytes.
fn claiming(raw_size: u32) -> Vec<u8> {
    let mut builder = RecordBuilder::new("t", Limits::HARD).unwrap();
    builder.push(&MessageRef::new(&[b'x'; 8000])).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(
        Scratch::new().finish(&mut builder, 0, &mut bytes),
        Codec::Lz4
    );
    bytes[12..16].copy_from_slice(&raw_size.to_le_bytes());
    reseal(&mut bytes);
    bytes
}

#[test]
fn decompressing_allocates_the_raw_size_and_no_more() {
    for raw_size in [100, 8002, 8003, 8004, 9000] {
        let bytes = claiming(raw_size);
        let record = Record::verify(&bytes, &Limits::HARD).unwrap();
        let mut scratch = Scratch::new();
        let (opened, allocated) = allocated_by(|| scratch.open(&record).is_ok());
        assert_eq!(opened, raw_size == 8003, "{raw_size}");
        assert_eq!(allocated.bytes, u64::from(raw_size));
        let (_, again) = allocated_by(|| scratch.open(&record).is_ok());
        assert_eq!(again.calls, 0, "the buffer is kept");
    }
}

#[test]
fn a_buffer_that_grows_grows_no_further_than_it_must() {
    let (small, large) = (claiming(5000), claiming(8003));
    let mut scratch = Scratch::new();
    let open = |bytes, scratch: &mut Scratch| {
        let record = Record::verify(bytes, &Limits::HARD).unwrap();
        allocated_by(|| scratch.open(&record).is_ok()).1.bytes
    };
    assert_eq!(open(&small, &mut scratch), 5000);
    assert_eq!(open(&large, &mut scratch), 8003);
}

#[test]
fn a_raw_size_over_the_cap_allocates_nothing() {
    let bytes = claiming(Limits::DEFAULT.raw_size_max + 1);
    let (refused, allocated) = allocated_by(|| Record::verify(&bytes, &Limits::DEFAULT).is_err());
    assert!(refused);
    assert_eq!(allocated.calls, 0);
}
