//! The broker's counters at one moment, and the figures of the interval between two moments. Pure.

use serde::{Deserialize, Serialize};

use super::lag::Lag;

/// The members of the broker's statistics that are shown. A member that an older broker does not send is 0.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub(super) version: String,
    pub(super) uptime_ms: u64,
    pub(super) shards: u64,
    pub(super) disk: String,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) topics: u64,
    connections_accepted: u64,
    connections_refused: u64,
    records_in: u64,
    messages_in: u64,
    bytes_in_raw: u64,
    bytes_in_wire: u64,
    publishes_refused: u64,
    deliveries: u64,
    messages_out: u64,
    bytes_out: u64,
    gaps: u64,
    catchups: u64,
    turns: u64,
    bytes_written: u64,
    syncs: u64,
    records_synced: u64,
    pub(super) segments: u64,
    pub(super) segment_bytes: u64,
    pub(super) turn_us: Quantiles,
    pub(super) storage_us: Quantiles,
    sync_us: Quantiles,
    visible_us: Quantiles,
    oldest_unacknowledged_ms: u64,
    pub(super) arena_bytes: u64,
    pub(super) rss_anon_bytes: u64,
    per_shard: Vec<Shard>,
    /// From the separate question about lag.
    #[serde(skip)]
    pub(super) lag: Lag,
}

/// Durations since the broker's start, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
    /// Their sum.
    pub(super) total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Shard {
    connections: u64,
    deliveries: u64,
    turns: u64,
    bytes_out: u64,
}

/// Figures of an interval: rates per second unless stated otherwise, and the state at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) uptime_ms: u64,
    pub(super) interval_ms: u64,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) topics: u64,
    pub(super) accepted: f64,
    pub(super) connections_refused: f64,
    pub(super) messages_in: f64,
    pub(super) records_in: f64,
    pub(super) bytes_in: f64,
    pub(super) publishes_refused: f64,
    pub(super) messages_out: f64,
    pub(super) deliveries: f64,
    pub(super) bytes_out: f64,
    /// Bytes of messages for each byte on the wire, of the records published in the interval; 0 when none was.
    pub(super) compression_ratio: f64,
    pub(super) syncs: f64,
    pub(super) records_per_sync: f64,
    pub(super) bytes_written: f64,
    pub(super) turns: f64,
    /// Time that shards were busy, and the part of it in storage calls, as a number of cores.
    pub(super) cores_busy: f64,
    pub(super) cores_in_storage: f64,
    pub(super) catchups: f64,
    pub(super) gaps: f64,
    pub(super) segments: u64,
    pub(super) segment_bytes: u64,
    pub(super) turn_us: Quantiles,
    pub(super) storage_us: Quantiles,
    pub(super) sync_us: Quantiles,
    pub(super) visible_us: Quantiles,
    pub(super) oldest_unacknowledged_ms: u64,
    pub(super) arena_bytes: u64,
    pub(super) rss_anon_bytes: u64,
    pub(super) per_shard: Vec<ShardFigures>,
    pub(super) lag: Lag,
}

/// Figures of one shard in the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct ShardFigures {
    pub(super) shard: usize,
    pub(super) connections: u64,
    pub(super) deliveries: f64,
    pub(super) bytes_out: f64,
    pub(super) turns: f64,
}

impl Figures {
    /// Computes the figures from `before` to `after`. A broker that restarted in between has counted from 0.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let restarted = after.uptime_ms < before.uptime_ms;
        let zero = Sample::default();
        let before = if restarted { &zero } else { before };
        let interval_ms = after.uptime_ms - before.uptime_ms;
        let rate = |pick: fn(&Sample) -> u64| per_second(pick(before), pick(after), interval_ms);
        let grown = |pick: fn(&Sample) -> u64| pick(after).saturating_sub(pick(before));
        let cores = |pick: fn(&Sample) -> u64| ratio(grown(pick), interval_ms * 1000);
        Self {
            uptime_ms: after.uptime_ms,
            interval_ms,
            connections: after.connections,
            sessions: after.sessions,
            subscriptions: after.subscriptions,
            topics: after.topics,
            accepted: rate(|s| s.connections_accepted),
            connections_refused: rate(|s| s.connections_refused),
            messages_in: rate(|s| s.messages_in),
            records_in: rate(|s| s.records_in),
            bytes_in: rate(|s| s.bytes_in_wire),
            publishes_refused: rate(|s| s.publishes_refused),
            messages_out: rate(|s| s.messages_out),
            deliveries: rate(|s| s.deliveries),
            bytes_out: rate(|s| s.bytes_out),
            compression_ratio: ratio(grown(|s| s.bytes_in_raw), grown(|s| s.bytes_in_wire)),
            syncs: rate(|s| s.syncs),
            records_per_sync: ratio(grown(|s| s.records_synced), grown(|s| s.syncs)),
            bytes_written: rate(|s| s.bytes_written),
            turns: rate(|s| s.turns),
            cores_busy: cores(|s| s.turn_us.total),
            cores_in_storage: cores(|s| s.storage_us.total),
            catchups: rate(|s| s.catchups),
            gaps: rate(|s| s.gaps),
            segments: after.segments,
            segment_bytes: after.segment_bytes,
            turn_us: after.turn_us,
            storage_us: after.storage_us,
            sync_us: after.sync_us,
            visible_us: after.visible_us,
            oldest_unacknowledged_ms: after.oldest_unacknowledged_ms,
            arena_bytes: after.arena_bytes,
            rss_anon_bytes: after.rss_anon_bytes,
            per_shard: shards_between(before, after, interval_ms),
            lag: after.lag.clone(),
        }
    }
}

fn shards_between(before: &Sample, after: &Sample, interval_ms: u64) -> Vec<ShardFigures> {
    let shards = after.per_shard.iter().enumerate();
    shards
        .map(|(shard, now)| {
            let then = before.per_shard.get(shard).copied().unwrap_or_default();
            ShardFigures {
                shard,
                connections: now.connections,
                deliveries: per_second(then.deliveries, now.deliveries, interval_ms),
                bytes_out: per_second(then.bytes_out, now.bytes_out, interval_ms),
                turns: per_second(then.turns, now.turns, interval_ms),
            }
        })
        .collect()
}

fn per_second(before: u64, after: u64, interval_ms: u64) -> f64 {
    ratio(after.saturating_sub(before) * 1000, interval_ms)
}

/// Rounds to two decimals; the counters have the exact values.
fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 {
        0.0
    } else {
        (numerator as f64 / denominator as f64 * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(json: &str) -> Sample {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rates_are_per_second_of_the_broker_s_own_clock() {
        let before =
            sample(r#"{"uptime_ms":1000,"messages_in":10,"bytes_in_raw":100,"bytes_in_wire":50}"#);
        let after = sample(
            r#"{"uptime_ms":3000,"messages_in":30,"bytes_in_raw":700,"bytes_in_wire":250,"syncs":4,
                "records_synced":10,"connections":7,"turn_us":{"total":3000000},"per_shard":[{"deliveries":8,"connections":7}]}"#,
        );
        let figures = Figures::between(&before, &after);
        assert_eq!((figures.interval_ms, figures.connections), (2000, 7));
        assert_eq!(figures.messages_in, 10.0);
        assert_eq!(figures.compression_ratio, 3.0);
        assert_eq!((figures.syncs, figures.records_per_sync), (2.0, 2.5));
        assert_eq!(figures.per_shard[0].deliveries, 4.0);
        assert_eq!((figures.cores_busy, figures.cores_in_storage), (1.5, 0.0));
    }

    #[test]
    fn a_broker_that_was_started_anew_has_counted_from_zero() {
        let before = sample(r#"{"uptime_ms":90000,"messages_in":1000}"#);
        let after = sample(r#"{"uptime_ms":2000,"messages_in":30}"#);
        assert_eq!(Figures::between(&before, &after).messages_in, 15.0);
    }

    #[test]
    fn no_time_is_no_rate() {
        let same = sample(r#"{"uptime_ms":5,"messages_in":1000}"#);
        assert_eq!(Figures::between(&same, &same).messages_in, 0.0);
    }
}
