//! Topics on the command line, checked before anything is sent.

/// Reads the name of a topic.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    oyez_protocol::topic::parse(text.as_bytes())
        .map(str::to_owned)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_topic_is_refused() {
        assert_eq!(parse("a/b").as_deref(), Ok("a/b"));
        let long = "x".repeat(256);
        for text in ["", "a/#", "+", "a\0b", &long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
