//! Cores: which ones this process may use, keeping a thread on one of them, and how long a thread had one.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::check;

/// The cores that this process may run on, ascending, at least one. Where the kernel does not say which, or has more than fit
/// into a set of 1,024, all cores.
#[must_use]
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect();
    if !cores.is_empty() {
        return cores;
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).collect()
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// When this process may not run there.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets the calling thread have its core in slices of `slice_us`, if it has no real-time priority: it gets no more of the core
/// than before, but sooner. Kernels before 6.12 accept the call, but have no slices.
///
/// # Errors
/// When a sandbox refuses it.
pub fn set_slice(slice_us: u64) -> io::Result<()> {
    // SAFETY: sched_getscheduler takes no pointers; pid 0 is the calling thread.
    if check(unsafe { libc::sched_getscheduler(0) })? != libc::SCHED_OTHER {
        return Ok(());
    }
    // SAFETY: sched_attr is plain integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: `attributes` has room for `size` bytes; the kernel writes no more than that.
    check_call(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    attributes.sched_runtime = slice_us * 1_000;
    // SAFETY: `attributes` is what the kernel has just filled, with another slice.
    check_call(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Processor time of the calling thread in microseconds.
#[must_use]
pub fn thread_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let us = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(us).unwrap_or(0)
}

fn check_call(result: libc::c_long) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
