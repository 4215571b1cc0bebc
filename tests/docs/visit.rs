//! Works a page through: runs, checks or opens each of its blocks, one after the other.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;

use testkit::deadline::found_within;
use testkit::process::run;
use testkit::programs::workspace;
use testkit::tools::command;

use crate::output;
use crate::page::{Block, Page, is_shell};
use crate::room::Room;
use crate::running::{PATIENCE, Running};
use crate::scripts::{self, Step};

/// The name under which a page of HTML is saved.
const HTML: &str = "page.html";
/// What the page of HTML has to show once it is published.
const SIGN: &str = "a sign of life";

/// What came of a page.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    pub(crate) failures: Vec<String>,
    /// How many of each kind ran.
    pub(crate) ran: BTreeMap<String, usize>,
}

/// Works a page through.
pub(crate) fn visit(page: &Page) -> Visit {
    let mut visitor = Visitor {
        page,
        room: None,
        broker: None,
        background: Vec::new(),
        files: 0,
        visit: Visit::default(),
    };
    for block in page.blocks().filter(|block| block.not_run.is_none()) {
        visitor.block(block);
    }
    visitor.finish();
    visitor.visit
}

/// A command that runs on, and where the page says it.
#[derive(Debug)]
struct Background {
    running: Running,
    step: Step,
    line: usize,
}

#[derive(Debug)]
struct Visitor<'a> {
    page: &'a Page,
    /// Made when it is needed.
    room: Option<Room>,
    broker: Option<Background>,
    background: Vec<Background>,
    files: usize,
    visit: Visit,
}

impl Visitor<'_> {
    fn block(&mut self, block: &Block) {
        let language = block.language.split([',', ' ']).next().unwrap_or_default();
        let kind = match language {
            language if is_shell(language) => {
                for step in scripts::steps(&block.text) {
                    self.step(&step, block.line);
                    self.count("commands");
                }
                return;
            }
            "js" => self.program(block, "node", "mjs"),
            "python" => self.program(block, "python3", "py"),
            "php" => self.program(block, "php", "php"),
            "html" => {
                let text = self.room().here(&block.text);
                let file = self.room().path().join(HTML);
                std::fs::write(file, text).expect("a file");
                "html"
            }
            "toml" => self.configuration(block),
            "json" => self.json(block),
            "text" => return,
            "rust" if self.page.name == "README.md" => "rust (compiled by oyez-client)",
            other => {
                self.fail(
                    block.line,
                    &format!("nothing is known of {other:?}; say `<!-- not run: why -->`"),
                );
                return;
            }
        };
        self.count(kind);
    }

    fn count(&mut self, kind: &str) {
        *self.visit.ran.entry(kind.to_owned()).or_default() += 1;
    }

    fn fail(&mut self, line: usize, what: &str) {
        let failure = format!("{}:{line}: {what}", self.page.name);
        self.visit.failures.push(failure);
    }

    fn room(&mut self) -> &Room {
        self.room.get_or_insert_with(Room::new)
    }

    /// A name for a new file.
    fn file(&mut self, kind: &str) -> PathBuf {
        self.files += 1;
        let name = format!("block-{}.{kind}", self.files);
        self.room().path().join(name)
    }

    fn step(&mut self, step: &Step, line: usize) {
        let step = Step {
            command: self.room().here(&step.command),
            shown: step
                .shown
                .iter()
                .map(|line| self.room().here(line))
                .collect(),
        };
        if scripts::starts_broker(&step.command) {
            self.start_broker(step, line);
            return;
        }
        self.need_broker();
        if scripts::runs_on(&step.command) {
            self.start(step, line);
            return;
        }
        let mut running = self.bash(&step.command);
        let status = running.end();
        let printed = running.printed();
        match status {
            None => self.fail(line, &format!("does not end: {}\n{printed}", step.command)),
            Some(status) if !status.success() => {
                self.fail(line, &format!("{status}: {}\n{printed}", step.command));
            }
            Some(_) if !step.shown.is_empty() => self.compare(&step, &printed, line),
            Some(_) => {}
        }
    }

    fn compare(&mut self, step: &Step, printed: &str, line: usize) {
        if !output::matches(&step.shown, printed, false) {
            let shown = step.shown.join("\n");
            self.fail(
                line,
                &format!(
                    "{}\nthe page shows:\n{shown}\nit prints:\n{printed}",
                    step.command
                ),
            );
        }
    }

    fn bash(&mut self, text: &str) -> Running {
        let output = self.file("out");
        let mut command = self.room().command("bash");
        command.args(["-o", "pipefail", "-c"]);
        Running::start(command.arg(text.trim_end().trim_end_matches('&')), output)
    }

    fn start_broker(&mut self, step: Step, line: usize) {
        self.stop_broker();
        let running = self.bash(&step.command);
        let mut broker = Background {
            running,
            step,
            line,
        };
        let is_ready = found_within(PATIENCE, || {
            let ready = broker.running.printed().contains("ready ");
            (ready || broker.running.ended().is_some()).then_some(ready)
        });
        if is_ready != Some(true) {
            let printed = broker.running.printed();
            self.fail(line, &format!("{}\n{printed}", broker.step.command));
        }
        self.broker = Some(broker);
    }

    fn need_broker(&mut self) {
        if self.broker.is_none() {
            let step = Step {
                command: "systemctl start oyez".to_owned(),
                shown: Vec::new(),
            };
            self.start_broker(step, 0);
        }
    }

    fn stop_broker(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            self.judge(&mut broker);
            broker.running.stop();
        }
    }

    /// Starts what runs on, and waits until the broker has heard of it.
    fn start(&mut self, step: Step, line: usize) {
        let before = self.room().heard();
        let mut running = self.bash(&step.command);
        if scripts::subscribes(&step.command) {
            self.await_word(&mut running, before);
        } else if step.command.contains("http.server") {
            let port = self.room().pages();
            found_within(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        self.background.push(Background {
            running,
            step,
            line,
        });
    }

    /// Waits until a program has ended, or the broker has one more subscription or message.
    fn await_word(&mut self, running: &mut Running, before: Option<(u64, u64)>) -> bool {
        let room = self.room();
        let came = found_within(PATIENCE, || {
            let ended = running.ended().is_some();
            let more = match (before, room.heard()) {
                (Some(before), Some(now)) => now.0 > before.0 || now.1 > before.1,
                _ => false,
            };
            (ended || more).then_some(())
        });
        came.is_some()
    }

    /// Compares what a program that runs on has printed, when it had time for that.
    fn judge(&mut self, background: &mut Background) {
        let Background {
            running,
            step,
            line,
        } = background;
        if step.shown.is_empty() {
            return;
        }
        let as_shown = || output::matches(&step.shown, &running.printed(), true).then_some(());
        if found_within(PATIENCE, as_shown).is_none() {
            self.compare(step, &running.printed(), *line);
        }
    }

    /// A program in another language, which ends, or says something to the broker and runs on.
    fn program(&mut self, block: &Block, interpreter: &str, kind: &'static str) -> &'static str {
        self.need_broker();
        let file = self.file(kind);
        let text = self.room().here(&block.text);
        let text = if kind == "php" {
            format!("<?php\n{text}")
        } else {
            text
        };
        std::fs::write(&file, text).expect("a file");
        let output = self.file("out");
        let before = self.room().heard();
        let mut command = self.room().command("env");
        if kind == "mjs" {
            let browser = workspace().join("tests/docs/browser.mjs");
            command.args([interpreter, "--import"]).arg(browser);
        } else {
            command.arg(interpreter);
        }
        let mut running = Running::start(command.arg(&file), output);
        let heard = self.await_word(&mut running, before);
        let failed = running.ended().is_some_and(|status| !status.success());
        if failed || !heard {
            let printed = running.printed();
            self.fail(block.line, &format!("{interpreter} fails:\n{printed}"));
        }
        match kind {
            "mjs" => "programs in JavaScript",
            "py" => "programs in Python",
            _ => "programs in PHP",
        }
    }

    fn configuration(&mut self, block: &Block) -> &'static str {
        let (file, text) = (self.file("toml"), self.room().here(&block.text));
        std::fs::write(&file, text).expect("a file");
        let mut check = self.room().command("env");
        check.arg(testkit::programs::server());
        let output = run(check.arg("--config").arg(&file).arg("--check-config"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || !said.is_empty() {
            self.fail(block.line, &format!("--check-config says:\n{said}"));
        }
        "configurations"
    }

    fn json(&mut self, block: &Block) -> &'static str {
        let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        if !is_json(&block.text) && !block.text.lines().all(is_json) {
            self.fail(block.line, "this is no JSON");
        }
        "blocks of JSON"
    }

    fn finish(&mut self) {
        let saved = self.room.as_ref().map(|room| room.path().join(HTML));
        if saved.is_some_and(|file| file.exists()) {
            self.open_html();
        }
        for mut background in std::mem::take(&mut self.background) {
            self.judge(&mut background);
        }
        self.stop_broker();
    }

    /// Opens the saved page where the commands serve it, and expects it to show what is published.
    fn open_html(&mut self) {
        let output = self.file("out");
        let topic = self.room().here("http://localhost:7450/demo");
        let site = self.room().here(&format!("http://localhost:8000/{HTML}"));
        let mut driver = self.room().command("node");
        driver.arg(workspace().join("tests/docs/open.cjs"));
        driver.arg(command("chromium").get_program());
        let mut running = Running::start(driver.args([&site, &topic, SIGN]), output);
        if !running.end().is_some_and(|status| status.success()) {
            let printed = running.printed();
            self.fail(0, &format!("{HTML} does not show messages:\n{printed}"));
        }
    }
}
