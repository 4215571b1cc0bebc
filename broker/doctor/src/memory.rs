//! Checks of memory: enough of it, mapped and locked as the broker needs it, and never swapped.

use super::figures::{bytes, grouped, scaled};
use super::{Exam, Finding, Fix, Verdict};

/// Kernel memory of one accepted connection: socket, inode, file, entries in tables. `--prove` with a million measures
/// 8.1 KiB for both ends while they are idle (Linux 6.18); a little over half of it is this end, and the first data that
/// it holds are a packet more.
const KERNEL_BYTES_PER_CONNECTION: u64 = 5632;
/// User memory of one idle session with one subscription, at most.
const USER_BYTES_PER_CONNECTION: u64 = 256;
/// Bytes for code, stacks, buffers of the shards and what the allocator keeps.
const PROCESS_BYTES: u64 = 128 << 20;

/// Maps of the process beside those of segments: code, arenas, stacks, rings.
const MAPS_SPARE: u64 = 1024;
/// Maps that a shard takes: stack, guard page, ring, allocator.
const MAPS_PER_SHARD: u64 = 16;
/// Segments of a log beside those kept: the active one, the next one, one being dropped.
const SEGMENTS_SPARE: u64 = 3;

/// Memory of the two rings of each shard, charged to the limit by kernels before 5.12.
const RING_BYTES_PER_SHARD: u64 = 128 << 10;
/// From this version of Linux on, rings count as the memory of their group, not as locked memory.
const RINGS_UNCHARGED_SINCE: (u64, u64) = (5, 12);

/// Judges whether so many connections and the arenas fit.
pub(crate) fn available(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "available memory";
    let Some(free) = host_available(exam) else {
        return Finding::unknown(NAME, "/proc/meminfo cannot be read here");
    };
    let group = group_room(exam);
    let present = group.map_or(free, |room| room.min(free));
    let memory_logs = exam.facts.cores() as u64 * exam.setup.memory_log_bytes;
    let each = KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION;
    let fixed = exam.setup.arena_bytes + memory_logs + PROCESS_BYTES;
    let needed = exam.connections.saturating_mul(each).saturating_add(fixed);
    let wanted = scaled(needed, 11, 10);
    let why = format!(
        "{} connections of {} in the kernel and {} here, {} of arenas and {} for the rest take {}",
        grouped(exam.connections),
        bytes(KERNEL_BYTES_PER_CONNECTION),
        bytes(USER_BYTES_PER_CONNECTION),
        bytes(exam.setup.arena_bytes + memory_logs),
        bytes(PROCESS_BYTES),
        bytes(needed)
    );
    let verdict = if present < needed {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    let fix = if present < free {
        Fix::Unit(format!("MemoryMax={}", wanted.next_multiple_of(1 << 20)))
    } else {
        Fix::Advice("add memory, or stop what else uses it".to_owned())
    };
    Finding::new(NAME, bytes(present), format!(">= {}", bytes(wanted)), why).judged(
        present >= wanted,
        verdict,
        fix,
    )
}

fn host_available(exam: &Exam<'_>) -> Option<u64> {
    let memory = exam.facts.read("/proc/meminfo")?;
    let line = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Bytes that the tightest memory group around this process leaves; socket memory counts there, too.
fn group_room(exam: &Exam<'_>) -> Option<u64> {
    let groups = exam.facts.read("/proc/self/cgroup")?;
    let rooms = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_matches('/'));
        let (base, most, now) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            _ => return None,
        };
        tightest(exam, base, path, (most, now))
    });
    rooms.min()
}

/// The least that a group, or one above it, leaves.
fn tightest(exam: &Exam<'_>, base: &str, path: &str, files: (&str, &str)) -> Option<u64> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rooms = (0..=parts.len()).filter_map(|depth| {
        let directory = [&[base], &parts[..depth]].concat().join("/");
        let number = |file: &str| -> Option<u64> {
            let text = exam.facts.read(&format!("{directory}/{file}"))?;
            text.trim().parse().ok()
        };
        Some(number(files.0)?.saturating_sub(number(files.1)?))
    });
    rooms.min()
}

/// Judges the limit of maps: every segment that is kept is mapped.
pub(crate) fn map_count(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "vm.max_map_count";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let (segment, logs) = (exam.setup.segment_bytes, exam.logs_on_disk());
    let kept = match exam.setup.retention_bytes {
        0 => exam
            .facts
            .space(&exam.setup.data)
            .map_or(0, |space| (space.available + space.held) / segment / logs),
        retention => retention.div_ceil(segment),
    };
    let shards = exam
        .spread()
        .map_or(exam.facts.cores(), |spread| spread.shards) as u64;
    let segments = logs * (kept + SEGMENTS_SPARE);
    let wanted = segments + shards * MAPS_PER_SHARD + MAPS_SPARE;
    let why = format!(
        "{logs} logs on disk keep {kept} segments of {} each and {SEGMENTS_SPARE} in work, all mapped; {} shards and \
         the process take the rest",
        bytes(segment),
        grouped(shards)
    );
    Finding::new(
        KEY,
        grouped(present),
        format!(">= {}", grouped(wanted)),
        why,
    )
    .judged(
        present >= wanted,
        Verdict::Warn,
        Fix::sysctl(KEY, &scaled(wanted, 2, 1)),
    )
}

/// Judges the limit of locked memory, which holds the rings for old kernels only.
pub(crate) fn locked(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "locked memory limit";
    let Some(present) = exam.limit("Max locked memory") else {
        return Finding::unknown(NAME, "/proc/self/limits cannot be read here");
    };
    let release = exam.sysctl("kernel.osrelease").unwrap_or_default();
    if version(&release).is_some_and(|version| version >= RINGS_UNCHARGED_SINCE) {
        let why =
            format!("since Linux 5.12 rings do not count as locked memory; this is {release}");
        return Finding::new(NAME, bytes(present), "any", why);
    }
    let shards = exam
        .spread()
        .map_or(exam.facts.cores(), |spread| spread.shards) as u64;
    let wanted = shards * RING_BYTES_PER_SHARD;
    let why = format!(
        "before Linux 5.12 the rings of {} shards count as locked memory, {} each",
        grouped(shards),
        bytes(RING_BYTES_PER_SHARD)
    );
    Finding::new(NAME, bytes(present), format!(">= {}", bytes(wanted)), why).judged(
        present >= wanted,
        Verdict::Warn,
        Fix::Unit("LimitMEMLOCK=infinity".to_owned()),
    )
}

fn version(release: &str) -> Option<(u64, u64)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Judges whether the tail arena can get the huge pages for which it asks by `madvise`.
pub(crate) fn huge_pages(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "transparent huge pages";
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let Some(text) = exam.facts.read(PATH) else {
        return Finding::unknown(NAME, format!("{PATH} cannot be read here"));
    };
    let chosen = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("?", |(chosen, _)| chosen);
    let blocks = exam.setup.arena_bytes >> 21;
    let why = format!(
        "the tail arena is {blocks} blocks of 2 MiB, each one entry of the processor's address cache instead of 512; \
         only `madvise` and `always` give them"
    );
    Finding::new(NAME, chosen, "madvise", why).judged(
        matches!(chosen, "madvise" | "always"),
        Verdict::Warn,
        Fix::Command(format!("echo madvise > {PATH}")),
    )
}

/// Judges swap: a page that has to come back from a disk stalls its shard and all its sessions.
pub(crate) fn swap(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "swap";
    let Some(text) = exam.facts.read("/proc/swaps") else {
        return Finding::unknown(NAME, "/proc/swaps cannot be read here");
    };
    let size = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let total: u64 = text.lines().skip(1).filter_map(size).sum::<u64>() << 10;
    let spread = exam.spread();
    let sessions = spread.map_or(0, |spread| exam.connections.div_ceil(spread.shards as u64));
    let why = format!(
        "a shard that waits for one swapped page makes its {} sessions wait",
        grouped(sessions)
    );
    let present = if total == 0 {
        "none".to_owned()
    } else {
        bytes(total)
    };
    Finding::new(NAME, present, "none for the broker", why).judged(
        total == 0,
        Verdict::Warn,
        Fix::Unit("MemorySwapMax=0".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

    fn meminfo(gib: u64) -> FakeFacts {
        let text = format!("MemTotal: 1 kB\nMemAvailable:   {} kB\n", gib << 20);
        FakeFacts::healthy().file("/proc/meminfo", &text)
    }

    #[test]
    fn memory_is_the_host_s_or_the_group_s() {
        let group = |room: &str| {
            meminfo(24)
                .file("/proc/self/cgroup", "0::/system.slice/oyez.service\n")
                .file("/sys/fs/cgroup/system.slice/memory.max", room)
                .file("/sys/fs/cgroup/system.slice/memory.current", "1048576\n")
        };
        let old = meminfo(24)
            .file("/proc/self/cgroup", "4:memory:/broker\n0::/\n")
            .file(
                "/sys/fs/cgroup/memory/broker/memory.limit_in_bytes",
                "1073741824",
            )
            .file("/sys/fs/cgroup/memory/broker/memory.usage_in_bytes", "0");
        check_table(&[
            Case::new(available, meminfo(24), Verdict::Ok, "5.5 KiB in the kernel"),
            Case::new(
                available,
                meminfo(6),
                Verdict::Warn,
                "1,000,000 connections",
            ),
            Case::new(available, meminfo(3), Verdict::Fail, "take 5."),
            Case::new(available, group("max\n"), Verdict::Ok, "take 5."),
            Case::new(available, group("2147483648\n"), Verdict::Fail, "take 5."),
            Case::new(available, old, Verdict::Fail, "take 5."),
            Case::new(available, FakeFacts::default(), Verdict::Unknown, "meminfo"),
        ]);
        let finding = available(&group("2147483648").exam(1_000_000));
        assert!(finding.fix.unwrap().command().contains("MemoryMax="));
        assert!(finding.present.contains("2.0 GiB"), "{}", finding.present);
    }

    #[test]
    fn maps_and_rings_are_judged() {
        let maps = |count: &str| FakeFacts::healthy().sysctl("vm.max_map_count", count);
        let kernel = |release: &str, hard: &str| {
            FakeFacts::healthy()
                .sysctl("kernel.osrelease", release)
                .limit("Max locked memory", hard)
        };
        check_table(&[
            Case::new(
                map_count,
                maps("65530"),
                Verdict::Ok,
                "4 logs on disk keep 128 segments of 64.0 MiB",
            ),
            Case::new(map_count, maps("1000"), Verdict::Warn, "all mapped"),
            Case::new(
                map_count,
                FakeFacts::default(),
                Verdict::Unknown,
                "max_map_count",
            ),
            Case::new(locked, kernel("6.18.44-x", "65536"), Verdict::Ok, "5.12"),
            Case::new(
                locked,
                kernel("5.10.0", "65536"),
                Verdict::Warn,
                "128.0 KiB each",
            ),
            Case::new(
                locked,
                kernel("5.10.0", "unlimited"),
                Verdict::Ok,
                "before Linux 5.12",
            ),
            Case::new(locked, FakeFacts::default(), Verdict::Unknown, "limits"),
        ]);
    }

    #[test]
    fn pages_are_judged() {
        let swaps = |rest: &str| {
            let text = format!("Filename Type Size Used Priority\n{rest}");
            FakeFacts::healthy().file("/proc/swaps", &text)
        };
        let huge = |text: &str| FakeFacts::healthy().file(HUGE, text);
        check_table(&[
            Case::new(
                huge_pages,
                huge("always [madvise] never\n"),
                Verdict::Ok,
                "64 blocks of 2 MiB",
            ),
            Case::new(
                huge_pages,
                huge("[always] madvise never\n"),
                Verdict::Ok,
                "madvise",
            ),
            Case::new(
                huge_pages,
                huge("always madvise [never]\n"),
                Verdict::Warn,
                "512",
            ),
            Case::new(
                huge_pages,
                FakeFacts::default(),
                Verdict::Unknown,
                "transparent_hugepage",
            ),
            Case::new(swap, swaps(""), Verdict::Ok, "swapped page"),
            Case::new(
                swap,
                swaps("/dev/vdb partition 1048576 0 -2\n"),
                Verdict::Warn,
                "500,000 sessions",
            ),
            Case::new(swap, FakeFacts::default(), Verdict::Unknown, "/proc/swaps"),
        ]);
    }
}
