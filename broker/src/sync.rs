//! The means by which shards synchronise: the standard library's atomics and channels, or under `--cfg loom` those that a model
//! can follow into every interleaving (`parts::mail::models`, `parts::interest::models`).

#[cfg(not(loom))]
pub(crate) use std::sync::{atomic, mpsc};

#[cfg(loom)]
pub(crate) use loom::sync::atomic;

/// A bounded channel as the broker uses one: neither end waits. Loom has none. This one is a queue behind a lock, which orders
/// more than the standard library's does: an end that finds it full or empty is ordered as well.
#[cfg(loom)]
pub(crate) mod mpsc {
    use std::collections::VecDeque;
    use std::sync::Arc;
    pub(crate) use std::sync::mpsc::{TryRecvError, TrySendError};

    use loom::sync::Mutex;

    /// Most values in a channel of a model; few, so that the model sees it full.
    const ROOM: usize = 2;

    type Queue<T> = Arc<Mutex<VecDeque<T>>>;

    #[derive(Debug)]
    pub(crate) struct SyncSender<T>(Queue<T>, usize);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Queue<T>);

    impl<T> Clone for SyncSender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone(), self.1)
        }
    }

    pub(crate) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        let queue = Queue::default();
        (SyncSender(queue.clone(), bound.min(ROOM)), Receiver(queue))
    }

    impl<T> SyncSender<T> {
        pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
            let mut queue = self.0.lock().expect("no model goes on after a panic");
            if queue.len() == self.1 {
                return Err(TrySendError::Full(value));
            }
            queue.push_back(value);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            let mut queue = self.0.lock().expect("no model goes on after a panic");
            queue.pop_front().ok_or(TryRecvError::Empty)
        }

        pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
            std::iter::from_fn(|| self.try_recv().ok())
        }
    }
}
