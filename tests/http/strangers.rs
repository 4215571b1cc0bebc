//! Peers that speak something else: each hears, in bytes of its own, that this is not spoken here, and the connection ends.

use oyez_protocol::{Decoded, Frame, decode, limits::Limits};
use testkit::GoodbyeCode;
use testkit::http::{Connection, End};
use testkit::record::hello;

use crate::{Bystander, broker};

/// The beginning of a first message of TLS, as clients that ask for TLS 1.3 send it.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    bytes.resize(5 + 512, 7);
    bytes
}

#[test]
fn tls_and_mqtt_hear_that_they_are_not_spoken_here() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
    let older = b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00";
    let alert: &[u8] = &[0x15, 3, 1, 0, 2, 2, 40];
    let refusal: &[u8] = &[0x20, 2, 0, 1];
    for (bytes, farewell) in [
        (client_hello(), alert),
        (
            [client_hello(), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat(),
            alert,
        ),
        (connect.to_vec(), refusal),
        (older.to_vec(), refusal),
    ] {
        for step in [1, bytes.len()] {
            let mut connection = Connection::open(broker.address());
            for piece in bytes.chunks(step) {
                connection.send(piece);
            }
            assert_eq!(
                connection.end(),
                (farewell.to_vec(), End::Closed),
                "{bytes:?}"
            );
        }
        bystander.goes_on(&broker);
    }
}

#[test]
fn the_second_version_of_http_is_refused_in_the_first() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0";
    for step in [1, preface.len()] {
        let mut connection = Connection::open(broker.address());
        for piece in preface.chunks(step) {
            connection.send(piece);
        }
        let answer = connection.answer();
        assert!(answer.status == 505 && answer.closes(), "{answer:?}");
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
        bystander.goes_on(&broker);
    }
}

/// What begins neither as a request nor as anything else that is known may be a damaged hello: it is answered in frames.
#[test]
fn what_begins_like_nothing_that_is_known_hears_a_goodbye_in_frames() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    for bytes in [
        &b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0xff; 64],
    ] {
        let mut connection = Connection::open(broker.address());
        connection.send(bytes);
        let (said, end) = connection.end();
        let shown = String::from_utf8_lossy(bytes);
        match decode(&said, &Limits::DEFAULT) {
            Ok(Decoded::Frame {
                frame: Frame::Goodbye(goodbye),
                size,
            }) => {
                assert_eq!(goodbye.code, GoodbyeCode::Damaged, "{shown:?}");
                assert_eq!((size, end), (said.len(), End::Closed), "{shown:?}");
            }
            other => panic!("{shown:?}: {other:?}, {said:?}"),
        }
        bystander.goes_on(&broker);
    }
}

#[test]
fn a_connection_speaks_what_it_began_with() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let mut connection = Connection::open(broker.address());
    assert_eq!(
        connection
            .ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .status,
        200
    );
    // A hello is no request line.
    connection.send(hello(2, 2));
    let answer = connection.answer();
    assert!(answer.status == 400 && answer.closes(), "{answer:?}");
    assert_eq!(connection.end(), (Vec::new(), End::Closed));
    bystander.goes_on(&broker);
}
