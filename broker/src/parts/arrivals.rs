//! Whether there are connections to accept.

use crate::parts::due::Due;

/// How soon connections are accepted when the system was short of something, in milliseconds.
const LATER_MS: u64 = 1;

/// What the shard knows of connections that wait to be accepted.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Connections may wait. The poll reports them only once.
    are_there: bool,
    /// The system has been short of something since the last connection.
    is_short: bool,
    /// Accepting pauses a little because of the shortage.
    is_later: bool,
}

impl Default for Arrivals {
    /// Before the first event.
    fn default() -> Self {
        Self {
            are_there: true,
            is_short: false,
            is_later: false,
        }
    }
}

impl Arrivals {
    /// Notes that connections have come.
    pub(crate) fn came(&mut self) {
        self.are_there = true;
    }

    /// A turn begins to accept. Returns whether there may be something to accept.
    pub(crate) fn begin(&mut self) -> bool {
        self.is_later = false;
        self.are_there
    }

    /// Notes that a connection was accepted: the system is not short of anything.
    pub(crate) fn accepted(&mut self) {
        self.is_short = false;
    }

    /// Notes that all waiting connections were accepted.
    pub(crate) fn are_over(&mut self) {
        self.are_there = false;
    }

    /// Notes that the system is short of something. Returns whether that is news since the last accepted connection.
    pub(crate) fn wait_a_little(&mut self) -> bool {
        self.is_later = true;
        !std::mem::replace(&mut self.is_short, true)
    }

    pub(crate) fn due(&self, now_ms: u64) -> Due {
        let later = Due::after(now_ms, self.is_later.then_some(LATER_MS));
        later.min(Due::now_if(self.are_there && !self.is_later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_connections_from_the_start_and_whenever_some_have_come() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.due(5), Due::Now);
        assert!(arrivals.begin());
        arrivals.are_over();
        assert_eq!((arrivals.due(5), arrivals.begin()), (Due::Idle, false));
        arrivals.came();
        assert_eq!((arrivals.due(5), arrivals.begin()), (Due::Now, true));
    }

    #[test]
    fn a_shortage_of_the_system_is_news_once_between_two_connections() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.wait_a_little() && !arrivals.wait_a_little());
        assert_eq!(arrivals.due(5), Due::At(5 + LATER_MS));
        assert!(arrivals.begin());
        assert_eq!(arrivals.due(5), Due::Now, "this turn tries again");
        assert!(!arrivals.wait_a_little());
        arrivals.accepted();
        assert!(arrivals.wait_a_little());
    }
}
