//! The housekeeper: a thread that makes, replaces and removes files for one disk, so that the shard never waits for that.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::file;
use super::map::Map;
use crate::disk::{Completion, Content, FileId, Opened, Outcome};

/// How long a dropped disk waits for operations in flight: far longer than a working disk takes for them. A disk that hangs
/// must not keep the process from ending.
pub(super) const DROP_WAIT: Duration = Duration::from_secs(1);

/// Waits until a thread has dropped the sender of `done`, which it does at its end, and joins it. Returns false if the
/// thread does not end in time; then it is detached.
pub(super) fn end<T>(thread: JoinHandle<()>, done: &Receiver<T>) -> bool {
    let deadline = Instant::now() + DROP_WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match done.recv_timeout(left) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => {
                // A panic there was reported by the panic hook.
                let _ = thread.join();
                return true;
            }
        }
    }
}

/// An eventfd. Shared between a shard and the threads it started, which have the same descriptor table.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    file: Arc<File>,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor, touches no memory.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the descriptor was just created and has no other owner.
            file: Arc::new(unsafe { File::from_raw_fd(fd) }),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(crate) fn wake(&self) {
        // This fails only if the counter is full, and then the eventfd is readable already.
        let _ = (&*self.file).write(&1u64.to_ne_bytes());
    }

    pub(crate) fn drain(&self) {
        // This fails if the counter is zero, which is as good.
        let _ = (&*self.file).read(&mut [0; 8]);
    }

    /// Blocks until it is readable.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.poll(-1)
    }

    /// Blocks until it is readable, at most for `time`.
    pub(crate) fn wait_for(&self, time: Duration) -> io::Result<()> {
        self.poll(i32::try_from(time.as_millis()).unwrap_or(i32::MAX))
    }

    fn poll(&self, timeout_ms: i32) -> io::Result<()> {
        let mut poll = libc::pollfd {
            fd: self.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            // SAFETY: one pollfd that lives during the call.
            if unsafe { libc::poll(&raw mut poll, 1, timeout_ms) } >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

enum Job {
    Prepare { path: PathBuf, size: u64 },
    Put { path: PathBuf, content: Content },
    Overwrite { path: PathBuf, content: Vec<u8> },
    Unlink { paths: Vec<PathBuf> },
}

enum Done {
    Prepared(io::Result<(File, Arc<Map>)>),
    Put(io::Result<Vec<u8>>),
    Overwritten(io::Result<()>),
    Unlinked(io::Result<()>),
}

/// The shard's handle of the thread.
pub(crate) struct Housekeeper {
    jobs: Option<Sender<(u64, Job)>>,
    done: Receiver<(u64, Done)>,
    thread: Option<JoinHandle<()>>,
    /// Set when the thread is detached: it starts no job from then on.
    abandoned: Arc<AtomicBool>,
    in_flight: usize,
}

impl Housekeeper {
    pub(crate) fn start(wake: Wake) -> io::Result<Self> {
        let (jobs, inbox) = channel::<(u64, Job)>();
        let (outbox, done) = channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&abandoned);
        let thread = std::thread::Builder::new()
            .name("oyez-files".to_owned())
            .spawn(move || {
                for (token, job) in inbox {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    // Sending fails if the shard is gone; the next receive then ends the loop.
                    let _ = outbox.send((token, run(job)));
                    wake.wake();
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            abandoned,
            in_flight: 0,
        })
    }

    fn send(&mut self, token: u64, job: Job) {
        self.in_flight += 1;
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send((token, job)).ok())
            .expect("the thread lives until the housekeeper is dropped");
    }

    pub(crate) fn prepare(&mut self, token: u64, path: PathBuf, size: u64) {
        self.send(token, Job::Prepare { path, size });
    }

    pub(crate) fn put(&mut self, token: u64, path: PathBuf, content: Content) {
        self.send(token, Job::Put { path, content });
    }

    pub(crate) fn overwrite(&mut self, token: u64, path: PathBuf, content: Vec<u8>) {
        self.send(token, Job::Overwrite { path, content });
    }

    pub(crate) fn unlink(&mut self, token: u64, paths: Vec<PathBuf>) {
        self.send(token, Job::Unlink { paths });
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes finished jobs; new files go to `files`.
    pub(crate) fn reap(&mut self, files: &mut Files, out: &mut Vec<Completion>) {
        while let Ok((token, done)) = self.done.try_recv() {
            self.in_flight -= 1;
            let outcome = match done {
                Done::Prepared(made) => {
                    Outcome::Prepared(made.map(|(file, map)| files.adopt(file, map)))
                }
                Done::Put(put) => Outcome::Put(put),
                Done::Overwritten(overwritten) => Outcome::Overwritten(overwritten),
                Done::Unlinked(unlinked) => Outcome::Unlinked(unlinked),
            };
            out.push(Completion { token, outcome });
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.take();
        if !thread.is_none_or(|thread| end(thread, &self.done)) {
            self.abandoned.store(true, Ordering::Release);
        }
    }
}

fn run(job: Job) -> Done {
    match job {
        Job::Prepare { path, size } => Done::Prepared(file::prepare(&path, size)),
        Job::Put { path, content } => {
            let content = content();
            Done::Put(file::put(&path, &content).map(|()| content))
        }
        Job::Overwrite { path, content } => Done::Overwritten(file::overwrite(&path, &content)),
        Job::Unlink { paths } => Done::Unlinked(file::unlink(&paths)),
    }
}

/// The files that a disk holds open for writing.
#[derive(Default)]
pub(crate) struct Files {
    slots: slab::Slab<File>,
}

impl Files {
    fn adopt(&mut self, file: File, map: Arc<Map>) -> Opened {
        let slot = self.slots.insert(file);
        Opened {
            file: FileId(u32::try_from(slot).expect("there are fewer open files than 2^32")),
            map,
        }
    }

    pub(crate) fn open(&mut self, path: &Path) -> io::Result<Opened> {
        let (file, map) = file::open(path)?;
        Ok(self.adopt(file, map))
    }

    pub(crate) fn close(&mut self, id: FileId) {
        drop(self.slots.try_remove(id.0 as usize));
    }

    pub(crate) fn fd(&self, id: FileId) -> RawFd {
        self.slots[id.0 as usize].as_raw_fd()
    }
}
