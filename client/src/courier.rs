//! The thread that carries a session: it writes what was handed over, waits for what lingers, and comes back after a
//! loss. A second thread per connection reads.
//!
//! Neither thread decides anything: [`State::next_step`](crate::state::State::next_step) does, from the state and
//! the time.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::Builder;

use bytes::{Buf, Bytes};
use oyez_protocol::event::{Goodbye, GoodbyeCode};

use crate::backoff::{Backoff, Damages};
use crate::connection::{Connection, is_timeout, read_once};
use crate::error::{ConnectError, ConnectionError};
use crate::inbox::Inbox;
use crate::options::ConnectionEvent;
use crate::session::Shared;
use crate::state::{Ending, Step};

/// Starts the courier. It ends with its session.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(shared: Arc<Shared>, connection: Connection) -> io::Result<()> {
    let courier = Builder::new().name("oyez-courier".to_owned());
    courier.spawn(move || {
        let mut last = LastWord {
            shared,
            error: ConnectError::Closed,
        };
        last.error = carry(&last.shared, connection);
    })?;
    Ok(())
}

/// Ends the session when the courier does, also when it unwinds: an event hook may panic. Whoever waits would wait for
/// ever otherwise.
struct LastWord {
    shared: Arc<Shared>,
    error: ConnectError,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // The reader ends with the socket, if it is still there.
        self.shared.state().end_abruptly();
        self.shared.end(&self.error);
    }
}

/// Carries over one connection after the other until the session is over; returns why.
fn carry(shared: &Arc<Shared>, mut connection: Connection) -> ConnectError {
    let mut backoff = Backoff::new(shared.dialer.options.reconnect);
    let mut damages = Damages::default();
    loop {
        let began_at = shared.time().now();
        let answered = shared.state().ledger.answered();
        let lost = serve(shared, connection);
        shared.state().disconnected();
        backoff.stood(shared.time().now().saturating_sub(began_at));
        let Some(error) = lost else {
            return ConnectError::Closed;
        };
        if let Err(error) = judge_damage(shared, &mut damages, answered, &error) {
            return error;
        }
        connection = match come_back(shared, &mut backoff, error) {
            Ok(connection) => connection,
            Err(error) => return error,
        };
    }
}

/// Whether it is worth while to send the same again. `answered` records were so when the connection began.
fn judge_damage(
    shared: &Shared,
    damages: &mut Damages,
    answered: u64,
    error: &ConnectionError,
) -> Result<(), ConnectError> {
    let state = shared.state();
    if state.ledger.answered() > answered || state.ledger.is_empty() {
        damages.progress();
        return Ok(());
    }
    damages.lost(error)
}

/// Serves one connection until it is lost, or the session ends: then there is no error.
fn serve(shared: &Arc<Shared>, connection: Connection) -> Option<ConnectionError> {
    let (socket, inbox) = (connection.socket, connection.inbox);
    if let Err(error) = socket.set_read_timeout(None) {
        return Some(error.into());
    }
    shared.connected(&connection.terms, Arc::clone(&socket));
    let reader = {
        let (shared, socket) = (Arc::clone(shared), Arc::clone(&socket));
        let reader = Builder::new().name("oyez-reader".to_owned());
        match reader.spawn(move || listen(&shared, &socket, inbox)) {
            Ok(reader) => reader,
            Err(error) => return Some(error.into()),
        }
    };
    let lost = write_on(shared, &socket);
    // The reader wakes up from its read and ends; the socket may be closed already.
    let _closed = socket.shutdown(Shutdown::Both);
    let _ended = reader.join();
    lost
}

/// Writes until the connection is lost, or the session ends: then there is no error.
fn write_on(shared: &Shared, socket: &TcpStream) -> Option<ConnectionError> {
    let mut out = Vec::new();
    loop {
        let now = shared.time().now();
        let step = shared.state().next_step(now, &mut out);
        match step {
            Step::Write => {
                if let Err(error) = write_all(shared, socket, &mut out) {
                    return Some(error);
                }
            }
            Step::FinishDue => shared.finish_due(now),
            Step::WaitUntil(until) => shared.time().wait(&shared.bell, until),
            Step::Lost(error) => return Some(error),
            Step::End => {
                if shared.state().ending == Ending::Goodbye {
                    say_goodbye(socket);
                }
                return None;
            }
        }
    }
}

/// Writes all of `out`. The broker may leave it waiting, when its disk is slow; that is no loss as long as the broker
/// is heard.
fn write_all(
    shared: &Shared,
    mut socket: &TcpStream,
    out: &mut Vec<Bytes>,
) -> Result<(), ConnectionError> {
    let mut first = 0;
    while first < out.len() {
        let slices: Vec<IoSlice<'_>> = out[first..].iter().map(|b| IoSlice::new(b)).collect();
        match socket.write_vectored(&slices) {
            Ok(0) => return Err(ConnectionError::Closed),
            Ok(mut written) => {
                while first < out.len() && written >= out[first].len() {
                    written -= out[first].len();
                    first += 1;
                }
                if written > 0 {
                    out[first].advance(written);
                }
            }
            Err(error) if is_timeout(error.kind()) => be_patient(shared)?,
            Err(error) => return Err(error.into()),
        }
    }
    out.clear();
    Ok(())
}

fn be_patient(shared: &Shared) -> Result<(), ConnectionError> {
    let now = shared.time().now();
    let mut state = shared.state();
    if state.is_hopeless() {
        return Err(ConnectionError::Closed);
    }
    state.judge(now).map(drop)
}

fn say_goodbye(mut socket: &TcpStream) {
    let mut bytes = Vec::new();
    let goodbye = Goodbye {
        code: GoodbyeCode::Done,
        retry_after_ms: 0,
        reason: "",
    };
    goodbye.encode(&mut bytes);
    // Everything is settled: a broker that does not hear it learns it from the end of the connection.
    let _unsent = socket.write_all(&bytes);
}

/// Reads until the connection is at its end, and says so.
fn listen(shared: &Shared, socket: &TcpStream, mut inbox: Inbox) {
    loop {
        let mut state = shared.state();
        let absorbed = state.absorb(&mut inbox);
        let ended = absorbed.is_err();
        if let Err(error) = absorbed {
            state.note_loss(error);
        }
        shared.announce(&state);
        drop(state);
        shared.bell.ring();
        if ended {
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

/// Tries to come back until it succeeds or the policy's patience is over.
fn come_back(
    shared: &Shared,
    backoff: &mut Backoff,
    mut error: ConnectionError,
) -> Result<Connection, ConnectError> {
    let time = shared.time();
    loop {
        let delay = backoff.lost(&error, time.now(), |bound| time.random_below(bound))?;
        let options = &shared.dialer.options;
        options.tell(&ConnectionEvent::Lost { error, delay });
        let until = time.now() + delay;
        loop {
            if shared.state().ending != Ending::None {
                return Err(ConnectError::Closed);
            }
            if time.now() >= until {
                break;
            }
            time.pause(&shared.bell, until);
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
