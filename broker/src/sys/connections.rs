//! The connections of one shard, by the numbers of their descriptors: 4 bytes each where they are named, and a bit each here,
//! which says that the number is an open connection of this shard.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// Owns the connections. Not `Send`: a number is a descriptor in the table of one thread.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    owned: Vec<u64>,
    _thread: PhantomData<*const ()>,
}

/// A connection, lent for a moment.
pub(crate) struct Lent<'a> {
    stream: ManuallyDrop<TcpStream>,
    _owner: PhantomData<&'a Connections>,
}

impl Deref for Lent<'_> {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Connections {
    /// Takes a connection in. Returns its number.
    pub(crate) fn adopt(&mut self, connection: OwnedFd) -> u32 {
        let number = connection.into_raw_fd().cast_unsigned();
        let (word, bit) = place(number);
        if word >= self.owned.len() {
            self.owned.resize(word + 1, 0);
        }
        debug_assert_eq!(
            self.owned[word] & bit,
            0,
            "a fresh descriptor has no owner yet"
        );
        self.owned[word] |= bit;
        number
    }

    /// The descriptor of the connection with a number.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn fd(&self, number: u32) -> BorrowedFd<'_> {
        assert!(self.has(number), "no connection has the number {number}");
        // SAFETY: the number is a descriptor that this table owns, and that nothing closes while `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(number.cast_signed()) }
    }

    /// The connection with a number, as a stream of the standard library.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn get(&self, number: u32) -> Lent<'_> {
        let descriptor = self.fd(number).as_raw_fd();
        // SAFETY: as in `fd`; and the stream is not dropped, so that the table goes on to own it.
        let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        Lent {
            stream: ManuallyDrop::new(stream),
            _owner: PhantomData,
        }
    }

    /// Takes the connection with a number out, to be closed.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn take(&mut self, number: u32) -> OwnedFd {
        assert!(self.has(number), "no connection has the number {number}");
        let (word, bit) = place(number);
        self.owned[word] &= !bit;
        // SAFETY: the number is a descriptor that this table owned, and has just disowned.
        unsafe { OwnedFd::from_raw_fd(number.cast_signed()) }
    }

    fn has(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.owned.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for word in 0..self.owned.len() {
            while self.owned[word] != 0 {
                let bit = self.owned[word].trailing_zeros();
                drop(self.take(word as u32 * u64::BITS + bit));
            }
        }
    }
}

/// The word and the bit of a number.
fn place(number: u32) -> (usize, u64) {
    ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_open_until_it_is_taken_or_the_table_goes() {
        let mut connections = Connections::default();
        let ((first, mut first_peer), (second, mut second_peer)) = (pair(), pair());
        let (first, second) = (
            connections.adopt(first.into()),
            connections.adopt(second.into()),
        );
        for number in [first, second] {
            (&*connections.get(number)).write_all(b"x").unwrap();
        }
        let mut rest = String::new();
        drop(connections.take(first));
        first_peer.read_to_string(&mut rest).unwrap();
        drop(connections);
        second_peer.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "xx");
    }

    #[test]
    #[should_panic(expected = "no connection has the number")]
    fn a_connection_that_was_closed_is_not_lent_any_more() {
        let mut connections = Connections::default();
        let number = connections.adopt(pair().0.into());
        drop(connections.take(number));
        let _ = connections.get(number);
    }
}
