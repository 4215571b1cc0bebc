//! Commits of the state: they record, while the log runs, what the next start must know. That is which segments were made,
//! up to where retention has removed the log, and whether the log was closed.
//!
//! A commit overwrites both copies of the state, one after the other. One commit is in flight at a time. Other work waits
//! for its end: a new segment may be used once it is named, and files are removed once the floor is above them.

use crate::fixed::Fixed;
use crate::flush::{Acknowledged, Flush};
use crate::retention::Retention;
use crate::segments::Segments;
use crate::state::{Floor, Named, ReportedLosses, State};
use crate::tail::Tail;

/// How long until a commit that failed is tried again.
const RETRY_MS: u64 = 1000;

/// The commits of a log's state.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// Number of the last commit; the copy with the higher number is valid.
    generation: u64,
    /// Something has changed that the next start must know.
    wanted: bool,
    flight: Option<InFlight>,
    retry_ms: Option<u64>,
    /// Position below which the last commit says that everything is acknowledged.
    end: u64,
    /// The losses that opening the log has found.
    reported: ReportedLosses,
}

#[derive(Debug)]
struct InFlight {
    state: State,
    /// One copy is durable.
    is_durable: bool,
}

/// The parts of a log that its state is made of.
pub(crate) struct Sources<'a> {
    pub fixed: &'a Fixed,
    pub tail: &'a Tail,
    pub segments: &'a Segments,
    pub flush: &'a Flush,
    pub retention: &'a Retention,
    /// Timestamp of the newest record.
    pub last_ms: u64,
    /// The segment that was prepared.
    pub spare: Named,
}

/// What a commit does after the end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyEnded {
    /// The first copy has ended; the second copy is to hold this.
    First(Vec<u8>),
    /// The commit has ended; `None` if no copy was written.
    Second(Option<Committed>),
}

/// What a commit has made durable in at least one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The segment that was prepared.
    pub spare: Named,
    pub floor: Floor,
}

impl Sources<'_> {
    /// The log's present state.
    fn state(&self, clean: bool, generation: u64, reported: ReportedLosses) -> State {
        let acknowledged = self.flush.acknowledged();
        let (fixed, reached) = (self.fixed, self.tail.reached());
        let last = self.segments.newest().map(|last| Named {
            base: last.base,
            bytes: last.bytes,
        });
        let (end, sequence) = if clean {
            (self.tail.head(), reached.sequence)
        } else {
            (acknowledged.end, acknowledged.sequence)
        };
        State {
            epoch: fixed.epoch,
            incarnation: self.tail.incarnation(),
            log: fixed.id().get(),
            clean,
            boot_id: fixed.boot_id,
            end,
            sequence,
            last_ms: self.last_ms,
            dir_id: fixed.dir_id,
            chain: reached.chain,
            generation,
            floor: Some(self.retention.floor()),
            named: [last.unwrap_or_default(), self.spare],
            carried: self.retention.generation(),
            fingerprint: fixed.fingerprint,
            reported,
        }
    }
}

impl Commits {
    /// Continues behind commits that were made before.
    pub(crate) fn go_on(&mut self, generation: u64, reported: ReportedLosses) {
        self.generation = generation;
        self.reported = reported;
    }

    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Wants a commit once a record in the segment at `base` is acknowledged, so that the next start knows that the
    /// segment is in use: if all of it were lost, it would look as if it had never been used.
    pub(crate) fn note_use(&mut self, base: u64, acknowledged: Acknowledged) {
        if self.end <= base && acknowledged.end > base {
            self.end = acknowledged.end;
            self.want();
        }
    }

    /// When a commit that failed is tried again.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether a commit is to start: one is wanted, and none is in flight.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let waits = self.retry_ms.is_some_and(|at| now_ms < at);
        self.wanted && self.flight.is_none() && !waits
    }

    /// The state to commit next.
    pub(crate) fn next(&mut self, sources: &Sources<'_>, clean: bool) -> State {
        self.generation += 1;
        let state = sources.state(clean, self.generation, self.reported);
        self.end = state.end;
        state
    }

    /// Starts a commit. Returns the content of the first copy.
    pub(crate) fn start(&mut self, sources: &Sources<'_>, clean: bool) -> Vec<u8> {
        self.wanted = false;
        self.retry_ms = None;
        let state = self.next(sources, clean);
        self.flight = Some(InFlight {
            state,
            is_durable: false,
        });
        state.encode()
    }

    /// Takes the result of writing a copy.
    pub(crate) fn ended(&mut self, is_first: bool, worked: bool) -> CopyEnded {
        let Some(flight) = &mut self.flight else {
            return CopyEnded::Second(None);
        };
        flight.is_durable |= worked;
        if is_first {
            return CopyEnded::First(flight.state.encode());
        }
        let committed = flight.is_durable.then(|| Committed {
            spare: flight.state.named[1],
            floor: flight.state.floor.unwrap_or_default(),
        });
        self.flight = None;
        CopyEnded::Second(committed)
    }

    /// Schedules another commit, as no copy was written.
    pub(crate) fn retry(&mut self, now_ms: u64) {
        self.wanted = true;
        self.retry_ms = Some(now_ms + RETRY_MS);
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::frames::Owner;
    use crate::options::Durability;
    use crate::tail::Reached;

    /// A log without blocks that goes on at a position.
    struct Rig {
        fixed: Fixed,
        tail: Tail,
        segments: Segments,
        flush: Flush,
        retention: Retention,
    }

    impl Rig {
        fn new() -> Self {
            let fixed = Fixed::example(Durability::Synced);
            let owner = Owner { log: 1, dir_id: 7 };
            let mut rig = Self {
                tail: Tail::new(owner, 1),
                segments: Segments::default(),
                flush: Flush::new(fixed.durability()),
                retention: Retention::default(),
                fixed,
            };
            let reached = Reached {
                sequence: 9,
                chain: 8,
            };
            rig.tail.go_on(900, reached);
            let acknowledged = Acknowledged {
                end: 400,
                sequence: 4,
            };
            rig.flush.go_on(900, 400, reached, acknowledged);
            rig
        }

        fn sources(&self) -> Sources<'_> {
            Sources {
                fixed: &self.fixed,
                tail: &self.tail,
                segments: &self.segments,
                flush: &self.flush,
                retention: &self.retention,
                last_ms: 11,
                spare: Named {
                    base: 1024,
                    bytes: 64,
                },
            }
        }
    }

    fn decoded(content: &[u8]) -> State {
        State::decode(content).expect("it was just encoded")
    }

    #[test]
    fn a_state_names_what_is_acknowledged_and_only_a_drained_one_the_end() {
        let (rig, mut commits) = (Rig::new(), Commits::default());
        let open = commits.next(&rig.sources(), false);
        assert_eq!((open.end, open.sequence, open.clean), (400, 4, false));
        let drained = commits.next(&rig.sources(), true);
        assert_eq!(
            (drained.end, drained.sequence, drained.clean),
            (900, 9, true)
        );
        assert_eq!((open.generation, drained.generation), (1, 2));
        assert_eq!(drained.named[1].base, 1024);
        assert_eq!(drained.floor, Some(Floor::default()));
    }

    #[test]
    fn one_copy_is_enough_and_both_hold_the_same() {
        let (rig, mut commits) = (Rig::new(), Commits::default());
        assert!(!commits.is_due(1), "nothing has changed");
        commits.want();
        assert!(commits.is_due(1));
        let first = commits.start(&rig.sources(), false);
        commits.want();
        assert!(!commits.is_due(1), "one is on its way");
        assert_eq!(commits.ended(true, false), CopyEnded::First(first));
        let durable = Some(Committed {
            spare: rig.sources().spare,
            floor: Floor::default(),
        });
        assert_eq!(commits.ended(false, true), CopyEnded::Second(durable));
        assert!(commits.is_due(1), "something has changed meanwhile");
        let again = commits.start(&rig.sources(), false);
        assert_eq!(decoded(&again).generation, 2);
        assert!(matches!(commits.ended(true, true), CopyEnded::First(_)));
        assert_eq!(commits.ended(false, false), CopyEnded::Second(durable));
    }

    #[test]
    fn a_commit_without_a_copy_is_tried_again_after_a_second() {
        let (rig, mut commits) = (Rig::new(), Commits::default());
        commits.want();
        commits.start(&rig.sources(), false);
        assert!(matches!(commits.ended(true, false), CopyEnded::First(_)));
        assert_eq!(commits.ended(false, false), CopyEnded::Second(None));
        commits.retry(5);
        assert_eq!(commits.deadline_ms(), Some(5 + RETRY_MS));
        assert!(!commits.is_due(4 + RETRY_MS) && commits.is_due(5 + RETRY_MS));
    }

    #[test]
    fn the_first_acknowledgement_in_a_segment_is_written_down_and_the_second_is_not() {
        let (rig, mut commits) = (Rig::new(), Commits::default());
        let to = |end| Acknowledged { end, sequence: 0 };
        commits.note_use(400, to(400));
        assert!(!commits.is_due(1), "nothing in it is acknowledged");
        commits.note_use(400, to(408));
        assert!(commits.is_due(1));
        commits.start(&rig.sources(), true);
        commits.ended(true, true);
        commits.ended(false, true);
        commits.note_use(400, to(480));
        assert!(!commits.is_due(1));
    }
}
