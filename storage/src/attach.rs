//! Taking segments that were found on disk into a log: their topics into the index, their bytes to the readers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::age::Written;
use crate::disk::Opened;
use crate::findings::Sealed;
use crate::format::BLOCK_BYTES;
use crate::index::SegmentRef;
use crate::log::{FrontLoss, Log};
use crate::recovery::Kept;
use crate::segment::{Segment, SegmentFile, SegmentIndex, Stage};
use crate::state::Carried;

impl Log {
    /// A segment with its footer.
    pub(crate) fn attach_sealed(&mut self, sealed: Sealed) {
        let head = &sealed.head;
        let number = self.next_number;
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
        self.last_ms = head.last_ms;
        let segment = Segment {
            number,
            base: head.base,
            bytes: file.bytes,
            incarnation: head.incarnation,
            first_sequence: head.first_sequence,
            file: Some(Arc::new(file)),
            writing: None,
            stage: Stage::Sealed,
            synced: true,
            first: None,
            last: Written::stamped(head.last_ms),
            index: SegmentIndex::Footer(sealed.footer),
        };
        self.push_segment(segment);
    }

    /// A segment that was scanned; it gets its footer in the first turns.
    pub(crate) fn attach_kept(&mut self, kept: Kept, opened: Opened) {
        let number = self.next_number;
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
            file.set_warm(position, self.now.monotonic_ms + self.parts.options.warm_ms);
        }
        if kept.last_ms > 0 {
            self.last_ms = kept.last_ms;
        }
        let segment = Segment {
            number,
            base: kept.base,
            bytes: file.bytes,
            incarnation: kept.incarnation,
            first_sequence: kept.first_sequence,
            file: Some(Arc::new(file)),
            writing: Some(opened.file),
            stage: Stage::Full,
            synced: false,
            first: first_ms.map(Written::stamped),
            last: Written::stamped(kept.last_ms),
            index: SegmentIndex::Live(Arc::new(live)),
        };
        self.push_segment(segment);
    }

    fn refer(&mut self, name: &str, entry: SegmentRef, next: u64) {
        let hash = self.hash(name);
        let topic = self.index.find_or_add(hash, name);
        let topic = self.index.topic_mut(topic);
        topic.refs.push(entry);
        topic.next = topic.next.max(next);
    }

    /// Notes where each topic goes on if the log's beginning is lost: its messages from what retention has removed up to
    /// its first record are damage.
    pub(crate) fn note_front_loss(&mut self, carried: &Carried) {
        let Some(first) = self.segments.front() else {
            return;
        };
        let number = first.number;
        let lost = first.file.as_ref().is_some_and(|file| {
            let mut gaps = file.gaps.iter();
            gaps.any(|gap| {
                gap.first_sequence.get() == first.first_sequence
                    && gap.first_sequence < gap.next_sequence
            })
        });
        if !lost {
            return;
        }
        let ids = 0..u32::try_from(self.index.len()).expect("ids are 32 bits");
        let from: HashMap<u32, u64> = ids
            .filter_map(|id| {
                let topic = self.index.topic(id);
                let earliest = topic.refs.first()?.first;
                let removed = carried.topics.get(&*topic.name).copied().unwrap_or(0);
                (removed < earliest).then_some((id, removed))
            })
            .collect();
        self.front_loss = Some(FrontLoss {
            segment: number,
            from,
        });
    }
}
