//! Tests of the lists of sessions, their buffers, and their ends.

use super::*;
use crate::parts::ending::Reason;
use crate::parts::tail::RecordTail;
use crate::rig::{Client, Rig};
use oyez_protocol::{LogId, Position};

const QUEUES: [Queue; 4] = [Queue::Resumed, Queue::Little, Queue::Passing, Queue::Much];

/// How many sessions are in each list of those to read.
fn to_read(rig: &mut Rig) -> [usize; 4] {
    QUEUES.map(|queue| rig.parts().sessions.count_to_read(queue))
}

fn sessions(rig: &mut Rig) -> &mut Sessions {
    &mut rig.parts().sessions
}

/// Adds so many bytes to what a session is sent.
fn tell(rig: &mut Rig, client: &Client, bytes: usize) -> Handled {
    let parts = rig.parts();
    parts.sessions.control(&parts.context, client.id, |out| {
        out.resize(out.len() + bytes, 0);
    })
}

fn keep(rig: &mut Rig, client: &Client, bytes: usize) {
    let partial = Partial::new(vec![0; bytes], bytes + 1, 0);
    sessions(rig).keep_input(client.id, Box::new(partial));
}

/// Connections and sessions, as they are counted.
fn counts(rig: &mut Rig) -> (usize, u64, u64) {
    let context = &rig.parts().context;
    let all = context
        .shared
        .connections
        .load(std::sync::atomic::Ordering::Relaxed);
    let metrics = context.metrics();
    (all, metrics.connections.get(), metrics.sessions.get())
}

#[test]
fn the_name_of_a_session_that_is_gone_reaches_no_other() {
    let mut rig = Rig::new();
    let gone = rig.join();
    rig.end(&gone, Reason::PeerClosed);
    assert!(sessions(&mut rig).get(gone.id).is_none());
    rig.settle();
    let next = rig.join();
    assert_eq!(next.id.key(), gone.id.key(), "the slot is taken again");
    assert!(sessions(&mut rig).get(gone.id).is_none());
    assert!(sessions(&mut rig).get_mut(gone.id).is_none());
    assert!(sessions(&mut rig).get(next.id).is_some());
    assert_eq!(sessions(&mut rig).id_at(next.id.key()), next.id);
    assert_eq!(sessions(&mut rig).ids(), [next.id]);
    // No step does anything for it either.
    let sessions = sessions(&mut rig);
    sessions.queue_read(gone.id);
    sessions.resume(gone.id);
    sessions.schedule_send(gone.id);
    assert!(!sessions.has_some_to_read() && !sessions.has_paused());
    assert_eq!(sessions.count_to_send(), 0);
    assert_eq!(tell(&mut rig, &gone, 1), Handled::Over);
    keep(&mut rig, &gone, 100);
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
    rig.refuse(&gone, "enough");
    rig.end(&gone, Reason::PeerClosed);
    assert!(!rig.parts().sessions.has_some_to_end());
}

#[test]
fn a_connection_that_cannot_be_watched_takes_no_slot() {
    let mut rig = Rig::new();
    let client = rig.join();
    let socket = rig.session(&client).socket;
    let refused = |_| Err(io::ErrorKind::Other.into());
    assert!(
        sessions(&mut rig)
            .insert_with(0, (socket, 0), refused)
            .is_err()
    );
    assert_eq!(sessions(&mut rig).len(), 1);
}

#[test]
fn a_session_is_known_by_its_key_to_be_blocked() {
    let mut rig = Rig::new();
    let client = rig.join();
    let key = client.id.key();
    assert!(!sessions(&mut rig).is_blocked(key));
    rig.session(&client).blocked = true;
    assert!(sessions(&mut rig).is_blocked(key));
}

#[test]
fn a_session_is_in_one_list_of_those_to_read_at_most() {
    let mut rig = Rig::new();
    let (passing, little, much) = (rig.connect(), rig.join(), rig.join());
    rig.session(&much).says_much = true;
    for client in [&passing, &little, &much, &little] {
        sessions(&mut rig).queue_read(client.id);
    }
    assert_eq!(to_read(&mut rig), [0, 1, 1, 1]);
    let next = sessions(&mut rig).next_to_read(Queue::Passing);
    assert_eq!(next, Some(passing.id));
    assert_eq!(sessions(&mut rig).next_to_read(Queue::Passing), None);
    rig.session(&passing).reading = false;
    let session = rig.session(&passing);
    (session.stage, session.ended) = (Stage::Open, true);
    sessions(&mut rig).queue_read(passing.id);
    assert_eq!(to_read(&mut rig), [0, 1, 1, 1], "it goes");
}

#[test]
fn a_session_that_has_more_to_read_says_much() {
    let mut rig = Rig::new();
    let client = rig.join();
    sessions(&mut rig).read_on(client.id);
    assert!(rig.session(&client).says_much && rig.session(&client).reading);
    assert_eq!(to_read(&mut rig), [0, 0, 0, 1]);
}

#[test]
fn sessions_that_wait_are_not_read_for_news_but_only_when_what_they_wait_for_has_come() {
    let mut rig = Rig::new();
    let (for_room, for_answer) = (rig.join(), rig.join());
    sessions(&mut rig).pause(for_room.id);
    sessions(&mut rig).await_answer(for_answer.id);
    for client in [&for_room, &for_answer] {
        sessions(&mut rig).queue_read(client.id);
    }
    sessions(&mut rig).resume(for_room.id);
    assert_eq!(to_read(&mut rig), [0; 4]);
    assert!(!sessions(&mut rig).has_some_to_read() && sessions(&mut rig).has_paused());
    sessions(&mut rig).try_paused();
    assert_eq!(to_read(&mut rig), [1, 0, 0, 0]);
    assert!(sessions(&mut rig).has_some_to_read() && !sessions(&mut rig).has_paused());
    for _ in 0..2 {
        sessions(&mut rig).resume(for_answer.id);
        assert_eq!(to_read(&mut rig), [2, 0, 0, 0]);
    }
}

#[test]
fn a_session_is_sent_to_once_and_not_while_its_socket_is_full() {
    let mut rig = Rig::new();
    let (client, full) = (rig.join(), rig.join());
    rig.session(&full).blocked = true;
    for id in [client.id, client.id, full.id] {
        sessions(&mut rig).schedule_send(id);
    }
    assert_eq!(sessions(&mut rig).count_to_send(), 1);
    assert_eq!(sessions(&mut rig).next_to_send(), Some(client.id));
    assert!(!rig.session(&client).queued);
    assert_eq!(sessions(&mut rig).next_to_send(), None);
}

#[test]
fn the_rest_of_a_record_is_sent_though_no_event_comes_for_it() {
    let mut rig = Rig::new();
    let client = rig.join();
    sessions(&mut rig).queue_tail(client.id.key());
    assert_eq!(sessions(&mut rig).count_to_send(), 0);
    let tail = RecordTail::new(LogId::new(0), Position::new(0), 9, 4);
    rig.session(&client).tail = tail;
    for _ in 0..2 {
        sessions(&mut rig).queue_tail(client.id.key());
        assert_eq!(sessions(&mut rig).count_to_send(), 1);
    }
    assert!(rig.session(&client).queued);
    assert_eq!(sessions(&mut rig).next_to_send(), Some(client.id));
}

#[test]
fn outgoing_bytes_are_counted_and_their_memory_is_used_again() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.pass(50);
    rig.begin_turn();
    let now_ms = rig.now_ms();
    for (told, spares) in [(100, 1), (OUTGOING_BYTES_KEPT, 1), (100, 1), (5_000, 0)] {
        assert_eq!(tell(&mut rig, &client, told), Handled::Done);
        let outgoing = rig.session(&client).outgoing.as_ref();
        let outgoing = outgoing.expect("there is some");
        assert_eq!((outgoing.moved_ms, outgoing.sent), (now_ms, 0));
        assert_eq!(
            outgoing.bytes.len(),
            told,
            "nothing is left of the bytes before"
        );
        let capacity = outgoing.bytes.capacity();
        assert_eq!(rig.parts().sessions.room.output.bytes(), capacity);
        rig.session(&client)
            .outgoing
            .as_mut()
            .expect("there is some")
            .sent = told;
        sessions(&mut rig).empty_outgoing(client.id);
        assert_eq!(rig.parts().sessions.room.output.bytes(), 0);
        assert_eq!(rig.parts().sessions.outgoing_spare.len(), spares);
    }
}

#[test]
fn so_many_empty_buffers_are_kept_and_no_more() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..OUTGOING_KEPT + 2).map(|_| rig.connect()).collect();
    for client in &clients {
        tell(&mut rig, client, 10);
    }
    for client in &clients {
        sessions(&mut rig).empty_outgoing(client.id);
    }
    assert_eq!(rig.parts().sessions.outgoing_spare.len(), OUTGOING_KEPT);
}

#[test]
fn only_sessions_that_are_heard_get_replies_and_only_those_that_go_get_a_goodbye() {
    for (stage, told, concluded) in [
        (Stage::Greeting, Handled::Done, Handled::Over),
        (Stage::Open, Handled::Done, Handled::Over),
        (Stage::Closing, Handled::Over, Handled::Done),
        (Stage::Lingering, Handled::Over, Handled::Over),
        (Stage::Gone, Handled::Over, Handled::Over),
    ] {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.session(&client).stage = stage;
        assert_eq!(tell(&mut rig, &client, 1), told, "{stage:?}");
        let parts = rig.parts();
        let end = |out: &mut Vec<u8>| out.push(1);
        let end = parts.sessions.conclude(&parts.context, client.id, end);
        assert_eq!(end, concluded, "{stage:?}");
    }
}

#[test]
fn sessions_that_hold_much_are_noted() {
    let mut rig = Rig::new();
    let clients = [rig.join(), rig.join(), rig.join()];
    keep(&mut rig, &clients[0], 5_000);
    tell(&mut rig, &clients[1], 5_000);
    tell(&mut rig, &clients[2], 100);
    let holders = rig.parts().sessions.room.take_holders();
    assert_eq!(holders, [clients[0].id, clients[1].id]);
}

#[test]
fn a_session_that_is_to_go_is_told_so_once_and_keeps_no_input() {
    let mut rig = Rig::new();
    let client = rig.join();
    keep(&mut rig, &client, 100);
    rig.pass(5_000);
    rig.begin_turn();
    for _ in 0..2 {
        rig.refuse(&client, "enough");
    }
    let tick = rig.parts().context.tick();
    let session = rig.session(&client);
    assert_eq!((session.stage, session.heard_tick), (Stage::Closing, tick));
    assert!(session.partial.is_none());
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
    assert_eq!(
        counts(&mut rig),
        (0, 1, 0),
        "it is connected, is no session, and holds no place"
    );
    assert!(sessions(&mut rig).has_some_to_end());
    let dismissed = sessions(&mut rig).next_dismissed().expect("it is there");
    assert_eq!((dismissed.id, dismissed.is_refused), (client.id, true));
    assert_eq!(dismissed.goodbye.retry_after_ms, 0);
    assert!(sessions(&mut rig).next_dismissed().is_none());
    assert!(!sessions(&mut rig).has_some_to_end());
    rig.end(&client, Reason::Refused);
    assert_eq!(counts(&mut rig), (0, 0, 0));
}

#[test]
fn a_session_that_goes_without_its_fault_is_not_counted_as_refused() {
    let mut rig = Rig::new();
    let clients = [rig.connect(), rig.join()];
    let goodbye = Goodbye {
        code: GoodbyeCode::Full,
        retry_after_ms: 9,
        reason: "full".into(),
    };
    for client in &clients {
        let parts = rig.parts();
        let goodbye = goodbye.clone();
        parts.sessions.dismiss(&parts.context, client.id, goodbye);
    }
    assert_eq!(rig.parts().context.metrics().sessions_refused.get(), 0);
    assert_eq!(counts(&mut rig), (0, 2, 0));
    let dismissed = sessions(&mut rig).next_dismissed().expect("it is there");
    assert_eq!((dismissed.goodbye, dismissed.is_refused), (goodbye, false));
    let code = GoodbyeCode::Full;
    let client = rig.join();
    let parts = rig.parts();
    parts
        .sessions
        .refuse_for(&parts.context, client.id, code, 5, "enough");
    assert_eq!(parts.context.metrics().sessions_refused.get(), 1);
}

#[test]
fn an_end_leaves_nothing_behind_but_the_connection_and_the_subscriptions() {
    let mut rig = Rig::new();
    let (client, newcomer) = (rig.subscriber("a"), rig.connect());
    keep(&mut rig, &client, 100);
    tell(&mut rig, &client, 100);
    assert_eq!(counts(&mut rig), (2, 2, 1));
    for client in [&client, &client, &newcomer] {
        rig.end(client, Reason::PeerClosed);
    }
    assert_eq!(counts(&mut rig), (0, 0, 0));
    let room = &rig.parts().sessions.room;
    assert_eq!((room.input.bytes(), room.output.bytes()), (0, 0));
    assert_eq!(sessions(&mut rig).count_gone(), 2);
    let gone = sessions(&mut rig).first_gone();
    let session = sessions(&mut rig).get(gone.id).expect("its slot is taken");
    assert_eq!(
        (session.stage, session.subscriptions.len()),
        (Stage::Gone, 1)
    );
    assert!(session.partial.is_none() && session.outgoing.is_none());
    assert!(session.blocked);
    sessions(&mut rig).put_first_gone_last();
    let first = sessions(&mut rig).first_gone();
    assert_eq!(first.id.key(), newcomer.id.key());
    sessions(&mut rig).forget_first_gone();
    assert_eq!(
        (sessions(&mut rig).len(), sessions(&mut rig).count_gone()),
        (1, 1)
    );
}

#[test]
fn a_socket_that_may_have_much_in_it_is_known_to_take_longer_to_close() {
    for (says_much, blocked, reason, is_full) in [
        (false, false, Reason::PeerClosed, false),
        (true, false, Reason::PeerClosed, true),
        (false, true, Reason::PeerClosed, true),
        (false, false, Reason::Stalled, true),
        (false, false, Reason::Stopping, false),
    ] {
        let mut rig = Rig::new();
        let client = rig.join();
        let session = rig.session(&client);
        (session.says_much, session.blocked) = (says_much, blocked);
        rig.end(&client, reason);
        let gone = sessions(&mut rig).first_gone();
        assert_eq!(gone.is_full, is_full, "{reason:?}");
    }
}

#[test]
fn a_session_that_lingers_is_read_for_its_end() {
    let mut rig = Rig::new();
    let client = rig.join();
    sessions(&mut rig).linger(client.id);
    assert_eq!(rig.session(&client).stage, Stage::Lingering);
    assert!(sessions(&mut rig).has_some_to_read());
}
