//! Retention: drops whole sealed segments, the oldest first, by bytes and by age.
//!
//! Readers stop seeing a dropped segment at once. Its file is removed after two other files were written: the table of
//! carried topics, so that a topic keeps its next offset even if all its records are gone; and the state, which says that
//! the log begins behind the segment, so that its absence is not taken for a loss.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use oyez_protocol::planted::{Bug, planted};

use crate::age::Ages;
use crate::discards::Discards;
use crate::disk::Disk;
use crate::fixed::Fixed;
use crate::footer::Footer;
use crate::moment::Moment;
use crate::operations::{Operations, Purpose};
use crate::options::LogOptions;
use crate::segments::{Segment, SegmentIndex, Segments, Stage};
use crate::state::{CARRIED, Carried, Floor};
use crate::tail::Tail;
use crate::visibility::Visibility;

/// How often retention checks what to drop.
const CHECK_MS: u64 = 1000;

/// What retention has removed, and what it is removing.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// The table of carried topics, as it is in its file.
    carried: Option<Bytes>,
    /// How often the table was written.
    generation: u64,
    /// The log is removed below this.
    floor: Floor,
    next_check_ms: u64,
    /// Files to be removed once the table and the floor are durable.
    leaving: Vec<PathBuf>,
    /// Where the log begins without them; becomes the floor with the table.
    next_floor: Option<Floor>,
    /// Their footers, kept in case the table must be written again.
    footers: Vec<Footer>,
    /// Files that could not be removed.
    unremoved: Vec<PathBuf>,
    in_flight: bool,
}

/// The parts of a log that dropping its oldest segments takes.
pub(crate) struct Trimmer<'a> {
    pub fixed: &'a Fixed,
    pub retention: &'a mut Retention,
    pub ages: &'a mut Ages,
    pub segments: &'a mut Segments,
    pub tail: &'a Tail,
    pub visibility: &'a Visibility,
    pub operations: &'a mut Operations,
    pub discards: &'a mut Discards,
    pub disk: &'a mut dyn Disk,
    /// Everything below this position is as durable as the log's records must be.
    pub safe: u64,
    pub now: Moment,
}

impl Retention {
    /// Goes on with what was removed before.
    pub(crate) fn go_on(&mut self, carried: Option<Bytes>, generation: u64, floor: Floor) {
        self.carried = carried;
        self.generation = generation;
        self.floor = floor;
    }

    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    /// How often the table of carried topics was written.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// When to check next, if there is anything to check.
    pub(crate) fn deadline_ms(
        &self,
        options: &LogOptions,
        segments: &Segments,
        ages: &Ages,
    ) -> Option<u64> {
        let bounded = options.retention_bytes.is_some() || ages.is_enabled();
        let applies = bounded && segments.len() > 1 || ages.apply_to(segments);
        let pending = !self.leaving.is_empty() || !self.unremoved.is_empty();
        let looks = !self.in_flight && (pending || applies);
        looks.then_some(self.next_check_ms)
    }

    /// Returns whether a check is due, and schedules the next one if so.
    fn is_due(&mut self, now_ms: u64) -> bool {
        let due = !self.in_flight && now_ms >= self.next_check_ms;
        if due {
            self.next_check_ms = now_ms + CHECK_MS;
        }
        due
    }

    /// Schedules a check for the next turn, as a segment may have become droppable.
    pub(crate) fn look_now(&mut self, now_ms: u64) {
        self.next_check_ms = now_ms;
    }

    /// Takes over a dropped segment, whose files are to be removed.
    fn drop_segment(&mut self, segment: Segment, fixed: &Fixed, discards: &mut Discards) {
        let base = segment.base;
        self.leaving.push(fixed.segment_path(base).to_path_buf());
        self.leaving.push(fixed.footer_path(base));
        let (file, index) = segment.into_parts();
        file.into_iter().for_each(|file| discards.file(file));
        if let SegmentIndex::Footer(footer) = index {
            self.footers.push(footer);
        }
    }

    /// Tries to remove again what could not be removed, and writes the table for what was dropped.
    fn start(
        &mut self,
        fixed: &Fixed,
        operations: &mut Operations,
        discards: &mut Discards,
        disk: &mut dyn Disk,
    ) {
        if !self.unremoved.is_empty() {
            let paths = std::mem::take(&mut self.unremoved);
            remove(paths, operations, disk);
        }
        if !self.leaving.is_empty() {
            if planted(Bug::UnlinksBeforeTheFloor) {
                remove(std::mem::take(&mut self.leaving), operations, disk);
            }
            let token = operations.begin(Purpose::Carried);
            let content = self.next_carried(discards.take());
            disk.put(token, fixed.path.join(CARRIED), Box::new(content));
        }
    }

    /// Adds the topics of the dropped segments to the table: some of them may have no other records.
    fn next_carried(&mut self, discarded: Discards) -> impl FnOnce() -> Vec<u8> + Send + use<> {
        let known = self.carried.clone();
        let generation = self.generation + 1;
        let footers = self.footers.clone();
        self.in_flight = true;
        move || {
            drop(discarded);
            let known = known.and_then(|bytes| Carried::decode(&bytes).ok());
            let mut carried = known.unwrap_or_default();
            carried.generation = generation;
            for footer in &footers {
                for row in (0..footer.rows()).map(|slot| footer.topic(slot)) {
                    if let Some(name) = footer.name(&row) {
                        let next = carried.topics.entry(name.to_owned()).or_insert(0);
                        *next = row.next.max(*next);
                    }
                }
            }
            carried.encode()
        }
    }

    /// Takes the result of writing the table. If it was written, the floor moves, and the state is to record that.
    pub(crate) fn carried_put(
        &mut self,
        result: io::Result<Vec<u8>>,
        discards: &mut Discards,
    ) -> io::Result<()> {
        let carried = match result {
            Ok(carried) => carried,
            // Without the table the files stay; the next check tries again.
            Err(error) => {
                self.in_flight = false;
                return Err(error);
            }
        };
        let superseded = self.carried.replace(carried.into());
        superseded
            .into_iter()
            .for_each(|table| discards.table(table));
        discards.footers(self.footers.drain(..));
        self.generation += 1;
        if let Some(floor) = self.next_floor.take() {
            self.floor = floor;
        }
        Ok(())
    }

    /// Removes the files of dropped segments, as a durable state names this floor.
    pub(crate) fn committed(
        &mut self,
        floor: Floor,
        operations: &mut Operations,
        disk: &mut dyn Disk,
    ) {
        let settled = self.footers.is_empty() && self.next_floor.is_none();
        if floor != self.floor || !self.in_flight || !settled {
            return;
        }
        self.in_flight = false;
        let paths = std::mem::take(&mut self.leaving);
        remove(paths, operations, disk);
    }

    /// Takes the result of removing files. Those that could not be removed take space until the next check, or until the
    /// next start.
    pub(crate) fn unlinked(
        &mut self,
        mut paths: Vec<PathBuf>,
        result: io::Result<()>,
    ) -> io::Result<()> {
        result.inspect_err(|_| self.unremoved.append(&mut paths))
    }
}

fn remove(paths: Vec<PathBuf>, operations: &mut Operations, disk: &mut dyn Disk) {
    let token = operations.begin(Purpose::Unlink(paths.clone()));
    disk.unlink(token, paths);
}

impl Trimmer<'_> {
    /// Drops segments that exceed a limit. Checks once a second at most.
    pub(crate) fn look(&mut self) {
        if !self.retention.is_due(self.now.monotonic_ms) {
            return;
        }
        let before = self.segments.len();
        while self.oldest_must_go()
            && let Some(oldest) = self.segments.drop_oldest()
        {
            self.retention
                .drop_segment(oldest, self.fixed, self.discards);
        }
        if self.segments.len() < before {
            let floor = self.floor();
            self.visibility.set_start(floor.position);
            self.retention.next_floor = Some(floor);
            self.visibility.publish(self.tail, self.segments);
        }
        self.ages.look_at_newest(self.segments, self.now);
        self.retention
            .start(self.fixed, self.operations, self.discards, self.disk);
    }

    fn oldest_must_go(&self) -> bool {
        let bytes_max = self.fixed.options.retention_bytes;
        may_go(self.segments, self.safe)
            && (bytes_max.is_some_and(|max| self.segments.bytes() > max)
                || self.ages.oldest_has_aged(self.segments, self.now)
                || planted(Bug::DropsTooMuch))
    }

    /// Where the log begins.
    fn floor(&self) -> Floor {
        match self.segments.oldest() {
            Some(oldest) => Floor {
                position: oldest.base,
                sequence: oldest.first_sequence,
            },
            None => Floor {
                position: self.tail.head(),
                sequence: self.tail.reached().sequence,
            },
        }
    }
}

/// Whether the oldest segment may be dropped. The last segment stays even when it is sealed, as it preserves the
/// sequence. The segment after the oldest does so once its first bytes are as durable as the log's records must be.
fn may_go(segments: &Segments, safe: u64) -> bool {
    segments.oldest().is_some_and(|oldest| {
        let keeps_sequence = segments.len() > 1 && safe > oldest.limit();
        (oldest.stage() == Stage::Sealed || planted(Bug::DropsTheUnsealed)) && keeps_sequence
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Completion, Outcome};
    use crate::footer::{self, FooterHead};
    use crate::format::BLOCK_BYTES;
    use crate::index::LiveIndex;
    use crate::memory_disk::MemoryDisk;
    use crate::options::Durability;
    use crate::packed_place::PackedPlace;
    use crate::segment::SegmentFile;

    /// A disk, and sealed segments of a block that hold a message of a topic of their own each.
    struct Rig {
        fixed: Fixed,
        segments: Segments,
        operations: Operations,
        discards: Discards,
        disk: MemoryDisk,
    }

    impl Rig {
        fn new(segments: u64) -> Self {
            let mut rig = Self {
                fixed: Fixed::example(Durability::Synced),
                segments: Segments::default(),
                operations: Operations::new(0),
                discards: Discards::default(),
                disk: MemoryDisk::new(),
            };
            for number in 0..segments {
                rig.add(number);
            }
            rig
        }

        fn add(&mut self, number: u64) {
            let base = number * BLOCK_BYTES;
            let path = self.fixed.segment_path(base);
            self.disk.prepare(0, path.to_path_buf(), BLOCK_BYTES);
            let Outcome::Prepared(Ok(opened)) = self.end().outcome else {
                panic!("a disk in memory has room");
            };
            let file = SegmentFile::new(base, path, opened.map, Vec::new());
            let head = FooterHead {
                log: 1,
                incarnation: 1,
                base,
                end: base + 144,
                segment_bytes: BLOCK_BYTES,
                first_sequence: number,
                next_sequence: number + 1,
                last_ms: 5,
                dir_id: 7,
                sums: vec![footer::BlockSum::default()],
                gaps: Vec::new(),
            };
            let mut live = LiveIndex::default();
            let slot = live.add(&Arc::from(format!("t{number}")));
            live.push(slot, PackedPlace::new(number, 64, 80, 1));
            let footer = Footer::written(footer::encode(&head, &live)).expect("it is whole");
            self.segments.push_sealed(file, &head, footer);
        }

        fn end(&mut self) -> Completion {
            let mut done = Vec::new();
            self.disk.wait().expect("something is in flight");
            self.disk.reap(&mut done);
            done.pop().expect("it has ended")
        }

        fn drop_oldest(&mut self, retention: &mut Retention) {
            let oldest = self.segments.drop_oldest().expect("there is one");
            let position = oldest.limit();
            retention.drop_segment(oldest, &self.fixed, &mut self.discards);
            let sequence = position / BLOCK_BYTES;
            retention.next_floor = Some(Floor { position, sequence });
        }

        fn start(&mut self, retention: &mut Retention) {
            let (operations, discards) = (&mut self.operations, &mut self.discards);
            retention.start(&self.fixed, operations, discards, &mut self.disk);
        }

        fn put(&mut self) -> io::Result<Vec<u8>> {
            match self.end().outcome {
                Outcome::Put(result) => result,
                other => panic!("the table is written: {other:?}"),
            }
        }
    }

    #[test]
    fn files_go_when_the_table_and_then_the_floor_are_durable_and_not_before() {
        let (mut rig, mut retention) = (Rig::new(2), Retention::default());
        rig.drop_oldest(&mut retention);
        rig.start(&mut retention);
        assert!(!retention.is_due(CHECK_MS), "the table is on its way");
        let before = retention.floor();
        let (operations, disk) = (&mut rig.operations, &mut rig.disk);
        retention.committed(before, operations, disk);
        let table = rig.put();
        let known = Carried::decode(table.as_ref().expect("it is written"));
        let known = known.expect("it is whole");
        assert_eq!((known.generation, known.topics["t0"]), (1, 1));
        let taken = retention.carried_put(table, &mut rig.discards);
        taken.expect("it is written");
        assert_eq!(retention.floor().position, BLOCK_BYTES);
        let (operations, disk) = (&mut rig.operations, &mut rig.disk);
        retention.committed(before, operations, disk);
        assert_eq!(rig.disk.held(), 0, "another floor is durable");
        let floor = retention.floor();
        retention.committed(floor, &mut rig.operations, &mut rig.disk);
        let unlinked = rig.end();
        assert!(matches!(unlinked.outcome, Outcome::Unlinked(Ok(()))));
        let gone = [
            rig.fixed.segment_path(0).to_path_buf(),
            rig.fixed.footer_path(0),
        ];
        let purpose = rig.operations.end(unlinked.token);
        assert_eq!(purpose, Some(Purpose::Unlink(gone.to_vec())));
        assert!(retention.is_due(CHECK_MS));
    }

    #[test]
    fn a_table_that_fails_is_written_again_with_what_was_dropped_since() {
        let (mut rig, mut retention) = (Rig::new(3), Retention::default());
        rig.drop_oldest(&mut retention);
        rig.start(&mut retention);
        drop(rig.put());
        let full = Err(io::ErrorKind::StorageFull.into());
        assert!(retention.carried_put(full, &mut rig.discards).is_err());
        assert_eq!((retention.floor().position, retention.generation()), (0, 0));
        rig.drop_oldest(&mut retention);
        rig.start(&mut retention);
        let table = rig.put();
        let known = Carried::decode(table.as_ref().expect("it is written"));
        let known = known.expect("it is whole");
        assert_eq!((known.topics["t0"], known.topics["t1"]), (1, 2));
        let taken = retention.carried_put(table, &mut rig.discards);
        taken.expect("it is written");
        assert_eq!(retention.floor().position, 2 * BLOCK_BYTES);
        let floor = retention.floor();
        retention.committed(floor, &mut rig.operations, &mut rig.disk);
        let unlinked = rig.end();
        let Some(Purpose::Unlink(paths)) = rig.operations.end(unlinked.token) else {
            panic!("files are removed");
        };
        assert_eq!(paths.len(), 4);
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        assert!(retention.unlinked(paths, denied).is_err());
        let options = LogOptions::default();
        let deadline = retention.deadline_ms(&options, &rig.segments, &Ages::new(None));
        assert!(deadline.is_some(), "they are tried again");
        rig.start(&mut retention);
        assert!(matches!(rig.end().outcome, Outcome::Unlinked(_)));
    }

    #[test]
    fn the_oldest_segment_may_go_when_the_next_one_is_as_safe_as_records_are_meant_to_be() {
        let mut rig = Rig::new(1);
        assert!(!may_go(&rig.segments, u64::MAX), "the last one stays");
        rig.add(1);
        assert!(!may_go(&rig.segments, BLOCK_BYTES));
        assert!(may_go(&rig.segments, BLOCK_BYTES + 64));
    }
}
