//! When a step of the turn is to run again.

use std::time::Duration;

/// When a step of the turn is to run again: the earliest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// At once: work is left.
    Now,
    /// At this time, in milliseconds of the monotonic clock.
    At(u64),
    /// Only when an event comes.
    #[default]
    Idle,
}

impl Due {
    pub(crate) fn now_if(is_left: bool) -> Self {
        match is_left {
            true => Self::Now,
            false => Self::Idle,
        }
    }

    /// `wait_ms` milliseconds after `now_ms`; only when an event comes for `None`.
    pub(crate) fn after(now_ms: u64, wait_ms: Option<u64>) -> Self {
        wait_ms.map_or(Self::Idle, |wait_ms| Self::At(now_ms + wait_ms))
    }

    /// How long to wait from `now_ms` on; `None` means for ever.
    pub(crate) fn wait(self, now_ms: u64) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(due_ms) => Some(Duration::from_millis(due_ms.saturating_sub(now_ms))),
            Self::Idle => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_of_several_is_waited_for() {
        let dues = [Due::Idle, Due::At(1_020), Due::At(1_010)];
        let ten_ms = Some(Duration::from_millis(10));
        assert_eq!(
            dues.into_iter().min().unwrap_or_default().wait(1_000),
            ten_ms
        );
        assert_eq!(Due::At(900).wait(1_000), Some(Duration::ZERO), "it is late");
        assert_eq!(Due::Now.min(Due::At(0)).wait(1_000), Some(Duration::ZERO));
        assert_eq!(Due::Idle.wait(1_000), None);
        assert_eq!(Due::after(1_000, Some(10)).wait(1_000), ten_ms);
        assert_eq!(Due::after(1_000, None), Due::Idle);
    }
    #[test]
    fn work_that_is_left_is_due_at_once() {
        assert_eq!([true, false].map(Due::now_if), [Due::Now, Due::Idle]);
        assert_eq!(Due::default(), Due::Idle);
        assert_eq!(Due::after(1_000, Some(0)), Due::At(1_000));
    }
}
