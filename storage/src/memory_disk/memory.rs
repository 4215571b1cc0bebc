//! A file of the memory disk: its bytes, which sectors the medium does not have yet, and which it does not give back.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::sys::map::Map;

/// What a disk is surely able to write at once.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub map: Option<Arc<Map>>,
    /// Sectors that differ from the medium, with what the medium has.
    pub unsynced: BTreeMap<usize, [u8; SECTOR]>,
    /// Ranges whose reads fail.
    pub unreadable: Vec<Range<u64>>,
}

impl Memory {
    /// A durable file.
    pub(super) fn new(content: &[u8]) -> io::Result<Self> {
        let map = Map::anonymous(content.len() as u64)?;
        map.store(0, content);
        Ok(Self {
            map: Some(Arc::new(map)),
            ..Self::default()
        })
    }

    /// Lets whoever maps the file find missing what cannot be read.
    pub(super) fn tear(&self) {
        let place = |at| usize::try_from(at).expect("a file in memory");
        for range in &self.unreadable {
            self.map().tear(&(place(range.start)..place(range.end)));
        }
    }

    /// Cuts the file, or lengthens it with zeroes. A holder of the old map keeps it.
    pub(super) fn resize(&mut self, len: usize) {
        let map = Map::anonymous(len as u64).expect("memory for the file");
        let kept = len.min(self.map().all().len());
        map.store(0, self.map().bytes(0..kept));
        self.map = Some(Arc::new(map));
        let sectors = len.div_ceil(SECTOR);
        self.unsynced.retain(|sector, _| *sector < sectors);
    }

    pub(super) fn read(&self, at: u64, out: &mut [u8]) -> io::Result<usize> {
        let all = self.map().all();
        let from = usize::try_from(at).map_or(all.len(), |at| at.min(all.len()));
        let len = out.len().min(all.len() - from);
        let end = at + len as u64;
        let bad = |range: &Range<u64>| range.start < end && at < range.end;
        if self.unreadable.iter().any(bad) {
            return Err(error(libc::EIO));
        }
        out[..len].copy_from_slice(&all[from..from + len]);
        Ok(len)
    }

    pub(super) fn map(&self) -> &Arc<Map> {
        self.map.as_ref().expect("every file has content")
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if at + bytes.len() > self.map().all().len() {
            // It was cut meanwhile, and grows again as a file does.
            self.resize(at + bytes.len());
        }
        let map = Arc::clone(self.map());
        let last = (at + bytes.len()).div_ceil(SECTOR);
        for sector in at / SECTOR..last {
            self.unsynced.entry(sector).or_insert_with(|| {
                let mut old = [0; SECTOR];
                let from = sector * SECTOR;
                let len = SECTOR.min(map.all().len() - from);
                old[..len].copy_from_slice(map.bytes(from..from + len));
                old
            });
        }
        map.store(at, bytes);
    }

    /// Makes the bytes of a range durable, and no others of their sectors.
    pub(super) fn sync(&mut self, range: Range<usize>) {
        let map = Arc::clone(self.map());
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let base = sector * SECTOR;
            let Some(old) = self.unsynced.get_mut(&sector) else {
                continue;
            };
            let (from, to) = (range.start.max(base), range.end.min(base + SECTOR));
            old[from - base..to - base].copy_from_slice(map.bytes(from..to));
            let end = map.all().len().min(base + SECTOR);
            if map.bytes(base..end) == &old[..end - base] {
                self.unsynced.remove(&sector);
            }
        }
    }
}

/// Copies what is not zero: segments are mostly untouched memory, and stay so.
pub(super) fn copy_used(from: &Map, to: &Map) {
    let len = from.all().len();
    for start in (0..len).step_by(SECTOR) {
        let bytes = from.bytes(start..len.min(start + SECTOR));
        if bytes != &[0; SECTOR][..bytes.len()] {
            to.store(start, bytes);
        }
    }
}

pub(super) fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_of_a_range_makes_its_bytes_durable_and_not_those_beside_them() {
        let mut file = Memory {
            map: Some(Arc::new(Map::anonymous(4096).expect("memory"))),
            ..Memory::default()
        };
        file.write(100, &[1; 1000]);
        file.write(300, &[2; 1000]);
        file.sync(300..1300);
        // Of the sectors from 0, 512 and 1024 the first alone has bytes that are not durable.
        let left: Vec<_> = file.unsynced.keys().copied().collect();
        assert_eq!(left, [0]);
        let medium = file.unsynced[&0];
        assert_eq!(medium[..300], [0; 300]);
        assert_eq!(medium[300..], [2; SECTOR - 300]);
    }
}
