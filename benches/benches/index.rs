//! Shows that a subscription finds its place at once however many topics there are: `locate` and `places` in a log with
//! 1, 1,000 and 100,000 topics, in segments being written and in sealed ones, compared with a look-up of the same names
//! in a `HashMap`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use oyez_benches::{Random, Rig, is_smoke, records, verified};
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::{Durability, LogOptions, Place, StartAt};
use std::collections::HashMap;
use std::hint::black_box;

/// Names asked for in one pass.
const LOOKUPS: usize = 1000;
/// Places that a catch-up asks for at once.
const PLACES: usize = 128;
/// A segment that takes all records, and one that takes less than a fifth of them.
const SEGMENT_UNSEALED: u64 = 64 << 20;
const SEGMENT_SEALED: u64 = 4 << 20;
const SEED: u64 = 0x0e2e_55ee_d000_0002;

/// How a log is filled: `topics` take turns until there are `records`, of one message each.
#[derive(Clone, Copy)]
struct Shape {
    topics: usize,
    records: usize,
    payload: usize,
    sealed: bool,
}

impl Shape {
    /// Some 27 MB in records; the smoke size has as many bytes and less than a hundredth of the records.
    fn new(topics: usize, sealed: bool) -> Self {
        let (records, payload) = if is_smoke() {
            (1000, 25_000)
        } else {
            (200_000, 64)
        };
        Self {
            topics,
            records,
            payload,
            sealed,
        }
    }

    fn rounds(&self) -> usize {
        self.records / self.topics
    }

    fn name(&self) -> String {
        let kind = if self.sealed { "sealed" } else { "unsealed" };
        format!("{kind}/{}", self.topics)
    }
}

/// A filled log.
struct Filled {
    shape: Shape,
    rig: Rig,
    log: LogId,
    /// Names in a random order, against caches.
    names: Vec<String>,
    visible: Position,
}

impl Filled {
    fn new(shape: Shape) -> Self {
        let segment_bytes = if shape.sealed {
            SEGMENT_SEALED
        } else {
            SEGMENT_UNSEALED
        };
        let options = LogOptions {
            segment_bytes,
            ..LogOptions::default()
        };
        let mut names: Vec<_> = (0..shape.topics)
            .map(|topic| format!("bench/topic/{topic:06}"))
            .collect();
        let payload = noise(shape.payload);
        let encode = |name: &String| records(name, &[&payload], 1).swap_remove(0);
        let encoded: Vec<Vec<u8>> = names.iter().map(encode).collect();
        let round: Vec<Record<'_>> = encoded.iter().map(|bytes| verified(bytes)).collect();
        let all: Vec<_> = round.iter().cycle().take(shape.records).copied().collect();
        let mut rig = Rig::open(&options);
        let log = rig.log(Durability::Synced);
        let end = rig.append(log, &all).end;
        rig.until_visible(log, end);
        if shape.sealed {
            rig.drain();
        }
        check_segments(&rig, shape.sealed);
        shuffle(&mut names);
        let visible = rig.store.visible(log);
        Self {
            shape,
            rig,
            log,
            names,
            visible,
        }
    }

    /// Looks up the start of a new subscription.
    fn locate_latest<'a>(&self, names: impl Iterator<Item = &'a String>) -> u64 {
        let locate = |name| {
            let store = &self.rig.store;
            let found = store.locate(self.log, name, StartAt::Latest, self.visible);
            found.cursor.get()
        };
        names.map(|name| locate(black_box(name))).sum()
    }

    /// Looks up the places for the catch-up of a subscription in the middle of the kept messages.
    fn places<'a>(&self, names: impl Iterator<Item = &'a String>, out: &mut Vec<Place>) -> usize {
        let from = Offset::new(self.shape.rounds() as u64 / 2);
        let mut count = |name| {
            out.clear();
            self.rig.store.places(self.log, name, from, PLACES, out);
            assert_eq!(out[0].first, from);
            out.len()
        };
        names.map(|name| count(black_box(name))).sum()
    }
}

/// Panics unless the segments are of the kind that is to be measured.
fn check_segments(rig: &Rig, sealed: bool) {
    let log = rig.path().join("synced-0");
    let files = std::fs::read_dir(log).expect("the log's directory");
    let footers = files
        .filter_map(Result::ok)
        .filter(|file| file.path().extension().is_some_and(|kind| kind == "idx"))
        .count() as u64;
    if sealed {
        assert!(footers >= 5 && rig.store.stats().segments <= footers + 2);
    } else {
        assert_eq!(footers, 0);
    }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(SEED);
    let byte = |_| u8::try_from(random.below(256)).expect("below 256");
    (0..bytes).map(byte).collect()
}

fn shuffle(names: &mut [String]) {
    let mut random = Random::new(SEED);
    for last in (1..names.len()).rev() {
        let other = random.below(last as u64 + 1);
        names.swap(last, usize::try_from(other).expect("a place in the list"));
    }
}

fn bench_shape(group: &mut BenchmarkGroup<'_, WallTime>, shape: Shape) {
    let filled = Filled::new(shape);
    let (rounds, name) = (shape.rounds(), shape.name());
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    let mut names = filled.names.iter().cycle();
    let id = BenchmarkId::new("locate_latest", &name);
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let heads = filled.locate_latest(names.by_ref().take(LOOKUPS));
            assert_eq!(heads, (LOOKUPS * rounds) as u64);
        });
    });
    let mut out = Vec::with_capacity(PLACES);
    let expected = LOOKUPS * PLACES.min(rounds - rounds / 2);
    group.bench_function(BenchmarkId::new("places_128", &name), |bencher| {
        bencher.iter(|| {
            let places = filled.places(names.by_ref().take(LOOKUPS), &mut out);
            assert_eq!(places, expected);
        });
    });
    let heads = |name: &String| (name.clone(), rounds as u64);
    let map: HashMap<String, u64> = filled.names.iter().map(heads).collect();
    group.bench_function(BenchmarkId::new("floor_hashmap", &name), |bencher| {
        bencher.iter(|| {
            let names = names.by_ref().take(LOOKUPS);
            let heads: u64 = names.map(|name| map[black_box(name.as_str())]).sum();
            assert_eq!(heads, (LOOKUPS * rounds) as u64);
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    let topics = if is_smoke() {
        [1, 10, 100]
    } else {
        [1, 1000, 100_000]
    };
    for topics in topics {
        for sealed in [false, true] {
            bench_shape(&mut group, Shape::new(topics, sealed));
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = oyez_benches::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}
