//! Options of a store: durability, sizes, retention.

use oyez_protocol::LogId;
use oyez_protocol::limits::Limits;

use crate::format::BLOCK_BYTES;

/// Smallest segment: two blocks.
pub const SEGMENT_BYTES_MIN: u64 = 2 * BLOCK_BYTES;
/// Largest segment; a place in a segment travels in 27 bits of 8-byte units.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segment size unless configured otherwise.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// Topics of a log unless configured otherwise.
pub const TOPICS_MAX_DEFAULT: usize = 1_000_000;

/// The failures that a log's records survive. A topic belongs to one log, hence to one durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Durability {
    /// Never on disk: lost when the process ends.
    Memory = 0,
    /// Handed to the kernel: survives the end of the process.
    Written = 1,
    /// Durable: survives the loss of power.
    Synced = 2,
}

impl Durability {
    /// The word used in configuration, logs and directory names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A log of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogSpec {
    /// Its number in the flat space: memory logs, then written logs, then synced logs.
    pub id: LogId,
    /// Its durability.
    pub durability: Durability,
    /// Its number among the logs of the same durability; part of its directory's name.
    pub ordinal: u16,
}

/// How a data directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct DirOptions {
    /// Logs for each durability. Only used when the directory is created; fixed from then on.
    pub logs_per_durability: u16,
    /// Fresh random bytes of this start: keys the topic hash of a new directory, and makes new epochs unlike old ones.
    pub entropy: [u8; 16],
    /// The directory was restored from a copy: every log gets a new epoch, since messages published after the copy was
    /// made are missing.
    pub restored: bool,
}

/// How a store keeps its logs.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes of a segment: a multiple of 2 MiB, from [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// A log on disk larger than this loses its oldest sealed segments.
    pub retention_bytes: Option<u64>,
    /// A log on disk loses a segment whose newest record is older than this, in milliseconds. A segment that is not full
    /// is sealed when its oldest record is older than this, at most once a minute, if the disk has room for the next
    /// segment. So records are removed when they are between once and twice as old (plus a minute); the last records of
    /// a quiet log about a second after they have expired. Memory logs are bounded by [`Self::memory_blocks`] alone.
    pub retention_age_ms: Option<u64>,
    /// Blocks that a memory log keeps at most; at least 2.
    pub memory_blocks: usize,
    /// Blocks that a log on disk may hold in the arena at most, flushed ones included; at least
    /// `hot_blocks` + 2.
    pub tail_blocks: usize,
    /// Flushed blocks that a log on disk keeps in the arena for readers at the tail.
    pub hot_blocks: usize,
    /// How long a populated range of a segment counts as being in the page cache, in milliseconds.
    pub warm_ms: u64,
    /// Topics that a log may hold; it keeps each in memory while it is open. A record of a further topic is refused. A log
    /// that holds more topics when it is opened keeps them.
    pub topics_max: usize,
    /// Limits of the records that the broker accepts; recovery accepts the widest limits of the protocol.
    pub limits: Limits,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            retention_bytes: None,
            retention_age_ms: None,
            memory_blocks: 32,
            tail_blocks: 16,
            hot_blocks: 2,
            warm_ms: 10_000,
            topics_max: TOPICS_MAX_DEFAULT,
            limits: Limits::DEFAULT,
        }
    }
}

impl LogOptions {
    /// The first fault of these options, if they have one.
    pub(crate) fn fault(&self) -> Option<String> {
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(BLOCK_BYTES)
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment)
        {
            return Some(format!(
                "segment_bytes is {segment}; it must be a multiple of {BLOCK_BYTES} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            ));
        }
        if self.memory_blocks < 2 || self.tail_blocks < 2 {
            return Some("memory_blocks and tail_blocks must be at least 2".to_owned());
        }
        // One block that is being flushed and one that takes appends, besides the hot ones.
        (self.hot_blocks + 2 > self.tail_blocks)
            .then(|| "tail_blocks must be at least hot_blocks + 2".to_owned())
    }
}
