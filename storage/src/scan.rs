//! Reading a block frame by frame, believing nothing: the first half of recovery. Pure; what it finds is put together
//! in `recovery`.

use oyez_protocol::checksum::crc32c_append;
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::{FRAME_ALIGN, Limits, RECORD_HEADER_SIZE};
use oyez_protocol::record::Record;

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark, is_pad,
};

/// A sound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub position: u64,
    pub size: u32,
    pub sequence: u64,
}

/// A record whose header is sound and whose body is not, so that what follows it can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub from: u64,
    pub to: u64,
    pub sequence: u64,
}

/// What a block holds.
#[derive(Clone, Debug)]
pub(crate) struct BlockScan {
    pub base: u64,
    pub header: BlockHeader,
    pub records: Vec<Found>,
    pub damage: Vec<Damage>,
    /// The highest sequence that a mark names.
    pub marked: u64,
    /// The highest sequence named by what looks like a mark behind the point where the frames break off. A payload may
    /// look so too, hence it is good for a suspicion that acknowledged records are lost, and for nothing else.
    pub suspected: u64,
    /// Position after the last frame.
    pub end: u64,
    /// The frames reach the end of the block.
    pub closed: bool,
    /// Sequence after the block's last record.
    pub next_sequence: u64,
}

/// Records that fit in a block, none being smaller than its header.
const BLOCK_RECORDS_MAX: u64 = BLOCK_BYTES / RECORD_HEADER_SIZE as u64;

enum Check {
    Sound,
    /// The body is damaged.
    Body,
    Broken,
}

/// Scans a block of a segment. `None` when it has no intact header.
pub(crate) fn scan_block(bytes: &[u8], base: u64) -> Option<BlockScan> {
    let header = BlockHeader::decode(bytes)?;
    let mut scan = BlockScan {
        base,
        header,
        records: Vec::new(),
        damage: Vec::new(),
        marked: 0,
        suspected: 0,
        end: base,
        closed: false,
        next_sequence: header.first_sequence,
    };
    // The chain before each record of the block, and after the last one.
    let mut chains = vec![header.chain];
    let mut at = BLOCK_HEADER_SIZE;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some(size) = whole_frame(rest) else {
            break;
        };
        let frame = &rest[..size];
        let known = match frame[4] {
            kind::RECORD => scan.record(frame, at, &mut chains),
            kind::SYNC_MARK => scan.mark(frame, &chains),
            kind::PAD if is_pad(frame) && size == rest.len() => {
                at += PAD_HEADER_SIZE;
                scan.closed = true;
                false
            }
            _ => false,
        };
        if !known {
            break;
        }
        at += size;
    }
    scan.closed |= at as u64 == BLOCK_BYTES;
    scan.end = base + at as u64;
    if !scan.closed {
        scan.suspect(&bytes[at..]);
    }
    Some(scan)
}

fn whole_frame(rest: &[u8]) -> Option<usize> {
    let head = FrameHead::parse(rest)?.ok()?;
    let size = head.size as usize;
    (size <= rest.len()).then_some(size)
}

impl BlockScan {
    fn suspect(&mut self, rest: &[u8]) {
        let block = self.base..=self.base + BLOCK_BYTES;
        for at in (0..rest.len()).step_by(FRAME_ALIGN) {
            if rest[at] != SYNC_MARK_SIZE as u8 {
                continue;
            }
            let mark = SyncMark::decode(&rest[at..]);
            let ours = |mark: &SyncMark| {
                mark.incarnation == self.header.incarnation
                    && block.contains(&mark.position)
                    && mark.sequence <= self.header.first_sequence + BLOCK_RECORDS_MAX
            };
            if let Some(mark) = mark.filter(ours) {
                self.suspected = self.suspected.max(mark.sequence);
            }
        }
    }

    fn record(&mut self, frame: &[u8], at: usize, chains: &mut Vec<u32>) -> bool {
        let sequence = self.next_sequence;
        let position = self.base + at as u64;
        let size = u32::try_from(frame.len()).expect("a frame of a block");
        match self.check(frame, sequence) {
            Check::Sound => self.records.push(Found {
                position,
                size,
                sequence,
            }),
            Check::Body => self.damage.push(Damage {
                from: position,
                to: position + u64::from(size),
                sequence,
            }),
            Check::Broken => return false,
        }
        let chain = chains.last().copied().unwrap_or(self.header.chain);
        chains.push(crc32c_append(chain, &frame[20..24]));
        self.next_sequence += 1;
        true
    }

    fn check(&self, frame: &[u8], sequence: u64) -> Check {
        let Some(record) = Record::trusted(frame) else {
            return Check::Broken;
        };
        let header = &self.header;
        let ours = record.check_header().is_ok()
            && record.log().get() == header.log
            && u32::from(record.incarnation()) == header.incarnation & 0xffff
            && record.sequence().get() == sequence;
        if !ours {
            return Check::Broken;
        }
        match Record::verify(frame, &Limits::HARD) {
            Ok(_) => Check::Sound,
            Err(_) => Check::Body,
        }
    }

    /// A mark whose chain does not fit says that a record before it is not the one that was written.
    fn mark(&mut self, frame: &[u8], chains: &[u32]) -> bool {
        let Some(mark) = SyncMark::decode(frame) else {
            return false;
        };
        if mark.incarnation != self.header.incarnation {
            return false;
        }
        let here = mark.sequence.checked_sub(self.header.first_sequence);
        let chain = here.and_then(|here| chains.get(usize::try_from(here).ok()?));
        if chain.is_some_and(|chain| *chain != mark.chain) {
            return false;
        }
        self.marked = self.marked.max(mark.sequence);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_look_like_marks_suspect_no_more_records_than_a_block_holds() {
        let header = BlockHeader {
            log: 3,
            incarnation: 7,
            chain: 0,
            number: 0,
            first_sequence: 100,
            timestamp_ms: 0,
            dir_id: 1,
        };
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        header.encode(&mut bytes[..BLOCK_HEADER_SIZE]);
        let sequences = [105, 1 << 40, u64::MAX, 100 + BLOCK_BYTES / 48 + 1];
        for (number, sequence) in sequences.into_iter().enumerate() {
            let mark = SyncMark {
                chain: 0,
                sequence,
                position: 4096,
                incarnation: 7,
            };
            let at = 4096 + number * 64;
            mark.encode(&mut bytes[at..at + SYNC_MARK_SIZE]);
        }
        let scan = scan_block(&bytes, 0).expect("the header is intact");
        assert_eq!((scan.marked, scan.suspected), (0, 105));
    }
}
