//! The block codec: any bytes as an LZ4 block that lies about its size, and as messages that must come back.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Record, RecordBuilder};

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<4>() else {
        return;
    };
    let number = u32::from_le_bytes(*head);
    if !rest.is_empty() {
        decompress(rest, number);
    }
    round_trip(rest, 1 + number as usize % 300);
});

/// `block` as the block of a record that claims `raw_size` bytes.
fn decompress(block: &[u8], raw_size: u32) {
    let mut bytes = vec![0; 48];
    bytes[4..7].copy_from_slice(&[1, 1, 1]);
    bytes[12..16].copy_from_slice(&raw_size.to_le_bytes());
    bytes[16] = 1;
    bytes.push(b't');
    bytes.extend_from_slice(block);
    let size = bytes.len().next_multiple_of(8);
    bytes[18] = (size - bytes.len()) as u8;
    bytes.resize(size, 0);
    bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
    support::reseal(&mut bytes);
    let Ok(record) = Record::verify(&bytes, &Limits::DEFAULT) else {
        return;
    };
    if let Ok(raw) = Scratch::new().open(&record) {
        assert_eq!(raw.len(), raw_size as usize);
        let _ = Messages::new(raw, 1).count();
    }
}

/// `input`, cut into payloads of `size` bytes, through a record and back.
fn round_trip(input: &[u8], size: usize) {
    let Ok(mut builder) = RecordBuilder::new("t", Limits::DEFAULT) else {
        unreachable!("the name is a topic");
    };
    let payloads: Vec<_> = input.chunks(size).collect();
    let fits = payloads
        .iter()
        .all(|payload| builder.push(&MessageRef::new(payload)).is_ok());
    if !fits || payloads.is_empty() {
        return;
    }
    let (mut bytes, mut scratch) = (Vec::new(), Scratch::new());
    scratch.finish(&mut builder, 0, &mut bytes);
    let record = Record::verify(&bytes, &Limits::DEFAULT).expect("a built record is accepted");
    let raw = scratch.open(&record).expect("a built block decompresses");
    let messages = Messages::new(raw, record.count());
    let read: Vec<_> = messages
        .map(|message| message.map(|message| message.payload))
        .collect();
    assert!(
        read.iter()
            .map(|payload| payload.as_ref())
            .eq(payloads.iter().map(Ok))
    );
}
