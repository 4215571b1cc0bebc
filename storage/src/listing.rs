//! The files of a log's directory by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::disk::Entry;
use crate::names::Kind;

/// The files of a log's directory, with the lengths of segments.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub state: bool,
    pub state_copy: bool,
    pub carried: bool,
    pub segments: BTreeMap<u64, u64>,
    pub footers: BTreeSet<u64>,
    pub unfinished: Vec<PathBuf>,
    pub unfinished_segments: Vec<(PathBuf, u64)>,
    pub set_aside: Vec<PathBuf>,
    pub foreign: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn of(dir: &Path, entries: &[Entry]) -> Self {
        let mut listing = Self::default();
        for entry in entries {
            let path = dir.join(&entry.name);
            match Kind::of(&entry.name) {
                _ if !entry.is_file => listing.foreign.push(path),
                Kind::State => listing.state = true,
                Kind::StateCopy => listing.state_copy = true,
                Kind::Carried => listing.carried = true,
                Kind::Segment(base) => drop(listing.segments.insert(base, entry.bytes)),
                Kind::Footer(base) => drop(listing.footers.insert(base)),
                Kind::UnfinishedSegment => listing.unfinished_segments.push((path, entry.bytes)),
                Kind::Unfinished => listing.unfinished.push(path),
                Kind::Aside => listing.set_aside.push(path),
                Kind::Foreign => listing.foreign.push(path),
            }
        }
        listing
    }
}
