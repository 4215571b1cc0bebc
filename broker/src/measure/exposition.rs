//! The counters of all shards as Prometheus reads them (text format 0.0.4).

use std::fmt::Write;

use crate::measure::counter::Counter;
use crate::measure::histogram::Histogram;
use crate::measure::metrics::{ProcessFacts, ShardMetrics, oldest_wait_us, rss_anon_bytes};

/// A number whose sum over all shards is exposed: its name without `oyez_`, its help, and its counter.
type Number = (&'static str, &'static str, fn(&ShardMetrics) -> &Counter);

/// Numbers that go up and down.
const GAUGES: [Number; 14] = [
    ("connections", "Open connections.", |s| &s.connections),
    (
        "sessions",
        "Connections that were welcomed or have sent a request over HTTP.",
        |s| &s.sessions,
    ),
    (
        "subscriptions",
        "Subscriptions, streams over HTTP included.",
        |s| &s.subscriptions,
    ),
    ("topics", "Topics that are stored.", |s| &s.topics),
    ("segments", "Segment files.", |s| &s.segments),
    ("segment_bytes", "Bytes of segment files.", |s| {
        &s.segment_bytes
    }),
    ("damaged_files", "Files that recovery has set aside.", |s| {
        &s.damaged_files
    }),
    (
        "losses",
        "Ranges of records that the start found to be lost.",
        |s| &s.losses,
    ),
    (
        "damaged_blocks",
        "Blocks read since the start whose content was not what was written.",
        |s| &s.damaged_blocks,
    ),
    (
        "storage_failing",
        "Operations of the store that fail now and are tried again.",
        |s| &s.storage_failing,
    ),
    (
        "input_bytes",
        "Bytes kept of input that is not complete or cannot be taken yet.",
        |s| &s.input_bytes,
    ),
    (
        "output_bytes",
        "Bytes kept of answers that clients do not take.",
        |s| &s.output_bytes,
    ),
    (
        "questions",
        "Questions between shards that wait for an answer.",
        |s| &s.questions,
    ),
    (
        "rendition_bytes",
        "Bytes kept of records in other forms than their own.",
        |s| &s.rendition_bytes,
    ),
];

/// Numbers that only go up. `_total` is added to the names.
const COUNTERS: [Number; 28] = [
    ("connections_accepted", "Connections accepted.", |s| {
        &s.connections_accepted
    }),
    (
        "connections_refused",
        "Connections for which there was no room.",
        |s| &s.connections_refused,
    ),
    (
        "accepts_failed",
        "Attempts to accept for which the system was short of something.",
        |s| &s.accepts_failed,
    ),
    (
        "sessions_refused",
        "Sessions ended for what they did.",
        |s| &s.sessions_refused,
    ),
    (
        "sessions_evicted",
        "Sessions ended because they held memory and made no progress.",
        |s| &s.sessions_evicted,
    ),
    ("records_in", "Records published.", |s| &s.records_in),
    ("messages_in", "Messages published.", |s| &s.messages_in),
    (
        "raw_bytes_in",
        "Bytes published, before compression.",
        |s| &s.bytes_in_raw,
    ),
    (
        "wire_bytes_in",
        "Bytes published, as they were stored.",
        |s| &s.bytes_in_wire,
    ),
    ("publishes_refused", "Records refused.", |s| {
        &s.publishes_refused
    }),
    (
        "topics_refused",
        "Records refused that would have begun a topic.",
        |s| &s.topics_refused,
    ),
    ("requests", "Requests over HTTP.", |s| &s.requests),
    (
        "codec_encodes",
        "Blocks compressed for publishers over HTTP.",
        |s| &s.codec_encodes,
    ),
    (
        "codec_decodes",
        "Blocks decompressed for subscribers over HTTP.",
        |s| &s.codec_decodes,
    ),
    (
        "renditions",
        "Records put into another form than their own.",
        |s| &s.renditions,
    ),
    ("deliveries", "Records delivered.", |s| &s.deliveries),
    ("messages_out", "Messages delivered.", |s| &s.messages_out),
    ("bytes_out", "Bytes delivered.", |s| &s.bytes_out),
    ("sends", "Sends to sockets.", |s| &s.sends),
    ("gaps", "Gaps reported to subscribers.", |s| &s.gaps),
    (
        "catchups",
        "Subscriptions served from the log instead of the window.",
        |s| &s.catchups,
    ),
    ("turns", "Turns of the event loops.", |s| &s.turns),
    ("writes", "Writes to segment files.", |s| &s.writes),
    ("bytes_written", "Bytes written to segment files.", |s| {
        &s.bytes_written
    }),
    ("syncs", "Syncs of segment files.", |s| &s.syncs),
    (
        "records_synced",
        "Records that syncs have made durable.",
        |s| &s.records_synced,
    ),
    (
        "storage_failures",
        "Attempts of the store that failed and are made again.",
        |s| &s.storage_failures,
    ),
    (
        "subscribers_ahead",
        "Subscriptions that came back with more than the topic holds.",
        |s| &s.subscribers_ahead,
    ),
];

/// Histograms. `_seconds` is added to the names.
type Times = (&'static str, &'static str, fn(&ShardMetrics) -> &Histogram);

const HISTOGRAMS: [Times; 5] = [
    (
        "delivery",
        "Time from a record's publish until it was sent to the last of a shard's subscribers that could take it.",
        |s| &s.delivery_us,
    ),
    (
        "visible",
        "Time from a record's append to its acknowledgement.",
        |s| &s.visible_us,
    ),
    ("sync", "Time that syncs took.", |s| &s.sync_us),
    ("turn", "Time that turns of the event loops took.", |s| {
        &s.turn_us
    }),
    (
        "storage",
        "Time that turns spent inside the store's calls.",
        |s| &s.storage_us,
    ),
];

/// Bounds of buckets: powers of two of microseconds, from 64 µs to 33.6 s.
const BOUNDS_LOG2: std::ops::RangeInclusive<u32> = 6..=25;

/// The text of the exposition.
pub(crate) fn expose(shards: &[ShardMetrics], facts: &ProcessFacts) -> String {
    let mut text = String::with_capacity(32 << 10);
    write_all(shards, facts, &mut text).expect("writing into memory cannot fail");
    text
}

fn write_all(shards: &[ShardMetrics], facts: &ProcessFacts, out: &mut String) -> std::fmt::Result {
    head(out, "build_info", "gauge", "The broker's version.")?;
    writeln!(
        out,
        "oyez_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    )?;
    write_process(shards, facts, out)?;
    for (name, help, pick) in GAUGES {
        head(out, name, "gauge", help)?;
        let sum: u64 = shards.iter().map(|shard| pick(shard).get()).sum();
        writeln!(out, "oyez_{name} {sum}")?;
    }
    for (name, help, pick) in COUNTERS {
        let name = format!("{name}_total");
        head(out, &name, "counter", help)?;
        for (number, shard) in shards.iter().enumerate() {
            writeln!(
                out,
                "oyez_{name}{{shard=\"{number}\"}} {}",
                pick(shard).get()
            )?;
        }
    }
    for (name, help, pick) in HISTOGRAMS {
        let name = format!("{name}_seconds");
        head(out, &name, "histogram", help)?;
        write_histogram(out, &name, shards.iter().map(pick))?;
    }
    Ok(())
}

/// Writes the numbers of the process as a whole.
fn write_process(
    shards: &[ShardMetrics],
    facts: &ProcessFacts,
    out: &mut String,
) -> std::fmt::Result {
    let awake_ms = shards.iter().map(|shard| shard.awake_ms.get()).max();
    let gauges = [
        (
            "uptime_seconds",
            "Time since the start.",
            seconds(facts.uptime_ms * 1_000),
        ),
        (
            "oldest_unacknowledged_seconds",
            "How long the oldest publish without an acknowledgement has waited.",
            seconds(oldest_wait_us(shards, facts.now_us)),
        ),
        (
            "arena_bytes",
            "Bytes of the tail arena in memory.",
            facts.arena_bytes.to_string(),
        ),
        (
            "rss_anon_bytes",
            "Anonymous memory of the process, the arena included.",
            rss_anon_bytes().unwrap_or(0).to_string(),
        ),
    ];
    for (name, help, value) in gauges {
        head(out, name, "gauge", help)?;
        writeln!(out, "oyez_{name} {value}")?;
    }
    let help = "Time in which cores were kept awake.";
    head(out, "awake_seconds_total", "counter", help)?;
    let awake = seconds(awake_ms.unwrap_or_default() * 1_000);
    writeln!(out, "oyez_awake_seconds_total {awake}")
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP oyez_{name} {help}\n# TYPE oyez_{name} {kind}")
}

fn write_histogram<'a>(
    out: &mut String,
    name: &str,
    all: impl Iterator<Item = &'a Histogram> + Clone,
) -> std::fmt::Result {
    let (counts, total_us) = Histogram::below_powers(all, BOUNDS_LOG2);
    for (log2, count) in BOUNDS_LOG2.zip(&counts) {
        writeln!(
            out,
            "oyez_{name}_bucket{{le=\"{}\"}} {count}",
            seconds(1 << log2)
        )?;
    }
    let count = counts.last().copied().unwrap_or_default();
    writeln!(out, "oyez_{name}_bucket{{le=\"+Inf\"}} {count}")?;
    writeln!(
        out,
        "oyez_{name}_sum {}\noyez_{name}_count {count}",
        seconds(total_us)
    )
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ProcessFacts {
        ProcessFacts {
            uptime_ms: 1_500,
            now_us: 3_000_000,
            disk: "uring",
            sending: "ring",
            descriptor_tables: "private",
            max_connections: 10,
            arena_bytes: 7,
            caps: crate::measure::metrics::MetricCaps {
                input_bytes: 0,
                output_bytes: 0,
                questions: 0,
            },
        }
    }

    #[test]
    fn numbers_are_summed_or_listed_for_each_shard() {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        for (shard, count) in shards.iter().zip([3, 4]) {
            shard.connections.add(count);
            shard.deliveries.add(count);
        }
        shards[1].waiting_since_us.set(500_000);
        let text = expose(&shards, &facts());
        for line in [
            "oyez_uptime_seconds 1.5",
            "oyez_arena_bytes 7",
            "oyez_oldest_unacknowledged_seconds 2.5",
            "# TYPE oyez_connections gauge",
            "oyez_connections 7",
            "# TYPE oyez_deliveries_total counter",
            "oyez_deliveries_total{shard=\"0\"} 3",
            "oyez_deliveries_total{shard=\"1\"} 4",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in {text}"
            );
        }
    }

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        for us in [0, 63, 64, 127, 128, 1_000_000] {
            shards[0].delivery_us.record(us);
        }
        shards[1].delivery_us.record(u64::from(u32::MAX));
        let text = expose(&shards, &facts());
        let count = |bound: &str| {
            let name = format!("oyez_delivery_seconds_bucket{{le=\"{bound}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap_or_else(|| panic!("{bound} is not in {text}"))
                .to_owned()
        };
        let counts = [
            "0.000064",
            "0.000128",
            "0.000256",
            "1.048576",
            "33.554432",
            "+Inf",
        ]
        .map(count);
        assert_eq!(counts, ["2", "4", "5", "6", "6", "7"]);
        assert!(text.contains("\noyez_delivery_seconds_count 7\n"));
        assert!(text.contains("\noyez_delivery_seconds_sum 4295.967677\n"));
    }

    #[test]
    fn no_name_appears_twice_and_each_is_explained() {
        let text = expose(&[ShardMetrics::default()], &facts());
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(text.matches("# HELP ").count(), count);
    }

    #[test]
    fn seconds_are_exact() {
        for (us, text) in [
            (0, "0"),
            (1, "0.000001"),
            (64, "0.000064"),
            (1_500_000, "1.5"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }
}
