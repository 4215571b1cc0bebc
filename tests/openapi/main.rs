//! `broker/docs/openapi.json` describes what the broker serves over HTTP, all of it and nothing else: a broker is asked, and
//! its sources are read.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

mod asks;
mod client;
mod description;
mod frames;
mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;

use serde_json::Value;
use testkit::broker::{Broker, Setup};
use testkit::programs::workspace;

use asks::{
    beyond_the_last, connected, filled, from_the_first, parametrised, particular, plain, with,
    wrong,
};
use client::{Answer, Ask};
use description::{Description, Operation, list, read};
use frames::texts;
use shape::{Checker, fit};

/// Every path that is served, with its methods.
const PATHS: [(&str, &[&str]); 15] = [
    ("/", &["get", "head", "options"]),
    ("/api/v1/publish", &["options", "post", "put"]),
    ("/api/v1/sse", &["get", "options"]),
    ("/api/v1/stats", &["get", "head", "options"]),
    ("/api/v1/topics", &["get", "head", "options"]),
    ("/api/v1/topics/{topic}", &["get", "head", "options"]),
    ("/api/v1/ws", &["get", "options"]),
    ("/livez", &["get", "head", "options"]),
    ("/metrics", &["get", "head", "options"]),
    ("/readyz", &["get", "head", "options"]),
    ("/{topic}", &["options", "post", "put"]),
    ("/{topic}/json", &["get", "options"]),
    ("/{topic}/raw", &["get", "options"]),
    ("/{topic}/sse", &["get", "options"]),
    ("/{topic}/ws", &["get", "options"]),
];
/// Described statuses that take a disk which fails or is full.
const OF_DISKS: [u16; 2] = [500, 507];
/// Described properties that take longer to come than a test should, or a disk that is full.
const OF_PATIENCE: [&str; 2] = ["ErrorEvent/retry_after_ms", "KeepaliveLine/event"];
/// Schemas of what is asked with, and not answered.
const OF_REQUESTS: &str = "NewMessage";
const OF_COMMANDS: &str = "Command";

const KNOWN_ORIGIN: &str = "https://app.example.com";

/// Topics below `short/` keep little.
fn start() -> Broker {
    let setup = Setup::new()
        .set("operator", "127.0.0.1:0")
        .set("origins", KNOWN_ORIGIN)
        .set("default_durability", "written")
        .set("memory_topics", "short/#")
        .set("memory_log_bytes", 4 << 20)
        .set("record_size_max", 1 << 20);
    setup.start()
}

fn checker(description: &Description) -> Checker<'_> {
    Checker {
        description,
        errors: errors(),
        statuses: BTreeSet::new(),
        properties: BTreeSet::new(),
        faults: Vec::new(),
    }
}

fn address(broker: &Broker, operation: &Operation<'_>) -> SocketAddr {
    match operation.is_operators {
        true => broker.operator(),
        false => broker.address(),
    }
}

/// Status and word of every error, from the source.
fn errors() -> Vec<(u16, String)> {
    let text = read("broker/src/dialect/status.rs");
    let calls = text.split("status(").skip(1);
    let error = |call: &str| {
        let code = call.split(',').next()?.trim().parse().ok()?;
        let word = call.split('"').nth(3)?.to_owned();
        (!word.is_empty()).then_some((code, word))
    };
    let errors: Vec<(u16, String)> = calls.filter_map(error).collect();
    assert!(errors.len() > 10, "the statuses are found");
    errors
}

/// The paths that the sources name, with those that end in the form of what is read.
fn named_paths() -> BTreeSet<String> {
    let directory = workspace().join("broker/src/dialect/http");
    let mut paths = BTreeSet::from(["/{topic}".to_owned()]);
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().extension().is_none_or(|ext| ext != "rs") || entry.file_name() == "tests.rs"
        {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        for line in text.lines() {
            let is_arm = line.contains("\" => ") || line.contains("path == \"");
            let is_front = line.contains("path.strip_prefix(\"");
            let is_back = line.contains("path.strip_suffix(\"/");
            let (front, rest) = match (is_front, is_back) {
                (true, _) => ("", "{topic}"),
                (_, true) => ("/{topic}", ""),
                _ => ("", ""),
            };
            let literals = line.split('"').skip(1).step_by(2);
            let named = literals.filter(|literal| literal.starts_with('/'));
            let named = named.filter(|_| is_arm || is_front || is_back);
            paths.extend(named.map(|literal| format!("{front}{literal}{rest}")));
            if let Some((before, _)) = line.split_once("\" => Kind::") {
                let form = before.rsplit('"').next().unwrap_or_default();
                paths.insert(format!("/{{topic}}/{form}"));
            }
        }
    }
    paths
}

#[test]
fn every_path_that_is_served_is_described_and_no_other() {
    let description = Description::open();
    let described = description.operations().into_iter();
    let described: BTreeSet<String> = described.map(|one| one.name()).collect();
    let served = PATHS.iter().flat_map(|(path, methods)| {
        let name = move |method: &&str| format!("{method} {path}");
        methods.iter().map(name)
    });
    assert_eq!(described, served.collect::<BTreeSet<String>>());
    let paths: BTreeSet<String> = PATHS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(named_paths(), paths, "paths in the sources");
    let ids = description.operations().into_iter().map(|one| one.id());
    assert_eq!(ids.collect::<BTreeSet<&str>>().len(), described.len());
}

#[test]
fn every_word_of_an_error_is_described_and_no_other() {
    let description = Description::open();
    let schema = description.schema("ErrorWord");
    let words = list(&schema["enum"]).filter_map(Value::as_str);
    let described: BTreeSet<&str> = words.collect();
    let errors = errors();
    let words = errors.iter().map(|(_, word)| word.as_str());
    assert_eq!(described, words.collect());
}

#[test]
fn the_guide_tells_of_every_path_and_every_word_of_an_error() {
    let guide = read("broker/docs/http.md");
    let mut faults = Vec::new();
    let rows = errors().into_iter();
    let mut told: BTreeSet<String> = rows
        .map(|(code, word)| format!("| {code} | `{word}` |"))
        .collect();
    told.extend(
        PATHS
            .iter()
            .map(|(path, _)| path.replace("{topic}", "TOPIC")),
    );
    for words in &told {
        if !guide.contains(words) {
            faults.push(format!("http.md does not tell of {words}"));
        }
    }
    let is_row = |line: &&str| line.starts_with("| 4") || line.starts_with("| 5");
    for row in guide.lines().filter(is_row) {
        if !told.iter().any(|words| row.starts_with(words)) {
            faults.push(format!("{row} is of no error"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_can_be_referred_to_is_and_what_is_referred_to_is_there() {
    let description = Description::open();
    assert_eq!(description.references(), description.components());
}

/// Messages of all kinds: text, with and without all that a message may have, bytes, a large one, and many.
fn publish_all(broker: &Broker) {
    let publish = |ask: Ask| {
        let answer = ask.answer(broker.address());
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    };
    let post = |target: &str, body: &[u8]| Ask::new("post", target).body(body);
    publish(post("/demo", b"hello"));
    publish(post("/odd", b"\xff").field("X-Key", b"\xfe"));
    let with_all = post("/odd", b"text").field("X-Key", b"key");
    publish(
        with_all
            .field("X-Header-A", b"b")
            .field("X-Header-C", b"\xfd"),
    );
    publish(post("/large", &[b'a'; 300 << 10]));
    // More than what is kept of them: three times over, as the last part is kept whole.
    let mut random = testkit::random::Random::from_environment("openapi");
    for _ in 0..24 {
        publish(post("/short", &random.bytes(512 << 10)));
    }
    // More names than one list holds.
    let mut session = broker.connect();
    for number in 0..300 {
        session.publish(&format!("many/{number:0200}"), b"");
    }
}

/// The history of a topic.
fn epoch_of(broker: &Broker, topic: &str) -> u64 {
    let answer = Ask::new("get", &format!("/api/v1/topics/{topic}")).answer(broker.address());
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let epoch = told["epoch"].as_str().expect("an epoch");
    u64::from_str_radix(epoch, 16).expect("hexadecimal digits")
}

fn ask(
    checker: &mut Checker<'_>,
    (operation, status): (&Operation<'_>, u16),
    broker: &Broker,
    ask: &Ask,
) {
    let answer: Answer = ask.answer(address(broker, operation));
    checker.check(operation, &ask.target, &answer);
    if status > 0 && answer.status != status {
        let (method, target, came) = (&ask.method, &ask.target, answer.status);
        checker
            .faults
            .push(format!("{method} {target} is {came} and not {status}"));
    }
}

/// Asks all that can be made of one operation.
fn ask_all(checker: &mut Checker<'_>, operation: &Operation<'_>, broker: &Broker) {
    let path = filled(operation.path);
    let is_preflight = operation.method == "options";
    let status = operation.success();
    let of_a_page = plain(operation, &path).field("Origin", KNOWN_ORIGIN.as_bytes());
    if operation.is_operators && !is_preflight {
        // Pages are the devices', also those that are known.
        ask(checker, (operation, 403), broker, &of_a_page);
        ask(
            checker,
            (operation, status),
            broker,
            &plain(operation, &path),
        );
    } else {
        ask(checker, (operation, status), broker, &of_a_page);
    }
    for wanted in parametrised(operation) {
        ask(checker, (operation, 0), broker, &wanted);
        let refused = format!("{} {} 400", operation.method, operation.path);
        if checker.statuses.remove(&refused) {
            checker.faults.push(format!("{} is refused", wanted.target));
        }
    }
    let takes_any = is_preflight || operation.path == "/";
    let status = if takes_any { status } else { 400 };
    for name in checker.description.foreign_to(operation) {
        let unknown = plain(operation, &with(&path, &format!("{name}=1")));
        ask(checker, (operation, status), broker, &unknown);
    }
    for (status, wrong) in wrong(operation) {
        ask(checker, (operation, status), broker, &wrong);
    }
    if operation.is_operators && !is_preflight {
        let elsewhere = Ask::new(operation.method, &path).answer(broker.address());
        checker.check(operation, &path, &elsewhere);
    }
}

#[test]
fn what_is_served_is_as_described() {
    let description = Description::open();
    let mut checker = checker(&description);
    let broker = start();
    publish_all(&broker);
    for operation in &description.operations() {
        ask_all(&mut checker, operation, &broker);
    }
    let epoch = epoch_of(&broker, "short");
    let gap = from_the_first("short", epoch);
    let beyond = beyond_the_last("demo", epoch_of(&broker, "demo"));
    for (path, status, wanted) in particular().into_iter().chain([gap, beyond]) {
        let operation = description.operation(&wanted.method.to_lowercase(), path);
        ask(&mut checker, (&operation, status), &broker, &wanted);
    }
    ask_while_full(&mut checker);
    ask_too_fast(&mut checker);
    ask_until_the_end(&mut checker, &broker);
    ask_in_part(&mut checker);
    assert!(checker.faults.is_empty(), "{:#?}", checker.faults);

    let operations = description.operations();
    let described = operations.iter().flat_map(|one| {
        let statuses = one.statuses().map(|(code, _)| code);
        let told = statuses.filter(|code| !OF_DISKS.contains(code));
        told.map(|code| format!("{} {code}", one.name()))
    });
    assert_eq!(checker.statuses, described.collect(), "statuses that come");
    let mut described: BTreeSet<String> = BTreeSet::new();
    for (name, schema) in description.schemas() {
        let properties = description::entries(&schema["properties"]);
        described.extend(properties.map(|(property, _)| format!("{name}/{property}")));
    }
    described.retain(|property| {
        let (schema, _) = property.split_once('/').unwrap();
        !OF_PATIENCE.contains(&property.as_str())
            && schema != OF_REQUESTS
            && !schema.ends_with(OF_COMMANDS)
    });
    assert_eq!(checker.properties, described, "properties that come");
}

#[test]
fn messages_to_publish_have_the_described_properties_and_no_others() {
    let description = Description::open();
    let schema = description.schema(OF_REQUESTS);
    let described = description::entries(&schema["properties"]).map(|(name, _)| name.as_str());
    let operation = description.operation("post", "/api/v1/publish");
    let example = operation.example().unwrap();
    let given = list(example).flat_map(description::entries);
    let given: BTreeSet<&str> = given.map(|(name, _)| name.as_str()).collect();
    assert_eq!(given, described.collect(), "properties of the example");

    let broker = start();
    let publish = |body: &Value| {
        let ask = Ask::new("post", operation.path).body(body.to_string().as_bytes());
        ask.answer(broker.address()).status
    };
    assert_eq!(publish(example), 200);
    for row in list(example) {
        assert_eq!(publish(row), 200, "{row}");
        let mut more = row.clone();
        more["unknown"] = Value::Null;
        assert_eq!(publish(&more), 400, "{more}");
        for missing in list(&schema["required"]) {
            let mut less = row.clone();
            less.as_object_mut()
                .unwrap()
                .remove(missing.as_str().unwrap());
            assert_eq!(publish(&less), 400, "{less}");
        }
    }
}

#[test]
fn commands_have_the_described_properties_and_no_others() {
    let description = Description::open();
    let schema = description.schema(OF_COMMANDS);
    let mut given = BTreeSet::new();
    for example in list(&schema["examples"]) {
        given.extend(fit(&description, schema, example).unwrap());
    }
    let mut described = BTreeSet::new();
    for (name, schema) in description.schemas() {
        if name.ends_with(OF_COMMANDS) {
            let properties = description::entries(&schema["properties"]);
            described.extend(properties.map(|(property, _)| format!("{name}/{property}")));
        }
    }
    assert_eq!(given, described, "properties of the examples");

    let broker = start();
    for example in list(&schema["examples"]) {
        let answer = say(&broker, example, "\"id\":");
        let id = format!("\"id\":{}", example["id"]);
        assert!(
            answer.contains(&id) && !answer.contains("$error"),
            "{answer}"
        );
        let mut wrong = vec![example.clone()];
        wrong[0]["unknown"] = Value::Null;
        for missing in ["command", "topic"] {
            let mut less = example.clone();
            let removed = less.as_object_mut().unwrap().remove(missing);
            wrong.extend(removed.map(|_| less));
        }
        for command in wrong {
            let answer = say(&broker, &command, "$error");
            assert!(answer.contains("\"bad_request\""), "{command}: {answer}");
        }
    }
}

/// Says a command over a WebSocket that is subscribed to `demo` if that is to end. Gives what was told until this came.
fn say(broker: &Broker, command: &Value, until: &'static str) -> String {
    let ends = command["command"] == "unsubscribe";
    let target = if ends { "/demo/ws" } else { "/api/v1/ws" };
    let ask = Ask::new("get", target).handshake();
    let ask = ask.say(&command.to_string()).until(until);
    let answer = ask.answer(broker.address());
    String::from_utf8(answer.body).unwrap()
}

/// Connects to a broker, and stops it.
fn ask_until_the_end(checker: &mut Checker<'_>, broker: &Broker) {
    let operation = checker.description.operation("get", "/{topic}/ws");
    let wanted = connected("demo", "");
    let mut stream = wanted.send(broker.address());
    let mut answer = wanted.read(&mut stream);
    broker.terminate();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    answer.body = texts(&rest);
    checker.check(&operation, &wanted.target, &answer);
}

/// Asks a broker that has as many connections as it may, at the address for everybody; the operator is answered all the same.
fn ask_while_full(checker: &mut Checker<'_>) {
    let setup = Setup::new().set("operator", "127.0.0.1:0");
    let broker = setup.set("max_connections", 1).start();
    let _only = broker.connect();
    for operation in &checker.description.operations() {
        let wanted = Ask::new(operation.method, &filled(operation.path));
        let answer = wanted.answer(broker.address());
        checker.check(operation, &wanted.target, &answer);
        assert_eq!(answer.status, 503, "{} {}", wanted.method, wanted.target);
    }
    let lives = Ask::new("get", "/livez").answer(broker.operator());
    assert_eq!(lives.status, 200);
    let ready = Ask::new("get", "/readyz").answer(broker.operator());
    assert_eq!(ready.status, 503);
}

/// Begins more new topics over a connection than it may, and one more.
fn ask_too_fast(checker: &mut Checker<'_>) {
    let setup = Setup::new().set("topic_creation_rate", 1);
    let broker = setup.set("topic_creation_burst", 1).start();
    for (number, method) in ["post", "put"].into_iter().enumerate() {
        for (path, target) in [
            ("/{topic}", "/late"),
            ("/api/v1/publish", "/api/v1/publish"),
        ] {
            let line = |name: usize| {
                format!("{{\"topic\":\"{method}{target}/{name}\",\"payload\":\"\"}}\n")
            };
            let many: String = (0..20).map(line).collect();
            let mut first = Ask::new("post", "/api/v1/publish").body(many.as_bytes());
            first.connection = "keep-alive";
            let mut stream = first.send(broker.address());
            let _begun = first.read(&mut stream);
            let wanted = match path {
                "/{topic}" => Ask::new(method, &format!("{target}{number}")).body(b"x"),
                _ => Ask::new(method, target).body(line(20).as_bytes()),
            };
            wanted.send_on(&mut stream);
            let answer = wanted.read(&mut stream);
            let operation = checker.description.operation(method, path);
            checker.check(&operation, &wanted.target, &answer);
            assert_eq!(answer.status, 429, "{method} {path}");
            assert!(answer.field("retry-after").is_some());
        }
    }
}

/// Asks, and does not end the heads of the requests.
fn ask_in_part(checker: &mut Checker<'_>) {
    let setup = Setup::new().set("operator", "127.0.0.1:0");
    let broker = setup.set("hello_timeout_ms", 4_000).start();
    let operations = checker.description.operations();
    let begun = operations.iter().map(|operation| {
        let path = filled(operation.path);
        let wanted = Ask::new(operation.method, &path);
        let stream = wanted.begin(address(&broker, operation));
        (operation, wanted, stream)
    });
    for (operation, wanted, mut stream) in begun.collect::<Vec<_>>() {
        let answer = wanted.read(&mut stream);
        checker.check(operation, &wanted.target, &answer);
        assert_eq!(answer.status, 408, "{} {}", wanted.method, wanted.target);
    }
}

#[test]
fn methods_that_are_taken_nowhere_are_refused_everywhere() {
    let broker = start();
    let mut faults = Vec::new();
    for (path, _) in PATHS {
        for (method, status) in [
            ("delete", 405),
            ("patch", 405),
            ("trace", 405),
            ("brew", 501),
        ] {
            let answer = Ask::new(method, &filled(path)).answer(broker.address());
            if answer.status != status {
                faults.push(format!("{method} {path} is {}", answer.status));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
