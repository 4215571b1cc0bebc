//! Guards reads through maps against unreadable pages: the file was cut, or its medium fails.
//!
//! The kernel answers such a read with SIGBUS, which ends the process by default. The handler here lets it go on: it marks
//! the block of the map as unreadable, maps a page of zeroes in place of the missing one, and returns to the read, which
//! finds zeroes. So a reader of a map has to ask after reading whether the block is unreadable, and must not use the bytes
//! before. A block stays unreadable for as long as the map lives.
//!
//! The handler does not help the kernel's own reads: a system call that sends from a map fails with `EFAULT` or sends fewer
//! bytes.
//!
//! The handler takes no lock and allocates nothing. It finds the map in a table whose entries have a version that is odd
//! while they change. A thread faults only in a map that it holds, so the entry of that map does not change meanwhile; the
//! handler skips entries that do change. A fault outside all maps goes to the handler that was installed before.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::format::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Entries of the table's first part; each further part has twice as many, and they are never given back. 24 parts are
/// more maps than a process can have.
const FIRST_PART: usize = 256;
const PARTS: usize = 24;

/// How many blocks of all maps were marked so far. While it is zero, no map needs to be checked.
static UNREADABLE: AtomicUsize = AtomicUsize::new(0);

/// Which blocks of a map are unreadable.
#[derive(Debug)]
pub(crate) struct UnreadableBlocks {
    /// A bit for each block.
    blocks: Box<[AtomicU64]>,
    bytes: usize,
}

impl UnreadableBlocks {
    pub(crate) fn new(bytes: usize) -> Self {
        let words = bytes.div_ceil(BLOCK).div_ceil(64);
        Self {
            blocks: (0..words).map(|_| AtomicU64::new(0)).collect(),
            bytes,
        }
    }

    /// Marks a block as unreadable. Returns whether it was not marked before.
    fn note(&self, block: usize) -> bool {
        let bit = 1 << (block % 64);
        let before = self.blocks[block / 64].fetch_or(bit, Ordering::Relaxed);
        // After the bit and before the zeroes: a reader of the zeroes sees both.
        UNREADABLE.fetch_add(1, Ordering::Release);
        before & bit == 0
    }

    /// Marks all blocks of a range as unreadable.
    pub(crate) fn note_range(&self, range: &Range<usize>) {
        for block in blocks_of(range) {
            self.note(block);
        }
    }

    /// Whether any block of the range is unreadable. Call it after reading the range.
    pub(crate) fn is_unreadable(&self, range: &Range<usize>) -> bool {
        // Orders the reads of the bytes before the load below.
        fence(Ordering::Acquire);
        if UNREADABLE.load(Ordering::Relaxed) == 0 {
            return false;
        }
        fence(Ordering::Acquire);
        blocks_of(range).any(|block| {
            let word = self.blocks[block / 64].load(Ordering::Relaxed);
            word & 1 << (block % 64) != 0
        })
    }
}

fn blocks_of(range: &Range<usize>) -> Range<usize> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// Bytes of a page, as the kernel says.
pub(crate) fn page_bytes() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: a call that touches no memory of ours.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).expect("every system has a page size")
    })
}

/// A map in the table. Empty while `start` and `end` are the same.
#[derive(Default)]
struct Entry {
    /// Odd while the others change.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    unreadable: AtomicPtr<UnreadableBlocks>,
}

impl Entry {
    /// Changes the entry. The lock on [`Table::free`] keeps others from doing so at the same time.
    fn set(&self, range: &Range<usize>, unreadable: *mut UnreadableBlocks) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.unreadable.store(unreadable, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    /// The map, if it has this address and the entry does not change at the moment.
    fn holding(&self, address: usize) -> Option<(Range<usize>, *mut UnreadableBlocks)> {
        let version = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let range = start..self.end.load(Ordering::Relaxed);
        let unreadable = self.unreadable.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let stable = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (stable && range.contains(&address)).then_some((range, unreadable))
    }
}

/// The maps of the process.
struct Table {
    parts: [OnceLock<Box<[Entry]>>; PARTS],
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    /// Entries that were given back.
    numbers: Vec<usize>,
    /// Entries from this number on were never used.
    untouched: usize,
}

static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Self {
        Self {
            parts: [const { OnceLock::new() }; PARTS],
            free: Mutex::new(Free {
                numbers: Vec::new(),
                untouched: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        // The list is whole after every statement, so a panic elsewhere does not matter.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a number that was handed out.
    fn entry(&self, number: usize) -> &Entry {
        let part = (number / FIRST_PART + 1).ilog2() as usize;
        let first = FIRST_PART * ((1 << part) - 1);
        let entries = self.parts[part].get_or_init(|| {
            let entries = 0..FIRST_PART << part;
            entries.map(|_| Entry::default()).collect()
        });
        &entries[number - first]
    }

    fn add(&self, range: &Range<usize>, unreadable: *mut UnreadableBlocks) -> usize {
        let mut free = self.lock();
        let number = free.numbers.pop().unwrap_or(free.untouched);
        free.untouched = free.untouched.max(number + 1);
        self.entry(number).set(range, unreadable);
        number
    }

    fn remove(&self, number: usize) {
        let mut free = self.lock();
        self.entry(number).set(&(0..0), std::ptr::null_mut());
        free.numbers.push(number);
    }

    fn find(&self, address: usize) -> Option<(Range<usize>, *mut UnreadableBlocks)> {
        let parts = self.parts.iter().map_while(OnceLock::get);
        let mut entries = parts.flat_map(|part| part.iter());
        entries.find_map(|entry| entry.holding(address))
    }

    /// Maps zeroes where a read of `address` found an unreadable page. Returns false if the address is in no map, or the
    /// kernel refuses.
    fn handle_unreadable(&self, address: usize) -> bool {
        let Some((map, unreadable)) = self.find(address) else {
            return false;
        };
        // SAFETY: the entry is that of a map that this thread is reading from, so it is kept until the thread goes on;
        // and `unreadable` lives as long as the map (`Guarded::new`).
        let unreadable = unsafe { &*unreadable };
        let page = page_bytes();
        let from = (address & !(page - 1)).max(map.start);
        let block = (address - map.start) / BLOCK;
        // A second missing page: all pages of the block from here on are replaced, to save a signal for each of them.
        let until = match unreadable.note(block) {
            true => from + page,
            false => (map.start + (block + 1) * BLOCK).min(map.end),
        };
        if zeroes(from..until) {
            return true;
        }
        // Replacing a part of a map takes up to two more areas of the address space, of which the process may have no more.
        // Replacing the whole map takes none.
        unreadable.note_range(&(0..unreadable.bytes));
        zeroes(map)
    }
}

/// Maps zeroes over a range that begins with a page.
fn zeroes(range: Range<usize>) -> bool {
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let (start, len) = (range.start as *mut libc::c_void, range.len());
    // SAFETY: the range lies within a map of a file that only reads go to, of which the caller has made sure: it stays
    // mapped, readable, and is unmapped along with the rest. A reader that is there meanwhile learns that it is unreadable.
    unsafe { libc::mmap(start, len, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED }
}

/// Guards a map until it is dropped, which must happen before the map is unmapped.
#[derive(Debug)]
pub(crate) struct Guarded {
    number: usize,
}

impl Guarded {
    /// Guards the map of a file: blocks with missing pages are marked in `unreadable`.
    ///
    /// # Safety
    /// `range` is whole pages of a map that only reads go to. The map and `unreadable` outlive what this returns.
    pub(super) unsafe fn new(
        range: &Range<usize>,
        unreadable: &Arc<UnreadableBlocks>,
    ) -> io::Result<Self> {
        install()?;
        let number = TABLE.add(range, Arc::as_ptr(unreadable).cast_mut());
        Ok(Self { number })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        TABLE.remove(self.number);
    }
}

/// The handler that was there before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once for the process.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    // The handler must not be the first caller, as that initializes the value.
    page_bytes();
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks for the present action, which the call writes to `before` when it returns 0.
    let before = unsafe {
        if libc::sigaction(libc::SIGBUS, std::ptr::null(), before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        before.assume_init()
    };
    BEFORE.get_or_init(|| before);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    // Not `SA_NODEFER`: a fault of the handler itself had better end the process.
    act(
        handler as libc::sighandler_t,
        libc::SA_SIGINFO | libc::SA_ONSTACK,
    )?;
    *installed = true;
    Ok(())
}

/// Sets the action for SIGBUS.
fn act(handler: libc::sighandler_t, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: `sigaction` is plain integers and pointers, for which zero is a value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a valid action, whose handler is `SIG_DFL` or a function of the signature that the flags name.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs on the reading thread, between two of its instructions: it calls only async-signal-safe functions.
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the thread's own `errno`, which the interrupted code may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel hands a handler with `SA_SIGINFO` a description of the signal.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Only a signal of the kernel has an address; another process may have sent this one.
    let handled = code > 0 && TABLE.handle_unreadable(address);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    if !handled {
        pass_on(signal, info, context);
    }
}

/// Passes a signal on to the handler that was installed before, or to the default action.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get();
    let (handler, flags) = before.map_or((libc::SIG_DFL, 0), |b| (b.sa_sigaction, b.sa_flags));
    // SAFETY: as in `on_bus_error`.
    let sent = unsafe { (*info).si_code } <= 0;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        if sent && handler == libc::SIG_IGN {
            return;
        }
        // The read is repeated after the return, and ends the process. A signal that was sent has to be sent again.
        if act(libc::SIG_DFL, 0).is_ok() && sent {
            // SAFETY: sends a signal to this thread; it is taken after the return.
            unsafe { libc::raise(signal) };
        }
    } else if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with this flag the handler has this signature; it was made for these arguments.
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: without the flag the handler has this signature.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests;
