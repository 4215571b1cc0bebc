//! The page of the configuration, made from the settings. A test holds that it is up to date, and writes it with `OYEZ_WRITE=1`.

use std::fmt::Write;
use std::path::Path;

use super::{Kind, Setting, Unit, settings};

const HEAD: &str = "\
# Configuration

<!-- Made from broker/src/oyez.toml; write it again with OYEZ_WRITE=1 cargo test -p oyez-broker --lib config::page -->

Every setting has a key in the TOML file (`oyez-server --config FILE`, or the variable `OYEZ_CONFIG`), a variable and a flag. Flags win
over variables, variables over the file, the file over the defaults. `oyez-server --print-config` prints a commented file with all of
them; `oyez-server --check-config` checks what it is given and exits.

- **Mistakes.** An unknown key or flag is an error, with the setting that it is close to. An unknown variable that begins with `OYEZ_`
  is a warning, because others set variables, too; those with which Kubernetes tells of a Service (`OYEZ_SERVICE_HOST`,
  `OYEZ_PORT_7450_TCP`, ...) are ignored. A value that does not fit is an error everywhere.
- **Sizes** are numbers of bytes, or texts with a unit: `\"512KB\"` (`KB`, `MB`, `GB`, `TB` are powers of 1000) or `\"64MiB\"` (`KiB`,
  `MiB`, `GiB`, `TiB` are powers of 1024). `5G` may mean either, and is refused.
- **Durations** are numbers in the unit that the key ends with, or texts with a unit: `\"250ms\"`, `\"10s\"`, `\"5m\"`, `\"2h\"`, `\"7d\"`,
  `\"1w\"`.
- **Lists** are comma-separated in variables and flags (`OYEZ_MEMORY_TOPICS='live/#,tmp/#'`); a flag of a list may also be given several
  times.

| key | default | value | variable | flag |
|---|---|---|---|---|
";

/// The page as it is to be.
fn page() -> String {
    let settings = settings();
    let mut page = HEAD.to_owned();
    for setting in &settings {
        let Setting { key, default, .. } = setting;
        let (variable, flag) = (setting.variable(), setting.flag());
        let default = if default.is_empty() { "\"\"" } else { default };
        let value = value(setting.kind);
        writeln!(
            page,
            "| [`{key}`](#{key}) | `{default}` | {value} | `{variable}` | `--{flag}` |"
        )
        .expect("a String takes everything");
    }
    for Setting { key, meaning, .. } in &settings {
        write!(page, "\n## `{key}`\n\n{meaning}\n").expect("a String takes everything");
    }
    page
}

fn value(kind: Kind) -> String {
    match kind {
        Kind::Number(Unit::Count) => "number".to_owned(),
        Kind::Number(Unit::Bytes) => "size, bytes".to_owned(),
        Kind::Number(unit) => format!("duration, {}", unit.name()),
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Kind::List => "list of texts".to_owned(),
        Kind::Text => "text".to_owned(),
    }
}

#[test]
fn the_page_of_the_configuration_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("OYEZ_WRITE").is_some_and(|value| value == "1") {
        std::fs::write(&path, page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "{} is not up to date; run this test with OYEZ_WRITE=1",
        path.display()
    );
}
