//! Everything that can be set: one flat struct, filled from defaults, then the TOML file, then `OYEZ_...` variables,
//! then flags. An unknown key in the file or a flag is an error, so that a misspelt setting cannot pass unnoticed; an unknown
//! variable is a warning, because others set variables, too.

mod bounds;
mod log_filter;
mod nearest;
#[cfg(test)]
mod page;
mod quantity;
mod settings;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;

use oyez_protocol::limits::{RAW_SIZE_DEFAULT, RECORD_SIZE_DEFAULT};
use oyez_protocol::{limits::Limits, topic};
use oyez_storage::{DiskChoice, Durability, TOPICS_MAX_DEFAULT};
use serde::{Deserialize, Serialize};

use crate::dialect::rules::Rules;
use crate::listen::{Listen, Place, one_or_many};
use crate::networks::Network;

pub use quantity::Unit;
pub use settings::{Kind, Setting, settings};
pub use sources::{Sources, UnknownVariable};

/// The commented file that `--print-config` shows: every key with its default.
pub const TEMPLATE: &str = include_str!("oyez.toml");

/// Connections of a shard beside those that it serves: the operator's, and those that are turned away or told to go.
pub(crate) const CONNECTIONS_BESIDE: usize = 64;

/// Descriptors that a shard needs beside its connections: standard streams, wakers, poll, ring, eventfds, listener,
/// open segment files, helper threads.
const DESCRIPTORS_OF_WORK: usize = 512;

/// Descriptors that a shard needs beside the connections that it serves.
pub(crate) const DESCRIPTORS_RESERVED: usize = DESCRIPTORS_OF_WORK + CONNECTIONS_BESIDE;

/// Most shards: each table holds the waker of every shard among its reserved descriptors, and keeps 64 of these for
/// the rest.
pub(crate) const SHARDS_MAX: usize = DESCRIPTORS_OF_WORK - 64;

/// Most addresses to listen on, the operator's included: each takes a descriptor of every shard.
pub(crate) const DOORS_MAX: usize = 16;

/// The settings of a broker.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses to listen on.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<Listen>,
    /// Address for the operator: metrics, health, statistics and administration; none switches it off.
    #[serde(deserialize_with = "one_or_many")]
    pub operator: Vec<Listen>,
    /// Every client that reaches `listen` may publish and subscribe; required where other machines reach it.
    pub open: bool,
    /// Names that the broker may be asked by over HTTP, beside addresses and the names of loopback.
    pub hosts: Vec<String>,
    /// Origins of other sites whose pages may publish and read over HTTP.
    pub origins: Vec<String>,
    /// Networks whose connections may begin with the header of a PROXY protocol.
    pub proxy_from: Vec<Network>,
    /// Data directory.
    pub data: PathBuf,
    /// Threads; 0 takes one per core, and more when `max_connections` needs more descriptor tables.
    #[serde(deserialize_with = "quantity::count")]
    pub shards: usize,
    /// How the disk is driven: `auto`, `uring` or `thread`.
    pub disk: Disk,
    /// How small records leave for many subscribers: `auto`, `ring` or `loop`.
    pub sending: Sending,
    /// Most connections at once, all shards together.
    #[serde(deserialize_with = "quantity::count")]
    pub max_connections: usize,
    /// Most subscriptions of one session.
    #[serde(deserialize_with = "quantity::count")]
    pub max_subscriptions: usize,
    /// Most topics of one log.
    #[serde(deserialize_with = "quantity::count")]
    pub topics_max: usize,
    /// New topics that one session may begin in a second; 0 is no bound.
    #[serde(deserialize_with = "quantity::count")]
    pub topic_creation_rate: u32,
    /// New topics that it may begin at once after a pause.
    #[serde(deserialize_with = "quantity::count")]
    pub topic_creation_burst: u32,
    /// Largest record in bytes.
    #[serde(deserialize_with = "quantity::bytes")]
    pub record_size_max: u32,
    /// Largest decompressed block in bytes.
    #[serde(deserialize_with = "quantity::bytes")]
    pub raw_size_max: u32,
    /// Records of one session that may wait for their outcome.
    #[serde(deserialize_with = "quantity::count")]
    pub inflight_records_max: u32,
    /// Bytes of such records.
    #[serde(deserialize_with = "quantity::bytes")]
    pub inflight_bytes_max: u32,
    /// Silence after which a session is pinged, in milliseconds; after as much again it is closed.
    #[serde(deserialize_with = "quantity::milliseconds")]
    pub heartbeat_ms: u32,
    /// Time that a new connection has for its hello, in milliseconds.
    #[serde(deserialize_with = "quantity::milliseconds")]
    pub hello_timeout_ms: u32,
    /// Bytes of unsent data that the kernel keeps for one connection; 0 leaves it to the kernel.
    #[serde(deserialize_with = "quantity::bytes")]
    pub send_buffer_bytes: u32,
    /// Durability of topics that no list below names.
    #[serde(with = "durability_word")]
    pub default_durability: Durability,
    /// Filters of topics that are kept in memory only.
    pub memory_topics: Vec<String>,
    /// Filters of topics that survive the process, not a power cut.
    pub written_topics: Vec<String>,
    /// Filters of topics that survive a power cut.
    pub synced_topics: Vec<String>,
    /// Bytes of one segment file.
    #[serde(deserialize_with = "quantity::bytes")]
    pub segment_bytes: u64,
    /// Bytes that one log keeps at most; 0 keeps all.
    #[serde(deserialize_with = "quantity::bytes")]
    pub retention_bytes: u64,
    /// Seconds after which the records of a log on disk go, when all of their segment are older; 0 keeps them.
    #[serde(deserialize_with = "quantity::seconds")]
    pub retention_seconds: u64,
    /// Bytes that one memory log keeps at most.
    #[serde(deserialize_with = "quantity::bytes")]
    pub memory_log_bytes: u64,
    /// Bytes of the tail arena, all shards together.
    #[serde(deserialize_with = "quantity::bytes")]
    pub arena_bytes: u64,
    /// Bytes kept of records in other forms than their own (server-sent events), all shards together.
    #[serde(deserialize_with = "quantity::bytes")]
    pub rendition_cache_bytes: u64,
    /// Longest time of a shutdown, in milliseconds: for the store to be closed, and for clients to take their last bytes.
    #[serde(deserialize_with = "quantity::milliseconds")]
    pub drain_timeout_ms: u32,
    /// Longest span over which a shutdown asks clients to come back, in milliseconds. Few of them come back sooner.
    #[serde(deserialize_with = "quantity::milliseconds")]
    pub drain_spread_ms: u32,
    /// Pin each shard to a core.
    pub pin: bool,
    /// Keep the machine's cores from sleeping: `auto`, `always` or `never`.
    pub keep_awake: KeepAwake,
    /// What is logged on stderr, as a `tracing` filter.
    pub log: String,
    /// Form of the log: `text` or `json`.
    pub log_format: LogFormat,
    /// The data directory was put back from a copy: every log gets a new epoch. For one start, hence no setting.
    #[serde(skip)]
    pub restored: bool,
}

/// How the disk is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// io_uring where the kernel allows it, else the thread.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// A thread that calls `pwritev2` and `fdatasync`.
    Thread,
}

impl From<Disk> for DiskChoice {
    fn from(disk: Disk) -> Self {
        match disk {
            Disk::Auto => Self::Auto,
            Disk::Uring => Self::Uring,
            Disk::Thread => Self::Thread,
        }
    }
}

/// How small records leave for many subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    /// In batches by io_uring where the kernel allows it, else one by one.
    #[default]
    Auto,
    /// In batches by io_uring or an error.
    Ring,
    /// One by one.
    Loop,
}

/// Whether the machine's cores are kept from sleeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepAwake {
    /// While publishers wait for every single record, where the kernel can be asked.
    #[default]
    Auto,
    /// As long as the broker runs, or an error.
    Always,
    /// Not by the broker.
    Never,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 7450)).into()],
            operator: vec![SocketAddr::from(([127, 0, 0, 1], 7451)).into()],
            open: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            proxy_from: Vec::new(),
            data: PathBuf::from("./oyez-data"),
            shards: 0,
            disk: Disk::Auto,
            sending: Sending::Auto,
            max_connections: 10_000,
            max_subscriptions: 1024,
            topics_max: TOPICS_MAX_DEFAULT,
            topic_creation_rate: 100,
            topic_creation_burst: 10_000,
            record_size_max: RECORD_SIZE_DEFAULT,
            raw_size_max: RAW_SIZE_DEFAULT,
            inflight_records_max: 1024,
            inflight_bytes_max: 4 << 20,
            heartbeat_ms: 300_000,
            hello_timeout_ms: 10_000,
            send_buffer_bytes: 128 << 10,
            default_durability: Durability::Synced,
            memory_topics: Vec::new(),
            written_topics: Vec::new(),
            synced_topics: Vec::new(),
            segment_bytes: 64 << 20,
            retention_bytes: 8 << 30,
            retention_seconds: 0,
            memory_log_bytes: 64 << 20,
            arena_bytes: 128 << 20,
            rendition_cache_bytes: 32 << 20,
            drain_timeout_ms: 5_000,
            drain_spread_ms: 10_000,
            pin: true,
            keep_awake: KeepAwake::Auto,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            restored: false,
        }
    }
}

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration file {path}: {source}; name a TOML file, such as `oyez-server --print-config > oyez.toml` writes"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML, or holds a key or value that is not known.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A variable holds a value that does not fit.
    #[error("environment variable {name}={value}: {why}")]
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A flag holds a value that does not fit.
    #[error("--{flag} {value}: {why}")]
    Flag {
        /// Its name, without the dashes.
        flag: String,
        /// Its value.
        value: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The file has a key that names no setting.
    #[error(
        "{path}, line {line}: `{key}` names no setting; {}",
        suggestion(meant.as_deref()),
        path = path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The setting that it is close to.
        meant: Option<String>,
    },
    /// A value is out of its bounds.
    #[error("`{key}` {why}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
}

fn suggestion(meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`oyez-server --print-config` lists them all".to_owned(),
    }
}

impl ConfigError {
    const fn value(key: &'static str, why: String) -> Self {
        Self::Value { key, why }
    }
}

impl Config {
    /// Reads the file over the defaults, the variables over the file and the flags over them. Call [`Config::check`] next.
    ///
    /// Also returns the variables that begin with `OYEZ_` and name no setting.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(sources: &Sources) -> Result<(Self, Vec<UnknownVariable>), ConfigError> {
        sources::load(sources)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        bounds::check(self)
    }

    /// All addresses to listen on, in the order of their numbers, each with whether it is the operator's.
    pub(crate) fn doors(&self) -> impl Iterator<Item = (&Listen, bool)> {
        let operators = self.operator.iter().map(|listen| (listen, true));
        self.listen
            .iter()
            .map(|listen| (listen, false))
            .chain(operators)
    }

    /// The port of the first address that has one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.listen.iter().find_map(|listen| match &listen.place {
            Place::Tcp { port, .. } => Some(*port),
            Place::Unix(_) => None,
        })
    }

    /// The addresses that other machines reach, each with the setting that names it.
    pub(crate) fn public(&self) -> impl Iterator<Item = (&'static str, &Place)> {
        let key = |is_operators| if is_operators { "operator" } else { "listen" };
        let doors = self
            .doors()
            .map(move |(listen, is_operators)| (key(is_operators), &listen.place));
        doors.filter(|(_, place)| !place.is_private())
    }

    /// The rules for requests over HTTP.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            hosts: self.hosts.clone(),
            origins: self.origins.clone(),
            limits: self.limits(),
        }
    }

    /// What the broker accepts on the wire.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            record_size_max: self.record_size_max,
            raw_size_max: self.raw_size_max,
        }
    }

    /// The durability of `topic`: of the first list that names it, in the order memory, written, synced.
    #[must_use]
    pub(crate) fn durability_of(&self, topic: &str) -> Durability {
        let named = |filters: &[String]| {
            filters
                .iter()
                .any(|filter| topic::filter_matches(filter, topic))
        };
        if named(&self.memory_topics) {
            Durability::Memory
        } else if named(&self.written_topics) {
            Durability::Written
        } else if named(&self.synced_topics) {
            Durability::Synced
        } else {
            self.default_durability
        }
    }
}

/// A durability in the file is one of its three words.
mod durability_word {
    use oyez_storage::Durability;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    const ALL: [Durability; 3] = [Durability::Memory, Durability::Written, Durability::Synced];

    pub(super) fn serialize<S: Serializer>(
        durability: &Durability,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(durability.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Durability, D::Error> {
        let word = String::deserialize(deserializer)?;
        ALL.into_iter()
            .find(|durability| durability.as_str() == word)
            .ok_or_else(|| D::Error::custom(format!("`{word}` is none of memory, written, synced")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(
        variables: &[(&str, &str)],
    ) -> Result<(Config, Vec<UnknownVariable>), ConfigError> {
        let owned = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Config::load(&Sources {
            variables: owned.collect(),
            ..Sources::default()
        })
    }

    #[test]
    fn the_template_is_the_default_configuration() {
        let template: Config = toml::from_str(TEMPLATE).expect("the template is valid");
        assert_eq!(template, Config::default());
    }

    #[test]
    fn the_first_list_that_names_a_topic_decides() {
        let (config, _) = load(&[
            ("OYEZ_MEMORY_TOPICS", "live/#"),
            ("OYEZ_WRITTEN_TOPICS", "live/+,metrics"),
        ])
        .unwrap();
        assert_eq!(config.durability_of("live/x"), Durability::Memory);
        assert_eq!(config.durability_of("metrics"), Durability::Written);
        assert_eq!(config.durability_of("other"), Durability::Synced);
    }
}
