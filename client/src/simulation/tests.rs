//! Publisher and subscriber over a wire whose other end is scripted.

mod publishing;
mod subscribing;

use super::Wire;
use crate::options::ConnectOptions;
use oyez_protocol::command::{Begin, Start, VERSION};
use oyez_protocol::event::{Goodbye, GoodbyeCode, Heartbeat, Welcome};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_secs(10);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A network of one connection: what is to be read, and what was written.
#[derive(Debug)]
struct Fake {
    refuses: bool,
    dials: u32,
    closed: bool,
    /// The broker's end is closed: after what is to be read comes the end.
    ended: bool,
    incoming: VecDeque<u8>,
    written: Vec<u8>,
    /// Of the records in what was heard last.
    correlations: Vec<u64>,
    /// Bytes that one write takes at most.
    write_max: usize,
    /// Bytes that are taken before it is full.
    room: usize,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            refuses: false,
            dials: 0,
            closed: false,
            ended: false,
            incoming: VecDeque::new(),
            written: Vec::new(),
            correlations: Vec::new(),
            write_max: usize::MAX,
            room: usize::MAX,
        }
    }
}

impl Wire for Fake {
    fn dial(&mut self) -> bool {
        self.dials += 1;
        self.incoming.clear();
        self.written.clear();
        (self.closed, self.ended) = (false, false);
        !self.refuses
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let size = into.len().min(self.incoming.len());
        for (to, from) in into.iter_mut().zip(self.incoming.drain(..size)) {
            *to = from;
        }
        Ok(size)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = bytes.len().min(self.write_max).min(self.room);
        if size == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= size;
        self.written.extend_from_slice(&bytes[..size]);
        Ok(size)
    }

    fn close(&mut self) {
        self.closed = true;
    }
}

impl Fake {
    fn says(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.incoming.extend(bytes);
    }

    fn welcomes(&mut self) {
        self.says(|out| {
            Welcome {
                version: VERSION,
                heartbeat_ms: 10_000,
                limits: Limits::DEFAULT,
                inflight_records_max: 2,
                inflight_bytes_max: 4 << 20,
                subscriptions_max: 1_024,
                features: 0,
                expires_ms: 0,
                instance: 1,
                name: "broker",
            }
            .encode(out);
        });
    }

    fn says_goodbye(&mut self, code: GoodbyeCode, retry_after_ms: u32) {
        self.says(|out| {
            Goodbye {
                code,
                retry_after_ms,
                reason: "so",
            }
            .encode(out);
        });
    }

    fn pings(&mut self, token: u64) {
        self.says(|out| Heartbeat { token }.encode_ping(out));
    }

    /// What was written since, in words.
    fn heard(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.written);
        let (mut rest, mut heard) = (&bytes[..], Vec::new());
        self.correlations.clear();
        while let Decoded::Frame { frame, size } = decode(rest, &Limits::HARD).unwrap() {
            if let Frame::Record(record) = &frame {
                self.correlations.push(record.correlation());
            }
            heard.push(word(&frame));
            rest = &rest[size..];
        }
        assert!(rest.is_empty(), "whole frames");
        heard
    }
}

fn word(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Hello(hello) => format!("hello of {}", hello.name),
        Frame::Subscribe(subscribe) => {
            let asked = subscribe.topics().next().expect("there is one");
            match asked.begin {
                Begin::At(Start::Latest) => format!("{} from the end", asked.name),
                Begin::At(Start::Earliest) => format!("{} from the start", asked.name),
                Begin::At(Start::Offset(offset)) => format!("{} from {offset}", asked.name),
                other => panic!("{other:?}"),
            }
        }
        Frame::Record(record) => format!("{} of {}", record.count(), record.topic()),
        Frame::Ping(_) => "ping".to_owned(),
        Frame::Pong(heartbeat) => format!("pong {}", heartbeat.token),
        Frame::Goodbye(goodbye) => format!("goodbye {:?}", goodbye.code),
        other => panic!("{other:?}"),
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new().name("test")
}

/// The longest delay.
fn longest(bound: u64) -> u64 {
    bound.saturating_sub(1)
}
