//! A way between a client and a broker that damages one bit of one stream, once.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the broker.
    In,
    /// From the broker to the client.
    Out,
}

/// A bit of the first connection's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The stream.
    pub way: Way,
    /// The bit's number in the stream: eight times the byte's, and the bit's in its byte from the lowest up.
    pub bit: usize,
}

/// Listens for clients and carries their streams to the broker and back. What it carries ends with its connections.
#[derive(Debug)]
pub struct Flipper {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    flipped: Arc<AtomicBool>,
}

impl Flipper {
    /// Stands between clients and the broker at `to`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn new(to: SocketAddr, flip: Flip) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let flipped = Arc::new(AtomicBool::new(false));
        let has_flipped = Arc::clone(&flipped);
        spawn(move || {
            let mut flip = Some(flip);
            for client in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(to)) else {
                    return;
                };
                let (way_in, way_out) = (of(flip, Way::In), of(flip, Way::Out));
                flip = None;
                carry(&client, &broker, way_in, &has_flipped);
                carry(&broker, &client, way_out, &has_flipped);
            }
        });
        Self {
            address,
            over,
            flipped,
        }
    }

    /// Whether the bit was reached.
    #[must_use]
    pub fn has_flipped(&self) -> bool {
        self.flipped.load(Ordering::Acquire)
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listener, which ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn of(flip: Option<Flip>, way: Way) -> Option<usize> {
    flip.filter(|flip| flip.way == way).map(|flip| flip.bit)
}

/// Carries one stream until either side ends.
fn carry(from: &TcpStream, to: &TcpStream, flip: Option<usize>, flipped: &Arc<AtomicBool>) {
    let flipped = Arc::clone(flipped);
    let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor is free");
    let (mut from, mut to) = (clone(from), clone(to));
    to.set_nodelay(true).expect("a TCP socket");
    spawn(move || {
        let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
        while let Ok(size @ 1..) = from.read(&mut buffer) {
            if let Some(at) = flip.and_then(|bit| (bit / 8).checked_sub(passed))
                && at < size
            {
                buffer[at] ^= 1 << (flip.unwrap_or(0) % 8);
                flipped.store(true, Ordering::Release);
            }
            passed += size;
            if to.write_all(&buffer[..size]).is_err() {
                break;
            }
        }
        // Either may be gone.
        let _ = to.shutdown(Shutdown::Write);
    });
}
