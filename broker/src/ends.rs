//! How the shards end: what the caller of [`crate::Server::wait`] learns, and how long it waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::ShardError;
use crate::parts::phase::Phase;

/// How long a shard may take to end beyond its time, before it counts as stuck in the kernel: dropping its store takes
/// up to two seconds.
const SHARD_GRACE: Duration = Duration::from_secs(3);

/// How long a thread that has no more work may take to exit.
const JOIN_WAIT: Duration = Duration::from_secs(1);

/// News for the caller that waits for the broker.
pub(crate) enum ShardEnd {
    /// The broker was asked to stop.
    Asked,
    /// Something outside the shards says that the broker cannot go on.
    Failed(ShardError),
    /// A shard has ended.
    Shard(Result<(), ShardError>),
}

/// The channel by which the news comes.
pub(crate) struct ShardEnds {
    sender: Sender<ShardEnd>,
    receiver: Receiver<ShardEnd>,
}

impl Default for ShardEnds {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

/// How all shards ended.
pub(crate) struct Ended {
    /// Shards that have not ended.
    pub(crate) left: usize,
    pub(crate) outcome: Result<(), ShardError>,
}

impl ShardEnds {
    pub(crate) fn sender(&self) -> Sender<ShardEnd> {
        self.sender.clone()
    }

    /// Waits for so many shards to end. Once they were asked to, or one has failed, it waits no longer than they may take. Calls
    /// `enter` to let them know of an error.
    pub(crate) fn wait(
        &self,
        shards: usize,
        drain_timeout: Duration,
        enter: impl Fn(Phase),
    ) -> Ended {
        let (mut left, mut outcome) = (shards, Ok(()));
        let mut deadline: Option<Instant> = None;
        while left > 0 {
            let error = match self.next(deadline) {
                Ok(ShardEnd::Asked) => {
                    deadline = sooner(deadline, drain_timeout + SHARD_GRACE);
                    continue;
                }
                Ok(ShardEnd::Shard(end)) => {
                    left -= 1;
                    let Err(error) = end else {
                        continue;
                    };
                    error
                }
                Ok(ShardEnd::Failed(error)) => error,
                Err(_) => {
                    let outcome = Err(first_of(outcome, ShardError::Stuck(left)));
                    return Ended { left, outcome };
                }
            };
            enter(error.phase());
            deadline = sooner(deadline, SHARD_GRACE);
            outcome = Err(first_of(outcome, error));
        }
        Ended { left, outcome }
    }

    fn next(&self, deadline: Option<Instant>) -> Result<ShardEnd, RecvTimeoutError> {
        match deadline {
            None => self.receiver.recv().map_err(RecvTimeoutError::from),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.receiver.recv_timeout(left)
            }
        }
    }
}

/// Waits a short time until the threads of shards that have ended are gone, since the kernel keeps a thread whose ring it still
/// works for. Returns whether they are.
pub(crate) fn join(shards: Vec<JoinHandle<()>>) -> bool {
    let (gone_in, gone) = channel();
    let joiner = std::thread::Builder::new().name("joiner".to_owned());
    let joining = joiner.spawn(move || {
        for shard in shards {
            // Its outcome has come through the channel before.
            let _ = shard.join();
        }
        // The waiting thread may have given up.
        let _ = gone_in.send(());
    });
    joining.is_ok() && gone.recv_timeout(JOIN_WAIT).is_ok()
}

/// The earlier of a deadline and `time` from now.
fn sooner(deadline: Option<Instant>, time: Duration) -> Option<Instant> {
    let end = Instant::now() + time;
    Some(deadline.map_or(end, |deadline| deadline.min(end)))
}

/// The outcome that says more than the other; adds up what several shards have given up.
fn first_of(outcome: Result<(), ShardError>, error: ShardError) -> ShardError {
    match (outcome, error) {
        (Ok(()) | Err(ShardError::Elsewhere), error) => error,
        (
            Err(ShardError::Undrained { logs, records }),
            ShardError::Undrained {
                logs: more_logs,
                records: more_records,
            },
        ) => ShardError::Undrained {
            logs: logs + more_logs,
            records: records + more_records,
        },
        (Err(first), _) => first,
    }
}

/// Reports how a shard ended, also when it panics.
pub(crate) struct EndGuard<'a>(pub(crate) &'a Sender<ShardEnd>);

impl EndGuard<'_> {
    pub(crate) fn tell(&self, outcome: Result<(), ShardError>) {
        // Without a receiver, the process is ending.
        let _ = self.0.send(ShardEnd::Shard(outcome));
    }
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Err(ShardError::Panicked));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn wait(ends: &ShardEnds, shards: usize) -> (Ended, Vec<Phase>) {
        let entered = RefCell::new(Vec::new());
        let ended = ends.wait(shards, Duration::ZERO, |phase| {
            entered.borrow_mut().push(phase);
        });
        (ended, entered.into_inner())
    }

    #[test]
    fn the_wait_for_a_stuck_shard_ends_once_the_broker_was_asked_to_stop() {
        let ends = ShardEnds::default();
        let sender = ends.sender();
        sender.send(ShardEnd::Asked).unwrap();
        sender.send(ShardEnd::Shard(Ok(()))).unwrap();
        let begin = Instant::now();
        let (ended, _) = wait(&ends, 2);
        assert!(begin.elapsed() >= SHARD_GRACE);
        assert_eq!(ended.left, 1);
        let outcome = ended.outcome.map_err(|error| error.to_string());
        let stuck = ShardError::Stuck(1).to_string();
        assert_eq!(outcome, Err(stuck));
    }

    #[test]
    fn what_several_shards_give_up_is_added_up_and_stops_no_shard_at_once() {
        let ends = ShardEnds::default();
        for records in [2, 3] {
            let undrained = ShardError::Undrained { logs: 1, records };
            ends.sender().send(ShardEnd::Shard(Err(undrained))).unwrap();
        }
        let (ended, entered) = wait(&ends, 2);
        assert_eq!(ended.left, 0);
        assert_eq!(entered, [Phase::Stopping; 2]);
        let both = matches!(
            ended.outcome,
            Err(ShardError::Undrained {
                logs: 2,
                records: 5
            })
        );
        assert!(both, "{:?}", ended.outcome);
    }

    #[test]
    fn an_error_stops_all_shards_and_is_reported_rather_than_its_consequences() {
        let ends = ShardEnds::default();
        let sender = ends.sender();
        sender
            .send(ShardEnd::Shard(Err(ShardError::Elsewhere)))
            .unwrap();
        let path = std::path::PathBuf::from("/gone");
        sender
            .send(ShardEnd::Failed(ShardError::Vanished { path }))
            .unwrap();
        sender
            .send(ShardEnd::Shard(Err(ShardError::Elsewhere)))
            .unwrap();
        let (ended, entered) = wait(&ends, 2);
        assert_eq!(entered, [Phase::Failed; 3]);
        let vanished = matches!(ended.outcome, Err(ShardError::Vanished { .. }));
        assert!(vanished, "{:?}", ended.outcome);
    }
}
