//! Checks for files that recovery has set aside in the data directory.

use super::{Exam, Finding, Fix, Verdict};

/// Most names that are listed one by one.
const NAMES_TOLD: usize = 3;

/// Finds files of logs that a start could not read as what their names say.
pub(crate) fn set_aside(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "damaged files";
    let data = exam.setup.data.display().to_string();
    let mut found = Vec::new();
    for log in exam.facts.list(&data) {
        if log.starts_with("written-") || log.starts_with("synced-") {
            let names = exam.facts.list(&format!("{data}/{log}"));
            let names = names.iter().filter(|name| name.contains(".damaged-"));
            found.extend(names.map(|name| format!("{log}/{name}")));
        }
    }
    let why = match found.len() {
        0 => "no start has set a file aside".to_owned(),
        _ => format!(
            "a start could not read them as what their names said, and kept them: the log of that start says why and what \
             is missing; {}",
            told(&found)
        ),
    };
    let advice = "look at what they hold, restore what you have a copy of, then remove them";
    let fix = Fix::Advice(advice.to_owned());
    Finding::new(NAME, found.len().to_string(), "0", why).judged(
        found.is_empty(),
        Verdict::Warn,
        fix,
    )
}

fn told(found: &[String]) -> String {
    let first = found[..found.len().min(NAMES_TOLD)].join(", ");
    match found.len().saturating_sub(NAMES_TOLD) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Case, FakeFacts, check_table};
    use super::*;

    #[test]
    fn files_that_were_set_aside_are_named() {
        let directory = |names: &[&str]| {
            FakeFacts::healthy()
                .names("./oyez-data", &["LOCK", "meta", "synced-0"])
                .names("./oyez-data/synced-0", names)
        };
        let damaged = "0000000000000000.seg.damaged-1";
        check_table(&[
            Case::new(set_aside, FakeFacts::healthy(), Verdict::Ok, "no start"),
            Case::new(set_aside, directory(&["state"]), Verdict::Ok, "no start"),
            Case::new(
                set_aside,
                directory(&["state", damaged]),
                Verdict::Warn,
                "synced-0/0000000000000000.seg.damaged-1",
            ),
        ]);
    }
}
