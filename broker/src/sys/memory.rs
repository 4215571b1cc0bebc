//! Settings and calls that make the allocator give memory back to the kernel.

/// Allocations of this size and more are mappings of their own, which go back to the kernel when they are freed, in bytes.
#[cfg(target_env = "gnu")]
const OWN_MAPPING_BYTES: i32 = 256 << 10;

/// Makes the allocator give freed memory back at once: neither keep it from the kernel nor put the work off until there is a lot
/// of it. A failure leaves the allocator as it was.
///
/// - Without it glibc raises the size from which an allocation is a mapping of its own to that of the largest one freed so far,
///   up to 32 MiB, and the memory of a flood stays with the process, in pieces.
/// - Small pieces wait in lists to be joined, until a large one is freed: *after half a million subscriptions had ended,
///   that took 20 ms of a turn.* The caches of the threads, which most allocations come from, remain.
pub(crate) fn free_at_once() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES),
        (libc::M_MXFAST, 0),
    ] {
        // SAFETY: mallopt takes no pointers, and may be called at any time.
        let _ = unsafe { libc::mallopt(what, value) };
    }
}

/// Gives free pages back to the kernel, wherever they lie. *20 ms for 170 MB in pieces.*
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointers, and may be called at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}
