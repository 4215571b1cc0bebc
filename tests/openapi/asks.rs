//! What is asked of each operation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};

use crate::client::Ask;
use crate::description::{Operation, list};

/// A path about a topic that has messages.
pub(crate) fn filled(path: &str) -> String {
    match path {
        SEVERAL => format!("{path}?topic=demo"),
        _ => path.replace("{topic}", "demo"),
    }
}

/// A target with one more parameter.
pub(crate) fn with(target: &str, parameter: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}{parameter}")
}

/// The path of a stream of several topics.
const SEVERAL: &str = "/api/v1/sse";

/// A stream of several topics that goes on in one at the first message of its history, which is not kept any more.
pub(crate) fn from_the_first(topic: &str, epoch: u64) -> Particular {
    (SEVERAL, 200, resumed(topic, epoch, 0).until("$gap"))
}

/// A stream of several topics that goes on where there is nothing yet.
pub(crate) fn beyond_the_last(topic: &str, epoch: u64) -> Particular {
    (SEVERAL, 409, resumed(topic, epoch, 999))
}

fn resumed(topic: &str, epoch: u64, next: u64) -> Ask {
    let place = Place {
        name: topic,
        epoch: Epoch::new(epoch),
        next: Numbered::Offset(Offset::new(next)),
    };
    let mut token = Vec::new();
    Token::encode(&[place], &mut token);
    let id = URL_SAFE_NO_PAD.encode(token);
    get(&format!(
        "{SEVERAL}?topic={topic}&topic=other&last_event_id={id}"
    ))
}

/// Requests that are wrong in themselves, whatever they ask for, and their statuses.
pub(crate) fn wrong(operation: &Operation<'_>) -> Vec<(u16, Ask)> {
    let path = filled(operation.path);
    let ask = || Ask::new(operation.method, &path);
    let (long, wide) = ("a".repeat(9 << 10), vec![b'a'; 17 << 10]);
    let other = Ask {
        version: "HTTP/3.0",
        ..ask()
    };
    let elsewhere = Ask {
        fields: b"Host: evil.example\r\n".to_vec(),
        ..ask()
    };
    vec![
        (400, ask().field("Host", b"twice")),
        (413, ask().field("Content-Length", b"999999999")),
        (414, Ask::new(operation.method, &with(&path, &long))),
        (417, ask().field("Expect", b"the-unexpected")),
        (421, elsewhere),
        (431, ask().field("Wide", &wide)),
        (501, ask().field("Transfer-Encoding", b"gzip, chunked")),
        (505, other),
    ]
}

/// A request with the described body, if there is one, or for the WebSocket that is described.
pub(crate) fn plain(operation: &Operation<'_>, target: &str) -> Ask {
    let ask = Ask::new(operation.method, target);
    if operation.success() == 101 {
        return ask.handshake();
    }
    match operation.example() {
        Some(body) => ask.body(body.to_string().as_bytes()),
        None => ask,
    }
}

/// Requests for each described parameter, and its values.
pub(crate) fn parametrised(operation: &Operation<'_>) -> Vec<Ask> {
    let path = filled(operation.path);
    let mut asks = Vec::new();
    for parameter in &operation.parameters {
        let name = parameter["name"].as_str().unwrap();
        let values =
            std::iter::once(&parameter["example"]).chain(list(&parameter["schema"]["enum"]));
        for value in values {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            // A history is that of an offset.
            let before = if name == "epoch" {
                "from=offset:0&"
            } else {
                ""
            };
            let ask = match parameter["in"].as_str() {
                // The path has it already.
                Some("query") if path.contains(&format!("?{name}=")) => plain(operation, &path),
                Some("query") => plain(operation, &with(&path, &format!("{before}{name}={text}"))),
                Some("header") => plain(operation, &path).field(name, text.as_bytes()),
                _ => plain(operation, &operation.path.replace("{topic}", &text)),
            };
            // One that goes on begins with the next message to come.
            let goes_on = name == "follow" && text == "true";
            asks.push(if goes_on { ask.until("") } else { ask });
        }
    }
    asks
}

/// A request to an operation by its path, and its status.
pub(crate) type Particular = (&'static str, u16, Ask);

/// Requests that each do one thing.
pub(crate) fn particular() -> Vec<Particular> {
    let mut asks = publishing();
    asks.extend(reading());
    asks.extend(connecting());
    for path in ["/{topic}/json", "/{topic}/raw", "/{topic}/sse"] {
        let target = |topic: &str| path.replace("{topic}", topic);
        let beyond = format!("{}?from=offset:999", target("demo"));
        asks.extend([
            (path, 403, foreign(get(&target("demo")))),
            (path, 403, get(&target("$own"))),
            (path, 404, get(&target("console"))),
            (path, 409, get(&beyond)),
        ]);
    }
    asks
}

fn get(target: &str) -> Ask {
    Ask::new("get", target)
}

/// As a page of another site asks.
fn foreign(ask: Ask) -> Ask {
    ask.field("Origin", b"http://evil.example")
}

fn publishing() -> Vec<Particular> {
    let mut asks = Vec::new();
    for method in ["post", "put"] {
        let one = |target: &str| Ask::new(method, target).body(b"hello");
        let all = |target: &str| Ask::new(method, target).body(br#"{"topic":"demo","payload":""}"#);
        asks.extend([
            ("/{topic}", 202, one("/demo?ack=none")),
            ("/{topic}", 403, foreign(one("/demo"))),
            ("/{topic}", 403, one("/$own")),
            ("/{topic}", 404, one("/metrics")),
            ("/{topic}", 404, one("/console/a")),
            ("/{topic}", 405, one("/demo/ws")),
            ("/{topic}", 405, one("/demo/json")),
            ("/api/v1/publish", 200, all("/api/v1/publish")),
            ("/api/v1/publish", 202, all("/api/v1/publish?ack=none")),
            ("/api/v1/publish", 403, foreign(all("/api/v1/publish"))),
        ]);
    }
    asks
}

fn reading() -> Vec<Particular> {
    let absent = Ask::new("head", "/api/v1/topics/absent");
    let gap = get("/short/sse?from=offset:0").until("$gap");
    let binary = get("/odd/sse?from=earliest").until("$binary");
    let reference = get("/large/sse?from=earliest").until("$reference");
    let several = |topics: &str| get(&format!("{SEVERAL}?{topics}&from=earliest"));
    vec![
        (
            "/{topic}/json",
            200,
            get("/short/json?from=offset:0&limit=1"),
        ),
        ("/{topic}/json", 200, get("/odd/json")),
        ("/{topic}/json", 200, get("/absent/json")),
        ("/{topic}/raw", 410, get("/short/raw?from=offset:0")),
        ("/{topic}/sse", 200, gap),
        ("/{topic}/sse", 200, binary),
        ("/{topic}/sse", 200, reference),
        (
            SEVERAL,
            200,
            several("topic=odd&topic=demo").until("payload_base64"),
        ),
        (
            SEVERAL,
            200,
            several("topic=odd&topic=large").until("$reference"),
        ),
        (SEVERAL, 400, several("topic=demo&topic=demo")),
        (SEVERAL, 403, several("topic=demo&topic=$own")),
        (SEVERAL, 403, foreign(several("topic=demo"))),
        ("/api/v1/topics", 200, get("/api/v1/topics?after=m")),
        ("/api/v1/topics/{topic}", 404, get("/api/v1/topics/absent")),
        ("/api/v1/topics/{topic}", 404, absent),
    ]
}

/// The path of a WebSocket for any topics.
const ANY: &str = "/api/v1/ws";
const OF_ONE: &str = "/{topic}/ws";

/// A WebSocket that is subscribed to a topic from the start.
pub(crate) fn connected(topic: &str, parameters: &str) -> Ask {
    let target = format!("/{topic}/ws{parameters}");
    get(&target).handshake().until("$subscribed")
}

/// Commands over a WebSocket for any topics, and what they lead to.
const SAID: [(&[&str], &str); 6] = [
    (&[SUBSCRIBE, PUBLISH], "$published"),
    (&[SUBSCRIBE, SUBSCRIBE], "$error"),
    (&[SUBSCRIBE, UNSUBSCRIBE], "$unsubscribed"),
    (&[SUBSCRIBE_TO_WHAT_IS_OVER], "$epoch"),
    (&[PING], "$pong"),
    (&["{"], "$error"),
];
const SUBSCRIBE: &str = r#"{"command":"subscribe","id":1,"topic":"demo"}"#;
const PUBLISH: &str = r#"{"command":"publish","id":2,"topic":"demo","payload":"hello"}"#;
const UNSUBSCRIBE: &str = r#"{"command":"unsubscribe","id":3,"topic":"demo"}"#;
const SUBSCRIBE_TO_WHAT_IS_OVER: &str =
    r#"{"command":"subscribe","topic":"demo","from":"offset:0","epoch":"1"}"#;
const PING: &str = r#"{"command":"ping","id":4}"#;

fn connecting() -> Vec<Particular> {
    let any = || get(ANY).handshake();
    let said = |(commands, until): &(&[&str], &'static str)| {
        let ask = commands.iter().fold(any(), |ask, command| ask.say(command));
        (ANY, 101, ask.until(until))
    };
    let mut asks: Vec<Particular> = SAID.iter().map(said).collect();
    let protocols = |offered: &[u8]| any().field("Sec-WebSocket-Protocol", offered);
    asks.extend([
        (ANY, 101, protocols(b"oyez.v1, oyez.v2")),
        (ANY, 400, protocols(b"oyez.v1")),
        (ANY, 403, foreign(any())),
        (ANY, 426, get(ANY)),
        (ANY, 426, get(ANY).field("Sec-WebSocket-Version", b"8")),
        (OF_ONE, 403, foreign(connected("demo", ""))),
        (OF_ONE, 403, connected("$own", "")),
        (OF_ONE, 404, connected("console", "")),
        (OF_ONE, 426, get("/demo/ws")),
    ]);
    for (topic, parameters, until) in [
        ("odd", "?from=earliest", r#""text""#),
        ("large", "?from=earliest", "$reference"),
        ("short", "?from=offset:0", "$gap"),
        ("demo", "?from=offset:999", "$error"),
    ] {
        asks.push((OF_ONE, 101, connected(topic, parameters).until(until)));
    }
    asks
}
