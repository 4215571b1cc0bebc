//! The report: a table for people, a JSON object for programs.

use std::fmt::Write;

use serde::Serialize;

use super::figures::{bytes, grouped};
use super::{Finding, Proof, Verdict};

/// Everything that the doctor has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// How many connections were asked about.
    pub(crate) connections: u64,
    /// Whether so many connections are possible.
    pub(crate) possible: bool,
    /// The results of all checks.
    pub(crate) findings: Vec<Finding>,
    /// The proof, if one was asked for.
    pub(crate) proof: Option<Proof>,
}

/// The groups in which findings are shown, worst first.
const GROUPS: [(Verdict, &str); 4] = [
    (Verdict::Fail, "In the way"),
    (Verdict::Warn, "Possible, but not as good as it could be"),
    (Verdict::Unknown, "Could not be found out"),
    (Verdict::Ok, "Fine"),
];

/// The column at which sentences are wrapped.
const COLUMNS: usize = 110;
const INDENT: &str = "      ";

impl Report {
    /// Judges: so many connections are possible if no finding fails, and a proof, if there is one, was complete.
    #[must_use]
    pub(crate) fn new(connections: u64, findings: Vec<Finding>, proof: Option<Proof>) -> Self {
        let in_the_way = findings
            .iter()
            .any(|finding| finding.verdict == Verdict::Fail);
        let tried = proof.as_ref().is_none_or(Proof::complete);
        Self {
            connections,
            possible: tried && !in_the_way,
            findings,
            proof,
        }
    }

    /// The verdict in one line; then the proof, and the findings that are not fine with their fixes, the worst first. Findings
    /// that are fine or unknown are shown only with `all`.
    pub(crate) fn text(&self, all: bool) -> String {
        let mut text = self.verdict() + "\n";
        if let Some(proof) = &self.proof {
            proof_text(&mut text, proof);
        }
        let widths = [
            self.width(all, "", |finding| &finding.name),
            self.width(all, "PRESENT", |finding| &finding.present),
        ];
        for (verdict, title) in GROUPS {
            let told = |finding: &&Finding| finding.verdict == verdict && finding.is_told(all);
            let mut group = self.findings.iter().filter(told).peekable();
            if group.peek().is_some() {
                let _ = writeln!(text, "\n{title}\n");
                line(&mut text, widths, ["", "PRESENT", "WANTED"]);
            }
            for finding in group {
                let cells = [&finding.name, &finding.present, &finding.wanted];
                line(&mut text, widths, cells.map(String::as_str));
                wrapped(&mut text, &finding.why);
                if let Some(fix) = &finding.fix {
                    let _ = writeln!(text, "      > {}", fix.command());
                }
            }
        }
        if let Some(rest) = self.rest(all) {
            let _ = writeln!(text, "\n{rest}");
        }
        text
    }

    fn count(&self, verdict: Verdict) -> usize {
        let of_it = |finding: &&Finding| finding.verdict == verdict;
        self.findings.iter().filter(of_it).count()
    }

    /// The verdict, in one line.
    fn verdict(&self) -> String {
        let connections = grouped(self.connections);
        let (fail, warn) = (self.count(Verdict::Fail), self.count(Verdict::Warn));
        let things = |count: usize| match count {
            1 => "1 thing".to_owned(),
            count => format!("{count} things"),
        };
        match (self.possible, fail, warn) {
            (true, _, 0) => format!("This host can hold {connections} connections."),
            (true, _, warn) => format!(
                "This host can hold {connections} connections; {} could be better.",
                things(warn)
            ),
            (false, 0, _) => format!(
                "This host cannot hold {connections} connections: the attempt stopped at {}.",
                grouped(self.proof.as_ref().map_or(0, |proof| proof.alive))
            ),
            (false, fail, _) => format!(
                "This host cannot hold {connections} connections: {} to do.",
                things(fail)
            ),
        }
    }

    /// Hints at what the report leaves out, and how to get it.
    fn rest(&self, all: bool) -> Option<String> {
        let (fine, unknown) = (self.count(Verdict::Ok), self.count(Verdict::Unknown));
        let mut hints = Vec::new();
        if self.findings.iter().any(|finding| finding.fix.is_some()) {
            hints.push("`oyez-server doctor --script` prints the commands as a script.".to_owned());
        }
        match (fine, unknown) {
            _ if all => {}
            (0, 0) => {}
            (fine, 0) => hints.push(format!("{fine} more are fine; -v shows them.")),
            (fine, unknown) => hints.push(format!(
                "{fine} more are fine and {unknown} could not be found out; -v shows them."
            )),
        }
        (!hints.is_empty()).then(|| hints.join("\n"))
    }

    fn width(&self, all: bool, title: &str, cell: fn(&Finding) -> &String) -> usize {
        let told = self.findings.iter().filter(|finding| finding.is_told(all));
        let most = told.map(|finding| cell(finding).chars().count()).max();
        most.unwrap_or(0).max(title.len())
    }
}

fn line(text: &mut String, widths: [usize; 2], cells: [&str; 3]) {
    let [name, present, wanted] = cells;
    let [first, second] = widths;
    let line = format!("  {name:first$}  {present:second$}  {wanted}");
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Writes a sentence below its finding, wrapped between words.
fn wrapped(text: &mut String, sentence: &str) {
    let mut line = INDENT.to_owned();
    for word in sentence.split(' ') {
        let filled = line.chars().count();
        if filled > INDENT.len() && filled + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(text, "{line}");
            INDENT.clone_into(&mut line);
        } else if filled > INDENT.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

fn proof_text(text: &mut String, proof: &Proof) {
    let _ = writeln!(
        text,
        "\nTried\n\n  {} of {} connections opened in {:.1} s on {} shards, {} alive at the end",
        grouped(proof.reached),
        grouped(proof.asked),
        proof.seconds,
        proof.shards,
        grouped(proof.alive),
    );
    if let Some(each) = proof.kernel_bytes_per_connection {
        let _ = writeln!(
            text,
            "  {} of kernel memory for each connection, both of its ends; {} of user memory",
            bytes(each),
            proof
                .user_bytes_per_connection
                .map_or_else(|| "?".to_owned(), bytes)
        );
    }
    if let Some(obstacle) = &proof.obstacle {
        let _ = writeln!(text, "  stopped by: {}", obstacle.what);
        let _ = writeln!(text, "  look at:    {}", obstacle.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fix, Obstacle};

    fn finding(name: &str, verdict: Verdict) -> Finding {
        Finding::new(name, "1", "2", "because 1 < 2").judged(
            verdict == Verdict::Ok,
            verdict,
            Fix::sysctl(name, &2),
        )
    }

    #[test]
    fn the_table_is_grouped_and_aligned_and_shows_what_is_fine_when_asked() {
        let findings = vec![
            finding("a", Verdict::Ok),
            finding("longer", Verdict::Fail),
            finding("b", Verdict::Warn),
        ];
        let report = Report::new(1_000_000, findings, None);
        assert!(!report.possible);
        let wrong = "\
This host cannot hold 1,000,000 connections: 1 thing to do.

In the way

          PRESENT  WANTED
  longer  1        2
      because 1 < 2
      > sysctl -w longer='2'

Possible, but not as good as it could be

          PRESENT  WANTED
  b       1        2
      because 1 < 2
      > sysctl -w b='2'
";
        let scripted = "\n`oyez-server doctor --script` prints the commands as a script.\n";
        let more = "1 more are fine; -v shows them.\n";
        assert_eq!(report.text(false), [wrong, scripted, more].concat());
        let fine = "
Fine

          PRESENT  WANTED
  a       1        2
      because 1 < 2
";
        assert_eq!(report.text(true), [wrong, fine, scripted].concat());
    }

    #[test]
    fn the_verdict_is_one_line_and_comes_first() {
        let verdict = |verdicts: &[Verdict]| {
            let findings = verdicts.iter().map(|verdict| finding("a", *verdict));
            let text = Report::new(1_000, findings.collect(), None).text(false);
            text.lines().next().unwrap_or_default().to_owned()
        };
        let (ok, warn, fail) = (Verdict::Ok, Verdict::Warn, Verdict::Fail);
        let can = "This host can hold 1,000 connections";
        let cannot = "This host cannot hold 1,000 connections";
        assert_eq!(verdict(&[ok]), format!("{can}."));
        assert_eq!(
            verdict(&[warn, ok]),
            format!("{can}; 1 thing could be better.")
        );
        let three = verdict(&[fail, warn, fail, fail]);
        assert_eq!(three, format!("{cannot}: 3 things to do."));
    }

    #[test]
    fn long_sentences_are_wrapped_between_words() {
        for size in 1..COLUMNS {
            let mut text = String::new();
            wrapped(&mut text, &["w".repeat(size), "x".repeat(9)].join(" "));
            wrapped(&mut text, &["words"; 40].join(" "));
            let fits = |line: &str| line.len() <= INDENT.len() + size.max(COLUMNS - INDENT.len());
            assert!(text.lines().all(fits), "{text}");
            let indented = |line: &str| line.len() - line.trim_start().len() == INDENT.len();
            assert!(text.lines().all(indented), "{text}");
            assert!(!text.contains("w  ") && !text.contains("s  "), "{text}");
            assert_eq!(text.split_whitespace().count(), 42);
        }
    }

    #[test]
    fn connections_are_not_possible_if_the_proof_stopped_early() {
        let proof = Proof {
            asked: 10,
            reached: 4,
            alive: 4,
            shards: 2,
            seconds: 0.5,
            kernel_bytes_per_connection: Some(5632),
            user_bytes_per_connection: None,
            obstacle: Some(Obstacle {
                what: "connect: no room".to_owned(),
                limit: "fs.file-max".to_owned(),
            }),
        };
        let report = Report::new(10, vec![finding("a", Verdict::Warn)], Some(proof));
        assert!(!report.possible);
        let text = report.text(false);
        let verdict = "This host cannot hold 10 connections: the attempt stopped at 4.\n";
        assert!(text.starts_with(verdict), "{text}");
        assert!(text.contains("4 of 10 connections opened"), "{text}");
        assert!(text.contains("look at:    fs.file-max"), "{text}");
    }

    #[test]
    fn json_holds_everything_and_fixes_as_commands() {
        let report = Report::new(1, vec![finding("a", Verdict::Warn)], None);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["possible"], true);
        assert_eq!(json["findings"][0]["verdict"], "warn");
        assert_eq!(json["findings"][0]["fix"], "sysctl -w a='2'");
    }
}
