//! How segments come, change and go, without files.

use super::*;
use crate::index::TopicIndex;

fn beginning(base: u64) -> Beginning {
    Beginning {
        base,
        incarnation: 1,
        sequence: base / BLOCK_BYTES * 10,
        last_ms: 0,
    }
}

fn entry(offset: u64, position: u64) -> Entry {
    Entry {
        offset,
        position,
        size: 80,
        count: 2,
        stamp_ms: 100 + offset,
    }
}

#[test]
fn a_topic_refers_to_each_segment_once_and_forgets_those_that_were_dropped() {
    let (mut segments, mut index) = (Segments::default(), TopicIndex::default());
    let id = index.find_or_add(1, "a");
    for (number, base) in [0, BLOCK_BYTES, 2 * BLOCK_BYTES].into_iter().enumerate() {
        segments.begin(beginning(base), None);
        if number == 2 {
            segments.drop_oldest();
        }
        for record in 0..2 {
            let offset = number as u64 * 4 + record * 2;
            let topic = index.topic_mut(id);
            segments.enter(topic, entry(offset, base + 64 + record * 80));
        }
    }
    let topic = index.topic(id);
    let refs: Vec<_> = topic.refs.iter().map(|r| (r.segment, r.first)).collect();
    assert_eq!((refs, topic.next), (vec![(1, 4), (2, 8)], 12));
    let newest = segments.newest().expect("three were begun");
    assert_eq!(newest.index().places(topic.refs[1].slot), 2);
    let place = newest.index().place(topic.refs[1].slot, 1);
    assert_eq!(newest.place_position(place), 2 * BLOCK_BYTES + 144);
    assert_eq!(newest.last().stamp_ms(), 110);
    assert!(segments.numbered(0).is_none() && segments.numbered(3).is_none());
    assert_eq!(segments.bytes(), 2 * BLOCK_BYTES);
}

#[test]
fn the_segment_before_a_position_may_end_before_it_and_the_one_that_holds_it_does_not() {
    let mut segments = Segments::default();
    segments.begin(beginning(BLOCK_BYTES), None);
    let base = |segment: Option<&Segment>| segment.map(|segment| segment.base);
    assert_eq!(base(segments.before(0)), None);
    let behind = 2 * BLOCK_BYTES;
    assert_eq!(base(segments.before(behind)), Some(BLOCK_BYTES));
    assert_eq!(base(segments.holding(behind - 1)), Some(BLOCK_BYTES));
    assert_eq!(base(segments.holding(behind)), None);
    assert!(!segments.is_border(behind - 8) && segments.is_border(behind));
    assert_eq!(segments.leave(BLOCK_BYTES + 8), behind);
}

#[test]
fn a_segment_becomes_full_durable_and_sealed_in_steps_that_can_be_taken_back() {
    let mut segments = Segments::default();
    segments.begin(beginning(0), None);
    segments.begin(beginning(BLOCK_BYTES), None);
    let stage = |segments: &Segments| segments.numbered(0).map(Segment::stage);
    assert_eq!(stage(&segments), Some(Stage::Full));
    assert_eq!(segments.newest().map(Segment::stage), Some(Stage::Active));
    segments.begin_sealing(0);
    segments.not_sealed(0);
    assert_eq!(stage(&segments), Some(Stage::Full));
    let durable = |segments: &Segments, synced| {
        segments
            .numbered(0)
            .map(|segment| segment.is_durable(synced))
    };
    assert_eq!(durable(&segments, BLOCK_BYTES - 1), Some(false));
    assert_eq!(durable(&segments, BLOCK_BYTES), Some(true));
    segments.begin_sealing(0);
    assert!(segments.synced(0) && !segments.synced(2));
    assert_eq!(durable(&segments, 0), Some(true));
    assert_eq!(stage(&segments), Some(Stage::Full), "its footer is missing");
    assert!(!segments.is_sealed(0));
}

#[test]
fn records_are_seen_in_the_turn_after_they_came_and_keep_that_time() {
    let (mut segments, mut index) = (Segments::default(), TopicIndex::default());
    let id = index.find_or_add(1, "a");
    segments.begin(beginning(0), None);
    segments.enter(index.topic_mut(id), entry(0, 64));
    segments.see_newest(1_000);
    segments.enter(index.topic_mut(id), entry(2, 144));
    segments.see_newest(2_000);
    segments.see_newest(3_000);
    let newest = segments.newest().expect("one was begun");
    let first = newest.first().expect("it holds a record");
    assert_eq!(first.seen_for_ms(3_000), 2_000);
    assert_eq!(newest.last().seen_for_ms(3_000), 1_000);
}
