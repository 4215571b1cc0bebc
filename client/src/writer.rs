//! The thread that writes for a session: what was handed over, and what the time asks for; it comes back after a loss. A
//! second thread per connection reads.
//!
//! Neither thread decides anything: [`SessionState`](crate::session_state::SessionState) does, from what was heard and
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
/// When the system gives no thread.
pub(crate) fn start(shared: Arc<SessionHub>, connection: Connection) -> io::Result<()> {
    let writer = Builder::new().name("oyez-writer".to_owned());
    writer.spawn(move || {
        let mut last = LastWord {
            shared,
            error: ConnectError::Closed,
        };
        last.error = run(&last.shared, connection);
    })?;
    Ok(())
}

/// Ends the session when the writer does, also when it unwinds: an event hook may panic. Without it,
/// threads that wait for the session would wait for ever.
struct LastWord {
    shared: Arc<SessionHub>,
    error: ConnectError,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // The reader ends with the socket, if it is still there.
        self.shared.end_abruptly();
        self.shared.end(&self.error);
    }
}

/// Serves one connection after the other until the session is over; returns why.
fn run(shared: &Arc<SessionHub>, mut connection: Connection) -> ConnectError {
    loop {
        let Err(error) = serve(shared, connection) else {
            return ConnectError::Closed;
        };
        connection = match come_back(shared, error) {
            Ok(connection) => connection,
            Err(error) => return error,
        };
    }
}

/// Serves one connection until the session ends.
///
/// # Errors
/// When the connection is lost before.
fn serve(shared: &Arc<SessionHub>, connection: Connection) -> Result<(), ConnectionError> {
    let (socket, inbox) = (connection.socket, connection.inbox);
    socket.set_read_timeout(None)?;
    shared.connected(&connection.terms, Arc::clone(&socket));
    let reader = {
        let (shared, socket) = (Arc::clone(shared), Arc::clone(&socket));
        let reader = Builder::new().name("oyez-reader".to_owned());
        reader.spawn(move || read(&shared, &socket, inbox))?
    };
    let served = write(shared, &socket);
    // The reader wakes up from its read and ends; the socket may be closed already.
    let _closed = socket.shutdown(Shutdown::Both);
    let _ended = reader.join();
    served
}

/// Takes one step after the other until the session ends.
///
/// # Errors
/// When the connection is lost before.
fn write(shared: &SessionHub, socket: &TcpStream) -> Result<(), ConnectionError> {
    let mut outbox = Outbox::default();
    loop {
        let now = shared.time().now();
        let step = shared.state().next_step(now, outbox.pieces());
        match step {
            Step::Write => {
                if let Err(error) = write_all(shared, socket, &mut outbox) {
                    shared.state().note_loss(error);
                }
            }
            Step::FinishDue => shared.finish_due(now),
            Step::WaitUntil(until) => shared.time().wait(&shared.bell, until),
            Step::Lost(error) => return Err(error),
            Step::Goodbye => {
                // Everything is settled: a broker that does not hear it learns it from the end of the connection.
                part(socket, &farewell::done());
                return Ok(());
            }
            Step::End => return Ok(()),
        }
    }
}

/// Writes everything. The broker may leave it waiting, when its disk is slow; that is no loss as long as the broker
/// is heard.
fn write_all(
    shared: &SessionHub,
    mut socket: &TcpStream,
    outbox: &mut Outbox,
) -> Result<(), ConnectionError> {
    while !outbox.is_empty() {
        match socket.write_vectored(&outbox.slices()) {
            Ok(size) => outbox.wrote(size)?,
            Err(error) if is_timeout(error.kind()) => {
                let now = shared.time().now();
                shared.state().write_stalled(now)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads until the connection is at its end, and says so.
fn read(shared: &SessionHub, socket: &TcpStream, mut inbox: ReceiveBuffer) {
    loop {
        let mut state = shared.state();
        let goes_on = state.take_in(&mut inbox);
        shared.announce(&state);
        drop(state);
        shared.bell.ring();
        if !goes_on {
            return;
        }
        if let Err(error) = read_once(socket, &mut inbox) {
            shared.state().note_loss(error);
            shared.bell.ring();
            return;
        }
        shared.state().heard(shared.time().now());
    }
}

/// Tries to come back until it succeeds or the session ends.
fn come_back(shared: &SessionHub, mut error: ConnectionError) -> Result<Connection, ConnectError> {
    let (time, options) = (shared.time(), &shared.dialer.options);
    loop {
        let delay = shared.lost(&error)?;
        options.tell(&ConnectionEvent::Lost { error, delay });
        loop {
            let retry = shared.state().next_retry(time.now());
            match retry {
                Retry::PauseUntil(until) => time.pause(&shared.bell, until),
                Retry::Dial => break,
                Retry::End => return Err(ConnectError::Closed),
            }
        }
        match shared.dialer.dial() {
            Ok(connection) => {
                options.tell(&ConnectionEvent::Restored);
                return Ok(connection);
            }
            Err(failed) => error = failed,
        }
    }
}
