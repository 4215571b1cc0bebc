//! What is logged: levels, and parts of the program with a level of their own.
//!
//! The logging library takes a word that is no level for a part of the program that is to be logged whole, so that a misspelt level
//! silences the log. Here it is refused.

use tracing_subscriber::EnvFilter;

use super::nearest::nearest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether `filter` is a list of `LEVEL` and `PART=LEVEL`, parted by commas.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn check(filter: &str) -> Result<(), String> {
    if filter.trim().is_empty() {
        return Err("is empty; expected a level such as info, or off for no log at all".to_owned());
    }
    for directive in filter.split(',').map(str::trim) {
        // Behind the fields of a span, which may hold another `=`.
        let level = match directive.rsplit_once('=') {
            None => directive,
            Some((part, level)) if !part.is_empty() && !level.ends_with(']') => level,
            Some(_) => return Err(format!("holds `{directive}`; expected LEVEL or PART=LEVEL")),
        };
        check_level(directive, level.trim())?;
    }
    match EnvFilter::try_new(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("is {filter:?}: {error}")),
    }
}

fn check_level(directive: &str, level: &str) -> Result<(), String> {
    let word = level.to_ascii_lowercase();
    if LEVELS.contains(&&*word) {
        return Ok(());
    }
    let mut why = format!("holds `{directive}`, and `{level}` is no level");
    if let Some(meant) = nearest(&word, LEVELS) {
        why += &format!("; did you mean `{}`?", directive.replace(level, meant));
    }
    why += &format!(" Levels are {}", LEVELS.join(", "));
    if directive == level {
        why += "; a part of the program has one behind `=`, as in oyez_broker=debug,warn";
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_alone_and_of_parts_are_taken() {
        for filter in [
            "info",
            "INFO",
            "off",
            "oyez_broker=debug,warn",
            "oyez_broker::turn=trace, info",
            "no_such_part=debug",
            "oyez_broker[span{id=5}]=debug",
        ] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_what_was_meant() {
        for (filter, words) in [
            ("debu", "did you mean `debug`?"),
            ("infos,oyez_broker=debug", "did you mean `info`?"),
            ("oyez_broker=wran", "did you mean `oyez_broker=warn`?"),
            ("oyez_broker", "oyez_broker=debug"),
            ("info,", "is no level"),
            ("5", "is no level"),
            ("", "off for no log"),
            ("=info", "PART=LEVEL"),
            ("a[b{c=d}]", "PART=LEVEL"),
            ("a[b=info", "a[b=info"),
        ] {
            let refusal = check(filter).expect_err(filter);
            assert!(refusal.contains(words), "{words:?} is not in: {refusal}");
        }
    }
}
