//! The parts of a shard, and how they are lent to the steps of a turn.

use crate::dispatch::Dispatch;
use crate::parts::awake::Awake;
use crate::parts::catchups::Catchups;
use crate::parts::chain::Chain;
use crate::parts::feeds::Feeds;
use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::mail::{Inbox, Outbox};
use crate::parts::membership::Membership;
use crate::parts::publishes::Publishes;
use crate::parts::questions::Questions;
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;
use crate::sys::ring::SendRing;
use crate::turn::catchup::Serving;
use crate::turn::heartbeat::Watch;
use crate::turn::publish::Publishing;
use crate::turn::read::Reading;
use crate::turn::subscribe::Subscribing;
use crate::turn::wave::WayOut;

/// Everything that a shard owns but its sources of events.
pub(crate) struct Parts {
    pub(crate) here: Here,
    pub(crate) sessions: Sessions,
    pub(crate) timers: Timers,
    pub(crate) feeds: Feeds,
    pub(crate) logs: Logs,
    pub(crate) publishes: Publishes,
    pub(crate) catchups: Catchups,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) held: Held,
    pub(crate) questions: Questions,
    pub(crate) awake: Awake,
    /// Small chains to many leave by it, where there is one.
    pub(crate) send_ring: Option<SendRing>,
    // What follows is memory that turns use again and again.
    pub(crate) chain: Chain,
    pub(crate) buffer: Vec<u8>,
}

/// How far the shutdown has come, as steps see it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stopping {
    pub(crate) is_begun: bool,
    /// There is no time left for logs that are short of room.
    pub(crate) refuses: bool,
}

impl Parts {
    pub(crate) fn reading(&mut self, stopping: Stopping) -> Reading<'_, Dispatch<'_>> {
        Reading {
            here: &self.here,
            sessions: &mut self.sessions,
            timers: &mut self.timers,
            budget: Default::default(),
            buffer: &mut self.buffer,
            draining: stopping.is_begun,
            taker: Dispatch {
                here: &self.here,
                feeds: &mut self.feeds,
                logs: &mut self.logs,
                publishes: &mut self.publishes,
                catchups: &mut self.catchups,
                inbox: &mut self.inbox,
                outbox: &mut self.outbox,
                held: &mut self.held,
                questions: &mut self.questions,
                awake: &mut self.awake,
                sending: self.send_ring.as_ref().map_or("loop", |_| "ring"),
                refuses: stopping.refuses,
            },
        }
    }

    pub(crate) fn publishing(&mut self, stopping: Stopping) -> Publishing<'_> {
        Publishing {
            here: &self.here,
            sessions: &mut self.sessions,
            logs: &mut self.logs,
            publishes: &mut self.publishes,
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            awake: &mut self.awake,
            refuses: stopping.refuses,
        }
    }

    /// What memberships touch, and what those who change them need beside it.
    fn split(&mut self) -> (Membership<'_>, &mut Timers, &mut Outbox, &mut Held) {
        let members = Membership {
            here: &self.here,
            sessions: &mut self.sessions,
            feeds: &mut self.feeds,
            logs: &mut self.logs,
            catchups: &mut self.catchups,
        };
        let (timers, outbox) = (&mut self.timers, &mut self.outbox);
        (members, timers, outbox, &mut self.held)
    }

    pub(crate) fn members(&mut self) -> (Membership<'_>, &mut Timers) {
        let (members, timers, ..) = self.split();
        (members, timers)
    }

    pub(crate) fn subscribing(&mut self) -> Subscribing<'_> {
        let (members, _, outbox, held) = self.split();
        Subscribing {
            members,
            outbox,
            held,
        }
    }

    pub(crate) fn serving(&mut self) -> Serving<'_> {
        Serving {
            here: &self.here,
            sessions: &mut self.sessions,
            feeds: &mut self.feeds,
            logs: &mut self.logs,
            catchups: &mut self.catchups,
            outbox: &mut self.outbox,
            chain: &mut self.chain,
        }
    }

    pub(crate) fn way_out(&mut self) -> (WayOut<'_>, &mut Option<SendRing>, &mut Chain) {
        let out = WayOut {
            here: &self.here,
            sessions: &mut self.sessions,
            feeds: &mut self.feeds,
            logs: &mut self.logs,
        };
        (out, &mut self.send_ring, &mut self.chain)
    }

    pub(crate) fn watch(&mut self, stopping: Stopping) -> Watch<'_> {
        Watch {
            here: &self.here,
            sessions: &mut self.sessions,
            timers: &mut self.timers,
            draining: stopping.is_begun,
        }
    }
}
