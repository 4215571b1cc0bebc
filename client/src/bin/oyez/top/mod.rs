//! `oyez top`: the broker at work, from what `oyez stats` tells at regular intervals.

mod sample;
mod screen;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use clap::Args;
use oyez_client::Client;

use self::sample::{Figures, Sample};
use self::terminal::Terminal;
use crate::Shared;
use crate::duration;
use crate::failure::Failure;
use crate::output::{Format, print_json};

/// A screen should not stay empty for a whole interval.
const FIRST_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// Lines between two rows of titles.
const LINES_PER_TITLE: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  oyez top                        a screen, until Ctrl-C
  oyez top --count 10             ten lines, a second each
  oyez top --interval 10s -o json | jq -c '[.uptime_ms, .messages_out]'";

/// What `oyez top` is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Time between two looks at the broker
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,

    /// Print so many intervals, a line each, and exit
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// How to print them; JSON is one object per interval
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.interval.is_zero() {
        return Err(Failure::Usage(
            "--interval must be longer than 0".to_owned(),
        ));
    }
    let client = shared.connect()?;
    let live =
        arguments.count.is_none() && arguments.output == Format::Text && io::stdout().is_terminal();
    if live {
        watch(&client, &shared.server, arguments.interval)?;
    } else {
        list(&client, arguments)?;
    }
    Ok(client.drain()?)
}

fn look(client: &Client) -> Result<Sample, Failure> {
    let stats = client.stats()?;
    serde_json::from_value(stats).map_err(|error| {
        Failure::Failed(format!(
            "the broker's counters are not as expected: {error}"
        ))
    })
}

/// Draws a screen after each interval. Only a signal or a failure ends it.
fn watch(client: &Client, server: &str, interval: Duration) -> Result<(), Failure> {
    let mut before = look(client)?;
    let terminal = Terminal::take()?;
    let mut wait = interval.min(FIRST_INTERVAL_MAX);
    loop {
        thread::sleep(wait);
        let after = look(client)?;
        let figures = Figures::between(&before, &after);
        terminal.show(&screen::screen(server, &after, &figures))?;
        (before, wait) = (after, interval);
    }
}

/// Prints a line for each interval.
fn list(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let mut before = look(client)?;
    for number in 0..arguments.count.unwrap_or(u64::MAX) {
        thread::sleep(arguments.interval);
        let after = look(client)?;
        let figures = Figures::between(&before, &after);
        if arguments.output == Format::Json {
            print_json(&figures)?;
        } else {
            print_line(number, &figures)?;
        }
        before = after;
    }
    Ok(())
}

fn print_line(number: u64, figures: &Figures) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let titles = if number.is_multiple_of(LINES_PER_TITLE) {
        [screen::TITLES, "\n"].concat()
    } else {
        String::new()
    };
    writeln!(output, "{titles}{}", screen::line(figures))
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}
