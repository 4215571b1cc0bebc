//! The tail arena: a bounded number of 2 MiB blocks for all logs of the process.
//!
//! The pool reserves its address space at start. A thread of the pool touches blocks ahead of need, so that an append never
//! meets a page fault; the owner of a pool without a thread calls [`ArenaPool::touch_next`] instead. A block goes back to
//! the pool when its last reference is dropped, by whichever thread.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::committed::Committed;
use crate::format::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;

/// The size of the arena.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// Most blocks of 2 MiB, for all logs of the process.
    pub blocks_max: usize,
    /// Blocks that are touched before they are needed.
    pub blocks_ready: usize,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self {
            blocks_max: 256,
            blocks_ready: 8,
        }
    }
}

/// The process-wide pool of blocks.
#[derive(Debug)]
pub struct ArenaPool {
    inner: Arc<Inner>,
    toucher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    region: Region,
    blocks_ready: usize,
    lists: Mutex<Lists>,
    wanted: Condvar,
    touched: AtomicUsize,
    /// The latest monotonic time of any store, for readers, which have no clock.
    clock_ms: AtomicU64,
}

#[derive(Debug)]
struct Lists {
    ready: Vec<usize>,
    /// Blocks from this number on were never touched.
    untouched: usize,
    closing: bool,
}

impl ArenaPool {
    /// Reserves the arena and touches its first blocks.
    ///
    /// # Errors
    /// When there is no address space, or the thread cannot be started.
    pub fn new(options: &ArenaOptions) -> io::Result<Arc<Self>> {
        let mut pool = Self::reserve(options)?;
        let background = Arc::clone(&pool.inner);
        let toucher = std::thread::Builder::new()
            .name("oyez-arena".to_owned())
            .spawn(move || background.touch_when_wanted())?;
        pool.toucher = Some(toucher);
        Ok(Arc::new(pool))
    }

    /// The same without a thread: call [`Self::touch_next`] instead.
    ///
    /// # Errors
    /// When there is no address space.
    pub fn without_thread(options: &ArenaOptions) -> io::Result<Arc<Self>> {
        Self::reserve(options).map(Arc::new)
    }

    fn reserve(options: &ArenaOptions) -> io::Result<Self> {
        let region = Region::reserve(options.blocks_max.max(1))?;
        let inner = Arc::new(Inner {
            region,
            blocks_ready: options.blocks_ready.clamp(1, options.blocks_max.max(1)),
            lists: Mutex::new(Lists {
                ready: Vec::with_capacity(options.blocks_max),
                untouched: 0,
                closing: false,
            }),
            wanted: Condvar::new(),
            touched: AtomicUsize::new(0),
            clock_ms: AtomicU64::new(0),
        });
        while inner.touch_next() {}
        Ok(Self {
            inner,
            toucher: None,
        })
    }

    /// Touches one more block if fewer than wanted are ready; returns whether it did.
    pub fn touch_next(&self) -> bool {
        self.inner.touch_next()
    }

    /// Bytes of the arena that were touched, and so are resident.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.inner.touched.load(Ordering::Relaxed) as u64 * BLOCK_BYTES
    }

    /// Blocks that could be taken, touched or not.
    #[must_use]
    pub fn free_blocks(&self) -> usize {
        let lists = self.inner.lock();
        lists.ready.len() + self.inner.region.blocks - lists.untouched
    }

    /// Blocks there are.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.inner.region.blocks
    }

    /// Takes a touched block. `None` if no block is ready.
    pub(crate) fn take(&self) -> Option<BlockWriter> {
        let mut lists = self.inner.lock();
        let index = lists.ready.pop();
        if lists.ready.len() < self.inner.blocks_ready && lists.untouched < self.inner.region.blocks
        {
            self.inner.wanted.notify_one();
        }
        drop(lists);
        let block = Arc::new(Block {
            inner: Arc::clone(&self.inner),
            index: index?,
            committed: Committed::default(),
        });
        Some(BlockWriter { block })
    }

    /// Takes a block, touching it if need be. For opening, which may wait. `None` if all blocks are in use.
    pub(crate) fn take_waiting(&self) -> Option<BlockWriter> {
        while self.free_blocks() > 0 {
            match self.take() {
                Some(taken) => return Some(taken),
                // The pool's thread may be touching the last ones.
                None if !self.touch_next() => std::thread::yield_now(),
                None => {}
            }
        }
        None
    }

    /// Sets the time for readers.
    pub(crate) fn set_clock(&self, monotonic_ms: u64) {
        self.inner
            .clock_ms
            .fetch_max(monotonic_ms, Ordering::Relaxed);
    }

    pub(crate) fn clock_ms(&self) -> u64 {
        self.inner.clock_ms.load(Ordering::Relaxed)
    }
}

impl Drop for ArenaPool {
    fn drop(&mut self) {
        self.inner.lock().closing = true;
        self.inner.wanted.notify_all();
        if let Some(toucher) = self.toucher.take() {
            // The thread only touches memory; if it panicked there is nothing to save.
            let _ = toucher.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        // The lists are whole after every statement, so a panic elsewhere does not matter.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Touches one more block if fewer than wanted are ready.
    fn touch_next(&self) -> bool {
        let index = {
            let mut lists = self.lock();
            if lists.closing
                || lists.ready.len() >= self.blocks_ready
                || lists.untouched == self.region.blocks
            {
                return false;
            }
            lists.untouched += 1;
            lists.untouched - 1
        };
        self.region.touch(index);
        self.touched.fetch_add(1, Ordering::Relaxed);
        self.lock().ready.push(index);
        true
    }

    fn touch_when_wanted(&self) {
        loop {
            while self.touch_next() {}
            let lists = self.lock();
            if lists.closing {
                return;
            }
            let content =
                lists.ready.len() >= self.blocks_ready || lists.untouched == self.region.blocks;
            if content {
                drop(self.wanted.wait(lists));
            }
        }
    }
}

/// The reservation: huge pages where the kernel gives them.
#[derive(Debug)]
struct Region {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    first: NonNull<u8>,
    blocks: usize,
}

// SAFETY: the region is plain memory; `Block` and `BlockWriter` decide which bytes a thread may touch.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn reserve(blocks: usize) -> io::Result<Self> {
        let mapping_bytes = (blocks + 1) * BLOCK;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: one block more than needed was mapped, so the next border lies inside the mapping.
        let first = unsafe { mapping.add(mapping.align_offset(BLOCK)) };
        // SAFETY: the range was just mapped; the advice does not change its content. Without huge pages small ones
        // do, so the result does not matter.
        unsafe { libc::madvise(first.as_ptr().cast(), blocks * BLOCK, libc::MADV_HUGEPAGE) };
        Ok(Self {
            mapping,
            mapping_bytes,
            first,
            blocks,
        })
    }

    fn block(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.blocks);
        // SAFETY: the assertion keeps the result inside the mapping.
        unsafe { self.first.add(index * BLOCK) }
    }

    /// Makes the block resident. Called only for blocks that are not in use.
    fn touch(&self, index: usize) {
        let start = self.block(index);
        // SAFETY: the range lies inside the mapping; populating keeps its content.
        let done =
            unsafe { libc::madvise(start.as_ptr().cast(), BLOCK, libc::MADV_POPULATE_WRITE) };
        if done != 0 {
            // SAFETY: the block is inside the mapping and nobody else has it yet.
            unsafe { start.write_bytes(0, BLOCK) };
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what `reserve` mapped; every block keeps the region alive, so none is left.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}

/// A block that readers and the disk share: its committed bytes never change.
#[derive(Debug)]
pub struct Block {
    inner: Arc<Inner>,
    index: usize,
    committed: Committed,
}

impl Block {
    /// Bytes committed so far.
    pub(crate) fn committed(&self) -> usize {
        self.committed.bytes()
    }

    /// Committed bytes.
    ///
    /// # Panics
    /// If the range is not committed.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.committed());
        let start = self.inner.region.block(self.index);
        // SAFETY: the range lies below the committed length, which never exceeds the block (`BlockWriter::append`),
        // and those bytes are never written again while the block lives.
        unsafe { std::slice::from_raw_parts(start.as_ptr().add(range.start), range.len()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.inner.lock().ready.push(self.index);
    }
}

/// The one writer of a block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    block: Arc<Block>,
}

impl BlockWriter {
    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Lets `fill` write the next `size` bytes, then commits them.
    ///
    /// # Panics
    /// If they do not fit.
    pub(crate) fn append(&mut self, size: usize, fill: impl FnOnce(&mut [u8])) {
        let start = self.block.inner.region.block(self.block.index);
        self.block.committed.append(size, |range| {
            assert!(range.end <= BLOCK);
            // SAFETY: the range lies in the block and above its committed length, where only this writer reaches, of
            // which there is one; `&mut self` makes the borrow exclusive.
            fill(unsafe { std::slice::from_raw_parts_mut(start.as_ptr().add(range.start), size) });
        });
    }
}
