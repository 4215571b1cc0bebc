//! Sockets with the options that neither std nor mio has words for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) to: SocketAddr,
    /// The source address; the port is chosen by the kernel at `connect`, when it knows the other end.
    pub(crate) from: Option<Ipv4Addr>,
    pub(crate) receive_buffer: Option<u32>,
    /// The first bytes follow at once: they carry the last packet of the handshake.
    pub(crate) speaks_first: bool,
}

/// Begins to connect without waiting. Closing the socket will reset the connection: nothing of it stays behind.
pub(crate) fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let socket = stream_socket(dial.to)?;
    let fd = socket.as_raw_fd();
    set_reset(fd)?;
    if let Some(size) = dial.receive_buffer {
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, size)?;
    }
    if dial.speaks_first {
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0)?;
    }
    if let Some(from) = dial.from {
        set_option(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        bind(fd, SocketAddrV4::new(from, 0).into())?;
    }
    let (raw, size) = raw_address(dial.to);
    // SAFETY: `raw` holds a valid address of `size` bytes.
    match check(unsafe { libc::connect(fd, (&raw const raw).cast(), size) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from(socket)),
    }
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointers; the fresh descriptor has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) })
}

fn set_reset(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: `linger` is a valid value of the size given.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    })?;
    Ok(())
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is a valid int of the size given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) })?;
    Ok(())
}

fn bind(fd: RawFd, address: SocketAddr) -> io::Result<()> {
    let (raw, size) = raw_address(address);
    // SAFETY: `raw` holds a valid address of `size` bytes.
    check(unsafe { libc::bind(fd, (&raw const raw).cast(), size) })?;
    Ok(())
}

/// The address as the kernel reads it, and how much of it counts.
fn raw_address(address: SocketAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: sockaddr_in6 is plain integers, for which zero is a value.
    let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    match address {
        SocketAddr::V4(address) => {
            let short = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_in6 is larger than a sockaddr_in and at least as aligned.
            unsafe { (&raw mut raw).cast::<libc::sockaddr_in>().write(short) };
            (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(address) => {
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_flowinfo = address.flowinfo();
            raw.sin6_addr.s6_addr = address.ip().octets();
            raw.sin6_scope_id = address.scope_id();
            (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}
