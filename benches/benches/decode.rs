//! Shows that accepting a published record costs the broker little more than its checksum: decoding and verifying frames,
//! compared with one bare CRC-32C over each record.

use criterion::{BenchmarkId, Criterion, Throughput};
use oyez_benches::{Corpus, is_smoke};
use oyez_protocol::checksum::crc32c;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;
use oyez_protocol::{Decoded, Frame, decode};
use std::hint::black_box;

/// Messages in one pass over the stream; some 1 MB raw.
const MESSAGES: usize = 1600;

/// A stream of records with `batch` messages each.
struct Stream {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    messages: u64,
}

impl Stream {
    fn new(payloads: &[&[u8]], batch: usize) -> Self {
        let mut builder =
            RecordBuilder::new("bench/notifications", Limits::DEFAULT).expect("a topic");
        let (mut bytes, mut scratch, mut sizes) = (Vec::new(), Scratch::new(), Vec::new());
        for payloads in payloads.chunks(batch) {
            for payload in payloads {
                let pushed = builder.push(&MessageRef::new(payload));
                pushed.expect("a batch fits into a record");
            }
            let start = bytes.len();
            scratch.finish(&mut builder, 0, &mut bytes);
            sizes.push(bytes.len() - start);
        }
        Self {
            bytes,
            sizes,
            messages: payloads.len() as u64,
        }
    }

    /// Decodes the whole stream; panics unless every message was there.
    fn decode(&self) {
        let (mut rest, mut records, mut messages) = (&self.bytes[..], 0, 0);
        while !rest.is_empty() {
            let Ok(Decoded::Frame { frame, size }) = decode(rest, &Limits::DEFAULT) else {
                panic!("the stream is made of whole records");
            };
            let Frame::Record(record) = frame else {
                panic!("the stream is made of records");
            };
            records += 1;
            messages += u64::from(black_box(record).count());
            rest = &rest[size..];
        }
        assert_eq!((records, messages), (self.sizes.len(), self.messages));
    }

    /// The floor: the checksums alone.
    fn checksum(&self) -> u32 {
        let mut rest = &self.bytes[..];
        let crc = |sum, size: &usize| {
            let (record, behind) = rest.split_at(*size);
            rest = behind;
            sum ^ crc32c(record)
        };
        self.sizes.iter().fold(0, crc)
    }
}

fn bench(criterion: &mut Criterion) {
    let corpus = Corpus::notifications();
    let payloads = corpus.repeated(if is_smoke() { 1 } else { MESSAGES });
    eprintln!("decode: {} messages of {}", payloads.len(), corpus.name);
    let mut group = criterion.benchmark_group("decode");
    for batch in [1, 16, 64] {
        let stream = Stream::new(&payloads, batch);
        let size = stream.bytes.len() as u64;
        eprintln!(
            "decode: batch {batch}: {} bytes a record",
            size / stream.sizes.len() as u64
        );
        group.throughput(Throughput::ElementsAndBytes {
            elements: stream.sizes.len() as u64,
            bytes: size,
        });
        group.bench_function(BenchmarkId::new("verify", batch), |bencher| {
            bencher.iter(|| black_box(&stream).decode());
        });
        group.bench_function(BenchmarkId::new("floor_crc32c", batch), |bencher| {
            bencher.iter(|| black_box(&stream).checksum());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = oyez_benches::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}
