//! What a command prints, beside what the page shows.
//!
//! - A line `...` stands for any number of lines, `...` within a line for any text.
//! - These match any other of their kind: a word of 16 hexadecimal digits (an epoch), a number of ten digits or more (a time), and
//!   a process number (`pid=4711`).
//! - Blanks may be more or fewer.
//! - All else is compared as it is. Lines are those of standard output and standard error together, as a terminal shows them.

/// Digits of a number that is another one each time, such as a time in milliseconds.
const TIME_DIGITS: usize = 10;
/// Digits of an epoch.
const EPOCH_DIGITS: usize = 16;
/// Stands for any text.
const ANY: &str = "...";

/// Whether a command printed what the page shows, or, if it still runs, has begun to.
pub(crate) fn matches(shown: &[String], printed: &str, still_runs: bool) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| plain(line)).collect();
    let printed: Vec<String> = printed.lines().map(plain).collect();
    lines_match(&shown, &printed, still_runs)
}

fn lines_match(shown: &[String], printed: &[String], still_runs: bool) -> bool {
    match shown.split_first() {
        None => still_runs || printed.is_empty(),
        Some((first, rest)) if first == ANY => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..], still_runs))
        }
        Some((first, rest)) => printed.split_first().is_some_and(|(line, others)| {
            line_matches(first, line) && lines_match(rest, others, still_runs)
        }),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split(ANY);
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = printed.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match left.split_once(previous) {
                Some((_, behind)) => left = behind,
                None => return false,
            }
        }
    }
    last.map_or(left.is_empty(), |last| left.ends_with(last))
}

/// A line with one blank for several, and what is another one each time replaced.
fn plain(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut plain, mut word) = (String::new(), String::new());
    for letter in line.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        match word.len() {
            EPOCH_DIGITS if hex => plain.push_str("EPOCH"),
            TIME_DIGITS.. if digits => plain.push_str("TIME"),
            _ if digits && plain.ends_with("pid=") => plain.push_str("PID"),
            _ => plain.push_str(&word),
        }
        word.clear();
        plain.push(letter);
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(shown: &str, printed: &str, still_runs: bool) -> bool {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        matches(&shown, printed, still_runs)
    }

    #[test]
    fn what_is_another_one_each_time_matches_and_all_else_does_not() {
        let shown = r#"{"offset":1,"epoch":"3c0f24d059d373f7","timestamp_ms":1796061062917}"#;
        let same = r#"{"offset":1,"epoch":"ffff24d059d373f7","timestamp_ms":1796092122756}"#;
        assert!(holds(shown, same, false));
        assert!(!holds(
            shown,
            &same.replace("\"offset\":1", "\"offset\":2"),
            false
        ));
        assert!(holds("ready pid=4711 x", "ready pid=12  x", false));
        assert!(!holds("ready pid=4711", "ready pid=none", false));
    }

    #[test]
    fn dots_stand_for_text_and_for_lines() {
        assert!(holds("a ... c", "a b b c", false));
        assert!(!holds("a ... c", "a b", false));
        assert!(holds("a\n...\nd", "a\nb\nc\nd", false));
        assert!(holds("...\nd", "d", false));
        assert!(!holds("...\nd", "d\ne", false));
        assert!(holds("x...y...z", "x1y2z", false));
    }

    #[test]
    fn a_program_that_still_runs_may_print_more() {
        assert!(holds("a", "a\nb", true));
        assert!(!holds("a", "a\nb", false));
        assert!(!holds("a\nb", "a", true));
    }
}
