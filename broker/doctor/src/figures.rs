//! Formats numbers for people.

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    if number == u64::MAX {
        return "unlimited".to_owned();
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit that leaves a whole part.
pub(crate) fn bytes(number: u64) -> String {
    if number == u64::MAX {
        return "unlimited".to_owned();
    }
    let units = [
        (1u64 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match units.iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", number as f64 / *size as f64),
        None => format!("{number} B"),
    }
}

/// `number` times `numerator / denominator`, rounded up.
pub(crate) const fn scaled(number: u64, numerator: u64, denominator: u64) -> u64 {
    (number.saturating_mul(numerator)).div_ceil(denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_bytes_have_a_unit() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
        assert_eq!(grouped(u64::MAX), "unlimited");
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(5632), "5.5 KiB");
        assert_eq!(bytes(24 << 30), "24.0 GiB");
        assert_eq!(scaled(10, 5, 4), 13);
    }
}
