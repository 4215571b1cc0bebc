//! Sockets: listeners with options that mio lacks, and the two ways to send payload, from memory and from files.

use std::fs;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oyez_sys::socket::{self, Follows, Sharing};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, sockopt,
};

use super::check;

/// Connections that the kernel may complete before the broker accepts them. The kernel cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The kernel asks a peer of which nothing came for so long whether it is there; so often again, and so many
/// times, before it ends the connection. A peer that is gone is found after 120 + 4 * 15 seconds. A question is an empty
/// packet that the peer's kernel answers: no process wakes up, and a million idle connections are 8,333 of them a second.
/// `TCP_USER_TIMEOUT` would end the connections of live peers that do not read.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// How long a peer may take none of the bytes that are left for it when its connection is closed, in milliseconds. The kernel's
/// own bound is minutes.
const ORPHAN_MS: u32 = 10_000;

/// Bytes that are sent through memory at once, where `sendfile` cannot be had.
const COPY_BYTES: usize = 32 << 10;

/// A socket bound to `address` that does not listen, for [`claim`]; it finds a port for 0. Fails where any socket listens on that
/// port, even one that shares it. Connections of a broker that is gone do not matter.
pub(crate) fn reserve(address: SocketAddr) -> io::Result<OwnedFd> {
    socket::bound(address, Sharing::Alone)
}

/// Lets a reserved socket listen, alone, and others [`join`] it from then on: brokers that start at the same time can all reserve
/// a port, but only one can claim it. The order matters: two sockets that share a port already may both listen.
pub(crate) fn claim(reserved: &OwnedFd, send_buffer_bytes: u32) -> io::Result<()> {
    start_listening(reserved, send_buffer_bytes)?;
    socket::share_port(reserved)
}

/// A socket that listens on `address` together with the one that has claimed it.
pub(crate) fn join(address: SocketAddr, send_buffer_bytes: u32) -> io::Result<OwnedFd> {
    let listener = socket::bound(address, Sharing::Shared)?;
    start_listening(&listener, send_buffer_bytes)?;
    Ok(listener)
}

/// A socket for the file at `path`, for [`claim_file`]. Removes a file that an ended broker has left behind.
///
/// # Errors
/// `AddrInUse` where something listens, or the reason why the file cannot be made.
pub(crate) fn reserve_file(path: &Path) -> io::Result<OwnedFd> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::other("the file is there and is no socket"));
            }
            fs::remove_file(path)?;
        }
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::STREAM;
    Ok(socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// Lets a reserved socket listen at `path`. The broker's user and group may connect.
pub(crate) fn claim_file(reserved: &OwnedFd, path: &Path) -> io::Result<()> {
    bind(reserved, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(socket::listen(reserved, BACKLOG)?)
}

/// A socket file, known by device and inode, too, not only by its path.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    identity: (u64, u64),
}

impl File {
    /// The file that is at `path` now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }

    /// Removes the file, if it is still the one at its path.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // The next broker removes a file that is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Connections inherit the options of the socket that listens, which saves seven calls for each: small messages leave at
/// once, a peer that does not read pins no more than `send_buffer_bytes` of the kernel's memory (0 leaves that to the
/// kernel), what a peer says is acknowledged together with our answer, or 40 ms later, and the kernel looks for peers that
/// are gone.
fn start_listening(listener: &OwnedFd, send_buffer_bytes: u32) -> io::Result<()> {
    if send_buffer_bytes > 0 {
        let bytes = send_buffer_bytes.min(i32::MAX.cast_unsigned());
        sockopt::set_socket_send_buffer_size(listener, bytes as usize)?;
    }
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, KEEPALIVE_PROBES)?;
    socket::listen(listener, BACKLOG)?;
    // Listening resets what acknowledgements are like, so this comes after it. A kernel that is not Linux's own may not
    // know it, and works without.
    let _ = sockopt::set_tcp_quickack(listener, false);
    Ok(())
}

/// Bounds to [`ORPHAN_MS`] how long the kernel goes on offering a socket's bytes after it is closed. By itself it goes on for
/// minutes where the peer is there and does not read, with all that memory, and nothing counts such connections.
pub(crate) fn give_up_when_untaken(stream: &OwnedFd) {
    // A Unix socket lacks the option, and does not need it: its unread bytes go with it.
    let _ = sockopt::set_tcp_user_timeout(stream, ORPHAN_MS);
}

/// Cuts calls short on sockets that have room. The ring for sends is then not used.
#[cfg(test)]
pub(crate) mod short {
    use std::io::IoSlice;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Bytes that a call of a shard's thread sends at most.
    pub(crate) static BYTES_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

    pub(in crate::sys) fn bytes_max() -> usize {
        let bytes_max = BYTES_MAX.load(Ordering::Relaxed);
        let thread = std::thread::current();
        let is_shard = thread.name().is_some_and(|name| name.starts_with("shard-"));
        if is_shard { bytes_max } else { usize::MAX }
    }

    pub(super) fn first<'a>(parts: &'a [IoSlice<'_>]) -> Option<[IoSlice<'a>; 1]> {
        let (first, bytes_max) = (parts.first()?, bytes_max());
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let cut = &first[..first.len().min(bytes_max)];
        (bytes_max < total).then(|| [IoSlice::new(cut)])
    }
}

/// Sends as much of `parts` as the socket takes, or less. Never blocks, never raises SIGPIPE.
pub(crate) fn send(stream: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    send_before(Follows::Nothing, stream, parts)
}

/// Sends bytes that more bytes follow at once, so that they are no packet of their own.
pub(crate) fn send_ahead(stream: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    send_before(Follows::More, stream, &[IoSlice::new(bytes)])
}

fn send_before(
    follows: Follows,
    stream: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
) -> io::Result<usize> {
    #[cfg(test)]
    let short = short::first(parts);
    #[cfg(test)]
    let parts = short.as_ref().map_or(parts, |short| &short[..]);
    socket::send(stream, parts, follows)
}

/// Sends `size` bytes of `file` from `offset` on, or fewer: when the socket is full, when the file ends, and when the kernel
/// has work for this thread, such as a completion of its ring.
pub(crate) fn send_file(
    stream: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size: usize,
) -> io::Result<usize> {
    #[cfg(test)]
    let size = size.min(short::bytes_max());
    let mut at = offset;
    match rustix::fs::sendfile(stream, file, Some(&mut at), size) {
        Err(error) if has_no_sendfile(error) => send_copy(stream, file, offset, size),
        sent => Ok(sent?),
    }
}

/// Whether a sandbox, or the file's file system, does not let a file be sent as it is.
const fn has_no_sendfile(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP
    )
}

/// Sends a first part of a range of a file through memory.
fn send_copy(
    stream: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size: usize,
) -> io::Result<usize> {
    let mut bytes = [0; COPY_BYTES];
    let wanted = size.min(COPY_BYTES);
    match rustix::io::pread(file, &mut bytes[..wanted], offset)? {
        0 => Ok(0),
        read => send(stream, &[IoSlice::new(&bytes[..read])]),
    }
}

/// The bytes that wait in a socket, and how its peer takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Bytes that the peer has not acknowledged.
    pub(crate) bytes: u64,
    /// Milliseconds since bytes left or since the peer was heard, whichever is longer ago: a peer that does not read
    /// answers the kernel's probes, and one that is gone is sent the same bytes again.
    pub(crate) stuck_ms: u64,
    /// Bytes that the peer has acknowledged in all.
    pub(crate) acknowledged: u64,
    /// Milliseconds since the peer last acknowledged anything, be it only one of the kernel's probes.
    pub(crate) answered_ms: u64,
}

/// Asks the kernel which bytes wait in a socket.
pub(crate) fn backlog(stream: BorrowedFd<'_>) -> io::Result<Backlog> {
    let mut bytes: i32 = 0;
    // SAFETY: the request writes one int, which `bytes` is.
    check(unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    // SAFETY: tcp_info is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `size` bytes; the kernel writes no more than that.
    let told = check(unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    });
    match told {
        Ok(_) => {}
        // A socket file has no acknowledgements.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    Ok(Backlog {
        bytes: u64::try_from(bytes).unwrap_or(0),
        stuck_ms: u64::from(info.tcpi_last_data_sent.max(info.tcpi_last_ack_recv)),
        acknowledged: info.tcpi_bytes_acked,
        answered_ms: u64::from(info.tcpi_last_ack_recv),
    })
}

/// Acknowledges input at once instead of with the next answer, and so also input that comes until there is one.
pub(crate) fn acknowledge(stream: BorrowedFd<'_>) {
    // If this fails, input is acknowledged 40 ms later; a connection that is gone needs none.
    let _ = sockopt::set_tcp_quickack(stream, true);
}
