//! The use of each byte of a data directory, by the description of the format and not by the code under test.

use std::collections::BTreeSet;
use std::ops::Range;

use oyez_protocol::header::kind;
use oyez_protocol::limits::RECORD_HEADER_SIZE;
use oyez_storage::{BLOCK_BYTES, BLOCK_HEADER_SIZE, PAD_HEADER_SIZE};

const BLOCK: usize = BLOCK_BYTES as usize;
/// Bytes of a footer before its tables.
const FOOTER_HEADER_SIZE: usize = 112;

/// The use of a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    BlockHeader,
    RecordHeader,
    RecordBody,
    Mark,
    Pad,
    /// A record that recovery has copied elsewhere since, or that is not known.
    Superseded,
    FooterHeader,
    FooterTable,
    State,
    Carried,
    Meta,
    Other,
    /// Not used: zeroes behind the last frame or behind a pad.
    Unused,
}

impl Part {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BlockHeader => "block header",
            Self::RecordHeader => "record header",
            Self::RecordBody => "record body",
            Self::Mark => "mark",
            Self::Pad => "pad",
            Self::Superseded => "superseded record",
            Self::FooterHeader => "footer header",
            Self::FooterTable => "footer table",
            Self::State => "state",
            Self::Carried => "carried",
            Self::Meta => "meta",
            Self::Other => "other file",
            Self::Unused => "unused bytes",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: Range<usize>,
    pub(crate) part: Part,
}

/// The kind of a file, by its name or, for the small ones, by what it begins with: a second copy may have any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Segment,
    Footer,
    State,
    Carried,
    Meta,
    Other,
}

impl Sort {
    pub(crate) fn of(name: &str, bytes: &[u8]) -> Self {
        match bytes.get(..8) {
            _ if name.ends_with(".seg") => Self::Segment,
            _ if name.ends_with(".idx") => Self::Footer,
            Some(b"OYEZDIR1") => Self::Meta,
            Some(b"OYEZLOG1") => Self::State,
            Some(b"OYEZTOP1") => Self::Carried,
            _ => Self::Other,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Footer => "footer",
            Self::State => "state",
            Self::Carried => "carried",
            Self::Meta => "meta",
            Self::Other => "other file",
        }
    }
}

/// The position that a segment begins with; 0 for other files.
pub(crate) fn base_of(name: &str) -> u64 {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = file.split('.').next().unwrap_or(file);
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// The used ranges of a file. `live` has the positions of the records that count.
pub(crate) fn spans(name: &str, bytes: &[u8], live: &BTreeSet<u64>) -> Vec<Span> {
    let whole = |part| {
        vec![Span {
            at: 0..bytes.len(),
            part,
        }]
    };
    match Sort::of(name, bytes) {
        Sort::Segment => segment(bytes, base_of(name), live),
        Sort::Footer => {
            let header = FOOTER_HEADER_SIZE.min(bytes.len());
            let span = |at, part| Span { at, part };
            vec![
                span(0..header, Part::FooterHeader),
                span(header..bytes.len(), Part::FooterTable),
            ]
        }
        Sort::State => whole(Part::State),
        Sort::Carried => whole(Part::Carried),
        Sort::Meta => whole(Part::Meta),
        Sort::Other => whole(Part::Other),
    }
}

fn segment(bytes: &[u8], base: u64, live: &BTreeSet<u64>) -> Vec<Span> {
    let mut out = Vec::new();
    for from in (0..bytes.len()).step_by(BLOCK) {
        let block = &bytes[..bytes.len().min(from + BLOCK)];
        frames(block, from, &mut out, |at| live.contains(&(base + at)));
    }
    out
}

/// The frames of the block that begins at `from` and ends where `bytes` do.
fn frames(bytes: &[u8], from: usize, out: &mut Vec<Span>, is_live: impl Fn(u64) -> bool) {
    let mut at = from;
    while let Some(head) = bytes.get(at..at + 8) {
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if size < 8 || at + size > bytes.len() || (at == from) != (head[4] == kind::BLOCK_HEADER) {
            return;
        }
        let mut push = |at, part| out.push(Span { at, part });
        match head[4] {
            kind::BLOCK_HEADER => push(at..at + BLOCK_HEADER_SIZE, Part::BlockHeader),
            kind::SYNC_MARK => push(at..at + size, Part::Mark),
            kind::PAD => push(at..at + PAD_HEADER_SIZE, Part::Pad),
            kind::RECORD if is_live(at as u64) => {
                let body = at + RECORD_HEADER_SIZE;
                push(at..body, Part::RecordHeader);
                push(body..at + size, Part::RecordBody);
            }
            kind::RECORD => push(at..at + size, Part::Superseded),
            _ => push(at..at + size, Part::Other),
        }
        at += size;
    }
}

/// The use of a byte of a file.
pub(crate) fn part_at(spans: &[Span], at: usize) -> Part {
    let span = spans.iter().find(|span| span.at.contains(&at));
    span.map_or(Part::Unused, |span| span.part)
}

/// The first byte behind everything used.
pub(crate) fn used(spans: &[Span]) -> usize {
    spans.last().map_or(0, |span| span.at.end)
}
