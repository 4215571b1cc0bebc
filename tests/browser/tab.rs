//! Chromium with one tab, which is told what to do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::deadline::PATIENCE;
use testkit::program::Program;
use testkit::programs::workspace;

use testkit::tools::{Tool, are_here, command};

const TOOLS: [Tool; 3] = [
    Tool::Program("chromium"),
    Tool::Program("node"),
    Tool::Module("playwright-core"),
];

/// A tab, in a browser of its own.
pub(crate) struct Tab {
    driver: Program,
    port: u16,
    /// What pages have said that nobody has asked for yet.
    said: Vec<Value>,
    /// Where the browser keeps what it keeps.
    _home: TempDir,
}

impl Tab {
    /// Starts a browser, if there is one here.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !are_here(test, &TOOLS) {
            return None;
        }
        let home = TempDir::with_prefix("oyez-browser-").expect("a directory for temporary files");
        let here = workspace().join("tests/browser");
        let mut driver = command("node");
        driver.arg(here.join("driver.cjs"));
        driver.arg(command("chromium").get_program());
        driver.arg(workspace().join("client/js"));
        driver.arg(here.join("page.html"));
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            driver.env(variable, home.path());
        }
        let mut driver = Program::start(&mut driver);
        let begun: Value = serde_json::from_str(&driver.line()).expect("it prints JSON");
        let port = begun["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        Some(Self {
            driver,
            port: port.expect("it says its port"),
            said: Vec::new(),
            _home: home,
        })
    }

    /// The origin of what is served to it.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Does what an order says, and gives what comes of it.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn order(&mut self, order: &Value) -> Value {
        self.begin(order);
        self.finish()
    }

    /// Begins to do what an order says.
    pub(crate) fn begin(&mut self, order: &Value) {
        self.driver.tell(&order.to_string());
    }

    /// What comes of the order that was begun.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn finish(&mut self) -> Value {
        loop {
            let mut line = self.line(PATIENCE * 4).expect("the order is carried out");
            if let Some(failed) = line.get("failed") {
                panic!("the tab has failed: {failed}");
            }
            match line.get_mut("said") {
                Some(said) => self.said.push(said.take()),
                None => return line["did"].take(),
            }
        }
    }

    /// Opens a page.
    pub(crate) fn open(&mut self, path: &str) {
        let at = format!("{}{path}", self.origin());
        self.order(&json!({ "do": "open", "at": at, "grant": ["notifications"] }));
    }

    /// Calls a function of the page, and gives what it returns.
    pub(crate) fn run(&mut self, function: &str, given: &Value) -> Value {
        self.order(&json!({ "do": "run", "run": function, "given": given }))
    }

    /// The next thing that the page says.
    ///
    /// # Panics
    /// When it says nothing.
    pub(crate) fn heard(&mut self) -> Value {
        self.heard_within(PATIENCE)
            .expect("the page says something")
    }

    /// The same, if it comes in time.
    pub(crate) fn heard_within(&mut self, time: Duration) -> Option<Value> {
        if !self.said.is_empty() {
            return Some(self.said.remove(0));
        }
        let mut line = self.line(time)?;
        assert!(line.get("said").is_some(), "{line} was not asked for");
        Some(line["said"].take())
    }

    /// Waits until the page says this, and gives what it says before.
    ///
    /// # Panics
    /// When it does not say it in time.
    pub(crate) fn await_saying(&mut self, expected: &Value) -> Vec<Value> {
        let (begin, mut before) = (Instant::now(), Vec::new());
        loop {
            let left = (PATIENCE * 2).checked_sub(begin.elapsed());
            let heard = left.and_then(|left| self.heard_within(left));
            match heard {
                Some(heard) if heard == *expected => return before,
                Some(heard) => before.push(heard),
                None => panic!("{expected} was not said, but {before:?}"),
            }
        }
    }

    fn line(&mut self, time: Duration) -> Option<Value> {
        let line = self.driver.line_within(time)?;
        Some(serde_json::from_str(&line).expect("it prints JSON"))
    }
}
