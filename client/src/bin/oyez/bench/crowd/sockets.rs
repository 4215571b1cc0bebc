//! A thread's connections as a structure of arrays: 25 bytes each, and no buffer but for who has half a frame.

use std::collections::HashMap;

use mio::net::TcpStream;

/// Buffers of former halves that are kept for the next ones.
const SPARE_MAX: usize = 256;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The handshake is under way.
    Connecting,
    /// It has said who it is and what it wants.
    Joining,
    Subscribed,
}

/// All connections of one thread, by their place in it.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) streams: Vec<Option<TcpStream>>,
    pub(crate) states: Vec<State>,
    /// Number of the next message that is due.
    pub(crate) next: Vec<u64>,
    /// Publications received.
    pub(crate) received: Vec<u32>,
    /// When the connection was begun, in microseconds; wraps after an hour, longer than any connect takes.
    pub(crate) begun_us: Vec<u32>,
}

impl Sockets {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            streams: (0..count).map(|_| None).collect(),
            states: vec![State::Connecting; count],
            next: vec![0; count],
            received: vec![0; count],
            begun_us: vec![0; count],
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.streams.len()
    }
}

/// Bytes of frames that are not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    held: HashMap<usize, Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Halves {
    /// What connection `place` has waiting; it is no longer held.
    pub(crate) fn take(&mut self, place: usize) -> Option<Vec<u8>> {
        if self.held.is_empty() {
            return None;
        }
        self.held.remove(&place)
    }

    /// Holds a copy of `bytes`, if there are any.
    pub(crate) fn hold(&mut self, place: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut half = self.spare.pop().unwrap_or_default();
        half.extend_from_slice(bytes);
        self.held.insert(place, half);
    }

    /// Holds on to `half` without its first `taken` bytes, or keeps its memory for another.
    pub(crate) fn put_back(&mut self, place: usize, mut half: Vec<u8>, taken: usize) {
        half.drain(..taken);
        if !half.is_empty() {
            self.held.insert(place, half);
        } else if self.spare.len() < SPARE_MAX {
            self.spare.push(half);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_held_only_while_it_is_one() {
        let mut halves = Halves::default();
        halves.hold(3, b"");
        assert_eq!(halves.take(3), None);
        halves.hold(3, b"abc");
        let mut half = halves.take(3).unwrap();
        half.extend_from_slice(b"def");
        halves.put_back(3, half, 4);
        let half = halves.take(3).unwrap();
        assert_eq!(half, b"ef");
        halves.put_back(3, half, 2);
        assert_eq!(halves.take(3), None);
        assert_eq!(halves.spare.len(), 1);
    }

    #[test]
    fn a_connection_costs_a_few_bytes() {
        assert!(size_of::<Option<TcpStream>>() <= 8);
        let each = size_of::<Option<TcpStream>>() + size_of::<State>() + 8 + 4 + 4;
        assert!(each <= 25, "{each}");
    }
}
