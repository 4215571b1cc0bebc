//! The port of the broker: reserved before anything is opened, claimed when there is somebody to answer, and shared by all
//! shards from then on, each of which has a listening socket of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use crate::plan::Tables;
use crate::sys::{fdtable, socket};

/// A socket on the broker's address.
#[derive(Debug)]
pub(crate) struct Port(TcpListener);

impl Port {
    /// See [`socket::reserve`].
    pub(crate) fn reserve(address: SocketAddr) -> io::Result<Self> {
        socket::reserve(address).map(Self)
    }

    /// See [`socket::claim`].
    pub(crate) fn claim(&self, send_buffer_bytes: u32) -> io::Result<()> {
        socket::claim(&self.0, send_buffer_bytes)
    }

    /// See [`socket::join`].
    pub(crate) fn join(address: SocketAddr, send_buffer_bytes: u32) -> io::Result<Self> {
        socket::join(address, send_buffer_bytes).map(Self)
    }

    /// A port that another thread has reserved, as the calling thread's own. `number` is its descriptor, which a private
    /// table was told to keep.
    pub(crate) fn of_other_thread(number: RawFd, tables: Tables) -> io::Result<Self> {
        let own = match tables {
            Tables::Private => fdtable::inherited(number),
            Tables::Shared => fdtable::duplicate(number),
        };
        own.map(|own| Self(TcpListener::from(own)))
    }

    /// The address; the real port where 0 was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Its descriptor, for [`Self::of_other_thread`].
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(in crate::net) fn into_listener(self) -> TcpListener {
        self.0
    }
}
