//! How large the logs of a data directory are, and the arena that they share, by the configuration.

use oyez_storage::{ArenaOptions, BLOCK_BYTES, DataDir, Durability, LogOptions, LogSpec};

use crate::config::Config;

/// Blocks of the tail arena that each log on disk has at least, however many logs share it.
const TAIL_BLOCKS_MIN: usize = 4;

/// Logs on disk share the tail arena; memory logs have room of their own.
pub(crate) fn log_options(config: &Config, dir: &DataDir) -> LogOptions {
    let blocks = |bytes: u64| usize::try_from(bytes / BLOCK_BYTES).unwrap_or(usize::MAX);
    let tail_blocks = blocks(config.arena_bytes / logs_on_disk(dir)).max(TAIL_BLOCKS_MIN);
    LogOptions {
        segment_bytes: config.segment_bytes,
        retention_bytes: (config.retention_bytes > 0).then_some(config.retention_bytes),
        retention_age_ms: (config.retention_seconds > 0)
            .then_some(config.retention_seconds.saturating_mul(1000)),
        memory_blocks: blocks(config.memory_log_bytes).max(2),
        tail_blocks,
        hot_blocks: tail_blocks / 2,
        topics_max: config.topics_max,
        limits: config.limits(),
        ..LogOptions::default()
    }
}

/// The arena has room for what its logs may hold, and a block ready for each.
pub(crate) fn arena_options(config: &Config, dir: &DataDir) -> ArenaOptions {
    let options = log_options(config, dir);
    let on_disk = logs_on_disk(dir) as usize;
    let in_memory = dir.logs().count() - on_disk;
    ArenaOptions {
        blocks_max: on_disk * options.tail_blocks + in_memory * options.memory_blocks,
        blocks_ready: in_memory + on_disk,
    }
}

fn logs_on_disk(dir: &DataDir) -> u64 {
    let on_disk = |spec: &LogSpec| spec.durability != Durability::Memory;
    dir.logs().filter(on_disk).count() as u64
}
