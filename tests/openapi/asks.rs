//! What is asked of each operation.

use crate::client::Ask;
use crate::description::{Operation, list};

/// A path about a topic that has messages.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{topic}", "demo")
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
        (414, Ask::new(operation.method, &format!("{path}?{long}"))),
        (417, ask().field("Expect", b"the-unexpected")),
        (421, elsewhere),
        (431, ask().field("Wide", &wide)),
        (501, ask().field("Transfer-Encoding", b"gzip, chunked")),
        (505, other),
    ]
}

/// A request with the described body, if there is one.
pub(crate) fn plain(operation: &Operation<'_>, target: &str) -> Ask {
    let ask = Ask::new(operation.method, target);
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
            let ask = match parameter["in"].as_str() {
                Some("query") => plain(operation, &format!("{path}?{name}={text}")),
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
type Particular = (&'static str, u16, Ask);

/// Requests that each do one thing.
pub(crate) fn particular() -> Vec<Particular> {
    let mut asks = publishing();
    asks.extend(reading());
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
        ("/api/v1/topics", 200, get("/api/v1/topics?after=m")),
        ("/api/v1/topics/{topic}", 404, get("/api/v1/topics/absent")),
        ("/api/v1/topics/{topic}", 404, absent),
    ]
}
