//! Supports the decision to compress in the publisher and to batch: the cost and the savings of LZ4 for records of 1, 16
//! and 64 messages, compared with copying the same raw bytes.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use oyez_benches::{Corpus, is_smoke, records, verified};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Record, RecordBuilder};
use std::hint::black_box;

/// Messages in one pass; some 1 MB raw.
const MESSAGES: usize = 1600;
const TOPIC: &str = "bench/notifications";

fn builder() -> RecordBuilder {
    RecordBuilder::new(TOPIC, Limits::DEFAULT).expect("a topic")
}

fn fill(builder: &mut RecordBuilder, payloads: &[&[u8]]) {
    for payload in payloads {
        let pushed = builder.push(&MessageRef::new(payload));
        pushed.expect("a batch fits into a record");
    }
}

/// Builds the records of all `payloads`, each into the same buffer, and returns the bytes of all.
fn compress(payloads: &[&[u8]], batch: usize, scratch: &mut Scratch, out: &mut Vec<u8>) -> usize {
    let (mut builder, mut bytes) = (builder(), 0);
    for payloads in payloads.chunks(batch) {
        fill(&mut builder, payloads);
        out.clear();
        scratch.finish(&mut builder, 0, out);
        bytes += out.len();
    }
    bytes
}

/// Opens every record and reads its messages; returns their number.
fn decompress(records: &[Record<'_>], scratch: &mut Scratch) -> usize {
    let read = |record: &Record<'_>| {
        let raw = scratch.open(record).expect("a built block decompresses");
        Messages::new(raw, record.count())
            .flatten()
            .inspect(|message| {
                black_box(message.payload);
            })
            .count()
    };
    records.iter().map(read).sum()
}

fn bench_batch(group: &mut BenchmarkGroup<'_, WallTime>, payloads: &[&[u8]], batch: usize) {
    let raw: usize = payloads.iter().map(|payload| payload.len()).sum();
    let encoded = records(TOPIC, payloads, batch);
    let wire: usize = encoded.iter().map(Vec::len).sum();
    let ratio = wire as f64 / raw as f64;
    eprintln!("block_codec: batch {batch}: {raw} raw, {wire} on the wire with headers: {ratio:.3}");
    group.throughput(Throughput::ElementsAndBytes {
        elements: payloads.len() as u64,
        bytes: raw as u64,
    });
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    group.bench_function(BenchmarkId::new("compress", batch), |bencher| {
        bencher.iter(|| {
            let bytes = compress(black_box(payloads), batch, &mut scratch, &mut out);
            assert_eq!(bytes, wire);
        });
    });
    let views: Vec<_> = encoded.iter().map(|bytes| verified(bytes)).collect();
    group.bench_function(BenchmarkId::new("decompress", batch), |bencher| {
        bencher.iter(|| {
            assert_eq!(decompress(black_box(&views), &mut scratch), payloads.len());
        });
    });
    group.bench_function(BenchmarkId::new("floor_memcpy", batch), |bencher| {
        bencher.iter(|| {
            for payloads in black_box(payloads).chunks(batch) {
                out.clear();
                payloads
                    .iter()
                    .for_each(|payload| out.extend_from_slice(payload));
                black_box(&out);
            }
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let corpus = Corpus::notifications();
    let payloads = corpus.repeated(if is_smoke() { 1 } else { MESSAGES });
    eprintln!(
        "block_codec: {} messages of {}",
        payloads.len(),
        corpus.name
    );
    let mut group = criterion.benchmark_group("block_codec");
    for batch in [1, 16, 64] {
        bench_batch(&mut group, &payloads, batch);
    }
    group.finish();
}

fn main() {
    let mut criterion = oyez_benches::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}
