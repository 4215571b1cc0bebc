//! Frames that no client may send, and messages that no session takes.

use testkit::GoodbyeCode;
use testkit::http::End;
use testkit::random::Random;
use testkit::record::{control, hello, ping, record, seal_record, with_topic};
use testkit::websocket::{BINARY, CLOSE, FIN, FRAMES, PATH, PING, PONG, TEXT, WebSocket};
use testkit::websocket::{frame, sized};

use super::{Site, Spoken, closes};

/// Bytes of a text at most: twice what a record unpacks to.
const TEXT_BYTES_MAX: usize = 2 << 20;

/// Codes of a Close behind a Goodbye.
const DAMAGED: u16 = 4000 + GoodbyeCode::Damaged as u16;
const UNEXPECTED: u16 = 4000 + GoodbyeCode::Unexpected as u16;
const BAD_TOPIC: u16 = 4000 + GoodbyeCode::BadTopic as u16;
const NO_VERSION: u16 = 4000 + GoodbyeCode::Version as u16;

type Case = (&'static str, Vec<u8>, u16);

/// Frames that are wrong whatever is spoken, the kind of whose messages is this.
fn wrong_frames((kind, other): (u8, u8)) -> Vec<Case> {
    let part = kind & !FIN;
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let mut cases = vec![
        ("an unmasked message", vec![kind, 2, b'{', b'}'], 1002),
        ("an unmasked message of nothing", vec![kind, 0], 1002),
        ("an unmasked Ping", vec![PING, 0], 1002),
        ("an unmasked Close", vec![CLOSE, 2, 3, 232], 1002),
        ("the first reserved bit", frame(kind | 0x40, b"{}"), 1002),
        ("the second reserved bit", frame(kind | 0x20, b"{}"), 1002),
        ("the third reserved bit", frame(kind | 0x10, b"{}"), 1002),
        ("all reserved bits", frame(kind | 0x70, b"{}"), 1002),
        ("a reserved bit of a Ping", frame(PING | 0x40, b""), 1002),
        ("a reserved bit of a Close", frame(CLOSE | 0x10, b""), 1002),
        (
            "a reserved bit in the middle",
            two(frame(part, b"{"), frame(0xc0, b"}")),
            1002,
        ),
        ("more of no message", frame(FIN, b"more"), 1002),
        ("more of no message, and more", frame(0, b"more"), 1002),
        (
            "more of a message that has ended",
            two(frame(PONG, b""), frame(FIN, b"")),
            1002,
        ),
        (
            "a message in a message",
            two(frame(part, b"{"), frame(kind, b"}")),
            1002,
        ),
        (
            "a message of the other kind in a message",
            two(frame(part, b"{"), frame(other, b"}")),
            1002,
        ),
        (
            "two beginnings",
            two(frame(part, b""), frame(part, b"")),
            1002,
        ),
        ("a Ping of 126 bytes", frame(PING, &[7; 126]), 1002),
        ("a Pong of 126 bytes", frame(PONG, &[7; 126]), 1002),
        ("a Close of 126 bytes", frame(CLOSE, &[3; 126]), 1002),
        ("a long Ping", frame(PING, &vec![7; 70_000]), 1002),
        ("half a Ping", frame(PING & !FIN, b"half"), 1002),
        ("half a Pong", frame(PONG & !FIN, b""), 1002),
        ("half a Close", frame(CLOSE & !FIN, &[3, 232]), 1002),
    ];
    cases.extend(wrong_sizes(kind));
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("a frame of no kind", frame(FIN | opcode, b""), 1002));
        cases.push(("a part of no kind", frame(opcode, b"a"), 1002));
    }
    cases.push(("the other kind", frame(other, b"{}"), 1003));
    cases.push(("the other kind, and nothing", frame(other, b""), 1003));
    cases.push(("a part of the other kind", frame(other & !FIN, b"{"), 1003));
    cases
}

/// Sizes that are not written in as few bytes as they take, or that there are not.
fn wrong_sizes(kind: u8) -> Vec<Case> {
    let long = |size: u64| [&[127][..], &size.to_be_bytes()].concat();
    let short = |size: u16| [&[126][..], &size.to_be_bytes()].concat();
    vec![
        ("0 in two bytes", sized(kind, &short(0), b""), 1002),
        (
            "125 in two bytes",
            sized(kind, &short(125), &[7; 125]),
            1002,
        ),
        ("0 in eight bytes", sized(kind, &long(0), b""), 1002),
        ("125 in eight bytes", sized(kind, &long(125), b""), 1002),
        (
            "65535 in eight bytes",
            sized(kind, &long(0xffff), b""),
            1002,
        ),
        ("2^63", sized(kind, &long(1 << 63), b""), 1002),
        (
            "2^63 and some",
            sized(kind, &long((1 << 63) + 2), b"{}"),
            1002,
        ),
        ("2^64 - 1", sized(kind, &long(u64::MAX), b""), 1002),
        (
            "2 of a Ping in two bytes",
            sized(PING, &short(2), b"hi"),
            1002,
        ),
        (
            "2 of a Close in eight",
            sized(CLOSE, &long(2), b"\x03\xe8"),
            1002,
        ),
        ("2^63 of a Ping", sized(PING, &long(1 << 63), b""), 1002),
    ]
}

#[test]
fn frames_that_no_client_may_send_are_answered_with_a_close() {
    let mut site = Site::new();
    for spoken in Spoken::BOTH {
        for (what, says, code) in wrong_frames(spoken.kinds()) {
            let heard = closes(&mut site, spoken, (what, &says, code));
            assert!(heard.len() <= 1, "{what}: {heard:?}");
        }
    }
    site.has_not_grown();
}

/// The same byte by byte: what has come of a frame does not matter.
#[test]
fn frames_that_no_client_may_send_are_found_in_pieces_too() {
    let mut site = Site::new();
    for spoken in Spoken::BOTH {
        for (what, says, code) in wrong_frames(spoken.kinds()) {
            if says.len() > 100 {
                continue;
            }
            let mut socket = spoken.open(&site.broker);
            for byte in says {
                // It may be refused before it has come whole.
                if socket.try_send([byte]).is_err() {
                    break;
                }
            }
            let (said, heard, _) = socket.end();
            assert_eq!(said, Some(code), "{what}, {spoken:?}: {heard:?}");
        }
        site.goes_on();
    }
    site.has_not_grown();
}

#[test]
fn a_close_is_answered_with_its_code_or_refused_for_it() {
    let mut site = Site::new();
    for spoken in Spoken::BOTH {
        for code in [
            1000, 1001, 1003, 1007, 1011, 1013, 3000, 3999, 4000, 4999_u16,
        ] {
            let says = frame(CLOSE, &[&code.to_be_bytes()[..], b"why"].concat());
            let heard = closes(&mut site, spoken, ("a code", &says, code));
            assert_eq!(heard, [""; 0], "{code}");
        }
        for code in [
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16,
        ] {
            let says = frame(CLOSE, &code.to_be_bytes());
            closes(&mut site, spoken, ("a code that there is not", &says, 1002));
        }
        let part = frame(spoken.kinds().0 & !FIN, b"{");
        let after = [frame(CLOSE, b"\x03\xe9"), vec![0xff; 10_000]].concat();
        for (what, says, code) in [
            ("no code", frame(CLOSE, b""), 1000),
            ("half a code", frame(CLOSE, b"\x03"), 1002),
            (
                "a reason that is no text",
                frame(CLOSE, b"\x03\xe8\xff"),
                1007,
            ),
            ("half a character", frame(CLOSE, b"\x03\xe8\xe2\x82"), 1007),
            ("a surrogate", frame(CLOSE, b"\x03\xe8\xed\xa0\x80"), 1007),
            (
                "a Close in a message",
                [part, frame(CLOSE, b"\x03\xe9")].concat(),
                1001,
            ),
            ("nonsense behind a Close", after, 1001),
        ] {
            closes(&mut site, spoken, (what, &says, code));
        }
    }
    site.has_not_grown();
}

#[test]
fn a_text_that_is_no_utf_8_is_no_message() {
    let mut site = Site::new();
    let publish = br#"{"command":"publish","topic":"broken","payload":"a"}"#;
    let parts = |parts: &[&[u8]]| {
        let frames = parts.iter().enumerate().map(|(number, part)| {
            let opcode = if number == 0 { TEXT & !FIN } else { 0 };
            let is_last = number + 1 == parts.len();
            frame(opcode | if is_last { FIN } else { 0 }, part)
        });
        frames.collect::<Vec<_>>().concat()
    };
    for (what, says) in [
        ("a byte of none", frame(TEXT, b"\xff")),
        ("more of no character", frame(TEXT, b"a\x80")),
        ("half a character", frame(TEXT, b"\xe2\x82")),
        ("a surrogate", frame(TEXT, b"\"\xed\xa0\x80\"")),
        ("too high", frame(TEXT, b"\xf4\x90\x80\x80")),
        ("too long", frame(TEXT, b"\xc0\xaf")),
        ("in the second part", parts(&[b"\"", b"\xff\""])),
        ("across parts", parts(&[b"\xe2", b"\x82", b"a"])),
        ("half a character at the end", parts(&[b"a\xe2", b"\x82"])),
        ("half a character, and nothing", parts(&[b"a\xe2\x82", b""])),
        (
            "behind a command",
            frame(TEXT, &[&publish[..], b"\xff"].concat()),
        ),
        (
            "in a line of its own",
            frame(TEXT, &[&publish[..], b"\n\xff"].concat()),
        ),
        ("in a line of another part", parts(&[publish, b"\n\xff"])),
    ] {
        let heard = closes(&mut site, Spoken::Json, (what, &says, 1007));
        assert_eq!(heard, [""; 0], "{what}");
    }
    crate::assert_is_empty(&site.broker, "/broken");
    site.has_not_grown();
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_header() {
    let mut site = Site::new();
    let size = |size: usize| [&[127][..], &(size as u64).to_be_bytes()].concat();
    let half = frame(TEXT & !FIN, &vec![b' '; TEXT_BYTES_MAX]);
    let many: Vec<u8> = (0..=TEXT_BYTES_MAX / 65_536)
        .flat_map(|number| frame(if number == 0 { TEXT & !FIN } else { 0 }, &[b' '; 65_536]))
        .collect();
    for (what, says) in [
        ("one byte more", sized(TEXT, &size(TEXT_BYTES_MAX + 1), b"")),
        ("2^62", sized(TEXT, &size(1 << 62), b"{}")),
        ("in two parts", [half.clone(), frame(FIN, b" ")].concat()),
        (
            "a claim of the second",
            [half, sized(0, &size(1 << 62), b"")].concat(),
        ),
        ("in many parts", many),
    ] {
        let heard = closes(&mut site, Spoken::Json, (what, &says, 1009));
        assert_eq!(heard, [""; 0], "{what}");
    }
    // As long as may be.
    let mut socket = Spoken::Json.open(&site.broker);
    socket.say(TEXT, &vec![b' '; TEXT_BYTES_MAX]);
    assert_eq!(socket.event()["event"], "$error");
    site.has_not_grown();
}

/// Frames of Oyez that are none, too large, not allowed, or not spoken, and with which code of a Goodbye each ends.
fn wrong_content() -> Vec<Case> {
    let mut damaged = record("t", &["a message"], 1);
    damaged[60] ^= 1;
    let mut huge = record("t", &["a message"], 1);
    huge[..4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    seal_record(&mut huge);
    let mut endless = record("t", &["a message"], 1);
    endless[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    vec![
        ("nonsense", vec![0xff; 16], DAMAGED),
        ("nothing but zeros", vec![0; 64], DAMAGED),
        ("random bytes", Random::new(5).bytes(1_000), DAMAGED),
        ("JSON", br#"{"command":"ping","id":1}"#.to_vec(), DAMAGED),
        ("a record that is damaged", damaged, DAMAGED),
        ("a record that is too large", huge, DAMAGED),
        ("a record without an end", endless, DAMAGED),
        ("a frame of no kind", control(99, 0, 1, b""), DAMAGED),
        ("a second hello", hello(2, 2), UNEXPECTED),
        ("a topic that is none", with_topic(b"a\0b"), BAD_TOPIC),
    ]
}

#[test]
fn errors_within_messages_are_answered_in_them_and_in_the_close() {
    let mut site = Site::new();
    for (what, says, code) in wrong_content() {
        let heard = closes(
            &mut site,
            Spoken::Frames,
            (what, &frame(BINARY, &says), code),
        );
        assert!(
            heard.len() == 1 && heard[0].starts_with("goodbye "),
            "{what}: {heard:?}"
        );
        // A byte in each message.
        let bytes = says.iter().flat_map(|byte| frame(BINARY, &[*byte]));
        let bytes: Vec<u8> = bytes.collect();
        closes(&mut site, Spoken::Frames, (what, &bytes, code));
    }
    site.has_not_grown();
}

#[test]
fn half_a_frame_before_the_end_is_nothing() {
    let mut site = Site::new();
    let whole = record("halves", &["a message"], 1);
    for cut in [1, 7, 8, 47, whole.len() - 1] {
        let says = [frame(BINARY, &whole[..cut]), frame(CLOSE, b"\x03\xe9")].concat();
        let heard = closes(&mut site, Spoken::Frames, ("half a record", &says, 1001));
        assert_eq!(heard, [""; 0]);
        let mut socket = Spoken::Frames.open(&site.broker);
        socket.say(BINARY, &whole[..cut]);
        socket.connection().shut();
        assert_eq!(socket.end(), (None, Vec::new(), End::Closed));
    }
    crate::assert_is_empty(&site.broker, "/halves");
    site.has_not_grown();
}

/// Before a hello nothing else is taken.
#[test]
fn a_client_that_does_not_say_hello_first_is_refused_with_the_reason() {
    let mut site = Site::new();
    for (what, says, code) in [
        ("a record", record("t", &["a"], 1), UNEXPECTED),
        ("a Ping of Oyez", ping(7), UNEXPECTED),
        ("nonsense", vec![0xff; 16], DAMAGED),
        ("a hello of other versions", hello(7, 9), NO_VERSION),
    ] {
        let mut socket = WebSocket::open(site.broker.address(), PATH, FRAMES);
        socket.say(BINARY, &says);
        let (said, heard, end) = socket.end();
        let told = (said, end, heard.len());
        assert_eq!(told, (Some(code), End::Closed, 1), "{what}: {heard:?}");
        site.goes_on();
    }
    site.has_not_grown();
}

#[test]
fn a_half_close_ends_a_session_and_what_came_before_is_done_and_answered() {
    let mut site = Site::new();
    for (number, spoken) in (0_u64..).zip(Spoken::BOTH) {
        let mut socket = spoken.open(&site.broker);
        match spoken {
            Spoken::Frames => socket.say(BINARY, &record("before", &["a"], 1)),
            Spoken::Json => {
                socket.say(
                    TEXT,
                    br#"{"command":"publish","id":7,"topic":"before","payload":"a"}"#,
                );
            }
        }
        socket.connection().shut();
        let (code, heard, end) = socket.end();
        assert_eq!(end, End::Closed);
        assert!(heard[0].contains("published"), "{heard:?}");
        // Whether it still waits for its outcome when its side ends is up to the disk.
        let is_told = heard.len() == 2 && heard[1].contains("oodbye") && code == Some(1000);
        let was_answered = heard.len() == 1 && code.is_none();
        assert!(is_told || was_answered, "{code:?}, {heard:?}");
        site.goes_on();
        let mut reader = site.broker.connect();
        let begun = reader.subscribe("before", testkit::Start::Earliest);
        assert_eq!(begun.head.get(), number + 1, "{spoken:?}");
    }
    site.has_not_grown();
}
