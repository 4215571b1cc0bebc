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
use crate::options::LogOptions;
use crate::segments::{Segment, SegmentIndex, Segments, Stage};
use crate::shown::Shown;
use crate::state::{CARRIED, Carried, Floor};
use crate::tail::Tail;

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

/// The parts of a log that drop its oldest segments.
pub(crate) struct Keeper<'a> {
    pub fixed: &'a Fixed,
    pub retention: &'a mut Retention,
    pub ages: &'a mut Ages,
    pub segments: &'a mut Segments,
    pub tail: &'a Tail,
    pub shown: &'a Shown,
    pub operations: &'a mut Operations,
    pub discards: &'a mut Discards,
    pub disk: &'a mut dyn Disk,
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

    /// When to look next, if there is something to look at.
    pub(crate) fn deadline_ms(
        &self,
        options: &LogOptions,
        segments: &Segments,
        ages: &Ages,
    ) -> Option<u64> {
        let bounded = options.retention_bytes.is_some() || ages.matter();
        let applies = bounded && segments.len() > 1 || ages.apply_to(segments);
        let pending = !self.leaving.is_empty() || !self.unremoved.is_empty();
        let looks = !self.in_flight && (pending || applies);
        looks.then_some(self.next_check_ms)
    }

    /// Whether it is time to look, which it then is not for a while.
    fn is_due(&mut self, now_ms: u64) -> bool {
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

    /// Files were removed, or not. They take space until the next check then, or are dropped again after the next start.
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

impl Keeper<'_> {
    /// Drops what has to go. Looks once a second at most.
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
            self.shown.set_start(floor.position);
            self.retention.next_floor = Some(floor);
            self.shown.publish(self.tail, self.segments);
        }
        self.ages.look_at_newest(self.segments, self.now);
        self.retention
            .start(self.fixed, self.operations, self.discards, self.disk);
    }

    fn oldest_must_go(&self) -> bool {
        let bytes_max = self.fixed.options.retention_bytes;
        may_go(self.segments, self.safe)
            && (bytes_max.is_some_and(|max| self.segments.bytes() > max)
                || self.ages.oldest_has_aged(self.segments, self.now))
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

/// Whether the oldest segment may be dropped. The last one stays even when it is sealed: it knows the sequence. The one
/// after the oldest does when its first bytes are as safe as this log's are meant to be.
fn may_go(segments: &Segments, safe: u64) -> bool {
    segments.oldest().is_some_and(|oldest| {
        let knows_sequence = segments.len() > 1 && safe > oldest.limit();
        oldest.stage() == Stage::Sealed && knows_sequence
    })
}
