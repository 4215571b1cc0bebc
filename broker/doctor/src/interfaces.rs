//! Checks of network interfaces: whether received packets are spread over the cores, and how bonds spread sent ones.

use super::{Exam, Finding, Fix, Verdict};

const NET: &str = "/sys/class/net";
const BONDING: &str = "/proc/net/bonding";

/// Entries of the table that holds the core on which each connection is served.
const FLOWS: u64 = 32_768;

/// The findings of each interface that is hardware, and of each bond.
pub(crate) fn each(exam: &Exam<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in physical(exam) {
        findings.push(spreading(exam, &name));
        findings.push(interrupts(exam, &name));
    }
    for name in exam.facts.list(BONDING) {
        findings.push(bond(exam, &name));
    }
    findings
}

fn physical(exam: &Exam<'_>) -> Vec<String> {
    let mut names = exam.facts.list(NET);
    names.retain(|name| !exam.facts.list(&format!("{NET}/{name}/device")).is_empty());
    names
}

fn receive_queues(exam: &Exam<'_>, interface: &str) -> Vec<String> {
    let mut queues = exam.facts.list(&format!("{NET}/{interface}/queues"));
    queues.retain(|queue| queue.starts_with("rx-"));
    queues
}

/// Receive queues that hand their packets to other cores.
fn steered(exam: &Exam<'_>, interface: &str, queue: &str) -> bool {
    let path = format!("{NET}/{interface}/queues/{queue}/rps_cpus");
    let mask = exam.facts.read(&path).unwrap_or_default();
    mask.chars().any(|c| c.is_ascii_hexdigit() && c != '0')
}

/// Judges how received packets are spread: either the hardware has a queue per core, or the kernel spreads the packets of each
/// queue (RPS).
fn spreading(exam: &Exam<'_>, interface: &str) -> Finding {
    let name = format!("{interface}: receive spreading (RPS)");
    let (queues, cores) = (receive_queues(exam, interface), exam.facts.cores());
    if queues.is_empty() {
        return Finding::unknown(
            name,
            format!("{NET}/{interface}/queues cannot be listed here"),
        );
    }
    let steered = queues
        .iter()
        .filter(|queue| steered(exam, interface, queue))
        .count();
    let present = format!("{} receive queues, {steered} with RPS", queues.len());
    let why = format!(
        "{} receive queues feed {cores} cores, and a core that has no queue receives only what RPS hands to it",
        queues.len()
    );
    let fix = Fix::Command(format!(
        "for f in {NET}/{interface}/queues/rx-*/rps_cpus; do echo {} > $f; done",
        mask_of(cores)
    ));
    let fine = queues.len() >= cores || steered == queues.len();
    Finding::new(
        name,
        present,
        format!("{cores} queues, or RPS on each"),
        why,
    )
    .judged(fine, Verdict::Warn, fix)
}

/// The first `cores` cores in the kernel's notation of sets: groups of 32 bits in hexadecimal digits.
fn mask_of(cores: usize) -> String {
    let groups = (0..cores.div_ceil(32)).rev().map(|group| {
        let bits = (cores - group * 32).min(32);
        format!("{:08x}", u64::MAX >> (64 - bits))
    });
    groups.collect::<Vec<_>>().join(",")
}

/// Judges whether the interrupts of an interface go to more than one core.
fn interrupts(exam: &Exam<'_>, interface: &str) -> Finding {
    let name = format!("{interface}: interrupts");
    let cores = exam.facts.cores();
    let numbers = interrupt_numbers(exam, interface);
    let places: Vec<String> = numbers
        .iter()
        .filter_map(|irq| served_by(exam, irq))
        .collect();
    if places.is_empty() {
        return Finding::unknown(name, "the interface does not list its interrupts");
    }
    let mut distinct = places.clone();
    distinct.sort();
    distinct.dedup();
    let why = format!(
        "its {} interrupts are served by cores {}; where one core serves the interrupts of several queues, it is the \
         bound of the interface",
        places.len(),
        distinct.join(", ")
    );
    let queues = receive_queues(exam, interface).len();
    let fine = cores == 1 || queues < 2 || distinct.len() > 1;
    let present = format!("{} on {} cores", places.len(), distinct.len());
    let fix = Fix::Command("systemctl enable --now irqbalance".to_owned());
    Finding::new(name, present, "more than one core", why).judged(fine, Verdict::Warn, fix)
}

/// The numbers of an interface's interrupts. Those of a virtio interface belong to the device above it.
fn interrupt_numbers(exam: &Exam<'_>, interface: &str) -> Vec<String> {
    ["device", "device/.."]
        .iter()
        .map(|device| {
            exam.facts
                .list(&format!("{NET}/{interface}/{device}/msi_irqs"))
        })
        .find(|numbers| !numbers.is_empty())
        .unwrap_or_default()
}

fn served_by(exam: &Exam<'_>, irq: &str) -> Option<String> {
    let place = |file: &str| {
        let text = exam.facts.read(&format!("/proc/irq/{irq}/{file}"))?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    place("effective_affinity_list").or_else(|| place("smp_affinity_list"))
}

/// Judges whether packets go to the core whose shard reads the connection (RFS).
pub(crate) fn flow_table(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.core.rps_sock_flow_entries";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let interfaces = physical(exam);
    let flows_of = |interface: &String| -> u64 {
        let queues = receive_queues(exam, interface);
        let counts = queues.iter().filter_map(|queue| {
            let path = format!("{NET}/{interface}/queues/{queue}/rps_flow_cnt");
            exam.facts.read(&path)?.trim().parse::<u64>().ok()
        });
        counts.sum()
    };
    let cores = exam.facts.cores();
    let why = format!(
        "shards stay on their cores, so with RFS on a packet wakes no second one of the {cores}; the table and the \
         queues together need {FLOWS} flows"
    );
    let fine = cores == 1
        || interfaces.is_empty()
        || (present > 0 && interfaces.iter().all(|interface| flows_of(interface) > 0));
    let mut commands = vec![format!("sysctl -w {KEY}={FLOWS}")];
    commands.extend(interfaces.iter().map(|interface| {
        let each = FLOWS / (receive_queues(exam, interface).len() as u64).max(1);
        format!("for f in {NET}/{interface}/queues/rx-*/rps_flow_cnt; do echo {each} > $f; done")
    }));
    let fix = Fix::Command(commands.join(" && "));
    let wanted = format!("{FLOWS}, or no hardware interface");
    Finding::new(KEY, present.to_string(), wanted, why).judged(fine, Verdict::Warn, fix)
}

/// Judges whether a bond spreads connections and keeps the packets of each in order.
fn bond(exam: &Exam<'_>, interface: &str) -> Finding {
    let name = format!("{interface}: bonding");
    let Some(text) = exam.facts.read(&format!("{BONDING}/{interface}")) else {
        return Finding::unknown(name, format!("{BONDING}/{interface} cannot be read here"));
    };
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map_or("", |value| value.trim_start_matches(':').trim())
    };
    let (mode, policy) = (value("Bonding Mode"), value("Transmit Hash Policy"));
    let by_hash = mode.contains("802.3ad") || mode.contains("xor");
    let reorders = mode.contains("round-robin");
    let why = if reorders {
        "round-robin sends the packets of one connection over several links, and TCP takes their disorder for loss"
    } else if by_hash && !policy.contains("3+4") {
        "the hash does not see ports, so all subscribers behind one address or router share one link"
    } else {
        "each connection keeps to one link, and connections are spread as the mode allows"
    };
    let fine = !reorders && (!by_hash || policy.contains("3+4"));
    let fix = if reorders {
        Fix::Advice(format!(
            "give {interface} the mode 802.3ad with xmit_hash_policy layer3+4"
        ))
    } else {
        Fix::Command(format!(
            "ip link set {interface} type bond xmit_hash_policy layer3+4"
        ))
    };
    let present = [mode, policy].join(", ");
    let present = present.trim_end_matches([',', ' ']);
    Finding::new(name, present, "802.3ad with layer3+4, or one link", why).judged(
        fine,
        Verdict::Warn,
        fix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    /// A host with an interface of so many queues, the first of which has this mask.
    fn interface(queues: usize, mask: &str) -> FakeFacts {
        let names: Vec<String> = (0..queues).map(|queue| format!("rx-{queue}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["tx-0"]).collect();
        FakeFacts::healthy()
            .names(NET, &["eth0", "lo"])
            .names("/sys/class/net/eth0/device", &["vendor"])
            .names("/sys/class/net/eth0/queues", &names)
            .file("/sys/class/net/eth0/queues/rx-0/rps_cpus", mask)
    }

    fn served(first: &str, second: &str) -> FakeFacts {
        interface(2, "0")
            .names("/sys/class/net/eth0/device/../msi_irqs", &["24", "25"])
            .file("/proc/irq/24/effective_affinity_list", first)
            .file("/proc/irq/25/smp_affinity_list", second)
    }

    fn bonded(mode: &str, policy: &str) -> FakeFacts {
        let text = format!("Bonding Mode: {mode}\nTransmit Hash Policy: {policy}\n");
        FakeFacts::healthy()
            .names(BONDING, &["bond0"])
            .file("/proc/net/bonding/bond0", &text)
    }

    fn rps(exam: &Exam<'_>) -> Finding {
        spreading(exam, "eth0")
    }

    fn irq(exam: &Exam<'_>) -> Finding {
        interrupts(exam, "eth0")
    }

    fn bond0(exam: &Exam<'_>) -> Finding {
        bond(exam, "bond0")
    }

    #[test]
    fn interfaces_are_judged() {
        let flows = |entries: &str, count: &str| {
            interface(1, "3")
                .sysctl("net.core.rps_sock_flow_entries", entries)
                .file("/sys/class/net/eth0/queues/rx-0/rps_flow_cnt", count)
        };
        check_table(&[
            Case::new(
                rps,
                interface(2, "0"),
                Verdict::Ok,
                "2 receive queues feed 2 cores",
            ),
            Case::new(
                rps,
                interface(1, "00000000,00000003"),
                Verdict::Ok,
                "1 receive",
            ),
            Case::new(
                rps,
                interface(1, "00000000,00000000"),
                Verdict::Warn,
                "hands to it",
            ),
            Case::new(rps, FakeFacts::default(), Verdict::Unknown, "queues"),
            Case::new(irq, served("0\n", "1\n"), Verdict::Ok, "cores 0, 1"),
            Case::new(irq, served("0\n", "0\n"), Verdict::Warn, "cores 0;"),
            Case::new(irq, FakeFacts::default(), Verdict::Unknown, "interrupts"),
            Case::new(flow_table, flows("32768", "32768"), Verdict::Ok, "RFS"),
            Case::new(flow_table, flows("32768", "0"), Verdict::Warn, "RFS"),
            Case::new(flow_table, flows("0", "0"), Verdict::Warn, "32768"),
            Case::new(
                flow_table,
                FakeFacts::default(),
                Verdict::Unknown,
                "flow_entries",
            ),
        ]);
    }

    #[test]
    fn bonds_are_judged() {
        check_table(&[
            Case::new(
                bond0,
                bonded("IEEE 802.3ad Dynamic link aggregation", "layer3+4 (1)"),
                Verdict::Ok,
                "one link",
            ),
            Case::new(
                bond0,
                bonded("IEEE 802.3ad Dynamic link aggregation", "layer2 (0)"),
                Verdict::Warn,
                "ports",
            ),
            Case::new(
                bond0,
                bonded("load balancing (round-robin)", ""),
                Verdict::Warn,
                "disorder",
            ),
            Case::new(
                bond0,
                bonded("fault-tolerance (active-backup)", ""),
                Verdict::Ok,
                "one link",
            ),
            Case::new(bond0, FakeFacts::default(), Verdict::Unknown, "bond0"),
        ]);
    }

    #[test]
    fn only_hardware_and_bonds_are_checked() {
        let names = |facts: &FakeFacts| -> Vec<String> {
            let found = each(&facts.exam(1));
            found.into_iter().map(|finding| finding.name).collect()
        };
        assert!(names(&FakeFacts::healthy()).is_empty());
        let found = names(&interface(1, "0"));
        assert_eq!(found, ["eth0: receive spreading (RPS)", "eth0: interrupts"]);
        assert_eq!(names(&bonded("active-backup", "")), ["bond0: bonding"]);
    }

    #[test]
    fn a_mask_has_a_bit_for_each_core() {
        assert_eq!(mask_of(2), "00000003");
        assert_eq!(mask_of(32), "ffffffff");
        assert_eq!(mask_of(40), "000000ff,ffffffff");
    }
}
