//! An allocator that counts what the broker's shards allocate while counting is on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is a shard, once somebody has looked.
    static IS_SHARD: Cell<Option<bool>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and tells how often shards have allocated meanwhile.
pub(crate) fn shard_allocations(work: impl FnOnce()) -> u64 {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    work();
    COUNTING.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}

fn count() {
    if COUNTING.load(Ordering::Relaxed) && is_shard() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_shard() -> bool {
    // A thread that is ending has no cells any more.
    let known = IS_SHARD.try_with(|cell| match cell.get() {
        Some(known) => known,
        None => {
            let known = name_begins_with_shard();
            cell.set(Some(known));
            known
        }
    });
    known.unwrap_or(false)
}

fn name_begins_with_shard() -> bool {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, a terminator included, to a buffer of 16.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"shard-")
}

// SAFETY: every call goes to `System` unchanged; counting touches atomics and a thread-local cell without a destructor,
// and makes one system call per thread; none of them allocates or panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
