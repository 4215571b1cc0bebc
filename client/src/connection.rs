//! One TCP connection that a broker has welcomed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::address::Address;
use crate::error::{ConnectError, ConnectionError};
use crate::handshake::{Awaiting, Hellos, stranger};
use crate::options::ConnectOptions;
use crate::receive_buffer::{ReceiveBuffer, Received};
use crate::terms::Terms;

/// TCP keepalive: after how long a silence the kernel probes the broker, how often it repeats that, and how many probes
/// without an answer end the connection. No process wakes up for it, so that a heartbeat can be long.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// Longest time for the last frame to leave.
pub(crate) const PARTING: Duration = Duration::from_millis(100);

/// Where the broker is, and with which options to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) address: Address,
    pub(crate) options: Arc<ConnectOptions>,
}

impl Dialer {
    /// Makes one attempt: tries every socket address of the host in turn, until a broker answers at one.
    ///
    /// # Errors
    /// That of the last address tried, or the broker's goodbye.
    pub(crate) fn dial(&self) -> Result<Connection, ConnectionError> {
        let addresses = self.address.parts().to_socket_addrs();
        let addresses = addresses.map_err(|error| self.unreachable(error))?;
        self.dial_each(&addresses.collect::<Vec<_>>())
    }

    fn dial_each(&self, addresses: &[SocketAddr]) -> Result<Connection, ConnectionError> {
        let nowhere = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
        let mut last = self.unreachable(nowhere);
        for address in addresses {
            match self.dial_one(address) {
                Err(error) if !matches!(error, ConnectionError::Goodbye { .. }) => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    /// Connects to one address. A hello that was damaged on its way is said again.
    fn dial_one(&self, address: &SocketAddr) -> Result<Connection, ConnectionError> {
        let patience = self.options.connect_timeout;
        let deadline = Instant::now().checked_add(patience);
        let mut hellos = Hellos::default();
        loop {
            let left = deadline.map_or(patience, |at| at.saturating_duration_since(Instant::now()));
            // A timeout of zero is an error to the standard library.
            let stream = TcpStream::connect_timeout(address, left.max(Duration::from_millis(1)))
                .map_err(|error| self.unreachable(error))?;
            match self.shake_hands(stream, deadline) {
                Err(error) if hellos.say_again(&error) => {}
                answered => return answered,
            }
        }
    }

    fn shake_hands(
        &self,
        stream: TcpStream,
        deadline: Option<Instant>,
    ) -> Result<Connection, ConnectionError> {
        let mut connection = Connection::introduced(stream, &self.options)?;
        let patience = self.options.connect_timeout;
        match connection.await_welcome(deadline) {
            Ok(terms) => connection.agree(terms),
            Err(error) => {
                let heard = connection.received.before_first();
                let seen = heard.and_then(|heard| stranger(heard, &error, patience));
                Err(seen.map_or(error, |seen| ConnectionError::NotABroker {
                    address: self.address.to_string(),
                    seen,
                }))
            }
        }
    }

    fn unreachable(&self, source: std::io::Error) -> ConnectionError {
        ConnectionError::Unreachable {
            address: self.address.to_string(),
            source: Arc::new(source),
        }
    }

    /// Checks what can be known to be wrong before any attempt.
    ///
    /// # Errors
    /// [`ConnectError::Credentials`].
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        self.options.check()
    }
}

/// A connection after the handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Arc<TcpStream>,
    pub(crate) received: ReceiveBuffer,
    pub(crate) terms: Terms,
    read_timeout: Option<Duration>,
}

impl Connection {
    /// Returns a connection over which the hello was sent.
    fn introduced(stream: TcpStream, options: &ConnectOptions) -> Result<Self, ConnectionError> {
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        let mut hello = Vec::new();
        options.hello(&mut hello);
        (&stream).write_all(&hello)?;
        Ok(Self {
            socket: Arc::new(stream),
            received: ReceiveBuffer::default(),
            terms: Terms::default(),
            read_timeout: None,
        })
    }

    /// Adopts the terms that the broker has stated.
    fn agree(mut self, terms: Terms) -> Result<Self, ConnectionError> {
        // When no byte of a write passes in this time, the writer decides whether to wait on: see `writer`.
        self.socket.set_write_timeout(Some(terms.heartbeat))?;
        self.terms = terms;
        Ok(self)
    }

    /// Waits for the welcome. `None` is a deadline beyond the clock's end.
    fn await_welcome(&mut self, deadline: Option<Instant>) -> Result<Terms, ConnectionError> {
        let mut awaiting = Awaiting::default();
        loop {
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if let Some(terms) = awaiting.welcome(&mut self.received, left)? {
                return Ok(terms);
            }
            self.receive(left)?;
        }
    }

    /// Reads once, waiting at most for `at_most`.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub(crate) fn receive(&mut self, at_most: Duration) -> Result<Received, ConnectionError> {
        // Zero would mean "for ever" to the socket.
        let timeout = Some(at_most.max(Duration::from_micros(1)));
        if self.read_timeout != timeout {
            self.socket.set_read_timeout(timeout)?;
            self.read_timeout = timeout;
        }
        read_once(&self.socket, &mut self.received)
    }
}

/// Sends `last` as the last frame, as far as the socket takes it without delay, and closes.
pub(crate) fn part(mut socket: &TcpStream, last: &[u8]) {
    // The connection is given up either way: the other side may not read, and the caller must not wait for it.
    let _unsent = socket
        .set_write_timeout(Some(PARTING))
        .and_then(|()| socket.write_all(last));
    let _closed = socket.shutdown(Shutdown::Both);
}

fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

/// Reads once into the buffer.
///
/// # Errors
/// When the connection is at its end.
pub(crate) fn read_once(
    mut stream: &TcpStream,
    received: &mut ReceiveBuffer,
) -> Result<Received, ConnectionError> {
    let read = stream.read(received.spare());
    received.note_read(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::command::VERSION;
    use oyez_protocol::event::{Goodbye, GoodbyeCode, Welcome};
    use oyez_protocol::limits::Limits;
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    /// Listens, and answers the first connection with these bytes and nothing after them.
    fn answer(bytes: Vec<u8>) -> (SocketAddr, JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 16];
            stream.read_exact(&mut hello).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        });
        (address, answering)
    }

    fn welcome() -> Vec<u8> {
        let mut out = Vec::new();
        Welcome {
            version: VERSION,
            heartbeat_ms: 60_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 64,
            inflight_bytes_max: 4 << 20,
            subscriptions_max: 1_024,
            features: 0,
            expires_ms: 0,
            instance: 1,
            name: "broker",
        }
        .encode(&mut out);
        out
    }

    fn dialer() -> Dialer {
        Dialer {
            address: "broker.example".parse().unwrap(),
            options: Arc::new(ConnectOptions::new()),
        }
    }

    #[test]
    fn an_address_where_no_broker_answers_is_passed_over() {
        for stranger in [Vec::new(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
            let ((strange, _first), (good, _second)) = (answer(stranger), answer(welcome()));
            let connection = dialer().dial_each(&[strange, good]).unwrap();
            assert_eq!(connection.socket.peer_addr().unwrap(), good);
        }
    }

    #[test]
    fn an_error_about_a_server_that_is_no_broker_names_its_address() {
        for (says, told) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it speaks HTTP"),
            (b"-ERR unknown command\r\n", "Redis"),
            (b"", "it closed the connection without a word"),
        ] {
            let (strange, _stream) = answer(says.to_vec());
            let text = dialer().dial_each(&[strange]).unwrap_err().to_string();
            let expected = "broker.example:7450 answers, but it is not an Oyez broker";
            assert!(text.contains(expected) && text.contains(told), "{text}");
        }
    }

    #[test]
    fn after_a_goodbye_no_other_address_is_tried() {
        let mut goodbye = Vec::new();
        Goodbye {
            code: GoodbyeCode::Full,
            retry_after_ms: 0,
            reason: "full",
        }
        .encode(&mut goodbye);
        let ((full, _first), (good, _second)) = (answer(goodbye), answer(welcome()));
        let error = dialer().dial_each(&[full, good]).unwrap_err();
        assert!(matches!(error, ConnectionError::Goodbye { .. }), "{error}");
    }
}
