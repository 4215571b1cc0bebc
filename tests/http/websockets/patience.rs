//! Peers that take their time.

use std::time::{Duration, Instant};

use testkit::Setup;
use testkit::http::{Connection, End};
use testkit::record::{hello, record};
use testkit::websocket::{BINARY, FIN, FRAMES, PATH, PING, PONG, TEXT, WebSocket};
use testkit::websocket::{Message, frame, handshake};

use super::{Site, Spoken};

/// The time that a new connection has for its handshake and its hello, in milliseconds.
const HELLO_MS: u64 = 600;
/// A session that does not answer for two of them is closed.
const HEARTBEAT_MS: u64 = 500;
const MOMENT: Duration = Duration::from_millis(20);
/// Far more than a frame that has begun may take, because machines are shared.
const LATE: Duration = Duration::from_secs(30);

fn site() -> Site {
    Site::with(Setup::new().set("hello_timeout_ms", HELLO_MS))
}

/// Sends a byte now and then until the connection ends, or something is received. Returns how long that took.
fn dribble(connection: &mut Connection, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    for byte in bytes.iter().cycle() {
        if connection.try_send([*byte]).is_err() || begin.elapsed() > LATE {
            break;
        }
        match connection.glance(MOMENT) {
            Ok([]) => {}
            Ok(_) | Err(_) => break,
        }
    }
    begin.elapsed()
}

#[test]
fn a_handshake_that_dribbles_or_stops_is_closed_in_time() {
    let mut site = site();
    let request = handshake(PATH, FRAMES);
    let mut connection = Connection::open(site.broker.address());
    connection.send(&request[..request.len() - 2]);
    let waited = dribble(&mut connection, b"X: y\r\n");
    assert!(
        waited >= Duration::from_millis(HELLO_MS / 2) && waited < LATE,
        "{waited:?}"
    );
    let mut stops = Connection::open(site.broker.address());
    stops.send(&request[..request.len() - 1]);
    for connection in [&mut connection, &mut stops] {
        let answer = connection.answer();
        assert!(answer.status == 408 && answer.closes(), "{answer:?}");
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
    }
    site.goes_on();
    site.has_not_grown();
}

#[test]
fn a_websocket_without_a_hello_in_time_is_closed() {
    let mut site = site();
    let hello = frame(BINARY, &hello(2, 2));
    for said in [
        &b""[..],
        &hello[..1],
        &hello[..9],
        &hello[..hello.len() - 1],
    ] {
        let mut socket = WebSocket::open(site.broker.address(), PATH, FRAMES);
        socket.send(said);
        let (code, heard, end) = socket.end();
        assert_eq!((code, end), (Some(4003), End::Closed), "{heard:?}");
        assert!(heard[0].starts_with("goodbye Silent"), "{heard:?}");
        site.goes_on();
    }
    site.has_not_grown();
}

/// A header of all lengths, a Ping, a message between two parts of it, and what is in a message.
fn begun(spoken: Spoken) -> Vec<Vec<u8>> {
    let kind = spoken.kinds().0;
    let long = frame(kind, &[b' '; 70_000]);
    let content = match spoken {
        Spoken::Frames => record("t", &["a message"], 1),
        Spoken::Json => br#"{"command":"ping"}"#.to_vec(),
    };
    let mut begun: Vec<Vec<u8>> = (1..=14).map(|size| long[..size].to_vec()).collect();
    begun.push(frame(PING, b"a ping")[..9].to_vec());
    begun.push(frame(kind & !FIN, b""));
    begun.push([frame(kind & !FIN, b""), frame(PING, b"")].concat());
    begun.push(frame(kind & !FIN, &content[..content.len() - 1]));
    if spoken == Spoken::Frames {
        begun.push(frame(kind, &content[..content.len() - 1]));
    }
    begun
}

#[test]
fn what_has_begun_and_stops_is_closed_in_time() {
    let mut site = site();
    for spoken in Spoken::BOTH {
        let sockets = begun(spoken).into_iter().map(|begun| {
            let mut socket = spoken.open(&site.broker);
            socket.send(&begun);
            (begun, socket)
        });
        for (begun, mut socket) in sockets.collect::<Vec<_>>() {
            let begun = &begun[..begun.len().min(40)];
            let (code, heard, end) = socket.end();
            let told = format!("{spoken:?}, {begun:02x?}: {heard:?}");
            assert_eq!((code, end), (Some(4003), End::Closed), "{told}");
            let last = heard.last().expect("it is told why");
            assert!(last.contains("did not come in time"), "{told}");
        }
        site.goes_on();
    }
    site.has_not_grown();
}

/// A byte now and then keeps nothing open.
#[test]
fn what_has_begun_and_dribbles_is_closed_in_time() {
    let mut site = site();
    for spoken in Spoken::BOTH {
        let kind = spoken.kinds().0;
        let parts = [frame(kind & !FIN, b""), frame(0, b"")];
        let ping = frame(PING, &[7; 125]);
        let mut waited: Vec<_> = std::thread::scope(|scope| {
            let broker = &site.broker;
            let dribbles = [(&parts[0], &parts[1]), (&parts[0], &ping)].map(|(begun, rest)| {
                scope.spawn(move || {
                    let mut socket = spoken.open(broker);
                    socket.send(begun);
                    let begin = Instant::now();
                    for byte in rest.iter().cycle() {
                        let is_over = socket.try_send([*byte]).is_err();
                        let heard = socket.connection().glance(MOMENT).map(<[u8]>::to_vec);
                        // Pings and Pongs of the broker are no end.
                        let closes = heard.is_ok_and(|heard| heard.contains(&0x88));
                        if is_over || closes || begin.elapsed() > LATE {
                            break;
                        }
                    }
                    begin.elapsed()
                })
            });
            dribbles
                .map(|dribble| dribble.join().expect("it ends"))
                .into()
        });
        waited.sort();
        assert!(waited[1] < LATE, "{spoken:?}: {waited:?}");
        site.goes_on();
    }
    site.has_not_grown();
}

#[test]
fn a_slow_client_that_is_in_time_is_served() {
    let mut site = site();
    let mut socket = WebSocket::open(site.broker.address(), PATH, FRAMES);
    for piece in frame(BINARY, &hello(2, 2)).chunks(8) {
        socket.send(piece);
        // A moment for each piece, in which nothing comes but the answer to the last one.
        socket.connection().glance(MOMENT).expect("it is open");
    }
    assert_eq!(socket.line(), "welcome");
    let mut json = Spoken::Json.open(&site.broker);
    for byte in frame(TEXT, br#"{"command":"ping","id":5}"#) {
        json.send([byte]);
        json.connection().glance(MOMENT).expect("it is open");
    }
    assert_eq!(json.event()["id"], 5);
    site.goes_on();
    site.has_not_grown();
}

#[test]
fn a_silent_client_is_pinged_and_stays_only_if_it_answers() {
    let setup = Setup::new().set("heartbeat_ms", HEARTBEAT_MS);
    let broker = setup.start();
    for spoken in Spoken::BOTH {
        let (mut lives, mut silent) = (spoken.open(&broker), spoken.open(&broker));
        for _ in 0..6 {
            match lives.message() {
                Ok(Message::Ping(payload)) => lives.say(PONG, &payload),
                other => panic!("{other:?}"),
            }
        }
        let (code, heard, end) = silent.end();
        assert_eq!((code, end), (Some(4003), End::Closed), "{heard:?}");
        assert_eq!(heard[0], "ping", "{heard:?}");
        lives.say(PING, b"there?");
        assert_eq!(lives.answering(), Ok(Message::Pong(b"there?".to_vec())));
    }
}
