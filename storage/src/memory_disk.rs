//! A disk in memory for tests: it records every call, can hold completions back, fail, fall short and fill up, and it
//! can lose power, keeping or losing each sector that was not synced as a seed decides.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::disk::{BlockRange, Completion, Content, Disk, Entry, FileId, Opened, Outcome};
use crate::sys::map::Map;

/// What a disk is surely able to write at once.
const SECTOR: usize = 512;

/// A call, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A write was handed over.
    Write {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Bytes.
        len: usize,
        /// Whether a sync is linked to it.
        then_sync: bool,
    },
    /// A write has completed with so many bytes.
    Written {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// A sync has started: it covers the writes completed before.
    SyncStarted {
        /// The file.
        path: PathBuf,
    },
    /// A sync has completed.
    Synced {
        /// The file.
        path: PathBuf,
    },
    /// A segment was prepared.
    Prepared {
        /// The file.
        path: PathBuf,
    },
    /// A file was replaced.
    Put {
        /// The file.
        path: PathBuf,
    },
    /// A file was removed.
    Unlinked {
        /// The file.
        path: PathBuf,
    },
}

/// Which operation a [`Fault`] meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A write.
    Write,
    /// A sync.
    Sync,
    /// A new segment.
    Prepare,
    /// A replaced file.
    Put,
    /// A populate.
    Populate,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with this error number.
    Error(i32),
    /// A write stops after so many bytes.
    Short(usize),
}

#[derive(Debug, Default)]
struct Memory {
    map: Option<Arc<Map>>,
    /// Sectors that differ from the medium, with what the medium has.
    unsynced: BTreeMap<usize, [u8; SECTOR]>,
}

impl Memory {
    fn map(&self) -> &Arc<Map> {
        self.map.as_ref().expect("every file has content")
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
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
enum Operation {
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
struct Inner {
    files: BTreeMap<PathBuf, Memory>,
    open: Vec<Option<PathBuf>>,
    queued: VecDeque<(u64, Operation)>,
    in_flight: VecDeque<(u64, Operation)>,
    done: Vec<Completion>,
    calls: Vec<Call>,
    faults: Vec<(Step, Fault)>,
    /// Bytes that may be prepared in total, if limited.
    capacity: Option<u64>,
    /// Operations that may still complete; the others stay in flight.
    allowance: Option<u64>,
    submissions: u64,
    boot_id: u128,
}

/// The disk. Clones are handles on the same one, so that a test keeps one while the store has the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Rc<RefCell<Inner>>,
    /// Whether this handle's store still runs; after a crash its calls do nothing.
    dead: Rc<Cell<bool>>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        let disk = Self::default();
        disk.inner.borrow_mut().boot_id = 1;
        disk
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.borrow().calls.clone()
    }

    /// Lets the next operation of a kind go wrong.
    pub fn fail_next(&self, step: Step, fault: Fault) {
        self.inner.borrow_mut().faults.push((step, fault));
    }

    /// Limits what segments may take in total; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.borrow_mut().capacity = bytes;
    }

    /// Lets only so many more operations complete; `None` lets all.
    pub fn allow(&self, operations: Option<u64>) {
        self.inner.borrow_mut().allowance = operations;
    }

    /// Operations that have neither completed nor failed.
    #[must_use]
    pub fn held(&self) -> usize {
        let inner = self.inner.borrow();
        inner.queued.len() + inner.in_flight.len()
    }

    /// What a file holds.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner.borrow();
        let file = inner.files.get(path)?;
        Some(file.map().all().to_vec())
    }

    /// Changes a byte of a file, as a bad medium does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn damage(&self, path: &Path, at: usize) {
        let inner = self.inner.borrow();
        let map = inner.files[path].map();
        let changed = [map.bytes(at..at + 1)[0] ^ 0x55];
        map.store(at, &changed);
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) {
        self.inner.borrow_mut().files.remove(path);
    }

    /// The files and their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let inner = self.inner.borrow();
        let files = inner.files.iter();
        files
            .map(|(path, file)| (path.clone(), file.map().len()))
            .collect()
    }

    /// The end of the process: what the kernel has it keeps, what is in flight is lost in part. The old handle and its
    /// store do nothing any more.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        self.end(seed, false)
    }

    /// The end of power: of the sectors that were not synced, each is kept or lost as the seed decides.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.end(seed, true)
    }

    fn end(&self, seed: u64, power: bool) -> Self {
        self.dead.set(true);
        let mut dice = Dice(seed);
        let mut inner = std::mem::take(&mut *self.inner.borrow_mut());
        inner.apply_in_part(&mut dice);
        let mut files = BTreeMap::new();
        for (path, file) in inner.files {
            // A new map, since the old store's readers may still look at the old one.
            let map = Map::anonymous(file.map().len()).expect("memory for the copy");
            copy_used(file.map(), &map);
            if power {
                for (sector, old) in &file.unsynced {
                    if dice.roll(2) == 0 {
                        let at = sector * SECTOR;
                        let len = old.len().min(map.all().len() - at);
                        map.store(at, &old[..len]);
                    }
                }
            }
            let unsynced = if power {
                BTreeMap::new()
            } else {
                file.unsynced
            };
            let map = Some(Arc::new(map));
            files.insert(path, Memory { map, unsynced });
        }
        Self {
            inner: Rc::new(RefCell::new(Inner {
                files,
                boot_id: inner.boot_id + u128::from(power),
                capacity: inner.capacity,
                ..Inner::default()
            })),
            dead: Rc::default(),
        }
    }
}

/// Copies what is not zero: segments are mostly untouched memory, and stay so.
fn copy_used(from: &Map, to: &Map) {
    let len = from.all().len();
    for start in (0..len).step_by(SECTOR) {
        let bytes = from.bytes(start..len.min(start + SECTOR));
        if bytes != &[0; SECTOR][..bytes.len()] {
            to.store(start, bytes);
        }
    }
}

/// A small generator, so that a seed means the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("fewer than the sides")
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Inner {
    fn fault(&mut self, step: Step) -> Option<Fault> {
        let at = self.faults.iter().position(|(kind, _)| *kind == step)?;
        Some(self.faults.remove(at).1)
    }

    fn failure(&mut self, step: Step) -> Option<io::Error> {
        match self.fault(step)? {
            Fault::Error(number) => Some(error(number)),
            Fault::Short(_) => None,
        }
    }

    /// What was on its way when the end came may have happened.
    fn apply_in_part(&mut self, dice: &mut Dice) {
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

    fn put(&mut self, path: &Path, content: &[u8]) -> io::Result<Arc<Map>> {
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

    fn prepare(&mut self, path: &Path, size: u64) -> io::Result<Opened> {
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

    fn open(&mut self, path: &Path) -> io::Result<Opened> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let map = Arc::clone(file.map());
        self.open.push(Some(path.to_owned()));
        let file = u32::try_from(self.open.len() - 1).expect("a test opens few files");
        Ok(Opened {
            file: FileId(file),
            map,
        })
    }

    fn path(&self, file: FileId) -> PathBuf {
        let path = self.open[file.0 as usize].clone();
        path.expect("the file was not closed")
    }

    fn run(&mut self) {
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
    fn start_sync(&mut self) {
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

    fn perform(&mut self, token: u64, operation: Operation) -> Outcome {
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

    fn sync(&mut self, path: &Path, covers: Vec<usize>) -> io::Result<()> {
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

impl Disk for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, then_sync: bool) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.path(file);
        inner.calls.push(Call::Write {
            path: file.clone(),
            at,
            len: bytes.bytes().len(),
            then_sync,
        });
        inner.queued.push_back((
            token,
            Operation::Write {
                file,
                at,
                bytes,
                then_sync,
            },
        ));
    }

    fn sync(&mut self, token: u64, file: FileId) {
        let mut inner = self.inner.borrow_mut();
        let sync = Operation::Sync {
            file: inner.path(file),
            cancelled: false,
            covers: None,
        };
        inner.queued.push_back((token, sync));
    }

    fn populate(&mut self, token: u64, _map: Arc<Map>, _range: Range<usize>) {
        let mut inner = self.inner.borrow_mut();
        inner.queued.push_back((token, Operation::Populate));
    }

    fn prepare(&mut self, token: u64, path: PathBuf, size: u64) {
        let mut inner = self.inner.borrow_mut();
        let operation = Operation::Prepare { path, size };
        inner.queued.push_back((token, operation));
    }

    fn put(&mut self, token: u64, path: PathBuf, content: Content) {
        let content = content();
        let mut inner = self.inner.borrow_mut();
        let operation = Operation::Put { path, content };
        inner.queued.push_back((token, operation));
    }

    fn unlink(&mut self, token: u64, paths: Vec<PathBuf>) {
        let mut inner = self.inner.borrow_mut();
        inner.queued.push_back((token, Operation::Unlink { paths }));
    }

    fn close(&mut self, file: FileId) {
        self.inner.borrow_mut().open[file.0 as usize] = None;
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.dead.get() {
            return Ok(());
        }
        let mut inner = self.inner.borrow_mut();
        if !inner.queued.is_empty() {
            inner.submissions += 1;
        }
        let queued = std::mem::take(&mut inner.queued);
        inner.in_flight.extend(queued);
        inner.run();
        Ok(())
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut inner = self.inner.borrow_mut();
        inner.run();
        out.append(&mut inner.done);
    }

    fn wait(&mut self) -> io::Result<()> {
        self.submit()?;
        let inner = self.inner.borrow();
        if !inner.done.is_empty() {
            Ok(())
        } else if inner.in_flight.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn drain_wake(&mut self) {}

    fn submissions(&self) -> u64 {
        self.inner.borrow().submissions
    }

    fn make_dir(&mut self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.inner.borrow();
        let files = inner.files.iter();
        Ok(files
            .filter(|(path, _)| path.parent() == Some(dir))
            .filter_map(|(path, file)| {
                Some(Entry {
                    name: path.file_name()?.to_str()?.to_owned(),
                    bytes: file.map().len(),
                })
            })
            .collect())
    }

    fn open(&mut self, path: &Path) -> io::Result<Opened> {
        self.inner.borrow_mut().open(path)
    }

    fn map(&mut self, path: &Path) -> io::Result<Arc<Map>> {
        let inner = self.inner.borrow();
        let file = inner.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file.map()))
    }

    fn free_bytes(&mut self, _dir: &Path) -> io::Result<u64> {
        let inner = self.inner.borrow();
        let used: u64 = inner.files.values().map(|file| file.map().len()).sum();
        Ok(inner
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(used)))
    }

    fn boot_id(&mut self) -> io::Result<u128> {
        Ok(self.inner.borrow().boot_id)
    }
}
