//! Reading, with a handler of commands that only notes them, or answers as a test says.

use std::collections::VecDeque;

use super::*;
use crate::clock::TICK_MS;
use crate::net::Readiness;
use crate::net::memory::End;
use crate::rig::{Client, Rig, ping_bytes, record};

mod leaving;

/// Bytes of a ping.
const PING: usize = 24;
const NOTHING: [u64; 0] = [];

/// Takes all commands, or answers as it was told to.
#[derive(Default)]
struct TestHandler {
    /// Pings by their tokens, records by their sizes.
    taken: Vec<u64>,
    /// What becomes of the next commands.
    answers: VecDeque<Handled>,
    /// Steps that each of them costs.
    steps: usize,
}

impl CommandHandler for &mut TestHandler {
    fn handle(
        &mut self,
        _sessions: &mut Sessions,
        budget: &mut ReadBudget,
        _id: SessionId,
        command: Command<'_>,
    ) -> Handled {
        budget.spend(self.steps, 0);
        let answer = self.answers.pop_front().unwrap_or(Handled::Done);
        if answer == Handled::Done {
            self.taken.push(match command {
                Command::Ping { token } => token,
                Command::Publish(record) => u64::from(record.size()),
                _ => u64::MAX,
            });
        }
        answer
    }
}

impl TestHandler {
    fn answering(answers: &[Handled]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn take(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.taken)
    }
}

const FOR_ROOM: Handled = Handled::Later(Until::Room);
const FOR_ANSWER: Handled = Handled::Later(Until::Answered);

/// Takes the events that have come, and reads.
fn read(rig: &mut Rig, handler: &mut TestHandler) {
    rig.begin_turn();
    let parts = rig.parts();
    Reading {
        context: &parts.context,
        net: &mut *parts.net,
        sessions: &mut parts.sessions,
        timers: &mut parts.timers,
        budget: ReadBudget::default(),
        buffer: &mut parts.buffer,
        scratch: &mut parts.scratch,
        messages: &mut parts.messages,
        draining: parts.drain.is_begun(),
        handler,
    }
    .run();
}

/// The commands that are taken in one turn.
fn taken(rig: &mut Rig) -> Vec<u64> {
    let mut handler = TestHandler::default();
    read(rig, &mut handler);
    handler.taken
}

/// Reads as long as there is a session to read.
fn read_all(rig: &mut Rig) -> Vec<u64> {
    let mut all = taken(rig);
    while rig.parts().sessions.has_some_to_read() {
        all.extend(taken(rig));
    }
    all
}

fn pings(client: &Client, tokens: impl IntoIterator<Item = u64>) {
    for token in tokens {
        client.ping(token);
    }
}

/// A client whose session sends much, and one whose frame has waited for an answer that has come.
fn much(rig: &mut Rig) -> Client {
    let client = rig.join();
    rig.session(&client).note_much(true);
    client
}

fn resumed(rig: &mut Rig) -> Client {
    let client = rig.join();
    rig.parts().sessions.await_answer(client.id);
    rig.parts().sessions.resume(client.id);
    client
}

/// Bytes kept with a session.
fn kept(rig: &mut Rig, client: &Client) -> usize {
    let partial = rig.session(client).input();
    partial.map_or(0, |partial| partial.bytes.len())
}

/// Lets `bytes` of input be kept for no session.
fn fill_input(rig: &mut Rig, bytes: impl Fn(usize) -> usize) {
    let input = &mut rig.parts().sessions.room.input;
    let bytes = bytes(input.max());
    input.count(&mut 0, bytes);
}

fn count_reads(rig: &mut Rig, handler: &mut TestHandler) -> usize {
    let before = rig.net.calls().reads;
    read(rig, handler);
    rig.net.calls().reads - before
}

// Lists and shares.

#[test]
fn sessions_whose_frames_have_waited_come_first_then_those_of_little_that_come_or_go_and_of_much() {
    let mut rig = Rig::new();
    let (passing, little) = (rig.connect(), rig.join());
    let (much, resumed) = (much(&mut rig), resumed(&mut rig));
    for (token, client) in [(4, &much), (3, &passing), (2, &little), (1, &resumed)] {
        client.ping(token);
    }
    assert_eq!(taken(&mut rig), [1, 2, 3, 4]);
    little.ping(6);
    much.ping(5);
    much.peer.shutdown();
    assert_eq!(
        taken(&mut rig),
        [6, 5],
        "one that goes waits for the others"
    );
}

#[test]
fn each_list_leaves_its_share_of_the_turn_to_those_after_it() {
    let mut rig = Rig::new();
    let lists = [(); 5].map(|()| [rig.join(), rig.join(), rig.connect(), rig.join()]);
    for clients in &lists {
        rig.parts().sessions.await_answer(clients[0].id);
        rig.parts().sessions.resume(clients[0].id);
        rig.session(&clients[3]).note_much(true);
        for (list, client) in clients.iter().enumerate() {
            client.ping(list as u64);
        }
    }
    let mut dear = TestHandler {
        steps: 1_000,
        ..TestHandler::default()
    };
    read(&mut rig, &mut dear);
    assert_eq!(dear.take(), [0, 0, 1, 2, 3]);
    // Sessions that were not visited are visited first in the next turn.
    read(&mut rig, &mut dear);
    assert_eq!(dear.take(), [0, 0, 1, 2, 3]);
}

#[test]
fn sessions_of_much_may_use_the_turn_that_no_other_session_needs() {
    let mut rig = Rig::new();
    let all: Vec<Client> = (0..7).map(|_| rig.join()).collect();
    for (token, client) in all.iter().enumerate() {
        rig.session(client).note_much(true);
        client.ping(token as u64);
    }
    let mut dear = TestHandler {
        steps: 1_000,
        ..TestHandler::default()
    };
    read(&mut rig, &mut dear);
    assert_eq!(dear.take(), [0, 1, 2, 3, 4]);
    read(&mut rig, &mut dear);
    assert_eq!(dear.take(), [5, 6]);
}

// Visits.

#[test]
fn a_session_is_in_the_list_of_much_as_long_as_its_visits_take_much() {
    let mut rig = Rig::new();
    let (client, other) = (rig.join(), much(&mut rig));
    pings(&client, 0..400);
    other.ping(1_000);
    // 90 steps are left after the read. The session whose input was read and not taken comes behind the others of much.
    let expected: Vec<u64> = (0..45).chain([1_000]).chain(45..400).collect();
    assert_eq!(taken(&mut rig), expected);
    assert!(!rig.parts().sessions.has_some_to_read());
    assert!(rig.session(&client).seen().says_much && !rig.session(&other).seen().says_much);
    client.ping(400);
    assert_eq!(taken(&mut rig), [400]);
    assert!(!rig.session(&client).seen().says_much);
}

#[test]
fn a_session_that_sends_ever_more_gets_one_visit_per_turn_and_others_of_much_have_theirs() {
    let mut rig = Rig::new();
    let clients = [much(&mut rig), much(&mut rig)];
    pings(&clients[0], 0..3_000);
    pings(&clients[1], 10_000..13_000);
    for turn in 0..2 {
        let taken = taken(&mut rig);
        let first = taken.iter().filter(|token| **token < 10_000).count();
        for count in [first, taken.len() - first] {
            assert!((900..=1_000).contains(&count), "{count} in turn {turn}");
        }
    }
    read_all(&mut rig);
}

#[test]
fn a_visit_reads_a_bounded_number_of_bytes() {
    let mut rig = Rig::new();
    let client = much(&mut rig);
    client.publish("a", 200_000);
    assert_eq!(taken(&mut rig), NOTHING);
    let bytes = kept(&mut rig, &client);
    assert!(bytes >= Budget::MUCH.bytes() && bytes < Budget::MUCH.bytes() + PARTIAL_STEP);
    assert_eq!(rig.parts().sessions.count_to_read(Queue::Much), 1);
    assert_eq!(read_all(&mut rig), [record("a", 200_000).len() as u64]);
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
}

#[test]
fn little_is_read_when_few_steps_are_left() {
    let mut rig = Rig::new();
    let client = much(&mut rig);
    pings(&client, 0..2_000);
    let mut dear = TestHandler {
        steps: 1_000,
        ..TestHandler::default()
    };
    read(&mut rig, &mut dear);
    assert_eq!(dear.take(), [0, 1]);
    let bytes = kept(&mut rig, &client);
    assert!(bytes < 16_000, "{bytes}");
    assert_eq!(read_all(&mut rig), Vec::from_iter(2..2_000));
}

#[test]
fn an_interrupted_read_is_tried_again_at_once() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ping(1);
    client.peer.interrupt_next(2);
    assert_eq!(taken(&mut rig), [1]);
}

#[test]
fn a_socket_that_has_given_all_it_had_is_not_asked_again() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ping(1);
    assert_eq!(count_reads(&mut rig, &mut TestHandler::default()), 1);
    assert!(!rig.parts().sessions.has_some_to_read());
    client.peer.nudge(Readiness {
        readable: true,
        ..Readiness::default()
    });
    assert_eq!(taken(&mut rig), NOTHING);
    assert!(!rig.parts().sessions.has_some_to_read());
    client.ping(2);
    assert_eq!(taken(&mut rig), [2]);
}

// Frames in pieces.

#[test]
fn however_the_bytes_are_cut_the_commands_are_the_same() {
    for (record_bytes, pieces) in [
        (900, [1, 5, 7, 8, 9, 23, 24, 25]),
        (
            70_000,
            [999, 1_000, 1_024, 20_000, 33_000, 50_000, 70_000, 100_000],
        ),
    ] {
        let record = record("a", record_bytes);
        let bytes = [ping_bytes(0..3), record.clone(), ping_bytes(4..6)].concat();
        for size in pieces {
            let mut rig = Rig::new();
            let client = rig.join();
            let mut all = Vec::new();
            for piece in bytes.chunks(size) {
                client.peer.write(piece);
                all.extend(read_all(&mut rig));
            }
            let expected = [0, 1, 2, record.len() as u64, 4, 5];
            assert_eq!(all, expected, "pieces of {size}");
            assert_eq!(kept(&mut rig, &client), 0);
            assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
        }
    }
}

#[test]
fn the_rest_of_a_frame_and_those_behind_it_take_one_call() {
    let mut rig = Rig::new();
    let client = rig.join();
    let bytes = ping_bytes(1..4);
    client.peer.write(&bytes[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    client.peer.write(&bytes[10..]);
    let mut handler = TestHandler::default();
    assert_eq!(count_reads(&mut rig, &mut handler), 1);
    assert_eq!(handler.take(), [1, 2, 3]);
}

#[test]
fn a_peer_gets_no_room_for_bytes_that_it_only_announces() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.peer.write(&record("a", 200_000)[..100]);
    assert_eq!(taken(&mut rig), NOTHING);
    let input = |rig: &mut Rig| rig.parts().sessions.room.input.bytes();
    assert!((100..200).contains(&input(&mut rig)));
    client.peer.write(&[b'x'; 100]);
    assert_eq!(taken(&mut rig), NOTHING);
    assert_eq!(kept(&mut rig, &client), 200);
    assert!(input(&mut rig) <= 100 + PARTIAL_STEP);
}

#[test]
fn bytes_of_a_frame_are_a_sign_of_life_and_a_timer_runs_for_the_rest() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.session(&client).set_pinged(true);
    rig.pass(20_000);
    client.peer.write(&ping_bytes([1])[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    let tick = rig.parts().context.tick();
    let session = rig.session(&client);
    assert_eq!(
        (session.seen().heard_tick, session.seen().pinged),
        (tick, false)
    );
    assert!(session.seen().watched);
    assert!(rig.next_timer_ms() <= Some(10_000 + TICK_MS));
}

#[test]
fn a_command_is_a_sign_of_life_and_one_that_has_to_wait_is_none() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.session(&client).set_pinged(true);
    let before = rig.session(&client).seen().heard_tick;
    rig.pass(20_000);
    client.ping(1);
    read(&mut rig, &mut TestHandler::answering(&[FOR_ROOM]));
    let session = rig.session(&client);
    assert_eq!(
        (session.seen().heard_tick, session.seen().pinged),
        (before, true)
    );
    assert!(!session.seen().watched, "nothing is missing of its frame");
    rig.parts().sessions.try_paused();
    assert_eq!(taken(&mut rig), [1]);
    let tick = rig.parts().context.tick();
    let session = rig.session(&client);
    assert_eq!(
        (session.seen().heard_tick, session.seen().pinged),
        (tick, false)
    );
}

#[test]
fn before_the_hello_nothing_moves_the_deadline() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let before = rig.session(&client).seen().heard_tick;
    rig.pass(5_000);
    let bytes = ping_bytes([1, 2]);
    client.peer.write(&bytes[..30]);
    assert_eq!(taken(&mut rig), [1]);
    assert_eq!(rig.session(&client).seen().heard_tick, before);
    assert!(rig.session(&client).seen().watched);
}

#[test]
fn a_frame_begins_when_those_before_it_are_taken() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.peer.write(&ping_bytes([1, 2])[..30]);
    read(&mut rig, &mut TestHandler::answering(&[FOR_ROOM]));
    rig.pass(5_000);
    rig.parts().sessions.try_paused();
    assert_eq!(taken(&mut rig), [1]);
    let tick = rig.parts().context.tick();
    let partial = rig.session(&client).input();
    let partial = partial.expect("a part of a frame is kept");
    assert_eq!((partial.begun_tick, partial.bytes.len()), (tick, 6));
    assert!(partial.is_incomplete());
}

// Frames that wait.

#[test]
fn a_frame_that_waits_for_room_is_tried_again_when_there_is_some_and_those_behind_it_wait_too() {
    let mut rig = Rig::new();
    let client = rig.join();
    pings(&client, 1..4);
    let mut handler = TestHandler::answering(&[Handled::Done, FOR_ROOM, FOR_ROOM]);
    read(&mut rig, &mut handler);
    assert_eq!(handler.take(), [1]);
    client.ping(4);
    assert_eq!(count_reads(&mut rig, &mut handler), 0, "it waits");
    assert!(rig.parts().sessions.has_paused());
    rig.parts().sessions.try_paused();
    assert_eq!(count_reads(&mut rig, &mut handler), 0, "it waits again");
    assert!(handler.take().is_empty() && rig.parts().sessions.has_paused());
    rig.parts().sessions.try_paused();
    read(&mut rig, &mut handler);
    assert_eq!(handler.take(), [2, 3, 4]);
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
}

#[test]
fn a_frame_that_waits_for_an_answer_is_tried_again_when_one_has_come() {
    let mut rig = Rig::new();
    let client = rig.join();
    pings(&client, 1..3);
    let mut handler = TestHandler::answering(&[FOR_ANSWER]);
    read(&mut rig, &mut handler);
    rig.parts().sessions.try_paused();
    client.ping(3);
    read(&mut rig, &mut handler);
    assert!(handler.take().is_empty() && !rig.parts().sessions.has_some_to_read());
    rig.parts().sessions.resume(client.id);
    read(&mut rig, &mut handler);
    assert_eq!(handler.take(), [1, 2, 3]);
    assert!(!rig.session(&client).seen().awaits_answer);
}

#[test]
fn a_frame_in_pieces_that_has_to_wait_comes_before_what_was_read_with_its_rest() {
    let mut rig = Rig::new();
    let client = rig.join();
    let bytes = ping_bytes(1..5);
    client.peer.write(&bytes[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    client.peer.write(&bytes[10..80]);
    read(&mut rig, &mut TestHandler::answering(&[FOR_ROOM]));
    assert_eq!(kept(&mut rig, &client), 80);
    client.peer.write(&bytes[80..]);
    rig.parts().sessions.try_paused();
    assert_eq!(taken(&mut rig), [1, 2, 3, 4]);
}

#[test]
fn frames_that_were_taken_after_a_wait_hold_no_memory() {
    let mut rig = Rig::new();
    let client = much(&mut rig);
    pings(&client, 0..600);
    read(&mut rig, &mut TestHandler::answering(&[FOR_ROOM]));
    assert!(rig.parts().sessions.room.input.bytes() >= 600 * PING);
    rig.parts().sessions.try_paused();
    let mut answers = vec![Handled::Done; 599];
    answers.push(FOR_ROOM);
    read(&mut rig, &mut TestHandler::answering(&answers));
    assert_eq!(kept(&mut rig, &client), PING);
    assert!(rig.parts().sessions.room.input.bytes() < 4 * PING);
}

#[test]
fn trying_in_vain_costs_the_check_of_the_first_frame() {
    let mut rig = Rig::new();
    let clients = [much(&mut rig), much(&mut rig), much(&mut rig)];
    let mut vain = TestHandler::answering(&[FOR_ROOM; 20]);
    for client in &clients {
        client.publish("a", 200_000);
        read(&mut rig, &mut vain);
        while rig.parts().sessions.has_some_to_read() {
            read(&mut rig, &mut vain);
        }
    }
    let before = vain.answers.len();
    rig.parts().sessions.try_paused();
    read(&mut rig, &mut vain);
    // The first one leaves less of the turn than the three quarters that are for the lists behind.
    assert_eq!(before - vain.answers.len(), 1);
    assert_eq!(rig.parts().sessions.count_to_read(Queue::Resumed), 2);
}

#[test]
fn a_publisher_with_a_full_window_is_not_read_before_an_outcome_comes() {
    let mut rig = Rig::new();
    let client = rig.join();
    let max = rig.parts().context.shared.config.inflight_records_max;
    rig.session(&client).set_inflight_records(max);
    client.ping(1);
    let mut handler = TestHandler::default();
    assert_eq!(count_reads(&mut rig, &mut handler), 0);
    assert!(rig.session(&client).seen().awaits_answer);
    rig.session(&client).set_inflight_records(max - 1);
    rig.parts().sessions.resume(client.id);
    read(&mut rig, &mut handler);
    assert_eq!(handler.take(), [1]);
}

// Memory.

#[test]
fn without_room_no_session_is_read_until_there_is_some() {
    let mut rig = Rig::new();
    let client = rig.join();
    fill_input(&mut rig, |max| max);
    client.ping(1);
    assert_eq!(count_reads(&mut rig, &mut TestHandler::default()), 0);
    let sessions = &mut rig.parts().sessions;
    assert!(sessions.has_paused() && sessions.room.missed);
}

#[test]
fn the_last_room_is_for_sessions_that_hold_nothing() {
    let mut rig = Rig::new();
    let (holder, other) = (rig.join(), rig.join());
    let bytes = ping_bytes([1]);
    holder.peer.write(&bytes[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    fill_input(&mut rig, |max| max - max / 8 + 1);
    holder.peer.write(&bytes[10..]);
    other.ping(2);
    assert_eq!(taken(&mut rig), [2]);
    let sessions = &mut rig.parts().sessions;
    assert!(sessions.has_paused() && sessions.room.missed);
}

#[test]
fn while_room_is_short_little_is_read_at_once() {
    let mut rig = Rig::new();
    let client = much(&mut rig);
    for (filled, reads) in [(0, 1), (1, 3)] {
        fill_input(&mut rig, |max| filled * (max / 2 + 1));
        pings(&client, 0..400);
        assert_eq!(count_reads(&mut rig, &mut TestHandler::default()), reads);
        rig.session(&client).note_much(true);
    }
    assert!(!rig.parts().sessions.room.missed);
}

// Ends.

#[test]
fn all_commands_before_the_end_are_taken_and_then_the_session_ends() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ping(1);
    client.peer.shutdown();
    assert_eq!(taken(&mut rig), [1]);
    assert_eq!(rig.parts().sessions.count_gone(), 1);
    rig.settle();
    assert_eq!(client.peer.how_it_ended(), End::Closed);
}

#[test]
fn an_end_inside_a_frame_is_an_end() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.peer.write(&ping_bytes([1])[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    client.peer.shutdown();
    assert_eq!(taken(&mut rig), NOTHING);
    assert_eq!(rig.parts().sessions.count_gone(), 1);
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
}

#[test]
fn a_connection_that_breaks_ends_its_session() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.peer.write(&ping_bytes([1])[..10]);
    assert_eq!(taken(&mut rig), NOTHING);
    client.peer.reset();
    assert_eq!(taken(&mut rig), NOTHING);
    assert_eq!(rig.parts().sessions.count_gone(), 1);
    assert_eq!(rig.parts().sessions.room.input.bytes(), 0);
}

#[test]
fn a_command_that_ends_the_session_is_the_last_that_is_taken() {
    let mut rig = Rig::new();
    let client = rig.join();
    pings(&client, 1..4);
    let mut handler = TestHandler::answering(&[Handled::Done, Handled::Over]);
    read(&mut rig, &mut handler);
    assert_eq!(handler.take(), [1]);
    assert!(!rig.parts().sessions.has_some_to_read());
    assert_eq!(kept(&mut rig, &client), 0);
}

#[test]
fn bytes_that_are_not_a_command_end_the_session_with_the_reason_and_commands_before_are_taken() {
    let mut rig = Rig::new();
    let client = rig.join();
    let mut bytes = ping_bytes([1, 2]);
    let size = bytes.len();
    bytes[size - 1] ^= 1;
    client.peer.write(&bytes);
    rig.settle();
    let heard = client.hear();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0], "pong 1");
    assert!(heard[1].starts_with("goodbye Damaged"), "{heard:?}");
}

#[test]
fn another_protocol_is_named_so_before_the_hello_and_not_after_it() {
    let mut rig = Rig::new();
    let (stranger, client) = (rig.connect(), rig.join());
    for client in [&stranger, &client] {
        client.peer.write(b"hello, is anybody there?\r\n");
    }
    rig.settle();
    let (stranger, client) = (stranger.hear(), client.hear());
    assert_eq!((stranger.len(), client.len()), (1, 1));
    assert!(stranger[0].starts_with("goodbye"), "{stranger:?}");
    assert_ne!(stranger, client);
}

#[test]
fn unsupported_dialects_are_refused_in_their_own_bytes() {
    let mut rig = Rig::new();
    let (tls, mqtt) = (rig.connect(), rig.connect());
    tls.peer.write(&[0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3]);
    mqtt.peer.write(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0");
    rig.settle();
    assert_eq!(tls.peer.read(), [0x15, 3, 1, 0, 2, 2, 40]);
    assert_eq!(mqtt.peer.read(), [0x20, 2, 0, 1]);
    for client in [tls, mqtt] {
        client.peer.close();
        rig.settle();
        assert_eq!(client.peer.how_it_ended(), End::Closed);
    }
}

#[test]
fn a_hello_longer_than_any_is_refused_at_once_and_a_long_record_of_a_session_is_waited_for() {
    let mut rig = Rig::new();
    let (stranger, client) = (rig.connect(), rig.join());
    for client in [&stranger, &client] {
        client.peer.write(&record("a", 30_000)[..20]);
    }
    rig.settle();
    assert_eq!(stranger.hear().len(), 1);
    assert!(client.hear().is_empty());
}

// After the Goodbye.

/// A client that was refused and has its Goodbye, and whose session waits for the end of its connection.
fn lingering(rig: &mut Rig) -> Client {
    let client = rig.join();
    rig.refuse(&client, "enough");
    rig.settle();
    assert_eq!(rig.session(&client).stage(), Stage::Lingering);
    client
}

#[test]
fn bytes_after_the_goodbye_are_thrown_away_until_the_peer_closes() {
    let mut rig = Rig::new();
    let client = lingering(&mut rig);
    pings(&client, 0..10_000);
    assert_eq!(read_all(&mut rig), NOTHING);
    assert_eq!(kept(&mut rig, &client), 0);
    assert_eq!(rig.parts().sessions.count_gone(), 0);
    client.peer.shutdown();
    assert_eq!(read_all(&mut rig), NOTHING);
    assert_eq!(rig.parts().sessions.count_gone(), 1);
    rig.settle();
    assert_eq!(client.peer.how_it_ended(), End::Closed);
}

#[test]
fn a_flood_after_the_goodbye_takes_a_visit_in_each_turn() {
    let mut rig = Rig::new();
    let client = lingering(&mut rig);
    rig.session(&client).note_much(true);
    client.peer.write(&vec![0; 4 * BUFFER_BYTES]);
    for _ in 0..4 {
        assert_eq!(count_reads(&mut rig, &mut TestHandler::default()), 1);
        assert!(rig.parts().sessions.has_some_to_read());
    }
    assert_eq!(count_reads(&mut rig, &mut TestHandler::default()), 1);
    assert!(!rig.parts().sessions.has_some_to_read());
}

#[test]
fn a_reset_after_the_goodbye_is_an_end() {
    let mut rig = Rig::new();
    let client = lingering(&mut rig);
    client.peer.reset();
    assert_eq!(taken(&mut rig), NOTHING);
    assert_eq!(rig.parts().sessions.count_gone(), 1);
}

#[test]
fn an_interrupted_read_after_the_goodbye_ends_nothing() {
    let mut rig = Rig::new();
    let client = lingering(&mut rig);
    client.ping(1);
    client.peer.interrupt_next(1);
    assert_eq!(taken(&mut rig), NOTHING);
    assert_eq!(rig.parts().sessions.count_gone(), 0);
}

#[test]
fn in_a_shutdown_only_sessions_that_are_over_are_read() {
    let mut rig = Rig::new();
    let (over, client) = (lingering(&mut rig), rig.join());
    rig.begin_turn();
    over.ping(1);
    client.ping(2);
    rig.begin_turn();
    let parts = rig.parts();
    let before = parts.sessions.count_to_read(Queue::Little);
    assert_eq!(before, 2);
    let mut reading = parts.reading();
    reading.draining = true;
    reading.run();
    let calls = rig.net.calls();
    rig.settle();
    assert!(client.hear().is_empty());
    assert!(rig.net.calls() == calls, "the other one was read");
}

// Readiness.

#[test]
fn events_of_a_session_that_has_ended_reach_no_other() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ping(1);
    rig.end(&client, Reason::PeerDone);
    assert_eq!(taken(&mut rig), NOTHING);
    assert!(!rig.parts().sessions.has_some_to_read());
}
