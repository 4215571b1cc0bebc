//! TCP sockets with what neither std nor mio offers: a source address, a shared port, a reset at the end, and sends that neither
//! block nor raise a signal.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_linger, set_socket_recv_buffer_size, set_socket_reuseaddr, set_socket_reuseport,
    set_tcp_quickack,
};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind, connect, sendmsg,
    socket_with,
};

pub use rustix::net::listen;

use crate::check;

/// A connection to be made, which ends with a reset, so that neither a port nor bytes of it stay behind.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// The address to connect to.
    pub to: SocketAddr,
    /// The source address. The kernel chooses the port when the connection is made, so that each source has all ports for it.
    pub from: Option<IpAddr>,
    /// Bytes that the kernel takes in before they are read: half of the memory that it sets aside for them.
    pub receive_buffer: Option<u32>,
    /// The first bytes follow at once and carry the last acknowledgement of the handshake.
    pub speaks_first: bool,
}

impl Dial {
    /// A dial with no options.
    #[must_use]
    pub const fn to(address: SocketAddr) -> Self {
        Self {
            to: address,
            from: None,
            receive_buffer: None,
            speaks_first: false,
        }
    }

    /// Begins to connect without waiting: the stream does not block, and can be written when it is connected.
    ///
    /// # Errors
    /// When no descriptor or port is left, or the kernel has no route.
    pub fn begin(&self) -> io::Result<TcpStream> {
        let socket = self.socket(SocketFlags::NONBLOCK)?;
        match connect(&socket, &self.to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects. Gives up after `patience`, and so does each later read and write.
    ///
    /// # Errors
    /// As [`Dial::begin`], when nothing listens there, and when it takes too long.
    pub fn connect(&self, patience: Duration) -> io::Result<TcpStream> {
        let stream = TcpStream::from(self.socket(SocketFlags::empty())?);
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))?;
        connect(&stream, &self.to)?;
        Ok(stream)
    }

    fn socket(&self, flags: SocketFlags) -> io::Result<OwnedFd> {
        let socket = stream_socket(self.to, flags)?;
        reset_when_closed(&socket)?;
        if let Some(bytes) = self.receive_buffer {
            set_receive_buffer(&socket, bytes)?;
        }
        if self.speaks_first {
            set_tcp_quickack(&socket, false)?;
        }
        if let Some(source) = self.from {
            choose_port_late(socket.as_fd())?;
            bind(&socket, &SocketAddr::new(source, 0))?;
        }
        Ok(socket)
    }
}

/// Whether other sockets may use a socket's port, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// No other socket that listens.
    Alone,
    /// Other sockets of this user that share it as well; the kernel spreads connections over those that listen.
    Shared,
}

/// A socket bound to `address` that does not listen yet ([`listen`]) and does not block; it finds a port for 0. Connections
/// of a process that is gone do not hold the port.
///
/// # Errors
/// `AddrInUse` where another socket has the port, and when the address is not this host's.
pub fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let socket = stream_socket(address, SocketFlags::NONBLOCK)?;
    set_socket_reuseaddr(&socket, true)?;
    if sharing == Sharing::Shared {
        share_port(&socket)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// Lets others share the port of a socket from now on.
///
/// # Errors
/// When it is no TCP socket.
pub fn share_port(socket: impl AsFd) -> io::Result<()> {
    Ok(set_socket_reuseport(socket, true)?)
}

/// Lets a socket be closed with a reset instead of an orderly end, leaving no TIME_WAIT and no unsent bytes.
///
/// # Errors
/// When it is no socket.
pub fn reset_when_closed(socket: impl AsFd) -> io::Result<()> {
    Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Limits the bytes that a socket takes in before they are read, so that the peer notices a slow reader.
///
/// # Errors
/// When it is no socket.
pub fn set_receive_buffer(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    Ok(set_socket_recv_buffer_size(socket, bytes as usize)?)
}

/// What follows the bytes of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing that is known: the bytes leave at once.
    Nothing,
    /// More bytes, at once: these need no packet of their own.
    More,
}

/// Sends as much of `parts` as the socket takes, or less. Never blocks, never raises SIGPIPE, and takes no memory.
///
/// # Errors
/// `WouldBlock` where the socket is full, and the error that has ended the connection.
pub fn send(stream: BorrowedFd<'_>, parts: &[IoSlice<'_>], follows: Follows) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    flags.set(SendFlags::MORE, follows == Follows::More);
    let mut nothing = SendAncillaryBuffer::default();
    Ok(sendmsg(stream, parts, &mut nothing, flags)?)
}

/// A stream socket of the family of `address`.
fn stream_socket(address: SocketAddr, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// `IP_BIND_ADDRESS_NO_PORT`, which rustix does not have.
fn choose_port_late(socket: BorrowedFd<'_>) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: `yes` is an int of the size given, which lives during the call; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_dial_comes_from_the_address_that_was_chosen() {
        let (listener, address) = listener();
        let dial = Dial {
            from: Some([127, 3, 2, 1].into()),
            ..Dial::to(address)
        };
        let (_waiting, _begun) = (dial.connect(PATIENCE).unwrap(), dial.begin().unwrap());
        for _ in 0..2 {
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), IpAddr::from([127, 3, 2, 1]));
        }
    }

    #[test]
    fn a_dialled_connection_ends_with_a_reset() {
        let (listener, address) = listener();
        let mut stream = Dial::to(address).connect(PATIENCE).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        stream.write_all(b"x").unwrap();
        drop(stream);
        let end = accepted.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_full_socket_says_so_and_a_closed_one_raises_no_signal() {
        let (listener, address) = listener();
        let stream = Dial::to(address).connect(PATIENCE).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let bytes = vec![0; 1 << 20];
        let full = loop {
            let parts = [IoSlice::new(&bytes), IoSlice::new(&bytes)];
            if let Err(error) = send(stream.as_fd(), &parts, Follows::More) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        reset_when_closed(&accepted).unwrap();
        drop(accepted);
        let gone = send(stream.as_fd(), &[IoSlice::new(b"x")], Follows::Nothing).unwrap_err();
        assert_ne!(gone.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn sockets_share_a_port_if_both_agree_to_it() {
        let first = bound("127.0.0.1:0".parse().unwrap(), Sharing::Shared).unwrap();
        listen(&first, 16).unwrap();
        let first = TcpListener::from(first);
        let address = first.local_addr().unwrap();
        listen(bound(address, Sharing::Shared).unwrap(), 16).unwrap();
        let refused = bound(address, Sharing::Alone).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    }
}
