//! Charts as SVG text: no script, colours from the page's style.

use std::fmt::Write;

use crate::bench::times::Rates;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the axes' words: left, right, above, below.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
const TICKS: usize = 5;

/// Steps over time: a rate for each slot.
pub(super) fn over_time(rates: &Rates) -> String {
    let points = &rates.per_s;
    let max = nice(points.iter().copied().fold(0.0, f64::max));
    let span_s = points.len() as f64 * rates.slot_ms as f64 / 1e3;
    let x = |slot: usize| LEFT + slot as f64 / points.len() as f64 * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / max * (HEIGHT - TOP - BOTTOM);
    let mut svg = open("rate over time");
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        grid(&mut svg, y(max * share), &short(max * share));
        let at = LEFT + share * (WIDTH - LEFT - RIGHT);
        below(&mut svg, at, &format!("{:.2} s", share * span_s));
    }
    let steps = points.iter().enumerate().map(|(slot, rate)| {
        let (left, right, top) = (x(slot), x(slot + 1), y(*rate));
        format!("{left:.1},{top:.1} {right:.1},{top:.1}")
    });
    let line = steps.collect::<Vec<_>>().join(" ");
    let (first, last, floor) = (x(0), x(points.len()), y(0.0));
    let around = format!("{first:.1},{floor:.1} {line} {last:.1},{floor:.1}");
    put(
        &mut svg,
        &format!("<polygon class=\"area\" points=\"{around}\"/>"),
    );
    put(
        &mut svg,
        &format!("<polyline class=\"line\" points=\"{line}\"/>"),
    );
    svg + "</svg>"
}

/// Times by percentile, both axes logarithmic: towards the right each step is ten times rarer.
pub(super) fn percentiles(curve: &[(f64, u64)]) -> String {
    let decades = |percentile: f64| -> f64 { -(1.0 - percentile.min(99.999) / 100.0).log10() };
    let (lowest, highest) = (
        curve.iter().map(|(_, us)| (*us).max(1)).min().unwrap_or(1) as f64,
        curve.iter().map(|(_, us)| (*us).max(1)).max().unwrap_or(1) as f64,
    );
    let (low, high) = (
        lowest.log10().floor(),
        highest.log10().ceil().max(lowest.log10().floor() + 1.0),
    );
    let x = |percentile: f64| LEFT + decades(percentile) / 5.0 * (WIDTH - LEFT - RIGHT);
    let y = |us: f64| HEIGHT - BOTTOM - (us.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open("latency by percentile");
    let mut decade = low;
    while decade <= high {
        let us = 10f64.powf(decade);
        grid(&mut svg, y(us), &time(us));
        decade += 1.0;
    }
    for (percentile, name) in [
        (0.0, "min"),
        (50.0, "50 %"),
        (90.0, "90 %"),
        (99.0, "99 %"),
        (99.9, "99.9 %"),
        (99.99, "99.99 %"),
        (100.0, "max"),
    ] {
        below(&mut svg, x(percentile), name);
    }
    let line: Vec<String> = curve
        .iter()
        .map(|(percentile, us)| format!("{:.1},{:.1}", x(*percentile), y((*us).max(1) as f64)))
        .collect();
    put(
        &mut svg,
        &format!("<polyline class=\"line\" points=\"{}\"/>", line.join(" ")),
    );
    svg + "</svg>"
}

/// A bar for each part, with its value.
pub(super) fn bars(parts: &[(&str, Option<f64>)]) -> String {
    const ROW: f64 = 34.0;
    const NAME: f64 = 170.0;
    let values = parts.iter().filter_map(|(_, value)| *value);
    let max = values.fold(1.0, f64::max);
    let height = ROW * parts.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"memory per connection\">"
    );
    for (index, (name, value)) in parts.iter().enumerate() {
        let top = ROW * index as f64 + 4.0;
        let (middle, width) = (
            top + 18.0,
            (value.unwrap_or(0.0) / max * (WIDTH - NAME - 110.0)).max(1.0),
        );
        put(
            &mut svg,
            &format!(
                "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\">{}</text>",
                NAME - 10.0,
                escaped(name)
            ),
        );
        put(
            &mut svg,
            &format!(
                "<rect class=\"bar\" x=\"{NAME}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"24\" rx=\"3\"/>"
            ),
        );
        put(
            &mut svg,
            &format!(
                "<text x=\"{:.1}\" y=\"{middle:.0}\">{}</text>",
                NAME + width + 8.0,
                value.map_or("not measurable".to_owned(), |value| format!("{value:.0} B"))
            ),
        );
    }
    svg + "</svg>"
}

/// Escapes text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn open(label: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">")
}

fn put(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a string takes everything");
}

fn grid(svg: &mut String, y: f64, name: &str) {
    put(
        svg,
        &format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        ),
    );
    put(
        svg,
        &format!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            y + 4.0
        ),
    );
}

fn below(svg: &mut String, x: f64, name: &str) {
    let anchor = if x > WIDTH - RIGHT - 20.0 {
        "end"
    } else {
        "middle"
    };
    put(
        svg,
        &format!(
            "<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{name}</text>",
            HEIGHT - 12.0
        ),
    );
}

/// The next 1, 2 or 5 times a power of ten that is not below `value`.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step >= value * 0.999_999)
        .unwrap_or(10.0 * decade)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e3 => format!("{:.0} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.0} s", us / 1e6),
        us if us >= 1e3 => format!("{:.0} ms", us / 1e3),
        us => format!("{us:.0} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_a_round_number() {
        assert_eq!(
            [0.0, 0.7, 1.0, 13.0, 420.0, 999.0].map(nice),
            [1.0, 1.0, 1.0, 20.0, 500.0, 1_000.0]
        );
    }

    fn rates(per_s: &[f64]) -> Rates {
        Rates {
            slot_ms: 10,
            per_s: per_s.to_vec(),
        }
    }

    #[test]
    fn one_slot_is_a_line_from_side_to_side() {
        let svg = over_time(&rates(&[10.0]));
        assert!(
            svg.contains("<polyline class=\"line\" points=\"78.0,14.0 704.0,14.0\"/>"),
            "{svg}"
        );
    }

    #[test]
    fn no_chart_has_a_number_that_is_none() {
        for svg in [
            over_time(&rates(&[0.0])),
            percentiles(&[(0.0, 0), (100.0, 0)]),
            bars(&[("none", None)]),
        ] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
