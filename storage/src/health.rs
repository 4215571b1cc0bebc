//! Whether a log works: what fails and is tried again, and what ends it for good.

use std::io;

use oyez_protocol::LogId;

use crate::error::Poisoned;
use crate::place::Progress;
use crate::streaks::Streaks;
use crate::trouble::{Attempt, has_vanished};

/// The health of one log.
#[derive(Debug)]
pub(crate) struct Health {
    log: LogId,
    streaks: Streaks,
    poisoned: bool,
}

impl Health {
    pub(crate) fn new(log: LogId) -> Self {
        Self {
            log,
            streaks: Streaks::default(),
            poisoned: false,
        }
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Ends the log: nothing of it is acknowledged any more.
    pub(crate) fn poison(&mut self, what: &'static str, source: io::Error) -> Poisoned {
        self.poisoned = true;
        Poisoned {
            log: self.log,
            what,
            source,
        }
    }

    /// Notes that something failed which is tried again; not so where the store has vanished.
    pub(crate) fn fail(&mut self, attempt: Attempt, error: io::Error) -> Result<(), Poisoned> {
        if has_vanished(&error) {
            return Err(self.poison(attempt.in_no_directory(), error));
        }
        self.streaks.failed(attempt, error);
        Ok(())
    }

    /// Takes how an attempt has ended.
    pub(crate) fn ended(
        &mut self,
        attempt: Attempt,
        result: io::Result<()>,
    ) -> Result<(), Poisoned> {
        match result {
            Ok(()) => {
                self.streaks.worked(attempt);
                Ok(())
            }
            Err(error) => self.fail(attempt, error),
        }
    }

    /// Notes that something failed which the log can do without for now, whatever the reason.
    pub(crate) fn note(&mut self, attempt: Attempt, error: io::Error) {
        self.streaks.failed(attempt, error);
    }

    pub(crate) fn worked(&mut self, attempt: Attempt) {
        self.streaks.worked(attempt);
    }

    pub(crate) fn fails(&self, attempt: Attempt) -> bool {
        self.streaks.fails(attempt)
    }

    /// How many things fail now.
    pub(crate) fn failing(&self) -> usize {
        self.streaks.failing()
    }

    pub(crate) fn tell(&mut self, progress: &mut Progress) {
        self.streaks.tell(Some(self.log), progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_its_end_with_how_often_it_came() {
        let mut health = Health::new(LogId::new(2));
        let mut progress = Progress::default();
        for _ in 0..3 {
            let full = io::ErrorKind::StorageFull.into();
            assert!(health.fail(Attempt::Footer, full).is_ok());
        }
        assert!(health.fails(Attempt::Footer) && !health.fails(Attempt::State));
        health.tell(&mut progress);
        assert_eq!((progress.trouble.len(), progress.failures), (1, 3));
        assert_eq!(progress.trouble[0].log, Some(LogId::new(2)));
        health.worked(Attempt::Footer);
        health.tell(&mut progress);
        assert_eq!(progress.mended.len(), 1);
        assert_eq!(progress.mended[0].failures, 3);
        assert_eq!((health.failing(), health.is_poisoned()), (0, false));
    }

    #[test]
    fn a_directory_that_is_gone_ends_the_log_and_is_not_tried_again() {
        let mut health = Health::new(LogId::new(2));
        let gone = io::ErrorKind::NotFound.into();
        let poisoned = health.fail(Attempt::Unlink, gone);
        assert_eq!(
            poisoned.err().map(|poisoned| poisoned.what),
            Some(Attempt::Unlink.in_no_directory())
        );
        assert!(health.is_poisoned() && health.failing() == 0);
    }
}
