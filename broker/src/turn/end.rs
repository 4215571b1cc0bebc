//! How sessions end: the only step that says Goodbye and closes connections. Other steps only note that a session is to end,
//! and why.

use tracing::info;

use crate::net::Net;
use crate::parts::budget::{Budget, CLOSE_FULL_STEPS, CLOSE_STEPS};
use crate::parts::ending::{Dismissed, Gone, LINGER_MS};
use crate::parts::log_limits::LogEvent;
use crate::parts::membership::Membership;
use crate::parts::timers::Timers;
use crate::replies::places::places;
use crate::replies::say_goodbye;

/// Places that streams are told in one turn: a few milliseconds. A stream beyond them resumes at the place that it was told last.
const PLACES_MAX: usize = 50_000;

/// The step that ends sessions, with the parts that it needs.
pub(crate) struct Endings<'a> {
    pub(crate) members: Membership<'a>,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) timers: &'a mut Timers,
    /// The broker is shutting down.
    pub(crate) draining: bool,
}

impl Endings<'_> {
    /// Goes on with the sessions that have ended, or are to get a Goodbye, as far as may be in one turn.
    pub(crate) fn run(&mut self) {
        let mut places_left = PLACES_MAX;
        while let Some(dismissed) = self.members.sessions.next_dismissed() {
            places_left = self.see_off(&dismissed, places_left);
        }
        if !self.draining {
            self.cut_off();
        }
        let mut budget = Budget::ENDINGS;
        for _ in 0..self.members.sessions.count_gone() {
            if budget.is_spent() {
                return;
            }
            let gone = self.members.sessions.first_gone();
            if !self.members.leave_all(gone.id, &mut budget) {
                // Sessions behind it, which may have few subscriptions, are closed first in the next turn.
                self.members.sessions.put_first_gone_last();
                return;
            }
            self.close(gone);
            let steps = if gone.is_full {
                CLOSE_FULL_STEPS
            } else {
                CLOSE_STEPS
            };
            budget.spend(steps, 0);
        }
    }

    /// Closes sessions when too many linger after their Goodbye: each holds a descriptor, and memory of the kernel.
    fn cut_off(&mut self) {
        let Membership {
            context, sessions, ..
        } = &mut self.members;
        while let Some(id) = sessions.next_to_cut_off(context) {
            sessions.end_after_goodbye(context, &*self.net, id);
        }
    }

    fn close(&mut self, gone: Gone) {
        let socket = self.members.sessions.forget_first_gone();
        if gone.is_reset {
            self.net.abort(socket);
        } else {
            self.net.close(socket);
        }
    }

    /// Says Goodbye. No record comes after it, and the peer has a bounded time to take it; in a shutdown the operator sets that.
    /// Tells a stream of several topics where it stands, if that many places may still be told in this turn. Returns how many are
    /// left.
    fn see_off(&mut self, dismissed: &Dismissed, places_left: usize) -> usize {
        let (id, goodbye) = (dismissed.id, &dismissed.goodbye);
        let Membership {
            context,
            sessions,
            feeds,
            logs,
            catchups,
        } = &mut self.members;
        catchups.pause(sessions, feeds, id);
        let session = sessions.get(id);
        let session = session.filter(|session| session.subscriptions().len() <= places_left);
        let places = session.map_or_else(Vec::new, |session| places(session, feeds, logs));
        let places_left = places_left - places.len();
        if !say_goodbye(context, sessions, id, (goodbye, &places)) {
            return places_left; // It has ended since.
        }
        if dismissed.is_refused {
            let (peer, reason) = (sessions.peer(self.net, id), &*goodbye.reason);
            if context.may_log(LogEvent::Refused, peer) {
                info!(?peer, code = ?goodbye.code, reason, "session refused");
            }
        }
        let session = sessions.there_mut(id);
        if self.draining {
            return places_left;
        }
        // What the peer takes from here on is progress.
        if let Ok(backlog) = self.net.backlog(session.socket()) {
            let _before = session.look_at_taken(backlog);
        }
        let due_ms = context.now.monotonic_ms + LINGER_MS;
        self.timers.watch_silence(id, due_ms);
        places_left
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Start;

    use super::*;
    use crate::clock::TICK_MS;
    use crate::net::memory::End;
    use crate::parts::ending::Reason;
    use crate::rig::{Client, Rig, settings};

    /// Clients that were welcomed, and whose sessions have ended since.
    fn ended(rig: &mut Rig, count: usize, reason: Reason) -> Vec<Client> {
        let clients: Vec<Client> = (0..count).map(|_| rig.join()).collect();
        for client in &clients {
            rig.end(client, reason);
        }
        clients
    }

    fn count_closed(clients: &[Client]) -> usize {
        let closed = |client: &&Client| client.peer.is_closed();
        clients.iter().take_while(closed).count()
    }

    /// A client with this many subscriptions.
    fn busy(rig: &mut Rig, subscriptions: usize) -> Client {
        let client = rig.join();
        for number in 0..subscriptions {
            client.subscribe(&format!("t/{number}"), Start::Latest);
            if number % 100 == 99 {
                rig.settle();
            }
        }
        rig.settle();
        assert_eq!(client.hear().len(), subscriptions);
        client
    }

    #[test]
    fn goodbye_comes_in_the_same_turn_after_everything_else_and_nothing_comes_after_it() {
        let mut rig = Rig::new();
        let client = rig.join();
        client.ping(5);
        client.hello();
        client.ping(6);
        rig.begin_turn();
        rig.parts().reading().run();
        rig.parts().watch().fire();
        rig.parts().endings().run();
        rig.parts().flushing().run();
        let told = ["pong 5", "goodbye Unexpected: a second hello"];
        assert_eq!(client.hear(), told);
        assert_eq!(client.peer.how_it_ended(), End::Shut);
        rig.settle();
        assert!(client.hear().is_empty());
    }

    #[test]
    fn what_is_half_out_leaves_before_the_goodbye_and_no_further_record_does() {
        let mut rig = Rig::new();
        let client = rig.subscriber("a");
        client.peer.set_room(1_000);
        rig.publish("a", 5_000, 2);
        rig.refuse(&client, "enough");
        rig.parts().endings().run();
        client.peer.set_room(usize::MAX);
        rig.settle();
        assert_eq!(client.hear(), ["a 0", "goodbye Unexpected: enough"]);
    }

    #[test]
    fn a_session_that_is_to_end_is_not_served_from_the_log_any_more() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.publish("a", 5_000, 200);
        client.peer.set_room(1_000);
        client.subscribe("a", Start::Earliest);
        rig.begin_turn();
        rig.parts().reading().run();
        rig.parts().flushing().run();
        rig.refuse(&client, "enough");
        assert!(rig.parts().catchups.get(0).is_some());
        rig.parts().endings().run();
        assert!(rig.parts().catchups.get(0).is_none());
    }

    #[test]
    fn a_session_that_has_ended_before_its_goodbye_gets_none() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.refuse(&client, "enough");
        rig.end(&client, Reason::PeerClosed);
        rig.parts().endings().run();
        assert_eq!(client.peer.how_it_ended(), End::Closed);
        assert!(client.hear().is_empty());
        assert!(!rig.parts().sessions.has_some_to_end());
    }

    #[test]
    fn a_session_that_was_told_goodbye_is_looked_at_when_it_has_had_time_to_take_it() {
        let mut rig = Rig::new();
        let client = rig.join();
        assert!(rig.next_timer_ms() > Some(LINGER_MS + TICK_MS));
        rig.refuse(&client, "enough");
        rig.parts().endings().run();
        let wait_ms = rig.next_timer_ms().expect("there is a timer");
        assert!((LINGER_MS..=LINGER_MS + TICK_MS).contains(&wait_ms));
        // Bytes that it has taken so far do not count as progress.
        let welcome = rig.session(&client).seen().taken;
        assert!(welcome > 0);
    }

    #[test]
    fn in_a_shutdown_the_operator_says_how_long_peers_may_take() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.refuse(&client, "enough");
        let mut endings = rig.parts().endings();
        endings.draining = true;
        endings.run();
        assert!(rig.next_timer_ms() > Some(LINGER_MS + TICK_MS));
        rig.settle();
        assert_eq!(client.hear(), ["goodbye Unexpected: enough"]);
    }

    #[test]
    fn connections_whose_peer_takes_no_more_are_reset_and_the_others_closed() {
        for (reason, end) in [
            (Reason::PeerClosed, End::Closed),
            (Reason::PeerReset, End::Closed),
            (Reason::PeerDone, End::Closed),
            (Reason::Refused, End::Closed),
            (Reason::Silent, End::Aborted),
            (Reason::Dropped, End::Aborted),
            (Reason::Stalled, End::Aborted),
            (Reason::Untaken, End::Aborted),
            (Reason::Stopping, End::Aborted),
        ] {
            let mut rig = Rig::new();
            let client = &ended(&mut rig, 1, reason)[0];
            assert!(!client.peer.is_closed(), "only this step closes");
            rig.parts().endings().run();
            assert_eq!(client.peer.how_it_ended(), end, "{reason:?}");
            assert_eq!(rig.parts().sessions.len(), 0);
        }
    }

    #[test]
    fn a_turn_closes_a_bounded_number_of_connections_in_the_order_of_their_ends() {
        let mut rig = Rig::new();
        let clients = ended(&mut rig, 120, Reason::PeerClosed);
        for closed in [50, 100, 120] {
            rig.parts().endings().run();
            assert_eq!(count_closed(&clients), closed);
            assert_eq!(rig.parts().sessions.count_gone(), 120 - closed);
        }
    }

    #[test]
    fn fewer_are_closed_in_a_turn_that_may_leave_much_to_the_kernel() {
        let mut rig = Rig::new();
        let clients = ended(&mut rig, 6, Reason::Silent);
        rig.parts().endings().run();
        assert_eq!(count_closed(&clients), 4);
    }

    #[test]
    fn many_subscriptions_end_over_several_turns_and_hold_up_no_session_behind_them() {
        let mut rig = Rig::with(crate::config::Config {
            max_subscriptions: 2_000,
            ..settings()
        });
        let busy = busy(&mut rig, 1_010);
        let others = [rig.join(), rig.join()];
        for client in [&busy, &others[0], &others[1]] {
            rig.end(client, Reason::PeerClosed);
        }
        let subscriptions = |rig: &mut Rig| rig.parts().context.metrics().subscriptions.get();
        rig.parts().endings().run();
        assert_eq!((subscriptions(&mut rig), count_closed(&others)), (510, 0));
        rig.parts().endings().run();
        assert_eq!((subscriptions(&mut rig), count_closed(&others)), (30, 2));
        assert!(!busy.peer.is_closed());
        rig.parts().endings().run();
        assert_eq!(subscriptions(&mut rig), 0);
        assert!(busy.peer.is_closed());
    }

    #[test]
    fn what_a_session_asked_for_ends_with_it_and_the_others_keep_theirs() {
        let mut rig = Rig::new();
        let (gone, stays) = (rig.subscriber("a"), rig.subscriber("a"));
        gone.peer.shutdown();
        rig.settle();
        rig.publish("a", 10, 1);
        assert_eq!(stays.hear(), ["a 0"]);
        assert!(gone.hear().is_empty() && gone.peer.is_closed());
        assert_eq!(rig.parts().context.metrics().subscriptions.get(), 1);
    }
}
