//! What the memory disk does at a given pace, by chance, and to what lies still.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sys::arena::{ArenaOptions, ArenaPool};

const SIZE: u64 = 64 << 10;

/// A paced disk with a file of zeroes, and bytes to write.
struct Rig {
    disk: MemoryDisk,
    file: FileId,
    pool: Arc<ArenaPool>,
}

fn path() -> &'static Path {
    Path::new("/log/segment")
}

impl Rig {
    fn new() -> Self {
        let mut disk = MemoryDisk::new();
        disk.replace(path(), &vec![0; SIZE as usize]);
        disk.set_paced(true);
        let file = disk.open(path()).expect("it is there").file;
        let few = ArenaOptions {
            blocks_max: 8,
            blocks_ready: 1,
        };
        let pool = ArenaPool::new(&few).expect("an arena");
        Self { disk, file, pool }
    }

    fn bytes(&self, len: usize, value: u8) -> BlockRange {
        let mut writer = self.pool.take_waiting().expect("a block");
        writer.append(len, |bytes| bytes.fill(value));
        BlockRange::new(Arc::clone(writer.block()), 0..len)
    }

    /// Hands over a write of bytes that all have the value of its token.
    fn write(&mut self, token: u8, at: u64, len: usize, sync: WriteSync) {
        let bytes = self.bytes(len, token);
        self.disk.write(token.into(), self.file, at, bytes, sync);
        self.disk.submit().expect("a submission");
    }

    fn sync(&mut self, token: u64) {
        self.disk.sync(token, self.file);
        self.disk.submit().expect("a submission");
    }

    /// Advances until the next step is one that is looked for.
    fn advance_to(&self, step: OpKind, stage: OpStage) {
        for choice in 0..100 {
            let advanced = self.disk.advance(choice).expect("something may be next");
            if advanced.step == step {
                assert_eq!(advanced.stage, stage);
                return;
            }
        }
        panic!("it never came");
    }

    /// Performs everything; returns the steps.
    fn finish(&self, seed: u64) -> Vec<Advanced> {
        let mut dice = Dice(seed);
        std::iter::from_fn(|| self.disk.advance(dice.roll(usize::MAX) as u64)).collect()
    }

    fn reap(&mut self) -> Vec<(u64, String)> {
        let mut done = Vec::new();
        self.disk.reap(&mut done);
        let told = done.iter().map(|c| (c.token, format!("{:?}", c.outcome)));
        told.collect()
    }

    fn first_byte_after_crash(&self, seed: u64) -> u8 {
        self.disk.crash(seed).content(path()).expect("it is there")[0]
    }
}

fn tokens(done: &[(u64, String)]) -> Vec<u64> {
    done.iter().map(|(token, _)| *token).collect()
}

#[test]
fn a_paced_disk_does_nothing_by_itself() {
    let mut rig = Rig::new();
    rig.write(1, 0, 512, WriteSync::File);
    assert_eq!(rig.reap(), []);
    assert_eq!((rig.disk.pending(), rig.disk.has_completions()), (3, false));
    let mut trace = rig.finish(1).into_iter().map(|step| step.to_string());
    assert_eq!(trace.next().as_deref(), Some("write /log/segment: done"));
    assert_eq!(trace.next().as_deref(), Some("sync /log/segment: started"));
    assert_eq!(trace.next().as_deref(), Some("sync /log/segment: done"));
    assert_eq!(trace.next(), None);
    assert_eq!((rig.disk.pending(), rig.disk.has_completions()), (0, true));
    assert_eq!(tokens(&rig.reap()), [1, 1]);
    assert!(!rig.disk.has_completions());
}

/// Every order in which operations end, over many seeds.
fn orders(mut hand_over: impl FnMut(&mut Rig)) -> BTreeSet<Vec<u64>> {
    let order = |seed| {
        let mut rig = Rig::new();
        hand_over(&mut rig);
        let mut dice = Dice(seed);
        let mut order = Vec::new();
        while rig.disk.advance(dice.roll(usize::MAX) as u64).is_some() {
            order.extend(tokens(&rig.reap()));
        }
        order
    };
    (0..200).map(order).collect()
}

#[test]
fn writes_to_one_file_and_the_housekeepers_work_keep_to_their_order() {
    let found = orders(|rig| {
        rig.write(1, 0, 512, WriteSync::Range);
        rig.write(2, 512, 512, WriteSync::None);
        rig.disk.prepare(3, "/log/next".into(), SIZE);
        rig.disk.unlink(4, vec!["/log/next".into()]);
    });
    let all = [
        [1, 2, 3, 4],
        [1, 3, 2, 4],
        [1, 3, 4, 2],
        [3, 1, 2, 4],
        [3, 1, 4, 2],
        [3, 4, 1, 2],
    ];
    assert_eq!(found, all.map(Vec::from).into());
}

#[test]
fn syncs_and_populates_end_in_any_order() {
    let found = orders(|rig| {
        let map = Disk::map(&mut rig.disk, path()).expect("it is there");
        rig.write(1, 0, 512, WriteSync::File);
        rig.write(2, 512, 512, WriteSync::None);
        rig.disk.populate(3, map, 0..4096);
        rig.disk.submit().expect("a submission");
    });
    // The second write comes after the first one, and before or after the sync of that.
    assert_eq!(found.len(), 2 * 4, "{found:?}");
}

#[test]
fn the_housekeeper_begins_before_the_submission_and_is_reaped_last() {
    let mut rig = Rig::new();
    let bytes = rig.bytes(512, 1);
    let file = rig.file;
    rig.disk.write(1, file, 0, bytes, WriteSync::None);
    rig.disk.put(2, "/log/state".into(), Box::new(|| vec![1]));
    let steps: Vec<_> = rig.finish(0).iter().map(|step| step.step).collect();
    assert_eq!(steps, [OpKind::Put]);
    rig.disk.submit().expect("a submission");
    rig.finish(0);
    assert_eq!(tokens(&rig.reap()), [1, 2]);
}

#[test]
fn a_short_write_cancels_its_sync() {
    let mut rig = Rig::new();
    rig.disk.fail_next(OpKind::Write, Fault::Short(100));
    rig.write(1, 0, 512, WriteSync::File);
    let steps = rig.finish(0);
    let stages: Vec<_> = steps.iter().map(|step| step.stage).collect();
    let cancelled = OpStage::Failed(Some(libc::ECANCELED));
    assert_eq!(stages, [OpStage::Short(100), cancelled]);
    assert!(steps[1].has_failed() && !steps[0].has_failed());
}

#[test]
fn a_sync_makes_durable_what_was_there_when_it_started_and_nothing_newer() {
    let mut seen = BTreeSet::new();
    for seed in 0..32 {
        let mut rig = Rig::new();
        rig.write(1, 0, 512, WriteSync::None);
        rig.finish(0);
        rig.sync(9);
        rig.advance_to(OpKind::Sync, OpStage::Started);
        rig.disk.hold(OpKind::Sync);
        rig.write(2, 0, 512, WriteSync::None);
        rig.finish(0);
        rig.disk.lift(OpKind::Sync);
        rig.advance_to(OpKind::Sync, OpStage::Done);
        seen.insert(rig.first_byte_after_crash(seed));
    }
    assert_eq!(seen, [1, 2].into());
}

#[test]
fn a_sync_that_ends_late_takes_nothing_back() {
    for seed in 0..32 {
        let mut rig = Rig::new();
        rig.write(1, 0, 512, WriteSync::None);
        rig.finish(0);
        rig.sync(9);
        rig.advance_to(OpKind::Sync, OpStage::Started);
        rig.disk.hold(OpKind::Sync);
        rig.write(2, 0, 256, WriteSync::None);
        rig.finish(0);
        rig.disk.lift(OpKind::Sync);
        // What a newer sync made durable stays so, when the older one ends as well.
        rig.sync(10);
        rig.finish(seed);
        rig.write(3, 0, 100, WriteSync::None);
        rig.finish(seed);
        assert_ne!(rig.first_byte_after_crash(seed), 1, "seed {seed}");
    }
}

#[test]
fn an_unpaced_sync_that_is_held_up_covers_what_it_has_noted() {
    let mut seen = BTreeSet::new();
    for seed in 0..32 {
        let mut rig = Rig::new();
        rig.disk.set_paced(false);
        rig.write(1, 0, 512, WriteSync::None);
        rig.disk.allow(Some(0));
        rig.sync(9);
        rig.disk.allow(None);
        rig.disk.hold(OpKind::Sync);
        rig.write(2, 0, 512, WriteSync::None);
        rig.disk.lift(OpKind::Sync);
        rig.reap();
        seen.insert(rig.first_byte_after_crash(seed));
    }
    assert_eq!(seen, [1, 2].into());
}

#[test]
fn an_end_keeps_to_the_orders_that_the_disk_keeps_to() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut rig = Rig::new();
        rig.write(1, 0, 1, WriteSync::Range);
        rig.write(2, 512, 1, WriteSync::None);
        rig.disk.put(3, "/log/a".into(), Box::new(|| vec![3]));
        rig.disk.put(4, "/log/b".into(), Box::new(|| vec![4]));
        let after = rig.disk.kill(seed);
        let content = after.content(path()).expect("it is there");
        let [a, b] = ["/log/a", "/log/b"].map(|path| after.content(Path::new(path)).is_some());
        seen.insert((content[0], content[512], a, b));
    }
    let writes = [(0, 0), (1, 0), (1, 2)];
    let puts = [(false, false), (true, false), (true, true)];
    let all = writes
        .into_iter()
        .flat_map(|(one, two)| puts.map(|(a, b)| (one, two, a, b)));
    assert_eq!(seen, all.collect());
}

#[test]
fn what_is_held_holds_up_what_keeps_to_an_order_with_it() {
    let mut rig = Rig::new();
    rig.disk.hold(OpKind::Put);
    rig.disk.put(1, "/log/a".into(), Box::new(Vec::new));
    rig.disk.unlink(2, vec!["/log/a".into()]);
    rig.write(3, 0, 512, WriteSync::None);
    rig.finish(0);
    assert_eq!(tokens(&rig.reap()), [3]);
    assert_eq!(rig.disk.pending(), 2);
    rig.disk.lift(OpKind::Put);
    rig.finish(0);
    assert_eq!(tokens(&rig.reap()), [1, 2]);
}

#[test]
fn a_wait_performs_steps_until_something_is_done() {
    let mut rig = Rig::new();
    rig.disk.wait().expect_err("nothing is in flight");
    rig.write(1, 0, 512, WriteSync::Range);
    rig.disk.wait().expect("it ends");
    assert_eq!(tokens(&rig.reap()), [1]);
    rig.disk.hold(OpKind::Write);
    rig.write(2, 0, 512, WriteSync::None);
    let error = rig.disk.wait().expect_err("it never answers");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

fn chances(seed: u64) -> Chances {
    let odds = Odds {
        eio: 100,
        enospc: 50,
        short: 200,
    };
    Chances {
        seed,
        write: odds,
        sync: odds,
        opening: 300,
        ..Chances::default()
    }
}

#[test]
fn faults_by_chance_are_a_function_of_the_seed_and_come_as_often_as_asked() {
    let run = |seed| {
        let mut rig = Rig::new();
        rig.disk.set_chances(chances(seed));
        let mut steps = Vec::new();
        for _ in 0..1000 {
            rig.write(1, 0, 512, WriteSync::Range);
            steps.extend(rig.finish(1));
            rig.reap();
        }
        steps
    };
    let steps = run(7);
    assert_eq!(steps, run(7));
    assert_ne!(steps, run(8));
    let mut counts = BTreeMap::new();
    for step in &steps {
        let kind = match step.stage {
            OpStage::Short(len) => {
                assert!((1..512).contains(&len));
                "short"
            }
            OpStage::Failed(Some(libc::EIO)) => "eio",
            OpStage::Failed(Some(libc::ENOSPC)) => "enospc",
            _ => "done",
        };
        *counts.entry((step.step, kind)).or_insert(0) += 1;
    }
    let near = |step, kind, wanted: i32| {
        let found: i32 = counts.get(&(step, kind)).copied().unwrap_or(0);
        assert!((found - wanted).abs() < 40, "{step} {kind}: {found}");
    };
    near(OpKind::Write, "eio", 100);
    near(OpKind::Write, "enospc", 50);
    near(OpKind::Write, "short", 200);
    near(OpKind::Sync, "eio", 85);
    assert!(!counts.contains_key(&(OpKind::Sync, "enospc")));
}

#[test]
fn blocking_calls_fail_by_chance_until_the_chances_end() {
    let mut disk = Rig::new().disk;
    let fails = |disk: &mut MemoryDisk| {
        let mut out = [0; 8];
        let failed = [
            disk.list(Path::new("/log")).is_err(),
            disk.read(path(), 0, &mut out).is_err(),
            disk.open(path()).is_err(),
            Disk::map(disk, path()).is_err(),
            disk.make_dir(Path::new("/log")).is_err(),
            disk.free_bytes(Path::new("/log")).is_err(),
        ];
        failed.into_iter().filter(|failed| *failed).count()
    };
    disk.set_chances(chances(1));
    let failed: usize = (0..100).map(|_| fails(&mut disk)).sum();
    assert!((120..240).contains(&failed), "{failed}");
    // They outlive a crash.
    let mut disk = disk.crash(1);
    assert!((0..20).map(|_| fails(&mut disk)).sum::<usize>() > 0);
    disk.set_chances(Chances::default());
    assert_eq!((0..20).map(|_| fails(&mut disk)).sum::<usize>(), 0);
}

/// A disk with two files that are durable up to a point, from which one has bytes that are not.
fn with_durable_files() -> Rig {
    let mut rig = Rig::new();
    rig.write(1, 0, 8192, WriteSync::Range);
    rig.finish(0);
    rig.write(2, 8192, 4096, WriteSync::None);
    rig.finish(0);
    rig.write(3, 4096, 512, WriteSync::None);
    rig.disk.replace(Path::new("/log/state"), &[4; 88]);
    rig
}

/// The bytes of both files.
fn contents(disk: &MemoryDisk) -> [Vec<u8>; 2] {
    [path(), Path::new("/log/state")].map(|path| disk.content(path).expect("it is there"))
}

#[test]
fn harm_meets_what_is_used_and_durable_and_not_on_its_way() {
    type Harming = fn(&MemoryDisk, u64) -> Option<Harm>;
    let kinds: [Harming; 4] = [
        MemoryDisk::rot,
        MemoryDisk::misdirect,
        MemoryDisk::lose,
        MemoryDisk::unreadable,
    ];
    for harming in kinds {
        let mut met = BTreeSet::new();
        for choice in 0..100 {
            let rig = with_durable_files();
            let before = contents(&rig.disk);
            let harm = harming(&rig.disk, choice).expect("there is something to harm");
            assert!(!harm.to_string().is_empty());
            met.insert(harm.path.clone());
            let range = harm.range.start as usize..harm.range.end as usize;
            let number = usize::from(harm.path != path());
            if number == 0 {
                let free = range.end <= 4096 || (4608..=8192).contains(&range.start);
                assert!(free && range.end <= 8192, "{harm}");
            }
            let after = contents(&rig.disk);
            assert_eq!(before[1 - number], after[1 - number]);
            let (was, is) = (&before[number], &after[number]);
            assert_eq!(was[..range.start], is[..range.start]);
            assert_eq!(was[range.end..], is[range.end..]);
            let readable = harm.kind != HarmKind::Unreadable;
            assert_eq!(was[range.clone()] != is[range.clone()], readable);
            let mut out = vec![0; range.len()];
            let read = rig
                .disk
                .clone()
                .read(&harm.path, harm.range.start, &mut out);
            assert_eq!(read.is_ok(), readable);
        }
        assert!(met.len() == 2, "{met:?}");
    }
}

#[test]
fn harm_is_a_function_of_the_choice() {
    let harms = |choice| {
        let disk = with_durable_files().disk;
        (disk.rot(choice), disk.misdirect(choice), disk.lose(choice))
    };
    assert_eq!(harms(5), harms(5));
    assert_ne!(harms(5), harms(6));
    let empty = MemoryDisk::new();
    assert_eq!((empty.rot(1), empty.misdirect(1)), (None, None));
    assert_eq!((empty.lose(1), empty.unreadable(1)), (None, None));
}

#[test]
fn a_disk_that_does_not_record_keeps_no_calls() {
    let mut rig = Rig::new();
    rig.disk.set_recording(false);
    rig.write(1, 0, 512, WriteSync::File);
    rig.disk.put(2, "/log/a".into(), Box::new(Vec::new));
    rig.finish(0);
    assert_eq!(rig.disk.calls(), []);
    let disk = rig.disk.crash(1);
    disk.set_recording(true);
    let mut seam = disk.clone();
    seam.unlink(1, vec!["/log/a".into()]);
    disk.advance(0);
    assert_eq!(disk.calls().len(), 1);
}

#[test]
fn an_end_copies_what_was_used_and_no_more() {
    let mut rig = Rig::new();
    rig.disk.set_paced(false);
    rig.disk.prepare(1, "/log/next".into(), 1 << 30);
    rig.write(2, 0, 600, WriteSync::File);
    let mut disk = rig.disk.clone();
    for seed in 0..2000 {
        disk = disk.crash(seed);
    }
    let inner = disk.inner.borrow();
    assert_eq!(inner.files[path()].used, SIZE as usize);
    assert_eq!(inner.files[Path::new("/log/next")].used, 0);
    let written = inner.files[path()].map().bytes(0..601);
    assert!(written[..600] == [2; 600] && written[600] == 0);
}

#[test]
fn a_sync_that_overtakes_its_write_is_a_step_before_it() {
    let mut rig = Rig::new();
    rig.disk.fail_next(OpKind::Write, Fault::Severed);
    rig.write(1, 0, 512, WriteSync::File);
    let steps: Vec<_> = rig.finish(0).iter().map(|s| (s.step, s.stage)).collect();
    let cancelled = OpStage::Failed(Some(libc::ECANCELED));
    assert_eq!(
        steps,
        [(OpKind::Sync, cancelled), (OpKind::Write, OpStage::Done)]
    );
}

#[test]
fn an_end_takes_over_maps_that_nobody_else_has() {
    let mut disk = Rig::new().disk;
    disk.replace(Path::new("/log/state"), &[4; 88]);
    let theirs = Disk::map(&mut disk, path()).expect("it is there");
    let address = |disk: &MemoryDisk, path| disk.inner.borrow().files[path].map().all().as_ptr();
    let before = address(&disk, Path::new("/log/state"));
    let mut disk = disk.crash(1);
    assert_eq!(address(&disk, Path::new("/log/state")), before);
    assert_ne!(address(&disk, path()), theirs.all().as_ptr());
    // What an old store found missing is there again once the file was written anew.
    disk.fail_reads(Path::new("/log/state"), 0..88);
    disk.set_paced(false);
    disk.overwrite(1, "/log/state".into(), vec![5; 88]);
    disk.submit().expect("a submission");
    let mut disk = disk.crash(1);
    let map = Disk::map(&mut disk, Path::new("/log/state")).expect("it is there");
    assert!(!map.is_unreadable(0..88));
}

#[test]
fn what_a_failed_sync_has_left_no_later_sync_makes_durable_until_it_is_written_again() {
    let after_a_failed_sync = |writes_again: bool, seed: u64| {
        let mut rig = Rig::new();
        rig.write(1, 0, 512, WriteSync::None);
        rig.finish(1);
        rig.disk.fail_next(OpKind::Sync, Fault::Error(libc::EIO));
        rig.sync(2);
        rig.finish(1);
        if writes_again {
            rig.write(1, 0, 512, WriteSync::None);
            rig.finish(1);
        }
        rig.sync(3);
        rig.finish(1);
        rig.first_byte_after_crash(seed)
    };
    let bytes = |writes_again| (0..20).map(move |seed| after_a_failed_sync(writes_again, seed));
    assert!(bytes(false).any(|byte| byte == 0), "it was taken for clean");
    assert!(bytes(true).all(|byte| byte == 1));
}
