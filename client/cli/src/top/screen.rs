//! Draws figures: a screen for a terminal, a line for everything else. Pure.

use super::fit::{self, Column, Part, cells, columns_kept, part};
use super::format::{Size, bytes, duration};
use super::sample::{Figures, Quantiles, Sample, ShardFigures};
use crate::output::grouped;
use crate::say::shown;

/// The columns of [`line`]; the most important has the lowest rank.
const COLUMNS: [(&str, Column); 12] = [
    ("uptime", column(8, 0)),
    ("connections", column(13, 2)),
    ("msgs in/s", column(13, 1)),
    ("msgs out/s", column(13, 1)),
    ("deliveries/s", column(14, 7)),
    ("bytes in/s", column(14, 6)),
    ("bytes out/s", column(14, 4)),
    ("ratio", column(8, 10)),
    ("syncs/s", column(9, 9)),
    ("recs/sync", column(11, 8)),
    ("memory", column(11, 5)),
    ("max behind", column(13, 3)),
];

const fn column(width: usize, rank: u8) -> Column {
    Column { width, rank }
}

/// Returns the titles of the columns that fit.
pub(super) fn titles(columns: usize) -> String {
    let all = COLUMNS.map(|(_, column)| column);
    let titles = COLUMNS.map(|(title, _)| title.to_owned());
    cells(all, columns_kept(all, columns), titles)
}

/// Draws one interval as one line, in the columns that fit.
pub(super) fn line(figures: &Figures, columns: usize) -> String {
    let all = COLUMNS.map(|(_, column)| column);
    let texts = [
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
    ];
    cells(all, columns_kept(all, columns), texts)
}

/// What the first line shows beside the figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading<'a> {
    pub(super) server: &'a str,
    /// The keys to press.
    pub(super) hint: &'a str,
}

/// Draws one interval as a screen, without control characters.
pub(super) fn screen(
    heading: Heading<'_>,
    sample: &Sample,
    figures: &Figures,
    size: Size,
) -> String {
    let columns = size.columns;
    let header = [
        part(0, "oyez top"),
        part(1, shown(heading.server)),
        part(5, format!("version {}", shown(&sample.version))),
        part(2, format!("up {}", duration(figures.uptime_ms))),
        part(4, format!("{} shards", sample.shards)),
        part(7, shown(&sample.disk)),
        part(
            6,
            format!("every {:.1} s", figures.interval_ms as f64 / 1000.0),
        ),
        part(3, heading.hint),
    ];
    let mut sections = vec![
        vec![fit::line(&header, columns)],
        traffic(figures, columns).to_vec(),
        standing(figures, columns).to_vec(),
        times(figures, columns).to_vec(),
    ];
    let fixed: usize = sections.iter().map(Vec::len).sum();
    let spare = size.rows.saturating_sub(fixed);
    let (lag_wanted, shards_wanted) = (figures.lag.lines_wanted(), 1 + figures.per_shard.len());
    let lag_lines = lag_wanted.min(spare.saturating_sub(shards_wanted).max(spare / 2));
    let shard_lines = shards_wanted.min(spare - lag_lines);
    sections.push(figures.lag.lines(lag_lines, size));
    sections.push(shards(&figures.per_shard, shard_lines, columns));
    joined(&sections, spare - lag_lines - shard_lines)
}

/// Stacks the sections, with empty lines between them as far as there is room, the lower ones first.
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

fn traffic(figures: &Figures, columns: usize) -> [String; 4] {
    let row = |name: &str, into: String, out: String, more: &[Part]| {
        let front = format!("{name:<12}{into:>14}{out:>14}  ");
        let more = fit::line(more, columns.saturating_sub(front.len()));
        [front, more].concat().trim_end().to_owned()
    };
    [
        row("per second", "IN".into(), "OUT".into(), &[]),
        row(
            "messages",
            count(figures.messages_in),
            count(figures.messages_out),
            &[part(
                0,
                format!("compression {}", ratio(figures.compression_ratio)),
            )],
        ),
        row(
            "records",
            count(figures.records_in),
            count(figures.deliveries),
            &[part(0, format!("catch-ups {}", count(figures.catchups)))],
        ),
        row(
            "bytes",
            bytes(figures.bytes_in),
            bytes(figures.bytes_out),
            &[
                part(0, format!("gaps {}", count(figures.gaps))),
                part(
                    1,
                    format!("publishes refused {}", count(figures.publishes_refused)),
                ),
            ],
        ),
    ]
}

fn standing(figures: &Figures, columns: usize) -> [String; 3] {
    let row = |name: &str, parts: &[Part]| {
        let front = format!("{name:<12}");
        let rest = fit::line(parts, columns.saturating_sub(front.len()));
        [front, rest].concat()
    };
    [
        row(
            "connections",
            &[
                part(0, grouped(figures.connections)),
                part(3, format!("accepted {}/s", count(figures.accepted))),
                part(
                    4,
                    format!("refused {}/s", count(figures.connections_refused)),
                ),
                part(5, format!("sessions {}", grouped(figures.sessions))),
                part(
                    1,
                    format!("subscriptions {}", grouped(figures.subscriptions)),
                ),
                part(2, format!("topics {}", grouped(figures.topics))),
            ],
        ),
        row(
            "storage",
            &[
                part(4, format!("{} segments", grouped(figures.segments))),
                part(0, bytes(figures.segment_bytes as f64)),
                part(1, format!("written {}/s", bytes(figures.bytes_written))),
                part(
                    3,
                    format!("records per sync {}", ratio(figures.records_per_sync)),
                ),
                part(
                    2,
                    format!(
                        "longest waiting {} ms",
                        grouped(figures.oldest_unacknowledged_ms)
                    ),
                ),
            ],
        ),
        row(
            "memory",
            &[
                part(0, bytes(figures.rss_anon_bytes as f64)),
                part(1, format!("arena {}", bytes(figures.arena_bytes as f64))),
                part(2, per_connection(figures)),
            ],
        ),
    ]
}

/// The columns of [`times`] with much room, and with little.
const TIMES_WIDE: [Column; 6] = [
    column(12, 1),
    column(8, 5),
    column(11, 2),
    column(11, 0),
    column(11, 4),
    column(13, 3),
];
const TIMES_NARROW: [Column; 6] = [
    column(11, 1),
    column(7, 5),
    column(10, 2),
    column(11, 0),
    column(11, 4),
    column(13, 3),
];
/// Columns of the names.
const TIMES_NAME: usize = 16;
const SINCE: &str = "  since its start";

/// Draws the table of durations, in microseconds.
fn times(figures: &Figures, columns: usize) -> [String; 5] {
    let wide: usize = TIMES_WIDE.iter().map(|column| column.width).sum();
    let all = if columns >= TIMES_NAME + wide {
        TIMES_WIDE
    } else {
        TIMES_NARROW
    };
    let kept = columns_kept(all, columns.saturating_sub(TIMES_NAME));
    let line =
        |name: &str, texts: [String; 6]| format!("{name:<TIMES_NAME$}{}", cells(all, kept, texts));
    let row = |name: &str, [rate, cores]: [String; 2], us: Quantiles| {
        let [p50, p99, p999, max] = [us.p50, us.p99, us.p999, us.max].map(grouped);
        line(name, [rate, cores, p50, p99, p999, max])
    };
    let cores = |value: f64| format!("{value:.2}");
    let titles = [
        "per second",
        "cores",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
    ];
    let mut titles = line("", titles.map(str::to_owned));
    if titles.len() + SINCE.len() <= columns {
        titles += SINCE;
    }
    [
        titles,
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

/// States the memory of each connection besides the arena, where there are enough connections to know.
fn per_connection(figures: &Figures) -> String {
    if figures.connections < 1000 {
        return String::new();
    }
    let rest = figures.rss_anon_bytes.saturating_sub(figures.arena_bytes);
    let each = rest / figures.connections;
    format!("{} a connection besides the arena", bytes(each as f64))
}

/// Columns of a shard without its bar, and most columns of the bar.
const SHARD_COLUMNS: usize = 58;
const BAR: usize = 20;

/// Draws the busiest shards in so many lines, with a bar for the deliveries of each where there is room.
fn shards(all: &[ShardFigures], lines: usize, columns: usize) -> Vec<String> {
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
    // The last line counts the shards that have no line.
    let told = if all.len() > rows { rows - 1 } else { rows };
    let marks = columns.saturating_sub(SHARD_COLUMNS).min(BAR);
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
            bar(shard.deliveries, most, marks)
        );
        line.trim_end().to_owned()
    }));
    if all.len() > told {
        table.push(format!("and {} less busy", all.len() - told));
    }
    table
}

/// Draws a bar of at most `marks` marks.
fn bar(value: f64, most: f64, marks: usize) -> String {
    let share = if most > 0.0 { value / most } else { 0.0 };
    "#".repeat((share * marks as f64).round() as usize)
}

/// Formats a rate: whole from 10 on, with one decimal below.
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
memory      33.2 MiB  arena 32.0 MiB  1.0 KiB a connection besides the arena

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
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        let heading = Heading {
            hint: "(q ends, h explains)",
            ..HEADING
        };
        for columns in 60..=160 {
            let size = Size { rows: 24, columns };
            let text = screen(heading, &samples().1, &figures(), size);
            assert_eq!(text.lines().count(), 24, "{columns}:\n{text}");
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(columns), "{columns}:\n{text}");
            assert!(titles(columns).len() <= columns);
            assert!(line(&figures(), columns).len() <= columns);
        }
    }

    #[test]
    fn a_terminal_of_80_columns_shows_what_matters_most() {
        let heading = Heading {
            hint: "(q ends, h explains)",
            ..HEADING
        };
        let expected = "\
oyez top  127.0.0.1:7450  up 1h00m  2 shards  (q ends, h explains)
per second              IN           OUT
messages             1,000     1,000,000  compression 3.00
records                100       100,000  catch-ups 0
bytes             48.8 KiB     100.5 MiB  gaps 0  publishes refused 0
connections 1,234  accepted 0/s  refused 0/s  subscriptions 1,232  topics 3
storage     256.0 MiB  written 0 B/s  longest waiting 12 ms
memory      33.2 MiB  arena 32.0 MiB  1.0 KiB a connection besides the arena
                 per second  cores    p50 us     p99 us   p99.9 us       max us
turns                 4,000   0.40        12        140        900       12,000
in storage                    0.05         1         30        120        2,100
sync                    100              290      1,100      4,100   54,000,000
to be visible                            310      1,900      4,300   54,000,000

behind   subscriptions      slowest                   behind  blocked  topic
none                 1,200  10.0.0.7:40312             2,048      12s  live/sco~
1-9                     20  10.0.0.9:51044             1,100        -  live/odds
10-99                    0
100-999                  9
1,000-9,999              3

shard  connections  deliveries/s   bytes out/s   turns/s
0              600        50,000      48.8 KiB     2,000  ####################
1              634        25,000      24.4 KiB     2,000  ##########
";
        let text = screen(heading, &samples().1, &figures(), Size::SMALL);
        assert_eq!(text, expected, "\n{text}");
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
        let (titles, line) = (titles(160), line(&figures(), 160));
        assert_eq!(line.len(), titles.len(), "\n{titles}\n{line}");
        assert!(
            line.contains("1,000,000") && line.contains("100.5 MiB"),
            "{line}"
        );
    }
}
