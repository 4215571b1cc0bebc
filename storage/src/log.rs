//! One log: appends into the tail, and the state that flushing, sealing, retention and look-ups share.
//!
//! An append stamps a verified record and copies it once, into the tail block. It never waits: without room it is
//! refused, and `Progress::accepting_again` says when to come back.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use oyez_protocol::checksum::crc32c_append;
use oyez_protocol::record::{Record, Stamp, stamp};
use oyez_protocol::{Epoch, Offset, Position, Sequence};

use crate::age::Written;
use crate::clock::ClockWasAhead;
use crate::commit::Commits;
use crate::disk::{Block, Opened};
use crate::error::AppendError;
use crate::flush::Flush;
use crate::index::{SegmentRef, TopicIndex};
use crate::moment::Moment;
use crate::names::segment_name;
use crate::options::{Durability, LogOptions, LogSpec};
use crate::place::Appended;
use crate::segment::{Segment, SegmentFile, SegmentIndex};
use crate::shared::{Shared, Snapshot};
use crate::sip::siphash13;
use crate::state::{Floor, KnownLosses};
use crate::streaks::Streaks;
use crate::sys::arena::{ArenaPool, BlockWriter};
use crate::table::PackedPlace;
use crate::tail::{Reached, TailBlock};

/// Bytes of a stamped record that its chain link covers: the header checksum.
const CHAINED: std::ops::Range<usize> = 20..24;

/// The segment that comes after the active one.
#[derive(Debug)]
pub(crate) enum Spare {
    None,
    Preparing {
        base: u64,
    },
    /// It is there, and the state does not name it yet: what is lost with it would pass unnoticed.
    Unnamed {
        base: u64,
        opened: Opened,
    },
    Ready {
        base: u64,
        opened: Opened,
    },
    /// It could not be made, for want of space or for another reason.
    Failed {
        retry_ms: u64,
        no_space: bool,
    },
}

/// What an operation in flight was for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Flight,
    Prepare,
    /// Sync of a full segment, by number.
    SealSync(u32),
    /// Footer of a full segment, by number.
    Footer(u32),
    Carried,
    Unlink(Vec<PathBuf>),
    State,
    StateCopy,
}

/// Large things that nobody needs any more.
#[derive(Debug)]
pub(crate) enum Discarded {
    Index { _index: SegmentIndex },
    File { _file: Arc<SegmentFile> },
    Table { _table: Bytes },
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// Flushing, then the final mark.
    Flushing,
    /// The final mark is in; flushing it.
    Marked,
    /// The state file is being written.
    Closing,
    Done,
}

/// What a log is made with.
pub(crate) struct LogParts {
    pub spec: LogSpec,
    /// Number of the log within its store; part of its tokens.
    pub slot: u16,
    pub path: PathBuf,
    pub dir_id: u64,
    pub key: [u64; 2],
    pub options: LogOptions,
    pub pool: Arc<ArenaPool>,
    pub epoch: u64,
    pub boot_id: u128,
    /// Tells the data directory from its copies.
    pub fingerprint: u64,
}

/// That records of the log's beginning are lost: where each topic goes on is not where retention has removed it to.
#[derive(Debug)]
pub(crate) struct FrontLoss {
    /// The first segment kept.
    pub segment: u32,
    /// Topic -> offset of the first message that is lost.
    pub from: HashMap<u32, u64>,
}

pub(crate) struct Log {
    pub parts: LogParts,
    pub shared: Arc<Shared>,
    pub index: TopicIndex,
    pub segments: VecDeque<Segment>,
    pub next_number: u32,
    pub tail: VecDeque<TailBlock>,
    /// The block that a memory log dropped last; readers may still hold it.
    pub given_up: Weak<Block>,
    pub writer: Option<BlockWriter>,
    /// Position that the next frame gets; a segment's border when there is no writer.
    pub head: u64,
    pub reached: Reached,
    /// Timestamp of the newest record.
    pub last_ms: u64,
    pub incarnation: u32,
    pub flush: Flush,
    /// When the flight under way took off.
    pub flight_since_us: u64,
    pub spare: Spare,
    /// An append needs the next segment, which is not there.
    pub segment_needed: bool,
    /// The first turn that saw it needed.
    pub needed_since_ms: Option<u64>,
    /// A written log makes its first segment when it is first wanted.
    pub spare_wanted: bool,
    pub ops: Vec<(u64, Purpose)>,
    pub next_token: u64,
    pub drain: Drain,
    pub retention: crate::retention::Retention,
    pub rolling: crate::age::Rolling,
    /// Footers are tried again from this time on.
    pub seal_retry_ms: u64,
    /// The table of topics without records, as it is in its file.
    pub carried: Option<Bytes>,
    /// How often it was written.
    pub carried_generation: u64,
    /// Up to where retention has removed the log.
    pub floor: Floor,
    pub front_loss: Option<FrontLoss>,
    /// What opening it has found to be lost.
    pub known_losses: KnownLosses,
    /// Where the log went on when it was opened.
    pub opened_at: u64,
    pub commits: Commits,
    /// What takes long to free: the next file that is written takes it along to the disk's thread.
    pub discarded: Vec<Discarded>,
    /// What was found about the wall clock, until the next turn tells.
    pub clock_was_ahead: Vec<ClockWasAhead>,
    /// What fails and is tried again.
    pub streaks: Streaks,
    pub poisoned: bool,
    /// The visible place advanced since the last turn.
    pub moved: bool,
    /// How an append was refused since the last time the log said that it accepts again.
    pub refused: Option<AppendError>,
    pub now: Moment,
    pub records_appended: u64,
}

impl Log {
    pub(crate) fn new(parts: LogParts) -> Self {
        let shared = Shared::new(parts.spec, parts.epoch, Arc::clone(&parts.pool));
        Self {
            shared: Arc::new(shared),
            index: TopicIndex::default(),
            segments: VecDeque::new(),
            next_number: 0,
            tail: VecDeque::with_capacity(parts.options.tail_blocks + 1),
            given_up: Weak::new(),
            writer: None,
            head: 0,
            reached: Reached::default(),
            last_ms: 0,
            incarnation: 0,
            flush: Flush::default(),
            flight_since_us: 0,
            spare: Spare::None,
            segment_needed: false,
            needed_since_ms: None,
            spare_wanted: parts.spec.durability == Durability::Synced,
            ops: Vec::with_capacity(16),
            next_token: 0,
            drain: Drain::No,
            retention: crate::retention::Retention::default(),
            rolling: crate::age::Rolling::default(),
            seal_retry_ms: 0,
            carried: None,
            carried_generation: 0,
            floor: Floor::default(),
            front_loss: None,
            known_losses: KnownLosses::default(),
            opened_at: 0,
            commits: Commits::default(),
            discarded: Vec::new(),
            clock_was_ahead: Vec::new(),
            streaks: Streaks::default(),
            poisoned: false,
            moved: false,
            refused: None,
            now: Moment::default(),
            records_appended: 0,
            parts,
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        self.parts.spec.durability
    }

    pub(crate) fn on_disk(&self) -> bool {
        self.durability() != Durability::Memory
    }

    pub(crate) fn hash(&self, topic: &str) -> u64 {
        siphash13(self.parts.key, topic.as_bytes())
    }

    /// A token for an operation on the disk.
    pub(crate) fn token(&mut self, purpose: Purpose) -> u64 {
        self.next_token += 1;
        let token = u64::from(self.parts.slot) << 48 | self.next_token;
        self.ops.push((token, purpose));
        token
    }

    pub(crate) fn append(
        &mut self,
        record: &Record<'_>,
        wall_ms: u64,
    ) -> Result<Appended, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.drain != Drain::No {
            return Err(AppendError::Closing);
        }
        if record.size() > self.parts.options.limits.record_size_max {
            return Err(AppendError::TooLarge);
        }
        let hash = self.hash(record.topic());
        let is_full = self.index.len() >= self.parts.options.topics_max;
        if is_full && self.index.find(hash, record.topic()).is_none() {
            return Err(AppendError::TooManyTopics);
        }
        if let Err(error) = self.make_room(record.size() as usize) {
            self.refused = Some(error);
            self.spare_wanted = true;
            return Err(error);
        }
        let topic = self.index.find_or_add(hash, record.topic());
        let offset = self.index.topic(topic).next;
        self.take_time(wall_ms);
        Ok(self.commit(record, topic, offset))
    }

    /// Stamps and copies a record for which there is room, and enters it into the index.
    fn commit(&mut self, record: &Record<'_>, topic: u32, offset: u64) -> Appended {
        let writer = self.writer.as_mut().expect("there is room in it");
        let sequence = self.reached.sequence;
        let stamped = Stamp {
            offset: Offset::new(offset),
            sequence: Sequence::new(sequence),
            log: self.parts.spec.id,
            timestamp_ms: self.last_ms,
            incarnation: (self.incarnation & 0xffff) as u16,
        };
        let chain = &mut self.reached.chain;
        writer.append(record.bytes().len(), |out| {
            out.copy_from_slice(record.bytes());
            stamp(out, &stamped);
            *chain = crc32c_append(*chain, &out[CHAINED]);
        });
        self.reached.sequence += 1;
        self.records_appended += 1;
        let position = self.head;
        self.head += u64::from(record.size());
        self.flush.records_end = self.head;
        self.enter(topic, offset, position, record);
        if !self.on_disk() {
            self.set_visible(self.head);
        }
        Appended {
            offset: Offset::new(offset),
            sequence: Sequence::new(sequence),
            end: Position::new(self.head),
            epoch: Epoch::new(self.shared.epoch),
        }
    }

    fn enter(&mut self, topic: u32, offset: u64, position: u64, record: &Record<'_>) {
        let oldest = self.segments.front().map_or(0, |segment| segment.number);
        let written = Written::stamped(self.last_ms);
        let segment = self
            .segments
            .back_mut()
            .expect("the tail lies in a segment");
        segment.first.get_or_insert(written);
        segment.last = written;
        let SegmentIndex::Live(live) = &mut segment.index else {
            unreachable!("an active segment has no footer");
        };
        let live = Arc::get_mut(live).expect("an index is shared only once its segment is full");
        let topic = self.index.topic_mut(topic);
        let slot = match topic.refs.last() {
            Some(last) if last.segment == segment.number => last.slot,
            _ => {
                let slot = live.add(&topic.name);
                topic.refs.retain(|kept| kept.segment >= oldest);
                topic.refs.push(SegmentRef {
                    segment: segment.number,
                    slot,
                    first: offset,
                });
                slot
            }
        };
        topic.next = offset + u64::from(record.count());
        let at = position - segment.base;
        let place = PackedPlace::new(offset, at, record.size(), record.count());
        live.push(slot, place);
    }

    pub(crate) fn set_visible(&mut self, position: u64) {
        if position > self.shared.visible() {
            self.shared.set_visible(position);
            self.moved = true;
        }
    }

    pub(crate) fn segment_path(&self, base: u64) -> Arc<Path> {
        Arc::from(self.parts.path.join(segment_name(base)))
    }

    /// Shows readers which blocks and segments there are.
    pub(crate) fn publish(&self) {
        let blocks = self.tail.iter();
        let segments = self.segments.iter();
        self.shared.publish(Snapshot {
            blocks: blocks
                .map(|block| (block.base, Arc::downgrade(&block.block)))
                .collect(),
            segments: segments
                .map(|segment| {
                    let file = segment.file.as_ref().map_or_else(Weak::new, Arc::downgrade);
                    (segment.base, file)
                })
                .collect(),
        });
    }

    pub(crate) fn segment(&self, number: u32) -> Option<&Segment> {
        let first = self.segments.front()?.number;
        self.segments.get(number.checked_sub(first)? as usize)
    }

    pub(crate) fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        let first = self.segments.front()?.number;
        self.segments.get_mut(number.checked_sub(first)? as usize)
    }
}
