//! Answers to questions about topics: where a subscription starts, where records stand, how much a topic holds.

use std::collections::HashMap;

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Epoch, Offset};

use crate::fixed::Fixed;
use crate::index::{SegmentRef, Topic, TopicIndex};
use crate::packed_place::PackedPlace;
use crate::segments::{Segment, Segments};
use crate::state::Carried;
use crate::values::{Located, Place, StartAt, TopicInfo};

/// The topics whose first kept messages are lost: retention has not removed what is missing before their first record.
#[derive(Debug, Default)]
pub(crate) struct FrontLoss {
    fronts: HashMap<u32, Front>,
}

/// The messages of a topic that are lost before its first record.
#[derive(Debug)]
struct Front {
    /// Offset of the first of them.
    from: u64,
    /// Offset of the first message behind them. They are missing for as long as the topic begins there.
    to: u64,
}

impl FrontLoss {
    /// Finds the topics whose messages right behind those that retention has removed are lost in a gap of the log.
    pub(crate) fn of(index: &TopicIndex, segments: &Segments, carried: &Carried) -> Self {
        let gaps = |segment: &Segment| {
            let gaps = segment.file().map_or(&[][..], |file| &file.gaps);
            gaps.iter()
                .any(|gap| gap.first_sequence < gap.next_sequence)
        };
        let Some(gap) = segments.iter().find(|segment| gaps(segment)) else {
            return Self::default();
        };
        let front = |id| {
            let topic = index.topic(id);
            let first = topic.refs.first();
            let is_behind = first.is_none_or(|first| gap.number <= first.segment);
            let to = first.map_or(topic.next, |first| first.first);
            let from = carried.topics.get(&*topic.name).copied().unwrap_or(0);
            (is_behind && from < to).then_some((id, Front { from, to }))
        };
        let ids = 0..u32::try_from(index.len()).expect("ids are 32 bits");
        match planted(Bug::FrontLossIsRetention) {
            true => Self::default(),
            false => Self {
                fronts: ids.filter_map(front).collect(),
            },
        }
    }

    /// The offset at which a topic would begin without damage, given the one at which it begins.
    fn before(&self, id: u32, earliest: u64) -> u64 {
        let front = self.fronts.get(&id);
        front
            .filter(|front| front.to == earliest)
            .map_or(earliest, |front| front.from)
    }
}

/// The parts of a log that know where records stand.
pub(crate) struct Lookup<'a> {
    pub fixed: &'a Fixed,
    pub index: &'a TopicIndex,
    pub segments: &'a Segments,
    pub front_loss: &'a FrontLoss,
    pub visible: u64,
}

impl<'a> Lookup<'a> {
    fn id(&self, name: &str) -> Option<u32> {
        self.index.find(self.fixed.hash(name), name)
    }

    /// A topic's segments that are still kept, oldest first.
    fn kept(&self, topic: &'a Topic) -> &'a [SegmentRef] {
        let first = self.segments.oldest().map_or(u32::MAX, |s| s.number);
        let dropped = topic.refs.partition_point(|kept| kept.segment < first);
        &topic.refs[dropped..]
    }

    fn segment_of(&self, kept: &SegmentRef) -> &'a Segment {
        self.segments
            .numbered(kept.segment)
            .expect("kept references name kept segments")
    }

    fn earliest(&self, topic: &Topic) -> u64 {
        self.kept(topic).first().map_or(topic.next, |r| r.first)
    }

    /// Offset below which retention has removed a topic's messages. Those between it and the first record are lost.
    fn removed_to(&self, id: u32) -> u64 {
        let earliest = self.earliest(self.index.topic(id));
        self.front_loss.before(id, earliest)
    }

    /// First offset of a topic that is not visible.
    fn topic_head(&self, topic: &Topic) -> u64 {
        let kept = self.kept(topic);
        for kept in kept.iter().rev() {
            let segment = self.segment_of(kept);
            let count = segment
                .index()
                .prefix(kept.slot, |place| is_visible(segment, place, self.visible));
            if count > 0 {
                return segment.index().place(kept.slot, count - 1).next();
            }
        }
        kept.first().map_or(topic.next, |first| first.first)
    }

    /// Offset of the first record at or after a position, or the topic's next offset.
    fn next_at(&self, topic: &Topic, position: u64) -> u64 {
        let kept = self.kept(topic);
        let from = kept
            .partition_point(|kept| self.segment_of(kept).base <= position)
            .saturating_sub(1);
        for kept in &kept[from..] {
            let segment = self.segment_of(kept);
            let before = |place| segment.place_position(place) < position;
            let count = segment.index().prefix(kept.slot, before);
            if count < segment.index().places(kept.slot) {
                return segment.index().place(kept.slot, count).first;
            }
        }
        topic.next
    }

    pub(crate) fn locate(&self, name: &str, start: StartAt, walked: u64) -> Located {
        let id = self.id(name);
        let topic = id.map(|id| self.index.topic(id));
        let earliest = Offset::new(id.map_or(0, |id| self.removed_to(id)));
        let head = Offset::new(topic.map_or(0, |topic| self.topic_head(topic)));
        let (cursor, ahead) = start.within(earliest, head);
        Located {
            cursor,
            earliest,
            head,
            epoch: Epoch::new(self.fixed.epoch),
            next_at_walked: Offset::new(topic.map_or(0, |topic| self.next_at(topic, walked))),
            ahead,
        }
    }

    pub(crate) fn places(&self, name: &str, from: Offset, max: usize, out: &mut Vec<Place>) {
        let Some(topic) = self.id(name).map(|id| self.index.topic(id)) else {
            return;
        };
        let kept = self.kept(topic);
        let first = kept
            .partition_point(|kept| kept.first <= from.get())
            .saturating_sub(1);
        let mut left = max;
        for kept in &kept[first..] {
            let segment = self.segment_of(kept);
            let passed = |place: PackedPlace| place.next() <= from.get();
            let start = segment.index().prefix(kept.slot, passed);
            for number in start..segment.index().places(kept.slot) {
                let place = segment.index().place(kept.slot, number);
                if left == 0 || !is_visible(segment, place, self.visible) {
                    return;
                }
                out.push(place.to_place(segment.base));
                left -= 1;
            }
        }
    }

    /// Information about a topic.
    pub(crate) fn topic(&self, name: &str) -> Option<TopicInfo> {
        let id = self.index.find(self.fixed.hash(name), name)?;
        Some(self.topic_info(id).0)
    }

    /// Information about a topic, and the number of segments that were visited for it.
    pub(crate) fn topic_info(&self, id: u32) -> (TopicInfo, usize) {
        let topic = self.index.topic(id);
        let kept = self.kept(topic);
        let (mut records, mut bytes) = (0, 0);
        for kept in kept {
            let index = self.segment_of(kept).index();
            records += index.places(kept.slot) as u64;
            bytes += index.bytes(kept.slot);
        }
        let info = TopicInfo {
            name: topic.name.as_ref().to_owned(),
            log: self.fixed.id(),
            durability: self.fixed.durability(),
            earliest: Offset::new(self.earliest(topic)),
            next: Offset::new(topic.next),
            records,
            bytes,
            epoch: Epoch::new(self.fixed.epoch),
        };
        (info, kept.len())
    }
}

fn is_visible(segment: &Segment, place: PackedPlace, visible: u64) -> bool {
    let end = segment.place_position(place) + u64::from(place.size());
    end <= visible || planted(Bug::LooksBeyondVisible)
}
