//! `oyez-server` as a child process: on a port of its own choice, with a data directory of its own, gone when the test
//! is over.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::deadline::{PATIENCE, wait_for};
use crate::process::status_bytes;
use crate::sys::seccomp::Filter;
use crate::sys::{Signal, die_with_parent, signal};
use crate::wire::Session;
use crate::{process, programs};

/// Lines of the broker's log that a failing test shows.
const LOG_LINES_SHOWN: usize = 40;

/// How a broker is started. What is not set here has the broker's defaults, but for small segments and a small arena,
/// so that rolling over to the next is a matter of megabytes.
#[derive(Clone, Debug)]
pub struct Setup {
    settings: Vec<(String, String)>,
    flags: Vec<&'static str>,
    /// A shell command that runs first, in a mount namespace that ends with the broker.
    namespace: Option<String>,
    under: Vec<OsString>,
    sandbox: Option<Filter>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// The usual broker of tests.
    #[must_use]
    pub fn new() -> Self {
        let usual = Self {
            settings: Vec::new(),
            flags: Vec::new(),
            namespace: None,
            under: Vec::new(),
            sandbox: None,
        };
        usual
            .set("listen", "127.0.0.1:0")
            .set("operator", "")
            .set("segment_bytes", 4 << 20)
            .set("arena_bytes", 32 << 20)
    }

    /// Gives a setting by its name in the configuration file.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Gives a flag of the command line that is no setting.
    #[must_use]
    pub fn flag(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    /// Runs a shell command before the broker, in a mount namespace of the broker's own: what it mounts is seen by the
    /// broker alone and vanishes with it. `$DATA` is the data directory.
    #[must_use]
    pub fn in_namespace(mut self, command: &str) -> Self {
        self.namespace = Some(command.to_owned());
        self
    }

    /// Runs the broker as the last arguments of another program, such as a tracer.
    #[must_use]
    pub fn under(mut self, program: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.under = program.into_iter().map(Into::into).collect();
        self
    }

    /// Runs the broker, and all that goes before it, under a filter of system calls.
    #[must_use]
    pub fn sandboxed(mut self, filter: Filter) -> Self {
        self.sandbox = Some(filter);
        self
    }

    /// Starts a broker with a new data directory.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start(self) -> Broker {
        let home = TempDir::with_prefix("oyez-test-").expect("a directory for temporary files");
        let data = home.path().join("data");
        self.start_in(home, &data)
    }

    /// Starts a broker on a data directory that may be there already.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start_on(self, data: &Path) -> Broker {
        let home = TempDir::with_prefix("oyez-test-").expect("a directory for temporary files");
        self.start_in(home, data)
    }

    /// Starts a broker that must not get ready, and gives how it ended.
    ///
    /// # Panics
    /// When it serves.
    #[must_use]
    pub fn refused_on(self, data: &Path) -> Refusal {
        match self.start_or_refused_on(data) {
            Ok(_) => panic!("the broker serves {}", data.display()),
            Err(refusal) => refusal,
        }
    }

    /// Starts a broker that may have reasons not to get ready.
    ///
    /// # Errors
    /// How it ended.
    pub fn start_or_refused_on(self, data: &Path) -> Result<Broker, Refusal> {
        let home = TempDir::with_prefix("oyez-test-").expect("a directory for temporary files");
        let running = self.launch(home.path(), data)?;
        Ok(Broker {
            setup: self,
            data: data.to_owned(),
            running,
            home,
        })
    }

    fn start_in(self, home: TempDir, data: &Path) -> Broker {
        let running = self
            .launch(home.path(), data)
            .unwrap_or_else(|refusal| panic!("the broker does not start: {refusal:?}"));
        Broker {
            setup: self,
            data: data.to_owned(),
            running,
            home,
        }
    }

    fn command(&self, data: &Path) -> Command {
        let mut line = self.under.clone();
        if let Some(script) = &self.namespace {
            let script = format!("{script} && exec \"$0\" \"$@\"");
            let words = ["unshare", "--mount", "sh", "-c", script.as_str()];
            line.extend(words.map(OsString::from));
        }
        line.push(programs::server().into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(&self.flags);
        command.arg("--data").arg(data);
        // By flags, because a misspelt one is refused.
        for (key, value) in &self.settings {
            command.arg(format!("--{}={value}", key.replace('_', "-")));
        }
        // Whatever the tests are told by variables is none of the broker's settings, which it would warn of.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OYEZ_") {
                command.env_remove(name);
            }
        }
        command.env("DATA", data);
        command
    }

    fn launch(&self, home: &Path, data: &Path) -> Result<Running, Refusal> {
        let (mut child, lines) = self.spawn(home, data);
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Running::ready(child, &line)),
            Err(cause) => {
                if cause == RecvTimeoutError::Timeout {
                    let _ = child.kill();
                }
                Err(Refusal::of(child, home))
            }
        }
    }

    /// Starts the program; what is received is its first line, or that it ended without one.
    fn spawn(&self, home: &Path, data: &Path) -> (Child, Receiver<String>) {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log_of(home))
            .expect("the test's directory is writable");
        let mut command = self.command(data);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        die_with_parent(&mut command);
        if let Some(filter) = &self.sandbox {
            filter.put_on(&mut command);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (line_in, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // No line is the end of the program; the receiver sees the sender go.
            if matches!(BufReader::new(stdout).read_line(&mut line), Ok(size) if size > 0) {
                let _ = line_in.send(line);
            }
        });
        (child, lines)
    }
}

fn log_of(home: &Path) -> PathBuf {
    home.join("log")
}

/// How a broker that did not serve ended.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: i32,
    /// What it said on stderr.
    pub message: String,
}

impl Refusal {
    /// Waits for the end of a child that ends by itself, or is being killed.
    fn of(mut child: Child, home: &Path) -> Self {
        let status = child.wait().expect("the child was not waited for");
        Self {
            code: process::code(status),
            message: std::fs::read_to_string(log_of(home)).unwrap_or_default(),
        }
    }
}

#[derive(Debug)]
struct Running {
    child: Child,
    address: SocketAddr,
    operator: Option<SocketAddr>,
    pid: u32,
    over: bool,
}

impl Running {
    /// Reads `ready tcp=ADDR operator=ADDR pid=PID data=DIR`; there may be no operator's address.
    fn ready(child: Child, line: &str) -> Self {
        let field = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name} in {line:?}"))
        };
        assert!(
            line.starts_with("ready "),
            "unexpected first line: {line:?}"
        );
        Self {
            address: field("tcp=").parse().expect("an address"),
            operator: line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("operator="))
                .map(|address| address.parse().expect("an address")),
            pid: field("pid=").parse().expect("a process number"),
            child,
            over: false,
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the end of the broker", || {
            self.child.try_wait().expect("the child can be waited for")
        });
        self.over = true;
        status
    }

    fn stop_now(&mut self) {
        if !self.over {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.over = true;
        }
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    setup: Setup,
    data: PathBuf,
    running: Running,
    home: TempDir,
}

impl Broker {
    /// The usual broker of tests.
    #[must_use]
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// The operator's address.
    ///
    /// # Panics
    /// If the setup says nothing of one.
    #[must_use]
    pub fn operator(&self) -> SocketAddr {
        self.running.operator.expect("the setup has one")
    }

    /// Its process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory of this test, removed at its end.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_of(self.home.path())).unwrap_or_default()
    }

    /// A session that is welcome.
    #[must_use]
    pub fn connect(&self) -> Session {
        Session::connect(self.address())
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> serde_json::Value {
        self.connect().stats()
    }

    /// One of its counters.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.stats();
        stats[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name} in {stats}"))
    }

    /// Private memory in bytes, the arena taken off.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let arena = self.counter("arena_bytes");
        status_bytes(self.pid(), "RssAnon").saturating_sub(arena)
    }

    /// The command line, speaking to this broker.
    #[must_use]
    pub fn oyez(&self) -> Command {
        let mut command = Command::new(programs::oyez());
        command
            .env("OYEZ_SERVER", self.address().to_string())
            .stdin(Stdio::null());
        die_with_parent(&mut command);
        command
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.running.stop_now();
    }

    /// Asks it to stop.
    ///
    /// # Panics
    /// When it is gone.
    pub fn terminate(&self) {
        self.signal(Signal::Terminate);
    }

    /// Asks it to stop as Ctrl-C does.
    ///
    /// # Panics
    /// When it is gone.
    pub fn interrupt(&self) {
        self.signal(Signal::Interrupt);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, which: Signal) {
        signal(&self.running.child, which).expect("the broker is running");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.running.wait()
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Starts it again on the same data directory, after it was killed or stopped.
    ///
    /// # Panics
    /// When it runs, or does not get ready.
    pub fn restart(&mut self) {
        self.restart_with(self.setup.clone());
    }

    /// Starts it again in another way.
    ///
    /// # Panics
    /// When it runs, or does not get ready.
    pub fn restart_with(&mut self, setup: Setup) {
        assert!(self.running.over, "the broker is still running");
        self.running = setup
            .launch(self.home.path(), &self.data)
            .unwrap_or_else(|refusal| panic!("the broker does not start again: {refusal:?}"));
        self.setup = setup;
    }

    /// Starts it again, does something when `time` is over or the broker is ready, whichever comes first, and ends it at
    /// once.
    ///
    /// # Panics
    /// When it runs, or ends by itself.
    pub fn interrupted_start(&self, time: Duration, meanwhile: impl FnOnce()) {
        assert!(self.running.over, "the broker is still running");
        let (mut child, lines) = self.setup.spawn(self.home.path(), &self.data);
        let ended = lines.recv_timeout(time) == Err(RecvTimeoutError::Disconnected);
        if !ended {
            meanwhile();
        }
        // It may have ended by itself.
        let _ = child.kill();
        let refusal = Refusal::of(child, self.home.path());
        assert!(!ended, "the broker does not start again: {refusal:?}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.stop_now();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the broker's log ends with:\n{}", shown.join("\n"));
        }
    }
}
