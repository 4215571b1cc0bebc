//! Thousands of subscribers in a process of their own, `oyez-crowd`, because the broker's descriptors and theirs do
//! not fit into one table.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::sys::die_with_parent;

/// What a crowd subscribes to, and how much of it.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The broker.
    pub address: SocketAddr,
    /// The topic; its records hold one message each, and none is there yet.
    pub topic: String,
    /// How many subscribers.
    pub subscribers: usize,
    /// How many records each must get.
    pub records: usize,
}

/// A running crowd.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Starts a crowd from its program and waits until everybody has subscribed.
    ///
    /// # Panics
    /// When somebody cannot.
    #[must_use]
    pub fn subscribe(program: &str, audience: &Audience) -> Self {
        let mut command = Command::new(program);
        command
            .arg(audience.address.to_string())
            .arg(&audience.topic)
            .arg(audience.subscribers.to_string())
            .arg(audience.records.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = die_with_parent(&mut command)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut crowd = Self {
            child,
            lines: BufReader::new(stdout).lines(),
        };
        crowd.expect("subscribed");
        crowd
    }

    /// Waits until everybody has got every record once and in order.
    ///
    /// # Panics
    /// When somebody has not; the crowd says on stderr who and what.
    pub fn satisfied(mut self) {
        self.expect("satisfied");
    }

    fn expect(&mut self, word: &str) {
        match self.lines.next() {
            Some(Ok(line)) if line == word => {}
            other => panic!("the crowd says {other:?} where {word:?} was expected"),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
