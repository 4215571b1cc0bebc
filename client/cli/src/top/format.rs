//! The room for figures, and how sizes and times are written. Pure.

/// The room for figures, in lines and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Size {
    /// The size where the terminal does not state one.
    pub(super) const SMALL: Self = Self {
        rows: 24,
        columns: 80,
    };
    /// Room for everything that there is to show.
    pub(super) const ALL: Self = Self {
        rows: usize::MAX,
        columns: 160,
    };
}

/// Formats bytes in the largest binary unit in which they are at least 1.
pub(super) fn bytes(value: f64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find_map(|(power, name)| {
        let size = f64::from(*power).exp2();
        (value >= size).then(|| format!("{:.1} {name}", value / size))
    });
    unit.unwrap_or_else(|| format!("{value:.0} B"))
}

/// Formats a duration in its two largest units.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let told = [5_000, 65_000, 3_600_000, 90_000_000].map(duration);
        assert_eq!(told, ["5s", "1m05s", "1h00m", "1d01h"]);
    }
}
