//! A list of topics that is made in steps equals a sorted list of all topics.

mod support;

use std::collections::BTreeSet;

use oyez_storage::*;
use support::{Rig, dir, options, pool, record};

/// Topics that are sorted in one step.
const STEP: usize = 100;
const PAGE: usize = 7;

fn rig(dir: &DataDir) -> Rig {
    Rig::open(
        dir,
        Box::new(MemoryDisk::new()),
        &pool(16),
        &options(),
        1000,
    )
}

/// A name for each number, in an order that is unrelated to that of the numbers.
fn name(number: u32) -> String {
    format!("{:08x}", number.wrapping_mul(0x9e37_79b1))
}

/// Appends to new topics, to each log in turn.
fn append(rig: &mut Rig, numbers: std::ops::Range<u32>) {
    let durabilities = [Durability::Memory, Durability::Written, Durability::Synced];
    for number in numbers {
        let log = rig.log(durabilities[number as usize % 3]);
        rig.append(log, &record(&name(number), 1, b"x"));
    }
}

/// All topics, page by page.
fn pages(store: &mut Store) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = store.topic_page(names.last().map(String::as_str), PAGE);
        assert!(page.topics.len() == PAGE || !page.more);
        names.extend(page.topics.into_iter().map(|topic| topic.name));
        if !page.more {
            return names;
        }
    }
}

#[test]
fn a_list_in_steps_has_every_topic_that_was_there_and_waits_for_none_that_comes() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let mut rig = rig(&dir);
    let mut sent = 0;
    for round in 0..4u32 {
        let end = sent + 3000 * (round + 1);
        append(&mut rig, sent..end);
        sent = end;
        let counted = rig.store.topic_counts();
        let there: BTreeSet<String> = (0..sent).map(name).collect();
        let mut steps = 1;
        let mut budget = STEP;
        while !rig.store.order_topics(&counted, &mut budget) {
            assert_eq!(budget, 0, "a step does what it may");
            budget = STEP;
            steps += 1;
            // New topics come as fast as others are sorted: waiting for these, too, would never end.
            append(&mut rig, sent..sent + STEP as u32);
            sent += STEP as u32;
        }
        assert!(steps >= 3000 / STEP, "{steps}");
        let listed = pages(&mut rig.store);
        assert!(listed.is_sorted(), "in order");
        let listed: BTreeSet<String> = listed.into_iter().collect();
        assert!(there.is_subset(&listed), "all that were counted");
    }
    let all: Vec<String> = rig
        .store
        .topics(None, usize::MAX)
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    let naive: BTreeSet<String> = (0..sent).map(name).collect();
    assert!(all.iter().eq(naive.iter()));
}

#[test]
fn a_name_that_two_logs_have_is_not_cut_in_two() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, _lock) = dir(temp.path());
    let mut rig = rig(&dir);
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        let log = rig.log(durability);
        for topic in ["a", "b", "c"] {
            rig.append(log, &record(topic, 1, b"x"));
        }
    }
    let counted = rig.store.topic_counts();
    assert!(rig.store.order_topics(&counted, &mut { 1000 }));
    let page = rig.store.topic_page(Some("a"), 1);
    let names: Vec<&str> = page.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!((names, page.more), (vec!["b"; 3], true));
}
