//! Every setting by its key: what its values are, its default, and what it means, as the commented template has them. The flags of
//! the program and the page of the configuration are made from it.

use super::quantity::Unit;
use super::{Config, TEMPLATE};

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file; `OYEZ_` and the key in capitals is its variable, `--` and the key with dashes its flag.
    pub key: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its default, as the template has it, without quotes around a text.
    pub default: &'static str,
    /// What it means, in sentences without line breaks.
    pub meaning: String,
}

/// What the values of a setting are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of something.
    Number(Unit),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Texts, parted by commas where they stand in a variable or a flag.
    List,
    /// A text.
    Text,
}

impl Setting {
    /// Its variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_uppercase())
    }

    /// Its flag, without the dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

/// What the variables of all settings begin with.
pub(super) const PREFIX: &str = "OYEZ_";

/// All settings, in the order of the template.
///
/// # Panics
/// Never: a test holds that the template has every key.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let defaults = toml::Table::try_from(Config::default())
        .expect("the default configuration has only TOML types");
    let mut settings = Vec::new();
    let mut comment = String::new();
    let mut is_comment_complete = true;
    // What stands in front of the first empty line is about the file.
    let (_, body) = TEMPLATE.split_once("\n\n").unwrap_or_default();
    for line in body.lines() {
        if let Some(text) = line.strip_prefix('#') {
            if std::mem::take(&mut is_comment_complete) {
                comment.clear();
            }
            comment += if comment.is_empty() { "" } else { " " };
            comment += text.trim();
        } else if let Some((key, default)) = line.split_once(" = ") {
            is_comment_complete = true;
            settings.push(Setting {
                key,
                kind: kind(key, &defaults[key]),
                default: default.trim_matches('"'),
                meaning: comment.clone(),
            });
        }
    }
    settings
}

fn kind(key: &str, default: &toml::Value) -> Kind {
    match (key, default) {
        ("disk", _) => Kind::Word(&["auto", "uring", "thread"]),
        ("sending", _) => Kind::Word(&["auto", "ring", "loop"]),
        ("keep_awake", _) => Kind::Word(&["auto", "always", "never"]),
        ("default_durability", _) => Kind::Word(&["memory", "written", "synced"]),
        ("log_format", _) => Kind::Word(&["text", "json"]),
        (_, toml::Value::Integer(_)) => Kind::Number(Unit::of(key)),
        (_, toml::Value::Boolean(_)) => Kind::Switch,
        (_, toml::Value::Array(_)) => Kind::List,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_meaning_and_a_default_in_the_template() {
        let defaults = toml::Table::try_from(Config::default()).expect("TOML types");
        let settings = settings();
        let mut keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
        keys.sort_unstable();
        let expected: Vec<&str> = defaults.keys().map(String::as_str).collect();
        assert_eq!(keys, expected, "the template has each key once");
        for Setting { key, meaning, .. } in settings {
            assert!(meaning.ends_with('.'), "{key}: {meaning}");
        }
    }

    #[test]
    fn each_word_of_a_setting_is_taken_and_no_other() {
        for Setting { key, kind, .. } in settings() {
            let Kind::Word(words) = kind else { continue };
            let taken =
                |word: &str| toml::from_str::<Config>(&format!("{key} = \"{word}\"")).is_ok();
            assert!(words.iter().all(|word| taken(word)), "{key}");
            assert!(!taken("other"), "{key}");
        }
    }
}
