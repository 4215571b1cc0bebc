//! The two small files of a log besides its segments: `state`, which commits an incarnation, and `carried`, which
//! remembers where the topics go on whose records retention has removed.

use std::collections::HashMap;

use crate::format::{FORMAT_VERSION, array_at, file_is_intact, seal_file, u16_at, u32_at, u64_at};

/// Name of the state file.
pub(crate) const STATE: &str = "state";
/// Name of the table of topics without records.
pub(crate) const CARRIED: &str = "carried";

const STATE_MAGIC: [u8; 8] = *b"OYEZLOG1";
const STATE_SIZE: usize = 88;
const CARRIED_MAGIC: [u8; 8] = *b"OYEZTOP1";
const CARRIED_HEADER_SIZE: usize = 24;

/// What a log knows of itself from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub epoch: u64,
    /// Segments of a later incarnation are what an interrupted recovery left.
    pub incarnation: u32,
    pub log: u16,
    /// The log was drained; `end` and what follows hold.
    pub clean: bool,
    /// The run of the machine that had the log open.
    pub boot_id: u128,
    /// Position after the last frame.
    pub end: u64,
    /// Sequence that the next record gets.
    pub sequence: u64,
    /// Timestamp of the last record.
    pub last_ms: u64,
    pub dir_id: u64,
    /// Chain checksum at `end`.
    pub chain: u32,
}

/// A state file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateFault {
    Damaged,
    Version(u32),
}

impl State {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; STATE_SIZE];
        out[..8].copy_from_slice(&STATE_MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        out[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        out[28..30].copy_from_slice(&self.log.to_le_bytes());
        out[30] = u8::from(self.clean);
        out[32..48].copy_from_slice(&self.boot_id.to_le_bytes());
        out[48..56].copy_from_slice(&self.end.to_le_bytes());
        out[56..64].copy_from_slice(&self.sequence.to_le_bytes());
        out[64..72].copy_from_slice(&self.last_ms.to_le_bytes());
        out[72..80].copy_from_slice(&self.dir_id.to_le_bytes());
        out[80..84].copy_from_slice(&self.chain.to_le_bytes());
        seal_file(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StateFault> {
        if bytes.len() < 12 || bytes[..8] != STATE_MAGIC {
            return Err(StateFault::Damaged);
        }
        if u32_at(bytes, 8) != FORMAT_VERSION {
            return Err(StateFault::Version(u32_at(bytes, 8)));
        }
        if bytes.len() != STATE_SIZE || !file_is_intact(bytes) {
            return Err(StateFault::Damaged);
        }
        Ok(Self {
            epoch: u64_at(bytes, 16),
            incarnation: u32_at(bytes, 24),
            log: u16_at(bytes, 28),
            clean: bytes[30] != 0,
            boot_id: u128::from_le_bytes(array_at(bytes, 32)),
            end: u64_at(bytes, 48),
            sequence: u64_at(bytes, 56),
            last_ms: u64_at(bytes, 64),
            dir_id: u64_at(bytes, 72),
            chain: u32_at(bytes, 80),
        })
    }
}

/// Topic -> offset that its next message gets.
pub(crate) type Carried = HashMap<String, u64>;

pub(crate) fn encode_carried(carried: &Carried) -> Vec<u8> {
    let mut sorted: Vec<_> = carried.iter().collect();
    sorted.sort_unstable();
    let mut out = vec![0; CARRIED_HEADER_SIZE];
    out[..8].copy_from_slice(&CARRIED_MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&(sorted.len() as u64).to_le_bytes());
    for (name, next) in sorted {
        out.extend_from_slice(&next.to_le_bytes());
        out.push(u8::try_from(name.len()).expect("a topic has at most 255 bytes"));
        out.extend_from_slice(name.as_bytes());
    }
    seal_file(&mut out);
    out
}

/// `None` when the file is damaged.
pub(crate) fn decode_carried(bytes: &[u8]) -> Option<Carried> {
    if bytes.len() < CARRIED_HEADER_SIZE
        || bytes[..8] != CARRIED_MAGIC
        || u32_at(bytes, 8) != FORMAT_VERSION
        || !file_is_intact(bytes)
    {
        return None;
    }
    let mut carried = Carried::new();
    let mut rest = &bytes[CARRIED_HEADER_SIZE..];
    for _ in 0..u64_at(bytes, 16) {
        let (fixed, after) = rest.split_at_checked(9)?;
        let (name, after) = after.split_at_checked(usize::from(fixed[8]))?;
        carried.insert(std::str::from_utf8(name).ok()?.to_owned(), u64_at(fixed, 0));
        rest = after;
    }
    Some(carried)
}
