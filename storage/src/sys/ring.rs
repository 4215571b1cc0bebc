//! The disk on io_uring: writes with their syncs, populates, and an eventfd that wakes the shard.
//!
//! The housekeeper makes, replaces and removes files. The kernel's workers run all operations of the ring: buffered writes
//! on ext4, syncs and populates block. So the ring does not use `DEFER_TASKRUN`: with it the shard would have to enter the
//! kernel to take a completion, would be woken twice for it, and would have to enter again to start a linked operation.
//! Without it a worker starts the linked operation itself, and puts the completion where the shard sees it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use slab::Slab;

use super::file;
use super::housekeeper::{DROP_WAIT, Files, Housekeeper, Wake};
use super::links::Links;
use super::map::Map;
use crate::disk::{
    BlockRange, Completion, Content, Disk, Entry, FileId, Opened, Outcome, WriteSync,
};

/// Submission slots: a log has at most one write with its sync in flight, and one sync of each full segment; the rest are
/// populates.
const ENTRIES: u32 = 256;
/// How soon a waiting caller repeats a submission that the kernel has not taken.
const SUBMIT_RETRY: Duration = Duration::from_millis(1);

/// An operation in flight, with the memory that it uses.
enum InFlight {
    Write {
        token: u64,
        _bytes: BlockRange,
    },
    /// `severed`: it does not follow the write that it was linked to.
    Sync {
        token: u64,
        severed: bool,
    },
    Populate {
        token: u64,
        _map: Arc<Map>,
    },
}

/// io_uring.
pub(crate) struct UringDisk {
    ring: IoUring,
    in_flight: Slab<InFlight>,
    /// Operations that wait for submission slots; a link is one element.
    queued: VecDeque<[Option<squeue::Entry>; 2]>,
    links: Links,
    housekeeper: Housekeeper,
    files: Files,
    wake: Wake,
    submissions: u64,
    /// The kernel has not taken everything.
    behind: bool,
}

/// Checks that the kernel gives a ring with the operations that this disk needs.
pub(crate) fn probe() -> Result<(), String> {
    let mut ring = build().map_err(|error| format!("io_uring_setup: {error}"))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| format!("io_uring_register: {error}"))?;
    let needed = [
        (opcode::Write::CODE, "WRITE"),
        (opcode::Fsync::CODE, "FSYNC"),
        (opcode::Madvise::CODE, "MADVISE"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(format!("the kernel's io_uring has no {name}")),
        None => run_nothing(&mut ring).map_err(|error| format!("io_uring_enter: {error}")),
    }
}

/// Runs an operation that does nothing: a sandbox may allow to make a ring and forbid to use it.
fn run_nothing(ring: &mut IoUring) -> io::Result<()> {
    // SAFETY: the operation points to no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }
        .expect("a new ring has room for one");
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            entered => return entered.map(drop),
        }
    }
}

fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(ENTRIES)
        .or_else(|_| IoUring::new(ENTRIES))
}

impl UringDisk {
    pub(crate) fn open() -> io::Result<Self> {
        let wake = Wake::new()?;
        let ring = build()?;
        ring.submitter().register_eventfd(wake.fd())?;
        Ok(Self {
            ring,
            in_flight: Slab::with_capacity(ENTRIES as usize),
            queued: VecDeque::with_capacity(ENTRIES as usize),
            links: Links::default(),
            housekeeper: Housekeeper::start(wake.clone())?,
            files: Files::default(),
            wake,
            submissions: 0,
            behind: false,
        })
    }

    fn track(&mut self, operation: InFlight) -> u64 {
        self.in_flight.insert(operation) as u64
    }

    /// Moves queued operations into the submission slots, links undivided.
    fn fill(&mut self) {
        let mut slots = self.ring.submission();
        while let Some(operation) = self.queued.front() {
            let needed = operation.iter().flatten().count();
            if slots.capacity() - slots.len() < needed {
                break;
            }
            for (number, entry) in operation.iter().flatten().enumerate() {
                self.links.push(entry.get_user_data(), number > 0);
                // SAFETY: what the entry points to (block bytes, mapped pages, descriptors) is kept in `in_flight`
                // or `files` until its completion was reaped; `drop` waits for all of them, or keeps them for ever.
                unsafe { slots.push(entry) }.expect("the room was checked");
            }
            self.queued.pop_front();
        }
    }

    /// Hands the submission slots to the kernel, which may take only some of them.
    fn enter(&mut self) -> io::Result<usize> {
        let entered = self.ring.submit();
        self.note_severed();
        entered
    }

    /// Notes the sync whose link is severed, if the kernel has stopped between a write and its sync.
    fn note_severed(&mut self) {
        let left = self.ring.submission().len();
        let Some(key) = self.links.left(left) else {
            return;
        };
        if let Some(InFlight::Sync { severed, .. }) = self.in_flight.get_mut(slot_of(key)) {
            *severed = true;
        }
    }

    fn complete(&mut self, user_data: u64, result: i32) -> Completion {
        let done = |result: i32| {
            if result < 0 {
                Err(io::Error::from_raw_os_error(-result))
            } else {
                Ok(result.unsigned_abs() as usize)
            }
        };
        let (token, outcome) = match self.in_flight.remove(slot_of(user_data)) {
            InFlight::Write { token, .. } => (token, Outcome::Written(done(result))),
            InFlight::Sync { token, severed } => {
                let synced = match done(result) {
                    // As if it had been cancelled: it may have run before the write.
                    Ok(_) if severed => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
                    synced => synced.map(drop),
                };
                (token, Outcome::Synced(synced))
            }
            InFlight::Populate { token, .. } => (token, Outcome::Populated(done(result).map(drop))),
        };
        Completion { token, outcome }
    }
}

/// The slot in the slab that a completion names.
fn slot_of(user_data: u64) -> usize {
    usize::try_from(user_data).expect("a slab key was put in")
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        // The kernel still reads the buffers of what is in flight.
        let deadline = Instant::now() + DROP_WAIT;
        let mut forgotten = Vec::new();
        while !self.in_flight.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let waits = if self.behind { SUBMIT_RETRY } else { left };
            let waited = self.submit().and_then(|()| self.wake.wait_for(waits));
            if waited.is_err() || left.is_zero() {
                // Leaking keeps buffers valid and descriptors taken, whatever the kernel does with them: what a worker
                // has not begun is looked up by its descriptor's number.
                std::mem::forget(std::mem::take(&mut self.in_flight));
                std::mem::forget(std::mem::take(&mut self.files));
                return;
            }
            self.wake.drain();
            self.reap(&mut forgotten);
            forgotten.clear();
        }
    }
}

impl Disk for UringDisk {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, sync: WriteSync) {
        let fd = types::Fd(self.files.fd(file));
        let len = u32::try_from(bytes.bytes().len()).expect("a write stays within a block");
        let flags = match sync {
            WriteSync::Range => libc::RWF_DSYNC,
            WriteSync::None | WriteSync::File => 0,
        };
        let write = opcode::Write::new(fd, bytes.bytes().as_ptr(), len)
            .offset(at)
            .rw_flags(flags);
        let key = self.track(InFlight::Write {
            token,
            _bytes: bytes,
        });
        // Straight to a worker: some file systems would begin the write here, and with `RWF_DSYNC` wait for its sync.
        let write = write.build().user_data(key).flags(squeue::Flags::ASYNC);
        if sync == WriteSync::File {
            let key = self.track(InFlight::Sync {
                token,
                severed: false,
            });
            // A soft link: a failed or short write cancels the sync.
            let write = write.flags(squeue::Flags::IO_LINK);
            let sync = opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build()
                .user_data(key);
            self.queued.push_back([Some(write), Some(sync)]);
        } else {
            self.queued.push_back([Some(write), None]);
        }
    }

    fn sync(&mut self, token: u64, file: FileId) {
        let fd = types::Fd(self.files.fd(file));
        let key = self.track(InFlight::Sync {
            token,
            severed: false,
        });
        let sync = opcode::Fsync::new(fd)
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(key);
        self.queued.push_back([Some(sync), None]);
    }

    fn populate(&mut self, token: u64, map: Arc<Map>, range: Range<usize>) {
        let (start, len) = map.pages(&range);
        let len = libc::off_t::try_from(len).expect("a segment is at most 1 GiB");
        let key = self.track(InFlight::Populate { token, _map: map });
        let populate = opcode::Madvise::new(start, len, libc::MADV_POPULATE_READ)
            .build()
            .user_data(key);
        self.queued.push_back([Some(populate), None]);
    }

    fn prepare(&mut self, token: u64, path: PathBuf, size: u64) {
        self.housekeeper.prepare(token, path, size);
    }

    fn put(&mut self, token: u64, path: PathBuf, content: Content) {
        self.housekeeper.put(token, path, content);
    }

    fn overwrite(&mut self, token: u64, path: PathBuf, content: Vec<u8>) {
        self.housekeeper.overwrite(token, path, content);
    }

    fn unlink(&mut self, token: u64, paths: Vec<PathBuf>) {
        self.housekeeper.unlink(token, paths);
    }

    fn close(&mut self, file: FileId) {
        self.files.close(file);
    }

    fn submit(&mut self) -> io::Result<()> {
        loop {
            self.fill();
            let (empty, waiting) = {
                let slots = self.ring.submission();
                (slots.is_empty(), slots.taskrun())
            };
            self.behind = false;
            if empty && !waiting {
                return Ok(());
            }
            self.submissions += u64::from(!empty);
            match self.enter() {
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    // Completions have to be reaped first, or the kernel is short of memory.
                    Some(libc::EBUSY | libc::EAGAIN) => {
                        self.behind = true;
                        return Ok(());
                    }
                    _ => return Err(error),
                },
            }
            // The kernel stops early, without an error, at an operation that it has no memory for. If that was inside a
            // link, `note_severed` has noted it.
            self.behind = !self.ring.submission().is_empty();
            if self.behind || self.queued.is_empty() {
                return Ok(());
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.behind
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        if self.ring.submission().taskrun() || self.ring.submission().cq_overflow() {
            // The only error that matters shows again at the next submission.
            let _ = self.enter();
        }
        loop {
            let Some(entry) = self.ring.completion().next() else {
                break;
            };
            let completion = self.complete(entry.user_data(), entry.result());
            out.push(completion);
        }
        self.housekeeper.reap(&mut self.files, out);
    }

    fn wait(&mut self) -> io::Result<()> {
        self.submit()?;
        if self.in_flight.len() + self.housekeeper.in_flight() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.behind {
            // Perhaps no operation is in flight that could wake this thread.
            std::thread::sleep(SUBMIT_RETRY);
            return Ok(());
        }
        self.wake.wait()?;
        self.wake.drain();
        Ok(())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.wake.fd())
    }

    fn submissions(&self) -> u64 {
        self.submissions
    }

    fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
        file::make_dir(dir)
    }

    fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        file::list(dir)
    }

    fn read(&mut self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize> {
        file::read(path, at, out)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        file::rename(from, to)
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        file::exchange(a, b)
    }

    fn open(&mut self, path: &Path) -> io::Result<Opened> {
        self.files.open(path)
    }

    fn map(&mut self, path: &Path) -> io::Result<Arc<Map>> {
        file::map(path)
    }

    fn free_bytes(&mut self, dir: &Path) -> io::Result<u64> {
        file::free_bytes(dir)
    }

    fn boot_id(&mut self) -> io::Result<u128> {
        file::boot_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::arena::{ArenaOptions, ArenaPool};

    /// Lets the kernel take so many entries and no more.
    fn enter_some(disk: &mut UringDisk, entries: u32) {
        disk.fill();
        let none: Option<&libc::sigset_t> = None;
        // SAFETY: as in `fill`; no argument is handed over.
        let taken = unsafe { disk.ring.submitter().enter(entries, 0, 0, none) };
        assert_eq!(taken.expect("the kernel takes them"), entries as usize);
        disk.note_severed();
    }

    /// Writes a range and syncs the file; the kernel takes so many entries at first. Returns both results.
    fn write(at_first: u32) -> Option<(io::Result<usize>, io::Result<()>)> {
        probe().ok()?;
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("segment");
        std::fs::write(&path, [0; 8192]).expect("a file");
        let mut disk = UringDisk::open().expect("a ring");
        let file = disk.files.open(&path).expect("the file is there").file;
        let pool = ArenaPool::new(&ArenaOptions::default()).expect("an arena");
        let mut writer = pool.take_waiting().expect("a block");
        writer.append(8192, |bytes| bytes.fill(7));
        let bytes = BlockRange::new(Arc::clone(writer.block()), 0..8192);
        disk.write(1, file, 0, bytes, WriteSync::File);
        enter_some(&mut disk, at_first);
        let (mut done, mut written, mut synced) = (Vec::new(), None, None);
        while written.is_none() || synced.is_none() {
            disk.wait().expect("something is in flight");
            disk.reap(&mut done);
            for completion in done.drain(..) {
                match completion.outcome {
                    Outcome::Written(result) => written = Some(result),
                    Outcome::Synced(result) => synced = Some(result),
                    other => panic!("{other:?}"),
                }
            }
        }
        written.zip(synced)
    }

    #[test]
    fn a_sync_that_the_kernel_took_apart_from_its_write_is_reported_as_cancelled() {
        for (at_first, synced) in [(2, None), (1, Some(libc::ECANCELED)), (0, None)] {
            let Some(ended) = write(at_first) else {
                eprintln!("io_uring is not tested");
                return;
            };
            let error = ended.1.err().map(|error| error.raw_os_error());
            assert_eq!(ended.0.ok(), Some(8192));
            assert_eq!(error, synced.map(Some), "{at_first} at first");
        }
    }
}
