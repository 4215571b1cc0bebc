//! Durations on the command line: a number and a unit.

use std::time::Duration;

/// Reads `500us`, `20ms`, `5s`, `1.5s`, `2m`, `1h`, or `0`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if digits == "0" => 1.0,
        _ => return Err("give a number with a unit: 500us, 20ms, 5s, 2m or 1h".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("`{digits}` is not a number"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

/// A time after which a command gives up, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience(pub(crate) Option<Duration>);

/// Reads a duration, or `never`.
pub(crate) fn parse_patience(text: &str) -> Result<Patience, String> {
    if text == "never" {
        return Ok(Patience(None));
    }
    let time = parse(text).map_err(|error| format!("{error}; or `never`"))?;
    Ok(Patience(Some(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood() {
        for (text, micros) in [
            ("0", 0),
            ("500us", 500),
            ("20ms", 20_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
        ] {
            assert_eq!(
                parse(text).unwrap(),
                Duration::from_micros(micros),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "s", "-1s", "5 s", "1d", "1e400s", "nans", "éms"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
