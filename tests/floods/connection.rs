//! One hostile client's connection: it does the next step of its script as soon as its socket takes it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use testkit::random::Random;
use testkit::sockets::reset_on_close;

use crate::generator::Tally;
use crate::script::{Client, Reading, Step};

/// Reads, and steps, of one visit; then the others have their turn.
const ACTS_PER_VISIT: usize = 4;

/// What an alarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    GoOn,
    Read,
}

/// How a visit ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Visit {
    /// There is more to do at once.
    More,
    /// An event or an alarm that is set will tell.
    Idle,
    Alarm(Duration, Alarm),
    /// The client has ended its connection.
    Closed,
    /// The other side has.
    Lost,
}

pub(crate) struct Connection {
    pub(crate) kind: usize,
    pub(crate) place: usize,
    /// Counts clients in this place, so that an alarm of one does not wake another.
    pub(crate) life: u32,
    pub(crate) queued: bool,
    client: Client,
    stream: Option<TcpStream>,
    /// The bytes being sent, and how many of them are out.
    sending: Option<(Arc<[u8]>, usize)>,
    readable: bool,
    writable: bool,
    broken: bool,
    /// A pause or the end of the script: nothing is sent.
    silent: bool,
    /// A slow reader has its next bytes to come.
    reads_later: bool,
}

impl Connection {
    pub(crate) const fn new(kind: usize, place: usize, client: Client) -> Self {
        Self {
            kind,
            place,
            life: 0,
            queued: true,
            client,
            stream: None,
            sending: None,
            readable: false,
            writable: false,
            broken: false,
            silent: false,
            reads_later: false,
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        number: usize,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(number), interest)?;
        self.stream = Some(stream);
        Ok(())
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable();
        self.writable |= event.is_writable();
        self.broken |= event.is_error();
    }

    pub(crate) const fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::GoOn => self.silent = false,
            Alarm::Read => self.reads_later = false,
        }
    }

    /// Puts a client that is not connected yet into this place.
    pub(crate) fn replace(&mut self, client: Client) {
        *self = Self {
            life: self.life.wrapping_add(1),
            queued: self.queued,
            ..Self::new(self.kind, self.place, client)
        };
    }

    pub(crate) fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            reset_on_close(&stream);
        }
    }

    pub(crate) fn visit(
        &mut self,
        random: &mut Random,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Visit {
        if self.broken {
            return Visit::Lost;
        }
        match self.read(buffer, tally) {
            Ok(None) => {}
            Ok(Some(pause)) => return pause,
            Err(_) => return Visit::Lost,
        }
        for _ in 0..ACTS_PER_VISIT {
            if self.silent || !self.writable {
                break;
            }
            match self.act(random, tally) {
                Ok(None) => {}
                Ok(Some(visit)) => return visit,
                Err(_) => return Visit::Lost,
            }
        }
        let reads = matches!(self.client.reading, Reading::All) && self.readable;
        if reads || (self.writable && !self.silent) {
            Visit::More
        } else {
            Visit::Idle
        }
    }

    /// Reads what the client wants to read; a slow one has a pause then.
    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Option<Visit>> {
        match self.client.reading {
            Reading::Nothing => Ok(None),
            Reading::All => {
                for _ in 0..ACTS_PER_VISIT {
                    self.read_once(buffer, tally)?;
                }
                Ok(None)
            }
            Reading::Slow { bytes, pause } => {
                if self.reads_later || !self.readable {
                    return Ok(None);
                }
                self.read_once(&mut buffer[..bytes], tally)?;
                self.reads_later = true;
                Ok(Some(Visit::Alarm(pause, Alarm::Read)))
            }
        }
    }

    fn read_once(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.readable) else {
            return Ok(());
        };
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(size) => tally.bytes_in += size as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends more of what is being sent, or takes the next step.
    fn act(&mut self, random: &mut Random, tally: &mut Tally) -> io::Result<Option<Visit>> {
        let Some((bytes, sent)) = &mut self.sending else {
            return Ok(self.step(random));
        };
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        match stream.write(&bytes[*sent..]) {
            Ok(size) => {
                tally.bytes_out += size as u64;
                *sent += size;
                if *sent == bytes.len() {
                    self.sending = None;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn step(&mut self, random: &mut Random) -> Option<Visit> {
        match (self.client.script)(random) {
            Step::Send(bytes) => {
                self.sending = Some((bytes, 0));
                None
            }
            Step::Wait(pause) => {
                self.silent = true;
                Some(Visit::Alarm(pause, Alarm::GoOn))
            }
            Step::Rest => {
                self.silent = true;
                Some(Visit::Idle)
            }
            Step::Close => Some(Visit::Closed),
            Step::Reset => {
                self.reset();
                Some(Visit::Closed)
            }
        }
    }
}
