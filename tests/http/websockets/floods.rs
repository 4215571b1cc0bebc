//! Peers that say much and take little.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use testkit::record::ping;
use testkit::websocket::{BINARY, FIN, Message, PING, PONG, TEXT, WebSocket, frame};

use super::{Site, Spoken};

/// When the broker takes nothing for so long, it takes nothing.
const STOPPED: Duration = Duration::from_secs(1);
/// What may be under way in two kernels, and the broker's share.
const UNDER_WAY_MAX: usize = 32 << 20;
/// What one peer may cost, in bytes.
const PEER_MAX: u64 = 4 << 20;

/// Sends the same frame until the broker takes no more. Returns how many bytes it took.
fn flood(socket: &mut WebSocket, frame: &[u8]) -> usize {
    let mut stream = socket.connection().stream();
    let said = frame.repeat((64 << 10) / frame.len());
    stream
        .set_write_timeout(Some(STOPPED))
        .expect("a TCP socket");
    let mut taken = 0;
    loop {
        assert!(taken < UNDER_WAY_MAX, "the broker reads on and on");
        let rest = &said[taken % said.len()..];
        match stream.write(rest) {
            Ok(size) => taken += size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("after {taken} bytes: {error}"),
        }
    }
}

#[test]
fn pings_of_a_client_that_reads_no_pongs_are_not_read_after_a_while_and_none_is_lost() {
    let mut site = Site::new();
    let ping = frame(PING, &[7; 100]);
    for spoken in Spoken::BOTH {
        let before = site.memory();
        let mut socket = spoken.open(&site.broker);
        let taken = flood(&mut socket, &ping);
        let grown = site.memory().saturating_sub(before);
        assert!(grown <= PEER_MAX, "{spoken:?}: {grown} B more memory");
        site.goes_on();
        for _ in 0..taken / ping.len() {
            assert_eq!(socket.message(), Ok(Message::Pong(vec![7; 100])));
        }
        site.goes_on();
    }
    site.has_not_grown();
}

/// The same of what is asked within messages.
#[test]
fn questions_of_a_client_that_reads_no_answers_are_not_read_after_a_while_and_none_is_lost() {
    let mut site = Site::new();
    let native = frame(BINARY, &ping(7));
    let json = frame(TEXT, br#"{"command":"ping","id":7}"#);
    for (spoken, question) in [(Spoken::Frames, native), (Spoken::Json, json)] {
        let before = site.memory();
        let mut socket = spoken.open(&site.broker);
        let taken = flood(&mut socket, &question);
        let grown = site.memory().saturating_sub(before);
        assert!(grown <= PEER_MAX, "{spoken:?}: {grown} B more memory");
        site.goes_on();
        for _ in 0..taken / question.len() {
            match spoken {
                Spoken::Frames => assert_eq!(socket.line(), "pong 7"),
                Spoken::Json => assert_eq!(socket.event()["event"], "$pong"),
            }
        }
        site.goes_on();
    }
    site.has_not_grown();
}

#[test]
fn thousands_of_empty_parts_are_one_message() {
    let mut site = Site::new();
    for spoken in Spoken::BOTH {
        let mut socket = spoken.open(&site.broker);
        let (kind, asks): (u8, Vec<u8>) = match spoken {
            Spoken::Frames => (BINARY, ping(9)),
            Spoken::Json => (TEXT, br#"{"command":"ping","id":9}"#.to_vec()),
        };
        let mut says = frame(kind & !FIN, b"");
        says.extend(frame(0, b"").repeat(50_000));
        for byte in asks {
            says.extend(frame(0, &[byte]));
            says.extend(frame(0, b"").repeat(100));
        }
        says.extend(frame(FIN, b""));
        socket.send(says);
        match spoken {
            Spoken::Frames => assert_eq!(socket.line(), "pong 9"),
            Spoken::Json => assert_eq!(socket.event()["id"], 9),
        }
        site.goes_on();
    }
    site.has_not_grown();
}

#[test]
fn thousands_of_pongs_and_empty_messages_are_nothing() {
    let mut site = Site::new();
    let mut socket = Spoken::Frames.open(&site.broker);
    let nothing = [frame(PONG, b"unasked"), frame(BINARY, b"")].concat();
    socket.send(nothing.repeat(50_000));
    socket.say(PING, b"there?");
    assert_eq!(socket.message(), Ok(Message::Pong(b"there?".to_vec())));
    site.goes_on();
    site.has_not_grown();
}
