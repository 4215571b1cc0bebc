//! How figures look: a screen for a terminal, a line for everything else. Pure.

use super::sample::{Figures, Quantiles, Sample, ShardFigures};
use crate::output::{grouped, shown};

/// Shards that are shown one by one: with the rest of the screen they fit into 24 lines.
const SHARDS_SHOWN: usize = 6;

/// The column titles of [`line`].
pub(super) const TITLES: &str = "  uptime  connections    msgs in/s   msgs out/s  deliveries/s    bytes in/s   bytes out/s   ratio  \
                                 syncs/s  recs/sync     memory";

/// One interval as one line.
pub(super) fn line(figures: &Figures) -> String {
    format!(
        "{:>8}  {:>11}  {:>11}  {:>11}  {:>12}  {:>12}  {:>12}  {:>6}  {:>7}  {:>9}  {:>9}",
        duration(figures.uptime_ms),
        grouped(figures.connections),
        count(figures.messages_in),
        count(figures.messages_out),
        count(figures.deliveries),
        bytes(figures.bytes_in),
        bytes(figures.bytes_out),
        ratio(figures.compression_ratio),
        count(figures.syncs),
        ratio(figures.records_per_sync),
        bytes(figures.rss_anon_bytes as f64),
    )
}

/// One interval as a screen, without control characters.
pub(super) fn screen(server: &str, sample: &Sample, figures: &Figures) -> String {
    let header = format!(
        "oyez top  {}  version {}  up {}  {} shards  {}  every {:.1} s",
        shown(server),
        shown(&sample.version),
        duration(figures.uptime_ms),
        sample.shards,
        shown(&sample.disk),
        figures.interval_ms as f64 / 1000.0,
    );
    let mut lines = vec![header, String::new()];
    lines.extend(traffic(figures));
    lines.push(String::new());
    lines.extend(standing(figures));
    lines.push(String::new());
    lines.extend(shards(&figures.per_shard));
    lines.join("\n") + "\n"
}

fn traffic(figures: &Figures) -> [String; 4] {
    let row = |name: &str, into: String, out: String, more: String| {
        format!("{name:<12}{into:>14}{out:>14}  {more}")
            .trim_end()
            .to_owned()
    };
    [
        row("per second", "IN".into(), "OUT".into(), String::new()),
        row(
            "messages",
            count(figures.messages_in),
            count(figures.messages_out),
            format!("compression {}", ratio(figures.compression_ratio)),
        ),
        row(
            "records",
            count(figures.records_in),
            count(figures.deliveries),
            format!("catch-ups {}", count(figures.catchups)),
        ),
        row(
            "bytes",
            bytes(figures.bytes_in),
            bytes(figures.bytes_out),
            format!(
                "gaps {}  publishes refused {}",
                count(figures.gaps),
                count(figures.publishes_refused)
            ),
        ),
    ]
}

fn standing(figures: &Figures) -> [String; 7] {
    let row = |name: &str, rest: String| format!("{name:<12}{rest}");
    [
        row(
            "connections",
            format!(
                "{}  accepted {}/s  refused {}/s",
                grouped(figures.connections),
                count(figures.accepted),
                count(figures.connections_refused)
            ),
        ),
        row(
            "sessions",
            format!(
                "{}  subscriptions {}  topics {}",
                grouped(figures.sessions),
                grouped(figures.subscriptions),
                grouped(figures.topics)
            ),
        ),
        row(
            "storage",
            format!(
                "syncs {}/s  records per sync {}  written {}/s",
                count(figures.syncs),
                ratio(figures.records_per_sync),
                bytes(figures.bytes_written)
            ),
        ),
        row(
            "segments",
            format!(
                "{}  {}",
                grouped(figures.segments),
                bytes(figures.segment_bytes as f64)
            ),
        ),
        row(
            "turns",
            format!("{}/s  {}", count(figures.turns), quantiles(figures.turn_us)),
        ),
        row(
            "in storage",
            format!("of each turn  {}", quantiles(figures.storage_us)),
        ),
        row(
            "memory",
            format!(
                "{}  arena {}{}",
                bytes(figures.rss_anon_bytes as f64),
                bytes(figures.arena_bytes as f64),
                per_connection(figures)
            ),
        ),
    ]
}

fn quantiles(us: Quantiles) -> String {
    format!(
        "p50 {} us  p99 {} us  p99.9 {} us  max {} us since its start",
        grouped(us.p50),
        grouped(us.p99),
        grouped(us.p999),
        grouped(us.max)
    )
}

/// What each connection takes beside the arena, where there are enough of them to tell.
fn per_connection(figures: &Figures) -> String {
    if figures.connections < 1000 {
        return String::new();
    }
    let rest = figures.rss_anon_bytes.saturating_sub(figures.arena_bytes);
    let each = rest / figures.connections;
    format!("  {} a connection beside the arena", bytes(each as f64))
}

/// The busiest shards, a bar for the deliveries of each.
fn shards(all: &[ShardFigures]) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    let mut busiest = all.to_vec();
    let load = |shard: &ShardFigures| (shard.bytes_out, shard.turns);
    busiest.sort_by(|left, right| {
        load(right)
            .partial_cmp(&load(left))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let most = busiest
        .iter()
        .map(|shard| shard.deliveries)
        .fold(0.0, f64::max);
    let title = format!(
        "{:<6}{:>12}{:>14}{:>14}{:>10}",
        "shard", "connections", "deliveries/s", "bytes out/s", "turns/s"
    );
    let mut lines = vec![title];
    lines.extend(busiest.iter().take(SHARDS_SHOWN).map(|shard| {
        format!(
            "{:<6}{:>12}{:>14}{:>14}{:>10}  {}",
            shard.shard,
            grouped(shard.connections),
            count(shard.deliveries),
            bytes(shard.bytes_out),
            count(shard.turns),
            bar(shard.deliveries, most)
        )
        .trim_end()
        .to_owned()
    }));
    if all.len() > SHARDS_SHOWN {
        lines.push(format!("and {} less busy", all.len() - SHARDS_SHOWN));
    }
    lines
}

/// Up to twenty marks.
fn bar(value: f64, most: f64) -> String {
    let marks = if most > 0.0 { value / most * 20.0 } else { 0.0 };
    "#".repeat(marks.round() as usize)
}

/// A rate: whole from 10 on, with a digit below.
fn count(value: f64) -> String {
    if value == 0.0 || value >= 10.0 {
        grouped(value.round() as u64)
    } else {
        format!("{value:.1}")
    }
}

fn ratio(value: f64) -> String {
    if value == 0.0 {
        "-".to_owned()
    } else {
        format!("{value:.2}")
    }
}

/// Bytes in the largest binary unit that leaves a whole part.
fn bytes(value: f64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find_map(|(power, name)| {
        let size = f64::from(*power).exp2();
        (value >= size).then(|| format!("{:.1} {name}", value / size))
    });
    unit.unwrap_or_else(|| format!("{value:.0} B"))
}

/// The two largest units of a duration.
fn duration(ms: u64) -> String {
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

    /// Two samples, two seconds apart.
    fn samples() -> (Sample, Sample) {
        let before = r#"{"version":"0.1.0","uptime_ms":3600000,"shards":2,"disk":"uring","messages_in":1000,
            "records_in":100,"bytes_in_raw":100000,"bytes_in_wire":50000,"deliveries":1000,"messages_out":10000,
            "bytes_out":1048576,"syncs":10,"records_synced":100,
            "per_shard":[{"connections":600,"deliveries":500},{"connections":634,"deliveries":500}]}"#;
        let after = r#"{"version":"0.1.0","uptime_ms":3602000,"shards":2,"disk":"uring","connections":1234,
            "sessions":1233,"subscriptions":1232,"topics":3,"messages_in":3000,"records_in":300,"bytes_in_raw":400000,
            "bytes_in_wire":150000,"deliveries":201000,"messages_out":2010000,"bytes_out":211812352,"syncs":210,
            "records_synced":700,"segments":4,"segment_bytes":268435456,"arena_bytes":33554432,
            "rss_anon_bytes":34828032,"turn_us":{"p50":12,"p99":140,"p999":900,"max":12000},
            "per_shard":[{"connections":600,"deliveries":100500,"bytes_out":100000,"turns":4000},
            {"connections":634,"deliveries":50500,"bytes_out":50000,"turns":4000}]}"#;
        let parsed = [before, after].map(|json| serde_json::from_str(json).unwrap());
        parsed.into()
    }

    fn figures() -> Figures {
        let (before, after) = samples();
        Figures::between(&before, &after)
    }

    #[test]
    fn the_screen_shows_rates_and_what_stands() {
        let expected = "\
oyez top  127.0.0.1:7450  version 0.1.0  up 1h00m  2 shards  uring  every 2.0 s

per second              IN           OUT
messages             1,000     1,000,000  compression 3.00
records                100       100,000  catch-ups 0
bytes             48.8 KiB     100.5 MiB  gaps 0  publishes refused 0

connections 1,234  accepted 0/s  refused 0/s
sessions    1,233  subscriptions 1,232  topics 3
storage     syncs 100/s  records per sync 3.00  written 0 B/s
segments    4  256.0 MiB
turns       0/s  p50 12 us  p99 140 us  p99.9 900 us  max 12,000 us since its start
in storage  of each turn  p50 0 us  p99 0 us  p99.9 0 us  max 0 us since its start
memory      33.2 MiB  arena 32.0 MiB  1.0 KiB a connection beside the arena

shard  connections  deliveries/s   bytes out/s   turns/s
0              600        50,000      48.8 KiB     2,000  ####################
1              634        25,000      24.4 KiB     2,000  ##########
";
        let text = screen("127.0.0.1:7450", &samples().1, &figures());
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_screen_with_many_shards_fits_a_small_terminal() {
        let mut figures = figures();
        figures.per_shard = vec![ShardFigures::default(); 54];
        let text = screen("host:1", &samples().1, &figures);
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.contains("and 48 less busy"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn a_line_stands_below_its_titles() {
        let line = line(&figures());
        assert_eq!(line.len(), TITLES.len(), "\n{TITLES}\n{line}");
        assert!(
            line.contains("1,000,000") && line.contains("100.5 MiB"),
            "{line}"
        );
    }

    #[test]
    fn durations_have_two_units() {
        let told = [5_000, 65_000, 3_600_000, 90_000_000].map(duration);
        assert_eq!(told, ["5s", "1m05s", "1h00m", "1d01h"]);
    }
}
