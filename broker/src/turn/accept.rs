//! Accepting: bounded per turn, and with an answer even when there is no room.

use std::io;
use std::sync::atomic::Ordering;

use tracing::warn;

use crate::dialect::command::Reply;
use crate::dialect::native::encode;
use crate::net::{Arrival, Net, Socket};
use crate::parts::arrivals::Arrivals;
use crate::parts::ending::full;
use crate::parts::here::Here;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;

/// Connections accepted in one turn, 2 to 3 ms; the rest wait in the backlog for the next one.
const ACCEPTS_PER_TURN: usize = 128;

/// What accepting needs.
pub(crate) struct Accepting<'a> {
    pub(crate) here: &'a Here,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) arrivals: &'a mut Arrivals,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
}

impl Accepting<'_> {
    /// Accepts what has come, up to the turn's bound.
    pub(crate) fn run(&mut self) {
        if !self.arrivals.begin() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.net.accept() {
                None => {
                    self.arrivals.are_over();
                    return;
                }
                Some(Arrival::Gone) => {}
                Some(Arrival::Short(error)) => {
                    self.here.metrics().accepts_failed.add(1);
                    // Told once, however often it is tried again.
                    if self.arrivals.wait_a_little() {
                        warn!("connections cannot be accepted: {error}; it is tried again");
                    }
                    return;
                }
                Some(Arrival::NoRoom(socket)) => {
                    self.turn_away(socket, "the broker has no descriptor left");
                }
                Some(Arrival::Connection(socket, door)) => {
                    self.arrivals.accepted();
                    self.welcome(socket, door);
                }
            }
        }
    }

    fn welcome(&mut self, socket: Socket, door: u8) {
        let shared = &self.here.shared;
        if self.sessions.len() >= shared.connections_per_shard {
            self.turn_away(
                socket,
                "this shard of the broker has as many connections as it may",
            );
            return;
        }
        let total = shared.connections.fetch_add(1, Ordering::Relaxed);
        // Whoever watches over the broker is answered however many devices there are.
        let is_operators = shared.doors[usize::from(door)].is_operators;
        let is_full = total >= shared.config.max_connections && !is_operators;
        let net = &mut *self.net;
        let watch = |id: SessionId| net.watch(socket, id.token());
        let Ok(id) = self
            .sessions
            .insert_with(self.here.tick(), (socket, door), watch)
        else {
            // The connection died between its arrival and here.
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            self.net.close(socket);
            return;
        };
        self.here.metrics().connections_accepted.add(1);
        self.here.metrics().connections.add(1);
        let config = &shared.config;
        let wait_ms = config.hello_timeout_ms.min(config.heartbeat_ms);
        let due_ms = self.here.now.monotonic_ms + u64::from(wait_ms);
        self.timers.watch_silence(id, due_ms);
        if is_full {
            self.here.metrics().connections_refused.add(1);
            self.sessions.there_mut(id).turn_away();
        }
    }

    fn turn_away(&mut self, socket: Socket, reason: &'static str) {
        self.here.metrics().connections_refused.add(1);
        let mut goodbye = Vec::new();
        encode(&Reply::Goodbye(&full(reason)), &mut goodbye);
        // A fresh socket has room for one frame; if not, closing says enough.
        let _ = self.net.send(socket, &[io::IoSlice::new(&goodbye)]);
        self.net.close(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TICK_MS;
    use crate::config::Config;
    use crate::net::memory::Peer;
    use crate::parts::due::Due;
    use crate::rig::{Rig, lines, ping_bytes, settings};

    /// EMFILE: no descriptor is left.
    const SHORT: i32 = 24;

    fn connect(rig: &Rig, count: usize) -> Vec<Peer> {
        (0..count).map(|_| rig.net.connect()).collect()
    }

    /// Takes the events that have come, and accepts. Tells how many sessions there are.
    fn accept(rig: &mut Rig) -> usize {
        rig.begin_turn();
        rig.parts().accepting().run();
        rig.parts().sessions.len()
    }

    fn due(rig: &mut Rig) -> Due {
        let now_ms = rig.now_ms();
        rig.parts().arrivals.due(now_ms)
    }

    #[test]
    fn so_many_are_accepted_in_a_turn_and_the_others_in_those_after_it() {
        let mut rig = Rig::new();
        let _peers = connect(&rig, 300);
        assert_eq!((accept(&mut rig), due(&mut rig)), (128, Due::Now));
        assert_eq!((accept(&mut rig), due(&mut rig)), (256, Due::Now));
        assert_eq!((accept(&mut rig), due(&mut rig)), (300, Due::Idle));
    }

    #[test]
    fn nothing_is_tried_before_a_connection_has_come() {
        let mut rig = Rig::new();
        assert_eq!(accept(&mut rig), 0);
        let _peers = connect(&rig, 1);
        rig.parts().accepting().run();
        assert_eq!(rig.parts().sessions.len(), 0);
        assert_eq!(accept(&mut rig), 1);
    }

    #[test]
    fn a_connection_is_counted_and_has_so_long_for_its_hello() {
        for (heartbeat_ms, wait_ms) in [(300_000, 10_000), (3_000, 3_000)] {
            let mut rig = Rig::with(Config {
                heartbeat_ms,
                ..settings()
            });
            let _peers = connect(&rig, 1);
            accept(&mut rig);
            let timer_ms = rig.next_timer_ms().expect("there is a timer");
            assert!((wait_ms..=wait_ms + TICK_MS).contains(&timer_ms));
            let here = &rig.parts().here;
            assert_eq!(here.shared.connections.load(Ordering::Relaxed), 1);
            assert_eq!(here.metrics().connections.get(), 1);
            assert_eq!(here.metrics().connections_accepted.get(), 1);
            assert_eq!(here.metrics().connections_refused.get(), 0);
        }
    }

    #[test]
    fn when_the_system_is_short_of_something_it_is_tried_again_a_little_later() {
        let mut rig = Rig::new();
        let _peers = connect(&rig, 2);
        rig.net.short_next(SHORT);
        assert_eq!(accept(&mut rig), 0);
        assert_eq!(rig.parts().here.metrics().accepts_failed.get(), 1);
        assert_eq!(due(&mut rig), Due::At(rig.now_ms() + 1));
        rig.net.short_next(SHORT);
        assert_eq!(accept(&mut rig), 0);
        assert!(!rig.parts().arrivals.wait_a_little(), "told once");
        assert_eq!(accept(&mut rig), 2);
        assert!(rig.parts().arrivals.wait_a_little(), "told again");
    }

    #[test]
    fn a_connection_without_a_descriptor_is_told_so_and_those_behind_it_are_accepted() {
        let mut rig = Rig::new();
        let peers = connect(&rig, 3);
        rig.net.no_room_next(1);
        assert_eq!(accept(&mut rig), 2);
        let told = "goodbye Full: the broker has no descriptor left";
        assert_eq!(lines(&peers[0].read()), [told]);
        assert!(peers[0].is_closed() && !peers[1].is_closed());
        assert_eq!(rig.parts().here.metrics().connections_refused.get(), 1);
    }

    #[test]
    fn a_connection_that_has_gone_holds_up_nobody() {
        let mut rig = Rig::new();
        let peers = connect(&rig, 3);
        peers[1].reset();
        assert_eq!(accept(&mut rig), 2);
    }

    #[test]
    fn one_more_than_the_broker_may_have_is_told_so() {
        let mut rig = Rig::with(Config {
            max_connections: 2,
            ..settings()
        });
        let peers = connect(&rig, 3);
        assert_eq!(accept(&mut rig), 3);
        rig.settle();
        assert!(peers[2].read().is_empty(), "it has not said what it speaks");
        for peer in &peers[1..] {
            peer.write(&ping_bytes([1])[..8]);
        }
        rig.settle();
        let told = "goodbye Full: the broker has as many connections as it may";
        assert_eq!(lines(&peers[2].read()), [told]);
        assert!(peers[1].read().is_empty());
        assert_eq!(rig.parts().here.metrics().connections_refused.get(), 1);
        // It is no fault of the session's own.
        assert_eq!(rig.parts().here.metrics().sessions_refused.get(), 0);
    }

    #[test]
    fn one_more_than_the_shard_may_have_is_told_so_and_closed() {
        let mut rig = Rig::new();
        let max = rig.parts().here.shared.connections_per_shard;
        let peers = connect(&rig, max + 1);
        for _ in 0..=max / ACCEPTS_PER_TURN {
            accept(&mut rig);
        }
        assert_eq!(rig.parts().sessions.len(), max);
        let told = "goodbye Full: this shard of the broker has as many connections as it may";
        assert_eq!(lines(&peers[max].read()), [told]);
        assert!(peers[max].is_closed() && !peers[max - 1].is_closed());
        let here = &rig.parts().here;
        assert_eq!(here.shared.connections.load(Ordering::Relaxed), max);
        assert_eq!(here.metrics().connections_refused.get(), 1);
    }
}
