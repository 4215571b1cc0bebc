//! A foreign program as a child process: what it prints is read line by line, and it is gone when the test is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::deadline::{PATIENCE, found_within};
use crate::sys::{Signal, signal, stop_with_parent};

/// How long a program that is asked to stop may take before it is killed.
const STOP: Duration = Duration::from_secs(5);

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: File,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let errors = tempfile::tempfile().expect("a temporary file");
        let stderr = errors.try_clone().expect("a descriptor");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = stop_with_parent(command)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (line_in, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Where nobody listens any more there is nothing to tell.
            lines
                .take_while(|line| line_in.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self {
            name,
            input: child.stdin.take(),
            child,
            lines,
            errors,
            status: None,
        }
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// When none comes; with what it said on stderr.
    pub fn line(&mut self) -> String {
        self.line_within(PATIENCE)
            .unwrap_or_else(|| panic!("no line came from {}", self.name))
    }

    /// The next line that it prints, if one comes in time.
    #[must_use]
    pub fn line_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Gives it a line to read.
    ///
    /// # Panics
    /// When it does not read any more.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        let told = writeln!(input, "{line}").and_then(|()| input.flush());
        told.unwrap_or_else(|error| panic!("{} does not read: {error}", self.name));
    }

    /// Says that it gets no more lines.
    pub fn tell_no_more(&mut self) {
        self.input = None;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, which: Signal) {
        assert!(self.status.is_none(), "{} is over", self.name);
        signal(&self.child, which).expect("the program is running");
    }

    /// Its end, if it comes in time.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn end_within(&mut self, time: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            let child = &mut self.child;
            let ended = || child.try_wait().expect("the child can be waited for");
            self.status = found_within(time, ended);
        }
        self.status
    }

    /// Asks it to stop, and ends it if it does not.
    pub fn stop(&mut self) {
        self.tell_no_more();
        if self.end_within(Duration::ZERO).is_some() {
            return;
        }
        self.signal(Signal::Terminate);
        if self.end_within(STOP).is_none() {
            // It may have ended by itself.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let mut said = Vec::new();
            // What cannot be read is not shown; the test fails anyway.
            let _ = self.errors.rewind();
            let _ = self.errors.read_to_end(&mut said);
            let (name, status) = (&self.name, self.status);
            let said = String::from_utf8_lossy(&said);
            eprintln!("{name} ended with {status:?} and said:\n{said}");
        }
    }
}
