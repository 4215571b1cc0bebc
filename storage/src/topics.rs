//! Lists the topics of a store in steps of bounded work. Topics that came since the last list are sorted in first, some in
//! each step; a page ends when enough topics are on it or enough segments were visited.

use std::collections::VecDeque;

use crate::options::Durability;
use crate::store::Store;
use crate::values::{TopicCounts, TopicInfo, TopicPage};

/// Segments visited for a page, about a millisecond. A topic that lies in more has a page of its own.
const VISITS_PER_PAGE: usize = 8192;

impl Store {
    /// The present number of topics in each log.
    #[must_use]
    pub fn topic_counts(&self) -> TopicCounts {
        TopicCounts(self.logs.iter().map(|log| log.index().len()).collect())
    }

    /// Sorts in the topics that were there when they were counted, as far as `budget` goes, and subtracts the cost from it,
    /// about one for each topic. Returns whether [`Store::topic_page`] has all of them.
    pub fn order_topics(&mut self, counted: &TopicCounts, budget: &mut usize) -> bool {
        let mut logs = self.logs.iter_mut().zip(&counted.0);
        logs.all(|(log, end)| log.index_mut().order(*end, budget))
    }

    /// Topics of all logs with names greater than `after`, in order, at most `max`, and fewer when they lie in many
    /// segments. Topics that [`Store::order_topics`] has not sorted in are missing.
    pub fn topic_page(&mut self, after: Option<&str>, max: usize) -> TopicPage {
        self.page(after, max, VISITS_PER_PAGE)
    }

    /// Topics of all logs with names greater than `after`, in order, at most `max`. It sorts in all new topics first, however
    /// long that takes.
    pub fn topics(&mut self, after: Option<&str>, max: usize) -> Vec<TopicInfo> {
        let counted = self.topic_counts();
        let mut all = usize::MAX;
        self.order_topics(&counted, &mut all);
        self.page(after, max, usize::MAX).topics
    }

    /// Calls `f` with the name and the durability of every topic, in no order.
    pub fn each_topic(&self, mut f: impl FnMut(&str, Durability)) {
        for log in &self.logs {
            let topics = log.index().topics().iter();
            topics.for_each(|topic| f(&topic.name, log.durability()));
        }
    }

    fn page(&mut self, after: Option<&str>, max: usize, mut looks: usize) -> TopicPage {
        let one_more = max.saturating_add(1);
        let logs = self.logs.iter_mut();
        let mut ids: Vec<VecDeque<u32>> = logs
            .map(|log| log.index_mut().after(after, one_more).into())
            .collect();
        let mut page = TopicPage::default();
        loop {
            let logs = self.logs.iter().zip(&mut ids);
            let heads = logs.filter_map(|(log, ids)| {
                let name = &log.index().topic(*ids.front()?).name;
                Some((name, log, ids))
            });
            let Some((name, log, ids)) = heads.min_by_key(|(name, ..)| *name) else {
                return page;
            };
            let last = page.topics.last();
            let full = page.topics.len() >= max || (looks == 0 && last.is_some());
            // The next page begins behind a name.
            if full && last.is_none_or(|last| *last.name != **name) {
                page.more = true;
                return page;
            }
            if let Some(id) = ids.pop_front() {
                let (topic, looked) = log.lookup().topic_info(id);
                looks = looks.saturating_sub(looked);
                page.topics.push(topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::limits::Limits;
    use oyez_protocol::message::MessageRef;
    use oyez_protocol::record::{Record, RecordBuilder};

    use super::*;
    use crate::dir::DataDir;
    use crate::memory_disk::MemoryDisk;
    use crate::moment::Moment;
    use crate::options::{DirOptions, LogOptions};
    use crate::sys::arena::{ArenaOptions, ArenaPool};

    #[test]
    fn a_page_ends_when_it_has_visited_enough_segments() {
        let temp = tempfile::tempdir().expect("a directory");
        let options = DirOptions {
            logs_per_durability: 1,
            entropy: [1; 16],
            restored: false,
        };
        let (dir, _lock) = DataDir::open(temp.path(), &options).expect("a data directory");
        let arena = ArenaOptions {
            blocks_max: 16,
            blocks_ready: 4,
        };
        let now = Moment {
            monotonic_ms: 1,
            monotonic_us: 1000,
            wall_ms: 1,
        };
        let log = dir.logs().next().expect("a log").id;
        let (mut store, _) = Store::open(
            &dir,
            &[log],
            Box::new(MemoryDisk::new()),
            ArenaPool::new(&arena).expect("an arena"),
            &LogOptions::default(),
            now,
        )
        .expect("the store opens");
        for topic in ["a", "b", "c"] {
            let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
            let message = MessageRef::new(b"x");
            builder.push(&message).expect("a small message");
            let mut bytes = Vec::new();
            builder.finish_stored(1, &mut bytes);
            let record = Record::verify(&bytes, &Limits::HARD).expect("a record");
            store.append(log, &record, 1).expect("there is room");
        }
        assert_eq!(store.topics(None, 10).len(), 3);
        // Each lies in one segment.
        for (looks, on_page) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3)] {
            let page = store.page(None, 10, looks);
            let found = (page.topics.len(), page.more);
            assert_eq!(found, (on_page, on_page < 3), "{looks}");
        }
    }
}
