//! Misplaced segments: files that stand under the name of another segment, as after a restore that mixed them up.

use std::collections::BTreeMap;
use std::path::Path;

use oyez_protocol::planted::{Bug, planted};

use crate::disk::Disk;
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, BlockHeader};
use crate::frames::Owner;
use crate::listing::Listing;
use crate::names::segment_name;
use crate::scan::{PAGE, own_bytes, used_bytes};

/// Finds misplaced segments in a log's directory.
pub(crate) struct MisplacedSegments<'a> {
    pub disk: &'a mut dyn Disk,
    pub path: &'a Path,
    pub owner: Owner,
}

impl MisplacedSegments<'_> {
    /// Gives misplaced segments their own names back. A segment stays where it is, and is unreadable, if the file system
    /// cannot exchange names, or if the right file is there already.
    pub(crate) fn restore_names(mut self, listing: &mut Listing) {
        let mut places = BTreeMap::new();
        for (&base, &bytes) in &listing.segments {
            places.insert(base, self.place(base, bytes));
        }
        let misplaced = |places: &BTreeMap<u64, Option<u64>>| {
            let mut places_by_base = places.iter();
            places_by_base.find_map(|(&at, &place)| {
                let place = place.filter(|place| *place != at)?;
                let taken = places
                    .get(&place)
                    .is_some_and(|there| *there == Some(place));
                (!taken).then_some((at, place))
            })
        };
        while let Some((at, place)) = misplaced(&places) {
            if !self.change_names(at, place, places.contains_key(&place)) {
                // It is not tried again: it counts as in place, and its blocks as those of another segment.
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

    /// The base position that the headers of a segment's blocks name. That is `base` if any header names it, as a single
    /// block may have been misdirected; else the one that the first header names that is followed by frames of its own.
    fn place(&mut self, base: u64, bytes: u64) -> Option<u64> {
        let path = self.path.join(segment_name(base));
        let mut first = None;
        for at in (0..bytes).step_by(BLOCK_BYTES as usize) {
            let mut header = [0; BLOCK_HEADER_SIZE];
            let read = self.disk.read(&path, at, &mut header).unwrap_or(0);
            let position = self.owner.position_of(&header[..read]);
            let place = position.and_then(|position| position.checked_sub(at));
            if place == Some(base) || (place.is_some() && planted(Bug::BelievesTheFirstHeader)) {
                return place;
            }
            if first.is_none() && place.is_some() && self.is_whole(&path, at) {
                first = place;
            }
        }
        first
    }

    /// Whether more bytes than a misdirected write brings belong to the block's header.
    fn is_whole(&mut self, path: &Path, at: u64) -> bool {
        let mut block = vec![0; BLOCK_BYTES as usize];
        let read = self.disk.read(path, at, &mut block).unwrap_or(0);
        block.truncate(read);
        let used = used_bytes(&block);
        BlockHeader::decode(&block).is_some_and(|header| {
            let own = own_bytes((&block, used), self.owner, &header);
            // Unused bytes are zeroes, and the end of a header may be zeroes, too.
            own > PAGE || own >= used
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BlockHeader;
    use crate::memory_disk::MemoryDisk;

    const OWNER: Owner = Owner { log: 1, dir_id: 7 };

    /// Puts a segment whose first block names another base, with so many foreign bytes behind its header.
    fn put_with(disk: &MemoryDisk, name: u64, says: u64, rest: usize) {
        let mut bytes = vec![0; BLOCK_HEADER_SIZE];
        let header = BlockHeader {
            log: OWNER.log,
            incarnation: 1,
            chain: 0,
            number: says / BLOCK_BYTES,
            first_sequence: 0,
            timestamp_ms: 0,
            dir_id: OWNER.dir_id,
        };
        header.encode(&mut bytes);
        bytes.resize(BLOCK_HEADER_SIZE + rest, 7);
        disk.replace(&Path::new("/log").join(segment_name(name)), &bytes);
    }

    fn put(disk: &MemoryDisk, name: u64, says: u64) {
        put_with(disk, name, says, 0);
    }

    /// The names in the directory afterwards, each with whether the listing knows it.
    fn restore_names(disk: &MemoryDisk) -> Vec<(String, bool)> {
        let path = Path::new("/log");
        let mut handle = disk.clone();
        let mut listing = Listing::of(path, &handle.list(path).expect("it is there"));
        MisplacedSegments {
            disk: &mut handle,
            path,
            owner: OWNER,
        }
        .restore_names(&mut listing);
        let known = |name: &str| {
            listing
                .segments
                .keys()
                .any(|base| segment_name(*base) == name)
        };
        let entries = handle.list(path).expect("it is there").into_iter();
        let mut names: Vec<_> = entries
            .map(|entry| (entry.name.clone(), known(&entry.name)))
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn segments_under_each_others_names_exchange_them_and_a_lone_one_gets_its_own() {
        let disk = MemoryDisk::new();
        let blocks = [0, BLOCK_BYTES, 2 * BLOCK_BYTES, 4 * BLOCK_BYTES];
        put(&disk, blocks[0], blocks[1]);
        put(&disk, blocks[1], blocks[0]);
        put(&disk, blocks[2], blocks[3]);
        let names = restore_names(&disk);
        let expected = [blocks[0], blocks[1], blocks[3]];
        assert_eq!(names, expected.map(|base| (segment_name(base), true)));
        for base in expected {
            let path = Path::new("/log").join(segment_name(base));
            let bytes = disk.content(&path).expect("it is there");
            assert_eq!(OWNER.position_of(&bytes), Some(base));
        }
    }

    #[test]
    fn a_header_without_frames_of_its_own_moves_no_segment() {
        let disk = MemoryDisk::new();
        put_with(&disk, BLOCK_BYTES, 0, 100_000);
        let names = restore_names(&disk);
        assert_eq!(names, [(segment_name(BLOCK_BYTES), true)]);
    }

    #[test]
    fn a_segment_whose_name_is_rightly_taken_stays_where_it_is() {
        let disk = MemoryDisk::new();
        put(&disk, 0, 0);
        put(&disk, BLOCK_BYTES, 0);
        let names = restore_names(&disk);
        assert_eq!(
            names,
            [0, BLOCK_BYTES].map(|base| (segment_name(base), true))
        );
        let path = Path::new("/log").join(segment_name(BLOCK_BYTES));
        let bytes = disk.content(&path).expect("it is there");
        assert_eq!(OWNER.position_of(&bytes), Some(0));
    }
}
