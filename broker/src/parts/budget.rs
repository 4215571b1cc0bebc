//! What one turn may do, so that no client makes it long for all others. Work is counted in steps and in bytes, never in
//! clients; what is left over goes on in the next turn, behind the others.
//!
//! A step is about a tenth of a microsecond of processor time. The costs below are set generously, not exactly: the sum of all
//! budgets, 5 ms, must keep a turn below 20 ms on a slow core, and short enough that no client waits long for it.

/// Steps of a frame: finding it, checking it, a short answer.
pub(crate) const FRAME_STEPS: usize = 2;
/// Steps of a request over HTTP: its head, and a longer answer.
pub(crate) const REQUEST_STEPS: usize = 20;
/// Steps of a frame of WebSocket, or of a part of one, beside what is in it.
pub(crate) const PIECE_STEPS: usize = 1;
/// Bytes that are compressed in a step.
pub(crate) const ENCODED_BYTES: usize = 40;
/// Steps of a subscription's beginning or end, with its entries in two lists.
pub(crate) const SUBSCRIBE_STEPS: usize = 20;
/// Steps of statistics: a JSON text and two files of `/proc`; more for each shard.
pub(crate) const STATS_STEPS: usize = 1_000;
/// Steps of statistics for each shard: a look at its cache lines.
pub(crate) const STATS_STEPS_PER_SHARD: usize = 30;
/// Steps of a page of topics, at the shard that gathers it and at each that is asked.
pub(crate) const TOPICS_STEPS: usize = 2_000;
/// Steps of describing a topic.
pub(crate) const DESCRIBE_STEPS: usize = 100;
/// Steps of a question about lag, beside the walk that answers it.
pub(crate) const LAG_STEPS: usize = 200;
/// Steps of a read from a socket.
pub(crate) const READ_STEPS: usize = 10;
/// Steps of moving on to another topic with news.
pub(crate) const WALK_STEPS: usize = 5;
/// Steps of a send to a socket, with the wake-up of its reader.
pub(crate) const SEND_STEPS: usize = 50;
/// Steps of looking after a session whose timer is due: two questions to the kernel, a Ping.
pub(crate) const TIMER_STEPS: usize = 30;
/// Steps of ending a session: its memory, a line of log.
pub(crate) const END_STEPS: usize = 20;
/// Steps of the end of a connection: the kernel's closing.
pub(crate) const CLOSE_STEPS: usize = 200;
/// Steps of closing a socket with much in it. *A millisecond for some megabytes.*
pub(crate) const CLOSE_FULL_STEPS: usize = 2_500;
/// Steps of finding where a subscription begins.
pub(crate) const LOCATE_STEPS: usize = 30;
/// Steps of looking up where records lie.
pub(crate) const RESOLVE_STEPS: usize = 150;
/// Steps of asking another shard where records lie: the topic's name, a message.
pub(crate) const ASK_STEPS: usize = 20;

/// Steps that one shard may spend in a millisecond on questions about the broker: a tenth of a core, so that questions never hold
/// messages up; and what it may spend in a burst after a pause.
pub(crate) const QUESTION_STEPS_PER_MS: u64 = 1_000;
pub(crate) const QUESTION_STEPS_MAX: u64 = 20_000;

/// What one kind of work may still take in this turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    steps: usize,
    bytes: usize,
}

impl Budget {
    /// Reading, and what the frames ask for: 0.5 ms. *With half of that, answers get so small and many that the kernel's packets
    /// take the core: p99 of honest messages beside subscriptions that come and go is 17 ms instead of 4.*
    pub(crate) const READING: Self = Self::new(5_000, 512 << 10);
    /// Messages of other shards: 1 ms.
    pub(crate) const MESSAGES: Self = Self::new(10_000, usize::MAX);
    /// Records that other shards hand over: 0.5 ms.
    pub(crate) const HANDED_OVER: Self = Self::new(4_000, 512 << 10);
    /// Outcomes of this shard's logs that go to publishers: 1 ms.
    pub(crate) const OUTCOMES: Self = Self::new(8_192, usize::MAX);
    /// Walks from news to sockets: 256 sends, two submissions of the ring.
    pub(crate) const WALKS: Self = Self::new(256 * SEND_STEPS, 2 << 20);
    /// Sends beside the walks: 0.5 ms.
    pub(crate) const FLUSHES: Self = Self::new(5_000, 2 << 20);
    /// Subscriptions of sessions that are gone, and connections that end: 1 ms.
    pub(crate) const ENDINGS: Self = Self::new(10_000, usize::MAX);
    /// Sessions whose timer is due: 0.5 ms.
    pub(crate) const TIMERS: Self = Self::new(5_000, usize::MAX);

    const fn new(steps: usize, bytes: usize) -> Self {
        Self { steps, bytes }
    }

    /// What one visit may read of a session that says much; then others have their turn.
    pub(crate) const MUCH: Self = Self::new(2_000, 64 << 10);
    /// What one visit may read of a session that says little, or of which the shard does not know yet.
    pub(crate) const LITTLE: Self = Self::new(100, 4 << 10);

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no more work may begin. Work that has begun is finished, so one piece of it may overspend the budget.
    pub(crate) const fn is_spent(&self) -> bool {
        self.steps == 0 || self.bytes == 0
    }

    pub(crate) const fn spend(&mut self, steps: usize, bytes: usize) {
        self.steps = self.steps.saturating_sub(steps);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) const fn quarter(&self) -> Self {
        Self::new(self.steps / 4, self.bytes / 4)
    }

    pub(crate) const fn times(&self, factor: usize) -> Self {
        Self::new(self.steps * factor, self.bytes * factor)
    }

    /// Whether this has more than `other`, both of steps and of bytes.
    pub(crate) const fn is_above(&self, other: Self) -> bool {
        self.steps > other.steps && self.bytes > other.bytes
    }
}

/// What a turn's reading, and within it the visit to one session, may still take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadBudget {
    turn: Budget,
    visit: Budget,
    /// What the visit has taken.
    spent: Budget,
}

impl ReadBudget {
    pub(crate) const fn begin_turn(&mut self, turn: Budget) {
        self.turn = turn;
    }

    pub(crate) const fn begin_visit(&mut self, visit: Budget) {
        self.visit = visit;
        self.spent = Budget::new(0, 0);
    }

    pub(crate) const fn spend(&mut self, steps: usize, bytes: usize) {
        self.turn.spend(steps, bytes);
        self.visit.spend(steps, bytes);
        self.spent.steps += steps;
        self.spent.bytes += bytes;
    }

    /// Whether the turn has more left than `left`, both of steps and of bytes.
    pub(crate) const fn is_above(&self, left: Budget) -> bool {
        self.turn.is_above(left)
    }

    /// Whether no more may be read in this visit.
    pub(crate) const fn is_spent(&self) -> bool {
        self.turn.is_spent() || self.visit.is_spent()
    }

    /// Whether no more of what was read may be handled in this visit.
    pub(crate) const fn is_out_of_steps(&self) -> bool {
        self.turn.steps == 0 || self.visit.steps == 0
    }

    /// Steps that the visit has left.
    pub(crate) const fn steps(&self) -> usize {
        if self.turn.steps < self.visit.steps {
            self.turn.steps
        } else {
            self.visit.steps
        }
    }

    /// Bytes that one read may take at once; so no more is kept if the steps do not suffice to handle them.
    pub(crate) const fn read_bytes(&self) -> usize {
        self.visit.bytes
    }

    /// Whether the visit has taken more than a session that says little would.
    pub(crate) const fn is_much(&self) -> bool {
        self.spent.steps > Budget::LITTLE.steps || self.spent.bytes > Budget::LITTLE.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_when_its_steps_or_its_bytes_are() {
        let mut budget = Budget::new(10, 100);
        budget.spend(9, 99);
        assert!(!budget.is_spent());
        let (mut steps, mut bytes) = (budget, budget);
        steps.spend(5, 0);
        bytes.spend(0, 1);
        assert!(steps.is_spent() && bytes.is_spent());
        let half = Budget::new(20, 200).quarter().times(2);
        assert!(Budget::new(11, 101).is_above(half));
        assert!(!Budget::new(10, 101).is_above(half) && !Budget::new(11, 100).is_above(half));
    }

    #[test]
    fn a_visit_spends_its_own_budget_and_that_of_the_turn() {
        let mut budget = ReadBudget::default();
        budget.begin_turn(Budget::new(10, 100));
        budget.begin_visit(Budget::new(8, 80));
        assert_eq!((budget.steps(), budget.read_bytes()), (8, 80));
        budget.spend(8, 20);
        assert!(budget.is_spent() && budget.is_out_of_steps());
        budget.begin_visit(Budget::new(8, 80));
        assert_eq!(budget.steps(), 2, "no more is left of the turn");
        assert!(!budget.is_spent() && budget.is_above(Budget::new(1, 79)));
        assert!(!budget.is_above(Budget::new(2, 0)));
        budget.spend(0, 80);
        assert!(budget.is_spent() && !budget.is_out_of_steps());
    }

    #[test]
    fn a_visit_is_much_when_it_has_taken_more_than_a_session_that_says_little_would() {
        let mut budget = ReadBudget::default();
        let mut is_much = |steps, bytes| {
            budget.begin_visit(Budget::MUCH);
            budget.spend(steps, bytes);
            budget.is_much()
        };
        let Budget { steps, bytes } = Budget::LITTLE;
        assert!(!is_much(steps, bytes));
        assert!(is_much(steps + 1, 0) && is_much(0, bytes + 1));
    }
}
