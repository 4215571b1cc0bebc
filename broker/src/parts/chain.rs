//! An iovec chain: records of one topic where they lie in the log, ready to be sent to every subscription whose cursor is at the
//! first of them.

use std::io::IoSlice;
use std::iter::Peekable;

use bytes::Bytes;
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset};
use oyez_storage::{BLOCK_BYTES, ColdRange, LogReader, Place, Read, ReadError};

use crate::dialect::form::{Form, Part};
use crate::dialect::run::{Opcode, RunHeader};
use crate::parts::sending::{PARTS_MAX, SENDFILE_BYTES_MIN, Sent, lacks_bytes};
use crate::parts::session::Session;
use crate::parts::tail::RecordTail;

/// A chain ends with the record that brings it to this many bytes.
const CHAIN_BYTES: usize = 256 << 10;

/// A WebSocket message holds at most this many bytes of records, or one record: a browser sees nothing of a message that is not
/// whole, and begins anew when its connection breaks before. More than the size from which `sendfile` pays.
const RUN_BYTES_MAX: u32 = 128 << 10;
const _: () = assert!(RUN_BYTES_MAX as usize > 2 * SENDFILE_BYTES_MIN - 1);

/// Why a chain could not be built.
pub(crate) enum Broken {
    /// Its first bytes have to be read from disk first.
    Cold(ColdRange),
    /// Its first record is not kept any more.
    Dropped,
    /// Its first record is damaged.
    Damaged,
}

/// Records of one topic, as parts that lie together.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) log: LogId,
    places: Vec<Place>,
    /// What each place is sent as, where that is not the bare record; else empty.
    units: Vec<Unit>,
    /// Headers in front of the parts, where parts are WebSocket messages; else empty.
    headers: Vec<RunHeader>,
    /// The bytes to send, in order; each part lies in one block.
    pub(crate) parts: Vec<Bytes>,
    /// Some bytes come from a mapped file, and may turn out to be missing.
    has_mapped: bool,
    /// Bytes of all parts, and of the headers in front of them.
    pub(crate) bytes: usize,
    /// Records in the chain.
    records: u64,
    /// Messages in the chain.
    pub(crate) messages: u64,
}

/// What a socket must get whole if it gets any of it: a record in another form than its own, or a run of records behind a header
/// that says how long the run is.
#[derive(Clone, Copy, Debug)]
struct Unit {
    /// Bytes that are sent.
    size: u32,
    /// Those of the bytes that come before the log's.
    header: u32,
    /// What a tail needs to send the rest: the part of the record, or the bytes of the run.
    what: u32,
    records: u32,
}

/// More than the kernel copies at once. Where it meets a missing page, it has taken nothing of that piece.
const COPIED_AT_ONCE: usize = 64 << 10;

/// Where a chain was cut by a full socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Next message to deliver.
    pub(crate) cursor: Offset,
    /// The record of which a part is sent.
    pub(crate) tail: Option<RecordTail>,
    /// Records that are sent whole, or will be with the tail.
    pub(crate) records: u64,
    pub(crate) messages: u64,
}

impl Chain {
    /// Empties the chain and releases its bytes. To be called before the turn ends.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.units.clear();
        self.headers.clear();
        self.parts.clear();
        self.has_mapped = false;
        self.bytes = 0;
        self.records = 0;
        self.messages = 0;
    }

    /// First message of the chain.
    pub(crate) fn first(&self) -> Option<Offset> {
        self.places.first().map(|place| place.first)
    }

    /// The message after the chain.
    pub(crate) fn next(&self) -> Option<Offset> {
        self.places.last().map(|place| place.next)
    }

    /// Points `slices` to the headers and parts. Returns the slices in use.
    pub(crate) fn fill<'a>(
        &'a self,
        slices: &'a mut [IoSlice<'a>; PARTS_MAX],
    ) -> &'a [IoSlice<'a>] {
        let count = self.headers.len() + self.parts.len();
        match self.headers[..] {
            [] => {
                for (slice, part) in slices.iter_mut().zip(&self.parts) {
                    *slice = IoSlice::new(part);
                }
            }
            ref headers => {
                let parts = headers.iter().zip(&self.parts);
                let bytes = parts.flat_map(|(header, part)| [header.as_bytes(), part]);
                for (slice, bytes) in slices.iter_mut().zip(bytes) {
                    *slice = IoSlice::new(bytes);
                }
            }
        }
        &slices[..count]
    }

    /// Records in the chain.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// The header in front of the first part; empty if there is none.
    pub(crate) fn header(&self) -> &[u8] {
        self.headers.first().map_or(&[], RunHeader::as_bytes)
    }

    /// First record of the chain.
    pub(crate) fn head(&self) -> Option<Place> {
        self.places.first().copied()
    }

    /// Builds the chain from as many of a topic's `places` as are in memory, at least one. Records go as they are, or, where
    /// `form` is framed, in WebSocket messages: one for each run of records that lie together.
    ///
    /// # Errors
    /// Why not even the first record can be sent now.
    pub(crate) fn build(
        &mut self,
        form: Form,
        reader: &mut LogReader,
        topic: &str,
        places: impl Iterator<Item = Place>,
    ) -> Result<(), Broken> {
        self.clear();
        self.log = reader.log();
        let is_framed = form.style.is_framed();
        let (parts_max, run_bytes_max) = match is_framed {
            true => (PARTS_MAX / 2, RUN_BYTES_MAX),
            false => (PARTS_MAX, u32::MAX),
        };
        let mut places = places.peekable();
        while self.bytes < CHAIN_BYTES && self.parts.len() < parts_max {
            // A chain ends before a hole: its subscribers have to be told.
            let next = self.next();
            let Some(first) = places.next_if(|place| next.is_none_or(|next| next == place.first))
            else {
                break;
            };
            let kept = self.places.len();
            let size = self.gather(first, &mut places, run_bytes_max);
            let mut read = read_run(reader, topic, &self.places[kept..], size);
            if size > first.size && matches!(read, Err(ReadError::Damaged)) {
                // One record of the run is damaged, perhaps not the first.
                self.places.truncate(kept + 1);
                read = read_run(reader, topic, &self.places[kept..], first.size);
            }
            let broken = match read {
                Ok(Read::Ready(bytes)) => {
                    self.has_mapped |= reader.is_mapped(first.position);
                    self.bytes += bytes.len();
                    self.parts.push(bytes);
                    self.take_run(kept, is_framed);
                    continue;
                }
                Ok(Read::Cold(cold)) => Broken::Cold(cold),
                Err(ReadError::Dropped) => Broken::Dropped,
                Err(ReadError::Damaged | ReadError::Unreadable) => Broken::Damaged,
            };
            self.places.truncate(kept);
            if kept == 0 {
                return Err(broken);
            }
            break;
        }
        self.messages = count_messages(&self.places);
        Ok(())
    }

    /// Adds the places of a run that begins with `first`. Returns its bytes.
    fn gather(
        &mut self,
        first: Place,
        places: &mut Peekable<impl Iterator<Item = Place>>,
        bytes_max: u32,
    ) -> u32 {
        self.places.push(first);
        let mut size = first.size;
        while let Some(place) = places.next_if(|place| {
            place.position == first.position.plus(u64::from(size))
                && same_block(&first, place)
                && self.next() == Some(place.first)
                && self.bytes + (size as usize) < CHAIN_BYTES
                && size + place.size <= bytes_max
        }) {
            self.places.push(place);
            size += place.size;
        }
        size
    }

    /// Counts the last part, which is the run of the places from index `first` on, and adds its header if it needs one.
    fn take_run(&mut self, first: usize, is_framed: bool) {
        let records = self.places.len() - first;
        self.records += records as u64;
        if !is_framed {
            return;
        }
        let size = self.parts.last().map_or(0, Bytes::len);
        let header = RunHeader::new(Opcode::Binary, size);
        let short = |size: usize| u32::try_from(size).expect("a run lies in a block");
        let (size, header_size) = (short(size), short(header.as_bytes().len()));
        self.bytes += header_size as usize;
        self.headers.push(header);
        self.units.push(Unit {
            size: header_size + size,
            header: header_size,
            what: size,
            records: short(records),
        });
        let next = self.places[first..].last().map(|place| place.next);
        self.places.truncate(first + 1);
        let run = &mut self.places[first];
        run.size = size;
        run.next = next.unwrap_or(run.next);
    }

    /// Begins a chain of records in another form than their own.
    pub(crate) fn begin(&mut self, log: LogId) {
        self.clear();
        self.log = log;
    }

    /// Whether no more records go into the chain.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= CHAIN_BYTES || self.parts.len() >= PARTS_MAX
    }

    /// Adds a part of a record, which is sent as `bytes`.
    pub(crate) fn push(&mut self, place: Place, part: Part, bytes: Bytes) {
        let size = u32::try_from(bytes.len()).expect("a record in any form is short");
        let begin = place.first;
        self.places.push(Place {
            first: begin.plus(part.first.into()),
            next: begin.plus(part.end.into()),
            ..place
        });
        self.units.push(Unit {
            size,
            header: 0,
            what: part.pack(),
            records: 1,
        });
        self.records += 1;
        self.bytes += bytes.len();
        self.parts.push(bytes);
    }

    /// Counts the messages, once all records are in.
    pub(crate) fn finish(&mut self) {
        self.messages = count_messages(&self.places);
    }

    /// Cuts the chain to its first part, if that is at least `size_min` bytes. Returns the part's length.
    pub(crate) fn keep_large_first(&mut self, size_min: usize) -> Option<u32> {
        let size = self
            .parts
            .first()
            .map(|part| part.len())
            .filter(|size| *size >= size_min)?;
        let mut bytes = 0;
        let records = self
            .places
            .iter()
            .take_while(|place| {
                bytes += place.size as usize;
                bytes <= size
            })
            .count();
        self.places.truncate(records);
        self.units.truncate(records);
        self.headers.truncate(1);
        self.parts.truncate(1);
        self.bytes = self.header().len() + size;
        let units = self.units.iter().map(|unit| u64::from(unit.records));
        self.records = match self.units[..] {
            [] => records as u64,
            _ => units.sum(),
        };
        self.messages = count_messages(&self.places);
        u32::try_from(size).ok()
    }

    /// Corrects the outcome `sent` of a send of this chain where its bytes turn out to be missing: then the session does not wait
    /// for its socket. The next chain stops before the missing bytes, and a peer that has a part of their record is gone.
    pub(crate) fn look_again(
        &self,
        session: &mut Session,
        reader: &mut LogReader,
        sent: Sent,
    ) -> Sent {
        let size = match sent {
            Sent::Unreadable => 0,
            Sent::Bytes(size) if size > 0 && size < self.bytes => size,
            Sent::Bytes(_) | Sent::Gone => return sent,
        };
        if !self.lacks_bytes(reader, size) {
            return match sent {
                Sent::Unreadable => Sent::Gone,
                sent => sent,
            };
        }
        session.blocked = false;
        match self.cut(size).tail {
            Some(_) => Sent::Gone,
            None => Sent::Bytes(size),
        }
    }

    /// Whether bytes after the first `sent` are missing. Checks whole records: where one of the block is damaged, nothing else
    /// shows which are sound.
    fn lacks_bytes(&self, reader: &mut LogReader, sent: usize) -> bool {
        let mut next = 0;
        self.has_mapped
            && self.places.iter().enumerate().any(|(index, place)| {
                let header = self.units.get(index).map_or(0, |unit| unit.header);
                let (from, size) = (next + header as usize, place.size as usize);
                next = from + size;
                let is_concerned = next > sent && from < sent + COPIED_AT_ONCE;
                is_concerned && lacks_bytes(reader, place.position, size)
            })
    }

    /// Where the chain is cut when the socket took `sent` bytes.
    pub(crate) fn cut(&self, sent: usize) -> Cut {
        let (mut out, mut cut) = (
            0usize,
            Cut {
                cursor: self.first().unwrap_or_default(),
                tail: None,
                records: 0,
                messages: 0,
            },
        );
        for (index, place) in self.places.iter().enumerate() {
            if out == sent {
                break;
            }
            let unit = self.units.get(index).copied().unwrap_or(Unit {
                size: place.size,
                header: 0,
                what: place.size,
                records: 1,
            });
            let (size, what) = (unit.size as usize, unit.what);
            if sent < out + size {
                let sent = u32::try_from(sent - out).expect("a part of a record fits");
                cut.tail = RecordTail::new(self.log, place.position, what, sent);
            }
            let is_off = cut.tail.is_some() && planted(Bug::CursorOffAtACut);
            cut.cursor = place.next.plus(u64::from(is_off));
            cut.records += u64::from(unit.records);
            cut.messages += place.next.get() - place.first.get();
            out = (out + size).min(sent);
        }
        cut
    }
}

fn same_block(left: &Place, right: &Place) -> bool {
    left.position.get() / BLOCK_BYTES == right.position.get() / BLOCK_BYTES
}

/// Reads records of a topic that lie together, `size` bytes in all.
fn read_run(
    reader: &mut LogReader,
    topic: &str,
    run: &[Place],
    size: u32,
) -> Result<Read, ReadError> {
    let read = reader.read(run[0].position, size)?;
    match &read {
        Read::Ready(bytes)
            if reader.is_doubtful(run[0].position) && !are_there(bytes, topic, run) =>
        {
            Err(ReadError::Damaged)
        }
        _ => Ok(read),
    }
}

/// Whether `bytes` are the expected records: a misdirected write puts whole records in the place of others.
fn are_there(mut bytes: &[u8], topic: &str, run: &[Place]) -> bool {
    run.iter().all(|place| {
        let Some((record, after)) = bytes.split_at_checked(place.size as usize) else {
            return false;
        };
        bytes = after;
        let record = Record::trusted(record);
        record.is_some_and(|record| record.offset() == place.first && record.topic() == topic)
    })
}

fn count_messages(places: &[Place]) -> u64 {
    let messages = |place: &Place| place.next.get() - place.first.get();
    places.iter().map(messages).sum()
}

#[cfg(test)]
mod tests;
