//! The parts of a shard, and the structs that lend them to the steps of a turn.

use std::sync::Arc;

use oyez_storage::{LogReader, Store};

use crate::clock::{Clock, Now};
use crate::dialect::{http, websocket};
use crate::dispatch::Dispatch;
use crate::error::ShardError;
use crate::net::Net;
use crate::parts::arrivals::Arrivals;
use crate::parts::awake::Awake;
use crate::parts::batch::SendBatch;
use crate::parts::catchups::Catchups;
use crate::parts::chain::Chain;
use crate::parts::context::ShardContext;
use crate::parts::feeds::Feeds;
use crate::parts::freed::Freed;
use crate::parts::held::HeldReplies;
use crate::parts::log_limits::LogLimits;
use crate::parts::logs::Logs;
use crate::parts::mail::{Inbox, Outbox};
use crate::parts::membership::Membership;
use crate::parts::publishes::Publishes;
use crate::parts::questions::Questions;
use crate::parts::sessions::Sessions;
use crate::parts::shared::Shared;
use crate::parts::timers::Timers;
use crate::parts::topic_rate::TopicRate;
use crate::turn::accept::Accepting;
use crate::turn::catchup::Serving;
use crate::turn::drain::Drain;
use crate::turn::end::Endings;
use crate::turn::flush::Flushing;
use crate::turn::heartbeat::Heartbeats;
use crate::turn::publish::Publishing;
use crate::turn::read::{BUFFER_BYTES, Reading};
use crate::turn::render::Rendering;
use crate::turn::subscribe::Subscribing;
use crate::turn::wave::DeliveryContext;

/// Everything that a shard owns.
pub(crate) struct Parts {
    pub(crate) context: ShardContext,
    pub(crate) net: Box<dyn Net>,
    pub(crate) arrivals: Arrivals,
    pub(crate) drain: Drain,
    /// The error for logs that the shutdown has given up.
    pub(crate) undrained: Option<ShardError>,
    pub(crate) freed: Freed,
    pub(crate) sessions: Sessions,
    pub(crate) timers: Timers,
    pub(crate) feeds: Feeds,
    pub(crate) logs: Logs,
    pub(crate) publishes: Publishes,
    pub(crate) catchups: Catchups,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) held: HeldReplies,
    pub(crate) questions: Questions,
    pub(crate) awake: Awake,
    // The fields from here on are memory that all turns use again.
    pub(crate) chain: Chain,
    pub(crate) batch: SendBatch,
    pub(crate) buffer: Vec<u8>,
    pub(crate) scratch: http::Scratch,
    pub(crate) messages: websocket::Scratch,
    pub(crate) rendering: Rendering,
}

/// The arguments of [`Parts::new`].
pub(crate) struct ShardInit {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    /// Measures the time that storage takes.
    pub(crate) storage_clock: Box<dyn Clock>,
    pub(crate) net: Box<dyn Net>,
    pub(crate) store: Store,
    pub(crate) readers: Vec<LogReader>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) awake: Awake,
}

/// The parts that are lent beside a [`Membership`].
struct Beside<'a> {
    net: &'a mut dyn Net,
    timers: &'a mut Timers,
    outbox: &'a mut Outbox,
    held: &'a mut HeldReplies,
}

impl Parts {
    /// Fresh parts, without work.
    pub(crate) fn new(init: ShardInit, now: Now) -> Self {
        let (id, shared) = (init.id, init.shared);
        shared.metrics[id].take_store(&init.store.stats());
        Self {
            net: init.net,
            arrivals: Arrivals::default(),
            drain: Drain::default(),
            undrained: None,
            freed: Freed::default(),
            sessions: Sessions::new(shared.caps),
            timers: Timers::new(now.monotonic_ms),
            feeds: Feeds::default(),
            publishes: Publishes::new(
                init.readers.len(),
                TopicRate::new(&shared.config, now.monotonic_ms),
            ),
            logs: Logs::new(init.store, init.readers, init.storage_clock),
            catchups: Catchups::default(),
            inbox: init.inbox,
            outbox: init.outbox,
            held: HeldReplies::default(),
            questions: Questions::default(),
            awake: init.awake,
            batch: SendBatch::default(),
            chain: Chain::default(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: http::Scratch::default(),
            messages: websocket::Scratch::default(),
            rendering: Rendering::new(shared.rendition_bytes_max),
            context: ShardContext {
                id,
                shared,
                now,
                turns: 0,
                lines: LogLimits::default(),
            },
        }
    }

    pub(crate) fn accepting(&mut self) -> Accepting<'_> {
        Accepting {
            context: &self.context,
            net: &mut *self.net,
            arrivals: &mut self.arrivals,
            sessions: &mut self.sessions,
            timers: &mut self.timers,
        }
    }

    pub(crate) fn reading(&mut self) -> Reading<'_, Dispatch<'_>> {
        let sending = match self.net.has_batches() {
            true => "ring",
            false => "loop",
        };
        Reading {
            context: &self.context,
            net: &mut *self.net,
            sessions: &mut self.sessions,
            timers: &mut self.timers,
            budget: Default::default(),
            buffer: &mut self.buffer,
            scratch: &mut self.scratch,
            messages: &mut self.messages,
            draining: self.drain.is_begun(),
            handler: Dispatch {
                context: &self.context,
                feeds: &mut self.feeds,
                logs: &mut self.logs,
                publishes: &mut self.publishes,
                catchups: &mut self.catchups,
                inbox: &mut self.inbox,
                outbox: &mut self.outbox,
                held: &mut self.held,
                questions: &mut self.questions,
                awake: &mut self.awake,
                sending,
                refuses: self.drain.refuses(),
            },
        }
    }

    pub(crate) fn publishing(&mut self) -> Publishing<'_> {
        Publishing {
            context: &self.context,
            sessions: &mut self.sessions,
            logs: &mut self.logs,
            publishes: &mut self.publishes,
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            awake: &mut self.awake,
            refuses: self.drain.refuses(),
        }
    }

    /// The parts that memberships change, and those lent beside them to the steps that do so.
    fn members(&mut self) -> (Membership<'_>, Beside<'_>) {
        let members = Membership {
            context: &self.context,
            sessions: &mut self.sessions,
            feeds: &mut self.feeds,
            logs: &mut self.logs,
            catchups: &mut self.catchups,
        };
        let beside = Beside {
            net: &mut *self.net,
            timers: &mut self.timers,
            outbox: &mut self.outbox,
            held: &mut self.held,
        };
        (members, beside)
    }

    pub(crate) fn endings(&mut self) -> Endings<'_> {
        let draining = self.drain.is_begun();
        let (members, Beside { net, timers, .. }) = self.members();
        Endings {
            members,
            net,
            timers,
            draining,
        }
    }

    pub(crate) fn subscribing(&mut self) -> Subscribing<'_> {
        let (members, Beside { outbox, held, .. }) = self.members();
        Subscribing {
            members,
            outbox,
            held,
        }
    }

    /// The parts that serve subscriptions from the log, and the memory of a walk's batches.
    fn ways(&mut self) -> (Serving<'_>, &mut SendBatch) {
        let serving = Serving {
            out: DeliveryContext {
                context: &self.context,
                net: &mut *self.net,
                sessions: &mut self.sessions,
                feeds: &mut self.feeds,
                logs: &mut self.logs,
                rendering: &mut self.rendering,
                sent: 0,
            },
            catchups: &mut self.catchups,
            outbox: &mut self.outbox,
            chain: &mut self.chain,
        };
        (serving, &mut self.batch)
    }

    pub(crate) fn serving(&mut self) -> Serving<'_> {
        self.ways().0
    }

    pub(crate) fn flushing(&mut self) -> Flushing<'_> {
        let serving = self.serving();
        Flushing { serving }
    }

    pub(crate) fn way_out(&mut self) -> (DeliveryContext<'_>, &mut SendBatch, &mut Chain) {
        let (serving, batch) = self.ways();
        (serving.out, batch, serving.chain)
    }

    pub(crate) fn watch(&mut self) -> Heartbeats<'_> {
        Heartbeats {
            context: &self.context,
            net: &mut *self.net,
            sessions: &mut self.sessions,
            feeds: &self.feeds,
            logs: &self.logs,
            timers: &mut self.timers,
            draining: self.drain.is_begun(),
        }
    }
}
