//! Footers: the index of a sealed segment, in a file of its own.
//!
//! The rows stand in the order in which the topics came into the segment, so that the row number which the log holds
//! for an open segment stays right when it is sealed. No look-up by name happens in a footer.
//!
//! A footer is kept in memory, not mapped, as look-ups must not meet a page that cannot be read. It takes as much memory as
//! disk space: 16 bytes for each record, 32 and the name for each topic in the segment, 8 for each block. *A segment of 64 MiB
//! with records of 200 bytes: 5.4 MB; with records of 4 KiB: 0.3 MB.*

use bytes::Bytes;
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Position, Sequence};

use crate::format::{
    BLOCK_BYTES, FORMAT_VERSION, intact_version, seal_file, u16_at, u32_at, u64_at,
};
use crate::index::LiveIndex;
use crate::packed_place::{PLACE_SIZE, PackedPlace};
use crate::values::Gap;

const MAGIC: [u8; 8] = *b"OYEZIDX1";
const HEADER_SIZE: usize = 112;
const SUM_SIZE: usize = 8;
const GAP_SIZE: usize = 32;
const ROW_SIZE: usize = 32;
/// Most bytes of a footer: a record takes more bytes than its place, its row and its name.
pub(crate) const FOOTER_BYTES_MAX: usize = crate::options::SEGMENT_BYTES_MAX as usize;

/// Checksum of the used bytes of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockSum {
    pub crc: u32,
    pub bytes: u32,
}

/// The header of a footer, with its checksums and gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FooterHead {
    pub log: u16,
    pub incarnation: u32,
    pub base: u64,
    /// Position after the last frame.
    pub end: u64,
    pub segment_bytes: u64,
    pub first_sequence: u64,
    pub next_sequence: u64,
    pub last_ms: u64,
    pub dir_id: u64,
    pub sums: Vec<BlockSum>,
    pub gaps: Vec<Gap>,
}

/// A topic's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    name_at: u32,
    name_size: u16,
    first_place: u32,
    pub places: u32,
    pub bytes: u64,
    /// Offset after the topic's last message in the segment.
    pub next: u64,
}

/// The footer's bytes.
pub(crate) fn encode(head: &FooterHead, live: &LiveIndex) -> Vec<u8> {
    let narrow = |value: usize| u32::try_from(value).expect("a segment holds fewer than 2^32");
    let names: usize = live.topics.iter().map(|topic| topic.name.len()).sum();
    let names = names.next_multiple_of(8);
    let places: usize = live.topics.iter().map(|topic| topic.places.len()).sum();
    let mut out = Vec::with_capacity(
        HEADER_SIZE
            + head.sums.len() * SUM_SIZE
            + head.gaps.len() * GAP_SIZE
            + live.topics.len() * ROW_SIZE
            + names
            + places * PLACE_SIZE,
    );
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.log.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&head.incarnation.to_le_bytes());
    for value in [
        head.base,
        head.end,
        head.segment_bytes,
        head.first_sequence,
        head.next_sequence,
        head.last_ms,
        head.dir_id,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for count in [
        head.sums.len(),
        head.gaps.len(),
        live.topics.len(),
        names,
        places,
        0,
    ] {
        out.extend_from_slice(&narrow(count).to_le_bytes());
    }
    out.resize(HEADER_SIZE, 0);
    encode_tables(head, live, names, &mut out);
    seal_file(&mut out);
    out
}

fn encode_tables(head: &FooterHead, live: &LiveIndex, names: usize, out: &mut Vec<u8>) {
    for sum in &head.sums {
        out.extend_from_slice(&sum.crc.to_le_bytes());
        out.extend_from_slice(&sum.bytes.to_le_bytes());
    }
    for gap in &head.gaps {
        for value in [
            gap.from.get(),
            gap.to.get(),
            gap.first_sequence.get(),
            gap.next_sequence.get(),
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    let (mut name_at, mut first_place) = (0u32, 0u32);
    for topic in &live.topics {
        let name_size = u16::try_from(topic.name.len()).expect("a topic has at most 255 bytes");
        let places = u32::try_from(topic.places.len()).expect("fewer than 2^32 records");
        out.extend_from_slice(&name_at.to_le_bytes());
        out.extend_from_slice(&name_size.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&first_place.to_le_bytes());
        out.extend_from_slice(&places.to_le_bytes());
        out.extend_from_slice(&topic.bytes.to_le_bytes());
        let next = topic.places.last().map_or(0, |place| place.next());
        out.extend_from_slice(&next.to_le_bytes());
        name_at += u32::from(name_size);
        first_place += places;
    }
    let start = out.len();
    for topic in &live.topics {
        out.extend_from_slice(topic.name.as_bytes());
    }
    out.resize(start + names, 0);
    for place in live.topics.iter().flat_map(|topic| &topic.places) {
        out.extend_from_slice(&place.encode());
    }
}

/// A footer, as the bytes of its file.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    bytes: Bytes,
    rows: usize,
    row_count: u32,
    names: usize,
    places: usize,
}

impl Footer {
    /// Opens the bytes of a file. `None` if they are not an intact footer of this format.
    pub(crate) fn open(bytes: Vec<u8>) -> Option<(Self, FooterHead)> {
        // Versions 1 and 2 have the same footers; a segment with another one is scanned.
        let version = match intact_version(&bytes, MAGIC) {
            Err(_) if planted(Bug::BelievesAnyFooter) => FORMAT_VERSION,
            version => version.ok()?,
        };
        let sound = bytes.len() >= HEADER_SIZE && (1..=FORMAT_VERSION).contains(&version);
        let footer = sound.then(|| Self::written(bytes)).flatten()?;
        let gaps = HEADER_SIZE + u32_at(&footer.bytes, 80) as usize * SUM_SIZE;
        let head = decode_head(&footer.bytes, gaps, footer.rows);
        footer.is_consistent(&head).then_some((footer, head))
    }

    /// Whether everything that the footer refers to is there. A right checksum does not prove that for bytes that
    /// somebody made up.
    fn is_consistent(&self, head: &FooterHead) -> bool {
        let places = (self.bytes.len() - self.places) / PLACE_SIZE;
        let names = self.places - self.names;
        let row_is_sound = |slot| {
            let row = self.topic(slot);
            let last_place = row.first_place as usize + row.places as usize;
            let last_byte = row.name_at as usize + usize::from(row.name_size);
            row.places > 0 && last_place <= places && last_byte <= names
        };
        let blocks = head.segment_bytes.div_ceil(BLOCK_BYTES);
        let limit = head.base.checked_add(head.segment_bytes);
        let lost = head.gaps.iter().map(|gap| {
            let (first, next) = (gap.first_sequence.get(), gap.next_sequence.get());
            next.saturating_sub(first)
        });
        let lost = lost.fold(places as u64, u64::saturating_add);
        head.sums.len() as u64 == blocks
            && limit.is_some_and(|limit| (head.base..=limit).contains(&head.end))
            && head.first_sequence <= head.next_sequence
            && head.next_sequence - head.first_sequence <= lost
            && (0..self.row_count).all(row_is_sound)
    }

    /// Opens bytes that [`encode`] has just made. `None` if their sizes do not add up.
    pub(crate) fn written(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Bytes::from(bytes);
        let header = bytes.first_chunk::<HEADER_SIZE>()?;
        let count = |number: usize| u32_at(header, 80 + number * 4) as usize;
        let gaps = HEADER_SIZE + count(0) * SUM_SIZE;
        let rows = gaps + count(1) * GAP_SIZE;
        let names = rows + count(2) * ROW_SIZE;
        let places = names + count(3);
        if places + count(4) * PLACE_SIZE != bytes.len() {
            return None;
        }
        let row_count = u32_at(header, 88);
        Some(Self {
            bytes,
            rows,
            row_count,
            names,
            places,
        })
    }

    pub(crate) fn rows(&self) -> u32 {
        self.row_count
    }

    pub(crate) fn topic(&self, slot: u32) -> Row {
        let at = self.rows + slot as usize * ROW_SIZE;
        let row = &self.bytes[at..at + ROW_SIZE];
        Row {
            name_at: u32_at(row, 0),
            name_size: u16_at(row, 4),
            first_place: u32_at(row, 8),
            places: u32_at(row, 12),
            bytes: u64_at(row, 16),
            next: u64_at(row, 24),
        }
    }

    /// The topic's name. `None` if it is not UTF-8, which the checksum excludes unless somebody made the footer up.
    pub(crate) fn name(&self, row: &Row) -> Option<&str> {
        let at = self.names + row.name_at as usize;
        std::str::from_utf8(&self.bytes[at..at + usize::from(row.name_size)]).ok()
    }

    pub(crate) fn places(&self, slot: u32) -> usize {
        self.topic(slot).places as usize
    }

    pub(crate) fn place(&self, slot: u32, number: usize) -> PackedPlace {
        self.row_place(&self.topic(slot), number)
    }

    pub(crate) fn row_place(&self, row: &Row, number: usize) -> PackedPlace {
        let at = self.places + (row.first_place as usize + number) * PLACE_SIZE;
        PackedPlace::decode(&self.bytes[at..at + PLACE_SIZE])
    }
}

fn decode_head(bytes: &[u8], gaps: usize, rows: usize) -> FooterHead {
    let sums = bytes[HEADER_SIZE..gaps].chunks_exact(SUM_SIZE);
    let gaps = bytes[gaps..rows].chunks_exact(GAP_SIZE);
    FooterHead {
        log: u16_at(bytes, 16),
        incarnation: u32_at(bytes, 20),
        base: u64_at(bytes, 24),
        end: u64_at(bytes, 32),
        segment_bytes: u64_at(bytes, 40),
        first_sequence: u64_at(bytes, 48),
        next_sequence: u64_at(bytes, 56),
        last_ms: u64_at(bytes, 64),
        dir_id: u64_at(bytes, 72),
        sums: sums
            .map(|sum| BlockSum {
                crc: u32_at(sum, 0),
                bytes: u32_at(sum, 4),
            })
            .collect(),
        gaps: gaps
            .map(|gap| Gap {
                from: Position::new(u64_at(gap, 0)),
                to: Position::new(u64_at(gap, 8)),
                first_sequence: Sequence::new(u64_at(gap, 16)),
                next_sequence: Sequence::new(u64_at(gap, 24)),
            })
            .collect(),
    }
}
