//! The origin of a report: when, on which machine, and by which command line it was made.

use std::env;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::SystemTime;

use serde::Serialize;

/// The facts that distinguish this run from others.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Origin {
    /// When the run ended, as HTTP writes dates.
    pub(super) at: String,
    pub(super) host: String,
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) kernel: String,
    /// The command line, quoted for a shell.
    pub(super) command: String,
}

impl Origin {
    /// This process, on this machine, now.
    pub(super) fn here() -> Self {
        let words: Vec<String> = env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        Self {
            at: httpdate::fmt_http_date(SystemTime::now()),
            host: read("/proc/sys/kernel/hostname"),
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: processor(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease"),
            command: command(&words),
        }
    }

    /// The machine in one line.
    pub(super) fn machine(&self) -> String {
        let Self {
            host,
            cores,
            processor,
            kernel,
            ..
        } = self;
        format!("{host}: {cores} cores ({processor}), Linux {kernel}")
    }
}

/// A file of one value; nothing where it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What `/proc/cpuinfo` calls the first processor; on some architectures it has no name.
fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(env::consts::ARCH, |(_, name)| name.trim());
    name.to_owned()
}

/// Quotes words for a shell; the program by its name alone.
fn command(words: &[String]) -> String {
    let mut words = words.iter();
    let program = words.next().map_or("", String::as_str);
    let name = Path::new(program).file_name();
    let name = name.map_or(program.into(), |name| name.to_string_lossy());
    let mut line = quoted(&name);
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    line
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_given_to_a_shell() {
        let words = ["/a/b/oyez", "bench", "--topic", "it's <a>", ""].map(str::to_owned);
        assert_eq!(command(&words), r"oyez bench --topic 'it'\''s <a>' ''");
    }

    #[test]
    fn the_first_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC: 7\nmodel name\t: other\n";
        assert_eq!(processor(text), "AMD EPYC: 7");
        assert_eq!(processor(""), env::consts::ARCH);
    }
}
