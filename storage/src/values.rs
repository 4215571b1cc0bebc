//! The values that a store returns: places, answers about topics, events of a turn, reports of recovery, totals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oyez_protocol::{Epoch, LogId, Offset, Position, Sequence};

use crate::clock::ClockWasAhead;
use crate::error::PopulateError;
use crate::failing::{Failing, Resolved};
use crate::options::Durability;

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of the record's first message.
    pub first: Offset,
    /// Offset after the record's last message.
    pub next: Offset,
    /// Position of the record's first byte.
    pub position: Position,
    /// Bytes of the record.
    pub size: u32,
}

/// The start that a subscription asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// After everything that is visible.
    Latest,
    /// At the oldest message kept.
    Earliest,
    /// At this offset, or the nearest one kept.
    At(Offset),
}

impl StartAt {
    /// The offset where delivery starts in a topic that has `earliest` to `head`, and whether the wish lies beyond `head`.
    #[must_use]
    pub fn within(self, earliest: Offset, head: Offset) -> (Offset, bool) {
        let wish = match self {
            Self::Latest => head,
            Self::Earliest => earliest,
            Self::At(offset) => offset,
        };
        (wish.clamp(earliest, head), wish > head)
    }
}

/// The answer to [`Store::locate`](crate::Store::locate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where delivery starts: the wish, clamped to what is kept and visible.
    pub cursor: Offset,
    /// First message kept; equals `head` when none is.
    pub earliest: Offset,
    /// First message that is not visible.
    pub head: Offset,
    /// The log's epoch.
    pub epoch: Epoch,
    /// Offset of the topic's first record at or after the position asked about, or its next offset if there is none.
    pub next_at_walked: Offset,
    /// The wish lies beyond `head`: it belongs to a history that is not this one.
    pub ahead: bool,
}

/// Information about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// The log that holds it.
    pub log: LogId,
    /// The durability of its log.
    pub durability: Durability,
    /// First message kept; equals `next` when none is.
    pub earliest: Offset,
    /// Offset that the next message gets.
    pub next: Offset,
    /// Records kept.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Epoch of its log.
    pub epoch: Epoch,
}

/// A page of a list of topics, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPage {
    /// The topics.
    pub topics: Vec<TopicInfo>,
    /// Whether more topics follow.
    pub more: bool,
}

/// The number of topics that each log of a store had at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts(pub(crate) Box<[usize]>);

/// The numbers that [`Store::append`](crate::Store::append) has assigned to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the record's first message.
    pub offset: Offset,
    /// Number of the record in its log.
    pub sequence: Sequence,
    /// Position after the record: it is acknowledged and delivered once `visible` has reached this.
    pub end: Position,
    /// The log's epoch.
    pub epoch: Epoch,
}

/// The events of one or more calls of [`Store::pump`](crate::Store::pump). Reused from turn to turn.
#[derive(Debug, Default)]
pub struct StoreEvents {
    /// Logs whose visible position advanced.
    pub advanced: Vec<LogId>,
    /// Tokens of finished populate calls.
    pub populated: Vec<(u64, Result<(), PopulateError>)>,
    /// Blocks that were read and differ from what was written. Their whole records are served, the others are not.
    pub damaged: Vec<Damaged>,
    /// Logs that refused an append and would accept one now; or that were busy and would refuse one with a reason now.
    pub accepting_again: Vec<LogId>,
    /// Logs whose last record was stamped by a clock that was ahead. They follow the wall clock again.
    pub clock_was_ahead: Vec<ClockWasAhead>,
    /// How far the wall clock was set ahead, if by more than an hour, in milliseconds. Records do not expire by the wall
    /// clock for ten minutes, or until it is set back.
    pub clock_set_ahead_ms: Option<u64>,
    /// Tasks that have begun to fail, and are tried again about once a second.
    pub failing: Vec<Failing>,
    /// Tasks that work again.
    pub resolved: Vec<Resolved>,
    /// How many attempts of tasks have failed.
    pub failures: u64,
    /// For each sync that made records durable: microseconds from the turn that queued it, or the write that it was
    /// linked to, to the turn that found it done.
    pub syncs_us: Vec<u64>,
}

/// A block of a segment that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The segment's file.
    pub path: Arc<Path>,
    /// First byte of the block in it.
    pub at: u64,
}

impl StoreEvents {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.advanced.clear();
        self.populated.clear();
        self.damaged.clear();
        self.accepting_again.clear();
        self.clock_was_ahead.clear();
        self.clock_set_ahead_ms = None;
        self.failing.clear();
        self.resolved.clear();
        self.failures = 0;
        self.syncs_us.clear();
    }
}

/// A range of a log that is not served, because its bytes are damaged or records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First position of the range.
    pub from: Position,
    /// First position behind the range.
    pub to: Position,
    /// Sequence of the first record that is missing.
    pub first_sequence: Sequence,
    /// Sequence of the first record after the gap.
    pub next_sequence: Sequence,
}

/// A file of a log that recovery could not use, and has renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The name that it had.
    pub path: PathBuf,
    /// The name that it has now; `None` if it could not be renamed.
    pub to: Option<PathBuf>,
    /// The reason.
    pub why: &'static str,
}

/// The findings and actions of opening a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The log.
    pub log: LogId,
    /// Whether a drain had closed it, and it is as the drain left it.
    pub clean: bool,
    /// Whether it is a new log, without any record so far.
    pub is_new: bool,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether that epoch is new: acknowledged records were, or may have been, lost, or the directory was restored from a
    /// copy.
    pub epoch_changed: bool,
    /// Segments kept.
    pub segments: u64,
    /// Bytes read and checked frame by frame.
    pub scanned_bytes: u64,
    /// Segments whose footer is rebuilt.
    pub footers_rebuilt: u64,
    /// Records that nothing proved to be durable; they were written again in place, and synced.
    pub records_rewritten: u64,
    /// Bytes after the last whole record that were cut off. They were never acknowledged unless `epoch_changed`.
    pub cut_bytes: u64,
    /// Segments removed that an interrupted recovery had begun to copy records into; the log holds those records.
    pub copies_removed: u64,
    /// Losses of records that no earlier start has reported.
    pub gaps: Vec<Gap>,
    /// Files that this recovery set aside.
    pub set_aside: Vec<SetAside>,
    /// Files that were set aside before and are still there.
    pub aside_before: Vec<PathBuf>,
    /// Files in the log's directory that are not the log's. They are left alone.
    pub foreign: Vec<PathBuf>,
    /// Whether the directory is a copy of the one that the log was last open in.
    pub copied: bool,
}

/// A log that a drain has not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undrained {
    /// The log.
    pub log: LogId,
    /// Records that are not known to be durable; 0 if only the state could not be written.
    pub records: u64,
}

/// Running totals of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Which disk runs: `uring`, `thread` or `memory`.
    pub disk: &'static str,
    /// Submissions to the kernel that carried at least one operation.
    pub submissions: u64,
    /// Writes completed.
    pub writes: u64,
    /// Bytes written by them.
    pub bytes_written: u64,
    /// Syncs completed.
    pub syncs: u64,
    /// Records that became durable through them; divided by `syncs` it is the size of a group commit.
    pub records_synced: u64,
    /// Records appended.
    pub records_appended: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of them.
    pub segment_bytes: u64,
    /// Arena blocks that the logs hold.
    pub arena_blocks_used: u64,
    /// Topics known.
    pub topics: u64,
}
