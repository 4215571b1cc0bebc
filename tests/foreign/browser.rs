//! Pages in Chromium: those that may read streams, and those that may do nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::program::Program;
use testkit::record::record;
use testkit::{Broker, Event, Setup, Start};

use crate::beside;
use crate::client::{Heard, Reader, messages, steady, texts};
use testkit::tools::{Tool, are_here, command};

const TOOLS: [Tool; 3] = [
    Tool::Program("chromium"),
    Tool::Program("node"),
    Tool::Module("playwright-core"),
];

/// Chromium, with the page that it opens at a port of its own.
struct Browser {
    reader: Reader,
    port: u16,
    /// Where it keeps what it keeps.
    _home: TempDir,
}

impl Browser {
    /// Starts it, if it is here.
    fn start(test: &str) -> Option<Self> {
        if !are_here(test, &TOOLS) {
            return None;
        }
        let home = TempDir::with_prefix("oyez-browser-").expect("a directory for temporary files");
        let mut driver = command("node");
        driver.arg(beside("browser.cjs"));
        driver.arg(command("chromium").get_program());
        driver.arg(beside("page.html"));
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            driver.env(variable, home.path());
        }
        let mut program = Program::start(&mut driver);
        let said: Value = serde_json::from_str(&program.line()).expect("it prints JSON");
        let port = said["port"].as_u64().expect("it says its port");
        Some(Self {
            reader: Reader::of(program),
            port: u16::try_from(port).expect("a port"),
            _home: home,
        })
    }

    /// The origin of the page as it is seen under a name.
    fn origin(&self, name: &str) -> String {
        format!("http://{name}:{}", self.port)
    }

    /// Opens the page at `site`, and calls a function of it.
    fn run(&mut self, site: &str, function: &str, with: &Value) {
        let order = json!({ "at": format!("{site}/page"), "run": function, "with": with });
        self.reader.program.tell(&order.to_string());
    }

    /// The same, and what the page says then.
    fn ask(&mut self, site: &str, function: &str, with: &Value) -> Value {
        self.run(site, function, with);
        serde_json::from_str(&self.reader.program.line()).expect("the page says JSON")
    }
}

/// All that the broker has of a topic.
fn stored(broker: &Broker, topic: &str) -> Vec<String> {
    let mut session = broker.connect();
    let head = session.subscribe(topic, Start::Earliest).head.get();
    let messages = session.messages(topic, head as usize).into_iter();
    let texts = messages.map(|(_, payload)| String::from_utf8(payload).expect("text"));
    texts.collect()
}

#[test]
fn a_page_reads_everything_in_order_and_once_though_the_broker_is_restarted() {
    let Some(mut browser) = Browser::start("pages that read") else {
        return;
    };
    let origin = browser.origin("localhost");
    let setup = Setup::new().set("origins", &origin);
    let mut broker = steady(&setup);
    let stream = format!("http://{}/news/sse", broker.address());
    browser.run(&origin, "read", &json!([stream]));
    browser.reader.await_connection();

    // It was sent nothing yet; what is published before it is back it has not missed.
    broker.stop();
    broker.restart();
    let mut publisher = broker.connect();
    publisher.publish_each("news", &messages(0..20));
    let first = browser.reader.messages(20);
    assert_eq!(texts(&first), messages(0..20));

    // The shutdown comes while records are under way: some are stored, and some are not.
    for (number, message) in messages(20..60).iter().enumerate() {
        publisher.send(&record("news", &[message], number as u64));
    }
    let answer = publisher.event();
    assert!(matches!(answer, Event::Published(_)), "{answer:?}");
    broker.stop();
    broker.restart();
    broker.connect().publish_each("news", &messages(60..80));

    broker.kill();
    broker.restart();
    broker.connect().publish_each("news", &["the end"]);
    let stored = stored(&broker, "news");
    assert!(stored.len() > 41, "what was acknowledged is there");
    let heard = browser.reader.messages(stored.len() - 20);
    assert_eq!(texts(&heard), stored[20..]);
}

/// The topic, the offset and the payload of a message among several topics.
fn row(heard: &Heard) -> (String, u64, String) {
    let row: Value = serde_json::from_str(&heard.text).expect("JSON");
    let text = |name: &str| row[name].as_str().expect("text").to_owned();
    let offset = row["offset"].as_u64().expect("an offset");
    (text("topic"), offset, text("payload"))
}

#[test]
fn a_page_reads_several_topics_without_a_hole_though_the_broker_is_restarted() {
    let Some(mut browser) = Browser::start("pages that read several topics") else {
        return;
    };
    let origin = browser.origin("localhost");
    let setup = Setup::new().set("origins", &origin);
    let mut broker = steady(&setup);
    let stream = format!(
        "http://{}/api/v1/sse?topic=news&topic=sport",
        broker.address()
    );
    browser.run(&origin, "read", &json!([stream]));
    browser.reader.await_connection();
    let publish = |broker: &Broker, messages: &[String]| {
        for topic in ["news", "sport"] {
            broker.connect().publish_each(topic, messages);
        }
    };
    // What comes while it is away, and, as the broker says where the stream stands when it goes, nothing twice.
    for numbers in [0..20, 20..40] {
        broker.stop();
        broker.restart();
        publish(&broker, &messages(numbers.clone()));
        let heard = browser.reader.messages(40);
        for topic in ["news", "sport"] {
            let rows = heard.iter().map(row).filter(|row| row.0 == topic);
            let texts: Vec<String> = rows.map(|row| row.2).collect();
            assert_eq!(texts, messages(numbers.clone()), "{topic}");
        }
    }
    // A broker that is killed says nothing: some may come twice, and none is left out.
    broker.kill();
    broker.restart();
    publish(&broker, &messages(40..60));
    let mut next = BTreeMap::from([("news".to_owned(), 40), ("sport".to_owned(), 40)]);
    while next.values().any(|next| *next < 60) {
        let heard = browser.reader.messages(1);
        let (topic, offset, text) = row(&heard[0]);
        let next = next.get_mut(&topic).expect("a topic that was asked for");
        assert!(
            (20..=*next).contains(&offset),
            "{offset} comes before {next}"
        );
        let number = usize::try_from(offset).expect("a small number");
        assert_eq!([text], messages(number..number + 1)[..]);
        *next = (*next).max(offset + 1);
    }
}

/// What a page can try without being allowed to, and what it hears.
fn tries(browser: &mut Browser, site: &str, topic: &str) -> Vec<Value> {
    let stream = format!("{topic}/sse?from=earliest");
    let keyed = json!({ "headers": { "X-Key": "key" } });
    let blind = json!({ "mode": "no-cors" });
    let blind_stream = json!({ "mode": "no-cors", "method": "GET", "body": null });
    vec![
        browser.ask(site, "ask", &json!([topic, {}])),
        browser.ask(site, "ask", &json!([topic, keyed])),
        browser.ask(site, "ask", &json!([topic, blind])),
        browser.ask(site, "submit", &json!([topic])),
        browser.ask(site, "ask", &json!([stream, blind_stream])),
        browser.ask(site, "read", &json!([stream])),
    ]
}

#[test]
fn a_page_of_an_origin_that_is_not_allowed_publishes_nothing_and_reads_nothing() {
    let Some(mut browser) = Browser::start("pages of foreign origins") else {
        return;
    };
    let (foreign, known) = (
        browser.origin("pages.example"),
        browser.origin("friends.example"),
    );
    let broker = Setup::new().set("origins", &known).start();
    let topic = format!("http://{}/news", broker.address());
    broker.connect().publish("news", b"a secret");

    let heard = tries(&mut browser, &foreign, &topic);
    let (unread, unseen) = (
        json!({ "error": "TypeError" }),
        json!({ "status": 0, "type": "opaque", "text": "" }),
    );
    let expected = [
        unread.clone(),
        unread,
        unseen.clone(),
        json!({ "submitted": true }),
        unseen,
        json!({ "event": "refused" }),
    ];
    assert_eq!(heard, expected);
    let stats = broker.stats();
    assert_eq!(stats["subscriptions"], 0, "a stream was opened: {stats}");
    assert_eq!(stored(&broker, "news"), ["a secret"]);

    // The same page under a name that is allowed.
    for options in [json!({}), json!({ "headers": { "X-Key": "key" } })] {
        let answer = browser.ask(&known, "ask", &json!([topic, options]));
        assert_eq!(answer["status"], 200, "{answer}");
    }
    assert_eq!(stored(&broker, "news")[1..], ["from a page", "from a page"]);
}

#[test]
fn a_page_whose_name_was_led_to_the_broker_is_refused() {
    let Some(mut browser) = Browser::start("pages whose names are led elsewhere") else {
        return;
    };
    let setup = Setup::new();
    let mut broker = steady(&setup);
    // To the browser the broker is the site that the page came from.
    let site = format!("http://rebound.example:{}", broker.address().port());
    let read = json!(["/news/sse?from=earliest"]);
    broker.connect().publish("news", b"a secret");

    let answer = browser.ask(&site, "ask", &json!(["/news", {}]));
    assert_eq!(answer["status"], 421, "{answer}");
    let answer = browser.ask(&site, "read", &read);
    assert_eq!(answer, json!({ "event": "refused" }));
    assert_eq!(broker.counter("subscriptions"), 0);
    assert_eq!(stored(&broker, "news"), ["a secret"]);

    // If the name is the broker's own, its pages may.
    broker.stop();
    let named = setup.set("listen", broker.address());
    broker.restart_with(named.set("hosts", "rebound.example"));
    let answer = browser.ask(&site, "ask", &json!(["/news", {}]));
    assert_eq!(answer["status"], 200, "{answer}");
    browser.run(&site, "read", &read);
    assert_eq!(
        texts(&browser.reader.messages(2)),
        ["a secret", "from a page"]
    );
}
