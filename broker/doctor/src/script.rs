//! The fixes as a shell script, which is printed and left to whoever reads it.

use std::fmt::Write;

use super::figures::grouped;
use super::{Finding, Fix, Report};

const SYSCTL_DIRECTORY: &str = "/etc/sysctl.d";
const SYSCTL_FILE: &str = "90-oyez.conf";
const UNIT_DIRECTORY: &str = "/etc/systemd/system/oyez-server.service.d";

/// What each step is followed by: a step that does not work is told, and the script goes on.
const BEGINNING: &str = r#"set -u
failures=0
# The step before this one did not work: tells it, as "skipped" where a program of it is missing.
missed() {
    status=$?
    if [ "$status" = 127 ]; then
        echo "skipped: $1: this host does not have the program" >&2
    else
        echo "failed: $1: exit status $status" >&2
        failures=$((failures + 1))
    fi
}
"#;
const END: &str = r#"
# Everything was tried; what is missing on this host was skipped.
[ "$failures" = 0 ]
"#;

impl Report {
    /// A commented script with the fix of every finding that has one. It is for any POSIX shell, may be run again, runs to
    /// its end whatever fails, and exits with 1 if something did.
    pub(crate) fn script(&self) -> String {
        let mut text = format!(
            "#!/bin/sh\n# What `oyez-server doctor` would change on this host for {} connections.\n# Read it, then run it \
             as root. It can be run again.\n{BEGINNING}",
            grouped(self.connections)
        );
        let fixes: Vec<(&Finding, &Fix)> = self
            .findings
            .iter()
            .filter_map(|finding| Some((finding, finding.fix.as_ref()?)))
            .collect();
        if fixes.is_empty() {
            text.push_str("\n# Nothing to change.\n");
        }
        settings(&mut text, &fixes);
        unit(&mut text, &fixes);
        for (finding, fix) in fixes {
            if let Fix::Command(command) = fix {
                comment(&mut text, "\n# ", finding);
                text.push_str("# It does not outlive a reboot.\n");
                step(&mut text, command, &finding.name);
            } else if let Fix::Advice(advice) = fix {
                comment(&mut text, "\n# ", finding);
                let _ = writeln!(text, "# By hand: {advice}.");
            }
        }
        text.push_str(END);
        text
    }
}

fn comment(text: &mut String, begin: &str, finding: &Finding) {
    let _ = writeln!(
        text,
        "{begin}{}: {} (wanted {}).\n# {}.",
        finding.name, finding.present, finding.wanted, finding.why
    );
}

/// A command in a shell of its own, so that not even `exit` ends the script.
fn step(text: &mut String, command: &str, name: &str) {
    let _ = writeln!(text, "( {command} ) || missed '{}'", name.replace('\'', ""));
}

/// A file with these lines.
fn file(text: &mut String, (directory, name): (&str, &str), lines: &str) {
    let _ = writeln!(
        text,
        "( mkdir -p {directory} && cat > {directory}/{name} ) <<'END' || missed '{directory}/{name}'\n{lines}END"
    );
}

fn settings(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut lines = String::new();
    for (finding, fix) in fixes {
        if let Fix::Sysctl { key, value } = fix {
            comment(&mut lines, "# ", finding);
            let _ = writeln!(lines, "{key} = {value}");
        }
    }
    if !lines.is_empty() {
        text.push_str("\n# Kernel settings, now and after each boot.\n");
        file(text, (SYSCTL_DIRECTORY, SYSCTL_FILE), &lines);
        let apply = format!("sysctl -p {SYSCTL_DIRECTORY}/{SYSCTL_FILE}");
        step(text, &apply, "kernel settings");
    }
}

fn unit(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut lines = "[Service]\n".to_owned();
    let empty = lines.len();
    for (finding, fix) in fixes {
        if let Fix::Unit(line) = fix {
            comment(&mut lines, "# ", finding);
            let _ = writeln!(lines, "{line}");
        }
    }
    if lines.len() > empty {
        text.push_str("\n# Limits of the broker's unit; they count from its next start.\n");
        file(text, (UNIT_DIRECTORY, "limits.conf"), &lines);
        step(text, "systemctl daemon-reload", "limits of the unit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    fn report(fixes: Vec<Fix>) -> Report {
        let finding = |fix| {
            Finding::new("a", "1", "2", "one is less than two").judged(false, Verdict::Warn, fix)
        };
        Report::new(10, fixes.into_iter().map(finding).collect(), None)
    }

    /// Whether a shell can read it; nothing is run.
    fn parses(script: &str) -> bool {
        let checked = std::process::Command::new("sh")
            .args(["-n", "-c", script])
            .status();
        checked.expect("there is a shell").success()
    }

    /// Runs it where no program is but the shell's own words.
    fn run(script: &str) -> (Option<i32>, String) {
        let nothing = tempfile::tempdir().unwrap();
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .env("PATH", nothing.path())
            .output()
            .expect("there is a shell");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    }

    fn command(command: String) -> Fix {
        Fix::Command(command)
    }

    #[test]
    fn a_program_that_is_missing_is_told_and_the_rest_of_the_script_runs() {
        let directory = tempfile::tempdir().unwrap();
        let written = directory.path().join("written");
        let script = report(vec![
            command("modprobe cpuidle_haltpoll force=1".to_owned()),
            command(format!("echo is done > '{}'", written.display())),
        ])
        .script();
        for _ in 0..2 {
            let (status, told) = run(&script);
            assert_eq!(std::fs::read_to_string(&written).unwrap(), "is done\n");
            assert!(told.contains("modprobe"), "{told}");
            assert!(told.contains("skipped: a"), "{told}");
            assert_eq!(status, Some(0), "{told}");
        }
    }

    #[test]
    fn a_command_that_fails_is_told_and_counts_when_the_script_has_run() {
        let directory = tempfile::tempdir().unwrap();
        let written = directory.path().join("written");
        let script = report(vec![
            command("exit 3".to_owned()),
            command(format!("echo done > '{}'", written.display())),
        ])
        .script();
        let (status, told) = run(&script);
        assert!(written.exists(), "{told}");
        assert!(told.contains("failed: a"), "{told}");
        assert_eq!(status, Some(1), "{told}");
    }

    #[test]
    fn each_kind_of_fix_has_its_place() {
        let script = report(vec![
            Fix::sysctl("net.core.somaxconn", &65_535),
            Fix::Unit("LimitNOFILE=500".to_owned()),
            Fix::Command("echo 1 > /sys/x".to_owned()),
            Fix::Advice("buy more".to_owned()),
        ])
        .script();
        assert!(parses(&script), "{script}");
        assert!(
            script.contains("\nnet.core.somaxconn = 65535\nEND\n( sysctl -p"),
            "{script}"
        );
        assert!(script.contains("[Service]\n# a: 1 (wanted 2)"), "{script}");
        assert!(script.contains("LimitNOFILE=500\nEND"), "{script}");
        assert!(
            script.contains("\n( echo 1 > /sys/x ) || missed"),
            "{script}"
        );
        assert!(script.contains("# By hand: buy more."), "{script}");
    }

    #[test]
    fn a_host_that_is_fine_gets_an_empty_script() {
        let script = report(Vec::new()).script();
        assert!(
            parses(&script) && script.contains("Nothing to change"),
            "{script}"
        );
    }
}
