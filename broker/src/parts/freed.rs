//! Notes that room has become free for which held-back sessions and records may have waited.

/// Set by the step that frees room, taken by the next turn.
#[derive(Debug, Default)]
pub(crate) struct Freed(bool);

impl Freed {
    pub(crate) fn note(&mut self, is_freed: bool) {
        self.0 |= is_freed;
    }

    /// Returns whether room has become free since the last call.
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
    fn freed_room_is_reported_once() {
        let mut freed = Freed::default();
        assert!(!freed.is_noted() && !freed.take());
        freed.note(true);
        freed.note(false);
        assert!(freed.is_noted() && freed.take());
        assert!(!freed.is_noted() && !freed.take());
    }
}
