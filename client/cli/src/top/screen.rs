//! How figures look: a screen for a terminal, a line for everything else. Pure.

use super::format::{Size, bytes, duration};
use super::sample::{Figures, Quantiles, Sample, ShardFigures};
use crate::output::grouped;
use crate::say::shown;

/// The column titles of [`line`].
pub(super) const TITLES: &str = "  uptime  connections    msgs in/s   msgs out/s  deliveries/s    bytes in/s   bytes out/s   ratio  \
                                 syncs/s  recs/sync     memory   max behind";

/// One interval as one line.
pub(super) fn line(figures: &Figures) -> String {
    format!(
        "{:>8}  {:>11}  {:>11}  {:>11}  {:>12}  {:>12}  {:>12}  {:>6}  {:>7}  {:>9}  {:>9}  {:>11}",
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
        grouped(figures.lag.max),
    )
}

/// What the first line tells beside the figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading<'a> {
    pub(super) server: &'a str,
    /// What can be done.
    pub(super) hint: &'a str,
}

/// One interval as a screen, without control characters.
pub(super) fn screen(
    heading: Heading<'_>,
    sample: &Sample,
    figures: &Figures,
    size: Size,
) -> String {
    let header = format!(
        "oyez top  {}  version {}  up {}  {} shards  {}  every {:.1} s  {}",
        shown(heading.server),
        shown(&sample.version),
        duration(figures.uptime_ms),
        sample.shards,
        shown(&sample.disk),
        figures.interval_ms as f64 / 1000.0,
        heading.hint,
    );
    let mut sections = vec![
        vec![header.trim_end().to_owned()],
        traffic(figures).to_vec(),
        standing(figures).to_vec(),
        times(figures).to_vec(),
    ];
    let fixed: usize = sections.iter().map(Vec::len).sum();
    let spare = size.rows.saturating_sub(fixed);
    let (lag_wanted, shards_wanted) = (figures.lag.lines_wanted(), 1 + figures.per_shard.len());
    let lag_lines = lag_wanted.min(spare.saturating_sub(shards_wanted).max(spare / 2));
    let shard_lines = shards_wanted.min(spare - lag_lines);
    sections.push(figures.lag.lines(lag_lines, size));
    sections.push(shards(&figures.per_shard, shard_lines));
    joined(&sections, spare - lag_lines - shard_lines)
}

/// The sections one below the other, apart from each other as far as there are lines to spare, from below.
fn joined(sections: &[Vec<String>], spare: usize) -> String {
    let mut text = String::new();
    for (number, section) in sections.iter().enumerate() {
        if number > 0 && spare >= sections.len() - number {
            text.push('\n');
        }
        for line in section {
            text.extend([line, "\n"]);
        }
    }
    text
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

fn standing(figures: &Figures) -> [String; 3] {
    let row = |name: &str, rest: String| format!("{name:<12}{rest}");
    [
        row(
            "connections",
            format!(
                "{}  accepted {}/s  refused {}/s  sessions {}  subscriptions {}  topics {}",
                grouped(figures.connections),
                count(figures.accepted),
                count(figures.connections_refused),
                grouped(figures.sessions),
                grouped(figures.subscriptions),
                grouped(figures.topics)
            ),
        ),
        row(
            "storage",
            format!(
                "{} segments  {}  written {}/s  records per sync {}  longest waiting {} ms",
                grouped(figures.segments),
                bytes(figures.segment_bytes as f64),
                bytes(figures.bytes_written),
                ratio(figures.records_per_sync),
                grouped(figures.oldest_unacknowledged_ms)
            ),
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

/// How long things take, in microseconds.
fn times(figures: &Figures) -> [String; 5] {
    let row = |name: &str, more: [String; 2], us: Quantiles| {
        let us = [us.p50, us.p99, us.p999, us.max].map(grouped);
        times_line(name, more, us)
    };
    let cores = |value: f64| format!("{value:.2}");
    let us = ["p50 us", "p99 us", "p99.9 us", "max us"].map(str::to_owned);
    let titles = ["per second", "cores"].map(str::to_owned);
    [
        [&times_line("", titles, us), "  since its start"].concat(),
        row(
            "turns",
            [count(figures.turns), cores(figures.cores_busy)],
            figures.turn_us,
        ),
        row(
            "in storage",
            [String::new(), cores(figures.cores_in_storage)],
            figures.storage_us,
        ),
        row(
            "sync",
            [count(figures.syncs), String::new()],
            figures.sync_us,
        ),
        row("to be visible", Default::default(), figures.visible_us),
    ]
}

fn times_line(name: &str, [rate, cores]: [String; 2], us: [String; 4]) -> String {
    let [p50, p99, p999, max] = us;
    format!("{name:<16}{rate:>12}{cores:>8}{p50:>11}{p99:>11}{p999:>11}{max:>13}")
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

/// The busiest shards in so many lines, a bar for the deliveries of each.
fn shards(all: &[ShardFigures], lines: usize) -> Vec<String> {
    let rows = lines.saturating_sub(1);
    if rows == 0 {
        return Vec::new();
    }
    let mut busiest = all.to_vec();
    busiest.sort_by(|left, right| {
        let load = |shard: &ShardFigures| (shard.bytes_out, shard.turns);
        let order = load(right).partial_cmp(&load(left));
        order.unwrap_or(std::cmp::Ordering::Equal)
    });
    let rates = busiest.iter().map(|shard| shard.deliveries);
    let most = rates.fold(0.0, f64::max);
    // The last line tells of those for which there is none.
    let told = if all.len() > rows { rows - 1 } else { rows };
    let mut table = vec![format!(
        "{:<6}{:>12}{:>14}{:>14}{:>10}",
        "shard", "connections", "deliveries/s", "bytes out/s", "turns/s"
    )];
    table.extend(busiest.iter().take(told).map(|shard| {
        let line = format!(
            "{:<6}{:>12}{:>14}{:>14}{:>10}  {}",
            shard.shard,
            grouped(shard.connections),
            count(shard.deliveries),
            bytes(shard.bytes_out),
            count(shard.turns),
            bar(shard.deliveries, most)
        );
        line.trim_end().to_owned()
    }));
    if all.len() > told {
        table.push(format!("and {} less busy", all.len() - told));
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: Heading<'_> = Heading {
        server: "127.0.0.1:7450",
        hint: "",
    };

    /// Two samples, two seconds apart.
    fn samples() -> (Sample, Sample) {
        let before = r#"{"version":"0.1.0","uptime_ms":3600000,"shards":2,"disk":"uring","messages_in":1000,
            "records_in":100,"bytes_in_raw":100000,"bytes_in_wire":50000,"deliveries":1000,"messages_out":10000,
            "bytes_out":1048576,"syncs":10,"records_synced":100,
            "per_shard":[{"connections":600,"deliveries":500},{"connections":634,"deliveries":500}]}"#;
        let after = r#"{"version":"0.1.0","uptime_ms":3602000,"shards":2,"disk":"uring","connections":1234,
            "sessions":1233,"subscriptions":1232,"topics":3,"messages_in":3000,"records_in":300,"bytes_in_raw":400000,
            "bytes_in_wire":150000,"deliveries":201000,"messages_out":2010000,"bytes_out":211812352,"syncs":210,"turns":8000,
            "records_synced":700,"segments":4,"segment_bytes":268435456,"arena_bytes":33554432,
            "rss_anon_bytes":34828032,"turn_us":{"p50":12,"p99":140,"p999":900,"max":12000,"total":800000},
            "storage_us":{"p50":1,"p99":30,"p999":120,"max":2100,"total":90000},
            "sync_us":{"p50":290,"p99":1100,"p999":4100,"max":54000000},
            "visible_us":{"p50":310,"p99":1900,"p999":4300,"max":54000000},"oldest_unacknowledged_ms":12,
            "per_shard":[{"connections":600,"deliveries":100500,"bytes_out":100000,"turns":4000},
            {"connections":634,"deliveries":50500,"bytes_out":50000,"turns":4000}]}"#;
        let lag = r#"{"subscriptions":1232,"max":2048,"by_digits":[1200,20,0,9,3,0,0,0],"slowest":[
            {"peer":"10.0.0.7:40312","topic":"live/scores","lag":2048,"unacknowledged_bytes":98304,"blocked_ms":12800},
            {"peer":"10.0.0.9:51044","topic":"live/odds","lag":1100,"unacknowledged_bytes":0,"blocked_ms":null}]}"#;
        let [before, mut after] =
            [before, after].map(|json| serde_json::from_str::<Sample>(json).unwrap());
        after.lag = serde_json::from_str(lag).unwrap();
        (before, after)
    }

    fn figures() -> Figures {
        let (before, after) = samples();
        Figures::between(&before, &after)
    }

    #[test]
    fn the_screen_shows_rates_times_lag_and_shards() {
        let expected = "\
oyez top  127.0.0.1:7450  version 0.1.0  up 1h00m  2 shards  uring  every 2.0 s

per second              IN           OUT
messages             1,000     1,000,000  compression 3.00
records                100       100,000  catch-ups 0
bytes             48.8 KiB     100.5 MiB  gaps 0  publishes refused 0

connections 1,234  accepted 0/s  refused 0/s  sessions 1,233  subscriptions 1,232  topics 3
storage     4 segments  256.0 MiB  written 0 B/s  records per sync 3.00  longest waiting 12 ms
memory      33.2 MiB  arena 32.0 MiB  1.0 KiB a connection beside the arena

                  per second   cores     p50 us     p99 us   p99.9 us       max us  since its start
turns                  4,000    0.40         12        140        900       12,000
in storage                      0.05          1         30        120        2,100
sync                     100                290      1,100      4,100   54,000,000
to be visible                               310      1,900      4,300   54,000,000

messages behind    subscriptions      slowest                   behind  blocked   in socket  topic
none                 1,200 ########   10.0.0.7:40312             2,048      12s    96.0 KiB  live/scores
1-9                     20 #          10.0.0.9:51044             1,100        -         0 B  live/odds
10-99                    0
100-999                  9 #
1,000-9,999              3 #

shard  connections  deliveries/s   bytes out/s   turns/s
0              600        50,000      48.8 KiB     2,000  ####################
1              634        25,000      24.4 KiB     2,000  ##########
";
        let text = screen(HEADING, &samples().1, &figures(), Size::ALL);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn on_a_small_terminal_many_shards_and_much_lag_share_what_room_there_is() {
        let mut figures = figures();
        figures.per_shard = vec![ShardFigures::default(); 54];
        figures.lag.by_digits = vec![1; 8];
        let text = screen(HEADING, &samples().1, &figures, Size::SMALL);
        assert_eq!(text.lines().count(), 24, "{text}");
        assert!(text.contains("and 50 less busy"), "{text}");
        assert!(text.contains("1,000,000 up"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 102),
            "{text}"
        );
    }

    #[test]
    fn every_size_of_terminal_is_filled_and_none_is_overrun() {
        let mut figures = figures();
        figures.per_shard = vec![ShardFigures::default(); 9];
        for rows in 13..60 {
            let size = Size { rows, columns: 100 };
            let text = screen(HEADING, &samples().1, &figures, size);
            assert!(text.lines().count() <= rows, "{rows}:\n{text}");
        }
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
}
