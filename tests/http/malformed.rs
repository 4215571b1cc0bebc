//! Requests that two programs could read in two ways, that have no end, or that make no sense: each is answered once, and the
//! connection ends behind the answer. What follows it in the same connection, which another program may have taken for a part of
//! it, is never a request.

use testkit::Broker;
use testkit::http::{Connection, End, ask};

use crate::{Bystander, assert_is_empty, broker};

/// What is sent behind each of them. It would be a request where the broker took it for one.
const SMUGGLED: &str =
    "POST /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nsmuggled";

/// Lines of a head that say how long a body is, behind which is an `a`.
const FRAMINGS: &[(&str, u16)] = &[
    ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
    ("Content-Length: 1\r\nContent-Length: 90\r\n", 400),
    ("Content-Length: 1\r\ncontent-length: 1\r\n", 400),
    ("Content-Length: 1, 1\r\n", 400),
    ("Content-Length: 1 1\r\n", 400),
    ("Content-Length: +1\r\n", 400),
    ("Content-Length: -1\r\n", 400),
    ("Content-Length: 0x1\r\n", 400),
    ("Content-Length: 1e0\r\n", 400),
    ("Content-Length: 1.\r\n", 400),
    ("Content-Length: \r\n", 400),
    ("Content-Length: \"1\"\r\n", 400),
    ("Content-Length: 18446744073709551617\r\n", 400),
    ("Content-Length: 9999999999\r\n", 413),
    ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
    ("Transfer-Encoding: identity\r\nContent-Length: 1\r\n", 400),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        400,
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        400,
    ),
    ("Transfer-Encoding: gzip, chunked\r\n", 501),
    ("Transfer-Encoding: chunked, identity\r\n", 501),
    ("Transfer-Encoding: chunked, chunked\r\n", 501),
    ("Transfer-Encoding: chunked,\r\n", 501),
    ("Transfer-Encoding: chunked;q=1\r\n", 501),
    ("Transfer-Encoding: xchunked\r\n", 501),
    ("Transfer-Encoding: \"chunked\"\r\n", 501),
    ("Transfer-Encoding: identity\r\n", 501),
    ("Transfer-Encoding: \r\n", 501),
    ("Transfer-Encoding:\u{b}chunked\r\n", 400),
    ("Transfer-Encoding:\r\n chunked\r\n", 400),
    ("Transfer-Encoding\t: chunked\r\n", 400),
    ("Transfer-Encoding : chunked\r\n", 400),
    ("Content-Length : 1\r\n", 400),
    ("Content-Length\r\n : 1\r\n", 400),
    ("Content-Length: 1\n", 400),
    ("X: y\nContent-Length: 90\r\n", 400),
    ("X: y\rContent-Length: 90\r\n", 400),
    ("X: y\r\r\nContent-Length: 1\r\n", 400),
    ("X: y\r\n z\r\nContent-Length: 1\r\n", 400),
    ("X: y\r\n\tz\r\nContent-Length: 1\r\n", 400),
    (" X: y\r\nContent-Length: 1\r\n", 400),
    ("X: y\0\r\nContent-Length: 1\r\n", 400),
    ("X: \u{1}\r\nContent-Length: 1\r\n", 400),
    ("X: \u{7f}\r\nContent-Length: 1\r\n", 400),
    ("X\0: y\r\nContent-Length: 1\r\n", 400),
    ("X(: y\r\nContent-Length: 1\r\n", 400),
    (": y\r\nContent-Length: 1\r\n", 400),
    ("no colon\r\nContent-Length: 1\r\n", 400),
    ("Host: localhost\r\nContent-Length: 1\r\n", 400),
    ("Host: evil.example\r\nContent-Length: 1\r\n", 400),
    ("Expect: 100-continue, x\r\nContent-Length: 1\r\n", 417),
    ("Expect: the-impossible\r\nContent-Length: 1\r\n", 417),
];

/// Whole heads.
const HEADS: &[(&str, u16)] = &[
    ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET /  HTTP/1.1\r\nHost: localhost\r\n\r\n", 505),
    ("GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n", 400),
    ("GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n", 505),
    ("GET / http/1.1\r\nHost: localhost\r\n\r\n", 505),
    ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
    ("GET / HTTP/1.1\rHost: localhost\r\r", 400),
    ("GET /\r\nHost: localhost\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    ("GET / HTTP/0.9\r\nHost: localhost\r\n\r\n", 505),
    ("GET demo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (
        "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
    ),
    ("GET http:/// HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (
        "GET http://a@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
    ),
    (
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: local host\r\n\r\n", 400),
    (
        "GET / HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost/\r\n\r\n", 400),
    (
        "POST /refused HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
];

/// Bodies in chunks.
const CHUNKS: &[(&str, u16)] = &[
    ("\r\n", 400),
    ("x\r\n", 400),
    ("-1\r\na\r\n0\r\n\r\n", 400),
    ("+1\r\na\r\n0\r\n\r\n", 400),
    ("0x1\r\na\r\n0\r\n\r\n", 400),
    (" 1\r\na\r\n0\r\n\r\n", 400),
    ("1 \r\na\r\n0\r\n\r\n", 400),
    ("1 1\r\na\r\n0\r\n\r\n", 400),
    ("1_0\r\na\r\n0\r\n\r\n", 400),
    ("000000001\r\na\r\n0\r\n\r\n", 400),
    ("ffffffffffffffff1\r\na\r\n0\r\n\r\n", 400),
    ("ffffffff\r\na\r\n0\r\n\r\n", 413),
    ("1\na\r\n0\r\n\r\n", 400),
    ("1\ra\r\n0\r\n\r\n", 400),
    ("1\r\na\n0\r\n\r\n", 400),
    ("1\r\na0\r\n\r\n", 400),
    ("1\r\nab\r\n0\r\n\r\n", 400),
    ("2\r\na\r\n0\r\n\r\n", 400),
    ("1;x\ny\r\na\r\n0\r\n\r\n", 400),
    ("1;x\ry\r\na\r\n0\r\n\r\n", 400),
    ("1;x=\"\n\"\r\na\r\n0\r\n\r\n", 400),
    ("1\r\na\r\n0\n\r\n", 400),
    ("1\r\na\r\n0\r\n\n", 400),
    ("1\r\na\r\n0\r\nX: y\n\r\n", 400),
    ("1\r\na\r\n0\r\nX: y\rz\r\n\r\n", 400),
];

/// Sends a request with another one behind it, at once or byte by byte. It is refused, and the stream ends behind the answer
/// without a reset, because the broker reads what still comes.
fn refuse(broker: &Broker, bytes: &[u8], status: u16, at_once: bool) {
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let mut connection = Connection::open(broker.address());
    let all = [bytes, SMUGGLED.as_bytes()].concat();
    for piece in all.chunks(if at_once { all.len() } else { 1 }) {
        connection.send(piece);
    }
    let answer = connection.answer();
    assert_eq!(answer.status, status, "{what:?}: {answer:?}");
    assert!(answer.closes(), "{what:?}: {answer:?}");
    assert!(answer.body.starts_with("{\"error\":"), "{answer:?}");
    let (rest, end) = connection.end();
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!((&*rest, end), ("", End::Closed), "{what:?}");
}

fn refuse_each(cases: impl IntoIterator<Item = (String, u16)>) {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    for (bytes, status) in cases {
        refuse(&broker, bytes.as_bytes(), status, true);
        if bytes.len() < 1_000 {
            refuse(&broker, bytes.as_bytes(), status, false);
        }
        bystander.goes_on(&broker);
    }
    assert_is_empty(&broker, "/refused");
    assert_is_empty(&broker, "/smuggled");
}

#[test]
fn a_length_that_could_be_read_in_two_ways_ends_the_connection() {
    let request = |fields: &str| ask("POST", "/refused", fields, "a");
    refuse_each(
        FRAMINGS
            .iter()
            .map(|(fields, status)| (request(fields), *status)),
    );
}

#[test]
fn a_head_that_is_none_ends_the_connection() {
    refuse_each(
        HEADS
            .iter()
            .map(|(head, status)| ((*head).to_owned(), *status)),
    );
}

#[test]
fn chunks_that_could_be_read_in_two_ways_end_the_connection() {
    let request = |body: &str| ask("POST", "/refused", "Transfer-Encoding: chunked\r\n", body);
    refuse_each(CHUNKS.iter().map(|(body, status)| (request(body), *status)));
}

#[test]
fn floods_of_fields_lines_and_chunks_end_the_connection() {
    let chunked = |body: &str| ask("POST", "/refused", "Transfer-Encoding: chunked\r\n", body);
    let long = "a".repeat(20_000);
    let little = format!("1;{}\r\na\r\n", &long[..250]);
    let cases = [
        (ask("GET", "/", &"X: y\r\n".repeat(64), ""), 431),
        (ask("GET", "/", &"X: y\r\n".repeat(3_000), ""), 431),
        (ask("GET", "/", &format!("X: {long}\r\n"), ""), 431),
        (ask("GET", "/", &format!("{long}: x\r\n"), ""), 431),
        (ask("GET", &format!("/{long}"), "", ""), 431),
        (ask("GET", &format!("/{}", &long[..9_000]), "", ""), 414),
        (long.to_uppercase(), 431),
        ("GET /".to_owned() + &long.repeat(50), 431),
        (format!("GET / HTTP/1.1\r\nX: {}", long.repeat(50)), 431),
        (chunked(&"1".repeat(300)), 400),
        (chunked(&format!("1;{long}\r\na\r\n0\r\n\r\n")), 400),
        (
            chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(1_000))),
            400,
        ),
        (chunked(&format!("0\r\nX: {}", long.repeat(50))), 400),
        (chunked(&little.repeat(20_000)), 413),
    ];
    refuse_each(cases);
}
