//! Accepting: bounded per turn, and with an answer even when there is no room.

use std::io;

use tracing::warn;

use crate::dialect::command::{Dialect, Reply};
use crate::dialect::native::encode;
use crate::dialect::sniff::sniff;
use crate::dialect::{http, refused};
use crate::net::{Arrival, Net, Socket};
use crate::parts::arrivals::Arrivals;
use crate::parts::context::ShardContext;
use crate::parts::ending::{FULL, full};
use crate::parts::log_limits::LogEvent;
use crate::parts::session::{Admitted, SessionId};
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;

/// Connections accepted in one turn, 2 to 3 ms; the rest wait in the backlog for the next one.
const ACCEPTS_PER_TURN: usize = 128;

/// Most bytes that are read of a connection that is turned away at once.
const FIRST_BYTES: usize = 4096;

/// The step that accepts connections, with the parts that it needs.
pub(crate) struct Accepting<'a> {
    pub(crate) context: &'a ShardContext,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) arrivals: &'a mut Arrivals,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
}

impl Accepting<'_> {
    /// Accepts the connections that have come, up to the turn's bound.
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
                    self.context.metrics().accepts_failed.add(1);
                    // Logged once, however often it is tried again.
                    let is_news = self.arrivals.wait_a_little();
                    if is_news && self.context.may_log(LogEvent::NotAccepted, None) {
                        warn!("connections cannot be accepted: {error}; accepting is tried again");
                    }
                    return;
                }
                Some(Arrival::NoRoom(socket, door)) => {
                    self.turn_away((socket, door), "the broker has no descriptor left");
                }
                Some(Arrival::Connection(socket, door)) => {
                    self.arrivals.accepted();
                    self.welcome(socket, door);
                }
            }
        }
    }

    fn welcome(&mut self, socket: Socket, door: u8) {
        let shared = &self.context.shared;
        let is_operators = shared.doors[usize::from(door)].is_operators;
        let all = self.sessions.len();
        let Some(place) = self.sessions.admission.find(shared, all, is_operators) else {
            self.turn_away((socket, door), FULL);
            return;
        };
        let net = &mut *self.net;
        let watch = |id: SessionId| net.watch(socket, id.token());
        let Ok(id) = self
            .sessions
            .insert_with(self.context.tick(), (socket, door), watch)
        else {
            // The connection died between its arrival and here.
            if place == Admitted::Own {
                shared.give_place_back();
            }
            self.net.close(socket);
            return;
        };
        self.sessions.take_place(id, place);
        self.context.metrics().connections_accepted.add(1);
        self.context.metrics().connections.add(1);
        let config = &shared.config;
        let wait_ms = config.hello_timeout_ms.min(config.heartbeat_ms);
        let due_ms = self.context.now.monotonic_ms + u64::from(wait_ms);
        self.timers.watch_silence(id, due_ms);
        if place == Admitted::None {
            self.note_refused(socket);
        }
    }

    /// Turns away a connection for which there is no room, at once: in the dialect of its first bytes, if these are there, else in
    /// that of its address.
    fn turn_away(&mut self, (socket, door): (Socket, u8), reason: &'static str) {
        self.note_refused(socket);
        // With bytes left unread the kernel would reset the connection, and destroy the answer.
        let mut bytes = [0; FIRST_BYTES];
        let read = self
            .net
            .read(socket, &mut [io::IoSliceMut::new(&mut bytes)]);
        let door = &self.context.shared.doors[usize::from(door)];
        let of_door = match door.is_operators || !door.speaks.native {
            true => Dialect::Http,
            false => Dialect::Native,
        };
        let dialect = sniff(&bytes[..read.unwrap_or(0)]).unwrap_or(of_door);
        let (goodbye, mut answer) = (full(reason), Vec::new());
        match dialect {
            Dialect::Http => http::conclude(&goodbye, self.context.now.wall_ms, &mut answer),
            Dialect::Tls | Dialect::Mqtt => answer.extend_from_slice(refused::farewell(dialect)),
            _ => encode(&Reply::Goodbye(&goodbye), &mut answer),
        }
        // A fresh socket has room for one answer; if not, closing says enough.
        let _ = self.net.send(socket, &[io::IoSlice::new(&answer)]);
        self.net.close(socket);
    }

    fn note_refused(&mut self, socket: Socket) {
        self.context.metrics().connections_refused.add(1);
        let peer = self.net.peer(socket).ok();
        if self.context.may_log(LogEvent::Full, peer) {
            let max_connections = self.context.shared.config.max_connections;
            let of_shard = self.context.shared.connections_per_shard;
            warn!(
                ?peer,
                max_connections,
                of_shard,
                "the broker has as many connections as it may; more are refused, and counted every ten seconds"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use oyez_protocol::command::{Question, Start};

    use super::*;
    use crate::clock::TICK_MS;
    use crate::config::Config;
    use crate::net::memory::{End, Peer};
    use crate::parts::due::Due;
    use crate::rig::{Client, Rig, lines, ping_bytes, settings};

    /// EMFILE: no descriptor is left.
    const SHORT: i32 = 24;

    fn connect(rig: &Rig, count: usize) -> Vec<Peer> {
        (0..count).map(|_| rig.net.connect()).collect()
    }

    /// Takes the events that have come, and accepts. Returns how many sessions there are.
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
    fn a_turn_accepts_a_bounded_number_and_later_turns_the_others() {
        let mut rig = Rig::new();
        let _peers = connect(&rig, 300);
        assert_eq!((accept(&mut rig), due(&mut rig)), (128, Due::Now));
        assert_eq!((accept(&mut rig), due(&mut rig)), (256, Due::Now));
        assert_eq!((accept(&mut rig), due(&mut rig)), (300, Due::Idle));
    }

    #[test]
    fn nothing_is_accepted_before_a_connection_has_come() {
        let mut rig = Rig::new();
        assert_eq!(accept(&mut rig), 0);
        let _peers = connect(&rig, 1);
        rig.parts().accepting().run();
        assert_eq!(rig.parts().sessions.len(), 0);
        assert_eq!(accept(&mut rig), 1);
    }

    #[test]
    fn a_connection_is_counted_and_has_a_bounded_time_for_its_hello() {
        for (heartbeat_ms, wait_ms) in [(300_000, 10_000), (3_000, 3_000)] {
            let mut rig = Rig::with(Config {
                heartbeat_ms,
                ..settings()
            });
            let _peers = connect(&rig, 1);
            accept(&mut rig);
            let timer_ms = rig.next_timer_ms().expect("there is a timer");
            assert!((wait_ms..=wait_ms + TICK_MS).contains(&timer_ms));
            let context = &rig.parts().context;
            assert_eq!(context.shared.connections.load(Ordering::Relaxed), 1);
            assert_eq!(context.metrics().connections.get(), 1);
            assert_eq!(context.metrics().connections_accepted.get(), 1);
            assert_eq!(context.metrics().connections_refused.get(), 0);
        }
    }

    #[test]
    fn when_the_system_is_short_of_something_it_is_tried_again_a_little_later() {
        let mut rig = Rig::new();
        let _peers = connect(&rig, 2);
        rig.net.short_next(SHORT);
        assert_eq!(accept(&mut rig), 0);
        assert_eq!(rig.parts().context.metrics().accepts_failed.get(), 1);
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
        assert_eq!(rig.parts().context.metrics().connections_refused.get(), 1);
    }

    #[test]
    fn a_connection_that_has_gone_holds_up_no_other() {
        let mut rig = Rig::new();
        let peers = connect(&rig, 3);
        peers[1].reset();
        assert_eq!(accept(&mut rig), 2);
    }

    /// A broker with room for this many connections, whose clients come from elsewhere.
    fn small(max_connections: usize) -> Rig {
        let rig = Rig::with(Config {
            max_connections,
            ..settings()
        });
        rig.net.set_host([192, 0, 2, 1].into());
        rig
    }

    /// Clients that connect when the broker has as many as it may, each with its first words.
    fn come_late(rig: &mut Rig, count: usize, words: &[u8]) -> Vec<Peer> {
        let peers = connect(rig, count);
        for peer in &peers {
            peer.write(words);
        }
        rig.settle();
        peers
    }

    const TOLD: &str = "goodbye Full: the broker has as many connections as it may";
    const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn text(peer: &Peer) -> String {
        String::from_utf8(peer.read()).expect("text")
    }

    #[test]
    fn one_connection_more_than_the_broker_may_have_is_refused() {
        let mut rig = small(2);
        let peers = connect(&rig, 3);
        assert_eq!(accept(&mut rig), 3);
        rig.settle();
        assert!(peers[2].read().is_empty(), "it has not said what it speaks");
        for peer in &peers[1..] {
            peer.write(&ping_bytes([1])[..8]);
        }
        rig.settle();
        assert_eq!(lines(&peers[2].read()), [TOLD]);
        assert!(peers[1].read().is_empty());
        assert_eq!(rig.parts().context.metrics().connections_refused.get(), 1);
        // The refusal does not count as the session's fault.
        assert_eq!(rig.parts().context.metrics().sessions_refused.get(), 0);
    }

    #[test]
    fn sessions_that_linger_after_they_were_told_that_the_broker_is_full_keep_no_client_out() {
        let mut rig = small(10);
        let served = connect(&rig, 10);
        accept(&mut rig);
        let late = come_late(&mut rig, 10, &ping_bytes([1]));
        assert!(late.iter().all(|peer| lines(&peer.read()) == [TOLD]));
        for peer in &served {
            peer.close();
        }
        rig.settle();
        assert_eq!(rig.parts().sessions.len(), 10, "those that linger");
        let new: Vec<Client> = (0..10).map(|_| rig.join()).collect();
        assert_eq!(new.len(), 10);
    }

    #[test]
    fn a_session_that_was_told_to_go_keeps_no_client_out() {
        let mut rig = small(1);
        let client = rig.join();
        rig.refuse(&client, "enough");
        rig.begin_turn();
        rig.parts().endings().run();
        rig.parts().flushing().run();
        assert_eq!(rig.parts().sessions.len(), 1, "it lingers");
        rig.join();
    }

    #[test]
    fn many_connections_that_are_turned_away_are_answered_at_once_and_each_in_its_dialect() {
        let mut rig = small(1);
        let _served = rig.join();
        let silent = connect(&rig, 16);
        accept(&mut rig);
        assert_eq!(rig.parts().sessions.len(), 17);
        let native = come_late(&mut rig, 1, &ping_bytes([1]));
        let http = come_late(&mut rig, 1, REQUEST);
        let nothing = come_late(&mut rig, 1, b"");
        assert_eq!(rig.parts().sessions.len(), 17, "no more of them wait");
        assert_eq!(lines(&native[0].read()), [TOLD]);
        assert!(text(&http[0]).starts_with("HTTP/1.1 503 "));
        assert_eq!(lines(&nothing[0].read()), [TOLD]);
        assert!(
            [&native[0], &http[0], &nothing[0]]
                .iter()
                .all(|peer| peer.is_closed())
        );
        assert_eq!(rig.parts().context.metrics().connections_refused.get(), 19);
        drop(silent);
    }

    #[test]
    fn the_operator_is_answered_beside_as_many_as_the_shard_may_have_and_then_in_http() {
        let mut rig = Rig::new();
        let max = rig.parts().context.shared.connections_per_shard;
        let _peers = connect(&rig, max);
        for _ in 0..=max / ACCEPTS_PER_TURN {
            accept(&mut rig);
        }
        let operators: Vec<Peer> = (0..8).map(|_| rig.net.connect_at(1)).collect();
        let silent: Vec<Peer> = (0..16).map(|_| rig.net.connect_at(1)).collect();
        let (asks, says_nothing) = (rig.net.connect_at(1), rig.net.connect_at(1));
        asks.write(REQUEST);
        for peer in &operators {
            peer.write(REQUEST);
        }
        rig.settle();
        for peer in &operators {
            let answer = text(peer);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        for peer in [&asks, &says_nothing] {
            let answer = text(peer);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("Retry-After: 5\r\n"), "{answer}");
        }
        drop(silent);
    }

    #[test]
    fn programs_on_this_machine_may_ask_about_a_broker_that_is_full_and_do_nothing_else() {
        let mut rig = small(2);
        let served = [rig.join(), rig.join()];
        rig.net.set_host([127, 0, 0, 1].into());
        let asking: Vec<Client> = (0..8).map(|_| rig.join()).collect();
        let late = come_late(&mut rig, 1, &ping_bytes([1]));
        assert_eq!(
            lines(&late[0].read()),
            [TOLD],
            "so many may ask, and no more"
        );
        asking[0].ask(Question::Stats);
        rig.settle();
        assert!(asking[0].hear()[0].starts_with("answer"), "it is told");
        asking[0].subscribe("t", Start::Latest);
        rig.settle();
        assert_eq!(asking[0].hear(), [TOLD]);
        // A slot that becomes free is for these sessions, too.
        served[0].peer.close();
        rig.settle();
        asking[1].subscribe("t", Start::Latest);
        rig.settle();
        assert_eq!(asking[1].hear(), ["subscribed Ok at 0"]);
        assert_eq!(
            rig.parts()
                .context
                .shared
                .connections
                .load(Ordering::Relaxed),
            2
        );
    }

    #[test]
    fn those_that_speak_what_the_operators_address_is_not_for_take_no_place_of_the_operator() {
        let mut rig = small(1);
        let _served = rig.join();
        rig.net.set_host([127, 0, 0, 1].into());
        let operators: Vec<Peer> = (0..8).map(|_| rig.net.connect_at(1)).collect();
        accept(&mut rig);
        for _ in 0..9 {
            let strange = rig.net.connect_at(1);
            strange.write(&ping_bytes([1]));
            rig.settle();
            assert!(!strange.read().is_empty(), "it is told to go");
            strange.close();
            rig.settle();
        }
        for peer in &operators {
            peer.close();
        }
        rig.settle();
        let asks = rig.net.connect_at(1);
        asks.write(REQUEST);
        rig.settle();
        assert!(text(&asks).starts_with("HTTP/1.1 200 "));
        rig.net.set_host([127, 0, 0, 1].into());
        let client = rig.join();
        client.ask(Question::Stats);
        rig.settle();
        assert!(client.hear()[0].starts_with("answer"), "it may ask");
    }

    #[test]
    fn programs_that_may_only_ask_and_ask_nothing_make_room_for_others() {
        let mut rig = small(1);
        let _served = rig.join();
        rig.net.set_host([127, 0, 0, 1].into());
        let asking: Vec<Client> = (0..8).map(|_| rig.join()).collect();
        rig.pass(8_000);
        asking[0].ask(Question::Stats);
        rig.settle();
        assert!(asking[0].hear()[0].starts_with("answer"));
        rig.pass(4_000);
        rig.settle();
        for idle in &asking[1..] {
            assert_eq!(idle.hear(), [TOLD]);
        }
        asking[0].ask(Question::Stats);
        let late = rig.join();
        late.ask(Question::Stats);
        rig.settle();
        for asks in [&asking[0], &late] {
            assert!(asks.hear()[0].starts_with("answer"), "it is told");
        }
    }

    #[test]
    fn when_too_many_linger_the_one_that_has_done_so_for_longest_is_reset() {
        let mut rig = small(10);
        for late in 0..40 {
            let client = rig.join();
            client.peer.set_room(0);
            rig.refuse(&client, "enough");
            rig.settle();
            let lingering = rig.parts().sessions.len();
            assert_eq!(lingering, 32.min(late + 1));
        }
        let parts = rig.parts();
        assert_eq!(parts.context.shared.connections.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn however_many_are_told_their_last_in_one_turn_each_is_told_all_of_it() {
        let mut rig = small(100);
        let peers: Vec<Peer> = (0..100).map(|_| rig.net.connect_at(1)).collect();
        for peer in &peers {
            peer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        }
        accept(&mut rig);
        let mut told = 0;
        for _ in 0..10 {
            rig.begin_turn();
            rig.parts().reading().run();
            rig.parts().endings().run();
            rig.parts().flushing().run();
            // What comes is taken at once.
            let is_told = |peer: &&Peer| text(peer).starts_with("HTTP/1.1 200 ");
            told += peers.iter().filter(is_told).count();
        }
        assert_eq!(told, 100);
        let is_reset = |peer: &Peer| peer.how_it_ended() == End::Aborted;
        assert!(!peers.iter().any(is_reset), "each has taken everything");
        assert_eq!(rig.parts().sessions.len(), 32, "so many may linger");
    }

    #[test]
    fn one_connection_more_than_the_shard_may_have_is_refused() {
        let mut rig = Rig::new();
        rig.net.set_host([192, 0, 2, 1].into());
        let max = rig.parts().context.shared.connections_per_shard;
        let peers = connect(&rig, max + 1);
        for _ in 0..=max / ACCEPTS_PER_TURN {
            accept(&mut rig);
        }
        peers[max].write(&ping_bytes([1]));
        rig.settle();
        assert_eq!(lines(&peers[max].read()), [TOLD]);
        assert!(!peers[max - 1].is_closed());
        let context = &rig.parts().context;
        assert_eq!(context.shared.connections.load(Ordering::Relaxed), max);
        assert_eq!(context.metrics().connections_refused.get(), 1);
    }
}
