//! A disk in memory for tests. It records every call; it can hold completions back, fail, write short and fill up; and it
//! can lose power, when a seed decides which of the unsynced sectors are kept.
//!
//! By default it performs every operation at once and in order. A paced disk performs one step at a time, in any order that
//! one of the real disks can show. Those have a housekeeper, one thread that starts to prepare, put, overwrite and unlink
//! files at the call, before any submission, and does so in order. The other operations may end in any order, since the
//! kernel's workers run syncs and populates independently. Only writes to one file keep their order: the kernel runs
//! buffered writes to one file one after the other, and a write that syncs its own range ends before the next one starts.
//! A sync of the whole file that follows a write delays no other operation. Among the completions of one call of `reap`,
//! those of the housekeeper come last.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::disk::{
    BlockRange, Completion, Content, Disk, Entry, FileId, Opened, Outcome, WriteSync,
};
use crate::sys::map::Map;
pub use chances::{Chances, Odds};
use chances::{Dice, Luck};
pub use fault::{Call, Fault, OpKind};
use medium::{Covers, Inner, Operation};
pub use paced::{Advanced, OpStage};
pub use random_damage::{Harm, HarmKind};

mod chances;
mod damage;
mod fault;
mod medium;
mod memory;
mod paced;
mod random_damage;
#[cfg(test)]
mod tests;

/// A disk in memory. Clones are handles of the same disk, so that a test keeps one while the store has another.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Rc<RefCell<Inner>>,
    /// Set by a crash: from then on calls of this handle do nothing.
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

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.borrow().calls.clone()
    }

    /// Sets whether calls are kept for [`Self::calls`]; by default they are. A crash does not change it.
    pub fn set_recording(&self, recording: bool) {
        self.inner.borrow_mut().forgetful = !recording;
    }

    /// Lets operations fail by chance, until other chances are set; by default none fails. Faults of
    /// [`Self::fail_next`] and [`Self::fail`] take precedence. After a crash the sequence of chances goes on.
    pub fn set_chances(&self, chances: Chances) {
        self.inner.borrow_mut().luck = Luck::new(chances);
    }

    /// Injects a fault into the next operation of a kind.
    pub fn fail_next(&self, step: OpKind, fault: Fault) {
        self.inner.borrow_mut().faults.push((step, fault));
    }

    /// Injects a fault into every operation of a kind, until [`Self::lift`].
    pub fn fail(&self, step: OpKind, fault: Fault) {
        self.inner.borrow_mut().lasting.push((step, fault));
    }

    /// Holds all operations of a kind back, until [`Self::lift`]. Others overtake them; on a paced disk only those whose
    /// order is free.
    pub fn hold(&self, step: OpKind) {
        self.inner.borrow_mut().holding.push(step);
    }

    /// Ends [`Self::fail`] and [`Self::hold`] for a kind of operations.
    pub fn lift(&self, step: OpKind) {
        let mut inner = self.inner.borrow_mut();
        inner.lasting.retain(|(kind, _)| *kind != step);
        inner.holding.retain(|kind| *kind != step);
    }

    /// Limits the bytes of all files; `None` lifts the limit. Only preparing a segment fails at the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.borrow_mut().capacity = bytes;
    }

    /// Lets only so many more operations complete, renames included; `None` lets all of them.
    pub fn allow(&self, operations: Option<u64>) {
        self.inner.borrow_mut().allowance = operations;
    }

    /// Sets whether submissions take nothing, as those of a kernel that is short of memory.
    pub fn refuse(&self, refusing: bool) {
        self.inner.borrow_mut().refusing = refusing;
    }

    /// Operations that have neither completed nor failed.
    #[must_use]
    pub fn held(&self) -> usize {
        let inner = self.inner.borrow();
        inner.queued.len() + inner.in_flight.len()
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

    /// Ends the process: the kernel keeps completed writes, and operations in flight are lost in part. Calls of the old
    /// handle and its store do nothing any more. Returns the disk for the next start.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        self.end(seed, false)
    }

    /// Cuts the power: each unsynced sector is kept or lost, as the seed decides. Otherwise as [`Self::kill`].
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
            let remains = file.remains(power, || dice.roll(2) == 0);
            files.insert(path, remains.expect("memory for the copy"));
        }
        Self {
            inner: Rc::new(RefCell::new(Inner {
                files,
                boot_id: inner.boot_id + u128::from(power),
                capacity: inner.capacity,
                paced: inner.paced,
                forgetful: inner.forgetful,
                luck: inner.luck,
                ..Inner::default()
            })),
            dead: Rc::default(),
        }
    }

    /// Takes an operation of the housekeeper, which starts before the next submission.
    fn housekeep(&self, token: u64, operation: Operation) {
        let mut inner = self.inner.borrow_mut();
        let operations = match inner.paced {
            true => &mut inner.in_flight,
            false => &mut inner.queued,
        };
        operations.push_back((token, operation));
    }
}

impl Disk for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, sync: WriteSync) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.path(file);
        inner.record(|| Call::Write {
            path: file.clone(),
            at,
            len: bytes.bytes().len(),
            sync,
        });
        inner.queued.push_back((
            token,
            Operation::Write {
                file,
                at,
                bytes,
                sync,
            },
        ));
    }

    fn sync(&mut self, token: u64, file: FileId) {
        let mut inner = self.inner.borrow_mut();
        let sync = Operation::Sync {
            file: inner.path(file),
            cancelled: false,
            covers: Covers::File(None),
        };
        inner.queued.push_back((token, sync));
    }

    fn populate(&mut self, token: u64, map: Arc<Map>, range: Range<usize>) {
        let mut inner = self.inner.borrow_mut();
        let operation = Operation::Populate { map, range };
        inner.queued.push_back((token, operation));
    }

    fn prepare(&mut self, token: u64, path: PathBuf, size: u64) {
        self.housekeep(token, Operation::Prepare { path, size });
    }

    fn put(&mut self, token: u64, path: PathBuf, content: Content) {
        let content = content();
        self.housekeep(token, Operation::Put { path, content });
    }

    fn overwrite(&mut self, token: u64, path: PathBuf, content: Vec<u8>) {
        self.housekeep(token, Operation::Overwrite { path, content });
    }

    fn unlink(&mut self, token: u64, paths: Vec<PathBuf>) {
        self.housekeep(token, Operation::Unlink { paths });
    }

    fn close(&mut self, file: FileId) {
        self.inner.borrow_mut().open[file.0 as usize] = None;
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.dead.get() {
            return Ok(());
        }
        let mut inner = self.inner.borrow_mut();
        if inner.refusing {
            return Ok(());
        }
        if !inner.queued.is_empty() {
            inner.submissions += 1;
        }
        let queued = std::mem::take(&mut inner.queued);
        inner.in_flight.extend(queued);
        inner.run();
        Ok(())
    }

    fn is_behind(&self) -> bool {
        let inner = self.inner.borrow();
        inner.refusing && !inner.queued.is_empty()
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut inner = self.inner.borrow_mut();
        inner.run();
        if inner.paced {
            // The housekeeper's completions are taken last.
            inner
                .done
                .sort_by_key(|done| is_housekeepers(&done.outcome));
        }
        out.append(&mut inner.done);
    }

    fn wait(&mut self) -> io::Result<()> {
        self.submit()?;
        let mut inner = self.inner.borrow_mut();
        if inner.paced {
            inner.advance_until_done();
        }
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

    fn submissions(&self) -> u64 {
        self.inner.borrow().submissions
    }

    fn make_dir(&mut self, _dir: &Path) -> io::Result<()> {
        self.inner.borrow_mut().block()
    }

    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        let files = inner.files.iter();
        Ok(files
            .filter(|(path, _)| path.parent() == Some(dir))
            .filter_map(|(path, file)| {
                Some(Entry {
                    name: path.file_name()?.to_str()?.to_owned(),
                    bytes: file.map().len(),
                    is_file: true,
                })
            })
            .collect())
    }

    fn read(&mut self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        inner.read(path, at, out)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        inner.rename(from, to)
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        inner.exchange(a, b)
    }

    fn open(&mut self, path: &Path) -> io::Result<Opened> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        inner.open(path)
    }

    fn map(&mut self, path: &Path) -> io::Result<Arc<Map>> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        let file = inner.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file.map()))
    }

    fn free_bytes(&mut self, _dir: &Path) -> io::Result<u64> {
        let mut inner = self.inner.borrow_mut();
        inner.block()?;
        let used: u64 = inner.files.values().map(|file| file.map().len()).sum();
        Ok(inner
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(used)))
    }

    fn boot_id(&mut self) -> io::Result<u128> {
        Ok(self.inner.borrow().boot_id)
    }
}

/// Whether a housekeeper performs operations with this outcome.
fn is_housekeepers(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Written(_) | Outcome::Synced(_) | Outcome::Populated(_) => false,
        Outcome::Prepared(_) | Outcome::Put(_) | Outcome::Overwritten(_) | Outcome::Unlinked(_) => {
            true
        }
    }
}
