//! Checks of how connections come in and go out: backlogs, ports, tracking, the first flight.

use super::figures::{grouped, scaled};
use super::{Exam, Finding, Fix, Verdict};

/// The backlog that the broker asks for when it listens; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG_MAX: u64 = 65_535;
/// The default of kernels since 5.4.
const BACKLOG_MIN: u64 = 4096;

/// Connections that one source address of a load generator carries: `connect` slows down once half of the ports are
/// taken.
const CONNECTIONS_PER_SOURCE: u64 = 8_000;
const PORTS_WANTED: u64 = 2 * CONNECTIONS_PER_SOURCE;

/// Segments of the first flight, and the bytes of each over Ethernet.
const SEGMENTS_FIRST: u64 = 10;
const SEGMENT_BYTES: u64 = 1448;

/// A listener's share of the connections, which comes at once when all clients come back; and the backlog to want for it.
fn backlog_wanted(exam: &Exam<'_>) -> (u64, u64) {
    let shards = exam
        .spread()
        .map_or(exam.facts.cores(), |spread| spread.shards) as u64;
    let share = exam.connections.div_ceil(shards.max(1));
    let wanted = share.next_power_of_two().clamp(BACKLOG_MIN, BACKLOG_MAX);
    (share, wanted)
}

/// Judges the backlog of connections that are complete and wait to be accepted.
pub(crate) fn accept_backlog(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.core.somaxconn";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let (share, wanted) = backlog_wanted(exam);
    let why = format!(
        "when all clients come back at once each listener gets {} of them, and one that finds no room tries again after \
         1, 3, 7 seconds",
        grouped(share)
    );
    Finding::new(
        KEY,
        grouped(present),
        format!(">= {}", grouped(wanted)),
        why,
    )
    .judged(present >= wanted, Verdict::Warn, Fix::sysctl(KEY, &wanted))
}

/// Judges the backlog of half-open connections.
pub(crate) fn syn_backlog(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_max_syn_backlog";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let (share, wanted) = backlog_wanted(exam);
    let cookies = exam.sysctl_number("net.ipv4.tcp_syncookies") != Some(0);
    let why = if cookies {
        "with net.ipv4.tcp_syncookies on, half-open connections beyond it are answered all the same"
            .to_owned()
    } else {
        format!(
            "net.ipv4.tcp_syncookies is 0, so of the {} connections that may come to a listener at once those beyond \
             three quarters of this are dropped",
            grouped(share)
        )
    };
    let wanted_text = if cookies {
        "any".to_owned()
    } else {
        format!(">= {}", grouped(wanted))
    };
    Finding::new(KEY, grouped(present), wanted_text, why).judged(
        cookies || present >= wanted,
        Verdict::Warn,
        Fix::sysctl(KEY, &wanted),
    )
}

/// Judges the ports of outgoing connections: enough for a load generator, and not the broker's own.
pub(crate) fn ports(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.ip_local_port_range";
    let Some([first, last]) = exam.sysctl_numbers(KEY) else {
        return Finding::unreadable(KEY);
    };
    let count = (last + 1).saturating_sub(first);
    let own = u64::from(exam.setup.port);
    let sources = exam.connections.div_ceil(CONNECTIONS_PER_SOURCE);
    let present = format!("{first}-{last} ({} ports)", grouped(count));
    if own != 0 && (first..=last).contains(&own) && !reserved(exam, own) {
        let why = format!(
            "port {own}, on which the broker listens, lies in the range, so an outgoing connection may take it before \
             the broker starts"
        );
        let fix = Fix::sysctl("net.ipv4.ip_local_reserved_ports", &own);
        return Finding::new(KEY, present, "without the broker's port", why).judged(
            false,
            Verdict::Warn,
            fix,
        );
    }
    let why = format!(
        "it bounds load generators, not the broker: `connect` slows down when half of the ports of a source address \
         are taken, so {} connections come from {} addresses with {} each",
        grouped(exam.connections),
        grouped(sources),
        grouped(CONNECTIONS_PER_SOURCE)
    );
    let wanted = format!(">= {} ports", grouped(PORTS_WANTED));
    Finding::new(KEY, present, wanted, why).judged(
        count >= PORTS_WANTED,
        Verdict::Warn,
        Fix::sysctl(KEY, &"32768 60999"),
    )
}

fn reserved(exam: &Exam<'_>, port: u64) -> bool {
    let ranges = exam.sysctl("net.ipv4.ip_local_reserved_ports");
    ranges.unwrap_or_default().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    })
}

/// Judges the table of connection tracking, which holds one entry for each connection where the kernel tracks them.
pub(crate) fn conntrack(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.netfilter.nf_conntrack_max";
    let Some(present) = exam.sysctl_number(KEY) else {
        let why = "the kernel tracks no connections here, so nothing bounds them";
        return Finding::new(KEY, "not loaded", "not loaded", why);
    };
    let tracked = exam
        .sysctl_number("net.netfilter.nf_conntrack_count")
        .unwrap_or(0);
    let needed = exam.connections.saturating_add(tracked);
    let wanted = scaled(needed, 5, 4);
    let why = format!(
        "connection tracking is loaded and holds {} connections; each of {} takes one more entry, and packets of \
         connections beyond the table are dropped",
        grouped(tracked),
        grouped(exam.connections)
    );
    let verdict = if tracked > 0 && present < needed {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    Finding::new(
        KEY,
        grouped(present),
        format!(">= {}", grouped(wanted)),
        why,
    )
    .judged(present >= wanted, verdict, Fix::sysctl(KEY, &wanted))
}

/// Judges how many bytes leave before the first acknowledgement comes back.
pub(crate) fn first_window(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "initcwnd";
    let Some(routes) = exam.facts.routes() else {
        return Finding::unknown(NAME, "`ip route show` cannot be run here");
    };
    let small = routes.lines().find_map(|route| {
        let window = initial_window(route)?;
        (window < SEGMENTS_FIRST).then(|| (route.trim().to_owned(), window))
    });
    let windows = routes.lines().filter_map(initial_window).min();
    let bytes_first = SEGMENTS_FIRST * SEGMENT_BYTES;
    let why = format!(
        "{SEGMENTS_FIRST} segments of {SEGMENT_BYTES} bytes, {} bytes, leave in the first round trip; what is larger \
         takes a round trip for each doubling",
        grouped(bytes_first)
    );
    let present = windows.map_or_else(
        || format!("{SEGMENTS_FIRST} (no route says otherwise)"),
        |window| window.to_string(),
    );
    let fix = match &small {
        Some((route, window)) => {
            let route = route.replace(&format!("initcwnd {window}"), "initcwnd 10");
            Fix::Command(format!("ip route change {route}"))
        }
        None => Fix::Advice("nothing to do".to_owned()),
    };
    Finding::new(NAME, present, format!(">= {SEGMENTS_FIRST}"), why).judged(
        small.is_none(),
        Verdict::Warn,
        fix,
    )
}

fn initial_window(route: &str) -> Option<u64> {
    let (_, rest) = route.split_once("initcwnd ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Judges whether the kernel forgets the pace of idle connections: push connections are idle most of the time.
pub(crate) fn idle_window(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_slow_start_after_idle";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let why = format!(
        "a subscriber that was idle for longer than its retransmission timeout (200 ms and up) begins again with {} \
         bytes in flight, so that every larger push takes round trips more",
        grouped(SEGMENTS_FIRST * SEGMENT_BYTES)
    );
    Finding::new(KEY, present.to_string(), "0", why).judged(
        present == 0,
        Verdict::Warn,
        Fix::sysctl(KEY, &0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    fn with(key: &str, value: &str) -> FakeFacts {
        FakeFacts::healthy().sysctl(key, value)
    }

    #[test]
    fn backlogs_are_judged() {
        let syn = |cookies: &str, backlog: &str| {
            with("net.ipv4.tcp_syncookies", cookies).sysctl("net.ipv4.tcp_max_syn_backlog", backlog)
        };
        check_table(&[
            Case::new(
                accept_backlog,
                with("net.core.somaxconn", "65535"),
                Verdict::Ok,
                "500,000 of them",
            ),
            Case::new(
                accept_backlog,
                with("net.core.somaxconn", "4096"),
                Verdict::Warn,
                "tries again",
            ),
            Case::new(
                accept_backlog,
                FakeFacts::default(),
                Verdict::Unknown,
                "somaxconn",
            ),
            Case::new(
                syn_backlog,
                syn("1", "512"),
                Verdict::Ok,
                "tcp_syncookies on",
            ),
            Case::new(
                syn_backlog,
                syn("0", "512"),
                Verdict::Warn,
                "three quarters",
            ),
            Case::new(syn_backlog, syn("0", "65535"), Verdict::Ok, "500,000"),
            Case::new(
                syn_backlog,
                FakeFacts::default(),
                Verdict::Unknown,
                "syn_backlog",
            ),
        ]);
    }

    #[test]
    fn the_table_of_connections_is_judged_when_it_is_in_use() {
        let tracked = |count: &str, most: &str| {
            with("net.netfilter.nf_conntrack_count", count)
                .sysctl("net.netfilter.nf_conntrack_max", most)
        };
        check_table(&[
            Case::new(
                conntrack,
                FakeFacts::healthy(),
                Verdict::Ok,
                "tracks no connections",
            ),
            Case::new(
                conntrack,
                tracked("10", "2000000"),
                Verdict::Ok,
                "1,000,000 takes one more",
            ),
            Case::new(
                conntrack,
                tracked("10", "1100000"),
                Verdict::Warn,
                "dropped",
            ),
            Case::new(
                conntrack,
                tracked("10", "262144"),
                Verdict::Fail,
                "holds 10",
            ),
            Case::new(conntrack, tracked("0", "262144"), Verdict::Warn, "holds 0"),
        ]);
    }

    #[test]
    fn ports_are_judged_for_generators_and_for_the_broker() {
        let range = |range: &str| with("net.ipv4.ip_local_port_range", range);
        let kept = range("1024 65535").sysctl("net.ipv4.ip_local_reserved_ports", "80,7000-8000");
        check_table(&[
            Case::new(
                ports,
                range("32768\t60999"),
                Verdict::Ok,
                "125 addresses with 8,000 each",
            ),
            Case::new(
                ports,
                range("50000 60000"),
                Verdict::Warn,
                "half of the ports",
            ),
            Case::new(ports, range("1024 65535"), Verdict::Warn, "port 7450"),
            Case::new(ports, kept, Verdict::Ok, "load generators"),
            Case::new(ports, FakeFacts::default(), Verdict::Unknown, "port_range"),
        ]);
    }

    #[test]
    fn flights_are_judged() {
        let routes = |text: &str| FakeFacts::healthy().routes(text);
        let idle = |value: &str| with("net.ipv4.tcp_slow_start_after_idle", value);
        let small = "default via 10.0.0.1 dev eth0 initcwnd 4\n10.0.0.0/8 dev eth0\n";
        check_table(&[
            Case::new(
                first_window,
                routes("default via 10.0.0.1 dev eth0\n"),
                Verdict::Ok,
                "14,480 bytes",
            ),
            Case::new(
                first_window,
                routes("default via 10.0.0.1 initcwnd 32\n"),
                Verdict::Ok,
                "round trip",
            ),
            Case::new(first_window, routes(small), Verdict::Warn, "round trip"),
            Case::new(
                first_window,
                FakeFacts::default(),
                Verdict::Unknown,
                "ip route",
            ),
            Case::new(idle_window, idle("0"), Verdict::Ok, "idle"),
            Case::new(idle_window, idle("1"), Verdict::Warn, "begins again"),
            Case::new(
                idle_window,
                FakeFacts::default(),
                Verdict::Unknown,
                "after_idle",
            ),
        ]);
        let fix = first_window(&routes(small).exam(1)).fix.unwrap();
        assert_eq!(
            fix.command(),
            "ip route change default via 10.0.0.1 dev eth0 initcwnd 10"
        );
    }
}
