//! A broker that goes first on its cores: its shards do, what works for them does not.

use std::fs;

use testkit::figures::skipped;
use testkit::process::is_installed;
use testkit::{Broker, Outcome, Setup};

/// Name and scheduling policy of every thread, those that the kernel runs for the broker included.
fn policies(broker: &Broker) -> Vec<(String, u32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("the broker runs");
    let stats = tasks.flatten().filter_map(|task| {
        // A worker of the kernel may be gone meanwhile.
        fs::read_to_string(task.path().join("stat")).ok()
    });
    stats
        .map(|stat| {
            let (before, after) = stat.rsplit_once(") ").expect("a name in brackets");
            let (_, name) = before.split_once('(').expect("a name in brackets");
            // The 41st field of all, and the 39th of those after the name.
            let policy = after.split(' ').nth(38).expect("a policy");
            (name.to_owned(), policy.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn what_works_for_a_shard_does_not_share_its_priority() {
    const NORMAL: u32 = 0;
    const ROUND_ROBIN: u32 = 2;
    if !is_installed("chrt") {
        return skipped("priority", "chrt is not installed");
    }
    let data = tempfile::tempdir().expect("a directory");
    let setup = Setup::new().under(["chrt", "-r", "10"]);
    let broker = match setup.start_or_refused_on(data.path()) {
        Ok(broker) => broker,
        Err(refusal) if refusal.message.contains("chrt") => {
            return skipped("priority", &refusal.message);
        }
        Err(refusal) => panic!("{refusal:?}"),
    };
    let published = broker.connect().publish("a/topic", b"x");
    assert_eq!(published.outcome, Outcome::Ok);
    let policies = policies(&broker);
    let of = |name: &str| {
        let named = policies.iter().filter(|(other, _)| other.starts_with(name));
        named.map(|(_, policy)| *policy).collect::<Vec<u32>>()
    };
    let (shards, helpers) = (of("shard-"), of("oyez-files"));
    assert!(!shards.is_empty() && shards.iter().all(|policy| *policy == ROUND_ROBIN));
    assert!(!helpers.is_empty() && helpers.iter().all(|policy| *policy == NORMAL));
    let workers = of("iou-wrk");
    assert!(
        workers.iter().all(|policy| *policy == NORMAL),
        "{workers:?}"
    );
}
