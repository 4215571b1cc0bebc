//! The addresses of the broker: reserved before anything is opened, claimed when the shards can answer. At a TCP address each
//! shard has a listening socket of its own from then on; all shards share the one of a socket file.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use oyez_sys::fdtable;
use tracing::warn;

use crate::listen::{Listen, NoPort, Place};
use crate::plan::Tables;
use crate::sys::socket;

/// The address of an existing socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl At {
    fn place(&self) -> Place {
        match self {
            Self::Tcp(address) => (*address).into(),
            Self::Unix(path) => Place::Unix(path.clone()),
        }
    }
}

/// What other threads need to use a port, too. It owns no descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    /// Its descriptor, the same number in all tables while the shards start.
    number: RawFd,
    at: At,
    /// The number of its entry in the configuration.
    door: u8,
}

impl Spot {
    /// The descriptor that a table has to keep for [`Port::of_spot`], where a shard does not make one of its own.
    pub(crate) fn shared_with(&self, is_first: bool) -> Option<RawFd> {
        (is_first || matches!(self.at, At::Unix(_))).then_some(self.number)
    }
}

/// A socket that listens, or is to.
#[derive(Debug)]
pub(crate) struct Port {
    socket: OwnedFd,
    at: At,
    door: u8,
}

impl Port {
    fn claim(&self, send_buffer_bytes: u32) -> io::Result<()> {
        match &self.at {
            At::Tcp(_) => socket::claim(&self.socket, send_buffer_bytes),
            At::Unix(path) => socket::claim_file(&self.socket, path),
        }
    }

    /// The port of `spot`, as the calling thread's own: a socket that joins it, or, for the first shard and for a socket file,
    /// the very same socket, which the thread's table was told to keep.
    ///
    /// # Errors
    /// When the system has no room for another descriptor, or something else has the address now.
    pub(crate) fn of_spot(
        spot: &Spot,
        is_first: bool,
        (tables, send_buffer_bytes): (Tables, u32),
    ) -> Result<Self, NoPort> {
        let socket = match (spot.shared_with(is_first), &spot.at) {
            (Some(number), _) => match tables {
                Tables::Private => fdtable::inherited(number),
                Tables::Shared => fdtable::duplicate(number),
            },
            (None, At::Tcp(address)) => socket::join(*address, send_buffer_bytes),
            (None, At::Unix(_)) => unreachable!("a socket file is shared"),
        };
        let (at, door) = (spot.at.clone(), spot.door);
        match socket {
            Ok(socket) => Ok(Self { socket, at, door }),
            Err(source) => Err(NoPort {
                place: at.place(),
                door,
                source,
            }),
        }
    }

    /// The listening socket by its kind, and its door.
    pub(in crate::net) fn into_listener(self) -> (Listener, u8) {
        let listener = match self.at {
            At::Tcp(_) => Listener::Tcp(TcpListener::from(self.socket)),
            At::Unix(_) => Listener::Unix(UnixListener::from(self.socket)),
        };
        (listener, self.door)
    }
}

/// A listening socket.
#[derive(Debug)]
pub(in crate::net) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// All ports of the broker.
#[derive(Debug)]
pub(crate) struct Ports {
    ports: Vec<Port>,
    files: Files,
}

impl Ports {
    /// Reserves the addresses of `doors`, which are numbered as in the configuration.
    ///
    /// # Errors
    /// The first door that cannot be reserved. Of a name, one address that can be is enough.
    pub(crate) fn reserve<'a>(doors: impl Iterator<Item = &'a Listen>) -> Result<Self, NoPort> {
        let mut ports = Vec::new();
        for (door, listen) in (0_u8..).zip(doors) {
            let place = &listen.place;
            let no_port = |source| NoPort {
                place: place.clone(),
                door,
                source,
            };
            if let Place::Unix(path) = place {
                let socket = socket::reserve_file(path).map_err(no_port)?;
                let at = At::Unix(path.clone());
                ports.push(Port { socket, at, door });
                continue;
            }
            let addresses = place.resolve().map_err(no_port)?;
            let reserved = reserve_all(&addresses, place).map_err(no_port)?;
            ports.extend(reserved.into_iter().map(|(socket, address)| Port {
                socket,
                at: At::Tcp(address),
                door,
            }));
        }
        let files = Files::default();
        Ok(Self { ports, files })
    }

    /// Lets all ports listen.
    ///
    /// # Errors
    /// The first port that another socket has claimed meanwhile.
    pub(crate) fn claim(&mut self, send_buffer_bytes: u32) -> Result<(), NoPort> {
        for port in &self.ports {
            let no_port = |source| NoPort {
                place: port.at.place(),
                door: port.door,
                source,
            };
            port.claim(send_buffer_bytes).map_err(no_port)?;
            if let At::Unix(path) = &port.at {
                self.files.0.push(socket::File::of(path).map_err(no_port)?);
            }
        }
        Ok(())
    }

    /// The spots from which shards make their ports.
    pub(crate) fn spots(&self) -> Vec<Spot> {
        let spot = |port: &Port| Spot {
            number: port.socket.as_raw_fd(),
            at: port.at.clone(),
            door: port.door,
        };
        self.ports.iter().map(spot).collect()
    }

    /// The addresses of all ports, each with its door.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&At, u8)> {
        self.ports.iter().map(|port| (&port.at, port.door))
    }

    /// Closes the sockets of this thread, now that the shards have theirs. Returns the socket files, which remain.
    pub(crate) fn into_files(self) -> Files {
        self.files
    }
}

/// The socket files of a broker. Dropping this removes them, unless another broker has made its own there.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<socket::File>);

impl Drop for Files {
    fn drop(&mut self) {
        for file in &self.0 {
            file.remove();
        }
    }
}

/// Reserves sockets on all these addresses of a place, with the ports that were found for 0.
fn reserve_all(addresses: &[SocketAddr], place: &Place) -> io::Result<Vec<(OwnedFd, SocketAddr)>> {
    let (mut reserved, mut refused) = (Vec::new(), None);
    for address in addresses {
        match reserve(*address) {
            Ok(socket) => reserved.push(socket),
            // A name may have an address of a family that this machine lacks.
            Err(error) if is_missing(&error) => {
                warn!("{address}, an address of {place}, cannot be listened on: {error}");
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (reserved.is_empty(), refused) {
        (false, _) => Ok(reserved),
        (true, Some(error)) => Err(error),
        (true, None) => Err(io::Error::other("the name has no address")),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
    )
}

fn reserve(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = match socket::reserve(address) {
        // Without IPv6, the unspecified address is that of IPv4.
        Err(error) if is_missing(&error) && address.ip().is_unspecified() => {
            socket::reserve(SocketAddr::from(([0, 0, 0, 0], address.port())))?
        }
        reserved => reserved?,
    };
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener.into(), address))
}
