//! Commands: where they begin and end on a page, and which of them run until they are stopped.

use std::process::Command;

use testkit::process::run;

/// A command and what the page shows of what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) shown: Vec<String>,
}

/// The commands of a block. One goes on over the next lines for as long as bash finds it incomplete.
///
/// # Panics
/// When the block does not begin with a command.
pub(crate) fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            let step = steps.last_mut();
            let step = step.unwrap_or_else(|| panic!("no command is in front of {line:?}"));
            step.shown.push(line.to_owned());
            continue;
        };
        let mut command = command.to_owned();
        while is_incomplete(&command) && lines.peek().is_some() {
            command = format!("{command}\n{}", lines.next().unwrap_or_default());
        }
        steps.push(Step {
            command,
            shown: Vec::new(),
        });
    }
    // Blank lines between commands are there for the eye.
    for step in &mut steps {
        while step.shown.last().is_some_and(|line| line.trim().is_empty()) {
            step.shown.pop();
        }
    }
    steps
}

fn is_incomplete(command: &str) -> bool {
    let quoted = command.contains(['\'', '"', '`', '<', '(', '{']);
    command.ends_with('\\')
        || (quoted && {
            let output = run(Command::new("bash").args(["-n", "-c", command]));
            !output.stderr.is_empty()
        })
}

/// Whether a command starts a broker. A broker that runs is stopped before: a port has one.
pub(crate) fn starts_broker(command: &str) -> bool {
    let mut words = command
        .split_whitespace()
        .skip_while(|word| word.starts_with("OYEZ_"));
    let starts = match (words.next(), words.next()) {
        (Some("oyez-server"), next) => {
            next.is_none_or(|word| word.starts_with(['-', '&', '#', '>', '2']))
        }
        (Some("cargo"), next) => next == Some("run") && !command.contains(" -p "),
        (Some("systemctl"), next) => next == Some("start"),
        _ => false,
    };
    let instead = ["--check-config", "--print-config", "--help", "--version"];
    let code = command.split(" #").next().unwrap_or_default();
    // What is followed by another command does not go on.
    let alone = ![";", "||", "|"].iter().any(|mark| code.contains(mark));
    starts && alone && !instead.iter().any(|flag| code.contains(flag))
}

/// Whether a command runs until it is stopped.
pub(crate) fn runs_on(command: &str) -> bool {
    let code = command.split(" #").next().unwrap_or_default();
    let has = |text: &str| code.contains(text);
    let ends = [
        "--count",
        "--timeout",
        "--once",
        "--max-time",
        "--help",
        "| head",
        "timeout ",
    ];
    starts_broker(command)
        || (!ends.iter().any(|end| has(end))
            && (code.trim_end().ends_with('&')
                || has("oyez sub ")
                || has("oyez top")
                || has("curl -N")
                || has("tail -f")
                || has("http.server")))
}

/// Whether a command subscribes.
pub(crate) fn subscribes(command: &str) -> bool {
    command.contains("oyez sub ") || command.contains("/sse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_on_while_a_quote_is_open() {
        let steps = steps("$ curl -d '[\n  1\n]'\n[1]\n\n$ ls \\\n  -l\n");
        let commands: Vec<_> = steps.iter().map(|step| step.command.as_str()).collect();
        assert_eq!(commands, ["curl -d '[\n  1\n]'", "ls \\\n  -l"]);
        assert_eq!(steps[0].shown, ["[1]"]);
        assert!(steps[1].shown.is_empty());
    }

    #[test]
    fn programs_that_serve_or_wait_run_on() {
        for command in [
            "oyez-server",
            "OYEZ_ORIGINS=http://localhost oyez-server &",
            "cargo run --release",
            "oyez sub demo",
            "curl -N localhost/demo/sse",
            "oyez-server --data /x  # a comment; and more",
        ] {
            assert!(runs_on(command), "{command}");
        }
        for command in [
            "oyez-server doctor",
            "oyez-server --print-config > oyez.toml",
            "oyez-server --listen :1; echo $?",
            "oyez sub demo --count 1",
            "oyez top --once",
            "cargo install --path broker",
        ] {
            assert!(!runs_on(command), "{command}");
        }
        assert!(!starts_broker("oyez sub demo &"));
    }
}
