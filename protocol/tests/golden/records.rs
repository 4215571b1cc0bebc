//! Records, blocks and messages.

use crate::{bytes_of, hex_of};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{Headers, MessageRef, Messages, write_headers};
use oyez_protocol::record::{Codec, Extra, Record, RecordBuilder, Stamp, stamp};
use oyez_protocol::{LogId, Offset, Sequence};

const STAMP: Stamp = Stamp {
    offset: Offset::new(1000),
    sequence: Sequence::new(77),
    log: LogId::new(3),
    timestamp_ms: 1_700_000_000_000,
    incarnation: 2,
};

fn builder() -> RecordBuilder {
    RecordBuilder::new("demo", Limits::DEFAULT).unwrap()
}

const STORED: &str = "\
         40 00 00 00 01 00 01 00   82 81 5a 31 06 00 00 00
         04 00 06 00 00 00 00 00   09 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 14 68 65 6c   6c 6f 00 00 00 00 00 00
        ";

#[test]
fn stored_record() {
    let (mut builder, mut encoded) = (builder(), Vec::new());
    builder.push(&MessageRef::new(b"hello")).unwrap();
    builder.finish_stored(9, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(STORED)));
    let bytes = bytes_of(STORED);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert_eq!(
        (record.topic(), record.count(), record.codec()),
        ("demo", 1, Codec::Stored)
    );
    assert_eq!(
        (record.raw_size(), record.block(), record.correlation()),
        (6, &b"\x14hello"[..], 9)
    );
    assert_eq!(record.extras().count(), 0);
}

#[test]
fn stamped_record() {
    let hex = "\
         40 00 00 00 01 00 01 00   82 81 5a 31 06 00 00 00
         04 00 06 00 54 8b 03 e4   e8 03 00 00 00 00 00 00
         4d 00 00 00 00 00 03 00   00 68 e5 cf 8b 01 02 00
         64 65 6d 6f 14 68 65 6c   6c 6f 00 00 00 00 00 00
        ";
    let mut stamped = bytes_of(STORED);
    stamp(&mut stamped, &STAMP);
    assert_eq!(hex_of(&stamped), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify_stamped(&bytes, &Limits::DEFAULT).unwrap();
    let read = Stamp {
        offset: record.offset(),
        sequence: record.sequence(),
        log: record.log(),
        timestamp_ms: record.timestamp_ms(),
        incarnation: record.incarnation(),
    };
    assert_eq!(read, STAMP);
}

#[test]
fn record_with_extras_and_every_part_of_a_message() {
    let hex = "\
         70 00 00 00 01 00 02 00   bf 84 1e c1 20 00 00 00
         04 03 04 00 00 00 00 00   ff ff ff ff ff ff ff ff
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 81 03 61 62   63 00 00 00 ff 07 31 32
         33 34 35 36 37 00 00 00   00 00 00 00 17 06 75 73
         65 72 2d 31 02 04 74 79   70 65 04 6e 6f 74 65 05
         65 6d 70 74 79 00 68 65   6c 6c 6f 00 00 00 00 00
        ";
    let (mut builder, mut encoded, mut headers) = (builder(), Vec::new(), Vec::new());
    write_headers(&[(b"type", b"note"), (b"empty", b"")], &mut headers);
    let message = MessageRef {
        key: Some(b"user-1"),
        headers: Headers::parse(&headers).unwrap(),
        payload: b"hello",
    };
    let extras = [
        Extra {
            kind: 0x81,
            value: b"abc",
        },
        Extra {
            kind: 0xff,
            value: b"1234567",
        },
    ];
    for extra in extras {
        builder.push_extra(extra).unwrap();
    }
    builder.push(&message).unwrap();
    builder.push(&MessageRef::new(b"")).unwrap();
    builder.finish_stored(u64::MAX, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert!(record.extras().eq(extras));
    let messages: Vec<_> = Messages::new(record.block(), record.count())
        .map(Result::unwrap)
        .collect();
    assert_eq!(messages, [message, MessageRef::new(b"")]);
}

/// Two messages of 40 times `a`: `a0 01` is their length of 40 shifted by two.
#[test]
fn lz4_record() {
    let hex = "\
         48 00 00 00 01 01 02 00   a3 cd 83 4d 54 00 00 00
         04 00 03 00 00 00 00 00   01 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00
         64 65 6d 6f 3f a0 01 61   01 00 14 0f 2a 00 12 50
         61 61 61 61 61 00 00 00
        ";
    let block = bytes_of(
        "\
         3f a0 01 61 01 00 14 0f   2a 00 12 50 61 61 61 61
         61
        ",
    );
    let (mut builder, mut encoded) = (builder(), Vec::new());
    for _ in 0..2 {
        builder.push(&MessageRef::new(&[b'a'; 40])).unwrap();
    }
    builder.finish(1, Codec::Lz4, &block, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)));
    let bytes = bytes_of(hex);
    let record = Record::verify(&bytes, &Limits::DEFAULT).unwrap();
    assert_eq!(
        (record.codec(), record.raw_size(), record.count()),
        (Codec::Lz4, 84, 2)
    );
    let mut scratch = Scratch::new();
    let raw = scratch.open(&record).unwrap();
    let payloads: Vec<_> = Messages::new(raw, 2)
        .map(|message| message.unwrap().payload)
        .collect();
    assert_eq!(payloads, [&[b'a'; 40], &[b'a'; 40]]);
}
