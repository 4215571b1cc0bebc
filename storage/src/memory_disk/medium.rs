//! The inside of the memory disk: files with their unsynced sectors, and the operations on their way.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Call, Fault, Step};
use crate::disk::{BlockRange, Completion, FileId, Opened, Outcome};
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
}

#[derive(Debug)]
pub(super) enum Operation {
    Write {
        file: PathBuf,
        at: u64,
        bytes: BlockRange,
        then_sync: bool,
    },
    /// The sectors that it will have made durable, known when it starts.
    Sync {
        file: PathBuf,
        cancelled: bool,
        covers: Option<Vec<usize>>,
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

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub files: BTreeMap<PathBuf, Memory>,
    pub open: Vec<Option<PathBuf>>,
    pub queued: VecDeque<(u64, Operation)>,
    pub in_flight: VecDeque<(u64, Operation)>,
    pub done: Vec<Completion>,
    pub calls: Vec<Call>,
    pub faults: Vec<(Step, Fault)>,
    /// Bytes that may be prepared in total, if limited.
    pub capacity: Option<u64>,
    /// Operations that may still complete; the others stay in flight.
    pub allowance: Option<u64>,
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
        let at = self.faults.iter().position(|(kind, _)| *kind == step)?;
        Some(self.faults.remove(at).1)
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
            let Some((token, operation)) = self.in_flight.pop_front() else {
                return;
            };
            if let Some(allowance) = &mut self.allowance {
                *allowance -= 1;
            }
            let outcome = self.perform(token, operation);
            self.done.push(Completion { token, outcome });
        }
    }

    /// A sync that is next starts, even if it may not complete yet: it covers what was written until here.
    pub(super) fn start_sync(&mut self) {
        let Some((_, Operation::Sync { file, covers, .. })) = self.in_flight.front_mut() else {
            return;
        };
        if covers.is_none() {
            let memory = self.files.get(file);
            let sectors = memory.map(|file| file.unsynced.keys().copied().collect());
            *covers = Some(sectors.unwrap_or_default());
            self.calls.push(Call::SyncStarted { path: file.clone() });
        }
    }

    pub(super) fn perform(&mut self, token: u64, operation: Operation) -> Outcome {
        match operation {
            Operation::Write {
                file,
                at,
                bytes,
                then_sync,
            } => {
                let result = self.write(&file, at, bytes.bytes());
                if then_sync {
                    let whole = result.as_ref().is_ok_and(|len| *len == bytes.bytes().len());
                    let sync = Operation::Sync {
                        file,
                        cancelled: !whole,
                        covers: None,
                    };
                    self.in_flight.push_front((token, sync));
                }
                Outcome::Written(result)
            }
            Operation::Sync {
                cancelled: true, ..
            } => Outcome::Synced(Err(error(libc::ECANCELED))),
            Operation::Sync { file, covers, .. } => {
                Outcome::Synced(self.sync(&file, covers.unwrap_or_default()))
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
            Operation::Unlink { paths } => {
                for path in paths {
                    if self.files.remove(&path).is_some() {
                        self.calls.push(Call::Unlinked { path });
                    }
                }
                Outcome::Unlinked(Ok(()))
            }
        }
    }

    pub(super) fn write(&mut self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<usize> {
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

    pub(super) fn sync(&mut self, path: &Path, covers: Vec<usize>) -> io::Result<()> {
        if let Some(failure) = self.failure(Step::Sync) {
            return Err(failure);
        }
        if let Some(file) = self.files.get_mut(path) {
            for sector in covers {
                file.unsynced.remove(&sector);
            }
        }
        self.calls.push(Call::Synced {
            path: path.to_owned(),
        });
        Ok(())
    }
}
