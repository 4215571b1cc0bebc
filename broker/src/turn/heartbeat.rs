//! Pings silent sessions and closes those that stay silent: a session that was silent for a heartbeat is asked for a sign of
//! life, and is closed when it is silent for another one. Closes sessions that do not say hello in time, or do not send the
//! rest of a frame.
//!
//! Signs of life are bytes that come, and bytes that the peer takes: it cannot answer before it has read what lies ahead of
//! the question. The kernel counts what the peer has acknowledged; a peer that only answers the probes of a closed window
//! does not move that count. The kernel also finds peers that are gone, mostly sooner: see
//! [`crate::sys::socket::claim`].

use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::planted::{Bug, planted};

use crate::clock::TICK_MS;
use crate::dialect::command::{Dialect, Reply};
use crate::net::Net;
use crate::parts::budget::{Budget, FRAME_STEPS, TIMER_STEPS};
use crate::parts::context::ShardContext;
use crate::parts::ending::{ANSWERS_MS, FULL, LINGER_MS, LINGER_STEP_MS, Reason, full};
use crate::parts::feeds::Feeds;
use crate::parts::logs::Logs;
use crate::parts::patience::{PLACES_MS, STREAM_MS, frame_due_ms};
use crate::parts::session::{Admitted, Session, SessionId, Stage, Taking};
use crate::parts::sessions::Sessions;
use crate::parts::timers::Timers;
use crate::replies::places::tell_places;
use crate::replies::tell;

/// Sessions, and the timers that watch them.
pub(crate) struct Heartbeats<'a> {
    pub(crate) context: &'a ShardContext,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) feeds: &'a Feeds,
    pub(crate) logs: &'a Logs,
    pub(crate) timers: &'a mut Timers,
    /// The broker is shutting down: no session is read, and the operator says how long a peer may take for its last bytes.
    pub(crate) draining: bool,
}

impl Heartbeats<'_> {
    /// Looks after the sessions whose timers have fired, as many as may be in one turn.
    pub(crate) fn fire(&mut self) {
        self.timers.advance(self.context.now.monotonic_ms);
        if planted(Bug::NeverLooksForSilence) {
            return;
        }
        let mut budget = Budget::TIMERS;
        while !budget.is_spent() {
            let Some(id) = self.timers.next_silent() else {
                break;
            };
            self.look_after(id);
            budget.spend(TIMER_STEPS + self.places_of(id), 0);
        }
        while !budget.is_spent() {
            let Some(id) = self.timers.next_stalled() else {
                return;
            };
            self.look_after_frame(id);
            budget.spend(FRAME_STEPS, 0);
        }
    }

    /// Returns how many places are looked at to tell a stream of several topics where it stands; 0 for any other session.
    fn places_of(&self, id: SessionId) -> usize {
        let session = self.sessions.get(id);
        let session = session.filter(|session| session.form().style.is_of_several());
        session.map_or(0, |session| session.subscriptions().len())
    }

    fn look_after(&mut self, id: SessionId) {
        let now_ms = self.context.now.monotonic_ms;
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        let patience_ms = match session.stage() {
            // Nothing more is read of these, and all of them get a Goodbye.
            Stage::Leaving | Stage::Closing | Stage::Greeting if self.draining => return,
            Stage::Gone => return,
            Stage::Open if session.is_stream() => return self.look_after_stream(id),
            Stage::Open if session.dialect().is_in_messages() => {
                return self.look_after_messages(id);
            }
            Stage::Leaving => ANSWERS_MS,
            Stage::Open if only_asks(self.context, session) => return self.look_after_asking(id),
            Stage::Closing | Stage::Lingering => LINGER_MS,
            Stage::Greeting => u64::from(self.context.shared.config.hello_timeout_ms),
            Stage::Open => u64::from(session.heartbeat_ms()),
        };
        let heard_ms = session.heard_ms();
        // It may become a stream meanwhile, which has to get a comment soon.
        let look_ms = match session.dialect() {
            Dialect::Http => now_ms + u64::from(STREAM_MS),
            _ => u64::MAX,
        };
        if now_ms.saturating_sub(heard_ms) < patience_ms {
            let due_ms = look_ms.min(heard_ms + patience_ms);
            self.timers.watch_silence(id, due_ms);
            return;
        }
        // A session that we hold back ourselves may have sent a lot that was not read yet. A ping shows it that the broker lives.
        if session.stage() == Stage::Open && session.is_to_read() && !session.is_blocked() {
            let due_ms = look_ms.min(now_ms + patience_ms);
            self.timers.watch_silence(id, due_ms);
            self.ping(id);
            return;
        }
        let taking = match session.stage() {
            Stage::Greeting => Taking::default(),
            _ => look_at_taken(self.net, session),
        };
        let is_life = |ago_ms: &u64| *ago_ms < patience_ms && !planted(Bug::ReadersAreSilent);
        if let Some(ago_ms) = taking.ago_ms.filter(is_life) {
            let heard_ms = now_ms.saturating_sub(ago_ms);
            session.note_life((heard_ms / TICK_MS) as u32);
            let due_ms = look_ms.min(heard_ms + patience_ms);
            self.timers.watch_silence(id, due_ms);
            return;
        }
        let leaving = matches!(session.stage(), Stage::Closing | Stage::Lingering);
        if leaving && taking.has_more && now_ms.saturating_sub(heard_ms) < LINGER_STEP_MS {
            self.timers.watch_silence(id, now_ms + patience_ms);
            return;
        }
        self.take_for_silent(id);
    }

    /// A session that may only ask goes when it has said nothing for as long as others have for their hello: somebody else may
    /// have a question.
    fn look_after_asking(&mut self, id: SessionId) {
        let now_ms = self.context.now.monotonic_ms;
        let patience_ms = u64::from(self.context.shared.config.hello_timeout_ms);
        let session = self.sessions.there(id);
        let is_waiting = session.is_to_read() || session.awaits_answers();
        let due_ms = match is_waiting && !session.is_blocked() {
            true => now_ms + patience_ms,
            false => session.heard_ms() + patience_ms,
        };
        if now_ms < due_ms {
            self.timers.watch_silence(id, due_ms);
        } else {
            self.sessions.dismiss(self.context, id, full(FULL));
        }
    }

    /// Acts on a session that has given no sign of life for as long as it may.
    fn take_for_silent(&mut self, id: SessionId) {
        let session = self.sessions.there_mut(id);
        let (blocked, heartbeat_ms) = (session.is_blocked(), u64::from(session.heartbeat_ms()));
        match session.stage() {
            Stage::Gone => {}
            Stage::Leaving => self.sessions.end(self.context, id, Reason::PeerDone),
            Stage::Closing | Stage::Lingering => {
                self.sessions
                    .end_after_goodbye(self.context, &*self.net, id);
            }
            Stage::Greeting => {
                self.sessions.refuse(
                    self.context,
                    id,
                    GoodbyeCode::Silent,
                    "no hello came in time",
                );
            }
            // Over HTTP the broker sends nothing unasked: a client that waits for no answer is idle.
            Stage::Open if session.dialect() == Dialect::Http => self.end_idle(id),
            // After a stall of this machine every session seems silent: only one that did not answer is.
            Stage::Open if !session.note_asked() && !planted(Bug::ClosesUnasked) => {
                self.timers
                    .watch_silence(id, self.context.now.monotonic_ms + heartbeat_ms);
                // Nothing can be sent to a full socket; waiting for it costs no memory.
                if !blocked {
                    self.ping(id);
                }
            }
            Stage::Open => self.close_silent(id),
        }
    }

    /// Closes a session that was asked and has given no sign of life since.
    fn close_silent(&mut self, id: SessionId) {
        if self.sessions.there(id).is_blocked() {
            self.sessions.end(self.context, id, Reason::Silent);
            return;
        }
        let reason = "nothing was heard for two heartbeats";
        self.sessions
            .refuse(self.context, id, GoodbyeCode::Silent, reason);
    }

    /// Sends a stream a comment now and then, whether there were records or not. Its client sends nothing: one that takes nothing
    /// is closed after two heartbeats of usual sessions, and the kernel finds those that are gone.
    fn look_after_stream(&mut self, id: SessionId) {
        let now_ms = self.context.now.monotonic_ms;
        let longest_ms = 2 * u64::from(self.context.shared.config.heartbeat_ms);
        let session = self.sessions.there_mut(id);
        if !session.is_blocked() {
            session.note_life(self.context.tick());
        } else if let Some(ago_ms) = look_at_taken(self.net, session).ago_ms {
            session.note_life((now_ms.saturating_sub(ago_ms) / TICK_MS) as u32);
        }
        let session = self.sessions.there(id);
        if now_ms.saturating_sub(session.heard_ms()) >= longest_ms {
            self.sessions.end(self.context, id, Reason::Silent);
            return;
        }
        let is_clear = session.is_clear();
        let is_of_several = session.form().style.is_of_several();
        let look_ms = if is_of_several { PLACES_MS } else { STREAM_MS };
        self.timers.watch_silence(id, now_ms + u64::from(look_ms));
        match (is_clear, is_of_several) {
            (true, true) => {
                tell_places(self.context, (self.sessions, id), (self.feeds, self.logs));
            }
            (true, false) => self.ping(id),
            (false, _) => {}
        }
    }

    /// Sends a session over WebSocket a Ping at each heartbeat, whatever it sends itself, for the sake of proxies; browsers answer
    /// it without a script. Closes one that was asked and is silent for two heartbeats. Nothing can be sent to a full socket: a
    /// session that takes nothing has as long as a stream.
    fn look_after_messages(&mut self, id: SessionId) {
        let now_ms = self.context.now.monotonic_ms;
        let session = self.sessions.there_mut(id);
        let heartbeat_ms = u64::from(session.heartbeat_ms());
        let longest_ms = 2 * match session.is_blocked() {
            true => u64::from(self.context.shared.config.heartbeat_ms),
            false => heartbeat_ms,
        };
        let is_held_back = session.is_to_read() && !session.is_blocked();
        if now_ms.saturating_sub(session.heard_ms()) >= longest_ms && !is_held_back {
            let taking = look_at_taken(self.net, session);
            match taking.ago_ms.filter(|ago_ms| *ago_ms < longest_ms) {
                Some(ago_ms) => {
                    session.note_life((now_ms.saturating_sub(ago_ms) / TICK_MS) as u32);
                }
                None if session.note_asked() => return self.close_silent(id),
                None => {}
            }
        }
        let session = self.sessions.there_mut(id);
        self.timers.watch_silence(id, now_ms + heartbeat_ms);
        if session.is_clear() {
            session.note_asked();
            self.ping(id);
        }
    }

    fn end_idle(&mut self, id: SessionId) {
        let session = self.sessions.there(id);
        let (blocked, idle_ms) = (session.is_blocked(), u64::from(session.heartbeat_ms()));
        if self.sessions.exchanges.has(id) && !blocked {
            // The broker owes the answer.
            let due_ms = self.context.now.monotonic_ms + idle_ms.min(u64::from(STREAM_MS));
            self.timers.watch_silence(id, due_ms);
            return;
        }
        let reason = match blocked {
            true => Reason::Silent,
            false => Reason::Idle,
        };
        self.sessions.end(self.context, id, reason);
    }

    fn look_after_frame(&mut self, id: SessionId) {
        let now_ms = self.context.now.monotonic_ms;
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        session.set_watched(false);
        let alive = session.stage().is_heard() && !self.draining;
        let Some(partial) = session
            .input()
            .filter(|partial| alive && partial.is_incomplete())
        else {
            return; // The rest has come, or is not waited for any more.
        };
        let due_ms = frame_due_ms(self.context, session, partial);
        if now_ms >= due_ms && !session.is_to_read() {
            let reason = match session.dialect() {
                Dialect::Http => "the rest of a request did not come in time",
                Dialect::Json => "the rest of a message did not come in time",
                _ => "the rest of a frame did not come in time",
            };
            self.sessions
                .refuse(self.context, id, GoodbyeCode::Silent, reason);
        } else {
            session.set_watched(true);
            self.timers.watch_frame(id, due_ms.max(now_ms + 1));
        }
    }

    fn ping(&mut self, id: SessionId) {
        let token = self.context.now.monotonic_ms;
        tell(self.context, self.sessions, id, &Reply::Ping { token });
    }
}

/// Whether a session holds one of the few places that are kept for questions from this machine.
fn only_asks(context: &ShardContext, session: &Session) -> bool {
    let door = context.shared.doors[usize::from(session.door())];
    session.place() == Admitted::Reserved && !door.is_operators
}

/// Returns how far a peer has come since the last look.
fn look_at_taken(net: &dyn Net, session: &mut Session) -> Taking {
    let backlog = net.backlog(session.socket()).ok();
    backlog.map_or_else(Taking::default, |backlog| session.look_at_taken(backlog))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::End;
    use crate::rig::{Client, Rig, record};

    const HEARTBEAT_MS: u64 = 300_000;
    const SILENT: &str = "goodbye Silent: nothing was heard for two heartbeats";

    /// Lets time pass, and looks after the sessions whose timers have fired.
    fn fire_after(rig: &mut Rig, ms: u64) {
        rig.pass(ms);
        rig.begin_turn();
        rig.parts().watch().fire();
    }

    /// A client that has lived for a while: it was seen to take its welcome at this moment, and nothing since.
    fn watched(rig: &mut Rig) -> Client {
        let client = rig.join();
        fire_after(rig, HEARTBEAT_MS + 500);
        let tick = rig.parts().context.tick();
        assert_eq!(rig.session(&client).seen().heard_tick, tick);
        client
    }

    /// Sends a client all that there is for it, and returns what it has got.
    fn heard(rig: &mut Rig, client: &Client) -> Vec<String> {
        rig.parts().endings().run();
        rig.parts().flushing().run();
        client.hear()
    }

    #[test]
    fn a_silent_session_is_asked_and_one_that_stays_silent_is_closed() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        fire_after(&mut rig, HEARTBEAT_MS - 1_000);
        assert!(heard(&mut rig, &client).is_empty(), "it is not silent yet");
        fire_after(&mut rig, 1_500);
        assert_eq!(heard(&mut rig, &client), ["ping"]);
        client.peer.set_answered_ms(HEARTBEAT_MS);
        fire_after(&mut rig, HEARTBEAT_MS - 1_000);
        assert!(heard(&mut rig, &client).is_empty(), "it may still answer");
        fire_after(&mut rig, 1_500);
        assert_eq!(heard(&mut rig, &client), [SILENT]);
    }

    #[test]
    fn a_session_that_answers_lives_on() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        client.peer.set_answered_ms(HEARTBEAT_MS);
        for _ in 0..3 {
            fire_after(&mut rig, HEARTBEAT_MS + 500);
            assert_eq!(heard(&mut rig, &client), ["ping"]);
            client.ping(1);
            rig.settle();
            assert_eq!(client.hear(), ["pong 1"]);
        }
    }

    #[test]
    fn a_session_that_says_something_is_not_asked() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        fire_after(&mut rig, HEARTBEAT_MS / 2);
        client.ping(1);
        rig.settle();
        fire_after(&mut rig, HEARTBEAT_MS / 2);
        assert_eq!(heard(&mut rig, &client), ["pong 1"]);
        fire_after(&mut rig, 500);
        let wait_ms = rig.next_timer_ms().expect("it is looked at again");
        let expected_ms = HEARTBEAT_MS / 2 - 500;
        assert!(wait_ms.abs_diff(expected_ms) <= TICK_MS, "{wait_ms}");
    }

    #[test]
    fn a_peer_that_takes_what_it_is_sent_lives_and_the_question_alone_does_not_count() {
        for (bytes, lives) in [(0, false), (1, true)] {
            let mut rig = Rig::new();
            let client = watched(&mut rig);
            fire_after(&mut rig, HEARTBEAT_MS + 500);
            assert!(rig.session(&client).seen().pinged);
            let parts = rig.parts();
            let _told = parts.sessions.control(&parts.context, client.id, |out| {
                out.resize(out.len() + bytes, 0);
            });
            rig.parts().flushing().run();
            client.peer.read();
            client.peer.set_answered_ms(1_000);
            fire_after(&mut rig, HEARTBEAT_MS + 1_000);
            let tick = (rig.now_ms() - 1_000) / TICK_MS;
            let session = rig.session(&client);
            assert_eq!(session.stage() == Stage::Open, lives, "{bytes} bytes");
            assert_eq!(u64::from(session.seen().heard_tick) == tick, lives);
            assert_eq!(session.seen().pinged, !lives);
        }
    }

    #[test]
    fn what_a_peer_took_before_the_heartbeat_is_no_sign_of_life() {
        let mut rig = Rig::new();
        let client = rig.join();
        client.peer.set_answered_ms(HEARTBEAT_MS);
        fire_after(&mut rig, HEARTBEAT_MS + 500);
        assert_eq!(heard(&mut rig, &client), ["ping"]);
    }

    #[test]
    fn a_session_that_is_not_read_in_a_shutdown_is_not_closed_as_silent() {
        let mut rig = Rig::new();
        let client = rig.connect();
        client.hello();
        rig.pass(20_000);
        rig.begin_turn();
        let mut watch = rig.parts().watch();
        watch.draining = true;
        watch.fire();
        rig.parts().endings().run();
        rig.parts().flushing().run();
        assert!(client.hear().is_empty());
        assert_eq!(client.peer.how_it_ended(), End::Open);
    }

    #[test]
    fn a_connection_without_a_hello_is_closed_in_time() {
        let mut rig = Rig::new();
        let client = rig.connect();
        fire_after(&mut rig, 9_999);
        assert!(heard(&mut rig, &client).is_empty());
        fire_after(&mut rig, 500);
        let goodbye = "goodbye Silent: no hello came in time";
        assert_eq!(heard(&mut rig, &client), [goodbye]);
    }

    #[test]
    fn a_full_socket_is_sent_no_ping_and_reset_when_it_stays_full() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        client.peer.stall();
        rig.session(&client).set_blocked(true);
        fire_after(&mut rig, HEARTBEAT_MS + 500);
        assert!(rig.session(&client).seen().pinged);
        assert!(rig.session(&client).outgoing().is_none());
        fire_after(&mut rig, HEARTBEAT_MS + 500);
        rig.parts().endings().run();
        assert_eq!(client.peer.how_it_ended(), End::Aborted);
    }

    #[test]
    fn a_session_that_is_held_back_is_told_that_the_broker_lives_and_not_closed() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        rig.parts().sessions.await_answer(client.id);
        for _ in 0..3 {
            fire_after(&mut rig, HEARTBEAT_MS + 500);
            assert_eq!(heard(&mut rig, &client), ["ping"]);
            assert!(!rig.session(&client).seen().pinged);
        }
        rig.session(&client).set_blocked(true);
        client.peer.set_answered_ms(HEARTBEAT_MS);
        fire_after(&mut rig, HEARTBEAT_MS + 500);
        assert!(
            rig.session(&client).seen().pinged,
            "it does not take its answers"
        );
    }

    #[test]
    fn a_turn_looks_after_a_bounded_number_of_sessions_and_later_turns_after_the_others() {
        let mut rig = Rig::new();
        let clients: Vec<Client> = (0..200).map(|_| rig.connect()).collect();
        fire_after(&mut rig, 10_500);
        let is_refused =
            |rig: &mut Rig, client: &Client| rig.session(client).stage() == Stage::Closing;
        let refused = |rig: &mut Rig| {
            let refused = clients.iter().filter(|client| is_refused(rig, client));
            refused.count()
        };
        assert_eq!(refused(&mut rig), 167);
        fire_after(&mut rig, 0);
        assert_eq!(refused(&mut rig), 200);
    }

    // Frames.

    /// A client that has sent a part of a frame.
    fn begun(rig: &mut Rig) -> Client {
        let client = rig.join();
        client.peer.write(&record("a", 5_000)[..1_000]);
        rig.settle();
        client
    }

    #[test]
    fn a_session_whose_frame_does_not_come_to_its_end_is_told_so() {
        let mut rig = Rig::new();
        let client = begun(&mut rig);
        fire_after(&mut rig, 9_000);
        assert!(heard(&mut rig, &client).is_empty());
        fire_after(&mut rig, 1_500);
        let goodbye = "goodbye Silent: the rest of a frame did not come in time";
        assert_eq!(heard(&mut rig, &client), [goodbye]);
    }

    #[test]
    fn a_frame_that_goes_on_is_waited_for() {
        let mut rig = Rig::new();
        let client = begun(&mut rig);
        fire_after(&mut rig, 9_000);
        client.peer.write(&record("a", 5_000)[1_000..2_000]);
        rig.settle();
        fire_after(&mut rig, 3_000);
        assert!(heard(&mut rig, &client).is_empty());
        assert!(rig.session(&client).seen().watched);
        // The whole of it may take 10 seconds and one for each KiB.
        fire_after(&mut rig, 3_000);
        assert_eq!(heard(&mut rig, &client).len(), 1);
    }

    #[test]
    fn a_session_whose_frame_is_whole_or_held_back_is_not_refused() {
        let mut rig = Rig::new();
        let (whole, held_back) = (begun(&mut rig), begun(&mut rig));
        whole.peer.write(&record("a", 5_000)[1_000..]);
        rig.settle();
        rig.parts().sessions.pause(held_back.id);
        fire_after(&mut rig, 12_000);
        assert!(rig.session(&held_back).seen().watched && !rig.session(&whole).seen().watched);
        assert_eq!(heard(&mut rig, &whole).len(), 1, "the outcome");
        assert!(heard(&mut rig, &held_back).is_empty());
        assert!(rig.next_timer_ms() <= Some(1 + TICK_MS));
    }

    #[test]
    fn no_session_is_refused_for_its_frame_in_a_shutdown() {
        let mut rig = Rig::new();
        let client = begun(&mut rig);
        rig.pass(12_000);
        rig.begin_turn();
        let mut watch = rig.parts().watch();
        watch.draining = true;
        watch.fire();
        assert_eq!(rig.session(&client).stage(), Stage::Open);
    }

    // After the Goodbye.

    /// A client that was refused.
    fn refused(rig: &mut Rig) -> Client {
        let client = watched(rig);
        rig.refuse(&client, "enough");
        rig.settle();
        client
    }

    #[test]
    fn a_peer_that_has_taken_its_goodbye_has_a_bounded_time_to_close() {
        let mut rig = Rig::new();
        let client = refused(&mut rig);
        client.hear();
        fire_after(&mut rig, 1_500);
        fire_after(&mut rig, 600);
        assert_eq!(
            rig.parts().sessions.count_gone(),
            0,
            "it took some meanwhile"
        );
        client.peer.set_answered_ms(5_000);
        fire_after(&mut rig, 2_500);
        assert_eq!(rig.parts().sessions.count_gone(), 1);
    }

    #[test]
    fn a_peer_that_has_not_taken_its_goodbye_has_longer() {
        let mut rig = Rig::new();
        let _client = refused(&mut rig);
        for _ in 0..4 {
            fire_after(&mut rig, 2_300);
            assert_eq!(rig.parts().sessions.count_gone(), 0);
        }
        fire_after(&mut rig, 2_300);
        assert_eq!(rig.parts().sessions.count_gone(), 1);
    }

    #[test]
    fn a_goodbye_that_cannot_leave_is_waited_for_as_long() {
        let mut rig = Rig::new();
        let client = watched(&mut rig);
        client.peer.stall();
        rig.refuse(&client, "enough");
        rig.settle();
        assert_eq!(rig.session(&client).stage(), Stage::Closing);
        fire_after(&mut rig, 1_500);
        assert_eq!(rig.parts().sessions.count_gone(), 0);
        fire_after(&mut rig, 1_000);
        assert_eq!(rig.parts().sessions.count_gone(), 1);
    }

    #[test]
    fn in_a_shutdown_peers_have_as_long_as_the_operator_says() {
        for (stage, gone) in [(Stage::Closing, 0), (Stage::Lingering, 1), (Stage::Gone, 0)] {
            let mut rig = Rig::new();
            let client = refused(&mut rig);
            client.hear();
            rig.session(&client).set_stage(stage);
            client.peer.set_answered_ms(60_000);
            rig.pass(60_000);
            rig.begin_turn();
            let mut watch = rig.parts().watch();
            watch.draining = true;
            watch.fire();
            assert_eq!(rig.parts().sessions.count_gone(), gone, "{stage:?}");
        }
    }

    #[test]
    fn a_session_with_a_goodbye_is_reset_if_it_takes_nothing_and_closed_if_it_took_all() {
        for (room, end) in [(0, End::Aborted), (usize::MAX, End::Closed)] {
            let mut rig = Rig::new();
            let client = watched(&mut rig);
            client.peer.set_room(room);
            rig.refuse(&client, "enough");
            rig.settle();
            client.hear();
            for _ in 0..8 {
                rig.pass(2_000);
                rig.settle();
            }
            assert_eq!(client.peer.how_it_ended(), end);
        }
    }
}
