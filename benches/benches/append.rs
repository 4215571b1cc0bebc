//! Shows that appending a record to a log costs the loop one copy and little else: appends with the pump and the submit
//! of a turn, to a memory log and to a synced log on the real disk, compared with copying the same bytes, and with
//! copying and checksumming them.
//!
//! `synced` counts the time inside the store's calls, which is what the loop pays; `synced_visible` counts until the
//! records are durable, which is what the publisher waits for.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use oyez_benches::{Corpus, Rig, is_smoke, records, verified};
use oyez_protocol::checksum::crc32c;
use oyez_protocol::limits::RECORD_HEADER_SIZE;
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::{BLOCK_BYTES, Durability, LogOptions, Read};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Messages in one pass, which is one turn.
const MESSAGES: usize = 1600;
/// Bytes of a message that is published alone.
const SINGLE_BYTES: usize = 200;
const TOPIC: &str = "bench/notifications";
/// A synced log keeps this much, so that the disk does not fill up.
const RETENTION_BYTES: u64 = 512 << 20;

/// The records of one pass.
struct Load<'a> {
    name: &'static str,
    records: Vec<Record<'a>>,
    bytes: usize,
}

impl<'a> Load<'a> {
    fn new(name: &'static str, encoded: &'a [Vec<u8>]) -> Self {
        let bytes = encoded.iter().map(Vec::len).sum();
        eprintln!(
            "append: {name}: {} bytes a record, {bytes} a pass",
            bytes / encoded.len()
        );
        Self {
            name,
            records: encoded.iter().map(|bytes| verified(bytes)).collect(),
            bytes,
        }
    }

    fn messages(&self) -> u64 {
        let counts = self.records.iter().map(|record| u64::from(record.count()));
        counts.sum()
    }
}

/// A log that takes passes, and its expected content.
struct Target {
    rig: Rig,
    log: LogId,
    passes: u64,
    end: Position,
}

impl Target {
    fn open(durability: Durability) -> Self {
        let options = LogOptions {
            retention_bytes: Some(RETENTION_BYTES),
            ..LogOptions::default()
        };
        let rig = Rig::open(&options);
        Self {
            log: rig.log(durability),
            rig,
            passes: 0,
            end: Position::default(),
        }
    }

    /// One turn with all records of the load.
    fn pass(&mut self, load: &Load<'_>) {
        self.end = self.rig.append(self.log, black_box(&load.records)).end;
        self.passes += 1;
    }

    /// Passes that each become visible before the next; returns the time inside the store's calls and the total time.
    fn visible_passes(&mut self, load: &Load<'_>, passes: u64) -> (Duration, Duration) {
        let (started, waited) = (Instant::now(), self.rig.waited);
        for _ in 0..passes {
            self.pass(load);
            self.rig.until_visible(self.log, self.end);
        }
        let all = started.elapsed();
        (all - (self.rig.waited - waited), all)
    }

    /// Panics unless every record was taken and the last one is there as it was published.
    fn check(&self, load: &Load<'_>) {
        // A filter on the command line has excluded this log.
        if self.passes == 0 {
            return;
        }
        let records = self.passes * load.records.len() as u64;
        assert_eq!(self.rig.store.stats().records_appended, records);
        let (last, mut place) = (load.records.last().expect("a record"), Vec::new());
        let head = self.passes * load.messages();
        let from = head - u64::from(last.count());
        let store = &self.rig.store;
        store.places(self.log, TOPIC, Offset::new(from), 2, &mut place);
        assert_eq!(place.len(), 1);
        assert_eq!(place[0].next.get(), head);
        let read = store
            .reader(self.log)
            .read(place[0].position, place[0].size);
        let Ok(Read::Ready(bytes)) = read else {
            panic!("the last record is at hand");
        };
        assert_eq!(
            bytes[RECORD_HEADER_SIZE..],
            last.bytes()[RECORD_HEADER_SIZE..]
        );
    }
}

/// Touched memory of the size that a memory log cycles through.
struct Floor(Vec<u8>);

impl Floor {
    fn new() -> Self {
        let block = usize::try_from(BLOCK_BYTES).expect("2 MiB");
        Self(vec![1; LogOptions::default().memory_blocks * block])
    }

    /// Copies every record to the next place, and passes it to `see`.
    fn copy(&mut self, at: &mut usize, load: &Load<'_>, mut see: impl FnMut(&[u8])) {
        for record in black_box(&load.records) {
            let bytes = record.bytes();
            if *at + bytes.len() > self.0.len() {
                *at = 0;
            }
            let place = &mut self.0[*at..*at + bytes.len()];
            place.copy_from_slice(bytes);
            see(place);
            *at += bytes.len();
        }
    }
}

fn bench_load(group: &mut BenchmarkGroup<'_, WallTime>, load: &Load<'_>) {
    group.throughput(Throughput::ElementsAndBytes {
        elements: load.records.len() as u64,
        bytes: load.bytes as u64,
    });
    let mut memory = Target::open(Durability::Memory);
    group.bench_function(BenchmarkId::new("memory", load.name), |bencher| {
        bencher.iter(|| memory.pass(load));
    });
    assert_eq!(memory.rig.store.visible(memory.log), memory.end);
    memory.check(load);
    let mut synced = Target::open(Durability::Synced);
    group.bench_function(BenchmarkId::new("synced", load.name), |bencher| {
        bencher.iter_custom(|passes| synced.visible_passes(load, passes).0);
    });
    group.bench_function(BenchmarkId::new("synced_visible", load.name), |bencher| {
        bencher.iter_custom(|passes| synced.visible_passes(load, passes).1);
    });
    synced.check(load);
    let (mut floor, mut at) = (Floor::new(), 0);
    group.bench_function(BenchmarkId::new("floor_memcpy", load.name), |bencher| {
        bencher.iter(|| floor.copy(&mut at, load, |place| _ = black_box(place)));
    });
    let id = BenchmarkId::new("floor_memcpy_crc32c", load.name);
    group.bench_function(id, |bencher| {
        bencher.iter(|| floor.copy(&mut at, load, |place| _ = black_box(crc32c(place))));
    });
}

fn bench(criterion: &mut Criterion) {
    let corpus = Corpus::notifications();
    let payloads = corpus.repeated(if is_smoke() { 1 } else { MESSAGES });
    eprintln!("append: {} messages of {}", payloads.len(), corpus.name);
    let short: Vec<&[u8]> = payloads
        .iter()
        .map(|payload| &payload[..SINGLE_BYTES.min(payload.len())])
        .collect();
    let batches = records(TOPIC, &payloads, 64);
    let singles = records(TOPIC, &short, 1);
    let mut group = criterion.benchmark_group("append");
    bench_load(&mut group, &Load::new("batch_64", &batches));
    bench_load(&mut group, &Load::new("single_200", &singles));
    group.finish();
}

fn main() {
    let mut criterion = oyez_benches::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}
