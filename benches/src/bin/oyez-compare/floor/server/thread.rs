//! One thread of the bare server.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_cli::bench::{Via, own_table};
use oyez_sys::socket::{Follows, Sharing, bound, listen, send};
use oyez_sys::waker::Waker;

use super::asked::asked;
use super::{Floor, Publication};

const EVENTS_MAX: usize = 4_096;
/// Connections that the kernel may finish before they are accepted; it is cut to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
/// Records that leave in one call.
const CHAIN_MAX: usize = 64;
/// Room for a subscriber's first words.
const WORDS_BYTES: usize = 512;
const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

pub(super) struct FloorThread {
    floor: Arc<Floor>,
    number: usize,
    waker: Waker,
    poll: Poll,
    listener: TcpListener,
    /// By token, which is never used again.
    connections: Vec<Option<Connection>>,
    /// The subscribers and the records of each topic.
    members: Vec<Vec<usize>>,
    records: Vec<Vec<Arc<Publication>>>,
}

struct Connection {
    stream: TcpStream,
    /// The topic that it has asked for, where it says more before it is one of the topic's.
    asked: Option<usize>,
    group: Option<usize>,
    /// The record that comes next, and how many of its bytes are gone.
    record: usize,
    gone: usize,
}

impl FloorThread {
    pub(super) fn new(floor: Arc<Floor>, number: usize) -> io::Result<Self> {
        let waker = floor.inboxes[number].1;
        own_table(&[waker.fd()])?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listen_beside_others(floor.address)?);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry()
            .register(&mut SourceFd(&waker.fd()), WAKER, Interest::READABLE)?;
        let groups = floor.groups;
        Ok(Self {
            floor,
            number,
            waker,
            poll,
            listener,
            connections: Vec::new(),
            members: vec![Vec::new(); groups],
            records: (0..groups).map(|_| Vec::new()).collect(),
        })
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            if self
                .poll
                .poll(&mut events, None)
                .is_err_and(|error| error.kind() != ErrorKind::Interrupted)
            {
                return;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => self.waker.drain(),
                    Token(place) => self.attend(place, event),
                }
            }
            self.deliver();
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let place = self.connections.len();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let prepared = stream.set_nodelay(true);
            if prepared
                .and_then(|()| {
                    self.poll
                        .registry()
                        .register(&mut stream, Token(place), interest)
                })
                .is_err()
            {
                continue;
            }
            self.connections.push(Some(Connection {
                stream,
                asked: None,
                group: None,
                record: 0,
                gone: 0,
            }));
            if self.floor.groups == 1 && self.floor.via == Via::Native {
                self.enter(place, 0);
            }
        }
    }

    /// Adds a subscriber to a topic.
    fn enter(&mut self, place: usize, group: usize) {
        if let Some(connection) = &mut self.connections[place] {
            connection.group = Some(group);
            connection.record = self.records[group].len();
            self.members[group].push(place);
            self.floor.accepted.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn attend(&mut self, place: usize, event: &Event) {
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let Some(connection) = &mut self.connections[place] else {
                return;
            };
            let mut words = [0; WORDS_BYTES];
            match connection.stream.read(&mut words) {
                Ok(0) => {
                    self.connections[place] = None;
                    return;
                }
                Ok(size) => self.listen(place, &words[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.connections[place] = None;
                    return;
                }
            }
        }
        if event.is_writable() {
            self.send(place);
        }
    }

    /// Reads which topic a subscriber wants, or everything that a broker would have to read.
    fn listen(&mut self, place: usize, words: &[u8]) {
        let Some(connection) = &mut self.connections[place] else {
            return;
        };
        if !self.floor.answer.is_empty() {
            let opens = connection.asked.is_none() && !self.floor.opening.is_empty();
            let answer = match opens {
                true => &self.floor.opening,
                false => &self.floor.answer,
            };
            let group = match connection.asked {
                None if self.floor.via != Via::Native => asked(words, self.floor.groups),
                asked => asked,
            };
            let sent = connection.stream.write(answer);
            match group {
                _ if !sent.is_ok_and(|size| size == answer.len()) => self.connections[place] = None,
                Some(_) if opens => connection.asked = group,
                Some(group) => self.enter(place, group),
                None if self.floor.via == Via::Native => {}
                None => self.connections[place] = None,
            }
        } else if let (None, Ok(mark)) = (connection.group, words.try_into()) {
            let group = usize::try_from(u64::from_le_bytes(mark)).unwrap_or(0);
            self.enter(place, group % self.floor.groups);
        }
    }

    /// Takes what was published and sends it to the subscribers of its topic.
    fn deliver(&mut self) {
        let inbox = &self.floor.inboxes[self.number].0;
        let fresh = std::mem::take(&mut *inbox.lock().expect("no thread panics with the lock"));
        let mut groups: Vec<usize> = fresh.iter().map(|publication| publication.group).collect();
        groups.sort_unstable();
        groups.dedup();
        for publication in &fresh {
            self.records[publication.group].push(publication.clone());
        }
        for group in groups {
            for index in 0..self.members[group].len() {
                self.send(self.members[group][index]);
            }
        }
        for publication in fresh {
            publication.walked();
        }
    }

    /// Sends until nothing is left or the socket is full; then poll reports when to go on.
    fn send(&mut self, place: usize) {
        let Some(connection) = &mut self.connections[place] else {
            return;
        };
        let Some(group) = connection.group else {
            return;
        };
        let records = &self.records[group];
        while connection.record < records.len() {
            let mut chain = [IoSlice::new(&[]); CHAIN_MAX];
            let next = &records[connection.record..];
            let count = next.len().min(CHAIN_MAX);
            for (slice, record) in chain.iter_mut().zip(next) {
                *slice = IoSlice::new(&record.bytes);
            }
            chain[0] = IoSlice::new(&next[0].bytes[connection.gone..]);
            match send(connection.stream.as_fd(), &chain[..count], Follows::Nothing) {
                Ok(size) => connection.advance(size, records),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.connections[place] = None;
                    return;
                }
            }
        }
    }
}

/// A listening socket that shares its port with those of other threads.
fn listen_beside_others(address: SocketAddr) -> io::Result<StdListener> {
    let socket = bound(address, Sharing::Shared)?;
    listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

impl Connection {
    fn advance(&mut self, size: usize, records: &[Arc<Publication>]) {
        self.gone += size;
        while let Some(record) = records
            .get(self.record)
            .filter(|record| record.bytes.len() <= self.gone)
        {
            self.gone -= record.bytes.len();
            self.record += 1;
        }
    }
}
