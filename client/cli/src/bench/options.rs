//! Arguments that several benches share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::corpus::Corpus;
use super::spread::SourceNet;
use super::target::Via;
use crate::duration;
use crate::failure::Failure;
use crate::output::Format;

/// Arguments of every bench.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Topic to publish to; no other client may use it meanwhile. The broker's configuration decides how durable it is.
    /// It stays in the broker, and the next run uses it again
    #[arg(long, value_name = "TOPIC", default_value = "oyez-bench")]
    pub(crate) topic: String,

    /// Longest time that the whole bench may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// Most connections that are being made at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = at_least_one)]
    pub(crate) outstanding: usize,

    /// Receive buffer of each subscriber; 0 leaves it to the kernel [default: 0 up to 32,768 connections, then 8 GiB
    /// between all of them]
    #[arg(long, value_name = "BYTES")]
    pub(crate) receive_buffer: Option<u32>,

    /// Source addresses of subscribers, one per 8,000, all addresses of this host; needed only where the server is not
    /// on 127.0.0.1, with more subscribers than one address has ports [default: 127.16.0.0/12 to 127.0.0.1, else the
    /// kernel's choice]
    #[arg(long, value_name = "NETWORK/BITS")]
    pub(crate) source_net: Option<SourceNet>,

    /// Process id of the server, to read its memory and processor time from /proc; without it the server is asked for
    /// its memory
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// How to print the result
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// Also write a page with charts
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

/// Arguments of every bench with subscribers.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Subscribing {
    /// How subscribers receive messages; publishers are always native. With `sse` and `ws-json` each subscriber
    /// compares every payload
    #[arg(long, value_enum, default_value_t = Via::Native)]
    pub(crate) via: Via,
}

/// Arguments about what is published.
#[derive(Clone, Debug, Args)]
pub(crate) struct Content {
    /// Take each line of a file as a message, instead of generated notifications
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    pub(crate) corpus: Option<PathBuf>,

    /// Bytes of a generated message
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = at_least_one)]
    pub(crate) size: usize,

    /// Messages in a record
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,

    /// Do not compress messages
    #[arg(long)]
    pub(crate) no_compress: bool,
}

impl Content {
    pub(crate) fn corpus(&self) -> Result<Corpus, Failure> {
        match &self.corpus {
            Some(path) => Corpus::read(path),
            None => Ok(Corpus::generate(self.size)),
        }
    }

    /// Names the source of the messages, for the report.
    pub(crate) fn source(&self) -> String {
        match &self.corpus {
            Some(path) => path.display().to_string(),
            None => format!("generated, {} bytes", self.size),
        }
    }
}

/// Connections up to which the kernel chooses each one's receive buffer.
const UNSIZED_MAX: usize = 32_768;
/// Memory of all receive buffers together, when there are more connections than that and all buffers are full.
const BUFFERS_BYTES: usize = 8 << 30;

impl Common {
    /// Receive buffer of each of so many connections, in bytes; `None` leaves it to the kernel.
    pub(crate) fn receive_buffer(&self, connections: usize) -> Option<u32> {
        let automatic = if connections <= UNSIZED_MAX {
            0
        } else {
            u32::try_from(BUFFERS_BYTES / connections).unwrap_or(u32::MAX)
        };
        Some(self.receive_buffer.unwrap_or(automatic)).filter(|size| *size > 0)
    }
}

/// Reads a count that may not be zero.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace(['_', ','], "").parse() {
        Ok(0) => Err("give at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("give a whole number".to_owned()),
    }
}

/// Reads a rate.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("give a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_may_be_grouped_and_are_never_zero() {
        assert_eq!(at_least_one("1_000_000"), Ok(1_000_000));
        assert_eq!(at_least_one("10,000"), Ok(10_000));
        for text in ["0", "", "-1", "1.5"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_above_zero() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "NaN", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
