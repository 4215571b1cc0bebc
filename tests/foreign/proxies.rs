//! Streams and publishing through proxies with their defaults: what is published arrives at once, silence cuts nothing, and a
//! proxy that is reloaded or started again loses nothing.

use std::time::{Duration, Instant};

use testkit::Broker;
use testkit::figures::{figure, full};

use crate::client::{PYTHON, Publisher, Reader, messages, texts};
use crate::proxy::{Kind, Proxy};
use crate::tools::{Tool, are_here};

/// From publishing to the reader.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Longer than any of the proxies bears silence, or a look at it.
fn silence() -> Duration {
    match full() {
        true => Duration::from_secs(65),
        false => Duration::from_secs(3),
    }
}

/// Publishes one by one, and sees each arrive before the next is published. Gives the longest time that one took.
fn each_at_once(publisher: &mut Publisher, reader: &mut Reader, messages: &[String]) -> Duration {
    let time = |message: &String| {
        let begin = Instant::now();
        publisher.publish(std::slice::from_ref(message));
        let heard = reader.message_within(AT_ONCE);
        assert_eq!(heard.map(|heard| heard.text).as_ref(), Some(message));
        begin.elapsed()
    };
    messages.iter().map(time).max().unwrap_or_default()
}

fn passes(kind: Kind) {
    let name = kind.program();
    if !are_here(name, &[Tool::Program(name), PYTHON.tools[0]]) {
        return;
    }
    let broker = Broker::start();
    let mut proxy = Proxy::start(kind, broker.address());
    let url = format!("http://{}/through/proxies", proxy.address());
    let direct = format!("http://{}/through/proxies", broker.address());
    let mut reader = PYTHON.read(&format!("{url}/sse"), "").connected();
    let mut publisher = PYTHON.publish(&url);
    let longest = each_at_once(&mut publisher, &mut reader, &messages(0..10));
    figure(
        &format!("a message through {name}"),
        &format!("{longest:?}"),
    );

    assert_eq!(reader.message_within(silence()), None);
    each_at_once(&mut publisher, &mut reader, &messages(10..15));
    assert_eq!(reader.connections, 1, "{name} has cut a silent stream");

    // The stream goes on where it is, or comes back.
    let mut others = PYTHON.publish(&direct);
    proxy.reload();
    let reloaded = messages(15..20);
    others.publish(&reloaded);
    assert_eq!(texts(&reader.messages(5)), reloaded);

    proxy.stop();
    let missed = messages(20..25);
    others.publish(&missed);
    proxy.start_again();
    assert_eq!(texts(&reader.messages(5)), missed);
    each_at_once(&mut publisher, &mut reader, &messages(25..30));
}

#[test]
fn nginx_passes_streams_on_without_being_told_how() {
    passes(Kind::Nginx);
}

#[test]
fn haproxy_passes_streams_on_without_being_told_how() {
    passes(Kind::HaProxy);
}

#[test]
fn caddy_passes_streams_on_without_being_told_how() {
    passes(Kind::Caddy);
}
