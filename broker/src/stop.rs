//! What a signal to stop means, given the signals before it. Pure: time is an argument.

use std::time::Duration;

/// A second signal within this time of the first is the same request: `timeout` and some supervisors signal their child and then
/// the group that the child is in.
pub(crate) const REPEAT: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopAction {
    /// Stop in good order.
    Begin,
    /// Nothing: that was asked for already.
    Repeated,
    /// End the process at once.
    AtOnce,
}

/// The requests to stop so far.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    first: Option<Duration>,
}

impl Requests {
    /// Takes a request that comes at `now`, by any clock that only goes forward.
    pub(crate) fn take(&mut self, now: Duration) -> StopAction {
        match self.first {
            None => {
                self.first = Some(now);
                StopAction::Begin
            }
            Some(first) if now.saturating_sub(first) <= REPEAT => StopAction::Repeated,
            Some(_) => StopAction::AtOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_is_one_request_and_a_later_one_means_now() {
        let at = Duration::from_millis;
        let mut requests = Requests::default();
        assert_eq!(requests.take(at(70_000)), StopAction::Begin);
        assert_eq!(requests.take(at(70_000)), StopAction::Repeated);
        assert_eq!(requests.take(at(71_000)), StopAction::Repeated);
        assert_eq!(requests.take(at(71_001)), StopAction::AtOnce);
    }
}
