//! Which shards have subscriptions in a log, and so are woken by its news.

use oyez_protocol::LogId;

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// Subscriptions per log and shard; news of a log wakes only the shards that have some.
pub(crate) struct Interest {
    shards: usize,
    subscriptions: Vec<AtomicU32>,
}

impl Interest {
    pub(crate) fn new(shards: usize, logs: usize) -> Self {
        let none = std::iter::repeat_with(AtomicU32::default);
        Self {
            shards,
            subscriptions: none.take(shards * logs).collect(),
        }
    }

    /// Counts a subscription of a shard to a topic of `log`. To be called before the shard reads the log's visible place, so that
    /// it misses no news: either it sees the place, or the owner sees the interest.
    pub(crate) fn add(&self, log: LogId, shard: usize) {
        self.of(log, shard).fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, log: LogId, shard: usize) {
        self.of(log, shard).fetch_sub(1, Ordering::SeqCst);
    }

    /// The shards that news of `log` concerns. To be called after the visible place was moved.
    pub(crate) fn interested(&self, log: LogId) -> impl Iterator<Item = usize> + '_ {
        fence(Ordering::SeqCst);
        (0..self.shards).filter(move |shard| self.of(log, *shard).load(Ordering::SeqCst) > 0)
    }

    fn of(&self, log: LogId, shard: usize) -> &AtomicU32 {
        &self.subscriptions[usize::from(log.get()) * self.shards + shard]
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_a_log_concern_the_shards_with_subscriptions_in_it() {
        let interest = Interest::new(2, 3);
        let (log, other) = (LogId::new(1), LogId::new(2));
        interest.add(log, 0);
        interest.add(log, 1);
        interest.add(log, 1);
        interest.remove(log, 1);
        let interested = |log| interest.interested(log).collect::<Vec<_>>();
        assert_eq!((interested(log), interested(other)), (vec![0, 1], vec![]));
        interest.remove(log, 0);
        assert_eq!(interested(log), [1]);
    }
}
