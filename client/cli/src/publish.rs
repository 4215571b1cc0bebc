//! `oyez pub`: publishes messages from the command line, a file or standard input.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use oyez_client::{
    Ack, NewMessage, PublishError, Publisher, PublisherOptions, ReconnectPolicy, Totals,
};
use serde::Serialize;

use crate::GlobalOptions;
use crate::duration::{self, Patience};
use crate::failure::Failure;
use crate::input::{Input, Line};
use crate::interrupt::Interrupt;
use crate::output::{Format, grouped, print_json};
use crate::progress::Progress;
use crate::say::say;
use crate::topic;

/// Largest message that any broker accepts: the protocol's largest record.
const MESSAGE_SIZE_MAX: usize = 1 << 20;
/// Skipped lines that are reported one by one; of the others only the number is.
const SKIPS_SAID: u64 = 10;
/// Messages between two calls of `take_acks`.
const ACK_STRIDE: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  oyez pub demo 'hello'                        one message
  oyez pub images < cat.jpg                    all of standard input as one message
  oyez pub -l orders < orders.ndjson           every line a message, 64 to a record
  oyez pub -l orders --file orders.ndjson --batch 256 -o json
  oyez pub readings -5.3 --key sensor-7 --header unit=celsius

The command returns when the broker has acknowledged every message. Lines are
published byte for byte, without their newline; larger batches compress better.
SIGINT and SIGTERM end the input: what was read is still published, for up to
five seconds, and a message says how much was. A second signal ends that at
once.";

/// Arguments of `oyez pub`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The topic: levels separated by `/`, at most 255 bytes
    #[arg(value_parser = topic::parse)]
    topic: String,

    /// The message; without one, or with `-`, all of standard input is one message. After `--` a text that looks like
    /// an option is a message, too
    #[arg(conflicts_with_all = ["lines", "file"], allow_hyphen_values = true)]
    message: Option<OsString>,

    /// Publish every line as a message of its own
    #[arg(short, long)]
    lines: bool,

    /// With --lines, skip lines that are too long for a message, and say which; without it such a line ends the command
    #[arg(long, requires = "lines")]
    skip_long: bool,

    /// Read from a file instead of standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Most messages in a record
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Longest time that a record waits for more messages before it is sent
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration::parse)]
    linger: Duration,

    /// Key of each message: what the message is about
    #[arg(long, allow_hyphen_values = true)]
    key: Option<OsString>,

    /// Header of each message; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header, allow_hyphen_values = true)]
    headers: Vec<(String, String)>,

    /// Do not compress messages
    #[arg(long)]
    no_compress: bool,

    /// Give up after this time without a connection or without an acknowledgement; or `never`
    #[arg(long, value_name = "TIME", value_parser = duration::parse_patience, default_value = "2m")]
    give_up: Patience,

    /// How to print the summary: as text on standard error, or as JSON on standard output
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
    /// Lines that were too long.
    skipped: u64,
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
pub(crate) fn run(global: &GlobalOptions, arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::new()?;
    let (message, file) = (arguments.message.clone(), arguments.file.as_deref());
    let input = Input::open(message, file, Arc::clone(&interrupt))?;
    let Patience(give_up) = arguments.give_up;
    let options = global
        .options()
        .reconnect(ReconnectPolicy::default().give_up_after(give_up))
        .answer_timeout(give_up);
    let client = Arc::new(global.connect_with(options)?);
    interrupt.watch(&client)?;
    let started = Instant::now();
    let publisher = client.publisher(PublisherOptions {
        batch_messages: usize::from(arguments.batch),
        batch_bytes: usize::MAX,
        linger: arguments.linger,
        compress: !arguments.no_compress,
        keep_acks: true,
    })?;
    let mut feed = Feed::new(arguments, input, &publisher);
    let fed = feed.run();
    // Messages taken before a failure are sent as well.
    let flushed = publisher.flush().map_err(Failure::from);
    feed.acks.collect(&publisher);
    let totals = publisher.totals();
    if let Some(signal) = interrupt.signal() {
        let text = feed.interrupted(totals);
        return Err(Failure::Interrupted { signal, text });
    }
    if let Err(failure) = fed.and(flushed) {
        let acknowledged = grouped(totals.messages);
        say(&format!(
            "oyez: {acknowledged} messages were acknowledged before the failure"
        ));
        return Err(failure);
    }
    let summary = Summary::new(&arguments.topic, totals, &feed, started.elapsed());
    client.drain()?;
    summary.print(arguments.output, global.verbose)
}

/// Feeds the input to the publisher.
struct Feed<'a> {
    arguments: &'a Arguments,
    input: Input,
    publisher: &'a Publisher,
    acks: Acks,
    /// Number of messages handed to the publisher.
    taken: u64,
    /// Lines that were too long.
    skipped: u64,
    /// Bytes read of a line that a signal cut off.
    unfinished: usize,
}

impl<'a> Feed<'a> {
    fn new(arguments: &'a Arguments, input: Input, publisher: &'a Publisher) -> Self {
        Self {
            arguments,
            input,
            publisher,
            acks: Acks::default(),
            taken: 0,
            skipped: 0,
            unfinished: 0,
        }
    }

    /// Publishes everything.
    fn run(&mut self) -> Result<(), Failure> {
        let (arguments, mut template) = (self.arguments, NewMessage::default());
        if let Some(key) = &arguments.key {
            template = template.key(key.as_encoded_bytes());
        }
        for (name, value) in &arguments.headers {
            template = template.header(name, value);
        }
        if arguments.lines {
            return self.publish_lines(&template);
        }
        let whole = self.input.read_whole(MESSAGE_SIZE_MAX)?;
        self.taken = 1;
        Ok(self
            .publisher
            .push(&arguments.topic, template.with_payload(&whole))?)
    }

    fn publish_lines(&mut self, template: &NewMessage<'_>) -> Result<(), Failure> {
        let mut progress = Progress::new(self.input.size);
        let mut line = Vec::new();
        loop {
            match self.input.read_line(&mut line, MESSAGE_SIZE_MAX) {
                Ok(Line::Whole) => self.publish_line(template.with_payload(&line))?,
                Ok(Line::TooLong) => self.pass_over(line.len(), MESSAGE_SIZE_MAX)?,
                Ok(Line::End) => return Ok(()),
                Err(failure) => {
                    self.unfinished = line.len();
                    return Err(failure);
                }
            }
            progress.advance(line.len() + 1);
        }
    }

    fn publish_line(&mut self, message: NewMessage<'_>) -> Result<(), Failure> {
        match self.publisher.push(&self.arguments.topic, message) {
            Err(PublishError::TooLarge { size, max }) => {
                return self.too_long(&size.to_string(), max);
            }
            taken => taken?,
        }
        self.taken += 1;
        if self.taken.is_multiple_of(ACK_STRIDE) {
            self.acks.collect(self.publisher);
        }
        Ok(())
    }

    /// Handles a line that is too long and not read to its end.
    fn pass_over(&mut self, read: usize, max: usize) -> Result<(), Failure> {
        let size = if self.arguments.skip_long {
            (read + self.input.skip_line()?).to_string()
        } else {
            format!("more than {max}")
        };
        self.too_long(&size, max)
    }

    fn too_long(&mut self, size: &str, max: usize) -> Result<(), Failure> {
        let place = self.input.place();
        if !self.arguments.skip_long {
            return Err(Failure::Failed(format!(
                "{place} has {size} bytes; a message has at most {max}, key and headers included; --skip-long skips \
                 such lines"
            )));
        }
        self.skipped += 1;
        if self.skipped <= SKIPS_SAID {
            say(&format!(
                "oyez: {place} is skipped: it has {size} bytes; a message has at most {max}"
            ));
        }
        Ok(())
    }

    /// Says how far publishing came before a signal ended it.
    fn interrupted(&self, totals: Totals) -> String {
        let (taken, done) = (self.taken, totals.messages);
        let mut text = if done == taken {
            format!(
                "interrupted: all {} messages that were read are published and acknowledged",
                grouped(taken)
            )
        } else {
            format!(
                "interrupted: {} of {} messages that were read are published and acknowledged, {} may or may not be stored",
                grouped(done),
                grouped(taken),
                grouped(taken.saturating_sub(done))
            )
        };
        if self.unfinished > 0 {
            let bytes = grouped(self.unfinished as u64);
            text += &format!("; {bytes} bytes of an unfinished line are not");
        }
        text
    }
}

/// The offsets that were acknowledged.
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
    fn new(topic: &str, totals: Totals, feed: &Feed<'_>, elapsed: Duration) -> Self {
        let (seconds, acks) = (elapsed.as_secs_f64(), &feed.acks);
        let last = acks.last.as_ref();
        Self {
            topic: topic.to_owned(),
            messages: totals.messages,
            skipped: feed.skipped,
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
        match self.skipped {
            0 => {}
            1 => say("oyez: 1 line was skipped"),
            skipped => say(&format!("oyez: {} lines were skipped", grouped(skipped))),
        }
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
