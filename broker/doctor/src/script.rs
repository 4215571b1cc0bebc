//! The fixes as a shell script, which is printed and left to whoever reads it.

use std::fmt::Write;

use super::figures::grouped;
use super::{Finding, Fix, Report};

const SYSCTL_FILE: &str = "/etc/sysctl.d/90-oyez.conf";
const UNIT_DIRECTORY: &str = "/etc/systemd/system/oyez-server.service.d";

impl Report {
    /// A commented script with the fix of every finding that has one.
    #[must_use]
    pub(crate) fn script(&self) -> String {
        let mut text = format!(
            "#!/bin/sh\n# What `oyez-server doctor` would change on this host for {} connections.\n# Read it, then run it \
             as root.\nset -eu\n",
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
                let _ = writeln!(text, "# It does not outlive a reboot.\n{command}");
            } else if let Fix::Advice(advice) = fix {
                comment(&mut text, "\n# ", finding);
                let _ = writeln!(text, "# By hand: {advice}.");
            }
        }
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

fn settings(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut lines = String::new();
    for (finding, fix) in fixes {
        if let Fix::Sysctl { key, value } = fix {
            comment(&mut lines, "# ", finding);
            let _ = writeln!(lines, "{key} = {value}");
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(
            text,
            "\n# Kernel settings, now and after each boot.\ncat > {SYSCTL_FILE} <<'END'\n{lines}END\nsysctl -p {SYSCTL_FILE}"
        );
    }
}

fn unit(text: &mut String, fixes: &[(&Finding, &Fix)]) {
    let mut lines = String::new();
    for (finding, fix) in fixes {
        if let Fix::Unit(line) = fix {
            comment(&mut lines, "# ", finding);
            let _ = writeln!(lines, "{line}");
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(
            text,
            "\n# Limits of the broker's unit; they count from its next start.\nmkdir -p {UNIT_DIRECTORY}\ncat > \
             {UNIT_DIRECTORY}/limits.conf <<'END'\n[Service]\n{lines}END\nsystemctl daemon-reload"
        );
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
            script.contains("\nnet.core.somaxconn = 65535\nEND\nsysctl -p"),
            "{script}"
        );
        assert!(script.contains("[Service]\n# a: 1 (wanted 2)"), "{script}");
        assert!(script.contains("LimitNOFILE=500\nEND"), "{script}");
        assert!(script.contains("\necho 1 > /sys/x\n"), "{script}");
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
