//! Cores: which there are for this process, staying on one of them, and how long a thread had one.

use std::io;

use super::{check, check_count};

/// The cores that this process may run on, ascending, at least one. Where the kernel does not say which, or has more than
/// fit into a set of glibc's, all that there are.
pub(crate) fn allowed() -> Vec<usize> {
    let cores = affinity().unwrap_or_default();
    if !cores.is_empty() {
        return cores;
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).collect()
}

fn affinity() -> io::Result<Vec<usize>> {
    let mut set = empty_set();
    // SAFETY: `set` is a valid cpu_set_t of the size given; pid 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: CPU_ISSET only reads the set, and the index is below its size in bits.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// Keeps the calling thread on `core`.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = empty_set();
    // SAFETY: the index was checked against the set's size in bits.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a valid cpu_set_t of the size given; pid 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// Lets the calling thread have its core in slices of `slice_us`, if it has no real-time priority: it gets no more of the
/// core than before, but sooner. Kernels before 6.12 take the call and know no slices.
pub(crate) fn set_slice(slice_us: u64) -> io::Result<()> {
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
pub(crate) fn thread_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to. The clock is there in every kernel; without it time stands still.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let us = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(us).unwrap_or(0)
}

fn check_call(result: libc::c_long) -> io::Result<()> {
    check_count(result as isize).map(drop)
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers, for which all zeros is a value: the empty set.
    unsafe { std::mem::zeroed() }
}
