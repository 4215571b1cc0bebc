//! Shows that building the input of a send costs next to nothing: chains of 1, 16 and 64 records, adjacent and with records
//! of another topic in between, and the `IoSlice`s of their parts, compared with making as many `IoSlice`s of given slices.
//! Also the walk over the headers that finds the records, compared with reading their sizes alone.
//!
//! `build` is a chain after the first of a turn, when the reader knows the block; `first_of_turn` is that first one.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use oyez_benches::{Corpus, Rig, is_smoke, records, verified};
use oyez_broker::bench::{Chain, PARTS_MAX};
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::{BLOCK_HEADER_SIZE, Durability, LogOptions, LogReader, Place, Read};
use std::hint::black_box;
use std::io::IoSlice;

/// Records of each topic; the longest chain takes them all.
const RECORDS: usize = 64;
const MESSAGE_BYTES: usize = 200;
/// Records that are walked; they lie in one block.
const WALKED: usize = 4096;

/// The first bytes of `count` payloads.
fn payloads(corpus: &Corpus, count: usize) -> Vec<&[u8]> {
    let all = corpus.repeated(count).into_iter().take(count);
    all.map(|payload| &payload[..MESSAGE_BYTES.min(payload.len())])
        .collect()
}

/// A memory log with adjacent records and records that are not adjacent.
struct Filled {
    rig: Rig,
    log: LogId,
}

impl Filled {
    fn new() -> Self {
        let corpus = Corpus::notifications();
        eprintln!("chain: {MESSAGE_BYTES} bytes each of {}", corpus.name);
        let payloads = payloads(&corpus, RECORDS);
        let together = records("bench/together", &payloads, 1);
        let apart = records("bench/apart", &payloads, 1);
        let other = records("bench/other", &payloads, 1);
        let mut rig = Rig::open(&LogOptions::default());
        let log = rig.log(Durability::Memory);
        let between = apart.iter().zip(&other).flat_map(|(one, two)| [one, two]);
        let all: Vec<_> = together
            .iter()
            .chain(between)
            .map(|bytes| verified(bytes))
            .collect();
        rig.append(log, &all);
        Self { rig, log }
    }

    fn places(&self, topic: &str, count: usize) -> Vec<Place> {
        let mut places = Vec::new();
        let store = &self.rig.store;
        store.places(self.log, topic, Offset::new(0), count, &mut places);
        assert_eq!(places.len(), count);
        places
    }

    fn reader(&self) -> LogReader {
        self.rig.store.reader(self.log)
    }
}

/// Builds the chain; panics unless it has all `places`.
fn build(chain: &mut Chain, reader: &mut LogReader, topic: &str, places: &[Place]) {
    let built = chain.build(reader, topic, black_box(places).iter().copied());
    assert_eq!(built, places.len() as u64, "everything is in the arena");
}

/// The parts as a send takes them; returns their number.
fn slices<T: AsRef<[u8]>>(parts: &[T]) -> usize {
    let mut slices = [IoSlice::new(&[]); PARTS_MAX];
    for (slice, part) in slices.iter_mut().zip(black_box(parts)) {
        *slice = IoSlice::new(part.as_ref());
    }
    black_box(&slices[..parts.len()]).len()
}

fn bench_chain(group: &mut BenchmarkGroup<'_, WallTime>, filled: &Filled, topic: &str) {
    let kind = topic.rsplit('/').next().expect("a last level");
    for count in [1, 16, RECORDS] {
        let places = filled.places(topic, count);
        let bytes: usize = places.iter().map(|place| place.size as usize).sum();
        let (mut reader, mut chain) = (filled.reader(), Chain::default());
        build(&mut chain, &mut reader, topic, &places);
        let parts = if kind == "together" { 1 } else { count };
        assert_eq!((chain.parts().len(), chain.bytes()), (parts, bytes));
        let id = |what: &str| BenchmarkId::new(format!("{what}/{kind}"), count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(id("build"), |bencher| {
            bencher.iter(|| build(&mut chain, &mut reader, topic, &places));
        });
        group.bench_function(id("first_of_turn"), |bencher| {
            bencher.iter(|| {
                chain.clear();
                reader.release();
                build(&mut chain, &mut reader, topic, &places);
            });
        });
        group.bench_function(id("slices"), |bencher| {
            bencher.iter(|| assert_eq!(slices(chain.parts()), parts));
        });
        let at_hand: Vec<&[u8]> = chain.parts().iter().map(AsRef::as_ref).collect();
        group.bench_function(id("floor_slices"), |bencher| {
            bencher.iter(|| assert_eq!(slices(&at_hand), parts));
        });
    }
}

/// Reads the sizes of the frames; returns the number of frames.
fn sizes(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while let Some(size) = bytes.first_chunk() {
        bytes = &bytes[u32::from_le_bytes(*size) as usize..];
        frames += 1;
    }
    frames
}

fn bench_walk(group: &mut BenchmarkGroup<'_, WallTime>) {
    let count = if is_smoke() { RECORDS } else { WALKED };
    let corpus = Corpus::notifications();
    let encoded = records("bench/walked", &payloads(&corpus, count), 1);
    let all: Vec<_> = encoded.iter().map(|bytes| verified(bytes)).collect();
    let mut rig = Rig::open(&LogOptions::default());
    let log = rig.log(Durability::Memory);
    let end = rig.append(log, &all).end;
    let mut reader = rig.store.reader(log);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new("walk", count), |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            let to = reader.walk(Position::new(0), count, |place, topic, _| {
                bytes += place.size as usize + black_box(topic).len();
            });
            assert_eq!(to, end);
            bytes
        });
    });
    let start = Position::new(BLOCK_HEADER_SIZE as u64);
    let size = u32::try_from(end.get() - start.get()).expect("less than a block");
    let Ok(Read::Ready(bytes)) = reader.read(start, size) else {
        panic!("everything is in the arena");
    };
    group.bench_function(BenchmarkId::new("floor_sizes", count), |bencher| {
        bencher.iter(|| assert_eq!(sizes(black_box(&bytes)), count));
    });
}

fn bench(criterion: &mut Criterion) {
    let filled = Filled::new();
    let mut group = criterion.benchmark_group("chain");
    bench_chain(&mut group, &filled, "bench/together");
    bench_chain(&mut group, &filled, "bench/apart");
    bench_walk(&mut group);
    group.finish();
}

fn main() {
    let mut criterion = oyez_benches::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}
