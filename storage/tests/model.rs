//! The store against a naive twin: a list of records for each log. Random appends, turns, look-ups, walks and restarts.

mod support;

use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::*;
use proptest::prelude::*;
use support::{Rig, dir, options, pool, record};

const TOPICS: [&str; 5] = ["a", "b/c", "d", "e/f/g", "never"];
const LOGS: [Durability; 3] = [Durability::Memory, Durability::Written, Durability::Synced];

#[derive(Clone, Debug)]
enum Action {
    Append {
        log: usize,
        topic: usize,
        messages: usize,
        bytes: usize,
    },
    Turn,
    Later,
    Check {
        log: usize,
        topic: usize,
        from: u64,
        max: usize,
        walked: usize,
    },
    Restart {
        clean: bool,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0..3usize, 0..4usize, 1..4usize, prop_oneof![1..200usize, 30_000..80_000usize])
            .prop_map(|(log, topic, messages, bytes)| Action::Append { log, topic, messages, bytes }),
        4 => Just(Action::Turn),
        1 => Just(Action::Later),
        5 => (0..3usize, 0..5usize, 0..60u64, 1..10usize, 0..40usize)
            .prop_map(|(log, topic, from, max, walked)| Action::Check { log, topic, from, max, walked }),
        1 => any::<bool>().prop_map(|clean| Action::Restart { clean }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    topic: usize,
    first: u64,
    next: u64,
    body: Vec<u8>,
    /// Where the record was when it was appended; it may move at a restart that was not clean.
    end: Position,
}

/// Everything appended to one log.
#[derive(Default)]
struct Twin {
    entries: Vec<Entry>,
}

impl Twin {
    fn next(&self, topic: usize) -> u64 {
        let last = self.entries.iter().rev().find(|e| e.topic == topic);
        last.map_or(0, |entry| entry.next)
    }

    fn visible(&self, visible: Position) -> Vec<&Entry> {
        self.entries.iter().filter(|e| e.end <= visible).collect()
    }
}

struct Pair {
    rig: Rig,
    disk: MemoryDisk,
    twins: [Twin; 3],
}

impl Pair {
    fn log(&self, log: usize) -> LogId {
        self.rig.log(LOGS[log])
    }

    fn append(&mut self, log: usize, topic: usize, messages: usize, bytes: usize) {
        let fill = (self.twins[log].entries.len() % 251) as u8;
        let bytes = record(TOPICS[topic], messages, &vec![fill; bytes]);
        let appended = self.rig.append(self.log(log), &bytes);
        let first = self.twins[log].next(topic);
        assert_eq!(appended.offset, Offset::new(first));
        self.twins[log].entries.push(Entry {
            topic,
            first,
            next: first + messages as u64,
            body: bytes[48..].to_vec(),
            end: appended.end,
        });
    }

    fn check(&mut self, log: usize, topic: usize, from: u64, max: usize, walked: usize) {
        let id = self.log(log);
        let visible = self.rig.store.visible(id);
        let shown = self.twins[log].visible(visible);
        let of_topic: Vec<&&Entry> = shown.iter().filter(|e| e.topic == topic).collect();
        let head = of_topic.last().map_or(0, |e| e.next);
        let mut places = Vec::new();
        let name = TOPICS[topic];
        self.rig
            .store
            .places(id, name, Offset::new(from), max, &mut places);
        let wanted: Vec<(u64, u64)> = of_topic
            .iter()
            .filter(|e| e.next > from)
            .take(max)
            .map(|e| (e.first, e.next))
            .collect();
        let found: Vec<(u64, u64)> = places
            .iter()
            .map(|place| (place.first.get(), place.next.get()))
            .collect();
        assert_eq!(found, wanted, "places of {name} in {id}");
        let all = self.walk(id);
        let walked = all.get(walked).map_or(visible, |(place, _)| place.position);
        let located = self
            .rig
            .store
            .locate(id, name, StartAt::At(Offset::new(from)), walked);
        let next_at_walked = all
            .iter()
            .find(|(place, topic)| place.position >= walked && topic == name)
            .map_or_else(
                || {
                    let hidden = &self.twins[log].entries[shown_len(&self.twins[log], visible)..];
                    let hidden = hidden.iter().find(|e| e.topic == topic);
                    hidden.map_or(self.twins[log].next(topic), |e| e.first)
                },
                |(place, _)| place.first.get(),
            );
        assert_eq!(located.head, Offset::new(head));
        assert_eq!(located.earliest, Offset::new(0));
        assert_eq!(located.cursor, Offset::new(from.min(head)));
        assert_eq!(located.ahead, from > head);
        assert_eq!(
            located.next_at_walked,
            Offset::new(next_at_walked),
            "{name} {walked}"
        );
    }

    fn walk(&mut self, log: LogId) -> Vec<(Place, String)> {
        let mut found = Vec::new();
        let mut reader = self.rig.store.reader(log);
        // In pieces, as a shard does it.
        let mut at = Position::new(0);
        while at < reader.visible() {
            at = reader.walk(at, 7, |place, topic, _| {
                found.push((place, topic.to_owned()));
            });
        }
        found
    }

    fn check_all(&mut self) {
        for (log, durability) in LOGS.into_iter().enumerate() {
            let id = self.log(log);
            let visible = self.rig.store.visible(id);
            let found = self.rig.dump(id);
            let shown = self.twins[log].visible(visible);
            let wanted: Vec<_> = shown
                .iter()
                .map(|e| (TOPICS[e.topic].to_owned(), e.first, e.body.clone()))
                .collect();
            assert!(found == wanted, "{durability}");
        }
        let topics = self.rig.store.topics(None, 100);
        let paged: Vec<_> = std::iter::successors(Some(Vec::new()), |page: &Vec<TopicInfo>| {
            let after = page.last().map(|info: &TopicInfo| info.name.clone());
            let next = self.rig.store.topics(after.as_deref(), 3);
            (!next.is_empty() && after != next.last().map(|i| i.name.clone())).then_some(next)
        })
        .skip(1)
        .flatten()
        .collect();
        assert!(paged.iter().all(|info| topics.contains(info)));
        for (log, twin) in self.twins.iter().enumerate() {
            for (number, name) in TOPICS.iter().enumerate() {
                let info = topics
                    .iter()
                    .find(|info| info.name == *name && info.durability == LOGS[log]);
                let records = twin.entries.iter().filter(|e| e.topic == number).count();
                assert_eq!(info.map_or(0, |info| info.records), records as u64);
                assert_eq!(info.map_or(0, |info| info.next.get()), twin.next(number));
            }
        }
    }

    fn restart(&mut self, clean: bool) {
        if clean {
            self.rig.drain();
        } else {
            for log in 0..3 {
                let end = self.twins[log].entries.last().map(|e| e.end);
                let id = self.log(log);
                if let Some(end) = end {
                    self.rig.until_visible(id, end);
                }
            }
        }
        let disk = self.disk.kill(4);
        let now_ms = self.rig.now_ms;
        let dir = self.rig.dir.clone();
        self.rig = Rig::open(&dir, Box::new(disk.clone()), &pool(24), &options(), now_ms);
        self.disk = disk;
        self.twins[0] = Twin::default();
        for (log, durability) in LOGS.into_iter().enumerate().skip(1) {
            let report = self.rig.report(durability).clone();
            // A log that was never begun has nothing to be clean about.
            assert_eq!(report.clean, clean, "{report:?}");
            assert!(!report.epoch_changed, "{report:?}");
            for entry in &mut self.twins[log].entries {
                entry.end = Position::new(0);
            }
        }
    }
}

fn shown_len(twin: &Twin, visible: Position) -> usize {
    twin.entries.iter().filter(|e| e.end <= visible).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_list_does(actions in prop::collection::vec(action(), 1..120)) {
        let temp = tempfile::tempdir().expect("a directory");
        let (dir, _lock) = dir(temp.path());
        let disk = MemoryDisk::new();
        let rig = Rig::open(&dir, Box::new(disk.clone()), &pool(24), &options(), 1000);
        let mut pair = Pair { rig, disk, twins: Default::default() };
        for action in actions {
            match action {
                Action::Append { log, topic, messages, bytes } => {
                    pair.append(log, topic, messages, bytes);
                }
                Action::Turn => pair.rig.turn(),
                Action::Later => pair.rig.now_ms += 20_000,
                Action::Check { log, topic, from, max, walked } => {
                    pair.check(log, topic, from, max, walked);
                }
                Action::Restart { clean } => pair.restart(clean),
            }
        }
        pair.check_all();
        pair.restart(true);
        pair.check_all();
    }
}
