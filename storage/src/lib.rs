//! The Oyez log on disk: append-only logs of records, flushed behind the event loop's back, read where they are stored.
//!
//! A [`Store`] belongs to one shard and owns some logs; a [`LogReader`] of a log can be cloned into every shard. Nothing
//! here knows sockets or sessions. Time is an argument, and the kernel is behind [`Disk`], so that everything can run
//! from a seed on a [`MemoryDisk`].
//!
//! # Architecture
//!
//! ```text
//!  append -> tail block (arena) -> one WRITE with its sync per log -> segment file, mapped read-only
//!              |  commit            |  completions, in `Store::pump`      |
//!              v                    v                                     v
//!           head             written, synced -> visible               LogReader::{walk, read, file_range}
//! ```
//!
//! - `log` appends and keeps the index; `tail` has the blocks; `flush` moves `written`, `synced` and `visible`; `seal` prepares and closes
//!   segments and drains; `retention` drops them, `age` says which are too old; `clock` decides what records are stamped
//!   with; `lookup` answers questions about topics.
//! - `survey` looks into a directory, `scan` reads a block believing nothing, `recovery` puts blocks together, `open`
//!   decides where the log goes on, with the segments that `attach` takes in.
//! - `shared` and `segment` are what shards share: atomics, and a snapshot of weak references that is replaced when a
//!   block or a segment comes or goes. Appends never lock. An idle reader keeps neither memory nor disk space, if
//!   [`LogReader::release`] is called at the end of a turn.
//! - `disk` is the seam. `sys` has the ring, the thread that stands in for it, maps and the arena, and all `unsafe`.
//!
//! **Visible.** `memory`: what is appended. `written`: what a completed write covers. `synced`: what a sync covers that
//! started after the write had completed. A record is acknowledged and delivered when [`Appended::end`] is at or below
//! the visible place, never before.
//!
//! **Syncs.** A write syncs its own range, in one operation, where nothing below the range waits for a sync: so does each
//! write of a log whose records come one after the other. Otherwise a sync of the file follows it.
//!
//! **Descriptors.** Nothing that is shared between threads holds a descriptor. A disk's files belong to the shard (and
//! the threads that the disk starts, which share its table); [`SegmentFiles`] opens files for `sendfile` in each shard;
//! [`DirLock`] stays in the thread that opened the [`DataDir`].
//!
//! # Files
//!
//! All numbers are little-endian. Every file but a segment carries at 12 the CRC-32C of itself with that field as zero,
//! and at 8 the format version, 1. Files are replaced by writing `NAME.new`, syncing, renaming and syncing the directory.
//!
//! ```text
//! LOCK                        locked (flock) while a broker runs; holds its process id in decimal
//! meta                        48 bytes
//! written-N/, synced-N/       one directory per log; N counts from 0 within a durability
//!   state                     88 bytes
//!   carried                   topics whose records are all gone
//!   PPPPPPPPPPPPPPPP.seg      segment; P = base position in hexadecimal
//!   PPPPPPPPPPPPPPPP.idx      its footer, once it is sealed
//! ```
//!
//! Memory logs have no directory. Logs are numbered in one space: memory, written, synced. A topic's log is
//! SipHash-1-3 of its name under the key, modulo the logs per durability.
//!
//! ```text
//! meta      0 "OYEZDIR1"   8 u32 version   12 u32 crc   16 u64 directory id   24 u64[2] key
//!          40 u16 logs per durability   42 zero
//!
//! state     0 "OYEZLOG1"   8 u32 version   12 u32 crc   16 u64 epoch   24 u32 incarnation   28 u16 log
//!          30 u8 clean   31 zero   32 u128 boot id   48 u64 end position   56 u64 next sequence
//!          64 u64 last timestamp   72 u64 directory id   80 u32 chain at the end   84 zero
//!
//! carried   0 "OYEZTOP1"   8 u32 version   12 u32 crc   16 u64 topics
//!          24 per topic, sorted: u64 next offset, u8 name size, name
//! ```
//!
//! # Segments
//!
//! A segment is a whole number of 2 MiB blocks, written with zeroes and synced before it gets its name, and never
//! overwritten with other bytes, truncated or punched. Its blocks hold frames, each a multiple of 8 bytes with the protocol's first
//! eight bytes (`u32 size, u8 kind, u8 flags, u16 aux`): a block header, then records and sync marks, then a pad
//! unless the block is exactly full. No frame crosses a block, and no frame leaves less than 16 bytes of a block free
//! unless it leaves none. Marks keep the protocol's frame checksum at 8.
//!
//! ```text
//! block header   0 u32 64   4 u8 0x82   5 u8 0   6 u16 1 (version)   8 u32 crc   12 u16 log   14 zero
//!               16 "OYEZBLK1"   24 u32 incarnation   28 u32 chain   32 u64 position / 2 MiB
//!               40 u64 first sequence   48 u64 timestamp of the record before   56 u64 directory id
//!
//! sync mark      0 u32 40   4 u8 0x81   5 zero   8 u32 crc   12 u32 chain   16 u64 sequence
//!               24 u64 position   32 u32 incarnation   36 zero
//!               every record below the sequence, and every byte below the position, is durable
//!
//! pad            0 u32 rest of the block   4 u8 0x80   5 zero   8 u32 crc of the first 16 bytes   12 zero
//! ```
//!
//! A mark lies after the records that were appended while its sync ran, if any were, and always before the next ones. It
//! is written and synced along with these; when none have come for 5 ms it is written alone and not synced, and the next
//! write that syncs only its range begins with it again, the same bytes. So the newest mark in the kernel's hands names
//! all that was acknowledged until 5 ms ago; the newest durable one may lack what the last sync covered, as the mark
//! of a sync cannot be part of it.
//!
//! Timestamps do not go back, except where a record was stamped more than an hour ahead of the clock that stamps the
//! next one: the clock was wrong then, and is followed again. A segment that is not full is left when its oldest record
//! is too old for a log that keeps records for a time: its last block ends in a pad, what follows of it stays zero, and
//! the next segment begins with a block header, which is synced without waiting for a record.
//!
//! The chain is the CRC-32C over the `header_crc` fields of all records of the incarnation so far: a mark whose chain
//! does not fit says that a record before it is not the one that was written.
//!
//! Resynchronisation after damage happens at block headers and by footers only, with one exception inside a block: a
//! record with a sound header and a damaged body is stepped over by the size that its header checksum protects.
//!
//! # Footers
//!
//! ```text
//!   0 "OYEZIDX1"   8 u32 version   12 u32 crc   16 u16 log   18 zero   20 u32 incarnation   24 u64 base
//!  32 u64 end   40 u64 segment bytes   48 u64 first sequence   56 u64 next sequence
//!  64 u64 last timestamp   72 u64 directory id
//!  80 u32 blocks   84 u32 gaps   88 u32 topics   92 u32 bytes of names   96 u32 places   100 zero
//! 112 per block: u32 CRC-32C of the used bytes, u32 used bytes
//!     per gap: u64 from, u64 to (positions), u64 first sequence missing, u64 next sequence
//!     per topic: u32 name at, u16 name size, u16 zero, u32 first place, u32 places, u64 bytes, u64 next offset
//!     names, then zeroes to a multiple of 8
//!     per place: u64 offset, u64 packed: place in the segment / 8 (27 bits), size / 8 (18), messages (16)
//! ```
//!
//! Topics stand in the order in which they came into the segment: that row number is what the log's index holds, before
//! and after sealing, so that sealing sorts nothing. A footer is written when its segment is durable.
//!
//! # Opening
//!
//! 1. Segments of a later incarnation than the state file's are copies that an interrupted recovery left; they go if they
//!    hold nothing that the others lack. Otherwise the state file is not the log's latest, and they stay.
//! 2. Footers are taken; segments without an intact one are scanned. Records at or above the next segment's first
//!    sequence were copied there and are passed over.
//!    A sealed segment that begins later than the one before it ends is scanned too: its new footer tells of the gap.
//!    Of a segment that is not whole blocks those that are whole are read; the file stays, and the epoch is new.
//! 3. The highest sequence in any mark, footer or the state file was acknowledged. A record missing below it is a gap,
//!    reported and never served; a record missing above it is where the log is cut. What looks like a mark behind a
//!    broken frame proves nothing, a payload may look so too, but it makes the cut a reported loss.
//!    Records of the last sync before a crash may be acknowledged with no mark to say so. They are kept like all that
//!    is valid; only if the medium has damaged them as well are they cut without being counted as lost.
//! 4. After a drain the log goes on where it ended. Otherwise a new segment of a new incarnation begins: a synced log
//!    copies records there that no mark covers, and syncs them, since they may be in the page cache alone; a written log, whose promise is the kernel's memory,
//!    syncs its old segments in place. Then the state file commits, and what was superseded is removed.
//! 5. The epoch is new when records are missing that were, or may have been, acknowledged; for a written log also when
//!    the machine went down with it open (another boot id); for a memory log always.

mod age;
mod attach;
mod clock;
mod dir;
mod disk;
mod error;
mod flush;
mod footer;
mod format;
mod index;
mod log;
mod lookup;
mod memory_disk;
mod moment;
mod open;
mod options;
mod place;
mod reader;
mod recovery;
mod retention;
mod scan;
mod seal;
mod segment;
mod shared;
mod sip;
mod state;
mod store;
mod survey;
#[expect(
    unsafe_code,
    reason = "memory maps, the arena and io_uring have no safe interface"
)]
mod sys;
mod table;
mod tail;
mod trouble;

pub use clock::ClockWasAhead;
pub use dir::{DataDir, DirLock, LOGS_PER_DURABILITY_MAX};
pub use disk::{
    Block, BlockRange, Completion, Content, Disk, DiskChoice, Entry, FileId, Map, OpenDisk, Opened,
    Outcome, WriteSync, open_disk, probe_uring,
};
pub use error::*;
pub use format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, FORMAT_VERSION, PAD_HEADER_SIZE, SYNC_MARK_SIZE};
pub use memory_disk::{Call, Fault, MemoryDisk, Step};
pub use moment::Moment;
pub use options::*;
pub use place::*;
pub use reader::{ColdRange, FileRange, LogReader, Read, SegmentFiles};
pub use store::Store;
pub use sys::arena::{ArenaOptions, ArenaPool};
pub use trouble::{Attempt, Mended, Trouble};
