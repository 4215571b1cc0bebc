//! `oyez-server doctor`: finds what keeps this host from holding so many connections.
//!
//! [`run`] is the command. `examine` runs every check in turn. A check is a pure function from an `Exam` (the facts, the values
//! of the configuration and the number of connections) to a `Finding`; it reads the host only through `Facts`, so that tests can
//! show it any host. Nothing here changes the host: a fix is printed, never run. Only `prove` acts: it has a broker started and
//! connects to it.
//!
//! The doctor does not depend on the broker. It learns about it from values ([`Setup`]) and through [`Broker`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod attempt;
mod broker;
mod command;
mod damage;
mod descriptors;
mod disk;
mod facts;
mod figures;
mod finding;
mod interfaces;
mod memory;
mod network;
mod processors;
mod prove;
mod report;
mod script;
mod sockets;
mod tcp;

#[cfg(test)]
mod fake;

use facts::{Access, Facts, HostFacts};
use finding::{Finding, Fix, Verdict};
use prove::{Obstacle, Proof};
use report::Report;

pub use broker::{Broker, Room, Running, Setup, Spread, Wish};
pub use command::{Arguments, Failure, run};

/// The input of a check.
#[derive(Clone, Copy)]
struct Exam<'a> {
    /// The host.
    facts: &'a dyn Facts,
    /// Settings of the broker.
    setup: &'a Setup,
    /// The broker, which knows how it spreads connections.
    broker: &'a dyn Broker,
    /// How many connections the host should hold.
    connections: u64,
}

type Check = fn(&Exam<'_>) -> Finding;

/// The checks of the host as a whole, in the order of their findings.
const CHECKS: [Check; 28] = [
    descriptors::tables,
    descriptors::per_shard,
    descriptors::ceiling,
    descriptors::of_the_system,
    memory::available,
    memory::map_count,
    memory::locked,
    memory::huge_pages,
    memory::swap,
    tcp::memory,
    tcp::receive_buffer,
    tcp::send_buffer,
    tcp::complaints,
    network::accept_backlog,
    network::syn_backlog,
    network::ports,
    network::conntrack,
    sockets::established_table,
    network::first_window,
    network::idle_window,
    processors::nodes,
    processors::sleep,
    disk::ring,
    disk::file_system,
    disk::mount_options,
    disk::space,
    damage::set_aside,
    interfaces::flow_table,
];

/// Runs every check.
fn examine(exam: &Exam<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().map(|check| check(exam)).collect();
    findings.extend(interfaces::each(exam));
    findings
}

impl Exam<'_> {
    /// The value of a kernel setting.
    fn sysctl(&self, key: &str) -> Option<String> {
        self.facts
            .read(&format!("/proc/sys/{}", key.replace('.', "/")))
            .map(|text| text.trim().to_owned())
    }

    fn sysctl_number(&self, key: &str) -> Option<u64> {
        self.sysctl(key)?.parse().ok()
    }

    /// All numbers of a setting that has several.
    fn sysctl_numbers<const COUNT: usize>(&self, key: &str) -> Option<[u64; COUNT]> {
        let numbers = self.sysctl(key)?;
        let numbers = numbers.split_whitespace().map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        numbers.try_into().ok()
    }

    /// The hard limit of this name in `/proc/self/limits`; the broker raises its soft limit to it.
    fn limit(&self, name: &str) -> Option<u64> {
        let limits = self.facts.read("/proc/self/limits")?;
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().nth(1)? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// How the broker would spread the connections; `None` when the descriptor limit is not known.
    fn spread(&self) -> Option<Spread> {
        let descriptors = self.limit("Max open files")?;
        let room = Room {
            cores: self.facts.cores(),
            descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX),
            private_tables: self.has_private_tables(),
        };
        Some(self.broker.spread(self.connections, &room))
    }

    fn has_private_tables(&self) -> bool {
        self.facts.private_tables().is_ok()
    }

    /// Logs on disk: those of two durabilities, one per core each.
    fn logs_on_disk(&self) -> u64 {
        2 * self.facts.cores() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeFacts;
    use super::*;

    #[test]
    fn a_healthy_host_has_nothing_to_fix() {
        let host = FakeFacts::healthy();
        for finding in examine(&host.exam(1_000_000)) {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:#?}");
        }
    }

    #[test]
    fn a_host_about_which_nothing_is_known_is_not_judged() {
        let silent = FakeFacts::default();
        let findings = examine(&silent.exam(1_000_000));
        assert!(Report::new(1_000_000, findings, None).possible);
    }
}
