//! The connection that proved the broker to be there, kept until a session or a subscription needs it.
//!
//! Nobody reads from it meanwhile. A keepalive gives signs of life, so that the broker does not take it for dead.

use std::sync::Arc;

use crate::connection::{Connection, Dialer, read_once};
use crate::error::ConnectionError;
use crate::handshake::is_unused;
use crate::keepalive::Keepalive;
use crate::receive_buffer::Received;

/// Most reads to take in what the broker said meanwhile: a heartbeat is a few bytes.
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
    /// When the system gives no thread.
    pub(crate) fn keep(dialer: &Dialer, connection: Connection) -> Result<Self, ConnectionError> {
        let (time, heartbeat) = (Arc::clone(&dialer.options.time), connection.terms.heartbeat);
        let keepalive = Keepalive::start(time, heartbeat)?;
        keepalive.attach(&connection.socket, heartbeat);
        Ok(Self {
            connection,
            alive: KeptAlive(keepalive),
        })
    }

    /// The connection, unless it came to its end meanwhile.
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

/// Takes in what the broker said while nobody listened, without waiting: nothing but signs of life, if all is well.
fn catch_up(connection: &mut Connection) -> Result<bool, ConnectionError> {
    for _ in 0..READS_MAX {
        if !is_unused(&mut connection.inbox)? {
            return Ok(false);
        }
        if read_once(&connection.socket, &mut connection.inbox)? == Received::Nothing {
            return Ok(true);
        }
    }
    Ok(false)
}
