//! What the allocator keeps of memory that was freed.

/// Allocations of this size and more are mappings of their own, which go back to the kernel when they are freed, in bytes.
const OWN_MAPPING_BYTES: i32 = 64 << 10;

/// Lets large buffers go back to the kernel when they are freed. Without it glibc raises the size from which it does so to
/// that of the largest buffer freed so far, up to 32 MiB, and what a flood has filled stays with the process, in pieces.
pub(crate) fn give_back_large() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes no pointers, and may be called at any time. A failure leaves things as they were.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES) };
}
