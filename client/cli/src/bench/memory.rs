//! Measures what connections cost: the server's user memory, and the kernel's, from `/proc`.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Bytes of a page of socket memory.
const PAGE_BYTES: u64 = 4_096;
/// Time between two looks at memory that shrinks, and what it may still shrink by meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(200);
const SETTLED_BYTES: u64 = 256 << 10;

/// The kernel's memory at one moment, of the whole machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    slab: u64,
    socket_buffers: u64,
    page_tables: u64,
    stacks: u64,
    available: u64,
}

/// What connections have added, in bytes. Both ends are on this machine when the server is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    pub(crate) connections: usize,
    /// Anonymous memory of the server, where it could be read.
    pub(crate) server_user: Option<i64>,
    /// All of the server's, with what it had before: memory that it had kept free for connections does not grow.
    pub(crate) server_user_total: Option<u64>,
    pub(crate) generator_user: i64,
    pub(crate) kernel_slab: i64,
    pub(crate) kernel_socket_buffers: i64,
    pub(crate) kernel_other: i64,
    /// All that the machine has less of, as a check of the sum.
    pub(crate) machine: i64,
}

/// All figures at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) kernel: Kernel,
    pub(crate) server_user: Option<u64>,
    pub(crate) generator_user: u64,
}

impl Moment {
    /// Now; `server_user` is what the server or `/proc` says of it.
    pub(crate) fn new(server_user: Option<u64>) -> Self {
        Self {
            kernel: Kernel::read(),
            server_user,
            generator_user: anonymous(std::process::id()).unwrap_or(0),
        }
    }

    /// What was added since `before`.
    pub(crate) fn since(&self, before: &Self, connections: usize) -> Growth {
        let grown = |now: u64, before: u64| now.cast_signed() - before.cast_signed();
        let (now, then) = (&self.kernel, &before.kernel);
        Growth {
            connections,
            server_user: self
                .server_user
                .zip(before.server_user)
                .map(|(now, before)| grown(now, before)),
            server_user_total: self.server_user,
            generator_user: grown(self.generator_user, before.generator_user),
            kernel_slab: grown(now.slab, then.slab),
            kernel_socket_buffers: grown(now.socket_buffers, then.socket_buffers),
            kernel_other: grown(now.page_tables + now.stacks, then.page_tables + then.stacks),
            machine: grown(then.available, now.available),
        }
    }
}

impl Growth {
    /// All of the kernel's.
    pub(crate) const fn kernel(&self) -> i64 {
        self.kernel_slab + self.kernel_socket_buffers + self.kernel_other
    }

    /// Returns the bytes per connection; `None` where the sum is negative, because other memory has changed more than
    /// the connections added.
    pub(crate) fn each(&self, bytes: i64) -> Option<f64> {
        (bytes >= 0).then(|| bytes as f64 / self.connections.max(1) as f64)
    }
}

/// Waits, at most for `time`, until the kernel has given back what earlier connections have left: it frees sockets
/// some time after they are closed.
pub(crate) fn settle(time: Duration) {
    let started = Instant::now();
    let mut last = Kernel::read().slab;
    while started.elapsed() < time {
        std::thread::sleep(SETTLE_STEP.min(time));
        let now = Kernel::read().slab;
        if now + SETTLED_BYTES >= last {
            return;
        }
        last = now;
    }
}

/// Waits, at most for `time`, until the kernel's socket buffers grow no more.
pub(crate) fn settle_buffers(time: Duration) {
    let started = Instant::now();
    let mut last = Kernel::read().socket_buffers;
    while started.elapsed() < time {
        std::thread::sleep(SETTLE_STEP.min(time));
        let now = Kernel::read().socket_buffers;
        if now <= last + SETTLED_BYTES {
            return;
        }
        last = now;
    }
}

impl Kernel {
    fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/meminfo"), &read("/proc/net/sockstat"))
    }

    fn parse(meminfo: &str, sockstat: &str) -> Self {
        Self {
            slab: kib(meminfo, "Slab:"),
            page_tables: kib(meminfo, "PageTables:"),
            stacks: kib(meminfo, "KernelStack:"),
            available: kib(meminfo, "MemAvailable:"),
            socket_buffers: tcp_pages(sockstat) * PAGE_BYTES,
        }
    }
}

/// Anonymous memory of a process in bytes.
pub(crate) fn anonymous(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(kib(&status, "RssAnon:"))
}

/// Processor time that a process has used, all its threads together, in user and kernel mode. Linux states it in
/// hundredths of a second.
pub(crate) fn processor_s(pid: u32) -> Option<f64> {
    parse_processor_s(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_processor_s(stat: &str) -> Option<f64> {
    const PER_SECOND: f64 = 100.0;
    // The name of the program stands in brackets and may hold anything; user and system time are 12th and 13th behind
    // it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / PER_SECOND)
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

fn tcp_pages(sockstat: &str) -> u64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = line.unwrap_or_default().split_whitespace();
    words.find(|word| *word == "mem");
    words
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemAvailable:   1000 kB\nSlab:    20 kB\nKernelStack:  3 kB\nPageTables: 4 kB\n";
    const SOCKSTAT: &str =
        "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 10 mem 3\nUDP: inuse 1 mem 7\n";

    #[test]
    fn the_files_of_proc_are_understood() {
        let kernel = Kernel::parse(MEMINFO, SOCKSTAT);
        assert_eq!(kernel.slab, 20 << 10);
        assert_eq!(kernel.available, 1000 << 10);
        assert_eq!(kernel.socket_buffers, 3 * 4096);
        assert!(anonymous(std::process::id()).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 -1 5 6 7 8 9 150 50 0 0 20 0 4 0 99";
        assert_eq!(parse_processor_s(stat), Some(2.0));
        assert_eq!(parse_processor_s("7 (a) S 1"), None);
        assert!(processor_s(std::process::id()).is_some());
    }

    #[test]
    fn growth_is_told_per_connection_unless_it_is_none() {
        let before = Moment {
            kernel: Kernel::parse(MEMINFO, SOCKSTAT),
            server_user: Some(1_000),
            generator_user: 500,
        };
        let after = Moment {
            kernel: Kernel {
                slab: 30 << 10,
                available: 900 << 10,
                ..before.kernel
            },
            server_user: Some(2_000),
            generator_user: 400,
        };
        let growth = after.since(&before, 10);
        assert_eq!(growth.server_user, Some(1_000));
        assert_eq!(growth.generator_user, -100);
        assert_eq!(growth.machine, 100 << 10);
        assert_eq!(growth.each(growth.kernel()), Some(1_024.0));
        assert_eq!(growth.each(growth.generator_user), None);
    }
}
