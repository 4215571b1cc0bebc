//! The part of a log that its readers in all shards share: three atomics, and a snapshot that is replaced when a block or a
//! segment comes or goes. Appends never lock; a reader locks only when the generation has changed.

use std::sync::{Arc, PoisonError, Weak};

use crate::disk::Block;
use crate::options::LogSpec;
use crate::segment::SegmentFile;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sys::arena::ArenaPool;

/// The blocks and segments of a log, by weak references: an idle reader keeps neither memory nor disk space.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Base and block, ascending.
    pub blocks: Vec<(u64, Weak<Block>)>,
    /// Base and file, ascending.
    pub segments: Vec<(u64, Weak<SegmentFile>)>,
}

#[derive(Debug)]
pub(crate) struct SharedLog {
    pub spec: LogSpec,
    pub epoch: u64,
    pub pool: Arc<ArenaPool>,
    visible: AtomicU64,
    start: AtomicU64,
    generation: AtomicU64,
    snapshot: Mutex<Arc<Snapshot>>,
}

impl SharedLog {
    pub(crate) fn new(spec: LogSpec, epoch: u64, pool: Arc<ArenaPool>) -> Self {
        Self {
            spec,
            epoch,
            pool,
            visible: AtomicU64::new(0),
            start: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            snapshot: Mutex::default(),
        }
    }

    pub(crate) fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn set_visible(&self, position: u64) {
        self.visible.store(position, Ordering::Release);
    }

    pub(crate) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// Call this before dropping what lies below, so that a reader that misses it sees why: see [`Self::miss`].
    pub(crate) fn set_start(&self, position: u64) {
        self.start.store(position, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Call this after not finding the bytes at a position. If they were dropped, [`Self::start`] shows from then on that
    /// the log begins behind them.
    pub(crate) fn miss(&self) {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&snapshot)
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let mut current = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(snapshot);
        self.generation.fetch_add(1, Ordering::Release);
    }
}
