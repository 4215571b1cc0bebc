//! Streams, WebSockets and publishing through proxies with their defaults: what is published arrives at once, silence cuts nothing, and a
//! proxy that is reloaded or started again loses nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::Broker;
use testkit::figures::{figure, full};

use crate::client::{Language, PYTHON, Publisher, Reader, messages, texts};
use crate::proxy::{Kind, Proxy};
use crate::websockets;
use testkit::tools::{Tool, are_here};

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

/// How a reader reads through a proxy.
#[derive(Clone, Copy, Debug)]
enum By {
    Sse,
    WebSocket,
}

impl By {
    const fn language(self) -> Language {
        match self {
            Self::Sse => PYTHON,
            Self::WebSocket => websockets::PYTHON,
        }
    }

    /// The topic at an address.
    fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Sse => format!("http://{address}/through/proxies/sse"),
            Self::WebSocket => format!("ws://{address}/through/proxies"),
        }
    }
}

fn passes(kind: Kind, by: By) {
    let name = kind.program();
    let tools = [&[Tool::Program(name)], PYTHON.tools, by.language().tools].concat();
    if !are_here(&format!("{name}, {by:?}"), &tools) {
        return;
    }
    let broker = Broker::start();
    let mut proxy = Proxy::start(kind, broker.address());
    let url = format!("http://{}/through/proxies", proxy.address());
    let direct = format!("http://{}/through/proxies", broker.address());
    let reader = by.language().read(&by.url(proxy.address()), "");
    let mut reader = reader.connected();
    let mut publisher = PYTHON.publish(&url);
    let longest = each_at_once(&mut publisher, &mut reader, &messages(0..10));
    figure(
        &format!("a message through {name}, {by:?}"),
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
    passes(Kind::Nginx, By::Sse);
}

#[test]
fn haproxy_passes_streams_on_without_being_told_how() {
    passes(Kind::HaProxy, By::Sse);
}

#[test]
fn caddy_passes_streams_on_without_being_told_how() {
    passes(Kind::Caddy, By::Sse);
}

#[test]
fn nginx_passes_websockets_on_as_its_manual_says() {
    passes(Kind::NginxForWebSocket, By::WebSocket);
}

#[test]
fn haproxy_passes_websockets_on_without_being_told_how() {
    passes(Kind::HaProxy, By::WebSocket);
}

#[test]
fn caddy_passes_websockets_on_without_being_told_how() {
    passes(Kind::Caddy, By::WebSocket);
}
