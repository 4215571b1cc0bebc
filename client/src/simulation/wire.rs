//! The interface to the simulated network.

use std::io;

/// A connection of the simulated network, as a client sees it. Nothing of it blocks.
pub trait Wire {
    /// Begins a connection. Returns false when it is refused. What is written before it stands may be taken or be
    /// answered with [`WouldBlock`](io::ErrorKind::WouldBlock).
    fn dial(&mut self) -> bool;

    /// Reads what has arrived; `Ok(0)` is the end.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing is there; anything else ends the connection.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes a front part of `bytes`, which are not empty, and returns its size.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing more is taken now; anything else ends the connection.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends the connection. What was written before may still arrive. Closing twice does nothing.
    fn close(&mut self);
}
