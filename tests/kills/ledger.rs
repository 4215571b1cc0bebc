//! What must be there, and what was found instead.
//!
//! The ledger knows the name of the message at every offset of every topic. After a run it knows besides what was
//! acknowledged, which must be there at its offset, and what was sent, which may be there in its publisher's order. What
//! it finds is what must be there from then on. Faults are counted, so that one does not hide the others.

use std::collections::BTreeMap;

use testkit::Broker;
use testkit::figures::figure;

use crate::load::{Diary, Topics};
use crate::message::Name;
use crate::topic::{Run, Topic};

/// Faults that are reported in full.
const FAULTS_TOLD: usize = 20;
/// Lines of the broker's log that are shown with new faults.
const LOG_LINES_SHOWN: usize = 20;

/// An event of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It was killed: what was handed to the kernel is there.
    Kill,
    /// The machine lost its power: what was not synced may be gone.
    PowerCut,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The new lines, and a few lines before them.
    News,
    /// Everything.
    Whole,
}

/// The expected content of all topics.
#[derive(Debug)]
pub(crate) struct Ledger {
    topics: Vec<Topic>,
    acknowledged: usize,
    lost: usize,
    faults: Faults,
}

impl Ledger {
    pub(crate) fn new(topics: &Topics) -> Self {
        let names = topics.names().iter();
        Self {
            topics: names.map(|name| Topic::new(name)).collect(),
            acknowledged: 0,
            lost: 0,
            faults: Faults::default(),
        }
    }

    /// Takes what the publishers know of a run. Only the first `due` acknowledgements of each of them came before the
    /// blow: what they speak of must be there.
    pub(crate) fn take_run(&mut self, run: u32, diaries: &[Diary], due: &[usize]) {
        for (number, topic) in self.topics.iter_mut().enumerate() {
            let sent = |diary: &Diary| diary.sent[number];
            topic.run = Run::new(run, diaries.iter().map(sent).collect());
        }
        for (publisher, (diary, due)) in diaries.iter().zip(due).enumerate() {
            self.acknowledged += due;
            for (at, entry) in diary.acknowledged.iter().enumerate() {
                let name = Name {
                    run,
                    publisher: publisher as u32,
                    number: entry.number,
                };
                self.topics[entry.topic].acknowledge(entry, name, at < *due, &mut self.faults);
            }
        }
    }

    /// Reads the topics and compares.
    pub(crate) fn check(&mut self, broker: &Broker, blow: Blow, extent: Extent) {
        let before = self.faults.counts.clone();
        let mut session = broker.connect();
        for topic in &mut self.topics {
            self.lost += topic.check(&mut session, (blow, extent), &mut self.faults);
        }
        if self.faults.counts != before {
            let log = broker.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!(
                "{:?}; the broker's log ends with:\n{}",
                self.faults.counts,
                shown.join("\n")
            );
        }
    }

    /// Acknowledged records that had to be there after a blow.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Those that were gone, as their durability allows.
    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// Prints what was found, and fails if that was anything.
    pub(crate) fn close(self, what: &str) {
        let Faults { counts, told } = self.faults;
        figure(&format!("{what}: faults"), &format!("{counts:?}"));
        assert!(counts.is_empty(), "{counts:?}\n{}", told.join("\n"));
    }
}

/// What should not be so, by kind.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    counts: BTreeMap<&'static str, u64>,
    told: Vec<String>,
}

impl Faults {
    /// Counts `count` faults of a kind, which may be none.
    pub(crate) fn note(&mut self, kind: &'static str, count: u64, what: impl FnOnce() -> String) {
        if count > 0 {
            *self.counts.entry(kind).or_default() += count;
            if self.told.len() < FAULTS_TOLD {
                self.told.push(format!("{kind}: {}", what()));
            }
        }
    }
}
