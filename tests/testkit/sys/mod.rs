//! Signals, children that do not outlive their parent or live in a sandbox, sockets that share a port, and what the kernel
//! knows of a connection.

mod docker;
pub(crate) mod seccomp;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop in good order.
    Terminate,
    /// Stop as on Ctrl-C.
    Interrupt,
    /// Read the settings again.
    HangUp,
    /// One of the two that mean what a program wants.
    User1,
    /// The other one.
    User2,
}

/// Sends a signal to a child that has not been waited for, so that its number cannot mean another process.
pub(crate) fn signal(child: &std::process::Child, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Interrupt => libc::SIGINT,
        Signal::HangUp => libc::SIGHUP,
        Signal::User1 => libc::SIGUSR1,
        Signal::User2 => libc::SIGUSR2,
    };
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: kill takes no pointers.
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The child is killed when the thread that starts it ends, so that nothing is left behind by a test run that is
/// itself killed.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    hear_of_parents_end(command, libc::SIGKILL)
}

/// The child is asked to stop when the thread that starts it ends: one that has children of its own ends them.
pub(crate) fn stop_with_parent(command: &mut Command) -> &mut Command {
    hear_of_parents_end(command, libc::SIGTERM)
}

fn hear_of_parents_end(command: &mut Command, number: libc::c_int) -> &mut Command {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and takes no pointers here.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, number) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }
}

/// Segments that have come in on a connection, the handshake's included.
pub(crate) fn segments_in(stream: &TcpStream) -> io::Result<u32> {
    /// Where `tcpi_segs_in` is in `struct tcp_info`; libc's is older than this field.
    const SEGMENTS_IN: usize = 140;
    let mut info = [0u8; SEGMENTS_IN + 4];
    let mut size = info.len() as libc::socklen_t;
    // SAFETY: `info` has room for `size` bytes; the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let field = info[SEGMENTS_IN..].try_into().map_err(io::Error::other)?;
    Ok(u32::from_ne_bytes(field))
}

/// Listens on an address that others may share (`SO_REUSEPORT`), as brokers of version 0.1.0 do; an IPv6 wildcard takes
/// IPv4 as well.
pub(crate) fn listen_beside(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket takes no pointers.
    let socket = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is fresh and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        set_option(&socket, option, &1i32)?;
    }
    let bound = match address {
        SocketAddr::V4(address) => {
            // SAFETY: sockaddr_in is plain integers, for which zero is a value.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            bind(&socket, &raw)
        }
        SocketAddr::V6(address) => {
            // SAFETY: sockaddr_in6 is plain integers, for which zero is a value.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            bind(&socket, &raw)
        }
    };
    bound?;
    // SAFETY: listen takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(TcpListener::from(socket))
}

/// Binds to an address, which is one of the kernel's `sockaddr_...`.
fn bind<T>(socket: &OwnedFd, address: &T) -> io::Result<()> {
    let (start, size) = (&raw const *address, size_of::<T>() as libc::socklen_t);
    // SAFETY: `address` has `size` bytes and lives during the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), start.cast(), size) })?;
    Ok(())
}

/// Closing the socket resets the connection.
pub(crate) fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(socket, libc::SO_LINGER, &linger)
}

/// Lets the process have as many descriptors as it may have.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` has room for what the kernel writes.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` outlives the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// Limits what a socket takes in before it is read, so that its reader's pace is seen by the peer.
pub(crate) fn set_receive_buffer(stream: &TcpStream, bytes: i32) -> io::Result<()> {
    set_option(stream, libc::SO_RCVBUF, &bytes)
}

fn set_option<T: Copy>(socket: &impl AsFd, option: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has `size` bytes and outlives the call, which only reads them.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size,
        )
    })?;
    Ok(())
}

fn check(result: i32) -> io::Result<i32> {
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
