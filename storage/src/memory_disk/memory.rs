//! A file of the memory disk: its bytes, the sectors that are not on the medium yet, and the ranges that cannot be read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::scan::used_bytes;
use crate::sys::map::Map;

/// Bytes that a disk writes atomically.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub map: Option<Arc<Map>>,
    /// All bytes from here on were never written, and are zero.
    pub used: usize,
    /// Writes so far.
    version: u64,
    /// Sectors that differ from the medium.
    pub unsynced: BTreeMap<usize, Unsynced>,
    /// Ranges whose reads fail.
    pub unreadable: Vec<Range<u64>>,
}

/// A sector that differs from the medium.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// What the medium has.
    pub medium: [u8; SECTOR],
    /// The number of the write that `medium` is as of.
    version: u64,
    /// A sync of it has failed. The kernel reports that once and treats the sector as clean from then on: no later sync
    /// writes it, until it is written again.
    forsaken: bool,
}

/// The sectors that differed from the medium when a sync started, with their content.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub sectors: Vec<(usize, [u8; SECTOR])>,
    version: u64,
}

impl Noted {
    /// Takes in newer bytes that a sync of a range has made durable meanwhile.
    pub(super) fn renew(&mut self, map: &Map, range: &Range<usize>) {
        for (sector, bytes) in &mut self.sectors {
            let base = *sector * SECTOR;
            let (from, to) = (range.start.max(base), range.end.min(base + SECTOR));
            if from < to {
                bytes[from - base..to - base].copy_from_slice(map.bytes(from..to));
            }
        }
    }
}

impl Memory {
    /// A durable file of zeroes.
    pub(super) fn zeroes(len: u64) -> io::Result<Self> {
        Ok(Self {
            map: Some(Arc::new(Map::anonymous(len)?)),
            ..Self::default()
        })
    }

    /// A durable file.
    pub(super) fn new(content: &[u8]) -> io::Result<Self> {
        let mut file = Self::zeroes(content.len() as u64)?;
        file.store(0, content);
        Ok(file)
    }

    /// The file after a crash, in memory of its own. After a power cut, `lost` decides for each sector that differs from the
    /// medium whether it is lost.
    pub(super) fn remains(
        mut self,
        power: bool,
        mut lost: impl FnMut() -> bool,
    ) -> io::Result<Self> {
        let map = self.own_map()?;
        if power {
            for (sector, old) in std::mem::take(&mut self.unsynced) {
                if lost() {
                    let at = sector * SECTOR;
                    let len = SECTOR.min(map.all().len() - at);
                    map.store(at, &old.medium[..len]);
                }
            }
        }
        self.map = Some(map);
        self.mark_unreadable();
        Ok(self)
    }

    /// A map of the same content that is not shared: readers of the old store may still use the old one.
    fn own_map(&mut self) -> io::Result<Arc<Map>> {
        let old = self.map.take().expect("every file has content");
        if Arc::strong_count(&old) == 1 && !old.is_unreadable(0..old.all().len()) {
            return Ok(old);
        }
        let map = Map::anonymous(old.len())?;
        copy_used(&old, self.used, &map);
        Ok(Arc::new(map))
    }

    /// Stores bytes, which count as durable unless their sector is unsynced.
    pub(super) fn store(&mut self, at: usize, bytes: &[u8]) {
        self.map().store(at, bytes);
        self.used = self.used.max(at + bytes.len());
    }

    /// The bytes up to the last one that is not zero.
    pub(super) fn used_bytes(&self) -> usize {
        used_bytes(self.map().bytes(0..self.used))
    }

    /// Marks the unreadable ranges in the map of the file.
    pub(super) fn mark_unreadable(&self) {
        let place = |at| usize::try_from(at).expect("a file in memory");
        for range in &self.unreadable {
            self.map()
                .mark_unreadable(&(place(range.start)..place(range.end)));
        }
    }

    /// Cuts the file, or lengthens it with zeroes. A holder of the old map keeps it.
    pub(super) fn resize(&mut self, len: usize) {
        let map = Map::anonymous(len as u64).expect("memory for the file");
        self.used = self.used.min(len);
        copy_used(self.map(), self.used, &map);
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

    /// Whether a range is durable and can be read.
    pub(super) fn is_sound(&self, range: &Range<usize>) -> bool {
        let sectors = range.start / SECTOR..range.end.div_ceil(SECTOR);
        let (start, end) = (range.start as u64, range.end as u64);
        let mut bad = self.unreadable.iter();
        self.unsynced.range(sectors).next().is_none()
            && !bad.any(|bad| bad.start < end && start < bad.end)
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
            let unsynced = self.unsynced.entry(sector).or_insert_with(|| Unsynced {
                medium: sector_of(&map, sector),
                version: self.version,
                forsaken: false,
            });
            unsynced.forsaken = false;
        }
        self.version += 1;
        self.store(at, bytes);
    }

    /// The sectors that a sync which starts now makes durable.
    pub(super) fn note(&self) -> Noted {
        let dirty = self.unsynced.iter().filter(|(_, old)| !old.forsaken);
        let note = |sector: &usize| (*sector, sector_of(self.map(), *sector));
        Noted {
            sectors: dirty.map(|(sector, _)| note(sector)).collect(),
            version: self.version,
        }
    }

    /// Notes that a sync of these sectors has failed.
    pub(super) fn forsake(&mut self, noted: &Noted) {
        for (sector, _) in &noted.sectors {
            if let Some(unsynced) = self.unsynced.get_mut(sector) {
                unsynced.forsaken |= unsynced.version <= noted.version;
            }
        }
    }

    /// Notes that a sync of a range has failed.
    pub(super) fn forsake_range(&mut self, range: &Range<usize>) {
        let sectors = range.start / SECTOR..range.end.div_ceil(SECTOR);
        for (_, unsynced) in self.unsynced.range_mut(sectors) {
            unsynced.forsaken = true;
        }
    }

    /// Makes the sectors that a sync has noted durable, or those of them for which `reached` returns true. Later writes stay
    /// unsynced.
    pub(super) fn settle(&mut self, noted: &Noted, mut reached: impl FnMut() -> bool) {
        let map = Arc::clone(self.map());
        for (sector, bytes) in noted.sectors.iter().filter(|_| reached()) {
            let Some(unsynced) = self.unsynced.get_mut(sector) else {
                continue;
            };
            if sector_of(&map, *sector) == *bytes {
                self.unsynced.remove(sector);
            } else if unsynced.version <= noted.version {
                // A sync that started later may have ended before.
                unsynced.medium = *bytes;
                unsynced.version = noted.version;
            }
        }
    }

    /// Makes the bytes of a range durable, and no others of their sectors.
    pub(super) fn sync(&mut self, range: Range<usize>) {
        let map = Arc::clone(self.map());
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let base = sector * SECTOR;
            let Some(Unsynced {
                medium: old,
                forsaken: false,
                ..
            }) = self.unsynced.get_mut(&sector)
            else {
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

/// The content of a sector; zeroes beyond the end of the file.
fn sector_of(map: &Map, sector: usize) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let from = sector * SECTOR;
    let len = SECTOR.min(map.all().len().saturating_sub(from));
    bytes[..len].copy_from_slice(map.bytes(from..from + len));
    bytes
}

/// Copies the bytes that are not zero: segments are mostly untouched memory, and stay so.
fn copy_used(from: &Map, len: usize, to: &Map) {
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
        let mut file = Memory::zeroes(4096).expect("memory");
        file.write(100, &[1; 1000]);
        file.write(300, &[2; 1000]);
        file.sync(300..1300);
        // Of the sectors from 0, 512 and 1024 the first alone has bytes that are not durable.
        let left: Vec<_> = file.unsynced.keys().copied().collect();
        assert_eq!(left, [0]);
        let medium = file.unsynced[&0].medium;
        assert_eq!(medium[..300], [0; 300]);
        assert_eq!(medium[300..], [2; SECTOR - 300]);
    }
}
