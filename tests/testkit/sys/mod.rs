//! Signals, children that do not outlive their parent, and what the kernel knows of a connection.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop in good order.
    Terminate,
    /// Stop as on Ctrl-C.
    Interrupt,
}

/// Sends a signal to a child that has not been waited for, so that its number cannot mean another process.
pub(crate) fn signal(child: &std::process::Child, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Interrupt => libc::SIGINT,
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
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and takes no pointers here.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        )
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

/// Limits what a socket takes in before it is read, so that its reader's pace is seen by the peer.
pub(crate) fn set_receive_buffer(stream: &TcpStream, bytes: i32) -> io::Result<()> {
    // SAFETY: `bytes` is a valid int of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
