//! The disk where io_uring is forbidden: one thread that writes, syncs and populates in order.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::housekeeper::{Files, Housekeeper, Wake, end};
use super::map::Map;
use super::{file, is_refused};
use crate::disk::{
    BlockRange, Completion, Content, Disk, Entry, FileId, Opened, Outcome, WriteSync,
};

enum Job {
    Write {
        fd: RawFd,
        at: u64,
        bytes: BlockRange,
        sync: WriteSync,
    },
    Sync {
        fd: RawFd,
    },
    Populate {
        map: Arc<Map>,
        range: Range<usize>,
    },
}

/// `pwrite` and `fdatasync` in a thread of their own.
pub(crate) struct ThreadDisk {
    jobs: Option<Sender<(u64, Job)>>,
    done: Receiver<Completion>,
    thread: Option<JoinHandle<()>>,
    /// Set when the thread is detached: it starts no job from then on.
    abandoned: Arc<AtomicBool>,
    housekeeper: Housekeeper,
    files: Files,
    wake: Wake,
    queued: Vec<(u64, Job)>,
    /// Completions to come from the thread; a write that is followed by a sync brings two.
    in_flight: usize,
    submissions: u64,
}

impl ThreadDisk {
    pub(crate) fn open() -> io::Result<Self> {
        let wake = Wake::new()?;
        let housekeeper = Housekeeper::start(wake.clone())?;
        let (jobs, inbox) = channel::<(u64, Job)>();
        let (outbox, done) = channel();
        let waker = wake.clone();
        let abandoned = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&abandoned);
        let thread = std::thread::Builder::new()
            .name("oyez-disk".to_owned())
            .spawn(move || {
                for (token, job) in inbox {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    run(token, job, &outbox);
                    waker.wake();
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            abandoned,
            housekeeper,
            files: Files::default(),
            wake,
            queued: Vec::new(),
            in_flight: 0,
            submissions: 0,
        })
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.take();
        if !thread.is_none_or(|thread| end(thread, &self.done)) {
            self.abandoned.store(true, Ordering::Release);
            // The thread still uses them: they stay open.
            std::mem::forget(std::mem::take(&mut self.files));
        }
    }
}

fn run(token: u64, job: Job, outbox: &Sender<Completion>) {
    // Sending fails if the shard is gone; the next receive then ends the thread's loop.
    let send = |outcome| drop(outbox.send(Completion { token, outcome }));
    match job {
        Job::Write {
            fd,
            at,
            bytes,
            sync,
        } => {
            let asked = bytes.bytes().len();
            let written = match sync {
                WriteSync::Range => write_synced(fd, bytes.bytes(), at),
                WriteSync::None | WriteSync::File => borrow(fd).write_at(bytes.bytes(), at),
            };
            let whole = written.as_ref().is_ok_and(|written| *written == asked);
            send(Outcome::Written(written));
            if sync == WriteSync::File {
                let cancelled = || io::Error::from_raw_os_error(libc::ECANCELED);
                let synced = if whole {
                    borrow(fd).sync_data()
                } else {
                    Err(cancelled())
                };
                send(Outcome::Synced(synced));
            }
        }
        Job::Sync { fd } => send(Outcome::Synced(borrow(fd).sync_data())),
        Job::Populate { map, range } => send(Outcome::Populated(map.populate(&range))),
    }
}

/// Writes, and syncs what was written. Syncs the whole file instead if the kernel cannot do both in one call.
fn write_synced(fd: RawFd, bytes: &[u8], at: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: one part, whose bytes are borrowed during the call, which only reads them. The descriptor is open, as
    // `borrow` says.
    let written = unsafe { libc::pwritev2(fd, &raw const part, 1, offset, libc::RWF_DSYNC) };
    match usize::try_from(written).map_err(|_| io::Error::last_os_error()) {
        Err(error) if is_refused(&error) => {
            let file = borrow(fd);
            let written = file.write_at(bytes, at)?;
            file.sync_data()?;
            Ok(written)
        }
        written => written,
    }
}

/// A file that the disk owns, used by its thread.
fn borrow(fd: RawFd) -> ManuallyDrop<std::fs::File> {
    // SAFETY: the descriptor stays open while the job runs: `Disk::close` is called only for files without operations
    // in flight, and `ThreadDisk` drops its files only after it has joined the thread. It is never closed through this
    // value.
    ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) })
}

impl Disk for ThreadDisk {
    fn name(&self) -> &'static str {
        "thread"
    }

    fn write(&mut self, token: u64, file: FileId, at: u64, bytes: BlockRange, sync: WriteSync) {
        let fd = self.files.fd(file);
        self.in_flight += 1 + usize::from(sync == WriteSync::File);
        let job = Job::Write {
            fd,
            at,
            bytes,
            sync,
        };
        self.queued.push((token, job));
    }

    fn sync(&mut self, token: u64, file: FileId) {
        let fd = self.files.fd(file);
        self.in_flight += 1;
        self.queued.push((token, Job::Sync { fd }));
    }

    fn populate(&mut self, token: u64, map: Arc<Map>, range: Range<usize>) {
        self.in_flight += 1;
        self.queued.push((token, Job::Populate { map, range }));
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
        if self.queued.is_empty() {
            return Ok(());
        }
        self.submissions += 1;
        let jobs = self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        for job in self.queued.drain(..) {
            jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(())
    }

    fn is_behind(&self) -> bool {
        false
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        let before = out.len();
        out.extend(self.done.try_iter());
        self.in_flight -= out.len() - before;
        self.housekeeper.reap(&mut self.files, out);
    }

    fn wait(&mut self) -> io::Result<()> {
        self.submit()?;
        if self.in_flight + self.housekeeper.in_flight() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
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
