//! Bytes that wait to be written; a write may take a part of them. Pure: the owner of the socket empties it.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::error::ConnectionError;

/// Pieces of bytes, in the order in which they are written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: Vec<Bytes>,
    /// Pieces before this one are written.
    first: usize,
}

impl Outbox {
    /// Forgets the pieces that were written, and returns the list for the next ones.
    pub(crate) fn pieces(&mut self) -> &mut Vec<Bytes> {
        self.pieces.drain(..self.first);
        self.first = 0;
        &mut self.pieces
    }

    /// Whether everything is written.
    pub(crate) const fn is_empty(&self) -> bool {
        self.first == self.pieces.len()
    }

    /// The next piece; empty when there is none.
    pub(crate) fn front(&self) -> &[u8] {
        self.pieces.get(self.first).map_or(&[], |piece| piece)
    }

    /// Everything that is to be written.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let rest = &self.pieces[self.first..];
        rest.iter().map(|piece| IoSlice::new(piece)).collect()
    }

    /// Notes that a write took `size` bytes.
    ///
    /// # Errors
    /// When it took none: the connection takes no more bytes.
    pub(crate) fn wrote(&mut self, mut size: usize) -> Result<(), ConnectionError> {
        if size == 0 {
            return Err(ConnectionError::Closed);
        }
        while !self.is_empty() && size >= self.front().len() {
            size -= self.front().len();
            self.first += 1;
        }
        if size > 0 {
            self.pieces[self.first].advance(size);
        }
        Ok(())
    }

    /// Drops everything that is to be written.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_writes_go_on_where_they_ended_whatever_their_size() {
        for step in 1..=7 {
            let mut outbox = Outbox::default();
            outbox
                .pieces()
                .extend(["abc", "de", "", "f"].map(Bytes::from));
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let all: Vec<u8> = outbox.slices().iter().flat_map(|s| s.to_vec()).collect();
                let size = step.min(all.len());
                written.extend_from_slice(&all[..size]);
                outbox.wrote(size).unwrap();
            }
            assert_eq!(written, b"abcdef");
        }
    }

    #[test]
    fn a_write_that_takes_nothing_is_the_end() {
        let mut outbox = Outbox::default();
        outbox.pieces().push(Bytes::from_static(b"a"));
        assert!(outbox.wrote(0).is_err());
        outbox.clear();
        assert!(outbox.is_empty() && outbox.front().is_empty());
    }
}
