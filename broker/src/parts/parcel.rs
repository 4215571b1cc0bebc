//! Records on their way to the shard that owns their log: gathered during a turn, handed over together. With an allocation for
//! every record, made by one thread and freed by another, both threads would wait for the allocator's lock.

use oyez_protocol::LogId;
use oyez_protocol::limits::RECORD_SIZE_HARD_MAX;

use crate::parts::lane::Lane;
use crate::parts::session::SessionId;
use crate::parts::spares::Reused;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A parcel this large leaves at once; others do when the turn's reading ends.
pub(crate) const PARCEL_BYTES: usize = 64 << 10;
/// Bytes that may wait for one shard, each sender's open parcels aside: what it takes in four turns.
pub(crate) const WAITING_BYTES_MAX: usize = 2 << 20;
/// Bytes that sessions that say much may fill. The last quarter is for those that say little, so that their records do not wait
/// behind floods.
const WAITING_BYTES_MUCH: usize = WAITING_BYTES_MAX - WAITING_BYTES_MAX / 4;
// The largest record finds room where nothing waits, behind those of an open parcel.
const _: () = assert!(PARCEL_BYTES + 4096 + RECORD_SIZE_HARD_MAX as usize <= WAITING_BYTES_MUCH);

/// The session that waits for the outcome of a publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) shard: usize,
    pub(crate) session: SessionId,
    pub(crate) correlation: u64,
    pub(crate) size: u32,
    pub(crate) lane: Lane,
    /// The record may begin a topic.
    pub(crate) may_begin: bool,
}

/// One record of a parcel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) origin: Origin,
    pub(crate) log: LogId,
}

/// Records of one shard for another, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    records: Vec<Handed>,
    /// The records, back to back.
    bytes: Vec<u8>,
    /// How many records are taken; below, their bytes.
    taken: usize,
    taken_bytes: usize,
}

impl Parcel {
    pub(crate) fn push(&mut self, handed: Handed, record: &[u8]) {
        self.records.push(handed);
        self.bytes.extend_from_slice(record);
    }

    /// The next record that is not taken.
    pub(crate) fn next(&self) -> Option<(Handed, &[u8])> {
        let handed = self.records.get(self.taken)?;
        let end = self.taken_bytes + handed.origin.size as usize;
        Some((*handed, &self.bytes[self.taken_bytes..end]))
    }

    /// Takes the next record: goes on to the one after it.
    pub(crate) fn advance(&mut self) {
        self.taken_bytes += self.records[self.taken].origin.size as usize;
        self.taken += 1;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.bytes.len() >= PARCEL_BYTES
    }

    /// Bytes of memory for which it counts.
    pub(crate) const fn weight(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<Handed>()
    }

    /// Empties the parcel. Returns the shard that it came from; `None` if it held nothing.
    pub(crate) fn clear(&mut self) -> Option<usize> {
        let owner = self.records.first().map(|handed| handed.origin.shard);
        self.records.clear();
        self.bytes.clear();
        (self.taken, self.taken_bytes) = (0, 0);
        owner
    }
}

impl Reused for Parcel {
    fn bytes(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Handed>()
    }
}

/// Bytes on their way to one shard.
#[derive(Debug, Default)]
pub(crate) struct Waiting(AtomicUsize);

impl Waiting {
    /// Whether so many more bytes may wait. Several senders may find room at once; each exceeds it by one parcel at most.
    pub(crate) fn has_room(&self, bytes: usize, lane: Lane) -> bool {
        let max = match lane {
            Lane::Little => WAITING_BYTES_MAX,
            Lane::Much => WAITING_BYTES_MUCH,
        };
        self.0.load(Ordering::Relaxed) + bytes <= max
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(shard: usize, size: usize) -> Handed {
        let origin = Origin {
            shard,
            session: SessionId::new(1, 1),
            correlation: size as u64,
            size: size as u32,
            lane: Lane::Little,
            may_begin: true,
        };
        Handed {
            origin,
            log: LogId::new(0),
        }
    }

    #[test]
    fn records_come_out_as_they_went_in_also_when_a_part_of_them_is_taken_later() {
        let mut parcel = Parcel::default();
        for record in [&b"one"[..], b"", b"three"] {
            parcel.push(handed(7, record.len()), record);
        }
        for record in [&b"one"[..], b"", b"three"] {
            let (handed, bytes) = parcel.next().expect("it is there");
            assert_eq!((handed.origin.size as usize, bytes), (record.len(), record));
            assert_eq!(
                parcel.next().map(|(_, bytes)| bytes),
                Some(record),
                "not taken yet"
            );
            parcel.advance();
        }
        assert!(parcel.next().is_none() && !parcel.is_empty());
        let before = Reused::bytes(&parcel);
        assert_eq!((parcel.clear(), parcel.clear()), (Some(7), None));
        assert!(parcel.is_empty() && parcel.weight() == 0);
        assert_eq!(Reused::bytes(&parcel), before, "its memory stays");
    }

    #[test]
    fn a_parcel_is_full_by_its_bytes_and_weighs_its_names_as_well() {
        let mut parcel = Parcel::default();
        parcel.push(handed(0, PARCEL_BYTES - 1), &[0; PARCEL_BYTES - 1]);
        assert!(!parcel.is_full());
        parcel.push(handed(0, 1), b"x");
        assert!(parcel.is_full());
        assert_eq!(parcel.weight(), PARCEL_BYTES + 2 * size_of::<Handed>());
    }

    #[test]
    fn floods_leave_room_for_sessions_that_say_little() {
        let waiting = Waiting::default();
        waiting.add(WAITING_BYTES_MUCH);
        assert!(waiting.has_room(0, Lane::Much) && !waiting.has_room(1, Lane::Much));
        let rest = WAITING_BYTES_MAX - WAITING_BYTES_MUCH;
        assert!(waiting.has_room(rest, Lane::Little) && !waiting.has_room(rest + 1, Lane::Little));
        waiting.remove(1);
        assert!(waiting.has_room(1, Lane::Much));
    }
}
