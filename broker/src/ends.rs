//! How the shards end, as whoever waits for the broker hears it, and how long that is waited for.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::ShardError;
use crate::shared::Shared;

/// How long a shard may take to end beyond its time, before it counts as stuck in the kernel: dropping its store takes
/// up to two seconds.
const SHARD_GRACE: Duration = Duration::from_secs(3);

/// How long a thread that has nothing more to do may take to be gone.
const JOIN_WAIT: Duration = Duration::from_secs(1);

/// What whoever waits for the broker hears.
pub(crate) enum End {
    /// It was asked to stop.
    Asked,
    /// Something else says that it cannot go on.
    Failed(ShardError),
    /// A shard is gone.
    Shard(Result<(), ShardError>),
}

/// Where it is heard.
pub(crate) struct Ends {
    sender: Sender<End>,
    receiver: Receiver<End>,
}

impl Default for Ends {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

/// How it all ended.
pub(crate) struct Ended {
    /// Shards that have not.
    pub(crate) left: usize,
    pub(crate) outcome: Result<(), ShardError>,
}

impl Ends {
    pub(crate) fn sender(&self) -> Sender<End> {
        self.sender.clone()
    }

    /// Waits for the end of so many shards; from when they were asked to end, or one of them has failed, no longer than
    /// they may take.
    pub(crate) fn wait(&self, shards: usize, shared: &Shared) -> Ended {
        let (mut left, mut outcome) = (shards, Ok(()));
        let mut deadline: Option<Instant> = None;
        while left > 0 {
            match self.next(deadline) {
                Ok(End::Asked) => {
                    let timeout_ms = u64::from(shared.config.drain_timeout_ms);
                    deadline = sooner(deadline, Duration::from_millis(timeout_ms) + SHARD_GRACE);
                }
                Ok(End::Shard(Ok(()))) => left -= 1,
                Ok(End::Shard(Err(error))) => {
                    left -= 1;
                    deadline = sooner(deadline, SHARD_GRACE);
                    outcome = fail(outcome, error, shared);
                }
                Ok(End::Failed(error)) => {
                    deadline = sooner(deadline, SHARD_GRACE);
                    outcome = fail(outcome, error, shared);
                }
                Err(_) => {
                    outcome = fail(outcome, ShardError::Stuck(left), shared);
                    break;
                }
            }
        }
        Ended { left, outcome }
    }

    fn next(&self, deadline: Option<Instant>) -> Result<End, RecvTimeoutError> {
        match deadline {
            None => self.receiver.recv().map_err(RecvTimeoutError::from),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.receiver.recv_timeout(left)
            }
        }
    }
}

/// Waits until the threads of shards that have told their end are gone. Not for long: the kernel keeps a thread whose ring
/// it still works for.
pub(crate) fn join(shards: Vec<JoinHandle<()>>) -> bool {
    let (gone_in, gone) = channel();
    let joiner = std::thread::Builder::new().name("joiner".to_owned());
    let joining = joiner.spawn(move || {
        for shard in shards {
            // What it had to say has come through the channel before.
            let _ = shard.join();
        }
        // Whoever waited may have given up.
        let _ = gone_in.send(());
    });
    joining.is_ok() && gone.recv_timeout(JOIN_WAIT).is_ok()
}

/// A deadline, or the time from now on if that is over before.
fn sooner(deadline: Option<Instant>, time: Duration) -> Option<Instant> {
    let end = Instant::now() + time;
    Some(deadline.map_or(end, |deadline| deadline.min(end)))
}

/// Lets all shards know of an error, and gives what says most.
fn fail(
    outcome: Result<(), ShardError>,
    error: ShardError,
    shared: &Shared,
) -> Result<(), ShardError> {
    shared.enter(error.phase());
    match (outcome, error) {
        (Ok(()) | Err(ShardError::Elsewhere), error) => Err(error),
        (
            Err(ShardError::Undrained { logs, records }),
            ShardError::Undrained {
                logs: more_logs,
                records: more_records,
            },
        ) => Err(ShardError::Undrained {
            logs: logs + more_logs,
            records: records + more_records,
        }),
        (first, _) => first,
    }
}

/// Tells how a shard ended, also when it panics.
pub(crate) struct Ending<'a>(pub(crate) &'a Sender<End>);

impl Ending<'_> {
    pub(crate) fn tell(&self, outcome: Result<(), ShardError>) {
        // Whoever waited is gone with the process.
        let _ = self.0.send(End::Shard(outcome));
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Err(ShardError::Panicked));
        }
    }
}
