//! `oyez sub`: prints the messages of a topic on standard output.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use oyez_client::{
    Closer, Delivery, Epoch, Message, Offset, ReconnectPolicy, Start, SubscribeOptions,
    Subscription,
};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::GlobalOptions;
use crate::duration::{self, Patience};
use crate::failure::Failure;
use crate::reader;
use crate::say::{say, shown_payload};
use crate::topic;

/// Bytes gathered for one write, while more messages are at hand.
const BUFFER_SIZE: usize = 256 << 10;

const EXAMPLES: &str = "\
Examples:
  oyez sub demo                            messages from now on, until Ctrl-C
  oyez sub demo --from earliest            all messages kept, then new ones
  oyez sub demo --from offset:100 --count 10
  oyez sub demo --from earliest --timeout 1s -o json | jq .payload

With -o text (the default) each payload is printed as it is, followed by a
newline; on a terminal, control characters in it are escaped, which -o raw never
does. With -o json each message is an object on a line of its own: topic,
offset, epoch, timestamp_ms, key, headers, payload; a key, a header or a payload
that is not UTF-8 comes as key_base64, value_base64 or payload_base64.

A lost connection is made again, and output goes on where it was, however long
that takes, unless --give-up sets a limit. The command ends when the reader of
its output does.";

/// Arguments of `oyez sub`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The topic
    #[arg(value_parser = topic::parse)]
    topic: String,

    /// Where to begin: latest (only new messages), earliest (the oldest kept) or offset:N
    #[arg(long, value_name = "PLACE", default_value = "latest", value_parser = parse_start)]
    from: Start,

    /// Epoch in which the offset was seen, 16 hexadecimal digits; if the topic has another epoch, output begins with
    /// the oldest message kept
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<Epoch>,

    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End with exit code 5 when no message comes for this long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Give up after this time without a connection; or `never`
    #[arg(long, value_name = "TIME", value_parser = duration::parse_patience, default_value = "never")]
    give_up: Patience,

    /// How to print messages
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How a message is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The payload and a newline; on a terminal control characters are escaped
    Text,
    /// The payload and a newline, never escaped
    Raw,
    /// A JSON object per line
    Json,
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "latest" => return Ok(Start::Latest),
        "earliest" => return Ok(Start::Earliest),
        _ => {}
    }
    text.strip_prefix("offset:")
        .and_then(|number| number.parse().ok())
        .map(|number| Start::Offset(Offset::new(number)))
        .ok_or_else(|| "give latest, earliest or offset:N".to_owned())
}

/// Runs the command.
pub(crate) fn run(global: &GlobalOptions, arguments: &Arguments) -> Result<(), Failure> {
    let mut options = SubscribeOptions::topic(&arguments.topic).from(arguments.from);
    if let Some(epoch) = arguments.epoch {
        if !matches!(arguments.from, Start::Offset(_)) {
            let why = "--epoch needs an offset: add --from offset:N";
            return Err(Failure::Usage(why.to_owned()));
        }
        options = options.epoch(epoch);
    }
    let Patience(give_up) = arguments.give_up;
    let policy = ReconnectPolicy::default().give_up_after(give_up);
    let client = global.connect_with(global.options().reconnect(policy))?;
    let subscription = client.subscribe(options)?;
    if global.verbose {
        let (topic, offset) = (&arguments.topic, subscription.position());
        say(&format!("subscribed to {topic} at offset {offset}"));
    }
    end_with_signals(subscription.closer())?;
    end_with_reader(subscription.closer());
    let mut output = BufWriter::with_capacity(BUFFER_SIZE, io::stdout().lock());
    let printed = print_all(arguments, subscription, &mut output);
    let flushed = output.flush().map_err(|error| Failure::output(&error));
    printed.and(flushed)
}

/// Lets the first SIGINT or SIGTERM close the subscription, so that what was received is still printed. The second
/// signal ends the process, in case the output is not read any more.
fn end_with_signals(closer: Closer) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::io("cannot wait for signals", &error))?;
    thread::spawn(move || {
        let mut received = signals.forever();
        received.next();
        closer.close();
        if let Some(signal) = received.next() {
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Closes the subscription when the reader of standard output leaves: a quiet topic would not notice by writing.
fn end_with_reader(closer: Closer) {
    thread::spawn(move || match reader::leaves(None) {
        Ok(_) => closer.close(),
        // The next write meets the error.
        Err(failure) => drop(failure),
    });
}

fn print_all(
    arguments: &Arguments,
    mut subscription: Subscription,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::output(&error);
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let format = match arguments.output {
        Format::Text if !io::stdout().is_terminal() => Format::Raw,
        format => format,
    };
    while left > 0 {
        if !subscription.has_more_at_hand() {
            output.flush().map_err(failed)?;
        }
        let next = match arguments.timeout {
            Some(timeout) => subscription.next_timeout(timeout)?,
            None => subscription.next().transpose()?,
        };
        match (next, arguments.timeout) {
            (Some(Delivery::Message(message)), _) => {
                print(&message, format, output).map_err(failed)?;
                left -= 1;
            }
            (Some(Delivery::Gap(gap)), _) => say(&format!("oyez: {gap}")),
            (Some(Delivery::Skip(skip)), _) => say(&format!("oyez: {skip}")),
            (Some(Delivery::NewEpoch(change)), _) => say(&format!("oyez: {change}")),
            (None, Some(timeout)) if !subscription.is_over() => {
                return Err(Failure::Timeout(timeout));
            }
            (None, _) => return Ok(()),
            (Some(_), _) => {}
        }
    }
    Ok(())
}

fn print(message: &Message, format: Format, output: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => output.write_all(shown_payload(&message.payload).as_bytes())?,
        Format::Raw => output.write_all(&message.payload)?,
        Format::Json => serde_json::to_writer(&mut *output, &Row::new(message))?,
    }
    output.write_all(b"\n")
}

/// A message as it is printed in JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    topic: &'a str,
    offset: u64,
    epoch: String,
    timestamp_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct Header<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> Row<'a> {
    fn new(message: &'a Message) -> Self {
        let (payload, payload_base64) = text_or_base64(&message.payload);
        let (key, key_base64) = match &message.key {
            Some(key) => text_or_base64(key),
            None => (None, None),
        };
        let headers = message.headers.iter().map(|(name, value)| {
            let (value, value_base64) = text_or_base64(value);
            Header {
                name: String::from_utf8_lossy(name).into_owned(),
                value,
                value_base64,
            }
        });
        Self {
            topic: &message.topic,
            offset: message.offset.get(),
            epoch: message.epoch.to_string(),
            timestamp_ms: message.timestamp_ms,
            key,
            key_base64,
            headers: headers.collect(),
            payload,
            payload_base64,
        }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_begin_is_latest_earliest_or_an_offset() {
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("offset:7"), Ok(Start::Offset(Offset::new(7))));
        for text in ["", "7", "offset:", "offset:-1", "newest"] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }
}
