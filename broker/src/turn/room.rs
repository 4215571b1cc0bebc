//! Turns away the sessions that hold memory and have stalled, while memory is short of room.

use oyez_protocol::event::GoodbyeCode;

use crate::parts::context::ShardContext;
use crate::parts::ending::{FULL_RETRY_MS, Reason};
use crate::parts::room::look_at_holding;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;

/// While room is short, a session that makes no progress for this long is turned away.
const STALLED_MS: u64 = 1_000;
/// Most sessions turned away in one turn: 2 ms, with the memory of a large record each.
const TURNED_AWAY_MAX: usize = 32;

/// Makes room where it is short. Returns whether there is room again for the sessions that wait for it. Looks at no more
/// sessions than there can be with [`MUCH_BYTES`](crate::parts::room::MUCH_BYTES) each below the caps.
pub(crate) fn make_room(context: &ShardContext, sessions: &mut Sessions) -> bool {
    if sessions.room.is_look_due(context.now.monotonic_ms) {
        turn_away_stalled(context, sessions);
    }
    sessions.room.is_found_again()
}

fn turn_away_stalled(context: &ShardContext, sessions: &mut Sessions) {
    let mut stalled = Vec::new();
    let mut holders = sessions.room.take_holders();
    holders.retain(|id| {
        let Some(session) = sessions.get_mut(*id) else {
            return false; // It has ended meanwhile.
        };
        let holds_much = look_at_holding(session);
        if holds_much && let Some(since_ms) = session.stalled_since_ms() {
            stalled.push((since_ms, *id));
        }
        holds_much
    });
    sessions.room.keep_holders(holders);
    stalled.sort_unstable();
    for (since_ms, id) in stalled.into_iter().take(TURNED_AWAY_MAX) {
        let long = context.now.monotonic_ms.saturating_sub(since_ms) >= STALLED_MS;
        let room = &sessions.room;
        if !(room.is_scarce() || (room.is_short() && long)) {
            return;
        }
        context.metrics().sessions_evicted.add(1);
        turn_away(context, sessions, id);
    }
}

/// Ends a session to free its memory, at once: a Goodbye that it does not read would only hold more.
fn turn_away(context: &ShardContext, sessions: &mut Sessions, id: SessionId) {
    if sessions.there(id).is_blocked() {
        sessions.end(context, id, Reason::Stalled);
    } else {
        let reason = "the broker is short of room and this session makes no progress";
        sessions.refuse_for(context, id, GoodbyeCode::Full, FULL_RETRY_MS, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::End;
    use crate::parts::partial::Partial;
    use crate::parts::room::{Kept, MUCH_BYTES};
    use crate::parts::session::Stage;
    use crate::rig::{Client, Rig};

    /// A client that has sent this many bytes of a frame that is not whole.
    fn holder(rig: &mut Rig, bytes: usize) -> Client {
        let client = rig.join();
        let partial = Partial::new(vec![0; bytes], bytes + 1, rig.parts().context.tick());
        let sessions = &mut rig.parts().sessions;
        sessions.keep_input(client.id, Box::new(partial));
        client
    }

    /// A client that does not take this many bytes of its answers.
    fn reluctant(rig: &mut Rig, bytes: usize) -> Client {
        let client = rig.join();
        let parts = rig.parts();
        let _told = parts.sessions.control(&parts.context, client.id, |out| {
            out.resize(bytes, 0);
        });
        rig.session(&client).set_blocked(true);
        client
    }

    fn fill(kept: &mut Kept, bytes: usize) {
        let more = bytes - kept.bytes();
        kept.count(&mut 0, more);
    }

    /// Makes room short: more than half of the room for input is taken. `be_scarce` takes most of it.
    fn be_short(rig: &mut Rig) {
        let input = &mut rig.parts().sessions.room.input;
        fill(input, input.max() / 2 + 1);
    }

    fn be_scarce(rig: &mut Rig) {
        let input = &mut rig.parts().sessions.room.input;
        fill(input, input.max() - input.max() / 8 + 1);
    }

    fn look(rig: &mut Rig) -> bool {
        rig.begin_turn();
        let parts = rig.parts();
        make_room(&parts.context, &mut parts.sessions)
    }

    /// Returns which of these clients have to go.
    fn are_over(rig: &mut Rig, clients: &[Client]) -> Vec<bool> {
        let is_over = |client: &Client| {
            let session = rig.parts().sessions.get(client.id);
            session.is_none_or(|session| session.stage() != Stage::Open)
        };
        clients.iter().map(is_over).collect()
    }

    #[test]
    fn no_session_is_turned_away_while_there_is_room() {
        let mut rig = Rig::new();
        let clients = [holder(&mut rig, 100_000), reluctant(&mut rig, 100_000)];
        rig.pass(100_000);
        assert!(!look(&mut rig));
        assert_eq!(are_over(&mut rig, &clients), [false; 2]);
    }

    #[test]
    fn while_room_is_short_sessions_that_have_stalled_for_a_while_are_turned_away() {
        let mut rig = Rig::new();
        let client = holder(&mut rig, 100_000);
        rig.pass(900);
        let clients = [client, holder(&mut rig, 100_000)];
        be_short(&mut rig);
        // Sessions are looked at only while room is short, and not more than once in a while.
        let _looked = look(&mut rig);
        assert_eq!(are_over(&mut rig, &clients), [false; 2]);
        rig.pass(99);
        let _looked = look(&mut rig);
        be_short(&mut rig);
        rig.pass(257);
        let _looked = look(&mut rig);
        assert_eq!(are_over(&mut rig, &clients), [true, false]);
        assert_eq!(rig.parts().context.metrics().sessions_evicted.get(), 1);
        rig.settle();
        let told = "goodbye Full: the broker is short of room and this session makes no progress";
        assert_eq!(clients[0].hear(), [told]);
    }

    #[test]
    fn when_room_is_scarce_the_longest_stalled_are_turned_away_at_once_and_no_more_than_needed() {
        let mut rig = Rig::new();
        let first = holder(&mut rig, 100_000);
        rig.pass(300);
        rig.begin_turn();
        let clients = [holder(&mut rig, 100_000), first, holder(&mut rig, 100_000)];
        be_scarce(&mut rig);
        let _found = look(&mut rig);
        assert_eq!(are_over(&mut rig, &clients), [false, true, false]);
    }

    #[test]
    fn sessions_that_hold_little_or_that_the_broker_holds_back_stay() {
        let mut rig = Rig::new();
        let little = holder(&mut rig, MUCH_BYTES);
        let waiting = holder(&mut rig, 100_000);
        let partial = rig.session(&waiting).input_mut();
        partial.expect("it holds some").need = 100_000;
        let taking = reluctant(&mut rig, 100_000);
        rig.session(&taking).set_blocked(false);
        rig.pass(100_000);
        be_scarce(&mut rig);
        let clients = [little, waiting, taking];
        let _found = look(&mut rig);
        assert_eq!(are_over(&mut rig, &clients), [false; 3]);
    }

    #[test]
    fn a_session_that_does_not_take_its_answers_goes_without_a_word() {
        let mut rig = Rig::new();
        let client = reluctant(&mut rig, 100_000);
        rig.pass(1_000);
        be_short(&mut rig);
        let _found = look(&mut rig);
        rig.parts().endings().run();
        assert_eq!(client.peer.how_it_ended(), End::Aborted);
        assert_eq!(rig.parts().sessions.room.output.bytes(), 0);
    }

    #[test]
    fn input_that_waits_for_answers_which_are_not_taken_has_stalled() {
        for (awaits_answer, goes) in [(false, false), (true, true)] {
            let mut rig = Rig::new();
            let client = holder(&mut rig, 100_000);
            rig.pass(2_000);
            rig.begin_turn();
            let parts = rig.parts();
            let _told = parts
                .sessions
                .control(&parts.context, client.id, |out| out.push(0));
            let session = rig.session(&client);
            session.set_blocked(true);
            session.set_awaits_answer(awaits_answer);
            session.input_mut().expect("it holds some").need = 0;
            be_short(&mut rig);
            let _found = look(&mut rig);
            assert_eq!(are_over(&mut rig, &[client]), [goes]);
        }
    }

    #[test]
    fn a_turn_turns_away_a_bounded_number() {
        let mut rig = Rig::new();
        let clients: Vec<Client> = (0..40).map(|_| holder(&mut rig, 5_000)).collect();
        let bytes = rig.parts().sessions.room.input.max();
        fill(&mut rig.parts().sessions.room.input, bytes);
        for gone in [32, 40] {
            let _found = look(&mut rig);
            let over = are_over(&mut rig, &clients);
            assert_eq!(over.iter().filter(|over| **over).count(), gone);
        }
    }

    #[test]
    fn sessions_that_wait_for_room_are_woken_when_there_is_some() {
        let mut rig = Rig::new();
        let client = holder(&mut rig, 100_000);
        be_scarce(&mut rig);
        rig.session(&client)
            .input_mut()
            .expect("it holds some")
            .need = 0;
        rig.parts().sessions.room.missed = true;
        assert!(!look(&mut rig), "no session has stalled");
        rig.session(&client)
            .input_mut()
            .expect("it holds some")
            .need = 200_000;
        assert!(look(&mut rig));
        assert!(!look(&mut rig), "once");
    }
}
