//! A log's disk operations in flight, and the purpose of each.

use std::path::PathBuf;

/// The purpose of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Flush,
    Prepare,
    /// Sync of a full segment, by number.
    SealSync(u32),
    /// Footer of a full segment, by number.
    Footer(u32),
    Carried,
    Unlink(Vec<PathBuf>),
    State,
    StateCopy,
}

/// Operations in flight.
#[derive(Debug)]
pub(crate) struct Operations {
    /// The log within its store, in the upper bits of each token.
    slot: u16,
    last: u64,
    in_flight: Vec<(u64, Purpose)>,
}

impl Operations {
    pub(crate) fn new(slot: u16) -> Self {
        Self {
            slot,
            last: 0,
            in_flight: Vec::with_capacity(16),
        }
    }

    /// A token for an operation that is about to start.
    pub(crate) fn begin(&mut self, purpose: Purpose) -> u64 {
        self.last += 1;
        let token = u64::from(self.slot) << 48 | self.last;
        self.in_flight.push((token, purpose));
        token
    }

    /// Forgets an operation, and returns its purpose.
    pub(crate) fn end(&mut self, token: u64) -> Option<Purpose> {
        let at = self
            .in_flight
            .iter()
            .position(|(other, _)| *other == token)?;
        Some(self.in_flight.swap_remove(at).1)
    }

    /// Whether an operation is the sync of a full segment.
    pub(crate) fn is_seal_sync(&self, token: u64) -> bool {
        let is_one = |(other, purpose): &(u64, Purpose)| {
            *other == token && matches!(purpose, Purpose::SealSync(_))
        };
        self.in_flight.iter().any(is_one)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_log_and_means_one_operation_until_that_has_ended() {
        let mut operations = Operations::new(3);
        let flush = operations.begin(Purpose::Flush);
        let seal = operations.begin(Purpose::SealSync(7));
        assert_eq!((flush >> 48, seal >> 48), (3, 3));
        assert_ne!(flush, seal);
        assert!(operations.is_seal_sync(seal) && !operations.is_seal_sync(flush));
        assert_eq!(operations.end(seal), Some(Purpose::SealSync(7)));
        assert_eq!(operations.end(seal), None, "it has ended");
        assert!(!operations.is_empty());
        assert_eq!(operations.end(flush), Some(Purpose::Flush));
        assert!(operations.is_empty());
        assert!(
            operations.begin(Purpose::Prepare) > seal,
            "no token comes again"
        );
    }
}
