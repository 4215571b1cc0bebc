//! Checks of cores: the memory near them, and how they sleep.

use oyez_sys::latency::{DEVICE, DRIVER, PROCESSORS, is_guest, strict_us};

use super::{Access, Exam, Finding, Fix, Verdict, Wish};

const NODES: &str = "/sys/devices/system/node";

/// Judges whether shards stay on their cores, so that their memory stays near.
pub(crate) fn nodes(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "NUMA nodes and pinning";
    let names = exam.facts.list(NODES);
    let count = names.iter().filter(|name| is_node(name)).count();
    if count == 0 {
        return Finding::unknown(NAME, format!("{NODES} cannot be listed here"));
    }
    let cores = exam.facts.cores();
    let pinned = exam.setup.pin;
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

/// The file that gives the broker's user access to the device, also after a reboot.
const RULES: &str = "/etc/udev/rules.d/70-oyez.rules";

/// Judges whether the broker can keep cores awake: a publisher that waits for every single record waits for cores to wake up.
pub(crate) fn sleep(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "sleep of the cores";
    if exam.setup.awake_cores == Wish::Never {
        let why = "the configuration lets cores sleep (keep_awake = \"never\")";
        return Finding::new(NAME, "as the host likes", "any", why);
    }
    let verdict = match exam.setup.awake_cores {
        Wish::Required => Verdict::Fail,
        Wish::Allowed | Wish::Never => Verdict::Warn,
    };
    let Some(driver) = exam.facts.read(DRIVER) else {
        return Finding::unknown(NAME, format!("{DRIVER} cannot be read here"));
    };
    let driver = driver.trim();
    let guest = is_guest(&exam.facts.read(PROCESSORS).unwrap_or_default());
    if strict_us(driver, guest).is_none() {
        return no_choice(NAME, guest, verdict);
    }
    let (present, fix) = match exam.facts.access(DEVICE) {
        Access::Granted => {
            let why = "while publishers wait for every single record, the broker asks for cores that wake up at once";
            let present = format!("{driver}, {DEVICE} can be written");
            return Finding::new(NAME, present, format!("{DEVICE} can be written"), why);
        }
        Access::Missing => (
            format!("{DEVICE} is missing"),
            Fix::Advice(format!("give the container the device {DEVICE}")),
        ),
        Access::Refused(error) => (
            format!("{DEVICE}: {error}"),
            Fix::Command(format!(
                "echo 'KERNEL==\"cpu_dma_latency\", GROUP=\"oyez\", MODE=\"0660\"' > {RULES} && \
                 udevadm control --reload && udevadm trigger --name-match=cpu_dma_latency"
            )),
        ),
    };
    let why = "the broker cannot ask for cores that wake up at once while publishers wait for every single record, and a \
               record passes through five wake-ups before it is acknowledged; the group is that of the broker's user";
    Finding::new(NAME, present, format!("{DEVICE} can be written"), why).judged(false, verdict, fix)
}

/// The finding for a kernel with only one way to sleep, and in a guest how to give it another.
fn no_choice(name: &str, guest: bool, verdict: Verdict) -> Finding {
    let why = "the kernel has no choice of how its idle cores sleep, so that the broker cannot ask for a lighter sleep \
               while publishers wait for every single record";
    let fine = verdict == Verdict::Warn && !guest;
    let fix = if guest {
        Fix::Command("modprobe cpuidle_haltpoll force=1".to_owned())
    } else {
        Fix::Advice("set `keep_awake = \"auto\"` in the configuration".to_owned())
    };
    Finding::new(name, "no cpuidle driver", "a cpuidle driver", why).judged(fine, verdict, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    #[test]
    fn shards_on_several_nodes_are_to_be_pinned() {
        let two = || FakeFacts::healthy().names(NODES, &["has_cpu", "node0", "node1"]);
        let mut loose = two();
        loose.setup.pin = false;
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
    fn cores_can_be_kept_awake_or_the_reason_is_given() {
        let configured = |wish, mut facts: FakeFacts| {
            facts.setup.awake_cores = wish;
            facts
        };
        let healthy = FakeFacts::healthy;
        let refused = || healthy().device(DEVICE, Access::Refused("EACCES".to_owned()));
        let missing = || healthy().device(DEVICE, Access::Missing);
        let no_driver = || healthy().file(DRIVER, "none\n");
        let guest = || no_driver().file(PROCESSORS, "flags: hypervisor\n");
        let (always, never) = (Wish::Required, Wish::Never);
        let (ok, warn, fail) = (Verdict::Ok, Verdict::Warn, Verdict::Fail);
        check_table(&[
            Case::new(sleep, healthy(), ok, "at once"),
            Case::new(sleep, refused(), warn, "five wake-ups"),
            Case::new(sleep, missing(), warn, "five wake-ups"),
            Case::new(sleep, configured(always, refused()), fail, "five"),
            Case::new(sleep, configured(never, refused()), ok, "never"),
            Case::new(sleep, no_driver(), ok, "no choice"),
            Case::new(sleep, guest(), warn, "no choice"),
            Case::new(sleep, configured(always, no_driver()), fail, "no choice"),
            Case::new(sleep, FakeFacts::default(), Verdict::Unknown, "read"),
        ]);
    }
}
