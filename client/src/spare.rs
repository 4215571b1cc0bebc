//! The first connection of a client, kept until a session or a subscription needs it.
//!
//! No thread reads from it meanwhile. A keepalive gives signs of life, so that the broker does not take the client for
//! dead.

use std::sync::Arc;

use crate::connection::{Connection, Dialer, read_once};
use crate::error::ConnectionError;
use crate::handshake::is_unused;
use crate::keepalive::Keepalive;
use crate::receive_buffer::Received;

/// Most reads to take in what the broker sent meanwhile: a heartbeat is a few bytes.
const READS_MAX: usize = 16;

/// A connection that waits.
pub(crate) struct Spare {
    connection: Connection,
    alive: KeptAlive,
}

/// Ends the keepalive when it is dropped; the connection stays.
struct KeptAlive(Arc<Keepalive>);

impl Drop for KeptAlive {
    fn drop(&mut self) {
        let _idle = self.0.release();
    }
}

impl Spare {
    /// Keeps a new connection.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(crate) fn keep(dialer: &Dialer, connection: Connection) -> Result<Self, ConnectionError> {
        let (time, heartbeat) = (Arc::clone(&dialer.options.time), connection.terms.heartbeat);
        let keepalive = Keepalive::start(time, heartbeat)?;
        keepalive.attach(&connection.socket, heartbeat);
        Ok(Self {
            connection,
            alive: KeptAlive(keepalive),
        })
    }

    /// Returns the connection, unless it has ended meanwhile.
    pub(crate) fn claim(self) -> Option<Connection> {
        let Self {
            mut connection,
            alive,
        } = self;
        if !alive.0.release() {
            return None;
        }
        connection.socket.set_nonblocking(true).ok()?;
        let stands = catch_up(&mut connection).ok()?;
        connection.socket.set_nonblocking(false).ok()?;
        stands.then_some(connection)
    }
}

/// Takes in what the broker sent while no thread read, without waiting. Returns whether that was nothing but signs of
/// life.
fn catch_up(connection: &mut Connection) -> Result<bool, ConnectionError> {
    for _ in 0..READS_MAX {
        if !is_unused(&mut connection.received)? {
            return Ok(false);
        }
        if read_once(&connection.socket, &mut connection.received)? == Received::Nothing {
            return Ok(true);
        }
    }
    Ok(false)
}
