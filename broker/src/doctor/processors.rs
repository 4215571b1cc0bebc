//! Cores and the memory near them.

use super::{Exam, Finding, Fix, Verdict};

const NODES: &str = "/sys/devices/system/node";

/// Shards stay on their cores, so that their memory stays near.
pub(super) fn nodes(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "NUMA nodes and pinning";
    let names = exam.facts.list(NODES);
    let count = names.iter().filter(|name| is_node(name)).count();
    if count == 0 {
        return Finding::unknown(NAME, format!("{NODES} cannot be listed here"));
    }
    let cores = exam.facts.cores();
    let pinned = exam.config.pin;
    let balancing = exam.sysctl_number("kernel.numa_balancing").unwrap_or(0) != 0;
    let present = format!(
        "{count} {}, {cores} cores, pin = {pinned}",
        if count == 1 { "node" } else { "nodes" }
    );
    let why = if count == 1 {
        "all memory is equally near to every core".to_owned()
    } else {
        format!(
            "on {count} nodes a shard's memory is near only while the shard stays on its core, and the kernel moves \
             pages about while kernel.numa_balancing is on"
        )
    };
    let fix = if pinned {
        Fix::sysctl("kernel.numa_balancing", &0)
    } else {
        Fix::Advice("set `pin = true` in the configuration".to_owned())
    };
    let fine = count == 1 || (pinned && !balancing);
    Finding::new(NAME, present, "one node, or pinned shards", why).judged(fine, Verdict::Warn, fix)
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("node")
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::fake::{Case, FakeFacts, check_table};

    #[test]
    fn shards_on_several_nodes_are_to_be_pinned() {
        let two = || FakeFacts::healthy().names(NODES, &["has_cpu", "node0", "node1"]);
        let mut loose = two();
        loose.config.pin = false;
        check_table(&[
            Case::new(nodes, FakeFacts::healthy(), Verdict::Ok, "equally near"),
            Case::new(nodes, two(), Verdict::Ok, "2 nodes"),
            Case::new(
                nodes,
                two().sysctl("kernel.numa_balancing", "1"),
                Verdict::Warn,
                "moves pages",
            ),
            Case::new(nodes, loose, Verdict::Warn, "stays on its core"),
            Case::new(nodes, FakeFacts::default(), Verdict::Unknown, "node"),
        ]);
    }
}
