//! The stages of a drain: everything is flushed, a last mark records that, and the state marks the log as closed.

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DrainStage {
    #[default]
    No,
    /// Flushing, then the final mark.
    Flushing,
    /// The final mark is in; flushing it.
    Marked,
    /// The state file is being written.
    Closing,
    Done,
}

/// The next step of a drain, once everything before it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStep {
    Mark,
    Close,
}

impl DrainStage {
    /// Begins the drain, unless it has begun. That of a memory log is done at once.
    pub(crate) fn begin(&mut self, on_disk: bool) {
        if *self == Self::No {
            *self = if on_disk { Self::Flushing } else { Self::Done };
        }
    }

    #[inline]
    pub(crate) fn has_begun(self) -> bool {
        self != Self::No
    }

    pub(crate) fn is_closing(self) -> bool {
        self == Self::Closing
    }

    pub(crate) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Goes on to the next step. Call it when everything is durable and nothing in flight.
    pub(crate) fn advance(&mut self) -> Option<DrainStep> {
        let (next, step) = match self {
            Self::Flushing => (Self::Marked, DrainStep::Mark),
            Self::Marked => (Self::Closing, DrainStep::Close),
            Self::No | Self::Closing | Self::Done => return None,
        };
        *self = next;
        Some(step)
    }

    /// Ends the drain: the state was written, or cannot be.
    pub(crate) fn end(&mut self) {
        *self = Self::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_marks_then_closes_and_a_memory_log_is_done_at_once() {
        let mut drain = DrainStage::default();
        assert_eq!(drain.advance(), None, "it has not begun");
        drain.begin(true);
        assert_eq!(drain.advance(), Some(DrainStep::Mark));
        drain.begin(true);
        assert_eq!(
            drain.advance(),
            Some(DrainStep::Close),
            "it does not begin again"
        );
        assert!(drain.is_closing());
        assert_eq!(drain.advance(), None);
        drain.end();
        drain.begin(true);
        assert!(drain.is_done());
        let mut memory = DrainStage::default();
        memory.begin(false);
        assert!(memory.is_done());
    }
}
