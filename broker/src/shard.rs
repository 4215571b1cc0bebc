//! One shard: a thread and all it owns. This file is the turn; what happens in each step is in the file of its noun.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_protocol::event::PublishedEntry;
use oyez_storage::{LogReader, Place, Store};
use slab::Slab;

use crate::clock::Clock;
use crate::error::ShardError;
use crate::measure::turn_cpu::TurnCpu;
use crate::parts::allowance::Allowance;
use crate::parts::awake::Awake;
use crate::parts::budget::{Budget, ReadBudget, SEND_STEPS};
use crate::parts::chain::Chain;
use crate::parts::feeds::Registry;
use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::lag::LagSurveys;
use crate::parts::listings::Listings;
use crate::parts::logs::Logs;
use crate::parts::mail::{Ack, Inbox, Message, Outbox};
use crate::parts::publishes::Publishes;
use crate::parts::session::{SessionId, Stage};
use crate::parts::sessions::Sessions;
use crate::parts::shared::{Phase, Shared};
use crate::parts::subscription::NUMBER_MAX;
use crate::parts::timers::Timers;
use crate::sys::ring::SendRing;
use crate::sys::waker::Waker;
use crate::turn::accept::{Accepting, Listener};
use crate::turn::catchup::Catchup;
use crate::turn::drain::Drain;
use crate::turn::fanout::TopicsWithNews;
use crate::turn::heartbeat::Watch;
use crate::turn::hold::release_due;
use crate::turn::lag;
use crate::turn::query::{add_topics, ask_topics, tell_topics};
use crate::turn::read::BUFFER_BYTES;
use crate::turn::room::make_room;

/// Tokens of what is not a session; no session has a generation and a key this high at once.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const DISK: Token = Token(usize::MAX - 2);

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;
/// How soon a publisher is tried again whose record another shard's inbox had no room for.
const RETRY_MS: u64 = 1;

/// A shard. Not `Send`: its descriptors are numbers in its thread's own table.
pub(crate) struct Shard {
    pub(crate) here: Here,
    pub(crate) poll: Poll,
    pub(crate) clock: Box<dyn Clock>,
    turn_cpu: TurnCpu,
    pub(crate) listener: Option<Listener>,
    pub(crate) sessions: Sessions,
    pub(crate) registry: Registry,
    pub(crate) timers: Timers,
    pub(crate) logs: Logs,
    pub(crate) publishes: Publishes,
    /// Small chains to many leave by it, where there is one.
    pub(crate) send_ring: Option<SendRing>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    /// There is more that others have handed over than was taken.
    pub(crate) publishes_left: bool,
    /// There is more that others have said than was heard.
    messages_left: bool,
    pub(crate) acks: Vec<Ack>,
    /// What this turn's reading may still take.
    pub(crate) reading: ReadBudget,
    pub(crate) topics_with_news: TopicsWithNews,
    pub(crate) catchups: Slab<Catchup>,
    pub(crate) catchups_waiting: VecDeque<SessionId>,
    pub(crate) listings: Listings,
    pub(crate) allowance: Allowance,
    pub(crate) lag: LagSurveys,
    pub(crate) held: Held,
    // What follows is memory that turns use again and again.
    pub(crate) chain: Chain,
    pub(crate) entries: Vec<PublishedEntry>,
    pub(crate) places_spare: Vec<Vec<Place>>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) next_nonce: u32,
    pub(crate) drain: Drain,
    pub(crate) awake: Awake,
    waker: Waker,
    /// Something is to be tried again in a moment: what others have no room for, or accepting.
    pub(crate) retry: bool,
    /// Something has become free in this turn that a paused session may have waited for.
    pub(crate) freed: bool,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Box<dyn Clock>,
    /// The same, for the time that storage takes.
    pub(crate) storage_clock: Box<dyn Clock>,
    pub(crate) listener: Listener,
    pub(crate) store: Store,
    pub(crate) send_ring: Option<SendRing>,
    pub(crate) readers: Vec<LogReader>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) waker: Waker,
    pub(crate) awake: Awake,
}

impl ShardParts {
    /// The shard's poll, watching everything that is not a session.
    fn poll(&mut self) -> io::Result<Poll> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(self.listener.source(), LISTENER, Interest::READABLE)?;
        let waker = self.waker.fd();
        registry.register(&mut SourceFd(&waker), WAKER, Interest::READABLE)?;
        if let Some(fd) = self.store.wake_fd() {
            registry.register(&mut SourceFd(&fd), DISK, Interest::READABLE)?;
        }
        Ok(poll)
    }
}

impl Shard {
    /// Must run in the shard's thread, after its descriptor table was unshared.
    pub(crate) fn new(mut parts: ShardParts) -> io::Result<Self> {
        let poll = parts.poll()?;
        let (now, shared) = (parts.clock.now(), parts.shared);
        shared.metrics[parts.id].take_store(&parts.store.stats());
        let publishes = Publishes::new(parts.readers.len());
        Ok(Self {
            logs: Logs::new(parts.store, parts.readers, parts.storage_clock),
            publishes,
            poll,
            clock: parts.clock,
            turn_cpu: TurnCpu::default(),
            listener: Some(parts.listener),
            sessions: Sessions::new(shared.shards),
            registry: Registry::default(),
            timers: Timers::new(now.monotonic_ms),
            send_ring: parts.send_ring,
            inbox: parts.inbox,
            outbox: parts.outbox,
            publishes_left: false,
            messages_left: false,
            acks: Vec::new(),
            reading: ReadBudget::default(),
            topics_with_news: TopicsWithNews::default(),
            catchups: Slab::new(),
            catchups_waiting: VecDeque::new(),
            listings: Listings::default(),
            allowance: Allowance::default(),
            lag: LagSurveys::default(),
            held: Held::default(),
            chain: Chain::default(),
            entries: Vec::new(),
            places_spare: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
            next_nonce: 0,
            drain: Drain::default(),
            awake: parts.awake,
            waker: parts.waker,
            retry: false,
            freed: false,
            here: Here {
                id: parts.id,
                shared,
                now,
            },
        })
    }

    /// Runs turns until the broker stops.
    ///
    /// # Errors
    /// When the shard cannot go on: a log is poisoned, or the kernel refuses to wait or to write. The process ends.
    pub(crate) fn run(mut self) -> Result<(), ShardError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut wait = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result.map_err(ShardError::Poll)?,
            }
            self.here.now = self.clock.now();
            for event in &events {
                self.take_event(event);
            }
            match self.here.shared.phase() {
                Phase::Serving => {}
                Phase::Stopping => match self.drain_turn() {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(undrained) => {
                        self.logs.abandon();
                        return Err(undrained);
                    }
                },
                Phase::Failed => return Err(ShardError::Elsewhere),
            }
            let busy = self.turn()?;
            self.count_turn();
            let awake_ms = self.awake.keep_up(self.here.now.monotonic_ms);
            self.here.metrics().awake_ms.add(awake_ms);
            wait = self.wait(busy);
        }
    }

    /// Everything between two waits, in the order that makes one submission and one wake-up per target enough. Tells
    /// whether there is more to do at once.
    fn turn(&mut self) -> Result<bool, ShardError> {
        self.retry = false;
        self.accept();
        let turns = self.here.metrics().turns.get();
        self.resume_paused();
        // In turn, so that neither own publishers nor those of other shards take all the room of a log that is short
        // of it.
        if turns.is_multiple_of(2) {
            self.read_sessions();
            self.take_publishes();
        } else {
            self.take_publishes();
            self.read_sessions();
        }
        self.outbox.send_parcels();
        self.messages_left = self.take_messages();
        self.freed |= make_room(&self.here, &mut self.sessions);
        self.pump()?;
        self.look_after_sessions();
        self.take_news();
        self.walk_topics();
        self.end_sessions();
        self.start_catchups();
        self.deliver_acks();
        release_due(&self.here, &mut self.sessions, &mut self.held);
        self.flush_sessions();
        self.answer_questions();
        let unsaid = self.outbox.finish_turn();
        let in_storage_us = self.logs.finish_turn().map_err(ShardError::Submit)?;
        self.here.metrics().storage_us.record(in_storage_us);
        self.retry |= unsaid;
        Ok(self.has_work())
    }

    /// Lets paused sessions try again, if something has become free that they may have waited for.
    fn resume_paused(&mut self) {
        self.freed |= self.allowance.pass(self.here.now.monotonic_ms);
        self.freed |= self.outbox.has_room_again();
        if std::mem::take(&mut self.freed) {
            self.sessions.try_paused();
        }
    }

    fn accept(&mut self) {
        if let Some(listener) = &mut self.listener {
            let mut accepting = Accepting {
                here: &self.here,
                listener,
                sessions: &mut self.sessions,
                timers: &mut self.timers,
                poll: self.poll.registry(),
            };
            accepting.run();
        }
    }

    /// Goes on with what is asked about the broker.
    fn answer_questions(&mut self) {
        let seen = (&self.sessions, &self.registry);
        for counted in lag::measure(&self.here, &mut self.lag, seen, &mut self.outbox) {
            self.freed |= lag::add(&self.here, &mut self.lag, &mut self.sessions, counted);
        }
        let (listings, outbox) = (&mut self.listings, &mut self.outbox);
        for page in tell_topics(&self.here, listings, &mut self.logs, outbox) {
            self.freed |= add_topics(&self.here, listings, &mut self.sessions, page);
        }
    }

    fn look_after_sessions(&mut self) {
        let mut watch = Watch {
            here: &self.here,
            sessions: &mut self.sessions,
            timers: &mut self.timers,
            draining: self.drain.is_begun(),
        };
        watch.fire();
    }

    fn flush_sessions(&mut self) {
        let mut budget = Budget::FLUSHES;
        for _ in 0..self.sessions.count_to_send() {
            if budget.is_spent() {
                return;
            }
            let Some(id) = self.sessions.next_to_send() else {
                return;
            };
            let visited = self.sessions.get(id).map_or(0, |s| s.subscriptions.len());
            let before = self.here.metrics().bytes_out.get();
            self.flush(id);
            let bytes = self.here.metrics().bytes_out.get() - before;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            budget.spend(SEND_STEPS + visited, bytes);
        }
    }

    fn has_work(&self) -> bool {
        let waiting = self.sessions.has_paused() || self.publishes.has_stalled();
        (self.freed && waiting)
            || self.can_take_publishes()
            || self.messages_left
            || self.publishes.has_unsettled()
            || self.sessions.has_some_to_read()
            || self.sessions.room.has_some_again()
            || self.sessions.has_some_to_end()
            || self.sessions.count_to_send() > 0
            || !self.topics_with_news.is_empty()
            || self.can_start_catchups()
            || self.lag.is_wanted()
            || self.listings.is_wanted()
            || self.listener.as_ref().is_some_and(Listener::has_more)
            || self.logs.have_news()
    }

    /// How long the next poll may wait.
    fn wait(&mut self, busy: bool) -> Option<Duration> {
        if busy {
            return Some(Duration::ZERO);
        }
        let now = self.here.now.monotonic_ms;
        let short = self.listener.as_ref().is_some_and(Listener::is_short);
        let files = self.logs.close_idle_files(now);
        [
            self.timers.wait_ms(now),
            self.logs.wait_ms(now),
            (self.retry || short || self.outbox.is_refused()).then_some(RETRY_MS),
            self.allowance.wait_ms(),
            self.held.wait_ms(now),
            self.drain.wait_ms(),
            files,
            self.awake.wait_ms(now),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(Duration::from_millis)
    }

    fn take_event(&mut self, event: &mio::event::Event) {
        match event.token() {
            LISTENER => {
                if let Some(listener) = &mut self.listener {
                    listener.mark_ready();
                }
            }
            WAKER => self.waker.drain(),
            // Being awake is all that it asks for; the turn takes what the disk has finished.
            DISK => {}
            token => self.take_session_event(SessionId::from_token(token), event),
        }
    }

    fn take_session_event(&mut self, id: SessionId, event: &mio::event::Event) {
        let now_tick = self.here.tick();
        let Some(session) = self.sessions.get_mut(id) else {
            return; // Closed earlier in this turn.
        };
        if event.is_read_closed() || event.is_error() {
            session.ended = true;
        }
        if event.is_writable() && session.blocked {
            session.blocked = false;
            if matches!(session.stage, Stage::Open | Stage::Closing) {
                // A peer that takes bytes is alive.
                session.heard_tick = now_tick;
                session.pinged = false;
            }
            self.sessions.queue_send(id);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.sessions.queue_read(id);
        }
    }

    /// Counts a turn that is over, and how long it took.
    fn count_turn(&mut self) {
        let took_us = self.clock.elapsed_us() - self.here.now.monotonic_us;
        let cpu_us = self.turn_cpu.finish_turn(took_us, &mut *self.clock);
        let waiting_since_us = self.publishes.waiting_since_us().unwrap_or(0);
        let metrics = self.here.metrics();
        metrics.turns.add(1);
        metrics.turn_us.record(took_us);
        metrics.waiting_since_us.set(waiting_since_us);
        if let Some(cpu_us) = cpu_us {
            let longest = metrics.turn_cpu_us_max.get();
            metrics.turn_cpu_us_max.set(longest.max(cpu_us));
        }
        metrics
            .input_bytes
            .set(self.sessions.room.input.bytes() as u64);
        metrics
            .output_bytes
            .set(self.sessions.room.output.bytes() as u64);
        metrics.questions.set(self.outbox.questions() as u64);
    }

    /// Handles what other shards have said; tells whether there may be more.
    pub(crate) fn take_messages(&mut self) -> bool {
        let mut budget = Budget::MESSAGES;
        while !budget.is_spent() {
            let Some(message) = self.inbox.next_message() else {
                return false;
            };
            budget.spend(message.steps(), 0);
            match message {
                Message::Published { from, mut acks } => {
                    self.acks.append(&mut acks);
                    self.outbox.give_back(from, Message::EmptyAcks(acks));
                }
                Message::EmptyParcel(parcel) => self.outbox.keep_parcel(parcel),
                Message::EmptyAcks(acks) => self.outbox.keep_acks(acks),
                Message::Locate(ask) => self.locate(&ask),
                Message::Located { from, answer } => self.answered(from, &answer),
                Message::Resolve(ask) => self.resolve(ask),
                Message::Resolved(answer) => self.resolved(answer),
                Message::ListTopics {
                    from,
                    listing,
                    after,
                } => ask_topics(&mut self.listings, &self.logs, from, listing, after),
                Message::Topics { listing, page } => {
                    let told = (listing, page);
                    let (listings, sessions) = (&mut self.listings, &mut self.sessions);
                    self.freed |= add_topics(&self.here, listings, sessions, told);
                }
                Message::MeasureLag { from, survey } => self.lag.ask(from, survey),
                Message::Lag { survey, lag } => {
                    let counted = (survey, *lag);
                    let (surveys, sessions) = (&mut self.lag, &mut self.sessions);
                    self.freed |= lag::add(&self.here, surveys, sessions, counted);
                }
            }
        }
        true
    }

    pub(crate) fn nonce(&mut self) -> u32 {
        self.next_nonce = (self.next_nonce + 1) & NUMBER_MAX;
        self.next_nonce
    }
}
