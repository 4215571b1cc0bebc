//! What is dropped and when: whole sealed segments, the oldest first, by bytes and by age.
//!
//! Readers stop seeing a dropped segment at once. Its file goes after the table of topics without records has been
//! replaced, so that a topic goes on where it was even if all its records are gone, and after the state says that the log
//! begins behind it, so that its absence is not taken for a loss.

use std::io;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::error::Poisoned;
use crate::footer::Footer;
use crate::log::{Discarded, Drain, Log, Purpose};
use crate::options::Durability;
use crate::segment::{SegmentIndex, Stage};
use crate::state::{CARRIED, Carried, Floor};
use crate::trouble::Attempt;

/// How often retention looks.
const CHECK_MS: u64 = 1000;

#[derive(Debug, Default)]
pub(crate) struct Retention {
    next_check_ms: u64,
    /// Files that go once the table and the floor are durable.
    leaving: Vec<PathBuf>,
    /// Where the log begins without them; becomes the floor with the table.
    floor: Option<Floor>,
    /// Footers of those, kept in case that the table must be tried again.
    footers: Vec<Footer>,
    /// Files that could not be removed.
    unremoved: Vec<PathBuf>,
    in_flight: bool,
}

impl Log {
    fn retention_applies(&self) -> bool {
        let options = &self.parts.options;
        options.retention_bytes.is_some() || options.retention_age_ms.is_some()
    }

    pub(crate) fn retention_deadline_ms(&self) -> Option<u64> {
        let pending = !self.retention.leaving.is_empty() || !self.retention.unremoved.is_empty();
        let applies = self.retention_applies() && self.segments.len() > 1 || self.ages();
        let idle = !self.retention.in_flight && self.drain == Drain::No;
        (self.on_disk() && idle && (pending || applies)).then_some(self.retention.next_check_ms)
    }

    /// Drops what has to go. Looks once a second at most.
    pub(crate) fn retain(&mut self, disk: &mut dyn Disk) {
        let busy = self.retention.in_flight || self.drain != Drain::No;
        if busy || self.now.monotonic_ms < self.retention.next_check_ms {
            return;
        }
        self.retention.next_check_ms = self.now.monotonic_ms + CHECK_MS;
        let before = self.segments.len();
        while self.oldest_must_go() {
            self.drop_oldest_segment();
        }
        if self.segments.len() < before {
            let start = self.segments.front().map_or(self.head, |first| first.base);
            self.shared.set_start(start);
            let sequence = self
                .segments
                .front()
                .map_or(self.reached.sequence, |first| first.first_sequence);
            self.retention.floor = Some(Floor {
                position: start,
                sequence,
            });
            self.publish();
        }
        self.look_at_newest();
        if !self.retention.unremoved.is_empty() {
            let paths = std::mem::take(&mut self.retention.unremoved);
            self.remove(paths, disk);
        }
        if !self.retention.leaving.is_empty() {
            self.put_carried(disk);
        }
    }

    /// Something may have become droppable. Where records expire, the next turn looks.
    pub(crate) fn look_at_retention_now(&mut self) {
        if self.parts.options.retention_age_ms.is_some() {
            self.retention.next_check_ms = self.now.monotonic_ms;
        }
    }

    fn oldest_must_go(&self) -> bool {
        let Some(oldest) = self.segments.front() else {
            return false;
        };
        // The last segment stays even when it is sealed: it knows the sequence. The one after the oldest does when its
        // first bytes are as safe as this log's are meant to be.
        let after = match self.durability() {
            Durability::Synced => self.flush.synced,
            Durability::Memory | Durability::Written => self.flush.written,
        };
        let knows_sequence = self.segments.len() > 1 && after > oldest.limit();
        if oldest.stage != Stage::Sealed || !knows_sequence {
            return false;
        }
        let options = &self.parts.options;
        let total = || {
            self.segments
                .iter()
                .map(|segment| segment.bytes)
                .sum::<u64>()
        };
        let large = options.retention_bytes.is_some_and(|max| total() > max);
        large || self.oldest_has_aged()
    }

    fn drop_oldest_segment(&mut self) {
        let Some(segment) = self.segments.pop_front() else {
            return;
        };
        let files = self.files_of(&segment);
        self.retention.leaving.extend(files);
        if let Some(file) = segment.file {
            self.discarded.push(Discarded::File { _file: file });
        }
        if let SegmentIndex::Footer(footer) = segment.index {
            self.retention.footers.push(footer);
        }
    }

    /// Adds the topics of the dropped segments to the table: some of them may have no other records.
    fn put_carried(&mut self, disk: &mut dyn Disk) {
        let known = self.carried.clone();
        let generation = self.carried_generation + 1;
        let footers = self.retention.footers.clone();
        self.retention.in_flight = true;
        let path = self.parts.path.join(CARRIED);
        let token = self.token(Purpose::Carried);
        let discarded = std::mem::take(&mut self.discarded);
        let content = move || {
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
        };
        disk.put(token, path, Box::new(content));
    }

    pub(crate) fn carried_put(&mut self, result: io::Result<Vec<u8>>) -> Result<(), Poisoned> {
        let carried = match result {
            Ok(carried) => carried,
            // Without the table the files stay; it is tried again at the next check.
            Err(error) => {
                self.retention.in_flight = false;
                return self.fail(Attempt::Carried, error);
            }
        };
        self.streaks.worked(Attempt::Carried);
        let superseded = self.carried.replace(carried.into());
        let superseded = superseded.map(|table| Discarded::Table { _table: table });
        self.discarded.extend(superseded);
        let footers = self.retention.footers.drain(..);
        let footers = footers.map(|footer| Discarded::Index {
            _index: SegmentIndex::Footer(footer),
        });
        self.discarded.extend(footers);
        self.carried_generation += 1;
        if let Some(floor) = self.retention.floor.take() {
            self.floor = floor;
        }
        self.want_commit();
        Ok(())
    }

    /// Removes the files of dropped segments, now that the state says that the log begins behind them.
    pub(crate) fn remove_dropped(&mut self, disk: &mut dyn Disk) {
        let retention = &mut self.retention;
        let settled = retention.footers.is_empty() && retention.floor.is_none();
        if !retention.in_flight || !settled {
            return;
        }
        retention.in_flight = false;
        let paths = std::mem::take(&mut retention.leaving);
        self.remove(paths, disk);
    }

    fn remove(&mut self, paths: Vec<PathBuf>, disk: &mut dyn Disk) {
        let token = self.token(Purpose::Unlink(paths.clone()));
        disk.unlink(token, paths);
    }

    pub(crate) fn unlinked(&mut self, token: u64, result: io::Result<()>) -> Result<(), Poisoned> {
        let Some(Purpose::Unlink(mut paths)) = self.take_purpose(token) else {
            return Ok(());
        };
        match result {
            Ok(()) => {
                self.streaks.worked(Attempt::Unlink);
                Ok(())
            }
            // They take space until the next check, or are dropped again after the next start.
            Err(error) => {
                self.retention.unremoved.append(&mut paths);
                self.fail(Attempt::Unlink, error)
            }
        }
    }
}
