//! Where settings come from: the defaults, the file over them, then variables, then flags.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::nearest::nearest;
use super::settings::{Kind, PREFIX, Setting, settings};
use super::{Config, ConfigError};

/// What settings are read from, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Variables of the environment, with their names; those that are not Oyez's may be among them.
    pub variables: Vec<(OsString, OsString)>,
    /// Flags of the command line, with the keys of their settings.
    pub flags: Vec<(String, String)>,
}

/// A variable that begins with `OYEZ_` and names no setting. It is ignored: whoever starts the broker may not be the one who
/// set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    name: String,
    meant: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} names no setting and is ignored; ", self.name)?;
        match &self.meant {
            Some(meant) => write!(formatter, "did you mean {meant}?"),
            None => write!(formatter, "`oyez-server --print-config` lists them all"),
        }
    }
}

/// Variables of other programs: the client's, and those that `oyez-server` reads itself.
const OTHERS: [&str; 2] = ["OYEZ_SERVER", "OYEZ_CONFIG"];

/// Reads all sources, each over those before it.
pub(super) fn load(sources: &Sources) -> Result<(Config, Vec<UnknownVariable>), ConfigError> {
    let settings = settings();
    let mut table = match &sources.file {
        None => toml::Table::new(),
        Some(path) => read_file(path, &settings)?,
    };
    let mut unknown = Vec::new();
    for (name, text) in &sources.variables {
        unknown.extend(read_variable(&mut table, &settings, (name, text))?);
    }
    for (key, text) in &sources.flags {
        let setting = settings.iter().find(|setting| setting.key == key);
        let setting = setting.expect("flags are made from the settings");
        insert(&mut table, setting, text).map_err(|why| ConfigError::Flag {
            flag: setting.flag(),
            value: text.clone(),
            why,
        })?;
    }
    let config = table.try_into().expect("each value was read on its own");
    unknown.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((config, unknown))
}

/// Reads a variable, if it is Oyez's. Gives it if it names no setting and should.
fn read_variable(
    table: &mut toml::Table,
    settings: &[Setting],
    (name, text): (&OsStr, &OsStr),
) -> Result<Option<UnknownVariable>, ConfigError> {
    let (name, lossy) = (name.to_string_lossy(), text.to_string_lossy());
    let Some(key) = name.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let key = key.to_lowercase();
    if let Some(setting) = settings.iter().find(|setting| setting.key == key) {
        let text = text.to_str().ok_or_else(|| "is no UTF-8 text".to_owned());
        let inserted = text.and_then(|text| insert(table, setting, text));
        return inserted
            .map(|()| None)
            .map_err(|why| ConfigError::Variable {
                name: name.clone().into_owned(),
                value: lossy.into_owned(),
                why,
            });
    }
    if OTHERS.contains(&&*name) || is_of_a_service(&name, &lossy) {
        return Ok(None);
    }
    let meant = nearest(&key, settings.iter().map(|setting| setting.key));
    Ok(Some(UnknownVariable {
        name: name.clone().into_owned(),
        meant: meant.map(|key| format!("{PREFIX}{}", key.to_uppercase())),
    }))
}

/// Whether Kubernetes, or a link of Docker's, tells by it where a service is whose name begins with `oyez`:
/// `OYEZ_SERVICE_HOST`, `OYEZ_SERVICE_PORT[_NAME]`, `OYEZ_PORT`, `OYEZ_PORT_7450_TCP[_PROTO|_PORT|_ADDR]`, and the same with
/// more of a name in front, as `OYEZ_PUSH_SERVICE_HOST`.
fn is_of_a_service(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    let is_address = |scheme| value.starts_with(scheme);
    let is_place = ["tcp://", "udp://", "sctp://"].into_iter().any(is_address);
    name.ends_with("_PORT") && is_place || is_of_a_port(name)
}

/// Whether it ends like `_PORT_7450_TCP` or `_PORT_7450_TCP_ADDR`.
fn is_of_a_port(name: &str) -> bool {
    let Some((_, rest)) = name.rsplit_once("_PORT_") else {
        return false;
    };
    let mut words = rest.split('_');
    let is_number = |word: &str| word.parse::<u16>().is_ok();
    words.next().is_some_and(is_number)
        && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
        && matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"))
        && words.next().is_none()
}

fn read_file(path: &Path, settings: &[Setting]) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    // Once for the message with line and column, once for the table that variables and flags go over.
    let parsed = toml::from_str::<Config>(&text).and_then(|_| toml::from_str(&text));
    parsed.map_err(|source| match unknown_key(&text, &source, settings) {
        Some((line, key)) => ConfigError::UnknownKey {
            path: path.to_owned(),
            line,
            meant: nearest(&key, settings.iter().map(|setting| setting.key)).map(str::to_owned),
            key,
        },
        None => ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        },
    })
}

/// The key that no setting has, and its line, where that is what is wrong with the file.
fn unknown_key(
    text: &str,
    error: &toml::de::Error,
    settings: &[Setting],
) -> Option<(usize, String)> {
    let span = error.span()?;
    let key = text.get(span.clone())?.trim_matches(['"', '\'']);
    let line = text.get(..span.start)?.matches('\n').count() + 1;
    let is_known = settings.iter().any(|setting| setting.key == key);
    let is_unknown = error.message().starts_with("unknown field") && !is_known;
    is_unknown.then(|| (line, key.to_owned()))
}

/// Puts the text of a variable or a flag into the table as the type that its setting has.
fn insert(table: &mut toml::Table, setting: &Setting, text: &str) -> Result<(), String> {
    let value = match setting.kind {
        Kind::Switch => {
            let word = text.trim().parse();
            toml::Value::Boolean(word.map_err(|_| "expected true or false".to_owned())?)
        }
        Kind::List => toml::Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| toml::Value::String(part.to_owned()))
                .collect(),
        ),
        Kind::Number(_) | Kind::Word(_) | Kind::Text => toml::Value::String(text.to_owned()),
    };
    let alone = toml::Table::from_iter([(setting.key.to_owned(), value.clone())]);
    let read = alone.try_into::<Config>();
    read.map_err(|error| error.message().to_owned())?;
    table.insert(setting.key.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Disk, tests::load};

    #[test]
    fn an_unknown_variable_is_told_with_the_setting_that_was_meant() {
        let (config, unknown) = load(&[
            ("OYEZ_MAX_CONECTIONS", "5"),
            ("OYEZ_WHATEVER_IT_IS", "5"),
            ("OYEZ_SHARDS", "3"),
        ])
        .unwrap();
        assert_eq!(config.shards, 3, "the rest counts");
        let said: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "OYEZ_MAX_CONECTIONS names no setting and is ignored; did you mean OYEZ_MAX_CONNECTIONS?",
                "OYEZ_WHATEVER_IT_IS names no setting and is ignored; `oyez-server --print-config` lists them all",
            ]
        );
    }

    #[test]
    fn variables_of_services_and_of_other_programs_are_ignored_in_silence() {
        let (config, unknown) = load(&[
            ("OYEZ_SERVICE_HOST", "10.0.0.1"),
            ("OYEZ_SERVICE_PORT", "7450"),
            ("OYEZ_SERVICE_PORT_NATIVE", "7450"),
            ("OYEZ_PORT", "tcp://10.0.0.1:7450"),
            ("OYEZ_PORT_7450_TCP", "tcp://10.0.0.1:7450"),
            ("OYEZ_PORT_7450_TCP_PROTO", "tcp"),
            ("OYEZ_PORT_7450_TCP_PORT", "7450"),
            ("OYEZ_PORT_7450_TCP_ADDR", "10.0.0.1"),
            ("OYEZ_PUSH_SERVICE_HOST", "10.0.0.1"),
            ("OYEZ_PUSH_PORT", "tcp://10.0.0.1:7450"),
            ("OYEZ_PUSH_PORT_7450_UDP_ADDR", "10.0.0.1"),
            ("OYEZ_SERVER", "elsewhere:1"),
            ("OYEZ_CONFIG", "oyez.toml"),
            ("HOME", "/"),
        ])
        .unwrap();
        assert_eq!((config, unknown), (Config::default(), Vec::new()));
        // Those look alike, and somebody meant something by them.
        for name in ["OYEZ_PORT", "OYEZ_PORTS", "OYEZ_PORT_7450", "OYEZ_SERVICE"] {
            let (_, unknown) = load(&[(name, "7450")]).unwrap();
            assert_eq!(unknown.len(), 1, "{name}");
        }
    }

    #[test]
    fn a_variable_has_the_type_of_its_setting() {
        let (config, _) = load(&[
            ("OYEZ_MAX_CONNECTIONS", "5"),
            ("OYEZ_MEMORY_TOPICS", "live/#, a/+"),
            ("OYEZ_DISK", "thread"),
            ("OYEZ_RETENTION_BYTES", "5GB"),
            ("OYEZ_RETENTION_SECONDS", "7d"),
            ("OYEZ_OPEN", "true"),
        ])
        .unwrap();
        assert_eq!(config.max_connections, 5);
        assert_eq!(config.memory_topics, ["live/#", "a/+"]);
        assert_eq!(config.disk, Disk::Thread);
        assert_eq!(config.retention_bytes, 5_000_000_000);
        assert_eq!(config.retention_seconds, 604_800);
        assert!(config.open);
        for (name, value) in [
            ("OYEZ_SHARDS", "many"),
            ("OYEZ_DISK", "tape"),
            ("OYEZ_LISTEN", "x"),
            ("OYEZ_OPEN", "yes"),
            ("OYEZ_HEARTBEAT_MS", "60d"),
        ] {
            let error = load(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn flags_win_over_variables_and_read_units_alike() {
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let sources = Sources {
            file: None,
            variables: vec![
                ("OYEZ_HEARTBEAT_MS".into(), "1m".into()),
                ("OYEZ_SHARDS".into(), "2".into()),
            ],
            flags: vec![pair("heartbeat_ms", "2m")],
        };
        let (config, _) = Config::load(&sources).unwrap();
        assert_eq!((config.heartbeat_ms, config.shards), (120_000, 2));
        let flags = vec![pair("heartbeat_ms", "2 minutes")];
        let refused = Config::load(&Sources { flags, ..sources });
        let said = refused.unwrap_err().to_string();
        for words in ["--heartbeat-ms", "2 minutes", "250ms, 10s, 5m"] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
    }
}
