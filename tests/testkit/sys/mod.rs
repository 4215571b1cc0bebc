//! Signals, children that do not outlive their parent or live in a sandbox, and what the kernel knows of a connection.

mod docker;
pub(crate) mod seccomp;

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
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
pub fn stop_with_parent(command: &mut Command) -> &mut Command {
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
