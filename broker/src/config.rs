//! Everything that can be set: one flat struct, filled from defaults, then the TOML file, then `OYEZ_...` variables,
//! then flags. An unknown key anywhere is an error, so that a misspelt setting cannot pass unnoticed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oyez_protocol::limits::{
    RAW_SIZE_DEFAULT, RAW_SIZE_HARD_MAX, RECORD_SIZE_DEFAULT, RECORD_SIZE_HARD_MAX, RECORD_SIZE_MIN,
};
use oyez_protocol::{limits::Limits, topic};
use oyez_storage::{BLOCK_BYTES, DiskChoice, Durability, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use serde::{Deserialize, Serialize};

use crate::dialect::rules::Rules;
use crate::listen::{BadListen, Listen, Place, one_or_many};
use crate::networks::Network;

/// The commented file that `--print-config` shows: every key with its default.
pub const TEMPLATE: &str = include_str!("oyez.toml");

/// Most subscriptions that a session may be allowed: a send to it looks at each, which takes a few milliseconds then.
const SUBSCRIPTIONS_HARD_MAX: usize = 65_536;

/// Most addresses to listen on, the operator's included: each takes a descriptor of every shard.
pub(crate) const DOORS_MAX: usize = 16;

/// What the broker runs with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses to listen on.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<Listen>,
    /// Address for the operator: metrics, health, statistics and administration; none switches it off.
    #[serde(deserialize_with = "one_or_many")]
    pub operator: Vec<Listen>,
    /// Everybody who reaches `listen` may publish and subscribe; asked for where other machines do.
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
    pub shards: usize,
    /// How the disk is driven: `auto`, `uring` or `thread`.
    pub disk: Disk,
    /// How small records leave for many subscribers: `auto`, `ring` or `loop`.
    pub sending: Sending,
    /// Most connections at once, all shards together.
    pub max_connections: usize,
    /// Most subscriptions of one session.
    pub max_subscriptions: usize,
    /// Largest record in bytes.
    pub record_size_max: u32,
    /// Largest decompressed block in bytes.
    pub raw_size_max: u32,
    /// Records of one session that may wait for their outcome.
    pub inflight_records_max: u32,
    /// Bytes of such records.
    pub inflight_bytes_max: u32,
    /// Silence after which a session is pinged, in milliseconds; after as much again it is closed.
    pub heartbeat_ms: u32,
    /// Time that a new connection has for its hello, in milliseconds.
    pub hello_timeout_ms: u32,
    /// Bytes of unsent data that the kernel keeps for one connection; 0 leaves it to the kernel.
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
    pub segment_bytes: u64,
    /// Bytes that one log keeps at most; 0 keeps all.
    pub retention_bytes: u64,
    /// Seconds after which the records of a log on disk go, when all of their segment are older; 0 keeps them.
    pub retention_seconds: u64,
    /// Bytes that one memory log keeps at most.
    pub memory_log_bytes: u64,
    /// Bytes of the tail arena, all shards together.
    pub arena_bytes: u64,
    /// Bytes kept of records in other forms than their own (server-sent events), all shards together.
    pub rendition_cache_bytes: u64,
    /// Longest time of a shutdown, in milliseconds: for the store to be closed, and for clients to take their last bytes.
    pub drain_timeout_ms: u32,
    /// Span over which a shutdown asks clients to come back, in milliseconds.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
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
    #[error("cannot read the configuration file {path}: {source}")]
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
    /// A variable begins with `OYEZ_` and names no setting.
    #[error(
        "environment variable {name} names no setting; `oyez-server --print-config` lists them all"
    )]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// The operator's address is none.
    #[error("`operator`: {0}")]
    Operator(BadListen),
    /// A value is out of its bounds.
    #[error("`{key}` {why}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
}

impl ConfigError {
    const fn value(key: &'static str, why: String) -> Self {
        Self::Value { key, why }
    }
}

/// Variables of other Oyez programs.
const FOREIGN_VARIABLES: [&str; 1] = ["OYEZ_SERVER"];
/// What Kubernetes tells every container of a service that is called `oyez` begins with these.
const FOREIGN_PREFIXES: [&str; 2] = ["SERVICE_", "PORT"];

impl Config {
    /// Reads a file over the defaults, then the variables over the file. Flags come on top, and then
    /// [`Config::check`].
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => read_table(path)?,
        };
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix("OYEZ_")
                && !FOREIGN_VARIABLES.contains(&name.as_str())
                && !FOREIGN_PREFIXES
                    .iter()
                    .any(|prefix| key.starts_with(prefix))
            {
                insert_variable(&mut table, &name, &key.to_lowercase(), &value)?;
            }
        }
        table.try_into().map_err(|source: toml::de::Error| {
            // File and variables were each checked on their own; only their types are left, and both are right.
            ConfigError::Parse {
                path: file.unwrap_or(Path::new("environment")).to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_listen()?;
        self.check_wire()?;
        self.check_storage()?;
        self.check_counts()?;
        self.check_filters()
    }

    fn check_listen(&self) -> Result<(), ConfigError> {
        let doors = self.doors().count();
        if self.listen.is_empty() || doors > DOORS_MAX {
            let (min, max) = (1, DOORS_MAX);
            let why =
                format!("is {doors} addresses; there must be {min} to {max}, with the operator's");
            return Err(ConfigError::value("listen", why));
        }
        if self.operator.len() > 1 {
            let why = "is several addresses; it must be one, or none".to_owned();
            return Err(ConfigError::value("operator", why));
        }
        let Some((key, place)) = self.public().next().filter(|_| !self.open) else {
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

    fn check_wire(&self) -> Result<(), ConfigError> {
        let size = self.record_size_max;
        let sizes = RECORD_SIZE_MIN..=RECORD_SIZE_HARD_MAX;
        if !sizes.contains(&size) || !size.is_multiple_of(8) {
            let (min, max) = (sizes.start(), sizes.end());
            let why = format!("is {size}; it must be a multiple of 8 from {min} to {max}");
            return Err(ConfigError::value("record_size_max", why));
        }
        if !self.limits().are_valid() {
            let size = self.raw_size_max;
            let why = format!("is {size}; it must be from 1 to {RAW_SIZE_HARD_MAX}");
            return Err(ConfigError::value("raw_size_max", why));
        }
        if self.inflight_bytes_max < size {
            let bytes = self.inflight_bytes_max;
            let why = format!("is {bytes}; it must hold one record ({size})");
            return Err(ConfigError::value("inflight_bytes_max", why));
        }
        Ok(())
    }

    fn check_storage(&self) -> Result<(), ConfigError> {
        let segment = self.segment_bytes;
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&segment) || !segment.is_multiple_of(BLOCK_BYTES) {
            let (min, max) = (sizes.start(), sizes.end());
            let why =
                format!("is {segment}; it must be a multiple of {BLOCK_BYTES} from {min} to {max}");
            return Err(ConfigError::value("segment_bytes", why));
        }
        let (kept, least) = (self.retention_bytes, 2 * segment);
        if kept != 0 && kept < least {
            let why =
                format!("is {kept}; it must be 0 (keep all) or at least two segments ({least})");
            return Err(ConfigError::value("retention_bytes", why));
        }
        for (key, value, min) in [
            ("memory_log_bytes", self.memory_log_bytes, 2 * BLOCK_BYTES),
            ("arena_bytes", self.arena_bytes, 4 * BLOCK_BYTES),
        ] {
            if value < min {
                let why = format!("is {value}; it must be at least {min}");
                return Err(ConfigError::value(key, why));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("max_connections", self.max_connections),
            ("max_subscriptions", self.max_subscriptions),
            ("inflight_records_max", self.inflight_records_max as usize),
            ("heartbeat_ms", self.heartbeat_ms as usize),
            ("hello_timeout_ms", self.hello_timeout_ms as usize),
        ] {
            if value == 0 {
                let why = "is 0; it must be at least 1".to_owned();
                return Err(ConfigError::value(key, why));
            }
        }
        let subscriptions = self.max_subscriptions;
        if subscriptions > SUBSCRIPTIONS_HARD_MAX {
            let why = format!("is {subscriptions}; it must be at most {SUBSCRIPTIONS_HARD_MAX}");
            return Err(ConfigError::value("max_subscriptions", why));
        }
        Ok(())
    }

    fn check_filters(&self) -> Result<(), ConfigError> {
        for (key, filters) in [
            ("memory_topics", &self.memory_topics),
            ("written_topics", &self.written_topics),
            ("synced_topics", &self.synced_topics),
        ] {
            for filter in filters {
                if let Err(error) = topic::check_filter(filter) {
                    return Err(ConfigError::Value {
                        key,
                        why: format!("holds the filter {filter:?}: {error}"),
                    });
                }
            }
        }
        Ok(())
    }

    /// What requests over HTTP are held to.
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
    pub fn durability_of(&self, topic: &str) -> Durability {
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

fn read_table(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parse_error = |source: toml::de::Error| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    };
    // Once for the message with line and column, once for the table that variables go over.
    toml::from_str::<Config>(&text).map_err(parse_error)?;
    toml::from_str(&text).map_err(parse_error)
}

/// Puts a variable's text into the table as the type that the setting has.
fn insert_variable(
    table: &mut toml::Table,
    name: &str,
    key: &str,
    text: &str,
) -> Result<(), ConfigError> {
    let defaults = toml::Table::try_from(Config::default())
        .expect("the default configuration has only TOML types");
    let Some(default) = defaults.get(key) else {
        return Err(ConfigError::UnknownVariable {
            name: name.to_owned(),
        });
    };
    let bad = |why: &str| ConfigError::Variable {
        name: name.to_owned(),
        value: text.to_owned(),
        why: why.to_owned(),
    };
    let value = match default {
        toml::Value::Integer(_) => {
            toml::Value::Integer(text.parse().map_err(|_| bad("expected a whole number"))?)
        }
        toml::Value::Boolean(_) => {
            toml::Value::Boolean(text.parse().map_err(|_| bad("expected true or false"))?)
        }
        toml::Value::Array(_) => toml::Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| toml::Value::String(part.to_owned()))
                .collect(),
        ),
        _ => toml::Value::String(text.to_owned()),
    };
    let alone = toml::Table::from_iter([(key.to_owned(), value.clone())]);
    alone
        .try_into::<Config>()
        .map_err(|error| bad(error.message()))?;
    table.insert(key.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let owned = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(None, owned)
    }

    #[test]
    fn the_template_is_the_default_configuration() {
        let template: Config = toml::from_str(TEMPLATE).expect("the template is valid");
        assert_eq!(template, Config::default());
        let keys = toml::Table::try_from(Config::default()).unwrap();
        for key in keys.keys() {
            assert!(
                TEMPLATE
                    .lines()
                    .any(|line| line.starts_with(&format!("{key} ="))),
                "{key} is not in the template"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_in_the_file_and_in_a_variable() {
        assert!(toml::from_str::<Config>("max_conections = 5").is_err());
        let error = load(&[("OYEZ_MAX_CONECTIONS", "5")]).unwrap_err();
        assert!(
            matches!(error, ConfigError::UnknownVariable { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_variable_has_the_type_of_its_setting() {
        let config = load(&[
            ("OYEZ_MAX_CONNECTIONS", "5"),
            ("OYEZ_MEMORY_TOPICS", "live/#, a/+"),
            ("OYEZ_DISK", "thread"),
            ("OYEZ_SERVER", "elsewhere:1"),
            ("OYEZ_SERVICE_HOST", "10.0.0.1"),
            ("OYEZ_PORT", "tcp://10.0.0.1:7450"),
            ("OYEZ_PORT_7450_TCP_PORT", "7450"),
            ("HOME", "/"),
        ])
        .unwrap();
        assert_eq!(config.max_connections, 5);
        assert_eq!(config.memory_topics, ["live/#", "a/+"]);
        assert_eq!(config.disk, Disk::Thread);
        for (name, value) in [
            ("OYEZ_SHARDS", "many"),
            ("OYEZ_DISK", "tape"),
            ("OYEZ_LISTEN", "x"),
        ] {
            let error = load(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn the_first_list_that_names_a_topic_decides() {
        let config = load(&[
            ("OYEZ_MEMORY_TOPICS", "live/#"),
            ("OYEZ_WRITTEN_TOPICS", "live/+,metrics"),
        ])
        .unwrap();
        assert_eq!(config.durability_of("live/x"), Durability::Memory);
        assert_eq!(config.durability_of("metrics"), Durability::Written);
        assert_eq!(config.durability_of("other"), Durability::Synced);
    }

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
            let mut config = load(&[("OYEZ_LISTEN", address)]).unwrap();
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
            let config = load(&[(name, value)]).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(
                error.contains(&name["OYEZ_".len()..].to_lowercase()),
                "{error}"
            );
        }
        Config::default().check().unwrap();
    }
}
