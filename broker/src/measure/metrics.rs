//! Counters and gauges, one set per shard, written by their shard alone and read by the shard that answers a `Query`.

use oyez_protocol::limits::ANSWER_SIZE_MAX;
use oyez_storage::StoreStats;
use serde::Serialize;

use crate::measure::counter::Counter;
use crate::measure::histogram::{Histogram, Quantiles};
use crate::plan::SHARDS_MAX;

/// What was sent to subscribers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) records: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Delivered {
    pub(crate) fn add(&mut self, more: &Self) {
        self.records += more.records;
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

/// The numbers of one shard, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ShardMetrics {
    pub(crate) connections: Counter,
    pub(crate) sessions: Counter,
    pub(crate) subscriptions: Counter,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counter,
    /// Attempts to accept for which the system was short of something.
    pub(crate) accepts_failed: Counter,
    pub(crate) sessions_refused: Counter,
    pub(crate) records_in: Counter,
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in_raw: Counter,
    pub(crate) bytes_in_wire: Counter,
    pub(crate) publishes_refused: Counter,
    /// Refused records that would have begun a topic: there are too many topics, or they come too fast.
    pub(crate) topics_refused: Counter,
    /// Requests over HTTP, and blocks that were compressed for them.
    pub(crate) requests: Counter,
    pub(crate) codec_encodes: Counter,
    /// Records that were put into another form, blocks that were decompressed for that, and bytes that are kept of it.
    pub(crate) renditions: Counter,
    pub(crate) codec_decodes: Counter,
    pub(crate) rendition_bytes: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) sends: Counter,
    pub(crate) gaps: Counter,
    pub(crate) turns: Counter,
    pub(crate) catchups: Counter,
    pub(crate) topics: Counter,
    pub(crate) ring_submissions: Counter,
    pub(crate) writes: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) syncs: Counter,
    pub(crate) records_synced: Counter,
    pub(crate) segments: Counter,
    pub(crate) segment_bytes: Counter,
    /// Files that recovery set aside and that are still there.
    pub(crate) damaged_files: Counter,
    /// Ranges of records that the start found to be lost.
    pub(crate) losses: Counter,
    /// Blocks that were read since and were not what was written.
    pub(crate) damaged_blocks: Counter,
    /// Subscribers that had seen more of a log's history than the log holds.
    pub(crate) subscribers_ahead: Counter,
    /// Failed operations of own logs that are tried again; below, how many of them fail now.
    pub(crate) storage_failures: Counter,
    pub(crate) storage_failing: Counter,
    /// Sessions ended for want of room because they made no progress.
    pub(crate) sessions_evicted: Counter,
    /// Bytes of input and of answers that sessions make the shard keep ([`crate::parts::room`]), and questions to other shards.
    pub(crate) input_bytes: Counter,
    pub(crate) output_bytes: Counter,
    pub(crate) questions: Counter,
    /// Most processor time of one turn, in microseconds ([`crate::measure::turn_cpu`]).
    pub(crate) turn_cpu_us_max: Counter,
    /// Microseconds from the end of a wait to the next one.
    pub(crate) turn_us: Histogram,
    /// Microseconds of a turn inside the store's calls ([`crate::parts::logs`]).
    pub(crate) storage_us: Histogram,
    /// Microseconds from the turn that queues a sync of own logs to the turn that finds it done.
    pub(crate) sync_us: Histogram,
    /// Microseconds from the turn that appends a record to the turn in which it is visible and acknowledged.
    pub(crate) visible_us: Histogram,
    /// Microseconds from a record's publish until it was sent to the last of this shard's subscribers that could take it, by the
    /// clock of the day, hence to a millisecond.
    pub(crate) delivery_us: Histogram,
    /// When the oldest publish came that waits for own logs, in microseconds of the clock that all shards share; 0 when none
    /// waits.
    pub(crate) waiting_since_us: Counter,
    /// Milliseconds in which cores were kept awake ([`crate::parts::awake`]).
    pub(crate) awake_ms: Counter,
}

impl ShardMetrics {
    pub(crate) fn take_delivered(&self, delivered: &Delivered) {
        self.deliveries.add(delivered.records);
        self.messages_out.add(delivered.messages);
        self.bytes_out.add(delivered.bytes);
    }

    pub(crate) fn take_store(&self, stats: &StoreStats) {
        let by_ring = stats.disk == "uring";
        self.ring_submissions
            .set(if by_ring { stats.submissions } else { 0 });
        self.writes.set(stats.writes);
        self.bytes_written.set(stats.bytes_written);
        self.syncs.set(stats.syncs);
        self.records_synced.set(stats.records_synced);
        self.segments.set(stats.segments);
        self.segment_bytes.set(stats.segment_bytes);
        self.topics.set(stats.topics);
    }
}

/// The answer to `Query(Stats)`: totals over all shards.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    version: &'static str,
    uptime_ms: u64,
    shards: usize,
    disk: &'static str,
    sending: &'static str,
    /// Whether each shard has a descriptor table: `private`, or `shared`.
    descriptor_tables: &'static str,
    connections: u64,
    sessions: u64,
    subscriptions: u64,
    topics: u64,
    connections_accepted: u64,
    connections_refused: u64,
    accepts_failed: u64,
    sessions_refused: u64,
    sessions_evicted: u64,
    records_in: u64,
    messages_in: u64,
    bytes_in_raw: u64,
    bytes_in_wire: u64,
    publishes_refused: u64,
    #[serde(flatten)]
    fronts: Fronts,
    deliveries: u64,
    messages_out: u64,
    bytes_out: u64,
    sends: u64,
    gaps: u64,
    catchups: u64,
    turns: u64,
    ring_submissions: u64,
    writes: u64,
    bytes_written: u64,
    syncs: u64,
    records_synced: u64,
    records_per_sync: f64,
    segments: u64,
    segment_bytes: u64,
    damaged_files: u64,
    losses: u64,
    damaged_blocks: u64,
    subscribers_ahead: u64,
    /// Operations of the store that failed and are tried again; below, how many of them fail now.
    storage_failures: u64,
    storage_failing: u64,
    /// Microseconds that turns took, and that they spent inside the store's calls, all shards together.
    turn_us: Quantiles,
    storage_us: Quantiles,
    /// Microseconds that syncs took, and records from their append until they were visible.
    sync_us: Quantiles,
    visible_us: Quantiles,
    #[serde(flatten)]
    bounds: Bounds,
    /// How long the oldest unacknowledged publish has waited, in milliseconds.
    oldest_unacknowledged_ms: u64,
    /// How long cores were kept awake, in milliseconds, by the shard that did so longest.
    awake_ms: u64,
    arena_bytes: u64,
    /// Anonymous memory of the process in bytes, the arena included.
    rss_anon_bytes: u64,
    /// The shards one by one, in the order of their numbers.
    per_shard: Vec<OneShard>,
}

/// The numbers that are listed for each shard.
#[derive(Debug, Serialize)]
struct OneShard {
    connections: u64,
    deliveries: u64,
    turns: u64,
    bytes_out: u64,
}

/// Most JSON bytes of one shard: the names, and four numbers of 20 digits.
const SHARD_JSON_BYTES: usize =
    "{\"connections\":,\"deliveries\":,\"turns\":,\"bytes_out\":},".len() + 4 * 20;
/// JSON bytes of the totals, with room for more of them.
const TOTALS_JSON_BYTES: usize = 4096;
const _: () = assert!(TOTALS_JSON_BYTES + SHARDS_MAX * SHARD_JSON_BYTES <= ANSWER_SIZE_MAX);

impl OneShard {
    fn of(shard: &ShardMetrics) -> Self {
        Self {
            connections: shard.connections.get(),
            deliveries: shard.deliveries.get(),
            turns: shard.turns.get(),
            bytes_out: shard.bytes_out.get(),
        }
    }
}

/// Facts of the process that the totals need beyond the counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessFacts {
    pub(crate) uptime_ms: u64,
    pub(crate) now_us: u64,
    pub(crate) disk: &'static str,
    /// How broadcasts are sent: `ring` or `loop`.
    pub(crate) sending: &'static str,
    pub(crate) descriptor_tables: &'static str,
    pub(crate) max_connections: usize,
    pub(crate) arena_bytes: u64,
    /// The caps of one shard.
    pub(crate) caps: MetricCaps,
}

/// Bytes and questions that a shard may keep for its sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricCaps {
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes: usize,
    pub(crate) questions: usize,
}

/// The bounds on the work that clients cause, and how near it is to them.
#[derive(Debug, Serialize)]
struct Bounds {
    /// Most connections at once.
    connections_max: usize,
    /// Publishes that would have begun a topic, and were refused.
    topics_refused: u64,
    /// Most processor time that one turn of a shard has taken, in microseconds.
    turn_cpu_us_max: u64,
    /// Bytes of input that cannot be taken yet and of answers that do not leave, and how many all shards may keep.
    input_bytes: u64,
    input_bytes_max: u64,
    output_bytes: u64,
    output_bytes_max: u64,
    /// Questions between shards that wait for an answer; below, how many may.
    questions: u64,
    questions_max: u64,
}

impl Bounds {
    fn of(shards: &[ShardMetrics], facts: ProcessFacts) -> Self {
        let caps = facts.caps;
        let sum = |pick: fn(&ShardMetrics) -> &Counter| -> u64 {
            shards.iter().map(|shard| pick(shard).get()).sum()
        };
        let of_all = |cap: usize| (shards.len() * cap) as u64;
        let turns = shards.iter().map(|shard| shard.turn_cpu_us_max.get());
        Self {
            connections_max: facts.max_connections,
            topics_refused: sum(|s| &s.topics_refused),
            turn_cpu_us_max: turns.max().unwrap_or(0),
            input_bytes: sum(|s| &s.input_bytes),
            input_bytes_max: of_all(caps.input_bytes),
            output_bytes: sum(|s| &s.output_bytes),
            output_bytes_max: of_all(caps.output_bytes),
            questions: sum(|s| &s.questions),
            questions_max: of_all(caps.questions),
        }
    }
}

/// Work for other dialects than the native one.
#[derive(Debug, Serialize)]
struct Fronts {
    /// Requests over HTTP.
    requests: u64,
    /// Blocks that were compressed for them.
    codec_encodes: u64,
    /// Records that were put into another form, blocks that were decompressed for that, and bytes that are kept of it.
    renditions: u64,
    codec_decodes: u64,
    rendition_bytes: u64,
}

impl Fronts {
    fn of(shards: &[ShardMetrics]) -> Self {
        let sum = |pick: fn(&ShardMetrics) -> &Counter| -> u64 {
            shards.iter().map(|shard| pick(shard).get()).sum()
        };
        Self {
            requests: sum(|s| &s.requests),
            codec_encodes: sum(|s| &s.codec_encodes),
            renditions: sum(|s| &s.renditions),
            codec_decodes: sum(|s| &s.codec_decodes),
            rendition_bytes: sum(|s| &s.rendition_bytes),
        }
    }
}

impl Stats {
    pub(crate) fn gather(shards: &[ShardMetrics], facts: ProcessFacts) -> Self {
        let sum = |pick: fn(&ShardMetrics) -> &Counter| -> u64 {
            shards.iter().map(|shard| pick(shard).get()).sum()
        };
        let (syncs, records_synced) = (sum(|s| &s.syncs), sum(|s| &s.records_synced));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: facts.uptime_ms,
            shards: shards.len(),
            disk: facts.disk,
            sending: facts.sending,
            descriptor_tables: facts.descriptor_tables,
            connections: sum(|s| &s.connections),
            sessions: sum(|s| &s.sessions),
            subscriptions: sum(|s| &s.subscriptions),
            topics: sum(|s| &s.topics),
            connections_accepted: sum(|s| &s.connections_accepted),
            connections_refused: sum(|s| &s.connections_refused),
            accepts_failed: sum(|s| &s.accepts_failed),
            sessions_refused: sum(|s| &s.sessions_refused),
            sessions_evicted: sum(|s| &s.sessions_evicted),
            records_in: sum(|s| &s.records_in),
            messages_in: sum(|s| &s.messages_in),
            bytes_in_raw: sum(|s| &s.bytes_in_raw),
            bytes_in_wire: sum(|s| &s.bytes_in_wire),
            publishes_refused: sum(|s| &s.publishes_refused),
            fronts: Fronts::of(shards),
            deliveries: sum(|s| &s.deliveries),
            messages_out: sum(|s| &s.messages_out),
            bytes_out: sum(|s| &s.bytes_out),
            sends: sum(|s| &s.sends),
            gaps: sum(|s| &s.gaps),
            catchups: sum(|s| &s.catchups),
            turns: sum(|s| &s.turns),
            ring_submissions: sum(|s| &s.ring_submissions),
            writes: sum(|s| &s.writes),
            bytes_written: sum(|s| &s.bytes_written),
            syncs,
            records_synced,
            records_per_sync: records_per_sync(records_synced, syncs),
            segments: sum(|s| &s.segments),
            segment_bytes: sum(|s| &s.segment_bytes),
            damaged_files: sum(|s| &s.damaged_files),
            losses: sum(|s| &s.losses),
            damaged_blocks: sum(|s| &s.damaged_blocks),
            subscribers_ahead: sum(|s| &s.subscribers_ahead),
            storage_failures: sum(|s| &s.storage_failures),
            storage_failing: sum(|s| &s.storage_failing),
            turn_us: Histogram::quantiles(shards.iter().map(|shard| &shard.turn_us)),
            storage_us: Histogram::quantiles(shards.iter().map(|shard| &shard.storage_us)),
            sync_us: Histogram::quantiles(shards.iter().map(|shard| &shard.sync_us)),
            visible_us: Histogram::quantiles(shards.iter().map(|shard| &shard.visible_us)),
            bounds: Bounds::of(shards, facts),
            oldest_unacknowledged_ms: oldest_wait_us(shards, facts.now_us) / 1000,
            awake_ms: shards.iter().map(|s| s.awake_ms.get()).max().unwrap_or(0),
            arena_bytes: facts.arena_bytes,
            rss_anon_bytes: rss_anon_bytes().unwrap_or(0),
            per_shard: shards.iter().take(SHARDS_MAX).map(OneShard::of).collect(),
        }
    }
}

/// Rounded to two decimals, for people; programs have both numbers.
fn records_per_sync(records: u64, syncs: u64) -> f64 {
    if syncs == 0 {
        return 0.0;
    }
    (records as f64 / syncs as f64 * 100.0).round() / 100.0
}

/// How long the oldest unacknowledged publish has waited, in microseconds.
pub(crate) fn oldest_wait_us(shards: &[ShardMetrics], now_us: u64) -> u64 {
    let since = shards.iter().map(|shard| shard.waiting_since_us.get());
    let oldest = since.filter(|since| *since > 0).min();
    oldest.map_or(0, |since| now_us.saturating_sub(since))
}

/// `RssAnon` of this process. Reads `/proc`, which asks no disk.
pub(crate) fn rss_anon_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}
