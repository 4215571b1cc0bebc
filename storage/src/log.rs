//! One log: appends into the tail, and the state that flushing, sealing, retention and look-ups share.
//!
//! An append stamps a verified record and copies it once, into the tail block. It never waits: without room it is
//! refused, and `Progress::accepting_again` says when to come back.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::record::{Record, Stamp, stamp};
use oyez_protocol::{Epoch, Offset, Position, Sequence};

use crate::disk::{Block, Map, Opened};
use crate::error::AppendError;
use crate::flush::Flush;
use crate::footer::BlockSum;
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark,
    encode_pad,
};
use crate::index::{LiveIndex, SegmentRef, TopicIndex};
use crate::options::{Durability, LogOptions, LogSpec};
use crate::place::Appended;
use crate::segment::{Segment, SegmentFile, SegmentIndex, Stage};
use crate::shared::{Shared, Snapshot};
use crate::sip::siphash13;
use crate::sys::arena::{ArenaPool, BlockWriter};
use crate::table::PackedPlace;

const BLOCK: usize = BLOCK_BYTES as usize;

/// Bytes of a stamped record that its chain link covers: the header checksum.
const CHAINED: std::ops::Range<usize> = 20..24;

/// A block of the tail.
#[derive(Debug)]
pub(crate) struct TailBlock {
    pub base: u64,
    pub block: Arc<Block>,
    /// Set when nothing more comes into it.
    pub closed: Option<Reached>,
}

/// How far the records reach at some position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Sequence of the next record.
    pub sequence: u64,
    /// Chain checksum so far.
    pub chain: u32,
}

/// The segment that comes after the active one.
#[derive(Debug)]
pub(crate) enum Spare {
    None,
    Preparing { base: u64 },
    Ready { base: u64, opened: Opened },
    Failed { retry_ms: u64 },
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
    Unlink,
    State,
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
}

pub(crate) struct Log {
    pub parts: LogParts,
    pub shared: Arc<Shared>,
    pub index: TopicIndex,
    pub segments: VecDeque<Segment>,
    pub next_number: u32,
    pub tail: VecDeque<TailBlock>,
    pub writer: Option<BlockWriter>,
    /// Position that the next frame gets; a segment's border when there is no writer.
    pub head: u64,
    pub reached: Reached,
    pub last_ms: u64,
    pub incarnation: u32,
    pub flush: Flush,
    pub spare: Spare,
    /// A written log makes its first segment when it is first wanted.
    pub spare_wanted: bool,
    pub ops: Vec<(u64, Purpose)>,
    pub next_token: u64,
    pub drain: Drain,
    pub retention: crate::retention::Retention,
    /// Footers are tried again from this time on.
    pub seal_retry_ms: u64,
    pub carried: Option<Arc<Map>>,
    pub poisoned: bool,
    /// The visible place advanced since the last turn.
    pub moved: bool,
    /// An append was refused since the last time the log said that it accepts again.
    pub refused: bool,
    pub now_ms: u64,
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
            writer: None,
            head: 0,
            reached: Reached::default(),
            last_ms: 0,
            incarnation: 0,
            flush: Flush::default(),
            spare: Spare::None,
            spare_wanted: parts.spec.durability == Durability::Synced,
            ops: Vec::with_capacity(16),
            next_token: 0,
            drain: Drain::No,
            retention: crate::retention::Retention::default(),
            seal_retry_ms: 0,
            carried: None,
            poisoned: false,
            moved: false,
            refused: false,
            now_ms: 0,
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
        now_ms: u64,
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
        if let Err(error) = self.make_room(record.size() as usize) {
            self.refused = true;
            self.spare_wanted = true;
            return Err(error);
        }
        let hash = self.hash(record.topic());
        let topic = self.index.find_or_add(hash, record.topic());
        let offset = self.index.topic(topic).next;
        self.last_ms = self.last_ms.max(now_ms & ((1 << 48) - 1));
        Ok(self.commit(record, topic, offset))
    }

    /// Appends a record of an earlier incarnation under the offset it had.
    pub(crate) fn append_again(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        self.make_room(record.size() as usize)?;
        let topic = self
            .index
            .find_or_add(self.hash(record.topic()), record.topic());
        self.last_ms = self.last_ms.max(record.timestamp_ms());
        self.commit(record, topic, record.offset().get());
        Ok(())
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
        let segment = self
            .segments
            .back_mut()
            .expect("the tail lies in a segment");
        segment.last_ms = self.last_ms;
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

    /// Whether the open block takes a frame and still has no rest that is too small for a pad.
    fn fits(&self, size: usize) -> bool {
        let Some(writer) = &self.writer else {
            return false;
        };
        let left = BLOCK - writer.block().committed();
        left == size || left >= size + PAD_HEADER_SIZE
    }

    fn make_room(&mut self, size: usize) -> Result<(), AppendError> {
        if self.fits(size) {
            return Ok(());
        }
        let base = self.next_block_base();
        let border = self
            .segments
            .back()
            .is_none_or(|segment| base >= segment.limit() || segment.stage != Stage::Active);
        if border && self.on_disk() {
            match &self.spare {
                Spare::Ready { .. } => {}
                Spare::Failed { .. } => return Err(AppendError::DiskFull),
                Spare::None | Spare::Preparing { .. } => return Err(AppendError::Busy),
            }
        }
        let writer = self.take_block().ok_or(AppendError::Busy)?;
        self.close_block();
        if border {
            self.open_segment(base);
        }
        self.open_block(writer);
        Ok(())
    }

    /// Whether [`Log::make_room`] would succeed for any record, so that refused publishers may come back.
    pub(crate) fn would_accept(&self) -> bool {
        if self.poisoned || self.drain != Drain::No {
            return false;
        }
        if self.fits(self.parts.options.limits.record_size_max as usize) {
            return true;
        }
        let base = self.next_block_base();
        let border = self
            .segments
            .back()
            .is_none_or(|segment| base >= segment.limit() || segment.stage != Stage::Active);
        let segment = !border || !self.on_disk() || matches!(self.spare, Spare::Ready { .. });
        let room = self.tail.len() < self.blocks_max() || !self.on_disk();
        segment && room && (self.parts.pool.free_blocks() > 0 || !self.on_disk())
    }

    fn next_block_base(&self) -> u64 {
        match self.tail.back() {
            Some(last) if self.writer.is_some() => last.base + BLOCK_BYTES,
            _ => self.head,
        }
    }

    fn blocks_max(&self) -> usize {
        if self.on_disk() {
            self.parts.options.tail_blocks
        } else {
            self.parts.options.memory_blocks
        }
    }

    fn take_block(&mut self) -> Option<BlockWriter> {
        if self.on_disk() {
            return (self.tail.len() < self.blocks_max())
                .then(|| self.parts.pool.take())
                .flatten();
        }
        while self.tail.len() >= self.blocks_max() {
            self.drop_oldest_block();
        }
        let taken = self.parts.pool.take();
        if taken.is_some() || self.tail.len() < 2 {
            return taken;
        }
        self.drop_oldest_block();
        self.parts.pool.take()
    }

    /// A memory log forgets its oldest block, which is also a segment of it.
    fn drop_oldest_block(&mut self) {
        self.tail.pop_front();
        self.segments.pop_front();
        let start = self.tail.front().map_or(self.head, |block| block.base);
        self.shared.set_start(start);
        self.publish();
    }

    fn close_block(&mut self) {
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let left = BLOCK - writer.block().committed();
        if left > 0 {
            writer.append(PAD_HEADER_SIZE, |out| encode_pad(left, out));
        }
        let last = self
            .tail
            .back_mut()
            .expect("the writer's block is the last");
        last.closed = Some(self.reached);
        self.head = last.base + BLOCK_BYTES;
        let file = self
            .segments
            .back()
            .and_then(|segment| segment.file.as_ref());
        if let Some(file) = file {
            let bytes = last.block.bytes(0..last.block.committed());
            let sum = BlockSum {
                crc: crc32c(bytes),
                bytes: u32::try_from(bytes.len()).expect("a block is 2 MiB"),
            };
            file.set_sum(last.base, sum);
        }
        if !self.on_disk() {
            self.set_visible(self.head);
        }
    }

    /// Makes the spare segment the active one. A memory log makes a segment of one block.
    fn open_segment(&mut self, base: u64) {
        if let Some(segment) = self.segments.back_mut()
            && segment.stage == Stage::Active
        {
            segment.stage = Stage::Full;
        }
        let spare = std::mem::replace(&mut self.spare, Spare::None);
        let (file, writing, bytes) = match spare {
            Spare::Ready { base: at, opened } if self.on_disk() => {
                debug_assert_eq!(at, base);
                let path = self.segment_path(base);
                let file = SegmentFile::new(base, path, opened.map, Vec::new());
                let bytes = file.bytes;
                (Some(Arc::new(file)), Some(opened.file), bytes)
            }
            _ => (None, None, BLOCK_BYTES),
        };
        let segment = Segment {
            number: self.next_number,
            base,
            bytes,
            incarnation: self.incarnation,
            first_sequence: self.reached.sequence,
            index: SegmentIndex::Live(Arc::new(LiveIndex::default())),
            file,
            writing,
            stage: Stage::Active,
            last_ms: self.last_ms,
        };
        self.push_segment(segment);
    }

    pub(crate) fn push_segment(&mut self, segment: Segment) {
        self.next_number = segment.number + 1;
        if self.segments.is_empty() {
            self.shared.set_start(segment.base);
        }
        self.segments.push_back(segment);
    }

    fn open_block(&mut self, mut writer: BlockWriter) {
        let header = BlockHeader {
            log: self.parts.spec.id.get(),
            incarnation: self.incarnation,
            chain: self.reached.chain,
            number: self.head / BLOCK_BYTES,
            first_sequence: self.reached.sequence,
            timestamp_ms: self.last_ms,
            dir_id: self.parts.dir_id,
        };
        writer.append(BLOCK_HEADER_SIZE, |out| header.encode(out));
        self.adopt_block(writer, self.head);
        self.head += BLOCK_HEADER_SIZE as u64;
        self.publish();
    }

    pub(crate) fn adopt_block(&mut self, writer: BlockWriter, base: u64) {
        self.tail.push_back(TailBlock {
            base,
            block: Arc::clone(writer.block()),
            closed: None,
        });
        self.writer = Some(writer);
    }

    /// Appends a sync mark if the open block has room; without room the next mark does.
    pub(crate) fn mark(&mut self, position: u64, synced: Reached) {
        if !self.fits(SYNC_MARK_SIZE) {
            return;
        }
        let mark = SyncMark {
            chain: synced.chain,
            sequence: synced.sequence,
            position,
            incarnation: self.incarnation,
        };
        let writer = self.writer.as_mut().expect("there is room in it");
        writer.append(SYNC_MARK_SIZE, |out| mark.encode(out));
        self.head += SYNC_MARK_SIZE as u64;
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

/// Name of the segment at a base position.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:016x}.seg")
}

/// Name of its footer.
pub(crate) fn footer_name(base: u64) -> String {
    format!("{base:016x}.idx")
}
