//! The state of the memory disk: its files, and the operations in flight.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chances::{Dice, Luck};
use super::fault::{Call, Fault, OpKind};
use super::memory::{Memory, Noted, SECTOR, error};
use crate::disk::{BlockRange, Completion, FileId, Opened, Outcome, WriteSync};
use crate::names::aside;
use crate::sys::file::occupied;
use crate::sys::map::Map;

/// What a sync makes durable.
#[derive(Debug)]
pub(super) enum Covers {
    /// What differs from the medium when the sync starts; `None` before that.
    File(Option<Noted>),
    /// What a write has just written; the sync is the second half of that write.
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
    Populate {
        map: Arc<Map>,
        range: Range<usize>,
    },
    Prepare {
        path: PathBuf,
        size: u64,
    },
    Put {
        path: PathBuf,
        content: Vec<u8>,
    },
    Overwrite {
        path: PathBuf,
        content: Vec<u8>,
    },
    Unlink {
        paths: Vec<PathBuf>,
    },
}

impl Operation {
    pub(super) fn step(&self) -> OpKind {
        match self {
            Self::Write { .. } => OpKind::Write,
            Self::Sync { .. } => OpKind::Sync,
            Self::Populate { .. } => OpKind::Populate,
            Self::Overwrite { .. } => OpKind::Overwrite,
            Self::Prepare { .. } => OpKind::Prepare,
            Self::Put { .. } => OpKind::Put,
            Self::Unlink { .. } => OpKind::Unlink,
        }
    }

    /// Updates a sync that has started: another one has made newer bytes durable meanwhile.
    fn renew(&mut self, path: &Path, map: &Map, range: &Range<usize>) {
        if let Self::Sync {
            file,
            covers: Covers::File(Some(noted)),
            ..
        } = self
            && file == path
        {
            noted.renew(map, range);
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
    /// Calls are not kept.
    pub forgetful: bool,
    /// Operations are performed one step at a time, when told to.
    pub paced: bool,
    /// Faults by chance.
    pub luck: Luck,
    /// Faults of the next operation of a kind.
    pub faults: Vec<(OpKind, Fault)>,
    /// Faults of all operations of a kind.
    pub lasting: Vec<(OpKind, Fault)>,
    /// Kinds of operations that are held back.
    pub holding: Vec<OpKind>,
    /// Bytes that may be prepared in total, if limited.
    pub capacity: Option<u64>,
    /// Operations that may still complete; the others stay in flight.
    pub allowance: Option<u64>,
    /// Submissions leave everything where it is.
    pub refusing: bool,
    pub submissions: u64,
    pub boot_id: u128,
}

/// Whether a fault concerns the order of a write and its sync.
fn reorders(fault: Fault) -> bool {
    matches!(fault, Fault::Severed | Fault::Overtaken)
}

impl Inner {
    /// Keeps a call, if calls are kept.
    pub(super) fn record(&mut self, call: impl FnOnce() -> Call) {
        if !self.forgetful {
            self.calls.push(call());
        }
    }

    /// The fault of an operation of so many bytes, if it has one.
    fn fault(&mut self, step: OpKind, len: usize) -> Option<Fault> {
        let meets = |(kind, fault): &(OpKind, Fault)| *kind == step && !reorders(*fault);
        if let Some(at) = self.faults.iter().position(meets) {
            return Some(self.faults.remove(at).1);
        }
        let lasting = self.lasting.iter().copied().find(meets);
        lasting
            .map(|(_, fault)| fault)
            .or_else(|| self.luck.fault(step, len))
    }

    /// Fails a blocking call by chance.
    pub(super) fn block(&mut self) -> io::Result<()> {
        match self.luck.fails_opening() {
            true => Err(error(libc::EIO)),
            false => Ok(()),
        }
    }

    /// The fault by which a sync runs before its write, if there is one.
    fn reorder(&mut self) -> Option<Fault> {
        let at = self.faults.iter().position(|(_, fault)| reorders(*fault))?;
        Some(self.faults.remove(at).1)
    }

    pub(super) fn failure(&mut self, step: OpKind) -> Option<io::Error> {
        match self.fault(step, 0)? {
            Fault::Error(number) => Some(error(number)),
            Fault::Short(_) | Fault::Severed | Fault::Overtaken => None,
        }
    }

    /// Performs some of the operations in flight, in part: they may have happened when the process ended.
    pub(super) fn apply_in_part(&mut self, dice: &mut Dice) {
        if self.paced {
            self.apply_in_order(dice);
            return;
        }
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
                Operation::Overwrite { path, content } => {
                    self.overwrite_in_part(&path, &content, dice);
                }
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

    fn has_length(&self, path: &Path, len: usize) -> bool {
        let file = self.files.get(path);
        file.is_some_and(|file| file.map().len() == len as u64)
    }

    pub(super) fn overwrite_in_part(&mut self, path: &Path, content: &[u8], dice: &mut Dice) {
        if !self.has_length(path, content.len()) {
            if dice.roll(2) == 0 {
                drop(self.put(path, content));
            }
            return;
        }
        let file = self.files.get_mut(path).expect("it has a length");
        for (number, sector) in content.chunks(SECTOR).enumerate() {
            if dice.roll(2) == 0 {
                file.store(number * SECTOR, sector);
            }
        }
    }

    pub(super) fn overwrite(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        if !self.has_length(path, content.len()) {
            return self.put(path, content);
        }
        let file = self.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.store(0, content);
        file.unreadable.clear();
        self.record(|| Call::Overwritten {
            path: path.to_owned(),
        });
        Ok(())
    }

    pub(super) fn put(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.files.insert(path.to_owned(), Memory::new(content)?);
        self.record(|| Call::Put {
            path: path.to_owned(),
        });
        Ok(())
    }

    pub(super) fn read(&self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        file.read(at, out)
    }

    /// Fails a blocking call that changes names, if a fault or the allowance says so.
    fn before_rename(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failure(OpKind::Rename) {
            return Err(failure);
        }
        match &mut self.allowance {
            Some(0) => return Err(io::ErrorKind::TimedOut.into()),
            Some(allowance) => *allowance -= 1,
            None => {}
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.before_rename()?;
        if self.files.contains_key(from) && self.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.insert(to.to_owned(), file);
        for open in self.open.iter_mut().flatten().filter(|open| *open == from) {
            to.clone_into(open);
        }
        self.record(|| Call::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    pub(super) fn exchange(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        self.before_rename()?;
        if !self.files.contains_key(a) || !self.files.contains_key(b) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = &mut self.files;
        let (of_a, of_b) = (files.remove(a), files.remove(b));
        files.extend(of_a.map(|file| (b.to_owned(), file)));
        files.extend(of_b.map(|file| (a.to_owned(), file)));
        for open in self.open.iter_mut().flatten() {
            if open == a {
                b.clone_into(open);
            } else if open == b {
                a.clone_into(open);
            }
        }
        self.record(|| Call::Exchanged {
            a: a.to_owned(),
            b: b.to_owned(),
        });
        Ok(())
    }

    pub(super) fn prepare(&mut self, path: &Path, size: u64) -> io::Result<Opened> {
        if let Some(file) = self.files.get(path) {
            if file.map().len() == size && file.used_bytes() == 0 {
                return self.open(path);
            }
            let mut asides = (1..).map(|number| aside(path, number));
            let aside = asides.find(|aside| !self.files.contains_key(aside));
            let aside = aside.expect("there are enough numbers");
            self.rename(path, &aside)?;
            return Err(occupied(path, &aside));
        }
        let used: u64 = self.files.values().map(|file| file.map().len()).sum();
        if self.capacity.is_some_and(|capacity| used + size > capacity) {
            return Err(error(libc::ENOSPC));
        }
        self.files.insert(path.to_owned(), Memory::zeroes(size)?);
        self.record(|| Call::Prepared {
            path: path.to_owned(),
        });
        self.open(path)
    }

    fn unlink(&mut self, paths: Vec<PathBuf>) -> io::Result<()> {
        for path in paths {
            if self.files.remove(&path).is_some() {
                self.record(|| Call::Unlinked { path });
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

    /// Performs the operations in flight, unless the disk is paced.
    pub(super) fn run(&mut self) {
        if self.paced {
            return;
        }
        loop {
            let next = self.next();
            self.start_sync(next.unwrap_or(0));
            if self.allowance == Some(0) {
                return;
            }
            let Some((token, operation)) = next.and_then(|next| self.in_flight.remove(next)) else {
                return;
            };
            if let Some(allowance) = &mut self.allowance {
                *allowance -= 1;
            }
            if let Some(outcome) = self.perform(0, token, operation) {
                self.done.push(Completion { token, outcome });
            }
        }
    }

    /// Place of the first operation in flight that is not held back.
    fn next(&self) -> Option<usize> {
        let free = |(_, operation): &(u64, Operation)| !self.holding.contains(&operation.step());
        self.in_flight.iter().position(free)
    }

    /// Starts the sync at a place in flight, even if it may not complete yet: it covers what was written until now.
    /// Returns false if it has started already, or the operation is no sync.
    pub(super) fn start_sync(&mut self, place: usize) -> bool {
        let Some((_, Operation::Sync { file, covers, .. })) = self.in_flight.get_mut(place) else {
            return false;
        };
        match covers {
            Covers::File(None) => {
                let memory = self.files.get(file);
                *covers = Covers::File(Some(memory.map(Memory::note).unwrap_or_default()));
            }
            Covers::Range { started, .. } if !*started => *started = true,
            _ => return false,
        }
        if !self.forgetful {
            self.calls.push(Call::SyncStarted {
                path: file.clone(),
                range: covers.range(),
            });
        }
        true
    }

    /// Performs an operation, or its first half: the second half is then in flight at `place`. Returns the outcome if there is
    /// one by now.
    pub(super) fn perform(
        &mut self,
        place: usize,
        token: u64,
        operation: Operation,
    ) -> Option<Outcome> {
        Some(match operation {
            write @ Operation::Write { .. } => return self.perform_write(place, token, write),
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
            Operation::Populate { map, range } => {
                let lost = map.is_unreadable(range).then(|| error(libc::EFAULT));
                let failure = self.failure(OpKind::Populate).or(lost);
                Outcome::Populated(failure.map_or(Ok(()), Err))
            }
            Operation::Prepare { path, size } => Outcome::Prepared(
                self.failure(OpKind::Prepare)
                    .map_or_else(|| self.prepare(&path, size), Err),
            ),
            Operation::Put { path, content } => Outcome::Put(
                self.failure(OpKind::Put)
                    .map_or_else(|| self.put(&path, &content), Err)
                    .map(|()| content),
            ),
            Operation::Overwrite { path, content } => Outcome::Overwritten(
                self.failure(OpKind::Overwrite)
                    .map_or_else(|| self.overwrite(&path, &content), Err),
            ),
            Operation::Unlink { paths } => Outcome::Unlinked(
                self.failure(OpKind::Unlink)
                    .map_or_else(|| self.unlink(paths), Err),
            ),
        })
    }

    /// Performs a write, or, in the wrong order, the sync that was to follow it.
    fn perform_write(
        &mut self,
        place: usize,
        token: u64,
        mut operation: Operation,
    ) -> Option<Outcome> {
        let Operation::Write {
            file,
            at,
            bytes,
            sync,
        } = &mut operation
        else {
            unreachable!("it is a write");
        };
        if *sync == WriteSync::File
            && let Some(fault) = self.reorder()
        {
            let synced = self.sync_early(file, fault);
            *sync = WriteSync::None;
            self.in_flight.insert(place, (token, operation));
            return Some(Outcome::Synced(synced));
        }
        let asked = bytes.bytes().len();
        let result = self.write(file, *at, bytes.bytes());
        let (cancelled, covers) = match (*sync, &result) {
            (WriteSync::None, _) | (WriteSync::Range, Err(_)) => {
                return Some(Outcome::Written(result));
            }
            (WriteSync::Range, Ok(written)) => {
                let at = usize::try_from(*at).expect("a place in a segment");
                let (range, started) = (at..at + written, false);
                (false, Covers::Range { range, started })
            }
            (WriteSync::File, result) => {
                let whole = result.as_ref().is_ok_and(|written| *written == asked);
                (!whole, Covers::File(None))
            }
        };
        let outcome = (*sync == WriteSync::File).then_some(Outcome::Written(result));
        let sync = Operation::Sync {
            file: std::mem::take(file),
            cancelled,
            covers,
        };
        self.in_flight.insert(place, (token, sync));
        outcome
    }

    fn write(&mut self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let len = match self.fault(OpKind::Write, bytes.len()) {
            Some(Fault::Error(number)) => return Err(error(number)),
            Some(Fault::Short(len)) => len.min(bytes.len()),
            _ => bytes.len(),
        };
        let place = usize::try_from(at).expect("a place in a segment");
        if let Some(file) = self.files.get_mut(path) {
            file.write(place, &bytes[..len]);
        }
        self.record(|| Call::Written {
            path: path.to_owned(),
            at,
            len,
        });
        Ok(len)
    }

    /// Runs the sync that was to follow a write before it.
    fn sync_early(&mut self, path: &Path, fault: Fault) -> io::Result<()> {
        let memory = self.files.get(path);
        let covers = Covers::File(Some(memory.map(Memory::note).unwrap_or_default()));
        self.record(|| Call::SyncStarted {
            path: path.to_owned(),
            range: None,
        });
        let synced = self.sync(path, &covers);
        match fault {
            Fault::Severed => synced.and(Err(error(libc::ECANCELED))),
            _ => synced,
        }
    }

    fn sync(&mut self, path: &Path, covers: &Covers) -> io::Result<()> {
        if let Some(failure) = self.failure(OpKind::Sync) {
            if let Some(file) = self.files.get_mut(path) {
                match covers {
                    Covers::File(noted) => noted.iter().for_each(|noted| file.forsake(noted)),
                    Covers::Range { range, .. } => file.forsake_range(range),
                }
            }
            return Err(failure);
        }
        if let Some(file) = self.files.get_mut(path) {
            match covers {
                Covers::File(noted) => noted.iter().for_each(|noted| file.settle(noted, || true)),
                Covers::Range { range, .. } => {
                    file.sync(range.clone());
                    for (_, operation) in &mut self.in_flight {
                        operation.renew(path, file.map(), range);
                    }
                }
            }
        }
        self.record(|| Call::Synced {
            path: path.to_owned(),
            range: covers.range(),
        });
        Ok(())
    }
}
