//! Names of topics, and the patterns that choose among them.

use crate::error::TopicError;
use crate::limits::TOPIC_SIZE_MAX;

/// Reads a topic's bytes: 1 to 255 bytes of UTF-8, without NUL and without the wildcards `+` and `#`.
///
/// # Errors
/// Says which of these rules the name breaks.
pub fn parse(bytes: &[u8]) -> Result<&str, TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > TOPIC_SIZE_MAX {
        return Err(TopicError::TooLong { size: bytes.len() });
    }
    let name = core::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    // One pass without a branch per byte: names are read for every record, and next to none is refused.
    let (mut nul, mut wildcard) = (false, false);
    for byte in bytes {
        nul |= *byte == 0;
        wildcard |= matches!(*byte, b'+' | b'#');
    }
    match (nul, wildcard) {
        (true, _) => Err(TopicError::Nul),
        (_, true) => Err(TopicError::Wildcard),
        _ => Ok(name),
    }
}

/// Whether a name is the broker's own, as all that begin with `$`: clients neither publish there nor subscribe to it.
#[must_use]
pub const fn is_reserved(topic: &str) -> bool {
    matches!(topic.as_bytes().first(), Some(b'$'))
}

/// Reads the bytes of a filter: those of a topic, where `+` and `#` stand alone in a level, and `#` in the last one. What has
/// neither is a topic, and no filter.
///
/// # Errors
/// Says which of these rules the filter breaks.
pub(crate) fn parse_filter(bytes: &[u8]) -> Result<&str, TopicError> {
    match parse(bytes) {
        Err(TopicError::Wildcard) => {}
        Ok(_) => return Err(TopicError::NoWildcard),
        refused => return refused,
    }
    let filter = core::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    check_filter(filter).map(|()| filter)
}

/// Whether `filter` (with `+` for one level and a trailing `#` for the rest, which may be nothing) chooses `topic`. A wildcard
/// in the first level chooses none of the broker's own.
#[must_use]
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if is_reserved(topic) && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == "+" || part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Checks that `filter` is well formed: the topic rules, with `+` and `#` each alone in their level and `#` last.
///
/// # Errors
/// Says which rule the filter breaks.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    let mut rest = filter.split('/').peekable();
    while let Some(level) = rest.next() {
        if level == "#" && rest.peek().is_some() {
            return Err(TopicError::Wildcard);
        }
        if level != "+" && level != "#" && level.contains(['+', '#']) {
            return Err(TopicError::Wildcard);
        }
    }
    match parse(filter.as_bytes()) {
        Ok(_) | Err(TopicError::Wildcard) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_is_one_level_and_hash_is_the_rest() {
        assert!(filter_matches("a/+/c", "a/b/c"));
        assert!(!filter_matches("a/+", "a/b/c"));
        assert!(filter_matches("a/#", "a/b/c"));
        assert!(filter_matches("a/#", "a"));
        assert!(filter_matches("#", "x"));
        assert!(!filter_matches("a/b", "a"));
        assert!(!filter_matches("a", "a/b"));
        assert!(!filter_matches("#", "$a") && !filter_matches("+/b", "$a/b"));
        assert!(filter_matches("$a/#", "$a/b"));
    }

    #[test]
    fn a_filter_with_a_misplaced_wildcard_is_refused() {
        assert_eq!(check_filter("a/#/b"), Err(TopicError::Wildcard));
        assert_eq!(check_filter("a/b+"), Err(TopicError::Wildcard));
        assert_eq!(check_filter("a/+/#"), Ok(()));
        assert_eq!(check_filter(""), Err(TopicError::Empty));
    }

    #[test]
    fn each_rule_of_a_topic_has_its_own_error() {
        assert_eq!(parse(b""), Err(TopicError::Empty));
        assert_eq!(parse(&[b'a'; 256]), Err(TopicError::TooLong { size: 256 }));
        assert_eq!(parse(&[0xff]), Err(TopicError::NotUtf8));
        assert_eq!(parse(b"a\0b"), Err(TopicError::Nul));
        assert_eq!(parse(b"a/+"), Err(TopicError::Wildcard));
        assert_eq!(parse("a/b/ü".as_bytes()), Ok("a/b/ü"));
    }
}
