//! What is dropped and when: whole sealed segments, the oldest first, by bytes and by age.
//!
//! Readers stop seeing a dropped segment at once. Its file goes after the table of topics without records has been
//! replaced, so that a topic goes on where it was even if all its records are gone, and after the state says that the log
//! begins behind it, so that its absence is not taken for a loss.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use crate::age::Ages;
use crate::discards::Discards;
use crate::disk::Disk;
use crate::fixed::Fixed;
use crate::footer::Footer;
use crate::moment::Moment;
use crate::operations::{Operations, Purpose};
use crate::segments::{Segment, SegmentIndex, Segments, Stage};
use crate::state::{CARRIED, Carried, Floor};

/// How often retention looks.
const CHECK_MS: u64 = 1000;

/// What retention has removed, and what it is about to.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// The table of topics without records, as it is in its file.
    carried: Option<Bytes>,
    /// How often it was written.
    generation: u64,
    /// Up to where the log is removed.
    floor: Floor,
    next_check_ms: u64,
    /// Files that go once the table and the floor are durable.
    leaving: Vec<PathBuf>,
    /// Where the log begins without them; becomes the floor with the table.
    next_floor: Option<Floor>,
    /// Footers of those, kept in case that the table must be tried again.
    footers: Vec<Footer>,
    /// Files that could not be removed.
    unremoved: Vec<PathBuf>,
    in_flight: bool,
}

/// What a log may keep, and up to where it is safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub bytes_max: Option<u64>,
    pub ages: &'a Ages,
    /// Below which everything is as safe as the log's records are meant to be.
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

    /// How often the table of topics without records was written.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// When to look next, if there is something to look at. `applies` says that segments may have to go.
    pub(crate) fn deadline_ms(&self, applies: bool) -> Option<u64> {
        let pending = !self.leaving.is_empty() || !self.unremoved.is_empty();
        let looks = !self.in_flight && (pending || applies);
        looks.then_some(self.next_check_ms)
    }

    /// Whether it is time to look, which it then is not for a while.
    pub(crate) fn is_due(&mut self, now_ms: u64) -> bool {
        let due = !self.in_flight && now_ms >= self.next_check_ms;
        if due {
            self.next_check_ms = now_ms + CHECK_MS;
        }
        due
    }

    /// Something may have become droppable: the next turn looks.
    pub(crate) fn look_now(&mut self, now_ms: u64) {
        self.next_check_ms = now_ms;
    }

    /// Takes over a segment that was dropped.
    pub(crate) fn drop_segment(
        &mut self,
        segment: Segment,
        fixed: &Fixed,
        discards: &mut Discards,
    ) {
        let base = segment.base;
        self.leaving.push(fixed.segment_path(base).to_path_buf());
        self.leaving.push(fixed.footer_path(base));
        let (file, index) = segment.into_parts();
        file.into_iter().for_each(|file| discards.file(file));
        if let SegmentIndex::Footer(footer) = index {
            self.footers.push(footer);
        }
    }

    /// Where the log begins without what was dropped.
    pub(crate) fn begin_at(&mut self, floor: Floor) {
        self.next_floor = Some(floor);
    }

    /// Tries to remove again what could not be removed, and writes the table for what was dropped.
    pub(crate) fn start(
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

    /// The table was written, or not. If it was, the state is to say where the log begins.
    pub(crate) fn carried_put(
        &mut self,
        result: io::Result<Vec<u8>>,
        discards: &mut Discards,
    ) -> io::Result<()> {
        let carried = match result {
            Ok(carried) => carried,
            // Without the table the files stay; it is tried again at the next check.
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

    /// Removes the files of dropped segments, now that the state says that the log begins at this floor.
    pub(crate) fn committed(
        &mut self,
        floor: Option<Floor>,
        operations: &mut Operations,
        disk: &mut dyn Disk,
    ) {
        let settled = self.footers.is_empty() && self.next_floor.is_none();
        if floor != Some(self.floor) || !self.in_flight || !settled {
            return;
        }
        self.in_flight = false;
        let paths = std::mem::take(&mut self.leaving);
        remove(paths, operations, disk);
    }

    /// Files could not be removed. They take space until the next check, or are dropped again after the next start.
    pub(crate) fn not_removed(&mut self, mut paths: Vec<PathBuf>) {
        self.unremoved.append(&mut paths);
    }
}

fn remove(paths: Vec<PathBuf>, operations: &mut Operations, disk: &mut dyn Disk) {
    let token = operations.begin(Purpose::Unlink(paths.clone()));
    disk.unlink(token, paths);
}

impl Bounds<'_> {
    /// Whether the oldest segment has to go.
    pub(crate) fn oldest_must_go(&self, segments: &Segments) -> bool {
        let Some(oldest) = segments.oldest() else {
            return false;
        };
        // The last segment stays even when it is sealed: it knows the sequence. The one after the oldest does when its
        // first bytes are as safe as this log's are meant to be.
        let knows_sequence = segments.len() > 1 && self.safe > oldest.limit();
        if oldest.stage() != Stage::Sealed || !knows_sequence {
            return false;
        }
        let large = self.bytes_max.is_some_and(|max| segments.bytes() > max);
        large || self.ages.oldest_has_aged(segments, self.now)
    }
}
