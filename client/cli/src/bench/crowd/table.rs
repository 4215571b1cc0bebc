//! One thread of the crowd: its own descriptor table, its own poll, its share of the connections.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_sys::socket::Dial;
use rustix::io::Errno;

use super::sockets::{Halves, Sockets, State};
use super::{CrowdShared, Gauge, STOP, Tally};
use crate::bench::own_table::own_table;
use crate::bench::spread::source;
use crate::bench::target::{Ear, Heard, Listening, Place};

/// Longest time until a thread reads its orders.
const GLANCE: Duration = Duration::from_millis(50);
/// Events of one poll.
const EVENTS_MAX: usize = 4_096;
const CLOSED: &str = "lost: the server closed it";
/// Bytes read at once; one buffer serves all connections of the thread.
const READ_BYTES: usize = 256 << 10;

pub(super) struct Table {
    shared: Arc<CrowdShared>,
    number: usize,
    /// Number of the first connection in the crowd.
    first: usize,
    poll: Poll,
    ear: Box<dyn Ear>,
    sockets: Sockets,
    halves: Halves,
    buffer: Vec<u8>,
    /// The half of a frame and what has come after it.
    joined: Vec<u8>,
    heard: Vec<Heard>,
    out: Vec<u8>,
    round: u32,
    /// Connections begun, and how many of them are not subscribed yet.
    dialed: usize,
    outstanding: usize,
    outstanding_max: usize,
    /// What a subscriber says first carries the last packet of the handshake.
    speaks_first: bool,
    ready: usize,
    /// The topics of this thread: the first, and how many subscribers each has here.
    group_first: usize,
    group_sizes: Vec<u32>,
    /// How many subscribers of this thread have each publication.
    arrived: Vec<u32>,
    /// Time between a read and the next poll, once all are subscribed.
    pause: Option<Duration>,
    tally: Tally,
}

impl Table {
    /// Lives until the crowd is dismissed or something goes wrong.
    pub(super) fn run(shared: &Arc<CrowdShared>, number: usize) -> Tally {
        let mut table = match Self::new(shared.clone(), number) {
            Ok(table) => table,
            Err(error) => {
                shared.complain(format!("a thread of the crowd cannot start: {error}"));
                return Tally::new();
            }
        };
        if let Err(trouble) = table.live() {
            shared.complain(trouble);
        }
        table.tally
    }

    fn new(shared: Arc<CrowdShared>, number: usize) -> io::Result<Self> {
        own_table(&[shared.board.waker().fd()])?;
        let spread = &shared.audience.spread;
        let range = spread.table(number);
        let mut first_words = Vec::new();
        shared
            .target
            .join(shared.audience.topic, None, &mut first_words);
        let sizes: Vec<(usize, usize)> = spread.groups_of_table(number).collect();
        let listening = Listening {
            decode: shared.audience.decode,
            batch: shared.board.batch(),
        };
        Ok(Self {
            number,
            first: range.start,
            poll: Poll::new()?,
            ear: shared.target.ear(listening),
            sockets: Sockets::new(range.len()),
            halves: Halves::default(),
            buffer: vec![0; READ_BYTES],
            joined: Vec::new(),
            heard: Vec::new(),
            out: Vec::new(),
            round: 0,
            dialed: 0,
            outstanding: 0,
            // Not over a link: the server's first idea of the way there and back would hold the crowd's own delay, and
            // what many send into one queue at that pace times out. *10,000 subscribers behind 1 Gbit/s, LZ4 off:
            // 215,000 messages a second and some connections given up, against 420,000.*
            speaks_first: !first_words.is_empty()
                && shared.target.answers_at_once()
                && shared.audience.source_net.is_none(),
            outstanding_max: (shared.audience.outstanding / spread.tables()).max(1),
            ready: 0,
            group_first: sizes.first().map_or(0, |(group, _)| *group),
            group_sizes: sizes
                .iter()
                .map(|(_, size)| u32::try_from(*size).expect("a table holds far fewer"))
                .collect(),
            arrived: vec![0; shared.board.publications()],
            pause: spread.pause(),
            tally: Tally::new(),
            shared,
        })
    }

    fn live(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.shared.round() {
                STOP => return Ok(()),
                round if round != self.round => self.hang_up(round),
                _ => {}
            }
            self.dial()?;
            match self.poll.poll(&mut events, Some(GLANCE)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("cannot poll: {error}"));
                }
                _ => {}
            }
            for event in &events {
                let place = event.token().0;
                match self.attend(place, event) {
                    Err(_) if self.shared.is_forgiving() => self.lose(place),
                    attended => attended.map_err(|trouble| {
                        format!("connection {}: {trouble}", self.first + place)
                    })?,
                }
            }
            self.tell();
            if !events.is_empty() {
                self.pause();
            }
        }
    }

    /// Lets arrivals gather, unless some connection is not subscribed yet; see
    /// [`Spread::pause`](crate::bench::spread::Spread::pause).
    fn pause(&self) {
        if let Some(pause) = self.pause
            && self.ready == self.sockets.len()
        {
            thread::sleep(pause);
        }
    }

    fn gauge(&self) -> &Gauge {
        &self.shared.gauges[self.number]
    }

    fn tell(&self) {
        self.gauge()
            .deliveries
            .store(self.tally.deliveries, Ordering::Relaxed);
        self.gauge()
            .messages
            .store(self.tally.messages, Ordering::Relaxed);
    }

    fn hang_up(&mut self, round: u32) {
        self.round = round;
        for stream in &mut self.sockets.streams {
            *stream = None;
        }
        self.halves.forget();
        (self.outstanding, self.ready) = (0, 0);
        let connected = round.is_multiple_of(2);
        self.dialed = if connected { 0 } else { self.sockets.len() };
        self.gauge().ready.store(0, Ordering::Release);
    }

    /// Forgets a connection that was expected to end.
    fn lose(&mut self, place: usize) {
        if self.sockets.streams[place].take().is_some() {
            self.halves.take(place, &mut self.joined);
            self.ready -= 1;
            self.gauge().ready.store(self.ready, Ordering::Release);
        }
    }

    /// Begins as many connections as may be on their way.
    fn dial(&mut self) -> Result<(), String> {
        while self.outstanding < self.outstanding_max && self.dialed < self.sockets.len() {
            let place = self.dialed;
            let number = self.shared.audience.first + self.first + place;
            let address = self.shared.address();
            let dial = Dial {
                to: address,
                from: source(number, address, self.shared.audience.source_net).map(Into::into),
                receive_buffer: self.shared.audience.receive_buffer,
                speaks_first: self.speaks_first,
            };
            self.sockets.begun_us[place] = self.now_us();
            let refused = |error: io::Error| {
                format!(
                    "connection {number} cannot be made to {address}: {}",
                    explained(&error)
                )
            };
            let stream = dial.begin().map_err(refused)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut SourceFd(&stream.as_raw_fd()), Token(place), interest)
                .map_err(refused)?;
            self.sockets.streams[place] = Some(stream);
            self.sockets.states[place] = State::Connecting;
            self.dialed += 1;
            self.outstanding += 1;
        }
        Ok(())
    }

    fn attend(&mut self, place: usize, event: &Event) -> Result<(), String> {
        if self.sockets.states[place] == State::Connecting {
            self.join(place)?;
        }
        let closed = event.is_read_closed() || event.is_error();
        if self.shared.is_deaf() {
            return if closed {
                Err(CLOSED.to_owned())
            } else {
                Ok(())
            };
        }
        if closed || event.is_readable() {
            self.read(place)?;
        }
        Ok(())
    }

    /// The connection stands, or has failed.
    fn join(&mut self, place: usize) -> Result<(), String> {
        let (topic, from) = self.wish(place);
        self.out.clear();
        self.shared.target.join(topic, from, &mut self.out);
        let Some(stream) = &mut self.sockets.streams[place] else {
            return Ok(());
        };
        if let Ok(Some(error)) | Err(error) = stream.take_error() {
            return Err(format!("cannot connect: {}", explained(&error)));
        }
        if self.out.is_empty() {
            self.subscribed(place, None);
            return Ok(());
        }
        self.speak(place)?;
        self.sockets.states[place] = State::Joining;
        if !self.shared.target.answers() {
            self.subscribed(place, None);
        }
        Ok(())
    }

    /// The topic of a subscriber, and where it had come to.
    fn wish(&self, place: usize) -> (usize, Option<Place>) {
        let group = self.shared.audience.spread.group_of(self.first + place);
        let from = (self.round > 0).then(|| Place {
            next: self.sockets.next[place],
            epoch: self.shared.epochs[group].load(Ordering::Acquire),
        });
        (self.shared.audience.topic + group, from)
    }

    /// The server has opened the session that a subscriber has asked for.
    fn enter(&mut self, place: usize) -> Result<(), String> {
        if self.sockets.states[place] != State::Joining {
            return Err("the server opens a session that was not requested".to_owned());
        }
        let (topic, from) = self.wish(place);
        self.out.clear();
        self.shared.target.enter(topic, from, &mut self.out);
        self.speak(place)
    }

    /// Writes the subscriber's first bytes.
    fn speak(&mut self, place: usize) -> Result<(), String> {
        let Some(stream) = &mut self.sockets.streams[place] else {
            return Ok(());
        };
        if self.out.is_empty() {
            return Ok(());
        }
        match stream.write(&self.out) {
            Ok(size) if size == self.out.len() => Ok(()),
            Ok(_) => Err("its first bytes did not fit into the socket".to_owned()),
            Err(error) => Err(format!("cannot write: {error}")),
        }
    }

    /// Notes that the server has confirmed a subscription.
    fn confirmed(&mut self, place: usize, at: Place) -> Result<(), String> {
        if self.sockets.states[place] != State::Joining {
            return Err("the server confirms a subscription that was not requested".to_owned());
        }
        self.subscribed(place, Some(at));
        Ok(())
    }

    fn subscribed(&mut self, place: usize, at: Option<Place>) {
        let now_ns = self.shared.board.clock.now_ns();
        if let Some(at) = at {
            let group = self.shared.audience.spread.group_of(self.first + place);
            self.shared.epochs[group].store(at.epoch, Ordering::Release);
            // A subscriber that comes back gets the whole record that holds its place; it asked for the start of one.
            self.sockets.next[place] = at.next;
        }
        self.sockets.states[place] = State::Subscribed;
        self.outstanding -= 1;
        self.ready += 1;
        let us = self.now_us().wrapping_sub(self.sockets.begun_us[place]);
        self.tally.connect.record_ns(u64::from(us) * 1_000);
        self.tally.connected.add(now_ns, 1);
        self.gauge().ready_ns.store(now_ns, Ordering::Release);
        self.gauge().ready.store(self.ready, Ordering::Release);
    }

    fn now_us(&self) -> u32 {
        (self.shared.board.clock.now_ns() / 1_000) as u32
    }

    /// Reads until there is no more. A short read says so: what comes later is told by another event.
    fn read(&mut self, place: usize) -> Result<(), String> {
        loop {
            let Some(stream) = &mut self.sockets.streams[place] else {
                return Ok(());
            };
            match stream.read(&mut self.buffer) {
                Ok(0) => return Err(CLOSED.to_owned()),
                Ok(size) => {
                    self.take(place, size)?;
                    if size < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("lost: {error}")),
            }
        }
    }

    /// The first `size` bytes of the buffer have come.
    fn take(&mut self, place: usize, size: usize) -> Result<(), String> {
        self.heard.clear();
        let fresh = &self.buffer[..size];
        let whole = if self.halves.take(place, &mut self.joined) {
            self.joined.extend_from_slice(fresh);
            &self.joined
        } else {
            fresh
        };
        let taken = self.ear.hear(whole, &mut self.heard)?;
        self.halves.hold(place, &whole[taken..]);
        let now_ns = self.shared.board.clock.now_ns();
        for index in 0..self.heard.len() {
            match self.heard[index] {
                Heard::Open => self.enter(place)?,
                Heard::Subscribed(at) => self.confirmed(place, at)?,
                Heard::Record {
                    first,
                    messages,
                    sum,
                } => self.delivered(place, (first, messages, sum), now_ns)?,
                Heard::Ping { token } => self.answer(place, token)?,
                Heard::Welcome { .. } | Heard::Published { .. } => {}
            }
        }
        Ok(())
    }

    fn answer(&mut self, place: usize, token: u64) -> Result<(), String> {
        self.out.clear();
        self.shared.target.pong(token, &mut self.out);
        self.speak(place)
    }

    fn delivered(
        &mut self,
        place: usize,
        (first, messages, sum): (u64, u32, Option<u32>),
        now_ns: u64,
    ) -> Result<(), String> {
        if self.sockets.states[place] != State::Subscribed {
            return Err("a record came before the subscription was confirmed".to_owned());
        }
        let next = self.sockets.next[place];
        if first != next {
            let what = if first > next {
                "records are lost"
            } else {
                "a record came twice"
            };
            return Err(format!("{what}: message {first} came where {next} was due"));
        }
        let group = self.shared.audience.spread.group_of(self.first + place);
        let board = &self.shared.board;
        let publication = board.publication(group, self.sockets.received[place] as usize);
        if publication >= board.publications() || messages != board.batch() {
            return Err("a record came that this bench did not publish; use a topic that no other client uses (--topic)".to_owned());
        }
        if sum.is_some_and(|sum| sum != board.sum(publication)) {
            return Err(format!(
                "message {first} and those of its record came with other payloads than were published"
            ));
        }
        self.sockets.next[place] = first + u64::from(messages);
        self.sockets.received[place] += 1;
        self.tally.deliveries += 1;
        self.tally.messages += u64::from(messages);
        self.tally
            .latency
            .record_ns(now_ns.saturating_sub(board.sent_ns(publication)));
        self.tally.delivered.add(now_ns, 1);
        self.arrived[publication] += 1;
        if self.arrived[publication] == self.group_sizes[group - self.group_first] {
            board.thread_done(publication, now_ns);
        }
        Ok(())
    }
}

/// An error of connecting, with what to do about it.
fn explained(error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::AddrNotAvailable => {
            "; no port is free for this source address: widen net.ipv4.ip_local_port_range"
        }
        ErrorKind::ConnectionRefused => "; no server listens there",
        _ => match Errno::from_io_error(error) {
            Some(Errno::MFILE) => "; raise the descriptor limit (ulimit -n)",
            Some(Errno::NFILE) => "; raise fs.file-max",
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                "; the kernel has no memory for more sockets (net.ipv4.tcp_mem)"
            }
            _ => "",
        },
    };
    format!("{error}{advice}")
}
