//! What was met, and how often; and what a long run must have met.

use std::collections::BTreeMap;
use std::path::Path;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// Something was met once more.
    pub fn meet(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Something was met so many times more.
    pub fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => drop(self.0.insert(what.to_owned(), times)),
        }
    }

    /// Everything that another run has met.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    /// What was met, and how often, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, times)| (&**what, *times))
    }

    /// What a long run must meet and has not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let met = |what: &&&str| self.0.get(**what).is_none_or(|times| *times == 0);
        EXPECTED.iter().filter(met).copied().collect()
    }

    /// How many things a long run must meet.
    #[must_use]
    pub const fn expected() -> usize {
        EXPECTED.len()
    }
}

/// What a file is to its log. The code that works on files of one kind with one kind of operation is one place, or two.
pub(super) fn site(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.unwrap_or_default() {
        name if name.ends_with(".seg") => " of a segment",
        name if name.ends_with(".idx") => " of a footer",
        name if name.starts_with("state") => " of a state",
        name if name.starts_with("carried") => " of carried topics",
        _ => "",
    }
}

/// What thousands of seeds meet when everything works as it should: every kind of fault, what each call of the network and
/// each operation of a disk may find, and everything that clients can be told.
const EXPECTED: &[&str] = &[
    "a shard comes last",
    "answer",
    "arena block touched",
    "disk overwrite of a state: done",
    "disk overwrite of a state: failed",
    "disk populate of a segment: done",
    "disk populate of a segment: failed",
    "disk populate: done",
    "disk prepare of a segment: done",
    "disk prepare of a segment: failed",
    "disk put of a footer: done",
    "disk put of carried topics: done",
    "disk sync of a segment: done",
    "disk sync of a segment: failed",
    "disk sync of a segment: started",
    "disk unlink of a segment: done",
    "disk write of a segment: done",
    "disk write of a segment: failed",
    "disk write of a segment: short",
    "fault accept-short",
    "fault asleep",
    "fault batches",
    "fault clock",
    "fault disk-errors",
    "fault disk-full",
    "fault disk-hangs",
    "fault disk-reads",
    "fault disk-refuses",
    "fault disk-syncs",
    "fault dribble-in",
    "fault dribble-out",
    "fault file-ends",
    "fault flip",
    "fault half-close",
    "fault interrupt",
    "fault kill",
    "fault lose",
    "fault merged",
    "fault misdirect",
    "fault no-room",
    "fault pause",
    "fault power",
    "fault put-back",
    "fault reset",
    "fault rot",
    "fault send-error",
    "fault small-room",
    "fault spurious",
    "fault stall",
    "fault starve",
    "fault stop",
    "fault unreadable",
    "gap Damage",
    "gap Retention",
    "goodbye Credentials",
    "goodbye Damaged",
    "goodbye Draining",
    "goodbye Full",
    "goodbye Silent",
    "goodbye Unexpected",
    "goodbye Version",
    "http 1xx",
    "http 2xx",
    "http 5xx",
    "leaver answered",
    "lose of a footer",
    "lose of a segment",
    "lose of a state",
    "lose of carried topics",
    "misdirect of a footer",
    "misdirect of a segment",
    "misdirect of a state",
    "misdirect of carried topics",
    "net accept: gone",
    "net accept: no room",
    "net accept: short of something",
    "net batch: failed",
    "net batch: full",
    "net batch: interrupted",
    "net batch: short",
    "net file: at its end",
    "net file: full",
    "net file: short",
    "net read: bytes",
    "net read: failed",
    "net read: interrupted",
    "net read: nothing",
    "net read: the end",
    "net send: failed",
    "net send: full",
    "net send: interrupted",
    "net send: short",
    "net sent whole",
    "new epoch",
    "outcome AlreadySubscribed",
    "outcome DiskFull",
    "outcome NotSubscribed",
    "outcome Ok",
    "outcome TooManySubscriptions",
    "rot of a footer",
    "rot of a segment",
    "rot of a state",
    "rot of carried topics",
    "shard failed",
    "sse begun",
    "sse begun of several",
    "sse cut inside an event",
    "sse gap Damage",
    "sse gap Retention",
    "sse heartbeat",
    "sse new epoch",
    "sse place of several",
    "sse repeated",
    "sse resumed",
    "sse resumed of several",
    "sse told to come back",
    "start refused",
    "stop: logs left open",
    "subscriber came back",
    "unreadable of a footer",
    "unreadable of a segment",
    "unreadable of a state",
    "unreadable of carried topics",
    "websocket begun",
    "websocket close 1002",
    "websocket close 1003",
    "websocket close 1007",
    "websocket close 1012",
    "websocket close 4003",
    "websocket close echoed",
    "websocket control between fragments",
    "websocket cut inside a header",
    "websocket cut inside a message",
    "websocket gap Damage",
    "websocket gap Retention",
    "websocket handshake for JSON",
    "websocket handshake for frames",
    "websocket new epoch",
    "websocket ping",
    "websocket pong",
    "websocket resumed",
    "websocket run in pieces",
    "websocket unsubscribed",
];
