//! Scanning a block frame by frame, without trusting it: the first half of recovery. Pure; `recovery` puts the results
//! together.
//!
//! Each record proves itself: its header is checked apart from its body, and names its log, its incarnation and its
//! sequence. If a frame cannot be read, the scan looks for the next one that can, so that damage hides the frames that it
//! overlaps and no others. A candidate found so must verify as a whole, and the skipped bytes must have room for its
//! sequence: bytes that look like a record inside the payload of a damaged record are not taken for one.

use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::planted::{Bug, planted};

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader, PAD_HEADER_SIZE, SYNC_MARK_SIZE, SyncMark,
};
use crate::frames::{FoundRecord, Frame, Frames, Owner, TopicNames};
use crate::search::Search;

/// Most bytes that one misdirected write of a medium puts into a wrong place.
pub(crate) const PAGE: usize = 4096;

/// Bytes between sound frames in which no sound frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub from: u64,
    pub to: u64,
}

/// The result of scanning a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockScan {
    pub base: u64,
    /// The header, if it is intact, the owner's, and of this place.
    pub header: Option<BlockHeader>,
    pub records: Vec<FoundRecord>,
    /// In order, none next to another.
    pub holes: Vec<Hole>,
    /// The highest sequence that a mark names.
    pub marked: u64,
    /// The whole incarnation of the block, from a header or a mark.
    pub incarnation: Option<u32>,
    /// The low half of the incarnation, from a record, a header or a mark.
    pub low: Option<u16>,
    /// Position after the last sound frame.
    pub end: u64,
    /// Position after the last byte that is not zero.
    pub used_end: u64,
    /// CRC-32C of everything up to `end`.
    pub crc: u32,
    /// The frames reach the end of the block.
    pub closed: bool,
    /// An intact header of another log or data directory shows that the block is not the owner's.
    pub is_foreign: bool,
}

impl BlockScan {
    /// Whether the block holds only zeroes, so that it was never written to.
    pub(crate) fn is_blank(&self) -> bool {
        self.used_end == self.base
    }

    /// A lower bound of the log's next sequence at the end of the block. Without a header, records count only if they take
    /// more bytes than a misdirected write brings.
    pub(crate) fn has_reached(&self) -> u64 {
        let begins = self.header.map_or(0, |header| header.first_sequence);
        let bytes: u64 = self.records.iter().map(|found| u64::from(found.size)).sum();
        let counts = self.header.is_some() || bytes > PAGE as u64;
        let last = self.records.last().filter(|_| counts);
        last.map_or(0, |last| last.sequence + 1).max(begins)
    }

    /// Sequence that the block begins with: by its header, else by its first record.
    pub(crate) fn first_sequence(&self) -> Option<u64> {
        let header = self.header.map(|header| header.first_sequence);
        header.or_else(|| self.records.first().map(|record| record.sequence))
    }
}

/// Length of the bytes without trailing zeroes.
pub(crate) fn used_bytes(bytes: &[u8]) -> usize {
    const STEP: usize = 4096;
    let zeroes = [0; STEP];
    let mut chunks = bytes.chunks(STEP).enumerate().rev();
    let used = chunks.find(|(_, chunk)| *chunk != &zeroes[..chunk.len()]);
    used.map_or(0, |(number, chunk)| {
        let last = chunk.iter().rposition(|byte| *byte != 0);
        number * STEP + last.map_or(0, |last| last + 1)
    })
}

/// Scans a block of a segment, or the part of one that is there. The blocks before it have reached the sequence `least`.
pub(crate) fn scan_block(
    bytes: &[u8],
    base: u64,
    owner: Owner,
    names: &mut TopicNames,
    least: u64,
) -> BlockScan {
    let used = used_bytes(bytes);
    let found = BlockHeader::decode(bytes);
    let belongs = |header: &BlockHeader| owner.owns(header) && header.position() == base;
    let header = found.filter(|header| belongs(header) || planted(Bug::BelievesAnyHeader));
    // A header of this log that names another position came by a misdirected write, and hides what was there before.
    let astray = found.filter(|found| header.is_none() && owner.owns(found));
    let copied = astray.map_or(0, |astray| own_bytes((bytes, used), owner, &astray));
    let mut scanner = Scanner {
        frames: Frames::new(
            (bytes, used),
            base,
            (owner, header.as_ref()),
            (names, least),
        ),
        search: Search::default(),
        bytes,
        chains: header.map(|header| vec![header.chain]),
        scan: BlockScan {
            base,
            header,
            records: Vec::new(),
            holes: Vec::new(),
            marked: 0,
            incarnation: None,
            low: None,
            crc: 0,
            end: base,
            used_end: base + used as u64,
            closed: false,
            is_foreign: found.is_some() && header.is_none() && astray.is_none(),
        },
    };
    if scanner.scan.is_foreign {
        // No frame in it is the owner's.
        scanner.hole(0, used);
    } else {
        scanner.run(copied);
    }
    let Scanner {
        frames, mut scan, ..
    } = scanner;
    scan.incarnation = frames.incarnation();
    scan.low = frames.low();
    let end = usize::try_from(scan.end - base).expect("a block is 2 MiB");
    scan.crc = crc32c(&bytes[..end]);
    scan
}

/// Bytes at the beginning of a block that belong to its header, whatever position that names: the header, and the frames
/// that follow it without a hole.
pub(crate) fn own_bytes(
    (bytes, used): (&[u8], usize),
    owner: Owner,
    header: &BlockHeader,
) -> usize {
    let base = header.position();
    let mut names = TopicNames::default();
    let belongs = (owner, Some(header));
    let mut frames = Frames::new((bytes, used), base, belongs, (&mut names, 0));
    let mut at = BLOCK_HEADER_SIZE;
    while at < used
        && let Some(frame @ (Frame::Record(_) | Frame::Mark(_))) = frames.frame(at)
    {
        frames.learn(at, frame);
        at += frame.size();
    }
    at
}

struct Scanner<'a> {
    frames: Frames<'a>,
    search: Search,
    bytes: &'a [u8],
    /// The chain before each record of the block, and after the last one; `None` behind damage.
    chains: Option<Vec<u32>>,
    scan: BlockScan,
}

impl Scanner<'_> {
    /// Scans the block from a place on.
    fn run(&mut self, from: usize) {
        if from > 0 {
            self.hole(0, from);
        }
        let mut at = from;
        if self.scan.header.is_some() {
            at = BLOCK_HEADER_SIZE;
            self.scan.end += BLOCK_HEADER_SIZE as u64;
        }
        while at < self.frames.used() {
            let (from, frame) = match self.frame(at) {
                // Without its header a block has no frame at its first byte.
                Some(frame) if at > from => (at, frame),
                _ => match self.search.run(&mut self.frames, at) {
                    Some((found, frame)) => {
                        self.frames.pass(at, found);
                        self.hole(at, found);
                        (found, frame)
                    }
                    None => {
                        self.hole(at, self.frames.used());
                        return;
                    }
                },
            };
            at = self.take(from, frame);
            if self.scan.closed {
                return;
            }
        }
        self.scan.closed = at as u64 == BLOCK_BYTES;
    }

    /// Takes a frame, and returns the place after it.
    fn take(&mut self, at: usize, frame: Frame) -> usize {
        let position = self.scan.base + at as u64;
        self.frames.learn(at, frame);
        let to = match frame {
            Frame::Record(found) => {
                if let Some(chains) = &mut self.chains {
                    let chain = chains.last().copied().unwrap_or_default();
                    chains.push(crc32c_append(chain, &self.bytes[at + 20..at + 24]));
                }
                self.scan.records.push(found);
                at + found.size as usize
            }
            Frame::Body { size, .. } => {
                self.hole(at, at + size);
                return at + size;
            }
            Frame::Mark(mark) => {
                self.scan.marked = self.scan.marked.max(mark.sequence);
                at + SYNC_MARK_SIZE
            }
            Frame::Pad => {
                self.scan.closed = true;
                at + PAD_HEADER_SIZE
            }
        };
        self.scan.end = position + (to - at) as u64;
        to
    }

    fn hole(&mut self, from: usize, to: usize) {
        let base = self.scan.base;
        let (from, to) = (base + from as u64, base + to as u64);
        match self.scan.holes.last_mut() {
            Some(last) if last.to == from => last.to = to,
            _ => self.scan.holes.push(Hole { from, to }),
        }
        self.chains = None;
    }

    /// The frame at a place right behind the last one, unless it is a mark of other records.
    fn frame(&mut self, at: usize) -> Option<Frame> {
        let frame = self.frames.frame(at)?;
        let is_of_others = matches!(frame, Frame::Mark(mark) if !self.fits(&mark));
        (!is_of_others).then_some(frame)
    }

    /// Whether a mark's chain fits the records of the block. If not, the mark is about other records.
    fn fits(&self, mark: &SyncMark) -> bool {
        let Some((header, chains)) = self.scan.header.zip(self.chains.as_ref()) else {
            return true;
        };
        let here = mark.sequence.checked_sub(header.first_sequence);
        let chain = here.and_then(|here| chains.get(usize::try_from(here).ok()?));
        chain.is_none_or(|chain| *chain == mark.chain)
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::limits::Limits;
    use oyez_protocol::message::MessageRef;
    use oyez_protocol::record::{RecordBuilder, Stamp, stamp};
    use oyez_protocol::{LogId, Offset, Sequence};

    use super::*;

    const OWNER: Owner = Owner { log: 1, dir_id: 7 };

    fn record(sequence: u64) -> Vec<u8> {
        record_of(sequence, b"x")
    }

    fn record_of(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut builder = RecordBuilder::new("a", Limits::HARD).expect("a topic");
        let message = MessageRef::new(payload);
        builder.push(&message).expect("a small message");
        let mut bytes = Vec::new();
        builder.finish_stored(1, &mut bytes);
        stamp(
            &mut bytes,
            &Stamp {
                offset: Offset::new(sequence),
                sequence: Sequence::new(sequence),
                log: LogId::new(OWNER.log),
                timestamp_ms: 5,
                incarnation: 1,
            },
        );
        bytes
    }

    /// The beginning of a block with the records 0, 1, 2, ...; and where each begins.
    fn block(records: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; BLOCK_HEADER_SIZE];
        let header = BlockHeader {
            log: OWNER.log,
            incarnation: 1,
            chain: 0,
            number: 0,
            first_sequence: 0,
            timestamp_ms: 0,
            dir_id: OWNER.dir_id,
        };
        header.encode(&mut bytes);
        let mut places = Vec::new();
        for sequence in 0..records {
            places.push(bytes.len());
            bytes.extend_from_slice(&record(sequence));
        }
        (bytes, places)
    }

    fn sequences(scan: &BlockScan) -> Vec<u64> {
        scan.records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn a_damaged_byte_hides_the_record_that_it_is_in_and_nothing_else() {
        let (whole, places) = block(4);
        let scan = scan_block(&whole, 0, OWNER, &mut TopicNames::default(), 0);
        assert_eq!((sequences(&scan), scan.holes.len()), (vec![0, 1, 2, 3], 0));
        assert_eq!((scan.incarnation, scan.low), (Some(1), Some(1)));
        let (from, to) = (places[1], places[2]);
        for at in from..to {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let scan = scan_block(&bytes, 0, OWNER, &mut TopicNames::default(), 0);
            let hole = Hole {
                from: from as u64,
                to: to as u64,
            };
            assert_eq!(sequences(&scan), [0, 2, 3], "byte {at}");
            assert_eq!(scan.holes, [hole], "byte {at}");
            assert_eq!(scan.end, whole.len() as u64, "byte {at}");
        }
    }

    #[test]
    fn a_record_behind_damage_counts_only_with_a_sequence_that_fits_between() {
        let (mut bytes, places) = block(2);
        bytes[places[1]..].fill(0x55);
        let hole = bytes.len() - places[1];
        let scan_with = |sequence: u64| {
            let mut bytes = bytes.clone();
            bytes.extend_from_slice(&record(sequence));
            sequences(&scan_block(&bytes, 0, OWNER, &mut TopicNames::default(), 0))
        };
        let most = hole as u64 / u64::from(oyez_protocol::limits::RECORD_SIZE_MIN);
        assert_eq!(scan_with(1 + most), [0, 1 + most]);
        assert_eq!(scan_with(2 + most), [0], "so many do not fit");
        assert_eq!(scan_with(0), [0], "it was there before");
    }

    #[test]
    fn whole_records_of_a_misdirected_page_hide_what_they_lie_on_and_nothing_else() {
        let (mut bytes, _) = block(0);
        for sequence in 0..60 {
            let size = 1_700 + usize::try_from(sequence * 37 % 1_000).expect("small");
            bytes.extend_from_slice(&record_of(sequence, &vec![sequence as u8; size]));
        }
        let whole = bytes.clone();
        let found = scan_block(&whole, 0, OWNER, &mut TopicNames::default(), 0).records;
        for to in (0..whole.len() - 4_096).step_by(4_096) {
            for from in (0..whole.len() - 4_096).step_by(4_096) {
                bytes.copy_from_slice(&whole);
                bytes[to..to + 4_096].copy_from_slice(&whole[from..from + 4_096]);
                let stays = |record: &&FoundRecord| {
                    let (begins, ends) = (record.position as usize, record.end() as usize);
                    ends <= to || begins >= to + 4_096
                };
                let expected: Vec<u64> = found
                    .iter()
                    .filter(|record| from == to || stays(record))
                    .map(|record| record.sequence)
                    .collect();
                let scan = scan_block(&bytes, 0, OWNER, &mut TopicNames::default(), 0);
                assert_eq!(sequences(&scan), expected, "{from} over {to}");
            }
        }
    }

    #[test]
    fn without_its_header_a_block_tells_its_incarnation_by_its_records() {
        let (mut bytes, _) = block(2);
        bytes[..BLOCK_HEADER_SIZE].fill(0);
        let scan = scan_block(&bytes, 0, OWNER, &mut TopicNames::default(), 0);
        assert_eq!((sequences(&scan), scan.header), (vec![0, 1], None));
        assert_eq!((scan.incarnation, scan.low), (None, Some(1)));
        let other = Owner { dir_id: 8, ..OWNER };
        let (bytes, _) = block(2);
        let scan = scan_block(&bytes, 0, other, &mut TopicNames::default(), 0);
        assert!(scan.is_foreign && scan.records.is_empty());
        assert_eq!(scan.holes.len(), 1);
    }
}
