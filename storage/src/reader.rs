//! Reading a log, in any shard: from the arena while the bytes are there, else from the mapped segments, never above the
//! visible position.
//!
//! A reader keeps its own snapshot and a few windows: `Bytes` over the committed part of a block. Reads return slices of
//! them, so a read inside a known window allocates nothing. Windows pin their blocks until [`LogReader::release`] is called
//! at the end of a turn.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, LogId, Position};

use crate::disk::Block;
use crate::error::ReadError;
use crate::format::{BLOCK_BYTES, block_start};
use crate::options::Durability;
use crate::segment::SegmentFile;
use crate::shared_log::{SharedLog, Snapshot};
use crate::values::Place;

/// Windows that a reader keeps; a turn rarely reads more blocks of one log.
const WINDOWS_MAX: usize = 4;

/// The result of a read.
#[derive(Debug)]
pub enum Read {
    /// The bytes. They must not outlive the turn. If [`LogReader::is_mapped`], they may turn out to be missing when they
    /// are used: a copy into a socket falls short or fails, and code that reads them sees zeroes.
    /// [`LogReader::recheck`] finds out.
    Ready(Bytes),
    /// The bytes may not be in memory: populate this range, then read again.
    Cold(ColdRange),
}

/// A block of a segment that may not be in memory. Any shard's store can populate it.
#[derive(Clone, Debug)]
pub struct ColdRange {
    pub(crate) file: Arc<SegmentFile>,
    /// First position of the block.
    pub(crate) block: u64,
}

/// A range of a segment file, for `sendfile`.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The segment, whose path never names two different files.
    file: Arc<SegmentFile>,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

impl FileRange {
    /// The segment's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// Segment files that one shard holds open; the least recently used is closed first. A descriptor is valid only in the
/// thread that opened it, so this value stays there.
#[derive(Debug)]
pub struct SegmentFiles {
    files: HashMap<Arc<Path>, (File, u64)>,
    files_max: usize,
    uses: u64,
    _not_send: PhantomData<*const ()>,
}

impl SegmentFiles {
    /// Keeps at most `files_max` files open, at least one.
    #[must_use]
    pub fn new(files_max: usize) -> Self {
        Self {
            files: HashMap::new(),
            files_max: files_max.max(1),
            uses: 0,
            _not_send: PhantomData,
        }
    }

    /// Whether no file is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Closes all files. A file that retention has removed keeps its disk space until it is closed.
    pub fn clear(&mut self) {
        self.files.clear();
    }

    /// The file of a range.
    ///
    /// # Errors
    /// The kernel's; `NotFound` when retention has removed the file.
    pub fn open(&mut self, range: &FileRange) -> io::Result<BorrowedFd<'_>> {
        self.uses += 1;
        let path = &range.file.path;
        if !self.files.contains_key(path) {
            if self.files.len() >= self.files_max {
                let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used);
                let oldest = oldest.map(|(path, _)| Arc::clone(path));
                oldest.map(|path| self.files.remove(&path));
            }
            let file = match range.file.map.memory() {
                Some(memory) => memory.try_clone()?,
                None => File::open(path)?,
            };
            self.files.insert(Arc::clone(path), (file, self.uses));
        }
        let entry = self
            .files
            .get_mut(path)
            .expect("it was found or inserted above");
        entry.1 = self.uses;
        Ok(entry.0.as_fd())
    }
}

/// Bytes of one block that were committed when the window was made.
#[derive(Clone, Debug)]
struct Window {
    /// First position of the block.
    base: u64,
    bytes: Bytes,
    /// Set when the bytes are a map's.
    file: Option<Arc<SegmentFile>>,
}

impl Window {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }
}

struct OwnedBlock {
    block: Arc<Block>,
    len: usize,
}

impl AsRef<[u8]> for OwnedBlock {
    fn as_ref(&self) -> &[u8] {
        self.block.bytes(0..self.len)
    }
}

struct OwnedRange {
    file: Arc<SegmentFile>,
    from: u64,
    to: u64,
}

impl AsRef<[u8]> for OwnedRange {
    fn as_ref(&self) -> &[u8] {
        self.file.bytes_at(self.from, self.to)
    }
}

/// Where the bytes of a position are.
enum Source {
    Arena(Arc<Block>),
    File(Arc<SegmentFile>),
}

/// Reads one log; one clone for each shard.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<SharedLog>,
    generation: u64,
    snapshot: Arc<Snapshot>,
    windows: Vec<Window>,
    /// The window to be replaced next.
    victim: usize,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<SharedLog>) -> Self {
        let generation = shared.generation();
        Self {
            generation,
            snapshot: shared.snapshot(),
            shared,
            windows: Vec::with_capacity(WINDOWS_MAX),
            victim: 0,
        }
    }

    /// The log's number.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.shared.spec.id
    }

    /// The log's durability.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.shared.spec.durability
    }

    /// The log's epoch; it does not change while the store is open.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch::new(self.shared.epoch)
    }

    /// The position below which everything may be delivered and acknowledged.
    #[must_use]
    pub fn visible(&self) -> Position {
        Position::new(self.shared.visible())
    }

    /// The oldest position kept.
    #[must_use]
    pub fn earliest(&self) -> Position {
        Position::new(self.shared.start())
    }

    /// Calls `f` with the place, topic and timestamp (milliseconds since the Unix epoch) of every record from `from` on, in
    /// order, up to the visible position, at most `records_max` of them. Skips marks, gaps and what retention has removed.
    /// Returns the position to go on from.
    ///
    /// It reads headers and topics only, from the arena if possible; a walk through old segments may wait for the disk.
    pub fn walk(
        &mut self,
        from: Position,
        records_max: usize,
        mut f: impl FnMut(Place, &str, u64),
    ) -> Position {
        let visible = self.shared.visible();
        let mut at = from.get().max(self.shared.start());
        let mut left = records_max;
        while at < visible && left > 0 {
            let block = block_start(at);
            at = match self.source(at) {
                Some(Source::Arena(source)) => {
                    let limit = visible.min(block + source.committed() as u64);
                    let bytes = source.bytes(0..usize_of(limit - block));
                    let walked = walk_block(bytes, at..visible, &mut left, || true, &mut f);
                    walked.unwrap_or(visible.min(block + BLOCK_BYTES))
                }
                Some(Source::File(file)) => self.walk_file(&file, at, visible, &mut left, &mut f),
                None => self.next_known(at, visible),
            };
        }
        Position::new(at.min(visible).max(from.get()))
    }

    fn walk_file(
        &self,
        file: &SegmentFile,
        at: u64,
        visible: u64,
        left: &mut usize,
        f: &mut impl FnMut(Place, &str, u64),
    ) -> u64 {
        if at >= file.end() {
            return self.next_known(at, visible);
        }
        let gap = |gap: &&crate::values::Gap| gap.to.get() > at;
        let gap = file.gaps.iter().find(gap);
        if let Some(gap) = gap.filter(|gap| gap.from.get() <= at) {
            return gap.to.get();
        }
        let block = block_start(at);
        let limit = visible.min(file.end()).min(block + BLOCK_BYTES);
        let limit = gap.map_or(limit, |gap| limit.min(gap.from.get()));
        let is_there = || !file.is_unreadable(block, limit);
        let bytes = file.bytes_at(block, limit);
        match walk_block(bytes, at..limit, left, is_there, f) {
            Some(next) if is_there() => next,
            // Frames that break off mean that bytes are missing or were changed.
            _ => {
                file.set_warm(block, 0);
                limit
            }
        }
    }

    /// The next position above `at` that a block or segment covers.
    fn next_known(&self, at: u64, visible: u64) -> u64 {
        let above = |list: Option<u64>| list.unwrap_or(visible);
        let segments = &self.snapshot.segments;
        let segment = segments.partition_point(|(base, _)| *base <= at);
        let blocks = &self.snapshot.blocks;
        let block = blocks.partition_point(|(base, _)| *base <= at);
        above(segments.get(segment).map(|(base, _)| *base))
            .min(above(blocks.get(block).map(|(base, _)| *base)))
            .max(self.shared.start())
    }

    /// The bytes of a range inside one block.
    ///
    /// # Errors
    /// When the range was dropped, is damaged, or is not a visible range of one block.
    pub fn read(&mut self, position: Position, len: u32) -> Result<Read, ReadError> {
        self.read_as(position, len, true)
    }

    /// The first bytes of a record. If other bytes of its block are damaged, only the whole record shows whether it is sound:
    /// read that, too, before using these.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn read_front(&mut self, position: Position, len: u32) -> Result<Read, ReadError> {
        self.read_as(position, len, false)
    }

    fn read_as(&mut self, position: Position, len: u32, is_whole: bool) -> Result<Read, ReadError> {
        let from = position.get();
        let to = from + u64::from(len);
        self.check_range(from, to)?;
        let block = block_start(from);
        let known = self
            .windows
            .iter()
            .position(|window| window.base == block && to <= window.end());
        let known = match known {
            Some(known) => known,
            None => match self.source(from) {
                Some(source) => self.open_window(block, to, source)?,
                None => return Err(ReadError::Dropped),
            },
        };
        let window = &self.windows[known];
        if let Some(file) = &window.file {
            if file.is_damaged(from, to) {
                return Err(ReadError::Damaged);
            }
            let unreadable = file.is_unreadable(from, to);
            if unreadable || file.is_doubtful(from) {
                let sound = !is_whole || file.holds_records(from, to, self.shared.spec.id);
                if !sound && !planted(Bug::ServesTheDoubtful) {
                    return Err(ReadError::Damaged);
                }
            } else if !file.is_warm(from, self.shared.pool.clock_ms()) {
                let file = Arc::clone(file);
                return Ok(Read::Cold(ColdRange { file, block }));
            }
        }
        let range = usize_of(from - block)..usize_of(to - block);
        Ok(Read::Ready(window.bytes.slice(range)))
    }

    /// The range of a segment file that holds these bytes, if they are surely in memory, so that `sendfile` does not wait for
    /// the disk. The bytes of the file in that range never change.
    pub fn file_range(&mut self, position: Position, len: u32) -> Option<FileRange> {
        let from = position.get();
        let to = from + u64::from(len);
        self.check_range(from, to).ok()?;
        let file = self.file(from)?;
        let unreadable = file.is_unreadable(from, to) || file.is_doubtful(from);
        let sound = !unreadable && !file.is_damaged(from, to) && to <= file.end();
        (sound && file.is_warm(from, self.shared.pool.clock_ms())).then(|| FileRange {
            offset: from - file.base,
            file,
            len,
        })
    }

    /// Whether the bytes that [`LogReader::read`] returned for a range lie in a map, where they may turn out to be missing.
    /// False for a range that this turn has not read.
    #[must_use]
    pub fn is_mapped(&self, position: Position) -> bool {
        let block = block_start(position.get());
        let mut windows = self.windows.iter();
        windows.any(|window| window.base == block && window.file.is_some())
    }

    /// Whether the record that [`LogReader::read`] returned was verified by itself only, as its block differs from what was
    /// written: the record is whole, but may be another one.
    #[must_use]
    pub fn is_doubtful(&self, position: Position) -> bool {
        let block = block_start(position.get());
        let mut windows = self.windows.iter();
        let window = windows.find(|window| window.base == block);
        let file = window.and_then(|window| window.file.as_ref());
        file.is_some_and(|file| file.is_doubtful(position.get()))
    }

    /// Checks whether the bytes of a range inside one block are still there, after using them has failed. May wait for the
    /// disk.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if bytes are missing: reads of the range fail from then on. Otherwise as [`LogReader::read`].
    pub fn recheck(&mut self, position: Position, len: u32) -> Result<(), ReadError> {
        let from = position.get();
        let to = from + u64::from(len);
        self.check_range(from, to)?;
        match self.source(from) {
            None => Err(ReadError::Dropped),
            Some(Source::Arena(_)) => Ok(()),
            Some(Source::File(file)) => {
                // A failure for another reason than missing bytes changes nothing.
                file.populate(from, to);
                let doubtful = file.is_unreadable(from, to) || file.is_doubtful(from);
                let missing = || !file.holds_records(from, to, self.shared.spec.id);
                if file.is_damaged(from, to) || doubtful && missing() {
                    return Err(ReadError::Damaged);
                }
                Ok(())
            }
        }
    }

    /// Notes that bytes of the block at `position` are not in the segment's file any more, as a `sendfile` of a
    /// [`LogReader::file_range`] has found.
    pub fn give_up(&mut self, position: Position) {
        if let Some(file) = self.file(position.get()) {
            file.doubt(position.get());
        }
    }

    /// Unpins the blocks and maps that reads used. Call it at the end of each turn; otherwise an idle shard keeps blocks of
    /// the arena from being used again.
    pub fn release(&mut self) {
        self.windows.clear();
        self.victim = 0;
    }

    fn check_range(&self, from: u64, to: u64) -> Result<(), ReadError> {
        if from < self.shared.start() {
            return Err(ReadError::Dropped);
        }
        let one_block = from < to && block_start(from) == block_start(to - 1);
        if to > self.shared.visible() || !one_block {
            return Err(ReadError::Unreadable);
        }
        Ok(())
    }

    fn open_window(&mut self, block: u64, to: u64, source: Source) -> Result<usize, ReadError> {
        let window = match source {
            Source::Arena(source) => {
                let len = source.committed();
                Window {
                    base: block,
                    bytes: Bytes::from_owner(OwnedBlock { block: source, len }),
                    file: None,
                }
            }
            Source::File(file) => {
                let end = file
                    .end()
                    .min(block + BLOCK_BYTES)
                    .min(self.shared.visible());
                let owned = OwnedRange {
                    file: Arc::clone(&file),
                    from: block,
                    to: end,
                };
                Window {
                    base: block,
                    bytes: Bytes::from_owner(owned),
                    file: Some(file),
                }
            }
        };
        if to > window.end() {
            return Err(ReadError::Unreadable);
        }
        let same = self.windows.iter().position(|other| other.base == block);
        let slot = match same {
            Some(slot) => slot,
            None if self.windows.len() < WINDOWS_MAX => {
                self.windows.push(window);
                return Ok(self.windows.len() - 1);
            }
            None => {
                self.victim = (self.victim + 1) % WINDOWS_MAX;
                self.victim
            }
        };
        self.windows[slot] = window;
        Ok(slot)
    }

    fn refresh(&mut self) -> bool {
        let generation = self.shared.generation();
        if generation == self.generation {
            return false;
        }
        self.generation = generation;
        self.snapshot = self.shared.snapshot();
        true
    }

    fn source(&mut self, at: u64) -> Option<Source> {
        loop {
            if let Some(block) = self.block(at) {
                return Some(Source::Arena(block));
            }
            self.shared.miss();
            // A block that is newer than the snapshot must not be read from a map that the disk is still writing.
            if self.refresh() {
                continue;
            }
            return self.segment(at).map(Source::File);
        }
    }

    fn block(&self, at: u64) -> Option<Arc<Block>> {
        let blocks = &self.snapshot.blocks;
        let found = blocks.binary_search_by_key(&block_start(at), |(base, _)| *base);
        blocks[found.ok()?].1.upgrade()
    }

    fn segment(&self, at: u64) -> Option<Arc<SegmentFile>> {
        let segments = &self.snapshot.segments;
        let after = segments.partition_point(|(base, _)| *base <= at);
        let file = segments[after.checked_sub(1)?].1.upgrade()?;
        (at < file.limit()).then_some(file)
    }

    fn file(&mut self, at: u64) -> Option<Arc<SegmentFile>> {
        self.refresh();
        self.segment(at)
    }
}

/// Walks the frames of a block in a range; `bytes` are the block's up to where it may be read. Asks `is_there` before it
/// uses a record. Returns the position to go on from; `None` if the frames are not sound.
fn walk_block(
    bytes: &[u8],
    range: Range<u64>,
    left: &mut usize,
    is_there: impl Fn() -> bool,
    f: &mut impl FnMut(Place, &str, u64),
) -> Option<u64> {
    let mut at = range.start;
    let block = block_start(at);
    while *left > 0 {
        let rest = &bytes[usize_of(at - block).min(bytes.len())..];
        let Some(head) = FrameHead::parse(rest) else {
            return Some(range.end.min(block + BLOCK_BYTES));
        };
        let head = head.ok()?;
        let size = head.size as usize;
        if head.kind == kind::PAD {
            return Some(range.end.min(block + BLOCK_BYTES));
        }
        let frame = rest.get(..size)?;
        if head.kind == kind::RECORD {
            let record = Record::trusted(frame)?;
            let (place, topic) = (place_of(&record, at), record.topic());
            if !is_there() {
                return None;
            }
            f(place, topic, record.timestamp_ms());
            *left -= 1;
        }
        at += u64::from(head.size);
    }
    Some(at)
}

fn place_of(record: &Record<'_>, position: u64) -> Place {
    Place {
        first: record.offset(),
        next: record.offset().plus(u64::from(record.count())),
        position: Position::new(position),
        size: record.size(),
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a place within a block")
}
