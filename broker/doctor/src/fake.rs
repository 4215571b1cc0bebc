//! A made-up host for tests, and the table by which they check findings on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oyez_sys::latency;

use super::facts::Space;
use super::{Access, Broker, Exam, Facts, Finding, Room, Running, Setup, Spread, Verdict, Wish};

/// Descriptors of a table that are not connections.
const RESERVED: usize = 576;
/// Most shards of the made-up broker.
const SHARDS_MAX: usize = 448;

/// A host with two cores that answers with what a test has set; the default knows nothing.
#[derive(Clone, Debug)]
pub(crate) struct FakeFacts {
    files: BTreeMap<String, String>,
    directories: BTreeMap<String, Vec<String>>,
    limits: BTreeMap<String, String>,
    uring_error: Option<String>,
    tables_error: Option<String>,
    devices: BTreeMap<String, Access>,
    log: Option<String>,
    routes: Option<String>,
    space: Option<Space>,
    pub(crate) setup: Setup,
    /// Shards of the broker; `None` means as many as are needed.
    pub(crate) shards: Option<usize>,
}

impl Default for FakeFacts {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            limits: BTreeMap::new(),
            uring_error: None,
            tables_error: None,
            devices: BTreeMap::new(),
            log: None,
            routes: None,
            space: None,
            setup: Setup {
                max_connections: 10_000,
                port: 7450,
                data: PathBuf::from("./oyez-data"),
                disk_ring: Wish::Allowed,
                send_ring: Wish::Allowed,
                awake_cores: Wish::Allowed,
                pin: true,
                send_buffer_bytes: 128 << 10,
                segment_bytes: 64 << 20,
                retention_bytes: 8 << 30,
                memory_log_bytes: 64 << 20,
                arena_bytes: 128 << 20,
            },
            shards: None,
        }
    }
}

impl FakeFacts {
    /// A host with room for a million connections.
    pub(crate) fn healthy() -> Self {
        let settings = [
            ("fs.nr_open", "2147483584"),
            ("fs.file-nr", "1000 0 9223372036854775807"),
            ("vm.max_map_count", "1048576"),
            ("kernel.osrelease", "6.18.0"),
            ("net.ipv4.tcp_mem", "1000000 1500000 2000000"),
            ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
            ("net.core.wmem_max", "212992"),
            ("net.core.somaxconn", "65535"),
            ("net.ipv4.tcp_ehash_entries", "1048576"),
            ("net.ipv4.tcp_max_syn_backlog", "65535"),
            ("net.ipv4.tcp_syncookies", "1"),
            ("net.ipv4.ip_local_port_range", "32768 60999"),
            ("net.ipv4.tcp_slow_start_after_idle", "0"),
            ("net.core.rps_sock_flow_entries", "0"),
        ];
        let host = Self::default()
            .limit("Max open files", "1048576")
            .limit("Max locked memory", "unlimited")
            .file("/proc/meminfo", "MemAvailable: 25165824 kB\n")
            .file("/proc/swaps", "Filename Type Size Used Priority\n")
            .file("/sys/kernel/mm/transparent_hugepage/enabled", "[madvise]")
            .file("/proc/self/mountinfo", "1 1 8:1 / / rw - ext4 /dev/a rw\n")
            .names("/sys/devices/system/node", &["node0"])
            .file(latency::DRIVER, "intel_idle\n")
            .device(latency::DEVICE, Access::Granted)
            .names("/sys/class/net", &["lo"])
            .kernel_log("")
            .routes("default via 10.0.0.1 dev eth0\n")
            .space(Space {
                available: 1 << 40,
                held: 0,
            });
        settings
            .iter()
            .fold(host, |host, (key, value)| host.sysctl(key, value))
    }

    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    pub(crate) fn sysctl(self, key: &str, value: &str) -> Self {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.file(&path, &format!("{value}\n"))
    }

    /// Sets a limit of the process, hard and soft alike.
    pub(crate) fn limit(mut self, name: &str, value: &str) -> Self {
        self.limits.insert(name.to_owned(), value.to_owned());
        let lines: Vec<String> = self
            .limits
            .iter()
            .map(|(name, value)| format!("{name:<25} {value:<20} {value:<20} units\n"))
            .collect();
        let text = format!("Limit Soft Limit Hard Limit Units\n{}", lines.concat());
        self.file("/proc/self/limits", &text)
    }

    pub(crate) fn names(mut self, directory: &str, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.directories.insert(directory.to_owned(), names);
        self
    }

    pub(crate) fn without_uring(mut self, why: &str) -> Self {
        self.uring_error = Some(why.to_owned());
        self
    }

    pub(crate) fn without_private_tables(mut self, why: &str) -> Self {
        self.tables_error = Some(why.to_owned());
        self
    }

    pub(crate) fn device(mut self, device: &str, access: Access) -> Self {
        self.devices.insert(device.to_owned(), access);
        self
    }

    pub(crate) fn kernel_log(mut self, text: &str) -> Self {
        self.log = Some(text.to_owned());
        self
    }

    pub(crate) fn routes(mut self, text: &str) -> Self {
        self.routes = Some(text.to_owned());
        self
    }

    pub(crate) const fn space(mut self, space: Space) -> Self {
        self.space = Some(space);
        self
    }

    pub(crate) fn exam(&self, connections: u64) -> Exam<'_> {
        Exam {
            facts: self,
            setup: &self.setup,
            broker: self,
            connections,
        }
    }
}

impl Facts for FakeFacts {
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }

    fn access(&self, device: &str) -> Access {
        self.devices.get(device).cloned().unwrap_or(Access::Missing)
    }

    fn list(&self, path: &str) -> Vec<String> {
        self.directories.get(path).cloned().unwrap_or_default()
    }

    fn cores(&self) -> usize {
        2
    }

    fn uring(&self) -> Result<(), String> {
        self.uring_error.clone().map_or(Ok(()), Err)
    }

    fn private_tables(&self) -> Result<(), String> {
        self.tables_error.clone().map_or(Ok(()), Err)
    }

    fn kernel_log(&self) -> Result<String, String> {
        self.log.clone().ok_or_else(|| "EPERM".to_owned())
    }

    fn routes(&self) -> Option<String> {
        self.routes.clone()
    }

    fn existing(&self, _path: &Path) -> Option<PathBuf> {
        Some(PathBuf::from("/data/oyez"))
    }

    fn space(&self, _path: &Path) -> Option<Space> {
        self.space
    }
}

/// A broker that spreads connections evenly, with a hundredth to spare.
impl Broker for FakeFacts {
    fn spread(&self, connections: u64, room: &Room) -> Spread {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let needed = |shards: usize| match room.private_tables {
            true => (connections / shards).saturating_add(connections / shards / 100) + RESERVED,
            false => connections.saturating_add(RESERVED),
        };
        let fits = |shards: &usize| needed(*shards) <= room.descriptors;
        let shards = match (self.shards, room.private_tables) {
            (Some(shards), _) => shards,
            (None, true) => (room.cores..SHARDS_MAX).find(fits).unwrap_or(SHARDS_MAX),
            (None, false) => room.cores,
        };
        Spread {
            shards,
            fits: fits(&shards),
            needed: needed(shards),
            needed_per_core: needed(room.cores),
            reserved: RESERVED,
        }
    }

    fn start(&self, _connections: u64, _data: &Path) -> Result<Box<dyn Running>, String> {
        Err("it is made up".to_owned())
    }
}

/// A row of a table: what a check should find on a host that is to hold a million connections.
pub(crate) struct Case {
    check: fn(&Exam<'_>) -> Finding,
    facts: FakeFacts,
    verdict: Verdict,
    why: &'static str,
}

impl Case {
    pub(crate) const fn new(
        check: fn(&Exam<'_>) -> Finding,
        facts: FakeFacts,
        verdict: Verdict,
        why: &'static str,
    ) -> Self {
        Self {
            check,
            facts,
            verdict,
            why,
        }
    }
}

/// Checks every row: the verdict, a piece of the reason, and that there is a fix exactly when there is something to fix.
pub(crate) fn check_table(cases: &[Case]) {
    for (row, case) in cases.iter().enumerate() {
        let finding = (case.check)(&case.facts.exam(1_000_000));
        assert_eq!(finding.verdict, case.verdict, "row {row}: {finding:#?}");
        assert!(finding.why.contains(case.why), "row {row}: {finding:#?}");
        let to_fix = matches!(finding.verdict, Verdict::Fail | Verdict::Warn);
        assert_eq!(finding.fix.is_some(), to_fix, "row {row}: {finding:#?}");
    }
}
