//! Everything that the broker asks of the kernel and can do without: each is taken away in turn, by a filter of system
//! calls as sandboxes have them, and the broker serves all the same. Sandboxes answer `EPERM`, kernels without a feature
//! `ENOSYS`; other answers are tried where the broker tells them apart.
//!
//! `/dev/cpu_dma_latency` is hidden by another device in its place. NUMA policies, inotify and locked memory are not used;
//! they are taken away so that it stays so, or becomes a choice.

use std::process::Command;

use libc::{EINVAL, ENOPROTOOPT, ENOSYS, EOPNOTSUPP, EPERM, c_long};
use testkit::figures::skipped;
use testkit::process::{is_installed, run, succeed};
use testkit::programs;
use testkit::random::Random;
use testkit::{Broker, Filter, Outcome, Rule, Session, Setup, Start, Test};

const TOPIC: &str = "a/topic";
/// Enough for a batch of the ring on each of a few shards.
const SUBSCRIBERS: usize = 32;
/// Together more than a segment, each more than is worth a copy.
const LARGE: usize = 100;
const LARGE_BYTES: usize = 60_000;

/// A feature that is gone.
struct Without {
    name: &'static str,
    rules: Vec<Rule>,
    setup: Setup,
}

impl Without {
    fn calls(name: &'static str, calls: &[c_long], errno: i32) -> Self {
        Self::rules(name, calls.iter().map(|call| Rule::refuse(*call, errno)))
    }

    fn rules(name: &'static str, rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            name,
            rules: rules.into_iter().collect(),
            setup: Setup::new(),
        }
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.set(key, value);
        self
    }

    /// Serves without it; then `check` looks at the running broker.
    fn serves(self, check: impl Fn(&Broker)) {
        serves(
            self.name,
            self.setup.sandboxed(Filter::new(self.rules)),
            check,
        );
    }
}

fn serves(name: &str, setup: Setup, check: impl Fn(&Broker)) {
    if !Filter::can_be_used() {
        return skipped(name, "filters of system calls are not allowed here");
    }
    let mut broker = setup.start();
    check(&broker);
    let payloads = publish_and_receive(&broker);
    assert_eq!(broker.stop().code(), Some(0), "{name}: {}", broker.log());
    broker.restart();
    read_back(&broker, &payloads);
    publish_and_receive(&broker);
    assert_eq!(broker.stop().code(), Some(0), "{name}: {}", broker.log());
}

/// Publishes small records to many, then large ones, which a later subscriber reads.
fn publish_and_receive(broker: &Broker) -> Vec<Vec<u8>> {
    let mut sessions: Vec<Session> = (0..SUBSCRIBERS).map(|_| broker.connect()).collect();
    for session in &mut sessions {
        assert_eq!(
            session.subscribe("small", Start::Latest).outcome,
            Outcome::Ok
        );
    }
    let mut publisher = broker.connect();
    for number in 0..5 {
        let entry = publisher.publish("small", format!("{number}").as_bytes());
        assert_eq!(entry.outcome, Outcome::Ok);
    }
    for session in &mut sessions {
        assert_eq!(session.messages("small", 5).len(), 5);
    }
    let mut random = Random::new(7);
    let payloads: Vec<Vec<u8>> = (0..LARGE).map(|_| random.bytes(LARGE_BYTES)).collect();
    for outcome in publisher.publish_each(TOPIC, &payloads) {
        assert_eq!(outcome.outcome, Outcome::Ok);
    }
    read_back(broker, &payloads);
    payloads
}

fn read_back(broker: &Broker, payloads: &[Vec<u8>]) {
    let mut late = broker.connect();
    late.subscribe(TOPIC, Start::Earliest);
    let got = late.messages(TOPIC, payloads.len());
    assert!(
        got.iter().map(|(_, payload)| payload).eq(payloads),
        "other bytes"
    );
}

fn says(broker: &Broker, key: &str, value: &str) {
    assert_eq!(broker.stats()[key], value, "{key}");
}

fn warns_once(broker: &Broker, words: &str) {
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains(words));
    assert_eq!(lines.count(), 1, "{words:?} in: {log}");
}

#[test]
fn the_broker_serves_under_dockers_default_profile() {
    let setup = Setup::new().sandboxed(Filter::docker());
    serves("Docker's default profile", setup, |broker| {
        says(broker, "descriptor_tables", "shared");
        says(broker, "disk", "thread");
        says(broker, "sending", "loop");
        warns_once(broker, "descriptor tables");
    });
}

#[test]
fn without_private_descriptor_tables_the_shards_share_one() {
    for errno in [EPERM, ENOSYS] {
        let without = Without::calls("private descriptor tables", &[libc::SYS_unshare], errno);
        without.set("shards", "7").serves(|broker| {
            says(broker, "descriptor_tables", "shared");
            says(broker, "disk", "uring");
            warns_once(broker, "descriptor tables");
        });
    }
    says(&Broker::start(), "descriptor_tables", "private");
}

#[test]
fn connections_that_need_more_than_the_one_table_are_refused_with_a_sentence() {
    if !Filter::can_be_used() {
        return skipped("one table", "filters of system calls are not allowed here");
    }
    let filter = Filter::new([Rule::refuse(libc::SYS_unshare, EPERM)]);
    let home = tempfile::tempdir().expect("a directory");
    let limited = ["sh", "-c", "ulimit -n 2000; exec \"$0\" \"$@\""];
    let start = |connections: u32| {
        let setup = Setup::new().sandboxed(filter.clone()).under(limited);
        let setup = setup.set("max_connections", connections).set("shards", 2);
        setup.start_or_refused_on(&home.path().join("data"))
    };
    let refusal = start(1425).expect_err("one more than there is room for");
    assert_eq!(refusal.code, 1);
    for words in [
        "1425",
        "2000",
        "unshare",
        "RLIMIT_NOFILE",
        "max_connections",
    ] {
        assert!(refusal.message.contains(words), "{words:?}: {refusal:?}");
    }
    let broker = start(1424).expect("there is room");
    says(&broker, "descriptor_tables", "shared");
}

#[test]
fn without_closing_ranges_the_tables_are_private_all_the_same() {
    for errno in [EPERM, ENOSYS] {
        let without = Without::calls("close_range", &[libc::SYS_close_range], errno);
        without.serves(|broker| says(broker, "descriptor_tables", "private"));
    }
}

#[test]
fn without_io_uring_a_thread_drives_the_disk_and_records_leave_one_by_one() {
    for errno in [EPERM, ENOSYS] {
        for (name, call) in [
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("io_uring_register", libc::SYS_io_uring_register),
            ("io_uring_enter", libc::SYS_io_uring_enter),
        ] {
            Without::calls(name, &[call], errno).serves(|broker| says(broker, "disk", "thread"));
        }
    }
}

#[test]
fn without_affinity_the_shards_run_where_they_are_put() {
    let calls = [libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity];
    for errno in [EPERM, ENOSYS] {
        for call in calls {
            Without::calls("affinity", &[call], errno).serves(|_| ());
        }
        Without::calls("affinity", &calls, errno).serves(|_| ());
    }
}

#[test]
fn without_advice_on_memory_nothing_is_missing() {
    for errno in [EPERM, ENOSYS, EINVAL] {
        for disk in ["uring", "thread"] {
            let without = Without::calls("madvise", &[libc::SYS_madvise], errno);
            without.set("disk", disk).serves(|_| ());
        }
    }
    for advice in [
        libc::MADV_HUGEPAGE,
        libc::MADV_POPULATE_READ,
        libc::MADV_POPULATE_WRITE,
    ] {
        let rule = Rule::refuse(libc::SYS_madvise, EINVAL);
        let rule = rule.when(2, Test::Is(advice.unsigned_abs()));
        Without::rules("one kind of advice", [rule])
            .set("disk", "thread")
            .serves(|_| ());
    }
}

#[test]
fn without_reserving_space_segments_are_written_all_the_same() {
    for errno in [EPERM, ENOSYS, EOPNOTSUPP] {
        Without::calls("fallocate", &[libc::SYS_fallocate], errno).serves(|_| ());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn without_writing_out_ranges_files_are_synced_whole() {
    for errno in [EPERM, ENOSYS] {
        Without::calls("sync_file_range", &[libc::SYS_sync_file_range], errno).serves(|_| ());
    }
}

#[test]
fn without_syncs_of_ranges_a_thread_syncs_the_file() {
    for errno in [EPERM, ENOSYS, EOPNOTSUPP] {
        let without = Without::calls("pwritev2", &[libc::SYS_pwritev2], errno);
        without.set("disk", "thread").serves(|_| ());
    }
}

#[test]
fn without_syncs_of_file_systems_and_exchanges_of_names_there_are_other_ways() {
    for errno in [EPERM, ENOSYS] {
        Without::calls("syncfs", &[libc::SYS_syncfs], errno).serves(|_| ());
        Without::calls("renameat2", &[libc::SYS_renameat2], errno).serves(|_| ());
    }
}

#[test]
fn without_the_room_of_a_file_system_the_broker_tries() {
    for errno in [EPERM, ENOSYS] {
        let calls = [libc::SYS_statfs, libc::SYS_fstatfs];
        Without::calls("statfs", &calls, errno).serves(|_| ());
    }
}

#[test]
fn without_sendfile_subscribers_that_lag_get_copies() {
    for errno in [EPERM, ENOSYS, EINVAL] {
        Without::calls("sendfile", &[libc::SYS_sendfile], errno).serves(|_| ());
    }
}

#[test]
fn a_descriptor_limit_that_cannot_be_raised_is_used_as_it_is() {
    for errno in [EPERM, ENOSYS] {
        // Asking passes, setting does not.
        let ask = Rule::allow(libc::SYS_prlimit64).when(2, Test::Is(0));
        let set = Rule::refuse(libc::SYS_prlimit64, errno);
        Without::rules("setrlimit", [ask, set]).serves(|_| ());
    }
}

#[test]
fn without_quick_acknowledgements_connections_are_accepted_all_the_same() {
    let option = libc::TCP_QUICKACK.unsigned_abs();
    let rule = Rule::refuse(libc::SYS_setsockopt, ENOPROTOOPT).when(2, Test::Is(option));
    Without::rules("TCP_QUICKACK", [rule]).serves(|_| ());
}

#[test]
fn without_memory_policies_and_inotify_nothing_changes() {
    let calls = [
        libc::SYS_mbind,
        libc::SYS_set_mempolicy,
        libc::SYS_get_mempolicy,
        libc::SYS_inotify_init1,
        libc::SYS_mlock,
    ];
    for errno in [EPERM, ENOSYS] {
        Without::calls("memory policies, inotify", &calls, errno).serves(|_| ());
    }
}

#[test]
fn without_a_say_in_how_cores_sleep_they_are_left_alone() {
    const TEST: &str = "/dev/cpu_dma_latency";
    // Writing to it fails.
    let hide = "mount --bind /dev/full /dev/cpu_dma_latency";
    let tried = is_installed("unshare")
        && run(Command::new("unshare").args(["--mount", "sh", "-c", hide]))
            .status
            .success();
    if !tried {
        return skipped(TEST, "there is none, or it cannot be hidden");
    }
    let setup = Setup::new().in_namespace(hide).set("log", "debug");
    serves(TEST, setup, |broker| {
        warns_once(broker, "cores cannot be kept awake");
    });
}

#[test]
fn the_load_generator_works_in_the_same_sandbox() {
    if !Filter::can_be_used() {
        return skipped("oyez bench", "filters of system calls are not allowed here");
    }
    let broker = Setup::new().sandboxed(Filter::docker()).start();
    let mut command = broker.oyez();
    command.args(["bench", "fanout", "--subscribers", "50", "--records", "10"]);
    succeed(Filter::docker().put_on(&mut command));
}

#[test]
fn the_doctor_says_what_a_sandbox_refuses_and_proves_with_what_is_left() {
    if !Filter::can_be_used() {
        return skipped("doctor", "filters of system calls are not allowed here");
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(programs::server());
    command.args(["doctor", "--prove", "300", "-o", "json"]);
    command.env("TMPDIR", home.path());
    let output = run(Filter::docker().put_on(&mut command));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    for (name, present) in [("descriptor tables", "shared"), ("io_uring", "refused")] {
        let finding = findings.iter().find(|finding| finding["name"] == name);
        let finding = finding.unwrap_or_else(|| panic!("{name} is not in {report}"));
        assert_eq!(finding["present"], present, "{finding}");
    }
    assert_eq!(report["proof"]["alive"], 300, "{}", report["proof"]);
}
