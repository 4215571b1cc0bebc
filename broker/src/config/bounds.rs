//! The bounds of every setting, each with the reason that a refusal gives.

use oyez_protocol::limits::{RAW_SIZE_HARD_MAX, RECORD_SIZE_HARD_MAX, RECORD_SIZE_MIN};
use oyez_protocol::topic;
use oyez_storage::{BLOCK_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

use super::quantity::Unit;
use super::{Config, ConfigError, DOORS_MAX, SHARDS_MAX, log_filter};
use crate::listen::Place;

/// Most topics that a log may be allowed: some tens of gigabytes of memory.
const TOPICS_HARD_MAX: usize = 100_000_000;
/// Most subscriptions that a session may be allowed: a send to it looks at each, which takes a few milliseconds then.
const SUBSCRIPTIONS_HARD_MAX: usize = 65_536;

/// Descriptors that a table can hold by the kernel's default, `fs.nr_open`.
const TABLE_DESCRIPTORS: usize = 1 << 20;

/// Most connections that can be asked for: what the most shards hold, each in a full table.
const CONNECTIONS_HARD_MAX: usize = SHARDS_MAX * TABLE_DESCRIPTORS;

/// Most memory that the arena, or a memory log, may be given: both are reserved as addresses, of which a process has 128 TiB.
const ARENA_HARD_MAX: u64 = 1 << 40;

/// Checks every bound of `config`.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    check_listen(config)?;
    check_wire(config)?;
    check_storage(config)?;
    check_counts(config)?;
    check_filters(config)?;
    if config.data.as_os_str().is_empty() {
        let why = "is empty; it must name a directory".to_owned();
        return Err(ConfigError::value("data", why));
    }
    log_filter::check(&config.log).map_err(|why| ConfigError::value("log", why))
}

fn check_listen(config: &Config) -> Result<(), ConfigError> {
    let doors = config.doors().count();
    if config.listen.is_empty() || doors > DOORS_MAX {
        let (min, max) = (1, DOORS_MAX);
        let why =
            format!("is {doors} addresses; there must be {min} to {max}, with the operator's");
        return Err(ConfigError::value("listen", why));
    }
    if config.operator.len() > 1 {
        let why = "is several addresses; it must be one, or none".to_owned();
        return Err(ConfigError::value("operator", why));
    }
    let Some((key, place)) = config.public().next().filter(|_| !config.open) else {
        return Ok(());
    };
    let port = match place {
        Place::Tcp { port, .. } => *port,
        Place::Unix(_) => 0,
    };
    let why = format!(
        "is {place}, which other machines can reach, and nothing asks who they are: set `open = true` (--open, \
         OYEZ_OPEN=true) to let everybody there publish and subscribe, or listen on 127.0.0.1:{port}"
    );
    Err(ConfigError::value(key, why))
}

fn check_wire(config: &Config) -> Result<(), ConfigError> {
    let size = config.record_size_max;
    let sizes = RECORD_SIZE_MIN..=RECORD_SIZE_HARD_MAX;
    if !sizes.contains(&size) || !size.is_multiple_of(8) {
        let (min, max) = (sizes.start(), show(u64::from(*sizes.end())));
        let why = format!("is {size}; it must be a multiple of 8 bytes from {min} to {max}");
        return Err(ConfigError::value("record_size_max", why));
    }
    if !config.limits().are_valid() {
        let (size, max) = (config.raw_size_max, show(u64::from(RAW_SIZE_HARD_MAX)));
        let why = format!("is {size}; it must be from 1 byte to {max}");
        return Err(ConfigError::value("raw_size_max", why));
    }
    if config.inflight_bytes_max < size {
        let (bytes, size) = (config.inflight_bytes_max, show(u64::from(size)));
        let why = format!("is {bytes}; it must hold one record (`record_size_max` is {size})");
        return Err(ConfigError::value("inflight_bytes_max", why));
    }
    Ok(())
}

fn check_storage(config: &Config) -> Result<(), ConfigError> {
    let segment = config.segment_bytes;
    let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
    if !sizes.contains(&segment) || !segment.is_multiple_of(BLOCK_BYTES) {
        let (min, max, block) = (show(*sizes.start()), show(*sizes.end()), show(BLOCK_BYTES));
        let why = format!(
            "is {}; it must be a multiple of {block} from {min} to {max}",
            show(segment)
        );
        return Err(ConfigError::value("segment_bytes", why));
    }
    let (kept, least) = (config.retention_bytes, 2 * segment);
    if kept != 0 && kept < least {
        let (kept, least) = (show(kept), show(least));
        let why = format!("is {kept}; it must be 0 (keep all) or at least two segments ({least})");
        return Err(ConfigError::value("retention_bytes", why));
    }
    for (key, value, min) in [
        ("memory_log_bytes", config.memory_log_bytes, 2 * BLOCK_BYTES),
        ("arena_bytes", config.arena_bytes, 4 * BLOCK_BYTES),
    ] {
        if !(min..=ARENA_HARD_MAX).contains(&value) {
            let (value, min, max) = (show(value), show(min), show(ARENA_HARD_MAX));
            let why = format!(
                "is {value}; it must be from {min} to {max}, and the machine must have this memory"
            );
            return Err(ConfigError::value(key, why));
        }
    }
    Ok(())
}

fn check_counts(config: &Config) -> Result<(), ConfigError> {
    for (key, value) in [
        ("max_connections", config.max_connections),
        ("max_subscriptions", config.max_subscriptions),
        ("topics_max", config.topics_max),
        ("topic_creation_burst", config.topic_creation_burst as usize),
        ("inflight_records_max", config.inflight_records_max as usize),
        ("heartbeat_ms", config.heartbeat_ms as usize),
        ("hello_timeout_ms", config.hello_timeout_ms as usize),
    ] {
        if value == 0 {
            let why = "is 0; it must be at least 1".to_owned();
            return Err(ConfigError::value(key, why));
        }
    }
    let connections = format!(
        "each of at most {SHARDS_MAX} shards holds them in a descriptor table of {TABLE_DESCRIPTORS}, the kernel's default for \
         fs.nr_open"
    );
    for (key, value, max, reason) in [
        (
            "shards",
            config.shards,
            SHARDS_MAX,
            "each has a descriptor in the table of every other",
        ),
        (
            "max_connections",
            config.max_connections,
            CONNECTIONS_HARD_MAX,
            &*connections,
        ),
        (
            "max_subscriptions",
            config.max_subscriptions,
            SUBSCRIPTIONS_HARD_MAX,
            "a send to a session looks at each",
        ),
        (
            "topics_max",
            config.topics_max,
            TOPICS_HARD_MAX,
            "each takes memory for as long as the broker runs",
        ),
    ] {
        if value > max {
            let why = format!("is {value}; it must be at most {max}, because {reason}");
            return Err(ConfigError::value(key, why));
        }
    }
    Ok(())
}

fn check_filters(config: &Config) -> Result<(), ConfigError> {
    for (key, filters) in [
        ("memory_topics", &config.memory_topics),
        ("written_topics", &config.written_topics),
        ("synced_topics", &config.synced_topics),
    ] {
        for filter in filters {
            if let Err(error) = topic::check_filter(filter) {
                let why = format!("holds the filter {filter:?}: {error}");
                return Err(ConfigError::value(key, why));
            }
        }
    }
    Ok(())
}

fn show(bytes: u64) -> String {
    Unit::Bytes.show(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    #[test]
    fn addresses_that_other_machines_reach_need_a_word() {
        for (address, private) in [
            ("127.0.0.1:0", true),
            ("127.7.7.7:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("[::ffff:0.0.0.0]:1", false),
            ("10.1.2.3:1", false),
            ("[fe80::1]:1", false),
        ] {
            let (mut config, _) = load(&[("OYEZ_LISTEN", address)]).unwrap();
            assert_eq!(config.public().count() == 0, private, "{address}");
            assert_eq!(config.check().is_ok(), private, "{address}");
            if let Err(error) = config.check() {
                let said = error.to_string();
                assert!(
                    said.contains(address) && said.contains("open = true"),
                    "{said}"
                );
            }
            config.open = true;
            config.check().unwrap();
        }
    }

    #[test]
    fn bounds_are_checked_with_a_reason() {
        for (name, value) in [
            ("OYEZ_RECORD_SIZE_MAX", "12345"),
            ("OYEZ_SEGMENT_BYTES", "1000000"),
            ("OYEZ_RETENTION_BYTES", "1"),
            ("OYEZ_ARENA_BYTES", "1"),
            ("OYEZ_MAX_CONNECTIONS", "0"),
            ("OYEZ_MEMORY_TOPICS", "a/#/b"),
            ("OYEZ_INFLIGHT_BYTES_MAX", "1"),
        ] {
            let (config, _) = load(&[(name, value)]).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(
                error.contains(&name["OYEZ_".len()..].to_lowercase()),
                "{error}"
            );
        }
        Config::default().check().unwrap();
    }
}
