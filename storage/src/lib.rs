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
//! A log is made of parts that own their data; `log` owns the parts and calls them in order. What needs several of them
//! borrows those and no others, for one call. Imports have no circles: nothing below `log` knows it.
//!
//! - Parts: `tail` has the blocks, `segments` the segments and the `index` of the one that takes appends, `supply` the
//!   segment that comes next, `flush` what is on its way to the disk and what that has covered, `retention` what is
//!   dropped, `age` what is too old (by when it was `written`), `clock` what records are stamped with, `commit` the state
//!   file, `operations` what the disk has not ended yet, `health` what fails, by `streaks` of `trouble`, `shown` what
//!   readers see, `discards` what is to be freed, `drain` how far the end has come, `fixed` what never changes.
//! - Borrowers: `room` makes room for a record, `prepare` makes the next segment, `carry` starts
//!   writes and syncs, `seal` makes full segments durable and
//!   writes their footers; `lookup` answers questions about topics, and `topics` lists them, in the `order` of their
//!   names.
//! - Opening: `survey` looks into a directory (by `names` and `listing`; `strays` get their names back) and judges by its
//!   `findings` and by what earlier starts have `told`, `scan` reads a block believing nothing, by its `frames`, with `search` behind damage, `recovery` puts
//!   blocks together, `open` decides on the epoch, and `rebuild` on where the log goes on, with the parts and segments
//!   that `attach` has.
//! - `shared` and `segment` are what shards share: atomics, and a snapshot of weak references that is replaced when a
//!   block or a segment comes or goes. Appends never lock. An idle reader keeps neither memory nor disk space, if
//!   [`LogReader::release`] is called at the end of a turn.
//! - `disk` is the seam, and `choice` picks what is behind it. `sys` has the ring, the thread that stands in for it, maps
//!   with their guard, the arena, and all `unsafe`.
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
//! which is checked before anything else in the file means something, and at 8 the format version: 2. Version 1 is read as
//! well; a log's state is written in version 2 from the first start on, which older brokers refuse. Files are replaced by
//! writing `NAME.new`, syncing, renaming and syncing the directory; the two states are written over in place instead, one
//! after the other, each with a sync, which needs no free space.
//!
//! ```text
//! LOCK                        locked (flock) while a broker runs; holds its process id in decimal
//! meta, meta.copy             48 bytes, alike: what the whole directory depends on
//! written-N/, synced-N/       one directory per log; N counts from 0 within a durability
//!   state, state.copy         512 bytes, alike but for the moment between two writes: the higher generation holds
//!   carried                   topics whose records are all gone
//!   PPPPPPPPPPPPPPPP.seg      segment; P = base position in hexadecimal
//!   PPPPPPPPPPPPPPPP.idx      its footer, once it is sealed
//!   NAME.damaged-N            a file that recovery could not read as what its name says, for the operator to look at
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
//!          88 u64 generation   96 u64 floor position   104 u64 floor sequence
//!         112 twice: u64 base, u64 bytes of a segment file (0 = none)   144 u64 generation of carried (0 = none)
//!         152 u64 fingerprint of the data directory
//!         160 20 times: u64 sequence of the first record of a known loss, u64 of the one behind it;
//!             or 2^63 + u64 position of the first of missing bytes, u64 of the one behind them
//!         480 zero         (version 1 ends at 88)
//!
//! carried   0 "OYEZTOP1"   8 u32 version   12 u32 crc   16 u64 topics   24 u64 generation (not in version 1)
//!          32 per topic, sorted: u64 next offset, u8 name size, name
//! ```
//!
//! The state is written when the log is opened, when a segment was made and before it is used, when something in it is
//! first acknowledged, when retention has moved the floor and before it removes a file, and at the end of a drain. Then
//! end, sequence and chain are those of the log's end; at other times everything below end and sequence is acknowledged.
//! The fingerprint is the directory's inode number and time of birth, so that a copy is noticed.
//! A loss that the state names was told by the start that found it; that start's new footers remember it. So it is with
//! bytes that were missing where nothing told which records they held.
//! A log begins at its floor: what is missing above it is lost, not retained. The segments that the state names, the one
//! in use and the one after it, must be there in full length.
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
//!               every record below the sequence, and every byte below the position, is durable;
//!               in a written log: in the kernel's hands
//!
//! pad            0 u32 rest of the block   4 u8 0x80   5 zero   8 u32 crc of the first 16 bytes   12 zero
//! ```
//!
//! A mark lies after the records that were appended while its sync, or in a written log its write, ran, if any were, and
//! always before the next ones. It is written along with these; when none have come for 5 ms it is written alone and not
//! synced, and the next write that syncs only its range begins with it again, the same bytes. So the newest mark in the
//! kernel's hands names all that was acknowledged until 5 ms ago; the newest durable one may lack what the last sync
//! covered, as the mark of a sync cannot be part of it.
//!
//! Timestamps do not go back, except where a record was stamped more than an hour ahead of the clock that stamps the
//! next one: the clock was wrong then, and is followed again. A segment that is not full is left when its oldest record
//! is too old for a log that keeps records for a time: its last block ends in a pad, what follows of it stays zero, and
//! the next segment begins with a block header, which is synced without waiting for a record.
//!
//! The chain is the CRC-32C over the `header_crc` fields of all records of the incarnation so far: a mark whose chain
//! does not fit says that a record before it is not the one that was written.
//!
//! Where a frame cannot be read, the next one is looked for at every multiple of 8 behind it: a mark, a pad, or a record
//! that verifies as a whole, is of the log and the incarnation, and has a sequence that the bytes in between have room
//! for, past the one that was expected there. So a damaged record, mark or block header hides itself and nothing else.
//! A header that is of the log and says another place came by a write that went astray: what belongs to it there is passed
//! over, and a block without a header of its own holds no sequence that the blocks before it have reached. A
//! publisher who knows the log's number, incarnation and next sequence could put such a record into a payload; it would
//! take damage to the head of just that record, and to more than that, for the counterfeit to be seen.
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
//! # Memory
//!
//! Footers are in memory as they are on disk, so that a look-up meets no page that cannot be had. Per log there are:
//! for each record that is kept 16 bytes; for each topic in each segment 48 bytes and its name; for each block of a
//! segment 24 bytes; for each topic about 100 bytes and its name, and 9 bytes and its name once more when retention has
//! removed a record of it. *Records of 200 bytes: 8 % of what is kept; of 4 KiB: 0.4 %.*
//!
//! Segments are mapped. A read through a map may find that its page is gone, because the file was cut or the medium
//! fails: it finds zeroes then, and the block counts as damaged from there on.
//!
//! # Opening
//!
//! 1. Segments that stand under each other's names get their own back, if more than a page of what their headers say
//!    follows these. Footers are taken where the segment has the length
//!    that they tell; other segments are scanned, as long as they are. A sector that cannot be read counts as damage, and
//!    the end of a file that was cut inside a block, unless the segment has a footer, which tells what they held.
//! 2. Segments of a later incarnation than the state's are copies that an interrupted recovery of version 1 left; they go
//!    if they hold nothing that the others lack. Otherwise the state is not the log's latest: they stay, the epoch is new.
//!    Where a later block or segment begins with some sequence, records from it on in earlier ones are passed over.
//! 3. The highest sequence in any mark, footer or the state was acknowledged; in a written log so was every record that is
//!    there, since what was written later was written after it. A record missing below is lost: a gap, reported and never
//!    served, and the epoch is new. What is whole behind it is served. A record missing above is where the log is cut: the
//!    pages of one write that did not complete are there or not in any order, and nothing of it was promised.
//!    Records of the last sync before a crash may be acknowledged with no mark to say so. They are kept like all that
//!    is valid; only if the medium has damaged them as well are they cut without being counted as lost.
//! 4. Something may be lost, and the epoch is new, also when a segment that the state names is missing or shorter than it
//!    was, when `carried` or both states cannot be read, or when a segment holds nothing that can be read although
//!    something in it was acknowledged. A log that is there from its first byte begins with sequence 0. A topic whose first
//!    records lie in a gap keeps its beginning: a subscriber that starts there is told of the gap. A segment was never used
//!    if it holds only zeroes and lies at or above the state's end. What is lost or missing is told once: not again where a
//!    footer tells it, or the state of the last start.
//! 5. After a drain the log goes on where it ended. Otherwise a new incarnation begins, in the first block that was never
//!    written to, of the segment that the log was in: an unclean stop costs at most a block. If that segment lacks records,
//!    could not be read in places, or is full, a new one begins, and it gets a footer that remembers the gaps. A synced log
//!    first writes records again that nothing proves to be durable, the same bytes to the same place, and syncs them: they
//!    may be in the page cache alone, and the kernel reports a failure to write them out only once.
//! 6. Then the state commits. Only then are files set aside that could not be read, and files removed that are blank and
//!    of no use, or that retention or an interrupted recovery left. Nothing else is ever removed.
//! 7. The epoch is new, too, for a written log when the machine went down with it open (another boot id), for a memory log
//!    always, and for every log when the operator says that the directory was put back from a copy.
//!
//! # What else looks at it
//!
//! Beside the tests, and with the broker:
//!
//! - **Models** (`models`, `sys::committed`; of the broker, `parts::mail` and `parts::interest`): loom runs a log and its
//!   reader, and shards that write to each other, in every interleaving with at most three preemptions, and with every
//!   value that an atomic may show. `sync` has what is swapped for it. Loom knows nothing of the standard library's `Arc`
//!   and `Weak`, nor of maps and the kernel: it switches threads nowhere inside them. A step of `.ci/run`:
//!
//!   ```text
//!   RUSTFLAGS="--cfg loom -C debug-assertions" CARGO_TARGET_DIR=target/models \
//!       cargo test --release --lib -p oyez-storage -p oyez-broker loom_
//!   ```
//!
//! - **Sanitizers**, by hand, over the unit tests of storage and broker. Not of a whole broker: that for threads takes the
//!   shards' descriptor tables for one, in its reports and where it writes them.
//!   `SIGBUS` is left to the `guard`. These reports are none: a page of zeroes that the guard puts in place counts as a
//!   write, a descriptor's number in one shard's table as the same number in another's, what a store leaves to the
//!   kernel that is given up ([`Store::abandon`]) as a leak.
//!
//!   ```text
//!   ASAN_OPTIONS=handle_sigbus=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
//!       cargo test --target x86_64-unknown-linux-gnu -p oyez-storage -p oyez-broker --lib
//!   TSAN_OPTIONS=handle_sigbus=0 RUSTFLAGS=-Zsanitizer=thread \
//!       cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p oyez-storage -p oyez-broker --lib
//!   ```
//!
//! - **Miri**, by hand, over the protocol; what has an arena or maps a file is beyond it.
//!
//!   ```text
//!   MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true \
//!       cargo +nightly miri test -p oyez-protocol --lib --test golden --test refusals --test block --test properties \
//!       -- --skip a_record_holds_65535 --skip the_best_compressible_block
//!   ```
//!
//! - **Fuzzing** of the wire: `protocol/fuzz`; of HTTP: `broker/fuzz`.

mod age;
mod choice;
mod clock;
mod commit;
mod dir;
mod discards;
mod disk;
mod drain;
mod error;
mod failing;
mod fixed;
mod flush;
mod flusher;
mod footer;
mod format;
mod frames;
mod health;
mod index;
mod listing;
mod log;
mod lookup;
mod loss_history;
mod memory_disk;
mod misplaced;
#[cfg(all(test, loom))]
mod models;
mod moment;
mod names;
mod open;
mod operations;
mod options;
mod order;
mod packed_place;
mod parts;
mod prepare;
mod reader;
mod rebuild;
mod recovery;
mod retention;
mod retries;
mod rollover;
mod scan;
mod seal;
mod search;
mod segment;
mod segments;
mod shared_log;
mod siphash;
mod spare;
mod state;
mod store;
mod survey;
mod surveyor;
mod sync;
#[expect(
    unsafe_code,
    reason = "memory maps, the arena and io_uring have no safe interface"
)]
mod sys;
mod tail;
mod topics;
mod values;
mod visibility;
mod write_time;

pub use choice::{DiskChoice, OpenDisk, open_disk, probe_uring};
pub use clock::ClockWasAhead;
pub use dir::{DataDir, DirLock, Rewritten};
pub use disk::{
    Block, BlockRange, Completion, Content, Disk, Entry, FileId, Map, Opened, Outcome, WriteSync,
};
pub use error::*;
pub use failing::{Failing, Resolved, Task};
pub use format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, FORMAT_VERSION, PAD_HEADER_SIZE, SYNC_MARK_SIZE};
pub use memory_disk::{
    Advanced, Call, Chances, Fault, Harm, HarmKind, MemoryDisk, Odds, OpKind, OpStage,
};
pub use moment::Moment;
pub use options::*;
pub use reader::{ColdRange, FileRange, LogReader, Read, SegmentFiles};
pub use store::Store;
pub use sys::arena::{ArenaOptions, ArenaPool};
pub use values::*;
