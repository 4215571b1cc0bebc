//! `oyez top`: shows the broker at work, from the answers behind `oyez stats --lag`, asked for at regular intervals.

mod fit;
mod format;
mod glossary;
mod lag;
mod sample;
mod screen;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use oyez_client::Client;

use self::format::Size;
use self::glossary::{GLOSSARY, KEYS};
use self::sample::{Figures, Sample};
use self::screen::Heading;
use self::terminal::Terminal;
use crate::GlobalOptions;
use crate::answers;
use crate::duration;
use crate::failure::Failure;
use crate::output::{Format, print_json};
use crate::reader;

/// Longest first interval: a screen should not stay empty for long.
const FIRST_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// Lines between two rows of titles.
const LINES_PER_TITLE: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  oyez top                        a live screen, until q or Ctrl-C
  oyez top --once                 one complete screen
  oyez top --count 10             ten lines, a second each
  oyez top --interval 10s -o json | jq -c '[.uptime_ms, .messages_out]'";

/// Arguments of `oyez top`.
#[derive(Debug, Args)]
#[command(after_help = [EXAMPLES, KEYS, GLOSSARY].join("\n\n"))]
pub(crate) struct Arguments {
    /// Time between two readings
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,

    /// Print this many intervals, one line each, and exit
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Print one complete screen for one interval, and exit
    #[arg(long, conflicts_with = "count")]
    once: bool,

    /// How to print the figures; JSON is one object per interval
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(global: &GlobalOptions, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.interval.is_zero() {
        return Err(Failure::Usage(
            "--interval must be longer than 0".to_owned(),
        ));
    }
    let client = global.connect()?;
    let text = arguments.output == Format::Text;
    if arguments.once && text {
        print_screen(&client, &global.server, arguments.interval)?;
    } else if arguments.count.is_none() && text && io::stdout().is_terminal() {
        watch(&client, &global.server, arguments.interval)?;
    } else {
        list(&client, arguments)?;
    }
    Ok(client.drain()?)
}

fn look(client: &Client) -> Result<Sample, Failure> {
    let mut sample: Sample = answers::stats(client)?;
    sample.lag = answers::lag(client)?;
    Ok(sample)
}

fn print_screen(client: &Client, server: &str, interval: Duration) -> Result<(), Failure> {
    let before = look(client)?;
    reader::pass_time(interval)?;
    let after = look(client)?;
    let figures = Figures::between(&before, &after);
    let heading = Heading { server, hint: "" };
    let text = screen::screen(heading, &after, &figures, Size::ALL);
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::output(&error))
}

/// Draws a screen after each interval, until a key or a signal ends it.
fn watch(client: &Client, server: &str, interval: Duration) -> Result<(), Failure> {
    let mut before = look(client)?;
    let terminal = Terminal::take()?;
    let mut wait = interval.min(FIRST_INTERVAL_MAX);
    let heading = Heading {
        server,
        hint: "(q ends, h explains)",
    };
    while pass_time(&terminal, wait)? == Wish::Go {
        let after = look(client)?;
        let figures = Figures::between(&before, &after);
        let text = screen::screen(heading, &after, &figures, terminal.size());
        terminal.show(&text)?;
        (before, wait) = (after, interval);
    }
    Ok(())
}

/// What the user asks for with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Go,
    End,
}

/// Waits until the next screen is due, and obeys the keys meanwhile.
fn pass_time(terminal: &Terminal, wait: Duration) -> Result<Wish, Failure> {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wish = match terminal.key(left) {
            None => return Ok(Wish::Go),
            Some('q') => Wish::End,
            Some('h' | '?') => {
                terminal.show(&[KEYS, GLOSSARY].join("\n"))?;
                pause(terminal)
            }
            Some('p' | ' ') => pause(terminal),
            Some(_) => continue,
        };
        if wish == Wish::End {
            return Ok(wish);
        }
    }
}

/// Leaves the screen as it is until another key is pressed.
fn pause(terminal: &Terminal) -> Wish {
    match terminal.next_key() {
        Some('q') => Wish::End,
        _ => Wish::Go,
    }
}

/// Prints a line for each interval.
fn list(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let mut before = look(client)?;
    let once = arguments.once.then_some(1);
    for number in 0..arguments.count.or(once).unwrap_or(u64::MAX) {
        reader::pass_time(arguments.interval)?;
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
    let columns = terminal::size().map_or(Size::ALL.columns, |size| size.columns);
    let mut output = io::stdout().lock();
    let titles = if number.is_multiple_of(LINES_PER_TITLE) {
        [&screen::titles(columns), "\n"].concat()
    } else {
        String::new()
    };
    writeln!(output, "{titles}{}", screen::line(figures, columns))
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}
