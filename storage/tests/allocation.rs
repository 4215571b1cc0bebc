//! After warm-up an append allocates nothing, nor does a read inside a known window.

mod support;
#[expect(unsafe_code, reason = "an allocator cannot be written without it")]
#[path = "../../protocol/tests/sys/mod.rs"]
mod sys;

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_storage::*;
use support::{Rig, dir, options, pool, record};
use sys::allocated_by;

fn allocations(action: impl FnOnce()) -> u64 {
    allocated_by(action).1.calls
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
    reader.walk(reader.earliest(), 1000, |place, _, _| places.push(place));
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
