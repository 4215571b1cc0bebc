//! Tasks that fail and are tried again. A failing task is reported when it begins to fail or fails for another reason,
//! counted for as long as it fails, and reported again when it works. No task is tried again in silence.

use std::io;

use oyez_protocol::LogId;

use crate::failing::{Failing, Resolved, Task};
use crate::values::StoreEvents;

#[derive(Debug)]
struct Streak {
    task: Task,
    kind: io::ErrorKind,
    number: Option<i32>,
    failures: u64,
}

/// The failing tasks of one log, or of a store.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failing: Vec<Streak>,
    // The next turn reports these.
    begun: Vec<(Task, io::Error)>,
    resolved: Vec<(Task, u64)>,
    failures: u64,
}

impl Retries {
    pub(crate) fn failed(&mut self, task: Task, error: io::Error) {
        self.failures += 1;
        let (kind, number) = (error.kind(), error.raw_os_error());
        let mut failing = self.failing.iter_mut();
        match failing.find(|streak| streak.task == task) {
            Some(streak) => {
                streak.failures += 1;
                if (streak.kind, streak.number) == (kind, number) {
                    return;
                }
                (streak.kind, streak.number) = (kind, number);
            }
            None => self.failing.push(Streak {
                task,
                kind,
                number,
                failures: 1,
            }),
        }
        self.begun.push((task, error));
    }

    pub(crate) fn worked(&mut self, task: Task) {
        let of_task = |streak: &Streak| streak.task == task;
        if let Some(at) = self.failing.iter().position(of_task) {
            let streak = self.failing.swap_remove(at);
            self.resolved.push((task, streak.failures));
        }
    }

    pub(crate) fn fails(&self, task: Task) -> bool {
        self.failing.iter().any(|streak| streak.task == task)
    }

    /// Number of tasks that fail at present.
    pub(crate) fn failing(&self) -> usize {
        self.failing.len()
    }

    pub(crate) fn report(&mut self, log: Option<LogId>, events: &mut StoreEvents) {
        if self.failures == 0 && self.resolved.is_empty() {
            return;
        }
        events.failures += std::mem::take(&mut self.failures);
        let begun = self.begun.drain(..);
        events
            .failing
            .extend(begun.map(|(task, error)| Failing { log, task, error }));
        let resolved = self.resolved.drain(..);
        events
            .resolved
            .extend(resolved.map(|(task, failures)| Resolved {
                log,
                task,
                failures,
            }));
    }
}
