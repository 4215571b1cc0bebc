//! Sockets of the bare server.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind, listen, sendmsg,
    socket_with, sockopt,
};

/// Connections that the kernel may finish before they are accepted; it is cut to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// A listening socket that shares its port with others (`SO_REUSEPORT`).
pub(super) fn listen_beside_others(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Holds a port that others will listen on, and finds one for port 0.
pub(super) fn reserve(address: SocketAddr) -> io::Result<TcpListener> {
    Ok(TcpListener::from(bound(address)?))
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// Sends as much of `parts` as the socket takes. Never blocks, never raises SIGPIPE.
pub(super) fn send(stream: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut nothing = SendAncillaryBuffer::default();
    Ok(sendmsg(stream, parts, &mut nothing, flags)?)
}
