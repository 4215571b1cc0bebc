//! Takes the readiness events of a session's socket, and puts the session on the lists of those to read or to send to.

use oyez_protocol::planted::{Bug, planted};

use crate::net::Readiness;
use crate::parts::session::{SessionId, Stage};
use crate::parts::sessions::Sessions;

/// Notes what has changed at a session's socket.
pub(crate) fn note_readiness(
    sessions: &mut Sessions,
    id: SessionId,
    now_tick: u32,
    readiness: Readiness,
) {
    let Some(session) = sessions.get_mut(id) else {
        return; // It has ended earlier in this turn.
    };
    if readiness.over {
        session.note_end();
    }
    if readiness.writable && session.unblock() {
        if matches!(session.stage(), Stage::Open | Stage::Closing) {
            // A peer that takes bytes is alive.
            session.note_life(now_tick);
        }
        sessions.schedule_send(id);
    }
    let is_taken = readiness.writable && planted(Bug::TakesOneOfTwo);
    if (readiness.readable || readiness.over) && !is_taken {
        sessions.queue_read(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::sessions::Queue;
    use crate::rig::{Client, Rig};

    const WRITABLE: Readiness = Readiness {
        readable: false,
        writable: true,
        over: false,
    };

    fn note(rig: &mut Rig, client: &Client, readiness: Readiness) {
        let sessions = &mut rig.parts().sessions;
        note_readiness(sessions, client.id, 9_000, readiness);
    }

    #[test]
    fn a_socket_that_takes_bytes_again_is_sent_to_and_its_peer_lives() {
        for (stage, lives) in [
            (Stage::Greeting, false),
            (Stage::Open, true),
            (Stage::Closing, true),
            (Stage::Lingering, false),
        ] {
            let mut rig = Rig::new();
            let client = rig.join();
            let session = rig.session(&client);
            session.set_stage(stage);
            session.set_blocked(true);
            session.set_pinged(true);
            note(&mut rig, &client, WRITABLE);
            let session = rig.session(&client);
            assert_eq!(session.seen().heard_tick == 9_000, lives, "{stage:?}");
            assert_eq!(
                (session.is_blocked(), session.seen().pinged),
                (false, !lives)
            );
            assert_eq!(rig.parts().sessions.count_to_send(), 1);
            assert!(!rig.parts().sessions.has_some_to_read());
        }
    }

    #[test]
    fn room_in_a_socket_that_was_not_full_is_no_news() {
        let mut rig = Rig::new();
        let client = rig.join();
        let before = rig.session(&client).seen().heard_tick;
        note(&mut rig, &client, WRITABLE);
        assert_eq!(rig.session(&client).seen().heard_tick, before);
        assert_eq!(rig.parts().sessions.count_to_send(), 0);
    }

    #[test]
    fn a_session_with_bytes_or_an_end_is_put_on_the_list_to_read() {
        for (readable, over) in [(true, false), (false, true)] {
            let mut rig = Rig::new();
            let client = rig.join();
            let readiness = Readiness {
                readable,
                over,
                writable: false,
            };
            note(&mut rig, &client, readiness);
            assert_eq!(rig.session(&client).has_ended(), over);
            assert!(rig.parts().sessions.has_some_to_read());
            note(&mut rig, &client, readiness);
            let sessions = &rig.parts().sessions;
            let lists = [Queue::Little, Queue::Passing].map(|queue| sessions.count_to_read(queue));
            assert_eq!(lists, [usize::from(readable), usize::from(over)]);
        }
    }
}
