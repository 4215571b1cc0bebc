//! The files of a log's directory by what they are, and segments that stand under the name of another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::disk::Entry;
use crate::error::OpenError;
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_SIZE};
use crate::names::{Kind, segment_name};
use crate::survey::Surveyor;

/// What a directory holds, with the lengths of segments.
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

impl Surveyor<'_> {
    /// Gives segments that stand under the name of another one their own names back, as after a restore that mixed them
    /// up. Where the file system cannot, or where the right file is there already, they stay: they are unreadable then.
    pub(crate) fn put_in_place(&mut self, listing: &mut Listing) -> Result<(), OpenError> {
        let mut places = BTreeMap::new();
        for (&base, &bytes) in &listing.segments {
            places.insert(base, self.place(base, bytes));
        }
        let astray = |places: &BTreeMap<u64, Option<u64>>| {
            let mut stray = places.iter();
            stray.find_map(|(&at, &place)| {
                let place = place.filter(|place| *place != at)?;
                let taken = places
                    .get(&place)
                    .is_some_and(|there| *there == Some(place));
                (!taken).then_some((at, place))
            })
        };
        while let Some((at, place)) = astray(&places) {
            if !self.change_names(at, place, places.contains_key(&place)) {
                // Not tried again; it counts as in place, and its blocks as another's.
                places.insert(at, None);
                continue;
            }
            let bytes = listing.segments.remove(&at).unwrap_or(0);
            let (other, other_bytes) = (places.remove(&place), listing.segments.remove(&place));
            places.remove(&at);
            places.insert(place, Some(place));
            listing.segments.insert(place, bytes);
            if let Some(other) = other {
                places.insert(at, other);
                listing.segments.insert(at, other_bytes.unwrap_or(0));
            }
        }
        Ok(())
    }

    fn change_names(&mut self, at: u64, place: u64, exchange: bool) -> bool {
        let (from, to) = (
            self.path.join(segment_name(at)),
            self.path.join(segment_name(place)),
        );
        let changed = match exchange {
            true => self.disk.exchange(&from, &to),
            false => self.disk.rename(&from, &to),
        };
        changed.is_ok()
    }

    /// The base position that a segment's blocks say it has: its own if any says so, as a single block may have been
    /// written to the wrong place; else what the first says that tells.
    fn place(&mut self, base: u64, bytes: u64) -> Option<u64> {
        let path = self.path.join(segment_name(base));
        let mut first = None;
        for at in (0..bytes).step_by(BLOCK_BYTES as usize) {
            let mut header = [0; BLOCK_HEADER_SIZE];
            let read = self.disk.read(&path, at, &mut header).unwrap_or(0);
            let position = self.owner().position_of(&header[..read]);
            let place = position.and_then(|position| position.checked_sub(at));
            if place == Some(base) {
                return place;
            }
            first = first.or(place);
        }
        first
    }
}
