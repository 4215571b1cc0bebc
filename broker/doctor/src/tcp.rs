//! Checks of TCP's memory, which the kernel lends to sockets that hold data.

use super::figures::{bytes, grouped, scaled};
use super::{Exam, Finding, Fix, Verdict};

const PAGE_BYTES: u64 = 4096;

/// Largest good default of the receive buffer: with more, a publisher that is not read pins more than its messages need.
const RECEIVE_BYTES_MAX: u64 = 256 << 10;
/// Window for a long, fast path: 4 MiB is 40 ms at 800 Mbit/s.
const WINDOW_BYTES: u64 = 4 << 20;

/// Complaints of the kernel when TCP or its tables run short.
const COMPLAINTS: [&str; 5] = [
    "TCP: out of memory",
    "too many orphaned sockets",
    "Possible SYN flooding",
    "nf_conntrack: table full",
    "VFS: file-max limit",
];

/// Judges TCP's memory: every socket that holds unsent data is charged whole pages.
pub(crate) fn memory(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_mem";
    let Some([_, pressure, most]) = exam.sysctl_numbers(KEY) else {
        return Finding::unreadable(KEY);
    };
    let low = exam.connections;
    let wanted_pressure = scaled(low, 5, 4);
    let wanted = scaled(low, 3, 2);
    let why = format!(
        "a broadcast leaves at least one page of {PAGE_BYTES} bytes on each of {} sockets, {} in all, and half as much \
         again is kept for those that lag; idle connections take none",
        grouped(exam.connections),
        bytes(low.saturating_mul(PAGE_BYTES))
    );
    let present = format!("{} pages, pressure at {}", grouped(most), grouped(pressure));
    Finding::new(KEY, present, format!(">= {} pages", grouped(wanted)), why).judged(
        most >= wanted && pressure >= low,
        Verdict::Warn,
        Fix::sysctl(KEY, &format!("{low} {wanted_pressure} {wanted}")),
    )
}

/// Judges the receive buffer, which bounds the window that each connection begins with.
pub(crate) fn receive_buffer(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_rmem";
    let Some([least, default, most]) = exam.sysctl_numbers(KEY) else {
        return Finding::unreadable(KEY);
    };
    let why = format!(
        "a publisher that is not read may pin {} from its first byte and {} in the end, so a small beginning and an \
         end of {} serve both many and fast connections",
        bytes(default),
        bytes(most),
        bytes(WINDOW_BYTES)
    );
    let wanted = format!(
        "default <= {}, max >= {}",
        bytes(RECEIVE_BYTES_MAX),
        bytes(WINDOW_BYTES)
    );
    Finding::new(KEY, triple(least, default, most), wanted, why).judged(
        default <= RECEIVE_BYTES_MAX && most >= WINDOW_BYTES,
        Verdict::Warn,
        Fix::sysctl(KEY, &format!("{least} 131072 {}", most.max(WINDOW_BYTES))),
    )
}

/// Judges the send buffer, which bounds what a peer that does not read pins.
pub(crate) fn send_buffer(exam: &Exam<'_>) -> Finding {
    let chosen = u64::from(exam.setup.send_buffer_bytes);
    if chosen == 0 {
        return automatic_send_buffer(exam);
    }
    const KEY: &str = "net.core.wmem_max";
    let Some(most) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let all = exam.connections.saturating_mul(2 * chosen);
    let why = format!(
        "the broker sets its own send buffer (send_buffer_bytes is {chosen}, so net.ipv4.tcp_wmem does not matter), \
         which the kernel cuts to this and then doubles; if nobody read, all would pin {}, of which tcp_mem allows \
         its part",
        bytes(all)
    );
    Finding::new(KEY, bytes(most), format!(">= {}", bytes(chosen)), why).judged(
        most >= chosen,
        Verdict::Warn,
        Fix::sysctl(KEY, &chosen),
    )
}

fn automatic_send_buffer(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_wmem";
    let Some([least, default, most]) = exam.sysctl_numbers(KEY) else {
        return Finding::unreadable(KEY);
    };
    let why = format!(
        "send_buffer_bytes is 0, so the kernel chooses, and a subscriber that does not read may pin {}",
        bytes(most)
    );
    let wanted = format!("max <= {}", bytes(WINDOW_BYTES));
    Finding::new(KEY, triple(least, default, most), wanted, why).judged(
        most <= WINDOW_BYTES,
        Verdict::Warn,
        Fix::sysctl(KEY, &format!("{least} {default} {WINDOW_BYTES}")),
    )
}

fn triple(least: u64, default: u64, most: u64) -> String {
    format!("{} / {} / {}", bytes(least), bytes(default), bytes(most))
}

/// Judges what the kernel has already complained about.
pub(crate) fn complaints(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "kernel log";
    let log = match exam.facts.kernel_log() {
        Ok(log) => log,
        Err(why) => {
            return Finding::unknown(NAME, format!("the kernel's log cannot be read: {why}"));
        }
    };
    let found: Vec<String> = COMPLAINTS
        .iter()
        .map(|complaint| (complaint, log.matches(complaint).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(complaint, count)| format!("{count} x \"{complaint}\""))
        .collect();
    let why = "the kernel's log says when TCP, its connection tables or the system's files ran out; what it names was \
               too small before";
    let present = if found.is_empty() {
        "no complaint".to_owned()
    } else {
        found.join(", ")
    };
    let fix = Fix::Advice(
        "raise what is named (dmesg -T shows when), then clear it: dmesg -C".to_owned(),
    );
    Finding::new(NAME, present, "no complaint", why).judged(found.is_empty(), Verdict::Warn, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    fn with(key: &str, value: &str) -> FakeFacts {
        FakeFacts::healthy().sysctl(key, value)
    }

    #[test]
    fn socket_memory_is_judged() {
        check_table(&[
            Case::new(
                memory,
                with("net.ipv4.tcp_mem", "1000000 1250000 1500000"),
                Verdict::Ok,
                "3.8 GiB in all",
            ),
            Case::new(
                memory,
                with("net.ipv4.tcp_mem", "287901\t383868\t575802"),
                Verdict::Warn,
                "1,000,000 sockets",
            ),
            Case::new(memory, FakeFacts::default(), Verdict::Unknown, "tcp_mem"),
            Case::new(
                receive_buffer,
                with("net.ipv4.tcp_rmem", "4096 131072 6291456"),
                Verdict::Ok,
                "128.0 KiB",
            ),
            Case::new(
                receive_buffer,
                with("net.ipv4.tcp_rmem", "4096 1048576 6291456"),
                Verdict::Warn,
                "1.0 MiB",
            ),
            Case::new(
                receive_buffer,
                with("net.ipv4.tcp_rmem", "4096 131072 131072"),
                Verdict::Warn,
                "in the end",
            ),
            Case::new(
                receive_buffer,
                FakeFacts::default(),
                Verdict::Unknown,
                "tcp_rmem",
            ),
        ]);
    }

    #[test]
    fn the_send_buffer_is_judged_by_who_chooses_it() {
        let mut automatic = with("net.ipv4.tcp_wmem", "4096\t16384\t4194304");
        automatic.setup.send_buffer_bytes = 0;
        let mut large = with("net.ipv4.tcp_wmem", "4096\t16384\t67108864");
        large.setup.send_buffer_bytes = 0;
        check_table(&[
            Case::new(
                send_buffer,
                with("net.core.wmem_max", "212992"),
                Verdict::Ok,
                "131072",
            ),
            Case::new(
                send_buffer,
                with("net.core.wmem_max", "65536"),
                Verdict::Warn,
                "cuts to this",
            ),
            Case::new(send_buffer, automatic, Verdict::Ok, "may pin 4.0 MiB"),
            Case::new(send_buffer, large, Verdict::Warn, "may pin 64.0 MiB"),
        ]);
    }

    #[test]
    fn complaints_are_counted() {
        let said = |text: &str| FakeFacts::healthy().kernel_log(text);
        check_table(&[
            Case::new(complaints, said("[1.0] eth0 up\n"), Verdict::Ok, "ran out"),
            Case::new(
                complaints,
                said("TCP: out of memory -- consider\nTCP: out of memory\n"),
                Verdict::Warn,
                "ran out",
            ),
            Case::new(
                complaints,
                FakeFacts::default(),
                Verdict::Unknown,
                "cannot be read",
            ),
        ]);
        let finding = complaints(&said("TCP: out of memory\nTCP: out of memory\n").exam(1));
        assert_eq!(finding.present, "2 x \"TCP: out of memory\"");
    }
}
