//! The small files of a log besides its segments: `state`, which commits an incarnation, and `carried`, the table of carried
//! topics. That has the next offset of each topic of which retention has removed records, so that offsets are not reused
//! when all records of a topic are gone.
//!
//! There are two copies of the state, `state` and `state.copy`, which are overwritten one after the other: one of them is
//! intact whatever happens, and no free space is needed. The intact copy with the higher generation is valid.

use std::collections::HashMap;
use std::ops::Range;

use crate::format::{
    FORMAT_VERSION, FileFault, array_at, intact_version, seal_file, u16_at, u32_at, u64_at,
};

use crate::values::Gap;

/// Name of the state file.
pub(crate) const STATE: &str = "state";
/// Name of its second copy.
pub(crate) const STATE_COPY: &str = "state.copy";
/// Name of the table of carried topics.
pub(crate) const CARRIED: &str = "carried";

const STATE_MAGIC: [u8; 8] = *b"OYEZLOG1";
/// One sector, which a disk writes as a whole.
const STATE_SIZE: usize = 512;
/// The size in version 1.
const STATE_SIZE_1: usize = 88;
/// A state file is smaller than this, whatever its version.
pub(crate) const STATE_BYTES_MAX: usize = 4096;
/// A table of carried topics is smaller than this: it has at most a few million names of at most 255 bytes.
pub(crate) const CARRIED_BYTES_MAX: usize = 1 << 30;
const CARRIED_MAGIC: [u8; 8] = *b"OYEZTOP1";
const CARRIED_HEADER_SIZE: usize = 32;
/// The size in version 1.
const CARRIED_HEADER_SIZE_1: usize = 24;

/// Retention has removed the log below this. What is missing above is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub position: u64,
    /// Sequence of the first record that is kept, or of the next one if none is.
    pub sequence: u64,
}

/// A segment file that must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub base: u64,
    /// Bytes of the file; 0 = no file is named.
    pub bytes: u64,
}

impl Named {
    pub(crate) fn limit(self) -> u64 {
        self.base.saturating_add(self.bytes)
    }
}

/// What a log preserves from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub epoch: u64,
    /// Incarnation of the log. Blocks of a later one were left by an interrupted recovery.
    pub incarnation: u32,
    pub log: u16,
    /// The log was drained: `end`, `sequence` and `chain` are those of its end.
    pub clean: bool,
    /// The run of the machine that had the log open.
    pub boot_id: u128,
    /// Position below which everything is acknowledged; after a drain, after the last frame.
    pub end: u64,
    /// Every record with a smaller sequence is acknowledged; after a drain, the sequence of the next record.
    pub sequence: u64,
    /// Timestamp of the last record.
    pub last_ms: u64,
    pub dir_id: u64,
    /// Chain checksum at `end`.
    pub chain: u32,
    /// Counts how often the state was written. Version 1 did not: 0.
    pub generation: u64,
    /// Not known from version 1.
    pub floor: Option<Floor>,
    /// The newest segments that were made: the active one, and the one prepared after it.
    pub named: [Named; 2],
    /// How often `carried` was written; 0 = there is none. Not known from version 1.
    pub carried: u64,
    /// Tells the data directory from its copies; 0 = not known.
    pub fingerprint: u64,
    /// The losses that were reported when the log was opened; footers may not record them yet.
    pub reported: ReportedLosses,
}

/// No position and no sequence of a log is larger.
const PLACE_MAX: u64 = 1 << 61;

/// Most losses that the state records.
const REPORTED_MAX: usize = 20;
/// Place of the losses in the state.
const REPORTED_AT: usize = 160;
const _: () = assert!(REPORTED_AT + REPORTED_MAX * 16 <= STATE_SIZE);

/// Marks a range as one of positions.
const OF_POSITIONS: u64 = 1 << 63;

/// Losses that were reported. Each is a range of sequences of lost records; or, if it is not known which records some
/// missing bytes held, a range of their positions, whose start has [`OF_POSITIONS`] set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReportedLosses([(u64, u64); REPORTED_MAX]);

impl ReportedLosses {
    /// As many as there is room for, lost records first. The next start reports the others again.
    pub(crate) fn of(losses: &[Gap], missing: &[Range<u64>]) -> Self {
        let losses = losses.iter();
        let losses = losses.map(|loss| (loss.first_sequence.get(), loss.next_sequence.get()));
        let missing = missing.iter();
        let missing = missing.map(|range| (range.start | OF_POSITIONS, range.end));
        let mut known = Self::default();
        for (slot, range) in known.0.iter_mut().zip(losses.chain(missing)) {
            *slot = range;
        }
        known
    }

    /// Sequences of records that are lost.
    pub(crate) fn losses(&self) -> impl Iterator<Item = Range<u64>> {
        let known = self.0.iter();
        known
            .filter(|(first, next)| first < next)
            .map(|(first, next)| *first..*next)
    }

    /// Positions of bytes that are missing.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        let known = self.0.iter();
        known
            .filter(|(from, _)| from & OF_POSITIONS != 0)
            .map(|(from, to)| from & !OF_POSITIONS..*to)
    }
}

impl State {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; STATE_SIZE];
        let floor = self.floor.unwrap_or_default();
        out[..8].copy_from_slice(&STATE_MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        out[28..30].copy_from_slice(&self.log.to_le_bytes());
        out[30] = u8::from(self.clean);
        out[32..48].copy_from_slice(&self.boot_id.to_le_bytes());
        out[80..84].copy_from_slice(&self.chain.to_le_bytes());
        for (at, value) in [
            (16, self.epoch),
            (48, self.end),
            (56, self.sequence),
            (64, self.last_ms),
            (72, self.dir_id),
            (88, self.generation),
            (96, floor.position),
            (104, floor.sequence),
            (112, self.named[0].base),
            (120, self.named[0].bytes),
            (128, self.named[1].base),
            (136, self.named[1].bytes),
            (144, self.carried),
            (152, self.fingerprint),
        ] {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (number, (first, next)) in self.reported.0.iter().enumerate() {
            let at = REPORTED_AT + number * 16;
            out[at..at + 8].copy_from_slice(&first.to_le_bytes());
            out[at + 8..at + 16].copy_from_slice(&next.to_le_bytes());
        }
        seal_file(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let version = intact_version(bytes, STATE_MAGIC)?;
        let sized = match version {
            1 => bytes.len() == STATE_SIZE_1,
            FORMAT_VERSION => bytes.len() == STATE_SIZE,
            _ => return Err(FileFault::Version(version)),
        };
        if !sized {
            return Err(FileFault::Damaged);
        }
        let mut state = Self {
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
            generation: 0,
            floor: None,
            named: [Named::default(); 2],
            carried: 0,
            fingerprint: 0,
            reported: ReportedLosses::default(),
        };
        if version > 1 {
            state.decode_second_version(bytes);
        }
        // No log reaches this; sums of smaller values cannot overflow.
        let floor = state.floor.unwrap_or_default();
        let named = state
            .named
            .iter()
            .flat_map(|named| [named.base, named.bytes]);
        let mut places = named.chain([state.end, state.sequence, floor.position, floor.sequence]);
        if places.any(|place| place > PLACE_MAX) {
            return Err(FileFault::Damaged);
        }
        Ok(state)
    }

    fn decode_second_version(&mut self, bytes: &[u8]) {
        let named = |at| Named {
            base: u64_at(bytes, at),
            bytes: u64_at(bytes, at + 8),
        };
        self.generation = u64_at(bytes, 88);
        self.floor = Some(Floor {
            position: u64_at(bytes, 96),
            sequence: u64_at(bytes, 104),
        });
        self.named = [named(112), named(128)];
        self.carried = u64_at(bytes, 144);
        self.fingerprint = u64_at(bytes, 152);
        for (number, known) in self.reported.0.iter_mut().enumerate() {
            let at = REPORTED_AT + number * 16;
            *known = (u64_at(bytes, at), u64_at(bytes, at + 8));
        }
    }

    /// The segment files that must be there.
    pub(crate) fn named(&self) -> impl Iterator<Item = Named> + use<> {
        self.named.into_iter().filter(|named| named.bytes > 0)
    }
}

/// The table of carried topics: those of which retention has removed records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// Counts how often it was written. Version 1 did not: 0.
    pub generation: u64,
    /// Topic -> offset that its next message gets.
    pub topics: HashMap<String, u64>,
}

impl Carried {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.topics.iter().collect();
        sorted.sort_unstable();
        let mut out = vec![0; CARRIED_HEADER_SIZE];
        out[..8].copy_from_slice(&CARRIED_MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&(sorted.len() as u64).to_le_bytes());
        out[24..32].copy_from_slice(&self.generation.to_le_bytes());
        for (name, next) in sorted {
            out.extend_from_slice(&next.to_le_bytes());
            out.push(u8::try_from(name.len()).expect("a topic has at most 255 bytes"));
            out.extend_from_slice(name.as_bytes());
        }
        seal_file(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let version = intact_version(bytes, CARRIED_MAGIC)?;
        let header = match version {
            1 => CARRIED_HEADER_SIZE_1,
            FORMAT_VERSION => CARRIED_HEADER_SIZE,
            _ => return Err(FileFault::Version(version)),
        };
        let (head, mut rest) = bytes.split_at_checked(header).ok_or(FileFault::Damaged)?;
        let mut carried = Self {
            generation: if version > 1 { u64_at(head, 24) } else { 0 },
            topics: HashMap::new(),
        };
        for _ in 0..u64_at(head, 16) {
            let (name, next, after) = topic(rest).ok_or(FileFault::Damaged)?;
            carried.topics.insert(name.to_owned(), next);
            rest = after;
        }
        Ok(carried)
    }
}

/// The first topic of a table, the offset that its next message gets, and the rest of the table.
fn topic(table: &[u8]) -> Option<(&str, u64, &[u8])> {
    let (fixed, after) = table.split_at_checked(9)?;
    let (name, after) = after.split_at_checked(usize::from(fixed[8]))?;
    Some((std::str::from_utf8(name).ok()?, u64_at(fixed, 0), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_state_is_damage_and_never_another_version() {
        let state = State {
            epoch: 7,
            incarnation: 3,
            log: 1,
            clean: true,
            boot_id: 9,
            end: 4096,
            sequence: 12,
            last_ms: 5,
            dir_id: 6,
            chain: 8,
            generation: 2,
            floor: Some(Floor {
                position: 64,
                sequence: 1,
            }),
            named: [Named { base: 0, bytes: 64 }, Named::default()],
            carried: 4,
            fingerprint: 10,
            reported: ReportedLosses([(3, 5); REPORTED_MAX]),
        };
        let whole = state.encode();
        assert_eq!(State::decode(&whole), Ok(state));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&bytes), Err(FileFault::Damaged), "bit {bit}");
        }
    }
}
