//! The floor, what the kernel alone can do: a bare server that this program starts in a process of its own. It accepts,
//! it polls, it calls `sendmsg`; it has no protocol, no storage, no sessions. It gets finished records and passes them
//! on.

pub(crate) mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use oyez_cli::Failure;
use oyez_cli::bench::websocket::{self, Path as Request, SUBPROTOCOL};
use oyez_cli::bench::{Ear, Listening, Place, Plan, Stamp, Target, Via};
use oyez_protocol::record::{Stamp as RecordStamp, stamp};
use oyez_protocol::{LogId, Offset, Sequence};

use server::MARK_BYTES;

/// The bare server.
pub(crate) struct FloorTarget {
    address: SocketAddr,
    publish_address: SocketAddr,
    plan: Plan,
    answer: bool,
    process: Mutex<Process>,
}

/// The child and its two pipes. It ends when its standard input does.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl FloorTarget {
    /// Starts the server with room for all subscribers; with none, it answers each record where it reads it. With
    /// `answer` it reads what a subscriber sends, and answers as many bytes as a broker would; over HTTP it always
    /// does. With `sync_file` it writes each record to that file and syncs it before it answers.
    pub(crate) fn new(plan: Plan, answer: bool, sync_file: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("cannot start the floor's server", &error);
        let mut child = command(&plan, answer, sync_file)
            .and_then(|mut command| command.spawn())
            .map_err(failed)?;
        let pid = child.id();
        let input = child.stdin.take().expect("its standard input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its standard output is a pipe"));
        let mut process = Process {
            child,
            input,
            output,
        };
        let line = process.line().map_err(failed)?;
        let ports: Vec<u16> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [port, publish_port] = ports[..] else {
            return Err(Failure::Failed(
                "the floor's server did not start".to_owned(),
            ));
        };
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            publish_address: (Ipv4Addr::LOCALHOST, publish_port).into(),
            answer: answer || plan.via != Via::Native,
            plan: Plan {
                pid: Some(pid),
                ..plan
            },
            process: Mutex::new(process),
        })
    }
}

fn command(plan: &Plan, answer: bool, sync_file: Option<&Path>) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([server::COMMAND, "--connections"])
        .arg(plan.connections.to_string())
        .args(["--groups", &plan.groups.to_string()])
        .args(["--via", plan.via.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(path) = sync_file {
        command.arg("--sync-file").arg(path);
    }
    if answer {
        command.arg("--answer");
    }
    Ok(command)
}

impl Process {
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    fn ask(&mut self, question: &str) -> std::io::Result<String> {
        writeln!(self.input, "{question}")?;
        self.line()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target for FloorTarget {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn publish_address(&self) -> SocketAddr {
        self.publish_address
    }

    /// A subscriber sends a word only where there are several topics: the number of its topic.
    fn join(&self, group: usize, _from: Option<Place>, out: &mut Vec<u8>) {
        if self.plan.via == Via::Ws {
            // It reads the topic here, and not from the frames that follow.
            let name = &self.plan.topic_of(group);
            let request = Request::Topic { name, from: None };
            websocket::ask(request, self.address, Some(SUBPROTOCOL), out);
        } else if self.plan.via != Via::Native {
            self.plan.ask(self.address, group, None, out);
        } else if self.answer {
            self.plan.greet(group, None, out);
        } else if self.plan.groups > 1 {
            let mark: [u8; MARK_BYTES] = (group as u64).to_le_bytes();
            out.extend_from_slice(&mark);
        }
    }

    fn enter(&self, group: usize, _from: Option<Place>, out: &mut Vec<u8>) {
        self.plan.enter(group, None, out);
    }

    fn answers(&self) -> bool {
        self.answer
    }

    fn keeps(&self) -> bool {
        false
    }

    fn greet(&self, _out: &mut Vec<u8>) {}

    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
        self.plan.compose(group, payloads, out)
    }

    /// The publisher alone stamps these records.
    fn stamp(&self, publication: &mut [u8], by: Stamp) {
        stamp(
            publication,
            &RecordStamp {
                offset: Offset::new(by.first),
                sequence: Sequence::new(u64::from(by.slot)),
                log: LogId::new(u16::try_from(by.group).unwrap_or(u16::MAX)),
                timestamp_ms: 0,
                incarnation: 0,
            },
        );
    }

    fn pong(&self, _token: u64, _out: &mut Vec<u8>) {}

    fn ear(&self, listening: Listening) -> Box<dyn Ear> {
        self.plan.ear(listening)
    }

    fn publisher_ear(&self) -> Box<dyn Ear> {
        self.plan.publisher_ear()
    }

    fn sum(&self, payloads: &[&[u8]]) -> u32 {
        self.plan.sum(payloads)
    }

    fn accepted(&self) -> Result<Option<usize>, String> {
        if self.answer {
            return Ok(None);
        }
        let mut process = self.process.lock().expect("no thread panics with the lock");
        let line = process
            .ask("accepted")
            .map_err(|error| format!("the floor's server has ended: {error}"))?;
        let number = line
            .trim()
            .parse()
            .map_err(|_| "the floor's server has ended".to_owned())?;
        Ok(Some(number))
    }

    fn memory(&self) -> Result<Option<u64>, String> {
        Ok(self.plan.memory())
    }
}
