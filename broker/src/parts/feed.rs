//! What a shard keeps of a topic that somebody on it subscribes to: the dense list of subscriptions, and the window of
//! recent records that those who are only a little behind are served from.

use std::collections::VecDeque;
use std::sync::Arc;

use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::Place;

use crate::parts::subscription::Subscription;

/// Most records that a window remembers: 64 KiB of places. Who is further behind asks the log.
pub(crate) const WINDOW_RECORDS_MAX: usize = 2048;
/// Records that a window remembers when the windows of the shard together are over their budget.
pub(crate) const WINDOW_RECORDS_TIGHT: usize = 16;
/// Places that are kept allocated in an empty window.
const WINDOW_RECORDS_KEPT: usize = 64;

/// One topic on one shard.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// Of the name, by the registry.
    pub(crate) hash: u64,
    pub(crate) log: LogId,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Recent records, without a hole, ending at `end`.
    window: VecDeque<Place>,
    /// First offset that this shard has not heard of; `None` until the log's owner has told.
    pub(crate) end: Option<Offset>,
    /// What the owner has told of the topic's beginning.
    pub(crate) begin: Option<Begin>,
    pub(crate) walk: Walk,
}

/// The oldest message of a topic. Appending does not change it, only what retention drops does: it holds as long as
/// its log begins where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) earliest: Offset,
    /// Oldest place of the log for which this holds.
    pub(crate) log_start: Position,
}

/// A pass over the list of subscriptions that is spread over several turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    /// In the shard's list of topics with news.
    pub(crate) queued: bool,
    /// Slot to visit next.
    pub(crate) slot: usize,
    /// Slots to visit until everybody was visited since the last news.
    pub(crate) left: usize,
    /// Somebody got all that a chain holds and could take more: the walk is not over when this pass is.
    pub(crate) again: bool,
    /// Lowest cursor met in this pass.
    pub(crate) lowest: Option<Offset>,
}

impl Walk {
    /// Somebody whom the walk has visited stands at `cursor`.
    pub(crate) fn note(&mut self, cursor: Offset) {
        self.lowest = Some(self.lowest.map_or(cursor, |lowest| lowest.min(cursor)));
    }
}

impl Topic {
    pub(crate) fn new(name: Arc<str>, log: LogId, hash: u64) -> Self {
        Self {
            name,
            hash,
            log,
            subscriptions: Vec::new(),
            window: VecDeque::new(),
            end: None,
            begin: None,
            walk: Walk::default(),
        }
    }

    /// The owner has told what the topic has: its beginning, and the first offset at a place that this shard had walked
    /// to when it asked. What was walked since is newer, unless retention was ahead of the walk.
    pub(crate) fn learn(&mut self, begin: Begin, next_at_walked: Offset) {
        self.begin = Some(begin);
        self.end = self.end.max(Some(next_at_walked));
    }

    /// Oldest message and first one that this shard has not heard of, if both are known for a log that begins at
    /// `log_start`.
    pub(crate) fn bounds(&self, log_start: Position) -> Option<(Offset, Offset)> {
        let begin = self.begin.filter(|begin| begin.log_start == log_start)?;
        Some((begin.earliest, self.end?))
    }

    /// A record has become visible. Tells by how many places the window has grown or shrunk.
    pub(crate) fn push(&mut self, place: Place, records_max: usize) -> isize {
        let before = self.window.len() as isize;
        self.window.push_back(place);
        while self.window.len() > records_max {
            self.window.pop_front();
        }
        self.end = Some(place.next);
        self.walk.left = self.subscriptions.len();
        self.window.len() as isize - before
    }

    /// Everybody has what lies before `lowest`. Tells how many places the window has lost.
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

    /// Begins another pass if somebody is still behind whom nothing but the walk will serve.
    pub(crate) fn walk_again(&mut self) -> bool {
        let again = std::mem::take(&mut self.walk.again);
        if again {
            self.walk.left = self.subscriptions.len();
            self.walk.lowest = None;
        }
        again
    }

    /// The walk leaves a subscription behind that stands at `cursor`.
    pub(crate) fn pass(&mut self, cursor: Offset) {
        self.walk.note(cursor);
        self.skip();
    }

    /// The walk leaves a subscription behind that is not served from the window.
    pub(crate) fn skip(&mut self) {
        self.walk.slot += 1;
        self.walk.left -= 1;
    }

    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Whether somebody at `cursor` has something to get.
    pub(crate) fn is_behind(&self, cursor: Offset) -> bool {
        self.end.is_some_and(|end| cursor < end)
    }

    /// The records from `cursor` on, if the window reaches back that far.
    pub(crate) fn window_from(&self, cursor: Offset) -> Option<impl Iterator<Item = Place> + '_> {
        if self.window.front()?.first > cursor {
            return None;
        }
        let start = self.window.partition_point(|place| place.next <= cursor);
        Some(self.window.range(start..).copied())
    }
}
