//! Clients in other languages, which all say the same about what they hear.

use std::time::Duration;

use serde_json::Value;
use testkit::deadline::PATIENCE;
use testkit::program::Program;
use testkit::{Broker, Setup};

use crate::beside;
use testkit::tools::{Tool, command};

/// A language and its program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Language {
    pub(crate) interpreter: &'static str,
    pub(crate) file: &'static str,
    pub(crate) tools: &'static [Tool],
}

pub(crate) const NODE: Language = Language {
    interpreter: "node",
    file: "client.cjs",
    tools: &[Tool::Program("node"), Tool::Module("eventsource")],
};
pub(crate) const PYTHON: Language = Language {
    interpreter: "python3",
    file: "client.py",
    tools: &[Tool::Program("python3")],
};
pub(crate) const PHP: Language = Language {
    interpreter: "php",
    file: "client.php",
    tools: &[Tool::Program("php"), Tool::PhpExtension("curl")],
};

impl Language {
    /// Reads a stream, behind the event `last_id` if that is not empty.
    pub(crate) fn read(self, url: &str, last_id: &str) -> Reader {
        let mut command = command(self.interpreter);
        command.arg(beside(self.file)).args(["read", url]);
        if !last_id.is_empty() {
            command.arg(last_id);
        }
        Reader::of(Program::start(&mut command))
    }

    /// Publishes to a topic.
    pub(crate) fn publish(self, url: &str) -> Publisher {
        let mut command = command(self.interpreter);
        command.arg(beside(self.file)).args(["publish", url]);
        Publisher(Program::start(&mut command))
    }
}

/// A message, as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) text: String,
}

/// A program that prints the events of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) program: Program,
    /// Connections so far.
    pub(crate) connections: usize,
    /// Codes that connections over WebSocket were closed with.
    pub(crate) closes: Vec<u16>,
}

impl Reader {
    pub(crate) const fn of(program: Program) -> Self {
        Self {
            program,
            connections: 0,
            closes: Vec::new(),
        }
    }

    /// Waits for its first connection.
    pub(crate) fn connected(mut self) -> Self {
        self.await_connection();
        self
    }

    /// Waits for its next connection.
    ///
    /// # Panics
    /// When something else comes.
    pub(crate) fn await_connection(&mut self) {
        let before = self.connections;
        let heard = self.event(PATIENCE);
        assert_eq!(self.connections, before + 1, "not connected but {heard:?}");
    }

    /// The next message, if one comes in time.
    ///
    /// # Panics
    /// When something else comes.
    pub(crate) fn message_within(&mut self, time: Duration) -> Option<Heard> {
        let deadline = std::time::Instant::now() + time;
        loop {
            let left = deadline.checked_duration_since(std::time::Instant::now())?;
            if let Some(heard) = self.event(left) {
                return Some(heard);
            }
        }
    }

    /// So many messages.
    ///
    /// # Panics
    /// When something else comes, or nothing.
    pub(crate) fn messages(&mut self, count: usize) -> Vec<Heard> {
        let messages = (0..count).map(|number| {
            self.message_within(PATIENCE)
                .unwrap_or_else(|| panic!("{number} messages came of {count}"))
        });
        messages.collect()
    }

    /// A message; nothing if there was another event, or none in time. Where a stream begins is passed over.
    fn event(&mut self, time: Duration) -> Option<Heard> {
        loop {
            let line = self.program.line_within(time)?;
            let event: Value = serde_json::from_str(&line).expect("clients print JSON");
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            match text("event").as_str() {
                "$place" => {}
                "close" => {
                    let code = event["code"].as_u64().and_then(|code| code.try_into().ok());
                    self.closes.push(code.expect("a code"));
                }
                "open" => {
                    self.connections += 1;
                    return None;
                }
                "message" => {
                    return Some(Heard {
                        id: text("id"),
                        text: text("data"),
                    });
                }
                _ => panic!("an event that is no message: {line}"),
            }
        }
    }
}

/// A program that publishes.
#[derive(Debug)]
pub(crate) struct Publisher(Program);

impl Publisher {
    /// Publishes one by one, and gives the offsets that the broker says.
    pub(crate) fn publish(&mut self, messages: &[String]) -> Vec<u64> {
        let publish = |message: &String| {
            self.0.tell(&Value::from(message.as_str()).to_string());
            let answer: Value = serde_json::from_str(&self.0.line()).expect("an answer is JSON");
            answer["offset"].as_u64().expect("a message has a place")
        };
        messages.iter().map(publish).collect()
    }
}

/// A broker that has the same address each time it is started, and whose clients come back soon.
pub(crate) fn steady(setup: &Setup) -> Broker {
    let mut broker = setup.clone().start();
    let listen = broker.address();
    broker.stop();
    broker.restart_with(
        setup
            .clone()
            .set("listen", listen)
            .set("drain_spread_ms", 500),
    );
    broker
}

/// Messages of all kinds.
pub(crate) fn messages(numbers: std::ops::Range<usize>) -> Vec<String> {
    let message = |number: usize| match number % 6 {
        0 => format!("{number}"),
        1 => format!("{number}: zwölf Boxkämpfer 🥊"),
        2 => format!("{number}\nof\n\nmany: lines\n"),
        3 => String::new(),
        4 => format!(" {number}: {{\"json\": \"data: x\"}} "),
        _ => format!("{number}: {}", "long ".repeat(20_000)),
    };
    numbers.map(message).collect()
}

pub(crate) fn texts(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|heard| heard.text.as_str()).collect()
}
