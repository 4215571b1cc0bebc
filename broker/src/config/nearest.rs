//! What somebody meant who wrote a word that is none.

/// The word of `known` that is so close to `word` that a slip explains the difference: a letter in four, and two at least.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |other: &str| strsim::osa_distance(word, other);
    let bound = (word.chars().count() / 4).max(2);
    // Of short words, two slips make any other.
    let bound = bound.min(word.chars().count() / 2);
    let close = known.into_iter().filter(|other| slips(other) <= bound);
    close.min_by_key(|other| slips(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["max_connections", "max_subscriptions", "data", "shards"];
        for (word, meant) in [
            ("max_conections", Some("max_connections")),
            ("max_connection", Some("max_connections")),
            ("maxsubscriptions", Some("max_subscriptions")),
            ("shrads", Some("shards")),
            ("dta", Some("data")),
            ("port", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
