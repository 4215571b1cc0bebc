//! A port has one broker: a second one is refused with the reason, and a port whose broker is gone is free at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;

use testkit::figures::{figure, skipped};
use testkit::process::{is_installed, run};
use testkit::sockets::listen_beside;
use testkit::{Broker, Outcome, Refusal, Setup, Start};

const TOPIC: &str = "a/topic";
const RECORDS: u64 = 20;
/// Pairs of brokers that start at the same time.
const RACES: usize = 5;

fn at(address: SocketAddr) -> Setup {
    let setup = Setup::new().set("listen", address);
    if address.ip().to_canonical().is_loopback() {
        setup
    } else {
        setup.set("open", true)
    }
}

/// A free port.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a bound socket").port()
}

fn with_ip(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

fn assert_taken(refusal: &Refusal, address: SocketAddr) {
    let said = &refusal.message;
    assert_eq!(refusal.code, 1, "{said}");
    for words in ["already listens on", &address.to_string(), "--listen"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

/// Starts a broker that finds its port taken.
fn refused(address: SocketAddr) {
    let home = tempfile::tempdir().expect("a directory");
    let refusal = at(address).refused_on(&home.path().join("data"));
    assert_taken(&refusal, address);
}

/// Publishes one by one, each on a connection of its own.
fn publish(address: SocketAddr) {
    for number in 0..RECORDS {
        let entry =
            testkit::Session::connect(address).publish(TOPIC, number.to_string().as_bytes());
        assert_eq!(entry.outcome, Outcome::Ok);
    }
}

fn stored(broker: &Broker) -> usize {
    let mut session = broker.connect();
    session.subscribe(TOPIC, Start::Earliest);
    session
        .messages(TOPIC, usize::try_from(RECORDS).expect("few"))
        .len()
}

#[test]
fn a_second_broker_on_a_port_is_refused_and_the_first_gets_every_record() {
    let first = Broker::start();
    let home = tempfile::tempdir().expect("a directory");
    let second = at(first.address()).start_or_refused_on(&home.path().join("data"));
    publish(first.address());
    let elsewhere = second
        .as_ref()
        .map_or(0, |second| second.counter("records_in"));
    figure(
        "records in the store of a second broker on the port",
        &elsewhere.to_string(),
    );
    assert_taken(&second.expect_err("the port is taken"), first.address());
    assert_eq!(stored(&first), 20);
}

#[test]
fn of_two_brokers_that_start_at_once_on_a_port_one_serves() {
    let (mut both, mut served) = (0, 0);
    for _ in 0..RACES {
        let address = with_ip("127.0.0.1", free_port());
        let home = tempfile::tempdir().expect("a directory");
        // A broker ends with the thread that has started it.
        let decided = Barrier::new(2);
        let start = |name: &str| {
            let started = at(address).start_or_refused_on(&home.path().join(name));
            decided.wait();
            started
                .map(drop)
                .map_err(|refusal| assert_taken(&refusal, address))
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| start("one"));
            let other = start("other");
            (one.join().expect("a start"), other)
        });
        both += usize::from(one.is_ok() && other.is_ok());
        served += usize::from(one.is_ok() || other.is_ok());
    }
    figure(
        "pairs of brokers on one port",
        &format!("{both} of {RACES}"),
    );
    assert_eq!(both, 0);
    // Two that claim it in the same microsecond may each find the other.
    assert!(served > 0);
}

#[test]
fn a_wildcard_and_an_address_are_the_same_port_in_both_families() {
    let pairs = [
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "::"),
        ("::", "0.0.0.0"),
        ("0.0.0.0", "::"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ];
    if TcpListener::bind("[::]:0").is_err() {
        return skipped("both families on a port", "there is no IPv6");
    }
    for (there, here) in pairs {
        let port = free_port();
        let _broker = at(with_ip(there, port)).start();
        refused(with_ip(here, port));
    }
    // Another address is another port.
    let port = free_port();
    let _broker = at(with_ip("127.0.0.1", port)).start();
    let _beside = at(with_ip("127.0.0.2", port)).start();
    let _beside = at(with_ip("::1", port)).start();
}

#[test]
fn a_port_that_a_broker_of_0_1_0_listens_on_is_taken() {
    for (there, here) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.0.0.1", "::"),
    ] {
        let port = free_port();
        let _there = listen_beside(with_ip(there, port));
        refused(with_ip(here, port));
    }
}

#[test]
fn a_port_of_another_user_is_taken() {
    const TEST: &str = "a port of another user";
    let others = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let tried = || {
        run(std::process::Command::new("setpriv")
            .args(others)
            .arg("true"))
    };
    if !is_installed("setpriv") || !tried().status.success() {
        return skipped(TEST, "setpriv is not installed, or not allowed");
    }
    // Whatever the other user may not reach is theirs.
    let home = tempfile::tempdir_in("/tmp").expect("a directory");
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).expect("root may");
    open_to_all(home.path());
    let program = home.path().join("oyez-server");
    std::fs::copy(testkit::programs::server(), &program).expect("a copy");
    let there = Broker::start();
    let output = run(std::process::Command::new("setpriv")
        .args(others)
        .arg(&program)
        .args(["--listen", &there.address().to_string(), "--data"])
        .arg(&data));
    assert_taken(
        &Refusal {
            code: testkit::process::code(output.status),
            message: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        there.address(),
    );
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).expect("an own directory");
}

#[test]
fn a_broker_that_was_killed_is_back_on_its_port_at_once() {
    let mut broker = at(with_ip("127.0.0.1", free_port())).start();
    let address = broker.address();
    for graceful in [false, true, false] {
        let open: Vec<_> = (0..20).map(|_| broker.connect()).collect();
        // The broker closes these first, so that its ends wait for late packets.
        let closed: Vec<TcpStream> = (0..20)
            .map(|_| TcpStream::connect(address))
            .map(Result::unwrap)
            .collect();
        if graceful {
            assert_eq!(broker.stop().code(), Some(0));
        } else {
            broker.kill();
        }
        drop((open, closed));
        broker.restart();
        assert_eq!(broker.address(), address);
        assert_eq!(broker.connect().publish(TOPIC, b"x").outcome, Outcome::Ok);
    }
}

/// The answer to a request without a body.
fn ask(stream: &mut (impl Read + Write), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer
}

#[test]
fn a_broker_listens_on_several_addresses_names_and_a_socket_file() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("oyez.sock");
    let (one, two) = (free_port(), free_port());
    let listen = format!(
        "127.0.0.1:0,localhost:{one},unix:{},127.0.0.2:{two}=http",
        file.display()
    );
    let mut broker = Setup::new().set("listen", listen).start();
    for address in [
        broker.address(),
        with_ip("127.0.0.1", one),
        with_ip("127.0.0.2", two),
    ] {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let answer = ask(&mut stream, "/");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{address}: {answer}"
        );
    }
    // Every shard accepts from the file, and none twice.
    for _ in 0..50 {
        let mut stream = UnixStream::connect(&file).expect("it listens");
        assert!(ask(&mut stream, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(broker.stop().success());
    assert!(!file.exists(), "the file goes with its broker");
}

#[test]
fn a_socket_file_has_one_broker_and_one_that_was_left_behind_has_none() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("oyez.sock");
    let at_file = || Setup::new().set("listen", format!("127.0.0.1:0,unix:{}", file.display()));
    let mut first = at_file().start();
    let refusal = at_file().refused_on(&home.path().join("second"));
    assert_eq!(refusal.code, 1);
    for words in ["already listens on unix:", "ss -xlp", "--listen"] {
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    first.kill();
    assert!(file.exists(), "nobody was there to remove it");
    let second = at_file().start_on(&home.path().join("data"));
    let mut stream = UnixStream::connect(&file).expect("it listens");
    assert!(ask(&mut stream, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    drop(second);
    std::fs::remove_file(&file).ok();
    std::fs::write(&file, "not a socket").expect("a file");
    let refusal = at_file().refused_on(&home.path().join("third"));
    assert!(
        refusal.message.contains("is no socket"),
        "{}",
        refusal.message
    );
    assert!(file.exists(), "what is no socket is left alone");
}

#[test]
fn an_operator_address_that_is_taken_is_an_error_that_names_its_setting() {
    let first = Broker::start();
    let home = tempfile::tempdir().expect("a directory");
    let setup = Setup::new().set("operator", first.address());
    let refusal = setup.refused_on(&home.path().join("data"));
    for words in ["already listens on", "--operator"] {
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
}
