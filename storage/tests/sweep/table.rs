//! The counts of a sweep, by what was damaged and by image, and the stories behind them.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::judge::{Fault, Note};
use crate::run::Shown;

/// Most examples of each fault that are printed.
const EXAMPLES: usize = 3;
/// Most findings of one fault in one case that are printed.
const FINDINGS: usize = 4;

/// Counts of cases: all, those without a fault, and those with each fault and each note.
pub(crate) fn table(shown: &[Shown]) -> String {
    let mut out = String::new();
    let by_damage = |case: &Shown| format!("{}: {}", case.kind, case.hit);
    section(&mut out, "damage", shown, by_damage);
    out.push('\n');
    section(&mut out, "kind", shown, |case| case.kind.clone());
    out.push('\n');
    section(&mut out, "image", shown, |case| case.image.clone());
    out
}

fn section(out: &mut String, title: &str, shown: &[Shown], row: impl Fn(&Shown) -> String) {
    let mut rows: BTreeMap<String, Vec<&Shown>> = BTreeMap::new();
    for case in shown {
        rows.entry(row(case)).or_default().push(case);
    }
    rows.insert("~ all".to_owned(), shown.iter().collect());
    let used = |fault: &Fault| shown.iter().any(|case| case.faults.contains_key(fault));
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(used).collect();
    let _ = write!(out, "| {title:<28} | cases | right |");
    for name in faults.iter().map(|fault| fault.name()) {
        let _ = write!(out, " {name} |");
    }
    for name in Note::ALL.map(Note::name) {
        let _ = write!(out, " ({name}) |");
    }
    let columns = 3 + faults.len() + Note::ALL.len();
    let _ = writeln!(out, "\n|{}", "---|".repeat(columns));
    for (name, cases) in rows {
        let name = name.trim_start_matches("~ ");
        let right = cases.iter().filter(|case| case.faults.is_empty()).count();
        let _ = write!(out, "| {name:<28} | {:>5} | {right:>5} |", cases.len());
        let mut column = |name: &str, width: usize, has: &dyn Fn(&Shown) -> bool| {
            let count = cases.iter().filter(|case| has(case)).count();
            let _ = write!(out, " {count:>0$} |", name.len() + width);
        };
        for fault in &faults {
            column(fault.name(), 0, &|case| case.faults.contains_key(fault));
        }
        for note in Note::ALL {
            column(note.name(), 2, &|case| case.notes.contains(&note));
        }
        out.push('\n');
    }
}

/// The first cases of each fault.
pub(crate) fn examples(shown: &[Shown]) -> String {
    let mut out = String::new();
    for fault in Fault::ALL {
        let cases = shown.iter().filter(|case| case.faults.contains_key(&fault));
        let mut cases: Vec<&Shown> = cases.collect();
        // The smallest images make the shortest stories.
        cases.sort_by_key(|case| !case.image.starts_with("small"));
        for case in cases.into_iter().take(EXAMPLES) {
            let what = &case.faults[&fault][0];
            let _ = writeln!(out, "{}: {}\n    {what}", fault.name(), head(case));
        }
    }
    out
}

fn head(case: &Shown) -> String {
    format!("seed {} ({}): {}", case.seed, case.image, case.about)
}

/// Everything about one case.
pub(crate) fn story(case: &Shown) -> String {
    let mut out = format!("{}\n", head(case));
    for (number, report) in case.reports.iter().enumerate() {
        let _ = writeln!(out, "  start {}: {report}", number + 1);
    }
    for (fault, whats) in &case.faults {
        for what in whats.iter().take(FINDINGS) {
            let _ = writeln!(out, "  {}: {what}", fault.name());
        }
        if whats.len() > FINDINGS {
            let more = whats.len() - FINDINGS;
            let _ = writeln!(out, "  {}: {more} more", fault.name());
        }
    }
    let notes: Vec<&str> = case.notes.iter().map(|note| note.name()).collect();
    let _ = writeln!(out, "  noted: {}", notes.join(", "));
    out
}
