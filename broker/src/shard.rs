//! One shard: a thread and all it owns. This file is the turn; what happens in each step is in the file of its noun.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use oyez_storage::{LogReader, Store};

use crate::clock::Clock;
use crate::error::ShardError;
use crate::lend::{Parts, Stopping};
use crate::measure::turn_cpu::TurnCpu;
use crate::parts::awake::Awake;
use crate::parts::budget::Budget;
use crate::parts::catchups::Catchups;
use crate::parts::chain::Chain;
use crate::parts::feeds::Feeds;
use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::mail::{Inbox, Message, Outbox};
use crate::parts::phase::Phase;
use crate::parts::publishes::Publishes;
use crate::parts::questions::Questions;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::shared::Shared;
use crate::parts::timers::Timers;
use crate::sys::ring::SendRing;
use crate::sys::waker::Waker;
use crate::turn::accept::{Accepting, Listener};
use crate::turn::drain::{self, Bounds, Drain, Order, Seen};
use crate::turn::end::end_sessions;
use crate::turn::fanout::{take_news, walk_topics};
use crate::turn::flush::Flushing;
use crate::turn::hold::release_due;
use crate::turn::publish::deliver_acks;
use crate::turn::pump::pump;
use crate::turn::query::{add_topics, ask_topics, tell_topics};
use crate::turn::read::{BUFFER_BYTES, note_event};
use crate::turn::room::make_room;
use crate::turn::{catchup, lag, subscribe};

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
    poll: Poll,
    clock: Box<dyn Clock>,
    listener: Option<Listener>,
    waker: Waker,
    parts: Parts,
    drain: Drain,
    turn_cpu: TurnCpu,
    /// Turns so far.
    turns: usize,
    /// There is more that others have said than was heard.
    messages_left: bool,
    /// There are topics with news left.
    news_left: bool,
    /// Others had no room for something: to be tried again in a moment.
    unsaid: bool,
    /// Something has become free that a paused session may have waited for.
    freed: bool,
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
    pub(crate) fn new(mut made_of: ShardParts) -> io::Result<Self> {
        let poll = made_of.poll()?;
        let (id, shared, now) = (made_of.id, made_of.shared, made_of.clock.now());
        shared.metrics[id].take_store(&made_of.store.stats());
        let parts = Parts {
            sessions: Sessions::new(shared.shards),
            timers: Timers::new(now.monotonic_ms),
            feeds: Feeds::default(),
            publishes: Publishes::new(made_of.readers.len()),
            logs: Logs::new(made_of.store, made_of.readers, made_of.storage_clock),
            catchups: Catchups::default(),
            inbox: made_of.inbox,
            outbox: made_of.outbox,
            held: Held::default(),
            questions: Questions::default(),
            awake: made_of.awake,
            send_ring: made_of.send_ring,
            chain: Chain::default(),
            buffer: vec![0; BUFFER_BYTES],
            here: Here { id, shared, now },
        };
        Ok(Self {
            poll,
            clock: made_of.clock,
            listener: Some(made_of.listener),
            waker: made_of.waker,
            parts,
            drain: Drain::default(),
            turn_cpu: TurnCpu::default(),
            turns: 0,
            messages_left: false,
            news_left: false,
            unsaid: false,
            freed: false,
        })
    }

    /// Runs turns until the broker stops.
    ///
    /// # Errors
    /// When the shard cannot go on: a log is poisoned, or the kernel refuses to wait or to write. The process ends.
    pub(crate) fn run(mut self) -> Result<(), ShardError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut wait = Some(Duration::ZERO);
        let mut undrained = None;
        loop {
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result.map_err(ShardError::Poll)?,
            }
            self.parts.here.now = self.clock.now();
            for event in &events {
                self.take_event(event);
            }
            match self.parts.here.shared.phase() {
                Phase::Serving => {}
                Phase::Stopping => match self.stop_turn() {
                    Order::Over => break,
                    Order::GiveUp => {
                        undrained = drain::tell_of_undrained(&self.parts.logs.undrained());
                    }
                    _ => {}
                },
                Phase::Failed => return Err(ShardError::Elsewhere),
            }
            let busy = self.turn()?;
            self.count_turn();
            wait = self.wait(busy);
        }
        let Some(undrained) = undrained else {
            return Ok(());
        };
        self.parts.logs.abandon();
        Err(undrained)
    }

    /// Everything between two waits, in the order that makes one submission and one wake-up per target enough. Tells
    /// whether there is more to do at once.
    fn turn(&mut self) -> Result<bool, ShardError> {
        let (stopping, parts) = (self.stopping(), &mut self.parts);
        if let Some(listener) = &mut self.listener {
            Accepting {
                here: &parts.here,
                listener,
                sessions: &mut parts.sessions,
                timers: &mut parts.timers,
                poll: self.poll.registry(),
            }
            .run();
        }
        self.freed |= parts.questions.allowance.pass(parts.here.now.monotonic_ms);
        self.freed |= parts.outbox.has_room_again();
        if std::mem::take(&mut self.freed) {
            parts.sessions.try_paused();
        }
        // In turn, so that neither own publishers nor those of other shards take all the room of a log that is short
        // of it.
        let own_first = self.turns.is_multiple_of(2);
        if own_first {
            parts.reading(stopping).run();
        }
        parts.publishing(stopping).take_publishes();
        if !own_first {
            parts.reading(stopping).run();
        }
        parts.outbox.send_parcels();
        self.messages_left = self.take_messages();
        let parts = &mut self.parts;
        self.freed |= make_room(&parts.here, &mut parts.sessions);
        let mut progress = pump(&parts.here, &mut parts.logs, &mut parts.outbox)?;
        self.freed |= parts.publishing(stopping).take_progress(&progress);
        for (token, outcome) in progress.populated.drain(..) {
            parts.serving().populated(token, outcome);
        }
        parts.logs.keep_progress(progress);
        parts.watch(stopping).fire();
        parts.logs.close_idle_files(parts.here.now.monotonic_ms);
        take_news(&mut parts.feeds, &mut parts.logs);
        let (mut out, ring, chain) = parts.way_out();
        self.news_left = walk_topics(&mut out, ring, chain);
        let (mut members, timers) = parts.members();
        end_sessions(&mut members, timers, stopping.is_begun);
        parts.catchups.start_waiting(&mut parts.sessions);
        deliver_acks(&parts.here, &mut parts.sessions, &mut parts.publishes);
        release_due(&parts.here, &mut parts.sessions, &mut parts.held);
        let (serving, turn) = (parts.serving(), self.turns);
        Flushing { serving, turn }.run();
        self.answer_questions();
        let parts = &mut self.parts;
        self.unsaid = parts.outbox.finish_turn();
        let in_storage_us = parts.logs.finish_turn().map_err(ShardError::Submit)?;
        parts.here.metrics().storage_us.record(in_storage_us);
        Ok(self.has_work())
    }

    /// Goes on with what is asked about the broker.
    fn answer_questions(&mut self) {
        let parts = &mut self.parts;
        let (here, sessions, questions) = (&parts.here, &mut parts.sessions, &mut parts.questions);
        let seen = (&*sessions, &parts.feeds);
        for counted in lag::measure(here, &mut questions.lag, seen, &mut parts.outbox) {
            self.freed |= lag::add(here, &mut questions.lag, sessions, counted);
        }
        let listings = &mut questions.listings;
        for page in tell_topics(here, listings, &mut parts.logs, &mut parts.outbox) {
            self.freed |= add_topics(here, listings, sessions, page);
        }
    }

    /// Handles what other shards have said; tells whether there may be more.
    fn take_messages(&mut self) -> bool {
        let parts = &mut self.parts;
        let mut budget = Budget::MESSAGES;
        while !budget.is_spent() {
            let Some(message) = parts.inbox.next_message() else {
                return false;
            };
            budget.spend(message.steps(), 0);
            let (here, questions) = (&parts.here, &mut parts.questions);
            match message {
                Message::Published { from, acks } => {
                    let empty = parts.publishes.tell_all(acks);
                    parts.outbox.give_back(from, Message::EmptyAcks(empty));
                }
                Message::EmptyParcel(parcel) => parts.outbox.keep_parcel(parcel),
                Message::EmptyAcks(acks) => parts.outbox.keep_acks(acks),
                Message::Locate(ask) => {
                    subscribe::locate(here, &mut parts.logs, &mut parts.outbox, &ask);
                }
                Message::Located { from, answer } => {
                    self.freed |= parts.subscribing().answered(from, &answer);
                }
                Message::Resolve(ask) => {
                    catchup::resolve(here, &mut parts.logs, &mut parts.outbox, ask);
                }
                Message::Resolved(answer) => parts.serving().resolved(answer),
                Message::ListTopics {
                    from,
                    listing,
                    after,
                } => ask_topics(&mut questions.listings, &parts.logs, from, listing, after),
                Message::Topics { listing, page } => {
                    let (told, listings) = ((listing, page), &mut questions.listings);
                    self.freed |= add_topics(here, listings, &mut parts.sessions, told);
                }
                Message::MeasureLag { from, survey } => questions.lag.ask(from, survey),
                Message::Lag { survey, lag } => {
                    let (counted, surveys) = ((survey, *lag), &mut questions.lag);
                    self.freed |= lag::add(here, surveys, &mut parts.sessions, counted);
                }
            }
        }
        true
    }

    fn stopping(&self) -> Stopping {
        Stopping {
            is_begun: self.drain.is_begun(),
            refuses: self.drain.refuses(),
        }
    }

    /// Goes on with the shutdown by at most one step.
    fn stop_turn(&mut self) -> Order {
        let parts = &mut self.parts;
        let shared = &parts.here.shared;
        let seen = Seen {
            has_records: parts.outbox.has_records(),
            has_publishes: parts.publishes.has_stalled() || parts.publishes.has_left(),
            is_drained: parts.logs.is_drained() && parts.publishes.all_told() && !self.unsaid,
            quiet: shared.shards_quiet.load(Ordering::Acquire),
            drained: shared.shards_drained.load(Ordering::Acquire),
            sessions: parts.sessions.len(),
        };
        let now_ms = parts.here.now.monotonic_ms;
        let order = self.drain.advance(now_ms, Bounds::of(&parts.here), seen);
        drain::count_shard(&parts.here, order);
        match order {
            Order::StopListening => {
                if let Some(mut listener) = self.listener.take() {
                    // Dropping the listener takes it out of the poll in any case.
                    let _ = self.poll.registry().deregister(listener.source());
                }
            }
            Order::CloseLogs => parts.logs.begin_drain(),
            Order::Dismiss | Order::GiveUp => {
                // Until nothing is left: what comes after the Goodbye is not sent.
                while self.take_messages() {}
                let parts = &mut self.parts;
                deliver_acks(&parts.here, &mut parts.sessions, &mut parts.publishes);
                drain::dismiss_all(&parts.here, &mut parts.sessions);
            }
            Order::Close => drain::close_all(&parts.here, &mut parts.sessions),
            Order::Wait | Order::BeQuiet | Order::BeDrained | Order::Over => {}
        }
        order
    }

    fn has_work(&self) -> bool {
        let parts = &self.parts;
        let (sessions, publishes, questions) =
            (&parts.sessions, &parts.publishes, &parts.questions);
        (self.freed && (sessions.has_paused() || publishes.has_stalled()))
            || (publishes.has_left() && !publishes.is_full())
            || self.messages_left
            || publishes.has_unsettled()
            || sessions.has_some_to_read()
            || sessions.room.has_some_again()
            || sessions.has_some_to_end()
            || sessions.count_to_send() > 0
            || self.news_left
            || parts.catchups.can_start()
            || questions.lag.is_wanted()
            || questions.listings.is_wanted()
            || self.listener.as_ref().is_some_and(Listener::has_more)
            || parts.logs.have_news()
    }

    /// How long the next poll may wait.
    fn wait(&self, busy: bool) -> Option<Duration> {
        if busy {
            return Some(Duration::ZERO);
        }
        let parts = &self.parts;
        let now = parts.here.now.monotonic_ms;
        let short = self.listener.as_ref().is_some_and(Listener::is_short);
        let retry = self.unsaid || short || parts.outbox.is_refused();
        [
            parts.timers.wait_ms(now),
            parts.logs.wait_ms(now),
            retry.then_some(RETRY_MS),
            parts.questions.allowance.wait_ms(),
            parts.held.wait_ms(now),
            self.drain.wait_ms(),
            parts.logs.files_wait_ms(now),
            parts.awake.wait_ms(now),
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
            token => {
                let (tick, id) = (self.parts.here.tick(), SessionId::from_token(token));
                note_event(&mut self.parts.sessions, id, tick, event);
            }
        }
    }

    /// Counts a turn that is over, and how long it took.
    fn count_turn(&mut self) {
        self.turns += 1;
        let parts = &mut self.parts;
        let took_us = self.clock.elapsed_us() - parts.here.now.monotonic_us;
        let cpu_us = self.turn_cpu.finish_turn(took_us, &mut *self.clock);
        let awake_ms = parts.awake.keep_up(parts.here.now.monotonic_ms);
        let metrics = parts.here.metrics();
        metrics.turns.add(1);
        metrics.turn_us.record(took_us);
        metrics.awake_ms.add(awake_ms);
        let waiting_since_us = parts.publishes.waiting_since_us().unwrap_or(0);
        metrics.waiting_since_us.set(waiting_since_us);
        if let Some(cpu_us) = cpu_us {
            let longest = metrics.turn_cpu_us_max.get();
            metrics.turn_cpu_us_max.set(longest.max(cpu_us));
        }
        let room = &parts.sessions.room;
        metrics.input_bytes.set(room.input.bytes() as u64);
        metrics.output_bytes.set(room.output.bytes() as u64);
        metrics.questions.set(parts.outbox.questions() as u64);
    }
}
