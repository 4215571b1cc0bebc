//! What the kernel alone can do: a bare server that this bench starts in a process of its own. It accepts, it polls, it
//! calls `sendmsg`; it has no protocol, no storage, no sessions. It gets finished records and passes them on.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use oyez_protocol::record::{Stamp as RecordStamp, stamp};
use oyez_protocol::{LogId, Offset, Sequence};

use super::oyez::{OyezOptions, compose_record, greet};
use super::websocket;
use super::{Ear, Listening, Place, Stamp, Target, Via, topic_of};
use crate::bench::floor::MARK_BYTES;
use crate::bench::memory;
use crate::bench::websocket::handshake::Path;
use crate::failure::Failure;

/// What the server does beside accepting and sending.
#[derive(Clone, Debug, Default)]
pub(crate) struct FloorOptions {
    /// It reads what a subscriber says, and answers as many bytes as a broker would. Over HTTP it always does.
    pub(crate) answer: bool,
    /// It writes each record here and syncs it before it answers; only without subscribers.
    pub(crate) sync_file: Option<PathBuf>,
}

/// The bare server.
pub(crate) struct FloorTarget {
    address: SocketAddr,
    publish_address: SocketAddr,
    options: OyezOptions,
    answer: bool,
    process: Mutex<Process>,
    pid: u32,
}

/// The child and its two pipes. It ends when its standard input does.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl FloorTarget {
    /// Starts the server with room for so many subscribers. With none, it answers each record where it reads it.
    pub(crate) fn new(
        options: OyezOptions,
        floor: &FloorOptions,
        connections: usize,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("cannot start the floor's server", &error);
        let mut child = command(&options, floor, connections)
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
            answer: floor.answer || options.via != Via::Native,
            options,
            process: Mutex::new(process),
            pid,
        })
    }
}

fn command(
    options: &OyezOptions,
    floor: &FloorOptions,
    connections: usize,
) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "floor-server", "--connections"])
        .arg(connections.to_string())
        .args(["--groups", &options.groups.to_string()])
        .args(["--via", options.via.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(path) = &floor.sync_file {
        command.arg("--sync-file").arg(path);
    }
    if floor.answer {
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

    /// Only where there are several topics does a subscriber have to say a word: which.
    fn join(&self, group: usize, _from: Option<Place>, out: &mut Vec<u8>) {
        if self.options.via == Via::Ws {
            // It reads the topic here, and not from the frames that follow.
            let name = &topic_of(&self.options.topic, self.options.groups, group);
            websocket::ask_frames(self.address, Path::Topic { name, from: None }, out);
        } else if self.options.via != Via::Native {
            self.options.ask(self.address, group, None, out);
        } else if self.answer {
            greet(&self.options, group, None, out);
        } else if self.options.groups > 1 {
            let mark: [u8; MARK_BYTES] = (group as u64).to_le_bytes();
            out.extend_from_slice(&mark);
        }
    }

    fn enter(&self, group: usize, _from: Option<Place>, out: &mut Vec<u8>) {
        self.options.enter(group, None, out);
    }

    fn answers(&self) -> bool {
        self.answer
    }

    fn keeps(&self) -> bool {
        false
    }

    fn greet(&self, _out: &mut Vec<u8>) {}

    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
        compose_record(&self.options, group, payloads, out)
    }

    /// Nobody stamps these records but the publisher.
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
        self.options.ear(listening)
    }

    fn publisher_ear(&self) -> Box<dyn Ear> {
        self.options.native_ear(false)
    }

    fn sum(&self, payloads: &[&[u8]]) -> u32 {
        self.options.sum(payloads)
    }

    fn accepted(&self) -> Result<Option<usize>, String> {
        if self.answer {
            return Ok(None);
        }
        let mut process = self.process.lock().expect("nobody panics while asking");
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
        Ok(memory::anonymous(self.pid))
    }
}
