//! One topic: what is known of it, what is read, and how these fit.

use std::collections::BTreeMap;
use std::ops::Range;

use oyez_protocol::event::{GapCause, Subscribed};
use testkit::{Epoch, Event, Offset, Outcome, Session, Start};

use crate::ledger::{Blow, Extent, Faults};
use crate::load::Acknowledged;
use crate::message::{Name, PUBLISHERS};

/// Messages before the last known one that are read again each time.
const OVERLAP: u64 = 100;

/// The results of the last run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    number: u32,
    /// Messages that each publisher sent.
    sent: Vec<u32>,
    acknowledged: BTreeMap<u64, Name>,
    /// Those of them that must be there.
    due: BTreeMap<u64, Name>,
}

impl Run {
    pub(crate) fn new(number: u32, sent: Vec<u32>) -> Self {
        Self {
            number,
            sent,
            ..Self::default()
        }
    }
}

/// The expected content of a topic.
#[derive(Debug)]
pub(crate) struct Topic {
    name: String,
    is_synced: bool,
    epoch: Option<Epoch>,
    /// By offset; none where a message is missing that may be.
    known: Vec<Option<Name>>,
    pub(crate) run: Run,
}

/// The messages that were read from a topic.
struct Found {
    answer: Subscribed,
    messages: BTreeMap<u64, Name>,
    gaps: Vec<(Range<u64>, GapCause)>,
}

impl Topic {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_synced: name.starts_with("synced/"),
            epoch: None,
            known: Vec::new(),
            run: Run::default(),
        }
    }

    fn end(&self) -> u64 {
        self.known.len() as u64
    }

    /// Takes an acknowledgement, which came before the blow if it is `due`.
    pub(crate) fn acknowledge(
        &mut self,
        entry: &Acknowledged,
        name: Name,
        due: bool,
        faults: &mut Faults,
    ) {
        self.check_epoch(entry.epoch, Blow::Kill, faults);
        let before = self.run.acknowledged.insert(entry.offset, name);
        let taken = before.is_some() || entry.offset < self.end();
        faults.note("offset given twice", u64::from(taken), || {
            format!("{} at {}", self.name, entry.offset)
        });
        if due {
            self.run.due.insert(entry.offset, name);
        }
    }

    /// Reads it and compares. Returns how many messages are missing that may be.
    pub(crate) fn check(
        &mut self,
        session: &mut Session,
        (blow, extent): (Blow, Extent),
        faults: &mut Faults,
    ) -> usize {
        let may_lose = blow == Blow::PowerCut && !self.is_synced;
        let answer = self.subscribe(session, may_lose || extent == Extent::Whole);
        self.check_epoch(answer.epoch, blow, faults);
        let found = self.read(session, answer, faults);
        self.check_old(&found, faults);
        self.check_new(&found, may_lose, faults);
        let missing = self.missing(&found);
        if !may_lose {
            self.check_gaps(&found, faults);
            faults.note("acknowledged and missing", missing.len() as u64, || {
                format!("{}: {missing:?}, head {}", self.name, found.answer.head)
            });
        }
        self.adopt(&found);
        if may_lose { missing.len() } else { 0 }
    }

    fn subscribe(&self, session: &mut Session, whole: bool) -> Subscribed {
        let cursor = Offset::new(self.end().saturating_sub(OVERLAP));
        let start = if whole {
            Start::Earliest
        } else {
            Start::Offset(cursor)
        };
        let answer = session.subscribe(&self.name, start);
        if answer.outcome == Outcome::OffsetAhead {
            // Missing messages are counted below.
            return session.subscribe(&self.name, Start::Earliest);
        }
        assert_eq!(answer.outcome, Outcome::Ok, "{} from {start:?}", self.name);
        answer
    }

    /// A log keeps its epoch. Only one that may have lost something in a power cut must get a new one.
    fn check_epoch(&mut self, epoch: Epoch, blow: Blow, faults: &mut Faults) {
        let Some(before) = self.epoch.replace(epoch) else {
            return;
        };
        let must_change = !self.is_synced && blow == Blow::PowerCut;
        let what = || format!("{}: {before:?}, then {epoch:?}", self.name);
        match (before != epoch, must_change) {
            (true, false) => faults.note("epoch changed", 1, what),
            (false, true) => faults.note("epoch kept after a power cut", 1, what),
            _ => {}
        }
    }

    /// Everything up to the head.
    fn read(&self, session: &mut Session, answer: Subscribed, faults: &mut Faults) -> Found {
        let name = &self.name;
        let (mut messages, mut gaps) = (BTreeMap::new(), Vec::new());
        let mut next = answer.next.get();
        while next < answer.head.get() {
            match session.event() {
                Event::Delivery(delivery) if delivery.topic == *name => {
                    let offset = delivery.offset.get();
                    faults.note("delivered out of order", u64::from(offset != next), || {
                        format!("{name}: {offset} instead of {next}")
                    });
                    next = offset + 1;
                    let whose = match &delivery.payloads[..] {
                        [payload] => Name::of(name, payload),
                        _ => None,
                    };
                    match whose {
                        Some(whose) => drop(messages.insert(offset, whose)),
                        None => faults.note("wrong bytes", 1, || format!("{name} at {offset}")),
                    }
                }
                Event::Gap {
                    topic, cause, to, ..
                } if topic == *name => {
                    gaps.push((next..to.get(), cause));
                    next = to.get();
                }
                event => panic!("expected {name} from {next} on, got {event:?}"),
            }
        }
        assert_eq!(session.unsubscribe(name), Outcome::Ok);
        Found {
            answer,
            messages,
            gaps,
        }
    }

    /// Checks that messages from before the run are unchanged.
    fn check_old(&self, found: &Found, faults: &mut Faults) {
        for (offset, name) in found.messages.range(..self.end()) {
            let known = self.known[*offset as usize];
            let differs = known.is_some_and(|known| known != *name);
            faults.note("history changed", u64::from(differs), || {
                format!("{} at {offset}: {known:?}, now {name:?}", self.name)
            });
        }
    }

    /// What came in the run is what was sent, in each publisher's order, and where it was acknowledged.
    fn check_new(&self, found: &Found, may_lose: bool, faults: &mut Faults) {
        let mut next = [0; PUBLISHERS];
        for (offset, name) in found.messages.range(self.end()..) {
            let publisher = name.publisher as usize;
            let expected = &mut next[publisher];
            let is_next = name.number == *expected || may_lose && name.number > *expected;
            let was_sent =
                name.run == self.run.number && name.number < self.run.sent[publisher] && is_next;
            faults.note("not what was sent next", u64::from(!was_sent), || {
                format!("{} at {offset}: {name:?}, not {expected}", self.name)
            });
            *expected = name.number + 1;
            let acknowledged = self.run.acknowledged.get(offset);
            let differs = acknowledged.is_some_and(|acknowledged| acknowledged != name);
            faults.note("acknowledged for another", u64::from(differs), || {
                format!("{} at {offset}: {acknowledged:?}, {name:?}", self.name)
            });
        }
    }

    /// Nothing went but what retention may have dropped after it was seen.
    fn check_gaps(&self, found: &Found, faults: &mut Faults) {
        let (earliest, name) = (found.answer.earliest, &self.name);
        let unseen = earliest.get().saturating_sub(self.end());
        faults.note("dropped before it was seen", unseen, || {
            format!("{name}: begins at {earliest}, seen to {}", self.end())
        });
        for (range, cause) in &found.gaps {
            let may_be = *cause == GapCause::Retention && range.end <= self.end();
            faults.note("gap", u64::from(!may_be), || {
                format!("{name} {range:?}: {cause:?}")
            });
        }
    }

    /// What was known or acknowledged in time, was not dropped, and is not there.
    fn missing(&self, found: &Found) -> Vec<u64> {
        let dropped = found.gaps.iter().filter(|gap| gap.1 == GapCause::Retention);
        let dropped = dropped.map(|(range, _)| range.end).max().unwrap_or(0);
        let from = found.answer.next.get().max(dropped);
        let known = (from..self.end()).filter(|offset| self.known[*offset as usize].is_some());
        let expected = known.chain(self.run.due.keys().copied());
        expected
            .filter(|offset| !found.messages.contains_key(offset))
            .collect()
    }

    /// Expects from now on what is there now.
    fn adopt(&mut self, found: &Found) {
        self.known.resize(found.answer.head.get() as usize, None);
        for (range, _) in &found.gaps {
            self.known[range.start as usize..range.end as usize].fill(None);
        }
        for (offset, name) in &found.messages {
            self.known[*offset as usize] = Some(*name);
        }
        self.run = Run::default();
    }
}
