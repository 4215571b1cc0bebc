//! The parts of a log while it is opened, and attaching segments that were found on disk: their topics go into the index,
//! their bytes become visible to readers.

use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};

use crate::clock::Stamps;
use crate::commit::{Commits, Sources};
use crate::disk::Opened;
use crate::fixed::Fixed;
use crate::flush::Flush;
use crate::format::BLOCK_BYTES;
use crate::frames::Owner;
use crate::health::Health;
use crate::index::{SegmentRef, TopicIndex};
use crate::lookup::FrontLoss;
use crate::recovery::Kept;
use crate::retention::Retention;
use crate::segment::SegmentFile;
use crate::segments::{Full, Segments};
use crate::shared_log::SharedLog;
use crate::state::{Named, State};
use crate::survey::Sealed;
use crate::sys::arena::ArenaPool;
use crate::tail::Tail;
use crate::visibility::Visibility;

/// The parts that a log is made of.
pub(crate) struct LogParts {
    pub fixed: Fixed,
    pub visibility: Visibility,
    pub index: TopicIndex,
    pub front_loss: FrontLoss,
    pub segments: Segments,
    pub tail: Tail,
    pub stamps: Stamps,
    pub flush: Flush,
    pub retention: Retention,
    pub commits: Commits,
    pub health: Health,
}

impl LogParts {
    /// The parts of an empty log.
    pub(crate) fn new(fixed: Fixed, pool: &Arc<ArenaPool>) -> Self {
        let shared = SharedLog::new(fixed.spec, fixed.epoch, Arc::clone(pool));
        let owner = Owner {
            log: fixed.id().get(),
            dir_id: fixed.dir_id,
        };
        Self {
            visibility: Visibility::new(shared),
            index: TopicIndex::default(),
            front_loss: FrontLoss::default(),
            segments: Segments::default(),
            tail: Tail::new(owner, fixed.options.tail_blocks + 1),
            stamps: Stamps::default(),
            flush: Flush::new(fixed.durability()),
            retention: Retention::default(),
            commits: Commits::default(),
            health: Health::new(fixed.id()),
            fixed,
        }
    }

    /// Attaches a segment that has a footer.
    pub(crate) fn attach_sealed(&mut self, sealed: Sealed) {
        let head = &sealed.head;
        let number = self.segments.next_number();
        for slot in 0..sealed.footer.rows() {
            let row = sealed.footer.topic(slot);
            let Some(name) = sealed.footer.name(&row) else {
                continue;
            };
            let first = sealed.footer.row_place(&row, 0).first;
            self.refer(
                name,
                SegmentRef {
                    segment: number,
                    slot,
                    first,
                },
                row.next,
            );
        }
        let file = SegmentFile::new(head.base, sealed.path, sealed.map, head.gaps.clone());
        file.set_end(head.end);
        for (block, sum) in head.sums.iter().enumerate() {
            file.set_sum(head.base + block as u64 * BLOCK_BYTES, *sum);
        }
        self.stamps.go_on(head.last_ms);
        self.note_start(head.base);
        self.segments.push_sealed(file, head, sealed.footer);
    }

    /// Attaches a segment that was scanned; it gets its footer in the first turns.
    pub(crate) fn attach_kept(&mut self, kept: Kept, opened: Opened, now_ms: u64) {
        let number = self.segments.next_number();
        let live = kept.index();
        let first_ms = kept.records.first().map(|found| found.timestamp_ms);
        for (slot, topic) in live.topics.iter().enumerate() {
            let slot = u32::try_from(slot).expect("a segment has fewer topics than 2^32");
            let (first, last) = (topic.places.first(), topic.places.last());
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            let first = first.first;
            self.refer(
                &topic.name,
                SegmentRef {
                    segment: number,
                    slot,
                    first,
                },
                last.next(),
            );
        }
        let file = SegmentFile::new(kept.base, kept.path, opened.map, kept.gaps);
        file.set_end(kept.end);
        for (block, sum) in kept.sums.iter().enumerate() {
            let position = kept.base + block as u64 * BLOCK_BYTES;
            file.set_sum(position, *sum);
            // It was just read.
            file.set_warm(position, now_ms + self.fixed.options.warm_ms);
        }
        if kept.last_ms > 0 {
            self.stamps.go_on(kept.last_ms);
        }
        self.note_start(kept.base);
        self.segments.push_full(Full {
            file,
            writing: opened.file,
            live,
            incarnation: kept.incarnation,
            first_sequence: kept.first_sequence,
            first_ms,
            last_ms: kept.last_ms,
        });
    }

    fn note_start(&self, base: u64) {
        if self.segments.is_empty() {
            self.visibility.set_start(base);
        }
    }

    fn refer(&mut self, name: &str, entry: SegmentRef, next: u64) {
        let hash = self.fixed.hash(name);
        let topic = self.index.find_or_add(hash, name);
        let topic = self.index.topic_mut(topic);
        topic.refs.push(entry);
        topic.next = topic
            .next
            .max(next - u64::from(planted(Bug::ReusesAnOffset)));
    }

    /// Adds a topic of the table of carried topics, with the offset that its next message gets.
    pub(crate) fn carry(&mut self, name: &str, next: u64) {
        let hash = self.fixed.hash(name);
        let topic = self.index.find_or_add(hash, name);
        self.index.topic_mut(topic).next = next;
    }

    /// The state to commit: that of an open log.
    pub(crate) fn next_state(&mut self) -> State {
        let sources = Sources {
            fixed: &self.fixed,
            tail: &self.tail,
            segments: &self.segments,
            flush: &self.flush,
            retention: &self.retention,
            last_ms: self.stamps.last_ms(),
            spare: Named::default(),
        };
        self.commits.next(&sources, false)
    }
}
