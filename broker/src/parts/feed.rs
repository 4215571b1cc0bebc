//! What a shard keeps of a topic that one of its sessions subscribes to: the audience, and the window of recent records, from
//! which subscriptions that are only a little behind are served. The records themselves are kept by the store.

use std::collections::VecDeque;
use std::sync::Arc;

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::Place;

use crate::dialect::form::Form;
use crate::parts::audience::Audience;

/// Most records that a window remembers: 64 KiB of places. A subscription that is further behind is served from the log.
pub(crate) const WINDOW_RECORDS_MAX: usize = 2048;
/// Records that a window remembers when the windows of the shard together are over their budget.
pub(crate) const WINDOW_RECORDS_TIGHT: usize = 16;
/// Places that are kept allocated in an empty window.
const WINDOW_RECORDS_KEPT: usize = 64;

/// One topic on one shard, in one form.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// The form in which its subscriptions are sent records.
    pub(crate) form: Form,
    /// The hash of the name, by the hasher of [`crate::parts::feeds::Feeds`].
    pub(crate) hash: u64,
    pub(crate) log: LogId,
    pub(crate) audience: Audience,
    /// Recent records, without a hole, ending at `end`.
    window: VecDeque<Place>,
    /// First offset that this shard does not know; `None` until a record has come or the log's owner has answered.
    pub(crate) end: Option<Offset>,
    /// The topic's beginning, once the owner has answered.
    pub(crate) begin: Option<Begin>,
    /// When the oldest record was published for which some subscriptions were not visited yet, in milliseconds since the epoch.
    news_since_ms: Option<u64>,
}

/// The oldest message of a topic. Appends do not change it, only retention does: it holds as long as its log begins where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) earliest: Offset,
    /// Oldest place of the log for which this holds.
    pub(crate) log_start: Position,
}

impl Topic {
    pub(crate) fn new(name: Arc<str>, form: Form, log: LogId, hash: u64) -> Self {
        Self {
            name,
            form,
            hash,
            log,
            audience: Audience::default(),
            window: VecDeque::new(),
            end: None,
            begin: None,
            news_since_ms: None,
        }
    }

    /// Notes a new record that was published at `stamped_ms`.
    pub(crate) fn note_news(&mut self, stamped_ms: u64) {
        self.news_since_ms.get_or_insert(stamped_ms);
    }

    /// All subscriptions were visited. Takes when the oldest record that was new to one of them was published.
    pub(crate) const fn take_news(&mut self) -> Option<u64> {
        self.news_since_ms.take()
    }

    /// Takes in the owner's answer: the topic's beginning, and the first offset behind the place to which this shard had walked
    /// when it asked. Records walked since are newer, unless retention was ahead of the walk.
    pub(crate) fn learn(&mut self, begin: Begin, next_at_walked: Offset) {
        self.begin = Some(begin);
        self.end = self.end.max(Some(next_at_walked));
    }

    /// The oldest offset and the first one that this shard does not know, if both are known for a log that begins at `log_start`.
    pub(crate) fn bounds(&self, log_start: Position) -> Option<(Offset, Offset)> {
        let begin = self.begin.filter(|begin| begin.log_start == log_start)?;
        Some((begin.earliest, self.end?))
    }

    /// Adds a record that has become visible. Returns by how many places the window has grown or shrunk.
    pub(crate) fn push(&mut self, place: Place, records_max: usize) -> isize {
        let before = self.window.len() as isize;
        self.window.push_back(place);
        while self.window.len() > records_max {
            self.window.pop_front();
        }
        self.end = Some(match planted(Bug::EndsBeforeTheLast) {
            true => place.first,
            false => place.next,
        });
        self.audience.begin_walk();
        self.window.len() as isize - before
    }

    /// Drops the places before `lowest`, whose records all subscriptions have; all places for `None`. Returns how many.
    pub(crate) fn trim(&mut self, lowest: Option<Offset>) -> usize {
        let before = self.window.len();
        match lowest {
            None => self.window.clear(),
            Some(lowest) => {
                while self
                    .window
                    .front()
                    .is_some_and(|place| place.next <= lowest)
                {
                    self.window.pop_front();
                }
            }
        }
        if self.window.is_empty() && self.window.capacity() > WINDOW_RECORDS_KEPT {
            self.window.shrink_to(WINDOW_RECORDS_KEPT);
        }
        before - self.window.len()
    }

    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Whether there are records for a subscription at `cursor`.
    pub(crate) fn is_behind(&self, cursor: Offset) -> bool {
        self.end.is_some_and(|end| cursor < end)
    }

    /// The records from `cursor` on, if the window reaches back that far.
    pub(crate) fn window_from(&self, cursor: Offset) -> Option<impl Iterator<Item = Place> + '_> {
        if self.window.front()?.first > cursor {
            return None;
        }
        let is_out = |place: &Place| place.next <= cursor;
        let start = self.window.partition_point(is_out);
        let start = start.saturating_sub(usize::from(planted(Bug::ServesTwice)));
        Some(self.window.range(start..).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Record number `number`, which has one message of that offset.
    fn place(number: u64) -> Place {
        Place {
            first: Offset::new(number),
            next: Offset::new(number + 1),
            position: Position::new(number * 100),
            size: 100,
        }
    }

    fn topic_with(records: u64, records_max: usize) -> Topic {
        let mut topic = Topic::new("t".into(), Form::NATIVE, LogId::new(3), 1);
        for number in 0..records {
            topic.push(place(number), records_max);
        }
        topic
    }

    fn window(topic: &Topic, cursor: u64) -> Option<Vec<u64>> {
        let places = topic.window_from(Offset::new(cursor))?;
        Some(places.map(|place| place.first.get()).collect())
    }

    #[test]
    fn a_window_remembers_so_many_records_and_no_more() {
        let mut topic = topic_with(3, 3);
        assert_eq!(topic.window_len(), 3);
        assert_eq!(topic.push(place(3), 3), 0);
        assert_eq!(topic.push(place(4), 4), 1);
        assert_eq!(topic.push(place(5), 2), -2);
        assert_eq!(window(&topic, 4), Some(vec![4, 5]));
        assert_eq!(topic.end, Some(Offset::new(6)));
    }

    #[test]
    fn a_window_serves_cursors_that_it_reaches_back_to() {
        assert_eq!(window(&topic_with(0, 9), 0), None);
        let mut topic = topic_with(5, 3);
        assert_eq!(window(&topic, 1), None);
        assert_eq!(window(&topic, 2), Some(vec![2, 3, 4]));
        assert_eq!(window(&topic, 4), Some(vec![4]));
        assert_eq!(window(&topic, 5), Some(vec![]));
        let many = Place {
            next: Offset::new(15),
            ..place(5)
        };
        topic.push(many, 3);
        assert_eq!(window(&topic, 14), Some(vec![5]), "inside a record");
    }

    #[test]
    fn records_that_all_subscriptions_have_leave_the_window() {
        let mut topic = topic_with(5, 9);
        assert_eq!(topic.trim(Some(Offset::new(2))), 2);
        assert_eq!(window(&topic, 2), Some(vec![2, 3, 4]));
        assert_eq!(topic.trim(Some(Offset::new(2))), 0);
        assert_eq!(topic.trim(None), 3, "no subscription needs it");
        assert_eq!(topic.window_len(), 0);
    }

    #[test]
    fn an_empty_window_keeps_little_memory() {
        let mut topic = topic_with(1_000, 2_000);
        assert_eq!(topic.trim(Some(Offset::new(999))), 999);
        assert!(topic.window.capacity() >= 1_000, "it is not empty");
        topic.trim(None);
        assert!(topic.window.capacity() < 500);
        let mut topic = topic_with(4, 2_000);
        let before = topic.window.capacity();
        topic.trim(None);
        assert_eq!(topic.window.capacity(), before);
    }

    #[test]
    fn a_cursor_below_the_end_is_behind() {
        assert!(
            !topic_with(0, 9).is_behind(Offset::new(0)),
            "nothing is known"
        );
        let topic = topic_with(2, 9);
        let behind = [0, 1, 2, 3].map(|cursor| topic.is_behind(Offset::new(cursor)));
        assert_eq!(behind, [true, true, false, false]);
    }

    #[test]
    fn bounds_hold_for_as_long_as_the_log_begins_where_it_did() {
        let mut topic = topic_with(0, 9);
        let (start, later) = (Position::new(8), Position::new(9));
        assert_eq!(topic.bounds(start), None);
        let begin = Begin {
            earliest: Offset::new(1),
            log_start: start,
        };
        topic.learn(begin, Offset::new(4));
        assert_eq!(topic.bounds(start), Some((Offset::new(1), Offset::new(4))));
        assert_eq!(topic.bounds(later), None);
        topic.push(place(6), 9);
        topic.learn(begin, Offset::new(5));
        assert_eq!(
            topic.end,
            Some(Offset::new(7)),
            "what was walked since is newer"
        );
    }
}
