//! The messages of a simulation: their content follows from their names, so that every byte of a delivery can be checked.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::{FRAME_ALIGN, Limits};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;
use oyez_storage::{BLOCK_BYTES, BLOCK_HEADER_SIZE, Harm, HarmKind, MemoryDisk, SYNC_MARK_SIZE};

use super::text;

/// Names a message: who published it, to which topic, as which of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageId {
    pub(super) topic: u16,
    pub(super) publisher: u16,
    pub(super) number: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.publisher, self.number)
    }
}

/// Bytes of a name.
pub(super) const NAME_SIZE: usize = 8;
/// What is set in the topics of names, so that no payload is text by chance.
const NO_TEXT: u16 = 0xff00;

/// The payload of a message: its name, then bytes that follow from it. `size` counts both. Some messages are text.
pub(super) fn payload(id: MessageId, size: usize) -> Vec<u8> {
    let size = size.max(NAME_SIZE);
    if id.number.is_multiple_of(3) && size >= text::TEXT_SIZE_MIN {
        return text::text(id, size).into_bytes();
    }
    let mut out = Vec::with_capacity(size + 8);
    out.extend_from_slice(&(id.topic | NO_TEXT).to_le_bytes());
    out.extend_from_slice(&id.publisher.to_le_bytes());
    out.extend_from_slice(&id.number.to_le_bytes());
    let mut state = u64::from_le_bytes(out[..8].try_into().expect("8 bytes")) | 1;
    while out.len() < size {
        // Half of it repeats, so that compression has something to do.
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        out.extend_from_slice(&(state >> 32).to_le_bytes());
    }
    out.truncate(size);
    out
}

/// The message that a payload is; none when it is not one, to the last byte.
pub(super) fn read(bytes: &[u8]) -> Option<MessageId> {
    if let Some(id) = text::read(bytes) {
        return Some(id);
    }
    let name = bytes.get(..NAME_SIZE)?;
    let id = MessageId {
        topic: u16::from_le_bytes([name[0], name[1]]) ^ NO_TEXT,
        publisher: u16::from_le_bytes([name[2], name[3]]),
        number: u32::from_le_bytes([name[4], name[5], name[6], name[7]]),
    };
    (payload(id, bytes.len()) == bytes).then_some(id)
}

/// What harm has hit.
#[derive(Debug)]
pub(super) enum Hit {
    Segment {
        /// The messages of the records.
        messages: BTreeSet<MessageId>,
        /// The file and the block.
        block: (PathBuf, usize),
        /// The header of the block is among it.
        has_header: bool,
    },
    /// Another file of a log.
    Other,
}

/// What harm has hit of a log.
pub(super) fn hit_by(disk: &MemoryDisk, harm: &Harm) -> Hit {
    match harm.path.extension().and_then(|kind| kind.to_str()) {
        Some("seg") => hit_of_segment(disk, harm),
        _ => Hit::Other,
    }
}

fn hit_of_segment(disk: &MemoryDisk, harm: &Harm) -> Hit {
    let place = |at| usize::try_from(at).expect("a segment in memory");
    let (from, to) = (place(harm.range.start), place(harm.range.end));
    let mut content = disk.content(&harm.path).unwrap_or_default();
    content[from..to].copy_from_slice(&harm.was);
    let (from, to) = match harm.kind {
        // A page with a sector that cannot be read cannot be read.
        HarmKind::Unreadable => (from / PAGE * PAGE, to.next_multiple_of(PAGE)),
        _ => (from, to),
    };
    let block = from / BLOCK * BLOCK;
    let mut messages = BTreeSet::new();
    // Marks that were hit, one behind the other.
    let mut marks = 0;
    let mut at = block;
    let end = content.len().min(block + BLOCK);
    while at < end.min(to + SYNC_MARK_SIZE) {
        let bytes = &content[at..end];
        let record = record_at(bytes);
        let size = match record {
            Some(record) => record.bytes().len(),
            None => mark_size(bytes).unwrap_or(FRAME_ALIGN),
        };
        let is_hit = at < to && at + size > from;
        // Where several marks are lost together, nothing tells that there was no record, which might have hidden the next.
        let hides_next = marks > 1;
        match record {
            Some(record) if is_hit || hides_next => messages.extend(messages_of(&record)),
            _ => {}
        }
        marks = match record.is_none() && is_hit {
            true => marks + usize::from(size == SYNC_MARK_SIZE),
            false => 0,
        };
        at += size;
    }
    Hit::Segment {
        messages,
        block: (harm.path.clone(), block),
        has_header: from < block + BLOCK_HEADER_SIZE,
    }
}

/// Bytes of a page.
const PAGE: usize = 4_096;
/// Bytes of a block.
const BLOCK: usize = BLOCK_BYTES as usize;

/// Bytes of the mark or the block header that bytes begin with, if they do.
fn mark_size(bytes: &[u8]) -> Option<usize> {
    let head = FrameHead::parse(bytes)?.ok()?;
    match head.kind {
        kind::SYNC_MARK => Some(SYNC_MARK_SIZE),
        kind::BLOCK_HEADER => Some(BLOCK_HEADER_SIZE),
        _ => None,
    }
}

/// The record that bytes begin with, if they do.
fn record_at(bytes: &[u8]) -> Option<Record<'_>> {
    let size = FrameHead::parse(bytes)?.ok()?.size;
    let bytes = bytes.get(..usize::try_from(size).ok()?)?;
    Record::verify_stamped(bytes, &Limits::HARD).ok()
}

fn messages_of(record: &Record<'_>) -> Vec<MessageId> {
    let mut lz4 = Scratch::new();
    let raw = lz4.open(record).expect("a verified record");
    let messages = Messages::new(raw, record.count()).flatten();
    messages
        .filter_map(|message| read(message.payload))
        .collect()
}
