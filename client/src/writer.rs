//! The writing thread of a session: it sends records, pings and late batches, and reconnects after a loss. A second
//! thread per connection reads.
//!
//! Neither thread decides anything: [`SessionState`](crate::session_state::SessionState) does, from what arrived and
//! the time.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::Builder;

use crate::backoff::Retry;
use crate::connection::{Connection, part, read_once};
use crate::error::{ConnectError, ConnectionError};
use crate::farewell;
use crate::options::ConnectionEvent;
use crate::outbox::Outbox;
use crate::receive_buffer::{ReceiveBuffer, is_timeout};
use crate::session_hub::SessionHub;
use crate::session_state::Step;

/// Starts the writer. It ends with its session.
///
/// # Errors
/// When the system cannot start a thread.
pub(crate) fn start(hub: Arc<SessionHub>, connection: Connection) -> io::Result<()> {
    let writer = Builder::new().name("oyez-writer".to_owned());
    writer.spawn(move || {
        let mut last = LastWord {
            hub,
            error: ConnectError::Closed,
        };
        last.error = run(&last.hub, connection);
    })?;
    Ok(())
}

/// Ends the session when the writer ends, also by a panic: an event hook may panic. Without it, threads that wait for
/// the session would wait for ever.
struct LastWord {
    hub: Arc<SessionHub>,
    error: ConnectError,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // Shutting the socket down ends the reader, if it still runs.
        self.hub.end_abruptly();
        self.hub.end(&self.error);
    }
}

/// Serves one connection after the other until the session is over, and returns why it is.
fn run(hub: &Arc<SessionHub>, mut connection: Connection) -> ConnectError {
    loop {
        let Err(error) = serve(hub, connection) else {
            return ConnectError::Closed;
        };
        connection = match come_back(hub, error) {
            Ok(connection) => connection,
            Err(error) => return error,
        };
    }
}

/// Serves one connection until the session ends.
///
/// # Errors
/// When the connection is lost before.
fn serve(hub: &Arc<SessionHub>, connection: Connection) -> Result<(), ConnectionError> {
    let (socket, received) = (connection.socket, connection.received);
    socket.set_read_timeout(None)?;
    hub.connected(&connection.terms, Arc::clone(&socket));
    let reader = {
        let (hub, socket) = (Arc::clone(hub), Arc::clone(&socket));
        let reader = Builder::new().name("oyez-reader".to_owned());
        reader.spawn(move || read(&hub, &socket, received))?
    };
    let served = write(hub, &socket);
    // The reader wakes up from its read and ends; the socket may be closed already.
    let _closed = socket.shutdown(Shutdown::Both);
    let _ended = reader.join();
    served
}

/// Takes one step after the other until the session ends.
///
/// # Errors
/// When the connection is lost before.
fn write(hub: &SessionHub, socket: &TcpStream) -> Result<(), ConnectionError> {
    let mut outbox = Outbox::default();
    loop {
        let now = hub.time().now();
        let step = hub.state().next_step(now, outbox.pieces());
        match step {
            Step::Write => {
                if let Err(error) = write_all(hub, socket, &mut outbox) {
                    hub.state().note_loss(error);
                }
            }
            Step::FinishDue => hub.finish_due(now),
            Step::WaitUntil(until) => hub.time().wait(&hub.bell, until),
            Step::Lost(error) => return Err(error),
            Step::Goodbye => {
                // Everything is settled: a broker that does not get the goodbye learns it from the end of the
                // connection.
                part(socket, &farewell::done());
                return Ok(());
            }
            Step::End => return Ok(()),
        }
    }
}

/// Writes everything in the outbox. A broker with a slow disk may leave the write waiting; that is no loss as long as
/// bytes come from it.
fn write_all(
    hub: &SessionHub,
    mut socket: &TcpStream,
    outbox: &mut Outbox,
) -> Result<(), ConnectionError> {
    while !outbox.is_empty() {
        match socket.write_vectored(&outbox.slices()) {
            Ok(size) => outbox.wrote(size)?,
            Err(error) if is_timeout(error.kind()) => {
                let now = hub.time().now();
                hub.state().write_stalled(now)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads until the connection is at its end, and notes that in the state.
fn read(hub: &SessionHub, socket: &TcpStream, mut received: ReceiveBuffer) {
    loop {
        let mut state = hub.state();
        let goes_on = state.take_in(&mut received);
        hub.announce(&state);
        drop(state);
        hub.bell.ring();
        if !goes_on {
            return;
        }
        if let Err(error) = read_once(socket, &mut received) {
            hub.state().note_loss(error);
            hub.bell.ring();
            return;
        }
        hub.state().heard(hub.time().now());
    }
}

/// Tries to reconnect until it succeeds or the session ends.
fn come_back(hub: &SessionHub, mut error: ConnectionError) -> Result<Connection, ConnectError> {
    let (time, options) = (hub.time(), &hub.dialer.options);
    loop {
        let delay = hub.lost(&error)?;
        options.tell(&ConnectionEvent::Lost { error, delay });
        loop {
            let retry = hub.state().next_retry(time.now());
            match retry {
                Retry::PauseUntil(until) => time.pause(&hub.bell, until),
                Retry::Dial => break,
                Retry::End => return Err(ConnectError::Closed),
            }
        }
        match hub.dialer.dial() {
            Ok(connection) => {
                options.tell(&ConnectionEvent::Restored);
                return Ok(connection);
            }
            Err(failed) => error = failed,
        }
    }
}
