//! `oyez pub`: messages from the command line, a file or standard input into a topic.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use oyez_client::{Ack, NewMessage, Publisher, PublisherOptions, Totals};
use serde::Serialize;

use crate::Shared;
use crate::duration;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{Format, grouped, print_json};
use crate::progress::Progress;
use crate::say::say;
use crate::topic;

/// No broker takes larger messages: the protocol's largest record.
const MESSAGE_SIZE_MAX: usize = 1 << 20;
/// Messages between two collections of acknowledgements.
const ACK_STRIDE: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  oyez pub demo 'hello'                        one message
  oyez pub images < cat.jpg                    all of standard input as one message
  oyez pub -l orders < orders.ndjson           every line a message, 64 to a record
  oyez pub -l orders --file orders.ndjson --batch 256 -o json
  oyez pub readings 21.5 --key sensor-7 --header unit=celsius

It returns when the broker has acknowledged every message. Lines are taken to the byte, without their
newline; batches compress better the larger they are.";

/// What `oyez pub` is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The topic: levels separated by `/`, at most 255 bytes
    #[arg(value_parser = topic::parse)]
    topic: String,

    /// The message; `-` or none takes all of standard input
    #[arg(conflicts_with_all = ["lines", "file"])]
    message: Option<OsString>,

    /// Publish every line as a message
    #[arg(short, long)]
    lines: bool,

    /// Read from a file instead of standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Most messages in a record
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Longest time that a record waits for more messages
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration::parse)]
    linger: Duration,

    /// What each message is about
    #[arg(long)]
    key: Option<OsString>,

    /// A header of each message; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,

    /// Send messages as they are
    #[arg(long)]
    no_compress: bool,

    /// How to print the summary: text on standard error, or JSON on standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write it as NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Serialize)]
struct Summary {
    topic: String,
    messages: u64,
    records: u64,
    bytes_raw: u64,
    bytes_wire: u64,
    ratio: f64,
    seconds: f64,
    messages_per_s: f64,
    offset_first: Option<u64>,
    offset_last: Option<u64>,
    epoch: Option<String>,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let mut input = Input::open(arguments.message.clone(), arguments.file.as_deref())?;
    let client = shared.connect()?;
    let started = Instant::now();
    let publisher = client.publisher(PublisherOptions {
        batch_messages: usize::from(arguments.batch),
        batch_bytes: usize::MAX,
        linger: arguments.linger,
        compress: !arguments.no_compress,
        keep_acks: true,
    })?;
    let mut acks = Acks::default();
    let progress = Progress::new(input.size);
    let published = publish(arguments, &mut input, &publisher, &mut acks, progress);
    // What was taken before a failure is sent as well.
    let flushed = publisher.flush().map_err(Failure::from);
    let published = published.and(flushed);
    acks.collect(&publisher);
    let totals = publisher.totals();
    if let Err(failure) = published {
        let acknowledged = grouped(totals.messages);
        say(&format!(
            "oyez: {acknowledged} messages were acknowledged before the failure"
        ));
        return Err(failure);
    }
    let summary = Summary::new(&arguments.topic, totals, &acks, started.elapsed());
    client.drain()?;
    summary.print(arguments.output, shared.verbose)
}

fn publish(
    arguments: &Arguments,
    input: &mut Input,
    publisher: &Publisher,
    acks: &mut Acks,
    mut progress: Progress,
) -> Result<(), Failure> {
    let mut template = NewMessage::default();
    if let Some(key) = &arguments.key {
        template = template.key(key.as_encoded_bytes());
    }
    for (name, value) in &arguments.headers {
        template = template.header(name, value);
    }
    let topic = &arguments.topic;
    if !arguments.lines {
        let whole = input.read_whole(MESSAGE_SIZE_MAX)?;
        return Ok(publisher.push(topic, template.with_payload(&whole))?);
    }
    let (mut line, mut count) = (Vec::new(), 0);
    while input.read_line(&mut line, MESSAGE_SIZE_MAX)? {
        publisher.push(topic, template.with_payload(&line))?;
        progress.advance(line.len() + 1);
        count += 1;
        if count % ACK_STRIDE == 0 {
            acks.collect(publisher);
        }
    }
    Ok(())
}

/// The range of what was acknowledged.
#[derive(Debug, Default)]
struct Acks {
    first: Option<Ack>,
    last: Option<Ack>,
}

impl Acks {
    fn collect(&mut self, publisher: &Publisher) {
        for ack in publisher.take_acks() {
            self.first.get_or_insert_with(|| ack.clone());
            self.last = Some(ack);
        }
    }
}

impl Summary {
    fn new(topic: &str, totals: Totals, acks: &Acks, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let last = acks.last.as_ref();
        Self {
            topic: topic.to_owned(),
            messages: totals.messages,
            records: totals.records,
            bytes_raw: totals.payload_bytes,
            bytes_wire: totals.record_bytes,
            ratio: totals.record_bytes as f64 / totals.payload_bytes.max(1) as f64,
            seconds,
            messages_per_s: totals.messages as f64 / seconds,
            offset_first: acks.first.as_ref().map(|ack| ack.offset.get()),
            offset_last: last.map(|ack| ack.offset.get() + u64::from(ack.messages) - 1),
            epoch: last.map(|ack| ack.epoch.to_string()),
        }
    }

    fn print(&self, format: Format, verbose: bool) -> Result<(), Failure> {
        if format == Format::Json {
            return print_json(self);
        }
        if verbose || io::stderr().is_terminal() {
            say(&format!(
                "published {} messages to {} in {} records: {} bytes, {} on the wire ({:.2}), {:.3} s, {} messages/s",
                grouped(self.messages),
                self.topic,
                grouped(self.records),
                grouped(self.bytes_raw),
                grouped(self.bytes_wire),
                self.ratio,
                self.seconds,
                grouped(self.messages_per_s as u64),
            ));
        }
        Ok(())
    }
}
