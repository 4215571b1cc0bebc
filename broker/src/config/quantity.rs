//! Sizes and durations as operators write them: `64MiB`, `5GB`, `10s`, `7d`.
//!
//! A plain number is in the unit of its setting. With a unit, sizes are in powers of 1000 (`KB`, `MB`, `GB`, `TB`) or of 1024
//! (`KiB`, `MiB`, `GiB`, `TiB`), and durations in `ms`, `s`, `m`, `h`, `d` or `w`. A decimal point is allowed where the result is
//! a whole number of the setting's unit. What may mean two things (`5G`, `5mb`) is refused, with what it may mean.
//!
//! Its own, because the libraries for this guess: `bytesize` takes `5G` for 5GB and rounds, `humantime` reads `1M` as a month.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

/// What the number of a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Things, such as connections: a whole number without a unit.
    Count,
}

/// Words for sizes, each with its bytes; the first that divides a size is shown.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// Words for durations, each with its milliseconds.
const DURATIONS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Most digits of a number: with more, none fits into 64 bits.
const DIGITS_MAX: usize = 20;

impl Unit {
    /// The unit of the setting `key`.
    pub(super) fn of(key: &str) -> Self {
        match key {
            "record_size_max" | "raw_size_max" | "inflight_bytes_max" => Self::Bytes,
            _ if key.ends_with("_bytes") => Self::Bytes,
            _ if key.ends_with("_ms") => Self::Milliseconds,
            _ if key.ends_with("_seconds") => Self::Seconds,
            _ => Self::Count,
        }
    }

    /// What a plain number is in; nothing for counts.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Count => "",
        }
    }

    /// The words that a number may end with.
    const fn words(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Bytes => &SIZES,
            Self::Milliseconds | Self::Seconds => &DURATIONS,
            Self::Count => &[],
        }
    }

    /// What one of this unit is, in the measure of its words.
    const fn size(self) -> u64 {
        match self {
            Self::Seconds => 1000,
            _ => 1,
        }
    }

    const fn examples(self) -> &'static str {
        match self {
            Self::Bytes => {
                "a number of bytes, or a size such as 512KB (1000 bytes each), 64MiB (1024 times 1024 each) or 5GB"
            }
            Self::Milliseconds => {
                "a number of milliseconds, or a duration such as 250ms, 10s, 5m, 2h or 7d"
            }
            Self::Seconds => "a number of seconds, or a duration such as 10s, 5m, 2h or 7d",
            Self::Count => "a whole number",
        }
    }

    /// A number of this unit as an operator would write it: with the largest word that divides it.
    pub(super) fn show(self, value: u64) -> String {
        let in_words = value.checked_mul(self.size()).filter(|size| *size > 0);
        let word = in_words.and_then(|size| {
            let mut words = self.words().iter();
            let (word, factor) = words.find(|(_, factor)| size.is_multiple_of(*factor))?;
            (*word != "B").then(|| format!("{}{word}", size / factor))
        });
        word.unwrap_or_else(|| value.to_string())
    }

    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(super) fn read(self, text: &str) -> Result<u64, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, word) = text.split_at(end.unwrap_or(text.len()));
        let word = word.trim_start();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number =
            !whole.is_empty() && !part.contains('.') && number.ends_with(|c: char| c != '.');
        if !is_number {
            let why = match text.starts_with('-') {
                true => "is negative",
                false => "is no number",
            };
            return Err(self.refused(text, why));
        }
        let factor = match word {
            "" => self.size(),
            _ => self.factor(text, number, word)?,
        };
        self.scaled(text, (whole, part), factor)
    }

    /// What the word behind a number stands for.
    fn factor(self, text: &str, number: &str, word: &str) -> Result<u64, String> {
        let mut words = self.words().iter();
        if let Some((_, factor)) =
            words.find(|(known, _)| *known == word || (word, *known) == ("kB", "KB"))
        {
            return Ok(*factor);
        }
        let letter = word.to_ascii_uppercase();
        let letter = letter.trim_end_matches("B").trim_end_matches('I');
        if self == Self::Bytes && matches!(letter, "K" | "M" | "G" | "T") {
            let why = format!(
                "may mean {number}{letter}B (powers of 1000) or {number}{letter}iB (powers of 1024); write one of these"
            );
            return Err(format!("`{text}` {why}"));
        }
        let why = match self {
            Self::Count => "has a unit".to_owned(),
            _ => format!("ends with `{word}`, which is no unit of it"),
        };
        Err(self.refused(text, &why))
    }

    fn scaled(self, text: &str, (whole, part): (&str, &str), factor: u64) -> Result<u64, String> {
        let digits = format!("{whole}{part}");
        let digits = digits.trim_start_matches('0');
        let too_large = || self.refused(text, "is too large");
        if digits.len() > DIGITS_MAX || part.len() > DIGITS_MAX {
            return Err(too_large());
        }
        let number: u128 = match digits {
            "" => 0,
            _ => digits.parse().map_err(|_| too_large())?,
        };
        // At most 20 digits by at most 40 bits.
        let number = number * u128::from(factor);
        let divisor = 10_u128.pow(part.len() as u32) * u128::from(self.size());
        if !number.is_multiple_of(divisor) {
            let why = match self {
                Self::Count => "is no whole number".to_owned(),
                _ => format!("is no whole number of {}", self.name()),
            };
            return Err(self.refused(text, &why));
        }
        u64::try_from(number / divisor).map_err(|_| too_large())
    }

    fn refused(self, text: &str, why: &str) -> String {
        format!("`{text}` {why}; expected {}", self.examples())
    }
}

/// Reads a setting's number, plain or as text.
fn read<'de, D: Deserializer<'de>, T: TryFrom<u64> + Bounded>(
    deserializer: D,
    unit: Unit,
) -> Result<T, D::Error> {
    let value = deserializer.deserialize_any(Written(unit))?;
    T::try_from(value).map_err(|_| {
        let (value, most) = (unit.show(value), unit.show(T::MOST));
        D::Error::custom(format!("{value} is too large; at most {most} can be"))
    })
}

/// The largest number of a type.
pub(super) trait Bounded {
    const MOST: u64;
}

impl Bounded for u32 {
    const MOST: u64 = Self::MAX as u64;
}

impl Bounded for u64 {
    const MOST: Self = Self::MAX;
}

impl Bounded for usize {
    const MOST: u64 = Self::MAX as u64;
}

struct Written(Unit);

impl Visitor<'_> for Written {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.examples())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number)
            .map_err(|_| E::custom(self.0.refused(&number.to_string(), "is negative")))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<u64, E> {
        let why = if number < 0 {
            "is negative"
        } else {
            "is too large"
        };
        Err(E::custom(self.0.refused(&number.to_string(), why)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        self.0.read(text).map_err(E::custom)
    }
}

/// A number of bytes, for `deserialize_with`.
pub(super) fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64> + Bounded>(
    deserializer: D,
) -> Result<T, D::Error> {
    read(deserializer, Unit::Bytes)
}

/// A number of milliseconds, for `deserialize_with`.
pub(super) fn milliseconds<'de, D: Deserializer<'de>, T: TryFrom<u64> + Bounded>(
    deserializer: D,
) -> Result<T, D::Error> {
    read(deserializer, Unit::Milliseconds)
}

/// A number of seconds, for `deserialize_with`.
pub(super) fn seconds<'de, D: Deserializer<'de>, T: TryFrom<u64> + Bounded>(
    deserializer: D,
) -> Result<T, D::Error> {
    read(deserializer, Unit::Seconds)
}

/// A number of things, for `deserialize_with`.
pub(super) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64> + Bounded>(
    deserializer: D,
) -> Result<T, D::Error> {
    read(deserializer, Unit::Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_in_their_units() {
        for (unit, text, value) in [
            (Unit::Bytes, "5000", 5000),
            (Unit::Bytes, "5GB", 5_000_000_000),
            (Unit::Bytes, "64MiB", 64 << 20),
            (Unit::Bytes, "512KB", 512_000),
            (Unit::Bytes, "512kB", 512_000),
            (Unit::Bytes, "1.5 GiB", 3 << 29),
            (Unit::Bytes, "7B", 7),
            (Unit::Bytes, "0", 0),
            (Unit::Bytes, "18446744073709551615", u64::MAX),
            (Unit::Milliseconds, "300", 300),
            (Unit::Milliseconds, "250ms", 250),
            (Unit::Milliseconds, "10s", 10_000),
            (Unit::Milliseconds, "0.25s", 250),
            (Unit::Milliseconds, "5m", 300_000),
            (Unit::Seconds, "90", 90),
            (Unit::Seconds, "7d", 604_800),
            (Unit::Seconds, "2000ms", 2),
            (Unit::Count, " 12 ", 12),
        ] {
            assert_eq!(unit.read(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_not_whole_is_refused_with_examples() {
        for (unit, text, words) in [
            (Unit::Bytes, "5G", "5GB (powers of 1000) or 5GiB"),
            (Unit::Bytes, "64mb", "64MB (powers of 1000) or 64MiB"),
            (Unit::Bytes, "64Kib", "64KB (powers of 1000) or 64KiB"),
            (Unit::Bytes, "10s", "64MiB"),
            (Unit::Bytes, "0.5B", "no whole number of bytes"),
            (Unit::Bytes, "0.5", "no whole number of bytes"),
            (Unit::Bytes, "-1", "negative"),
            (Unit::Bytes, "", "no number"),
            (Unit::Bytes, "GB", "no number"),
            (Unit::Bytes, "1.2.3GB", "no number"),
            (Unit::Bytes, "5.", "no number"),
            (Unit::Bytes, "1e3", "no unit"),
            (Unit::Bytes, "64_000", "no unit"),
            (Unit::Bytes, "18446744073709551616", "too large"),
            (Unit::Bytes, "20000000TiB", "too large"),
            (Unit::Bytes, "99999999999999999999999TiB", "too large"),
            (
                Unit::Milliseconds,
                "1.5ms",
                "no whole number of milliseconds",
            ),
            (Unit::Milliseconds, "5min", "250ms"),
            (Unit::Milliseconds, "5M", "250ms"),
            (Unit::Milliseconds, "10s5", "250ms"),
            (Unit::Seconds, "500ms", "no whole number of seconds"),
            (Unit::Count, "10k", "a whole number"),
            (Unit::Count, "many", "a whole number"),
            (Unit::Count, "1.5", "no whole number"),
        ] {
            let refusal = unit.read(text).expect_err(text);
            assert!(refusal.contains(&format!("`{}`", text.trim())), "{refusal}");
            assert!(refusal.contains(words), "{words:?} is not in: {refusal}");
        }
    }

    #[test]
    fn numbers_are_shown_with_the_largest_unit_that_divides_them() {
        for (unit, value, shown) in [
            (Unit::Bytes, 67_108_864, "64MiB"),
            (Unit::Bytes, 5_000_000_000, "5GB"),
            (Unit::Bytes, 1 << 40, "1TiB"),
            (Unit::Bytes, 4097, "4097"),
            (Unit::Bytes, 0, "0"),
            (Unit::Milliseconds, 300_000, "5m"),
            (Unit::Milliseconds, 1500, "1500ms"),
            (Unit::Seconds, 604_800, "1w"),
            (Unit::Seconds, 61, "61s"),
            (Unit::Count, 10_000, "10000"),
        ] {
            assert_eq!(unit.show(value), shown);
            assert_eq!(unit.read(shown), Ok(value), "{shown} is read as it was");
        }
    }
}
