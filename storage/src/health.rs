//! The health of a log: failures that are tried again, and the one that ends the log for good.

use std::io;

use oyez_protocol::LogId;

use crate::error::Poisoned;
use crate::failing::{Task, has_vanished};
use crate::retries::Retries;
use crate::values::StoreEvents;

/// The health of one log.
#[derive(Debug)]
pub(crate) struct Health {
    log: LogId,
    retries: Retries,
    poisoned: bool,
}

impl Health {
    pub(crate) fn new(log: LogId) -> Self {
        Self {
            log,
            retries: Retries::default(),
            poisoned: false,
        }
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Ends the log: no record of it is acknowledged any more.
    pub(crate) fn poison(&mut self, what: &'static str, source: io::Error) -> Poisoned {
        self.poisoned = true;
        Poisoned {
            log: self.log,
            what,
            source,
        }
    }

    /// Notes a failure of a task that is tried again. If the log's directory is gone, the log ends instead.
    pub(crate) fn fail(&mut self, task: Task, error: io::Error) -> Result<(), Poisoned> {
        if has_vanished(&error) {
            return Err(self.poison(task.in_no_directory(), error));
        }
        self.retries.failed(task, error);
        Ok(())
    }

    /// Takes the result of an attempt.
    pub(crate) fn ended(&mut self, task: Task, result: io::Result<()>) -> Result<(), Poisoned> {
        match result {
            Ok(()) => {
                self.retries.worked(task);
                Ok(())
            }
            Err(error) => self.fail(task, error),
        }
    }

    /// Notes a failure of a task that the log can do without for now, whatever the reason.
    pub(crate) fn note(&mut self, task: Task, error: io::Error) {
        self.retries.failed(task, error);
    }

    pub(crate) fn worked(&mut self, task: Task) {
        self.retries.worked(task);
    }

    pub(crate) fn fails(&self, task: Task) -> bool {
        self.retries.fails(task)
    }

    /// Number of tasks that fail at present.
    pub(crate) fn failing(&self) -> usize {
        self.retries.failing()
    }

    pub(crate) fn report(&mut self, events: &mut StoreEvents) {
        self.retries.report(Some(self.log), events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_and_its_end_with_the_number_of_failures() {
        let mut health = Health::new(LogId::new(2));
        let mut events = StoreEvents::default();
        for _ in 0..3 {
            let full = io::ErrorKind::StorageFull.into();
            assert!(health.fail(Task::Footer, full).is_ok());
        }
        assert!(health.fails(Task::Footer) && !health.fails(Task::State));
        health.report(&mut events);
        assert_eq!((events.failing.len(), events.failures), (1, 3));
        assert_eq!(events.failing[0].log, Some(LogId::new(2)));
        health.worked(Task::Footer);
        health.report(&mut events);
        assert_eq!(events.resolved.len(), 1);
        assert_eq!(events.resolved[0].failures, 3);
        assert_eq!((health.failing(), health.is_poisoned()), (0, false));
    }

    #[test]
    fn a_directory_that_is_gone_ends_the_log_and_is_not_tried_again() {
        let mut health = Health::new(LogId::new(2));
        let gone = io::ErrorKind::NotFound.into();
        let poisoned = health.fail(Task::Unlink, gone);
        assert_eq!(
            poisoned.err().map(|poisoned| poisoned.what),
            Some(Task::Unlink.in_no_directory())
        );
        assert!(health.is_poisoned() && health.failing() == 0);
    }
}
