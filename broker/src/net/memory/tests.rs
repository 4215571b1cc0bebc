use std::io::Write;
use std::os::fd::AsFd;

use super::*;

const NOTHING: Readiness = Readiness {
    readable: false,
    writable: false,
    over: false,
};
const READABLE: Readiness = Readiness {
    readable: true,
    ..NOTHING
};
const WRITABLE: Readiness = Readiness {
    writable: true,
    ..NOTHING
};
const ALL: Readiness = Readiness {
    readable: true,
    writable: true,
    over: true,
};
/// The token of the only socket.
const TOKEN: u64 = 7;

fn poll(net: &mut MemoryNet) -> Vec<Event> {
    let mut events = Vec::new();
    net.poll(None, &mut events).expect("memory can be asked");
    events
}

fn told(readiness: Readiness) -> Vec<Event> {
    vec![Event::Socket(TOKEN, readiness)]
}

fn accept(net: &mut MemoryNet) -> Socket {
    match net.accept() {
        Some(Arrival::Connection(socket, _)) => socket,
        other => panic!("a connection is accepted, not {other:?}"),
    }
}

/// A peer whose connection is accepted and watched, and whose first event is taken.
fn connected() -> (MemoryNet, Peer, Socket) {
    let mut net = MemoryNet::default();
    let peer = net.connect();
    let socket = accept(&mut net);
    net.watch(socket, TOKEN).unwrap();
    poll(&mut net);
    (net, peer, socket)
}

/// Several peers whose connections are accepted and watched, with the peers' numbers as tokens.
fn several<const N: usize>() -> (MemoryNet, [Peer; N], [(Socket, u64); N]) {
    let mut net = MemoryNet::default();
    let peers = std::array::from_fn(|_| net.connect());
    let sockets = std::array::from_fn(|number| (accept(&mut net), number as u64));
    for (socket, token) in sockets {
        net.watch(socket, token).unwrap();
    }
    poll(&mut net);
    (net, peers, sockets)
}

fn read(net: &mut MemoryNet, socket: Socket) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = [0; 64];
    let size = net.read(socket, &mut [IoSliceMut::new(&mut bytes)]);
    size.map(|size| bytes[..size].to_vec())
        .map_err(|error| error.kind())
}

fn send(net: &mut MemoryNet, socket: Socket, bytes: &[u8]) -> Result<usize, ErrorKind> {
    let sent = net.send(socket, &[IoSlice::new(bytes)]);
    sent.map_err(|error| error.kind())
}

/// The answers to a batch, by their tags.
fn send_many(
    net: &mut MemoryNet,
    sockets: &[(Socket, u64)],
    bytes: &[u8],
) -> Vec<(u64, Result<usize, ErrorKind>)> {
    let mut answers = Vec::new();
    net.send_many(sockets, &[IoSlice::new(bytes)], &mut answers);
    let answers = answers.into_iter();
    answers
        .map(|answer| (answer.tag, answer.sent.map_err(|error| error.kind())))
        .collect()
}

#[test]
fn arrivals_are_reported_once_and_accepted_in_their_order() {
    let mut net = MemoryNet::default();
    let (first, second) = (net.connect(), net.connect());
    assert_eq!(poll(&mut net), [Event::Arrivals]);
    assert_eq!(poll(&mut net), []);
    let sockets = [accept(&mut net), accept(&mut net)];
    assert!(net.accept().is_none());
    send(&mut net, sockets[0], b"first").unwrap();
    send(&mut net, sockets[1], b"second").unwrap();
    assert_eq!(first.read(), b"first");
    assert_eq!(second.read(), b"second");
    let _third = net.connect();
    assert_eq!(poll(&mut net), [Event::Arrivals]);
}

#[test]
fn arrivals_that_were_accepted_meanwhile_are_not_reported() {
    let mut net = MemoryNet::default();
    let _peer = net.connect();
    accept(&mut net);
    assert_eq!(poll(&mut net), []);
}

#[test]
fn connections_without_room_are_accepted_as_such_for_so_many_times() {
    let mut net = MemoryNet::default();
    let _peers = [net.connect(), net.connect()];
    net.no_room_next(1);
    assert!(matches!(net.accept(), Some(Arrival::NoRoom(..))));
    assert!(matches!(net.accept(), Some(Arrival::Connection(_, 0))));
}

#[test]
fn a_system_that_is_short_of_something_loses_no_connection() {
    let mut net = MemoryNet::default();
    let _peer = net.connect();
    net.short_next(libc::ENOBUFS);
    let Some(Arrival::Short(error)) = net.accept() else {
        panic!("it is short");
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
    accept(&mut net);
}

#[test]
fn a_peer_that_resets_before_it_is_accepted_is_gone() {
    let mut net = MemoryNet::default();
    let (gone, _there) = (net.connect(), net.connect());
    gone.reset();
    assert!(matches!(net.accept(), Some(Arrival::Gone)));
    accept(&mut net);
}

#[test]
fn connections_are_reset_when_the_shard_has_stopped_listening() {
    let mut net = MemoryNet::default();
    let early = net.connect();
    net.stop_listening();
    let late = net.connect();
    assert_eq!(poll(&mut net), []);
    assert!(net.accept().is_none());
    assert_eq!(early.how_it_ended(), End::Aborted);
    assert_eq!(late.how_it_ended(), End::Aborted);
}

#[test]
fn peers_have_addresses_of_their_own_until_they_reset() {
    let (net, peers, [(a, _), (b, _)]) = several();
    assert_eq!(net.peer(a).unwrap(), ([127, 0, 0, 1], 40_000).into());
    assert_eq!(net.peer(b).unwrap(), ([127, 0, 0, 1], 40_001).into());
    peers[0].reset();
    assert_eq!(net.peer(a).unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn a_watch_reports_earlier_events() {
    let mut net = MemoryNet::default();
    let peer = net.connect();
    peer.write(b"early");
    let socket = accept(&mut net);
    assert_eq!(poll(&mut net), []);
    net.watch(socket, TOKEN).unwrap();
    let readiness = Readiness {
        writable: true,
        ..READABLE
    };
    assert_eq!(poll(&mut net), told(readiness));
    assert_eq!(poll(&mut net), []);
}

#[test]
fn a_socket_that_is_full_when_it_is_first_watched_tells_of_room_later() {
    let mut net = MemoryNet::default();
    let peer = net.connect();
    peer.stall();
    let socket = accept(&mut net);
    net.watch(socket, TOKEN).unwrap();
    assert_eq!(poll(&mut net), []);
    peer.resume();
    assert_eq!(poll(&mut net), told(WRITABLE));
}

#[test]
fn input_is_reported_once_and_read_until_there_is_no_more() {
    let (mut net, peer, socket) = connected();
    peer.write(b"one ");
    peer.write(b"two");
    assert_eq!(poll(&mut net), told(READABLE));
    assert_eq!(poll(&mut net), []);
    assert_eq!(read(&mut net, socket).unwrap(), b"one two");
    assert_eq!(read(&mut net, socket), Err(ErrorKind::WouldBlock));
    peer.write(b"three");
    assert_eq!(poll(&mut net), told(READABLE));
    peer.write(b"four");
    assert_eq!(poll(&mut net), told(READABLE), "more is told, too");
}

#[test]
fn reading_fills_one_part_after_another() {
    let (mut net, peer, socket) = connected();
    peer.write(b"abcdefg");
    let (mut a, mut b) = ([0; 2], [0; 3]);
    let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    assert_eq!(net.read(socket, &mut parts).unwrap(), 5);
    assert_eq!((&a, &b), (b"ab", b"cde"));
    assert_eq!(read(&mut net, socket).unwrap(), b"fg");
}

#[test]
fn input_that_was_read_before_the_poll_is_not_reported() {
    let (mut net, peer, socket) = connected();
    peer.write(b"abc");
    read(&mut net, socket).unwrap();
    assert_eq!(poll(&mut net), []);
}

#[test]
fn reads_that_dribble_give_no_more_than_was_allowed() {
    let (mut net, peer, socket) = connected();
    peer.dribble_in(2);
    peer.write(b"abc");
    assert_eq!(read(&mut net, socket).unwrap(), b"ab");
    assert_eq!(read(&mut net, socket).unwrap(), b"c");
}

#[test]
fn a_peer_that_shuts_its_side_is_over_after_what_it_wrote_and_reads_on() {
    let (mut net, peer, socket) = connected();
    peer.write(b"last");
    peer.shutdown();
    let readiness = Readiness {
        over: true,
        ..READABLE
    };
    assert_eq!(poll(&mut net), told(readiness));
    assert_eq!(read(&mut net, socket).unwrap(), b"last");
    assert_eq!(read(&mut net, socket).unwrap(), b"");
    assert_eq!(read(&mut net, socket).unwrap(), b"");
    assert_eq!(send(&mut net, socket, b"answer"), Ok(6));
    assert_eq!(peer.read(), b"answer");
}

#[test]
fn a_reset_is_reported_once_after_what_arrived_before_it() {
    let (mut net, peer, socket) = connected();
    peer.write(b"last");
    send(&mut net, socket, b"lost").unwrap();
    peer.reset();
    assert_eq!(poll(&mut net), told(ALL));
    assert_eq!(read(&mut net, socket).unwrap(), b"last");
    assert_eq!(read(&mut net, socket), Err(ErrorKind::ConnectionReset));
    assert_eq!(read(&mut net, socket).unwrap(), b"");
    assert_eq!(send(&mut net, socket, b"x"), Err(ErrorKind::BrokenPipe));
    let error = net.shutdown(socket).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(peer.read(), b"");
}

#[test]
fn a_send_that_finds_the_reset_first_says_so_in_place_of_the_read() {
    let (mut net, peer, socket) = connected();
    peer.reset();
    assert_eq!(
        send(&mut net, socket, b"x"),
        Err(ErrorKind::ConnectionReset)
    );
    assert_eq!(send(&mut net, socket, b"x"), Err(ErrorKind::BrokenPipe));
    assert_eq!(read(&mut net, socket).unwrap(), b"");
}

#[test]
fn a_reset_after_the_end_of_the_stream_reads_as_the_end() {
    let (mut net, peer, socket) = connected();
    peer.shutdown();
    poll(&mut net);
    peer.reset();
    assert_eq!(poll(&mut net), told(ALL));
    assert_eq!(read(&mut net, socket).unwrap(), b"");
    assert_eq!(send(&mut net, socket, b"x"), Err(ErrorKind::BrokenPipe));
}

#[test]
fn a_send_is_cut_to_the_room_and_the_next_finds_none() {
    let (mut net, peer, socket) = connected();
    peer.set_room(5);
    let parts = [IoSlice::new(b"abc"), IoSlice::new(b"def")];
    assert_eq!(net.send(socket, &parts).unwrap(), 5);
    assert_eq!(send(&mut net, socket, b"f"), Err(ErrorKind::WouldBlock));
    assert_eq!(send(&mut net, socket, b""), Ok(0), "nothing needs no room");
    assert_eq!(peer.read_some(3), b"abc");
    assert_eq!(send(&mut net, socket, b"fghi"), Ok(3));
    assert_eq!(peer.read(), b"defgh");
}

#[test]
fn room_is_reported_once_and_only_for_sockets_that_had_none() {
    let (mut net, peer, socket) = connected();
    peer.set_room(4);
    send(&mut net, socket, b"abcd-").unwrap();
    peer.read();
    assert_eq!(poll(&mut net), [], "a short count asks for no room");
    send(&mut net, socket, b"abcd").unwrap();
    send(&mut net, socket, b"e").unwrap_err();
    assert_eq!(poll(&mut net), []);
    assert_eq!(peer.read_some(1).len(), 1);
    assert_eq!(peer.read_some(1).len(), 1);
    assert_eq!(poll(&mut net), told(WRITABLE));
    peer.read();
    assert_eq!(poll(&mut net), [], "it was told already");
}

#[test]
fn room_that_is_gone_before_the_poll_is_reported_when_it_comes_again() {
    let (mut net, peer, socket) = connected();
    peer.set_room(2);
    send(&mut net, socket, b"ab").unwrap();
    send(&mut net, socket, b"c").unwrap_err();
    peer.read();
    assert_eq!(send(&mut net, socket, b"cd"), Ok(2));
    assert_eq!(poll(&mut net), []);
    peer.read();
    assert_eq!(poll(&mut net), told(WRITABLE));
}

#[test]
fn sends_that_dribble_are_short_without_an_event() {
    let (mut net, peer, socket) = connected();
    peer.dribble(2);
    assert_eq!(send(&mut net, socket, b"abc"), Ok(2));
    assert_eq!(send(&mut net, socket, b"c"), Ok(1));
    assert_eq!(peer.read(), b"abc");
    assert_eq!(poll(&mut net), []);
}

#[test]
fn a_stalled_peer_takes_nothing_until_it_resumes() {
    let (mut net, peer, socket) = connected();
    peer.stall();
    assert_eq!(send(&mut net, socket, b"a"), Err(ErrorKind::WouldBlock));
    peer.read();
    assert_eq!(poll(&mut net), []);
    peer.resume();
    assert_eq!(poll(&mut net), told(WRITABLE));
    assert_eq!(send(&mut net, socket, b"a"), Ok(1));
}

#[test]
fn calls_are_interrupted_as_often_as_was_asked() {
    let (mut net, peer, socket) = connected();
    peer.write(b"in");
    peer.interrupt_next(2);
    assert_eq!(read(&mut net, socket), Err(ErrorKind::Interrupted));
    assert_eq!(send(&mut net, socket, b"out"), Err(ErrorKind::Interrupted));
    assert_eq!(read(&mut net, socket).unwrap(), b"in");
    assert_eq!(send(&mut net, socket, b"out"), Ok(3));
}

#[test]
fn a_send_that_fails_takes_nothing_and_the_next_is_as_ever() {
    let (mut net, peer, socket) = connected();
    peer.fail_next_send(libc::EFAULT);
    let error = net.send(socket, &[IoSlice::new(b"a")]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    assert_eq!(peer.read(), b"");
    assert_eq!(send(&mut net, socket, b"a"), Ok(1));
}

#[test]
fn a_nudge_is_reported_although_nothing_changed() {
    let (mut net, peer, socket) = connected();
    peer.nudge(ALL);
    assert_eq!(poll(&mut net), told(ALL));
    assert_eq!(read(&mut net, socket), Err(ErrorKind::WouldBlock));
    assert_eq!(poll(&mut net), []);
}

#[test]
fn events_of_a_socket_merge_and_come_in_the_order_of_the_first() {
    let (mut net, [first, second], _) = several();
    second.write(b"b");
    first.write(b"a");
    second.shutdown();
    let _third = net.connect();
    let over = Readiness {
        over: true,
        ..READABLE
    };
    let events = [
        Event::Socket(1, over),
        Event::Socket(0, READABLE),
        Event::Arrivals,
    ];
    assert_eq!(poll(&mut net), events);
}

#[test]
fn events_report_earlier_readiness_too_when_they_are_to_report_all() {
    let (mut net, peer, _) = connected();
    net.tell_all(true);
    assert_eq!(poll(&mut net), []);
    peer.write(b"a");
    peer.write(b"b");
    let readiness = Readiness {
        writable: true,
        ..READABLE
    };
    assert_eq!(poll(&mut net), told(readiness));
    assert_eq!(poll(&mut net), []);
}

#[test]
fn no_event_comes_for_a_socket_that_was_closed() {
    let (mut net, peer, socket) = connected();
    peer.write(b"a");
    net.close(socket);
    peer.write(b"b");
    peer.nudge(ALL);
    assert_eq!(poll(&mut net), []);
}

#[test]
fn a_poll_notes_how_long_it_might_have_waited() {
    let mut net = MemoryNet::default();
    let wait = Some(Duration::from_millis(3));
    net.poll(wait, &mut Vec::new()).unwrap();
    assert_eq!(net.last_wait(), wait);
    poll(&mut net);
    assert_eq!(net.last_wait(), None);
}

#[test]
fn a_batch_answers_only_for_sends_that_did_not_take_everything() {
    let (mut net, [whole, cut, full, broken], sockets) = several();
    cut.set_room(2);
    full.stall();
    broken.reset();
    let answers = [
        (1, Ok(2)),
        (2, Err(ErrorKind::WouldBlock)),
        (3, Err(ErrorKind::ConnectionReset)),
    ];
    assert_eq!(send_many(&mut net, &sockets, b"abc"), answers);
    assert_eq!(whole.read(), b"abc");
    assert_eq!(cut.read(), b"ab");
}

#[test]
fn a_batch_can_begin_with_its_last_send() {
    let (mut net, peers, sockets) = several::<2>();
    peers.iter().for_each(Peer::stall);
    net.reverse_batches(true);
    let full = Err(ErrorKind::WouldBlock);
    assert_eq!(send_many(&mut net, &sockets, b"a"), [(1, full), (0, full)]);
}

#[test]
fn sends_that_a_batch_did_not_try_are_interrupted_and_leave_nothing() {
    let (mut net, peers, sockets) = several::<3>();
    net.interrupt_next_batch(1);
    let untried = Err(ErrorKind::Interrupted);
    let answers = [(1, untried), (2, untried)];
    assert_eq!(send_many(&mut net, &sockets, b"a"), answers);
    assert_eq!(peers.each_ref().map(Peer::read), [&b"a"[..], b"", b""]);
    assert_eq!(send_many(&mut net, &sockets, b"b"), [], "only the next one");
}

#[test]
fn there_are_batches_unless_a_test_says_otherwise() {
    let net = MemoryNet::default();
    assert!(net.has_batches());
    net.set_batches(false);
    assert!(!net.has_batches());
}

#[test]
#[should_panic(expected = "a batch names no socket twice")]
fn a_batch_that_names_a_socket_twice_is_misuse() {
    let (mut net, _peer, socket) = connected();
    send_many(&mut net, &[(socket, 0), (socket, 1)], b"a");
}

#[test]
#[should_panic(expected = "a batch has 128 sends at most")]
fn a_batch_that_is_too_large_is_misuse() {
    let mut net = MemoryNet::default();
    let socket = |number| (Socket::new(number), u64::from(number));
    let sockets: Vec<_> = (0..129).map(socket).collect();
    send_many(&mut net, &sockets, b"a");
}

#[test]
fn a_file_is_sent_as_far_as_there_is_room_and_ends_with_nothing() {
    let (mut net, peer, socket) = connected();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let mut send = |offset, size| {
        let sent = net.send_file(socket, file.as_fd(), offset, size);
        sent.map_err(|error| error.kind())
    };
    assert_eq!(send(2, 3), Ok(3));
    assert_eq!(send(8, 5), Ok(2));
    assert_eq!(send(10, 5), Ok(0));
    assert_eq!(peer.read(), b"23489");
    peer.set_room(1);
    assert_eq!(send(0, 3), Ok(1));
    assert_eq!(send(1, 2), Err(ErrorKind::WouldBlock));
    assert_eq!(peer.read(), b"0");
}

#[test]
fn the_backlog_is_what_the_peer_has_not_read() {
    let (mut net, peer, socket) = connected();
    send(&mut net, socket, b"abcde").unwrap();
    assert_eq!(peer.read_some(2).len(), 2);
    peer.set_answered_ms(10);
    peer.set_stuck_ms(20);
    let backlog = Backlog {
        bytes: 3,
        stuck_ms: 20,
        acknowledged: 2,
        answered_ms: 10,
    };
    assert_eq!(net.backlog(socket).unwrap(), backlog);
}

#[test]
fn a_side_that_the_broker_shuts_ends_after_what_was_sent_and_takes_no_more() {
    let (mut net, peer, socket) = connected();
    assert_eq!(peer.how_it_ended(), End::Open);
    send(&mut net, socket, b"bye").unwrap();
    net.shutdown(socket).unwrap();
    assert_eq!(peer.how_it_ended(), End::Shut);
    assert!(!peer.is_closed());
    assert_eq!(send(&mut net, socket, b"x"), Err(ErrorKind::BrokenPipe));
    assert_eq!(peer.read(), b"bye");
    peer.write(b"thanks");
    assert_eq!(read(&mut net, socket).unwrap(), b"thanks");
}

#[test]
fn bytes_that_were_sent_arrive_after_a_close() {
    let (mut net, peer, socket) = connected();
    send(&mut net, socket, b"bye").unwrap();
    net.close(socket);
    assert_eq!(peer.how_it_ended(), End::Closed);
    assert!(peer.is_closed());
    assert_eq!(peer.read(), b"bye");
}

#[test]
fn bytes_that_were_sent_are_lost_with_an_abort() {
    let (mut net, peer, socket) = connected();
    send(&mut net, socket, b"bye").unwrap();
    net.abort(socket);
    assert_eq!(peer.how_it_ended(), End::Aborted);
    assert!(peer.is_closed());
    assert_eq!(peer.read(), b"");
}

#[test]
fn a_close_before_everything_was_read_is_an_abort() {
    let (mut net, peer, socket) = connected();
    peer.write(b"unread");
    send(&mut net, socket, b"bye").unwrap();
    net.close(socket);
    assert_eq!(peer.how_it_ended(), End::Aborted);
    assert_eq!(peer.read(), b"");
}

#[test]
#[should_panic(expected = "has not been closed")]
fn calls_on_a_closed_socket_are_misuse() {
    let (mut net, _peer, socket) = connected();
    net.close(socket);
    let _ = read(&mut net, socket);
}

#[test]
#[should_panic(expected = "has not been closed")]
fn closing_twice_is_misuse() {
    let (mut net, _peer, socket) = connected();
    net.abort(socket);
    net.close(socket);
}

#[test]
#[should_panic(expected = "a socket is watched once")]
fn watching_twice_is_misuse() {
    let (mut net, _peer, socket) = connected();
    let _ = net.watch(socket, TOKEN);
}

#[test]
fn shards_that_were_woken_are_named_once() {
    let mut net = MemoryNet::default();
    net.wake(2);
    net.wake(0);
    assert_eq!(net.woken(), [2, 0]);
    assert!(net.woken().is_empty());
}

#[test]
fn calls_are_counted_and_a_batch_is_one() {
    let (mut net, _peers, sockets) = several::<3>();
    let _ = read(&mut net, sockets[0].0);
    let _ = send(&mut net, sockets[0].0, b"a");
    let _ = send(&mut net, sockets[1].0, b"a");
    send_many(&mut net, &sockets, b"a");
    let file = tempfile::tempfile().unwrap();
    for _ in 0..4 {
        let _ = net.send_file(sockets[0].0, file.as_fd(), 0, 1);
    }
    let calls = Calls {
        reads: 1,
        sends: 2,
        batches: 1,
        files: 4,
        file_ends: 0,
        bytes_in: 0,
        // Two sends, and a batch to three.
        bytes_out: 5,
    };
    assert_eq!(net.calls(), calls);
}

#[test]
fn clones_are_handles_on_the_same_net() {
    let (net, peer, socket) = connected();
    let mut shard: Box<dyn Net> = Box::new(net.clone());
    shard.send(socket, &[IoSlice::new(b"a")]).unwrap();
    assert_eq!(peer.read(), b"a");
    assert_eq!(net.calls().sends, 1);
}
