//! A recovery that is interrupted at any point, and the one after it: no record is lost, and none is reported as lost.

mod support;

use std::sync::Arc;

use oyez_protocol::Position;
use oyez_storage::*;
use support::{Dice, Rig, SEGMENT, dir, options, pool, record};

const TOPIC: &str = "a/topic";
/// Number of ends of the process, each with another part of the last write.
const KILLS: u64 = 4;
/// More operations than a recovery has.
const OPERATIONS_MAX: u64 = 16;

/// A disk on which records that no mark covers lie at the end of one segment and at the beginning of the next one, both
/// without a footer, while the next one is being written; and how many records are acknowledged.
fn written_beyond_a_segment(data: &DataDir, pool: &Arc<ArenaPool>) -> (MemoryDisk, usize) {
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(data, Box::new(disk.clone()), pool, &options(), 1000);
    let log = rig.log(Durability::Synced);
    let large = record(TOPIC, 1, &vec![1; 200_000]);
    let (mut appended, mut end) = (0, Position::new(0));
    // Into the second of two blocks, so that the next segment is prepared.
    while end.get() < SEGMENT * 3 / 4 {
        end = rig.append(log, &large).end;
        appended += 1;
        rig.until_visible(log, end);
    }
    rig.now_ms += 10;
    rig.until("everything is written", |_| disk.held() == 0);
    // From here on nothing is written before it is in both segments.
    while end.get() < SEGMENT {
        end = rig.append(log, &large).end;
        appended += 1;
    }
    let acknowledged = appended - 1;
    rig.append(log, &record(TOPIC, 1, b"small"));
    for _ in 0..6 {
        rig.append(log, &large);
    }
    // The end of the first segment and its sync.
    disk.allow(Some(2));
    rig.until("the first segment is durable", |rig| {
        rig.store.visible(log).get() >= SEGMENT
    });
    rig.turn();
    (disk, acknowledged)
}

#[test]
fn a_recovery_that_is_interrupted_anywhere_loses_no_record() {
    let temp = tempfile::tempdir().expect("a directory");
    let (data, _lock) = dir(temp.path());
    let pool = pool(64);
    let mut dice = Dice::of(1);
    let mut interrupted = 0;
    for kill in 0..KILLS {
        for operations in 0..OPERATIONS_MAX {
            let (disk, acknowledged) = written_beyond_a_segment(&data, &pool);
            let disk = disk.kill(dice.roll(1 << 30));
            disk.allow(Some(operations));
            let first = Rig::try_open(&data, Box::new(disk.clone()), &pool, &options(), 2000);
            interrupted += u64::from(first.is_err());
            drop(first);
            let disk = disk.kill(dice.roll(1 << 30));
            let mut rig = Rig::open(&data, Box::new(disk), &pool, &options(), 3000);
            let report = rig.report(Durability::Synced).clone();
            let what = format!("kill {kill}, interrupted after {operations}: {report:?}");
            assert!(report.gaps.is_empty() && !report.epoch_changed, "{what}");
            let found = rig.dump(rig.log(Durability::Synced));
            let is_whole = (0..).zip(&found).all(|(offset, record)| record.1 == offset);
            assert!(found.len() >= acknowledged && is_whole, "{what}");
        }
    }
    assert!(
        interrupted > KILLS && interrupted < KILLS * OPERATIONS_MAX,
        "{interrupted} interrupted"
    );
}
