//! Cores: the memory near them, and how they sleep.

use super::{Exam, Finding, Fix, Verdict};
use crate::config::KeepAwake;
use crate::sys::latency::{DEVICE, DRIVER, strict_us};

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

/// Who waits for every single record, waits for cores to wake up.
pub(super) fn sleep(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "sleep of the cores";
    let keep_awake = exam.config.keep_awake;
    if keep_awake == KeepAwake::Never {
        let why = "the configuration lets cores sleep (keep_awake = \"never\")";
        return Finding::new(NAME, "as the kernel likes", "any", why);
    }
    let needed = keep_awake == KeepAwake::Always;
    let verdict = if needed { Verdict::Fail } else { Verdict::Warn };
    let driver = exam.facts.read(DRIVER).unwrap_or_default();
    if strict_us(&driver).is_none() {
        let why = "the kernel has no choice of how its idle cores sleep, so nobody can ask for a lighter sleep";
        let advice = "in a guest of KVM: modprobe cpuidle_haltpoll force=1; else set `keep_awake = \"never\"`";
        return Finding::new(NAME, "no cpuidle driver", "a cpuidle driver", why).judged(
            !needed,
            verdict,
            Fix::Advice(advice.to_owned()),
        );
    }
    let access = exam.facts.writable(DEVICE);
    let why = match &access {
        Ok(()) => "while publishers wait for every single record, the broker asks for cores that wake up at once; it takes \
                   a record five wake-ups to be on disk and acknowledged"
            .to_owned(),
        Err(error) => format!(
            "{DEVICE} cannot be written ({error}), so the broker cannot ask for cores that wake up at once while \
             publishers wait for every single record; it takes a record five wake-ups to be on disk and acknowledged"
        ),
    };
    let present = format!(
        "driver {}, {DEVICE} {}",
        driver.trim(),
        if access.is_ok() {
            "writable"
        } else {
            "refused"
        }
    );
    let fix = Fix::Command(format!("chgrp oyez {DEVICE} && chmod g+w {DEVICE}"));
    Finding::new(NAME, present, format!("{DEVICE} writable"), why).judged(
        access.is_ok(),
        verdict,
        fix,
    )
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

    #[test]
    fn cores_can_be_kept_awake_or_the_reason_is_told() {
        let configured = |mut facts: FakeFacts, keep_awake| {
            facts.config.keep_awake = keep_awake;
            facts
        };
        let refused = || FakeFacts::healthy().without_access(DEVICE, "EACCES");
        let without_driver = || FakeFacts::healthy().file(DRIVER, "none\n");
        let (always, never) = (KeepAwake::Always, KeepAwake::Never);
        check_table(&[
            Case::new(sleep, FakeFacts::healthy(), Verdict::Ok, "at once"),
            Case::new(sleep, refused(), Verdict::Warn, "EACCES"),
            Case::new(
                sleep,
                configured(refused(), always),
                Verdict::Fail,
                "EACCES",
            ),
            Case::new(sleep, configured(refused(), never), Verdict::Ok, "never"),
            Case::new(sleep, without_driver(), Verdict::Ok, "no choice"),
            Case::new(
                sleep,
                configured(without_driver(), always),
                Verdict::Fail,
                "no choice",
            ),
            Case::new(sleep, FakeFacts::default(), Verdict::Ok, "no choice"),
        ]);
    }
}
