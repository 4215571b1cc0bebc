//! What std does not do with sockets.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use oyez_sys::fdtable;
use oyez_sys::socket::{self, Sharing};

/// Connections that wait to be accepted at most.
const BACKLOG: i32 = 4096;

/// A listener that others may listen beside, on the same address, as brokers of version 0.1.0 do: the kernel deals the
/// connections out among them. It does not block.
///
/// # Panics
/// When the address is not to be had.
#[must_use]
pub fn listen_beside(address: SocketAddr) -> TcpListener {
    let listener = socket::bound(address, Sharing::Shared)
        .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    socket::listen(&listener, BACKLOG).expect("a bound socket");
    listener.into()
}

/// An address of loopback where nobody listens, for a program that does not say which port it has found.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a listener has an address")
}

/// Limits what the kernel takes in for a connection before it is read.
///
/// # Panics
/// When the kernel refuses.
pub fn limit_receive_buffer(stream: &TcpStream, bytes: u32) {
    socket::set_receive_buffer(stream, bytes).expect("a TCP socket");
}

/// Makes the end of a connection a reset, which leaves no port behind that waits.
///
/// # Panics
/// When it is no socket.
pub fn reset_on_close(socket: &impl AsFd) {
    socket::reset_when_closed(socket).expect("a TCP socket");
}

/// Lets this process have as many descriptors as it may have.
pub fn raise_descriptor_limit() {
    let _as_many = fdtable::limit();
}
