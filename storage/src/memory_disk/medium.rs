//! The inside of the memory disk: files with their unsynced sectors, and the operations on their way.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Call, Fault, Step};
use crate::disk::{BlockRange, Completion, FileId, Opened, Outcome, WriteSync};
use crate::sys::map::Map;

/// What a disk is surely able to write at once.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub map: Option<Arc<Map>>,
    /// Sectors that differ from the medium, with what the medium has.
    pub unsynced: BTreeMap<usize, [u8; SECTOR]>,
}

impl Memory {
    pub(super) fn map(&self) -> &Arc<Map> {
        self.map.as_ref().expect("every file has content")
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let map = Arc::clone(self.map());
        let last = (at + bytes.len()).div_ceil(SECTOR);
        for sector in at / SECTOR..last {
            self.unsynced.entry(sector).or_insert_with(|| {
                let mut old = [0; SECTOR];
                old.copy_from_slice(map.bytes(sector * SECTOR..(sector + 1) * SECTOR));
                old
            });
        }
        map.store(at, bytes);
    }

    /// Makes the bytes of a range durable, and no others of their sectors.
    fn sync(&mut self, range: Range<usize>) {
        let map = Arc::clone(self.map());
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let base = sector * SECTOR;
            let Some(old) = self.unsynced.get_mut(&sector) else {
                continue;
            };
            let (from, to) = (range.start.max(base), range.end.min(base + SECTOR));
            old[from - base..to - base].copy_from_slice(map.bytes(from..to));
            if map.bytes(base..base + SECTOR) == old {
                self.unsynced.remove(&sector);
            }
        }
    }
}

/// What a sync makes durable.
#[derive(Debug)]
pub(super) enum Covers {
    /// The sectors that differ from the medium when it starts; none are known before.
    File(Option<Vec<usize>>),
    /// What a write has just written; the sync completes it.
    Range { range: Range<usize>, started: bool },
}

impl Covers {
    fn range(&self) -> Option<Range<u64>> {
        match self {
            Self::File(_) => None,
            Self::Range { range, .. } => Some(range.start as u64..range.end as u64),
        }
    }
}

#[derive(Debug)]
pub(super) enum Operation {
    Write {
        file: PathBuf,
        at: u64,
        bytes: BlockRange,
        sync: WriteSync,
    },
    Sync {
        file: PathBuf,
        cancelled: bool,
        covers: Covers,
    },
    Populate,
    Prepare {
        path: PathBuf,
        size: u64,
    },
    Put {
        path: PathBuf,
        content: Vec<u8>,
    },
    Unlink {
        paths: Vec<PathBuf>,
    },
}

impl Operation {
    fn step(&self) -> Step {
        match self {
            Self::Write { .. } => Step::Write,
            Self::Sync { .. } => Step::Sync,
            Self::Populate => Step::Populate,
            Self::Prepare { .. } => Step::Prepare,
            Self::Put { .. } => Step::Put,
            Self::Unlink { .. } => Step::Unlink,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub files: BTreeMap<PathBuf, Memory>,
    pub open: Vec<Option<PathBuf>>,
    pub queued: VecDeque<(u64, Operation)>,
    pub in_flight: VecDeque<(u64, Operation)>,
    pub done: Vec<Completion>,
    pub calls: Vec<Call>,
    /// Faults of the next operation of a kind.
    pub faults: Vec<(Step, Fault)>,
    /// Faults of all operations of a kind.
    pub lasting: Vec<(Step, Fault)>,
    /// Kinds of which no operation comes to its end.
    pub holding: Vec<Step>,
    /// Bytes that may be prepared in total, if limited.
    pub capacity: Option<u64>,
    /// Operations that may still complete; the others stay in flight.
    pub allowance: Option<u64>,
    /// Submissions leave everything where it is.
    pub refusing: bool,
    pub submissions: u64,
    pub boot_id: u128,
}

/// Copies what is not zero: segments are mostly untouched memory, and stay so.
pub(super) fn copy_used(from: &Map, to: &Map) {
    let len = from.all().len();
    for start in (0..len).step_by(SECTOR) {
        let bytes = from.bytes(start..len.min(start + SECTOR));
        if bytes != &[0; SECTOR][..bytes.len()] {
            to.store(start, bytes);
        }
    }
}

/// A small generator, so that a seed means the same everywhere.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("fewer than the sides")
    }
}

pub(super) fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Inner {
    pub(super) fn fault(&mut self, step: Step) -> Option<Fault> {
        let of_kind = |(kind, _): &(Step, Fault)| *kind == step;
        match self.faults.iter().position(of_kind) {
            Some(at) => Some(self.faults.remove(at).1),
            None => self.lasting.iter().copied().find(of_kind).map(|l| l.1),
        }
    }

    pub(super) fn failure(&mut self, step: Step) -> Option<io::Error> {
        match self.fault(step)? {
            Fault::Error(number) => Some(error(number)),
            Fault::Short(_) => None,
        }
    }

    /// What was on its way when the end came may have happened.
    pub(super) fn apply_in_part(&mut self, dice: &mut Dice) {
        let operations: Vec<_> = self
            .in_flight
            .drain(..)
            .chain(self.queued.drain(..))
            .collect();
        for (_, operation) in operations {
            let happens = dice.roll(2) == 0;
            match operation {
                Operation::Write {
                    file, at, bytes, ..
                } => {
                    let bytes = bytes.bytes();
                    let at = usize::try_from(at).expect("a place in a segment");
                    if let Some(file) = self.files.get_mut(&file) {
                        file.write(at, &bytes[..dice.roll(bytes.len() + 1)]);
                    }
                }
                Operation::Put { path, content } if happens => drop(self.put(&path, &content)),
                Operation::Prepare { path, size } if happens => drop(self.prepare(&path, size)),
                Operation::Unlink { paths } => {
                    for path in paths {
                        if dice.roll(2) == 0 {
                            self.files.remove(&path);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn put(&mut self, path: &Path, content: &[u8]) -> io::Result<Arc<Map>> {
        let map = Map::anonymous(content.len() as u64)?;
        map.store(0, content);
        let map = Arc::new(map);
        let file = Memory {
            map: Some(Arc::clone(&map)),
            unsynced: BTreeMap::new(),
        };
        self.files.insert(path.to_owned(), file);
        self.calls.push(Call::Put {
            path: path.to_owned(),
        });
        Ok(map)
    }

    pub(super) fn prepare(&mut self, path: &Path, size: u64) -> io::Result<Opened> {
        let used: u64 = self.files.values().map(|file| file.map().len()).sum();
        if self.capacity.is_some_and(|capacity| used + size > capacity) {
            return Err(error(libc::ENOSPC));
        }
        let map = Arc::new(Map::anonymous(size)?);
        let file = Memory {
            map: Some(map),
            unsynced: BTreeMap::new(),
        };
        self.files.insert(path.to_owned(), file);
        self.calls.push(Call::Prepared {
            path: path.to_owned(),
        });
        self.open(path)
    }

    fn unlink(&mut self, paths: Vec<PathBuf>) -> io::Result<()> {
        for path in paths {
            if self.files.remove(&path).is_some() {
                self.calls.push(Call::Unlinked { path });
            }
        }
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Opened> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let map = Arc::clone(file.map());
        self.open.push(Some(path.to_owned()));
        let file = u32::try_from(self.open.len() - 1).expect("a test opens few files");
        Ok(Opened {
            file: FileId(file),
            map,
        })
    }

    pub(super) fn path(&self, file: FileId) -> PathBuf {
        let path = self.open[file.0 as usize].clone();
        path.expect("the file was not closed")
    }

    pub(super) fn run(&mut self) {
        loop {
            self.start_sync();
            if self.allowance == Some(0) {
                return;
            }
            let next = self.next();
            let Some((token, operation)) = next.and_then(|next| self.in_flight.remove(next)) else {
                return;
            };
            if let Some(allowance) = &mut self.allowance {
                *allowance -= 1;
            }
            if let Some(outcome) = self.perform(token, operation) {
                self.done.push(Completion { token, outcome });
            }
        }
    }

    /// Place of the first operation in flight that nothing holds.
    fn next(&self) -> Option<usize> {
        let free = |(_, operation): &(u64, Operation)| !self.holding.contains(&operation.step());
        self.in_flight.iter().position(free)
    }

    /// A sync that is next starts, even if it may not complete yet: it covers what was written until here.
    pub(super) fn start_sync(&mut self) {
        let next = self.next().unwrap_or(0);
        let Some((_, Operation::Sync { file, covers, .. })) = self.in_flight.get_mut(next) else {
            return;
        };
        match covers {
            Covers::File(None) => {
                let memory = self.files.get(file);
                let sectors = memory.map(|file| file.unsynced.keys().copied().collect());
                *covers = Covers::File(Some(sectors.unwrap_or_default()));
            }
            Covers::Range { started, .. } if !*started => *started = true,
            _ => return,
        }
        self.calls.push(Call::SyncStarted {
            path: file.clone(),
            range: covers.range(),
        });
    }

    /// Performs an operation, or its first half: the second one is then next, and brings the outcome.
    fn perform(&mut self, token: u64, operation: Operation) -> Option<Outcome> {
        Some(match operation {
            Operation::Write {
                file,
                at,
                bytes,
                sync,
            } => {
                return self.perform_write(token, file, at, &bytes, sync);
            }
            Operation::Sync {
                cancelled: true, ..
            } => Outcome::Synced(Err(error(libc::ECANCELED))),
            Operation::Sync { file, covers, .. } => {
                let result = self.sync(&file, &covers);
                match covers {
                    Covers::File(_) => Outcome::Synced(result),
                    Covers::Range { range, .. } => Outcome::Written(result.map(|()| range.len())),
                }
            }
            Operation::Populate => {
                Outcome::Populated(self.failure(Step::Populate).map_or(Ok(()), Err))
            }
            Operation::Prepare { path, size } => Outcome::Prepared(
                self.failure(Step::Prepare)
                    .map_or_else(|| self.prepare(&path, size), Err),
            ),
            Operation::Put { path, content } => Outcome::Put(
                self.failure(Step::Put)
                    .map_or_else(|| self.put(&path, &content), Err),
            ),
            Operation::Unlink { paths } => Outcome::Unlinked(
                self.failure(Step::Unlink)
                    .map_or_else(|| self.unlink(paths), Err),
            ),
        })
    }

    fn perform_write(
        &mut self,
        token: u64,
        file: PathBuf,
        at: u64,
        bytes: &BlockRange,
        sync: WriteSync,
    ) -> Option<Outcome> {
        let asked = bytes.bytes().len();
        let result = self.write(&file, at, bytes.bytes());
        let (cancelled, covers) = match (sync, &result) {
            (WriteSync::None, _) | (WriteSync::Range, Err(_)) => {
                return Some(Outcome::Written(result));
            }
            (WriteSync::Range, Ok(written)) => {
                let at = usize::try_from(at).expect("a place in a segment");
                let (range, started) = (at..at + written, false);
                (false, Covers::Range { range, started })
            }
            (WriteSync::File, result) => {
                let whole = result.as_ref().is_ok_and(|written| *written == asked);
                (!whole, Covers::File(None))
            }
        };
        let outcome = (sync == WriteSync::File).then_some(Outcome::Written(result));
        let sync = Operation::Sync {
            file,
            cancelled,
            covers,
        };
        self.in_flight.push_front((token, sync));
        outcome
    }

    fn write(&mut self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let len = match self.fault(Step::Write) {
            Some(Fault::Error(number)) => return Err(error(number)),
            Some(Fault::Short(len)) => len.min(bytes.len()),
            None => bytes.len(),
        };
        let place = usize::try_from(at).expect("a place in a segment");
        if let Some(file) = self.files.get_mut(path) {
            file.write(place, &bytes[..len]);
        }
        self.calls.push(Call::Written {
            path: path.to_owned(),
            at,
            len,
        });
        Ok(len)
    }

    fn sync(&mut self, path: &Path, covers: &Covers) -> io::Result<()> {
        if let Some(failure) = self.failure(Step::Sync) {
            return Err(failure);
        }
        if let Some(file) = self.files.get_mut(path) {
            match covers {
                Covers::File(sectors) => {
                    for sector in sectors.iter().flatten() {
                        file.unsynced.remove(sector);
                    }
                }
                Covers::Range { range, .. } => file.sync(range.clone()),
            }
        }
        self.calls.push(Call::Synced {
            path: path.to_owned(),
            range: covers.range(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_of_a_range_makes_its_bytes_durable_and_not_those_beside_them() {
        let mut file = Memory {
            map: Some(Arc::new(Map::anonymous(4096).expect("memory"))),
            unsynced: BTreeMap::new(),
        };
        file.write(100, &[1; 1000]);
        file.write(300, &[2; 1000]);
        file.sync(300..1300);
        // Of the sectors from 0, 512 and 1024 the first alone has bytes that are not durable.
        let left: Vec<_> = file.unsynced.keys().copied().collect();
        assert_eq!(left, [0]);
        let medium = file.unsynced[&0];
        assert_eq!(medium[..300], [0; 300]);
        assert_eq!(medium[300..], [2; SECTOR - 300]);
    }
}
