//! One client's end of the simulated network: a connection to some shard of the broker, as far as one stands, and what
//! goes wrong with its bytes.

use std::io::{self, ErrorKind};

use oyez_broker::simulation::{Broker, End, Peer};
use oyez_client::simulation::Wire;

use super::dice::Dice;

/// Bytes that may be on their way to a shard.
const ROOM_BYTES: usize = 128 << 10;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Link {
    peer: Option<Peer>,
    /// The broker at the other end is gone; what it has sent may still be read, so many bytes of it.
    lost: Option<usize>,
    shut: bool,
    /// The next bytes each way have one bit changed.
    pub(super) flips_in: bool,
    pub(super) flips_out: bool,
    /// The broker at the other end has stopped, and closed everything.
    pub(super) was_left_cleanly: bool,
    /// Connections that began.
    pub(super) dials: u64,
    /// It has not taken all that the client has to say.
    full: bool,
    /// The client has closed it beside its reader, who still finds it closed.
    pub(super) closed: bool,
    /// The run of the broker that it leads to.
    pub(super) run: u64,
    /// Bits that were changed.
    pub(super) flipped: u64,
    /// Who speaks over it would notice a bit that was changed.
    pub(super) has_checksums: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            peer: None,
            lost: None,
            shut: false,
            flips_in: false,
            flips_out: false,
            was_left_cleanly: false,
            dials: 0,
            full: false,
            closed: false,
            run: 0,
            flipped: 0,
            has_checksums: true,
        }
    }
}

impl Link {
    /// A link for who speaks with checksums, or without.
    pub(super) fn new(has_checksums: bool) -> Self {
        Self {
            has_checksums,
            ..Self::default()
        }
    }

    /// The far end, while the broker is there.
    pub(super) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref().filter(|_| self.lost.is_none())
    }

    /// Begins another connection; false when nobody listens.
    pub(super) fn dial(&mut self, broker: Option<&Broker>, dice: &mut Dice) -> bool {
        let Some(broker) = broker else {
            return false;
        };
        let shard = dice.index(broker.shards());
        self.peer = Some(broker.net(shard).connect());
        (self.closed, self.was_left_cleanly) = (false, false);
        (self.lost, self.shut, self.full) = (None, false, false);
        self.dials += 1;
        true
    }

    /// The broker is gone. Of what it has sent, some still arrives; all of it after a clean stop.
    pub(super) fn lose(&mut self, dice: &mut Dice, was_clean: bool) {
        if let Some(peer) = &self.peer
            && self.lost.is_none()
        {
            let left = match was_clean {
                true => peer.waiting(),
                false => dice.index(peer.waiting() + 1),
            };
            self.lost = Some(left);
            self.was_left_cleanly = was_clean;
        }
    }

    /// Whether a read would give something, or what did not fit would now.
    pub(super) fn has_news(&self) -> bool {
        let Some(peer) = &self.peer else {
            return self.closed;
        };
        let has_room = self.full && peer.unread() < ROOM_BYTES;
        has_room || peer.waiting() > 0 || self.lost.is_some() || peer.how_it_ended() != End::Open
    }

    /// Reads at most so much, unless nothing has arrived.
    pub(super) fn read(&mut self, max: usize, dice: &mut Dice) -> io::Result<Vec<u8>> {
        let Some(peer) = &self.peer else {
            self.closed = false;
            return Err(ErrorKind::NotConnected.into());
        };
        let max = self.lost.map_or(max, |left| max.min(left));
        let mut bytes = if max == 0 {
            Vec::new()
        } else {
            peer.read_some(max)
        };
        if let Some(left) = &mut self.lost {
            *left -= bytes.len();
        }
        if bytes.is_empty() {
            return match peer.how_it_ended() {
                _ if self.lost.is_some() => Err(ErrorKind::ConnectionReset.into()),
                End::Open => Err(ErrorKind::WouldBlock.into()),
                End::Shut | End::Closed => Ok(bytes),
                End::Aborted => Err(ErrorKind::ConnectionReset.into()),
            };
        }
        if std::mem::take(&mut self.flips_in) {
            self.flip(&mut bytes, dice);
        }
        Ok(bytes)
    }

    /// Writes a front part of the bytes.
    pub(super) fn write(&mut self, bytes: &[u8], dice: &mut Dice) -> io::Result<usize> {
        let Some(peer) = self.peer.clone() else {
            return Err(ErrorKind::NotConnected.into());
        };
        let ended = matches!(peer.how_it_ended(), End::Closed | End::Aborted);
        if self.lost.is_some() || self.shut || ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let size = bytes.len().min(ROOM_BYTES.saturating_sub(peer.unread()));
        self.full = size < bytes.len();
        if size == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        if std::mem::take(&mut self.flips_out) {
            let mut bytes = bytes[..size].to_vec();
            self.flip(&mut bytes, dice);
            peer.write(&bytes);
        } else {
            peer.write(&bytes[..size]);
        }
        Ok(size)
    }

    fn flip(&mut self, bytes: &mut [u8], dice: &mut Dice) {
        let at = dice.index(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        self.flipped += 1;
    }

    /// Shuts the client's side, which still reads.
    pub(super) fn shut(&mut self) {
        if let Some(peer) = self.peer()
            && !self.shut
        {
            peer.shutdown();
            self.shut = true;
        }
    }

    /// Whether the client's side is shut.
    pub(super) const fn is_shut(&self) -> bool {
        self.shut
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(&mut self) {
        if let Some(peer) = self.peer() {
            match self.shut {
                true => let_go(peer),
                false => peer.reset(),
            }
        }
        // What was reset is not read from any more; the client finds it broken.
        if self.peer.is_some() {
            self.lost = Some(0);
        }
    }

    /// Lets go of the connection.
    pub(super) fn close(&mut self) {
        if let Some(peer) = self.peer() {
            let_go(peer);
        }
        self.closed = self.peer.is_some();
        self.peer = None;
        self.lost = None;
    }
}

/// Closes a peer's socket. A host without it answers everything that still comes, and at once.
fn let_go(peer: &Peer) {
    peer.resume();
    peer.set_room(ROOM_BYTES);
    peer.close();
}

/// A link while its client takes a turn.
pub(super) struct Reach<'a> {
    pub(super) link: &'a mut Link,
    pub(super) broker: Option<&'a Broker>,
    pub(super) dice: &'a mut Dice,
}

impl Wire for Reach<'_> {
    fn dial(&mut self) -> bool {
        self.link.dial(self.broker, self.dice)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.link.read(into.len(), self.dice)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.write(bytes, self.dice)
    }

    fn close(&mut self) {
        self.link.close();
    }
}
