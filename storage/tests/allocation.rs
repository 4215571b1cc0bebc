//! After warm-up an append allocates nothing, nor does a read inside a known window.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_storage::*;
use support::{Rig, dir, options, pool, record};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator; the counter allocates nothing.
#[expect(unsafe_code, reason = "an allocator cannot be written without it")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The counter is gone only while the thread ends.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(action: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    action();
    ALLOCATIONS.get() - before
}

#[test]
fn an_append_to_a_known_topic_allocates_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let mut rig = Rig::open(
        &dir,
        Box::new(MemoryDisk::new()),
        &pool(8),
        &options(),
        1000,
    );
    let bytes = record("t", 1, &[1; 100]);
    let record = Record::verify(&bytes, &Limits::DEFAULT).expect("a sound record");
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        let log = rig.log(durability);
        // A topic's places are kept in a list that doubles: 1,100 records leave room for 900 more.
        for _ in 0..1100 {
            rig.append(log, &bytes);
        }
        let counted = allocations(|| {
            for _ in 0..900 {
                rig.store.append(log, &record, 1000).expect("there is room");
            }
        });
        assert_eq!(counted, 0, "{durability}");
    }
}

#[test]
fn reads_and_walks_of_the_same_block_allocate_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let mut rig = Rig::open(
        &dir,
        Box::new(MemoryDisk::new()),
        &pool(8),
        &options(),
        1000,
    );
    let log = rig.log(Durability::Memory);
    for _ in 0..1000 {
        rig.append(log, &record("t", 1, &[1; 100]));
    }
    let mut places = Vec::new();
    let mut reader = rig.store.reader(log);
    reader.walk(reader.earliest(), 1000, |place, _| places.push(place));
    assert_eq!(places.len(), 1000);
    let first = reader.read(places[0].position, places[0].size);
    assert!(matches!(first, Ok(Read::Ready(_))));
    let counted = allocations(|| {
        for place in &places {
            let read = reader.read(place.position, place.size);
            assert!(matches!(read, Ok(Read::Ready(_))));
        }
    });
    // `Bytes` makes its shared reference count when it is cloned for the first time.
    assert!(counted <= 1, "{counted}");
}
