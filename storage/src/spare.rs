//! The spare segment, which comes after the active one: it is prepared ahead of need, and named by the state before it is
//! used. Appends that need it before it is there are refused, with a reason if it takes too long.

use std::io;

use oyez_protocol::planted::{Bug, planted};

use crate::disk::{FileId, Opened};
use crate::error::AppendError;
use crate::format::BLOCK_BYTES;
use crate::segments::{Segment, Stage};
use crate::state::Named;

/// How long until a segment that could not be made is tried again.
const RETRY_MS: u64 = 1000;
/// How long appends that need the next segment are told to wait for it, whether making it fails or takes long. A publisher
/// is to have an answer within five seconds; a segment of 64 MiB takes a slow disk of 30 MB/s two, and is begun ahead of need.
const NEEDED_MAX_MS: u64 = 3_000;
/// Most time between two turns that counts as waiting. While a segment is needed, a turn comes every few milliseconds; a
/// longer pause means that this process or its machine did not run, and perhaps the disk did not, either.
const LOOK_MAX_MS: u64 = 200;

/// The stage of the spare segment.
#[derive(Debug)]
enum Spare {
    None,
    Preparing {
        base: u64,
    },
    /// It is there, and the state does not name it yet: a loss of the file would pass unnoticed.
    Unnamed {
        base: u64,
        opened: Opened,
    },
    Ready {
        base: u64,
        opened: Opened,
    },
    /// It could not be made, for lack of space or for another reason.
    Failed {
        retry_ms: u64,
        no_space: bool,
    },
}

/// The result of an attempt to make the segment.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// It is there, and the state is to name it.
    Made,
    Failed(io::Error),
    /// It is not needed any more.
    Unwanted(Option<FileId>),
}

/// The spare segment of a log.
#[derive(Debug)]
pub(crate) struct SpareSegment {
    spare: Spare,
    /// An append needs the segment, which is not there.
    needed: bool,
    /// The last turn in which it was needed.
    looked_at_ms: Option<u64>,
    /// For how long it has been needed.
    needed_for_ms: u64,
    /// A log without a segment is to have its first.
    wanted: bool,
    /// Where the log went on when it was opened.
    opened_at: u64,
}

impl SpareSegment {
    /// `wanted`: a log without a segment makes its first one at once. A written log waits until an append is refused.
    pub(crate) fn new(wanted: bool, opened_at: u64) -> Self {
        Self {
            spare: Spare::None,
            needed: false,
            looked_at_ms: None,
            needed_for_ms: 0,
            wanted,
            opened_at,
        }
    }

    /// Notes that an append was refused: the log is to have a segment.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Notes that an append needs the segment.
    pub(crate) fn need(&mut self) {
        self.needed = true;
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.spare, Spare::Ready { .. })
    }

    /// The refusal of an append that needs the segment, if it is not ready.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        match &self.spare {
            Spare::Ready { .. } => None,
            Spare::Failed { no_space: true, .. } => Some(AppendError::DiskFull),
            _ if self.is_starving() => Some(AppendError::NoSegment),
            Spare::None
            | Spare::Preparing { .. }
            | Spare::Unnamed { .. }
            | Spare::Failed { .. } => Some(AppendError::Busy),
        }
    }

    /// Whether the segment was needed for too long.
    const fn is_starving(&self) -> bool {
        self.needed_for_ms >= NEEDED_MAX_MS
    }

    /// Notes for how long the segment is needed. Returns whether making it takes too long.
    pub(crate) fn measure_need(&mut self, now_ms: u64) -> bool {
        if !self.needed {
            return false;
        }
        let looked_at_ms = self.looked_at_ms.replace(now_ms).unwrap_or(now_ms);
        self.needed_for_ms += now_ms.saturating_sub(looked_at_ms).min(LOOK_MAX_MS);
        let under_way = matches!(self.spare, Spare::Preparing { .. } | Spare::Unnamed { .. });
        under_way && self.is_starving()
    }

    fn forget_need(&mut self) {
        self.needed = false;
        (self.looked_at_ms, self.needed_for_ms) = (None, 0);
    }

    /// Where the next segment is to begin, if it is to be made now. `rolls` says that it is wanted at once.
    pub(crate) fn due(
        &self,
        newest: Option<&Segment>,
        head: u64,
        rolls: bool,
        now_ms: u64,
    ) -> Option<u64> {
        let due = match self.spare {
            Spare::None => true,
            Spare::Failed { retry_ms, .. } => now_ms >= retry_ms,
            Spare::Preparing { .. } | Spare::Unnamed { .. } | Spare::Ready { .. } => false,
        };
        match newest {
            _ if !due => None,
            Some(active) if active.stage() == Stage::Active => {
                (self.nears_end(active, head) || rolls).then(|| active.limit())
            }
            _ => (self.wanted || rolls).then_some(head),
        }
    }

    /// Notes that a segment is being made.
    pub(crate) fn begin(&mut self, base: u64) {
        self.spare = Spare::Preparing { base };
    }

    /// Takes the result of making it.
    pub(crate) fn prepared(&mut self, result: io::Result<Opened>, now_ms: u64) -> Prepared {
        let Spare::Preparing { base } = self.spare else {
            return Prepared::Unwanted(result.ok().map(|unwanted| unwanted.file));
        };
        match result {
            Ok(opened) => {
                // From now on it waits for the state to name it.
                self.forget_need();
                self.spare = Spare::Unnamed { base, opened };
                Prepared::Made
            }
            Err(error) => {
                let no_space = matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
                if no_space {
                    // Appends are refused because of the full disk.
                    self.forget_need();
                }
                let retry_ms = now_ms + RETRY_MS;
                self.spare = Spare::Failed { retry_ms, no_space };
                Prepared::Failed(error)
            }
        }
    }

    /// When a segment that could not be made is tried again.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        match self.spare {
            Spare::Failed { retry_ms, .. } => Some(retry_ms),
            _ => None,
        }
    }

    /// The file that the state is to name.
    pub(crate) fn to_name(&self) -> Named {
        match &self.spare {
            Spare::Unnamed { base, opened } | Spare::Ready { base, opened } => Named {
                base: *base,
                bytes: opened.map.len(),
            },
            Spare::Preparing { base } if planted(Bug::NamesTheUnmade) => Named {
                base: *base,
                bytes: BLOCK_BYTES,
            },
            _ => Named::default(),
        }
    }

    /// Notes that a durable state names this file: if it is the spare segment, that may be used.
    pub(crate) fn name(&mut self, named: Named) {
        let is_named = |base| named.bytes > 0 && named.base == base;
        self.spare = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Unnamed { base, opened } if is_named(base) => {
                self.forget_need();
                Spare::Ready { base, opened }
            }
            other => other,
        };
    }

    /// Takes the segment, which is to begin at `base`, if it is ready.
    pub(crate) fn take(&mut self, base: u64) -> Option<Opened> {
        match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready { base: at, opened } => {
                debug_assert_eq!(at, base);
                Some(opened)
            }
            _ => None,
        }
    }

    /// Whether the active segment is used enough to make the next one: a block of it is full, which leaves the most time.
    /// But not at each start of a log that goes on in a half empty segment and takes few records.
    fn nears_end(&self, active: &Segment, head: u64) -> bool {
        let used = head >= active.base + BLOCK_BYTES;
        let used_now = head >= self.opened_at + BLOCK_BYTES;
        used && (used_now || active.limit() - head < active.bytes / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Outcome};
    use crate::memory_disk::MemoryDisk;
    use crate::segments::{Beginning, Segments};

    const BASE: u64 = 4 * BLOCK_BYTES;

    fn opened() -> Opened {
        let (mut disk, mut done) = (MemoryDisk::new(), Vec::new());
        disk.prepare(1, "/log/segment".into(), BASE);
        disk.wait().expect("a disk in memory");
        disk.reap(&mut done);
        match done.pop().map(|completion| completion.outcome) {
            Some(Outcome::Prepared(Ok(opened))) => opened,
            other => panic!("a segment is made: {other:?}"),
        }
    }

    #[test]
    fn a_segment_is_used_once_the_state_names_it_and_no_sooner() {
        let mut spare = SpareSegment::new(true, 0);
        assert_eq!(spare.due(None, BASE, false, 1), Some(BASE));
        spare.begin(BASE);
        assert_eq!(spare.due(None, BASE, false, 1), None, "it is under way");
        assert_eq!(spare.refusal(), Some(AppendError::Busy));
        assert!(matches!(spare.prepared(Ok(opened()), 2), Prepared::Made));
        assert!(!spare.is_ready());
        let named = spare.to_name();
        assert_eq!((named.base, named.bytes), (BASE, BASE));
        spare.name(Named { base: 0, ..named });
        assert!(!spare.is_ready(), "another one was named");
        spare.name(named);
        assert!(spare.is_ready() && spare.refusal().is_none());
        assert!(spare.take(BASE).is_some() && spare.take(BASE).is_none());
        assert_eq!(spare.to_name(), Named::default());
        let unwanted = spare.prepared(Ok(opened()), 3);
        assert!(matches!(unwanted, Prepared::Unwanted(Some(_))));
    }

    #[test]
    fn a_full_disk_refuses_at_once_and_another_failure_when_the_segment_was_needed_for_too_long() {
        let mut spare = SpareSegment::new(true, 0);
        spare.begin(BASE);
        spare.need();
        let full = io::ErrorKind::StorageFull.into();
        assert!(matches!(spare.prepared(Err(full), 10), Prepared::Failed(_)));
        assert_eq!(spare.refusal(), Some(AppendError::DiskFull));
        assert_eq!(spare.retry_ms(), Some(10 + RETRY_MS));
        assert_eq!(spare.due(None, BASE, false, 9 + RETRY_MS), None);
        assert_eq!(spare.due(None, BASE, false, 10 + RETRY_MS), Some(BASE));
        spare.begin(BASE);
        spare.need();
        assert!(!spare.measure_need(2_000));
        let other = io::ErrorKind::PermissionDenied.into();
        assert!(matches!(
            spare.prepared(Err(other), 3_000),
            Prepared::Failed(_)
        ));
        look_until(&mut spare, 2_000, 1_999 + NEEDED_MAX_MS);
        assert_eq!(spare.refusal(), Some(AppendError::Busy));
        assert!(
            !spare.measure_need(2_000 + NEEDED_MAX_MS),
            "it failed, it is not late"
        );
        assert_eq!(spare.refusal(), Some(AppendError::NoSegment));
        spare.begin(BASE);
        assert!(spare.measure_need(2_000 + NEEDED_MAX_MS));
    }

    /// Runs a turn every few milliseconds.
    fn look_until(spare: &mut SpareSegment, from_ms: u64, to_ms: u64) {
        for now_ms in (from_ms..to_ms).step_by(5).chain([to_ms]) {
            spare.measure_need(now_ms);
        }
    }

    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count_as_waiting() {
        let mut spare = SpareSegment::new(true, 0);
        spare.begin(BASE);
        spare.need();
        look_until(&mut spare, 1_000, 1_100);
        assert!(!spare.measure_need(60_000));
        assert_eq!(spare.refusal(), Some(AppendError::Busy));
        look_until(&mut spare, 60_000, 60_000 + NEEDED_MAX_MS);
        assert_eq!(spare.refusal(), Some(AppendError::NoSegment));
    }

    #[test]
    fn the_next_segment_is_made_after_a_block_but_not_at_each_start_of_a_quiet_log() {
        let mut segments = Segments::default();
        segments.begin(
            Beginning {
                base: 0,
                incarnation: 1,
                sequence: 0,
                last_ms: 0,
            },
            None,
        );
        let active = segments.newest();
        let limit = active.map(crate::segments::Segment::limit);
        let fresh = SpareSegment::new(false, 0);
        assert_eq!(fresh.due(active, BLOCK_BYTES - 8, false, 1), None);
        assert_eq!(fresh.due(active, BLOCK_BYTES, false, 1), limit);
        assert_eq!(
            fresh.due(active, 8, true, 1),
            limit,
            "its records are too old"
        );
        assert_eq!(fresh.due(None, 0, false, 1), None, "nobody wants one");
        let reopened = SpareSegment::new(false, BLOCK_BYTES / 2);
        assert_eq!(reopened.due(active, BLOCK_BYTES / 2 + 8, false, 1), None);
    }
}
