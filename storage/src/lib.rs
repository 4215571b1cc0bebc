//! The Oyez log on disk: append-only logs of records, flushed in the background and read where they are stored.
//!
//! A [`Store`] belongs to one shard and owns some logs. A [`LogReader`] of a log can be cloned into every shard. This
//! crate knows no sockets and no sessions. Time is an argument, and the kernel is behind [`Disk`], so that everything
//! can run from a seed on a [`MemoryDisk`].
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
//! A log is made of parts that own their data; `log` owns the parts and calls them in order. A task that needs several
//! parts borrows those and no others, for one call. Imports have no circles: no module below `log` imports it.
//!
//! - **Parts** own data: `tail` the blocks in memory, `segments` the segments and the index of the active one, `index`
//!   the topics, `spare` the next segment, `flush` the write in flight and what writes and syncs have covered,
//!   `retention` what is removed, `age` what has expired (by the time of each write, `write_time`), `clock` the
//!   timestamps, `commit` the state file, `operations` the disk operations in flight, `health` what fails (with `retries`
//!   and `failing`), `visibility` what readers may see, `discards` memory to be freed, `drain` the stage of a drain,
//!   `fixed` what never changes while the log is open.
//! - **Tasks** borrow parts: `rollover` makes room for a record, `prepare` makes the next segment, `flusher` starts writes
//!   and syncs, `seal` makes full segments durable and writes their footers, `lookup` answers questions about topics, and
//!   `topics` lists them, sorted by `order`.
//! - **Opening** a log: `surveyor` reads its directory (with `names` and `listing`; `misplaced` gives swapped segments
//!   their names back) and returns a `survey`, which knows by `loss_history` what was reported before. `scan` reads a
//!   block without trusting it, frame by frame (`frames`), and finds sound frames behind damage (`search`). `recovery` puts
//!   the blocks together, `open` decides on the epoch, `rebuild` on the position where the log goes on; `parts` holds the
//!   parts meanwhile and attaches the segments to them.
//! - **Between shards**: `shared_log` and `segment` hold atomics, and a snapshot of weak references that is replaced when
//!   a block or a segment comes or goes. Appends never lock. An idle reader keeps neither memory nor disk space if
//!   [`LogReader::release`] is called at the end of each turn.
//! - **The kernel**: `disk` is the interface, and `choice` picks an implementation. `sys` has the ring, the thread that
//!   stands in for it, maps with their guard, the arena, and all `unsafe`.
//!
//! **Visible.** In a `memory` log every appended record is visible; in a `written` log, what a completed write covers; in
//! a `synced` log, what a sync covers that started after the write had completed. A record is acknowledged and delivered
//! when its [`Appended::end`] is at or below the visible position, never before.
//!
//! **Syncs.** If no byte below a write's range waits for a sync, the write syncs its own range in the same operation: so
//! does every write of a log whose records come one at a time. Otherwise a sync of the file follows the write.
//!
//! **Descriptors.** Nothing that shards share holds a descriptor, the maps of a [`MemoryDisk`] apart. A disk's files
//! belong to its shard (and to the threads that the disk starts, which share the shard's table); [`SegmentFiles`] opens
//! files for `sendfile` in each shard; [`DirLock`] stays in the thread that opened the [`DataDir`].
//!
//! # Files
//!
//! All numbers are little-endian. Every file except segments and `LOCK` has at byte 8 the format version, 2, and at
//! byte 12 the CRC-32C of the whole file, computed with that field as zero. The checksum is checked before any other field
//! is used. Version 1 is read as well; a log's state is written in version 2 from the first start on, and older brokers
//! refuse it. A file is replaced in four steps: write `NAME.new`, sync it, rename it, sync the directory. The two copies
//! of the state are overwritten in place instead, one after the other, each with a sync: this needs no free space.
//!
//! ```text
//! LOCK                        locked (flock) while a broker runs; holds its process id in decimal
//! meta, meta.copy             48 bytes, identical: what the whole directory depends on
//! written-N/, synced-N/       one directory per log; N counts from 0 within a durability
//!   state, state.copy         512 bytes, identical except between two writes: the higher generation is valid
//!   carried                   next offsets of the topics of which retention has removed records
//!   PPPPPPPPPPPPPPPP.seg      segment; P = base position in hexadecimal
//!   PPPPPPPPPPPPPPPP.idx      its footer, once it is sealed
//!   NAME.damaged-N            a file that recovery could not use under its name, kept for the operator
//! ```
//!
//! Memory logs have no directory. Logs are numbered in one space: first memory, then written, then synced logs. A topic
//! belongs, within its durability, to log number SipHash-1-3(key, name) modulo the logs per durability.
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
//!         160 20 times: u64 sequence of the first record of a reported loss, u64 of the record behind it;
//!             or 2^63 + u64 position of the first of some missing bytes, u64 of the byte behind them
//!         480 zero         (version 1 ends at 88)
//!
//! carried   0 "OYEZTOP1"   8 u32 version   12 u32 crc   16 u64 topics   24 u64 generation (not in version 1)
//!          32 per topic, sorted by name: u64 next offset, u8 name size, name
//! ```
//!
//! The state is written when the log is opened; when a segment was made, before it is used; when a record in a new segment
//! is first acknowledged; when retention has moved the floor, before it removes a file; and at the end of a drain. After a
//! drain `clean` is 1, and end, sequence and chain are those of the log's end. At other times everything below end and
//! sequence is acknowledged. The fingerprint is made of the directory's inode number and its time of birth, so that a copy
//! of the directory is noticed.
//!
//! The losses that the state names were reported by the start that found them; that start's new footers record them, too.
//! The state alone records bytes that were missing without a hint at which records they held. A loss for which the state has
//! no room, and no footer either, is reported again by the next start.
//!
//! A log begins at its floor: records missing above it are lost, not removed by retention. The segments that the state
//! names, the active one and the one prepared after it, must be there in full length.
//!
//! # Segments
//!
//! A segment is a whole number of 2 MiB blocks. It is filled with zeroes and synced before it gets its name. Afterwards no
//! byte of it is overwritten with another value (the zeroes apart), and it is never truncated or punched. Its blocks hold
//! frames. The size of each frame is a multiple of 8 bytes, and each begins with the first eight bytes of the protocol's
//! frames (`u32 size, u8 kind, u8 flags, u16 aux`): first a block header, then records and sync marks, then a pad unless
//! the block is exactly full. No frame crosses a block, and no frame leaves 1 to 15 bytes of a block free. Headers, marks
//! and pads have the protocol's frame checksum at 8.
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
//! A mark lies behind the records that were appended while its sync (in a written log its write) ran, and always before
//! the next ones. It is written together with the next records. If none come for 5 ms, it is written alone and not synced;
//! the next write that syncs only its own range then begins with the mark again, the same bytes. So the newest mark in the
//! kernel's hands covers all that was acknowledged until 5 ms ago. The newest durable mark may not cover the last sync,
//! as the mark of a sync cannot be part of that sync.
//!
//! Timestamps do not decrease, with one exception: if the last stamp is more than an hour ahead of the wall clock, the
//! clock was wrong then, and the next record is stamped by the wall clock again.
//!
//! In a log that keeps records for a time, a segment that is not full is closed when its oldest record has expired: its
//! last block ends in a pad, the rest stays zero, and the next segment begins with a block header, which is synced
//! without waiting for a record.
//!
//! The chain is the CRC-32C over the `header_crc` fields of all records of the incarnation so far. A mark whose chain
//! does not fit shows that a record before it is not the one that was written.
//!
//! Where a frame cannot be read, recovery looks for the next one at every multiple of 8 behind it. It accepts a mark, a
//! pad, or a record that verifies as a whole, is of the log and the incarnation, and has a sequence that is past the
//! expected one by no more than the bytes in between have room for. So a damaged record, mark or block header hides itself
//! and nothing else. A header of the log that names another position was put there by a misdirected write: recovery skips
//! it and the frames that follow it as its own. A record in a block without a header of its own is accepted only if its
//! sequence was not reached by the blocks before.
//!
//! A publisher who knows the log's number, incarnation and next sequence could put a counterfeit record into a payload. It
//! is found only if the head of just that enclosing record, and more than that, is damaged.
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
//! Topics stand in the order in which they came into the segment. The log's index refers to that row number before and
//! after sealing, so that sealing sorts nothing. A footer is written when its segment is durable.
//!
//! # Memory
//!
//! Footers are kept in memory as they are on disk, so that a look-up never meets a page that cannot be read. A log takes
//! 16 bytes for each record kept; 48 bytes and the name for each topic in each segment; 24 bytes for each block of a
//! segment; about 100 bytes and the name for each topic, and 9 bytes and the name once more if retention has removed a
//! record of it. *Records of 200 bytes: 8 % of what is kept; of 4 KiB: 0.4 %.*
//!
//! Segments are mapped. If the file was cut or the medium fails, a read through the map finds zeroes in place of the
//! missing page, and each record of the block is verified before it is served from then on.
//!
//! # Opening
//!
//! 1. Segments that stand under each other's names get their own names back, if more than a page of frames follows the
//!    headers that say so. A footer is used if its segment has the length that the footer names; other segments are
//!    scanned to their end. A sector that cannot be read counts as damage. So does the missing end of a file that was cut
//!    inside a block, unless the segment has a footer, which names the records that were in it.
//! 2. Segments of a later incarnation than the state's are copies that an interrupted recovery of version 1 left. If every
//!    record of theirs is in the other segments as well, they are removed. Otherwise the state is not the log's latest: they
//!    stay, and the epoch is new. If a later block or segment begins with some sequence, records from that sequence on in
//!    earlier blocks are skipped.
//! 3. All records below the highest sequence in any mark, footer or the state were acknowledged. In a written log so was
//!    every record that is there, since each write starts after the one before has completed. A record missing below is
//!    lost: it becomes a gap, which is reported and never served; the epoch is new; the whole records behind it are
//!    served. At a record missing above, the log is cut: the pages of a write that did not complete are there or not in any
//!    order, and none of its records was acknowledged. Records of the last sync before a crash may be acknowledged without
//!    a mark. They are kept like all valid records; only if the medium has damaged them as well are they cut without being
//!    counted as lost.
//! 4. The epoch is new in these cases, too, as records may be lost: a segment that the state names is missing or shorter
//!    than it was; `carried` or both copies of the state cannot be read; a segment holds nothing readable although records
//!    in it were acknowledged. A log that is there from its first byte begins with sequence 0. A topic whose first records
//!    lie in a gap keeps its beginning, so that a subscriber that starts there learns of the gap. A segment was never used
//!    if it holds only zeroes and lies at or above the state's end. A loss is reported once: not again if a footer or the
//!    state of the last start records it.
//! 5. After a drain the log goes on where it ended. Otherwise a new incarnation begins, in the first block of the active
//!    segment that was never written to: an unclean stop costs at most a block. If that segment lacks records, could not be
//!    read in places, or is full, a new segment begins, and the old one gets a footer that records the gaps. A synced log
//!    first rewrites the records that nothing proves to be durable, the same bytes in the same place, and syncs them: they
//!    may be in the page cache alone, and the kernel reports a failed write-back only once.
//! 6. Then the state commits. Only after that are unreadable files set aside, and files removed that are blank and of no
//!    use, or that retention or an interrupted recovery left. No other file is ever removed. (Unreadable copies of the
//!    state are set aside before the commit, which would overwrite them.)
//! 7. The epoch is also new for a written log if the machine went down while the log was open (another boot id), for a
//!    memory log at every start, and for every log if the operator says that the directory was restored from a copy.
//!
//! # Other checks
//!
//! These check the crate beside its tests, together with the broker:
//!
//! - **Models** (`models`, `sys::committed`; in the broker `parts::mail` and `parts::interest`): loom runs a log and its
//!   reader, and shards that write to each other, in every interleaving with at most three preemptions, and with every
//!   value that an atomic may show. `sync` swaps the standard types for loom's. Loom does not switch threads inside the
//!   standard library's `Arc` and `Weak`, nor inside maps and the kernel. A step of `.ci/run`:
//!
//!   ```text
//!   RUSTFLAGS="--cfg loom -C debug-assertions" CARGO_TARGET_DIR=target/models \
//!       cargo test --release --lib -p oyez-storage -p oyez-broker loom_
//!   ```
//!
//! - **Sanitizers**, by hand, over the unit tests of storage and broker. They cannot run a whole broker: the thread
//!   sanitizer takes the descriptor tables of the shards for one, in its reports and where it writes them.
//!   `SIGBUS` is left to the `guard`. Three kinds of reports are false: a page of zeroes that the guard puts in place
//!   counts as a write; a descriptor number counts as the same descriptor in every shard's table; memory that an abandoned
//!   store ([`Store::abandon`]) leaves to the kernel counts as a leak.
//!
//!   ```text
//!   ASAN_OPTIONS=handle_sigbus=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
//!       cargo test --target x86_64-unknown-linux-gnu -p oyez-storage -p oyez-broker --lib
//!   TSAN_OPTIONS=handle_sigbus=0 RUSTFLAGS=-Zsanitizer=thread \
//!       cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p oyez-storage -p oyez-broker --lib
//!   ```
//!
//! - **Miri**, by hand, over the protocol; it cannot run code that maps a file or uses the arena.
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
