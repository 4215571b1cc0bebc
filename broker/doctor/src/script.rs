//! The fixes as a shell script, which is printed for the operator to read and run.

use std::fmt::Write;

use super::figures::grouped;
use super::{Finding, Fix, Report};

/// Prefix of the files that hold one setting each. They sort behind the single file that scripts of version 0.1.0 write.
const SYSCTL_FILES: &str = "/etc/sysctl.d/91-oyez-";
const UNIT_FILES: &str = "/etc/systemd/system/oyez-server.service.d/oyez-";

/// The beginning of every script. A step that fails is reported, and the script goes on.
const BEGINNING: &str = r#"set -u
failures=0
# The step before this one did not work: says so, with "skipped" where its program is missing.
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
    /// A commented script with the fix of every finding that has one. It runs in any POSIX shell, may be run again, runs to its
    /// end whatever fails, and exits with 1 if a step did.
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

/// Adds a command, in a subshell, so that not even `exit` ends the script.
fn step(text: &mut String, command: &str, name: &str) {
    let _ = writeln!(text, "( {command} ) || missed '{}'", name.replace('\'', ""));
}

/// Adds a file that holds only `lines`, so that a later script with less to change leaves it as it is.
fn file(text: &mut String, path: &str, (finding, lines): (&Finding, &str)) {
    let directory = path
        .rsplit_once('/')
        .map_or(".", |(directory, _)| directory);
    let _ = writeln!(
        text,
        "( mkdir -p {directory} && cat > {path} ) <<'END' || missed '{path}'"
    );
    comment(text, "# ", finding);
    let _ = writeln!(text, "{lines}\nEND");
}

fn settings(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut title = "\n# Kernel settings, now and after each boot.\n";
    for (finding, fix) in fixes {
        if let Fix::Sysctl { key, value } = fix {
            text.push_str(std::mem::take(&mut title));
            let path = format!("{SYSCTL_FILES}{key}.conf");
            file(text, &path, (finding, &format!("{key} = {value}")));
            step(text, &format!("sysctl -p {path}"), key);
        }
    }
}

fn unit(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut title = "\n# Limits of the broker's unit; they count from its next start.\n";
    for (finding, fix) in fixes {
        if let Fix::Unit(line) = fix {
            text.push_str(std::mem::take(&mut title));
            let setting = line.split_once('=').map_or(&**line, |(setting, _)| setting);
            let path = format!("{UNIT_FILES}{setting}.conf");
            file(text, &path, (finding, &format!("[Service]\n{line}")));
        }
    }
    if title.is_empty() {
        step(text, "systemctl daemon-reload", "limits of the unit");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Verdict;

    fn report(fixes: Vec<Fix>) -> Report {
        let finding = |fix| {
            Finding::new("a", "1", "2", "one is less than two").judged(false, Verdict::Warn, fix)
        };
        Report::new(10, fixes.into_iter().map(finding).collect(), None)
    }

    /// Whether a shell can parse the script; nothing is run.
    fn parses(script: &str) -> bool {
        let checked = std::process::Command::new("sh")
            .args(["-n", "-c", script])
            .status();
        checked.expect("there is a shell").success()
    }

    /// Runs the script where no program is available but the shell's own commands.
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
    fn a_missing_program_is_reported_and_the_rest_of_the_script_runs() {
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
    fn a_command_that_fails_is_reported_and_decides_the_exit_status() {
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

    /// The text of all files in a directory.
    fn said_in(directory: &Path) -> String {
        let files = std::fs::read_dir(directory).unwrap().flatten();
        let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap());
        texts.collect()
    }

    #[test]
    fn what_an_earlier_script_has_set_stays_when_a_later_one_has_less_to_change() {
        let etc = tempfile::tempdir().unwrap();
        let script = |fixes| {
            let script = report(fixes).script();
            script.replace("/etc/", &format!("{}/", etc.path().display()))
        };
        let unit = |line: &str| Fix::Unit(line.to_owned());
        let (first, second) = (Fix::sysctl("a.b", &1), Fix::sysctl("a.c", &2));
        let scripts = [
            script(vec![first, second, unit("LimitNOFILE=5")]),
            script(vec![Fix::sysctl("a.c", &3), unit("MemorySwapMax=0")]),
        ];
        for script in scripts {
            // The settings of this host stay as they are.
            let kept = "sysctl() { :; }; systemctl() { :; }\n";
            let script = script.replacen("set -u\n", &format!("set -u\n{kept}"), 1);
            let status = std::process::Command::new("sh")
                .args(["-c", &script])
                .status();
            assert!(status.expect("there is a shell").success());
        }
        let settings = said_in(&etc.path().join("sysctl.d"));
        for line in ["a.b = 1", "a.c = 3"] {
            assert!(settings.contains(line), "{line} is not in: {settings}");
        }
        assert!(!settings.contains("a.c = 2"), "{settings}");
        let limits = said_in(&etc.path().join("systemd/system/oyez-server.service.d"));
        for line in ["LimitNOFILE=5", "MemorySwapMax=0"] {
            assert!(limits.contains(line), "{line} is not in: {limits}");
        }
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
        let unit = "# one is less than two.\n[Service]\nLimitNOFILE=500\nEND";
        assert!(script.contains(unit), "{script}");
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
