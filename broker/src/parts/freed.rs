//! Whether something has become free that held-back sessions and records may have waited for.

/// Noted by whoever frees something, taken by the next turn.
#[derive(Debug, Default)]
pub(crate) struct Freed(bool);

impl Freed {
    pub(crate) fn note(&mut self, is_freed: bool) {
        self.0 |= is_freed;
    }

    /// Whether something has become free since the last call.
    pub(crate) fn take(&mut self) -> bool {
        std::mem::take(&mut self.0)
    }

    pub(crate) const fn is_noted(&self) -> bool {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_is_told_once() {
        let mut freed = Freed::default();
        assert!(!freed.is_noted() && !freed.take());
        freed.note(true);
        freed.note(false);
        assert!(freed.is_noted() && freed.take());
        assert!(!freed.is_noted() && !freed.take());
    }
}
